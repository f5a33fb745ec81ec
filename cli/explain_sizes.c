// SPDX-License-Identifier: MIT
/* Answers about sizes: from where on one way beats another, in throughput and in CPU time. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "crossover.h"
#include "explain.h"

static const struct pair {
	const char *a, *b;
} pairs[] = {
	{"two-copy", "one-copy"},
	{"two-copy", "zero-copy"},
	{"one-copy", "zero-copy"},
};

/* By which figures one way beats another; where less is better the sides change places. */
static const struct by {
	const char *measure, *words;
} bys[] = {
	{"throughput_gbps", "throughput"},
	{"cpu_ns_per_byte", "CPU time a byte"},
};

struct curve {
	struct cross_point *points;
	bool *ahead;     /* of each point: the second way, surely */
	double **values; /* two a point, owned */
	size_t n;
	size_t least; /* runs of the cell that has fewest */
};

static void curve_free(struct curve *c)
{
	for (size_t i = 0; c->values && i < 2 * c->n; i++)
		free(c->values[i]);
	free(c->values);
	free(c->points);
	free(c->ahead);
}

static void add_point(struct asking *q, struct curve *c, const struct group *g, const struct pair *pair,
	int64_t size, const struct measure *m)
{
	const struct cell *a = cell_of(q, g, pair->a, size), *b = cell_of(q, g, pair->b, size);
	double **v = &c->values[2 * c->n];
	const char *reason;
	ssize_t n_a, n_b;

	if (!a || !b)
		return;
	n_a = cell_values(a, m, &v[0], &reason);
	n_b = cell_values(b, m, &v[1], &reason);
	c->n++; /* so that what was got is freed */
	if (n_a < 1 || n_b < 1) {
		free(v[0]);
		free(v[1]);
		v[0] = v[1] = NULL;
		c->n--;
		return;
	}
	c->least = MIN(c->least, MIN((size_t)n_a, (size_t)n_b));
	c->points[c->n - 1] =
		m->better == BETTER_HIGHER
			? (struct cross_point){(double)size, v[0], v[1], (size_t)n_a, (size_t)n_b}
			: (struct cross_point){(double)size, v[1], v[0], (size_t)n_b, (size_t)n_a};
	rest_on(q, a, m);
	rest_on(q, b, m);
}

static int curve_make(struct asking *q, const struct group *g, const struct pair *pair,
	const struct measure *m, struct curve *ret)
{
	*ret = (struct curve){.least = SIZE_MAX};
	ret->points = calloc(q->n_sizes, sizeof(*ret->points));
	ret->values = calloc(2 * q->n_sizes, sizeof(*ret->values));
	ret->ahead = calloc(q->n_sizes, sizeof(*ret->ahead));
	if (!ret->points || !ret->values || !ret->ahead)
		return -ENOMEM;
	for (size_t i = 0; i < q->n_sizes; i++)
		add_point(q, ret, g, pair, q->sizes[i], m);
	return 0;
}

/* "between 2 KiB and 9 KiB", with the ends of the grid where the interval leaves it. */
static struct phrase interval(const struct curve *c, const struct crossover *x)
{
	double first = c->points[0].size, last = c->points[c->n - 1].size;
	struct phrase p;

	if (x->low == 0)
		snprintf(p.s, sizeof(p.s), "from %s on at the latest, perhaps from the smallest on",
			figure_mean_size(x->high).s);
	else if (isinf(x->high))
		snprintf(p.s, sizeof(p.s), "from %s on at the earliest, perhaps not even at %s",
			figure_mean_size(x->low).s, figure_size((int64_t)last).s);
	else
		snprintf(p.s, sizeof(p.s), "from a size between %s and %s on",
			figure_mean_size(MAX(x->low, first)).s, figure_mean_size(x->high).s);
	return p;
}

