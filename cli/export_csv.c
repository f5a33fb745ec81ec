// SPDX-License-Identifier: MIT
/* CSV: the ten columns of the experiment that this began with, then ours. */
#include <errno.h>
#include <math.h>

#include "export.h"
#include "render.h"
#include "utf8.h"

struct row {
	const struct cell *cell;
	const struct dataset *dataset;
	json_object *unknown; /* {reason: "names"}; owned by whoever writes the row */
};

/* A column is a measure's median, or what put writes. */
struct csv_column {
	const char *name, *measure;
	void (*put)(FILE *f, const struct row *row, const char *arg);
	const char *arg;
};

/* n bytes of one character. What is not printable becomes \xNN, but for a line's end: it could steer a
 * terminal. */
static void put_char(FILE *f, const char *s, int n, bool printable)
{
	if (*s == '"')
		fputs("\"\"", f);
	else if (printable || *s == '\n' || *s == '\r')
		fwrite(s, 1, (size_t)n, f);
	else
		for (int i = 0; i < n; i++)
			fprintf(f, "\\x%02x", (unsigned char)s[i]);
}

/* Quotes where RFC 4180 wants it. */
static void put_text(FILE *f, const char *s)
{
	bool quoted = strpbrk(s, ",\"\r\n") || *s == ' ' || (*s && s[strlen(s) - 1] == ' ');
	uint32_t c;
	int n, r;

	if (quoted)
		fputc('"', f);
	for (size_t left = strlen(s); left > 0; s += n, left -= (size_t)n) {
		r = utf8_next(s, left, &c);
		n = MAX(r, 1);
		put_char(f, s, n, r > 0 && utf8_printable_char(c));
	}
	if (quoted)
		fputc('"', f);
}

static void put_number(FILE *f, double value)
{
	char text[DOC_NUMBER];

	if (isfinite(value))
		fputs(doc_format_number(text, value), f);
}

/* two-copy: two_copy */
static void put_implementation(FILE *f, const struct row *row, const char *arg)
{
	_cleanup_free_ char *name = strdup(row->cell->mode);

	for (char *p = name; p && *p; p++)
		if (*p == '-')
			*p = '_';
	put_text(f, name ? name : "");
}

static void put_spec(FILE *f, const struct row *row, const char *arg)
{
	json_object *value = doc_at(row->cell->spec, arg);

	put_text(f, value ? json_object_get_string(value) : "");
}

static void put_size(FILE *f, const struct row *row, const char *arg)
{
	fprintf(f, "%jd", (intmax_t)(str_eq(arg, "n") ? row->cell->n_runs : row->cell->failures));
}

/* The distinct values of a member of the runs' documents, with a blank between. */
static void put_distinct(FILE *f, const struct row *row, const char *arg)
{
	_cleanup_json_ json_object *seen = json_object_new_object();
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *list = open_memstream(&text, &size);

	for (size_t i = 0; list && i < row->cell->n_runs; i++) {
		const char *value = doc_string(row->cell->runs[i], arg);

		if (!value || json_object_object_get_ex(seen, value, NULL))
			continue;
		fprintf(list, "%s%s", json_object_object_length(seen) ? " " : "", value);
		json_object_object_add(seen, value, NULL);
	}
	if (list)
		fclose(list);
	put_text(f, text ? text : "");
}

/* true only if it is true of every run, false if it is false of one; empty if it is unknown of one. */
static void put_all(FILE *f, const struct row *row, const char *arg)
{
	bool known = row->cell->n_runs > 0;
	int all = 1;

	for (size_t i = 0; i < row->cell->n_runs; i++) {
		int flag = doc_flag(row->cell->runs[i], arg);

		known &= flag >= 0;
		all = flag == 0 ? 0 : all;
	}
	if (known || all == 0)
		fputs(all ? "true" : "false", f);
}

static struct estimate throughput(const struct row *row)
{
	return cell_estimate(row->cell, measure_find("throughput_gbps"), row->dataset->seed);
}

static void put_low(FILE *f, const struct row *row, const char *arg)
{
	put_number(f, throughput(row).low);
}

static void put_high(FILE *f, const struct row *row, const char *arg)
{
	put_number(f, throughput(row).high);
}

static void put_coverage(FILE *f, const struct row *row, const char *arg)
{
	struct estimate e = throughput(row);

	if (e.coverage > 0)
		put_number(f, e.coverage);
}

/* Why a row has no figures: how its runs failed, or that they were cancelled, which is no failure of theirs.
 */
static void put_failure(FILE *f, const struct row *row, const char *arg)
{
	const struct cell *c = row->cell;

	put_text(f, c->failure ? c->failure : c->n_runs || c->failures ? "" : "cancelled");
}

/* Which figures of the row are empty, and why. */
static void put_unknown(FILE *f, const struct row *row, const char *arg)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *list = open_memstream(&text, &size);
	bool more = false;

	json_object_object_foreach(row->unknown, reason, names)
	{
		if (list)
			fprintf(list, "%s%s: %s", more ? "; " : "", json_object_get_string(names), reason);
		more = true;
	}
	if (list)
		fclose(list);
	put_text(f, text ? text : "");
}

