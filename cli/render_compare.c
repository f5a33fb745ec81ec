// SPDX-License-Identifier: MIT
/* A comparison as text: where both sides come from, what differs, a row a cell, and the whole in a sentence.
 */
#include <math.h>

#include "render.h"
#include "table.h"

static const struct verdict_text {
	const char *verdict, *text;
	enum style style;
} verdict_texts[] = {
	{"better", "better", STYLE_GOOD},
	{"worse", "worse", STYLE_BAD},
	{"higher", "higher", STYLE_NOTE},
	{"lower", "lower", STYLE_NOTE},
	{"no_difference", "no difference", STYLE_NONE},
	{"refused", "not judged", STYLE_NOTE},
	{"unknown", "unknown", STYLE_NOTE},
};

static const struct verdict_text *verdict_text(const char *verdict)
{
	static const struct verdict_text none = {"", UNKNOWN, STYLE_NONE};

	for (size_t i = 0; i < ARRAY_SIZE(verdict_texts); i++)
		if (str_eq(verdict_texts[i].verdict, verdict))
			return &verdict_texts[i];
	return &none;
}

static void number_cell(struct table *t, json_object *o, const char *path, const char *fmt)
	__attribute__((format(printf, 4, 0)));

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void number_cell(struct table *t, json_object *o, const char *path, const char *fmt)
{
	double value;

	if (doc_number(o, path, &value))
		table_cell(t, STYLE_NONE, fmt, value);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}
#pragma GCC diagnostic pop

/* A member of a cell's place as people write it, a size as 64 KiB. By value: use .s at once. */
struct place_text {
	char s[96];
};

static struct place_text place_text(json_object *side, const char *member)
{
	const char *text = json_object_get_string(doc_at(side, member));
	struct place_text p;
	int64_t size;

	if (str_eq(member, "size") && doc_integer(side, member, &size))
		snprintf(p.s, sizeof(p.s), "%s", figure_size(size).s);
	else
		snprintf(p.s, sizeof(p.s), "%s", text ? text : UNKNOWN);
	return p;
}

/* "one-copy", or "two-copy -> one-copy" where the sides differ. */
static void place_cell(struct table *t, json_object *cell, const char *member)
{
	json_object *a = doc_at(cell, "a"), *b = doc_at(cell, "b");

	if (json_object_equal(doc_at(a, member), doc_at(b, member)))
		table_cell(t, STYLE_NONE, "%s", place_text(a, member).s);
	else
		table_cell(t, STYLE_NOTE, "%s -> %s", place_text(a, member).s, place_text(b, member).s);
}

static void outcome_cells(struct table *t, json_object *o)
{
	const struct verdict_text *v = verdict_text(doc_text(o, "verdict"));
	double low, high, coverage;

	number_cell(t, o, "ratio", "%.3f");
	if (doc_number(o, "low", &low) && doc_number(o, "high", &high) &&
		doc_number(o, "coverage", &coverage))
		table_cell(t, STYLE_NONE, "%.3f to %.3f (%.0f %%)", low, high, 100 * coverage);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
	number_cell(t, o, "p", "%.4f");
	number_cell(t, o, "detectable_percent", "%.1f %%");
	table_cell(
		t, v->style, "%s%s%s", v->text, doc_string(o, "reason") ? ": " : "", doc_text(o, "reason"));
}

static void cell_row(struct table *t, json_object *cell)
{
	static const char *const place[] = {"mode", "path", "workload", "size", "threads"};
	int64_t n_a = 0, n_b = 0;

	for (size_t i = 0; i < ARRAY_SIZE(place); i++)
		place_cell(t, cell, place[i]);
	number_cell(t, cell, "a.median", "%.4g");
	number_cell(t, cell, "b.median", "%.4g");
	doc_integer(cell, "a.n", &n_a);
	doc_integer(cell, "b.n", &n_b);
	table_cell(t, STYLE_NONE, "%jd, %jd", (intmax_t)n_a, (intmax_t)n_b);
	outcome_cells(t, cell);
}

