/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Device options: a list of words at commas, a word is KEY=VALUE or a flag; two commas are one in a value. Each option has
 * a table of the words that it knows.
 */
#include "engine/main/run_devices.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "engine/main/verbs.h"

#define WORDS_MAX 16u

struct word {
	char *key, *value; /* value NULL: a flag */
};

/* Splits an owned copy of arg; returns the number of words, or 0 with *bad set. */
static unsigned split(struct run_devices *d, const char *arg, struct word *w)
{
	char *copy = strdup(arg), *from, *to;
	unsigned n = 0;
	bool more = true;

	if (!copy || d->ntexts == RUN_DEVICES_TEXTS) {
		free(copy);
		return 0;
	}
	d->text[d->ntexts++] = copy;
	for (from = to = copy; more && n < WORDS_MAX;) {
		w[n] = (struct word){.key = to};
		for (; *from && (*from != ',' || from[1] == ','); from++) {
			if (*from == ',')
				from++;
			if (*from == '=' && !w[n].value) {
				*to++ = 0;
				w[n].value = to;
			} else {
				*to++ = *from;
			}
		}
		more = *from == ',';
		from++;
		*to++ = 0;
		n++;
	}
	return more ? 0 : n;
}

static int need_value(const char *option, const struct word *w, bool want)
{
	if (!!w->value == want && (!want || w->value[0]))
		return EXIT_OK;
	return want ? verb_usage("%s: %s needs a value, as in %s=...", option, w->key, w->key)
		    : verb_usage("%s: %s takes no value", option, w->key);
}

static bool small_number(const char *s, unsigned min, unsigned max, unsigned *out)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	*out = (unsigned)n;
	return *s >= '0' && *s <= '9' && !*end && n >= min && n <= max;
}

static int next_device(struct run_devices *d, const char *option, const char *arg, struct word *w, unsigned *n,
		       struct device_config **out)
{
	if (d->n == DEVICES_MAX)
		return verb_usage("%s %s: %u devices are the most", option, arg, DEVICES_MAX);
	*n = split(d, arg, w);
	if (!*n)
		return verb_usage("%s %s: at most %u words between commas", option, arg, WORDS_MAX);
	*out = &d->list[d->n++];
	return EXIT_OK;
}

/* transitional=on or off, of any virtio device. true: it was that word, and *st says whether it was right. */
static bool transitional(const char *option, struct device_config *c, const struct word *w, int *st)
{
	if (strcmp(w->key, "transitional"))
		return false;
	*st = need_value(option, w, true);
	if (*st != EXIT_OK)
		return true;
	c->transitional = !strcmp(w->value, "on");
	if (!c->transitional && strcmp(w->value, "off"))
		*st = verb_usage("%s: transitional=%s: give on or off", option, w->value);
	return true;
}

/* ---- --disk ---- */

static int disk_cache(struct device_disk *k, const char *v)
{
	for (unsigned i = 0; i < BLK_CACHES; i++)
		if (!strcmp(v, blk_cache_row((enum blk_cache)i)->name)) {
			k->image.cache = (enum blk_cache)i;
			return EXIT_OK;
		}
	return verb_usage("--disk: cache=%s: give writeback, none, writethrough, directsync or unsafe", v);
}

static int disk_format(struct device_disk *k, const char *v)
{
	for (unsigned i = 0; i < BLK_FORMATS; i++)
		if (!strcmp(v, blk_format_name((enum blk_format)i))) {
			k->image.format = (enum blk_format)i;
			k->image.format_given = true;
			return EXIT_OK;
		}
	return verb_usage("--disk: format=%s: give raw, qcow2, vdi, vhdx or vmdk", v);
}

/* An address may stand where file= would; its own words may have a =. */
static bool disk_address(struct device_disk *k, const struct word *w)
{
	if (!blk_is_address(w->key))
		return false;
	if (w->value)
		w->value[-1] = '='; /* split put a 0 there */
	k->image.file = w->key;
	return true;
}

