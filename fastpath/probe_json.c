/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The probe's results as JSON: what --json prints, what the cache holds, what results of evaluations record. A verdict read
 * back is judged again, so levels and reasons in a file are for people; what counts is what was measured.
 */
#include <stdio.h>
#include <string.h>

#include "fastpath/probe_int.h"

static const char *const outcome_name[] = {"not measured", "holds", "fails", "not applicable"};
static const char *const access_name[] = {"absent", "denied", "broken", "old", "opens"};

json_t *probe_facts_json(const struct host_facts *f)
{
	json_t *feat = json_object();

	for (unsigned i = 0; i < f->nfeatures; i++)
		json_object_set_new(feat, f->feature[i].name, json_boolean(f->feature[i].present));
	/* clang-format off */
	return json_pack("{s:{s:s,s:s,s:i,s:i,s:i,s:i,s:o},"
			 "s:{s:b,s:b,s:b,s:s},"
			 "s:{s:s,s:s,s:i,s:s,s:s,s:b},"
			 "s:{s:I,s:I},s:s,s:b}",
			 "cpu", "vendor", f->vendor, "model_name", f->model, "family", f->family, "model", f->model_number,
			 "stepping", f->stepping, "cpus", f->cpus, "features", feat,
			 "virtualization", "vmx", f->vmx, "svm", f->svm, "hypervisor", f->hypervisor, "hypervisor_name",
			 f->hypervisor_name,
			 "kvm", "device", f->kvm_device, "access", access_name[f->kvm], "api", f->kvm_api,
			 "group", f->kvm_group, "module", f->kvm_module, "vendor_module", f->kvm_vendor_module,
			 "memory", "bytes", (json_int_t)f->memory_bytes, "available_bytes", (json_int_t)f->memory_free_bytes,
			 "kernel", f->kernel, "perf_counters", f->perf_counters);
	/* clang-format on */
}

static json_t *modes_json(const struct probe_verdict *v)
{
	json_t *o = json_object();

	for (unsigned m = 0; m < PROBE_MODES; m++) {
		const struct probe_mode_result *r = &v->mode[m];

		json_object_set_new(o, probe_modes[m].name,
				    json_pack("{s:s,s:b,s:b,s:o,s:o,s:s,s:s}", "level", probe_level_name(r->level),
					      "tried", r->tried, "runs", r->runs, "ns_per_instruction",
					      r->runs ? json_real(r->ns_per_insn) : json_null(), "ratio",
					      r->runs ? json_real(r->ratio) : json_null(), "reason", r->reason,
					      "evidence", r->evidence));
	}
	return o;
}

static json_t *items_json(const struct probe_verdict *v)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		json_object_set_new(o, probe_items[i].name,
				    json_pack("{s:s,s:b,s:s,s:s}", "outcome", outcome_name[v->item[i].outcome],
					      "needed", probe_items[i].needed, "what", probe_items[i].what, "evidence",
					      v->item[i].evidence));
	return o;
}

static json_t *costs_json(const struct probe_verdict *v)
{
	json_t *o = json_object();

	for (unsigned c = 0; c < PROBE_COSTS; c++) {
		const struct probe_cost_result *r = &v->cost[c];

		json_object_set_new(o, probe_costs[c].name,
				    json_pack("{s:i,s:o,s:o,s:s,s:s}", "samples", r->samples, "median_ns",
					      r->samples ? json_real(r->median_ns) : json_null(), "p95_ns",
					      r->samples ? json_real(r->p95_ns) : json_null(), "what",
					      probe_costs[c].what, "evidence", r->evidence));
	}
	return o;
}

json_t *probe_verdict_json(const struct probe_verdict *v)
{
	json_t *o = json_pack("{s:i,s:s,s:s,s:s,s:b,s:b,s:b,s:{s:b,s:s}}", "schema", PROBE_JSON_SCHEMA, "level",
			      probe_level_name(v->level), "vendor", probe_vendor_name(v->vendor), "reason", v->reason,
			      "measured", v->measured, "quick", v->quick, "cached", v->cached, "auto", "kvm",
			      v->auto_ok, "why", v->auto_why);

	if (!v->measured)
		return o;
	json_object_set_new(o, "complete", json_boolean(probe_complete(v)));
	json_object_set_new(o, "measured_at", json_integer((json_int_t)v->measured_at));
	json_object_set_new(o, "seconds", json_real(v->seconds));
	json_object_set_new(o, "host_ns_per_instruction", json_real(v->host_ns_per_insn));
	json_object_set_new(o, "modes", modes_json(v));
	json_object_set_new(o, "conformance", items_json(v));
	json_object_set_new(o, "costs", costs_json(v));
	return o;
}

