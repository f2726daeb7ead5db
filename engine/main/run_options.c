/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of steelyard run: a row each, from which the help text comes, and what their values mean. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/exec.h"
#include "engine/main/lockstep.h"
#include "engine/main/run_cmd.h"
#include "engine/main/verbs.h"

#define DEFAULT_MEMORY (512ull << 20)
#define DEFAULT_BT_COLD 7 /* executions before a translation */
#define DEFAULT_DEBUG_EXIT 0xf4
#define TIMEOUT_MAX_S 1e9

enum option_id {
	OPT_PATH = 256,
	OPT_MEMORY,
	OPT_CPUS,
	OPT_KERNEL,
	OPT_INITRD,
	OPT_APPEND,
	OPT_MULTIBOOT,
	OPT_MODULE,
	OPT_FLAT,
	OPT_ROM,
	OPT_BIOS,
	OPT_BOOT,
	OPT_DISK,
	OPT_CDROM,
	OPT_SNAPSHOT,
	OPT_NET,
	OPT_RNG,
	OPT_BALLOON,
	OPT_CONSOLE,
	OPT_VSOCK,
	OPT_SERIAL,
	OPT_DEBUGCON,
	OPT_DEBUG_EXIT,
	OPT_TIMEOUT,
	OPT_STATS,
	OPT_JSON,
	OPT_INSN_ROWS,
	OPT_MARKS,
	OPT_SAMPLE,
	OPT_HOT_BLOCKS,
	OPT_NO_REBOOT,
	OPT_NO_FALLBACK,
	OPT_KVM_TRUST,
	OPT_KVM_IRQCHIP,
	OPT_CPUID,
	OPT_HYBRID_EAGER,
	OPT_SWITCH_AFTER,
	OPT_SWITCH_EVERY,
	OPT_NAME,
	OPT_CONTROL,
	OPT_LOCKSTEP,
	OPT_LOCKSTEP_INSNS,
	OPT_BT_COLD,
	OPT_HELP,
};

struct option_row {
	const char *name, *arg, *what;
	enum option_id id;
};

