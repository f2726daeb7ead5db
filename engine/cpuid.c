/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPUID as a table. One row is one feature bit with its policy; everything the guest sees of features comes from the
 * rows.
 *
 * The guest gets the host's vendor, family, model and stepping: its instructions run on that processor, so its errata,
 * its undefined flags and its MSR dialect are the host's. A feature that is an instruction is offered when the host has
 * it; a feature of the system architecture (paging, APIC, SYSCALL, ...) is the machine's own work and does not depend
 * on the host.
 *
 * Speculation. The rows and IA32_ARCH_CAPABILITIES (engine/msr.c) say that this processor is not affected by any of the
 * known speculative side channels, so that a guest kernel applies no mitigation. That is deliberate: a translated or
 * interpreted guest runs other code than its own, with other branches at other addresses, so its retpolines, RSB
 * stuffing and barriers protect nothing here; they would only cost time. What keeps a guest from reading this process
 * is that it has no host address of its own, and what keeps processes apart is the host kernel, which knows the real
 * processor. Isolation between two programs inside one guest is NOT provided against speculation. On the kvm path the
 * processor runs the guest's own code: a guest that begins there gets none of these claims (cpuid_drop_immunity).
 *
 * Deviations from a real processor, all of them permitted to a virtual one: no MCA, no performance counters, no MONITOR, no virtualization, no supervisor XSAVE state.
 *
 * Sources: SDM 2A CPUID, APM 3 appendix E, and the checks of Linux 6.1 arch/x86/kernel/cpu/{common,bugs,amd,intel}.c.
 */
#include <cpuid.h>

#include "engine/cpuid.h"
#include "engine/apic/lapic.h"
#include "engine/vcpu.h"
#include "engine/vm.h"

enum policy {
	P_HOST,  /* an instruction: offered when the host has it */
	P_XSAVE, /* ... and the host's kernel has enabled XSAVE */
	P_AVX,   /* ... and the host's kernel has enabled the YMM state */
	P_ZMM,   /* ... and that of AVX-512, and the machine offers in full: translator and interpreter do not run it */
	P_SOFT,  /* the machine's own work: offered on every host */
	P_AMD,   /* the same, but a bit that only AMD's processors define */
	P_SMP,   /* set with more than one vCPU */
	P_AMDSMP,
	P_OFF, /* known, and withheld: the row says why */
};

enum reg { EAX, EBX, ECX, EDX };

