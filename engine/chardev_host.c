/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host ends of serial lines.
 *
 * Output is tried at once and queued when the host is slow; the I/O thread sends the queue. Descriptors that we share
 * with other programs (a shell's terminal or pipe) must not become non-blocking, so we ask poll before every small
 * piece instead: a pipe that polls writable takes PIPE_BUF bytes, a terminal a line. When the queue is full the writer
 * waits a little, then bytes are dropped: a guest must not stand still because nobody reads.
 *
 * Input goes through a ring, because a terminal must be read for Ctrl-A x even when the guest takes nothing.
 *
 * Threads: everything but open and close runs with the device lock held.
 */
#include "engine/chardev_host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/io.h"
#include "engine/terminal.h"
#include "engine/vm.h"

#define IN_BYTES 4096u
#define OUT_BYTES (1u << 18)
#define PIECE_BYTES 512u
#define FULL_WAIT_MS 50
#define CLOSE_WAIT_MS 1000
#define CTRL_A 0x01

struct host {
	struct chardev c;
	struct vm *vm; /* NULL: not attached */
	int in_fd, out_fd, listen_fd;
	bool own_fds;    /* close them */
	bool plain_file; /* always writable */
	bool in_eof;
	struct terminal term;
	bool escape; /* Ctrl-A was typed */
	char *unlink_path;
	void (*stats)(void *ctx);
	void *stats_ctx;
	unsigned in_head, in_n, out_head, out_n;
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

static struct host *host_of(const struct chardev *c)
{
	return c->backend;
}

/* ---- output ---- */

static bool writable(struct host *h, int wait_ms)
{
	struct pollfd p = {.fd = h->out_fd, .events = POLLOUT};

	return h->plain_file || (poll(&p, 1, wait_ms) == 1 && (p.revents & (POLLOUT | POLLERR | POLLHUP)));
}

/* The client of a socket is gone; a pipe's reader is gone for good. */
static void out_dead(struct host *h)
{
	if (h->listen_fd >= 0) {
		close(h->in_fd);
		h->in_fd = -1;
	}
	h->out_fd = -1;
	h->out_n = 0;
}

/* How many bytes the host took; less than n when it is slow. */
static unsigned send_now(struct host *h, const uint8_t *buf, unsigned n, int wait_ms)
{
	unsigned done = 0;

	while (done < n && h->out_fd >= 0 && writable(h, wait_ms)) {
		unsigned piece = n - done < PIECE_BYTES ? n - done : PIECE_BYTES;
		ssize_t w = write(h->out_fd, buf + done, piece);

		if (w > 0)
			done += (unsigned)w;
		else if (w < 0 && errno == EAGAIN)
			break;
		else if (w < 0 && errno != EINTR)
			out_dead(h);
	}
	return h->out_fd < 0 ? n : done;
}

/* Sends the queue; true when it is empty. */
static bool drain(struct host *h, int wait_ms)
{
	while (h->out_n) {
		unsigned run = OUT_BYTES - h->out_head < h->out_n ? OUT_BYTES - h->out_head : h->out_n;
		unsigned sent = send_now(h, h->out + h->out_head, run, wait_ms);

		if (!h->out_n) /* the other end went away meanwhile */
			break;
		h->out_head = (h->out_head + sent) % OUT_BYTES;
		h->out_n -= sent;
		if (sent < run)
			return false;
	}
	return true;
}

static void host_write(struct chardev *c, const uint8_t *buf, unsigned len)
{
	struct host *h = host_of(c);
	unsigned sent = 0;

	if (h->out_fd < 0)
		return;
	if (drain(h, 0))
		sent = send_now(h, buf, len, 0);
	if (OUT_BYTES - h->out_n < len - sent)
		drain(h, FULL_WAIT_MS);
	if (h->out_fd < 0 || sent == len)
		return;
	for (; sent < len && h->out_n < OUT_BYTES; sent++, h->out_n++)
		h->out[(h->out_head + h->out_n) % OUT_BYTES] = buf[sent];
	if (h->vm)
		io_wake(h->vm->io);
}

static void out_prepare(void *ctx, struct pollfd *p)
{
	struct host *h = ctx;

	if (h->out_n && h->out_fd >= 0) {
		p->fd = h->out_fd;
		p->events = POLLOUT;
	}
}

static void out_ready(void *ctx, const struct pollfd *p)
{
	if (p->revents)
		drain(ctx, 0);
}

/* ---- input ---- */

static void deliver(struct host *h)
{
	while (h->in_n && h->c.can_receive && h->c.receive) {
		unsigned run = IN_BYTES - h->in_head < h->in_n ? IN_BYTES - h->in_head : h->in_n;
		unsigned room = h->c.can_receive(h->c.dev);

		run = run < room ? run : room;
		if (!run)
			return;
		h->c.receive(h->c.dev, h->in + h->in_head, run);
		h->in_head = (h->in_head + run) % IN_BYTES;
		h->in_n -= run;
	}
}

static void put_in(struct host *h, uint8_t b)
{
	if (h->in_n < IN_BYTES)
		h->in[(h->in_head + h->in_n++) % IN_BYTES] = b;
}

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return; /* nobody there to be told */
}

static void command(struct host *h, uint8_t key)
{
	switch (key) {
	case CTRL_A:
		put_in(h, key);
		break;
	case 'x':
	case 'X':
		say("\r\n");
		vm_end(h->vm, VM_STOPPED, 0, "ended from the terminal");
		break;
	case 's':
		if (h->stats)
			h->stats(h->stats_ctx);
		break;
	case 'h':
	case '?':
		say("\r\nCtrl-A x       quit\r\n"
		    "Ctrl-A s       show the counters\r\n"
		    "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
		    "Ctrl-A h       this help\r\n");
		break;
	}
}

static void take_byte(struct host *h, uint8_t b)
{
	if (!h->term.raw) {
		put_in(h, b);
	} else if (h->escape) {
		h->escape = false;
		command(h, b);
	} else if (b == CTRL_A) {
		h->escape = true;
	} else {
		put_in(h, b);
	}
}

static void accept_client(struct host *h)
{
	int fd = accept4(h->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	h->in_fd = h->out_fd = fd;
	h->in_eof = false;
}

static void in_end(struct host *h)
{
	if (h->listen_fd >= 0)
		out_dead(h); /* the next client may come */
	else
		h->in_eof = true;
}

static void in_prepare(void *ctx, struct pollfd *p)
{
	struct host *h = ctx;

	deliver(h);
	p->events = POLLIN;
	if (h->in_fd < 0)
		p->fd = h->listen_fd;
	else if (!h->in_eof && (h->in_n < IN_BYTES || h->term.raw))
		p->fd = h->in_fd;
}

static void in_ready(void *ctx, const struct pollfd *p)
{
	struct host *h = ctx;
	uint8_t buf[256];
	ssize_t n;

	if (!p->revents)
		return;
	if (p->fd == h->listen_fd) {
		accept_client(h);
		return;
	}
	if (p->fd != h->in_fd)
		return; /* the client went away between the wait and now */
	n = IN_BYTES - h->in_n;
	n = read(h->in_fd, buf, h->term.raw || n > (ssize_t)sizeof(buf) ? sizeof(buf) : (size_t)n);
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		in_end(h);
	for (ssize_t i = 0; i < n; i++)
		take_byte(h, buf[i]);
}

static void host_resume_input(struct chardev *c)
{
	struct host *h = host_of(c);

	if (h->in_n && h->vm)
		io_wake(h->vm->io);
}

/* ---- opening ---- */

static enum status open_stdio(struct host *h, struct error *e)
{
	struct stat st;

	h->out_fd = STDOUT_FILENO;
	h->plain_file = fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode);
	h->in_fd = STDIN_FILENO;
	h->in_eof = fcntl(STDIN_FILENO, F_GETFD) < 0;
	if (!isatty(STDIN_FILENO))
		return ST_OK;
	if (!terminal_is_ours(STDIN_FILENO)) {
		h->in_eof = true; /* a background job that reads its terminal gets stopped */
		return ST_OK;
	}
	return terminal_raw(&h->term, STDIN_FILENO, e);
}

static enum status open_file(struct host *h, const char *path, struct error *e)
{
	struct stat st;

	if (!*path)
		return error_set(e, ST_INVALID, "serial line \"file:\" needs a file name");
	h->own_fds = true;
	h->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (h->out_fd < 0)
		return error_errno(e, ST_IO, "cannot write the serial line's file %s", path);
	h->plain_file = fstat(h->out_fd, &st) == 0 && S_ISREG(st.st_mode);
	h->in_eof = true;
	return ST_OK;
}

/* A socket file that nobody listens on is left from a process that was killed. */
static void remove_stale(const struct sockaddr_un *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return;
	if (stat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)a, sizeof(*a)) != 0 && errno == ECONNREFUSED)
		unlink(a->sun_path);
	close(fd);
}

