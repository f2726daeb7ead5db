/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For tests of the machine without any instruction: guest code is a C function here, run by an execution path of its
 * own. */
#ifndef STEELYARD_FAKE_MACHINE_H
#define STEELYARD_FAKE_MACHINE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/vm.h"
#include "tests/unit/check.h"

/* ---- a path whose guest is a C function ---- */

typedef void guest_fn(struct vcpu *v, struct exit *x);

/* Its state: one for each machine, found at vm->path_vm[PATH_INTERP]. */
struct fake {
	guest_fn *guest;
	_Atomic unsigned inside;    /* vCPUs in guest code */
	_Atomic unsigned exclusive; /* vCPUs that have stopped the others */
	_Atomic unsigned clashes, stops, wakes, marks;
	_Atomic uint64_t last;
};

static enum status fake_available(struct error *e)
{
	(void)e;
	return ST_OK;
}

static enum status fake_vcpu_init(struct vcpu *v, struct error *e)
{
	(void)v;
	(void)e;
	return ST_OK;
}

static inline struct fake *fake_of(struct vcpu *v)
{
	return v->vm->path_vm[PATH_INTERP];
}

static void fake_run(struct vcpu *v, struct exit *x)
{
	if (atomic_load(&v->request) & REQ_EXIT) {
		x->reason = EXIT_KICK;
		return;
	}
	fake_of(v)->guest(v, x);
}

static const struct exec_ops fake_ops = {
	.name = "fake",
	.what = "guest code in C",
	.available = fake_available,
	.vcpu_init = fake_vcpu_init,
	.run = fake_run,
};

/* For a link without the program's own table. */
extern const struct exec_ops *const exec_paths[PATH_COUNT] __attribute__((weak));
const struct exec_ops *const exec_paths[PATH_COUNT] = {&fake_ops};

static char flat_file[] = "/tmp/steelyard-core-XXXXXX";

static inline struct vm *machine(unsigned ncpus, struct fake *f, guest_fn *guest)
{
	struct vm_config cfg = {.ops = &fake_ops,
				.memory_bytes = 32ull << 20,
				.ncpus = ncpus,
				.debug_exit_port = 0xf4,
				.flat = flat_file,
				.flat_addr = 0x7c00};
	struct error e = {0};
	struct vm *vm;

	if (vm_create(&vm, &cfg, &e) != ST_OK) {
		printf("vm_create: %s\n", e.msg);
		exit(1);
	}
	*f = (struct fake){.guest = guest};
	vm->path_vm[PATH_INTERP] = f;
	return vm;
}

static inline void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static inline void no_guest(struct vcpu *v, struct exit *x)
{
	(void)v;
	x->reason = EXIT_HLT;
}

static inline void fake_begin(void)
{
	int fd = mkstemp(flat_file);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0 || write(fd, "\xf4\xeb\xfd", 3) != 3) {
		perror(flat_file);
		exit(1);
	}
	close(fd);
}

static inline int fake_end(void)
{
	unlink(flat_file);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}

#endif
