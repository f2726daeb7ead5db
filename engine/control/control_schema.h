/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control protocol as tables: verbs with their arguments and results, events with their data, error codes, states.
 * Parsing, validation, the command line, `steelyard vm schema`, docs/control.md and the tests derive from them.
 *
 * Threads: const tables and pure functions.
 */
#ifndef STEELYARD_CONTROL_SCHEMA_H
#define STEELYARD_CONTROL_SCHEMA_H

#include <jansson.h>

#include "engine/status.h"

#define CONTROL_PROTOCOL 1	/* grows when a client of the last one would stumble */
#define CONTROL_LINE_BYTES 8192 /* the longest request, its newline included */
#define CONTROL_ID_BYTES 64
#define CONTROL_CLIENTS 16

/* Exit statuses of the command line's verbs. X(name, value, what) */
#define CONTROL_EXITS(X)                                                                        \
	X(OK, 0, "done")                                                                        \
	X(FAILED, 1, "the machine or the host could not do it, or this build cannot")           \
	X(USAGE, 2, "bad usage: unknown verb, option or argument")                              \
	X(NOT_FOUND, 3, "no machine of this name")                                              \
	X(WRONG_STATE, 4, "not in this state of the machine, such as resume of a running one")  \
	X(DENIED, 5, "permission: the machine is another user's")                               \
	X(TIMED_OUT, 6, "no end in time; what was asked for may still happen")                  \
	X(UNREACHABLE, 7, "nobody answers on the socket, or the connection broke")

enum control_exit {
#define X(name, value, what) CONTROL_EXIT_##name = value,
	CONTROL_EXITS(X)
#undef X
};

/* What an error reply says. X(name, word, exit status of the command line, what) */
#define CONTROL_CODES(X)                                                                                        \
	X(BAD_REQUEST, "bad-request", USAGE, "the line is no request: no JSON object, too long, `id` or `do` missing") \
	X(UNKNOWN_VERB, "unknown-verb", USAGE, "`do` names no verb")                                            \
	X(BAD_ARGUMENT, "bad-argument", USAGE, "an argument is missing, unknown, or has a value that it cannot have") \
	X(WRONG_STATE, "wrong-state", WRONG_STATE, "the machine's state does not allow it")                     \
	X(DENIED, "denied", DENIED, "the client is another user")                                               \
	X(BUSY, "busy", FAILED, "too many clients")                                                             \
	X(UNSUPPORTED, "unsupported", FAILED, "this host or this build cannot do it")                           \
	X(FAILED, "failed", FAILED, "it was tried and failed; the message says how")

enum control_code {
	CONTROL_OK = -1,
#define X(name, word, exit, what) CONTROL_##name,
	CONTROL_CODES(X)
#undef X
	CONTROL_CODES_COUNT
};

struct control_code_row {
	const char *word, *what;
	enum control_exit exit;
};
extern const struct control_code_row control_codes[CONTROL_CODES_COUNT];

/* libvirt's words. X(name, word, what) */
#define CONTROL_STATES(X)                                                                      \
	X(RUNNING, "running", "guest code runs, or waits in HLT")                              \
	X(PAUSED, "paused", "guest code and guest time stand still")                           \
	X(SHUTDOWN, "shutdown", "the power button was pressed; the guest is running to its end") \
	X(SHUTOFF, "shutoff", "it has ended")                                                  \
	X(CRASHED, "crashed", "it has ended by a triple fault or a failure of the host")

enum control_state {
#define X(name, word, what) CONTROL_STATE_##name,
	CONTROL_STATES(X)
#undef X
	CONTROL_STATES_COUNT
};

struct control_word_row {
	const char *word, *what;
};
extern const struct control_word_row control_states[CONTROL_STATES_COUNT];

enum control_type {
	CT_BOOL,
	CT_UINT,   /* 0 to max */
	CT_STRING, /* up to max bytes */
	CT_WORD,   /* a string out of a set */
	CT_WORDS,  /* an array of such */
	CT_OBJECT,
};
enum control_set { SET_NONE, SET_STATES, SET_PATHS, SET_EVENTS, SET_STOP, SET_OUTCOMES };

/* A field of arguments, of a result or of an event's data. Rows end with a name of NULL. */
struct control_field {
	const char *name;
	enum control_type type;
	enum control_set set;
	bool required; /* of a result: always there */
	uint64_t max;
	const char *what;
};

/* Type names for people. */
const char *control_type_name(enum control_type t);
/* Word i of a set, NULL past its end; and what the set is. */
const char *control_set_word(enum control_set set, unsigned i);
const char *control_set_what(enum control_set set);

enum control_verb_id {
	CV_STATUS,
	CV_PAUSE,
	CV_RESUME,
	CV_STOP,
	CV_RESET,
	CV_NMI,
	CV_STATS,
	CV_SWITCH,
	CV_WALK,
	CV_SCREEN,
	CV_TYPE,
	CV_SUBSCRIBE,
	CV_UNSUBSCRIBE,
	CV_COUNT
};

#define CONTROL_MAX_ARGS 4
#define CONTROL_MAX_RESULTS 20
struct control_verb {
	const char *name, *what;
	unsigned states; /* 1 << enum control_state: where it is allowed */
	bool cli;	 /* a verb of the command line by itself */
	struct control_field arg[CONTROL_MAX_ARGS];
	struct control_field result[CONTROL_MAX_RESULTS];
};
extern const struct control_verb control_verbs[CV_COUNT];

enum control_event_id {
	CE_PAUSED,
	CE_RESUMED,
	CE_SHUTDOWN,
	CE_RESET,
	CE_NMI,
	CE_SWITCHED,
	CE_STALLED,
	CE_DISK,
	CE_CLIENT_DROPPED,
	CE_DROPPED,
	CE_ENDED,
	CE_COUNT
};
#define CONTROL_EVENTS_ALL ((1u << CE_COUNT) - 1)

#define CONTROL_MAX_DATA 6
struct control_event {
	const char *name, *what;
	struct control_field data[CONTROL_MAX_DATA];
};
extern const struct control_event control_events[CE_COUNT];

/* Is obj an object with these fields and no others? CONTROL_OK, or CONTROL_BAD_ARGUMENT with a sentence. obj may be NULL:
 * an empty one. */
enum control_code control_check(const struct control_field *fields, json_t *obj, char *text, size_t n);
/* The whole schema as one JSON object; the caller's reference. */
json_t *control_schema_json(void);

#endif
