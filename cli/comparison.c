// SPDX-License-Identifier: MIT
/* The document of a comparison, and what it means for an exit status. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>

#include "comparison.h"
#include "contrast.h"
#include "outcome.h"
#include "provenance.h"
#include "stats.h"

#define SCHEMA "copyledger/compare/1"

static int no_memory(struct fault *reterr)
{
	return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
}

static void add_text(json_object *o, const char *name, const char *text)
{
	json_object_object_add(o, name, text ? json_object_new_string(text) : NULL);
}

static void add_number(json_object *o, const char *name, double value)
{
	json_object_object_add(o, name, isfinite(value) ? json_object_new_double(value) : NULL);
}

static void add_count(json_object *o, const char *name, size_t n)
{
	json_object_object_add(o, name, json_object_new_int64((int64_t)n));
}

static void add_place(json_object *o, const struct cell *c)
{
	static const char *const members[] = {"mode", "path", "workload", "size", "threads"};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		json_object_object_add(o, members[i], json_object_get(doc_at(c->spec, members[i])));
}

static json_object *run_ids(const struct cell *c)
{
	json_object *ids = json_object_new_array();

	for (size_t i = 0; i < c->n_runs; i++)
		json_object_array_add(ids, json_object_new_string(doc_text(c->runs[i], "id")));
	return ids;
}

static json_object *side_json(const struct cell *c, const struct measure *m, uint64_t seed)
{
	struct estimate e = cell_estimate(c, m, seed);
	json_object *o = json_object_new_object();

	add_place(o, c);
	add_count(o, "n", e.n);
	add_count(o, "failures", c->failures);
	add_number(o, "median", e.median);
	add_text(o, "reason", e.reason);
	json_object_object_add(o, "run_ids", run_ids(c));
	return o;
}

static void add_outcome(json_object *o, const struct outcome *out)
{
	add_number(o, "ratio", out->ratio);
	add_number(o, "low", out->low);
	add_number(o, "high", out->high);
	add_number(o, "coverage", out->coverage);
	add_number(o, "p", out->p);
	add_number(o, "detectable_percent", 100 * out->detectable);
	add_text(o, "verdict", out->verdict);
	add_text(o, "reason", out->reason);
}

static json_object *cells_json(const struct outcomes *all, const struct measure *m, uint64_t seed)
{
	json_object *cells = json_object_new_array();

	for (size_t i = 0; i + 1 < all->n; i++) {
		json_object *o = json_object_new_object();

		json_object_object_add(o, "a", side_json(all->all[i].pair->a, m, seed));
		json_object_object_add(o, "b", side_json(all->all[i].pair->b, m, seed));
		add_outcome(o, &all->all[i]);
		json_object_array_add(cells, o);
	}
	return cells;
}

static json_object *overall_json(const struct outcomes *all)
{
	const struct outcome *out = &all->all[all->n - 1];
	json_object *o = json_object_new_object();
	size_t cells = 0;

	for (size_t i = 0; i + 1 < all->n; i++)
		cells += outcome_is_known(&all->all[i]);
	add_count(o, "cells", cells);
	add_count(o, "rounds_a", out->n_a);
	add_count(o, "rounds_b", out->n_b);
	add_outcome(o, out);
	return o;
}

/* Cells that one side has alone. */
static json_object *alone_json(const struct pairing *p, bool of_b)
{
	json_object *cells = json_object_new_array();

	for (size_t i = 0; i < p->n; i++) {
		const struct cell *mine = of_b ? p->pairs[i].b : p->pairs[i].a;
		json_object *o;

		if (!mine || (of_b ? p->pairs[i].a : p->pairs[i].b))
			continue;
		o = json_object_new_object();
		add_place(o, mine);
		json_object_object_add(o, "run_ids", run_ids(mine));
		json_object_array_add(cells, o);
	}
	return cells;
}

