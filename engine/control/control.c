// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control server: one thread, one ppoll over the listening socket, its clients and an eventfd.
 *
 * A client is a peer that may do anything. What it sends is cut into lines of bounded length; a line that is no request
 * gets one error reply and the next line is looked at. While it does not read its replies, its requests are not read
 * either, so only events can pile up: past CONTROL_OUT_BYTES the client is told in a last line, the others by an event, and
 * it is gone. More than CONTROL_CLIENTS get one error line.
 *
 * Events come from any thread, vCPU threads included. They are made into lines there, put into a ring under a lock that
 * covers nothing else, and sent from here.
 *
 * Requests are served one at a time on this thread, and a pause waits for the vCPUs here: clients wait for each other,
 * the machine for nobody.
 */
#include "engine/control/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/control/control_int.h"
#include "engine/switch.h"
#include "engine/vm.h"

#define NS_PER_MS 1000000ull
#define CLOSE_MS 10000    /* a client that is to go may still read its last line */
#define STOP_MS 1000      /* and all of them the machine's last event */
#define ACCEPT_NAP_MS 100 /* after descriptors were short */
#define LINES_AT_ONCE 16u /* of one client, before the next one's turn */

uint64_t control_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void nap(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = (long)(ms * NS_PER_MS)}, NULL);
}

