/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine on the kvm path: the host's /dev/kvm, its capabilities, memory slots, the MSR filter; the path's table.
 *
 * Memory: RAM is the machine's memfd, mapped, in slots around the ROMs, which have read-only slots of their own. Whatever has
 * no slot is a device's and comes back as MMIO.
 *
 * MSRs: those that KVM switches with the processor (a few fields of struct x86_regs) are left to it. Every other index
 * comes to userspace, so that a guest finds the same registers on every path: the rows of engine/msr.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/cpuid.h"
#include "fastpath/kvm_int.h"
#include "fastpath/probe.h"

#define DEV_KVM "/dev/kvm"
/* Four pages that VMX without unrestricted guests needs in a free place of the address space: above the local APIC, below any
 * firmware of up to 16 MiB. */
#define TSS_GPA 0xfeffd000u
#define IDENTITY_MAP_GPA 0xfeffc000u

/* ---- the host ---- */

static int host_open(const struct kvm_sys *sys, const char *path)
{
	(void)sys;
	return open(path, O_RDWR | O_CLOEXEC);
}

static int host_close(const struct kvm_sys *sys, int fd)
{
	(void)sys;
	return close(fd);
}

static int host_ioctl(const struct kvm_sys *sys, int fd, unsigned long request, void *arg)
{
	(void)sys;
	return ioctl(fd, request, arg);
}

static void *host_map(const struct kvm_sys *sys, int fd, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)sys;
	return p == MAP_FAILED ? NULL : p;
}

static void host_unmap(const struct kvm_sys *sys, void *p, size_t bytes)
{
	(void)sys;
	munmap(p, bytes);
}

static ssize_t host_read(const struct kvm_sys *sys, int fd, void *buf, size_t bytes, uint64_t off)
{
	(void)sys;
	return pread(fd, buf, bytes, (off_t)off);
}

const struct kvm_sys kvm_sys_host = {host_open, host_close, host_ioctl, host_map, host_unmap, host_read};

/* Without these the path does not exist. Linux 5.10 has them all. */
static const struct cap_row {
	int cap;
	unsigned bits;
	const char *name;
} needed[] = {
	{KVM_CAP_USER_MEMORY, 1, "memory slots"},
	{KVM_CAP_READONLY_MEM, 1, "read-only memory"},
	{KVM_CAP_SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS, "registers in the shared page"},
	{KVM_CAP_IMMEDIATE_EXIT, 1, "immediate exits"},
	{KVM_CAP_VCPU_EVENTS, 1, "event state"},
	{KVM_CAP_DEBUGREGS, 1, "debug registers"},
	{KVM_CAP_XSAVE, 1, "XSAVE state"},
	{KVM_CAP_XCRS, 1, "XCR0"},
	{KVM_CAP_USER_NMI, 1, "NMIs"},
	{KVM_CAP_X86_USER_SPACE_MSR, 1, "MSR exits"},
	{KVM_CAP_X86_MSR_FILTER, 1, "the MSR filter"},
};

static enum status open_device(const struct kvm_sys *sys, int *out, enum status *why, struct error *e)
{
	int fd = sys->open(sys, DEV_KVM), api;

	*out = fd;
	if (fd < 0) {
		*why = errno == EACCES || errno == EPERM ? ST_DENIED : ST_UNSUPPORTED;
		return error_errno(e, *why, "path kvm cannot run here, use --path auto (\"steelyard probe\" tells more): %s",
				   DEV_KVM);
	}
	api = sys->ioctl(sys, fd, KVM_GET_API_VERSION, NULL);
	if (api != KVM_API_VERSION)
		return error_set(e, ST_UNSUPPORTED, "path kvm cannot run here, use --path auto: %s has API version %d, not %d", DEV_KVM,
				 api, KVM_API_VERSION);
	for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
		int have = sys->ioctl(sys, fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)needed[i].cap);

		if (have <= 0 || ((unsigned)have & needed[i].bits) != needed[i].bits)
			return error_set(e, ST_UNSUPPORTED,
					 "path kvm cannot run here, use --path auto: this host's KVM is without %s (capability %d)",
					 needed[i].name, needed[i].cap);
	}
	return ST_OK;
}

/* Facts first: they know what to do about a device that is not there, not ours, too old or something else. */
static enum status kvm_available(struct error *e)
{
	enum status why = ST_UNSUPPORTED, st;
	struct host_facts f;
	char trouble[PROBE_TEXT];
	int fd;

