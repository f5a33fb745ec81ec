// SPDX-License-Identifier: MIT
/* Sweeps as text: the line of a cell that has ended, the table of all cells, and the list of sweeps. */
#include <inttypes.h>

#include "render.h"
#include "table.h"

static void number_cell(struct table *t, json_object *o, const char *path)
{
	double v;

	if (doc_number(o, path, &v))
		table_cell(t, STYLE_NONE, v < 100 ? "%.2f" : "%.0f", v);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}

/* Why a cell takes no more runs. */
static const struct stop_text {
	const char *stopped, *text;
	enum style style;
} stop_texts[] = {
	{"converged", "converged", STYLE_GOOD},
	{"repeats", "repeats used up", STYLE_NONE},
	{"failed", "failed", STYLE_BAD},
};

static const struct stop_text *stop_of(json_object *cell)
{
	static const struct stop_text open = {"", "open", STYLE_NOTE};
	const char *stopped = doc_text(cell, "stopped");

	for (size_t i = 0; i < ARRAY_SIZE(stop_texts); i++)
		if (str_eq(stopped, stop_texts[i].stopped))
			return &stop_texts[i];
	return &open;
}

static void books_cell(struct table *t, json_object *cell)
{
	int balanced = doc_flag(cell, "balanced");

	table_cell(t, balanced == 0 ? STYLE_BAD : STYLE_NONE, "%s",
		balanced < 0    ? UNKNOWN
		: balanced == 0 ? "UNBALANCED"
				: "balanced");
}

static void place_cells(struct table *t, json_object *cell)
{
	int64_t size = 0, threads = 0;

	doc_integer(cell, "size", &size);
	doc_integer(cell, "threads", &threads);
	table_cell(t, STYLE_BOLD, "%s", doc_text(cell, "mode"));
	table_cell(t, STYLE_NONE, "%s", figure_size(size).s);
	table_cell(t, STYLE_NONE, "%s", figure_count(threads).s);
	table_cell(t, STYLE_NONE, "%s", doc_text(cell, "path"));
	table_cell(t, STYLE_NONE, "%s", doc_text(cell, "workload"));
}

static void cell_row(struct table *t, json_object *cell)
{
	const char *verdict = doc_string(cell, "verdict"), *reason = doc_string(cell, "reason");
	const struct stop_text *stop = stop_of(cell);
	int64_t runs = 0, failures = 0;

	doc_integer(cell, "repeats", &runs);
	doc_integer(cell, "failures", &failures);
	place_cells(t, cell);
	table_cell(t, STYLE_NONE, "%s", figure_count(runs).s);
	number_cell(t, cell, "throughput_gbps.median");
	number_cell(t, cell, "throughput_gbps.low");
	number_cell(t, cell, "throughput_gbps.high");
	number_cell(t, cell, "latency_us.p50");
	number_cell(t, cell, "latency_us.p99");
	number_cell(t, cell, "copies_per_byte");
	table_cell(t, STYLE_NONE, "%s", verdict && !str_eq(verdict, "none") ? verdict : UNKNOWN);
	books_cell(t, cell);
	if (failures)
		table_cell(t, stop->style, "%s, %" PRId64 " failed: %s", stop->text, failures,
			reason ? reason : "");
	else
		table_cell(t, stop->style, "%s", stop->text);
}

static void render_cells(struct out *o, json_object *cells)
{
	static const struct column columns[] = {{"mode", false}, {"size", true}, {"threads", true},
		{"path", false}, {"workload", false}, {"runs", true}, {"Gbit/s", true}, {"from", true},
		{"to", true}, {"p50 us", true}, {"p99 us", true}, {"copies/B", true}, {"verdict", false},
		{"books", false}, {"end", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));

	for (size_t i = 0; i < doc_length(cells); i++)
		cell_row(t, json_object_array_get_idx(cells, i));
	table_print(t, o, 0);
}

