// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A record is a line. It is written whole by one write(2) behind all others and is on the disk when record_put() returns; until
 * the newline is there it does not exist. So whatever ends this process - a signal, a full disk, the power - leaves whole lines and
 * at most one torn one at the end, which record_reopen() cuts off and nobody else looks at. A write that comes back short (a full
 * disk) is undone at once by truncating to the whole lines; when that fails too, the torn line is what a reader skips.
 *
 * Not even a torn line is cut off without the lock, which is a file of its own: locks of results.jsonl itself would be lost when
 * somebody copies it in place.
 */
#include "eval/run/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eval/schema.h"

bool record_make_folder(const char *dir)
{
	char path[4096];

	if (!dir[0] || snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path)) {
		errno = dir[0] ? ENAMETOOLONG : ENOENT;
		return false;
	}
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(path, 0777);
		*p = '/';
	}
	return !mkdir(path, 0777) || errno == EEXIST;
}

static bool take_lock(struct record_log *log, const char *dir)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/.lock", dir);
	log->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (log->lock_fd >= 0 && !flock(log->lock_fd, LOCK_EX | LOCK_NB))
		return true;
	if (log->lock_fd >= 0 && errno == EWOULDBLOCK)
		snprintf(log->error, sizeof(log->error), "%s: another evaluation is writing there", dir);
	else
		snprintf(log->error, sizeof(log->error), "%s: %s", path, strerror(errno));
	return false;
}

static bool begin(struct record_log *log, const char *dir, int flags)
{
	*log = (struct record_log){.fd = -1, .lock_fd = -1};
	if (snprintf(log->path, sizeof(log->path), "%s/results.jsonl", dir) >= 4096) {
		snprintf(log->error, sizeof(log->error), "the name of the folder is too long");
		return false;
	}
	if (!(flags & O_CREAT) && access(log->path, F_OK)) { /* before a lock is left in a folder of something else */
		snprintf(log->error, sizeof(log->error), "%s: %s; steelyard eval run makes a results folder", log->path,
			 strerror(errno));
		return false;
	}
	if (!take_lock(log, dir))
		return false;
	log->fd = open(log->path, O_WRONLY | O_APPEND | O_CLOEXEC | flags, 0666);
	if (log->fd >= 0)
		return true;
	if (errno == EEXIST)
		snprintf(log->error, sizeof(log->error),
			 "%s has results already: say steelyard eval resume %s, or another --out", dir, dir);
	else
		snprintf(log->error, sizeof(log->error), "%s: %s", log->path, strerror(errno));
	return false;
}

bool record_create(struct record_log *log, const char *dir, const char *run)
{
	if (!record_make_folder(dir)) {
		*log = (struct record_log){.fd = -1, .lock_fd = -1};
		snprintf(log->error, sizeof(log->error), "cannot make %s: %s", dir, strerror(errno));
		return false;
	}
	if (!begin(log, dir, O_CREAT | O_EXCL))
		return false;
	snprintf(log->run, sizeof(log->run), "%s", run);
	return true;
}

static bool take_line(char *line, size_t len, bool (*take)(void *, json_t *), void *ctx, char *text, size_t n)
{
	json_error_t err;
	json_t *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, &err);
	bool fine = o && schema_check(o, text, n) && (text[0] = 0, take(ctx, o));

	if (!o)
		snprintf(text, n, "no JSON: %.200s", err.text);
	json_decref(o);
	return fine;
}

static bool scan(FILE *f, bool (*take)(void *ctx, json_t *record), void *ctx, uint64_t *good, size_t *torn,
		 unsigned *line, char *text, size_t n)
{
	char *buf = NULL;
	size_t size = 0;
	ssize_t len;
	bool fine = f != NULL;

	*good = *torn = *line = 0;
	text[0] = 0;
	if (!f)
		snprintf(text, n, "%s", strerror(errno));
	while (fine && (len = getline(&buf, &size, f)) > 0) {
		if (buf[len - 1] != '\n') {
			*torn = (size_t)len;
			break;
		}
		++*line;
		fine = take_line(buf, (size_t)len, take, ctx, text, n);
		if (fine)
			*good += (uint64_t)len;
	}
	if (fine && ferror(f)) {
		snprintf(text, n, "%s", strerror(errno));
		fine = false;
	}
	free(buf);
	if (f)
		fclose(f);
	return fine;
}

