/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Differences between a path and this processor that are no errors, each with its reason. Everything else about such a
 * case must still agree.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "engine/exec.h"
#include "tests/diff/diff.h"

#define MXCSR_AT 24
#define MXCSR_FLAGS 0x3f

static ZydisMnemonic faulting_mnemonic(const struct dcase *c, const struct dout *want)
{
	uint64_t at = want->st.rip - c->in.rip;
	ZydisDecoder d;
	ZydisDecodedInstruction i;

	case_decoder(&d, c->mode);
	if (at >= SLOT_BYTES || !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, c->code + at, SLOT_BYTES - at, &i)))
		return ZYDIS_MNEMONIC_INVALID;
	return i.mnemonic;
}

/*
 * Two faults of one instruction: which is delivered is the processor's choice (SDM 3A table 6-2, "faults on executing an
 * instruction"). Here the target comes before the stack.
 */
static bool other_fault_first(ZydisMnemonic m, unsigned want, unsigned got)
{
	switch (m) {
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_RET: /* far ones: this processor reads the outer stack pointer before it looks at the selector */
		return got == VEC_GP && (want == VEC_PF || want == VEC_SS || want == VEC_AC);
	case ZYDIS_MNEMONIC_CMPSB: /* REPE CMPSB reads [rSI] first, the other forms [rDI] */
		return (got == VEC_GP || got == VEC_SS || got == VEC_PF) && (want == VEC_PF || want == VEC_GP || want == VEC_SS);
	default:
		return false;
	}
}

/* They round more than once, and stop at the first step with an unmasked exception; vec_exec.c says what it does. */
static bool dot_product(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_DPPS || m == ZYDIS_MNEMONIC_DPPD || m == ZYDIS_MNEMONIC_VDPPS || m == ZYDIS_MNEMONIC_VDPPD;
}

static bool hypervisor_only(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VMRUN:
	case ZYDIS_MNEMONIC_VMLOAD:
	case ZYDIS_MNEMONIC_VMSAVE:
	case ZYDIS_MNEMONIC_STGI:
	case ZYDIS_MNEMONIC_CLGI:
	case ZYDIS_MNEMONIC_SKINIT:
	case ZYDIS_MNEMONIC_INVLPGA:
		return true;
	default:
		return false;
	}
}

const char *path_known(const struct exec_ops *ops, const struct dcase *c, const struct dout *want, const struct dout *got)
{
	struct dout same = *got;
	const char *why = NULL;
	ZydisMnemonic m;
	char what[160];

	if (!got->ran || want->vector == VEC_BP)
		return NULL;
	m = faulting_mnemonic(c, want);
	if (m == ZYDIS_MNEMONIC_INT1 && want->vector == VEC_DB && (got->st.rip == want->st.rip + 1 || c->steps))
		return "under a hypervisor that intercepts #DB, INT1 looks like a fault";
	if (got->vector == VEC_BP || want->st.rip != got->st.rip)
		return NULL;
	if (hypervisor_only(m) && want->vector == VEC_GP && want->error == 0 && got->vector == VEC_UD)
		return "a hypervisor has set EFER.SVME, and user code sees #GP in place of #UD";
	if (ops == exec_paths[PATH_BT]) {
		/* flags that the code would overwrite before it reads them are dead to the translator; the code is
		 * restarted at the fault and overwrites them */
		uint64_t dead = fault_dead_flags(c, want);

		same.st.rflags = (got->st.rflags & ~dead) | (want->st.rflags & dead);
		why = "dead flags at a fault";
	}
	if (want->vector != got->vector && other_fault_first(m, want->vector, got->vector)) {
		same.vector = want->vector;
		same.error = want->error;
		same.cr2 = want->cr2;
		why = "the other of two faults";
	} else if (want->vector == VEC_XM && got->vector == VEC_XM && dot_product(m)) {
		same.st.fx[MXCSR_AT] = (uint8_t)((got->st.fx[MXCSR_AT] & ~MXCSR_FLAGS) | (want->st.fx[MXCSR_AT] & MXCSR_FLAGS));
		why = "flags of an unmasked exception in a dot product";
	}
	return why && outs_agree(c, want, &same, what, sizeof(what)) ? why : NULL;
}
