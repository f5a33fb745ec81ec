// SPDX-License-Identifier: MIT
/* Runs as rows, and what the daemon says about itself. */
#include "render.h"
#include "table.h"

static void figure_cell(struct table *t, json_object *row, const char *member, const char *unit)
{
	double value;

	if (doc_number(row, member, &value))
		table_cell(t, STYLE_NONE, "%.2f%s", value, unit);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}

static void books_cell(struct table *t, json_object *row)
{
	int balanced = doc_flag(row, "balanced"), exact = doc_flag(row, "exact");

	if (balanced < 0)
		table_cell(t, STYLE_NONE, UNKNOWN);
	else if (balanced == 0)
		table_cell(t, STYLE_BAD, "UNBALANCED");
	else
		table_cell(t, exact ? STYLE_GOOD : STYLE_NOTE, exact == 1 ? "exact" : "balanced");
}

static enum style state_style(const char *state)
{
	return str_eq(state, "failed") ? STYLE_BAD : str_eq(state, "done") ? STYLE_NONE : STYLE_NOTE;
}

static void list_row(struct table *t, json_object *row)
{
	const char *started = doc_text(row, "started"), *state = doc_text(row, "state");
	const char *verdict = doc_string(row, "verdict");
	double size, threads;

	table_cell(t, STYLE_BOLD, "%s", doc_text(row, "id"));
	table_cell(t, STYLE_NONE, "%.19s", started);
	table_cell(t, state_style(state), "%s", state);
	table_cell(t, STYLE_NONE, "%s", doc_text(row, "mode"));
	table_cell(t, STYLE_NONE, "%s", doc_text(row, "workload"));
	table_cell(t, STYLE_NONE, "%s", doc_text(row, "path"));
	table_cell(
		t, STYLE_NONE, "%s", doc_number(row, "size", &size) ? figure_size(whole(size)).s : UNKNOWN);
	table_cell(t, STYLE_NONE, "%s",
		doc_number(row, "threads", &threads) ? figure_count(whole(threads)).s : UNKNOWN);
	figure_cell(t, row, "throughput_gbps", "");
	figure_cell(t, row, "copies_per_byte", "");
	table_cell(t, STYLE_NONE, "%s", verdict && !str_eq(verdict, "none") ? verdict : UNKNOWN);
	books_cell(t, row);
	table_cell(t, STYLE_NONE, "%s", doc_text(row, "label"));
}

void render_list(struct out *o, json_object *reply)
{
	static const struct column columns[] = {{"id", false}, {"started (UTC)", false}, {"state", false},
		{"mode", false}, {"workload", false}, {"path", false}, {"size", true}, {"threads", true},
		{"Gbit/s", true}, {"copies/B", true}, {"verdict", false}, {"books", false}, {"label", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *runs = doc_at(reply, "runs");

	if (doc_length(runs) == 0) {
		out_line(o, STYLE_NONE, "no runs");
		return;
	}
	for (size_t i = 0; i < doc_length(runs); i++)
		list_row(t, json_object_array_get_idx(runs, i));
	table_print(t, o, 0);
}

static void info_line(struct out *o, json_object *reply, const char *label, const char *member)
{
	json_object *value = doc_at(reply, member);

	render_label(o, label);
	if (json_object_is_type(value, json_type_int))
		out_line(o, STYLE_NONE, "%s", figure_count(json_object_get_int64(value)).s);
	else
		out_line(o, STYLE_NONE, "%s", value ? json_object_get_string(value) : "none");
}

void render_info(struct out *o, json_object *reply)
{
	json_object *limits = doc_at(reply, "limits"), *warnings = doc_at(reply, "warnings");
	static const struct column columns[] = {{"limit", false}, {"", true}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	double ms;

	out_line(o, STYLE_BOLD, "copyledgerd %s, process %s, %s", doc_text(reply, "version"),
		json_object_to_json_string(doc_at(reply, "pid")), doc_text(reply, "state"));
	if (doc_number(reply, "uptime_ms", &ms)) {
		render_label(o, "up for");
		out_line(o, STYLE_NONE, "%.0f s", ms / 1e3);
	}
	info_line(o, reply, "running", "running");
	info_line(o, reply, "queued", "queued");
	info_line(o, reply, "stored", "stored");
	info_line(o, reply, "results in", "state_directory");
	if (json_object_is_type(limits, json_type_object)) {
		json_object_object_foreach(limits, name, value)
		{
			table_cell(t, STYLE_NONE, "%s", name);
			table_cell(t, STYLE_NONE, "%s", figure_count(json_object_get_int64(value)).s);
		}
		out_newline(o);
		table_print(t, o, 0);
	}
	for (size_t i = 0; i < doc_length(warnings); i++)
		out_line(o, STYLE_NOTE, "warning: %s",
			json_object_get_string(json_object_array_get_idx(warnings, i)));
}
