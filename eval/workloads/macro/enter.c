// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The native twin's way into the Debian tree: the same root folder that the guest has, without a machine around it.
 *
 * A user namespace makes root of anybody in his own mounts, processes and network (user_namespaces(7)); who is root already needs none.
 * /sys is the host's, /dev has the few devices that every program expects, /tmp is an empty tmpfs as in the guest, and the network has a
 * loopback device only, so that no port of the host is taken. When the child, process 1 of its namespace, ends, everything that it started
 * ends with it; and it ends when its parent does.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "macro_tool.h"

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool own_namespaces(char *why, size_t n)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (unshare((uid ? CLONE_NEWUSER : 0) | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)) {
		snprintf(why, n, "unshare: %s; this kernel gives no %s namespaces", strerror(errno),
			 uid ? "user" : "mount, network and process");
		return false;
	}
	if (!uid)
		return true;
	put("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)uid);
	if (!put("/proc/self/uid_map", map)) {
		snprintf(why, n, "/proc/self/uid_map: %s", strerror(errno));
		return false;
	}
	snprintf(map, sizeof(map), "0 %u 1", (unsigned)gid);
	if (!put("/proc/self/gid_map", map)) {
		snprintf(why, n, "/proc/self/gid_map: %s", strerror(errno));
		return false;
	}
	return true;
}

/* Returns in the child only. */
static void fork_inside(void)
{
	pid_t pid = fork();
	int status = 1 << 8;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return;
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

bool tree_enter(const char *folder, char *why, size_t n)
{
	static const struct {
		const char *source, *type, *at;
		bool device;
	} mounts[] = {
		{"proc", "proc", "proc", false},           {"/sys", NULL, "sys", false},
		{"tmpfs", "tmpfs", "tmp", false},          {"tmpfs", "tmpfs", "dev", false},
		{"/dev/null", NULL, "dev/null", true},     {"/dev/zero", NULL, "dev/zero", true},
		{"/dev/random", NULL, "dev/random", true}, {"/dev/urandom", NULL, "dev/urandom", true},
	};
	int fd;

	if (chdir(folder)) {
		snprintf(why, n, "%s: %s", folder, strerror(errno));
		return false;
	}
	if (!own_namespaces(why, n))
		return false;
	fork_inside();
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		snprintf(why, n, "mounts of its own: %s", strerror(errno));
		return false;
	}
	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		if (mounts[i].device) {
			fd = open(mounts[i].at, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
			if (fd >= 0)
				close(fd);
		}
		if (mount(mounts[i].source, mounts[i].at, mounts[i].type, mounts[i].type ? 0 : MS_BIND | MS_REC,
			  NULL)) {
			snprintf(why, n, "mount %s: %s", mounts[i].at, strerror(errno));
			return false;
		}
	}
	mkdir("dev/shm", 01777);
	if (chroot(".") || chdir("/")) {
		snprintf(why, n, "chroot: %s", strerror(errno));
		return false;
	}
	return true;
}

bool loopback_up(void)
{
	struct ifreq r = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &r);

	if (ok && !(r.ifr_flags & IFF_UP)) {
		r.ifr_flags |= IFF_UP;
		ok = !ioctl(fd, SIOCSIFFLAGS, &r);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}
