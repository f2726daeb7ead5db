// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Is summary.json what the records give? SHA256SUMS says that nobody changed a file by accident; who changes a record or a figure and
 * makes the sums again is found here, because figures follow from records and are computed once more.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "eval/report/figures.h"
#include "eval/report/report.h"

/* Another compiler or C library may round the last digits of a logarithm in another way. */
#define SAME 1e-9

static bool same_number(json_t *a, json_t *b)
{
	double x = json_number_value(a), y = json_number_value(b);

	return json_is_number(a) == json_is_number(b) && fabs(x - y) <= SAME * fmax(fabs(x), fabs(y));
}

static const char *key_of(json_t *figure)
{
	const char *key = json_string_value(json_object_get(figure, "key"));

	return key ? key : "a figure without a key";
}

/* The first figure that differs, in a sentence; false: none does. */
static bool figures_differ(json_t *said, json_t *given, char *text, size_t n)
{
	static const char *const numbers[] = {"value", "lo", "hi", "n"};
	size_t i, count = json_array_size(given);
	json_t *g;

	json_array_foreach(given, i, g)
	{
		json_t *s = json_array_get(said, i);

		if (strcmp(key_of(s), key_of(g))) {
			snprintf(text, n, "it has %.120s where the records give %.120s", s ? key_of(s) : "nothing",
				 key_of(g));
			return true;
		}
		for (unsigned k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
			json_t *x = json_object_get(s, numbers[k]), *y = json_object_get(g, numbers[k]);

			if (same_number(x, y))
				continue;
			snprintf(text, n, "%.120s has a %s of %.9g, the records give %.9g", key_of(g), numbers[k],
				 json_number_value(x), json_number_value(y));
			return true;
		}
	}
	if (json_array_size(said) > count) {
		snprintf(text, n, "it has %.120s, which the records do not give", key_of(json_array_get(said, count)));
		return true;
	}
	return false;
}

static bool differ(json_t *said, json_t *given, char *text, size_t n)
{
	static const char *const parts[] = {"run", "spec", "started", "complete", "failures", "verdict"};

	if (figures_differ(json_object_get(said, "figures"), json_object_get(given, "figures"), text, n))
		return true;
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!json_equal(json_object_get(said, parts[i]), json_object_get(given, parts[i]))) {
			snprintf(text, n, "its \"%s\" is not what the records give", parts[i]);
			return true;
		}
	return false;
}

bool summary_verify(const char *dir, char *text, size_t n)
{
	char name[4300], why[400];
	struct results *r;
	struct figures *f;
	json_t *said, *given;
	json_error_t err;
	struct stat st;
	bool fine;

	snprintf(name, sizeof(name), "%.4100s/summary.json", dir);
	if (stat(name, &st) && errno == ENOENT)
		return true;
	/* what is wrong with the records is another's to say */
	r = results_load(dir, why, sizeof(why));
	if (!r)
		return true;
	said = S_ISREG(st.st_mode) ? json_load_file(name, 0, &err) : NULL;
	f = figures_build(r);
	given = f ? figures_json(f, r) : NULL;
	if (!given)
		snprintf(why, sizeof(why), "not enough memory");
	else if (!json_is_object(said))
		snprintf(why, sizeof(why), "it is no JSON object");
	fine = given && json_is_object(said) && !differ(said, given, why, sizeof(why));
	if (!fine)
		snprintf(text, n, "summary.json: %.350s; steelyard eval report makes it again", why);
	json_decref(said);
	json_decref(given);
	figures_free(f);
	results_free(r);
	return fine;
}