/* clang-format off */
/* id, leaf, subleaf, register, bit, name, policy */
#define FEATURE_ROWS(X)                                                                        \
	X(FPU, 0x1, 0, EDX, 0, "fpu", P_HOST)                                                  \
	X(VME, 0x1, 0, EDX, 1, "vme", P_OFF)	/* virtual-8086 extensions: nobody needs them */\
	X(DE, 0x1, 0, EDX, 2, "de", P_SOFT)                                                    \
	X(PSE, 0x1, 0, EDX, 3, "pse", P_SOFT)                                                  \
	X(TSC, 0x1, 0, EDX, 4, "tsc", P_SOFT)                                                  \
	X(MSR, 0x1, 0, EDX, 5, "msr", P_SOFT)                                                  \
	X(PAE, 0x1, 0, EDX, 6, "pae", P_SOFT)                                                  \
	X(MCE, 0x1, 0, EDX, 7, "mce", P_SOFT)                                                  \
	X(CX8, 0x1, 0, EDX, 8, "cx8", P_HOST)                                                  \
	X(APIC, 0x1, 0, EDX, 9, "apic", P_SOFT)                                                \
	X(SEP, 0x1, 0, EDX, 11, "sep", P_SOFT)                                                 \
	X(MTRR, 0x1, 0, EDX, 12, "mtrr", P_SOFT)                                               \
	X(PGE, 0x1, 0, EDX, 13, "pge", P_SOFT)                                                 \
	X(MCA, 0x1, 0, EDX, 14, "mca", P_OFF)	/* no machine-check banks */                   \
	X(CMOV, 0x1, 0, EDX, 15, "cmov", P_HOST)                                               \
	X(PAT, 0x1, 0, EDX, 16, "pat", P_SOFT)                                                 \
	X(PSE36, 0x1, 0, EDX, 17, "pse36", P_SOFT)                                             \
	X(CLFLUSH, 0x1, 0, EDX, 19, "clflush", P_HOST)                                         \
	X(MMX, 0x1, 0, EDX, 23, "mmx", P_HOST)                                                 \
	X(FXSR, 0x1, 0, EDX, 24, "fxsr", P_HOST)                                               \
	X(SSE, 0x1, 0, EDX, 25, "sse", P_HOST)                                                 \
	X(SSE2, 0x1, 0, EDX, 26, "sse2", P_HOST)                                               \
	X(SS, 0x1, 0, EDX, 27, "ss", P_OFF)                                                    \
	X(HT, 0x1, 0, EDX, 28, "ht", P_SMP)                                                    \
	X(SSE3, 0x1, 0, ECX, 0, "sse3", P_HOST)                                                \
	X(PCLMUL, 0x1, 0, ECX, 1, "pclmulqdq", P_HOST)                                         \
	X(MONITOR, 0x1, 0, ECX, 3, "monitor", P_OFF)                                           \
	X(VMX, 0x1, 0, ECX, 5, "vmx", P_OFF)                                                   \
	X(SSSE3, 0x1, 0, ECX, 9, "ssse3", P_HOST)                                              \
	X(FMA, 0x1, 0, ECX, 12, "fma", P_AVX)                                                  \
	X(CX16, 0x1, 0, ECX, 13, "cx16", P_HOST)                                               \
	X(PDCM, 0x1, 0, ECX, 15, "pdcm", P_OFF)                                                \
	/* PCID: tagged translations buy nothing while the soft TLB is flushed by CR3 loads */ \
	X(PCID, 0x1, 0, ECX, 17, "pcid", P_OFF)                                                \
	X(SSE41, 0x1, 0, ECX, 19, "sse4_1", P_HOST)                                            \
	X(SSE42, 0x1, 0, ECX, 20, "sse4_2", P_HOST)                                            \
	/* x2APIC: Linux leaves it alone without interrupt remapping */                        \
	X(X2APIC, 0x1, 0, ECX, 21, "x2apic", P_OFF)                                            \
	X(MOVBE, 0x1, 0, ECX, 22, "movbe", P_HOST)                                             \
	X(POPCNT, 0x1, 0, ECX, 23, "popcnt", P_HOST)                                           \
	X(TSC_DEADLINE, 0x1, 0, ECX, 24, "tsc_deadline_timer", P_SOFT)                         \
	X(AES, 0x1, 0, ECX, 25, "aes", P_HOST)                                                 \
	X(XSAVE, 0x1, 0, ECX, 26, "xsave", P_XSAVE)                                            \
	X(AVX, 0x1, 0, ECX, 28, "avx", P_AVX)                                                  \
	X(F16C, 0x1, 0, ECX, 29, "f16c", P_AVX)                                                \
	X(RDRAND, 0x1, 0, ECX, 30, "rdrand", P_HOST)                                           \
	X(HYPERVISOR, 0x1, 0, ECX, 31, "hypervisor", P_SOFT)                                   \
	/* ARAT: the APIC timer never stops */                                                 \
	X(ARAT, 0x6, 0, EAX, 2, "arat", P_SOFT)                                                \
	X(FSGSBASE, 0x7, 0, EBX, 0, "fsgsbase", P_SOFT)                                        \
	X(TSC_ADJUST, 0x7, 0, EBX, 1, "tsc_adjust", P_SOFT)                                    \
	X(BMI1, 0x7, 0, EBX, 3, "bmi1", P_HOST)                                                \
	X(HLE, 0x7, 0, EBX, 4, "hle", P_OFF)                                                   \
	X(AVX2, 0x7, 0, EBX, 5, "avx2", P_AVX)                                                 \
	X(FDP_EXCPTN, 0x7, 0, EBX, 6, "fdp_excptn_only", P_HOST)                               \
	X(SMEP, 0x7, 0, EBX, 7, "smep", P_SOFT)                                                \
	X(BMI2, 0x7, 0, EBX, 8, "bmi2", P_HOST)                                                \
	X(ERMS, 0x7, 0, EBX, 9, "erms", P_HOST)                                                \
	X(INVPCID, 0x7, 0, EBX, 10, "invpcid", P_OFF)                                          \
	X(RTM, 0x7, 0, EBX, 11, "rtm", P_OFF)                                                  \
	X(ZERO_FCS, 0x7, 0, EBX, 13, "zero_fcs_fds", P_HOST)                                   \
	X(MPX, 0x7, 0, EBX, 14, "mpx", P_OFF)                                                  \
	X(AVX512F, 0x7, 0, EBX, 16, "avx512f", P_ZMM)                                          \
	X(AVX512DQ, 0x7, 0, EBX, 17, "avx512dq", P_ZMM)                                        \
	X(RDSEED, 0x7, 0, EBX, 18, "rdseed", P_HOST)                                           \
	X(ADX, 0x7, 0, EBX, 19, "adx", P_HOST)                                                 \
	/* SMAP: rights that depend on EFLAGS.AC would have to be checked again at each STAC */\
	/* and CLAC: a translator pays for that in flushed windows on every user copy */       \
	X(SMAP, 0x7, 0, EBX, 20, "smap", P_OFF)                                                \
	X(AVX512IFMA, 0x7, 0, EBX, 21, "avx512ifma", P_ZMM)                                    \
	X(CLFLUSHOPT, 0x7, 0, EBX, 23, "clflushopt", P_HOST)                                   \
	X(CLWB, 0x7, 0, EBX, 24, "clwb", P_HOST)                                               \
	X(AVX512CD, 0x7, 0, EBX, 28, "avx512cd", P_ZMM)                                        \
	X(SHA, 0x7, 0, EBX, 29, "sha_ni", P_HOST)                                              \
	X(AVX512BW, 0x7, 0, EBX, 30, "avx512bw", P_ZMM)                                        \
	X(AVX512VL, 0x7, 0, EBX, 31, "avx512vl", P_ZMM)                                        \
	X(AVX512VBMI, 0x7, 0, ECX, 1, "avx512vbmi", P_ZMM)                                     \
	X(UMIP, 0x7, 0, ECX, 2, "umip", P_SOFT)                                                \
	X(PKU, 0x7, 0, ECX, 3, "pku", P_OFF)                                                   \
	X(AVX512VBMI2, 0x7, 0, ECX, 6, "avx512_vbmi2", P_ZMM)                                  \
	X(GFNI, 0x7, 0, ECX, 8, "gfni", P_HOST)                                                \
	X(VAES, 0x7, 0, ECX, 9, "vaes", P_AVX)                                                 \
	X(VPCLMUL, 0x7, 0, ECX, 10, "vpclmulqdq", P_AVX)                                       \
	X(AVX512VNNI, 0x7, 0, ECX, 11, "avx512_vnni", P_ZMM)                                   \
	X(AVX512BITALG, 0x7, 0, ECX, 12, "avx512_bitalg", P_ZMM)                               \
	X(AVX512POPCNT, 0x7, 0, ECX, 14, "avx512_vpopcntdq", P_ZMM)                            \
	X(LA57, 0x7, 0, ECX, 16, "la57", P_OFF)                                                \
	X(RDPID, 0x7, 0, ECX, 22, "rdpid", P_HOST)                                             \
	X(FSRM, 0x7, 0, EDX, 4, "fsrm", P_HOST)                                                \
	X(AVX512VP2I, 0x7, 0, EDX, 8, "avx512_vp2intersect", P_ZMM)                            \
	X(MD_CLEAR, 0x7, 0, EDX, 10, "md_clear", P_OFF)                                        \
	X(AVX512FP16, 0x7, 0, EDX, 23, "avx512_fp16", P_ZMM)                                   \
	/* IBRS/IBPB and STIBP withheld: without them Linux has no per-task mitigation to run */\
	X(SPEC_CTRL, 0x7, 0, EDX, 26, "spec_ctrl", P_OFF)                                      \
	X(STIBP, 0x7, 0, EDX, 27, "stibp", P_OFF)                                              \
	X(ARCH_CAP, 0x7, 0, EDX, 29, "arch_capabilities", P_SOFT)                              \
	X(SSBD, 0x7, 0, EDX, 31, "ssbd", P_OFF)                                                \
	X(XSAVEOPT, 0xd, 1, EAX, 0, "xsaveopt", P_XSAVE)                                       \
	X(XSAVEC, 0xd, 1, EAX, 1, "xsavec", P_XSAVE)                                           \
	X(XGETBV1, 0xd, 1, EAX, 2, "xgetbv1", P_XSAVE)                                         \
	X(XSAVES, 0xd, 1, EAX, 3, "xsaves", P_OFF)                                             \
	X(LAHF_LM, 0x80000001, 0, ECX, 0, "lahf_lm", P_HOST)                                   \
	X(CMP_LEGACY, 0x80000001, 0, ECX, 1, "cmp_legacy", P_AMDSMP)                           \
	X(SVM, 0x80000001, 0, ECX, 2, "svm", P_OFF)                                            \
	X(ABM, 0x80000001, 0, ECX, 5, "abm", P_HOST)                                           \
	X(SSE4A, 0x80000001, 0, ECX, 6, "sse4a", P_HOST)                                       \
	X(MISALIGNSSE, 0x80000001, 0, ECX, 7, "misalignsse", P_HOST)                           \
	X(PREFETCHW, 0x80000001, 0, ECX, 8, "3dnowprefetch", P_HOST)                           \
	X(TOPOEXT, 0x80000001, 0, ECX, 22, "topoext", P_AMD)                                   \
	X(SYSCALL, 0x80000001, 0, EDX, 11, "syscall", P_SOFT)                                  \
	X(NX, 0x80000001, 0, EDX, 20, "nx", P_SOFT)                                            \
	X(MMXEXT, 0x80000001, 0, EDX, 22, "mmxext", P_HOST)                                    \
	X(FXSR_OPT, 0x80000001, 0, EDX, 25, "fxsr_opt", P_OFF)                                 \
	X(GBPAGES, 0x80000001, 0, EDX, 26, "pdpe1gb", P_SOFT)                                  \
	X(RDTSCP, 0x80000001, 0, EDX, 27, "rdtscp", P_SOFT)                                    \
	X(LM, 0x80000001, 0, EDX, 29, "lm", P_SOFT)                                            \
	X(INVTSC, 0x80000007, 0, EDX, 8, "invariant_tsc", P_SOFT)                              \
	X(CLZERO, 0x80000008, 0, EBX, 0, "clzero", P_OFF)                                      \
	X(XSAVEERPTR, 0x80000008, 0, EBX, 2, "xsaveerptr", P_HOST)                             \
	X(WBNOINVD, 0x80000008, 0, EBX, 9, "wbnoinvd", P_HOST)                                 \
	X(AMD_IBPB, 0x80000008, 0, EBX, 12, "amd_ibpb", P_OFF)                                 \
	X(AMD_SSB_NO, 0x80000008, 0, EBX, 26, "amd_ssb_no", P_AMD)                             \
	X(BTC_NO, 0x80000008, 0, EBX, 29, "btc_no", P_AMD)                                     \
	X(LFENCE_SER, 0x80000021, 0, EAX, 2, "lfence_rdtsc", P_HOST)                           \
	X(AUTOIBRS, 0x80000021, 0, EAX, 8, "autoibrs", P_AMD)                                  \
	X(NO_SMM_CTL, 0x80000021, 0, EAX, 9, "no_smm_ctl_msr", P_AMD)                          \
	X(SRSO_NO, 0x80000021, 0, EAX, 29, "srso_no", P_AMD)                                   \
	X(TSA_SQ_NO, 0x80000021, 0, ECX, 1, "tsa_sq_no", P_AMD)                                \
	X(TSA_L1_NO, 0x80000021, 0, ECX, 2, "tsa_l1_no", P_AMD)
