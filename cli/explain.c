// SPDX-License-Identifier: MIT
/* The questions as a table, and what all answers share: sentences, figures, ratios. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "explain.h"
#include "render.h"
#include "stats.h"

static const struct question {
	const char *id, *text;
	void (*answer)(struct asking *q);
} questions[] = {
	{"zero_copy", "Is zero-copy zero-copy here at all?", explain_zero_copy},
	{"not_fastest", "Why is zero-copy not always the fastest?", explain_not_fastest},
	{"crossovers", "From what message size does which way pay here?", explain_crossovers},
	{"cost", "What does a copy cost here?", explain_cost},
	{"caches", "Which cache level gains most?", explain_caches},
	{"threads", "How do threads and cache contention interact?", explain_threads},
	{"unexpected", "What was unexpected?", explain_unexpected},
};

/* ---- what an answer is made of ---- */

static void add_sentence(struct asking *q, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	json_object_array_add(doc_at(q->answer, "sentences"), json_object_new_string(text));
}

void say(struct asking *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_sentence(q, fmt, ap);
	va_end(ap);
}

void cannot(struct asking *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_sentence(q, fmt, ap);
	va_end(ap);
	json_object_object_add(q->answer, "answered", json_object_new_boolean(false));
}

static json_object *number_or_null(double v)
{
	return isfinite(v) ? json_object_new_double(v) : NULL;
}

static json_object *run_ids(const struct cell *c)
{
	json_object *ids = json_object_new_array();

	for (size_t i = 0; i < c->n_runs; i++)
		json_object_array_add(ids, json_object_new_string(doc_text(c->runs[i], "id")));
	return ids;
}

void rest_on(struct asking *q, const struct cell *c, const struct measure *m)
{
	struct estimate e = cell_estimate(c, m, q->d->seed);
	json_object *o = json_object_new_object();

	json_object_object_add(o, "measure", json_object_new_string(m->name));
	json_object_object_add(o, "unit", json_object_new_string(m->unit));
	json_object_object_add(o, "mode", json_object_new_string(c->mode));
	json_object_object_add(o, "size", json_object_new_int64(c->size));
	json_object_object_add(o, "threads", json_object_new_int64(c->threads));
	json_object_object_add(o, "path", json_object_new_string(c->path));
	json_object_object_add(o, "workload", json_object_new_string(c->workload));
	json_object_object_add(o, "median", number_or_null(e.median));
	json_object_object_add(o, "low", number_or_null(e.low));
	json_object_object_add(o, "high", number_or_null(e.high));
	json_object_object_add(o, "coverage", number_or_null(e.coverage));
	json_object_object_add(o, "n", json_object_new_int64((int64_t)e.n));
	json_object_object_add(o, "runs", run_ids(c));
	json_object_array_add(doc_at(q->answer, "rests_on"), o);
}

/* ---- cells ---- */

const struct cell *cell_of(const struct asking *q, const struct group *g, const char *mode, int64_t size)
{
	return dataset_cell(q->d, g->path, g->workload, mode, size, g->threads);
}

static double *logs_of(const struct cell *c, const struct measure *m, ssize_t *ret_n)
{
	const char *reason;
	double *values;

	*ret_n = cell_values(c, m, &values, &reason);
	if (*ret_n < 0)
		return NULL;
	for (ssize_t i = 0; i < *ret_n; i++)
		values[i] = log(values[i]);
	return values;
}

struct ratio ratio_of(const struct cell *base, const struct cell *c, const struct measure *m)
{
	_cleanup_free_ double *a = NULL, *b = NULL;
	struct ratio r = {.mid = NAN, .low = NAN, .high = NAN};
	double mid_a, mid_b;
	ssize_t n_a, n_b;

	if (!base || !c)
		return r;
	a = logs_of(base, m, &n_a);
	b = logs_of(c, m, &n_b);
	if (!a || !b || stats_median(a, n_a, &mid_a) < 0 || stats_median(b, n_b, &mid_b) < 0)
		return r;
	r.mid = exp(mid_b - mid_a);
	r.known = isfinite(r.mid);
	if (stats_shift_interval(a, n_a, b, n_b, ESTIMATE_LEVEL, &r.low, &r.high, &r.coverage) < 0)
		return r;
	r.low = exp(r.low);
	r.high = exp(r.high);
	return r;
}

/* What decides is an interval that holds at 95 %: three runs a side have one of 90 % at most. */
static bool is_sure(struct ratio r)
{
	return r.known && r.coverage >= ESTIMATE_LEVEL;
}

