// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The 8042 of the PC AT and PS/2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller"), and the two devices on its wires.
 *
 * Three queues lead to the one output buffer: the controller's own answers, the keyboard's and the mouse's bytes. The
 * head of the first non-empty, enabled queue moves into the buffer when it is free; the interrupt line of its source
 * follows the buffer being full. The keyboard and the mouse answer their commands at once, so a guest's driver finds them without a
 * timeout. The mouse never sends anything else; the keyboard sends what is typed, a key at a time, each some
 * milliseconds after the one before and only when that has been read: firmware keeps no more than fifteen keys.
 */
#include "engine/pc/i8042.h"

#include <stdlib.h>
#include <string.h>

#include "engine/pc/keyboard.h"

/* Status, port 0x64 */
#define ST_OBF 0x01u
#define ST_SYS 0x04u
#define ST_CMD 0x08u
#define ST_UNLOCKED 0x10u
#define ST_AUX_OBF 0x20u
/* Configuration byte */
#define CFG_KBD_INT 0x01u
#define CFG_AUX_INT 0x02u
#define CFG_SYS 0x04u
#define CFG_KBD_OFF 0x10u
#define CFG_AUX_OFF 0x20u
#define CFG_XLATE 0x40u
/* Output port */
#define OUT_RUN 0x01u /* low: the processor is in reset */
#define OUT_A20 0x02u
#define OUT_KBD_IRQ 0x10u
#define OUT_AUX_IRQ 0x20u
#define OUT_IDLE 0xccu

/* Commands, port 0x64; 20-3F and 60-7F read and write the controller's RAM, F0-FF pulse the output port */
enum kbc_cmd {
	KBC_AUX_OFF = 0xa7,
	KBC_AUX_ON = 0xa8,
	KBC_AUX_TEST = 0xa9,
	KBC_SELF_TEST = 0xaa,
	KBC_KBD_TEST = 0xab,
	KBC_KBD_OFF = 0xad,
	KBC_KBD_ON = 0xae,
	KBC_PASSWORD_TEST = 0xa4,
	KBC_READ_INPUT = 0xc0,
	KBC_READ_OUTPUT = 0xd0,
	KBC_WRITE_OUTPUT = 0xd1,
	KBC_KBD_LOOP = 0xd2,
	KBC_AUX_LOOP = 0xd3,
	KBC_AUX_WRITE = 0xd4,
	KBC_A20_OFF = 0xdd,
	KBC_A20_ON = 0xdf,
	KBC_READ_TEST = 0xe0,
};

/* Commands and answers of PS/2 devices */
enum ps2_byte {
	PS2_ACK = 0xfa,
	PS2_RESEND = 0xfe,
	PS2_TEST_OK = 0xaa,
	PS2_ECHO = 0xee,
	PS2_RESET = 0xff,
	PS2_ENABLE = 0xf4,
	PS2_DISABLE = 0xf5,
	PS2_DEFAULTS = 0xf6,
	PS2_IDENTIFY = 0xf2,
	PS2_SET_RATE = 0xf3,
	KBD_LEDS = 0xed,
	KBD_SCANSET = 0xf0,
	MOUSE_RESOLUTION = 0xe8,
	MOUSE_STATUS = 0xe9,
	MOUSE_WRAP = 0xee,
	MOUSE_UNWRAP = 0xec,
	MOUSE_READ = 0xeb,
	MOUSE_SCALE_1 = 0xe6,
	MOUSE_SCALE_2 = 0xe7,
	MOUSE_STREAM = 0xea,
	MOUSE_REMOTE = 0xf0,
};

#define QUEUE_LEN 16
struct queue {
	uint8_t byte[QUEUE_LEN];
	bool aux[QUEUE_LEN];
	unsigned head, n;
};

#define KEY_NS 12000000ull
struct typing {
	struct key_event ev[KEYBOARD_EVENTS_MAX];
	unsigned next, n;
	struct timer timer;
};

struct i8042 {
	uint8_t ram[32];    /* byte 0: the configuration */
	uint8_t status_cmd; /* ST_CMD: the last write went to port 0x64 */
	uint8_t obuf;
	bool obf, obf_aux;
	uint8_t pending; /* the command that the next data byte belongs to; 0: the keyboard */
	struct queue ctl, kbd, aux;
	uint8_t kbd_pending; /* keyboard command that waits for its parameter */
	uint8_t scanset;
	bool scanning; /* the keyboard reports its keys */
	uint8_t mouse_pending;
	uint8_t mouse_rate, mouse_resolution;
	bool mouse_enabled, mouse_scale2, mouse_remote, mouse_wrap;
	struct i8042_config cfg;
	struct typing *typing; /* outlives a reset */
};

