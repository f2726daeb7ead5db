// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The paths and peers of an evaluation, one row each, and the command lines that start them. Every machine gets the same
 * kernel, initramfs, kernel command line, memory and number of processors.
 */
#include <stdio.h>
#include <string.h>

#include "engine/status.h"
#include "eval/quick.h"

/* The peer tuned for the boot. Without RTC, or without PIT and PIC, this kernel waits longer under TCG, not shorter. */
#define MICROVM "microvm,x-option-roms=off"

static const struct eval_path paths[] = {
	{"bt", "our translator", PEER_STEELYARD, "bt", .timeout_s = 120, .boot_s = 60, .slowdown = 100},
	{"interp", "our interpreter", PEER_STEELYARD, "interp", .slow = true, .timeout_s = 600, .boot_s = 300,
	 .slowdown = 3000},
	{"kvm", "the processor, through KVM", PEER_STEELYARD, "kvm", .timeout_s = 60, .boot_s = 30, .slowdown = 100},
	{"qemu-tcg", "QEMU's translator", PEER_QEMU, "tcg", .machine = "pc", .timeout_s = 180, .boot_s = 90,
	 .slowdown = 300},
	{"qemu-kvm", "QEMU on KVM", PEER_QEMU, "kvm", .machine = "pc", .timeout_s = 60, .boot_s = 30, .slowdown = 100},
	{"qemu-microvm", "QEMU's translator, tuned microvm, boot only", PEER_QEMU, "tcg", .machine = MICROVM,
	 .boot_only = true, .timeout_s = 60, .boot_s = 60, .slowdown = 100},
};

/* The rows' times are for eight workloads at a quarter of their work. */
static unsigned path_timeout(const struct eval *ev, const struct eval_path *p)
{
	return p->timeout_s * (1 + ev->nworkloads * (p->slow ? ev->slow_scale : ev->scale) / 400);
}

const struct eval_path *eval_path_at(unsigned i)
{
	return i < ARRAY_LEN(paths) ? &paths[i] : NULL;
}

const struct eval_path *eval_path_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(paths); i++)
		if (!strcmp(paths[i].name, name))
			return &paths[i];
	return NULL;
}

void path_run_block(struct eval *ev, const struct eval_path *p, unsigned cpus, struct eval_run *r,
		    const unsigned *order)
{
	char ncpus[16], append[2000], kernel[4200], initrd[4200], memory[16], megabytes[16], timeout[16], accel[32],
		machine[128];
	unsigned n = (unsigned)snprintf(append, sizeof(append), "console=ttyS0 quiet panic=-1");

	/* The pause is for the observer, who reads the process's memory maps meanwhile. */
	for (unsigned i = 0; !p->boot_only && i < ev->nworkloads; i++)
		n += (unsigned)snprintf(append + n, sizeof(append) - n, "%s%s:%u",
					i ? "," : " steelyard.exec=usleep+100000 steelyard.run=",
					ev->workload[order[i]], p->slow ? ev->slow_scale : ev->scale);
	snprintf(append + n, sizeof(append) - n, " steelyard.poweroff");
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", ev->guest_dir);
	snprintf(initrd, sizeof(initrd), "%s/initrd", ev->guest_dir);
	snprintf(memory, sizeof(memory), "%uM", ev->memory_mb);
	snprintf(ncpus, sizeof(ncpus), "%u", cpus);
	snprintf(megabytes, sizeof(megabytes), "%u", ev->memory_mb);
	snprintf(timeout, sizeof(timeout), "%u", path_timeout(ev, p));
	snprintf(accel, sizeof(accel), "%s", p->accel);
	snprintf(machine, sizeof(machine), "%s", p->machine ? p->machine : "");

	char *own[] = {ev->self,   "run",      "--path",      accel,       "--memory", memory,     "--cpus",
		       ncpus,      "--kernel", kernel,        "--initrd",  initrd,     "--append", append,
		       "--serial", "stdio",    "--no-reboot", "--timeout", timeout,    "--no-fallback", NULL};
	char *qemu[] = {"qemu-system-x86_64",
			"-accel",
			accel,
			"-M",
			machine,
			"-cpu",
			strcmp(p->accel, "kvm") ? "max" : "host",
			"-m",
			megabytes,
			"-smp",
			ncpus,
			"-nodefaults",
			"-display",
			"none",
			"-no-reboot",
			"-serial",
			"stdio",
			"-kernel",
			kernel,
			"-initrd",
			initrd,
			"-append",
			append,
			NULL};
	struct child_spec s = {
		.argv = p->peer == PEER_QEMU ? qemu : own,
		.timeout_s = path_timeout(ev, p) + 5,
		.workload = ev->workload,
		.nworkloads = ev->nworkloads,
		.repeat = 1,
		.boot_only = p->boot_only,
		.ram_bytes = (uint64_t)ev->memory_mb << 20,
		.ram_name = p->peer == PEER_QEMU ? NULL : "/memfd:steelyard-ram",
	};

	r->order = ev->norder++;
	child_observe(&s, r);
}

/* A pass over all workloads on the host, on as many CPUs as in the guests. Work too short to be measured is repeated. */
void native_run(struct eval *ev, struct eval_run *r, unsigned scale, unsigned cpus, const unsigned *order)
{
	unsigned times = scale < 20 ? (20 + scale - 1) / scale : 1;
	char binary[4200], ncpus[16], repeat[16], percent[16];

	snprintf(binary, sizeof(binary), "%s/workloads", ev->guest_dir);
	snprintf(ncpus, sizeof(ncpus), "%u", cpus);
	snprintf(repeat, sizeof(repeat), "%u", times);
	snprintf(percent, sizeof(percent), "%u", scale);
	r->order = ev->norder++;
	for (unsigned i = 0; i < ev->nworkloads; i++) {
		char name[32];
		char *argv[] = {binary, "--mark", "--cpus", ncpus, "--repeat", repeat, name, percent, NULL};
		struct child_spec s = {.argv = argv,
				       .timeout_s = 120,
				       .workload = &ev->workload[order[i]],
				       .nworkloads = 1,
				       .repeat = times,
				       .native = true};
		struct eval_run one = {0};

		snprintf(name, sizeof(name), "%s", ev->workload[order[i]]);
		child_observe(&s, &one);
		r->w[order[i]] = one.w[0];
		r->ok = i ? r->ok && one.ok : one.ok;
		r->ran = true;
		if (!one.ok && !r->why[0])
			snprintf(r->why, sizeof(r->why), "%.30s: %.200s", name, one.why);
	}
}
