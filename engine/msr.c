/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers as a table, sorted by index. A row says who has the register (every processor, Intel's
 * dialect, AMD's), where its value lives (a field of the register file, the vCPU's slot of the row, or a function),
 * which bits software may change, and what it holds after RESET.
 *
 * An index without a row is #GP(0), as on a processor. The rows are what Linux 6.1 (32- and 64-bit) touches on this
 * machine's CPUID, plus the registers that it reads without asking CPUID first: AMD's SYSCFG, HWCR, NB_CFG and
 * DE_CFG, Intel's MISC_ENABLE and PLATFORM_ID.
 *
 * Deviations from the manual:
 *   - IA32_SPEC_CTRL exists although CPUID does not tell of IBRS: software that sees IBRS_ALL in
 *     IA32_ARCH_CAPABILITIES sets its IBRS bit, which changes nothing here (engine/cpuid.c says why).
 *   - IA32_DEBUGCTL keeps BTF and LBR but nothing acts on them.
 *   - AMD's IA32_TSC_AUX and SFMASK ignore their reserved upper halves; here the former faults and the latter ignores,
 *     for both vendors.
 *
 * Sources: SDM 4, APM 2 appendix A and 3.1.7 (EFER), SDM 3A 11.12.4 (PAT), 17.17.3 (TSC adjustment).
 */
#include "engine/msr.h"

#include "engine/cpuid.h"
#include "engine/apic/lapic.h"
#include "engine/mtrr.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

enum vendor { V_ANY, V_INTEL, V_AMD };

enum kind {
	K_SLOT,  /* v->msr[row]; bits outside mask keep their value silently */
	K_CONST, /* reads as reset, writes fault */
	K_DULL,  /* reads as reset, writes are accepted and ignored */
	K_FIELD, /* a 64-bit field of struct x86_regs at off; bits outside mask fault */
	K_CANON, /* the same, and the value must be a canonical address */
	K_LOW32, /* the same, bits above 31 are ignored */
	K_MTRR,  /* the slot; values that engine/mtrr.c refuses fault */
	K_FUNC,  /* the functions */
};

struct msr_ops {
	bool (*read)(struct vcpu *v, unsigned slot, uint64_t *val);
	bool (*write)(struct vcpu *v, unsigned slot, uint64_t val);
};

struct row {
	uint32_t index;
	uint8_t vendor, kind;
	uint16_t off;
	uint64_t mask, reset;
	const struct msr_ops *ops;
	const char *name;
};

static bool canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

/* ---- TSC (SDM 3B 17.17) ---- */

static uint64_t tsc_now(const struct vcpu *v)
{
	return clock_tsc(&v->vm->clock) + (uint64_t)v->regs.tsc_offset;
}

static unsigned slot_of(uint32_t index);

static bool tsc_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = tsc_now(v);
	return true;
}

/* Writing the TSC moves IA32_TSC_ADJUST by the same amount, and the other way round. */
static bool tsc_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	uint64_t delta = val - tsc_now(v);

	(void)slot;
	v->regs.tsc_offset = (int64_t)((uint64_t)v->regs.tsc_offset + delta);
	v->msr[slot_of(MSR_TSC_ADJUST)] += delta;
	lapic_tsc_moved(v->lapic);
	return true;
}

static bool tsc_adjust_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	*val = v->msr[slot];
	return true;
}

static bool tsc_adjust_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	v->regs.tsc_offset = (int64_t)((uint64_t)v->regs.tsc_offset + (val - v->msr[slot]));
	v->msr[slot] = val;
	lapic_tsc_moved(v->lapic);
	return true;
}

static bool deadline_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	if (!cpuid_has(v->vm, CF_TSC_DEADLINE))
		return false;
	*val = lapic_tsc_deadline(v->lapic);
	return true;
}

static bool deadline_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	if (!cpuid_has(v->vm, CF_TSC_DEADLINE))
		return false;
	vcpu_vec_sync(v);
	lapic_set_tsc_deadline(v->lapic, val);
	return true;
}

/* ---- local APIC ---- */

static bool apic_base_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = lapic_base(v->lapic);
	return true;
}

static bool apic_base_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	vcpu_vec_sync(v);
	return lapic_set_base(v->lapic, val);
}

