// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eval/child.c: what is made of the output of a process, whatever the load of the host. This program is also the process
 * under observation ("test_eval_child as CASE"): it knows from FIONREAD when its reader has what it wrote.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "eval/quick.h"

static unsigned passed, failed;

static void check(const char *what, bool ok)
{
	if (ok) {
		passed++;
		return;
	}
	failed++;
	printf("FAIL %s\n", what);
}

/* ---- the observed process ---- */

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(9);
}

static void wait_read(void)
{
	int waiting = 1;

	while (!ioctl(1, FIONREAD, &waiting) && waiting)
		usleep(200);
}

static void burn_ms(unsigned ms)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec - begin.tv_nsec < ms * 1000000l);
}

/* What is said has been read, and its clock taken: the reader has come back for more. */
static void say_and_wait(const char *text)
{
	say(text);
	wait_read();
	say("more\n");
	wait_read();
}

static int as_child(const char *name)
{
	static char big[9000];

	if (!strcmp(name, "apart")) {
		say_and_wait("noise @start a 1\r\n");
		burn_ms(3);
		say("@stop a 0123456789abcdef\nRESULT a 0123456789abcdef 5000000 4000000 2000000\n");
	} else if (!strcmp(name, "together")) {
		say("@start a 1\n@stop a 0123456789abcdef\nRESULT a 0123456789abcdef 5000000 4000000 2000000\n");
		burn_ms(3); /* on the other CPU, while the reader looks at the clock */
	} else if (!strcmp(name, "far")) { /* together too, but more than one read() takes */
		memset(big, '.', sizeof(big) - 1);
		memcpy(big, "@start a 1\n", 11);
		memcpy(big + 8000, "\n@stop a 0123456789abcdef\n", 26);
		say(big);
		burn_ms(3);
	} else if (!strcmp(name, "unended")) {
		say("@start a 1\n@stop b 0123456789abcdef\n");
	} else if (!strcmp(name, "complains")) {
		fprintf(stderr, "first\nthe reason\n");
		return 3;
	} else if (!strcmp(name, "dumps")) {
		fprintf(stderr, "first\n%s: the reason\nrax 0000000000000000\n", program_invocation_short_name);
		return 3;
	} else if (!strcmp(name, "boots")) {
		say("noise STEELYARD INIT\n");
		pause();
	} else if (!strcmp(name, "hangs")) {
		pause();
	} else if (!strcmp(name, "dies")) {
		abort();
	}
	return 0;
}

/* ---- the tests ---- */

static char self[4096];

static struct eval_run observe(const char *name, struct child_spec s)
{
	static const char *const workload[] = {"a"};
	char *argv[] = {self, (char *)"as", (char *)name, NULL};
	struct eval_run r = {0};

	s.argv = argv;
	s.timeout_s = s.timeout_s ? s.timeout_s : 60;
	s.workload = workload;
	s.nworkloads = 1;
	s.repeat = s.repeat ? s.repeat : 1;
	child_observe(&s, &r);
	return r;
}

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct eval_run r;

	if (argc == 3 && !strcmp(argv[1], "as"))
		return as_child(argv[2]);
	check("this program's name", n > 0);

	r = observe("apart", (struct child_spec){0});
	check("apart: the run is fine", r.ran && r.ok && r.status == 0);
	check("apart: a result with a time", r.w[0].ok && r.w[0].timed && !strcmp(r.w[0].checksum, "0123456789abcdef"));
	check("apart: the work is inside", r.w[0].cpu_ns >= 3000000 && r.w[0].wall_ns >= 3000000);
	check("apart: the guest's own clock", r.w[0].guest_wall_ns == 5000000);
	check("apart: no boot", r.boot_wall_ns == 0);
	r = observe("apart", (struct child_spec){.native = true, .repeat = 2});
	check("native: children count, and all by the repeats",
	      r.w[0].cpu_ns >= 1500000 + 1000000 && r.w[0].guest_wall_ns == 2500000);

	/* However late a reader is: what it reads at once has no time, and is no failure. */
	r = observe("together", (struct child_spec){.native = true});
	check("together: the run is fine", r.ok && !r.why[0]);
	check("together: a result without a time",
	      r.w[0].ok && !r.w[0].timed && !strcmp(r.w[0].checksum, "0123456789abcdef"));
	check("together: no number that looks like one", r.w[0].cpu_ns == 0 && r.w[0].wall_ns == 0);
	r = observe("far", (struct child_spec){0});
	check("far: a result without a time", r.ok && r.w[0].ok && !r.w[0].timed);

	r = observe("unended", (struct child_spec){0});
	check("unended: failed, and says so", !r.ok && !r.w[0].ok && strstr(r.why, "without the results of 1"));
	r = observe("complains", (struct child_spec){0});
	check("complains: the last line is the reason",
	      !r.ok && r.status == 3 && !strcmp(r.why, "status 3: the reason"));
	r = observe("dumps", (struct child_spec){0});
	check("dumps: the last line with the program's name is the reason",
	      !r.ok && r.status == 3 && !strncmp(r.why, "status 3: ", 10) && strstr(r.why, ": the reason"));
	r = observe("dies", (struct child_spec){0});
	check("dies: the signal", !r.ok && r.status == 128 + 6);
	r = observe("hangs", (struct child_spec){.timeout_s = 1});
	check("hangs: is ended", !r.ok && strstr(r.why, "no end within 1 s, no first line of init"));
	r = observe("boots", (struct child_spec){.boot_only = true});
	check("boots: is ended at the line of init", r.ok && r.boot_wall_ns);
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