static enum status open_unix(struct host *h, const char *path, struct error *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (!*path || strlen(path) >= sizeof(a.sun_path))
		return error_set(e, ST_INVALID, "serial line \"unix:\" needs a path of 1 to %zu characters",
				 sizeof(a.sun_path) - 1);
	memcpy(a.sun_path, path, strlen(path) + 1);
	remove_stale(&a);
	h->own_fds = true;
	h->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->listen_fd < 0)
		return error_errno(e, ST_IO, "cannot create a socket");
	if (bind(h->listen_fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(h->listen_fd, 1) != 0)
		return error_errno(e, ST_IO, "cannot listen on %s", path);
	h->unlink_path = strdup(path);
	return ST_OK;
}

enum status chardev_open(const char *spec, struct chardev **out, struct error *e)
{
	enum status st;
	struct host *h;

	*out = NULL;
	if (strcmp(spec, "none") == 0)
		return ST_OK;
	h = calloc(1, sizeof(*h));
	if (!h)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	h->in_fd = h->out_fd = h->listen_fd = -1;
	h->c.backend = h;
	h->c.write = host_write;
	h->c.resume_input = host_resume_input;
	if (strcmp(spec, "stdio") == 0)
		st = open_stdio(h, e);
	else if (strncmp(spec, "file:", 5) == 0)
		st = open_file(h, spec + 5, e);
	else if (strncmp(spec, "unix:", 5) == 0)
		st = open_unix(h, spec + 5, e);
	else
		st = error_set(e, ST_INVALID, "serial line \"%s\": give stdio, file:F, unix:F or none", spec);
	if (st != ST_OK) {
		chardev_close(&h->c);
		return st;
	}
	*out = &h->c;
	return ST_OK;
}

