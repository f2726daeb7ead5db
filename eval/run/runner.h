/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One run on its way: spec, plan, the log, and what the log already holds. Private to eval/. Owner: the verb, on its heap;
 * single thread.
 */
#ifndef STEELYARD_EVAL_RUNNER_H
#define STEELYARD_EVAL_RUNNER_H

#include <jansson.h>

#include "eval/run/launcher.h"
#include "eval/run/macro.h"
#include "eval/run/observe.h"
#include "eval/run/plan.h"
#include "eval/run/record.h"
#include "eval/run/spec.h"

/* ---- what the records say (eval/run/ledger.c) ---- */
/* Filled from every record, whether this process wrote it or a former one: so resume needs no memory but the file. */
struct ledger {
	json_t *spec, *environment; /* of the run record */
	json_t *done;               /* set: an item's boot, or one execution of a workload in it */
	json_t *given_up;           /* set: paths, and workloads on paths, that will not be tried again */
	json_t *checksum;           /* native ones, by workload and scale */
	json_t *native_s;           /* seconds that a workload takes natively, the same */
	json_t *pilot;              /* steady samples of the pilot: list of {order.., path, workload, cpu_ns} */
	struct ledger_plan {
		bool known;
		unsigned blocks, items, first;
	} plan[2]; /* the run's, the pilot's */
	int block; /* of a part of a sweep; -1: all blocks */
	struct ledger_part {
		unsigned block, records, seen; /* seen < records: the part was not merged to its end */
	} part;
	json_t *merged; /* set: blocks whose part is here whole */
	json_t *like;   /* the environment of the first part */
	unsigned nparts, unlike;
	char job[LAUNCHER_JOB]; /* the last that was submitted */
	unsigned samples, failed, invalid, costs;
	bool ended, complete;
};
bool ledger_init(struct ledger *l);
void ledger_free(struct ledger *l);
/* ctx is the ledger. Borrows the record, which fits the schema. */
bool ledger_take(void *ctx, json_t *record);
/* Is the part of this block here, whole? */
bool ledger_merged(const struct ledger *l, unsigned block);
bool ledger_boot_done(const struct ledger *l, const struct plan_item *it);
bool ledger_done(const struct ledger *l, const struct plan_item *it, const char *workload, unsigned scale,
		 unsigned iteration);
/* workload NULL: the path itself. */
bool ledger_given_up(const struct ledger *l, const struct spec_path *p, const char *workload);
/* Blocks that the pilot's spread asks for, within the spec's bounds; the reason in a sentence. */
unsigned ledger_blocks(const struct ledger *l, const struct eval_spec *s, char *why, size_t n);

/* ---- a runner ---- */
struct runner {
	struct eval_spec spec;
	struct plan plan;
	struct record_log log;
	struct ledger ledger;
	struct macro_files macro; /* of the macro suite, when the spec is one of it */
	char dir[4096], self[4096], guest_dir[4096], command[2048];
	const struct launcher *launcher; /* NULL: this process runs the items */
	char launcher_args[1024];
	int part;        /* the block that this process runs for a sweep; -1: no sweep */
	bool detach;     /* of a sweep: does not wait for its tasks */
	bool detached;   /* did not */
	int stop_fd;     /* a signal is there to be read: TERM, INT, HUP */
	int stop_signal; /* has been */
	bool late;       /* this process resumed the run */
	bool unquiet;    /* the host was not quiet when the present item began */
	bool wait_said, unquiet_said;
	uint64_t waited_ns;
	struct progress {
		uint64_t begun_ns, item_ns;
		double spent_s[SPEC_MAX_PATHS + 1]; /* [0]: native */
		unsigned count[SPEC_MAX_PATHS + 1];
		unsigned blocks; /* 0: in the pilot */
		bool terminal;
	} progress;
};

