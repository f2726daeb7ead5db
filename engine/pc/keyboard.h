/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keys of a US keyboard: from what somebody wants typed to keys going down and up, and from those to scan codes.
 * Threads: const tables and pure functions.
 */
#ifndef STEELYARD_KEYBOARD_H
#define STEELYARD_KEYBOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

struct key_event {
	uint8_t key; /* a row of the table of keys */
	bool up;
};

/* Longest text, and what it can become: a character with Shift is four events. */
#define KEYBOARD_TEXT_MAX 512u
#define KEYBOARD_EVENTS_MAX (8u * KEYBOARD_TEXT_MAX)

/* text: characters of ASCII (newline is Enter) and names in angle brackets, as <esc>, <f12>, <ctrl-alt-delete>; <lt> is the
 * character itself. Fills ev and returns ST_OK, or ST_INVALID for what no key gives, or for a longer text. */
enum status keyboard_parse(const char *text, struct key_event ev[KEYBOARD_EVENTS_MAX], unsigned *n, struct error *e);
/* What the keyboard sends for it in scan code set 1 or 2; returns how many bytes. */
unsigned keyboard_codes(struct key_event ev, unsigned set, uint8_t out[3]);

#endif
