/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pair of machines of a lockstep run: shared by lockstep*.c, nobody else. */
#ifndef STEELYARD_MAIN_LOCKSTEP_INT_H
#define STEELYARD_MAIN_LOCKSTEP_INT_H

#include <stdio.h>

#include "engine/main/lockstep.h"
#include "engine/vm.h"
#include "translator/lockstep.h"

/* Which of the two: the interpreter leads in every table and message. */
enum { LS_INTERP, LS_BT, LS_SIDES };

enum ls_end {
	LS_GOING,
	LS_LIMIT, /* as many instructions as asked for */
	LS_GUEST, /* both ended in the same way */
	LS_IDLE,  /* halted with nothing that could wake it */
	LS_TIMEOUT,
	LS_STATE,  /* registers differ */
	LS_FLAGS,  /* an instruction reads a flag that the translator had dropped */
	LS_PATH,   /* the interpreter does not come where the translator went */
	LS_ENDING, /* they end differently */
	LS_OUTPUT, /* the devices said different things */
	LS_MEMORY, /* RAM differs */
	LS_HOST,   /* host failure */
};

#define LS_WATCHES 8

struct ls_line { /* a serial line's host end: bytes that the other side has not matched yet */
	struct chardev chr;
	uint8_t *buf;
	size_t n, cap;
};

struct ls {
	const struct lockstep_options *o;
	uint64_t max_insns; /* ends the run; 0: the guest does */
	struct vm *vm[LS_SIDES];
	struct vcpu *v[LS_SIDES];
	bool path_ready[LS_SIDES];
	struct ls_line line[LS_SIDES];
	FILE *out;                            /* the interpreter's serial output; NULL: dropped */
	uint64_t insns, blocks, events, rams; /* done so far */
	uint64_t idle_ns;                     /* virtual time spent halted */
	bool halted;
	/* the block being compared */
	struct x86_regs *before; /* without xsave */
	struct lockstep_trace trace;
	uint32_t unsure;
	/* RAM */
	uint64_t ram_good; /* instruction count of the last comparison that found nothing */
	uint64_t watch
		[LS_WATCHES]; /* RAM offsets that differed in a first run, compared after every block in the second */
	unsigned nwatch;
	uint64_t watch_from;
	/* one instruction per block from this count on: finds the instruction in a block */
	uint64_t fine_from;
	bool fine;
	char text[200]; /* what the end is about */
	struct error error;
};

/* lockstep_compare.c */
/* Registers, segments, control state, x87/SSE/AVX. Arithmetic flags: only noted in l->unsure. true: equal. */
bool ls_state_equal(struct ls *l);
/* One line for each difference. */
void ls_state_diff(struct ls *l, FILE *f);
/* All of RAM; at most LS_WATCHES differing places to l->watch. true: equal. */
bool ls_ram_equal(struct ls *l);
/* The watched places. */
bool ls_watch_equal(struct ls *l);

/* lockstep_report.c */
void ls_report(struct ls *l, enum ls_end end, FILE *f);

#endif
