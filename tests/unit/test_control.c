/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control server around a machine whose guest is a C function: every verb where it is legal and where it is not, guest
 * time, clients that misbehave, many at once.
 */
#include "engine/control/control.h"

#include <errno.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "engine/control/control_client.h"
#include "tests/unit/control_test.h"
#include "tests/unit/fake_machine.h"

#define WAIT_MS 20000 /* when a test is stuck */

static char folder[] = "/tmp/steelyard-control-XXXXXX";

static void socket_path(char *path, const char *name)
{
	snprintf(path, CONTROL_PATH_BYTES, "%s/%s.sock", folder, name);
}

/* ---- a machine with a server ---- */

static enum status count_init(struct vcpu *v, struct error *e)
{
	(void)v;
	(void)e;
	return ST_OK;
}

/* Runs, and says so; until it is asked to leave. */
static void count_guest(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	while (!(atomic_load(&v->request) & REQ_EXIT)) {
		atomic_fetch_add(&f->marks, 1);
		if (atomic_exchange(&v->nmi_pending, false))
			atomic_fetch_add(&f->wakes, 1);
		atomic_fetch_and(&v->request, ~REQ_EVENT);
		sched_yield();
	}
	x->reason = EXIT_KICK;
}

/* In the interpreter's place and under its name, so that it is in the set of paths. */
static const struct exec_ops count_ops = {
	.name = "interp",
	.what = "guest code in C",
	.available = fake_available,
	.vcpu_init = count_init,
	.run = fake_run,
};

struct rig {
	struct vm *vm;
	struct fake fake;
	struct control *control;
	char path[CONTROL_PATH_BYTES];
	pthread_t thread;
	enum vm_outcome outcome;
};

static json_t *no_stats(void *ctx)
{
	(void)ctx;
	return json_pack("{s:i}", "counters", 1);
}

static void *run_thread(void *arg)
{
	struct rig *r = arg;

	r->outcome = vm_run(r->vm);
	return NULL;
}

static void rig_make(struct rig *r, const char *name, unsigned ncpus)
{
	struct vm_config cfg = {.ops = &count_ops,
				.memory_bytes = 32ull << 20,
				.ncpus = ncpus,
				.debug_exit_port = 0xf4,
				.flat = flat_file,
				.flat_addr = 0x7c00};
	struct control_config cc = {.name = name, .path = r->path, .stats = no_stats};
	struct error e = {0};

	*r = (struct rig){.fake = {.guest = count_guest}};
	socket_path(r->path, name);
	if (control_open(&r->control, &cc, &e) != ST_OK) {
		printf("control_open: %s\n", e.msg);
		exit(1);
	}
	cfg.on_reset = control_on_reset;
	cfg.on_switch = control_on_switch;
	cfg.on_reset_ctx = cfg.on_switch_ctx = r->control;
	if (vm_create(&r->vm, &cfg, &e) != ST_OK || control_start(r->control, r->vm, &e) != ST_OK) {
		printf("no machine: %s\n", e.msg);
		exit(1);
	}
	r->vm->path_vm[PATH_INTERP] = &r->fake;
}

static void rig_run(struct rig *r)
{
	pthread_create(&r->thread, NULL, run_thread, r);
}

static void rig_end(struct rig *r, bool crashed)
{
	vm_end(r->vm, VM_STOPPED, 0, NULL);
	pthread_join(r->thread, NULL);
	control_stop(r->control, &(struct control_end){crashed, "stopped", 0, "a text with \xff in it"});
	vm_destroy(r->vm);
	control_close(r->control);
	CHECK(access(r->path, F_OK) != 0);
}

/* One request by the client's own code: the result, or NULL with the exit status in *ex. Checked against the schema. */
static json_t *call(struct control_conn *c, enum control_verb_id verb, json_t *args, enum control_exit *ex)
{
	char text[CONTROL_TEXT_BYTES];
	json_t *ok = NULL;

	*ex = control_call(c, verb, args, WAIT_MS, &ok);
	if (*ex == CONTROL_EXIT_OK) {
		if (control_check(control_verbs[verb].result, ok, text, sizeof(text)) != CONTROL_OK) {
			printf("result of %s: %s\n", control_verbs[verb].name, text);
			CHECK(!"a result as the schema says");
		}
		CHECK(json_is_object(ok));
	} else {
		CHECK(!ok && c->text[0]);
	}
	return ok;
}

