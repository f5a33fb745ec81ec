// SPDX-License-Identifier: MIT
/* What was unexpected: rules as a table, each of which looks through the data for one thing. */
#include <inttypes.h>
#include <math.h>

#include "explain.h"
#include "render.h"

#define EXAMPLES 3       /* of one rule; the rest is counted */
#define PAYS_FROM 10240  /* bytes: what the kernel's msg_zerocopy document says of a write */
#define SMALL_FIELD 4096 /* bytes: a page; what an entry of an iovec costs is little beside copying more */
#define WIDE 0.2

struct finding {
	struct asking *q;
	size_t n;
};

/* Whether this one is still told. */
static bool one_more(struct finding *f)
{
	return f->n++ < EXAMPLES;
}

typedef void (*place_rule)(struct finding *f, const struct group *g, int64_t size);

static void slower_than(struct finding *f, const struct group *g, int64_t size, const char *mode,
	const char *than, const char *why)
{
	const struct measure *rate = measure_find("throughput_gbps");
	const struct cell *base = cell_of(f->q, g, than, size), *c = cell_of(f->q, g, mode, size);
	struct ratio r = ratio_of(base, c, rate);

	if (!surely_below(r, 1) || !one_more(f))
		return;
	say(f->q, "%s is slower than %s at %s, %s: %s its throughput; %s", mode, than, figure_size(size).s,
		place(g).s, times(r).s, why);
	rest_on(f->q, base, rate);
	rest_on(f->q, c, rate);
}

/* Fields of many KiB, or a single one, are no reason why copying them together first should be faster. */
static void packing_wins(struct finding *f, const struct group *g, int64_t size)
{
	const struct cell *c = cell_of(f->q, g, "one-copy", size);
	char why[120] = "an iovec of many small fields costs more than copying them together";
	int64_t fields;

	if (c && doc_integer(c->spec, "fields", &fields) && fields > 0 &&
		(fields == 1 || size / fields > SMALL_FIELD))
		snprintf(why, sizeof(why), "%" PRId64 " field%s of %s do%s not explain it by the iovec",
			fields, fields == 1 ? "" : "s", figure_mean_size((double)size / (double)fields).s,
			fields == 1 ? "es" : "");
	slower_than(f, g, size, "one-copy", "two-copy", why);
}

static void zero_copy_does_not_pay(struct finding *f, const struct group *g, int64_t size)
{
	if (size >= PAYS_FROM)
		slower_than(f, g, size, "zero-copy", "one-copy",
			"the kernel's document says that it pays above about 10 KB a write");
}

static void each_place(struct finding *f, place_rule rule)
{
	for (size_t i = 0; i < f->q->n_groups; i++)
		for (size_t k = 0; k < f->q->n_sizes; k++)
			rule(f, &f->q->groups[i], f->q->sizes[k]);
}

static void packing(struct finding *f)
{
	each_place(f, packing_wins);
}

static void does_not_pay(struct finding *f)
{
	each_place(f, zero_copy_does_not_pay);
}

/* Cells in order: of neighbours that differ in the threads only. */
static void falls_with_threads(struct finding *f)
{
	const struct measure *rate = measure_find("throughput_gbps");

	for (size_t i = 1; i < f->q->d->n_cells; i++) {
		const struct cell *a = &f->q->d->cells[i - 1], *b = &f->q->d->cells[i];
		struct ratio r;

		if (a->size != b->size || !str_eq(a->mode, b->mode) || !str_eq(a->path, b->path) ||
			!str_eq(a->workload, b->workload) || a->threads >= b->threads)
			continue;
		r = ratio_of(a, b, rate);
		if (!surely_below(r, 1) || !one_more(f))
			continue;
		say(f->q,
			"%s at %s over %s, %s carries less with more threads: %" PRId64
			" carry %s what %" PRId64 " did",
			b->mode, figure_size(b->size).s, b->path, b->workload, b->threads, times(r).s,
			a->threads);
		rest_on(f->q, a, rate);
		rest_on(f->q, b, rate);
	}
}

