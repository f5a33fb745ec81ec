// SPDX-License-Identifier: MIT
/* Answers about copies: whether zero-copy is one, why it is not always the fastest, and what a copy costs. */
#include <inttypes.h>
#include <math.h>

#include "explain.h"
#include "render.h"
#include "stats.h"

/* ---- is it zero-copy ---- */

/* Shares from where on the daemon calls a run copied, or zero-copied (verdict_of() of daemon/result.c). */
#define ALL_COPIED 0.999
#define NONE_COPIED 0.001

/* What the runs of one path and workload that asked for zero-copy add up to; the bytes: of those with a
 * ledger. */
struct asked {
	const char *path, *workload, *cause, *cause_evidence, *no_ledger;
	size_t runs, summed, zero_copied, without_ledger;
	struct late bytes;
	double sends, told_zero, told_copied;
};

static double count_at(json_object *result, const char *path)
{
	double v = 0;

	doc_number(result, path, &v);
	return v;
}

static void add_bytes(struct asked *a, json_object *result)
{
	struct late l;

	if (!late_bytes(result, &l))
		return;
	a->summed++;
	a->zero_copied += l.copied <= NONE_COPIED * l.asked;
	a->bytes.asked += l.asked;
	a->bytes.copied += l.copied;
	a->bytes.deferred += l.deferred;
	a->bytes.moved += l.moved;
	a->bytes.unpinned += l.unpinned;
}

static void add_run(struct asked *a, json_object *result)
{
	const char *cause = doc_string(result, "zerocopy.cause");

	a->runs++;
	a->sends += count_at(result, "zerocopy.sends");
	a->told_zero += count_at(result, "zerocopy.completed_zero_copied");
	a->told_copied += count_at(result, "zerocopy.completed_copied");
	if (doc_at(result, "ledger")) {
		add_bytes(a, result);
	} else {
		a->without_ledger++;
		a->no_ledger = doc_text(result, "ledger_reason");
	}
	if (cause) {
		a->cause = cause;
		a->cause_evidence = doc_text(result, "zerocopy.cause_evidence");
	}
}

static bool asks_for_zero_copy(json_object *result)
{
	return count_at(result, "zerocopy.sends") > 0;
}

static void say_by_completions(struct asking *q, const struct asked *a)
{
	say(q,
		"Over %s, %s, the ledger was not kept (%s); by the completions alone %s of %s sends were "
		"copied "
		"after all",
		a->path, a->workload, a->no_ledger, figure_count(whole(a->told_copied)).s,
		figure_count(whole(a->sends)).s);
}

/* "over loopback, stream, 2.0 MB sent as zero-copy in 3 runs ...": what was copied, by which site, and why.
 */
static void say_copied(struct asking *q, const struct asked *a, const char *verdict)
{
	const char *site = late_site(&a->bytes);

	say(q,
		"Over %s, %s, %s: of %s sent as zero-copy in %zu runs %s (%s) were copied after "
		"all%s%s%s%s%s%s%s",
		a->path, a->workload, verdict, figure_bytes(a->bytes.asked).s, a->summed,
		figure_bytes(a->bytes.copied).s, figure_percent(a->bytes.copied, a->bytes.asked).s,
		site ? " (" : "", site ? site : "", site ? ")" : "", a->cause ? ", because: " : "",
		a->cause ? a->cause : "", a->cause ? ", " : "", a->cause ? a->cause_evidence : "");
}

static void say_share(struct asking *q, const struct asked *a)
{
	double share = a->bytes.copied / a->bytes.asked;

	if (share <= NONE_COPIED)
		say(q,
			"Over %s, %s, it is: of %s sent as zero-copy in %zu runs %s were copied again on the "
			"way "
			"out",
			a->path, a->workload, figure_bytes(a->bytes.asked).s, a->summed,
			figure_bytes(a->bytes.copied).s);
	else
		say_copied(q, a, share >= ALL_COPIED ? "it is not" : "it is partly");
	if (share > NONE_COPIED && a->zero_copied)
		say(q, "%zu of these runs were zero-copied, %zu were not", a->zero_copied,
			a->summed - a->zero_copied);
}

static void say_verdict(struct asking *q, const struct asked *a)
{
	if (a->summed)
		say_share(q, a);
	else
		say(q, "Over %s, %s, it is not known: no run says what share of its bytes was copied",
			a->path, a->workload);
	if (a->without_ledger)
		say(q, "%zu more runs have no ledger (%s) and are not in this", a->without_ledger,
			a->no_ledger);
	say(q, "The completions told the application: %s sends zero-copied, %s copied",
		figure_count(whole(a->told_zero)).s, figure_count(whole(a->told_copied)).s);
}

static struct asked add_up(struct asking *q, const struct group *g)
{
	struct asked a = {.path = g->path, .workload = g->workload};

	for (size_t i = 0; i < q->d->n_cells; i++) {
		const struct cell *c = &q->d->cells[i];
		size_t before = a.runs;

		if (!str_eq(c->path, g->path) || !str_eq(c->workload, g->workload))
			continue;
		for (size_t k = 0; k < c->n_runs; k++)
			if (asks_for_zero_copy(c->runs[k]))
				add_run(&a, c->runs[k]);
		if (a.runs > before)
			rest_on(q, c, measure_find("copies_per_byte"));
	}
	return a;
}

/* Groups differ in threads too: the first one of a path and workload speaks for it. */
static bool said_already(const struct asking *q, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(q->groups[k].path, q->groups[i].path) &&
			str_eq(q->groups[k].workload, q->groups[i].workload))
			return true;
	return false;
}

