// SPDX-License-Identifier: MIT
/* The document of an overhead measurement: ratios of pairs, their median, and how sure that is. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>

#include "dataset.h"
#include "overhead.h"
#include "stats.h"

#define SEED 1
#define FEW 6 /* pairs; below, the interval is the range: see stats.h */

static const char *const slice_names[SLICES] = {"on", "off"};
/* The first one decides: a pair without its ratio is left out. */
static const char *const measured[] = {"throughput_gbps", "cpu_ns_per_byte"};

static void add_text(json_object *o, const char *name, const char *text)
{
	json_object_object_add(o, name, text ? json_object_new_string(text) : NULL);
}

static void add_number(json_object *o, const char *name, double value)
{
	json_object_object_add(o, name, isfinite(value) ? json_object_new_double(value) : NULL);
}

static void add_integer(json_object *o, const char *name, int64_t n)
{
	json_object_object_add(o, name, json_object_new_int64(n));
}

static void add_note(json_object *notes, const char *fmt, ...) _printf_(2, 3);

static void add_note(json_object *notes, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	if (text)
		json_object_array_add(notes, json_object_new_string(text));
}

int overhead_first(size_t i)
{
	return i % 2 ? SLICE_OFF : SLICE_ON;
}

/* ---- a pair ---- */

/* A slice's figure; NaN: unknown, or 0, of which there is no ratio. */
static double slice_value(json_object *result, const char *name, const char **ret_reason)
{
	double value;

	if (!result)
		*ret_reason = "there is no result";
	else if (measure_value(measure_find(name), result, &value, ret_reason) == 0 && value > 0)
		return value;
	else if (!*ret_reason)
		*ret_reason = "a figure of 0 has no ratio";
	return NAN;
}

/* On over off; NaN: unknown. */
static double pair_ratio(const struct overhead_pair *p, const char *name, const char **ret_reason)
{
	return slice_value(p->result[SLICE_ON], name, ret_reason) /
	       slice_value(p->result[SLICE_OFF], name, ret_reason);
}

/* Why a slice is not what it should be, owned by the caller. NULL: it is. */
static char *slice_fault(json_object *result, int slice)
{
	const char *state = doc_text(result, "state"), *id = doc_text(result, "id"), *why = NULL;
	char *text = NULL;
	int r = 0;

	if (!result)
		r = asprintf(&text, "its slice with the ledger %s was not measured", slice_names[slice]);
	else if (!str_eq(state, "done"))
		r = asprintf(&text, "run %s with the ledger %s %s%s%s", id, slice_names[slice],
			str_eq(state, "cancelled") ? "was cancelled" : "failed",
			doc_string(result, "error.message") ? ": " : "", doc_text(result, "error.message"));
	else if (slice == SLICE_ON && !doc_at(result, "ledger"))
		r = asprintf(&text, "run %s had no ledger: %s", id, doc_text(result, "ledger_reason"));
	else if (isnan(slice_value(result, measured[0], &why)))
		r = asprintf(&text, "run %s with the ledger %s has no throughput: %s", id, slice_names[slice],
			why);
	return r < 0 ? NULL : text;
}

char *overhead_left_out(const struct overhead_pair *p)
{
	char *why = NULL;

	for (int s = 0; s < SLICES && !why; s++)
		why = slice_fault(p->result[s], s);
	return why;
}

static json_object *slice_json(json_object *result)
{
	json_object *o = json_object_new_object();
	const char *why = NULL;

	add_text(o, "run", doc_text(result, "id"));
	add_text(o, "state", doc_text(result, "state"));
	add_text(o, "tier", doc_string(result, "ledger.tier"));
	for (size_t i = 0; i < ARRAY_SIZE(measured); i++)
		add_number(o, measured[i], slice_value(result, measured[i], &why));
	return o;
}

static json_object *pair_json(const struct overhead_pair *p, size_t i)
{
	json_object *o = json_object_new_object(), *ratios = json_object_new_object();
	_cleanup_free_ char *left_out = overhead_left_out(p);
	const char *why = NULL;

	add_integer(o, "pair", (int64_t)i + 1);
	add_text(o, "first", slice_names[overhead_first(i)]);
	for (int s = 0; s < SLICES; s++)
		json_object_object_add(o, slice_names[s], p->result[s] ? slice_json(p->result[s]) : NULL);
	for (size_t m = 0; m < ARRAY_SIZE(measured); m++)
		add_number(ratios, measured[m], left_out ? NAN : pair_ratio(p, measured[m], &why));
	json_object_object_add(o, "ratios", ratios);
	add_text(o, "left_out", left_out);
	return o;
}