/* clang-format on */

enum {
#define X(id, leaf, sub, reg, bit, name, policy) F_##id,
	FEATURE_ROWS(X)
#undef X
		F_ROWS
};

static const struct feature_row {
	uint32_t leaf;
	uint8_t subleaf, reg, bit, policy;
	const char *name;
} feature_rows[F_ROWS] = {
#define X(id, leaf, sub, reg, bit, name, policy) [F_##id] = {leaf, sub, reg, bit, policy, name},
	FEATURE_ROWS(X)
#undef X
};

static const uint8_t feature_of[CF_COUNT] = {
	[CF_PGE] = F_PGE,
	[CF_PSE] = F_PSE,
	[CF_PAE] = F_PAE,
	[CF_NX] = F_NX,
	[CF_LM] = F_LM,
	[CF_SYSCALL] = F_SYSCALL,
	[CF_SYSENTER] = F_SEP,
	[CF_PCID] = F_PCID,
	[CF_SMEP] = F_SMEP,
	[CF_SMAP] = F_SMAP,
	[CF_UMIP] = F_UMIP,
	[CF_FSGSBASE] = F_FSGSBASE,
	[CF_1GB] = F_GBPAGES,
	[CF_XSAVE] = F_XSAVE,
	[CF_AVX] = F_AVX,
	[CF_AVX2] = F_AVX2,
	[CF_RDTSCP] = F_RDTSCP,
	[CF_X2APIC] = F_X2APIC,
	[CF_TSC_DEADLINE] = F_TSC_DEADLINE,
	[CF_CX16] = F_CX16,
	[CF_INVPCID] = F_INVPCID,
	[CF_RDRAND] = F_RDRAND,
	[CF_RDSEED] = F_RDSEED,
};

