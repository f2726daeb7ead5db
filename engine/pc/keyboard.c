// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One row a key: its name or its characters, its scan codes in set 1 (which software sees behind the controller's translation) and
 * set 2 (which the keyboard sends), and whether 0xe0 goes first (IBM PS/2 Hardware Interface Technical Reference, "Scan Code
 * Tables"). A key that comes up sends its code with bit 7 set in set 1, and 0xf0 before it in set 2.
 */
#include "engine/pc/keyboard.h"

#include <string.h>

struct key {
	const char *name; /* NULL: characters */
	char plain, shifted;
	uint8_t set1, set2;
	bool e0;
};

enum { KEY_CTRL, KEY_SHIFT, KEY_ALT, KEY_MODIFIERS };

static const struct key keys[] = {
	[KEY_CTRL] = {"ctrl", 0, 0, 0x1d, 0x14, false},
	[KEY_SHIFT] = {"shift", 0, 0, 0x2a, 0x12, false},
	[KEY_ALT] = {"alt", 0, 0, 0x38, 0x11, false},
	{"esc", 27, 0, 0x01, 0x76, false},
	{"backspace", 8, 0, 0x0e, 0x66, false},
	{"tab", '\t', 0, 0x0f, 0x0d, false},
	{"enter", '\n', 0, 0x1c, 0x5a, false},
	{"space", ' ', 0, 0x39, 0x29, false},
	{"f1", 0, 0, 0x3b, 0x05, false},
	{"f2", 0, 0, 0x3c, 0x06, false},
	{"f3", 0, 0, 0x3d, 0x04, false},
	{"f4", 0, 0, 0x3e, 0x0c, false},
	{"f5", 0, 0, 0x3f, 0x03, false},
	{"f6", 0, 0, 0x40, 0x0b, false},
	{"f7", 0, 0, 0x41, 0x83, false},
	{"f8", 0, 0, 0x42, 0x0a, false},
	{"f9", 0, 0, 0x43, 0x01, false},
	{"f10", 0, 0, 0x44, 0x09, false},
	{"f11", 0, 0, 0x57, 0x78, false},
	{"f12", 0, 0, 0x58, 0x07, false},
	{"up", 0, 0, 0x48, 0x75, true},
	{"down", 0, 0, 0x50, 0x72, true},
	{"left", 0, 0, 0x4b, 0x6b, true},
	{"right", 0, 0, 0x4d, 0x74, true},
	{"home", 0, 0, 0x47, 0x6c, true},
	{"end", 0, 0, 0x4f, 0x69, true},
	{"pgup", 0, 0, 0x49, 0x7d, true},
	{"pgdn", 0, 0, 0x51, 0x7a, true},
	{"insert", 0, 0, 0x52, 0x70, true},
	{"delete", 0, 0, 0x53, 0x71, true},
	{NULL, '1', '!', 0x02, 0x16, false},
	{NULL, '2', '@', 0x03, 0x1e, false},
	{NULL, '3', '#', 0x04, 0x26, false},
	{NULL, '4', '$', 0x05, 0x25, false},
	{NULL, '5', '%', 0x06, 0x2e, false},
	{NULL, '6', '^', 0x07, 0x36, false},
	{NULL, '7', '&', 0x08, 0x3d, false},
	{NULL, '8', '*', 0x09, 0x3e, false},
	{NULL, '9', '(', 0x0a, 0x46, false},
	{NULL, '0', ')', 0x0b, 0x45, false},
	{NULL, '-', '_', 0x0c, 0x4e, false},
	{NULL, '=', '+', 0x0d, 0x55, false},
	{NULL, 'q', 'Q', 0x10, 0x15, false},
	{NULL, 'w', 'W', 0x11, 0x1d, false},
	{NULL, 'e', 'E', 0x12, 0x24, false},
	{NULL, 'r', 'R', 0x13, 0x2d, false},
	{NULL, 't', 'T', 0x14, 0x2c, false},
	{NULL, 'y', 'Y', 0x15, 0x35, false},
	{NULL, 'u', 'U', 0x16, 0x3c, false},
	{NULL, 'i', 'I', 0x17, 0x43, false},
	{NULL, 'o', 'O', 0x18, 0x44, false},
	{NULL, 'p', 'P', 0x19, 0x4d, false},
	{NULL, '[', '{', 0x1a, 0x54, false},
	{NULL, ']', '}', 0x1b, 0x5b, false},
	{NULL, 'a', 'A', 0x1e, 0x1c, false},
	{NULL, 's', 'S', 0x1f, 0x1b, false},
	{NULL, 'd', 'D', 0x20, 0x23, false},
	{NULL, 'f', 'F', 0x21, 0x2b, false},
	{NULL, 'g', 'G', 0x22, 0x34, false},
	{NULL, 'h', 'H', 0x23, 0x33, false},
	{NULL, 'j', 'J', 0x24, 0x3b, false},
	{NULL, 'k', 'K', 0x25, 0x42, false},
	{NULL, 'l', 'L', 0x26, 0x4b, false},
	{NULL, ';', ':', 0x27, 0x4c, false},
	{NULL, '\'', '"', 0x28, 0x52, false},
	{NULL, '`', '~', 0x29, 0x0e, false},
	{NULL, '\\', '|', 0x2b, 0x5d, false},
	{NULL, 'z', 'Z', 0x2c, 0x1a, false},
	{NULL, 'x', 'X', 0x2d, 0x22, false},
	{NULL, 'c', 'C', 0x2e, 0x21, false},
	{NULL, 'v', 'V', 0x2f, 0x2a, false},
	{NULL, 'b', 'B', 0x30, 0x32, false},
	{NULL, 'n', 'N', 0x31, 0x31, false},
	{NULL, 'm', 'M', 0x32, 0x3a, false},
	{"lt", ',', '<', 0x33, 0x41, false}, /* as a name it is the shifted one */
	{NULL, '.', '>', 0x34, 0x49, false},
	{NULL, '/', '?', 0x35, 0x4a, false},
};
#define NKEYS ((unsigned)ARRAY_LEN(keys))

static void put(struct key_event *ev, unsigned *n, unsigned key, bool up)
{
	ev[(*n)++] = (struct key_event){(uint8_t)key, up};
}

/* The modifiers of a mask go down, then the key; then all come up again. */
static void press(struct key_event *ev, unsigned *n, unsigned modifiers, unsigned key)
{
	for (unsigned m = 0; m < KEY_MODIFIERS; m++)
		if (modifiers & 1u << m)
			put(ev, n, m, false);
	put(ev, n, key, false);
	put(ev, n, key, true);
	for (unsigned m = KEY_MODIFIERS; m--;)
		if (modifiers & 1u << m)
			put(ev, n, m, true);
}

static bool press_character(struct key_event *ev, unsigned *n, unsigned modifiers, char c)
{
	for (unsigned i = KEY_MODIFIERS; c && i < NKEYS; i++)
		if (keys[i].plain == c || keys[i].shifted == c) {
			press(ev, n, modifiers | (keys[i].plain == c ? 0 : 1u << KEY_SHIFT), i);
			return true;
		}
	return false;
}

static bool is_name(const struct key *k, const char *s, size_t len)
{
	return k->name && strlen(k->name) == len && !strncmp(k->name, s, len);
}

/* What is between the brackets: modifiers with hyphens, then a name or a character. */
static bool press_name(struct key_event *ev, unsigned *n, const char *s, size_t len)
{
	unsigned modifiers = 0;

	for (unsigned m = 0; m < KEY_MODIFIERS; m++) {
		size_t k = strlen(keys[m].name);

		if (len > k + 1 && s[k] == '-' && !strncmp(s, keys[m].name, k) && !(modifiers & 1u << m)) {
			modifiers |= 1u << m;
			s += k + 1;
			len -= k + 1;
			m = UINT32_MAX; /* from the first again: they come in any order */
		}
	}
	if (len == 1)
		return press_character(ev, n, modifiers, *s);
	for (unsigned i = 0; i < NKEYS; i++)
		if (is_name(&keys[i], s, len)) {
			press(ev, n, modifiers | (keys[i].shifted ? 1u << KEY_SHIFT : 0), i);
			return true;
		}
	return false;
}

enum status keyboard_parse(const char *text, struct key_event ev[KEYBOARD_EVENTS_MAX], unsigned *n, struct error *e)
{
	*n = 0;
	if (strlen(text) > KEYBOARD_TEXT_MAX)
		return error_set(e, ST_INVALID, "a text to type has at most %u characters", KEYBOARD_TEXT_MAX);
	for (const char *s = text; *s; s++) {
		const char *end = *s == '<' ? strchr(s, '>') : NULL;

		if (*s != '<' && press_character(ev, n, 0, *s))
			continue;
		if (!end || !press_name(ev, n, s + 1, (size_t)(end - s - 1)))
			return error_set(e, ST_INVALID,
					 "no key gives \"%.20s\": ASCII, and names such as <enter>, <f12>, <ctrl-c>, <lt>", s);
		s = end;
	}
	return ST_OK;
}

unsigned keyboard_codes(struct key_event ev, unsigned set, uint8_t out[3])
{
	const struct key *k = &keys[ev.key < NKEYS ? ev.key : 0];
	unsigned n = 0;

	if (k->e0)
		out[n++] = 0xe0;
	if (ev.up && set != 1)
		out[n++] = 0xf0;
	out[n++] = set != 1 ? k->set2 : (uint8_t)(k->set1 | (ev.up ? 0x80u : 0));
	return n;
}
