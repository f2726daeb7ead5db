// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * steelyard image build: a root image of Debian that boots.
 *
 * The work is a shell script's (mgmt/image_build.sh), for it consists of Debian's own programs: mmdebstrap, tar, mke2fs.
 * The script is in this program (mgmt/image_script.S) and reaches the shell as a file in memory, so that it is there
 * wherever the program is. Here are the options and what must be right about them before anything is downloaded; the
 * script has its arguments by position and none that could be taken for code.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/status.h"
#include "mgmt/image.h"

#define EXIT_DONE 0
#define EXIT_HOST 1
#define EXIT_USAGE 2

extern const char image_script[], image_script_end[];

/* A row is an option of "image build"; value: whether one follows. */
struct image_option {
	const char *name, *value, *what;
	char letter;
};

static const struct image_option options[] = {
	{"suite", "S", "a suite of Debian, default bookworm", 's'},
	{"arch", "A", "amd64 (default) or i386", 'a'},
	{"packages", "P,...", "packages beside the base system; a linux-image-* among them is its kernel", 'p'},
	{"size", "N", "of the file system, suffix M or G, default 2G; the file is sparse", 'z'},
	{"autologin", NULL, "the serial line logs root in", 'l'},
	{"root-password", "W", "root's password; without this and --autologin nobody can log in", 'w'},
	{"mirror", "URL", "where packages come from, default: where the host's apt has them from", 'm'},
	{"cache", "DIR", "where images are kept, default steelyard/images in the user's cache folder", 'c'},
	{"fresh", NULL, "makes it anew although the cache has it", 'f'},
	{"output", "F", "the image; F.vmlinuz, F.initrd and F.manifest are beside it", 'o'},
	{"help", NULL, "these options", 'h'},
};

struct image_request {
	const char *suite, *arch, *size, *packages, *mirror, *out, *cache, *password;
	bool autologin, fresh;
	char cache_buf[PATH_MAX], login[300];
};

static void help(FILE *f)
{
	fputs("Usage: steelyard image build [OPTION]... -o F\n"
	      "Makes a root image of Debian that boots, without privileges, and keeps it for the next "
	      "time.\n\nOptions:\n",
	      f);
	for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", options[i].name, options[i].value ? " " : "",
			 options[i].value ? options[i].value : "");
		fprintf(f, "  %-20s %s\n", left, options[i].what);
	}
}

static int usage(const char *what, const char *value)
{
	fprintf(stderr, "steelyard: image: %s%s%s\n", what, value ? " " : "", value ? value : "");
	return EXIT_USAGE;
}

/* Only characters of allowed, no dash in front, and not empty: what apt or a shell could take for something else stays out. */
static bool plain(const char *s, const char *allowed)
{
	return *s && *s != '-' && strlen(s) < 4096 && s[strspn(s, allowed)] == 0;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"

static bool size_ok(const char *s)
{
	char *end;
	unsigned long long n;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno || (strcmp(end, "M") && strcmp(end, "G")))
		return false;
	if (*end == 'G')
		n = n > 1024 ? ULLONG_MAX : n * 1024;
	return n >= 256 && n <= 1024 * 1024;
}

static bool default_cache(struct image_request *r)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int len = -1;

	/* an XDG path that is not absolute counts as not set */
	if (cache && cache[0] == '/')
		len = snprintf(r->cache_buf, sizeof(r->cache_buf), "%s/steelyard/images", cache);
	else if (home && home[0] == '/')
		len = snprintf(r->cache_buf, sizeof(r->cache_buf), "%s/.cache/steelyard/images", home);
	r->cache = r->cache_buf;
	return len > 0 && (size_t)len < sizeof(r->cache_buf);
}