bool record_scan(const char *path, bool (*take)(void *ctx, json_t *record), void *ctx, uint64_t *good, size_t *torn,
		 unsigned *line, char *text, size_t n)
{
	return scan(fopen(path, "re"), take, ctx, good, torn, line, text, n);
}

bool record_scan_text(char *data, size_t len, bool (*take)(void *ctx, json_t *record), void *ctx, uint64_t *good,
		      size_t *torn, unsigned *line, char *text, size_t n)
{
	*good = *torn = *line = 0;
	return !len || scan(fmemopen(data, len, "r"), take, ctx, good, torn, line, text, n);
}

struct reopen {
	struct record_log *log;
	bool (*take)(void *ctx, json_t *record);
	void *ctx;
	const char *why;
};

static bool take_known(void *ctx, json_t *o)
{
	struct reopen *r = ctx;
	const char *run = json_string_value(json_object_get(o, "run"));

	if ((uint64_t)json_integer_value(json_object_get(o, "seq")) != r->log->seq)
		r->why = "its seq is not the next";
	else if (r->log->seq && strcmp(run, r->log->run))
		r->why = "it is of another run";
	else if (strlen(run) >= sizeof(r->log->run))
		r->why = "its run id is too long";
	else if ((r->log->seq == 0) != !strcmp(json_string_value(json_object_get(o, "type")), "run"))
		r->why = "the first record, and no other, is of type run";
	if (r->why)
		return false;
	snprintf(r->log->run, sizeof(r->log->run), "%s", run);
	r->log->seq++;
	return r->take(r->ctx, o);
}

bool record_reopen(struct record_log *log, const char *dir, bool (*take)(void *ctx, json_t *record), void *ctx,
		   size_t *torn)
{
	struct reopen r = {.log = log, .take = take, .ctx = ctx};
	char text[400];
	unsigned line;

	if (!begin(log, dir, 0))
		return false;
	if (!record_scan(log->path, take_known, &r, &log->at, torn, &line, text, sizeof(text))) {
		snprintf(log->error, sizeof(log->error), "%.3900s, line %u: %s", log->path, line,
			 r.why   ? r.why
			 : *text ? text
				 : "this run cannot be continued");
		return false;
	}
	if (*torn && ftruncate(log->fd, (off_t)log->at)) {
		snprintf(log->error, sizeof(log->error), "%s: cannot cut off a torn line: %s", log->path,
			 strerror(errno));
		return false;
	}
	return true;
}

static bool put_bytes(struct record_log *log, const char *line, size_t len)
{
	ssize_t put;
	int err;

	do
		put = write(log->fd, line, len);
	while (put < 0 && errno == EINTR);
	err = put < 0 ? errno : ENOSPC;
	if (put == (ssize_t)len && !fdatasync(log->fd)) {
		log->at += len;
		return true;
	}
	if (put == (ssize_t)len)
		err = errno;
	else if (put > 0 && ftruncate(log->fd, (off_t)log->at))
		fsync(log->fd);
	snprintf(log->error, sizeof(log->error), "%s: %s", log->path, strerror(err));
	return false;
}

bool record_put(struct record_log *log, const char *type, json_t *fields)
{
	json_t *o = json_pack("{s:i, s:s, s:s, s:I}", "schema", EVAL_SCHEMA_VERSION, "run", log->run, "type", type,
			      "seq", (json_int_t)log->seq);
	char why[400] = "out of memory", *line = NULL;
	bool fine = false;
	size_t len;

	if (o && fields && !json_object_update(o, fields) && schema_check(o, why, sizeof(why)))
		line = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
	if (log->error[0]) {
		/* the first reason stays */
	} else if (!line) {
		snprintf(log->error, sizeof(log->error), "a record of ours is wrong: %s", why);
	} else {
		len = strlen(line);
		line[len] = '\n'; /* in the place of the final zero */
		fine = put_bytes(log, line, len + 1);
		log->seq += fine;
	}
	free(line);
	json_decref(o);
	json_decref(fields);
	return fine;
}

void record_close(struct record_log *log)
{
	if (log->fd >= 0)
		close(log->fd);
	if (log->lock_fd >= 0)
		close(log->lock_fd);
	log->fd = log->lock_fd = -1;
}