static void queue_put(struct queue *q, uint8_t b, bool aux)
{
	unsigned i = (q->head + q->n) % QUEUE_LEN;

	if (q->n == QUEUE_LEN)
		return;
	q->byte[i] = b;
	q->aux[i] = aux;
	q->n++;
}

static void kbc_irq(struct i8042 *k)
{
	irq_set(&k->cfg.kbd, k->obf && !k->obf_aux && (k->ram[0] & CFG_KBD_INT));
	irq_set(&k->cfg.aux, k->obf && k->obf_aux && (k->ram[0] & CFG_AUX_INT));
}

/* Fills the output buffer when it is free. */
static void kbc_pump(struct i8042 *k)
{
	struct queue *q = NULL;

	if (!k->obf) {
		if (k->ctl.n)
			q = &k->ctl;
		else if (k->kbd.n && !(k->ram[0] & CFG_KBD_OFF))
			q = &k->kbd;
		else if (k->aux.n && !(k->ram[0] & CFG_AUX_OFF))
			q = &k->aux;
	}
	if (q) {
		k->obuf = q->byte[q->head];
		k->obf_aux = q->aux[q->head];
		k->obf = true;
		q->head = (q->head + 1) % QUEUE_LEN;
		q->n--;
	}
	kbc_irq(k);
}

static void kbc_answer(struct i8042 *k, uint8_t b)
{
	queue_put(&k->ctl, b, false);
}

/* Scan set 2 to set 1: of all that the keyboard sends, only its identification changes. */
static void kbd_send(struct i8042 *k, uint8_t b)
{
	queue_put(&k->kbd, (k->ram[0] & CFG_XLATE) && b == 0x83 ? 0x41 : b, false);
}

static void mouse_send(struct i8042 *k, uint8_t b)
{
	queue_put(&k->aux, b, true);
}

static void kbd_parameter(struct i8042 *k, uint8_t b)
{
	uint8_t cmd = k->kbd_pending;

	k->kbd_pending = 0;
	kbd_send(k, PS2_ACK);
	if (cmd == KBD_SCANSET) {
		if (b == 0)
			kbd_send(k, k->scanset);
		else if (b <= 3)
			k->scanset = b;
	}
}

static void kbd_write(struct i8042 *k, uint8_t b)
{
	if (k->kbd_pending && b < 0x80) {
		kbd_parameter(k, b);
		return;
	}
	k->kbd_pending = 0; /* a command ends the wait for a parameter */
	switch (b) {
	case PS2_RESET:
		k->kbd.n = 0;
		k->scanset = 2;
		k->scanning = true;
		kbd_send(k, PS2_ACK);
		kbd_send(k, PS2_TEST_OK);
		break;
	case PS2_IDENTIFY:
		kbd_send(k, PS2_ACK);
		kbd_send(k, 0xab);
		kbd_send(k, 0x83);
		break;
	case PS2_ECHO:
		kbd_send(k, PS2_ECHO);
		break;
	case KBD_LEDS:
	case KBD_SCANSET:
	case PS2_SET_RATE:
		k->kbd_pending = b;
		kbd_send(k, PS2_ACK);
		break;
	case PS2_DEFAULTS:
	case PS2_DISABLE:
		k->scanset = 2;
		k->scanning = b == PS2_DEFAULTS;
		kbd_send(k, PS2_ACK);
		break;
	case PS2_ENABLE:
		k->scanning = true;
		kbd_send(k, PS2_ACK);
		break;
	case 0xf7: /* set all keys: typematic, make/break, ... */
	case 0xf8:
	case 0xf9:
	case 0xfa:
		kbd_send(k, PS2_ACK);
		break;
	default:
		kbd_send(k, PS2_RESEND);
		break;
	}
}

/* ---- typing ---- */

static void type_next(void *ctx)
{
	struct i8042 *k = ctx;
	struct typing *t = k->typing;
	uint8_t code[3];
	unsigned n;

	if (t->next == t->n) {
		t->next = t->n = 0;
		return;
	}
	if (k->scanning && !(k->ram[0] & CFG_KBD_OFF) && !k->obf && !k->kbd.n) {
		n = keyboard_codes(t->ev[t->next++], k->ram[0] & CFG_XLATE ? 1 : k->scanset, code);
		for (unsigned i = 0; i < n; i++)
			queue_put(&k->kbd, code[i], false);
		kbc_pump(k);
	}
	timer_arm(&t->timer, clock_ns(k->cfg.clock) + KEY_NS);
}

enum status i8042_type(struct i8042 *k, const char *text, unsigned *moves, struct error *e)
{
	struct key_event ev[KEYBOARD_EVENTS_MAX];
	struct typing *t = k->typing;
	enum status st = keyboard_parse(text, ev, moves, e);