static void wide_spread(struct finding *f)
{
	const struct measure *rate = measure_find("throughput_gbps");
	size_t cells = 0;

	for (size_t i = 0; i < f->q->d->n_cells; i++) {
		const struct cell *c = &f->q->d->cells[i];
		struct estimate e = cell_estimate(c, rate, f->q->d->seed);

		cells += e.n > 1;
		if (e.n > 1 && (e.high - e.low) / e.median > WIDE)
			f->n++;
	}
	if (f->n)
		say(f->q,
			"In %zu of %zu cells the interval of the throughput is wider than 20 %% of it: the "
			"machine is noisy, or "
			"the runs are short",
			f->n, cells);
	f->n = MIN(f->n, 1U);
}

static double over_lanes(json_object *result, const char *path)
{
	json_object *lanes = doc_at(result, "lanes");
	double sum = 0, v;

	for (size_t i = 0; i < doc_length(lanes); i++)
		if (doc_number(json_object_array_get_idx(lanes, i), path, &v))
			sum += v;
	return sum;
}

static double retransmitted(json_object *result)
{
	return over_lanes(result, "tcp.bytes_retrans");
}

static double refused(json_object *result)
{
	double v = 0;

	doc_number(result, "zerocopy.enobufs", &v);
	return v;
}

static double unbalanced(json_object *result)
{
	return doc_flag(result, "ledger.balanced") == 0;
}

static double inexact(json_object *result)
{
	return doc_flag(result, "ledger.exact") == 0;
}

static double without_ledger(json_object *result)
{
	return !doc_at(result, "ledger");
}

/* Figures that are 0 where all is as expected: summed over the runs, and the runs counted that have one. */
static const struct odd_sum {
	double (*figure)(json_object *result);
	const char *fmt; /* the runs that have it, all runs, the sum */
} odd_sums[] = {
	{retransmitted, "%zu of %zu runs sent bytes again on a path of this host, %s bytes in all"},
	{refused, "In %zu of %zu runs the kernel refused sends with ENOBUFS for want of memory to pin, %s "
		  "times in all"},
	{unbalanced,
		"The books of %zu of %zu runs do not balance (%s): 'copyledger show' of each says where"},
	{inexact, "%zu of %zu runs are not exact (%s): the kernel did not show everything to the hooks, each "
		  "says what"},
	{without_ledger, "%zu of %zu runs have no ledger (%s), so nothing is known of their copies"},
};

static void add_sum(struct finding *f, const struct odd_sum *odd)
{
	size_t runs = 0, having = 0;
	double sum = 0;

	for (size_t i = 0; i < f->q->d->n_cells; i++)
		for (size_t k = 0; k < f->q->d->cells[i].n_runs; k++) {
			double v = odd->figure(f->q->d->cells[i].runs[k]);

			runs++;
			having += v > 0;
			sum += v;
		}
	if (!having)
		return;
	f->n++;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	say(f->q, odd->fmt, having, runs, figure_count(whole(sum)).s);
#pragma GCC diagnostic pop
}

static void sums(struct finding *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(odd_sums); i++)
		add_sum(f, &odd_sums[i]);
	f->n = MIN(f->n, (size_t)EXAMPLES);
}

static void failures(struct finding *f)
{
	for (size_t i = 0; i < f->q->d->n_cells; i++) {
		const struct cell *c = &f->q->d->cells[i];

		if (c->failures && one_more(f))
			say(f->q, "%zu run%s of %s at %s with %" PRId64 " threads failed: %s", c->failures,
				c->failures == 1 ? "" : "s", c->mode, figure_size(c->size).s, c->threads,
				c->failure);
	}
}

static const struct rule {
	const char *name;
	void (*look)(struct finding *f);
} rules[] = {
	{"packing beats the iovec", packing},
	{"zero-copy does not pay at large messages", does_not_pay},
	{"less with more threads", falls_with_threads},
	{"wide intervals", wide_spread},
	{"retransmits, refused sends, books", sums},
	{"failed runs", failures},
};

void explain_unexpected(struct asking *q)
{
	size_t found = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		struct finding f = {.q = q};

		rules[i].look(&f);
		found += f.n;
		if (f.n > EXAMPLES)
			say(q, "The same (%s) holds in %zu more places", rules[i].name, f.n - EXAMPLES);
	}
	if (!found)
		say(q, "Nothing of what is looked for: packing that beats an iovec, zero-copy that does not "
		       "pay at large "
		       "messages, less with more threads, wide intervals, retransmits, refused sends, books "
		       "that do not "
		       "balance, failed runs");
}