	probe_host(&f);
	if (probe_device_trouble(&f, trouble, sizeof(trouble)))
		return error_set(e, f.kvm == KVM_NO_PERMISSION ? ST_DENIED : ST_UNSUPPORTED,
				 "path kvm cannot run here, use --path auto: %s", trouble);
	st = open_device(&kvm_sys_host, &fd, &why, e);
	if (fd >= 0)
		kvm_sys_host.close(&kvm_sys_host, fd);
	return st;
}

/* ---- memory ---- */

static enum status set_slot(struct kvm_machine *m, unsigned i, bool there, struct error *e)
{
	const struct kvm_slot *s = &m->slot[i];
	struct kvm_userspace_memory_region r = {.slot = i,
						.flags = s->rom ? KVM_MEM_READONLY : m->log_pages ? KVM_MEM_LOG_DIRTY_PAGES : 0,
						.guest_phys_addr = s->gpa,
						.memory_size = there ? s->len : 0,
						.userspace_addr = (uintptr_t)s->hva};

	if (kvm_vm_ioctl(m, KVM_SET_USER_MEMORY_REGION, &r) != 0)
		return error_errno(e, ST_NO_MEMORY, "kvm: cannot give the guest its memory at %#llx",
				   (unsigned long long)s->gpa);
	return ST_OK;
}

static void add_slot(struct kvm_machine *m, uint64_t gpa, uint64_t len, void *hva, bool rom)
{
	BUG_ON(m->nslots == KVM_SLOTS_MAX);
	m->slot[m->nslots++] = (struct kvm_slot){.gpa = gpa, .len = len, .hva = hva, .rom = rom};
}

/* RAM from gpa on, cut where a ROM hides it. */
static void add_ram(struct kvm_machine *m, uint64_t gpa, uint64_t end)
{
	const struct mem *mem = &m->vm->mem;

	while (gpa < end) {
		uint64_t stop = end, next = end;

		for (unsigned i = 0; i < mem->nroms; i++) {
			uint64_t from = mem->rom[i].gpa, to = from + mem->rom[i].len;

			if (to <= gpa || from >= stop)
				continue;
			stop = from > gpa ? from : gpa;
			next = to < end ? to : end;
		}
		if (stop > gpa)
			add_slot(m, gpa, stop - gpa, mem_ram(mem, gpa, stop - gpa), false);
		gpa = next;
	}
}

static void plan_slots(struct kvm_machine *m)
{
	const struct mem *mem = &m->vm->mem;
	uint64_t gpa, len;

	m->nslots = 0;
	for (unsigned i = 0; i < mem->nroms; i++)
		add_slot(m, mem->rom[i].gpa, mem->rom[i].len, mem->rom[i].hva, true);
	for (unsigned i = 0; mem_ram_piece(mem, i, &gpa, &len); i++)
		add_ram(m, gpa, gpa + len);
}

/* Another path has run: KVM's shadows of page tables and the processor's TLBs are of before. Slots that go and come back
 * take all of that with them. The ROMs are there only after the loader has run, so the slots are planned here. */
static enum status kvm_world_enter(struct vm *vm, struct error *e)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];
	enum status st = ST_OK;

	for (unsigned i = 0; i < m->nslots && st == ST_OK; i++)
		st = set_slot(m, i, false, e);
	if (st == ST_OK)
		plan_slots(m);
	for (unsigned i = 0; i < m->nslots && st == ST_OK; i++)
		st = set_slot(m, i, true, e);
	if (st == ST_OK && m->chips)
		st = kvm_chips_enter(m, e);
	if (st == ST_OK)
		kvm_doorbells_enter(m);
	return st;
}

/* ---- the log of written pages ---- */

/* KVM keeps one for each slot. A slot's flags may change while it is there, and a log begins empty. */
static enum status set_log(struct kvm_machine *m, bool on, struct error *e)
{
	enum status st = ST_OK;

	m->log_pages = on;
	for (unsigned i = 0; i < m->nslots && st == ST_OK; i++)
		if (!m->slot[i].rom)
			st = set_slot(m, i, true, e);
	return st;
}

static enum status kvm_dirty_start(struct vm *vm, struct error *e)
{
	return set_log(vm->path_vm[PATH_KVM], true, e);
}

static void kvm_dirty_stop(struct vm *vm)
{
	struct error e;

	(void)set_log(vm->path_vm[PATH_KVM], false, &e); /* KVM keeps a log that nobody asks for */
}

static enum status kvm_dirty_fetch(struct vm *vm, _Atomic uint64_t *bits, struct error *e)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	for (unsigned i = 0; i < m->nslots; i++) {
		const struct kvm_slot *s = &m->slot[i];
		uint64_t first = mem_ram_offset(&vm->mem, s->gpa) >> PAGE_SHIFT_4K, words = ((s->len >> PAGE_SHIFT_4K) + 63) / 64;
		struct kvm_dirty_log log = {.slot = i};
		uint64_t *map;

