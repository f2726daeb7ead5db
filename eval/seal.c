// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A finished folder's seals: SHA256SUMS, which coreutils can check without us, and ro-crate-metadata.json (RO-Crate 1.1), which says
 * in the words of schema.org what the files are. Both are written anew when the folder gets more files.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/status.h"
#include "eval/results_file.h"
#include "eval/run/observe.h"
#include "eval/seal.h"

#define SUMS "SHA256SUMS"
#define CRATE "ro-crate-metadata.json"
#define RESULTS "results.jsonl"
#define FILES_MAX 200

struct file_list {
	char name[FILES_MAX][300];
	unsigned n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool wanted(const char *name)
{
	return name[0] != '.' && strcmp(name, SUMS) && strcmp(name, "parts") && !strstr(name, ".part");
}

/* The files of the folder and of the folders in it, but the sums, and but the parts of a sweep, each of which has its own seals. */
static void list_files(const char *dir, struct file_list *l)
{
	DIR *d = opendir(dir);

	l->n = 0;
	for (struct dirent *e; d && (e = readdir(d)) && l->n < FILES_MAX;) {
		char path[5000];
		struct stat st;
		DIR *inner;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (!wanted(e->d_name) || stat(path, &st))
			continue;
		if (S_ISREG(st.st_mode))
			snprintf(l->name[l->n++], sizeof(l->name[0]), "%s", e->d_name);
		inner = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
		for (struct dirent *i; inner && (i = readdir(inner)) && l->n < FILES_MAX;)
			if (wanted(i->d_name) && strlen(e->d_name) + strlen(i->d_name) + 2 < sizeof(l->name[0]))
				snprintf(l->name[l->n++], sizeof(l->name[0]), "%.140s/%.150s", e->d_name, i->d_name);
		if (inner)
			closedir(inner);
	}
	if (d)
		closedir(d);
	qsort(l->name, l->n, sizeof(l->name[0]), by_name);
}

void seal_hash(const char *file, char out[65])
{
	char *argv[] = {(char *)"sha256sum", (char *)"-b", (char *)file, NULL};
	char text[4400];

	out[0] = 0;
	if (observe_output(argv, text, sizeof(text)) && strlen(text) > 64)
		snprintf(out, 65, "%.64s", text + (text[0] == '\\'));
}

static bool replace(const char *dir, const char *name, const char *content, char *text, size_t n)
{
	char part[4300], path[4300];
	FILE *f;

	snprintf(path, sizeof(path), "%.4100s/%s", dir, name);
	snprintf(part, sizeof(part), "%.4100s/%s.part", dir, name);
	f = fopen(part, "we");
	if (f && fputs(content, f) >= 0 && !(fflush(f) | fsync(fileno(f)) | fclose(f)) && !rename(part, path))
		return true;
	snprintf(text, n, "%.300s: %s", path, strerror(errno));
	unlink(part);
	return false;
}

static const char *media_type(const char *name)
{
	static const struct {
		const char *end, *type;
	} types[] = {{".jsonl", "application/jsonl"}, {".json", "application/json"}, {".html", "text/html"},
		     {".svg", "image/svg+xml"},       {".csv", "text/csv"},          {".zst", "application/zstd"},
		     {".xz", "application/x-xz"}};
	size_t n = strlen(name);

	for (unsigned i = 0; i < ARRAY_LEN(types); i++)
		if (n > strlen(types[i].end) && !strcmp(name + n - strlen(types[i].end), types[i].end))
			return types[i].type;
	return "application/octet-stream";
}

static char *crate_text(const char *dir, const struct file_list *l)
{
	json_t *graph = json_array(), *parts = json_array(), *o;
	char now[40], path[5000], *text;
	time_t t = time(NULL);
	struct tm tm;

	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	json_array_append_new(graph,
			      json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "@id", CRATE, "@type", "CreativeWork",
					"conformsTo", "@id", "https://w3id.org/ro/crate/1.1", "about", "@id", "./"));
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->name[i], CRATE))
			json_array_append_new(parts, json_pack("{s:s}", "@id", l->name[i]));
	json_array_append_new(
		graph,
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "@id", "./", "@type", "Dataset", "name",
			  "Steelyard evaluation", "description",
			  "How close execution paths of unmodified x86 guests come to the bare processor: one record a "
			  "line in results.jsonl, everything else follows from it",
			  "datePublished", now, "license", "https://spdx.org/licenses/GPL-2.0-or-later", "hasPart",
			  parts));
	for (unsigned i = 0; i < l->n; i++) {
		struct stat st = {0};

		if (!strcmp(l->name[i], CRATE))
			continue;
		snprintf(path, sizeof(path), "%.4100s/%s", dir, l->name[i]);
		stat(path, &st);
		json_array_append_new(graph, json_pack("{s:s, s:s, s:s, s:I}", "@id", l->name[i], "@type", "File",
						       "encodingFormat", media_type(l->name[i]), "contentSize",
						       (json_int_t)st.st_size));
	}
	o = json_pack("{s:s, s:o}", "@context", "https://w3id.org/ro/crate/1.1/context", "@graph", graph);
	text = json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	json_decref(o);
	return text;
}