void chardev_close(struct chardev *c)
{
	struct host *h;

	if (!c)
		return;
	h = host_of(c);
	drain(h, CLOSE_WAIT_MS);
	terminal_restore(&h->term);
	if (h->own_fds) {
		if (h->out_fd >= 0)
			close(h->out_fd);
		if (h->in_fd >= 0 && h->in_fd != h->out_fd)
			close(h->in_fd);
	}
	if (h->listen_fd >= 0)
		close(h->listen_fd);
	if (h->unlink_path)
		unlink(h->unlink_path);
	free(h->unlink_path);
	free(h);
}

void chardev_on_stats(struct chardev *c, void (*fn)(void *ctx), void *ctx)
{
	if (!c)
		return;
	host_of(c)->stats = fn;
	host_of(c)->stats_ctx = ctx;
}

bool chardev_is_terminal(const struct chardev *c)
{
	return c && host_of(c)->term.raw;
}

void chardev_attach(struct chardev *c, struct vm *vm)
{
	struct host *h;

	if (!c)
		return;
	h = host_of(c);
	h->vm = vm;
	io_add(vm->io, &(struct io_source){in_prepare, in_ready, h});
	io_add(vm->io, &(struct io_source){out_prepare, out_ready, h});
}

void chardev_detach(struct chardev *c)
{
	if (c)
		host_of(c)->vm = NULL;
}