		if (s->rom)
			continue;
		log.dirty_bitmap = map = calloc(words, sizeof(*map));
		if (!map)
			return error_set(e, ST_NO_MEMORY, "out of memory");
		if (kvm_vm_ioctl(m, KVM_GET_DIRTY_LOG, &log) != 0) {
			free(map);
			return error_errno(e, ST_IO, "kvm: no log of written pages");
		}
		for (uint64_t w = 0; w < words; w++)
			for (uint64_t left = map[w]; left; left &= left - 1) {
				uint64_t page = first + w * 64 + (unsigned)__builtin_ctzll(left);

				atomic_fetch_or(&bits[page / 64], 1ull << (page & 63));
			}
		free(map);
	}
	return ST_OK;
}

static void kvm_world_leave(struct vm *vm)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	kvm_doorbells_leave(m);
	if (m->chips)
		kvm_chips_leave(m);
}

/* ---- MSRs ---- */

/* Ranges that the guest reaches without us. syscall: no writes while SYSCALL is a flaw of the host, which must be noticed. chips: where the
 * APICs are the kernel's. */
static const struct msr_range {
	uint32_t base, n;
	bool syscall, chips;
} direct[] = {
	{MSR_APIC_BASE, 1, false, true},
	{MSR_TSC_DEADLINE, 1, false, true},
	{MSR_SYSENTER_CS, 3, false, false},
	{MSR_PAT, 1, false, false},
	{MSR_EFER, 5, true, false}, /* EFER, STAR, LSTAR, CSTAR, FMASK */
	{MSR_FS_BASE, 4, false, false}, /* FS, GS, KERNEL_GS, TSC_AUX */
};

static enum status set_msr_filter(struct kvm_machine *m, struct error *e)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				     .args = {KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL}};
	struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};
	__u8 bits[ARRAY_LEN(direct)][4];

	for (unsigned i = 0, n = 0; i < ARRAY_LEN(direct); i++) {
		const struct msr_range *r = &direct[i];
		bool seen = r->syscall && m->host.flaw[FLAW_SYSCALL] && !m->vm->cfg.kvm_trust;

		if (r->chips && !m->chips)
			continue;
		memset(bits[i], 0xff, sizeof(bits[i]));
		f.ranges[n++] = (struct kvm_msr_filter_range){.flags = KVM_MSR_FILTER_READ | (seen ? 0 : KVM_MSR_FILTER_WRITE),
							      .base = r->base,
							      .nmsrs = r->n,
							      .bitmap = bits[i]};
	}
	if (kvm_vm_ioctl(m, KVM_ENABLE_CAP, &cap) != 0 || kvm_vm_ioctl(m, KVM_X86_SET_MSR_FILTER, &f) != 0)
		return error_errno(e, ST_UNSUPPORTED, "kvm: this host's KVM does not let MSRs through to the machine");
	return ST_OK;
}

/* ---- life ---- */

static int extension(struct kvm_machine *m, int cap)
{
	return m->sys->ioctl(m->sys, m->dev, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);
}

/* KVM goes out of its way for old guests: it turns the other vendor's hypercall into this one's, and skips OUT 7EH before
 * it exits. To a guest of ours the first is an instruction that is not there, the second is like any other. */
static void drop_quirks(struct kvm_machine *m)
{
#ifdef KVM_CAP_DISABLE_QUIRKS2
	struct kvm_enable_cap cap = {.cap = KVM_CAP_DISABLE_QUIRKS2,
				     .args = {KVM_X86_QUIRK_OUT_7E_INC_RIP | KVM_X86_QUIRK_FIX_HYPERCALL_INSN}};
	int known = extension(m, KVM_CAP_DISABLE_QUIRKS2);

	cap.args[0] &= known > 0 ? (unsigned)known : 0;
	if (cap.args[0])
		(void)kvm_vm_ioctl(m, KVM_ENABLE_CAP, &cap); /* without it a guest sees what other hypervisors show it */
#endif
}

static enum status set_up(struct kvm_machine *m, struct error *e)
{
	uint64_t identity = IDENTITY_MAP_GPA;
	struct kvm_enable_cap failures = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
	enum status why = ST_UNSUPPORTED, st;
	int bytes;

