/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID and MSR tables, the loaders on good, truncated and hostile files, the ACPI tables.
 *
 * The files are made here: a few bytes of code in an ELF file, packed the ways kernels are packed. A hostile file must
 * end in a status and one line of text, or load; anything else is a crash, which is how this test fails then.
 */
#include <cpuid.h>
#include <elf.h>
#undef PF_W
#include <lz4.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "engine/board_map.h"
#include "engine/load/boot.h"
#include "engine/cpuid.h"
#include "engine/load/loader.h"
#include "engine/msr.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

static struct tally {
	unsigned passed, failed;
} tally;

static void check(struct tally *t, bool ok, const char *what, int line)
{
	if (ok) {
		t->passed++;
		return;
	}
	t->failed++;
	printf("test_boot.c:%d: %s\n", line, what);
}
#define OK(cond) check(&tally, (cond), #cond, __LINE__)

#define MIB (1ull << 20)

/* A machine without devices: memory, CPUID, vCPUs. */
static struct vm *machine(uint64_t bytes, unsigned ncpus)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	struct error e;

	if (!vm || mem_init(&vm->mem, bytes, &e) != ST_OK)
		abort();
	vm->cfg.memory_bytes = bytes;
	vm->cfg.ncpus = vm->ncpus = ncpus;
	clock_init(&vm->clock);
	cpuid_build(&vm->cpuid, ncpus, CPUID_COMMON);
	for (unsigned i = 0; i < ncpus; i++)
		if (!(vm->vcpu[i] = vcpu_alloc(vm, i)))
			abort();
	return vm;
}

static void machine_free(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ncpus; i++)
		vcpu_free(vm->vcpu[i]);
	mem_fini(&vm->mem);
	free(vm);
}

/* ---- CPUID ---- */

static void query(const struct vm *vm, unsigned cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	cpuid_query(vm->vcpu[cpu], leaf, sub, r);
}

