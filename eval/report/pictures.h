/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The report's pictures as SVG: inside the page they take its colours, as files of their own they bring a style with them. They look up
 * their numbers in struct figures.
 */
#ifndef STEELYARD_EVAL_PICTURES_H
#define STEELYARD_EVAL_PICTURES_H

#include <stdio.h>

#include "eval/report/figures.h"

struct picture_data {
	const struct results *r;
	const struct figures *f;
	enum results_phase phase;
	int path; /* for pictures of one path */
};
struct picture {
	const char *name, *title;
	bool per_path;
	/* Writes it; false: there is nothing to show, and nothing was written. */
	bool (*draw)(FILE *f, const struct picture_data *d, bool alone);
};
const struct picture *picture_at(unsigned i); /* NULL past the last */
const struct picture *picture_find(const char *name);

/* Text of XML and HTML. */
void xml_text(FILE *f, const char *s);
/* CSS: class kN of path N (fill and stroke), class qN of a part of the overhead; custom properties in a page. */
#define PICTURE_PATH_COLOURS 9
void picture_style(FILE *f, bool alone);

#endif