/* Which modes are what, and what fails: without this nobody can say later what a "kvm" in some results was, or why a guest ran
 * where it did. */
json_t *probe_summary(const struct host_facts *f, const struct probe_verdict *v)
{
	json_t *modes = json_object(), *fails = json_array(), *late = json_array();

	for (unsigned m = 0; v->measured && m < PROBE_MODES; m++)
		json_object_set_new(modes, probe_modes[m].name, json_string(probe_level_name(v->mode[m].level)));
	for (unsigned i = 0; v->measured && i < PROBE_ITEMS; i++) {
		if (v->item[i].outcome == PROBE_FAILS)
			json_array_append_new(fails, json_string(probe_items[i].name));
		else if (probe_item_late(v, i))
			json_array_append_new(late, json_string(probe_items[i].name));
	}
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b,s:I,s:o,s:o,s:o,s:{s:s,s:s}}", "level", probe_level_name(v->level),
			 "vendor", probe_vendor_name(v->vendor), "module", f->kvm_module, "access", access_name[f->kvm],
			 "reason", v->reason, "measured", v->measured, "quick", v->quick, "measured_at",
			 (json_int_t)v->measured_at, "modes", modes, "fails", fails, "late", late, "auto", "path",
			 probe_auto_path(v), "why", v->auto_why);
}

/* ---- reading back ---- */

static bool get_text(const json_t *o, const char *key, char *buf, size_t n)
{
	const char *s = json_string_value(json_object_get(o, key));

	if (!s)
		return false;
	snprintf(buf, n, "%s", s);
	return true;
}

static bool get_number(const json_t *o, const char *key, double *d)
{
	const json_t *v = json_object_get(o, key);

	*d = json_number_value(v);
	return json_is_number(v) || json_is_null(v);
}

static bool mode_from(const json_t *o, struct probe_mode_result *r)
{
	r->tried = json_is_true(json_object_get(o, "tried"));
	r->runs = json_is_true(json_object_get(o, "runs"));
	return json_is_object(o) && get_number(o, "ns_per_instruction", &r->ns_per_insn) &&
	       get_number(o, "ratio", &r->ratio) && get_text(o, "evidence", r->evidence, sizeof(r->evidence));
}

static bool item_from(const json_t *o, struct probe_item_result *r)
{
	char name[32];

	if (!get_text(o, "outcome", name, sizeof(name)) || !get_text(o, "evidence", r->evidence, sizeof(r->evidence)))
		return false;
	for (unsigned k = 0; k < ARRAY_LEN(outcome_name); k++) {
		if (strcmp(outcome_name[k], name) == 0) {
			r->outcome = (enum probe_outcome)k;
			return true;
		}
	}
	return false;
}

static bool cost_from(const json_t *o, struct probe_cost_result *r)
{
	json_int_t n = json_integer_value(json_object_get(o, "samples"));

	r->samples = n > 0 && n < 1000000 ? (unsigned)n : 0;
	return get_number(o, "median_ns", &r->median_ns) && get_number(o, "p95_ns", &r->p95_ns) &&
	       get_text(o, "evidence", r->evidence, sizeof(r->evidence));
}

bool probe_verdict_from_json(const json_t *j, struct probe_verdict *v)
{
	memset(v, 0, sizeof(*v));
	if (json_integer_value(json_object_get(j, "schema")) != PROBE_JSON_SCHEMA ||
	    !json_is_true(json_object_get(j, "measured")))
		return false;
	v->measured = true;
	v->quick = json_is_true(json_object_get(j, "quick"));
	v->measured_at = json_integer_value(json_object_get(j, "measured_at"));
	if (!get_number(j, "seconds", &v->seconds) || !get_number(j, "host_ns_per_instruction", &v->host_ns_per_insn))
		return false;
	for (unsigned m = 0; m < PROBE_MODES; m++)
		if (!mode_from(json_object_get(json_object_get(j, "modes"), probe_modes[m].name), &v->mode[m]))
			return false;
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (!item_from(json_object_get(json_object_get(j, "conformance"), probe_items[i].name), &v->item[i]))
			return false;
	for (unsigned c = 0; c < PROBE_COSTS; c++)
		if (!cost_from(json_object_get(json_object_get(j, "costs"), probe_costs[c].name), &v->cost[c]))
			return false;
	return true;
}