	if (st != ST_OK)
		return st;
	if (*moves > KEYBOARD_EVENTS_MAX - t->n)
		return error_set(e, ST_BUSY, "the guest has not yet taken %u moves of keys: wait", t->n - t->next);
	memcpy(t->ev + t->n, ev, *moves * sizeof(ev[0]));
	t->n += *moves;
	if (!timer_armed(&t->timer))
		timer_arm(&t->timer, clock_ns(k->cfg.clock));
	return ST_OK;
}

/* ---- mouse ---- */

static void mouse_defaults(struct i8042 *k)
{
	k->mouse_enabled = k->mouse_scale2 = k->mouse_remote = k->mouse_wrap = false;
	k->mouse_rate = 100;
	k->mouse_resolution = 2;
	k->mouse_pending = 0;
}

/* Buttons up, no movement. */
static void mouse_packet(struct i8042 *k)
{
	mouse_send(k, 0x08);
	mouse_send(k, 0);
	mouse_send(k, 0);
}

static void mouse_write(struct i8042 *k, uint8_t b)
{
	if (k->mouse_wrap && b != PS2_RESET && b != MOUSE_UNWRAP) {
		mouse_send(k, b);
		return;
	}
	if (k->mouse_pending) {
		if (k->mouse_pending == PS2_SET_RATE)
			k->mouse_rate = b;
		else
			k->mouse_resolution = b & 3;
		k->mouse_pending = 0;
		mouse_send(k, PS2_ACK);
		return;
	}
	if (b < MOUSE_SCALE_1) {
		mouse_send(k, PS2_RESEND);
		return;
	}
	if (b == PS2_RESET)
		k->aux.n = 0;
	mouse_send(k, b == PS2_RESEND ? 0 : PS2_ACK);
	switch (b) {
	case PS2_RESET:
		mouse_defaults(k);
		mouse_send(k, PS2_TEST_OK);
		mouse_send(k, 0);
		break;
	case PS2_IDENTIFY: /* a plain two-button mouse */
		mouse_send(k, 0);
		break;
	case PS2_SET_RATE:
	case MOUSE_RESOLUTION:
		k->mouse_pending = b;
		break;
	case MOUSE_STATUS:
		mouse_send(k, (uint8_t)(k->mouse_remote << 6 | k->mouse_enabled << 5 | k->mouse_scale2 << 4));
		mouse_send(k, k->mouse_resolution);
		mouse_send(k, k->mouse_rate);
		break;
	case MOUSE_READ:
		mouse_packet(k);
		break;
	case PS2_ENABLE:
	case PS2_DISABLE:
		k->mouse_enabled = b == PS2_ENABLE;
		break;
	case PS2_DEFAULTS:
		mouse_defaults(k);
		break;
	case MOUSE_SCALE_1:
	case MOUSE_SCALE_2:
		k->mouse_scale2 = b == MOUSE_SCALE_2;
		break;
	case MOUSE_STREAM:
	case MOUSE_REMOTE:
		k->mouse_remote = b == MOUSE_REMOTE;
		break;
	case MOUSE_WRAP:
	case MOUSE_UNWRAP:
		k->mouse_wrap = b == MOUSE_WRAP;
		break;
	default:
		break;
	}
}

static void kbc_write_output(struct i8042 *k, uint8_t b)
{
	if (k->cfg.a20)
		*k->cfg.a20 = b & OUT_A20;
	if (!(b & OUT_RUN) && k->cfg.reset)
		k->cfg.reset(k->cfg.ctx);
}

static uint8_t kbc_output_port(const struct i8042 *k)
{
	return (uint8_t)(OUT_IDLE | OUT_RUN | (!k->cfg.a20 || *k->cfg.a20 ? OUT_A20 : 0) |
			 (k->obf && !k->obf_aux ? OUT_KBD_IRQ : 0) | (k->obf && k->obf_aux ? OUT_AUX_IRQ : 0));
}

static void kbc_self_test(struct i8042 *k)
{
	k->obf = false;
	k->ctl.n = k->kbd.n = k->aux.n = 0;
	k->ram[0] = CFG_SYS | CFG_KBD_OFF | CFG_AUX_OFF | CFG_XLATE;
	kbc_answer(k, 0x55);
}