static void test_cpuid(void)
{
	static const char *const withheld[] = {"vmx",     "svm",    "pcid", "smap", "la57",   "pku",
					       "avx512f", "xsaves", "rtm",  "mpx",  "monitor"};
	static const char *const expected[] = {"fpu",     "pae",        "apic",     "nx",           "lm",
					       "syscall", "hypervisor", "fsgsbase", "invariant_tsc"};
	struct vm *vm = machine(64 * MIB, 3);
	uint32_t r[4], host[4];
	const char *name;
	bool on;

	__cpuid(0, host[0], host[1], host[2], host[3]);
	query(vm, 0, 0, 0, r);
	OK(r[1] == host[1] && r[2] == host[2] && r[3] == host[3]);
	__cpuid(1, host[0], host[1], host[2], host[3]);
	query(vm, 2, 1, 0, r);
	OK(r[0] == host[0]);
	OK(r[1] >> 24 == 2);
	OK(((r[1] >> 16) & 0xff) == 3);
	OK(!(r[2] & (1u << 27)));
	vm->vcpu[2]->regs.cr4 |= CR4_OSXSAVE;
	query(vm, 2, 1, 0, r);
	OK(r[2] & (1u << 27));

	for (unsigned i = 0; cpuid_row(vm, i, &name, &on); i++) {
		for (unsigned k = 0; k < ARRAY_LEN(withheld); k++)
			if (!strcmp(name, withheld[k]))
				OK(!on);
		for (unsigned k = 0; k < ARRAY_LEN(expected); k++)
			if (!strcmp(name, expected[k]))
				OK(on);
	}
	OK(cpuid_has(vm, CF_LM) && cpuid_has(vm, CF_NX) && cpuid_has(vm, CF_SYSCALL) && cpuid_has(vm, CF_TSC_DEADLINE));
	OK(!cpuid_has(vm, CF_SMAP) && !cpuid_has(vm, CF_PCID) && !cpuid_has(vm, CF_X2APIC) &&
	   !cpuid_has(vm, CF_INVPCID));

	/* topology: three cores need two bits of APIC ID */
	query(vm, 1, 0xb, 0, r);
	OK(r[0] == 0 && r[1] == 1 && r[2] == 0x100 && r[3] == 1);
	query(vm, 1, 0xb, 1, r);
	OK(r[0] == 2 && r[1] == 3 && r[2] == 0x201 && r[3] == 1);
	query(vm, 1, 0xb, 2, r);
	OK(r[0] == 0 && r[1] == 0 && r[2] == 2 && r[3] == 1);

	query(vm, 0, 0x40000000, 0, r);
	OK(r[0] == 0x40000010 && memcmp(&r[1], "SteelyardVMM", 12) == 0);
	query(vm, 0, 0x40000010, 0, r);
	OK(r[0] == vm->clock.tsc_khz && r[1] == CPUID_APIC_TIMER_KHZ);
	query(vm, 0, 0x80000000, 0, r);
	OK(r[0] >= 0x80000008);
	query(vm, 0, 0x80000008, 0, r);
	OK((r[0] & 0xff) == cpuid_phys_bits(vm) && ((r[0] >> 8) & 0xff) == 48);

	if (cpuid_has(vm, CF_AVX)) {
		uint32_t off = 0, size = 0;

		OK(cpuid_xcr0_mask(vm) == 7);
		OK(cpuid_xsave_component(vm, 2, &off, &size) && off == 576 && size == 256);
		vm->vcpu[0]->regs.xcr0 = 1;
		query(vm, 0, 0xd, 0, r);
		OK(r[0] == 7 && r[1] == 576 && r[2] == 832 && r[3] == 0);
		vm->vcpu[0]->regs.xcr0 = 7;
		query(vm, 0, 0xd, 0, r);
		OK(r[1] == 832);
		OK(!cpuid_xsave_component(vm, 5, &off, &size));
	}
	/* the same in full, which has AVX-512 where the host has: sizes are what the host's own CPUID tells for that XCR0 */
	cpuid_build(&vm->cpuid, 3, CPUID_FULL);
	if (cpuid_xcr0_mask(vm) & ~7ull) {
		uint32_t off = 0, size = 0, end = 0;

		OK(cpuid_xcr0_mask(vm) == 0xe7);
		for (unsigned i = 2; i < 8; i++) {
			__cpuid_count(0xd, i, host[0], host[1], host[2], host[3]);
			OK(cpuid_xsave_component(vm, i, &off, &size) == (i != 3 && i != 4));
			if (i == 3 || i == 4)
				continue;
			OK(size == host[0] && off == host[1]);
			end = off + size > end ? off + size : end;
		}
		OK(end <= XSAVE_AREA_BYTES);
		vm->vcpu[0]->regs.xcr0 = 0xe7;
		query(vm, 0, 0xd, 0, r);
		OK(r[1] == end && r[2] == end);
		query(vm, 0, 0xd, 1, r);
		OK(!(r[0] & 2) || r[1] == 576 + 256 + 64 + 512 + 1024);
		vm->vcpu[0]->regs.xcr0 = 7;
		query(vm, 0, 0xd, 0, r);
		OK(r[1] == 832 && r[2] == end);
		__cpuid_count(7, 0, host[0], host[1], host[2], host[3]);
		query(vm, 0, 7, 0, r);
		OK((r[1] & 0xf0230000u) == ((host[1] & 0xf0230000u)));
	} else {
		printf("SKIP the CPUID of AVX-512: this host has none\n");
		OK(cpuid_xcr0_mask(vm) <= 7);
	}
	query(vm, 0, 0x80001234, 0, r);
	if (cpuid_vendor_amd(vm))
		OK(!(r[0] | r[1] | r[2] | r[3]));
	machine_free(vm);

	for (unsigned n = 1; n <= VM_MAX_CPUS; n++) {
		struct cpuid_table t;

		cpuid_build(&t, n, n % 2 ? CPUID_FULL : CPUID_COMMON);
		OK(t.n > 0 && t.n <= CPUID_MAX_ENTRIES);
	}
}

/* ---- MSRs ---- */

