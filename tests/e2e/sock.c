// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sock PATH say             sends what is on stdin to a Unix socket, prints what comes back until it is closed
 * sock PATH deaf SECONDS    sends stdin, reads nothing for so long, then prints what there is
 *
 * Status 0 when the peer closed, 1 when it could not be reached, 3 when nothing came for twenty seconds.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define QUIET_MS 20000

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

/* Moves what is there; false when the peer has closed. */
static int print_some(int fd)
{
	char buf[65536];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0 && fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
		exit(1);
	fflush(stdout);
	return n > 0 || (n < 0 && errno == EAGAIN);
}

/* Sends what stdin gave; reads replies meanwhile, since a peer may wait with ours until they are taken. */
static void send_all(int fd, const char *buf, size_t n, int deaf)
{
	while (n) {
		struct pollfd p = {.fd = fd, .events = (short)(POLLOUT | (deaf ? 0 : POLLIN))};
		ssize_t w;

		if (poll(&p, 1, QUIET_MS) != 1)
			exit(3);
		if ((p.revents & POLLIN) && !print_some(fd))
			return;
		w = send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w > 0) {
			buf += w;
			n -= (size_t)w;
		} else if (w < 0 && errno != EAGAIN) {
			return;
		}
	}
}

int main(int argc, char **argv)
{
	int deaf = argc == 4 && !strcmp(argv[2], "deaf"), fd;
	char buf[65536];
	size_t n;

	if (!deaf && !(argc == 3 && !strcmp(argv[2], "say"))) {
		fprintf(stderr, "usage: sock PATH say|deaf SECONDS\n");
		return 2;
	}
	fd = connect_to(argv[1]);
	while ((n = fread(buf, 1, sizeof(buf), stdin)) > 0)
		send_all(fd, buf, n, deaf);
	if (deaf)
		sleep((unsigned)atoi(argv[3]));
	else
		shutdown(fd, SHUT_WR);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, deaf ? 1000 : QUIET_MS) != 1)
			return deaf ? 0 : 3;
		if (!print_some(fd))
			return 0;
	}
}
