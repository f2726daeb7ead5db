/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device options: a list of words at commas, a word is KEY=VALUE or a flag; two commas are one in a value. Each option has
 * a table of the words that it knows.
 */
#include "engine/main/run_devices.h"

#include <stdlib.h>
#include <string.h>

#include "engine/main/verbs.h"

#define WORDS_MAX 16u

struct word {
	char *key, *value; /* value NULL: a flag */
};

/* Splits an owned copy of arg; returns the number of words, or 0 with *bad set. */
static unsigned split(struct run_devices *d, const char *arg, struct word *w)
{
	char *copy = strdup(arg), *from, *to;
	unsigned n = 0;
	bool more = true;

	if (!copy || d->ntexts == RUN_DEVICES_TEXTS) {
		free(copy);
		return 0;
	}
	d->text[d->ntexts++] = copy;
	for (from = to = copy; more && n < WORDS_MAX;) {
		w[n] = (struct word){.key = to};
		for (; *from && (*from != ',' || from[1] == ','); from++) {
			if (*from == ',')
				from++;
			if (*from == '=' && !w[n].value) {
				*to++ = 0;
				w[n].value = to;
			} else {
				*to++ = *from;
			}
		}
		more = *from == ',';
		from++;
		*to++ = 0;
		n++;
	}
	return more ? 0 : n;
}

static int need_value(const char *option, const struct word *w, bool want)
{
	if (!!w->value == want && (!want || w->value[0]))
		return EXIT_OK;
	return want ? verb_usage("%s: %s needs a value, as in %s=...", option, w->key, w->key)
		    : verb_usage("%s: %s takes no value", option, w->key);
}

static bool small_number(const char *s, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	*out = (unsigned)n;
	return *s >= '0' && *s <= '9' && !*end && n >= min && n <= max;
}

static int next_device(struct run_devices *d, const char *option, const char *arg, struct word *w, unsigned *n,
		       struct device_config **out)
{
	if (d->n == DEVICES_MAX)
		return verb_usage("%s %s: %u devices are the most", option, arg, DEVICES_MAX);
	*n = split(d, arg, w);
	if (!*n)
		return verb_usage("%s %s: at most %u words between commas", option, arg, WORDS_MAX);
	*out = &d->list[d->n++];
	return EXIT_OK;
}

/* ---- --disk ---- */

static int disk_cache(struct device_disk *k, const char *v)
{
	static const char *const name[] = {
		[BLK_WRITEBACK] = "writeback", [BLK_NONE] = "none", [BLK_WRITETHROUGH] = "writethrough"};

	for (unsigned i = 0; i < ARRAY_LEN(name); i++)
		if (!strcmp(v, name[i])) {
			k->image.cache = (enum blk_cache)i;
			return EXIT_OK;
		}
	return verb_usage("--disk: cache=%s: give writeback, none or writethrough", v);
}

static int disk_word(struct device_disk *k, const struct word *w)
{
	bool flag = !strcmp(w->key, "readonly") || !strcmp(w->key, "snapshot");
	int st = need_value("--disk", w, !flag);

	if (st != EXIT_OK)
		return st;
	if (!strcmp(w->key, "file"))
		k->image.file = w->value;
	else if (!strcmp(w->key, "readonly"))
		k->image.readonly = true;
	else if (!strcmp(w->key, "snapshot"))
		k->image.snapshot = true;
	else if (!strcmp(w->key, "cache"))
		return disk_cache(k, w->value);
	else if (!strcmp(w->key, "serial"))
		k->serial = w->value;
	else if (!strcmp(w->key, "queues"))
		return small_number(w->value, 1, 8, &k->queues)
			       ? EXIT_OK
			       : verb_usage("--disk: queues=%s: give 1 to 8", w->value);
	else if (!strcmp(w->key, "format"))
		return !strcmp(w->value, "raw") ? EXIT_OK
						: verb_usage("--disk: format=%s: only raw images are known", w->value);
	else if (!strcmp(w->key, "if"))
		return !strcmp(w->value, "virtio") ? EXIT_OK : verb_usage("--disk: if=%s: give virtio", w->value);
	else if (!strcmp(w->key, "aio"))
		k->image.threads = !strcmp(w->value, "threads");
	else
		return verb_usage(
			"--disk: what is %s? Known: file, format, serial, readonly, snapshot, cache, queues, if, aio",
			w->key);
	return EXIT_OK;
}

int run_disk_option(struct run_devices *d, const char *arg)
{
	struct word w[WORDS_MAX];
	struct device_config *c = NULL;
	unsigned n;
	int st = next_device(d, "--disk", arg, w, &n, &c);

	if (st != EXIT_OK)
		return st;
	*c = (struct device_config){.kind = DEVICE_DISK};
	for (unsigned i = 0; i < n && st == EXIT_OK; i++)
		st = disk_word(&c->disk, &w[i]);
	if (st == EXIT_OK && !c->disk.image.file)
		st = verb_usage("--disk %s: which file? Give file=F", arg);
	if (st == EXIT_OK && c->disk.serial && strlen(c->disk.serial) > 20)
		st = verb_usage("--disk: serial=%s: at most 20 characters", c->disk.serial);
	return st;
}

/* ---- all ---- */

void run_devices_finish(struct run_devices *d)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->snapshot && d->list[i].kind == DEVICE_DISK)
			d->list[i].disk.image.snapshot = true;
}

void run_devices_free(struct run_devices *d)
{
	for (unsigned i = 0; i < d->ntexts; i++)
		free(d->text[i]);
	d->ntexts = 0;
}
