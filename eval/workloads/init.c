// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's first process.
 *
 * Its first act is the line "@init" on port 0xe9 and "STEELYARD INIT" on the console: the end of the boot phase for whoever measures.
 * Then it mounts what a userland needs and does what the kernel command line says:
 *
 *   steelyard.run=NAME[:SCALE[xN]],...   runs these workloads, each N times (workloads --port NAME SCALE; those of the macro suite
 *                                    macro --port NAME SCALE, which only the Debian tree has)
 *   steelyard.exec=COMMAND           runs a command in busybox's shell; "+" stands for a space
 *   steelyard.shell                  an interactive shell on the console; the machine powers off when it ends
 *   steelyard.poweroff               powers off when all is done
 *
 * With none of them it gives the shell. It prints "STEELYARD GUEST cpus=N memory_kb=K kernel=R machine=M" once.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "port.h"

static void say(const char *s)
{
	ssize_t n = write(STDOUT_FILENO, s, strlen(s));

	(void)n;
}

static void mount_all(void)
{
	static const struct {
		const char *type, *at;
	} fs[] = {{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/dev/shm"}};

	for (size_t i = 0; i < sizeof(fs) / sizeof(fs[0]); i++) {
		mkdir(fs[i].at, 0755);
		mount(fs[i].type, fs[i].at, fs[i].type, 0, NULL);
	}
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", 0, NULL);
}

static void describe(void)
{
	struct utsname u;
	struct sysinfo s;
	char line[256];

	uname(&u);
	sysinfo(&s);
	snprintf(line, sizeof(line), "STEELYARD GUEST cpus=%ld memory_kb=%llu kernel=%s machine=%s\n",
		 sysconf(_SC_NPROCESSORS_ONLN), (unsigned long long)s.totalram * s.mem_unit / 1024, u.release,
		 u.machine);
	say(line);
}

static int run(char *const argv[])
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		execv(argv[0], argv);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* The program that knows the workload. */
static const char *program_of(const char *name)
{
	static const char *const macro[] = {
#define MW(name, group, packages, amount, least, input, bytes, command, what) #name,
#include "macro.def"
	};

	for (size_t i = 0; i < sizeof(macro) / sizeof(macro[0]); i++)
		if (!strcmp(macro[i], name))
			return "/bin/macro";
	return "/bin/workloads";
}

static void run_workloads(char *list)
{
	char *save = NULL;

	for (char *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *scale = strchr(item, ':'), *times = scale ? strchr(scale, 'x') : NULL;
		unsigned long n = times ? strtoul(times + 1, NULL, 10) : 1;

		if (scale)
			*scale++ = 0;
		if (times)
			*times = 0;
		for (; n; n--) {
			if (!run((char *[]){(char *)program_of(item), "--port", item, scale ? scale : "100", NULL}))
				continue;
			say("FAILED ");
			say(item);
			say("\n");
		}
	}
}

/* The device behind /dev/console, which itself cannot be a controlling terminal. */
static void console_device(char *path, size_t n)
{
	char names[128] = "";
	int fd = open("/sys/class/tty/console/active", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, names, sizeof(names) - 1);
	char *last;

	if (fd >= 0)
		close(fd);
	names[got > 0 ? got : 0] = 0;
	names[strcspn(names, "\n")] = 0;
	last = strrchr(names, ' '); /* the kernel lists the preferred one last */
	snprintf(path, n, "/dev/%s", names[0] ? (last ? last + 1 : names) : "ttyS0");
}

static void shell(void)
{
	char dev[160];
	pid_t pid;

	console_device(dev, sizeof(dev));
	run((char *[]){"/bin/busybox", "--install", "-s", "/bin", NULL});
	pid = fork();
	if (!pid) {
		int fd;

		setsid();
		fd = open(dev, O_RDWR);
		if (fd < 0)
			fd = open("/dev/console", O_RDWR);
		ioctl(fd, TIOCSCTTY, 1);
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		if (fd > 2)
			close(fd);
		chdir("/root");
		say("\nA shell of busybox. \"exit\" powers the machine off; \"workloads\" lists what can be run.\n");
		execl("/bin/busybox", "sh", "-i", (char *)NULL);
		_exit(127);
	}
	for (;;) { /* whose parents are gone end up here too */
		pid_t p = wait(NULL);

		if (p == pid || (p < 0 && errno != EINTR))
			break;
	}
}

int main(void)
{
	char cmdline[4096] = "", *save = NULL;
	bool want_shell = false, power_off = false, did = false;
	int fd;

	if (port_open())
		port_say("@init\n");
	say("STEELYARD INIT\n");
	mount_all();
	mkdir("/root", 0700);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "vt100", 1);
	setenv("PS1", "\\w # ", 1);
	setenv("ENV", "", 1);
	klogctl(8, NULL, 1); /* the kernel's own lines must not fall into the middle of ours */
	describe();
	fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		ssize_t n = read(fd, cmdline, sizeof(cmdline) - 1);

		cmdline[n > 0 ? n : 0] = 0;
		close(fd);
	}
	for (char *w = strtok_r(cmdline, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		if (!strncmp(w, "steelyard.run=", 14)) {
			run_workloads(w + 14);
			did = true;
		} else if (!strncmp(w, "steelyard.exec=", 15)) {
			for (char *p = w + 15; (p = strchr(p, '+'));)
				*p = ' ';
			run((char *[]){"/bin/busybox", "sh", "-c", w + 15, NULL});
			did = true;
		} else if (!strcmp(w, "steelyard.shell")) {
			want_shell = true;
		} else if (!strcmp(w, "steelyard.poweroff")) {
			power_off = true;
		}
	}
	if (want_shell || (!did && !power_off))
		shell();
	say("STEELYARD END\n");
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
