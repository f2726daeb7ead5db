/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steelyard vm: what its files share. */
#ifndef STEELYARD_VM_CMD_H
#define STEELYARD_VM_CMD_H

#include <stdio.h>

#include "engine/control/control_client.h"

enum vm_output { VM_OUT_TABLE, VM_OUT_JSON, VM_OUT_NAME };

struct vm_cmd {
	const char *verb;
	const char *name; /* the machine's; NULL: none given */
	enum vm_output output;
	int timeout_ms; /* -1: not given */
	json_t *args;	/* of the request */
	struct control_conn conn;
};

/* ---- engine/main/vm_print.c ---- */
void vm_print_json(json_t *o, FILE *f);
/* One line for each field of a result; whatever else is in o behind them. */
void vm_print_fields(const struct control_field *fields, json_t *o, FILE *f);
/* The table of machines: results of status. */
void vm_print_list(json_t *list, FILE *f);
/* One line. */
void vm_print_event(json_t *event, FILE *f);
/* The protocol's tables as docs/control.md shows them. */
void vm_print_schema(FILE *f);

#endif
