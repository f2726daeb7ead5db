/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A KVM played by the test: keeps a vCPU's state as the real one does, executes nothing, and does in KVM_RUN what the test
 * says. Any request can be made to fail. It counts what is open, so that a leak shows.
 */
#ifndef STEELYARD_TESTS_FAKE_KVM_H
#define STEELYARD_TESTS_FAKE_KVM_H

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fastpath/kvm_int.h"

#define FAKE_RUN_BYTES 12288
#define FAKE_FD 100000
#define FAKE_OPEN 1ul /* numbers for what is no ioctl */
#define FAKE_MAP 2ul

struct fake_kvm {
	struct kvm_sys sys; /* first */
	_Atomic int fds, maps;
	/* fails the request `fail` from its skip-th time on, times times, with err */
	unsigned long fail;
	unsigned skip, times;
	int err;
	_Atomic unsigned failed;
	/* KVM_RUN, after the state has been taken over: the return value as of ioctl, errno set. NULL: blocks until a signal */
	int (*run)(struct fake_kvm *k, struct kvm_run *r, unsigned n);
	unsigned arg;
	_Atomic unsigned runs;
	/* the state of vCPU 0 */
	struct kvm_run *page;
	struct kvm_sync_regs state;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	uint64_t pdptrs[4];
	uint64_t msr[64];
	uint32_t msr_index[64];
	unsigned nmsrs;
	unsigned created;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	bool init_waits; /* an INIT has come that is taken when KVM_GET_MP_STATE asks, as the real one does */
	struct kvm_irqchip chip[3];
	uint64_t lines; /* levels, by GSI */
	unsigned msis, stats_noise;
	int tsc_khz; /* that it counts at; 0: it does not say */
	unsigned bells; /* attached */
	struct kvm_ioeventfd bell; /* the last */
	int xsave2;  /* bytes of KVM_CAP_XSAVE2; 0: as old kernels */
	uint8_t *wide; /* the state behind the first 4096 of them */
	int lacks;   /* this capability */
	struct kvm_msi msi; /* the last */
	struct kvm_userspace_memory_region slot[KVM_SLOTS_MAX];
	_Atomic uint64_t stored_to; /* a page that the guest has written, until a slot's log has told; 0: none */
	/* how often each request came */
	unsigned long seen[64];
	_Atomic unsigned times_seen[64];
	unsigned nseen;
};

static inline struct fake_kvm *fake_kvm_of(const struct kvm_sys *sys)
{
	return (struct fake_kvm *)(uintptr_t)sys;
}

static inline bool fake_fails(struct fake_kvm *k, unsigned long request)
{
	if (!k->fail || k->fail != request)
		return false;
	if (k->skip) {
		k->skip--;
		return false;
	}
	if (atomic_load(&k->failed) >= k->times)
		return false;
	atomic_fetch_add(&k->failed, 1);
	errno = k->err;
	return true;
}

static inline unsigned fake_seen(struct fake_kvm *k, unsigned long request)
{
	for (unsigned i = 0; i < k->nseen; i++)
		if (k->seen[i] == request)
			return atomic_load(&k->times_seen[i]);
	return 0;
}

static inline void fake_see(struct fake_kvm *k, unsigned long request)
{
	unsigned i;

	for (i = 0; i < k->nseen && k->seen[i] != request; i++)
		;
	if (i == k->nseen && k->nseen < 64)
		k->seen[k->nseen++] = request;
	if (i < 64)
		atomic_fetch_add(&k->times_seen[i], 1);
}

/* All requests but KVM_RUN. */
static inline unsigned fake_requests(struct fake_kvm *k)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->nseen; i++)
		n += k->seen[i] == KVM_RUN ? 0 : atomic_load(&k->times_seen[i]);
	return n;
}

static inline int fake_open(const struct kvm_sys *sys, const char *path)
{
	struct fake_kvm *k = fake_kvm_of(sys);

	(void)path;
	if (fake_fails(k, FAKE_OPEN))
		return -1;
	return FAKE_FD + atomic_fetch_add(&k->fds, 1);
}

static inline int fake_close(const struct kvm_sys *sys, int fd)
{
	(void)fd;
	atomic_fetch_sub(&fake_kvm_of(sys)->fds, 1);
	return 0;
}

static inline void *fake_map(const struct kvm_sys *sys, int fd, size_t bytes)
{
	struct fake_kvm *k = fake_kvm_of(sys);

	(void)fd;
	if (fake_fails(k, FAKE_MAP))
		return NULL;
	atomic_fetch_add(&k->maps, 1);
	return k->page = calloc(1, bytes);
}

static inline void fake_unmap(const struct kvm_sys *sys, void *p, size_t bytes)
{
	struct fake_kvm *k = fake_kvm_of(sys);

	(void)bytes;
	atomic_fetch_sub(&k->maps, 1);
	free(p);
	k->page = NULL;
}

static inline int fake_blocked(struct kvm_run *r)
{
	while (!*(volatile __u8 *)&r->immediate_exit)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	errno = EINTR;
	return -1;
}