static void test_msr(void)
{
	struct vm *vm = machine(64 * MIB, 1);
	struct vcpu *v = vm->vcpu[0];
	uint32_t index, prev = 0;
	const char *name;
	uint64_t val = 0, a = 0, b = 0;

	for (unsigned i = 0; msr_row(i, &index, &name); i++) {
		OK(i == 0 || index > prev);
		OK(name && name[0]);
		prev = index;
		if (msr_read(v, index, &val) && index != MSR_TSC && index != MSR_ARCH_CAPABILITIES)
			(void)msr_write(v, index, val); /* reading back what is there never crashes */
	}
	OK(!msr_read(v, 0x12345678, &val) && !msr_write(v, 0x12345678, 0));
	OK(!msr_write(v, MSR_ARCH_CAPABILITIES, 0));
	OK(msr_read(v, MSR_ARCH_CAPABILITIES, &val) && (val & 3) == 3);
	OK(msr_read(v, MSR_MCG_CAP, &val) && val == 0);

	OK(msr_write(v, MSR_EFER, EFER_SCE | EFER_NXE) && v->regs.efer == (EFER_SCE | EFER_NXE));
	OK(!msr_write(v, MSR_EFER, 1ull << 40) && !msr_write(v, MSR_EFER, EFER_SVME));
	v->regs.cr0 |= CR0_PG;
	OK(!msr_write(v, MSR_EFER, EFER_LME));
	v->regs.cr0 &= ~(uint64_t)CR0_PG;
	OK(msr_write(v, MSR_EFER, EFER_LME | EFER_LMA) && v->regs.efer == EFER_LME);

	OK(msr_read(v, MSR_PAT, &val) && val == 0x0007040600070406ull);
	OK(msr_write(v, MSR_PAT, 0x0106050400070406ull) && v->regs.pat == 0x0106050400070406ull);
	OK(!msr_write(v, MSR_PAT, 0x0206050400070406ull) && !msr_write(v, MSR_PAT, 0x08ull << 56));

	/* MTRRs: eight pairs, the fixed ones; reserved types, reserved bits and bits above MAXPHYADDR fault */
	OK(msr_read(v, MSR_MTRRCAP, &val) && val == 0x508 && !msr_write(v, MSR_MTRRCAP, val));
	OK(msr_write(v, 0x200, 0xc0000006) && msr_read(v, 0x200, &val) && val == 0xc0000006);
	OK(!msr_write(v, 0x200, 2) && !msr_write(v, 0x200, 0x106) && !msr_write(v, 0x20e, 1ull << 52));
	OK(msr_write(v, 0x20f, 0xfff000800) && !msr_write(v, 0x20f, 1) && !msr_write(v, 0x201, 1ull << 63) && !msr_read(v, 0x210, &val));
	OK(msr_write(v, 0x26f, 0x0605040100060606ull) && !msr_write(v, 0x250, 0x0300000000000000ull) && !msr_write(v, 0x259, 7));
	OK(msr_write(v, MSR_MTRR_DEFTYPE, 0xc06) && !msr_write(v, MSR_MTRR_DEFTYPE, 0xc02) && !msr_write(v, MSR_MTRR_DEFTYPE, 0x1006));

	OK(msr_write(v, MSR_FS_BASE, 0xffff800000000000ull) && v->regs.seg[SEG_FS].base == 0xffff800000000000ull);
	OK(!msr_write(v, MSR_FS_BASE, 0x0000800000000000ull) && !msr_write(v, MSR_LSTAR, 1ull << 63));
	OK(msr_write(v, MSR_KERNEL_GS_BASE, 0x1234) && v->regs.kernel_gs_base == 0x1234);
	OK(!msr_write(v, MSR_TSC_AUX, 1ull << 32) && msr_write(v, MSR_TSC_AUX, 7) && v->regs.tsc_aux == 7);

	OK(msr_write(v, MSR_TSC, 0) && msr_read(v, MSR_TSC, &a) && a < (1ull << 40));
	OK(msr_read(v, MSR_TSC_ADJUST, &a) && msr_write(v, MSR_TSC_ADJUST, a + (1ull << 50)));
	OK(msr_read(v, MSR_TSC, &b) && b >= 1ull << 50);
	OK(msr_write(v, MSR_TSC_ADJUST, a));
	OK(msr_read(v, MSR_APIC_BASE, &val) && (val & 0xfffff000) == 0xfee00000);
	OK(!msr_read(v, 0x802, &val)); /* not in x2APIC mode */
	machine_free(vm);
}

/* ---- files ---- */

static char dir[] = "/tmp/steelyard-boot-XXXXXX";
static char path[4][64];

static const char *write_file(unsigned i, const void *data, size_t n)
{
	FILE *f;

	snprintf(path[i], sizeof(path[i]), "%s/f%u", dir, i);
	f = fopen(path[i], "wb");
	if (!f || fwrite(data, 1, n, f) != n || fclose(f))
		abort();
	return path[i];
}