static void render_cells(struct out *o, json_object *comparison)
{
	static const struct column columns[] = {{"mode", false}, {"path", false}, {"workload", false},
		{"size", true}, {"threads", true}, {"A", true}, {"B", true}, {"runs", true}, {"B/A", true},
		{"interval", false}, {"p", true}, {"would show", true}, {"B is", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *cells = doc_at(comparison, "cells");

	for (size_t i = 0; i < doc_length(cells); i++)
		cell_row(t, json_object_array_get_idx(cells, i));
	out_line(o, STYLE_BOLD, "%s%s%s%s; %s", doc_text(comparison, "measure.title"),
		*doc_text(comparison, "measure.unit") ? " (" : "", doc_text(comparison, "measure.unit"),
		*doc_text(comparison, "measure.unit") ? ")" : "",
		str_eq(doc_text(comparison, "measure.better"), "neither")  ? "neither way is better"
		: str_eq(doc_text(comparison, "measure.better"), "higher") ? "higher is better"
									   : "lower is better");
	table_print(t, o, 0);
}

static void render_side(struct out *o, json_object *comparison, const char *side, const char *name)
{
	json_object *d = doc_at(comparison, side);
	double cells = 0, runs = 0, failures = 0;

	doc_number(d, "cells", &cells);
	doc_number(d, "runs", &runs);
	doc_number(d, "failures", &failures);
	out_line(o, STYLE_NONE, "%s  %s (%s %s): %.0f cells, %.0f runs, %.0f failed, %s to %s", name,
		doc_text(d, "source"), doc_text(d, "kind"), doc_text(d, "id"), cells, runs, failures,
		doc_text(d, "first"), doc_text(d, "last"));
}

static void render_provenance(struct out *o, json_object *provenance)
{
	static const struct column columns[] = {{"what differs", false}, {"A", false}, {"B", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *rows = doc_at(provenance, "differences");

	for (size_t i = 0; i < doc_length(rows); i++) {
		json_object *row = json_object_array_get_idx(rows, i);
		enum style style = doc_flag(row, "identity") == 1 ? STYLE_BAD : STYLE_NONE;

		table_cell(t, style, "%s", doc_text(row, "what"));
		table_cell(t, style, "%s", doc_text(row, "a"));
		table_cell(t, style, "%s", doc_text(row, "b"));
	}
	out_newline(o);
	if (doc_length(rows) == 0)
		out_line(o, STYLE_NONE,
			"what differs: nothing of the host, the path's devices or the "
			"instrument");
	else
		table_print(t, o, 0);
	out_newline(o);
}

static void render_alone(struct out *o, json_object *cells, const char *side)
{
	for (size_t i = 0; i < doc_length(cells); i++) {
		json_object *c = json_object_array_get_idx(cells, i);

		out_line(o, STYLE_NOTE, "only in %s: %s, %s, %s threads, %s over %s", side,
			doc_text(c, "mode"), place_text(c, "size").s,
			json_object_get_string(doc_at(c, "threads")), doc_text(c, "workload"),
			doc_text(c, "path"));
	}
}

static void render_overall(struct out *o, json_object *overall)
{
	const struct verdict_text *v = verdict_text(doc_text(overall, "verdict"));
	double ratio, low, high, coverage, p, cells = 0;

	doc_number(overall, "cells", &cells);
	if (doc_number(overall, "ratio", &ratio) && doc_number(overall, "low", &low) &&
		doc_number(overall, "high", &high) && doc_number(overall, "coverage", &coverage) &&
		doc_number(overall, "p", &p))
		out_line(o, v->style,
			"over all %.0f cells B is %.3f times A (geometric mean; %.0f %% interval %.3f to "
			"%.3f; p "
			"%.4f): %s",
			cells, ratio, 100 * coverage, low, high, p, v->text);
	else
		out_line(o, v->style, "over all cells: unknown, %s", doc_text(overall, "reason"));
}

static void render_notes(struct out *o, json_object *notes)
{
	for (size_t i = 0; i < doc_length(notes); i++) {
		out_text(o, STYLE_NOTE, "note: ");
		out_wrap(o, STYLE_NONE, json_object_get_string(json_object_array_get_idx(notes, i)));
		out_newline(o);
	}
}

void render_compare(struct out *o, json_object *comparison)
{
	render_side(o, comparison, "a", "A");
	render_side(o, comparison, "b", "B");
	render_provenance(o, doc_at(comparison, "provenance"));
	render_cells(o, comparison);
	render_alone(o, doc_at(comparison, "only_a"), "A");
	render_alone(o, doc_at(comparison, "only_b"), "B");
	out_newline(o);
	render_overall(o, doc_at(comparison, "overall"));
	render_notes(o, doc_at(comparison, "notes"));
}
