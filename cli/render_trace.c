// SPDX-License-Identifier: MIT
/* The live ledger of an account: rates, sums and sizes of each copy site. */
#include "render.h"
#include "table.h"

#define LOG2_MAX 64
#define LEVELS 8

/* "4 KiB ▁▂█ 32 KiB": hits by size, each mark one power of two, from the least to the greatest that occurred.
 */
static void hist_cell(struct table *t, const struct out *o, json_object *log2)
{
	static const char *const blocks[LEVELS] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const digits[LEVELS] = {"1", "2", "3", "4", "5", "6", "7", "8"};
	const char *const *marks = o->utf8 ? blocks : digits;
	size_t n = MIN(doc_length(log2), (size_t)LOG2_MAX), first = n, last = 0;
	char text[LOG2_MAX * 4] = "", *p = text;
	int64_t most = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t hits = json_object_get_int64(json_object_array_get_idx(log2, i));

		if (hits <= 0)
			continue;
		first = MIN(first, i);
		last = i;
		most = MAX(most, hits);
	}
	if (most == 0) {
		table_cell(t, STYLE_NONE, "%s", "");
		return;
	}
	for (size_t i = first; i <= last; i++) {
		int64_t hits = json_object_get_int64(json_object_array_get_idx(log2, i));
		size_t level = (size_t)((double)MAX(hits, 0) * LEVELS / (double)most + 0.999);

		p = stpcpy(p,
			hits <= 0 ? (o->utf8 ? " " : ".") : marks[MIN(MAX(level, 1U), (size_t)LEVELS) - 1]);
	}
	if (last < 62)
		table_cell(t, STYLE_NONE, "%s %s %s", figure_size(INT64_C(1) << first).s, text,
			figure_size(INT64_C(1) << (last + 1)).s);
	else
		table_cell(t, STYLE_NONE, "%s", text);
}

/* Bytes a second at a site: since the trace before, or since the first byte. */
static bool site_rate(json_object *trace, json_object *previous, const char *site, double bytes, double *ret)
{
	double now, then = 0, before = 0;

	if (!doc_number(trace, "elapsed_ms", &now))
		return false;
	if (previous && (!doc_number(previous, "elapsed_ms", &then) ||
				!doc_number(ledger_site(previous, site), "bytes", &before)))
		return false;
	if (now <= then || bytes < before)
		return false;
	*ret = (bytes - before) * 1e3 / (now - then);
	return true;
}

static void trace_row(
	struct table *t, const struct out *o, json_object *trace, json_object *previous, json_object *row)
{
	const char *site = doc_text(row, "site");
	double bytes, hits, rate;
	bool b = doc_number(row, "bytes", &bytes), h = doc_number(row, "hits", &hits);

	table_cell(t, STYLE_NONE, "%s", site);
	if (b && site_rate(trace, previous, site, bytes, &rate))
		table_cell(t, STYLE_BOLD, "%s/s", figure_bytes(rate).s);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", b ? figure_bytes(bytes).s : UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", h ? figure_count(whole(hits)).s : UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", b && h && hits > 0 ? figure_mean_size(bytes / hits).s : UNKNOWN);
	hist_cell(t, o, doc_at(row, "bytes_per_hit_log2"));
}

static bool is_unseen(json_object *row)
{
	return str_eq(doc_text(row, "evidence"), "unavailable");
}

static bool is_idle(json_object *row)
{
	double bytes, hits;

	return doc_number(row, "bytes", &bytes) && doc_number(row, "hits", &hits) && bytes == 0 && hits == 0;
}

/* Names of the sites that are so, on one line behind the title; nothing if there are none. */
static void render_names(struct out *o, json_object *sites, const char *title, bool (*is)(json_object *row))
{
	const char *sep = title;

	for (size_t i = 0; i < doc_length(sites); i++) {
		json_object *row = json_object_array_get_idx(sites, i);

		if (!is(row))
			continue;
		out_text(o, STYLE_DIM, "%s%s", sep, doc_text(row, "site"));
		sep = ", ";
	}
	if (o->column)
		out_newline(o);
}

void render_trace(struct out *o, json_object *trace, json_object *previous)
{
	static const struct column columns[] = {{"site", false}, {"rate", true}, {"bytes", true},
		{"hits", true}, {"avg/hit", true}, {"hits by size", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *sites = doc_at(trace, "sites");
	double ms, delivered, copies;

	out_text(o, STYLE_BOLD, "run %s", doc_text(trace, "id"));
	out_text(o, STYLE_NONE, "  %s", doc_text(trace, "state"));
	if (doc_number(trace, "elapsed_ms", &ms))
		out_text(o, STYLE_NONE, "  %.1f s", ms / 1e3);
	if (doc_number(trace, "delivered", &delivered))
		out_text(o, STYLE_NONE, "  %s delivered", figure_bytes(delivered).s);
	if (doc_number(trace, "copies_per_byte", &copies))
		out_text(o, STYLE_BOLD, "  %.2f copies a byte", copies);
	out_newline(o);
	for (size_t i = 0; i < doc_length(sites); i++) {
		json_object *row = json_object_array_get_idx(sites, i);

		if (!is_unseen(row) && !is_idle(row))
			trace_row(t, o, trace, previous, row);
	}
	table_print(t, o, 0);
	render_causes(o, trace);
	render_names(o, sites, "nothing at: ", is_idle);
	render_names(o, sites, "not visible here: ", is_unseen);
}