#define XCR0_X87 1ull
#define XCR0_SSE 2ull
#define XCR0_YMM 4ull
#define XCR0_ZMM 0xe0ull /* opmasks, upper halves of ZMM0-15, ZMM16-31: all or none (SDM 1 13.3) */
#define XSAVE_FIRST 2u	 /* components in the extended region; as many as a guest may have */
#define XSAVE_LAST 7u
#define XSAVE_ALIGNED 2u /* in ECX of a component: begins at a multiple of 64 when compacted */
#define XSAVE_LEGACY_BYTES 576 /* legacy region and header (SDM 1 13.4) */

/* Guest-physical address bits: more than the largest machine needs (MEM_MAX_BYTES), within what the host can address.
 */
#define PHYS_BITS_MAX 46
#define LINEAR_BITS 48

#define LEAF_HV 0x40000000u
#define LEAF_HV_TIMING 0x40000010u
#define LEAF_EXT 0x80000000u

/* What this host has, asked once per machine. */
struct host {
	bool amd;
	bool xsave;
	uint64_t xcr0; /* what the guest may have of it */
	uint32_t max_basic, max_ext;
};

static void host_cpuid(const struct host *h, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	uint32_t max = leaf >= LEAF_EXT ? h->max_ext : h->max_basic;

	r[EAX] = r[EBX] = r[ECX] = r[EDX] = 0;
	if (leaf <= max)
		__cpuid_count(leaf, sub, r[EAX], r[EBX], r[ECX], r[EDX]);
}