static json_object *measure_json(const struct measure *m)
{
	static const char *const better[] = {"lower", "neither", "higher"};
	json_object *o = json_object_new_object();

	add_text(o, "name", m->name);
	add_text(o, "title", m->title);
	add_text(o, "unit", m->unit);
	add_text(o, "better", better[m->better - BETTER_LOWER]);
	return o;
}

/* The first and the last moment of a run of the dataset, as text: RFC 3339 sorts. */
static void moments(const struct dataset *d, const char **ret_first, const char **ret_last)
{
	for (size_t i = 0; i < doc_length(d->documents); i++) {
		json_object *run = json_object_array_get_idx(d->documents, i);
		const char *started = doc_string(run, "started"), *ended = doc_string(run, "ended");

		if (started && (!*ret_first || strcmp(started, *ret_first) < 0))
			*ret_first = started;
		if (ended && (!*ret_last || strcmp(ended, *ret_last) > 0))
			*ret_last = ended;
	}
}

static json_object *dataset_json(const struct dataset *d)
{
	const char *first = NULL, *last = NULL;
	json_object *o = json_object_new_object();
	size_t runs = 0, failures = 0;

	for (size_t i = 0; i < d->n_cells; i++) {
		runs += d->cells[i].n_runs;
		failures += d->cells[i].failures;
	}
	moments(d, &first, &last);
	add_text(o, "source", d->source);
	add_text(o, "kind", d->kind);
	add_text(o, "id", d->id);
	add_count(o, "cells", d->n_cells);
	add_count(o, "runs", runs);
	add_count(o, "failures", failures);
	add_text(o, "first", first);
	add_text(o, "last", last);
	return o;
}

/* Runs that both sides have. */
static size_t shared_runs(const struct dataset *a, const struct dataset *b)
{
	_cleanup_json_ json_object *seen = json_object_new_object();
	size_t n = 0;

	for (size_t i = 0; i < doc_length(a->documents); i++)
		json_object_object_add(
			seen, doc_text(json_object_array_get_idx(a->documents, i), "id"), NULL);
	for (size_t i = 0; i < doc_length(b->documents); i++)
		n += json_object_object_get_ex(
			seen, doc_text(json_object_array_get_idx(b->documents, i), "id"), NULL);
	return n;
}

static void add_note(json_object *notes, const char *fmt, ...) _printf_(2, 3);
static void add_note(json_object *notes, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (r >= 0)
		json_object_array_add(notes, json_object_new_string(text));
	else
		text = NULL;
}

/* "A" or "B": that side was measured after the other had ended; NULL: they took turns, or nobody knows. */
static const char *later_side(const struct dataset *a, const struct dataset *b)
{
	const char *first_a = NULL, *last_a = NULL, *first_b = NULL, *last_b = NULL;

	moments(a, &first_a, &last_a);
	moments(b, &first_b, &last_b);
	if (!first_a || !last_a || !first_b || !last_b)
		return NULL;
	return strcmp(last_a, first_b) <= 0 ? "B" : strcmp(last_b, first_a) <= 0 ? "A" : NULL;
}

static void note_order(json_object *notes, const char *later, double drift)
{
	if (!later)
		return;
	add_note(notes,
		"%s was measured after the other had ended: what changed on the machine in between is in "
		"every ratio. Sides that take turns do not have it there (label:x against label:y)",
		later);
	if (isfinite(drift))
		add_note(notes,
			"differences below %.1f %% may be drift of the machine, %d times what lies between "
			"the halves of one side",
			100 * (exp(drift) - 1), OUTCOME_DRIFT);
	else
		add_note(notes, "how far the machine drifts is unknown with so few runs");
}

/* How much of the 10 s before each run some task waited for a CPU, the median; NaN: not recorded. */
static double pressure(const struct dataset *d)
{
	size_t n = 0, most = doc_length(d->documents);
	_cleanup_free_ double *values = malloc((most + 1) * sizeof(*values));
	double m = NAN;

	for (size_t i = 0; values && i < most; i++)
		n += doc_number(json_object_array_get_idx(d->documents, i),
			"host.noise.pressure_cpu.some_avg10_percent", &values[n]);
	if (values)
		stats_median(values, n, &m);
	return m;
}