static enum control_exit try(struct control_conn *c, enum control_verb_id verb, json_t *args)
{
	enum control_exit ex;

	json_decref(call(c, verb, args, &ex));
	return ex;
}

static bool state_is(struct control_conn *c, enum control_state s)
{
	enum control_exit ex;
	json_t *ok = call(c, CV_STATUS, NULL, &ex);
	bool is = ok && !strcmp(json_string_value(json_object_get(ok, "state")), control_states[s].word);

	json_decref(ok);
	return is;
}

static json_int_t field(struct control_conn *c, const char *name)
{
	enum control_exit ex;
	json_t *ok = call(c, CV_STATUS, NULL, &ex);
	json_int_t n = json_integer_value(json_object_get(ok, name));

	json_decref(ok);
	return n;
}

/* The next event is this one, and as the schema says. */
static bool event_is(struct control_conn *c, enum control_event_id id)
{
	char text[CONTROL_TEXT_BYTES];
	const char *name;
	json_t *ev;
	bool is;

	if (control_next_event(c, WAIT_MS, &ev) != CONTROL_EXIT_OK)
		return false;
	name = json_string_value(json_object_get(ev, "event"));
	is = name && !strcmp(name, control_events[id].name) && json_is_integer(json_object_get(ev, "seq"));
	if (is &&
	    control_check(control_events[id].data, json_object_get(ev, "data"), text, sizeof(text)) != CONTROL_OK) {
		printf("data of %s: %s\n", name, text);
		is = false;
	}
	if (!is)
		printf("event %s instead of %s\n", name ? name : "without a name", control_events[id].name);
	json_decref(ev);
	return is;
}

static void connect_to(struct rig *r, struct control_conn *c)
{
	if (control_conn_open(c, r->path) != CONTROL_EXIT_OK) {
		printf("%s\n", c->text);
		exit(1);
	}
}