static void host_probe(struct host *h, enum cpuid_offer offer)
{
	uint32_t r[4];

	__cpuid(0, h->max_basic, r[EBX], r[ECX], r[EDX]);
	/* "AuthenticAMD" and "HygonGenuine": the AMD dialect */
	h->amd = r[EBX] == 0x68747541 || r[EBX] == 0x6f677948;
	__cpuid(LEAF_EXT, h->max_ext, r[EBX], r[ECX], r[EDX]);
	if (h->max_ext < LEAF_EXT || h->max_ext > LEAF_EXT + 0xffff)
		h->max_ext = 0;
	host_cpuid(h, 1, 0, r);
	h->xsave = (r[ECX] >> 27) & 1; /* OSXSAVE: the kernel has enabled it */
	h->xcr0 = 0;
	if (h->xsave) {
		uint32_t lo, hi;

		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		h->xcr0 = (lo | (uint64_t)hi << 32) & (CPUID_XCR0_COMMON | (offer == CPUID_FULL ? XCR0_ZMM : 0));
		if ((h->xcr0 & XCR0_ZMM) != XCR0_ZMM || !(h->xcr0 & XCR0_YMM))
			h->xcr0 &= ~XCR0_ZMM;
	}
}

static const struct cpuid_entry *find(const struct cpuid_table *t, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct cpuid_entry *e = &t->entry[i];

		if (e->leaf == leaf && (!e->has_subleaf || e->subleaf == sub))
			return e;
	}
	return NULL;
}

static uint32_t entry_reg(const struct cpuid_entry *e, unsigned reg)
{
	return reg == EAX ? e->eax : reg == EBX ? e->ebx : reg == ECX ? e->ecx : e->edx;
}

static struct cpuid_entry *add(struct cpuid_table *t, uint32_t leaf, int sub)
{
	struct cpuid_entry *e = &t->entry[t->n++];

	BUG_ON(t->n > CPUID_MAX_ENTRIES);
	*e = (struct cpuid_entry){.leaf = leaf, .subleaf = sub < 0 ? 0 : (uint32_t)sub, .has_subleaf = sub >= 0};
	return e;
}

static void entry_or(struct cpuid_entry *e, unsigned reg, uint32_t bits)
{
	uint32_t *p = reg == EAX ? &e->eax : reg == EBX ? &e->ebx : reg == ECX ? &e->ecx : &e->edx;

	*p |= bits;
}

static void copy_host(struct cpuid_table *t, const struct host *h, uint32_t leaf, int sub)
{
	struct cpuid_entry *e = add(t, leaf, sub);
	uint32_t r[4];

	host_cpuid(h, leaf, sub < 0 ? 0 : (uint32_t)sub, r);
	e->eax = r[EAX], e->ebx = r[EBX], e->ecx = r[ECX], e->edx = r[EDX];
}

