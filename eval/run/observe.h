/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One process under observation: a native workload, one of our machines, QEMU. Private to eval/, single thread.
 */
#ifndef STEELYARD_EVAL_OBSERVE_H
#define STEELYARD_EVAL_OBSERVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What is known at a marker. counters and exits are owned references, or NULL. */
struct stamp {
	uint64_t wall_ns, cpu_ns, vcpu_ns, io_ns;
	bool exact; /* taken inside the machine, by the thread that served the guest's write */
	json_t *counters, *exits;
	unsigned long arrival; /* not exact: what came out of a pipe at once has one number */
};

/* One execution that is expected, in the order of the list; the rest is filled in. */
struct observed_run {
	const char *workload;
	unsigned iteration;
	double limit_s; /* between its markers */
	bool begun, ok, timed;
	char checksum[20], why[240];
	uint64_t wall_ns, cpu_ns, guest_wall_ns;
	bool has_threads, has_sys;
	uint64_t sys_ns; /* of cpu_ns: in the kernel, by the accounting of whose clock it is */
	uint64_t vcpu_ns, io_ns, other_ns;
	json_t *counters, *exits; /* owned */
};

struct observe {
	/* in */
	char *const *argv;     /* OBSERVE_MARKS is where it may write markers */
	unsigned boot_limit_s; /* to the first line of init, and between workloads */
	unsigned repeat;
	bool native;    /* no boot; what a workload says of its children's CPU time counts */
	bool boot_only; /* is ended at the first line of init */
	uint64_t ram_bytes;
	const char *ram_name; /* of its mapping; NULL: found by its size */
	int stop_fd;          /* readable: end the process and return at once; -1: none */
	struct observed_run *run;
	unsigned nruns;
	/* out */
	bool stopped;  /* by stop_fd */
	bool booted;   /* the first line of init was seen */
	char why[240]; /* what went wrong with the process; a workload's failure is its own */
	int status;    /* exit status; 128 + signal */
	int culprit;   /* the run during which the process died or was ended, or -1 */
	uint64_t boot_wall_ns, boot_cpu_ns, ram_kb, over_ram_kb;
	uint64_t start_ns, kernel_ns,
		init_ns; /* to the machine's power-on, from there to init, from there to the first workload; 0: unknown */
	struct stamp init;
};
#define OBSERVE_MARKS "/dev/fd/3"

void observe(struct observe *o);
/* Frees what it filled in, the runs' too. */
void observe_free(struct observe *o);

/* The whole standard output of a program, at most n - 1 bytes; false when it could not be run or failed. */
bool observe_output(char *const *argv, char *out, size_t n);

#endif