/* "64 B to 4 KiB and 64 KiB": where the second way is ahead; "": nowhere. Owned by the caller. */
static char *where_ahead(const struct curve *c)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	const char *sep = "";

	if (!f)
		return NULL;
	for (size_t i = 0, end; i < c->n; i = end + 1) {
		for (end = i; end < c->n && c->ahead[end];)
			end++;
		if (end == i)
			continue;
		fprintf(f, "%s%s", sep, figure_size((int64_t)c->points[i].size).s);
		if (end > i + 1)
			fprintf(f, " to %s", figure_size((int64_t)c->points[end - 1].size).s);
		sep = " and ";
	}
	fclose(f);
	return text;
}

/* Behind at the last size: that is "never" only where no smaller one is surely ahead. */
static void say_behind_at_last(struct asking *q, const struct group *g, const struct pair *pair,
	const struct by *by, const struct curve *c)
{
	struct phrase last = {};
	_cleanup_free_ char *where = where_ahead(c);

	snprintf(last.s, sizeof(last.s), "%s", figure_size((int64_t)c->points[c->n - 1].size).s);
	if (where && *where)
		say(q, "%s beats %s in %s at %s, but no longer at %s, %s (95 %%, %zu runs a cell or more)",
			pair->b, pair->a, by->words, where, last.s, place(g).s, c->least);
	else
		say(q, "%s never beats %s in %s between %s and %s, %s", pair->b, pair->a, by->words,
			figure_size((int64_t)c->points[0].size).s, last.s, place(g).s);
}

/* The same four for every pair: how each end is said. */
static void say_crossing(struct asking *q, const struct group *g, const struct pair *pair,
	const struct by *by, const struct curve *c, const struct crossover *x)
{
	struct phrase first = {}, last = {};

	snprintf(first.s, sizeof(first.s), "%s", figure_size((int64_t)c->points[0].size).s);
	snprintf(last.s, sizeof(last.s), "%s", figure_size((int64_t)c->points[c->n - 1].size).s);
	switch (x->kind) {
	case CROSS_NONE:
		say_behind_at_last(q, g, pair, by, c);
		break;
	case CROSS_ALWAYS:
		say(q, "%s beats %s in %s at every size from %s to %s, %s", pair->b, pair->a, by->words,
			first.s, last.s, place(g).s);
		break;
	case CROSS_UNDECIDED:
		say(q,
			"Whether %s beats %s in %s anywhere between %s and %s is not decided by %zu runs a "
			"cell, %s",
			pair->b, pair->a, by->words, first.s, last.s, c->least, place(g).s);
		break;
	case CROSS_AT:
		say(q, "%s beats %s in %s %s, %s (95 %%, %zu runs a cell or more)", pair->b, pair->a,
			by->words, interval(c, x).s, place(g).s, c->least);
		break;
	}
}

static size_t cross(struct asking *q, const struct group *g, const struct pair *pair, const struct by *by)
{
	struct crossover x;
	struct curve c;
	size_t said = 0;
	int r = curve_make(q, g, pair, measure_find(by->measure), &c);

	if (r == 0 && c.n >= 2) {
		r = crossover_find(c.points, c.n, ESTIMATE_LEVEL, ESTIMATE_RESAMPLES, q->d->seed, &x);
		if (r == 0)
			r = crossover_ahead(
				c.points, c.n, ESTIMATE_LEVEL, ESTIMATE_RESAMPLES, q->d->seed, c.ahead);
		if (r == 0)
			say_crossing(q, g, pair, by, &c, &x);
		else if (r == -ENODATA)
			say(q, "%s against %s in %s, %s: a run a cell gives no interval, so nothing is said",
				pair->b, pair->a, by->words, place(g).s);
		said = 1;
	}
	curve_free(&c);
	return said;
}

void explain_crossovers(struct asking *q)
{
	size_t said = 0;

	for (size_t g = 0; g < q->n_groups; g++)
		for (size_t b = 0; b < ARRAY_SIZE(bys); b++)
			for (size_t p = 0; p < ARRAY_SIZE(pairs); p++)
				said += cross(q, &q->groups[g], &pairs[p], &bys[b]);
	if (!said)
		cannot(q, "That takes two of two-copy, one-copy and zero-copy at two sizes at least: sweep "
			  "more "
			  "of them");
}
