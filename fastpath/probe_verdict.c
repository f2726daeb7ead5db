/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the measurements mean. A mode is native when it runs, computes right, is about as fast as the host itself and every
 * conformance item that belongs to it holds; unusable when it does not run or computes wrong; partial in between, with the
 * list of what is missing. The host is native when all modes are and no item fails.
 *
 * Two questions are kept apart. How well guests run is measured. Who makes them run is not: VT-x or AMD-V need the
 * processor's flag and the vendor's module, and a device without those is software's, however well it does.
 *
 * Nothing but the arguments is read here, so that tests can feed any host.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fastpath/probe_int.h"

/* Above this, a loop of plain instructions is not run by the processor itself; noise and shared cores stay below. */
#define NATIVE_RATIO 1.5
#define EMULATED_RATIO 20

#define M(id) (1u << PROBE_##id)
#define QUICK true
#define FULL false
#define NEEDED true
#define NICE false
#define NATIVE true
#define RUNS false

const struct probe_mode_row probe_modes[PROBE_MODES] = {
#define MODE(id, name, bits, ring, auto_native, what) {name, bits, ring, auto_native, what},
#include "fastpath/probe_items.def"
};
const struct probe_item_row probe_items[PROBE_ITEMS] = {
#define ITEM(id, name, modes, need, quick, fn, what) {name, modes, need, quick, what},
#include "fastpath/probe_items.def"
};
const struct probe_cost_row probe_costs[PROBE_COSTS] = {
#define COST(id, name, quick, fn, arg, what) {name, quick, what},
#include "fastpath/probe_items.def"
};
_Static_assert(PROBE_MODES <= 32, "a set of modes fits 32 bits");

const char *probe_level_name(enum probe_level l)
{
	static const char *const name[] = {"not measured", "unusable", "partial", "native"};

	return name[l];
}

const char *probe_vendor_name(enum probe_vendor v)
{
	static const char *const name[] = {"none", "software", "VT-x", "AMD-V"};

	return name[v];
}

const char *probe_mode_name(enum probe_mode m)
{
	return probe_modes[m].name;
}

const char *probe_item_name(enum probe_item i)
{
	return probe_items[i].name;
}

const char *probe_cost_name(enum probe_cost c)
{
	return probe_costs[c].name;
}

enum probe_vendor probe_vendor(const struct host_facts *f)
{
	if (f->kvm == KVM_ABSENT)
		return PROBE_NO_KVM;
	if (f->vmx && !strcmp(f->kvm_module, "kvm_intel"))
		return PROBE_VTX;
	if (f->svm && !strcmp(f->kvm_module, "kvm_amd"))
		return PROBE_AMDV;
	return PROBE_SOFTWARE;
}

bool probe_device_trouble(const struct host_facts *f, char *buf, size_t n)
{
	const char *dev = f->kvm_device;

	switch (f->kvm) {
	case KVM_ABSENT:
		if (f->vmx || f->svm)
			snprintf(buf, n, "there is no %s: load the kernel module %s (modprobe %s)", dev,
				 f->vmx ? "kvm_intel" : "kvm_amd", f->vmx ? "kvm_intel" : "kvm_amd");
		else
			snprintf(buf, n, "there is no %s, and this processor shows neither VT-x nor AMD-V%s", dev,
				 f->hypervisor ? ": the hypervisor below would have to offer nested virtualization"
					       : "");
		return true;
	case KVM_NO_PERMISSION:
		snprintf(buf, n,
			 "this user may not open %s: join its group '%s' (usermod -aG %s USER, then log in again)", dev,
			 f->kvm_group, f->kvm_group);
		return true;
	case KVM_BROKEN:
		if (f->kvm_api < 0)
			snprintf(buf, n, "%s is there and does not answer as KVM does: %s", dev,
				 strerror(f->kvm_errno));
		else
			snprintf(buf, n, "%s cannot be used: %s", dev, strerror(f->kvm_errno));
		return true;
	case KVM_OLD_API:
		snprintf(buf, n, "%s speaks version %d of KVM's interface, and 12 is needed: this kernel is too old",
			 dev, f->kvm_api);
		return true;
	case KVM_OPENS:
		break;
	}
	return false;
}