/* Load by others is the drift that one can see. */
static void note_load(json_object *notes, const struct dataset *a, const struct dataset *b)
{
	double in_a = pressure(a), in_b = pressure(b);

	if (isfinite(in_a) && isfinite(in_b))
		add_note(notes,
			"tasks waited for a CPU %.0f %% of the time as A's runs began, %.0f %% as B's did "
			"(the "
			"kernel's pressure figures, medians)",
			in_a, in_b);
}

/* The least runs a side that can be told apart. */
static size_t least_runs(void)
{
	size_t n = 2;

	while (contrast_smallest_p(n, n) > 1 - COMPARE_LEVEL)
		n++;
	return n;
}

static void note_power(json_object *notes, const struct outcomes *all)
{
	_cleanup_free_ double *d = calloc(all->n, sizeof(*d));
	size_t n = 0, blind = 0, least = SIZE_MAX;
	double middle;

	for (size_t i = 0; d && i + 1 < all->n; i++) {
		const struct outcome *o = &all->all[i];

		if (!outcome_is_known(o))
			continue;
		if (isfinite(o->detectable))
			d[n++] = o->detectable;
		else
			blind++;
		least = MIN(least, MIN(o->n_a, o->n_b));
	}
	if (blind)
		add_note(notes,
			"%zu cells have too few runs to show any difference: %zu a side are the least (then "
			"p can be %.2g)",
			blind, least_runs(), contrast_smallest_p(least_runs(), least_runs()));
	if (d && stats_median(d, n, &middle) == 0)
		add_note(notes,
			"with %zu runs a cell or more and this spread, a cell cannot show less than a "
			"difference of %.1f %% (the median of the cells)",
			least, 100 * middle);
}

static json_object *notes_json(
	const struct dataset *a, const struct dataset *b, const struct outcomes *all, bool refused)
{
	json_object *notes = json_object_new_array();
	size_t shared = shared_runs(a, b);

	if (refused)
		add_note(notes, "the hosts are not the same, or not known: no verdict without --force");
	if (shared)
		add_note(notes, "%zu runs are on both sides", shared);
	else
		note_order(notes, later_side(a, b), all->drift);
	note_load(notes, a, b);
	note_power(notes, all);
	return notes;
}

static json_object *summary_json(const struct outcomes *all)
{
	static const char *const verdicts[] = {
		"better", "worse", "higher", "lower", "no_difference", "unknown", "refused"};
	json_object *o = json_object_new_object();

	for (size_t v = 0; v < ARRAY_SIZE(verdicts); v++) {
		size_t n = 0;

		for (size_t i = 0; i + 1 < all->n; i++)
			n += str_eq(all->all[i].verdict, verdicts[v]);
		add_count(o, verdicts[v], n);
	}
	return o;
}

static json_object *method_json(uint64_t seed)
{
	json_object *o = json_object_new_object();

	add_text(o, "ratio", "median of b over median of a");
	add_text(o, "interval", "Moses, of the logarithms' shift");
	add_text(o, "test",
		"permutation of rounds, Westfall and Young step-down maxT over all cells and the overall "
		"ratio");
	add_number(o, "level", COMPARE_LEVEL);
	add_count(o, "deals", COMPARE_DEALS);
	json_object_object_add(o, "seed", json_object_new_uint64(seed));
	return o;
}

