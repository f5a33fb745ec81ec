// SPDX-License-Identifier: MIT
/* OpenMetrics text with the runs' own time, base units as its specification (1.0.0) asks for. */
#include <errno.h>

#include "export.h"
#include "out.h"
#include "rfc3339.h"

struct metric {
	const char *family; /* behind "copyledger_run_"; rows of one family stand together */
	const char *unit;   /* the end of the family's name; NULL: a plain number */
	const char *help;
	const char *measure; /* NULL: whether the run failed */
	long double scale;   /* of the measure to the unit; long: 12.5 us shall be 1.25e-05 s */
	const char *label;   /* one more label of its own, as in site="rx_copy"; NULL: none */
};

#define LATENCY(quantile, measure)                                                                           \
	{                                                                                                    \
		"latency_seconds", "seconds", "Latency of the messages of one run.", measure, 1e-6L,         \
			quantile                                                                             \
	}
#define COPIES(site)                                                                                         \
	{                                                                                                    \
		"site_copies_per_byte", NULL, "Copies per delivered byte at one site.",                      \
			"copies_per_byte." site, 1, "site=\"" site "\""                                      \
	}
#define EVENT(name, help)                                                                                    \
	{                                                                                                    \
		name, NULL, help " of the lanes within the measured window.", name, 1, NULL                  \
	}

static const struct metric metrics[] = {
	{"failed", NULL, "Whether the run failed.", NULL, 1, NULL},
	{"throughput_bytes_per_second", "bytes_per_second", "Payload delivered.", "throughput_gbps", 1.25e8L,
		NULL},
	{"mean_latency_seconds", "seconds", "Mean latency of the messages.", "avg_latency_us", 1e-6L, NULL},
	LATENCY("quantile=\"0.5\"", "latency_p50_us"),
	LATENCY("quantile=\"0.9\"", "latency_p90_us"),
	LATENCY("quantile=\"0.99\"", "latency_p99_us"),
	LATENCY("quantile=\"0.999\"", "latency_p99_9_us"),
	EVENT("cycles", "CPU cycles"),
	EVENT("instructions", "Instructions"),
	EVENT("context_switches", "Context switches"),
	EVENT("cache_references", "Last-level cache references"),
	EVENT("cache_misses", "Last-level cache misses"),
	EVENT("l1d_references", "L1 data cache references"),
	EVENT("l1d_misses", "L1 data cache misses"),
	{"cycles_per_byte", NULL, "CPU cycles for each delivered byte.", "cycles_per_byte", 1, NULL},
	{"cpu_seconds_per_byte", "seconds_per_byte", "CPU time for each delivered byte.", "cpu_ns_per_byte",
		1e-9L, NULL},
	{"copies_per_byte", NULL, "Copies for each delivered byte.", "copies_per_byte", 1, NULL},
	COPIES("app_pack"),
	COPIES("tx_copy"),
	COPIES("tx_deferred_copy"),
	COPIES("skb_copy"),
	COPIES("rx_copy"),
	{"delivered_bytes", "bytes", "Payload delivered.", "delivered_bytes", 1, NULL},
	{"deferred_copy_bytes", "bytes", "Pinned payload that was copied after all.",
		"tx_deferred_copy_bytes", 1, NULL},
};

/* The value of a label, quoted and escaped; control characters cannot pass text_clean(). */
static void put_label(FILE *f, const char *name, const char *value)
{
	_cleanup_free_ char *clean = text_clean(value, true);

	fprintf(f, "%s=\"", name);
	for (const char *p = clean ? clean : ""; *p; p++) {
		if (*p == '"' || *p == '\\')
			fputc('\\', f);
		fputc(*p, f);
	}
	fputc('"', f);
}

static void put_labels(FILE *f, json_object *run, const char *own)
{
	static const char *const names[] = {"mode", "size", "threads", "path", "workload", "label"};
	json_object *spec = doc_at(run, "spec");

	fputc('{', f);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		json_object *value = doc_at(spec, names[i]);

		put_label(f, names[i], value ? json_object_get_string(value) : "");
		fputc(',', f);
	}
	put_label(f, "run", doc_text(run, "id"));
	fprintf(f, "%s%s} ", own ? "," : "", own ? own : "");
}

/* The figure of a run; -ENODATA: it has none. */
static int value_of(const struct metric *m, json_object *run, double *ret)
{
	const char *reason;
	int r;

	if (!m->measure) {
		*ret = str_eq(doc_text(run, "state"), "failed");
		return 0;
	}
	r = measure_value(measure_find(m->measure), run, ret, &reason);
	if (r == 0)
		*ret = (double)(*ret * m->scale);
	return r;
}

static void put_sample(FILE *f, const struct metric *m, json_object *run)
{
	char text[DOC_NUMBER];
	double value = 0;
	int64_t ns;

	if (value_of(m, run, &value) < 0 || rfc3339_parse(doc_text(run, "ended"), &ns) < 0)
		return;
	fprintf(f, "copyledger_run_%s", m->family);
	put_labels(f, run, m->label);
	fprintf(f, "%s %jd.%03d\n", doc_format_number(text, value), (intmax_t)(ns / 1000000000),
		(int)(ns / 1000000 % 1000));
}

static void put_family(FILE *f, const struct metric *m)
{
	fprintf(f, "# HELP copyledger_run_%s %s\n# TYPE copyledger_run_%s %s\n", m->family, m->help,
		m->family, m->label && strncmp(m->label, "quantile", 8) == 0 ? "summary" : "gauge");
	if (m->unit)
		fprintf(f, "# UNIT copyledger_run_%s %s\n", m->family, m->unit);
}

/* The runs that were measured or failed, each once; owned. */
static json_object *distinct_runs(const struct dataset *d)
{
	_cleanup_json_ json_object *seen = json_object_new_object();
	json_object *runs = json_object_new_array();

	for (size_t i = 0; i < doc_length(d->documents); i++) {
		json_object *run = json_object_array_get_idx(d->documents, i);
		const char *id = doc_text(run, "id"), *state = doc_text(run, "state");

		if (json_object_object_get_ex(seen, id, NULL) ||
			(!str_eq(state, "done") && !str_eq(state, "failed")))
			continue;
		json_object_object_add(seen, id, NULL);
		json_object_array_add(runs, json_object_get(run));
	}
	return runs;
}

/* How many rows from this one on are of its family. */
static size_t family_size(size_t first)
{
	size_t n = 1;

	while (first + n < ARRAY_SIZE(metrics) && str_eq(metrics[first + n].family, metrics[first].family))
		n++;
	return n;
}

int export_openmetrics(FILE *f, const struct dataset *d)
{
	_cleanup_json_ json_object *runs = distinct_runs(d);

	for (size_t i = 0, n; i < ARRAY_SIZE(metrics); i += n) {
		n = family_size(i);
		put_family(f, &metrics[i]);
		/* run by run: the quantiles of one summary must stand together */
		for (size_t k = 0; k < doc_length(runs) && !ferror(f); k++)
			for (size_t row = i; row < i + n; row++)
				put_sample(f, &metrics[row], json_object_array_get_idx(runs, k));
	}
	fputs("# EOF\n", f);
	return ferror(f) ? errno ? -errno : -EIO : 0;
}
