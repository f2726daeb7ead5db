/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors for people, and the end of the road for our own bugs. */
#include "engine/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status error_set(struct error *e, enum status st, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return st;
	e->status = st;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return st;
}

enum status error_errno(struct error *e, enum status st, const char *fmt, ...)
{
	int err = errno;
	va_list ap;
	size_t n;

	if (!e)
		return st;
	e->status = st;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	n = strlen(e->msg);
	snprintf(e->msg + n, sizeof(e->msg) - n, ": %s", strerror(err));
	errno = err;
	return st;
}

void bug_at(const char *file, int line, const char *cond)
{
	fprintf(stderr, "steelyard: bug at %s:%d: %s\n", file, line, cond);
	fflush(stderr);
	abort();
}