/* ---- PAT: eight memory types, of which 2, 3 and everything above 7 are reserved (SDM 3A 11.12.2) ---- */

static bool pat_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = v->regs.pat;
	return true;
}

static bool pat_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	for (unsigned i = 0; i < 64; i += 8) {
		unsigned type = (val >> i) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	v->regs.pat = val;
	return true;
}

/* ---- EFER ---- */

#define EFER_AIBRSE (1u << 21) /* automatic IBRS, AMD */

static bool efer_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = v->regs.efer;
	return true;
}

static bool efer_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	uint64_t ok = EFER_LMA;

	(void)slot;
	if (cpuid_has(v->vm, CF_SYSCALL))
		ok |= EFER_SCE;
	if (cpuid_has(v->vm, CF_LM))
		ok |= EFER_LME;
	if (cpuid_has(v->vm, CF_NX))
		ok |= EFER_NXE;
	if (cpuid_vendor_amd(v->vm))
		ok |= EFER_AIBRSE;
	if (val & ~ok)
		return false;
	/* SDM 3A 9.8.5: LME changes only with paging off; LMA is the processor's. */
	if (((val ^ v->regs.efer) & EFER_LME) && (v->regs.cr0 & CR0_PG))
		return false;
	v->regs.efer = (val & ~(uint64_t)EFER_LMA) | (v->regs.efer & EFER_LMA);
	return true;
}

/* ---- FS and GS bases: the segments' own, in long mode and outside ---- */

static bool fs_base_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = v->regs.seg[SEG_FS].base;
	return true;
}

static bool fs_base_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	if (!canonical(val))
		return false;
	v->regs.seg[SEG_FS].base = val;
	return true;
}

static bool gs_base_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = v->regs.seg[SEG_GS].base;
	return true;
}

static bool gs_base_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	if (!canonical(val))
		return false;
	v->regs.seg[SEG_GS].base = val;
	return true;
}

/* ---- TSC_AUX: 32 bits ---- */

static bool tsc_aux_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = v->regs.tsc_aux;
	return true;
}

static bool tsc_aux_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)slot;
	if (val >> 32)
		return false;
	v->regs.tsc_aux = val;
	return true;
}

/* ---- speculation control ---- */

#define SPEC_CTRL_BITS 0x7ull /* IBRS, STIBP, SSBD: kept, without effect */

static bool spec_ctrl_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	*val = v->msr[slot];
	return true;
}

static bool spec_ctrl_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	if (val & ~SPEC_CTRL_BITS)
		return false;
	v->msr[slot] = val;
	return true;
}

/* A command register: it cannot be read, and IBPB (bit 0) is all there is to command. */
static bool pred_cmd_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)v;
	(void)slot;
	(void)val;
	return false;
}

static bool pred_cmd_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)v;
	(void)slot;
	return !(val & ~1ull);
}

/* Update signature: what a microcode update has left in the upper half; software writes 0 before CPUID (SDM 3A 9.11.7).
 */
static bool ucode_read(struct vcpu *v, unsigned slot, uint64_t *val)
{
	(void)slot;
	*val = cpuid_vendor_amd(v->vm) ? 0x01000065ull : 1ull << 32;
	return true;
}

static bool ucode_write(struct vcpu *v, unsigned slot, uint64_t val)
{
	(void)v;
	(void)slot;
	(void)val;
	return true;
}

static const struct msr_ops tsc_ops = {tsc_read, tsc_write};
static const struct msr_ops tsc_adjust_ops = {tsc_adjust_read, tsc_adjust_write};
static const struct msr_ops deadline_ops = {deadline_read, deadline_write};
static const struct msr_ops apic_base_ops = {apic_base_read, apic_base_write};
static const struct msr_ops pat_ops = {pat_read, pat_write};
static const struct msr_ops efer_ops = {efer_read, efer_write};
static const struct msr_ops fs_base_ops = {fs_base_read, fs_base_write};
static const struct msr_ops gs_base_ops = {gs_base_read, gs_base_write};
static const struct msr_ops tsc_aux_ops = {tsc_aux_read, tsc_aux_write};
static const struct msr_ops spec_ctrl_ops = {spec_ctrl_read, spec_ctrl_write};
static const struct msr_ops pred_cmd_ops = {pred_cmd_read, pred_cmd_write};
static const struct msr_ops ucode_ops = {ucode_read, ucode_write};