static json_object *pairs_json(const struct overhead *o, size_t *ret_left_out)
{
	json_object *a = json_object_new_array();

	*ret_left_out = 0;
	for (size_t i = 0; i < o->n; i++) {
		json_object *pair = pair_json(&o->pairs[i], i);

		*ret_left_out += doc_string(pair, "left_out") != NULL;
		json_object_array_add(a, pair);
	}
	return a;
}

/* ---- all pairs ---- */

struct sample {
	double *value[SLICES], *log_ratio; /* owned */
	size_t n;
	const char *reason; /* why a pair that is not left out has no ratio */
};

static void sample_free(struct sample *s)
{
	free(s->value[SLICE_ON]);
	free(s->value[SLICE_OFF]);
	free(s->log_ratio);
}

/* 0 or -ENOMEM; sample_free() is due in both cases. */
static int sample_fill(struct sample *s, const struct overhead *o, const char *name)
{
	s->value[SLICE_ON] = calloc(o->n + 1, sizeof(double));
	s->value[SLICE_OFF] = calloc(o->n + 1, sizeof(double));
	s->log_ratio = calloc(o->n + 1, sizeof(double));
	if (!s->value[SLICE_ON] || !s->value[SLICE_OFF] || !s->log_ratio)
		return -ENOMEM;
	for (size_t i = 0; i < o->n; i++) {
		_cleanup_free_ char *left_out = overhead_left_out(&o->pairs[i]);
		double ratio = left_out ? NAN : pair_ratio(&o->pairs[i], name, &s->reason);

		if (isnan(ratio))
			continue;
		for (int k = 0; k < SLICES; k++)
			s->value[k][s->n] = slice_value(o->pairs[i].result[k], name, &s->reason);
		s->log_ratio[s->n++] = log(ratio);
	}
	return 0;
}

/* Of logarithms, so that off over on is the very inverse. */
static void add_estimate(json_object *o, const struct sample *s)
{
	double on = NAN, off = NAN, middle = NAN, low = NAN, high = NAN, coverage = NAN;

	stats_median(s->value[SLICE_ON], s->n, &on);
	stats_median(s->value[SLICE_OFF], s->n, &off);
	stats_median(s->log_ratio, s->n, &middle);
	if (stats_bootstrap_median_interval(
		    s->log_ratio, s->n, ESTIMATE_LEVEL, ESTIMATE_RESAMPLES, SEED, &low, &high) == 0)
		coverage = MIN(ESTIMATE_LEVEL, stats_range_coverage(s->n));
	add_number(o, "on", on);
	add_number(o, "off", off);
	add_number(o, "ratio", exp(middle));
	add_number(o, "low", exp(low));
	add_number(o, "high", exp(high));
	add_number(o, "coverage", coverage);
	add_integer(o, "pairs", (int64_t)s->n);
}

static json_object *measure_json(const struct overhead *o, const char *name)
{
	_cleanup_(sample_free) struct sample s = {};
	const struct measure *m = measure_find(name);
	json_object *j = json_object_new_object();
	int r = sample_fill(&s, o, name);

	add_text(j, "measure", m->name);
	add_text(j, "title", m->title);
	add_text(j, "unit", m->unit);
	add_text(j, "better", m->better == BETTER_HIGHER ? "higher" : "lower");
	if (r < 0)
		s.n = 0;
	add_estimate(j, &s);
	if (r < 0)
		add_text(j, "reason", "out of memory");
	else if (s.n == 0)
		add_text(j, "reason", s.reason ? s.reason : "all pairs were left out");
	else
		add_text(j, "reason", NULL);
	return j;
}

static json_object *method_json(void)
{
	json_object *o = json_object_new_object();

	add_text(o, "order", "pairs of slices next to one another, on off, off on, on off, ...");
	add_text(o, "ratio", "median of the pairs' ratios on / off, by their logarithms");
	add_text(o, "interval",
		"percentile bootstrap of that median over the pairs; of fewer than 6 the smallest to the "
		"largest");
	add_number(o, "level", ESTIMATE_LEVEL);
	add_integer(o, "resamples", ESTIMATE_RESAMPLES);
	add_integer(o, "seed", SEED);
	return o;
}