static bool offered(const struct feature_row *f, const struct host *h, unsigned ncpus)
{
	uint32_t r[4];

	switch ((enum policy)f->policy) {
	case P_SOFT:
		return true;
	case P_AMD:
		return h->amd;
	case P_SMP:
		return ncpus > 1;
	case P_AMDSMP:
		return h->amd && ncpus > 1;
	case P_OFF:
		return false;
	case P_XSAVE:
		if (!h->xsave)
			return false;
		break;
	case P_AVX:
		if ((h->xcr0 & (XCR0_SSE | XCR0_YMM)) != (XCR0_SSE | XCR0_YMM))
			return false;
		break;
	case P_ZMM:
		if (!(h->xcr0 & XCR0_ZMM))
			return false;
		break;
	case P_HOST:
		break;
	}
	host_cpuid(h, f->leaf, f->subleaf, r);
	return (r[f->reg] >> f->bit) & 1;
}

static unsigned bits_for(unsigned n)
{
	unsigned b = 0;

	while ((1u << b) < n)
		b++;
	return b;
}

/* Cache leaves (Intel 4, AMD 8000001D) have one encoding: EAX 7:5 level, 25:14 logical processors that share it
 * minus 1. */
static void add_caches(struct cpuid_table *t, const struct host *h, uint32_t leaf, unsigned ncpus)
{
	for (int sub = 0; sub < 5; sub++) {
		struct cpuid_entry *e;
		unsigned level;

		copy_host(t, h, leaf, sub);
		e = &t->entry[t->n - 1];
		if (!(e->eax & 0x1f)) { /* no more caches */
			e->eax = e->ebx = e->ecx = e->edx = 0;
			return;
		}
		level = (e->eax >> 5) & 7;
		e->eax &= 0x3fff;
		if (level >= 3)
			e->eax |= ((1u << bits_for(ncpus)) - 1) << 14;
		if (leaf == 4)
			e->eax |= ((1u << bits_for(ncpus)) - 1) << 26; /* core IDs in the package, minus 1 */
	}
}

/* Bytes that XSAVE writes with this XCR0; compacted: XSAVEC, which leaves no gaps (SDM 1 13.4.3). */
static uint32_t xsave_bytes(const struct cpuid_table *t, uint64_t xcr0, bool compacted)
{
	uint32_t end = XSAVE_LEGACY_BYTES;

	for (unsigned i = XSAVE_FIRST; i <= XSAVE_LAST; i++) {
		const struct cpuid_entry *e = xcr0 & 1ull << i ? find(t, 0xd, i) : NULL;

		if (!e)
			continue;
		if (compacted && (e->ecx & XSAVE_ALIGNED))
			end = (end + 63) & ~63u;
		if (compacted)
			end += e->eax;
		else if (e->ebx + e->eax > end)
			end = e->ebx + e->eax;
	}
	return end;
}

/* The components' places are the processor's: the guest's XSAVE writes its own format (SDM 1 13.4.3). */
static void add_xsave(struct cpuid_table *t, struct host *h)
{
	uint32_t r[4];
	struct cpuid_entry *e;

	if (!h->xsave)
		return;
	for (unsigned i = XSAVE_FIRST; i <= XSAVE_LAST; i++) {
		host_cpuid(h, 0xd, i, r);
		if ((h->xcr0 & 1ull << i) && (!r[EAX] || r[EBX] < XSAVE_LEGACY_BYTES || r[EBX] + r[EAX] > XSAVE_AREA_BYTES))
			h->xcr0 &= i == XSAVE_FIRST ? XCR0_X87 | XCR0_SSE : ~XCR0_ZMM;
	}
	e = add(t, 0xd, 0);
	e->eax = (uint32_t)(XCR0_X87 | XCR0_SSE | h->xcr0);
	add(t, 0xd, 1); /* EAX from the rows, EBX filled in at query time */
	for (unsigned i = XSAVE_FIRST; i <= XSAVE_LAST; i++)
		if (h->xcr0 & 1ull << i) {
			copy_host(t, h, 0xd, (int)i);
			e = &t->entry[t->n - 1];
			e->ecx &= XSAVE_ALIGNED;
			e->edx = 0;
		}
	e = (struct cpuid_entry *)find(t, 0xd, 0);
	e->ecx = xsave_bytes(t, e->eax, false);
}

static void add_hypervisor(struct cpuid_table *t)
{
	struct cpuid_entry *e = add(t, LEAF_HV, -1);

	e->eax = LEAF_HV_TIMING;
	__builtin_memcpy(&e->ebx, "Stee", 4);
	__builtin_memcpy(&e->ecx, "lyar", 4);
	__builtin_memcpy(&e->edx, "dVMM", 4);
	add(t, LEAF_HV_TIMING, -1); /* EAX TSC kHz, EBX APIC timer kHz: filled in at query time */
}

