/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID as a table: what the guest may see, masked by what the host can run. */
#ifndef STEELYARD_CPUID_H
#define STEELYARD_CPUID_H

#include "engine/status.h"

struct vm;
struct vcpu;

#define CPUID_MAX_ENTRIES 64
struct cpuid_entry {
	uint32_t leaf, subleaf;
	bool has_subleaf;
	uint32_t eax, ebx, ecx, edx;
};
struct cpuid_table {
	struct cpuid_entry entry[CPUID_MAX_ENTRIES];
	unsigned n;
};

/* Features by name, for code that asks "may the guest use X". One row each in engine/cpuid.c. */
enum cpuid_feature {
	CF_PGE, CF_PSE, CF_PAE, CF_NX, CF_LM, CF_SYSCALL, CF_SYSENTER, CF_PCID, CF_SMEP, CF_SMAP, CF_UMIP, CF_FSGSBASE, CF_1GB,
	CF_XSAVE, CF_AVX, CF_AVX2, CF_RDTSCP, CF_X2APIC, CF_TSC_DEADLINE, CF_CX16, CF_INVPCID, CF_RDRAND, CF_RDSEED, CF_COUNT,
};

/* common: what every path runs. full: and what only some do: AVX-512 (exec.h, more_xstate). */
enum cpuid_offer { CPUID_COMMON, CPUID_FULL };
/* Builds the table for a machine with ncpus vCPUs, from the rows and the host's own CPUID. */
void cpuid_build(struct cpuid_table *t, unsigned ncpus, enum cpuid_offer offer);
/* Takes back the rows that say "not affected" by a speculative side channel: for a guest whose own branches the processor runs.
 * Before the guest's first instruction. */
void cpuid_drop_immunity(struct cpuid_table *t);
/* Takes back RDRAND and RDSEED: for runs that must repeat. Before the guest's first instruction. */
void cpuid_drop_random(struct cpuid_table *t);
/* What the instruction returns on this vCPU now (APIC ID, OSXSAVE, XCR0-dependent sizes filled in).
 * out: eax ebx ecx edx. Out-of-range leaves answer as the vendor's processors do. */
void cpuid_query(const struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool cpuid_has(const struct vm *vm, enum cpuid_feature f);
/* XCR0 bits that every path holds: x87, SSE, AVX. */
#define CPUID_XCR0_COMMON 7ull
/* XCR0 bits that the guest may set. */
uint64_t cpuid_xcr0_mask(const struct vm *vm);
/* Offset and size of an XSAVE component in the standard format; false when the guest has not got it. */
bool cpuid_xsave_component(const struct vm *vm, unsigned i, uint32_t *offset, uint32_t *size);
/* MAXPHYADDR of the guest: physical-address bits above it are reserved in page tables and CR3. */
unsigned cpuid_phys_bits(const struct vm *vm);
/* Does the guest's processor speak AMD's dialect of MSRs (AMD, Hygon)? */
bool cpuid_vendor_amd(const struct vm *vm);
/* i-th feature row, for tables and tests: false past the last. */
bool cpuid_row(const struct vm *vm, unsigned i, const char **name, bool *is_offered);
/* Input clock of the APIC timer, as the timing leaves tell it. */
#define CPUID_APIC_TIMER_KHZ 1000000u

#endif