static void put_run_ids(FILE *f, const struct row *row, const char *arg)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *list = open_memstream(&text, &size);

	for (size_t i = 0; list && i < row->cell->n_runs; i++)
		fprintf(list, "%s%s", i ? " " : "", doc_text(row->cell->runs[i], "id"));
	if (list)
		fclose(list);
	put_text(f, text ? text : "");
}

#define MEASURE(column, measure)                                                                             \
	{                                                                                                    \
		column, measure, NULL, NULL                                                                  \
	}
#define SPEC(column, member)                                                                                 \
	{                                                                                                    \
		column, NULL, put_spec, member                                                               \
	}
#define SAME(name) MEASURE(name, name)
#define OTHER(column, put, arg)                                                                              \
	{                                                                                                    \
		column, NULL, put, arg                                                                       \
	}

static const struct csv_column columns[] = {
	OTHER("implementation", put_implementation, NULL),
	SPEC("message_size", "size"),
	SPEC("threads", "threads"),
	SAME("throughput_gbps"),
	SAME("avg_latency_us"),
	SAME("cycles"),
	SAME("instructions"),
	SAME("context_switches"),
	SAME("cache_references"),
	SAME("cache_misses"),
	SAME("copies_per_byte"),
	SAME("tx_deferred_copy_bytes"),
	OTHER("verdict", put_distinct, "zerocopy.verdict"),
	SAME("latency_p50_us"),
	SAME("latency_p99_us"),
	SAME("l1d_references"),
	SAME("l1d_misses"),
	MEASURE("llc_misses", "cache_misses"),
	SAME("cycles_per_byte"),
	SAME("cpu_ns_per_byte"),
	OTHER("throughput_low", put_low, NULL),
	OTHER("throughput_high", put_high, NULL),
	OTHER("throughput_coverage", put_coverage, NULL),
	OTHER("runs", put_size, "n"),
	OTHER("failures", put_size, "failures"),
	OTHER("balanced", put_all, "ledger.balanced"),
	OTHER("exact", put_all, "ledger.exact"),
	OTHER("evidence_tier", put_distinct, "ledger.tier"),
	OTHER("kernel", put_distinct, "host.kernel.release"),
	SPEC("path", "path"),
	SPEC("workload", "workload"),
	SPEC("receive", "receive"),
	SPEC("fields", "fields"),
	SPEC("ip", "ip"),
	SPEC("congestion", "congestion"),
	SPEC("duration_ms", "duration_ms"),
	SPEC("warmup_ms", "warmup_ms"),
	SPEC("label", "label"),
	SAME("latency_p90_us"),
	SAME("latency_p99_9_us"),
	SAME("copies_per_byte.app_pack"),
	SAME("copies_per_byte.tx_copy"),
	SAME("copies_per_byte.tx_deferred_copy"),
	SAME("copies_per_byte.skb_copy"),
	SAME("copies_per_byte.rx_copy"),
	SAME("delivered_bytes"),
	OTHER("failure", put_failure, NULL),
	OTHER("unknown", put_unknown, NULL),
	OTHER("started", put_distinct, "started"),
	OTHER("run_ids", put_run_ids, NULL),
};

static void put_measure(FILE *f, const struct row *row, const struct csv_column *column)
{
	struct estimate e = cell_estimate(row->cell, measure_find(column->measure), row->dataset->seed);

	if (e.n)
		put_number(f, e.median);
	else if (row->cell->n_runs)
		reasons_add(row->unknown, e.reason, column->name);
}

static int end_line(FILE *f)
{
	fputc('\n', f);
	return ferror(f) ? errno ? -errno : -EIO : 0;
}

static int put_header(FILE *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		fprintf(f, "%s%s", i ? "," : "", columns[i].name);
	return end_line(f);
}

static int put_row(FILE *f, const struct dataset *d, const struct cell *c)
{
	_cleanup_json_ json_object *unknown = json_object_new_object();
	const struct row row = {.cell = c, .dataset = d, .unknown = unknown};

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		if (i)
			fputc(',', f);
		if (columns[i].measure)
			put_measure(f, &row, &columns[i]);
		else
			columns[i].put(f, &row, columns[i].arg);
	}
	return end_line(f);
}

int export_csv_cells(FILE *f, const struct dataset *d)
{
	int r = put_header(f);

	for (size_t i = 0; i < d->n_cells && r == 0; i++)
		r = put_row(f, d, &d->cells[i]);
	return r;
}

/* A cell of one run. */
static struct cell only_run(json_object **run)
{
	json_object *spec = doc_at(*run, "spec");
	bool failed = str_eq(doc_text(*run, "state"), "failed");

	return (struct cell){
		.spec = spec,
		.mode = doc_text(spec, "mode"),
		.runs = run,
		.n_runs = str_eq(doc_text(*run, "state"), "done"),
		.failures = failed,
		.failure = failed ? doc_text(*run, "error.message") : NULL,
	};
}

int export_csv_runs(FILE *f, const struct dataset *d)
{
	int r = put_header(f);

	for (size_t i = 0; i < doc_length(d->documents) && r == 0; i++) {
		json_object *run = json_object_array_get_idx(d->documents, i);
		struct cell c = only_run(&run);

		r = put_row(f, d, &c);
	}
	return r;
}