/* eval/run/runner.c: 0, 1 a failure, 128 + signal. A new run in dir; or what is missing in dir. */
int runner_run(struct runner *r);
int runner_resume(struct runner *r);
bool runner_put(struct runner *r, const char *type, json_t *fields);
/* Is the item this process's? A part of a sweep has its block's, and the reference pass. */
bool runner_owns(const struct runner *r, const struct plan_item *it);
/* The plan's blocks behind what is planned already, and their record. *first: the first new item. */
bool runner_plan(struct runner *r, bool pilot, unsigned blocks, const char *why, unsigned *first);
/* Has there been a signal? */
bool runner_stopped(struct runner *r);
/* Are the program and the guest's files those of that environment? Says which are not. */
bool runner_same_files(const struct runner *r, json_t *environment);
/* A new time as records have it. */
json_t *runner_now(void);

/* eval/run/ready.c: are the files there that the spec needs, and, when it is to run here, the processors? */
bool runner_ready(struct runner *r, bool here, char *text, size_t n);

/* eval/run/sweep.c: has the launcher run what is missing, and merges it; false: something is missing still, or r->log.error. */
bool sweep_run(struct runner *r);
/* One block of the sweep in r->dir, as one of its tasks. An exit status. */
int sweep_part(struct runner *r, unsigned block);

/* eval/run/merge.c: the parts of a sweep become records of the run. */
/* Is the part of this block there, whole? */
bool merge_has(const struct runner *r, unsigned block);
/* The rest of a part in whose middle the launcher was killed: before anything else is written. */
bool merge_mend(struct runner *r);
/* Every part that is whole, in the order of blocks. false: r->log.error. */
bool merge_parts(struct runner *r);
/* How one host differs from another as far as measurements go; "" when it does not. */
void merge_unlike(json_t *environment, json_t *other, char *text, size_t n);
/* The run record of a folder, owned by the caller; NULL: there is none that can be read. */
json_t *merge_head(const char *dir);

/* eval/run/item_machine.c: the machine micro-suite on one path. */
bool machine_item_run(struct runner *r, const struct plan_item *it);
bool machine_item_pending(const struct runner *r, const struct plan_item *it);

/* eval/run/item.c: one item of the plan; false: the run cannot go on (r->log.error, or r->stop_signal). */
bool item_run(struct runner *r, const struct plan_item *it);
/* Is anything of it missing? */
bool item_pending(const struct runner *r, const struct plan_item *it);
unsigned item_scale(const struct runner *r, const struct plan_item *it, unsigned workload);
/* The flags of its records. */
json_t *item_flags(const struct runner *r, const struct plan_item *it, bool again);

/* eval/run/paths.c: the command line of a machine, its strings in *text (owned by the caller's struct). */
struct path_command {
	char *argv[48];
	char append[2048], kernel[4200], initrd[4300], memory[16], ncpus[16], limit[16], accel[32], machine[128];
	struct observe observe; /* argv and what depends on the path are set */
};
/* false: the kernel's command line would be too long. words: what init is to do. */
bool path_command(const struct runner *r, const struct spec_path *p, const char *words, unsigned limit_s,
		  struct path_command *c);
/* The program that runs another in libunicorn (eval/peers/unicorn.c): beside this one. false: the name is too long. */
bool path_flat_program(char *file, size_t n);
/* NULL: can be tried here; else why not. probe may be NULL. */
const char *path_why_not(const struct eval_path *p, char *text, size_t n);

/* eval/run/quiet.c: waits for a quiet host as the spec says; sets r->unquiet. */
bool quiet_gate(struct runner *r, const struct plan_item *it);

/* eval/run/progress.c */
void progress_begin(struct runner *r);
void progress_item(struct runner *r, const struct plan_item *it, unsigned at, unsigned n);
void progress_done(struct runner *r, const struct plan_item *it, const char *said);
/* The host is not quiet: an item waits, for the first time in this run. */
void progress_waits(const struct runner *r, double busy, double steal);
void progress_end(struct runner *r);

/* eval/run/environment.c: as in the run record. probe may be JSON null. */
json_t *environment_object(const struct runner *r);
json_t *environment_probe(const struct runner *r);
/* The names in a folder like /sys/module that are KVM's, with spaces. */
void environment_kvm(const char *folder, char *out, size_t n);

/* eval/run/verify.c: prints what is wrong, also what a caller has found already (NULL: nothing); 0 or 1. */
int verify_folder(const char *dir, const char *found);

#endif