static void wake(struct control *c)
{
	uint64_t one = 1;

	while (write(c->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* ---- one client ---- */

static void client_close(struct control_client *cl)
{
	if (cl->fd >= 0)
		close(cl->fd);
	free(cl->out);
	cl->out = NULL;
	cl->fd = -1;
	cl->out_n = cl->out_at = cl->out_cap = cl->in_n = 0;
}

/* Sends what waits, as far as the socket takes it. */
static void client_flush(struct control_client *cl)
{
	while (cl->fd >= 0 && cl->out_n) {
		ssize_t n = send(cl->fd, cl->out + cl->out_at, cl->out_n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				client_close(cl);
			return;
		}
		cl->out_at += (size_t)n;
		cl->out_n -= (size_t)n;
	}
	cl->out_at = 0;
}

static bool client_append(struct control_client *cl, const char *line, size_t n)
{
	size_t cap = cl->out_cap ? cl->out_cap : 4096;
	char *out;

	if (cl->out_at && cl->out_at + cl->out_n + n > cl->out_cap) {
		memmove(cl->out, cl->out + cl->out_at, cl->out_n);
		cl->out_at = 0;
	}
	while (cap < cl->out_at + cl->out_n + n)
		cap *= 2;
	if (cap > cl->out_cap) {
		out = realloc(cl->out, cap);
		if (!out)
			return false;
		cl->out = out;
		cl->out_cap = cap;
	}
	memcpy(cl->out + cl->out_at + cl->out_n, line, n);
	cl->out_n += n;
	return true;
}

static void client_doom(struct control_client *cl)
{
	cl->closing = true;
	cl->events = 0;
	cl->close_ns = control_now_ns() + CLOSE_MS * NS_PER_MS;
}

/* Consumes line; NULL: there was no memory for it. */
static void client_put(struct control_client *cl, char *line)
{
	if (cl->fd < 0 || cl->closing) {
		free(line);
		return;
	}
	if (!line || !client_append(cl, line, strlen(line)))
		client_close(cl);
	free(line);
	client_flush(cl);
}

static json_t *why(const char *text)
{
	json_t *o = json_object();

	json_object_set_new(o, "why", control_text(text));
	return o;
}

static uint64_t guest_ns(const struct control *c)
{
	return c->vm ? clock_ns(&c->vm->clock) : 0;
}

static void client_event(struct control *c, struct control_client *cl, enum control_event_id id, const char *line)
{
	static const char text[] = "it did not read its events";

	if (cl->fd < 0 || cl->closing || !(cl->events & 1u << id))
		return;
	if (cl->out_n + strlen(line) <= CONTROL_OUT_BYTES) {
		client_put(cl, strdup(line));
		return;
	}
	client_put(cl, control_event_line(CE_DROPPED, 0, guest_ns(c), why(text)));
	client_doom(cl);
	control_event(c, CE_CLIENT_DROPPED, why(text));
}

static void client_line(struct control *c, struct control_client *cl, const char *line, size_t n)
{
	struct control_request rq;
	json_t *ok = NULL;
	enum control_code code = control_parse(line, n, &rq);
	unsigned state;

	if (code == CONTROL_OK) {
		state = control_state_now(c);
		if (rq.verb->states & 1u << state)
			code = control_serve(c, cl, &rq, &ok);
		else {
			snprintf(rq.text, sizeof(rq.text), "cannot %s now: the machine is in state \"%s\"",
				 rq.verb->name, control_states[state].word);
			code = CONTROL_WRONG_STATE;
		}
	}
	client_put(cl, code == CONTROL_OK ? control_reply_ok(rq.id, ok) : control_reply_error(rq.id, code, rq.text));
	control_request_release(&rq);
}

/* Serves the lines that have arrived; true when some are left for another round. */
static bool client_lines(struct control *c, struct control_client *cl)
{
	for (unsigned served = 0; cl->fd >= 0 && !cl->closing && !cl->out_n; served++) {
		char *end = memchr(cl->in, '\n', cl->in_n);
		size_t n = end ? (size_t)(end - cl->in) : cl->in_n;

		if (end && served == LINES_AT_ONCE)
			return true;
		if (!end && cl->in_n < sizeof(cl->in))
			return false;
		if (!end && !cl->discard)
			client_put(cl, control_reply_error(NULL, CONTROL_BAD_REQUEST,
							   "the line is too long for a request"));
		else if (end && !cl->discard && n)
			client_line(c, cl, cl->in, n);
		cl->discard = !end;
		if (cl->fd < 0)
			return false;
		n = end ? n + 1 : n;
		memmove(cl->in, cl->in + n, cl->in_n - n);
		cl->in_n -= n;
	}
	return false;
}

static bool client_wants_input(const struct control_client *cl)
{
	return !cl->eof && !cl->closing && !cl->out_n && cl->in_n < sizeof(cl->in);
}

static void client_read(struct control_client *cl)
{
	ssize_t n = recv(cl->fd, cl->in + cl->in_n, sizeof(cl->in) - cl->in_n, MSG_DONTWAIT);

	if (n > 0)
		cl->in_n += (size_t)n;
	else if (n == 0)
		cl->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		client_close(cl);
}

/* Has it nothing more to say or to hear? */
static bool client_done(const struct control_client *cl)
{
	if (cl->closing)
		return !cl->out_n || control_now_ns() >= cl->close_ns;
	return cl->eof && !cl->out_n && !cl->events && !memchr(cl->in, '\n', cl->in_n);
}

/* ---- arrivals ---- */

static void refuse(int fd, enum control_code code, const char *text)
{
	char *line = control_reply_error(NULL, code, text);

	if (line && send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		errno = 0; /* it is about to be closed either way */
	free(line);
	close(fd);
}

/* The folder and the mode of the socket keep others out already; both may have been changed by hand. */
static bool peer_allowed(int fd)
{
	struct ucred u;
	socklen_t n = sizeof(u);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) == 0 && (u.uid == geteuid() || u.uid == 0);
}

static void accept_one(struct control *c)
{
	int fd = accept4(c->place.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			c->accept_ns = control_now_ns() + ACCEPT_NAP_MS * NS_PER_MS;
		return;
	}
	if (!peer_allowed(fd)) {
		refuse(fd, CONTROL_DENIED, "this machine is another user's");
		return;
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *cl = &c->client[i];

		if (cl->fd >= 0)
			continue;
		*cl = (struct control_client){.fd = fd};
		return;
	}
	refuse(fd, CONTROL_BUSY, "too many clients: close one and try again");
}

/* ---- events ---- */

void control_event(struct control *c, enum control_event_id id, json_t *data)
{
	uint64_t ns = guest_ns(c);
	char *line = NULL;

	pthread_mutex_lock(&c->event_lock);
	c->seq++;
	if (c->ring_n < CONTROL_EVENT_RING)
		line = control_event_line(id, c->seq, ns, data);
	else
		json_decref(data);
	if (line)
		c->ring[(c->ring_head + c->ring_n++) % CONTROL_EVENT_RING] = (struct control_queued){id, line};
	pthread_mutex_unlock(&c->event_lock);
	wake(c);
}

static bool event_take(struct control *c, struct control_queued *q)
{
	bool got;

	pthread_mutex_lock(&c->event_lock);
	got = c->ring_n > 0;
	if (got) {
		*q = c->ring[c->ring_head];
		c->ring_head = (c->ring_head + 1) % CONTROL_EVENT_RING;
		c->ring_n--;
	}
	pthread_mutex_unlock(&c->event_lock);
	return got;
}

static void distribute(struct control *c)
{
	struct control_queued q;

	while (event_take(c, &q)) {
		for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
			client_event(c, &c->client[i], q.id, q.line);
		free(q.line);
	}
}

void control_on_reset(void *ctx, struct vm *vm, unsigned resets, const char *text)
{
	struct control *c = ctx;
	json_t *o = why(text);

	(void)vm;
	atomic_store(&c->shutdown, false);
	json_object_set_new(o, "resets", json_integer((json_int_t)resets));
	control_event(c, CE_RESET, o);
}

void control_on_switch(void *ctx, struct vm *vm, const struct switch_event *ev)
{
	json_t *o = why(ev->why);

	json_object_set_new(o, "vcpu", json_integer((json_int_t)ev->vcpu));
	json_object_set_new(o, "from", json_string(vm->paths[ev->from]->name));
	json_object_set_new(o, "to", json_string(vm->paths[ev->to]->name));
	json_object_set_new(o, "cause", json_string(switch_cause_name(ev->cause)));
	control_event(ctx, CE_SWITCHED, o);
}

void control_on_stall(void *ctx, struct vm *vm, unsigned vcpu, const char *text)
{
	json_t *o = why(text);

	(void)vm;
	json_object_set_new(o, "vcpu", json_integer((json_int_t)vcpu));
	control_event(ctx, CE_STALLED, o);
}

void control_on_disk(void *ctx, struct vm *vm, const char *text)
{
	(void)vm;
	control_event(ctx, CE_DISK, why(text));
}

/* ---- the thread ---- */

/* Milliseconds until somebody is to be looked at without having moved; -1: never. */
static int sleep_ms(const struct control *c, bool busy)
{
	bool soon = c->accept_ns != 0;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		soon |= c->client[i].fd >= 0 && c->client[i].closing;
	return busy ? 0 : soon ? ACCEPT_NAP_MS : -1;
}

/* What to wait for: the eventfd, the door, then the clients that are there (poll counts its array against the limit of
 * descriptors). Returns how many. */
enum { AT_WAKE, AT_DOOR, AT_CLIENTS };
static nfds_t prepare(struct control *c, struct pollfd *p)
{
	nfds_t n = AT_CLIENTS;

	if (c->accept_ns && control_now_ns() >= c->accept_ns)
		c->accept_ns = 0;
	p[AT_WAKE] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
	p[AT_DOOR] = (struct pollfd){.fd = c->accept_ns ? -1 : c->place.fd, .events = POLLIN};
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *cl = &c->client[i];

		if (cl->fd < 0)
			continue;
		cl->poll_at = n;
		p[n] = (struct pollfd){.fd = cl->fd};
		if (client_wants_input(cl))
			p[n].events |= POLLIN;
		if (cl->out_n)
			p[n].events |= POLLOUT;
		n++;
	}
	return n;
}

/* A round over the clients; true when one has lines left. */
static bool clients_round(struct control *c, const struct pollfd *p)
{
	bool busy = false;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *cl = &c->client[i];
		short got;

		if (cl->fd < 0)
			continue;
		got = p[cl->poll_at].revents;
		if (got & POLLOUT)
			client_flush(cl);
		if (cl->fd >= 0 && (got & POLLIN) && client_wants_input(cl))
			client_read(cl);
		else if (cl->fd >= 0 && (got & (POLLERR | POLLHUP)))
			client_close(cl); /* nobody hears the answers to what it may have sent */
		busy |= client_lines(c, cl);
		if (cl->fd >= 0 && client_done(cl))
			client_close(cl);
	}
	return busy;
}

static bool unsent(const struct control *c)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (c->client[i].fd >= 0 && c->client[i].out_n)
			return true;
	return false;
}

