// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The paths and peers of an evaluation, one row each, and the command lines that start them. Every machine gets the same
 * kernel, initramfs, kernel command line, memory and number of processors.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/quick.h"
#include "eval/runner.h"

/* The peer tuned for the boot. Without RTC, or without PIT and PIC, this kernel waits longer under TCG, not shorter. */
#define MICROVM "microvm,x-option-roms=off"

static const struct eval_path paths[] = {
	{"bt", "our translator", PEER_STEELYARD, "bt", .timeout_s = 120, .boot_s = 60, .slowdown = 100},
	{"interp", "our interpreter", PEER_STEELYARD, "interp", .slow = true, .timeout_s = 600, .boot_s = 300,
	 .slowdown = 3000},
	{"kvm", "the processor, through KVM", PEER_STEELYARD, "kvm", .timeout_s = 60, .boot_s = 30, .slowdown = 100},
	{"hybrid", "our translator, ring 3 in KVM", PEER_STEELYARD, "hybrid", .timeout_s = 120, .boot_s = 60, .slowdown = 100},
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

	char *own[] = {ev->self,   "run",      "--path",      accel,       "--memory", memory,          "--cpus",
		       ncpus,      "--kernel", kernel,        "--initrd",  initrd,     "--append",      append,
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

/* ---- of the runner ---- */

static bool in_path(const char *program)
{
	const char *dirs = getenv("PATH");
	char file[4200];

	for (const char *p = dirs ? dirs : "/usr/bin:/bin"; *p;) {
		size_t n = strcspn(p, ":");

		snprintf(file, sizeof(file), "%.*s/%s", (int)(n < 4000 ? n : 4000), p, program);
		if (n && !access(file, X_OK))
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

const char *path_why_not(const struct eval_path *p, char *text, size_t n)
{
	if (p->peer == PEER_QEMU && !in_path("qemu-system-x86_64")) {
		snprintf(text, n, "there is no qemu-system-x86_64 in PATH; make deps installs it");
		return text;
	}
	if (!strcmp(p->accel, "kvm") && access("/dev/kvm", R_OK | W_OK)) {
		snprintf(text, n,
			 access("/dev/kvm", F_OK) ? "there is no /dev/kvm" : "/dev/kvm may not be opened by this user");
		return text;
	}
	return NULL;
}

/* Every machine gets what the others get. Port 0xe9 of QEMU's is its debug console. */
bool path_command(const struct runner *r, const struct spec_path *p, const char *words, unsigned limit_s,
		  struct path_command *c)
{
	const struct eval_path *row = p->row;
	bool own = row->peer == PEER_STEELYARD;

	if (snprintf(c->append, sizeof(c->append), "console=ttyS0 quiet panic=-1 %s steelyard.poweroff", words) >=
	    (int)sizeof(c->append))
		return false;
	snprintf(c->kernel, sizeof(c->kernel), "%s/vmlinuz", r->guest_dir);
	snprintf(c->initrd, sizeof(c->initrd), "%s/initrd", r->guest_dir);
	snprintf(c->memory, sizeof(c->memory), "%uM", r->spec.memory_mb);
	snprintf(c->ncpus, sizeof(c->ncpus), "%u", p->cpus);
	snprintf(c->limit, sizeof(c->limit), "%u", limit_s);
	snprintf(c->accel, sizeof(c->accel), "%s", row->accel);
	snprintf(c->machine, sizeof(c->machine), "%s", row->machine ? row->machine : "");
	const char *const ours[] = {r->self,       "run",           "--path",      c->accel,    "--memory",
				    c->memory,     "--cpus",        c->ncpus,      "--kernel",  c->kernel,
				    "--initrd",    c->initrd,       "--append",    c->append,   "--serial",
				    "stdio",       "--marks",       OBSERVE_MARKS, "--control", "none",
				    "--no-reboot", "--no-fallback", "--timeout",   c->limit,    NULL};
	const char *const qemu[] = {"qemu-system-x86_64",
				    "-accel",
				    c->accel,
				    "-M",
				    c->machine,
				    "-cpu",
				    strcmp(row->accel, "kvm") ? "max" : "host",
				    "-m",
				    c->memory,
				    "-smp",
				    c->ncpus,
				    "-nodefaults",
				    "-display",
				    "none",
				    "-no-reboot",
				    "-serial",
				    "stdio",
				    "-chardev",
				    "file,id=marks,path=" OBSERVE_MARKS,
				    "-device",
				    "isa-debugcon,iobase=0xe9,chardev=marks",
				    "-kernel",
				    c->kernel,
				    "-initrd",
				    c->initrd,
				    "-append",
				    c->append,
				    NULL};
	_Static_assert(ARRAY_LEN(ours) <= ARRAY_LEN(c->argv) && ARRAY_LEN(qemu) <= ARRAY_LEN(c->argv), "argv");
	memcpy(c->argv, own ? ours : qemu, own ? sizeof(ours) : sizeof(qemu));
	c->observe = (struct observe){.argv = c->argv,
				      .boot_limit_s = row->boot_s,
				      .repeat = 1,
				      .boot_only = row->boot_only,
				      .ram_bytes = (uint64_t)r->spec.memory_mb << 20,
				      .ram_name = own ? "/memfd:steelyard-ram" : NULL,
				      .stop_fd = r->stop_fd};
	return true;
}