/* ---- modes ---- */

/* Appends to a list with ", "; what does not fit becomes "...". */
static void append(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t n, const char *fmt, ...)
{
	size_t at = strlen(buf);
	char part[PROBE_TEXT + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(part, sizeof(part), fmt, ap);
	va_end(ap);
	if (at >= 3 && strcmp(buf + at - 3, "...") == 0)
		return;
	if (at + strlen(part) + sizeof(", , ...") > n)
		snprintf(part, sizeof(part), "...");
	snprintf(buf + at, n - at, "%s%s", at ? ", " : "", part);
}

/* Was to be tried, and was not. */
bool probe_item_late(const struct probe_verdict *v, unsigned i)
{
	return v->item[i].outcome == PROBE_UNTRIED && (probe_items[i].quick || !v->quick);
}

bool probe_complete(const struct probe_verdict *v)
{
	for (unsigned m = 0; m < PROBE_MODES; m++)
		if (!v->mode[m].tried)
			return false;
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (probe_item_late(v, i))
			return false;
	return true;
}

static void judge_mode(struct probe_verdict *v, enum probe_mode m)
{
	struct probe_mode_result *r = &v->mode[m];
	unsigned late = 0;

	r->reason[0] = 0;
	if (!r->tried) {
		r->level = PROBE_UNKNOWN;
		append(r->reason, sizeof(r->reason), "%s", r->evidence[0] ? r->evidence : "the time for all of it was up");
		return;
	}
	if (!r->runs) {
		r->level = PROBE_UNUSABLE;
		append(r->reason, sizeof(r->reason), "%s", r->evidence);
		return;
	}
	r->level = PROBE_NATIVE;
	if (r->ratio > NATIVE_RATIO) {
		append(r->reason, sizeof(r->reason), "%s: %.*f ns an instruction, %.*f times the host's own",
		       r->ratio > EMULATED_RATIO ? "emulated" : "slow", r->ns_per_insn < 10 ? 2 : 0, r->ns_per_insn,
		       r->ratio < 10 ? 1 : 0, r->ratio);
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++) {
		if (!(probe_items[i].modes >> m & 1))
			continue;
		late += probe_item_late(v, i);
		if (v->item[i].outcome == PROBE_FAILS)
			append(r->reason, sizeof(r->reason), "fails %s", probe_items[i].name);
	}
	if (late)
		append(r->reason, sizeof(r->reason), "%u conformance items not measured, the time was up", late);
	if (r->reason[0])
		r->level = PROBE_PARTIAL;
	if (r->level == PROBE_NATIVE)
		append(r->reason, sizeof(r->reason), "%.2f times the host's own time, all that belongs to it holds",
		       r->ratio);
}

/* ---- the host ---- */

static unsigned count_items(const struct probe_verdict *v, enum probe_outcome o, bool needed_only)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		n += v->item[i].outcome == o && (probe_items[i].needed || !needed_only);
	return n;
}

static void judge_host(struct probe_verdict *v)
{
	unsigned level[PROBE_NATIVE + 1] = {0}, failed = count_items(v, PROBE_FAILS, false);
	unsigned tried = PROBE_ITEMS - count_items(v, PROBE_UNTRIED, false) - count_items(v, PROBE_INAPPLICABLE, false);
	char list[PROBE_TEXT + 60] = "";

	for (unsigned m = 0; m < PROBE_MODES; m++)
		level[v->mode[m].level]++;
	if (level[PROBE_NATIVE] == PROBE_MODES && !failed)
		v->level = PROBE_NATIVE;
	else if (level[PROBE_NATIVE] + level[PROBE_PARTIAL])
		v->level = PROBE_PARTIAL;
	else
		v->level = level[PROBE_UNUSABLE] ? PROBE_UNUSABLE : PROBE_UNKNOWN;
	snprintf(v->reason, sizeof(v->reason), "of %u modes %u native, %u partial, %u unusable", PROBE_MODES,
		 level[PROBE_NATIVE], level[PROBE_PARTIAL], level[PROBE_UNUSABLE]);
	if (level[PROBE_UNKNOWN])
		append(v->reason, sizeof(v->reason), "%u not measured", level[PROBE_UNKNOWN]);
	if (!tried) {
		append(v->reason, sizeof(v->reason), "no conformance item was tried: the time was up");
		return;
	}
	if (!failed) {
		append(v->reason, sizeof(v->reason), "all %u conformance items that were tried hold", tried);
		return;
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++)
		if (v->item[i].outcome == PROBE_FAILS && probe_items[i].needed)
			append(list, sizeof(list), "%s", probe_items[i].name);
	append(v->reason, sizeof(v->reason), "%u of %u conformance items fail", failed, tried);
	if (list[0]) /* the list ends with "..." when it is long: the table has all */
		snprintf(v->reason + strlen(v->reason), sizeof(v->reason) - strlen(v->reason),
			 ", those that an operating system needs: %s", list);
}