/* Every verb where it is legal, and the events that follow. */
static void test_verbs(void)
{
	struct control_conn a, b;
	struct rig r;
	unsigned marks;
	json_int_t guest;

	rig_make(&r, "verbs", 2);
	rig_run(&r);
	connect_to(&r, &a);
	connect_to(&r, &b);
	CHECK(try(&b, CV_SUBSCRIBE, NULL) == CONTROL_EXIT_OK);
	CHECK(state_is(&a, CONTROL_STATE_RUNNING) && field(&a, "vcpus") == 2 && field(&a, "clients") == 2);
	CHECK(try(&a, CV_RESUME, NULL) == CONTROL_EXIT_WRONG_STATE);
	CHECK(try(&a, CV_STATS, NULL) == CONTROL_EXIT_OK);
	/* nothing moves during a pause */
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_OK && event_is(&b, CE_PAUSED));
	CHECK(try(&b, CV_PAUSE, NULL) == CONTROL_EXIT_WRONG_STATE && state_is(&b, CONTROL_STATE_PAUSED));
	marks = atomic_load(&r.fake.marks);
	guest = field(&a, "guest_ns");
	pause_ms(50);
	CHECK(atomic_load(&r.fake.marks) == marks && field(&b, "guest_ns") == guest);
	CHECK(try(&a, CV_STOP, NULL) == CONTROL_EXIT_WRONG_STATE);
	CHECK(try(&b, CV_RESUME, NULL) == CONTROL_EXIT_OK && event_is(&b, CE_RESUMED));
	while (atomic_load(&r.fake.marks) == marks)
		pause_ms(1);
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	/* vCPU 0 runs and takes its NMI; vCPU 1 waits to be started */
	CHECK(try(&a, CV_NMI, NULL) == CONTROL_EXIT_OK && event_is(&b, CE_NMI));
	while (atomic_load(&r.fake.wakes) == 0)
		pause_ms(1);
	CHECK(atomic_load(&r.vm->vcpu[1]->nmi_pending));
	/* no screen without firmware; a keyboard is there */
	CHECK(try(&a, CV_SCREEN, NULL) == CONTROL_EXIT_FAILED);
	CHECK(try(&a, CV_TYPE, json_pack("{s:s}", "text", "ls<enter>")) == CONTROL_EXIT_OK);
	CHECK(try(&a, CV_TYPE, json_pack("{s:s}", "text", "<no>")) == CONTROL_EXIT_USAGE);
	/* the guest has not asked for power-button events */
	CHECK(try(&a, CV_STOP, NULL) == CONTROL_EXIT_WRONG_STATE && state_is(&a, CONTROL_STATE_RUNNING));
	pthread_mutex_lock(&r.vm->dev_lock);
	bus_write(&r.vm->pio, 0x602, 2, 0x100);
	bus_write(&r.vm->pio, 0x604, 2, 1);
	pthread_mutex_unlock(&r.vm->dev_lock);
	CHECK(try(&a, CV_STOP, NULL) == CONTROL_EXIT_OK && event_is(&b, CE_SHUTDOWN));
	CHECK(state_is(&a, CONTROL_STATE_SHUTDOWN));
	CHECK(try(&a, CV_RESET, NULL) == CONTROL_EXIT_OK && event_is(&b, CE_RESET));
	CHECK(state_is(&a, CONTROL_STATE_RUNNING) && field(&a, "resets") == 1);
	/* to the translator, which finds a HLT loop, and back */
	CHECK(try(&a, CV_SWITCH, json_pack("{s:s, s:i}", "path", "bt", "vcpu", 0)) == CONTROL_EXIT_OK);
	CHECK(event_is(&b, CE_SWITCHED));
	CHECK(try(&a, CV_SWITCH, json_pack("{s:s, s:i}", "path", "bt", "vcpu", 2)) == CONTROL_EXIT_USAGE);
	CHECK(try(&a, CV_SWITCH, json_pack("{s:s}", "path", "interp")) == CONTROL_EXIT_OK);
	CHECK(event_is(&b, CE_SWITCHED));
	CHECK(try(&b, CV_UNSUBSCRIBE, NULL) == CONTROL_EXIT_OK);
	CHECK(try(&a, CV_NMI, NULL) == CONTROL_EXIT_OK);
	CHECK(try(&b, CV_SUBSCRIBE, json_pack("{s:[s]}", "events", "ended")) == CONTROL_EXIT_OK);
	CHECK(try(&a, CV_STOP, json_pack("{s:b}", "force", 1)) == CONTROL_EXIT_OK);
	pthread_join(r.thread, NULL);
	CHECK(r.outcome == VM_STOPPED);
	/* it has ended and still answers */
	CHECK(state_is(&a, CONTROL_STATE_SHUTOFF));
	for (unsigned v = 0; v < CV_COUNT; v++)
		if (!(control_verbs[v].states & 1u << CONTROL_STATE_SHUTOFF))
			CHECK(try(&a, (enum control_verb_id)v, good_args(&control_verbs[v])) ==
			      CONTROL_EXIT_WRONG_STATE);
	r.outcome = VM_RUNNING;
	rig_run(&r); /* for rig_end to join: runs to its end at once */
	rig_end(&r, false);
	CHECK(event_is(&b, CE_ENDED));
	CHECK(try(&a, CV_STATUS, NULL) == CONTROL_EXIT_UNREACHABLE);
	control_conn_close(&a);
	control_conn_close(&b);
}

/* Guest TSC and guest time say the same, whatever happened: within a tenth of the pauses below. */
static bool clocks_agree(struct vm *vm)
{
	int64_t off = (int64_t)clock_tsc_offset(&vm->clock) - vm->vcpu[0]->regs.tsc_offset;

	return (uint64_t)(off < 0 ? -off : off) < clock_ns_to_tsc(&vm->clock, 40000000);
}

