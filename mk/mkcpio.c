// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mkcpio: writes an initramfs (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst) to stdout.
 *
 * Every owner is root and every time is 0, whoever runs it and whenever, so that the same files give the same bytes; and
 * device nodes need no privileges, because nothing is ever created on the host. Each argument is one entry:
 *   dir:PATH:MODE   file:PATH:MODE:SOURCE   link:PATH:TARGET   char:PATH:MODE:MAJOR:MINOR
 *   tree:PATH:SOURCE   all that lies under a folder, by name, with the modes that it has
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long next_inode = 1, offset;

static void put(const void *data, size_t n)
{
	if (fwrite(data, 1, n, stdout) != n) {
		perror("mkcpio: write");
		exit(1);
	}
	offset += n;
}

static void align(void)
{
	put("\0\0\0", (4 - offset % 4) % 4);
}

static void header(const char *path, unsigned mode, size_t size, unsigned major, unsigned minor)
{
	char h[144];

	while (*path == '/')
		path++;
	snprintf(h, sizeof(h), "070701%08lx%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x", next_inode++, mode, 0u,
		 0u, S_ISDIR(mode) ? 2u : 1u, 0u, size, 0u, 0u, major, minor, strlen(path) + 1, 0u);
	put(h, 110);
	put(path, strlen(path) + 1);
	align();
}

static void put_file(const char *path, unsigned mode, const char *source)
{
	FILE *f = fopen(source, "rb");
	static char buf[65536];
	struct stat st;
	size_t n, sum = 0;

	if (!f || fstat(fileno(f), &st)) {
		perror(source);
		exit(1);
	}
	header(path, S_IFREG | mode, (size_t)st.st_size, 0, 0);
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0) {
		put(buf, n);
		sum += n;
	}
	if (sum != (size_t)st.st_size) {
		fprintf(stderr, "mkcpio: %s changed while it was read\n", source);
		exit(1);
	}
	fclose(f);
	align();
}

static void put_link(const char *path, const char *target)
{
	header(path, S_IFLNK | 0777, strlen(target), 0, 0);
	put(target, strlen(target));
	align();
}

static int visible(const struct dirent *d)
{
	return strcmp(d->d_name, ".") && strcmp(d->d_name, "..");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name); /* alphasort would ask the locale */
}

static void put_tree(const char *path, const char *source)
{
	struct dirent **entry;
	int n = scandir(source, &entry, visible, by_bytes);

	if (n < 0) {
		perror(source);
		exit(1);
	}
	for (int i = 0; i < n; i++) {
		char in[4096], from[4096], target[4096];
		struct stat st;
		ssize_t length;

		if (snprintf(in, sizeof(in), "%s/%s", path, entry[i]->d_name) >= (int)sizeof(in) ||
		    snprintf(from, sizeof(from), "%s/%s", source, entry[i]->d_name) >= (int)sizeof(from) ||
		    lstat(from, &st)) {
			perror(entry[i]->d_name);
			exit(1);
		}
		if (S_ISDIR(st.st_mode)) {
			header(in, S_IFDIR | (st.st_mode & 07777), 0, 0, 0);
			put_tree(in, from);
		} else if (S_ISLNK(st.st_mode) && (length = readlink(from, target, sizeof(target) - 1)) > 0) {
			target[length] = 0;
			put_link(in, target);
		} else if (S_ISREG(st.st_mode)) {
			put_file(in, st.st_mode & 07777, from);
		} else {
			fprintf(stderr, "mkcpio: %s is no file, folder or link\n", from);
			exit(1);
		}
		free(entry[i]);
	}
	free(entry);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *save = NULL, *kind = strtok_r(argv[i], ":", &save), *path = strtok_r(NULL, ":", &save);
		char *a = strtok_r(NULL, ":", &save), *b = strtok_r(NULL, ":", &save), *c = strtok_r(NULL, ":", &save);

		if (kind && path && a && !strcmp(kind, "dir")) {
			header(path, S_IFDIR | (unsigned)strtoul(a, NULL, 8), 0, 0, 0);
		} else if (kind && path && b && !strcmp(kind, "file")) {
			put_file(path, (unsigned)strtoul(a, NULL, 8), b);
		} else if (kind && path && a && !strcmp(kind, "link")) {
			put_link(path, a);
		} else if (kind && path && a && !strcmp(kind, "tree")) {
			put_tree(strcmp(path, "/") ? path : "", a);
		} else if (kind && path && c && !strcmp(kind, "char")) {
			header(path, S_IFCHR | (unsigned)strtoul(a, NULL, 8), 0, (unsigned)atoi(b), (unsigned)atoi(c));
		} else {
			fprintf(stderr, "mkcpio: bad entry number %d\n", i);
			return 2;
		}
	}
	next_inode = 0;
	header("TRAILER!!!", 0, 0, 0, 0);
	while (offset % 512)
		put("", 1);
	if (fclose(stdout)) {
		perror("mkcpio: write");
		return 1;
	}
	return 0;
}