const char *probe_facts_against_kvm(const struct host_facts *f)
{
	if (f->kvm == KVM_ABSENT)
		return "there is no /dev/kvm; the binary translator needs none";
	if (!f->vmx && !f->svm)
		return "/dev/kvm without VT-x or AMD-V is a KVM made by software and is not used";
	if (!f->kvm_vendor_module)
		return "the processor has VT-x or AMD-V, but neither kvm_intel nor kvm_amd is loaded";
	if (probe_vendor(f) == PROBE_SOFTWARE)
		return "the KVM module that is loaded is not this processor's own";
	if (f->kvm == KVM_NO_PERMISSION)
		return "this user may not open /dev/kvm";
	if (f->kvm == KVM_OLD_API)
		return "this kernel's KVM is too old";
	if (f->kvm == KVM_BROKEN)
		return "/dev/kvm is there and does not answer as KVM does";
	return NULL;
}

/* What auto asks: hardware below, the modes that systems live in native, the others running, no needed item failed. */
static void judge_auto(const struct host_facts *f, struct probe_verdict *v)
{
	const char *no = probe_facts_against_kvm(f);

	v->auto_ok = false;
	if (no || !v->measured) {
		snprintf(v->auto_why, sizeof(v->auto_why), "%s", no ? no : "KVM was not measured");
		return;
	}
	for (unsigned m = 0; m < PROBE_MODES; m++) {
		const struct probe_mode_result *r = &v->mode[m];

		if (r->runs && (r->ratio <= NATIVE_RATIO || !probe_modes[m].auto_native))
			continue;
		snprintf(v->auto_why, sizeof(v->auto_why), "%s does not %s in KVM: %.150s", probe_modes[m].what,
			 r->runs ? "run natively" : "run", r->reason);
		return;
	}
	for (unsigned i = 0; i < PROBE_ITEMS; i++) {
		const struct probe_item_result *r = &v->item[i];
		bool untried = probe_item_late(v, i);

		if (!probe_items[i].needed || (r->outcome != PROBE_FAILS && !untried))
			continue;
		snprintf(v->auto_why, sizeof(v->auto_why), "KVM %s %s: %.150s", untried ? "was not tried on" : "fails",
			 probe_items[i].name, untried ? "the time was up" : r->evidence);
		return;
	}
	v->auto_ok = true;
	snprintf(v->auto_why, sizeof(v->auto_why), "%s runs guests natively, and what they need holds",
		 probe_vendor_name(v->vendor));
}

const char *probe_auto_path(const struct probe_verdict *v)
{
	return v->auto_ok ? "kvm" : "bt";
}

void probe_judge(const struct host_facts *f, struct probe_verdict *v)
{
	v->vendor = probe_vendor(f);
	if (v->measured) {
		for (unsigned m = 0; m < PROBE_MODES; m++)
			judge_mode(v, (enum probe_mode)m);
		judge_host(v);
	} else if (probe_device_trouble(f, v->reason, sizeof(v->reason))) {
		v->level = PROBE_UNUSABLE;
	} else {
		v->level = PROBE_UNKNOWN;
		snprintf(v->reason, sizeof(v->reason), "not measured: `steelyard probe` does it");
	}
	judge_auto(f, v);
}
