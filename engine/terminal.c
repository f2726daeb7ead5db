/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw mode, and the guard who undoes it.
 *
 * A process that dies by SIGKILL, by its own abort or by the out-of-memory killer cannot restore its terminal, and a
 * handler for the milder ends would need a global. So a child in a session of its own waits on a pipe whose other end
 * only we hold: a byte means that we have restored the terminal ourselves, the end of the file that we died without.
 */
#include "engine/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool terminal_is_ours(int fd)
{
	return isatty(fd) && tcgetpgrp(fd) == getpgrp();
}

static void guard_main(int fd, int pipe_fd, const struct termios *saved) __attribute__((noreturn));
static void guard_main(int fd, int pipe_fd, const struct termios *saved)
{
	ssize_t n;
	char b;

	setsid(); /* no signal to our job reaches the guard, and no job control stops its tcsetattr */
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	prctl(PR_SET_NAME, "steelyard-tty");
	/* Keep the two descriptors only: an inherited pipe to a reader must end when the parent does. */
	if (fcntl(pipe_fd, F_DUPFD, 64) < 0 || dup2(fd, 0) < 0 || dup2(pipe_fd, 1) < 0)
		_exit(1);
	close_range(2, ~0u, 0);
	do
		n = read(1, &b, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		tcsetattr(0, TCSANOW, saved);
	_exit(0);
}

enum status terminal_raw(struct terminal *t, int fd, struct error *e)
{
	struct termios raw;
	int p[2];

	*t = (struct terminal){.fd = fd, .guard_pipe = -1};
	if (tcgetattr(fd, &t->saved) != 0)
		return error_errno(e, ST_IO, "cannot read the terminal's settings");
	if (pipe2(p, O_CLOEXEC) != 0)
		return error_errno(e, ST_IO, "cannot create a pipe");
	t->guard = fork();
	if (t->guard < 0) {
		close(p[0]);
		close(p[1]);
		return error_errno(e, ST_IO, "cannot start the terminal's guard");
	}
	if (t->guard == 0) {
		close(p[1]);
		guard_main(fd, p[0], &t->saved);
	}
	close(p[0]);
	t->guard_pipe = p[1];
	t->raw = true;
	raw = t->saved;
	raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(fd, TCSANOW, &raw) != 0) {
		terminal_restore(t);
		return error_errno(e, ST_IO, "cannot set the terminal to raw mode");
	}
	return ST_OK;
}

void terminal_restore(struct terminal *t)
{
	int err = errno;

	if (!t->raw)
		return;
	t->raw = false;
	tcsetattr(t->fd, TCSADRAIN, &t->saved);
	while (write(t->guard_pipe, "", 1) < 0 && errno == EINTR)
		;
	close(t->guard_pipe);
	while (waitpid(t->guard, NULL, 0) < 0 && errno == EINTR)
		;
	errno = err;
}