/* One segment of `code` at paddr, entry at its start, and a PVH note. */
static size_t make_elf(uint8_t *out, bool elf64, uint64_t paddr, bool pvh)
{
	static const uint8_t code[32] = {0xfa, 0xf4, 0xeb, 0xfd, 'M', 'A', 'R', 'K'};
	uint32_t note[5] = {4, 4, 18, 0, (uint32_t)paddr + 2};
	size_t note_at = 512, code_at = 1024;

	memset(out, 0, 2048);
	memcpy(&note[3], "Xen", 4);
	memcpy(out + note_at, note, sizeof(note));
	memcpy(out + code_at, code, sizeof(code));
	if (elf64) {
		Elf64_Ehdr h = {.e_ident = ELFMAG "\2\1\1",
				.e_type = ET_EXEC,
				.e_machine = EM_X86_64,
				.e_version = 1,
				.e_entry = paddr,
				.e_phoff = sizeof(h),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 2,
				.e_ehsize = sizeof(h)};
		Elf64_Phdr p[2] = {{.p_type = PT_LOAD,
				    .p_offset = code_at,
				    .p_paddr = paddr,
				    .p_vaddr = paddr,
				    .p_filesz = 512,
				    .p_memsz = 8192},
				   {.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = note_at, .p_filesz = sizeof(note)}};

		memcpy(out, &h, sizeof(h));
		memcpy(out + sizeof(h), p, sizeof(p));
	} else {
		Elf32_Ehdr h = {.e_ident = ELFMAG "\1\1\1",
				.e_type = ET_EXEC,
				.e_machine = EM_386,
				.e_version = 1,
				.e_entry = 0xc0000000u + (uint32_t)paddr,
				.e_phoff = sizeof(h),
				.e_phentsize = sizeof(Elf32_Phdr),
				.e_phnum = 2,
				.e_ehsize = sizeof(h)};
		Elf32_Phdr p[2] = {
			{.p_type = PT_LOAD,
			 .p_offset = (uint32_t)code_at,
			 .p_paddr = (uint32_t)paddr,
			 .p_vaddr = 0xc0000000u + (uint32_t)paddr,
			 .p_filesz = 512,
			 .p_memsz = 8192},
			{.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = (uint32_t)note_at, .p_filesz = sizeof(note)}};

		memcpy(out, &h, sizeof(h));
		memcpy(out + sizeof(h), p, sizeof(p));
	}
	return code_at + 512;
}

enum pack { PACK_NONE, PACK_GZIP, PACK_XZ, PACK_LZMA, PACK_ZSTD, PACK_LZ4, PACK_UNKNOWN, PACK_COUNT };

static size_t make_payload(uint8_t *out, size_t room, enum pack how, const uint8_t *in, uint32_t n)
{
	size_t len = 0;

	switch (how) {
	case PACK_NONE:
		memcpy(out, in, n);
		return n;
	case PACK_GZIP: {
		z_stream z = {.next_in = (Bytef *)in, .avail_in = n, .next_out = out, .avail_out = (uInt)room};

		deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
		deflate(&z, Z_FINISH);
		deflateEnd(&z);
		return z.total_out; /* its own trailer has the size */
	}
	case PACK_XZ:
		if (lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, in, n, out, &len, room) != LZMA_OK)
			abort();
		break;
	case PACK_LZMA: {
		lzma_stream z = LZMA_STREAM_INIT;
		lzma_options_lzma o;

		lzma_lzma_preset(&o, 1);
		if (lzma_alone_encoder(&z, &o) != LZMA_OK)
			abort();
		z.next_in = in, z.avail_in = n, z.next_out = out, z.avail_out = room;
		if (lzma_code(&z, LZMA_FINISH) != LZMA_STREAM_END)
			abort();
		len = z.total_out;
		lzma_end(&z);
		break;
	}
	case PACK_ZSTD:
		len = ZSTD_compress(out, room, in, n, 3);
		break;
	case PACK_LZ4: {
		int c = LZ4_compress_default((const char *)in, (char *)out + 8, (int)n, (int)room - 8);

		put32(out, 0x184c2102);
		put32(out + 4, (uint32_t)c);
		len = 8 + (size_t)c;
		break;
	}
	default:
		memset(out, 0x99, 64);
		len = 64;
	}
	put32(out + len, n);
	return len + 4;
}

