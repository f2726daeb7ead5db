/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs "workloads" and "macro" share: clocks, processors, markers. Single thread. */
#ifndef STEELYARD_WORKLOADS_HARNESS_H
#define STEELYARD_WORKLOADS_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

uint64_t wall_ns(void);
uint64_t cpu_ns(void);      /* of this process */
uint64_t children_ns(void); /* CPU time of the children that have been waited for */
uint64_t system_ns(void);   /* what of both was in the kernel, by its accounting */

/* Keeps to n CPUs: the present one and the next that are allowed. false: there are not so many. */
bool stay_on_cpus(unsigned n);

/* Where markers go. By port: an empty line is the moment of the next marker; elsewhere it is nothing. */
enum mark_way { MARK_NOT, MARK_OUTPUT, MARK_PORT_E9 };
enum mark_way mark_by_port(void); /* MARK_OUTPUT where there is no such port */
void mark(enum mark_way way, const char *line);

/* Keeps busy for so many percent of the CPU time, children's too, that was spent since it was since_ns: a known slowdown. */
void go_on(uint64_t since_ns, double percent);

#endif