static inline int fake_run_ioctl(struct fake_kvm *k)
{
	struct kvm_run *r = k->page;
	unsigned n = atomic_fetch_add(&k->runs, 1);
	int ret;

	if (fake_fails(k, KVM_RUN))
		return -1;
	if (r->kvm_dirty_regs & KVM_SYNC_X86_REGS)
		k->state.regs = r->s.regs.regs;
	if (r->kvm_dirty_regs & KVM_SYNC_X86_SREGS)
		k->state.sregs = r->s.regs.sregs;
	if (r->kvm_dirty_regs & KVM_SYNC_X86_EVENTS)
		k->state.events = r->s.regs.events;
	if (*(volatile __u8 *)&r->immediate_exit) {
		errno = EINTR;
		ret = -1;
	} else {
		ret = k->run ? k->run(k, r, n) : fake_blocked(r);
	}
	r->s.regs = k->state;
	return ret;
}

static inline uint64_t *fake_msr(struct fake_kvm *k, uint32_t index)
{
	for (unsigned i = 0; i < k->nmsrs; i++)
		if (k->msr_index[i] == index)
			return &k->msr[i];
	k->msr_index[k->nmsrs] = index;
	return &k->msr[k->nmsrs++];
}

static inline int fake_msrs(struct fake_kvm *k, struct kvm_msrs *m, bool set)
{
	for (unsigned i = 0; i < m->nmsrs; i++) {
		if (set)
			*fake_msr(k, m->entries[i].index) = m->entries[i].data;
		else
			m->entries[i].data = *fake_msr(k, m->entries[i].index);
	}
	return (int)m->nmsrs;
}