/*
 * IA32_ARCH_CAPABILITIES (SDM 4 table 2-2): 0 RDCL_NO, 1 IBRS_ALL (one write at boot, then nothing to do),
 * 3 SKIP_L1DFL_VMENTRY, 4 SSB_NO, 5 MDS_NO, 6 IF_PSCHANGE_MC_NO, 8 TAA_NO, 13 SBDR_SSDP_NO, 14 FBSDP_NO, 15 PSDP_NO,
 * 20 BHI_NO, 24 PBRSB_NO, 26 GDS_NO, 27 RFDS_NO, 62 ITS_NO. Bit 2 (RSBA: RSB underflow falls back to other predictors)
 * stays clear.
 */
#define BIT_ULL(n) (1ull << (n))
#define ARCH_CAP                                                                                                  \
	(BIT_ULL(0) | BIT_ULL(1) | BIT_ULL(3) | BIT_ULL(4) | BIT_ULL(5) | BIT_ULL(6) | BIT_ULL(8) | BIT_ULL(13) | \
	 BIT_ULL(14) | BIT_ULL(15) | BIT_ULL(20) | BIT_ULL(24) | BIT_ULL(26) | BIT_ULL(27) | BIT_ULL(62))

#define PAT_RESET 0x0007040600070406ull
#define MISC_ENABLE_RESET 0x1801ull /* fast strings; no BTS, no PEBS */
#define MISC_ENABLE_WRITABLE 0x1ull
#define HWCR_RESET BIT_ULL(24) /* TscFreqSel: the TSC counts at the P0 frequency */
#define ALL (~0ull)

#define SLOT(i, v, mask, reset, name)                    \
	{                                                \
		i, v, K_SLOT, 0, mask, reset, NULL, name \
	}
#define CONST(i, v, val, name)                       \
	{                                            \
		i, v, K_CONST, 0, 0, val, NULL, name \
	}
#define DULL(i, v, val, name)                       \
	{                                           \
		i, v, K_DULL, 0, 0, val, NULL, name \
	}
#define FIELD(i, kind, field, name)                                                  \
	{                                                                            \
		i, V_ANY, kind, offsetof(struct x86_regs, field), ALL, 0, NULL, name \
	}
#define MTRR(i, name)                                 \
	{                                             \
		i, V_ANY, K_MTRR, 0, 0, 0, NULL, name \
	}
#define MTRR_PAIR(n) MTRR(0x200 + 2 * (n), "IA32_MTRR_PHYSBASE" #n), MTRR(0x201 + 2 * (n), "IA32_MTRR_PHYSMASK" #n)
#define FUNC(i, ops, name)                            \
	{                                             \
		i, V_ANY, K_FUNC, 0, 0, 0, &ops, name \
	}

