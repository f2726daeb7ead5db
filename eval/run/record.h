/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file results.jsonl while it is written: append-only, one record one write(2) and one fdatasync. Private to eval/, single
 * thread. A lock keeps a second runner out of the folder for as long as this one lives.
 */
#ifndef STEELYARD_EVAL_RECORD_H
#define STEELYARD_EVAL_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct record_log {
	char path[4200]; /* of results.jsonl */
	char run[64];
	int fd, lock_fd;
	uint64_t seq;     /* of the next record */
	uint64_t at;      /* bytes of whole records */
	char error[4400]; /* the first that happened: from then on nothing is written */
};

/* A new file in dir, which is made if need be. false with one line in log->error: there is one already, or the lock is held. */
bool record_create(struct record_log *log, const char *dir, const char *run);
/* The file that is there. Each whole record goes to take(), in order; a torn last line is cut off, *torn tells its bytes. */
bool record_reopen(struct record_log *log, const char *dir, bool (*take)(void *ctx, json_t *record), void *ctx,
		   size_t *torn);
/* Steals fields, adds what every record has. false: log->error, as for every later call. */
bool record_put(struct record_log *log, const char *type, json_t *fields);
void record_close(struct record_log *log);
/* Lines of a file as records, until take() says false or one is none. *good: bytes of whole lines; *torn: bytes behind the last
 * newline. false with text when the file cannot be read, a whole line is no record (*line says which), or take() stopped. */
bool record_scan(const char *path, bool (*take)(void *ctx, json_t *record), void *ctx, uint64_t *good, size_t *torn,
		 unsigned *line, char *text, size_t n);
/* The same of what such a file holds. */
bool record_scan_text(char *data, size_t len, bool (*take)(void *ctx, json_t *record), void *ctx, uint64_t *good,
		      size_t *torn, unsigned *line, char *text, size_t n);
/* A folder and those above it. */
bool record_make_folder(const char *dir);

#endif
