// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * eval/run/observe.c: what is made of the output of a process, whatever the load of the host. This program is also the process
 * under observation ("test_eval_observe as CASE"): it knows from FIONREAD when its reader has what it wrote.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "eval/run/observe.h"

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

static void mark(const char *text)
{
	if (write(3, text, strlen(text)) < 0)
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
		burn_ms(3);                /* on the other CPU, while the reader looks at the clock */
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
	} else if (!strcmp(name, "exact")) { /* as steelyard run --marks says it */
		mark("{\"mark\":\"@power-on\",\"host_ns\":1,\"cpu_ns\":1,\"vcpu_ns\":0,\"io_ns\":0,\"counters\":{"
		     "\"halts\":0}}\n");
		mark("{\"mark\":\"@init\",\"host_ns\":5,\"cpu_ns\":4,\"vcpu_ns\":3,\"io_ns\":1,\"counters\":{\"halts\":"
		     "2}}\n");
		say("STEELYARD INIT\n");
		mark("{\"mark\":\"@start a "
		     "1\",\"host_ns\":1000,\"cpu_ns\":500,\"vcpu_ns\":400,\"io_ns\":50,\"counters\":{\"halts\":3}}\n");
		mark("{\"mark\":\"@stop a "
		     "0123456789abcdef\",\"host_ns\":9000,\"cpu_ns\":5500,\"vcpu_ns\":5100,\"io_ns\":150,"
		     "\"counters\":{\"halts\":10},\"exits\":{\"io\":{\"count\":7,\"ns\":70}}}\n");
	} else if (!strcmp(name, "port")) { /* as QEMU's debug console hands bytes on */
		mark("@init\n@start a 1\n");
		usleep(20000);
		mark("\n");
		usleep(20000);
		burn_ms(30);
		mark("@stop a 0123456789abcdef\n");
	} else if (!strcmp(name, "garbage")) {
		mark("{\"mark\":\n{}\n{\"mark\":7}\n@start\n@stop a\n@start nobody 1\n\n\n@stop a 0123456789abcdef\n");
		say("RESULT\nRESULT a\nFAILED\nSTEELYARD INIT\n");
	} else if (!strcmp(name, "twice")) {
		say("STEELYARD INIT\n");
		say_and_wait("@start a 1\n");
		burn_ms(2);
		say_and_wait("@stop a 0123456789abcdef\n@start a 1\n");
		kill(getpid(), SIGKILL); /* a sanitizer has its own idea of the other ones */
	} else if (!strcmp(name, "fails")) {
		say("STEELYARD INIT\nFAILED a\n");
	} else if (!strcmp(name, "leaves")) { /* somebody behind who would keep the pipe open */
		if (!fork())
			for (;;)
				pause();
		say("STEELYARD INIT\n@start a 1\n@stop a 0123456789abcdef\n");
	} else if (!strcmp(name, "closes")) { /* its streams end, it does not */
		close(1);
		close(2);
		pause();
	}
	return 0;
}

/* ---- the tests ---- */

static char self[4096];
static struct observed_run runs[2];

static struct observe observed(const char *name, struct observe o)
{
	char *argv[] = {self, (char *)"as", (char *)name, NULL};

	runs[0] = (struct observed_run){.workload = "a", .limit_s = o.boot_limit_s ? o.boot_limit_s : 60};
	runs[1] = (struct observed_run){.workload = "a", .iteration = 1, .limit_s = runs[0].limit_s};
	o.argv = argv;
	o.boot_limit_s = o.boot_limit_s ? o.boot_limit_s : 60;
	o.repeat = o.repeat ? o.repeat : 1;
	o.nruns = o.nruns ? o.nruns : 1;
	o.run = runs;
	if (!o.stop_fd)
		o.stop_fd = -1;
	observe(&o);
	return o;
}