static void kbc_command(struct i8042 *k, uint8_t cmd)
{
	k->pending = 0;
	if (cmd >= 0x20 && cmd < 0x40) {
		kbc_answer(k, k->ram[cmd & 31]);
		return;
	}
	if (cmd >= 0xf0) {
		/* Bits 0-3 low: pulse that output low. Bit 0 is the reset line. */
		if (!(cmd & OUT_RUN) && k->cfg.reset)
			k->cfg.reset(k->cfg.ctx);
		return;
	}
	switch (cmd) {
	case KBC_AUX_OFF:
		k->ram[0] |= CFG_AUX_OFF;
		break;
	case KBC_AUX_ON:
		k->ram[0] &= (uint8_t)~CFG_AUX_OFF;
		break;
	case KBC_KBD_OFF:
		k->ram[0] |= CFG_KBD_OFF;
		break;
	case KBC_KBD_ON:
		k->ram[0] &= (uint8_t)~CFG_KBD_OFF;
		break;
	case KBC_SELF_TEST:
		kbc_self_test(k);
		break;
	case KBC_AUX_TEST:
	case KBC_KBD_TEST: /* both interfaces are well */
		kbc_answer(k, 0);
		break;
	case KBC_PASSWORD_TEST: /* none installed */
		kbc_answer(k, 0xf1);
		break;
	case KBC_READ_INPUT: /* keyboard not locked */
		kbc_answer(k, 0x80);
		break;
	case KBC_READ_OUTPUT:
		kbc_answer(k, kbc_output_port(k));
		break;
	case KBC_READ_TEST:
		kbc_answer(k, 0);
		break;
	case KBC_A20_OFF:
	case KBC_A20_ON:
		if (k->cfg.a20)
			*k->cfg.a20 = cmd == KBC_A20_ON;
		break;
	case KBC_WRITE_OUTPUT:
	case KBC_KBD_LOOP:
	case KBC_AUX_LOOP:
	case KBC_AUX_WRITE:
		k->pending = cmd;
		break;
	default:
		if (cmd >= 0x60 && cmd < 0x80)
			k->pending = cmd;
		break;
	}
}

static void kbc_data(struct i8042 *k, uint8_t b)
{
	uint8_t cmd = k->pending;

	k->pending = 0;
	switch (cmd) {
	case 0: /* to the keyboard; sending enables its interface */
		k->ram[0] &= (uint8_t)~CFG_KBD_OFF;
		kbd_write(k, b);
		break;
	case KBC_WRITE_OUTPUT:
		kbc_write_output(k, b);
		break;
	case KBC_KBD_LOOP:
		queue_put(&k->ctl, b, false);
		break;
	case KBC_AUX_LOOP:
		queue_put(&k->ctl, b, true);
		break;
	case KBC_AUX_WRITE:
		k->ram[0] &= (uint8_t)~CFG_AUX_OFF;
		mouse_write(k, b);
		break;
	default: /* 60-7F */
		k->ram[cmd & 31] = b;
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *k = dev;
	uint8_t val = k->obuf; /* an empty buffer shows the last byte again */

	(void)off;
	(void)size;
	if (k->obf) {
		k->obf = false;
		kbc_irq(k); /* down, so that the next byte makes an edge */
		kbc_pump(k);
	}
	return val;
}

static void data_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *k = dev;

	(void)off;
	(void)size;
	k->status_cmd = 0;
	kbc_data(k, (uint8_t)val);
	kbc_pump(k);
}

static uint64_t cmd_read(void *dev, uint64_t off, unsigned size)
{
	const struct i8042 *k = dev;
	uint8_t st = k->status_cmd | ST_UNLOCKED;

	(void)off;
	(void)size;
	if (k->ram[0] & CFG_SYS)
		st |= ST_SYS;
	if (k->obf)
		st |= ST_OBF | (k->obf_aux ? ST_AUX_OBF : 0);
	return st;
}

static void cmd_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct i8042 *k = dev;

	(void)off;
	(void)size;
	k->status_cmd = ST_CMD;
	kbc_command(k, (uint8_t)val);
	kbc_pump(k);
}

const struct io_ops i8042_data_ops = {"i8042 data", data_read, data_write};
const struct io_ops i8042_cmd_ops = {"i8042 command", cmd_read, cmd_write};

void i8042_reset(struct i8042 *k)
{
	struct i8042_config cfg = k->cfg;
	struct typing *typing = k->typing;

	timer_cancel(&typing->timer);
	typing->next = typing->n = 0;
	*k = (struct i8042){.cfg = cfg, .scanset = 2, .scanning = true, .typing = typing};
	/* As PC firmware leaves it: self test done, keyboard on with translation, mouse off. */
	k->ram[0] = CFG_SYS | CFG_KBD_INT | CFG_AUX_OFF | CFG_XLATE;
	mouse_defaults(k);
	kbc_irq(k);
}

struct i8042 *i8042_new(const struct i8042_config *cfg)
{
	struct i8042 *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->typing = calloc(1, sizeof(*k->typing));
	if (!k->typing) {
		free(k);
		return NULL;
	}
	k->cfg = *cfg;
	timer_init(&k->typing->timer, cfg->clock, type_next, k);
	i8042_reset(k);
	return k;
}

void i8042_free(struct i8042 *k)
{
	if (!k)
		return;
	timer_cancel(&k->typing->timer);
	free(k->typing);
	free(k);
}