static void test_time(void)
{
	struct control_conn a;
	struct rig r;

	rig_make(&r, "time", 1);
	connect_to(&r, &a);
	/* paused before it runs: nothing has happened when it goes on */
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_OK);
	rig_run(&r);
	pause_ms(400);
	CHECK(field(&a, "guest_ns") == 0 && atomic_load(&r.fake.marks) == 0);
	CHECK(try(&a, CV_RESUME, NULL) == CONTROL_EXIT_OK);
	while (atomic_load(&r.fake.marks) == 0)
		pause_ms(1);
	CHECK(clocks_agree(r.vm));
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_OK);
	pause_ms(400);
	CHECK(try(&a, CV_RESUME, NULL) == CONTROL_EXIT_OK && clocks_agree(r.vm));
	/* a reset of a paused machine leaves it paused, at the beginning */
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_OK);
	pause_ms(400);
	CHECK(try(&a, CV_RESET, NULL) == CONTROL_EXIT_OK);
	while (field(&a, "resets") == 0 || atomic_load(&r.vm->outcome) != VM_RUNNING)
		pause_ms(1);
	CHECK(state_is(&a, CONTROL_STATE_PAUSED));
	pause_ms(400);
	CHECK(try(&a, CV_RESUME, NULL) == CONTROL_EXIT_OK && clocks_agree(r.vm));
	rig_end(&r, true);
	control_conn_close(&a);
}

/* Takes no kick until it is told to. */
static void deaf_guest(struct vcpu *v, struct exit *x)
{
	struct fake *f = fake_of(v);

	atomic_fetch_add(&f->inside, 1);
	while (!atomic_load(&f->stops))
		pause_ms(1);
	count_guest(v, x);
}

/* A vCPU that does not leave guest code: the pause fails with its name, the guest goes on, the next pause works. */
static void test_stalled(void)
{
	struct control_conn a;
	struct rig r;

	rig_make(&r, "stalled", 1);
	r.fake.guest = deaf_guest;
	r.vm->cfg.stall_ms = 100;
	rig_run(&r);
	connect_to(&r, &a);
	CHECK(try(&a, CV_SUBSCRIBE, NULL) == CONTROL_EXIT_OK);
	while (!atomic_load(&r.fake.inside))
		pause_ms(1);
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_FAILED && strstr(a.text, "vCPU 0 has not left guest code on interp"));
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	control_on_stall(r.control, r.vm, 0, "a vCPU waits");
	CHECK(event_is(&a, CE_STALLED)); /* and none of a pause came before */
	atomic_store(&r.fake.stops, 1);
	CHECK(try(&a, CV_PAUSE, NULL) == CONTROL_EXIT_OK && event_is(&a, CE_PAUSED));
	CHECK(try(&a, CV_RESUME, NULL) == CONTROL_EXIT_OK && event_is(&a, CE_RESUMED));
	rig_end(&r, false);
	control_conn_close(&a);
}

/* ---- clients that misbehave ---- */

static int raw_connect(struct rig *r)
{
	int fd = control_connect_fd(r->path);

	CHECK(fd >= 0);
	return fd;
}

static void raw_send(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t w = send(fd, text, n, MSG_NOSIGNAL);
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		if (w > 0) {
			text += w;
			n -= (size_t)w;
		} else if (errno != EAGAIN || poll(&p, 1, WAIT_MS) != 1) {
			return;
		}
	}
}

/* One line without its newline; NULL at the end. The caller frees. */
static char *raw_line(int fd)
{
	char *line = malloc(1 << 20);
	size_t n = 0;

	while (n < (1 << 20) - 1) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, WAIT_MS) != 1 || recv(fd, line + n, 1, 0) != 1)
			break;
		if (line[n] == '\n') {
			line[n] = 0;
			return line;
		}
		n++;
	}
	free(line);
	return NULL;
}

