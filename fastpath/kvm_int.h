/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kvm path's own structures, shared by the kvm_*.c files and their tests.
 *
 * Who holds the truth: while struct kvm_cpu.loaded is set, MSRs, x87/SSE/AVX state, XCR0 and debug registers are in KVM and
 * those in struct vcpu are stale (kvm_pull brings them); general, segment and control registers and events go to and fro
 * by KVM_CAP_SYNC_REGS at every KVM_RUN and are exact in struct vcpu whenever run() returns.
 */
#ifndef STEELYARD_KVM_INT_H
#define STEELYARD_KVM_INT_H

#include <linux/kvm.h>
#include <signal.h>
#include <time.h>

#include "engine/board_map.h"
#include "engine/apic/lapic.h"
#include "engine/vm.h"
#include "fastpath/kvm.h"

#define KVM_KICK_SIGNAL SIGUSR2
#define KVM_SLOTS_MAX (2 * MEM_MAX_ROMS + 3)
/* One more than the highest exit reason that has a row. */
#define KVM_EXIT_ROWS 38

/* What this host's KVM is known to do wrong: one row each in kvm_host.c. */
enum kvm_flaw { FLAW_KERNEL, FLAW_SYSCALL, FLAW_PAGING32, FLAW_COUNT };

struct kvm_host {
	bool native; /* VT-x or AMD-V, with the vendor's module */
	bool flaw[FLAW_COUNT];
};

struct kvm_slot {
	uint64_t gpa, len;
	void *hva;
	bool rom;
};

/* Per machine: vm->path_vm[PATH_KVM]. Written before the first vCPU starts on the path, or with the world stopped. */
struct kvm_machine {
	struct vm *vm;
	const struct kvm_sys *sys;
	struct kvm_host host;
	int dev, fd, stats_fd; /* stats_fd: -1 where the kernel has none */
	size_t run_bytes;
	bool has_sregs2;
	bool chips;	       /* the interrupt controllers are the kernel's: kvm_irqchip.c */
	const char *chips_why; /* one line */
	bool lent;	       /* they have the state now. Device lock */
	_Atomic unsigned doorbells; /* that the kernel has */
	_Atomic int tsc;       /* enum kvm_tsc_how, as the last vCPU found it */
	struct msi_lent msi;
	struct kvm_slot slot[KVM_SLOTS_MAX];
	unsigned nslots;
	bool log_pages; /* RAM's slots have a log of written pages */
	/* Made once: a vCPU that KVM has created stays until its machine goes, so a reset takes the same. Owner of the vCPU */
	struct kvm_cpu *cpu[VM_MAX_CPUS];
	/* by exit reason, all vCPUs [any] */
	_Atomic uint64_t exits[KVM_EXIT_ROWS], exit_tsc[KVM_EXIT_ROWS], inside_tsc;
};

/* kvm_xsave.c. A vCPU's: as long as KVM wants it. fetch: the first bytes, 512 or more. Zeroes are legal in fini. */
struct kvm_xsave_buffer {
	const struct kvm_sys *sys;
	uint8_t *area;
	bool wide; /* more than struct kvm_xsave */
};
bool kvm_xsave_init(struct kvm_xsave_buffer *b, const struct kvm_sys *sys, int vm_fd);
void kvm_xsave_fini(struct kvm_xsave_buffer *b);
bool kvm_xsave_send(struct kvm_xsave_buffer *b, int cpu_fd, const uint8_t xsave[XSAVE_AREA_BYTES]);
bool kvm_xsave_fetch(struct kvm_xsave_buffer *b, int cpu_fd, uint8_t *xsave, size_t bytes);

/* Per vCPU: vcpu->path[PATH_KVM]. Owner thread, but for what is marked [any]. */
struct kvm_cpu {
	struct vcpu *v;
	struct kvm_machine *m;
	int fd, stats_fd; /* stats_fd is made with the vCPU: asked for later it would wait for KVM_RUN's end */
	struct kvm_run *run;
	bool loaded;	 /* see above */
	bool fresh;	 /* loaded, and KVM_RUN has not succeeded since: struct vcpu is right too */
	bool unfinished; /* the last exit is completed by the next KVM_RUN */
	bool reload;	 /* what only a full load brings into KVM has changed */
	bool waits_sipi; /* what kvm_mp_mark has marked it as */
	bool tsc_by_offset; /* else by the value of the moment */
	int64_t tsc_offset; /* what KVM has */
	struct kvm_sync_regs last; /* what KVM has, to tell what must be sent */
	/* the watchdog */
	timer_t timer;
	bool has_timer, ticking;
	_Atomic uint32_t ticks; /* counted by the signal handler */
	uint32_t ticks_seen;
	unsigned same;	/* ticks without a change in the registers */
	unsigned steps; /* ticks since a single step was asked for; 0: none is */
	uint64_t sample;
	uint32_t last_reason;
	uint64_t left_tsc; /* when KVM_RUN came back; 0: not in this run() */
	struct kvm_sync_regs sent; /* what a KVM_RUN that fails may have spoilt */
	struct kvm_xsave_buffer xsave;
};

