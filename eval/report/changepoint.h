/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a series of times changes its level, and what that makes of it: the classes of Barrett et al. 2017 (Krun). */
#ifndef STEELYARD_EVAL_CHANGEPOINT_H
#define STEELYARD_EVAL_CHANGEPOINT_H

/* Fewer values are not judged. */
#define CHANGEPOINT_MIN 8
#define CHANGEPOINT_MAX_SEGMENTS 32

enum series_class {
	SERIES_SHORT,     /* too few values to say */
	SERIES_FLAT,      /* one level */
	SERIES_WARMUP,    /* the last level is the fastest */
	SERIES_SLOWDOWN,  /* an earlier level was faster */
	SERIES_NO_STEADY, /* it still changes in the last quarter */
};
const char *series_class_name(enum series_class c);

struct segment {
	unsigned start, n;
	double mean, deviation;
};
struct changepoints {
	enum series_class class;
	unsigned nsegments;
	struct segment segment[CHANGEPOINT_MAX_SEGMENTS];
	unsigned outliers; /* values far from their neighbours, left out */
	unsigned
		steady_from; /* first value of the last level (of the levels that equal it); n without a steady state */
	double steady_mean;
};
/* n values in the order of their execution. Short of memory: SERIES_SHORT. */
void changepoint_classify(const double *x, unsigned n, struct changepoints *out);

#endif
