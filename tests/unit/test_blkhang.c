/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk on a network server that takes a request and never answers, with its connection open: who waits for the request's end
 * gets one. The server is qemu-nbd, which is stopped.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/block/block.h"
#include "engine/mem.h"
#include "tests/unit/check.h"

#define IMAGE_BYTES (1 << 20)

struct done {
	struct blk_request r;
	bool done;
	int err;
};

static void on_done(struct blk_request *r, int err)
{
	((struct done *)r)->done = true;
	((struct done *)r)->err = err;
}

static bool run(void *ctx, const struct pollfd *p, unsigned n)
{
	(void)ctx, (void)p, (void)n;
	return false;
}

static pid_t serve(const char *image, const char *sock)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("qemu-nbd", "qemu-nbd", "-t", "-f", "raw", "-k", sock, image, (char *)NULL);
		_exit(127);
	}
	for (unsigned i = 0; i < 500 && access(sock, F_OK) != 0; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -1;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return pid;
}

static void test_silence(const char *dir)
{
	static const struct worker_ops ops = {.run = run};
	char image[64], sock[64], address[80];
	struct mem mem;
	struct blk_config cfg = {.file = address, .ram = &mem};
	struct blk_image *img = NULL;
	struct blk_queue *q = NULL;
	struct worker *w;
	struct iovec iov;
	struct done d = {.r = {.op = BLK_READ, .bytes = 4096, .iov = &iov, .niov = 1, .done = on_done}};
	struct error e = {0};
	pid_t server;
	int fd;

	snprintf(image, sizeof(image), "%s/image", dir);
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(address, sizeof(address), "nbd:unix:%s", sock);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && ftruncate(fd, IMAGE_BYTES) == 0 && close(fd) == 0);
	server = serve(image, sock);
	if (server < 0 || mem_init(&mem, MEM_MIN_BYTES, &e) != ST_OK) {
		printf("SKIP no server: qemu-nbd (Debian package qemu-utils) does not start\n");
		unlink(image);
		return;
	}
	if (blk_image_open(&cfg, &img, &e) != ST_OK && e.status == ST_UNSUPPORTED) {
		printf("SKIP no storage daemon: %s\n", e.msg);
	} else {
		CHECK(img && blk_image_bytes(img) == IMAGE_BYTES);
		w = worker_new("test", &ops, NULL, &e);
		CHECK(w && blk_queue_new(img, w, 8, &q, &e) == ST_OK);
		iov = (struct iovec){mem.ram_hva, 4096};
		blk_submit(q, &d.r);
		blk_push(q);
		while (blk_reap(q, true))
			;
		CHECK(d.done && d.err == 0);
		kill(server, SIGSTOP);
		d.done = false;
		d.r.offset = IMAGE_BYTES / 2;
		blk_submit(q, &d.r);
		blk_push(q);
		while (blk_reap(q, true))
			;
		CHECK(d.done && d.err == EIO);
		worker_free(w);
		blk_queue_free(q);
		blk_image_close(img);
	}
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	mem_fini(&mem);
	unlink(image);
	unlink(sock);
}

int main(void)
{
	char dir[] = "/tmp/steelyard-test.XXXXXX";

	if (!mkdtemp(dir))
		abort();
	test_silence(dir);
	CHECK(rmdir(dir) == 0);
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
