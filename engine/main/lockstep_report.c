/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person needs to find the bug: the instructions, both states, the block's translation. */
#include <capstone/capstone.h>
#include <inttypes.h>
#include <string.h>

#include "engine/main/lockstep_int.h"

#define INSN_MAX 15

static void disassemble(csh h, FILE *f, const uint8_t *bytes, size_t len, uint64_t addr, const char *margin)
{
	cs_insn *i = cs_malloc(h);

	while (i && len) {
		if (!cs_disasm_iter(h, &bytes, &len, &addr, i)) {
			fprintf(f, "%s%016" PRIx64 "  (bad) %02x\n", margin, addr, *bytes);
			break;
		}
		fprintf(f, "%s%016" PRIx64 "  ", margin, i->address);
		for (unsigned k = 0; k < INSN_MAX - 3; k++)
			fprintf(f, k < i->size ? "%02x" : "  ", k < i->size ? i->bytes[k] : 0);
		fprintf(f, " %s %s\n", i->mnemonic, i->op_str);
	}
	if (i)
		cs_free(i, 1);
}

static void print_guest(struct ls *l, FILE *f)
{
	struct vcpu *v = l->v[LS_INTERP];
	unsigned n = l->trace.n < LOCKSTEP_TRACE ? l->trace.n : LOCKSTEP_TRACE;
	struct vcpu then = {.vm = v->vm, .mmu = v->mmu}; /* mode and address space before the block: enough to decode */
	csh h;

	/* The code is read as the block found it mapped, with the bytes of now. */
	memcpy(&then.regs, l->before, offsetof(struct x86_regs, xsave));
	if (cs_open(CS_ARCH_X86,
		    vcpu_code64(&then)            ? CS_MODE_64
		    : vcpu_code_bits(&then) == 32 ? CS_MODE_32
						  : CS_MODE_16,
		    &h) != CS_ERR_OK)
		return;
	fprintf(f, "instructions of the block (%u):\n", l->trace.n);
	for (unsigned k = 0; k < n; k++) {
		struct insn i;

		if (lockstep_decode(&then, l->trace.rip[k], &i))
			disassemble(h, f, i.raw, i.len, l->trace.rip[k], k + 1 == l->trace.n ? "> " : "  ");
		else
			fprintf(f, "  %016" PRIx64 "  (cannot be decoded)\n", l->trace.rip[k]);
	}
	cs_close(&h);
}

static void print_translation(struct ls *l, FILE *f)
{
	struct bt_lockstep_code code;
	csh h;

	if (!bt_lockstep_code(l->v[LS_BT], l->before->rip, &code)) {
		fprintf(f, "bt has no translation of this block: its instructions were interpreted\n");
		return;
	}
	if (cs_open(CS_ARCH_X86, CS_MODE_64, &h) != CS_ERR_OK)
		return;
	fprintf(f, "bt's translation of %016" PRIx64 " (%u instructions, %u bytes) in %u bytes:\n", l->before->rip,
		code.insns, code.guest_len, code.host_len);
	disassemble(h, f, code.host, code.host_len, (uint64_t)(uintptr_t)code.host, "  ");
	cs_close(&h);
}

static void print_before(struct ls *l, FILE *f)
{
	static const char name[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

	fprintf(f, "before the block:\n");
	for (unsigned i = 0; i < 16; i++)
		fprintf(f, "%-3s %016" PRIx64 "%s", name[i], l->before->gpr[i], i % 4 == 3 ? "\n" : "  ");
	fprintf(f, "rip %016" PRIx64 "  rflags %08" PRIx64 "\n", l->before->rip, l->before->rflags);
}

static void print_memory(struct ls *l, FILE *f)
{
	for (unsigned i = 0; i < l->nwatch; i++) {
		uint64_t x, y;

		memcpy(&x, l->vm[LS_INTERP]->mem.ram_hva + l->watch[i], 8);
		memcpy(&y, l->vm[LS_BT]->mem.ram_hva + l->watch[i], 8);
		if (x != y)
			fprintf(f, "  RAM %-10" PRIx64 " %016" PRIx64 "  %016" PRIx64 "\n", l->watch[i], x, y);
	}
}

static const char *what(enum ls_end end)
{
	switch (end) {
	case LS_STATE:
		return "the states differ";
	case LS_FLAGS:
		return "an instruction reads flags that bt does not hold";
	case LS_PATH:
		return "interp does not come to where bt is";
	case LS_ENDING:
		return "the two end differently";
	case LS_OUTPUT:
		return "the devices differ";
	case LS_MEMORY:
		return "RAM differs";
	default:
		return "no difference";
	}
}

void ls_report(struct ls *l, enum ls_end end, FILE *f)
{
	fprintf(f, "steelyard: lockstep: %s after instruction %" PRIu64 " (block %" PRIu64 ")%s%s\n", what(end),
		l->insns, l->blocks, l->text[0] ? ": " : "", l->text);
	ls_state_diff(l, f);
	print_memory(l, f);
	print_guest(l, f);
	print_before(l, f);
	for (unsigned s = 0; s < LS_SIDES; s++)
		vcpu_dump(l->v[s], f);
	print_translation(l, f);
}
