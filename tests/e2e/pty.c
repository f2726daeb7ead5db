// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pty SECONDS SCRIPT COMMAND...: a person at a terminal.
 *
 * Runs COMMAND on a pseudo-terminal and follows SCRIPT, one step a line:
 *   expect TEXT     waits until TEXT has appeared behind what was matched before
 *   send TEXT       types it; \r \n \t \\ \xHH are understood
 *   absent TEXT     TEXT has not appeared so far
 *   status N        the program has ended with this status
 *   restored        the terminal's settings are what they were before the program started
 *   sleep MS        a moment of patience
 * Status 0 when every step came true; else 1, with the step and the end of what was seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SEEN_MAX (1 << 20)

struct session {
	int master;
	pid_t pid;
	char seen[SEEN_MAX + 1];
	size_t len, from;
	long long deadline_ms;
};

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* Reads what is there within ms; false when the time is over or the other side is gone. */
static int pump(struct session *s, int ms)
{
	struct pollfd p = {.fd = s->master, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	if (s->len == SEEN_MAX) { /* forget the older half */
		memmove(s->seen, s->seen + SEEN_MAX / 2, SEEN_MAX / 2);
		s->len = SEEN_MAX / 2;
		s->from = s->from > SEEN_MAX / 2 ? s->from - SEEN_MAX / 2 : 0;
	}
	n = read(s->master, s->seen + s->len, SEEN_MAX - s->len);
	if (n <= 0)
		return -1;
	for (ssize_t i = 0; i < n; i++)
		if (!s->seen[s->len + (size_t)i])
			s->seen[s->len + (size_t)i] = '?';
	s->len += (size_t)n;
	s->seen[s->len] = 0;
	return 1;
}

static int expect(struct session *s, const char *text)
{
	for (;;) {
		char *at = strstr(s->seen + s->from, text);

		if (at) {
			s->from = (size_t)(at - s->seen) + strlen(text);
			return 1;
		}
		if (now_ms() > s->deadline_ms || pump(s, 100) < 0)
			return !!strstr(s->seen + s->from, text);
	}
}

static size_t unescape(char *s)
{
	char *o = s;

	for (char *p = s; *p; p++) {
		if (*p != '\\') {
			*o++ = *p;
			continue;
		}
		p++;
		if (*p == 'x') {
			char hex[3] = {p[1], p[1] ? p[2] : 0, 0};

			*o++ = (char)strtoul(hex, NULL, 16);
			p += strlen(hex);
		} else {
			*o++ = *p == 'r' ? '\r' : *p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
		}
		if (!*p)
			break;
	}
	return (size_t)(o - s);
}

/* As a person types: not faster than the other side echoes. */
static void type(struct session *s, char *text)
{
	size_t n = unescape(text);

	for (size_t i = 0; i < n; i++) {
		if (write(s->master, text + i, 1) != 1)
			return;
		pump(s, 10);
	}
}

static int ended_with(struct session *s, int want)
{
	int st;

	for (;;) {
		pid_t p = waitpid(s->pid, &st, WNOHANG);

		if (p == s->pid) {
			int got = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);

			s->pid = 0;
			while (pump(s, 50) > 0)
				;
			if (got != want)
				fprintf(stderr, "status %d instead of %d\n", got, want);
			return got == want;
		}
		if (now_ms() > s->deadline_ms)
			return 0;
		pump(s, 50);
	}
}

static int same_settings(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && !memcmp(a->c_cc, b->c_cc, NCCS);
}

int main(int argc, char **argv)
{
	static struct session s;
	struct termios before, after;
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	char line[1024];
	int slave, ok = 1;
	FILE *script;

	if (argc < 4) {
		fprintf(stderr, "usage: pty SECONDS SCRIPT COMMAND...\n");
		return 2;
	}
	script = fopen(argv[2], "r");
	s.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (!script || s.master < 0 || grantpt(s.master) || unlockpt(s.master)) {
		perror("pty");
		return 2;
	}
	/* Held open, so that the settings outlive the program. */
	slave = open(ptsname(s.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &before)) {
		perror("pty");
		return 2;
	}
	ioctl(slave, TIOCSWINSZ, &size);
	s.pid = fork();
	if (!s.pid) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		for (int i = 0; i < 3; i++)
			dup2(slave, i);
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	s.deadline_ms = now_ms() + atoi(argv[1]) * 1000ll;
	while (ok && fgets(line, sizeof(line), script)) {
		char *arg;

		line[strcspn(line, "\n")] = 0;
		if (!line[0] || line[0] == '#')
			continue;
		arg = strchr(line, ' ');
		arg = arg ? arg + 1 : line + strlen(line);
		if (!strncmp(line, "expect ", 7)) {
			ok = expect(&s, arg);
		} else if (!strncmp(line, "send ", 5)) {
			char copy[1024];

			snprintf(copy, sizeof(copy), "%s", arg);
			type(&s, copy);
		} else if (!strncmp(line, "absent ", 7)) {
			ok = !strstr(s.seen, arg);
		} else if (!strncmp(line, "sleep ", 6)) {
			long long until = now_ms() + atoi(arg);

			while (now_ms() < until && pump(&s, 20) >= 0)
				;
		} else if (!strncmp(line, "status ", 7)) {
			ok = ended_with(&s, atoi(arg));
		} else if (!strcmp(line, "restored")) {
			ok = !tcgetattr(slave, &after) && same_settings(&before, &after);
		} else {
			ok = 0;
		}
		if (!ok)
			fprintf(stderr, "step not fulfilled: %s\n--- seen at the end:\n%s\n---\n", line,
				s.seen + (s.len > 1500 ? s.len - 1500 : 0));
	}
	if (s.pid > 0) {
		kill(s.pid, SIGKILL);
		waitpid(s.pid, NULL, 0);
	}
	return !ok;
}
