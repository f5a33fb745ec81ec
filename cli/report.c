// SPDX-License-Identifier: MIT
/* Fills the report's template: its data is one JSON document, its figures are pictures inside the file. */
#include <errno.h>
#include <math.h>

#include "explain.h"
#include "figures.h"
#include "render.h"
#include "report.h"
#include "report_html.h"

static const char *const flow_sites[] = {"app_pack", "tx_copy", "tx_pin", "tx_splice", "tx_deferred_copy",
	"skb_copy", "rx_copy", "rx_map", "rx_discard"};

/* Medians of a cell beside the throughput, which has its interval. */
static const char *const cell_medians[] = {
	"avg_latency_us", "latency_p99_us", "copies_per_byte", "cpu_ns_per_byte", "cycles_per_byte"};

void report_json(FILE *f, const char *json)
{
	for (const char *s = json; *s; s++) {
		if (strchr("<>&", *s))
			fprintf(f, "\\u%04x", *s);
		else if (strncmp(s, "\xe2\x80\xa8", 3) == 0 || strncmp(s, "\xe2\x80\xa9", 3) == 0)
			fprintf(f, "\\u20%02x", (unsigned char)(s += 2)[0] - 0x80);
		else
			fputc(*s, f);
	}
}

void report_text(FILE *f, const char *text)
{
	_cleanup_free_ char *clean = text_clean(text, true);

	for (const char *s = clean ? clean : ""; *s; s++) {
		if (strchr("<>&\"'", *s))
			fprintf(f, "&#%d;", *s);
		else
			fputc(*s, f);
	}
}

/* ---- the data ---- */

static json_object *known(double v)
{
	return isfinite(v) ? json_object_new_double(v) : NULL;
}

/* Bytes by site over all runs of a cell; NULL: no run has a ledger. */
static json_object *flow_of(const struct cell *c)
{
	double sum[ARRAY_SIZE(flow_sites)] = {}, v;
	json_object *o;
	size_t runs = 0;

	for (size_t i = 0; i < c->n_runs; i++) {
		json_object *ledger = doc_at(c->runs[i], "ledger");

		runs += ledger != NULL;
		for (size_t k = 0; k < ARRAY_SIZE(flow_sites); k++)
			if (doc_number(ledger_site(ledger, flow_sites[k]), "bytes", &v))
				sum[k] += v;
	}
	if (!runs)
		return NULL;
	o = json_object_new_object();
	for (size_t k = 0; k < ARRAY_SIZE(flow_sites); k++)
		json_object_object_add(o, flow_sites[k], json_object_new_int64(whole(sum[k])));
	return o;
}

/* The same in all runs, or "mixed". */
static const char *verdict_of(const struct cell *c)
{
	const char *verdict = c->n_runs ? doc_text(c->runs[0], "zerocopy.verdict") : "none";

	for (size_t i = 1; i < c->n_runs; i++)
		if (!str_eq(doc_text(c->runs[i], "zerocopy.verdict"), verdict))
			return "mixed";
	return verdict;
}

static const char *books_of(const struct cell *c)
{
	const char *books = "balanced, exact";

	for (size_t i = 0; i < c->n_runs; i++) {
		if (doc_flag(c->runs[i], "ledger.balanced") == 0)
			return "not balanced";
		if (!doc_at(c->runs[i], "ledger"))
			books = "no ledger";
		else if (doc_flag(c->runs[i], "ledger.exact") != 1)
			books = "balanced, with doubts";
	}
	return c->n_runs ? books : "no run ended";
}

static json_object *interval_of(const struct cell *c, const char *measure, uint64_t seed)
{
	struct estimate e = cell_estimate(c, measure_find(measure), seed);
	json_object *o = json_object_new_object();

	json_object_object_add(o, "median", known(e.median));
	json_object_object_add(o, "low", known(e.low));
	json_object_object_add(o, "high", known(e.high));
	json_object_object_add(o, "coverage", known(e.coverage));
	return o;
}

static json_object *cell_json(const struct dataset *d, const struct cell *c)
{
	json_object *o = json_object_new_object(), *ids = json_object_new_array();

	json_object_object_add(o, "mode", json_object_new_string(c->mode));
	json_object_object_add(o, "size", json_object_new_int64(c->size));
	json_object_object_add(o, "threads", json_object_new_int64(c->threads));
	json_object_object_add(o, "path", json_object_new_string(c->path));
	json_object_object_add(o, "workload", json_object_new_string(c->workload));
	json_object_object_add(o, "n", json_object_new_int64((int64_t)c->n_runs));
	json_object_object_add(o, "failures", json_object_new_int64((int64_t)c->failures));
	json_object_object_add(o, "failure", c->failure ? json_object_new_string(c->failure) : NULL);
	json_object_object_add(o, "throughput_gbps", interval_of(c, "throughput_gbps", d->seed));
	for (size_t i = 0; i < ARRAY_SIZE(cell_medians); i++)
		json_object_object_add(o, cell_medians[i],
			known(cell_estimate(c, measure_find(cell_medians[i]), d->seed).median));
	json_object_object_add(o, "verdict", json_object_new_string(verdict_of(c)));
	json_object_object_add(o, "books", json_object_new_string(books_of(c)));
	json_object_object_add(o, "flow", flow_of(c));
	for (size_t i = 0; i < c->n_runs; i++)
		json_object_array_add(ids, json_object_new_string(doc_text(c->runs[i], "id")));
	json_object_object_add(o, "runs", ids);
	return o;
}