/* KVM_GET_DIRTY_LOG: what it has told is clean again. */
static inline int fake_dirty_log(struct fake_kvm *k, const struct kvm_dirty_log *log)
{
	const struct kvm_userspace_memory_region *r = &k->slot[log->slot % KVM_SLOTS_MAX];
	uint64_t gpa = atomic_load(&k->stored_to), page = (gpa - r->guest_phys_addr) >> 12;

	if (!(r->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		errno = ENOENT;
		return -1;
	}
	memset(log->dirty_bitmap, 0, ((r->memory_size >> 12) + 63) / 64 * 8);
	if (gpa && gpa - r->guest_phys_addr < r->memory_size) {
		((uint64_t *)log->dirty_bitmap)[page / 64] |= 1ull << (page & 63);
		atomic_store(&k->stored_to, 0);
	}
	return 0;
}

#define FAKE_STATE(get, set, field)          \
	case get:                            \
		memcpy(arg, &k->field, sizeof(k->field)); \
		return 0;                    \
	case set:                            \
		memcpy(&k->field, arg, sizeof(k->field)); \
		return 0

static inline int fake_ioctl(const struct kvm_sys *sys, int fd, unsigned long request, void *arg)
{
	struct fake_kvm *k = fake_kvm_of(sys);

	(void)fd;
	fake_see(k, request);
	if (request == KVM_RUN)
		return fake_run_ioctl(k);
	if (fake_fails(k, request))
		return -1;
	switch (request) {
	case KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case KVM_CHECK_EXTENSION:
		if (k->lacks && (uintptr_t)arg == (unsigned)k->lacks)
			return 0;
		if ((uintptr_t)arg == KVM_CAP_XSAVE2)
			return k->xsave2;
		return (uintptr_t)arg == KVM_CAP_SYNC_REGS ? KVM_SYNC_X86_VALID_FIELDS : 1;
	case KVM_GET_TSC_KHZ:
		return k->tsc_khz;
	case KVM_SET_TSC_KHZ:
		k->tsc_khz = (int)(uintptr_t)arg;
		return 0;
	case KVM_CREATE_VCPU:
		if (k->created++) { /* one vCPU it is, and KVM never forgets it */
			errno = EEXIST;
			return -1;
		}
		return FAKE_FD + atomic_fetch_add(&k->fds, 1);
	case KVM_CREATE_VM:
	case KVM_GET_STATS_FD:
		return FAKE_FD + atomic_fetch_add(&k->fds, 1);
	case KVM_GET_VCPU_MMAP_SIZE:
		return FAKE_RUN_BYTES;
	case KVM_SET_MSRS:
		return fake_msrs(k, arg, true);
	case KVM_GET_MSRS:
		return fake_msrs(k, arg, false);
	case KVM_GET_SREGS2: {
		struct kvm_sregs2 *s = arg;

		memcpy(s, &k->state.sregs, offsetof(struct kvm_sregs2, flags));
		s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(s->pdptrs, k->pdptrs, sizeof(k->pdptrs));
		return 0;
	}
	case KVM_SET_SREGS2: {
		const struct kvm_sregs2 *s = arg;

		memcpy(&k->state.sregs, s, offsetof(struct kvm_sregs2, flags));
		memcpy(k->pdptrs, s->pdptrs, sizeof(k->pdptrs));
		return 0;
	}
	case KVM_SET_USER_MEMORY_REGION: {
		const struct kvm_userspace_memory_region *r = arg;

		k->slot[r->slot % KVM_SLOTS_MAX] = *r;
		return 0;
	}
	case KVM_GET_DIRTY_LOG:
		return fake_dirty_log(k, arg);
	case KVM_GET_IRQCHIP:
		memcpy(arg, &k->chip[((struct kvm_irqchip *)arg)->chip_id % 3], sizeof(k->chip[0]));
		return 0;
	case KVM_SET_IRQCHIP:
		memcpy(&k->chip[((struct kvm_irqchip *)arg)->chip_id % 3], arg, sizeof(k->chip[0]));
		return 0;
	case KVM_IRQ_LINE: {
		const struct kvm_irq_level *l = arg;

		k->lines = (k->lines & ~(1ull << l->irq)) | (uint64_t)!!l->level << l->irq;
		return 0;
	}
	case KVM_IOEVENTFD:
		k->bell = *(struct kvm_ioeventfd *)arg;
		k->bells += k->bell.flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? -1u : 1;
		return 0;
	case KVM_SIGNAL_MSI:
		k->msi = *(struct kvm_msi *)arg;
		k->msis++;
		k->lapic.regs[0x200 + (k->msi.data & 0xe0) / 2 + (k->msi.data & 0x1f) / 8] |= (char)(1 << k->msi.data % 8);
		return 1;
	case KVM_GET_MP_STATE:
		if (k->init_waits) {
			k->init_waits = false;
			k->mp.mp_state = KVM_MP_STATE_INIT_RECEIVED;
			k->state.regs.rip = 0xfff0;
			k->state.sregs.cr0 = 0x60000010;
		}
		*(struct kvm_mp_state *)arg = k->mp;
		return 0;
	case KVM_SET_MP_STATE:
		k->mp = *(const struct kvm_mp_state *)arg;
		return 0;
	FAKE_STATE(KVM_GET_LAPIC, KVM_SET_LAPIC, lapic);
	FAKE_STATE(KVM_GET_REGS, KVM_SET_REGS, state.regs);
	FAKE_STATE(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, state.events);
	FAKE_STATE(KVM_GET_SREGS, KVM_SET_SREGS, state.sregs);
	FAKE_STATE(KVM_GET_XCRS, KVM_SET_XCRS, xcrs);
	case KVM_GET_XSAVE2:
		if (k->wide)
			memcpy((uint8_t *)arg + sizeof(k->xsave), k->wide, (size_t)k->xsave2 - sizeof(k->xsave));
		memcpy(arg, &k->xsave, sizeof(k->xsave));
		return 0;
	case KVM_GET_XSAVE:
		memcpy(arg, &k->xsave, sizeof(k->xsave));
		return 0;
	case KVM_SET_XSAVE: /* as much as it says that it has */
		if (k->wide)
			memcpy(k->wide, (uint8_t *)arg + sizeof(k->xsave), (size_t)k->xsave2 - sizeof(k->xsave));
		memcpy(&k->xsave, arg, sizeof(k->xsave));
		return 0;
	FAKE_STATE(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debug);
	default:
		return 0;
	}
}

/* Two figures and a histogram. stats_noise spoils the header, word by word. */
static inline ssize_t fake_read(const struct kvm_sys *sys, int fd, void *buf, size_t bytes, uint64_t off)
{
	struct fake_kvm *k = fake_kvm_of(sys);
	struct {
		struct kvm_stats_header h;
		struct {
			struct kvm_stats_desc d;
			char name[16];
		} row[3];
		uint64_t data[8];
	} f = {.h = {.name_size = 16, .num_desc = 3, .desc_offset = sizeof(f.h), .data_offset = offsetof(__typeof__(f), data)},
	       .row = {{{.size = 1, .offset = 0}, {0}}, {{.size = 4, .offset = 8}, {0}}, {{.size = 1, .offset = 40}, {0}}},
	       .data = {7, 1, 2, 3, 4, 11}};

	(void)fd;
	strcpy(f.row[0].name, "halts");
	strcpy(f.row[1].name, "histogram");
	memcpy(f.row[2].name, "exits_of_test_xx", 16); /* fills its field: no end */
	if (k->stats_noise)
		((uint32_t *)&f.h)[k->stats_noise % 6] = k->stats_noise * 0x9e3779b9u;
	if (off >= sizeof(f))
		return 0;
	if (bytes > sizeof(f) - off)
		bytes = sizeof(f) - off;
	memcpy(buf, (char *)&f + off, bytes);
	return (ssize_t)bytes;
}

static inline void fake_kvm_init(struct fake_kvm *k)
{
	*k = (struct fake_kvm){.sys = {fake_open, fake_close, fake_ioctl, fake_map, fake_unmap, fake_read}, .times = 1, .err = EIO};
}

static inline enum status fake_kvm_available(struct error *e)
{
	(void)e;
	return ST_OK;
}

#endif