static bool line_has(int fd, const char *what)
{
	char *line = raw_line(fd);
	bool has = line && strstr(line, what);

	if (!has)
		printf("no \"%s\" in: %.200s\n", what, line ? line : "(end)");
	free(line);
	return has;
}

static void test_hostile(struct rig *r)
{
	static const char good[] = "{\"id\":\"g\",\"do\":\"status\"}\n";
	char junk[CONTROL_LINE_BYTES * 3];
	int fd = raw_connect(r);

	for (unsigned i = 0; i < ARRAY_LEN(bad_lines); i++) {
		if (!bad_lines[i].line[0])
			continue; /* an empty line is nothing at all */
		raw_send(fd, bad_lines[i].line, strlen(bad_lines[i].line));
		raw_send(fd, "\n", 1);
		CHECK(line_has(fd, control_codes[bad_lines[i].code].word));
		raw_send(fd, good, sizeof(good) - 1);
		CHECK(line_has(fd, "{\"id\":\"g\",\"ok\""));
	}
	/* a line without end, in pieces: one error; what follows its newline is heard */
	memset(junk, '[', sizeof(junk));
	raw_send(fd, junk, sizeof(junk));
	CHECK(line_has(fd, "too long"));
	raw_send(fd, junk, sizeof(junk));
	raw_send(fd, "\n", 1);
	raw_send(fd, good, sizeof(good) - 1);
	CHECK(line_has(fd, "\"ok\""));
	/* the longest line there is: padded with blanks */
	memset(junk, ' ', CONTROL_LINE_BYTES);
	memcpy(junk + CONTROL_LINE_BYTES - sizeof(good) + 1, good, sizeof(good) - 1);
	raw_send(fd, junk, CONTROL_LINE_BYTES);
	CHECK(line_has(fd, "\"ok\""));
	/* every byte there is */
	for (unsigned i = 0; i < 256; i++)
		junk[i] = (char)(i == '\n' ? 'x' : i);
	junk[256] = '\n';
	raw_send(fd, junk, 257);
	CHECK(line_has(fd, "bad-request"));
	/* many at once, in one piece and then byte by byte: an answer each, in order */
	for (unsigned i = 0; i < 200; i++)
		raw_send(fd, good, sizeof(good) - 1);
	for (unsigned i = 0; i < 200; i++)
		CHECK(line_has(fd, "\"ok\""));
	for (unsigned i = 0; i < sizeof(good) - 1; i++)
		raw_send(fd, good + i, 1);
	CHECK(line_has(fd, "\"ok\""));
	/* a half line and goodbye: nothing; whole lines before a half-close are answered */
	raw_send(fd, "{\"id\":1", 7);
	close(fd);
	fd = raw_connect(r);
	raw_send(fd, good, sizeof(good) - 1);
	raw_send(fd, "{\"id\":1", 7);
	shutdown(fd, SHUT_WR);
	CHECK(line_has(fd, "\"ok\""));
	CHECK(!raw_line(fd));
	close(fd);
}

static void test_crowd(struct rig *r)
{
	int fd[CONTROL_CLIENTS], more;
	char *line;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		fd[i] = raw_connect(r);
		raw_send(fd[i], "{\"id\":1,\"do\":\"unsubscribe\"}\n", 28);
		CHECK(line_has(fd[i], "\"ok\""));
	}
	more = raw_connect(r);
	CHECK(line_has(more, "busy") && !raw_line(more));
	close(more);
	close(fd[3]);
	do { /* the server may not have seen it yet */
		more = raw_connect(r);
		raw_send(more, "{\"id\":1,\"do\":\"status\"}\n", 23);
		line = raw_line(more);
		if (line && strstr(line, "busy")) {
			free(line);
			line = NULL;
			close(more);
		}
	} while (!line);
	CHECK(strstr(line, "\"ok\""));
	free(line);
	close(more);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (i != 3)
			close(fd[i]);
}

/* One that sends and never reads: it is not read either, and the others are served. One that subscribes and never reads:
 * told, and dropped. */