#define IMAGE_ROOM 16384
static size_t make_bzimage(uint8_t *out, enum pack how, bool elf64)
{
	uint8_t elf[2048];
	size_t n = make_elf(elf, elf64, 0x1000000, false), payload;

	memset(out, 0, IMAGE_ROOM);
	payload = make_payload(out + 1024 + 0x400, IMAGE_ROOM - 2048, how, elf, (uint32_t)n);
	out[0x1f1] = 1;
	put16(out + 0x1fe, 0xaa55);
	put16(out + 0x200, 0x66eb);
	memcpy(out + 0x202, "HdrS", 4);
	put16(out + 0x206, 0x020f);
	out[0x211] = 1 | 2;
	put32(out + 0x214, 0x100000);
	put32(out + 0x22c, 0x7fffffff);
	put16(out + 0x236, elf64);
	put32(out + 0x238, 100);
	put32(out + 0x248, 0x400);
	put32(out + 0x24c, (uint32_t)payload);
	put64(out + 0x258, 0x1000000);
	put32(out + 0x260, 0x100000);
	return 1024 + 0x400 + payload;
}

static bool one_line(const struct error *e)
{
	return e->msg[0] && !strchr(e->msg, '\n');
}

/* ---- loaders ---- */

static enum status boot(struct vm *vm, struct error *e)
{
	memset(e, 0, sizeof(*e));
	vcpu_reset(vm->vcpu[0], false);
	return boot_load(vm, e);
}

static bool is_flat32(const struct vcpu *v, uint64_t eip)
{
	return (v->regs.cr0 & CR0_PE) && !(v->regs.cr0 & CR0_PG) && vcpu_code_bits(v) == 32 && v->regs.rip == eip &&
	       v->regs.seg[SEG_CS].limit == 0xffffffff && v->regs.seg[SEG_DS].sel == 0x18 && v->regs.rflags == FL_ONE;
}

static void test_linux(void)
{
	struct vm *vm = machine(64 * MIB, 2);
	struct vcpu *v = vm->vcpu[0];
	static uint8_t img[IMAGE_ROOM];
	uint8_t initrd[5000], *bp;
	struct error e;
	size_t n;

	memset(initrd, 0x5a, sizeof(initrd));
	vm->cfg.initrd = write_file(1, initrd, sizeof(initrd));
	vm->cfg.cmdline = "console=ttyS0 quiet";
	for (int how = 0; how < PACK_COUNT; how++) {
		for (int elf64 = 0; elf64 < 2; elf64++) {
			uint64_t want = how == PACK_UNKNOWN ? (elf64 ? 0x100200 : 0x100000) : 0x1000000;

			n = make_bzimage(img, (enum pack)how, elf64);
			vm->cfg.kernel = write_file(0, img, n);
			OK(boot(vm, &e) == ST_OK);
			if (elf64) {
				OK(vcpu_code64(v) && v->regs.rip == want && v->regs.cr3 == LOW_PAGE_TABLES);
				OK((v->regs.cr0 & (CR0_PE | CR0_PG)) == (CR0_PE | CR0_PG) && (v->regs.cr4 & CR4_PAE));
			} else {
				OK(is_flat32(v, want));
			}
			OK(v->regs.gpr[R_SI] == LOW_BOOT_PARAMS);
			if (how != PACK_UNKNOWN)
				OK(memcmp((char *)mem_ram(&vm->mem, want, 8) + 4, "MARK", 4) == 0);
		}
	}
	bp = mem_ram(&vm->mem, LOW_BOOT_PARAMS, 4096);
	OK(get32(bp + 0x218) == 64 * MIB - 8192 && get32(bp + 0x21c) == sizeof(initrd));
	OK(memcmp(mem_ram(&vm->mem, get32(bp + 0x218), sizeof(initrd)), initrd, sizeof(initrd)) == 0);
	OK(strcmp(mem_ram(&vm->mem, get32(bp + 0x228), 64), "console=ttyS0 quiet") == 0);
	OK(bp[0x1e8] == 5 && get64(bp + 0x2d0 + 60 + 8) == 63 * MIB && !(bp[0x211] & 2));
	OK(get64(bp + 0x70) == LOW_RSDP);

	/* what does not fit */
	vm->cfg.cmdline = "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
			  "234567890123456789";
	OK(boot(vm, &e) == ST_TOO_BIG && one_line(&e));
	vm->cfg.cmdline = "";
	n = make_bzimage(img, PACK_GZIP, true);
	put32(img + 0x22c, 0x1001fff); /* no room above: below the kernel */
	vm->cfg.kernel = write_file(0, img, n);
	OK(boot(vm, &e) == ST_OK && get32(bp + 0x218) == 16 * MIB - 8192);
	n = make_bzimage(img, PACK_UNKNOWN, true);
	put32(img + 0x22c, 0x1001fff);
	vm->cfg.kernel = write_file(0, img, n);
	OK(boot(vm, &e) == ST_TOO_BIG && one_line(&e));
	machine_free(vm);

	vm = machine(16 * MIB, 1);
	n = make_bzimage(img, PACK_GZIP, true);
	vm->cfg.kernel = write_file(0, img, n);
	OK(boot(vm, &e) == ST_TOO_BIG && one_line(&e));
	put32(img + 0x214, 0);
	vm->cfg.kernel = write_file(0, img, n);
	OK(boot(vm, &e) == ST_UNSUPPORTED && one_line(&e) && strstr(e.msg, "--bios"));
	machine_free(vm);
}

