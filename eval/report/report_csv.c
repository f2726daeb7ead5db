// SPDX-License-Identifier: GPL-2.0-or-later
/* Tables for other programs (RFC 4180): a header, names in quotes where they need them, numbers in full. */
#include <string.h>

#include "eval/report/report.h"

static void text(FILE *f, const char *s)
{
	if (!s)
		return;
	if (!strpbrk(s, ",\"\r\n")) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

/* Every figure: its key in parts would differ by kind, so the key stays whole. */
static void all_figures(FILE *f, const struct results *r, const struct figures *g)
{
	(void)r;
	fputs("key,value,lo,hi,n,unit\r\n", f);
	for (unsigned i = 0; i < g->n; i++) {
		text(f, g->f[i].key);
		fprintf(f, ",%.17g,", g->f[i].value);
		if (g->f[i].lo != 0 || g->f[i].hi != 0)
			fprintf(f, "%.17g,%.17g", g->f[i].lo, g->f[i].hi);
		else
			fputc(',', f);
		fprintf(f, ",%u,%s\r\n", g->f[i].n, g->f[i].unit);
	}
}

static void ratios(FILE *f, const struct results *r, const struct figures *g)
{
	fputs("phase,metric,workload,group,path,native_ms,path_ms,ratio,lo,hi,upper,blocks,bootstrap_lo,bootstrap_"
	      "hi\r\n",
	      f);
	for (enum results_phase ph = 0; ph < PHASES; ph++)
		for (enum results_metric m = 0; m < METRICS; m++)
			for (unsigned w = 0; w < r->nworkloads; w++)
				for (unsigned p = 0; p < r->npaths; p++) {
					struct effect e = effect_workload(r, (int)p, w, ph, m);

					if (!e.t.n)
						continue;
					fprintf(f, "%s,%s,", phase_name(ph), metric_name(m));
					text(f, r->workload[w].name);
					fputc(',', f);
					text(f, r->workload[w].group);
					fputc(',', f);
					text(f, r->path[p].label);
					fprintf(f, ",%.9g,%.9g,%.9g", e.native_ns * 1e-6, e.path_ns * 1e-6, e.t.ratio);
					if (e.t.n > 1)
						fprintf(f, ",%.9g,%.9g,%.9g,%u,%.9g,%.9g\r\n", e.t.lo, e.t.hi,
							e.t.upper, e.t.n, e.boot.lo, e.boot.hi);
					else
						fprintf(f, ",,,,%u,,\r\n", e.t.n);
				}
	(void)g;
}

static void samples(FILE *f, const struct results *r, const struct figures *g)
{
	static const char *const pass[] = {"", "0", "1", "slow", "inject", "reference"};

	(void)g;
	fputs("seq,order,block,path,pass,workload,group,scale,phase,iteration,ok,valid,timed,pilot,unquiet,clock,cpu_"
	      "ns,wall_ns,guest_wall_ns,checksum\r\n",
	      f);
	for (unsigned i = 0; i < r->nsamples; i++) {
		const struct results_sample *s = &r->sample[i];

		fprintf(f, "%u,%u,%u,", s->seq, s->order, s->block);
		text(f, results_path_label(r, s->path));
		fprintf(f, ",%s,", pass[s->pass]);
		text(f, r->workload[s->workload].name);
		fputc(',', f);
		text(f, r->workload[s->workload].group);
		fprintf(f, ",%u,%s,%u,%d,%d,%d,%d,%d,%d,%.0f,%.0f,%.0f,", s->scale, phase_name(s->phase), s->iteration,
			s->ok, s->valid, s->timed, s->pilot, s->unquiet, s->clock, s->cpu_ns, s->wall_ns,
			s->guest_wall_ns);
		text(f, s->checksum);
		fputs("\r\n", f);
	}
}

static void boots(FILE *f, const struct results *r, const struct figures *g)
{
	(void)g;
	fputs("order,block,path,ok,pilot,cpu_ns,wall_ns,start_ns,kernel_ns,init_ns,ram_kb,over_ram_kb,why\r\n", f);
	for (unsigned i = 0; i < r->nboots; i++) {
		const struct results_boot *b = &r->boot[i];

		fprintf(f, "%u,%u,", b->order, b->block);
		text(f, results_path_label(r, b->path));
		fprintf(f, ",%d,%d,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,", b->ok, b->pilot, b->cpu_ns, b->wall_ns,
			b->start_ns, b->kernel_ns, b->init_ns, b->ram_kb, b->over_ram_kb);
		text(f, b->why);
		fputs("\r\n", f);
	}
}

static void costs(FILE *f, const struct results *r, const struct figures *g)
{
	(void)g;
	fputs("block,path,item,unit,n,batch,ok,p50,p95,p99,min,mean,why\r\n", f);
	for (unsigned i = 0; i < r->ncosts; i++) {
		const struct results_cost *c = &r->cost[i];

		fprintf(f, "%u,", c->block);
		text(f, results_path_label(r, c->path));
		fputc(',', f);
		text(f, c->item);
		fprintf(f, ",%s,%u,%u,%d,%.9g,%.9g,%.9g,%.9g,%.9g,", c->unit, c->n, c->batch, c->ok, c->p50, c->p95,
			c->p99, c->min, c->mean);
		text(f, c->why);
		fputs("\r\n", f);
	}
}

static const struct csv_table csv_tables[] = {
	{"figures", all_figures}, {"ratios", ratios}, {"samples", samples}, {"boots", boots}, {"costs", costs},
};

const struct csv_table *csv_table_at(unsigned i)
{
	return i < sizeof(csv_tables) / sizeof(csv_tables[0]) ? &csv_tables[i] : NULL;
}
