/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: memory, buses, clock, interrupt controllers, vCPUs. One object, no globals: a process can hold many.
 *
 * Ownership: struct vm owns everything; devices hang off struct board.
 * Lock order: vm->dev_lock, then vcpu->wait_lock. A vCPU thread holds neither while it executes guest code.
 * Threads: one per vCPU (engine/run.c), one I/O thread (engine/io.c: timers, terminal, sockets).
 */
#ifndef STEELYARD_VM_H
#define STEELYARD_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/bus.h"
#include "engine/chardev.h"
#include "engine/clock.h"
#include "engine/cpuid.h"
#include "engine/doorbell.h"
#include "engine/exec.h"
#include "engine/mem.h"
#include "engine/status.h"
#include "engine/vcpu.h"

#define VM_MAX_CPUS 64
#define VM_MAX_MODULES 16

enum vm_outcome {
	VM_RUNNING,
	VM_POWEROFF,	  /* ACPI S5, or isa power-off: exit status 0 */
	VM_DEBUG_EXIT,	  /* port 0xf4: (value << 1) | 1 */
	VM_TRIPLE_FAULT,  /* exit status 4 */
	VM_RESET_REQUEST, /* reset by i8042, port 0xcf9, 0x92, ACPI: the machine restarts */
	VM_STOPPED,	  /* asked to stop: Ctrl-A x, SIGTERM */
	VM_TIMEOUT,	  /* exit status 124 */
	VM_FAILED,	  /* host failure: exit status 1 */
};

/* auto: the kernel's where the host is VT-x or AMD-V (fastpath/kvm_irqchip.c has the reasons) */
enum kvm_chips_of { KVM_IRQCHIP_AUTO, KVM_IRQCHIP_USER, KVM_IRQCHIP_KERNEL };

struct device_config;
struct kvm_sys;
struct switch_event;
struct vm;

struct vm_config {
	enum path_id path;
	uint64_t memory_bytes;
	unsigned ncpus;
	enum cpuid_offer cpuid;
	int debug_exit_port; /* -1: none */
	const char *kernel, *initrd, *cmdline;
	const char *multiboot;
	const char *module[VM_MAX_MODULES];
	unsigned nmodules;
	const char *flat;
	uint64_t flat_addr;
	const char *rom;
	const char *bios; /* a ROM that is the firmware of a PC: fw_cfg and a VGA are there */
	const char *bios_vars_template, *bios_vars; /* flash for its variables: its first contents, and the file that keeps it; NULL: none */
	const char *boot_order; /* letters for --bios: c disks, d CDs, n networks; NULL: as it likes */
	bool boot_menu;		/* it asks */
	unsigned bt_cold;    /* bt interprets a block so often before it translates it (0-255) */
	bool no_reboot;	     /* a reset request ends the run */
	bool virtual_time;   /* clock_make_virtual: no I/O thread, somebody drives the machine by hand (lockstep) */
	unsigned sample_hz;  /* how often bt looks where its vCPU threads are (vcpu->count.sample_*); 0: never */
	bool count_rows;     /* vcpu->row_count is kept (interp; bt, where bt_cold is 0) */
	bool count_blocks;   /* bt counts how often its blocks are entered (translator/hot.h) */
	/* In the place of the table's path `path` (tests); NULL: exec_paths[path] */
	const struct exec_ops *ops;
	bool no_fallback; /* a path that cannot go on ends the run */
	bool hybrid_eager; /* the hybrid path's policy always says yes */
	bool kvm_trust; /* the kvm path goes on where the host's KVM is known to be wrong */
	enum kvm_chips_of kvm_irqchip; /* whose interrupt controllers serve the kvm path */
	const struct kvm_sys *kvm_sys; /* the kernel that the kvm path talks to (tests); NULL: the host's */
	/* Told of every change of path, on the vCPU's thread, between two runs. NULL: nobody. */
	void (*on_switch)(void *ctx, struct vm *vm, const struct switch_event *ev);
	void *on_switch_ctx;
	/* Told when a reset is done and the guest is about to start again, on the thread of vm_run. why: one line. NULL: nobody. */
	void (*on_reset)(void *ctx, struct vm *vm, unsigned resets, const char *why);
	void *on_reset_ctx;
	/* How long a vCPU may take to leave guest code before that is a failure (vm_pause, the end) or is told; 0: 20 s. */
	unsigned stall_ms;
	/* Told each time a vCPU has kept another one waiting for so long (vm_stop_others), on the waiting one's thread. text: one
	 * line. NULL: nobody. */
	void (*on_stall)(void *ctx, struct vm *vm, unsigned vcpu, const char *text);
	void *on_stall_ctx;
	/* A disk has news: a request that failed, a storage daemon that died or is back. Any thread; the machine may not have
	 * begun, or have ended. */
	void (*on_disk)(void *ctx, struct vm *vm, const char *text);
	void *on_disk_ctx;
	const struct device_config *devices; /* on PCI, in this order: engine/devices.h */
	unsigned ndevices;
	struct chardev *serial, *debugcon; /* host ends, opened before and closed after the machine's life; NULL: none */
};

struct board;
struct codemap;
struct io;
struct dirty;
struct ioapic;
struct msi_lent;
struct run;
struct switcher;

struct vm {
	struct vm_config cfg;
	struct mem mem;
	struct bus pio, mmio;
	struct doorbells doorbells;
	struct clock clock;
	struct cpuid_table cpuid;
	struct vcpu *vcpu[VM_MAX_CPUS];
	unsigned ncpus;
	struct board *board;
	void *path_vm[PATH_COUNT];  /* per-machine objects of the paths */
	struct codemap *codemap;    /* translator/codemap.h: pages that hold decoded code; made by the paths that need it */
	struct chardev *serial;	    /* COM1's host end; NULL: none */
	struct chardev *debugcon;   /* port 0xe9's host end; NULL: none */