static int disk_bus(struct device_disk *k, const char *v)
{
	static const char *const name[] = {[DISK_VIRTIO] = "virtio", [DISK_NVME] = "nvme"};

	for (unsigned i = 0; i < ARRAY_LEN(name); i++)
		if (!strcmp(v, name[i])) {
			k->bus = (enum disk_bus)i;
			return EXIT_OK;
		}
	return verb_usage("--disk: if=%s: give virtio or nvme", v);
}

static int disk_word(struct device_disk *k, const struct word *w)
{
	bool flag = !strcmp(w->key, "readonly") || !strcmp(w->key, "snapshot");
	int st = EXIT_OK;

	if (disk_address(k, w))
		return EXIT_OK;
	st = need_value("--disk", w, !flag);
	if (st != EXIT_OK)
		return st;
	if (!strcmp(w->key, "file"))
		k->image.file = w->value;
	else if (!strcmp(w->key, "readonly"))
		k->image.readonly = true;
	else if (!strcmp(w->key, "snapshot"))
		k->image.snapshot = true;
	else if (!strcmp(w->key, "cache"))
		return disk_cache(k, w->value);
	else if (!strcmp(w->key, "serial"))
		k->serial = w->value;
	else if (!strcmp(w->key, "queues"))
		return small_number(w->value, 1, 8, &k->queues)
			       ? EXIT_OK
			       : verb_usage("--disk: queues=%s: give 1 to 8", w->value);
	else if (!strcmp(w->key, "format"))
		return disk_format(k, w->value);
	else if (!strcmp(w->key, "if"))
		return disk_bus(k, w->value);
	else if (!strcmp(w->key, "aio"))
		k->image.threads = !strcmp(w->value, "threads");
	else
		return verb_usage(
			"--disk: what is %s? Known: file, format, serial, readonly, snapshot, cache, queues, if, aio, "
			"transitional",
			w->key);
	return EXIT_OK;
}

int run_disk_option(struct run_devices *d, const char *arg)
{
	struct word w[WORDS_MAX];
	struct device_config *c = NULL;
	unsigned n;
	int st = next_device(d, "--disk", arg, w, &n, &c);

	if (st != EXIT_OK)
		return st;
	*c = (struct device_config){.kind = DEVICE_DISK};
	for (unsigned i = 0; i < n && st == EXIT_OK; i++)
		if (!transitional("--disk", c, &w[i], &st))
			st = disk_word(&c->disk, &w[i]);
	if (st == EXIT_OK && c->transitional && c->disk.bus != DISK_VIRTIO)
		st = verb_usage("--disk %s: transitional=on is for if=virtio", arg);
	if (st == EXIT_OK && !c->disk.image.file)
		st = verb_usage("--disk %s: which image? Give file=F, nbd:HOST:PORT or iscsi://HOST/TARGET/LUN", arg);
	if (st == EXIT_OK && c->disk.serial && strlen(c->disk.serial) > 20)
		st = verb_usage("--disk: serial=%s: at most 20 characters", c->disk.serial);
	return st;
}

int run_cdrom_option(struct run_devices *d, const char *arg)
{
	char *copy = strdup(arg);

	if (!copy || d->ntexts == RUN_DEVICES_TEXTS || d->n == DEVICES_MAX) {
		free(copy);
		return verb_usage("--cdrom %s: %u devices are the most", arg, DEVICES_MAX);
	}
	d->text[d->ntexts++] = copy;
	d->list[d->n++] = (struct device_config){.kind = DEVICE_CDROM, .disk.image = {.file = copy, .readonly = true}};
	return EXIT_OK;
}

/* ---- --net ---- */

static bool parse_mac(const char *s, uint8_t mac[6])
{
	for (unsigned i = 0; i < 6; i++) {
		char *end;
		unsigned long b = strtoul(s, &end, 16);

		if (end == s || end > s + 2 || *end != (i < 5 ? ':' : 0) || b > 0xff)
			return false;
		mac[i] = (uint8_t)b;
		s = end + 1;
	}
	return !(mac[0] & 1); /* no group address */
}