/* What is wrong with the request goes to stderr. */
static int request_check(struct image_request *r)
{
	if (!r->out || !*r->out)
		return usage("no --output: say where the image shall be", NULL);
	if (!plain(r->suite, LOWER "-"))
		return usage("a suite is a word such as bookworm, not", r->suite);
	if (strcmp(r->arch, "amd64") && strcmp(r->arch, "i386"))
		return usage("--arch is amd64 or i386, not", r->arch);
	if (!size_ok(r->size))
		return usage("--size is from 256M to 1024G, with its M or G, not", r->size);
	if (*r->packages && !plain(r->packages, LOWER "+-.,"))
		return usage("--packages has names with commas between, not", r->packages);
	if (*r->mirror && (strpbrk(r->mirror, " \t\r\n[]") || !strstr(r->mirror, ":/") || strlen(r->mirror) > 1000))
		return usage("--mirror is a URL, not", r->mirror);
	if (r->autologin && r->password)
		return usage("--autologin and --root-password exclude each other", NULL);
	if (r->password && (!*r->password || strlen(r->password) > 200 || strchr(r->password, '\n')))
		return usage("--root-password has 1 to 200 characters", NULL);
	if (r->password)
		snprintf(r->login, sizeof(r->login), "password:%s", r->password);
	else
		snprintf(r->login, sizeof(r->login), "%s", r->autologin ? "autologin" : "locked");
	if (!r->cache && !default_cache(r))
		return usage("neither XDG_CACHE_HOME nor HOME is set: say --cache DIR", NULL);
	return EXIT_DONE;
}

/* Becomes the script. Returns only when that fails. */
static int run_script(const struct image_request *r)
{
	size_t len = (size_t)(image_script_end - image_script), done = 0;
	int fd = memfd_create("steelyard-image", 0); /* inherited by the shell on purpose */
	char path[32];

	while (fd >= 0 && done < len) {
		ssize_t n = write(fd, image_script + done, len - done);

		if (n <= 0 && errno != EINTR)
			break;
		done += n > 0 ? (size_t)n : 0;
	}
	if (done == len) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		/* the script reads itself for the cache's key */
		setenv("STEELYARD_IMAGE_SCRIPT", path, 1);
		execl("/bin/sh", "sh", path, r->out, r->suite, r->arch, r->size, r->packages, r->mirror, r->login,
		      r->cache, r->fresh ? "fresh" : "", (char *)NULL);
	}
	fprintf(stderr, "steelyard: image: cannot start /bin/sh: %s\n", strerror(errno));
	return EXIT_HOST;
}

int image_main(int argc, char **argv)
{
	struct image_request r = {.suite = "bookworm", .arch = "amd64", .size = "2G", .packages = "", .mirror = ""};
	struct option longs[ARRAY_LEN(options) + 1] = {0};
	int c;

	for (unsigned i = 0; i < ARRAY_LEN(options); i++)
		longs[i] = (struct option){options[i].name, options[i].value ? required_argument : no_argument, NULL,
					   options[i].letter};
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		help(stdout);
		return EXIT_DONE;
	}
	if (argc < 2 || strcmp(argv[1], "build"))
		return usage("the verb is \"steelyard image build\"; \"steelyard image --help\" tells its options",
			     NULL);
	opterr = 0;
	while ((c = getopt_long(argc - 1, argv + 1, ":o:h", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			r.suite = optarg;
			break;
		case 'a':
			r.arch = optarg;
			break;
		case 'p':
			r.packages = optarg;
			break;
		case 'z':
			r.size = optarg;
			break;
		case 'l':
			r.autologin = true;
			break;
		case 'w':
			r.password = optarg;
			break;
		case 'm':
			r.mirror = optarg;
			break;
		case 'c':
			r.cache = optarg;
			break;
		case 'f':
			r.fresh = true;
			break;
		case 'o':
			r.out = optarg;
			break;
		case 'h':
			help(stdout);
			return EXIT_DONE;
		case ':':
			return usage("a value is missing behind", argv[optind]);
		default:
			return usage("see \"steelyard image --help\": unknown option", argv[optind]);
		}
	}
	if (optind < argc - 1)
		return usage("what is this:", argv[1 + optind]);
	c = request_check(&r);
	return c ? c : run_script(&r);
}