/* KVM_GET_MSRS and KVM_SET_MSRS of one. */
struct kvm_one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static inline struct kvm_cpu *kvm_cpu(const struct vcpu *v)
{
	return v->path[PATH_KVM];
}
static inline int kvm_vm_ioctl(const struct kvm_machine *m, unsigned long request, void *arg)
{
	return m->sys->ioctl(m->sys, m->fd, request, arg);
}
static inline int kvm_cpu_ioctl(const struct kvm_cpu *c, unsigned long request, void *arg)
{
	return c->m->sys->ioctl(c->m->sys, c->fd, request, arg);
}

/* kvm_host.c */
void kvm_host_judge(struct kvm_host *h);
/* Is the vCPU about to depend on something that this host does wrong? The sentence, or NULL. */
const char *kvm_host_unsound(const struct kvm_machine *m, const struct vcpu *v);
/* The same of a WRMSR that has not been executed. */
const char *kvm_host_unsound_msr(const struct kvm_machine *m, const struct vcpu *v, uint32_t index, uint64_t val);

/* kvm_cpuid.c: the machine's CPUID to the vCPU of KVM's that fd is, on behalf of v. */
bool kvm_cpuid_send(const struct kvm_sys *sys, int fd, const struct vcpu *v);

/* kvm_state.c */
/* Everything into KVM that is not there. false: x says why not, and struct vcpu is the truth as before. */
bool kvm_load(struct kvm_cpu *c, struct exit *x);
/* What KVM_RUN left in the shared page, into struct vcpu. */
void kvm_store_synced(struct kvm_cpu *c);
/* The few fields of that which decide about interrupts. */
void kvm_store_event_state(struct kvm_cpu *c);
void kvm_pull(struct vcpu *v);
/* The guest's WRMSR came to us and struct vcpu has the value. KVM gets it as well where it has a copy, or that would be the one
 * that kvm_pull brings back. false: x says that the host does not take it. */
bool kvm_msr_written(struct kvm_cpu *c, struct exit *x, uint32_t index);

/* kvm_tsc.c. Which way the vCPU's TSC is set; once, when KVM has made it. */
enum kvm_tsc_how { KVM_TSC_NOT_YET, KVM_TSC_OFFSET, KVM_TSC_VALUE, KVM_TSC_SCALED, KVM_TSC_OTHER_RATE, KVM_TSC_HOW_COUNT };
void kvm_tsc_init(struct kvm_cpu *c);
/* The guest's TSC offset, whatever KVM has. */
bool kvm_tsc_send(struct kvm_cpu *c);

/* kvm_irqchip.c. Decides whose they are and makes the kernel's; before the first vCPU. */
enum status kvm_chips_create(struct kvm_machine *m, struct error *e);
/* The machine's state into the kernel's chips; every vCPU is made. World stopped. Failed: the machine's are as before. */
enum status kvm_chips_enter(struct kvm_machine *m, struct error *e);
/* And back. World stopped. */
void kvm_chips_leave(struct kvm_machine *m);
void kvm_chips_fini(struct kvm_machine *m); /* gives the models back without the state */
bool kvm_waits(const struct vcpu *v);
/* run_state into KVM and back; a mark in its place, while struct vcpu is the truth (kvm_irqchip.c); does the vCPU wait for something?
 * Without the kernel's chips nothing, true, no. */
bool kvm_mp_load(struct kvm_cpu *c);
bool kvm_mp_store(struct kvm_cpu *c);
bool kvm_mp_mark(struct kvm_cpu *c);
bool kvm_mp_idle(struct kvm_cpu *c);

/* kvm_doorbell.c. World stopped; the device lock not held. */
void kvm_doorbells_enter(struct kvm_machine *m);
void kvm_doorbells_leave(struct kvm_machine *m);

/* kvm_exits.c */
enum kvm_next { KVM_GO_ON, KVM_LEAVE /* x is filled in */ };
enum kvm_next kvm_handle_exit(struct kvm_cpu *c, struct exit *x);
const char *kvm_exit_name(uint32_t reason);
__attribute__((format(printf, 4, 5))) enum kvm_next kvm_leave(struct kvm_cpu *c, struct exit *x, enum exit_reason r,
							     const char *fmt, ...);

/* kvm_watch.c */
enum status kvm_watch_init(struct kvm_cpu *c, struct error *e);
void kvm_watch_fini(struct kvm_cpu *c);
void kvm_watch_start(struct kvm_cpu *c);
void kvm_watch_stop(struct kvm_cpu *c);
/* Between two KVM_RUNs. false: the vCPU does not get on; x says so. */
bool kvm_watch_look(struct kvm_cpu *c, struct exit *x);
/* KVM_EXIT_DEBUG. */
void kvm_watch_stepped(struct kvm_cpu *c);
void kvm_kick(struct vcpu *v);

/* kvm_run.c */
void kvm_cpu_free(struct kvm_cpu *c); /* NULL is legal */
enum status kvm_cpu_new(struct kvm_machine *m, struct vcpu *v, struct error *e); /* into m->cpu; any thread */
enum status kvm_vcpu_init(struct vcpu *v, struct error *e);
void kvm_vcpu_fini(struct vcpu *v);
/* The shared page to KVM and back, without an instruction. Nothing is unfinished. */
bool kvm_refresh(struct kvm_cpu *c);
void kvm_run_guest(struct vcpu *v, struct exit *x);

#endif
