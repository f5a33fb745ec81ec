// SPDX-License-Identifier: MIT
/* Answers about caches and threads, as far as the machine counts what they take. */
#include <inttypes.h>
#include <math.h>

#include "explain.h"
#include "render.h"

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

/* Misses per 1,000 bytes delivered in the window, as a median over runs; the window's bytes, as the counters'
 * are. */
static bool misses_per_kb(const struct cell *c, const struct measure *m, double *ret)
{
	double misses, bytes;
	const char *reason;

	/* the middle run stands for the cell: the interval of the misses is among what the answer rests on */
	if (!c || !c->n_runs || measure_value(m, c->runs[c->n_runs / 2], &misses, &reason) < 0 ||
		!doc_number(c->runs[c->n_runs / 2], "app.bytes_received", &bytes) || bytes <= 0)
		return false;
	*ret = misses / bytes * 1000;
	return true;
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
		"the packing "
		"%.0f %% fewer, without the copy to the kernel %.0f %% fewer than one-copy",
		figure_size(size).s, place(g).s, level->name, per_kb[0], per_kb[1], per_kb[2],
		(1 - per_kb[1] / per_kb[0]) * 100, (1 - per_kb[2] / per_kb[1]) * 100);
	return 1;
}

void explain_caches(struct asking *q)
{
	const char *reason = nowhere(q, measure_find("cache_misses")),
		   *l1 = nowhere(q, measure_find("l1d_misses"));
	size_t said = 0;

	if (reason && l1) {
		cannot(q, "This machine cannot answer: no cache counters (%s)", reason);
		say(q, NEEDED);
		return;
	}
	for (size_t i = 0; i < q->n_groups; i++)
		for (size_t k = 0; k < ARRAY_SIZE(levels); k++)
			said += say_level(q, &q->groups[i], q->sizes[q->n_sizes - 1], &levels[k]);
	if (!said)
		cannot(q, "The data has no place where all three modes were counted at the same size");
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
		cannot(q, "The data has one number of threads only: sweep several");
		return;
	}
	if (reason)
		say(q,
			"How much of it is contention for a cache this machine cannot tell: no cache "
			"counters (%s)",
			reason);
	else
		say(q, "The misses beside them are in the answer about caches");
}