	if ((st = open_device(m->sys, &m->dev, &why, e)) != ST_OK)
		return st;
	m->fd = m->sys->ioctl(m->sys, m->dev, KVM_CREATE_VM, NULL);
	if (m->fd < 0)
		return error_errno(e, ST_NO_MEMORY, "kvm: cannot create a machine");
	bytes = m->sys->ioctl(m->sys, m->dev, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (bytes < (int)sizeof(struct kvm_run))
		return error_set(e, ST_UNSUPPORTED, "kvm: this host's KVM has a shared page of %d bytes", bytes);
	m->run_bytes = (size_t)bytes;
	/* Intel's processors want it, others do not mind */
	if (kvm_vm_ioctl(m, KVM_SET_IDENTITY_MAP_ADDR, &identity) != 0 ||
	    m->sys->ioctl(m->sys, m->fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_GPA) != 0)
		return error_errno(e, ST_UNSUPPORTED, "kvm: cannot reserve the pages of real mode");
	if (extension(m, KVM_CAP_EXIT_ON_EMULATION_FAILURE) > 0)
		(void)kvm_vm_ioctl(m, KVM_ENABLE_CAP, &failures); /* else user code gets #UD */
	drop_quirks(m);
	m->stats_fd = kvm_vm_ioctl(m, KVM_GET_STATS_FD, NULL); /* fails before Linux 5.14: no figures then */
#ifdef KVM_CAP_SREGS2
	m->has_sregs2 = extension(m, KVM_CAP_SREGS2) > 0;
#endif
	if ((st = kvm_chips_create(m, e)) != ST_OK)
		return st;
	return set_msr_filter(m, e);
}

static void kvm_vm_fini(struct vm *vm)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	if (!m)
		return;
	kvm_doorbells_leave(m);
	kvm_chips_fini(m);
	vm->path_vm[PATH_KVM] = NULL;
	for (unsigned i = 0; i < VM_MAX_CPUS; i++)
		kvm_cpu_free(m->cpu[i]);
	if (m->stats_fd >= 0)
		m->sys->close(m->sys, m->stats_fd);
	if (m->fd >= 0)
		m->sys->close(m->sys, m->fd);
	if (m->dev >= 0)
		m->sys->close(m->sys, m->dev);
	free(m);
}

static enum status kvm_vm_init(struct vm *vm, struct error *e)
{
	struct kvm_machine *m = calloc(1, sizeof(*m));
	enum status st;

	if (!m)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	m->vm = vm;
	m->sys = vm->cfg.kvm_sys ? vm->cfg.kvm_sys : &kvm_sys_host;
	m->dev = m->fd = m->stats_fd = -1;
	vm->path_vm[PATH_KVM] = m;
	kvm_host_judge(&m->host);
	/* A guest that began on another path has been told already */
	if (m->host.native && vm->cfg.path == PATH_KVM)
		cpuid_drop_immunity(&vm->cpuid);
	st = set_up(m, e);
	if (st != ST_OK)
		kvm_vm_fini(vm);
	return st;
}

/* ---- counters ---- */

bool kvm_exit_row(struct vm *vm, unsigned i, struct kvm_exit_count *out)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	for (unsigned r = 0; m && r < KVM_EXIT_ROWS; r++) {
		uint64_t n = atomic_load(&m->exits[r]);

		if (!n || i--)
			continue;
		*out = (struct kvm_exit_count){.name = kvm_exit_name(r),
					       .count = n,
					       .ns = clock_tsc_to_ns(&vm->clock, atomic_load(&m->exit_tsc[r]))};
		return true;
	}
	return false;
}

uint64_t kvm_inside_ns(struct vm *vm)
{
	struct kvm_machine *m = vm->path_vm[PATH_KVM];

	return m ? clock_tsc_to_ns(&vm->clock, atomic_load(&m->inside_tsc)) : 0;
}

const struct exec_ops kvm_ops = {
	.name = "kvm",
	.what = "the host's KVM: native where the host has VT-x or AMD-V",
	.available = kvm_available,
	.vm_init = kvm_vm_init,
	.vm_fini = kvm_vm_fini,
	.vcpu_init = kvm_vcpu_init,
	.vcpu_fini = kvm_vcpu_fini,
	.run = kvm_run_guest,
	.kick = kvm_kick,
	.pull = kvm_pull,
	.more_xstate = 0xe0, /* AVX-512 */
	.whole_machine = true,
	.world_enter = kvm_world_enter,
	.world_leave = kvm_world_leave,
	.dirty_start = kvm_dirty_start,
	.dirty_fetch = kvm_dirty_fetch,
	.dirty_stop = kvm_dirty_stop,
	.waits = kvm_waits,
};