void cpuid_build(struct cpuid_table *t, unsigned ncpus, enum cpuid_offer offer)
{
	struct cpuid_entry *e;
	struct host h;
	uint32_t r[4];

	t->n = 0;
	host_probe(&h, offer);

	copy_host(t, &h, 0, -1);
	/* Not up to the frequency leaves 15H and 16H: Linux computes with them in 32 bits, and what fits is too coarse for
	 * a clock. It measures the TSC instead. */
	t->entry[0].eax = 0xd;

	host_cpuid(&h, 1, 0, r);
	e = add(t, 1, -1);
	e->eax = r[EAX];
	e->ebx = (r[EBX] & 0xff00) | (ncpus > 1 ? ncpus << 16 : 0); /* CLFLUSH line size; logical processors */
	if (!h.amd) {
		copy_host(t, &h, 2, -1);
		add_caches(t, &h, 4, ncpus);
	}
	add(t, 6, -1);
	add(t, 7, 0);
	e = add(t, 0xb, 0); /* one thread a core */
	e->ebx = 1;
	e->ecx = 0x100;
	e = add(t, 0xb, 1);
	e->eax = bits_for(ncpus);
	e->ebx = ncpus;
	e->ecx = 0x201;
	add_xsave(t, &h);
	add_hypervisor(t);

	copy_host(t, &h, LEAF_EXT, -1);
	e = &t->entry[t->n - 1];
	e->eax = h.amd ? LEAF_EXT + 0x21 : LEAF_EXT + 8;
	e = add(t, LEAF_EXT + 1, -1);
	if (h.amd) {
		host_cpuid(&h, LEAF_EXT + 1, 0, r);
		e->eax = r[EAX];
		e->ebx = r[EBX] & 0xf0000000; /* package type */
	}
	for (uint32_t leaf = LEAF_EXT + 2; leaf <= LEAF_EXT + 4; leaf++)
		copy_host(t, &h, leaf, -1);
	if (h.amd)
		copy_host(t, &h, LEAF_EXT + 5, -1);
	copy_host(t, &h, LEAF_EXT + 6, -1);
	add(t, LEAF_EXT + 7, -1);
	host_cpuid(&h, LEAF_EXT + 8, 0, r);
	e = add(t, LEAF_EXT + 8, -1);
	e->eax = (r[EAX] & 0xff) && (r[EAX] & 0xff) < PHYS_BITS_MAX ? r[EAX] & 0xff : PHYS_BITS_MAX;
	e->eax |= LINEAR_BITS << 8;
	if (h.amd) {
		e->ecx = (ncpus - 1) | bits_for(ncpus) << 12;
		copy_host(t, &h, LEAF_EXT + 0x19, -1);
		copy_host(t, &h, LEAF_EXT + 0x1a, -1);
		add_caches(t, &h, LEAF_EXT + 0x1d, ncpus);
		add(t, LEAF_EXT + 0x1e, -1);
		add(t, LEAF_EXT + 0x21, -1);
	}

	for (unsigned i = 0; i < F_ROWS; i++) {
		const struct feature_row *f = &feature_rows[i];
		struct cpuid_entry *to = (struct cpuid_entry *)find(t, f->leaf, f->subleaf);

		if (to && offered(f, &h, ncpus))
			entry_or(to, f->reg, 1u << f->bit);
	}
	if (h.amd) {
		/* APM 3 E.4.2: 80000001 EDX repeats bits of leaf 1 */
		uint32_t edx = find(t, 1, 0)->edx & 0x0183f3ff;

		entry_or((struct cpuid_entry *)find(t, LEAF_EXT + 1, 0), EDX, edx);
	}
}

static void drop(struct cpuid_table *t, const uint8_t *features, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct feature_row *f = &feature_rows[features[i]];
		struct cpuid_entry *e = (struct cpuid_entry *)find(t, f->leaf, f->subleaf);

		if (!e)
			continue;
		*(f->reg == EAX ? &e->eax : f->reg == EBX ? &e->ebx : f->reg == ECX ? &e->ecx : &e->edx) &= ~(1u << f->bit);
	}
}

void cpuid_drop_immunity(struct cpuid_table *t)
{
	static const uint8_t claims[] = {F_ARCH_CAP,  F_AMD_SSB_NO, F_BTC_NO,	 F_AUTOIBRS,
					 F_SRSO_NO, F_TSA_SQ_NO,	F_TSA_L1_NO};

	drop(t, claims, ARRAY_LEN(claims));
}

void cpuid_drop_random(struct cpuid_table *t)
{
	static const uint8_t random[] = {F_RDRAND, F_RDSEED};

	drop(t, random, ARRAY_LEN(random));
}

