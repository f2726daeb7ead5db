/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine on a path that needs KVM, with one played by the test (fake_kvm.h): made, run, and taken apart without leaks. */
#ifndef STEELYARD_TESTS_KVM_SCENE_H
#define STEELYARD_TESTS_KVM_SCENE_H

#include "tests/unit/fake_kvm.h"

#include <unistd.h>

#include "engine/switch.h"

#include "tests/unit/device_test.h"

#define GUEST_VALUE 21
#define FLAT_ADDR 0x7c00
#define LIMIT_NS 20000000000ull

static const uint8_t guest_code[] = {0xb0, GUEST_VALUE, 0xe6, 0xf4}; /* mov $21, %al; out %al, $0xf4 */

struct scene {
	struct fake_kvm k;
	struct exec_ops ops;
	struct vm_config cfg;
	struct error e;
	struct vm *vm;
	struct timer limit, later;
	enum vm_outcome outcome;
	char file[40], text[320];
	const struct exec_ops *played; /* the path, which is number `path`; NULL: kvm_ops, PATH_KVM */
	enum path_id path;
	const uint8_t *code; /* NULL: guest_code */
	size_t code_bytes;
	bool no_fallback;
	unsigned stall_ms;
	enum kvm_chips_of chips;
};

static inline void limit_fire(void *ctx)
{
	vm_end(ctx, VM_TIMEOUT, 0, "stuck");
}

/* later: what else happens while the guest runs */
static inline void scene_run(struct scene *s, enum path_id first, void (*later)(void *scene), uint64_t later_ns)
{
	const void *code = s->code ? s->code : guest_code;
	size_t bytes = s->code ? s->code_bytes : sizeof(guest_code);
	int fd;

	strcpy(s->file, "/tmp/steelyard-kvm-XXXXXX");
	fd = mkstemp(s->file);
	if (fd < 0 || write(fd, code, bytes) != (ssize_t)bytes)
		abort();
	close(fd);
	if (!s->played) {
		s->played = &kvm_ops;
		s->path = PATH_KVM;
	}
	s->ops = *s->played;
	s->ops.available = fake_kvm_available;
	s->cfg = (struct vm_config){.path = first,
				    .ops = first == s->path ? &s->ops : NULL,
				    .memory_bytes = 32ull << 20,
				    .ncpus = 1,
				    .debug_exit_port = 0xf4,
				    .flat = s->file,
				    .flat_addr = FLAT_ADDR,
				    .kvm_trust = true,
				    .kvm_irqchip = s->chips,
				    .no_fallback = s->no_fallback,
				    .stall_ms = s->stall_ms,
				    .kvm_sys = &s->k.sys};
	s->outcome = VM_RUNNING;
	if (vm_create(&s->vm, &s->cfg, &s->e) != ST_OK) {
		unlink(s->file);
		return;
	}
	s->vm->paths[s->path] = &s->ops;
	timer_init(&s->limit, &s->vm->clock, limit_fire, s->vm);
	timer_arm(&s->limit, LIMIT_NS);
	timer_init(&s->later, &s->vm->clock, later, s);
	if (later)
		timer_arm(&s->later, later_ns);
	s->outcome = vm_run(s->vm);
	timer_cancel(&s->limit);
	timer_cancel(&s->later);
	snprintf(s->text, sizeof(s->text), "%s", s->vm->end_text);
}

static inline void scene_end(struct scene *s, struct tally *t)
{
	if (s->vm)
		vm_destroy(s->vm);
	s->vm = NULL;
	unlink(s->file);
	EQ(atomic_load(&s->k.fds), 0);
	EQ(atomic_load(&s->k.maps), 0);
}

/* The guest came to its end, on the translator. */
static inline bool went_on(struct scene *s)
{
	bool ok = s->vm && s->outcome == VM_DEBUG_EXIT && atomic_load(&s->vm->exit_value) == GUEST_VALUE &&
		  switch_path_of(s->vm, 0) == PATH_BT;

	if (!ok)
		printf("outcome %d, \"%s\" \"%s\"\n", s->outcome, s->text, s->e.msg);
	return ok;
}

/* A real port access: two pieces of an OUTS, the second of which ends the run, on kvm. */
static inline int run_outs(struct fake_kvm *k, struct kvm_run *r, unsigned n)
{
	(void)k;
	(void)n;
	r->exit_reason = KVM_EXIT_IO;
	r->io.direction = KVM_EXIT_IO_OUT;
	r->io.size = 1;
	r->io.port = 0xf4;
	r->io.count = 1;
	r->io.data_offset = 4096;
	((uint8_t *)r)[4096] = GUEST_VALUE;
	return 0;
}

static inline void end_it(void *ctx)
{
	vm_end(((struct scene *)ctx)->vm, VM_STOPPED, 0, "");
}

#endif
