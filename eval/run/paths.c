// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The paths and peers of an evaluation, one row each, and the command lines that start them. Every machine gets the same
 * kernel, initramfs, kernel command line, memory and number of processors. A flat path has no machine: it gets the program that
 * the machines have in their initramfs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/run/runner.h"

/* The peer tuned for the boot. Without RTC, or without PIT and PIC, this kernel waits longer under TCG, not shorter. */
#define MICROVM "microvm,x-option-roms=off"

static const struct eval_path paths[] = {
	{"bt", "our translator", PEER_STEELYARD, "bt", .boot_s = 60, .slowdown = 100},
	{"interp", "our interpreter", PEER_STEELYARD, "interp", .slow = true, .boot_s = 300, .slowdown = 3000},
	{"kvm", "the processor, through KVM", PEER_STEELYARD, "kvm", .boot_s = 30, .slowdown = 100},
	{"hybrid", "ring 3 in KVM, the rest in our translator", PEER_STEELYARD, "hybrid", .boot_s = 60,
	 .slowdown = 100},
	{"qemu-tcg", "QEMU's translator", PEER_QEMU, "tcg", .machine = "pc", .boot_s = 90, .slowdown = 3000},
	{"qemu-kvm", "QEMU on KVM", PEER_QEMU, "kvm", .machine = "pc", .boot_s = 30, .slowdown = 100},
	{"qemu-microvm", "QEMU's translator, tuned microvm, boot only", PEER_QEMU, "tcg", .machine = MICROVM,
	 .boot_only = true, .boot_s = 30, .slowdown = 100},
	{"unicorn", "libunicorn, the same program without a system", PEER_UNICORN, "", .slow = true, .flat = true,
	 .boot_s = 30, .slowdown = 3000},
};

const char *const eval_peer_words[] = {
	[PEER_STEELYARD] = "steelyard", [PEER_QEMU] = "qemu", [PEER_UNICORN] = "unicorn", NULL};

/* What only seems to run on a path: its result would be right, and its time that of other work. */
static const struct {
	const char *path, *workload, *why;
} leaves_out[] = {
	{"unicorn", "matavx2", "libunicorn has no AVX: the program would run its plain code in place of it"},
};

const char *eval_path_leaves_out(const struct eval_path *p, const char *workload)
{
	for (unsigned i = 0; i < ARRAY_LEN(leaves_out); i++)
		if (!strcmp(leaves_out[i].path, p->name) && !strcmp(leaves_out[i].workload, workload))
			return leaves_out[i].why;
	if (p->flat && !workload_group(workload)->flat)
		return "it needs an operating system, and there is none in libunicorn";
	return NULL;
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

bool path_flat_program(char *file, size_t n)
{
	char self[4096];
	ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (got <= 0)
		return false;
	self[got] = 0;
	slash = strrchr(self, '/');
	return slash && snprintf(file, n, "%.*s/peers/unicorn", (int)(slash - self), self) < (int)n;
}

const char *path_why_not(const struct eval_path *p, char *text, size_t n)
{
	char flat[4200];

	if (p->flat && (!path_flat_program(flat, sizeof(flat)) || access(flat, X_OK))) {
		snprintf(text, n, "libunicorn was not here when this program was built; make deps installs it");
		return text;
	}
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

/* How often bt looks where its vCPUs are, for the overhead's parts: some thousand looks in a run of many blocks, and less than one
 * percent of the time. */
#define SAMPLE_HZ "199"

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
	if (spec_is_macro(&r->spec))
		snprintf(c->initrd, sizeof(c->initrd), "%s", r->macro.initrd);
	else
		snprintf(c->initrd, sizeof(c->initrd), "%s/initrd", r->guest_dir);
	snprintf(c->memory, sizeof(c->memory), "%uM", r->spec.memory_mb);
	snprintf(c->ncpus, sizeof(c->ncpus), "%u", p->cpus);
	snprintf(c->limit, sizeof(c->limit), "%u", limit_s);
	snprintf(c->accel, sizeof(c->accel), "%s", row->accel);
	snprintf(c->machine, sizeof(c->machine), "%s", row->machine ? row->machine : "");
	const char *const ours[] = {r->self,     "run",     "--path",      c->accel,        "--memory",  c->memory,
				    "--cpus",    c->ncpus,  "--kernel",    c->kernel,       "--initrd",  c->initrd,
				    "--append",  c->append, "--serial",    "stdio",         "--marks",   OBSERVE_MARKS,
				    "--control", "none",    "--no-reboot", "--no-fallback", "--timeout", c->limit,
				    "--sample",  SAMPLE_HZ, NULL};
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