int comparison_make(const struct dataset *a, const struct dataset *b, const struct comparison_settings *s,
	json_object **ret, struct fault *reterr)
{
	_cleanup_(pairing_freep) struct pairing *p = NULL;
	_cleanup_(outcomes_free) struct outcomes all = {};
	_cleanup_json_ json_object *hosts = NULL, *o = NULL;
	struct outcome_settings settings;
	int r;

	r = pairing_make(a, b, &p, reterr);
	if (r < 0)
		return r;
	if (p->n_both == 0)
		return fault_set(reterr, -ENODATA, "nothing_in_common", "",
			"'%s' and '%s' have no cell in common: selections that name a member on both sides, "
			"as in A:mode=two-copy B:mode=one-copy, compare across it",
			a->source, b->source);
	hosts = provenance_compare(a, b);
	settings = (struct outcome_settings){.measure = s->measure,
		.seed = a->seed,
		.refused = doc_flag(hosts, "same_host") != 1 && !s->force,
		.in_a_row = !shared_runs(a, b) && later_side(a, b)};
	if (outcomes_make(&all, p, &settings) < 0)
		return no_memory(reterr);
	o = json_object_new_object();
	add_text(o, "schema", SCHEMA);
	json_object_object_add(o, "measure", measure_json(s->measure));
	json_object_object_add(o, "a", dataset_json(a));
	json_object_object_add(o, "b", dataset_json(b));
	json_object_object_add(hosts, "forced", json_object_new_boolean(s->force));
	json_object_object_add(o, "provenance", TAKE_PTR(hosts));
	json_object_object_add(o, "across", json_object_get(p->fixed));
	json_object_object_add(o, "method", method_json(a->seed));
	json_object_object_add(o, "cells", cells_json(&all, s->measure, a->seed));
	json_object_object_add(o, "only_a", alone_json(p, false));
	json_object_object_add(o, "only_b", alone_json(p, true));
	json_object_object_add(o, "overall", overall_json(&all));
	json_object_object_add(o, "summary", summary_json(&all));
	json_object_object_add(o, "notes", notes_json(a, b, &all, settings.refused));
	add_number(o, "drift_percent", 100 * (exp(all.drift) - 1));
	add_number(o, "threshold_percent", s->threshold_percent);
	*ret = TAKE_PTR(o);
	return 0;
}

/* ---- the exit status ---- */

/* By how much b is worse, in percent of a; ratio of throughput 0.9, or of latency 1.1: 10. */
static double loss_percent(json_object *document, json_object *cell)
{
	double ratio = NAN;

	doc_number(cell, "ratio", &ratio);
	return 100 * (str_eq(doc_text(document, "measure.better"), "higher") ? 1 - ratio : ratio - 1);
}

struct guard {
	size_t over, failed, blind, judged;
	double threshold;
};

static void guard_cell(struct guard *g, json_object *document, json_object *cell)
{
	int64_t runs_a = 0, runs_b = 0;

	doc_integer(cell, "a.n", &runs_a);
	doc_integer(cell, "b.n", &runs_b);
	g->failed += runs_a && !runs_b && doc_string(cell, "b.reason");
	if (str_eq(doc_text(cell, "verdict"), "unknown"))
		return;
	g->judged++;
	g->blind += !doc_at(cell, "detectable_percent");
	g->over += str_eq(doc_text(cell, "verdict"), "worse") && loss_percent(document, cell) > g->threshold;
}

static int guard_says(const struct guard *g, char **ret_why)
{
	if (g->over)
		return asprintf(ret_why, "%zu cells are worse by more than %g %%", g->over, g->threshold);
	if (g->failed)
		return asprintf(ret_why, "%zu cells that A measured have no figure in B", g->failed);
	if (g->blind == g->judged)
		return asprintf(ret_why, "no cell has enough runs to show that it is worse");
	return 0;
}

int comparison_failed(json_object *document, char **ret_why)
{
	json_object *cells = doc_at(document, "cells");
	struct guard g = {};
	int64_t refused = 0, unknown = 0;

	doc_integer(document, "summary.refused", &refused);
	doc_integer(document, "summary.unknown", &unknown);
	if (refused)
		return asprintf(ret_why, "not judged: the hosts differ (--force judges all the same)") > 0;
	if (unknown == (int64_t)doc_length(cells))
		return asprintf(ret_why, "no cell could be compared") > 0;
	if (!doc_number(document, "threshold_percent", &g.threshold))
		return 0;
	for (size_t i = 0; i < doc_length(cells); i++)
		guard_cell(&g, document, json_object_array_get_idx(cells, i));
	return guard_says(&g, ret_why) > 0;
}
