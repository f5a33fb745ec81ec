// SPDX-License-Identifier: MIT
/* The table of measures, and how one is read out of a result document. */
#include <errno.h>

#include "measure.h"
#include "render.h"

#define FIGURE(n, t, u, b, path)                                                                             \
	{                                                                                                    \
		.name = n, .title = t, .unit = u, .better = b, .paths = { path }                             \
	}
#define LESS(n, t, u, path) FIGURE(n, t, u, BETTER_LOWER, path)
#define EVENT(n, t, event)                                                                                   \
	{                                                                                                    \
		.name = n, .title = t, .unit = "", .better = BETTER_LOWER, .paths = {                        \
			"perf.sender." event,                                                                \
			"perf.receiver." event                                                               \
		}                                                                                            \
	}
#define COPIES(site)                                                                                         \
	LESS("copies_per_byte." site, "copies per byte at " site, "", "ledger.copies_per_byte." site)
#define LOWER_BOUND .unless = "ledger.copies_per_byte.lower_bound"

const struct measure measures[] = {
	FIGURE("throughput_gbps", "throughput", "Gbit/s", BETTER_HIGHER, "app.throughput_gbps"),
	LESS("avg_latency_us", "mean latency", "µs", "app.latency_us.mean"),
	LESS("latency_p50_us", "median latency", "µs", "app.latency_us.p50"),
	LESS("latency_p90_us", "90th percentile of latency", "µs", "app.latency_us.p90"),
	LESS("latency_p99_us", "99th percentile of latency", "µs", "app.latency_us.p99"),
	LESS("latency_p99_9_us", "99.9th percentile of latency", "µs", "app.latency_us.p99_9"),
	EVENT("cycles", "CPU cycles", "cycles"),
	EVENT("instructions", "instructions", "instructions"),
	EVENT("context_switches", "context switches", "context_switches"),
	EVENT("cache_references", "last-level cache references", "llc_references"),
	EVENT("cache_misses", "last-level cache misses", "llc_misses"),
	EVENT("l1d_references", "L1 data cache references", "l1d_references"),
	EVENT("l1d_misses", "L1 data cache misses", "l1d_misses"),
	LESS("cycles_per_byte", "CPU cycles per byte", "cycles/B", "derived.cycles_per_byte"),
	LESS("cpu_ns_per_byte", "CPU time per byte", "ns/B", "derived.cpu_ns_per_byte"),
	{.name = "copies_per_byte",
		.title = "copies per byte",
		.unit = "",
		.better = BETTER_LOWER,
		.paths = {"ledger.copies_per_byte.total"},
		LOWER_BOUND},
	COPIES("app_pack"),
	COPIES("tx_copy"),
	{.name = "copies_per_byte.tx_deferred_copy",
		.title = "copies per byte at tx_deferred_copy",
		.unit = "",
		.better = BETTER_LOWER,
		.paths = {"ledger.copies_per_byte.tx_deferred_copy"},
		LOWER_BOUND},
	COPIES("skb_copy"),
	COPIES("rx_copy"),
	FIGURE("delivered_bytes", "bytes delivered", "B", BETTER_NEITHER, "ledger.delivered"),
	{.name = "tx_deferred_copy_bytes",
		.title = "bytes copied after all",
		.unit = "B",
		.better = BETTER_LOWER,
		.site = "tx_deferred_copy",
		LOWER_BOUND},
	{},
};

const struct measure *measure_find(const char *name)
{
	for (size_t i = 0; measures[i].name; i++)
		if (str_eq(measures[i].name, name))
			return &measures[i];
	return NULL;
}

/* The reason that stands at the figure, or at the nearest member above it that is null. */
static const char *why_unknown(json_object *result, const char *path)
{
	_cleanup_free_ char *above = strdup(path);
	const char *reason = doc_reason(result, path);
	char *dot;

	while (!reason && above && (dot = strrchr(above, '.'))) {
		*dot = '\0';
		reason = doc_reason(result, above);
	}
	return reason ? reason : "the result does not have it";
}

static int site_bytes(const char *name, json_object *result, double *ret, const char **ret_reason)
{
	json_object *site = ledger_site(doc_at(result, "ledger"), name);

	if (site && doc_number(site, "bytes", ret))
		return 0;
	*ret_reason = site ? doc_text(site, "reason") : why_unknown(result, "ledger.sites");
	return -ENODATA;
}

int measure_value(const struct measure *m, json_object *result, double *ret, const char **ret_reason)
{
	double sum = 0;

	if (m->unless && doc_flag(result, m->unless) == 1) {
		*ret_reason = "only a lower bound is known: see the run's doubts";
		return -ENODATA;
	}
	if (m->site)
		return site_bytes(m->site, result, ret, ret_reason);
	for (size_t i = 0; i < ARRAY_SIZE(m->paths) && m->paths[i]; i++) {
		double part;

		if (!doc_number(result, m->paths[i], &part)) {
			*ret_reason = why_unknown(result, m->paths[i]);
			return -ENODATA;
		}
		sum += part;
	}
	*ret = sum;
	return 0;
}