static void test_native(void)
{
	struct observe o = observed("apart", (struct observe){.native = true});

	check("apart: the run is fine", !o.why[0] && o.status == 0 && !o.stopped && o.culprit < 0);
	check("apart: a result with a time",
	      runs[0].ok && runs[0].timed && !strcmp(runs[0].checksum, "0123456789abcdef"));
	check("apart: the program's own clocks, and its children's",
	      runs[0].cpu_ns == 6000000 && runs[0].wall_ns == 5000000);
	check("apart: the guest's own clock", runs[0].guest_wall_ns == 5000000);
	check("apart: no boot, no threads", !o.booted && !runs[0].has_threads);
	observed("apart", (struct observe){.native = true, .repeat = 2});
	check("native: all by the repeats", runs[0].cpu_ns == 3000000 && runs[0].wall_ns == 2500000);

	observed("together", (struct observe){.native = true});
	check("together: natively that is no matter", runs[0].timed && runs[0].cpu_ns == 6000000);

	/* However late a reader is: what it reads at once from a guest without a port has no time, and is no failure. */
	o = observed("apart", (struct observe){0});
	check("apart: the work is inside", runs[0].timed && runs[0].cpu_ns >= 3000000 && runs[0].wall_ns >= 3000000 &&
						   runs[0].guest_wall_ns == 5000000);
	observed("together", (struct observe){0});
	check("together: a result without a time", runs[0].ok && !runs[0].timed);
	check("together: no number that looks like one", runs[0].cpu_ns == 0 && runs[0].wall_ns == 0);
	observed("far", (struct observe){0});
	check("far: a result without a time", runs[0].ok && !runs[0].timed);
	o = observed("unended", (struct observe){.native = true});
	check("unended: failed, and says which", o.why[0] && !runs[0].ok && o.culprit == 0 && runs[0].why[0]);
	o = observed("complains", (struct observe){.native = true});
	check("complains: the last line is the reason", !strcmp(o.why, "status 3: the reason"));
	o = observed("dumps", (struct observe){.native = true});
	check("dumps: the last line with the program's name is the reason",
	      !strncmp(o.why, "status 3: ", 10) && strstr(o.why, ": the reason"));
	o = observed("dies", (struct observe){.native = true});
	check("dies: the signal", o.status == 128 + 6 && o.why[0]);
}

static void test_machines(void)
{
	struct observe o = observed("exact", (struct observe){0});

	check("exact: the boot and its parts",
	      o.booted && o.boot_cpu_ns == 4 && o.init.exact && o.kernel_ns == 4 && o.init_ns == 995);
	check("exact: the clocks of the machine", runs[0].timed && runs[0].wall_ns == 8000 && runs[0].cpu_ns == 5000 &&
							  runs[0].has_threads && runs[0].vcpu_ns == 4700 &&
							  runs[0].io_ns == 100 && runs[0].other_ns == 200);
	check("exact: counters are what was added",
	      json_integer_value(json_object_get(runs[0].counters, "halts")) == 7);
	check("exact: so are the exits",
	      json_integer_value(json_object_get(json_object_get(runs[0].exits, "io"), "count")) == 7);
	observe_free(&o);
	o = observed("port", (struct observe){0});
	check("port: an empty line is the moment of the stop",
	      o.booted && runs[0].timed && runs[0].wall_ns > 15000000 && runs[0].cpu_ns < 20000000);
	observe_free(&o);
	o = observed("garbage", (struct observe){0});
	check("garbage: is no result", o.booted && !runs[0].ok && !runs[0].begun && o.culprit < 0);
	observe_free(&o);
	o = observed("twice", (struct observe){.nruns = 2});
	check("twice: the first has a result", runs[0].ok && runs[0].timed);
	check("twice: the second is to blame for the end",
	      o.culprit == 1 && !runs[1].ok && strstr(runs[1].why, "status 137") && o.status == 137);
	observe_free(&o);
	o = observed("fails", (struct observe){0});
	check("fails: the guest's word", o.booted && !runs[0].ok && strstr(runs[0].why, "failed in the guest"));
	observe_free(&o);
	o = observed("boots", (struct observe){.boot_only = true});
	check("boots: is ended at the line of init", o.booted && o.boot_wall_ns && !o.why[0]);
	observe_free(&o);
	o = observed("leaves", (struct observe){.boot_limit_s = 2});
	check("leaves: nobody is left behind and nothing waits for ever", o.booted && runs[0].ok);
	observe_free(&o);
}

static void test_limits(void)
{
	int fd[2];
	struct observe o = observed("hangs", (struct observe){.boot_limit_s = 1});

	check("hangs: is ended", strstr(o.why, "no first line of init within 1 s") && o.status == 128 + 9);
	o = observed("closes", (struct observe){.boot_limit_s = 1});
	check("closes: is ended too", o.why[0] && o.status == 128 + 9);
	check("a pipe", !pipe(fd) && write(fd[1], "x", 1) == 1);
	o = observed("hangs", (struct observe){.stop_fd = fd[0]});
	check("stop: at once, and no failure", o.stopped && !o.why[0] && o.status == 128 + 9);
}

static void test_output(void)
{
	char *echo[] = {(char *)"echo", (char *)"0123456789", NULL}, *no[] = {(char *)"/nonexistent", NULL};
	char out[8];

	check("output: what fits", observe_output(echo, out, sizeof(out)) && !strcmp(out, "0123456"));
	check("output: a program that is not there", !observe_output(no, out, sizeof(out)) && !out[0]);
}

int main(int argc, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (argc == 3 && !strcmp(argv[1], "as"))
		return as_child(argv[2]);
	check("this program's name", n > 0);
	test_native();
	test_machines();
	test_limits();
	test_output();
	printf("%u passed, %u failed\n", passed, failed);
	return failed > 0;
}
