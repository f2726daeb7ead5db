/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --marks F of steelyard run: what is known at the moment of each line that the guest writes to the debug console. */
#ifndef STEELYARD_RUN_MARKS_H
#define STEELYARD_RUN_MARKS_H

#include "engine/chardev.h"
#include "engine/vm.h"

struct run_marks {
	const char *path; /* NULL: not asked for */
	struct chardev chr;
	struct vm *vm;
	int fd;
	bool opened, failed, has_moment;
	char line[200];
	unsigned len;
	struct mark_stamp {
		uint64_t host_ns, cpu_ns, vcpu_ns, io_ns;
	} moment;
};

/* In this order, once each; without path the others do nothing. */
enum status run_marks_open(struct run_marks *m, struct error *e);
/* The machine, which has no other host end for port 0xe9, is about to run: the line "@power-on". */
void run_marks_start(struct run_marks *m, struct vm *vm);
/* It has ended, and is there still. */
void run_marks_stop(struct run_marks *m);
/* false when not all could be written. Legal without the others. */
bool run_marks_close(struct run_marks *m);

#endif
