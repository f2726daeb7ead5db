/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine as an object: made whole or not at all, run until an outcome, taken apart in the opposite order.
 *
 * vm_run's thread does nothing but wait: vCPU threads execute (engine/run.c), the I/O thread serves (engine/io.c). A
 * reset ends the vCPU threads, empties RAM, resets devices and vCPUs, lets the loader do the firmware's work again and
 * starts over; the clock and the I/O thread go on.
 */
#include "engine/vm.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/board.h"
#include "engine/board_map.h"
#include "engine/load/boot.h"
#include "engine/chardev_host.h"
#include "engine/dirty.h"
#include "engine/io.h"
#include "engine/apic/lapic.h"
#include "engine/run.h"
#include "engine/switch.h"

static const struct exec_ops *path_ops(const struct vm_config *cfg)
{
	if ((unsigned)cfg->path >= PATH_COUNT)
		return NULL;
	return cfg->ops ? cfg->ops : exec_paths[cfg->path];
}

static enum status make_vcpus(struct vm *vm, const struct exec_ops *ops, struct error *e)
{
	for (unsigned i = 0; i < vm->cfg.ncpus; i++) {
		vm->vcpu[i] = vcpu_alloc(vm, i);
		if (!vm->vcpu[i])
			return error_set(e, ST_NO_MEMORY, "not enough address space for vCPU %u: give fewer CPUs", i);
		vm->vcpu[i]->ops = ops;
		switch_set_first(vm, i, vm->cfg.path);
		vm->ncpus = i + 1;
	}
	return ST_OK;
}

enum status vm_path_begin(struct vm *vm, enum path_id p, struct error *e)
{
	const struct exec_ops *ops = vm->paths[p];
	enum status st;

	if (ops->has_base && !(vm->paths_begun & 1u << ops->base)) {
		if ((st = vm_path_begin(vm, ops->base, e)) != ST_OK)
			return st;
		vm->paths_begun |= 1u << ops->base;
	}
	return ops->vm_init ? ops->vm_init(vm, e) : ST_OK;
}

enum status vm_path_holds(const struct vm *vm, enum path_id p, struct error *e)
{
	if (!(cpuid_xcr0_mask(vm) & ~(CPUID_XCR0_COMMON | vm->paths[p]->more_xstate)))
		return ST_OK;
	return error_set(e, ST_UNSUPPORTED, "path %s does not run AVX-512, which --cpuid full offers: use --path kvm, or --cpuid common",
			 vm->paths[p]->name);
}

static enum status vm_build(struct vm *vm, const struct exec_ops *ops, struct error *e)
{
	enum status st;

	if ((st = mem_init(&vm->mem, vm->cfg.memory_bytes, e)) != ST_OK)
		return st;
	if (vm->cfg.bios)
		mem_set_hole(&vm->mem, BOARD_FIRMWARE_HOLE);
	clock_init(&vm->clock);
	if (vm->cfg.virtual_time)
		clock_make_virtual(&vm->clock);
	cpuid_build(&vm->cpuid, vm->cfg.ncpus, vm->cfg.cpuid);
	for (unsigned p = 0; p < PATH_COUNT; p++)
		vm->paths[p] = p == (unsigned)vm->cfg.path ? ops : exec_paths[p];
	if ((st = vm_path_holds(vm, vm->cfg.path, e)) != ST_OK)
		return st;
	if ((st = run_init(vm, e)) != ST_OK || (st = switch_init(vm, e)) != ST_OK || (st = dirty_init(vm, e)) != ST_OK || (st = io_new(vm, e)) != ST_OK)
		return st;
	vm->serial = vm->cfg.serial;
	vm->debugcon = vm->cfg.debugcon;
	if ((st = make_vcpus(vm, ops, e)) != ST_OK || (st = board_create(vm, e)) != ST_OK)
		return st;
	if ((st = vm_path_begin(vm, vm->cfg.path, e)) != ST_OK)
		return st;
	vm->paths_begun |= 1u << vm->cfg.path;
	chardev_attach(vm->serial, vm);
	if (vm->debugcon != vm->serial)
		chardev_attach(vm->debugcon, vm);
	return boot_load(vm, e);
}

enum status vm_create(struct vm **out, const struct vm_config *cfg, struct error *e)
{
	const struct exec_ops *ops = path_ops(cfg);
	enum status st;
	struct vm *vm;