/* The last event goes out to who reads it in time. */
static void farewell(struct control *c)
{
	uint64_t until = control_now_ns() + STOP_MS * NS_PER_MS;

	distribute(c);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		c->client[i].eof = true; /* nothing is read any more */
		if (!c->client[i].out_n)
			client_close(&c->client[i]);
	}
	while (unsent(c) && control_now_ns() < until) {
		struct pollfd p[AT_CLIENTS + CONTROL_CLIENTS];

		if (poll(p + AT_CLIENTS, prepare(c, p) - AT_CLIENTS, STOP_MS / 10) < 0)
			nap(STOP_MS / 10);
		for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
			client_flush(&c->client[i]);
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		client_close(&c->client[i]);
}

static void *control_thread(void *arg)
{
	struct control *c = arg;
	struct pollfd p[AT_CLIENTS + CONTROL_CLIENTS];
	bool busy = false;
	uint64_t count;

	pthread_setname_np(pthread_self(), "control");
	while (!atomic_load(&c->stop)) {
		nfds_t n = prepare(c, p);

		if (poll(p, n, sleep_ms(c, busy)) < 0) {
			nap(ACCEPT_NAP_MS);
			continue;
		}
		if (p[AT_WAKE].revents && read(c->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		distribute(c);
		busy = clients_round(c, p);
		distribute(c); /* what a request caused comes right behind its reply */
		if (p[AT_DOOR].revents)
			accept_one(c);
	}
	farewell(c);
	return NULL;
}

/* ---- life ---- */

enum status control_open(struct control **out, const struct control_config *cfg, struct error *e)
{
	struct control *c = calloc(1, sizeof(*c));
	enum status st;

	*out = NULL;
	if (!c)
		return error_set(e, ST_NO_MEMORY, "out of memory");
	json_object_seed(0); /* so that later no two threads do it at once */
	c->cfg = *cfg;
	memcpy(c->name, cfg->name, strnlen(cfg->name, CONTROL_NAME_BYTES));
	c->start_ns = control_now_ns();
	pthread_mutex_init(&c->event_lock, NULL);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		c->client[i].fd = -1;
	c->place.fd = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	st = c->wake_fd < 0 ? error_errno(e, ST_IO, "cannot create an eventfd")
			    : control_claim(&c->place, cfg->path, e);
	if (st != ST_OK) {
		control_close(c);
		return st;
	}
	*out = c;
	return ST_OK;
}

enum status control_start(struct control *c, struct vm *vm, struct error *e)
{
	sigset_t block, old;
	int err;

	c->vm = vm;
	/* The process's signals are the I/O thread's, a path's go to its vCPUs. */
	sigfillset(&block);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGABRT);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	err = pthread_create(&c->thread, NULL, control_thread, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	c->started = !err;
	errno = err;
	return err ? error_errno(e, ST_NO_MEMORY, "cannot start the control thread") : ST_OK;
}

void control_stop(struct control *c, const struct control_end *end)
{
	json_t *o = json_object();

	if (!c->started) {
		json_decref(o);
		return;
	}
	json_object_set_new(
		o, "state",
		json_string(control_states[end->crashed ? CONTROL_STATE_CRASHED : CONTROL_STATE_SHUTOFF].word));
	json_object_set_new(o, "outcome", json_string(end->outcome));
	json_object_set_new(o, "status", json_integer(end->status));
	json_object_set_new(o, "text", control_text(end->text));
	control_event(c, CE_ENDED, o);
	atomic_store(&c->stop, true);
	wake(c);
	pthread_join(c->thread, NULL);
	c->started = false;
}

void control_close(struct control *c)
{
	struct control_queued q;

	if (!c)
		return;
	control_release(&c->place);
	while (event_take(c, &q))
		free(q.line);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	free(c);
}
