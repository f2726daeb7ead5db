/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The three kinds of errors, never mixed:
 *   1. host or configuration failure: enum status, with a sentence for a person in struct error;
 *   2. guest fault: data (struct x86_fault in engine/vcpu.h), injected into the guest;
 *   3. our own bug: BUG_ON, always compiled in. Nothing that a guest, a file or a peer sends may reach it.
 */
#ifndef STEELYARD_STATUS_H
#define STEELYARD_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status {
	ST_OK = 0,
	ST_INVALID,	/* the user asked for something that makes no sense */
	ST_NOT_FOUND,	/* a file or an object is not there */
	ST_BAD_FILE,	/* a file is there, but is not what it should be */
	ST_TOO_BIG,	/* does not fit: memory, a table, an address */
	ST_NO_MEMORY,	/* the host has not enough memory */
	ST_UNSUPPORTED, /* this host or this build cannot do it */
	ST_DENIED,	/* permission */
	ST_BUSY,	/* somebody else has it */
	ST_IO,		/* a host read, write or system call failed */
};

/* Owned by the caller; the first failure writes it. msg is one line: what failed and what to do about it. */
struct error {
	enum status status;
	char msg[320];
};

/* Fills *e (may be NULL) and returns st, so that "return error_set(e, ST_IO, ...)" is the idiom. */
enum status error_set(struct error *e, enum status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with ": strerror(errno)" appended. */
enum status error_errno(struct error *e, enum status st, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void bug_at(const char *file, int line, const char *cond) __attribute__((noreturn, cold));
#define BUG_ON(cond)                                          \
	do {                                                  \
		if (__builtin_expect(!!(cond), 0))            \
			bug_at(__FILE__, __LINE__, #cond);    \
	} while (0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