/* Of the slices with a ledger, the first one that has what path names. */
static json_object *on_slice_with(const struct overhead *o, const char *path)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->pairs[i].result[SLICE_ON] && doc_at(o->pairs[i].result[SLICE_ON], path))
			return o->pairs[i].result[SLICE_ON];
	return NULL;
}

/* Of the runs that ended in order: the books of one that broke off prove nothing. */
static int64_t unbalanced(const struct overhead *o)
{
	int64_t n = 0;

	for (size_t i = 0; i < o->n; i++) {
		json_object *on = o->pairs[i].result[SLICE_ON];

		n += str_eq(doc_text(on, "state"), "done") && doc_flag(on, "ledger.balanced") == 0;
	}
	return n;
}

static bool holds_one(json_object *m)
{
	double low, high;

	return doc_number(m, "low", &low) && doc_number(m, "high", &high) && low <= 1 && high >= 1;
}

static json_object *notes_json(const struct overhead *o, size_t used, json_object *throughput)
{
	json_object *notes = json_object_new_array();

	if (o->watched)
		add_note(notes, "a watch went on: its hooks ran in the slices without a ledger, too, and the "
				"ratio says "
				"what the ledger costs beside them");
	if (doc_flag(on_slice_with(o, "spec"), "spec.hook_times") == 1)
		add_note(notes, "the hooks were timed (--hook-times): that is in what the ledger costs here");
	if (used > 1 && used < FEW)
		add_note(notes,
			"with %zu pairs the interval is the smallest to the largest ratio, which holds the "
			"median %.0f %% of the time: %d pairs or more give one of 95 %%",
			used, 100 * stats_range_coverage(used), FEW);
	if (used >= FEW && holds_one(throughput))
		add_note(notes, "the interval of the throughput holds 1: a longer --duration, more --pairs "
				"or a quieter "
				"machine narrow it");
	if (used == 1)
		add_note(notes, "a single pair has no spread, and so no interval");
	return notes;
}

json_object *overhead_document(const struct overhead *o)
{
	json_object *j = json_object_new_object(), *measures_ = json_object_new_array(), *pairs;
	json_object *with_spec = on_slice_with(o, "spec"), *spec = doc_at(with_spec, "spec");
	size_t left_out;

	pairs = pairs_json(o, &left_out);
	for (size_t i = 0; i < ARRAY_SIZE(measured); i++)
		json_object_array_add(measures_, measure_json(o, measured[i]));
	add_text(j, "schema", OVERHEAD_SCHEMA);
	add_text(j, "state", o->state);
	add_text(j, "label", o->label);
	json_object_object_add(j, "spec", spec ? json_object_get(spec) : NULL);
	add_text(j, "tier", doc_string(on_slice_with(o, "ledger.tier"), "ledger.tier"));
	add_text(j, "kernel", doc_string(with_spec, "host.kernel.release"));
	add_text(j, "cpu", doc_string(with_spec, "host.cpu.model"));
	add_integer(j, "slice_ms", o->slice_ms);
	add_integer(j, "pairs_asked", (int64_t)o->asked);
	add_integer(j, "pairs_used", (int64_t)(o->n - left_out));
	add_integer(j, "pairs_left_out", (int64_t)left_out);
	add_integer(j, "unbalanced", unbalanced(o));
	json_object_object_add(j, "method", method_json());
	json_object_object_add(j, "measures", measures_);
	json_object_object_add(j, "pairs", pairs);
	json_object_object_add(
		j, "notes", notes_json(o, o->n - left_out, json_object_array_get_idx(measures_, 0)));
	return j;
}

int overhead_status(json_object *document)
{
	int64_t used = 0, off_balance = 0;

	doc_integer(document, "pairs_used", &used);
	doc_integer(document, "unbalanced", &off_balance);
	if (!str_eq(doc_text(document, "state"), "done") || used == 0)
		return STATUS_FAILED;
	return off_balance ? STATUS_UNBALANCED : STATUS_OK;
}