static const struct row rows[] = {
	FUNC(MSR_TSC, tsc_ops, "IA32_TIME_STAMP_COUNTER"),
	CONST(0x17, V_INTEL, 0, "IA32_PLATFORM_ID"),
	FUNC(MSR_APIC_BASE, apic_base_ops, "IA32_APIC_BASE"),
	DULL(0x2a, V_INTEL, 0, "EBL_CR_POWERON"),
	CONST(0x3a, V_INTEL, 1, "IA32_FEATURE_CONTROL"), /* locked, everything off */
	FUNC(MSR_TSC_ADJUST, tsc_adjust_ops, "IA32_TSC_ADJUST"),
	FUNC(MSR_SPEC_CTRL, spec_ctrl_ops, "IA32_SPEC_CTRL"),
	FUNC(MSR_PRED_CMD, pred_cmd_ops, "IA32_PRED_CMD"),
	FUNC(MSR_UCODE_REV, ucode_ops, "IA32_BIOS_SIGN_ID"),
	CONST(0xce, V_INTEL, 0, "MSR_PLATFORM_INFO"),
	CONST(MSR_MTRRCAP, V_ANY, MTRR_CAP, "IA32_MTRRCAP"),
	CONST(MSR_ARCH_CAPABILITIES, V_ANY, ARCH_CAP, "IA32_ARCH_CAPABILITIES"),
	FIELD(MSR_SYSENTER_CS, K_LOW32, sysenter_cs, "IA32_SYSENTER_CS"),
	FIELD(MSR_SYSENTER_ESP, K_CANON, sysenter_esp, "IA32_SYSENTER_ESP"),
	FIELD(MSR_SYSENTER_EIP, K_CANON, sysenter_eip, "IA32_SYSENTER_EIP"),
	CONST(MSR_MCG_CAP, V_ANY, 0, "IA32_MCG_CAP"),
	SLOT(MSR_MCG_STATUS, V_ANY, 0x7, 0, "IA32_MCG_STATUS"),
	CONST(0x198, V_INTEL, 0, "IA32_PERF_STATUS"),
	DULL(0x199, V_INTEL, 0, "IA32_PERF_CTL"),
	SLOT(MSR_MISC_ENABLE, V_INTEL, MISC_ENABLE_WRITABLE, MISC_ENABLE_RESET, "IA32_MISC_ENABLE"),
	SLOT(0x1d9, V_ANY, 0x3, 0, "IA32_DEBUGCTL"),
	MTRR_PAIR(0),
	MTRR_PAIR(1),
	MTRR_PAIR(2),
	MTRR_PAIR(3),
	MTRR_PAIR(4),
	MTRR_PAIR(5),
	MTRR_PAIR(6),
	MTRR_PAIR(7),
	MTRR(0x250, "IA32_MTRR_FIX64K_00000"),
	MTRR(0x258, "IA32_MTRR_FIX16K_80000"),
	MTRR(0x259, "IA32_MTRR_FIX16K_A0000"),
	MTRR(0x268, "IA32_MTRR_FIX4K_C0000"),
	MTRR(0x269, "IA32_MTRR_FIX4K_C8000"),
	MTRR(0x26a, "IA32_MTRR_FIX4K_D0000"),
	MTRR(0x26b, "IA32_MTRR_FIX4K_D8000"),
	MTRR(0x26c, "IA32_MTRR_FIX4K_E0000"),
	MTRR(0x26d, "IA32_MTRR_FIX4K_E8000"),
	MTRR(0x26e, "IA32_MTRR_FIX4K_F0000"),
	MTRR(0x26f, "IA32_MTRR_FIX4K_F8000"),
	FUNC(MSR_PAT, pat_ops, "IA32_PAT"),
	MTRR(MSR_MTRR_DEFTYPE, "IA32_MTRR_DEF_TYPE"),
	FUNC(MSR_TSC_DEADLINE, deadline_ops, "IA32_TSC_DEADLINE"),
	FUNC(MSR_EFER, efer_ops, "IA32_EFER"),
	FIELD(MSR_STAR, K_FIELD, star, "IA32_STAR"),
	FIELD(MSR_LSTAR, K_CANON, lstar, "IA32_LSTAR"),
	FIELD(MSR_CSTAR, K_CANON, cstar, "IA32_CSTAR"),
	FIELD(MSR_FMASK, K_LOW32, fmask, "IA32_FMASK"),
	FUNC(MSR_FS_BASE, fs_base_ops, "IA32_FS_BASE"),
	FUNC(MSR_GS_BASE, gs_base_ops, "IA32_GS_BASE"),
	FIELD(MSR_KERNEL_GS_BASE, K_CANON, kernel_gs_base, "IA32_KERNEL_GS_BASE"),
	FUNC(MSR_TSC_AUX, tsc_aux_ops, "IA32_TSC_AUX"),
	SLOT(0xc0010010, V_AMD, ALL, 0, "SYSCFG"),
	SLOT(0xc0010015, V_AMD, 0x41fff779ull, HWCR_RESET, "HWCR"),
	SLOT(0xc001001a, V_AMD, ALL, 0, "TOP_MEM"),
	SLOT(0xc001001d, V_AMD, ALL, 0, "TOP_MEM2"),
	SLOT(0xc001001f, V_AMD, ALL, 0, "NB_CFG"),
	DULL(0xc0010055, V_AMD, 0, "INT_PENDING"),
	DULL(0xc0010058, V_AMD, 0, "MMIO_CONF_BASE"),
	CONST(0xc0010114, V_AMD, 0x18, "VM_CR"), /* SVM disabled and locked */
	SLOT(0xc0011020, V_AMD, ALL, 0, "LS_CFG"),
	SLOT(0xc0011022, V_AMD, ALL, 0, "DC_CFG"),
	SLOT(0xc0011023, V_AMD, ALL, 0, "TW_CFG"),
	SLOT(0xc0011029, V_AMD, ALL, 2, "DE_CFG"), /* bit 1: LFENCE is serializing */
	SLOT(0xc001102a, V_AMD, ALL, 0, "CU_CFG2"),
	SLOT(0xc001102e, V_AMD, ALL, 0, "BP_CFG"),
};
#define NROWS ((unsigned)ARRAY_LEN(rows))