/* ADDRESS:PORT or :PORT, up to end. */
static bool parse_end(char *s, struct in_addr *addr, uint16_t *port)
{
	char *colon = strrchr(s, ':');
	unsigned n;

	if (!colon || !small_number(colon + 1, 1, 65535, &n))
		return false;
	*colon = 0;
	*port = (uint16_t)n;
	addr->s_addr = 0;
	return !*s || inet_pton(AF_INET, s, addr) == 1;
}

/* tcp:HOST:PORT-GUEST:PORT */
static bool parse_forward(char *s, struct net_forward *f)
{
	char *dash = strchr(s, '-');

	f->udp = !strncmp(s, "udp:", 4);
	if (!dash || (!f->udp && strncmp(s, "tcp:", 4)))
		return false;
	*dash = 0;
	return parse_end(s + 4, &f->host, &f->host_port) && parse_end(dash + 1, &f->guest, &f->guest_port);
}

static int net_forward(struct net_config *c, const struct word *w)
{
	if (c->kind != NET_USER)
		return verb_usage("--net: hostfwd belongs to user");
	if (c->nforwards == NET_FORWARDS)
		return verb_usage("--net: at most %u of hostfwd", NET_FORWARDS);
	if (!parse_forward(w->value, &c->forward[c->nforwards]))
		return verb_usage(
			"--net: hostfwd is like tcp:127.0.0.1:8080-:80 (protocol, the host's end, the guest's end)");
	c->nforwards++;
	return EXIT_OK;
}

static int net_word(struct net_config *c, const struct word *w)
{
	int st = need_value("--net", w, true);

	if (st != EXIT_OK)
		return st;
	if (!strcmp(w->key, "hostfwd"))
		return net_forward(c, w);
	if (!strcmp(w->key, "pcap"))
		c->pcap = w->value;
	else if (!strcmp(w->key, "mac"))
		return (c->mac_given = parse_mac(w->value, c->mac))
			       ? EXIT_OK
			       : verb_usage("--net: mac=%s: give one like 52:54:00:12:34:56", w->value);
	else if (!strcmp(w->key, "queues"))
		return small_number(w->value, 1, NET_QUEUES_MAX, &c->queues)
			       ? EXIT_OK
			       : verb_usage("--net: queues=%s: give 1 to %u", w->value, NET_QUEUES_MAX);
	else if (!strcmp(w->key, "ifname") && c->kind == NET_TAP)
		c->ifname = w->value;
	else if (!strcmp(w->key, "path") && c->kind == NET_SOCKET)
		c->path = w->value;
	else if (!strcmp(w->key, "tftp") && c->kind == NET_USER)
		c->tftp = w->value;
	else if (!strcmp(w->key, "bootfile") && c->kind == NET_USER)
		c->bootfile = w->value;
	else
		return verb_usage("--net: what is %s? Known: mac, pcap, queues, transitional; user: hostfwd, tftp, bootfile; "
				  "tap: ifname; socket: path",
				  w->key);
	return EXIT_OK;
}

int run_net_option(struct run_devices *d, const char *arg)
{
	static const char *const kinds[] = {[NET_USER] = "user", [NET_TAP] = "tap", [NET_SOCKET] = "socket"};
	struct word w[WORDS_MAX];
	struct device_config *c = NULL;
	unsigned n, kind;
	int st = next_device(d, "--net", arg, w, &n, &c);

	if (st != EXIT_OK)
		return st;
	for (kind = 0; kind < ARRAY_LEN(kinds) && (w[0].value || strcmp(w[0].key, kinds[kind])); kind++)
		;
	if (kind == ARRAY_LEN(kinds))
		return verb_usage("--net %s: begin with user, tap or socket", arg);
	*c = (struct device_config){.kind = DEVICE_NET, .net.kind = (enum net_kind)kind};
	for (unsigned i = 1; i < n && st == EXIT_OK; i++)
		if (!transitional("--net", c, &w[i], &st))
			st = net_word(&c->net, &w[i]);
	if (st == EXIT_OK && kind == NET_TAP && (!c->net.ifname || strlen(c->net.ifname) > 15))
		st = verb_usage("--net %s: which interface? Give ifname=NAME", arg);
	if (st == EXIT_OK && kind == NET_SOCKET && !c->net.path)
		st = verb_usage("--net %s: which socket? Give path=F", arg);
	return st;
}