static bool table_is_amd(const struct cpuid_table *t)
{
	return t->n && (t->entry[0].ebx == 0x68747541 || t->entry[0].ebx == 0x6f677948);
}

bool cpuid_vendor_amd(const struct vm *vm)
{
	return table_is_amd(&vm->cpuid);
}

unsigned cpuid_phys_bits(const struct vm *vm)
{
	const struct cpuid_entry *e = find(&vm->cpuid, LEAF_EXT + 8, 0);

	return e ? e->eax & 0xff : PHYS_BITS_MAX;
}

void cpuid_query(const struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct vm *vm = v->vm;
	const struct cpuid_table *t = &vm->cpuid;
	const struct cpuid_entry *e;
	bool apic_on = !v->lapic || (lapic_base(v->lapic) & (1u << 11));

	out[EAX] = out[EBX] = out[ECX] = out[EDX] = 0;
	/* Past the last leaf Intel's processors answer with the highest basic one, AMD's with zeros. Leaves 4000xxxx
	 * are ours. */
	if (!table_is_amd(t) && t->n && (leaf < LEAF_HV || leaf >= LEAF_EXT)) {
		const struct cpuid_entry *ext = find(t, LEAF_EXT, 0);

		if (leaf < LEAF_EXT ? leaf > t->entry[0].eax : ext && leaf > ext->eax)
			leaf = t->entry[0].eax;
	}
	e = find(t, leaf, subleaf);
	if (e) {
		out[EAX] = e->eax, out[EBX] = e->ebx, out[ECX] = e->ecx, out[EDX] = e->edx;
	} else if (leaf == 0xb) {
		out[ECX] = subleaf & 0xff; /* an invalid level; EDX still tells the ID (SDM 2A CPUID 0BH) */
	}

	switch (leaf) {
	case 1:
		out[EBX] |= v->id << 24;
		if (v->regs.cr4 & CR4_OSXSAVE)
			out[ECX] |= 1u << 27;
		if (!apic_on)
			out[EDX] &= ~(1u << 9);
		break;
	case 0xb:
		out[EDX] = v->id;
		break;
	case 0xd:
		if (subleaf == 0 && e)
			out[EBX] = xsave_bytes(t, v->regs.xcr0, false);
		else if (subleaf == 1 && e && (e->eax & 2))
			out[EBX] = xsave_bytes(t, v->regs.xcr0, true);
		break;
	case LEAF_HV_TIMING:
		out[EAX] = (uint32_t)vm->clock.tsc_khz;
		out[EBX] = CPUID_APIC_TIMER_KHZ;
		break;
	case LEAF_EXT + 1:
		if (!apic_on)
			out[EDX] &= ~(1u << 9);
		break;
	case LEAF_EXT + 0x1e:
		if (e) {
			out[EAX] = v->id;
			out[EBX] = v->id; /* core ID; one thread a core */
		}
		break;
	default:
		break;
	}
}

bool cpuid_has(const struct vm *vm, enum cpuid_feature f)
{
	const struct feature_row *row = &feature_rows[feature_of[f]];
	const struct cpuid_entry *e = find(&vm->cpuid, row->leaf, row->subleaf);

	return e && ((entry_reg(e, row->reg) >> row->bit) & 1);
}

uint64_t cpuid_xcr0_mask(const struct vm *vm)
{
	const struct cpuid_entry *e = cpuid_has(vm, CF_XSAVE) ? find(&vm->cpuid, 0xd, 0) : NULL;

	return e ? e->eax : 0;
}

bool cpuid_xsave_component(const struct vm *vm, unsigned i, uint32_t *offset, uint32_t *size)
{
	const struct cpuid_entry *e;

	if (i < 2 && cpuid_has(vm, CF_XSAVE)) { /* x87 and SSE share the legacy region (SDM 1 13.4.1) */
		*offset = i == 0 ? 0 : 160;
		*size = i == 0 ? 160 : 256;
		return true;
	}
	e = i >= 2 ? find(&vm->cpuid, 0xd, i) : NULL;
	if (!e || !e->eax)
		return false;
	*offset = e->ebx;
	*size = e->eax;
	return true;
}

bool cpuid_row(const struct vm *vm, unsigned i, const char **name, bool *is_offered)
{
	const struct feature_row *row = &feature_rows[i];
	const struct cpuid_entry *e;

	if (i >= F_ROWS)
		return false;
	e = find(&vm->cpuid, row->leaf, row->subleaf);
	*name = row->name;
	*is_offered = e && ((entry_reg(e, row->reg) >> row->bit) & 1);
	return true;
}
