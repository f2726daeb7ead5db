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
 * Before that it loads the drivers that lie in /lib/modules, and from then on it listens to the ACPI power button: when it is
 * pressed, everything is told to end, and the machine powers off.
 *
 * With none of them it gives the shell. It prints "STEELYARD GUEST cpus=N memory_kb=K kernel=R machine=M" once.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* ---- drivers, and the power button ---- */

static void load_modules(void)
{
	FILE *list = fopen("/lib/modules/load", "re");
	char path[160], name[128];

	while (list && fscanf(list, "%127s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/lib/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST)) {
			snprintf(path, sizeof(path), "FAILED module %s: %s\n", name, strerror(errno));
			say(path);
		}
		if (fd >= 0)
			close(fd);
	}
	if (list)
		fclose(list);
}

/* The attribute of this type among n bytes of them; *len: of what is in it. */
static const void *attribute(const void *from, size_t n, unsigned type, size_t *len)
{
	const char *p = from;

	while (n >= NLA_HDRLEN) {
		const struct nlattr *a = (const void *)p;
		size_t step = NLA_ALIGN((size_t)a->nla_len);

		if (a->nla_len < NLA_HDRLEN || a->nla_len > n)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type) {
			*len = a->nla_len - NLA_HDRLEN;
			return p + NLA_HDRLEN;
		}
		if (step >= n)
			return NULL;
		p += step;
		n -= step;
	}
	return NULL;
}

struct message {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	char attr[4096];
};

/* Bytes of attributes in what was received; 0: no such message. */
static size_t attributes(const struct message *m, ssize_t got)
{
	const size_t head = NLMSG_HDRLEN + GENL_HDRLEN;

	if (got < (ssize_t)head || m->nl.nlmsg_len > (size_t)got || m->nl.nlmsg_len < head || m->nl.nlmsg_type == NLMSG_ERROR)
		return 0;
	return m->nl.nlmsg_len - head;
}

/* The kernel's ACPI events come by generic netlink, family "acpi_event", to its one multicast group. -1: they do not. */
static int acpi_events(void)
{
	static const char family[] = "acpi_event";
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	struct message m = {.nl = {.nlmsg_type = GENL_ID_CTRL, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1},
			    .genl = {.cmd = CTRL_CMD_GETFAMILY, .version = 1}};
	struct nlattr *a = (void *)m.attr;
	const char *groups, *one, *id;
	size_t n;
	uint32_t group;

	a->nla_type = CTRL_ATTR_FAMILY_NAME;
	a->nla_len = NLA_HDRLEN + sizeof(family);
	memcpy(m.attr + NLA_HDRLEN, family, sizeof(family));
	m.nl.nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN + NLA_ALIGN(a->nla_len);
	if (fd < 0 || send(fd, &m, m.nl.nlmsg_len, 0) < 0)
		return fd < 0 ? fd : (close(fd), -1);
	n = attributes(&m, recv(fd, &m, sizeof(m), 0));
	if ((groups = attribute(m.attr, n, CTRL_ATTR_MCAST_GROUPS, &n)) && n > NLA_HDRLEN) {
		one = groups + NLA_HDRLEN; /* a list: the first one's attributes */
		n -= NLA_HDRLEN;
		if ((id = attribute(one, n, CTRL_ATTR_MCAST_GRP_ID, &n)) && n == sizeof(group)) {
			memcpy(&group, id, sizeof(group));
			if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0)
				return fd;
		}
	}
	close(fd);
	return -1;
}

static void power_off(void)
{
	say("STEELYARD END\n");
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* A process of its own listens from now on. */
static void watch_button(void)
{
	int fd = acpi_events();
	pid_t pid = fd < 0 ? -1 : fork();

	while (pid == 0) {
		struct message m;
		size_t n = attributes(&m, recv(fd, &m, sizeof(m), 0));
		const char *ev = attribute(m.attr, n, 1 /* ACPI_GENL_ATTR_EVENT: device class and name, as strings */, &n);

		if (!ev || n < 13 || strncmp(ev, "button/power", 13))
			continue;
		say("STEELYARD BUTTON\n");
		kill(-1, SIGTERM); /* all but init and this one */
		kill(-1, SIGCONT);
		usleep(200000);
		kill(-1, SIGKILL);
		power_off();
	}
	if (fd >= 0)
		close(fd);
}

/* ---- what to do ---- */

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
	bool want_shell = false, want_off = false, did = false;
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
	load_modules();
	watch_button();
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
			want_off = true;
		}
	}
	if (want_shell || (!did && !want_off))
		shell();
	power_off();
}
