// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From a disk's configuration to the storage daemon's: formats, and what is reached by name instead of by file. What can be said of a
 * file without the daemon is said here, in the words that raw images have.
 *
 * A chain of qcow2 images whose backing files come round again is found here too: the daemon would open it for ever, when it may only
 * read.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/block/blk_daemon.h"
#include "engine/block/blk_extent.h"
#include "engine/block/block_int.h"

#define CHAIN_MAX 64u /* backing files */
#define NBD_PORT "10809"

/* How a file of a format begins. */
static const struct {
	const char *name;
	unsigned at;
	const char *magic;
	unsigned bytes;
} formats[] = {
	[BLK_RAW] = {"raw", 0, NULL, 0},
	[BLK_QCOW2] = {"qcow2", 0, "QFI\xfb", 4},
	[BLK_VDI] = {"vdi", 64, "\x7f\x10\xda\xbe", 4},
	[BLK_VHDX] = {"vhdx", 0, "vhdxfile", 8},
	[BLK_VMDK] = {"vmdk", 0, "KDMV", 4},
};

const char *blk_format_name(enum blk_format f)
{
	return (unsigned)f < ARRAY_LEN(formats) ? formats[f].name : NULL;
}

enum blk_format blk_format_seen(int fd)
{
	char head[128] = "";
	ssize_t n = pread(fd, head, sizeof(head), 0);

	for (unsigned f = 0; f < ARRAY_LEN(formats); f++)
		if (formats[f].magic && n >= (ssize_t)(formats[f].at + formats[f].bytes) &&
		    !memcmp(head + formats[f].at, formats[f].magic, formats[f].bytes))
			return (enum blk_format)f;
	return BLK_RAW;
}

bool blk_is_address(const char *file)
{
	return !strncmp(file, "nbd:", 4) || !strncmp(file, "iscsi://", 8);
}

/* ---- backing files ---- */

/* A name in an image is relative to that image. */
static bool beside(char *out, const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');
	int dir = name[0] == '/' || !slash ? 0 : (int)(slash - image) + 1;

	if (!strncmp(name, "file:", 5))
		name += 5;
	return snprintf(out, PATH_MAX, "%.*s%s", dir, image, name) < PATH_MAX;
}

static enum status check_chain(const char *file, enum blk_format format, struct error *e)
{
	struct {
		dev_t dev;
		ino_t ino;
	} seen[CHAIN_MAX];
	char at[PATH_MAX], next[PATH_MAX], name[BLK_BACKING_MAX + 1];

	snprintf(at, sizeof(at), "%s", file);
	for (unsigned n = 0; n < CHAIN_MAX; n++) {
		int fd = open(at, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		struct stat st;
		bool ok;

		if (fd < 0 && n == 0)
			return ST_OK; /* the caller has opened it, otherwise */
		if (fd < 0)
			return error_errno(e, errno == ENOENT ? ST_NOT_FOUND : ST_DENIED,
					   "cannot open '%s', a backing file of the disk image '%s'", at, file);
		ok = fstat(fd, &st) == 0 && blk_extent_backing(fd, name) &&
		     blk_extent_whole(fd, n ? blk_format_seen(fd) : format);
		close(fd);
		if (!ok)
			return error_set(e, ST_BAD_FILE,
					 "the disk image '%s' is cut short: something that it needs is behind its end",
					 at);
		for (unsigned i = 0; i < n; i++)
			if (seen[i].dev == st.st_dev && seen[i].ino == st.st_ino)
				return error_set(e, ST_BAD_FILE,
						 "the disk image '%s' is its own backing file, by way of '%s'", file,
						 at);
		seen[n].dev = st.st_dev;
		seen[n].ino = st.st_ino;
		if (!name[0] || strchr(name, ':') || !beside(next, at, name))
			return ST_OK; /* none, or none that is a file here */
		memcpy(at, next, sizeof(at));
	}
	return error_set(e, ST_BAD_FILE, "the disk image '%s' has more than %u backing files", file, CHAIN_MAX);
}

/* ---- places ---- */

static json_t *describe_file(const struct blk_config *cfg, struct error *e)
{
	bool ro = cfg->readonly || cfg->snapshot, device;
	int fd = open(cfg->file, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	enum status s = ST_OK;

	if (fd < 0) {
		blk_open_error(e, cfg->file);
		return NULL;
	}
	if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)))
		s = error_set(e, ST_BAD_FILE, "'%s' is no disk image: give a regular file or a block device",
			      cfg->file);
	device = s == ST_OK && S_ISBLK(st.st_mode);
	close(fd);
	if (s == ST_OK)
		s = check_chain(cfg->file, cfg->format, e);
	return s == ST_OK ? json_pack("{s:s, s:s}", "driver", device ? "host_device" : "file", "filename", cfg->file)
			  : NULL;
}