static const struct option_row rows[] = {
	{"path", "P", "auto (default), bt, interp or kvm: what executes the guest's code", OPT_PATH},
	{"memory", "N", "guest memory with suffix K, M or G (default 512M; a plain number means M)", OPT_MEMORY},
	{"cpus", "N", "number of virtual CPUs (default 1)", OPT_CPUS},
	{"kernel", "F", "Linux bzImage, or an ELF file with a PVH note", OPT_KERNEL},
	{"initrd", "F", "initial RAM disk for --kernel", OPT_INITRD},
	{"append", "S", "command line for --kernel or --multiboot", OPT_APPEND},
	{"multiboot", "F", "multiboot 1 program", OPT_MULTIBOOT},
	{"module", "F", "module for --multiboot; may be given several times", OPT_MODULE},
	{"flat", "F@ADDR", "flat binary, loaded and entered at ADDR (below 1 MiB: real mode; else 32-bit)", OPT_FLAT},
	{"rom", "F", "firmware that ends at 4 GiB and starts at the reset vector", OPT_ROM},
	{"bios", "B", "firmware of a PC: seabios, ovmf or a file; it finds a VGA in text mode and what fw_cfg tells it; ovmf,vars=F keeps its variables in F", OPT_BIOS},
	{"boot", "order=O,menu", "what --bios starts from: c disks, d CDs, n networks, in this order; menu: it asks", OPT_BOOT},
	{"disk", "F,...", "a disk: file=F[,format=qcow2|...][,if=nvme], nbd:..., iscsi://...; serial=S, readonly, snapshot, cache=MODE, queues=N", OPT_DISK},
	{"cdrom", "F", "a CD, from which firmware boots: an ISO image", OPT_CDROM},
	{"snapshot", NULL, "what guests write to disks is thrown away at the end", OPT_SNAPSHOT},
	{"net", "N,...", "a network card: user[,hostfwd=tcp:127.0.0.1:8080-:80], tap,ifname=I or socket,path=F; [,mac=M][,pcap=F]", OPT_NET},
	{"rng", NULL, "a source of random numbers", OPT_RNG},
	{"balloon", NULL, "memory that the guest does not use goes back to the host", OPT_BALLOON},
	{"console", "S", "a virtio serial port: file:F or unix:F, [,name=N]; may be given several times, the first is hvc0", OPT_CONSOLE},
	{"vsock", "cid=N,uds=F", "sockets between guest and host: clients connect to F and say CONNECT PORT, the guest reaches F_PORT", OPT_VSOCK},
	{"serial", "S", "COM1: stdio (default; Ctrl-A h helps), file:F, unix:F (a server) or none", OPT_SERIAL},
	{"debugcon", "S", "port 0xe9: serial (default: where COM1 goes), file:F, unix:F or none", OPT_DEBUGCON},
	{"debug-exit", "P", "port that ends the run with status (value << 1) | 1 (default 0xf4), or none",
	 OPT_DEBUG_EXIT},
	{"timeout", "S", "end after S seconds with status 124", OPT_TIMEOUT},
	{"stats", NULL, "print counters and times to stderr at the end", OPT_STATS},
	{"json", NULL, "the same as one line of JSON", OPT_JSON},
	{"insn-rows", "F", "write to F how often each row of the instruction tables was executed (interp, bt)",
	 OPT_INSN_ROWS},
	{"sample", "HZ", "bt: look so many times a second what each vCPU's thread does; the counters sample_* tell", OPT_SAMPLE},
	{"marks", "F", "write to F a line of JSON with clocks and counters for each line that the guest writes to port 0xe9", OPT_MARKS},
	{"hot-blocks", "F", "bt: write to F the hottest blocks, for \"steelyard explain block\"", OPT_HOT_BLOCKS},
	{"no-reboot", NULL, "a reset by the guest ends the run", OPT_NO_REBOOT},
	{"no-fallback", NULL, "a path that cannot go on ends the run, where another path would go on with the guest",
	 OPT_NO_FALLBACK},
	{"kvm-trust", NULL, "research: with --path kvm, use a KVM that is known to be wrong as if it were right", OPT_KVM_TRUST},
	{"cpuid", "W", "common (default): the features that every path runs; full: AVX-512 too where the host has it, on --path kvm alone", OPT_CPUID},
	{"kvm-irqchip", "W", "auto (default), kernel or user: whose interrupt controllers serve --path kvm", OPT_KVM_IRQCHIP},
	{"hybrid-eager", NULL, "for tests: with --path hybrid, ring 3 runs directly whenever it may", OPT_HYBRID_EAGER},
	{"switch-after", "T:P", "after T seconds go on on path P; may be given several times", OPT_SWITCH_AFTER},
	{"switch-every", "MS:P,P", "tests: at random moments, MS milliseconds apart on average, go on on one of these paths",
	 OPT_SWITCH_EVERY},
	{"name", "N", "the machine's name, for \"steelyard vm\" (default vm-PID)", OPT_NAME},
	{"control", "F", "path of its control socket (default: NAME.sock in the user's folder), or none", OPT_CONTROL},
	{"lockstep", "P,P", "interp,bt: runs both, compares them after every block, stops at the first difference",
	 OPT_LOCKSTEP},
	{"lockstep-insns", "N", "with --lockstep: end after N instructions (default: when the guest ends)",
	 OPT_LOCKSTEP_INSNS},
	{"bt-cold", "N", "bt: how often code is interpreted before it is translated (default 7, at most 255)", OPT_BT_COLD},
	{"help", NULL, "this text", OPT_HELP},
};

void run_options_help(FILE *f)
{
	fputs("Usage: steelyard run [OPTION]...\n"
	      "Runs one guest: --kernel, --multiboot, --flat, --bios or --rom says which.\n\n",
	      f);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		fprintf(f, "  --%-14s %-7s %s\n", rows[i].name, rows[i].arg ? rows[i].arg : "", rows[i].what);
	fputs("\nPaths:\n", f);
	for (unsigned i = 0; i < PATH_COUNT; i++)
		if (exec_paths[i])
			fprintf(f, "  %-8s %s\n", exec_paths[i]->name, exec_paths[i]->what);
	fputs("\nExit status: 0 power-off, (value << 1) | 1 debug exit, 4 triple fault, 124 timeout, 2 usage,\n"
	      "1 host failure, 3 lockstep found a difference, 128 + N ended by signal N.\n",
	      f);
}

/* A number with nothing behind it but what the caller allows; false when it is none. */
static bool number(const char *s, uint64_t max, uint64_t *out, const char **end)
{
	char *e;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*out = strtoull(s, &e, 0);
	*end = e;
	return errno == 0 && *out <= max;
}

static bool parse_memory(const char *s, uint64_t *bytes)
{
	const char *end;
	unsigned shift = 20;

	if (!number(s, UINT64_MAX >> 30, bytes, &end))
		return false;
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		end++;
		break;
	case 'M':
	case 'm':
		end++;
		break;
	case 'G':
	case 'g':
		shift = 30;
		end++;
		break;
	}
	*bytes <<= shift;
	return *end == 0;
}