static void test_elf(void)
{
	struct vm *vm = machine(64 * MIB, 1);
	uint8_t elf[2048], *info;
	struct error e;
	size_t n;

	for (int elf64 = 0; elf64 < 2; elf64++) {
		n = make_elf(elf, elf64, 0x200000, true);
		vm->cfg.kernel = write_file(0, elf, n);
		vm->cfg.cmdline = "hello";
		OK(boot(vm, &e) == ST_OK);
		OK(is_flat32(vm->vcpu[0], 0x200002));
		info = mem_ram(&vm->mem, vm->vcpu[0]->regs.gpr[R_BX], 56);
		OK(info && get32(info) == 0x336ec578 && get64(info + 32) == LOW_RSDP && get32(info + 48) == 5);
		OK(strcmp(mem_ram(&vm->mem, get64(info + 24), 6), "hello") == 0);
	}
	n = make_elf(elf, true, 0x200000, false);
	vm->cfg.kernel = write_file(0, elf, n);
	OK(boot(vm, &e) == ST_BAD_FILE && strstr(e.msg, "PVH"));
	n = make_elf(elf, true, 0x1000, true);
	vm->cfg.kernel = write_file(0, elf, n);
	OK(boot(vm, &e) == ST_BAD_FILE && one_line(&e));
	n = make_elf(elf, true, 60 * MIB + 0x3fffff, true);
	vm->cfg.kernel = write_file(0, elf, n);
	OK(boot(vm, &e) == ST_TOO_BIG && one_line(&e));
	machine_free(vm);
}

static void put_multiboot_header(uint8_t *p, uint32_t flags)
{
	put32(p, 0x1badb002);
	put32(p + 4, flags);
	put32(p + 8, -(0x1badb002 + flags));
}

static void test_multiboot(void)
{
	struct vm *vm = machine(64 * MIB, 1);
	struct vcpu *v = vm->vcpu[0];
	uint8_t elf[2048], flat[256] = {0}, *info, *mods;
	char module[128];
	struct error e;
	size_t n;

	n = make_elf(elf, false, 0x200000, false);
	put_multiboot_header(elf + 256, 3);
	vm->cfg.multiboot = write_file(0, elf, n);
	snprintf(module, sizeof(module), "%s one two", write_file(1, "module!", 7));
	vm->cfg.module[0] = module;
	vm->cfg.nmodules = 1;
	vm->cfg.cmdline = "opts";
	OK(boot(vm, &e) == ST_OK);
	OK(is_flat32(v, 0x200000) && v->regs.gpr[R_AX] == 0x2badb002);
	info = mem_ram(&vm->mem, v->regs.gpr[R_BX], 120);
	OK(info && (get32(info) & 0x249) == 0x249 && get32(info + 20) == 1);
	mods = mem_ram(&vm->mem, get32(info + 24), 16);
	OK(get32(mods) % 4096 == 0 && get32(mods + 4) - get32(mods) == 7);
	OK(memcmp(mem_ram(&vm->mem, get32(mods), 7), "module!", 7) == 0);
	OK(strcmp(mem_ram(&vm->mem, get32(mods + 8), 64), module) == 0);
	OK(strstr(mem_ram(&vm->mem, get32(info + 16), 128), " opts") != NULL);
	OK(strcmp(mem_ram(&vm->mem, get32(info + 64), 16), "Steelyard") == 0);
	OK(get32(info + 8) == 63 * 1024 && get32(info + 44) == 5 * 24);

	vm->cfg.nmodules = 0;
	put_multiboot_header(flat + 16, 0x10003);
	put32(flat + 28, 0x300010);
	put32(flat + 32, 0x300000);
	put32(flat + 40, 0x302000);
	put32(flat + 44, 0x300030);
	vm->cfg.multiboot = write_file(0, flat, sizeof(flat));
	OK(boot(vm, &e) == ST_OK && is_flat32(v, 0x300030));
	put32(flat + 32, 0x300011); /* load address behind the header's */
	vm->cfg.multiboot = write_file(0, flat, sizeof(flat));
	OK(boot(vm, &e) == ST_BAD_FILE && one_line(&e));
	put_multiboot_header(flat + 16, 0x10008);
	vm->cfg.multiboot = write_file(0, flat, sizeof(flat));
	OK(boot(vm, &e) == ST_UNSUPPORTED && one_line(&e));
	vm->cfg.multiboot = write_file(0, "not a kernel at all", 19);
	OK(boot(vm, &e) == ST_BAD_FILE && one_line(&e));
	machine_free(vm);
}

