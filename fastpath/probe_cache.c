/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict of this boot, in the user's cache folder. The key says what it depends on: boot, kernel, processor, KVM's
 * module, device, and this program's rows. A file with another key is overwritten; one that is damaged, or that cannot be
 * written, costs a measurement and nothing else. Whoever may write there could run this program's commands anyway, so the
 * file is checked for form, not for truth.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fastpath/probe_int.h"

bool probe_cache_path(char *buf, size_t n)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int len;

	/* an XDG path that is not absolute counts as not set */
	if (cache && cache[0] == '/')
		len = snprintf(buf, n, "%s/steelyard/probe.json", cache);
	else if (home && home[0] == '/')
		len = snprintf(buf, n, "%s/.cache/steelyard/probe.json", home);
	else
		return false;
	return len > 0 && (size_t)len < n;
}

static json_t *key_json(const struct host_facts *f)
{
	char cpu[128];

	snprintf(cpu, sizeof(cpu), "%s %s %u/%u/%u%s%s", f->vendor, f->model, f->family, f->model_number, f->stepping,
		 f->vmx ? " vmx" : "", f->svm ? " svm" : "");
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:i}", "boot", f->boot_id, "kernel", f->kernel, "build",
			 f->kernel_build, "cpu", cpu, "module", f->kvm_module, "device", f->kvm_device, "schema",
			 PROBE_JSON_SCHEMA, "modes", PROBE_MODES, "conformance", PROBE_ITEMS, "costs", PROBE_COSTS);
}

bool probe_cache_load(const struct host_facts *f, struct probe_verdict *v)
{
	char path[4096];
	json_t *file, *key;
	bool ok;

	if (!f->boot_id[0] || f->kvm != KVM_OPENS || !probe_cache_path(path, sizeof(path)))
		return false;
	file = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	key = key_json(f);
	ok = file && key && json_equal(json_object_get(file, "key"), key) &&
	     probe_verdict_from_json(json_object_get(file, "verdict"), v);
	v->cached = ok;
	json_decref(file);
	json_decref(key);
	return ok;
}

/* The folders above the file, as mkdir -p. */
static void make_folders(char *path)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		mkdir(path, 0700);
		*p = '/';
	}
}

bool probe_cache_store(const struct host_facts *f, const struct probe_verdict *v)
{
	char path[4096], part[4120];
	json_t *file;
	FILE *out;
	int fd;
	bool ok;

	if (!f->boot_id[0] || !v->measured || !probe_cache_path(path, sizeof(path)))
		return false;
	make_folders(path);
	/* A name of our own, then rename: a reader sees the old file or the new one, also with several of us. */
	snprintf(part, sizeof(part), "%s.XXXXXX", path);
	fd = mkostemp(part, O_CLOEXEC);
	if (fd < 0)
		return false;
	file = json_pack("{s:o,s:o}", "key", key_json(f), "verdict", probe_verdict_json(v));
	out = fdopen(fd, "w");
	ok = file && out && json_dumpf(file, out, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6)) == 0;
	json_decref(file);
	if (out)
		ok = fclose(out) == 0 && ok;
	else
		close(fd);
	ok = ok && rename(part, path) == 0;
	if (!ok)
		unlink(part);
	return ok;
}
