/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory type range registers: which values they take, and what firmware leaves in them. */
#include "engine/mtrr.h"

#include "engine/board_map.h"
#include "engine/cpuid.h"
#include "engine/mem.h"
#include "engine/msr.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

#define PHYS_FIRST 0x200u
#define PHYS_LAST (PHYS_FIRST + 2 * MTRR_VARIABLE - 1)

#define TYPE_UC 0u
#define TYPE_WB 6u
#define TYPES 0x73u /* 0 UC, 1 WC, 4 WT, 5 WP, 6 WB; the others are reserved */

#define BASE_RESERVED 0xf00ull
#define MASK_VALID (1u << 11)
#define MASK_RESERVED 0x7ffull
#define DEF_FIXED (1u << 10)
#define DEF_ENABLE (1u << 11)

static bool type_ok(uint64_t type)
{
	return type < 8 && (TYPES >> type & 1);
}

bool mtrr_takes(uint32_t index, uint64_t val, unsigned phys_bits)
{
	const uint64_t beyond = ~0ull << phys_bits;

	if (index == MSR_MTRR_DEFTYPE)
		return type_ok(val & 0xff) && !(val & ~(uint64_t)(0xff | DEF_FIXED | DEF_ENABLE));
	if (index >= PHYS_FIRST && index <= PHYS_LAST) {
		if (index & 1)
			return !(val & (beyond | MASK_RESERVED));
		return type_ok(val & 0xff) && !(val & (beyond | BASE_RESERVED));
	}
	for (unsigned i = 0; i < 64; i += 8) /* a fixed one: eight types */
		if (!type_ok((val >> i) & 0xff))
			return false;
	return true;
}

static void set(struct vcpu *v, uint32_t index, uint64_t val)
{
	BUG_ON(!msr_write(v, index, val));
}

void mtrr_as_firmware(struct vm *vm)
{
	const uint64_t phys = (1ull << cpuid_phys_bits(vm)) - 1;

	for (unsigned i = 0; i < vm->ncpus; i++) {
		set(vm->vcpu[i], PHYS_FIRST, MEM_HOLE_START | TYPE_UC);
		set(vm->vcpu[i], PHYS_FIRST + 1, (phys & ~(uint64_t)(MEM_HOLE_END - MEM_HOLE_START - 1)) | MASK_VALID);
		set(vm->vcpu[i], MSR_MTRR_DEFTYPE, DEF_ENABLE | TYPE_WB);
	}
}