bool seal_write(const char *dir, char *text, size_t n)
{
	struct file_list *l = calloc(1, sizeof(*l));
	char path[5000], hash[65], *crate, *sums = NULL;
	size_t size = 0;
	bool fine;
	FILE *f;

	if (!l) {
		snprintf(text, n, "out of memory");
		return false;
	}
	list_files(dir, l);
	crate = crate_text(dir, l);
	fine = crate && replace(dir, CRATE, crate, text, n);
	free(crate);
	list_files(dir, l);
	f = fine ? open_memstream(&sums, &size) : NULL;
	for (unsigned i = 0; f && i < l->n; i++) {
		snprintf(path, sizeof(path), "%.4100s/%s", dir, l->name[i]);
		seal_hash(path, hash);
		if (hash[0])
			fprintf(f, "%s  %s\n", hash, l->name[i]);
	}
	if (f)
		fclose(f);
	fine = fine && sums && replace(dir, SUMS, sums, text, n);
	free(sums);
	free(l);
	return fine;
}

/* Of what a compressed results.jsonl holds: a folder that is kept so is still what its seal says. */
static void hash_packed(const char *dir, char out[65])
{
	char why[300], name[64], *data = NULL;
	int fd = memfd_create("results", MFD_CLOEXEC);
	size_t len = 0;

	out[0] = 0;
	if (fd >= 0 && results_file_read(dir, &data, &len, why, sizeof(why)) && write(fd, data, len) == (ssize_t)len) {
		snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getpid(), fd);
		seal_hash(name, out);
	}
	free(data);
	if (fd >= 0)
		close(fd);
}

/* A name that a seal may have: of a file in the folder or in a folder of it, not of a pipe, a device or whatever stands elsewhere. */
static bool is_inside(const char *dir, const char *name, char *file, size_t n)
{
	struct stat st;

	snprintf(file, n, "%.4100s/%s", dir, name);
	return name[0] != '/' && strncmp(name, "../", 3) && !strstr(name, "/../") &&
	       (stat(file, &st) || S_ISREG(st.st_mode));
}

/* A file of the folder that the seal does not name; false: there is none. */
static bool has_stranger(const char *dir, json_t *named, enum seal_how how, char *text, size_t n)
{
	struct file_list *l = calloc(1, sizeof(*l));
	bool found = false;

	if (!l)
		return false;
	list_files(dir, l);
	for (unsigned i = 0; i < l->n && !found; i++) {
		bool packed = how == SEAL_ONLY && !strncmp(l->name[i], RESULTS ".", strlen(RESULTS) + 1);

		if (json_object_get(named, l->name[i]) || (packed && json_object_get(named, RESULTS)))
			continue;
		snprintf(text, n, "%.300s is not in %s: remove it, or steelyard eval report seals it too", l->name[i],
			 SUMS);
		found = true;
	}
	free(l);
	return found;
}

bool seal_verify(const char *dir, enum seal_how how, char *text, size_t n)
{
	char path[4300], line[1000], name[900], want[65], hash[65];
	json_t *named = json_object();
	bool fine = true;
	unsigned seen = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%.4100s/" SUMS, dir);
	f = fopen(path, "re");
	if (!f) {
		snprintf(text, n, "%s: %s", SUMS, strerror(errno));
		json_decref(named);
		return false;
	}
	while (fine && fgets(line, sizeof(line), f)) {
		char file[5200];

		fine = sscanf(line, "%64s %899[^\n]", want, name) == 2;
		if (!fine) {
			snprintf(text, n, "%s: \"%.60s\" is no line of it", SUMS, line);
			break;
		}
		fine = is_inside(dir, name, file, sizeof(file));
		if (!fine) {
			snprintf(text, n, "%s: %.300s is no file of this folder", SUMS, name);
			break;
		}
		seal_hash(file, hash);
		if (!hash[0] && !strcmp(name, RESULTS))
			hash_packed(dir, hash);
		fine = !strcmp(want, hash);
		if (!fine)
			snprintf(text, n, "%.300s %s", name, hash[0] ? "is not what " SUMS " says" : "cannot be read");
		json_object_set_new(named, name, json_true());
		seen++;
	}
	fclose(f);
	if (fine && !seen)
		snprintf(text, n, "%s is empty", SUMS);
	fine = fine && seen && !(how != SEAL_FILES && has_stranger(dir, named, how, text, n));
	json_decref(named);
	return fine;
}