/* ---- --console and the plain ones ---- */

int run_plain_option(struct run_devices *d, const char *option, enum device_kind kind)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->list[i].kind == kind)
			return verb_usage("%s: one is enough", option);
	if (d->n == DEVICES_MAX)
		return verb_usage("%s: %u devices are the most", option, DEVICES_MAX);
	d->list[d->n++] = (struct device_config){.kind = kind};
	return EXIT_OK;
}

static struct device_console *the_console(struct run_devices *d)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->list[i].kind == DEVICE_CONSOLE)
			return &d->list[i].console;
	if (run_plain_option(d, "--console", DEVICE_CONSOLE) != EXIT_OK)
		return NULL;
	return &d->list[d->n - 1].console;
}

int run_console_option(struct run_devices *d, const char *arg)
{
	struct device_console *c = the_console(d);
	struct virtio_console_port *p;
	struct word w[WORDS_MAX];
	unsigned n;

	if (!c)
		return EXIT_USAGE;
	if (c->nports == VIRTIO_CONSOLE_PORTS)
		return verb_usage("--console %s: %u ports are the most", arg, VIRTIO_CONSOLE_PORTS);
	n = split(d, arg, w);
	if (!n || w[0].value || (strncmp(w[0].key, "file:", 5) && strncmp(w[0].key, "unix:", 5)))
		return verb_usage("--console %s: give file:F or unix:F", arg);
	p = &c->port[c->nports++];
	*p = (struct virtio_console_port){.where = w[0].key};
	for (unsigned i = 1; i < n; i++) {
		if (strcmp(w[i].key, "name") || need_value("--console", &w[i], true) != EXIT_OK)
			return verb_usage("--console: what is %s? Known: name", w[i].key);
		if (strlen(w[i].value) >= VIRTIO_CONSOLE_NAME)
			return verb_usage("--console: name=%s: at most %u characters", w[i].value,
					  VIRTIO_CONSOLE_NAME - 1);
		p->name = w[i].value;
	}
	return EXIT_OK;
}

/* ---- --vsock ---- */

int run_vsock_option(struct run_devices *d, const char *arg)
{
	struct word w[WORDS_MAX];
	struct device_config *c = NULL;
	unsigned n;
	int st;

	for (unsigned i = 0; i < d->n; i++)
		if (d->list[i].kind == DEVICE_VSOCK)
			return verb_usage("--vsock: one is enough");
	st = next_device(d, "--vsock", arg, w, &n, &c);
	if (st != EXIT_OK)
		return st;
	*c = (struct device_config){.kind = DEVICE_VSOCK};
	for (unsigned i = 0; i < n; i++) {
		if (need_value("--vsock", &w[i], true) != EXIT_OK)
			return EXIT_USAGE;
		if (!strcmp(w[i].key, "uds"))
			c->vsock.path = w[i].value;
		else if (strcmp(w[i].key, "cid"))
			return verb_usage("--vsock: what is %s? Known: cid, uds", w[i].key);
		else if (!small_number(w[i].value, VSOCK_CID_MIN, VSOCK_CID_MAX, &c->vsock.cid))
			return verb_usage("--vsock: cid=%s: give %u to %u", w[i].value, VSOCK_CID_MIN, VSOCK_CID_MAX);
	}
	return c->vsock.cid && c->vsock.path ? EXIT_OK : verb_usage("--vsock %s: give cid=N and uds=PATH", arg);
}

/* ---- all ---- */

void run_devices_finish(struct run_devices *d)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->snapshot && d->list[i].kind == DEVICE_DISK)
			d->list[i].disk.image.snapshot = true;
}

void run_devices_free(struct run_devices *d)
{
	for (unsigned i = 0; i < d->ntexts; i++)
		free(d->text[i]);
	d->ntexts = 0;
}
