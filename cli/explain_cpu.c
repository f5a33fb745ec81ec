// SPDX-License-Identifier: MIT
/* Answers about caches and threads, as far as the machine counts what they take. */
#include <inttypes.h>
#include <math.h>

#include "explain.h"
#include "render.h"
#include "stats.h"

static const struct level {
	const char *name, *measure;
} levels[] = {
	{"L1 data cache", "l1d_misses"},
	{"last-level cache", "cache_misses"},
};

static const char *const modes[] = {"two-copy", "one-copy", "zero-copy"};

/* Why no cell has the figure; NULL: one has. */
static const char *nowhere(const struct asking *q, const struct measure *m)
{
	const char *reason = "there is no run that ended";

	for (size_t i = 0; i < q->d->n_cells; i++) {
		struct estimate e = cell_estimate(&q->d->cells[i], m, q->d->seed);

		if (e.n)
			return NULL;
		reason = e.reason ? e.reason : reason;
	}
	return reason;
}

#define NEEDED                                                                                               \
	"It would take a machine whose CPU counts them: bare metal, or a virtual machine with a virtual "    \
	"PMU, and "                                                                                          \
	"kernel.perf_event_paranoid at 2 or less for a daemon with CAP_PERFMON"

/* Whether a run asked for the counters and the CPU or the kernel had none for it. */
static bool refused_here(const struct asking *q)
{
	for (size_t i = 0; i < q->d->n_cells; i++)
		for (size_t k = 0; k < q->d->cells[i].n_runs; k++)
			if (doc_reason(q->d->cells[i].runs[k], "perf.sender.llc_misses"))
				return true;
	return false;
}

static void cannot_count(struct asking *q, const char *reason)
{
	if (refused_here(q)) {
		cannot(q, "This machine cannot answer: no cache counters (%s)", reason);
		say(q, NEEDED);
		return;
	}
	cannot(q, "The data cannot answer: no cache counters (%s)", reason);
	if (doc_flag(dataset_example(q->d), "spec.perf") == 0)
		say(q, "It would take the same runs without --no-perf");
}

/* Misses per 1,000 bytes delivered in the window, as a median over runs; the window's bytes, as the counters'
 * are. */
static bool misses_per_kb(const struct cell *c, const struct measure *m, double *ret)
{
	_cleanup_free_ double *ratios = c && c->n_runs ? malloc(c->n_runs * sizeof(*ratios)) : NULL;
	size_t n = 0;

	for (size_t i = 0; ratios && i < c->n_runs; i++) {
		double misses, bytes;
		const char *reason;

		if (measure_value(m, c->runs[i], &misses, &reason) == 0 &&
			doc_number(c->runs[i], "app.bytes_received", &bytes) && bytes > 0)
			ratios[n++] = misses / bytes * 1000;
	}
	return n > 0 && stats_median(ratios, n, ret) == 0;
}

/* "33 % fewer" than base. */
static struct phrase fewer(double base, double now)
{
	struct phrase p;

	if (base > 0)
		snprintf(p.s, sizeof(p.s), "%.0f %% %s", fabs(1 - now / base) * 100,
			now > base ? "more" : "fewer");
	else
		snprintf(p.s, sizeof(p.s), "%s", now > 0 ? "more, from none" : "none to save");
	return p;
}

static size_t say_level(struct asking *q, const struct group *g, int64_t size, const struct level *level)
{
	const struct measure *m = measure_find(level->measure);
	double per_kb[ARRAY_SIZE(modes)];

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!misses_per_kb(cell_of(q, g, modes[i], size), m, &per_kb[i]))
			return 0;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		rest_on(q, cell_of(q, g, modes[i], size), m);
	say(q,
		"%s, %s: %s misses per 1,000 bytes: two-copy %.2f, one-copy %.2f, zero-copy %.2f; without "
		"the packing %s (one-copy against two-copy), without the copy to the kernel %s (zero-copy "
		"against one-copy)",
		figure_size(size).s, place(g).s, level->name, per_kb[0], per_kb[1], per_kb[2],
		fewer(per_kb[0], per_kb[1]).s, fewer(per_kb[1], per_kb[2]).s);
	return 1;
}

void explain_caches(struct asking *q)
{
	const char *reason = nowhere(q, measure_find("cache_misses")),
		   *l1 = nowhere(q, measure_find("l1d_misses"));
	size_t said = 0;

	if (reason && l1) {
		cannot_count(q, reason);
		return;
	}
	for (size_t i = 0; i < q->n_groups; i++)
		for (size_t k = 0; k < ARRAY_SIZE(levels); k++)
			said += say_level(q, &q->groups[i], q->sizes[q->n_sizes - 1], &levels[k]);
	if (!said)
		cannot(q, "The data has no place where two-copy, one-copy and zero-copy were all counted at "
			  "the largest size");
}

/* ---- threads ---- */

/* The group with as many threads as possible that differs from g in these only; NULL: g has most itself. */
static const struct group *widest(const struct asking *q, const struct group *g)
{
	const struct group *found = NULL;

	for (size_t i = 0; i < q->n_groups; i++) {
		const struct group *other = &q->groups[i];

		if (str_eq(other->path, g->path) && str_eq(other->workload, g->workload) &&
			other->threads > (found ? found->threads : g->threads))
			found = other;
	}
	return found;
}

static bool is_narrowest(const struct asking *q, const struct group *g)
{
	for (size_t i = 0; i < q->n_groups; i++)
		if (str_eq(q->groups[i].path, g->path) && str_eq(q->groups[i].workload, g->workload) &&
			q->groups[i].threads < g->threads)
			return false;
	return true;
}

static size_t say_scaling(
	struct asking *q, const struct group *few, const struct group *many, const char *mode, int64_t size)
{
	const struct measure *rate = measure_find("throughput_gbps"), *cost = measure_find("cpu_ns_per_byte");
	const struct cell *a = cell_of(q, few, mode, size), *b = cell_of(q, many, mode, size);
	struct ratio r = ratio_of(a, b, rate), c = ratio_of(a, b, cost);

	if (!r.known)
		return 0;
	say(q, "%s, %s over %s, %s: %" PRId64 " threads carry %s what %" PRId64 " carr%s%s%s", mode,
		figure_size(size).s, few->path, few->workload, many->threads, times(r).s, few->threads,
		few->threads == 1 ? "ies" : "y", c.known ? ", at a CPU time a byte of " : "",
		c.known ? times(c).s : "");
	rest_on(q, a, rate);
	rest_on(q, b, rate);
	return 1;
}

void explain_threads(struct asking *q)
{
	const char *reason = nowhere(q, measure_find("cache_misses"));
	size_t said = 0;

	for (size_t i = 0; i < q->n_groups; i++) {
		const struct group *few = &q->groups[i], *many = widest(q, few);

		if (!many || !is_narrowest(q, few))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(modes); k++) {
			said += say_scaling(q, few, many, modes[k], q->sizes[0]);
			if (q->n_sizes > 1)
				said += say_scaling(q, few, many, modes[k], q->sizes[q->n_sizes - 1]);
		}
	}
	if (!said) {
		cannot(q, "Neither two-copy nor one-copy nor zero-copy was measured with several numbers of "
			  "threads at the smallest or the largest size: sweep them with several");
		return;
	}
	if (reason)
		say(q, "How much of it is contention for a cache %s cannot tell: no cache counters (%s)",
			refused_here(q) ? "this machine" : "the data", reason);
	else
		say(q, "The misses beside them are in the answer about caches");
}