	pthread_mutex_t dev_lock;   /* every device callback runs under it */
	/* A spinning lock for locked instructions that one host instruction cannot do (two pages, MMIO): taken before
	 * dev_lock, by vCPU threads only. */
	_Atomic uint32_t split_lock;

	/* How it ends: written once by vm_end(). [any] */
	_Atomic int outcome;
	_Atomic int exit_value;	    /* of the debug exit port */
	char end_text[320];	    /* one line for a person when VM_FAILED */
	pthread_mutex_t end_lock;
	pthread_cond_t end_cond;
	/* stop-the-world: see vm_stop_others */
	pthread_mutex_t world_lock;
	pthread_cond_t world_cond;
	_Atomic unsigned world_stop_depth; /* stop requests in force: somebody in vm_stop_others, a pause, a reset, the end */
	unsigned world_running;		   /* vCPUs inside ops->run(), those that answer as stopped in vm_stop_others not counted */
	struct vcpu *world_owner;	   /* who has stopped the others */

	const struct exec_ops *paths[PATH_COUNT]; /* exec_paths with cfg.ops in it; NULL: none */
	unsigned paths_begun;	    /* bit p: path p's vm_init has succeeded. Written with the world stopped */
	struct switcher *switcher;  /* engine/switch.h: who is on which path */
	struct dirty *dirty;	    /* engine/dirty.h: the log of written pages */
	_Atomic unsigned resets;    /* since power-on */
	bool lost;		    /* a vCPU thread did not end: nothing of the machine may be freed */
	struct io *io;		    /* engine/io.h: the I/O thread */
	struct run *run;	    /* engine/run.c: what only the run loop knows */
	pthread_rwlock_t msi_gate; /* a leaf but for what delivers: held for reading while a device's message is delivered */
	const struct msi_lent *msi_lent; /* engine/apic/lapic.h; NULL: the APICs are ours. msi_gate */
	struct ioapic *ioapic;	    /* for end-of-interrupt broadcasts; owned by the board */
};

/* Does path p hold all the vector state that the guest is offered? ST_UNSUPPORTED: it does not. */
enum status vm_path_holds(const struct vm *vm, enum path_id p, struct error *e);
/* vm->paths[p]->vm_init, for whoever starts a path. */
enum status vm_path_begin(struct vm *vm, enum path_id p, struct error *e);
enum status vm_create(struct vm **out, const struct vm_config *cfg, struct error *e);
/* With vm->lost it looks once more whether the vCPUs have come; if not, the host ends are let go and everything else stays. */
void vm_destroy(struct vm *vm);
/* Starts the clock, the vCPU threads and runs until an outcome; handles resets. Returns the outcome. */
enum vm_outcome vm_run(struct vm *vm);
/* Ends the run: the first call wins. Any thread. */
void vm_end(struct vm *vm, enum vm_outcome o, int value, const char *text);

/* Asks vCPU number `vcpu`, or all for -1, to go on on another path from its next instruction boundary; does not wait (what
 * came of it: engine/switch.h). A path with whole_machine takes or gives back all of them. why: one line, for the events.
 * Any thread, the device lock held or not; after vm_create. ST_UNSUPPORTED, ST_DENIED: the path cannot run here. */
enum status vm_switch_path(struct vm *vm, int vcpu, enum path_id path, const char *why, struct error *e);

/* The guest stands still: every vCPU has left guest code and the clock is stopped. Nests. Any thread but a vCPU's, the
 * device lock not held. Failure (ST_BUSY): a vCPU did not leave guest code in cfg.stall_ms; then the guest goes on, and there
 * is nothing to resume. */
enum status vm_pause(struct vm *vm, struct error *e) __attribute__((warn_unused_result));
void vm_resume(struct vm *vm);

/*
 * Stop the world, for paths: on return every other vCPU is outside guest code (between two calls of ops->run, asleep, or
 * itself waiting in vm_stop_others) and stays there until vm_resume_others. May be called inside and outside of
 * ops->run(). When two vCPUs call it at the same moment, one goes first and the other answers as stopped meanwhile: after
 * the return the caller looks afresh at what the first may have changed (caches, chains). Owner thread of self, the device
 * lock not held: a vCPU that waits for it could not answer. Waits as long as it takes; cfg.on_stall hears of it.
 */
void vm_stop_others(struct vcpu *self);
void vm_resume_others(struct vcpu *self);

/* Port and memory-mapped I/O of the guest, for every path: takes the device lock, counts, dispatches. size 1, 2, 4 (8).
 * MMIO to the vCPU's own local APIC page is handled without the lock. Owner thread of v. */
uint64_t vm_pio_read(struct vcpu *v, uint16_t port, unsigned size);
void vm_pio_write(struct vcpu *v, uint16_t port, unsigned size, uint64_t val);
uint64_t vm_mmio_read(struct vcpu *v, uint64_t gpa, unsigned size);
void vm_mmio_write(struct vcpu *v, uint64_t gpa, unsigned size, uint64_t val);

/* A20 gate (port 0x92, i8042): when closed, bit 20 of physical addresses reads as zero. Paths call vm_a20_mask(). */
static inline uint64_t vm_a20_mask(const struct vm *vm)
{
	(void)vm;
	return ~0ull;
}

#endif