static void test_flat_and_rom(void)
{
	struct vm *vm = machine(64 * MIB, 1);
	struct vcpu *v = vm->vcpu[0];
	static uint8_t rom[300 * 1024 + 5];
	struct error e;

	vm->cfg.flat = write_file(0, "\xf4", 1);
	vm->cfg.flat_addr = 0x7c05;
	OK(boot(vm, &e) == ST_OK && vcpu_real_mode(v) && v->regs.seg[SEG_CS].base + v->regs.rip == 0x7c05);
	OK(v->regs.seg[SEG_CS].sel == 0x7c0 && *(uint8_t *)mem_ram(&vm->mem, 0x7c05, 1) == 0xf4);
	vm->cfg.flat_addr = 0x100000;
	OK(boot(vm, &e) == ST_OK && is_flat32(v, 0x100000));
	vm->cfg.flat_addr = 64 * MIB;
	OK(boot(vm, &e) == ST_TOO_BIG && one_line(&e));
	vm->cfg.flat_addr = UINT64_MAX;
	OK(boot(vm, &e) == ST_INVALID && one_line(&e));
	vm->cfg.flat = NULL;

	for (size_t i = 0; i < sizeof(rom); i++)
		rom[i] = (uint8_t)(i * 7);
	vm->cfg.rom = write_file(0, rom, sizeof(rom));
	for (int again = 0; again < 2; again++) { /* a reset finds the ROM in place */
		OK(boot(vm, &e) == ST_OK);
		OK(v->regs.seg[SEG_CS].base == 0xffff0000 && v->regs.rip == 0xfff0);
		OK(memcmp(mem_ram(&vm->mem, 0xe0000, 0x20000), rom + sizeof(rom) - 0x20000, 0x20000) == 0);
		OK(mem_rom(&vm->mem, 0xfffffff0, 16) &&
		   memcmp(mem_rom(&vm->mem, 0xfffffff0, 16), rom + sizeof(rom) - 16, 16) == 0);
	}
	vm->cfg.rom = write_file(0, "short", 5);
	OK(boot(vm, &e) == ST_BAD_FILE && one_line(&e));
	machine_free(vm);
}

static void test_check(void)
{
	struct vm_config c = {0};
	struct error e = {0};

	OK(boot_check(&c, &e) == ST_INVALID && strstr(e.msg, "--kernel") && one_line(&e));
	c.kernel = "/nonexistent/kernel";
	OK(boot_check(&c, &e) == ST_NOT_FOUND && one_line(&e));
	c.kernel = dir;
	OK(boot_check(&c, &e) == ST_BAD_FILE && one_line(&e));
	c.kernel = write_file(0, "", 0);
	OK(boot_check(&c, &e) == ST_BAD_FILE && strstr(e.msg, "empty"));
	c.kernel = write_file(0, "x", 1);
	OK(boot_check(&c, &e) == ST_OK);
	c.initrd = "/nonexistent/initrd";
	OK(boot_check(&c, &e) == ST_NOT_FOUND);
	c.initrd = NULL;
	c.rom = c.kernel;
	OK(boot_check(&c, &e) == ST_INVALID);
	c.kernel = NULL;
	c.initrd = c.rom;
	OK(boot_check(&c, &e) == ST_INVALID);
}

/* ---- hostile files: truncated at every place, and with random bytes changed ---- */