void explain_zero_copy(struct asking *q)
{
	size_t said = 0;

	for (size_t i = 0; i < q->n_groups; i++) {
		struct asked a;

		if (said_already(q, i))
			continue;
		a = add_up(q, &q->groups[i]);
		if (!a.runs)
			continue;
		said++;
		if (a.without_ledger == a.runs)
			say_by_completions(q, &a);
		else
			say_verdict(q, &a);
	}
	if (!said)
		cannot(q, "No run of the data asked for it: sweep a mode that does, as zero-copy or "
			  "uring-send-zc");
}

/* ---- why is it not the fastest ---- */

struct tally {
	size_t places, faster, slower;
	const struct cell *worst, *worst_base;
	struct ratio worst_ratio;
};

static void compare_place(struct asking *q, struct tally *t, const struct group *g, int64_t size)
{
	const struct measure *rate = measure_find("throughput_gbps");
	const struct cell *one = cell_of(q, g, "one-copy", size), *zero = cell_of(q, g, "zero-copy", size);
	struct ratio r = ratio_of(one, zero, rate);

	if (!r.known)
		return;
	t->places++;
	t->faster += surely_above(r, 1);
	t->slower += surely_below(r, 1);
	if (!t->worst || r.mid < t->worst_ratio.mid) {
		t->worst = zero;
		t->worst_base = one;
		t->worst_ratio = r;
	}
}

static void say_worst(struct asking *q, const struct tally *t)
{
	const struct measure *cost = measure_find("cpu_ns_per_byte"),
			     *copies = measure_find("copies_per_byte");
	const struct cell *c = t->worst, *base = t->worst_base;
	struct estimate ns = cell_estimate(c, cost, q->d->seed),
			base_ns = cell_estimate(base, cost, q->d->seed);
	struct estimate n = cell_estimate(c, copies, q->d->seed),
			base_n = cell_estimate(base, copies, q->d->seed);

	say(q, "It is furthest behind at %s over %s, %s, %" PRId64 " thread%s: %s one-copy's throughput",
		figure_size(c->size).s, c->path, c->workload, c->threads, c->threads == 1 ? "" : "s",
		times(t->worst_ratio).s);
	if (n.n && base_n.n && n.median >= base_n.median - 0.01)
		say(q,
			"It saves no copy there: %.2f copies a byte against %.2f with one-copy, and pinning "
			"pages, a "
			"notification a send and reading the error queue come on top",
			n.median, base_n.median);
	else if (n.n && base_n.n)
		say(q,
			"It does save copies there (%.2f a byte against %.2f): what it costs instead is "
			"pinning and completions",
			n.median, base_n.median);
	if (ns.n && base_ns.n)
		say(q, "In CPU time that is %.3g ns a byte against %.3g", ns.median, base_ns.median);
	rest_on(q, c, measure_find("throughput_gbps"));
	rest_on(q, base, measure_find("throughput_gbps"));
	rest_on(q, c, cost);
	rest_on(q, base, cost);
}

void explain_not_fastest(struct asking *q)
{
	struct tally t = {};

	for (size_t i = 0; i < q->n_groups; i++)
		for (size_t k = 0; k < q->n_sizes; k++)
			compare_place(q, &t, &q->groups[i], q->sizes[k]);
	if (!t.places) {
		cannot(q, "The data has no place where both zero-copy and one-copy were measured");
		return;
	}
	say(q,
		"Of %zu places where both were measured zero-copy is faster than one-copy in %zu and slower "
		"in %zu; in "
		"%zu the difference is not sure at 95 %%",
		t.places, t.faster, t.slower, t.places - t.faster - t.slower);
	if (t.worst_ratio.mid < 1)
		say_worst(q, &t);
}

/* ---- what a copy costs ---- */

/* ns a byte that packing adds: two-copy less one-copy. */
static bool say_packing(struct asking *q, const struct group *g, int64_t size)
{
	const struct measure *cost = measure_find("cpu_ns_per_byte");
	const struct cell *two = cell_of(q, g, "two-copy", size), *one = cell_of(q, g, "one-copy", size);
	_cleanup_free_ double *a = NULL, *b = NULL;
	double low, high, coverage, mid_a, mid_b;
	const char *reason;
	ssize_t n_a, n_b;

	if (!two || !one)
		return false;
	n_a = cell_values(one, cost, &a, &reason);
	n_b = cell_values(two, cost, &b, &reason);
	if (n_a < 1 || n_b < 1 ||
		stats_shift_interval(a, n_a, b, n_b, ESTIMATE_LEVEL, &low, &high, &coverage) < 0)
		return false;
	stats_median(a, n_a, &mid_a);
	stats_median(b, n_b, &mid_b);
	say(q,
		"%s, %s: one-copy takes %.3g ns of CPU a byte, two-copy %.3g; packing the fields adds %.3g "
		"(%.3g to "
		"%.3g, %.0f %%)",
		figure_size(size).s, place(g).s, mid_a, mid_b, mid_b - mid_a, low, high, coverage * 100);
	rest_on(q, one, cost);
	rest_on(q, two, cost);
	return true;
}

void explain_cost(struct asking *q)
{
	size_t said = 0;

	for (size_t i = 0; i < q->n_groups; i++) {
		said += say_packing(q, &q->groups[i], q->sizes[0]);
		if (q->n_sizes > 1)
			said += say_packing(q, &q->groups[i], q->sizes[q->n_sizes - 1]);
	}
	if (!said)
		cannot(q, "The data has no place where both two-copy and one-copy were measured with their "
			  "CPU time");
}