static int put_data(const struct dataset *d, FILE *f)
{
	_cleanup_json_ json_object *o = json_object_new_object(), *explain = NULL,
				   *cells = json_object_new_array();
	_cleanup_free_ char *text = NULL;
	_cleanup_fclose_ FILE *memory = NULL;
	size_t size;
	int r = o && cells ? explain_answers(d, &explain) : -ENOMEM;

	if (r < 0)
		return r;
	for (size_t i = 0; i < d->n_cells; i++)
		json_object_array_add(cells, cell_json(d, &d->cells[i]));
	json_object_object_add(o, "schema", json_object_new_string("copyledger/report/1"));
	json_object_object_add(o, "explain", TAKE_PTR(explain));
	json_object_object_add(o, "cells", TAKE_PTR(cells));
	json_object_object_add(o, "results", json_object_get(d->documents));
	memory = open_memstream(&text, &size);
	r = memory ? doc_print(memory, o, false) : -ENOMEM;
	if (r == 0)
		report_json(f, text);
	return r;
}

/* ---- figures ---- */

static void put_base64(FILE *f, FILE *from)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned char in[3];
	size_t n;

	while ((n = fread(in, 1, 3, from)) > 0) {
		unsigned int bits = in[0] << 16 | (n > 1 ? in[1] << 8 : 0) | (n > 2 ? in[2] : 0);

		for (size_t i = 0; i < 4; i++)
			fputc(i <= n ? digits[bits >> (18 - 6 * i) & 63] : '=', f);
	}
}

static int put_figure(
	const struct dataset *d, size_t kind, const struct figure_place *at, FILE *f, struct fault *reterr)
{
	char file[] = "/tmp/copyledger-figure-XXXXXX";
	_cleanup_close_ int fd = mkstemp(file);
	_cleanup_fclose_ FILE *from = NULL;
	int r;

	if (fd < 0)
		return fault_set(reterr, -errno, "output", "", "cannot make '%s': %s", file, strerror(errno));
	r = figure_draw(d, kind, at, FIGURE_SVG, file, reterr);
	from = r == 0 ? fopen(file, "re") : NULL;
	unlink(file);
	if (!from)
		return r;
	fputs("<figure><img alt=\"", f);
	report_text(f, figure_kind(kind)->title);
	fputs(", ", f);
	report_text(f, at->path);
	fputs(", ", f);
	report_text(f, at->workload);
	fputs("\" src=\"data:image/svg+xml;base64,", f);
	put_base64(f, from);
	fputs("\"></figure>\n", f);
	return 0;
}

static int put_place(const struct dataset *d, const struct figure_place *at, FILE *f, struct fault *reterr)
{
	for (size_t kind = 0; kind < figure_kinds(); kind++) {
		int r = put_figure(d, kind, at, f, reterr);

		if (r < 0 && r != -ENODATA)
			return r;
	}
	return 0;
}

/* One that cannot be drawn for want of data is left out, one for want of gnuplot ends them all. */
static void put_figures(const struct dataset *d, FILE *f, char *ret_no_figures, size_t n)
{
	struct figure_place at;
	struct fault fault = {};
	int r = 0;

	fputs("<div class=\"figures\">\n", f);
	for (size_t i = 0; r == 0 && figure_place(d, i, 0, 0, &at); i++)
		r = put_place(d, &at, f, &fault);
	fputs("</div>", f);
	*ret_no_figures = '\0';
	if (r == 0)
		return;
	snprintf(ret_no_figures, n, "%s", fault.text);
	fputs("<p class=\"dim\">They were not drawn: ", f);
	report_text(f, fault.text);
	fputs(".</p>", f);
}

/* ---- the whole ---- */

static int put_part(const struct dataset *d, const char *mark, FILE *f, char *ret_no_figures, size_t n)
{
	if (str_eq(mark, "DATA"))
		return put_data(d, f);
	if (str_eq(mark, "FIGURES")) {
		put_figures(d, f, ret_no_figures, n);
	} else {
		fputs("copyledger: ", f);
		report_text(f, d->kind);
		fputc(' ', f);
		report_text(f, d->id);
	}
	return 0;
}

int report_write(const struct dataset *d, FILE *f, char *ret_no_figures, size_t n)
{
	static const char *const marks[] = {"TITLE", "FIGURES", "DATA"};
	const char *at = report_html, *next;
	int r = 0;

	for (; r == 0 && (next = strchr(at, '@')); at = next) {
		size_t i = 0, len = 0;

		fwrite(at, 1, (size_t)(next - at), f);
		if (ferror(f)) /* now, while errno is of this write */
			return errno ? -errno : -EIO;
		for (; i < ARRAY_SIZE(marks); i++) {
			len = strlen(marks[i]);
			if (strncmp(next + 1, marks[i], len) == 0 && next[len + 1] == '@')
				break;
		}
		if (i == ARRAY_SIZE(marks)) {
			fputc(*next++, f);
			continue;
		}
		r = put_part(d, marks[i], f, ret_no_figures, n);
		next += len + 2;
	}
	fputs(at, f);
	return r;
}