/* nbd:HOST:PORT[:exportname=E], nbd:unix:PATH[:exportname=E]; an IPv6 address is in brackets. */
static json_t *describe_nbd(const char *file, struct error *e)
{
	char *text = strdup(file + 4), *export, *port = NULL, *host = text;
	json_t *o = NULL;

	if (!text)
		return NULL;
	export = strstr(text, ":exportname=");
	if (export) {
		*export = 0;
		export += strlen(":exportname=");
	}
	if (!strncmp(text, "unix:", 5)) {
		if (text[5])
			o = json_pack("{s:s, s:s}", "type", "unix", "path", text + 5);
	} else {
		char *end = *host == '[' ? strchr(++host, ']') : strrchr(text, ':');

		if (end) {
			port = end + (*end == ']' && end[1] == ':') + 1;
			*end = 0;
		}
		if (*host)
			o = json_pack("{s:s, s:s, s:s}", "type", "inet", "host", host, "port",
				      port && *port ? port : NBD_PORT);
	}
	if (o)
		o = json_pack("{s:s, s:o, s:s, s:i, s:i}", "driver", "nbd", "server", o, "export", export ? export : "",
			      "reconnect-delay", BLK_RECONNECT_S, "open-timeout", 0);
	else
		error_set(e, ST_INVALID, "'%s': give nbd:HOST:PORT or nbd:unix:PATH, with :exportname=E", file);
	free(text);
	return o;
}

/* iscsi://HOST[:PORT]/TARGET/LUN */
static json_t *describe_iscsi(const char *file, struct error *e)
{
	char *text = strdup(file + 8), *target = text ? strchr(text, '/') : NULL;
	char *lun = target ? strrchr(target + 1, '/') : NULL, *end = NULL;
	json_t *o = NULL;
	long n = -1;

	if (lun) {
		*target++ = 0;
		*lun++ = 0;
		n = strtol(lun, &end, 10);
	}
	if (text && strchr(text, '@'))
		error_set(e, ST_UNSUPPORTED, "'%s': no user names here: let the target know us by our initiator's name",
			  file);
	else if (!lun || !text[0] || !target[0] || end == lun || *end || n < 0 || n > 16383)
		error_set(e, ST_INVALID, "'%s': give iscsi://HOST[:PORT]/TARGET/LUN", file);
	else
		o = json_pack("{s:s, s:s, s:s, s:s, s:i}", "driver", "iscsi", "transport", "tcp", "portal", text,
			      "target", target, "lun", (int)n);
	free(text);
	return o;
}

/* ---- all of it ---- */

static void add_options(json_t *o, const struct blk_config *cfg)
{
	const struct blk_cache_row *row = blk_cache_row(cfg->cache);

	json_object_set_new(o, "read-only", json_boolean(cfg->readonly || cfg->snapshot));
	json_object_set_new(o, "discard", json_string("unmap"));
	json_object_set_new(o, "cache", json_pack("{s:b, s:b}", "direct", row->direct, "no-flush", !row->flush));
}

char *blk_daemon_describe(const struct blk_config *cfg, struct error *e)
{
	json_t *place = !strncmp(cfg->file, "nbd:", 4)       ? describe_nbd(cfg->file, e)
			: !strncmp(cfg->file, "iscsi://", 8) ? describe_iscsi(cfg->file, e)
							     : describe_file(cfg, e);
	json_t *o;
	char *text;

	if (!place)
		return NULL;
	add_options(place, cfg);
	o = json_pack("{s:s, s:s, s:o}", "driver", formats[cfg->format].name, "node-name", "disk", "file", place);
	if (!o)
		return error_set(e, ST_BAD_FILE, "'%s' has a name that is no text", cfg->file), NULL;
	add_options(o, cfg);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		error_set(e, ST_NO_MEMORY, "out of memory");
	return text;
}