void render_sweep_cell(struct out *o, json_object *cell, int64_t ended, int64_t cells)
{
	const struct stop_text *stop = stop_of(cell);
	int64_t size = 0, threads = 0, runs = 0;
	double gbps, copies;

	doc_integer(cell, "size", &size);
	doc_integer(cell, "threads", &threads);
	doc_integer(cell, "repeats", &runs);
	out_text(o, STYLE_DIM, "%" PRId64 "/%" PRId64, ended, cells);
	out_text(o, STYLE_NONE, "  %s, %s x %" PRId64 ", %s over %s:", doc_text(cell, "mode"),
		figure_size(size).s, threads, doc_text(cell, "workload"), doc_text(cell, "path"));
	if (doc_number(cell, "throughput_gbps.median", &gbps))
		out_text(o, STYLE_BOLD, " %s,", figure_rate(gbps).s);
	if (doc_number(cell, "copies_per_byte", &copies))
		out_text(o, STYLE_NONE, " %.2f copies/B,", copies);
	out_text(o, stop->style, " %s after %" PRId64 " run%s", stop->text, runs, runs == 1 ? "" : "s");
	if (doc_string(cell, "reason"))
		out_text(o, STYLE_NONE, ": %s", doc_text(cell, "reason"));
	if (doc_flag(cell, "balanced") == 0)
		out_text(o, STYLE_BAD, "  UNBALANCED");
	out_newline(o);
}

/* How far the intervals can be trusted, where runs were few. */
static void interval_note(struct out *o, json_object *cells)
{
	double least = 1, coverage;

	for (size_t i = 0; i < doc_length(cells); i++)
		if (doc_number(json_object_array_get_idx(cells, i), "throughput_gbps.coverage", &coverage))
			least = MIN(least, coverage);
	if (least == 1)
		return;
	out_line(o, STYLE_DIM,
		"From and to: the interval of the median throughput. Of less than 6 runs it is their range; "
		"the least "
		"sure of these holds the median in %.0f %% of cases.",
		least * 100);
}

static int64_t count_of(json_object *o, const char *name)
{
	int64_t n = 0;

	doc_integer(o, name, &n);
	return n;
}

static void summary_line(struct out *o, json_object *sweep)
{
	const char *state = doc_text(sweep, "state");
	int64_t done = count_of(sweep, "cells_done"), failed = count_of(sweep, "cells_failed"),
		converged = count_of(sweep, "converged"), unbalanced = count_of(sweep, "unbalanced");

	out_line(o, str_eq(state, "done") ? STYLE_BOLD : STYLE_NOTE,
		"sweep %s %s: %" PRId64 " of %" PRId64 " cells ended, %" PRId64 " converged, %" PRId64
		" used up their repeats, %" PRId64 " failed; %" PRId64 " runs in %s, seed %" PRId64,
		doc_text(sweep, "id"), state, done, count_of(sweep, "cells"), converged,
		done - converged - failed, failed, count_of(sweep, "runs_done"),
		figure_duration((double)count_of(sweep, "elapsed_ms") * 1e6).s, count_of(sweep, "seed"));
	if (unbalanced)
		out_line(o, STYLE_BAD, "the books of %" PRId64 " run%s do not balance", unbalanced,
			unbalanced == 1 ? "" : "s");
}

void render_sweep(struct out *o, json_object *reply)
{
	json_object *cells = doc_at(reply, "cells");

	render_cells(o, cells);
	out_newline(o);
	interval_note(o, cells);
	summary_line(o, doc_at(reply, "sweep"));
}

static void sweep_row(struct table *t, json_object *row)
{
	const char *state = doc_text(row, "state");

	table_cell(t, STYLE_BOLD, "%s", doc_text(row, "id"));
	table_cell(t, STYLE_NONE, "%.19s", doc_text(row, "started"));
	table_cell(t, str_eq(state, "done") ? STYLE_NONE : STYLE_NOTE, "%s", state);
	table_cell(
		t, STYLE_NONE, "%" PRId64 "/%" PRId64, count_of(row, "cells_done"), count_of(row, "cells"));
	table_cell(t, STYLE_NONE, "%s", figure_count(count_of(row, "cells_failed")).s);
	table_cell(t, STYLE_NONE, "%s", figure_count(count_of(row, "runs_done")).s);
	table_cell(t, STYLE_NONE, "%s", figure_count(count_of(row, "unbalanced")).s);
	table_cell(t, STYLE_NONE, "%s", figure_duration((double)count_of(row, "elapsed_ms") * 1e6).s);
	table_cell(t, STYLE_NONE, "%s", doc_text(row, "label"));
}

void render_sweeps(struct out *o, json_object *reply)
{
	static const struct column columns[] = {{"id", false}, {"started (UTC)", false}, {"state", false},
		{"cells", true}, {"failed", true}, {"runs", true}, {"unbalanced", true}, {"took", true},
		{"label", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *sweeps = doc_at(reply, "sweeps");

	if (doc_length(sweeps) == 0) {
		out_line(o, STYLE_NONE, "no sweeps");
		return;
	}
	for (size_t i = 0; i < doc_length(sweeps); i++)
		sweep_row(t, json_object_array_get_idx(sweeps, i));
	table_print(t, o, 0);
}