static uint32_t rnd(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

static void torture(struct vm *vm, const char **slot, const uint8_t *good, size_t n, size_t header, unsigned rounds)
{
	static uint8_t bad[IMAGE_ROOM];
	uint32_t seed = 0x5eed;
	unsigned wrong = 0;
	struct error e;

	for (size_t len = 1; len < n; len += 1 + len / 16) {
		*slot = write_file(0, good, len);
		if (boot(vm, &e) != ST_OK && !one_line(&e))
			wrong++;
	}
	for (unsigned i = 0; i < rounds; i++) {
		memcpy(bad, good, n);
		for (unsigned k = 1 + rnd(&seed) % 4; k; k--) {
			uint32_t at = rnd(&seed) % (uint32_t)(i & 1 ? n : header);

			bad[at] = rnd(&seed) & 1 ? 0xff : (uint8_t)rnd(&seed);
		}
		*slot = write_file(0, bad, n);
		if (boot(vm, &e) != ST_OK && !one_line(&e))
			wrong++;
	}
	OK(wrong == 0);
	*slot = NULL;
}

static void test_hostile(void)
{
	struct vm *vm = machine(32 * MIB, 1);
	static uint8_t img[IMAGE_ROOM];
	size_t n;

	for (int how = 0; how < PACK_COUNT; how++) {
		n = make_bzimage(img, (enum pack)how, how & 1);
		torture(vm, &vm->cfg.kernel, img, n, 0x280, 300);
	}
	n = make_elf(img, true, 0x200000, true);
	torture(vm, &vm->cfg.kernel, img, n, 600, 600);
	n = make_elf(img, false, 0x200000, true);
	torture(vm, &vm->cfg.kernel, img, n, 600, 600);
	put_multiboot_header(img + 256, 3);
	torture(vm, &vm->cfg.multiboot, img, n, 300, 600);
	memset(img, 0, 512);
	put_multiboot_header(img + 16, 0x10003);
	put32(img + 28, 0x300010);
	put32(img + 32, 0x300000);
	torture(vm, &vm->cfg.multiboot, img, 512, 64, 600);
	machine_free(vm);
}

/* ---- ACPI ---- */

static bool sums_to_zero(const struct vm *vm, uint64_t gpa, uint32_t len)
{
	const uint8_t *p = mem_ram(&vm->mem, gpa, len);
	uint8_t sum = 0;

	for (uint32_t i = 0; p && i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return p && sum == 0;
}

static const uint8_t *table(const struct vm *vm, uint64_t gpa, const char *sig)
{
	const uint8_t *p = mem_ram(&vm->mem, gpa, 36);

	OK(p && memcmp(p, sig, 4) == 0 && sums_to_zero(vm, gpa, get32(p + 4)));
	return p;
}

static void test_acpi(void)
{
	for (unsigned ncpus = 1; ncpus <= VM_MAX_CPUS; ncpus += 21) {
		struct vm *vm = machine(32 * MIB, ncpus);
		const uint8_t *rsdp = mem_ram(&vm->mem, LOW_RSDP, 36), *xsdt, *rsdt, *fadt, *madt;
		struct error e;

		vm->cfg.flat = write_file(0, "\xf4", 1);
		vm->cfg.flat_addr = 0x7c00;
		OK(boot(vm, &e) == ST_OK);
		OK(memcmp(rsdp, "RSD PTR ", 8) == 0 && sums_to_zero(vm, LOW_RSDP, 20) &&
		   sums_to_zero(vm, LOW_RSDP, 36));
		rsdt = table(vm, get32(rsdp + 16), "RSDT");
		xsdt = table(vm, get64(rsdp + 24), "XSDT");
		OK(get32(rsdt + 36) == get64(xsdt + 36) && get32(rsdt + 40) == get64(xsdt + 44));
		fadt = table(vm, get64(xsdt + 36), "FACP");
		madt = table(vm, get64(xsdt + 44), "APIC");
		table(vm, get32(fadt + 40), "DSDT");
		OK(get64(table(vm, get64(xsdt + 52), "MCFG") + 44) == BOARD_ECAM_GPA);
		OK(get32(fadt + 36) % 64 == 0 && memcmp(mem_ram(&vm->mem, get32(fadt + 36), 64), "FACS", 4) == 0);
		OK(get32(madt + 4) == 36 + 8 + 8 * ncpus + 12 + 20 + 6);
		machine_free(vm);
	}
}

int main(void)
{
	if (!mkdtemp(dir))
		abort();
	test_cpuid();
	test_msr();
	test_check();
	test_linux();
	test_elf();
	test_multiboot();
	test_flat_and_rom();
	test_hostile();
	test_acpi();
	for (unsigned i = 0; i < ARRAY_LEN(path); i++)
		if (path[i][0])
			unlink(path[i]);
	rmdir(dir);
	printf("%u passed, %u failed\n", tally.passed, tally.failed);
	return tally.failed ? 1 : 0;
}
