// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The socket has no name that anybody else could connect to: it is bound in a folder of our own, connected, and its name removed, before
 * the daemon starts, which inherits the listening end and finds our connection waiting.
 */
#include "engine/block/blk_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTEN_FD 3 /* in the daemon */
#define NO_PROGRAM 127

/* Both ends of a connection: one that waits to be accepted from `listener`. */
static enum status make_socket(int *listener, int *sock, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *base = getenv("TMPDIR");
	char dir[64] = "/tmp/steelyard-disk.XXXXXX";
	bool ok;

	if (base && base[0] == '/' && strlen(base) < 32)
		snprintf(dir, sizeof(dir), "%s/steelyard-disk.XXXXXX", base);
	*sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!mkdtemp(dir))
		return error_errno(e, ST_IO, "cannot make a folder like '%s' for a storage daemon's socket", dir);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/disk", dir);
	ok = *sock >= 0 && *listener >= 0 && bind(*listener, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	     listen(*listener, 1) == 0 && connect(*sock, (struct sockaddr *)&a, sizeof(a)) == 0;
	if (!ok)
		error_errno(e, ST_IO, "cannot make the socket of a storage daemon in '%s'", dir);
	unlink(a.sun_path);
	rmdir(dir);
	return ok ? ST_OK : ST_IO;
}

/* In the child, between fork and exec: nothing but system calls. */
static void become_daemon(pid_t parent, int listener, int out, char *const argv[])
{
	static const char none[] = "cannot be started: install the Debian package qemu-system-common\n";
	const struct rlimit no_core = {0, 0};
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	int null = open("/dev/null", O_RDWR);
	sigset_t empty;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (int s = 1; s < NSIG; s++)
		sigaction(s, &dfl, NULL);
	sigemptyset(&empty);
	sigprocmask(SIG_SETMASK, &empty, NULL);
	setrlimit(RLIMIT_CORE, &no_core);
	/* Out of the way first: any of them may be the number of another's place. */
	listener = fcntl(listener, F_DUPFD, 10);
	out = fcntl(out, F_DUPFD, 10);
	null = fcntl(null, F_DUPFD, 10);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || dup2(listener, LISTEN_FD) < 0)
		_exit(1);
	syscall(SYS_close_range, LISTEN_FD + 1, ~0u, 0);
	execvp(argv[0], argv);
	if (write(2, none, sizeof(none) - 1) < 0)
		_exit(1);
	_exit(NO_PROGRAM);
}

static enum status spawn(struct blk_daemon *d, int listener, char *const argv[], struct error *e)
{
	pid_t parent = getpid();
	int out[2];

	if (pipe2(out, O_CLOEXEC) != 0)
		return error_errno(e, ST_IO, "cannot make a pipe for a storage daemon");
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	d->said_fd = out[0];
	d->pid = fork();
	if (d->pid == 0)
		become_daemon(parent, listener, out[1], argv);
	close(out[1]);
	if (d->pid < 0) {
		d->pid = 0;
		return error_errno(e, ST_NO_MEMORY, "cannot start a storage daemon");
	}
	d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
	return d->pidfd >= 0 ? ST_OK : error_errno(e, ST_UNSUPPORTED, "cannot watch a storage daemon (pidfd_open)");
}

enum status blk_daemon_start(struct blk_daemon *d, const char *blockdev, bool readonly, unsigned rings, struct error *e)
{
	char export[160];
	char *argv[] = {(char *)(uintptr_t)BLK_DAEMON_PROGRAM,
			(char *)(uintptr_t) "--blockdev",
			(char *)(uintptr_t)blockdev,
			(char *)(uintptr_t) "--export",
			export,
			NULL};
	int listener = -1;
	enum status st;

	*d = (struct blk_daemon){.pidfd = -1, .sock = -1, .said_fd = -1};
	snprintf(export, sizeof(export),
		 "type=vhost-user-blk,id=export,node-name=disk,addr.type=fd,addr.str=%d,writable=%s,num-queues=%u",
		 LISTEN_FD, readonly ? "off" : "on", rings);
	st = make_socket(&listener, &d->sock, e);
	if (st == ST_OK)
		st = spawn(d, listener, argv, e);
	if (listener >= 0)
		close(listener);
	if (st != ST_OK)
		blk_daemon_stop(d, 0, NULL);
	return st;
}

/* Its messages begin with its name and the whole option, and a second line may be a question to a person. */
static void keep_line(struct blk_daemon *d, char *line)
{
	char *from = strstr(line, "}: ");

	from = from ? from + 3
	       : strncmp(line, BLK_DAEMON_PROGRAM ": ", strlen(BLK_DAEMON_PROGRAM) + 2) == 0
		       ? line + strlen(BLK_DAEMON_PROGRAM) + 2
		       : line;
	if (!from[0] || !strncmp(from, "Is another process", 18))
		return;
	snprintf(d->said, sizeof(d->said), "%s", from);
	for (char *p = d->said; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
}

bool blk_daemon_hear(struct blk_daemon *d)
{
	char buf[4096], before[BLK_DAEMON_TEXT];
	ssize_t n;

	memcpy(before, d->said, sizeof(before));
	while (d->said_fd >= 0 && (n = read(d->said_fd, buf, sizeof(buf) - 1)) > 0) {
		char *line = buf, *end;

		buf[n] = 0;
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			keep_line(d, line);
		}
		keep_line(d, line);
	}
	return strcmp(before, d->said) != 0;
}

enum status blk_daemon_status(const struct blk_daemon *d)
{
	static const struct {
		const char *words;
		enum status st;
	} rows[] = {
		{"No such file", ST_NOT_FOUND},       {"cannot be started", ST_UNSUPPORTED},
		{"Permission denied", ST_DENIED},     {"Read-only file system", ST_DENIED},
		{"\"write\" lock", ST_BUSY},          {"\"consistent read\" lock", ST_BUSY},
		{"Connection refused", ST_NOT_FOUND}, {"Unknown driver", ST_UNSUPPORTED},
		{"Unknown protocol", ST_UNSUPPORTED}, {"not in", ST_BAD_FILE},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (strstr(d->said, rows[i].words))
			return rows[i].st;
	return d->said[0] ? ST_BAD_FILE : ST_IO;
}

static void describe_end(int status, char *how)
{
	if (WIFSIGNALED(status))
		snprintf(how, BLK_DAEMON_TEXT, "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(how, BLK_DAEMON_TEXT, "ended with status %d", WEXITSTATUS(status));
}

void blk_daemon_stop(struct blk_daemon *d, unsigned grace_ms, char *how)
{
	struct pollfd p = {.fd = d->pidfd, .events = POLLIN};
	int status = 0;

	if (how)
		snprintf(how, BLK_DAEMON_TEXT, "ended");
	if (d->sock >= 0)
		close(d->sock);
	if (d->pid > 0) {
		if (d->pidfd >= 0 && grace_ms && poll(&p, 1, 0) == 0) {
			kill(d->pid, SIGTERM);
			while (poll(&p, 1, (int)grace_ms) < 0 && errno == EINTR)
				;
		}
		kill(d->pid, SIGKILL); /* a zombie does not mind */
		while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
			;
		if (how)
			describe_end(status, how);
	}
	blk_daemon_hear(d);
	if (d->pidfd >= 0)
		close(d->pidfd);
	if (d->said_fd >= 0)
		close(d->said_fd);
	d->pid = 0;
	d->pidfd = d->sock = d->said_fd = -1;
}