static void test_slow(struct rig *r)
{
	static const char good[] = "{\"id\":\"g\",\"do\":\"status\"}\n";
	struct control_conn a;
	int deaf = raw_connect(r), slow = raw_connect(r);
	unsigned sent = 0, events = 0, said = 0;
	char *line;

	connect_to(r, &a);
	while (send(deaf, good, sizeof(good) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 && sent < 100000)
		sent++;
	CHECK(sent < 100000);
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	close(deaf);

	raw_send(slow, "{\"id\":1,\"do\":\"subscribe\"}\n", 26);
	CHECK(try(&a, CV_SUBSCRIBE, json_pack("{s:[s]}", "events", "client-dropped")) == CONTROL_EXIT_OK);
	for (unsigned i = 0; i < 200000 && !json_array_size(a.events); i++, events++)
		CHECK(try(&a, CV_NMI, NULL) == CONTROL_EXIT_OK);
	CHECK(event_is(&a, CE_CLIENT_DROPPED));
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	/* what it was sent is whole lines, and the last one says why */
	while ((line = raw_line(slow))) {
		json_t *o = json_loads(line, 0, NULL);

		CHECK(o);
		said += strstr(line, "\"event\":\"dropped\"") != NULL;
		json_decref(o);
		free(line);
	}
	CHECK(said == 1 && events > 0);
	close(slow);
	control_conn_close(&a);
}

/* Descriptors run out in the middle: nobody new for a while, and then again. */
static void test_descriptors(struct rig *r)
{
	struct rlimit old, low;
	struct control_conn a;
	int fd;

	connect_to(r, &a);
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
	close(fd);
	low = old;
	low.rlim_cur = (rlim_t)fd + 1; /* room for the client's end, none for the server's */
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	fd = raw_connect(r);
	raw_send(fd, "{\"id\":1,\"do\":\"status\"}\n", 23);
	pause_ms(250);
	CHECK(state_is(&a, CONTROL_STATE_RUNNING));
	CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
	CHECK(line_has(fd, "\"ok\""));
	close(fd);
	control_conn_close(&a);
}

static void test_clients(void)
{
	struct rig r;

	rig_make(&r, "clients", 1);
	rig_run(&r);
	test_hostile(&r);
	test_crowd(&r);
	test_descriptors(&r);
	test_slow(&r);
	rig_end(&r, false);
}

/* Requests from many threads while the machine resets, pauses and ends: every request has one answer. */
static void *pester(void *arg)
{
	static const enum control_verb_id verbs[] = {CV_STATUS, CV_PAUSE,  CV_STATS, CV_SWITCH,
						     CV_RESUME, CV_SWITCH, CV_RESET, CV_NMI};
	struct rig *r = arg;
	struct control_conn c;

	if (control_conn_open(&c, r->path) != CONTROL_EXIT_OK)
		return NULL;
	for (unsigned i = 0;; i++) {
		enum control_verb_id verb = verbs[i % ARRAY_LEN(verbs)];
		json_t *args = verb == CV_SWITCH ? json_pack("{s:s}", "path", i & 4 ? "interp" : "bt") : NULL, *ok;
		enum control_exit ex = control_call(&c, verb, args, WAIT_MS, &ok);

		json_decref(ok);
		if (ex != CONTROL_EXIT_OK && ex != CONTROL_EXIT_WRONG_STATE) {
			control_conn_close(&c);
			return ex == CONTROL_EXIT_UNREACHABLE ? arg : NULL;
		}
	}
}

static void test_storm(void)
{
	pthread_t t[4];
	struct rig r;
	void *good;

	rig_make(&r, "storm", 2);
	rig_run(&r);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, pester, &r);
	pause_ms(500);
	rig_end(&r, false);
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		pthread_join(t[i], &good);
		CHECK(good);
	}
}

int main(void)
{
	fake_begin();
	if (!mkdtemp(folder)) {
		perror(folder);
		return 1;
	}
	test_verbs();
	test_time();
	test_stalled();
	test_clients();
	test_storm();
	CHECK(rmdir(folder) == 0); /* nothing was left behind */
	return fake_end();
}