static int parse_path(struct run_cmd *r, const char *name)
{
	r->path_auto = !strcmp(name, "auto");
	if (r->path_auto)
		return EXIT_OK;
	for (unsigned i = 0; i < PATH_COUNT; i++) {
		if (!exec_paths[i] || strcmp(name, exec_paths[i]->name))
			continue;
		r->cfg.path = (enum path_id)i;
		return EXIT_OK;
	}
	return verb_usage("unknown path \"%s\": give auto, bt, interp, kvm or hybrid", name);
}

static int parse_flat(struct run_cmd *r, const char *arg)
{
	const char *at = strrchr(arg, '@'), *end;

	if (!at || at == arg || !number(at + 1, UINT32_MAX, &r->cfg.flat_addr, &end) || *end)
		return verb_usage("--flat %s: give FILE@ADDRESS with an address below 4 GiB, such as prog.bin@0x7c00",
				  arg);
	free(r->flat);
	r->flat = strndup(arg, (size_t)(at - arg));
	r->cfg.flat = r->flat;
	return EXIT_OK;
}

static int parse_timeout(struct run_cmd *r, const char *arg)
{
	char *end;

	r->timeout_s = strtod(arg, &end);
	if (end == arg || *end || !isfinite(r->timeout_s) || r->timeout_s <= 0 || r->timeout_s > TIMEOUT_MAX_S)
		return verb_usage("--timeout %s: give seconds above 0", arg);
	return EXIT_OK;
}

/* Options whose argument is one of these words, for an enum. */
static const char *const irqchip_words[] = {
	[KVM_IRQCHIP_AUTO] = "auto", [KVM_IRQCHIP_USER] = "user", [KVM_IRQCHIP_KERNEL] = "kernel", NULL};
static const char *const cpuid_words[] = {[CPUID_COMMON] = "common", [CPUID_FULL] = "full", NULL};

static int parse_word(unsigned *out, const char *const *words, const char *arg, const char *option, const char *list)
{
	for (*out = 0; words[*out]; ++*out)
		if (!strcmp(arg, words[*out]))
			return EXIT_OK;
	return verb_usage("--%s %s: give %s", option, arg, list);
}