	*out = NULL;
	if (!ops)
		return error_set(e, ST_UNSUPPORTED, "this execution path is not part of this build");
	BUG_ON(!ops->available || !ops->run || !ops->vcpu_init);
	if (cfg->ncpus < 1 || cfg->ncpus > VM_MAX_CPUS)
		return error_set(e, ST_INVALID, "%u CPUs: give 1 to %d", cfg->ncpus, VM_MAX_CPUS);
	if ((st = ops->available(e)) != ST_OK)
		return st;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	vm->cfg = *cfg;
	vm->mem.memfd = -1;
	pthread_mutex_init(&vm->dev_lock, NULL);
	pthread_mutex_init(&vm->end_lock, NULL);
	pthread_cond_init(&vm->end_cond, NULL);
	pthread_mutex_init(&vm->world_lock, NULL);
	pthread_cond_init(&vm->world_cond, NULL);
	pthread_rwlock_init(&vm->msi_gate, NULL);
	st = vm_build(vm, ops, e);
	if (st != ST_OK) {
		vm_destroy(vm);
		return st;
	}
	*out = vm;
	return ST_OK;
}

/* What the guest has written goes out; the host ends are their owner's again. */
static void let_go_of_lines(struct vm *vm)
{
	if (vm->board) {
		pthread_mutex_lock(&vm->dev_lock);
		board_flush(vm);
		pthread_mutex_unlock(&vm->dev_lock);
	}
	chardev_detach(vm->serial);
	if (vm->debugcon != vm->serial)
		chardev_detach(vm->debugcon);
}

void vm_destroy(struct vm *vm)
{
	struct error e;

	if (!vm)
		return;
	if (vm->lost && run_stop(vm, &e) != ST_OK) {
		let_go_of_lines(vm);
		return;
	}
	if (vm->board)
		board_stop_devices(vm); /* they tell the paths of what they write */
	for (unsigned p = PATH_COUNT; p-- > 0;)
		if ((vm->paths_begun & 1u << p) && vm->paths[p]->vm_fini)
			vm->paths[p]->vm_fini(vm);
	let_go_of_lines(vm);
	if (vm->board)
		board_free(vm);
	for (unsigned i = 0; i < VM_MAX_CPUS; i++)
		vcpu_free(vm->vcpu[i]);
	switch_fini(vm);
	dirty_fini(vm);
	io_free(vm);
	run_fini(vm);
	mem_fini(&vm->mem);
	free(vm);
}

/* ---- running ---- */

/* A wish to end for good beats a reset that is still on its way. */
static bool beats(enum vm_outcome now, enum vm_outcome o)
{
	return now == VM_RUNNING || (now == VM_RESET_REQUEST && o != VM_RESET_REQUEST);
}

void vm_end(struct vm *vm, enum vm_outcome o, int value, const char *text)
{
	bool first;

	pthread_mutex_lock(&vm->end_lock);
	first = beats((enum vm_outcome)atomic_load(&vm->outcome), o);
	if (first) {
		atomic_store(&vm->exit_value, value);
		snprintf(vm->end_text, sizeof(vm->end_text), "%s", text ? text : "");
		atomic_store(&vm->outcome, (int)o);
		pthread_cond_broadcast(&vm->end_cond);
	}
	pthread_mutex_unlock(&vm->end_lock);
	if (first)
		run_kick_all(vm);
}

static enum status vm_reset(struct vm *vm, struct error *e)
{
	pthread_mutex_lock(&vm->dev_lock);
	board_reset(vm);
	pthread_mutex_unlock(&vm->dev_lock);
	for (unsigned i = 0; i < vm->ncpus; i++)
		vcpu_reset(vm->vcpu[i], false);
	/* Zero pages again, and the host gets its memory back. */
	if (fallocate(vm->mem.memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)vm->mem.ram_bytes) != 0)
		return error_errno(e, ST_IO, "cannot clear guest memory");
	switch_forget_code(vm);
	dirty_mark(vm, 0, UINT64_MAX);
	return boot_load(vm, e);
}

static enum vm_outcome wait_outcome(struct vm *vm)
{
	pthread_mutex_lock(&vm->end_lock);
	while (atomic_load(&vm->outcome) == VM_RUNNING)
		pthread_cond_wait(&vm->end_cond, &vm->end_lock);
	pthread_mutex_unlock(&vm->end_lock);
	return (enum vm_outcome)atomic_load(&vm->outcome);
}

/* The reset is over: the next outcome counts. false: a wish to end came in meanwhile. */
static bool reset_done(struct vm *vm)
{
	char why[sizeof(vm->end_text)];
	bool go_on;

	pthread_mutex_lock(&vm->end_lock);
	go_on = atomic_load(&vm->outcome) == VM_RESET_REQUEST;
	if (go_on) {
		memcpy(why, vm->end_text, sizeof(why));
		vm->end_text[0] = 0;
		atomic_store(&vm->outcome, VM_RUNNING);
	}
	pthread_mutex_unlock(&vm->end_lock);
	if (go_on && vm->cfg.on_reset)
		vm->cfg.on_reset(vm->cfg.on_reset_ctx, vm, atomic_load(&vm->resets), why[0] ? why : "the guest asked for it");
	return go_on;
}