bool surely_above(struct ratio r, double limit)
{
	return is_sure(r) && r.low > limit;
}

bool surely_below(struct ratio r, double limit)
{
	return is_sure(r) && r.high < limit;
}

struct phrase times(struct ratio r)
{
	struct phrase p;

	if (is_sure(r))
		snprintf(p.s, sizeof(p.s), "%.2f times (%.2f to %.2f)", r.mid, r.low, r.high);
	else
		snprintf(p.s, sizeof(p.s), "%.2f times (too few runs for an interval)", r.mid);
	return p;
}

struct phrase place(const struct group *g)
{
	struct phrase p;

	snprintf(p.s, sizeof(p.s), "over %.60s, %.20s, %" PRId64 " thread%s", g->path, g->workload,
		g->threads, g->threads == 1 ? "" : "s");
	return p;
}

static bool has_group(const struct asking *q, const struct cell *c)
{
	for (size_t i = 0; i < q->n_groups; i++)
		if (q->groups[i].threads == c->threads && str_eq(q->groups[i].path, c->path) &&
			str_eq(q->groups[i].workload, c->workload))
			return true;
	return false;
}

static void add_size(struct asking *q, int64_t size)
{
	size_t i = q->n_sizes;

	for (size_t k = 0; k < q->n_sizes; k++)
		if (q->sizes[k] == size)
			return;
	for (; i > 0 && q->sizes[i - 1] > size; i--)
		q->sizes[i] = q->sizes[i - 1];
	q->sizes[i] = size;
	q->n_sizes++;
}

static int lay_out(struct asking *q)
{
	q->groups = calloc(q->d->n_cells, sizeof(*q->groups));
	q->sizes = calloc(q->d->n_cells, sizeof(*q->sizes));
	if (!q->groups || !q->sizes)
		return -ENOMEM;
	for (size_t i = 0; i < q->d->n_cells; i++) {
		const struct cell *c = &q->d->cells[i];

		if (!has_group(q, c))
			q->groups[q->n_groups++] = (struct group){c->path, c->workload, c->threads};
		add_size(q, c->size);
	}
	return 0;
}

/* ---- the document ---- */

static void ask(struct asking *q, const struct question *question, json_object *answers)
{
	q->answer = json_object_new_object();
	json_object_object_add(q->answer, "id", json_object_new_string(question->id));
	json_object_object_add(q->answer, "question", json_object_new_string(question->text));
	json_object_object_add(q->answer, "answered", json_object_new_boolean(true));
	json_object_object_add(q->answer, "sentences", json_object_new_array());
	json_object_object_add(q->answer, "rests_on", json_object_new_array());
	json_object_array_add(answers, q->answer);
	question->answer(q);
}

static json_object *text_or_null(const char *s)
{
	return s && *s ? json_object_new_string(s) : NULL;
}

static json_object *source_of(const struct dataset *d)
{
	json_object *o = json_object_new_object(), *example = dataset_example(d);
	size_t runs = 0, failures = 0;

	for (size_t i = 0; i < d->n_cells; i++) {
		runs += d->cells[i].n_runs;
		failures += d->cells[i].failures;
	}
	json_object_object_add(o, "name", json_object_new_string(d->source));
	json_object_object_add(o, "id", json_object_new_string(d->id));
	json_object_object_add(o, "kind", json_object_new_string(d->kind));
	json_object_object_add(o, "seed", json_object_new_int64((int64_t)d->seed));
	json_object_object_add(o, "cells", json_object_new_int64((int64_t)d->n_cells));
	json_object_object_add(o, "runs", json_object_new_int64((int64_t)runs));
	json_object_object_add(o, "failed_runs", json_object_new_int64((int64_t)failures));
	json_object_object_add(o, "kernel", text_or_null(doc_string(example, "host.kernel.release")));
	json_object_object_add(o, "cpu", text_or_null(doc_string(example, "host.cpu.model")));
	return o;
}

int explain_answers(const struct dataset *d, json_object **ret)
{
	_cleanup_json_ json_object *o = json_object_new_object(), *answers = json_object_new_array();
	struct asking q = {.d = d};
	int r = o && answers ? lay_out(&q) : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(questions) && r == 0; i++)
		ask(&q, &questions[i], answers);
	free(q.groups);
	free(q.sizes);
	if (r < 0)
		return r;
	json_object_object_add(o, "schema", json_object_new_string(EXPLAIN_SCHEMA));
	json_object_object_add(o, "source", source_of(d));
	json_object_object_add(o, "answers", TAKE_PTR(answers));
	*ret = TAKE_PTR(o);
	return 0;
}