static int parse_one(struct run_cmd *r, enum option_id id, const char *arg)
{
	const char *end;
	uint64_t n;

	switch (id) {
	case OPT_PATH:
		return parse_path(r, arg);
	case OPT_MEMORY:
		if (!parse_memory(arg, &r->cfg.memory_bytes))
			return verb_usage("--memory %s: give a number with K, M or G, such as 512M", arg);
		return EXIT_OK;
	case OPT_CPUS:
		if (!number(arg, VM_MAX_CPUS, &n, &end) || *end || n < 1)
			return verb_usage("--cpus %s: give 1 to %d", arg, VM_MAX_CPUS);
		r->cfg.ncpus = (unsigned)n;
		return EXIT_OK;
	case OPT_KERNEL:
		r->cfg.kernel = arg;
		return EXIT_OK;
	case OPT_INITRD:
		r->cfg.initrd = arg;
		return EXIT_OK;
	case OPT_APPEND:
		r->cfg.cmdline = arg;
		return EXIT_OK;
	case OPT_MULTIBOOT:
		r->cfg.multiboot = arg;
		return EXIT_OK;
	case OPT_MODULE:
		if (r->cfg.nmodules == VM_MAX_MODULES)
			return verb_usage("--module %s: %d modules are the most", arg, VM_MAX_MODULES);
		r->cfg.module[r->cfg.nmodules++] = arg;
		return EXIT_OK;
	case OPT_FLAT:
		return parse_flat(r, arg);
	case OPT_ROM:
		r->cfg.rom = arg;
		return EXIT_OK;
	case OPT_BIOS:
		return run_bios_option(&r->firmware, &r->cfg, arg);
	case OPT_BOOT:
		return run_boot_option(&r->firmware, &r->cfg, arg);
	case OPT_DISK:
		return run_disk_option(&r->devices, arg);
	case OPT_CDROM:
		return run_cdrom_option(&r->devices, arg);
	case OPT_NET:
		return run_net_option(&r->devices, arg);
	case OPT_RNG:
		return run_plain_option(&r->devices, "--rng", DEVICE_RNG);
	case OPT_BALLOON:
		return run_plain_option(&r->devices, "--balloon", DEVICE_BALLOON);
	case OPT_CONSOLE:
		return run_console_option(&r->devices, arg);
	case OPT_VSOCK:
		return run_vsock_option(&r->devices, arg);
	case OPT_SNAPSHOT:
		r->devices.snapshot = true;
		return EXIT_OK;
	case OPT_SERIAL:
		r->serial = arg;
		return EXIT_OK;
	case OPT_DEBUGCON:
		r->debugcon = arg;
		return EXIT_OK;
	case OPT_DEBUG_EXIT:
		if (!strcmp(arg, "none")) {
			r->cfg.debug_exit_port = -1;
			return EXIT_OK;
		}
		if (!number(arg, 0xffff, &n, &end) || *end)
			return verb_usage("--debug-exit %s: give a port such as 0xf4, or none", arg);
		r->cfg.debug_exit_port = (int)n;
		return EXIT_OK;
	case OPT_TIMEOUT:
		return parse_timeout(r, arg);
	case OPT_STATS:
		r->stats = true;
		return EXIT_OK;
	case OPT_JSON:
		r->json = true;
		return EXIT_OK;
	case OPT_INSN_ROWS:
		r->insn_rows = arg;
		r->cfg.count_rows = true;
		return EXIT_OK;
	case OPT_SAMPLE:
		if (!number(arg, 10000, &n, &end) || *end || !n)
			return verb_usage("--sample %s: give 1 to 10000 samples a second", arg);
		r->cfg.sample_hz = (unsigned)n;
		return EXIT_OK;
	case OPT_MARKS:
		r->marks.path = arg;
		return EXIT_OK;
	case OPT_HOT_BLOCKS:
		r->hot_blocks = arg;
		r->cfg.count_blocks = true;
		return EXIT_OK;
	case OPT_NO_REBOOT:
		r->cfg.no_reboot = true;
		return EXIT_OK;
	case OPT_NO_FALLBACK:
		r->cfg.no_fallback = true;
		return EXIT_OK;
	case OPT_KVM_TRUST:
		r->cfg.kvm_trust = true;
		return EXIT_OK;
	case OPT_HYBRID_EAGER:
		r->cfg.hybrid_eager = true;
		return EXIT_OK;
	case OPT_KVM_IRQCHIP:
		return parse_word(&r->cfg.kvm_irqchip, irqchip_words, arg, "kvm-irqchip", "auto, kernel or user");
	case OPT_CPUID:
		return parse_word(&r->cfg.cpuid, cpuid_words, arg, "cpuid", "common or full");
	case OPT_SWITCH_AFTER:
		return run_switch_after(&r->change, arg);
	case OPT_SWITCH_EVERY:
		return run_switch_every(&r->change, arg);
	case OPT_NAME:
		r->control.name = arg;
		return EXIT_OK;
	case OPT_CONTROL:
		r->control.path = arg;
		return EXIT_OK;
	case OPT_LOCKSTEP:
		if (!lockstep_paths_ok(arg))
			return verb_usage("--lockstep %s: give interp,bt", arg);
		r->lockstep = true;
		return EXIT_OK;
	case OPT_LOCKSTEP_INSNS:
		if (!number(arg, UINT64_MAX / 16, &r->lockstep_insns, &end) || *end)
			return verb_usage("--lockstep-insns %s: give a number of instructions", arg);
		return EXIT_OK;
	case OPT_BT_COLD:
		if (!number(arg, 255, &n, &end) || *end)
			return verb_usage("--bt-cold %s: give 0 to 255", arg);
		r->cfg.bt_cold = (unsigned)n;
		return EXIT_OK;
	case OPT_HELP:
		r->help = true;
		return EXIT_OK;
	}
	return EXIT_USAGE;
}

int run_options_parse(struct run_cmd *r, int argc, char **argv)
{
	struct option longs[ARRAY_LEN(rows) + 1] = {0};
	int c, st;

	r->serial = "stdio";
	r->debugcon = "serial";
	r->cfg.memory_bytes = DEFAULT_MEMORY;
	r->cfg.ncpus = 1;
	r->cfg.bt_cold = DEFAULT_BT_COLD;
	r->cfg.debug_exit_port = DEFAULT_DEBUG_EXIT;
	r->path_auto = true;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		longs[i] =
			(struct option){.name = rows[i].name, .has_arg = rows[i].arg != NULL, .val = (int)rows[i].id};
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (c == ':')
			return verb_usage("run: %s needs a value (\"steelyard run --help\" tells which)",
					  argv[optind - 1]);
		if (c == '?')
			return verb_usage("run: unknown option %s (\"steelyard run --help\" lists them)",
					  argv[optind - 1]);
		st = parse_one(r, c == 'h' ? OPT_HELP : (enum option_id)c, optarg);
		if (st != EXIT_OK || r->help)
			return st;
	}
	if (optind < argc)
		return verb_usage("run: what is \"%s\"? Options begin with -- (\"steelyard run --help\" lists them)",
				  argv[optind]);
	return EXIT_OK;
}