static unsigned slot_of(uint32_t index)
{
	unsigned lo = 0, hi = NROWS;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (rows[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < NROWS && rows[lo].index == index ? lo : NROWS;
}

static const struct row *lookup(const struct vcpu *v, uint32_t index, unsigned *slot)
{
	const struct row *r;

	*slot = slot_of(index);
	if (*slot == NROWS)
		return NULL;
	r = &rows[*slot];
	if (r->vendor != V_ANY && (r->vendor == V_AMD) != cpuid_vendor_amd(v->vm))
		return NULL;
	return r;
}

static uint64_t *field(struct vcpu *v, const struct row *r)
{
	return (uint64_t *)((char *)&v->regs + r->off);
}

static bool is_x2apic(uint32_t index)
{
	return index >= MSR_X2APIC_BASE && index < MSR_X2APIC_BASE + 0x100;
}

bool msr_read(struct vcpu *v, uint32_t index, uint64_t *val)
{
	const struct row *r;
	unsigned slot;

	if (is_x2apic(index)) {
		vcpu_vec_sync(v);
		return lapic_msr_read(v->lapic, index, val);
	}
	r = lookup(v, index, &slot);
	if (!r)
		return false;
	switch ((enum kind)r->kind) {
	case K_SLOT:
	case K_MTRR:
		*val = v->msr[slot];
		return true;
	case K_CONST:
	case K_DULL:
		*val = r->reset;
		return true;
	case K_FIELD:
	case K_CANON:
	case K_LOW32:
		*val = *field(v, r);
		return true;
	case K_FUNC:
		return r->ops->read(v, slot, val);
	}
	return false;
}

bool msr_write(struct vcpu *v, uint32_t index, uint64_t val)
{
	const struct row *r;
	unsigned slot;

	if (is_x2apic(index)) {
		vcpu_vec_sync(v);
		return lapic_msr_write(v->lapic, index, val);
	}
	r = lookup(v, index, &slot);
	if (!r)
		return false;
	switch ((enum kind)r->kind) {
	case K_SLOT:
		v->msr[slot] = (v->msr[slot] & ~r->mask) | (val & r->mask);
		return true;
	case K_MTRR:
		if (!mtrr_takes(index, val, cpuid_phys_bits(v->vm)))
			return false;
		v->msr[slot] = val;
		return true;
	case K_CONST:
		return false;
	case K_DULL:
		return true;
	case K_CANON:
		if (!canonical(val))
			return false;
		*field(v, r) = val;
		return true;
	case K_FIELD:
		*field(v, r) = val;
		return true;
	case K_LOW32:
		*field(v, r) = (uint32_t)val;
		return true;
	case K_FUNC:
		return r->ops->write(v, slot, val);
	}
	return false;
}

unsigned msr_slots(void)
{
	return NROWS;
}

void msr_reset(struct vcpu *v)
{
	for (unsigned i = 0; i < NROWS; i++) {
		const struct row *r = &rows[i];

		v->msr[i] = r->kind == K_SLOT ? r->reset : 0;
		if (r->kind == K_FIELD || r->kind == K_CANON || r->kind == K_LOW32)
			*field(v, r) = r->reset;
	}
	v->regs.pat = PAT_RESET;
}

bool msr_row(unsigned i, uint32_t *index, const char **name)
{
	if (i >= NROWS)
		return false;
	*index = rows[i].index;
	*name = rows[i].name;
	return true;
}
