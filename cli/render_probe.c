// SPDX-License-Identifier: MIT
/* What this machine can show, and what would be needed for the rest. */
#include "render.h"
#include "table.h"

static enum style evidence_style(const char *evidence)
{
	return str_eq(evidence, "observed")  ? STYLE_GOOD
	       : str_eq(evidence, "derived") ? STYLE_NONE
					     : STYLE_NOTE;
}

static void render_sites(struct out *o, json_object *sites)
{
	static const struct column columns[] = {{"copy site", false}, {"side", false}, {"kind", false},
		{"evidence", false}, {"hook, or why not", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));

	for (size_t i = 0; i < doc_length(sites); i++) {
		json_object *row = json_object_array_get_idx(sites, i);
		const char *evidence = doc_text(row, "evidence"), *hook = doc_string(row, "hook");

		table_cell(t, STYLE_BOLD, "%s", doc_text(row, "site"));
		table_cell(t, STYLE_NONE, "%s", doc_text(row, "side"));
		table_cell(t, STYLE_NONE, "%s", doc_text(row, "kind"));
		table_cell(t, evidence_style(evidence), "%s", evidence);
		table_cell(t, STYLE_NONE, "%s", hook ? hook : doc_text(row, "reason"));
	}
	table_print(t, o, 0);
}

static void render_modes(struct out *o, json_object *modes, const char *title)
{
	const struct column columns[] = {{title, false}, {"", false}, {"", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));

	for (size_t i = 0; i < doc_length(modes); i++) {
		json_object *row = json_object_array_get_idx(modes, i);
		bool available = doc_flag(row, "available") == 1;

		table_cell(t, STYLE_BOLD, "%s", doc_text(row, "name"));
		table_cell(t, available ? STYLE_GOOD : STYLE_NOTE, available ? "yes" : "no");
		table_cell(t, STYLE_NONE, "%s", doc_text(row, available ? "summary" : "reason"));
	}
	table_print(t, o, 0);
}

/* Names of the rows that are there on one line, then those that are not under their reasons. */
static void render_available(
	struct out *o, json_object *rows, const char *title, const char *name, const char *what)
{
	_cleanup_json_ json_object *missing = json_object_new_object(), *needs = json_object_new_object();
	_cleanup_free_ char *names = NULL;
	size_t size;
	FILE *f = open_memstream(&names, &size);

	if (!f)
		return;
	for (size_t i = 0; i < doc_length(rows); i++) {
		json_object *row = json_object_array_get_idx(rows, i);

		if (doc_flag(row, "available") == 1) {
			fprintf(f, "%s%s", ftell(f) > 0 ? ", " : "", doc_text(row, name));
			continue;
		}
		reasons_add(missing, doc_string(row, "reason"), doc_text(row, name));
		if (doc_string(row, "needs"))
			reasons_add(needs, doc_string(row, "needs"), doc_text(row, name));
	}
	fclose(f);
	render_label(o, title);
	out_wrap(o, STYLE_NONE, *names ? names : "none");
	out_newline(o);
	render_reasons(o, missing, what);
	render_reasons(o, needs, "needed");
}

static void render_hooks(struct out *o, json_object *hooks)
{
	static const struct column columns[] = {
		{"program", false}, {"tier", false}, {"", false}, {"attaches to", false}, {"why not", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));

	for (size_t i = 0; i < doc_length(hooks); i++) {
		json_object *row = json_object_array_get_idx(hooks, i);
		bool available = doc_flag(row, "available") == 1;
		const char *error = doc_text(row, "error"), *reason = doc_text(row, "reason");

		table_cell(t, STYLE_BOLD, "%s", doc_text(row, "program"));
		table_cell(t, STYLE_NONE, "%s", doc_text(row, "tier"));
		table_cell(t, available ? STYLE_GOOD : STYLE_NOTE, available ? "yes" : "no");
		table_cell(t, STYLE_NONE, "%s", doc_text(row, "attach"));
		table_cell(t, STYLE_NONE, "%s%s%s", error, *error && *reason ? ": " : "", reason);
	}
	table_print(t, o, 0);
}

static const char *yes_no(json_object *o, const char *member)
{
	int flag = doc_flag(o, member);

	return flag < 0 ? UNKNOWN : flag ? "yes" : "no";
}

static void device_row(struct table *t, const char *side, json_object *device)
{
	static const char *const flags[] = {"sg", "tx_csum", "tso", "gso", "gro"};
	static const char *const texts[] = {"kind", "driver", "qdisc"};
	static const char *const numbers[] = {"mtu", "taps"};
	double n;

	table_cell(t, STYLE_NONE, "%s", side);
	table_cell(t, STYLE_BOLD, "%s", doc_text(device, "device"));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		table_cell(t, STYLE_NONE, "%s",
			doc_string(device, texts[i]) ? doc_text(device, texts[i]) : UNKNOWN);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		table_cell(t, STYLE_NONE, "%s",
			doc_number(device, numbers[i], &n) ? figure_count(whole(n)).s : UNKNOWN);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		table_cell(t, STYLE_NONE, "%s", yes_no(device, flags[i]));
}

static void render_path_verdict(struct out *o, json_object *path)
{
	static const char *const words[] = {"whether MSG_ZEROCOPY is copied on this path is not known",
		"nothing on this path forces a copy for MSG_ZEROCOPY",
		"this path forces a copy for MSG_ZEROCOPY"};
	const char *reason = doc_string(path, "forces_copy_reason");
	int forces = doc_flag(path, "forces_copy");

	out_text(o, forces == 0 ? STYLE_GOOD : STYLE_NOTE, "%s", words[forces + 1]);
	if (reason)
		out_text(o, STYLE_NOTE, ": %s", reason);
	out_newline(o);
}

void render_path(struct out *o, json_object *path)
{
	static const struct column columns[] = {{"path", false}, {"device", false}, {"kind", false},
		{"driver", false}, {"qdisc", false}, {"mtu", true}, {"taps", true}, {"SG", false},
		{"tx csum", false}, {"TSO", false}, {"GSO", false}, {"GRO", false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *hints = doc_at(path, "hints");

	device_row(t, "sender", doc_at(path, "sender"));
	device_row(t, "receiver", doc_at(path, "receiver"));
	table_print(t, o, 0);
	render_path_verdict(o, path);
	for (size_t i = 0; i < doc_length(hints); i++) {
		out_wrap(o, STYLE_NOTE, json_object_get_string(json_object_array_get_idx(hints, i)));
		out_newline(o);
	}
}

void render_probe(struct out *o, json_object *reply, bool hooks)
{
	json_object *summary = doc_at(reply, "summary");

	render_sites(o, doc_at(reply, "sites"));
	out_newline(o);
	render_modes(o, doc_at(reply, "modes"), "mode");
	out_newline(o);
	render_modes(o, doc_at(reply, "receivers"), "receive");
	out_newline(o);
	render_available(o, doc_at(reply, "events"), "perf events", "name", "not counted");
	out_newline(o);
	if (hooks)
		render_hooks(o, doc_at(reply, "hooks"));
	else
		render_available(o, doc_at(reply, "hooks"), "hooks", "program", "cannot attach");
	if (doc_length(summary))
		out_newline(o);
	for (size_t i = 0; i < doc_length(summary); i++) {
		out_wrap(o, STYLE_NONE, json_object_get_string(json_object_array_get_idx(summary, i)));
		out_newline(o);
	}
}