/* A vCPU does not come back from guest code: whatever the end was to be, it is this. */
static void lose(struct vm *vm, const struct error *e)
{
	pthread_mutex_lock(&vm->end_lock);
	vm->lost = true;
	snprintf(vm->end_text, sizeof(vm->end_text), "%s", e->msg);
	atomic_store(&vm->outcome, VM_FAILED);
	pthread_mutex_unlock(&vm->end_lock);
}

enum vm_outcome vm_run(struct vm *vm)
{
	struct error e = {0};
	enum vm_outcome o;

	run_clock_start(vm);
	if (io_start(vm->io, &e) != ST_OK) {
		vm_end(vm, VM_FAILED, 0, e.msg);
		return VM_FAILED;
	}
	for (;;) {
		run_tsc_start(vm);
		if (switch_world_begin(vm, &e) != ST_OK || run_start(vm, &e) != ST_OK)
			vm_end(vm, VM_FAILED, 0, e.msg);
		o = wait_outcome(vm);
		if (run_stop(vm, &e) != ST_OK) {
			lose(vm, &e);
			break;
		}
		if (o != VM_RESET_REQUEST || vm->cfg.no_reboot)
			break;
		vm->resets++;
		if (vm_reset(vm, &e) != ST_OK)
			vm_end(vm, VM_FAILED, 0, e.msg);
		if (!reset_done(vm))
			break;
	}
	io_stop(vm->io);
	clock_stop(&vm->clock);
	return (enum vm_outcome)atomic_load(&vm->outcome);
}

/* ---- the guest's accesses to devices ---- */

uint64_t vm_pio_read(struct vcpu *v, uint16_t port, unsigned size)
{
	uint8_t was = vcpu_doing(v, SAMPLE_DEVICE);
	struct vm *vm = v->vm;
	uint64_t val;

	vcpu_vec_sync(v);
	v->count.io_reads++;
	pthread_mutex_lock(&vm->dev_lock);
	val = bus_read(&vm->pio, port, size);
	pthread_mutex_unlock(&vm->dev_lock);
	v->doing = was;
	return val;
}

void vm_pio_write(struct vcpu *v, uint16_t port, unsigned size, uint64_t val)
{
	uint8_t was = vcpu_doing(v, SAMPLE_DEVICE);
	struct vm *vm = v->vm;

	vcpu_vec_sync(v);
	v->count.io_writes++;
	pthread_mutex_lock(&vm->dev_lock);
	bus_write(&vm->pio, port, size, val);
	pthread_mutex_unlock(&vm->dev_lock);
	v->doing = was;
}

static bool own_lapic(const struct vcpu *v, uint64_t gpa, unsigned size)
{
	uint64_t base = lapic_mmio_gpa(v->lapic);

	return base != UINT64_MAX && gpa - base < PAGE_SIZE_4K && gpa - base + size <= PAGE_SIZE_4K;
}

static uint64_t mmio_read(struct vcpu *v, uint64_t gpa, unsigned size)
{
	struct vm *vm = v->vm;
	uint64_t val = 0;

	BUG_ON(size > sizeof(val));
	vcpu_vec_sync(v);
	v->count.mmio_reads++;
	if (own_lapic(v, gpa, size))
		return lapic_mmio_read(v->lapic, gpa & (PAGE_SIZE_4K - 1), size);
	if (mem_read(&vm->mem, gpa, &val, size))
		return val;
	pthread_mutex_lock(&vm->dev_lock);
	val = bus_read(&vm->mmio, gpa, size);
	pthread_mutex_unlock(&vm->dev_lock);
	return val;
}

static void mmio_write(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t val)
{
	struct vm *vm = v->vm;

	BUG_ON(size > sizeof(val));
	vcpu_vec_sync(v);
	v->count.mmio_writes++;
	if (own_lapic(v, gpa, size)) {
		lapic_mmio_write(v->lapic, gpa & (PAGE_SIZE_4K - 1), size, val);
		return;
	}
	if (mem_write(&vm->mem, gpa, &val, size)) {
		dirty_mark(vm, gpa, size);
		if (v->ops && v->ops->mem_dirty && mem_ram(&vm->mem, gpa, size)) {
			pthread_mutex_lock(&vm->dev_lock);
			v->ops->mem_dirty(vm, gpa, size);
			pthread_mutex_unlock(&vm->dev_lock);
		}
		return;
	}
	pthread_mutex_lock(&vm->dev_lock);
	bus_write(&vm->mmio, gpa, size, val);
	pthread_mutex_unlock(&vm->dev_lock);
}

uint64_t vm_mmio_read(struct vcpu *v, uint64_t gpa, unsigned size)
{
	uint8_t was = vcpu_doing(v, SAMPLE_DEVICE);
	uint64_t val = mmio_read(v, gpa, size);

	v->doing = was;
	return val;
}

void vm_mmio_write(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t val)
{
	uint8_t was = vcpu_doing(v, SAMPLE_DEVICE);

	mmio_write(v, gpa, size, val);
	v->doing = was;
}
