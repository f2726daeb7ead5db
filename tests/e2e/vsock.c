/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of the socket test. In the guest, linked statically by the test:
 *	vsock listen PORT N		N connections, one after the other, each sent back as it came
 *	vsock send PORT BYTES		connects to a port of the host, sends so many bytes and reads them back while it does
 * On the host:
 *	vsock serve PATH N		listen, at a Unix socket
 *	vsock ask PATH PORT BYTES	send, to a port of the guest
 */
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int failed(const char *what)
{
	perror(what);
	return 1;
}

static int echo(int fd)
{
	char buf[32768];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0, part; done < n; done += part)
			if ((part = write(fd, buf + done, (size_t)(n - done))) <= 0)
				return failed("write");
	close(fd);
	return n < 0 ? failed("read") : 0;
}

/* An address of either kind. */
union address {
	struct sockaddr any;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

static union address guest_port(const char *port, unsigned cid)
{
	return (union address){.vm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = (unsigned)atoi(port)}};
}

static union address host_path(const char *path)
{
	union address a = {.un = {.sun_family = AF_UNIX}};

	snprintf(a.un.sun_path, sizeof(a.un.sun_path), "%s", path);
	return a;
}

static socklen_t bytes_of(const union address *a)
{
	return a->any.sa_family == AF_UNIX ? sizeof(a->un) : sizeof(a->vm);
}

static int listen_at(union address a, unsigned n)
{
	int fd = socket(a.any.sa_family, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, &a.any, bytes_of(&a)) != 0 || listen(fd, 8) != 0)
		return failed("listen");
	printf("VSOCK listens\n");
	fflush(stdout);
	while (n--) {
		int c = accept(fd, NULL, NULL);

		if (c < 0 || echo(c))
			return failed("accept");
	}
	return 0;
}

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

/* "CONNECT PORT", and the answer */
static int say_hello(int fd, const char *port)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "CONNECT %s\n", port);

	if (write(fd, line, (size_t)n) != n)
		return failed("write");
	for (n = 0; n < (int)sizeof(line) - 1 && (n == 0 || line[n - 1] != '\n'); n++)
		if (read(fd, line + n, 1) != 1)
			return failed("the guest does not answer");
	return strncmp(line, "OK ", 3) != 0;
}

static int send_to(union address a, const char *port, size_t bytes)
{
	int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t sent = 0, got = 0;

	if (fd < 0 || connect(fd, &a.any, bytes_of(&a)) != 0)
		return failed("connect");
	if (port && say_hello(fd, port))
		return 1;
	while (got < bytes) {
		struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (sent < bytes ? POLLOUT : 0))};
		unsigned char buf[16384];
		ssize_t n;

		poll(&p, 1, -1);
		if (p.revents & POLLOUT) {
			size_t part = bytes - sent < sizeof(buf) ? bytes - sent : sizeof(buf);

			for (size_t i = 0; i < part; i++)
				buf[i] = byte_at(sent + i);
			n = send(fd, buf, part, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			if (sent == bytes)
				shutdown(fd, SHUT_WR);
		}
		if (!(p.revents & (POLLIN | POLLHUP)))
			continue;
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++, got++)
			if (buf[i] != byte_at(got)) {
				printf("VSOCK byte %zu is wrong\n", got);
				return 1;
			}
	}
	printf("VSOCK %zu of %zu bytes came back\n", got, bytes);
	return got != bytes;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "listen"))
		return listen_at(guest_port(argv[2], VMADDR_CID_ANY), (unsigned)atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "serve"))
		return listen_at(host_path(argv[2]), (unsigned)atoi(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "send"))
		return send_to(guest_port(argv[2], VMADDR_CID_HOST), NULL, (size_t)atol(argv[3]));
	if (argc == 5 && !strcmp(argv[1], "ask"))
		return send_to(host_path(argv[2]), argv[3], (size_t)atol(argv[4]));
	fprintf(stderr, "usage: vsock listen PORT N | send PORT BYTES | serve PATH N | ask PATH PORT BYTES\n");
	return 2;
}
