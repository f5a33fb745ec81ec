// SPDX-License-Identifier: MIT
/* The ledger: what each site booked, and whether the books balance. */
#include <ctype.h>

#include "render.h"
#include "table.h"

#define CALLERS_SHOWN 3

/* Sites whose zero says something in this mode; elsewhere a site without bytes is only named. */
static const struct mode_sites {
	const char *mode, *sites[5];
} mode_sites[] = {
	{"two-copy", {"app_pack", "tx_copy", "rx_copy"}},
	{"one-copy", {"tx_copy", "rx_copy"}},
	{"zero-copy", {"tx_copy", "tx_pin", "tx_deferred_copy", "rx_copy"}},
	{"sendfile", {"tx_copy", "tx_splice", "rx_copy"}},
	{"splice", {"tx_copy", "tx_splice", "rx_copy"}},
	{"uring-send", {"tx_copy", "rx_copy"}},
	{"uring-send-zc", {"tx_copy", "tx_pin", "tx_deferred_copy", "rx_copy"}},
};

static bool zero_matters(const char *mode, const char *site)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_sites); i++) {
		const char *const *s = mode_sites[i].sites;

		if (!mode || !str_eq(mode, mode_sites[i].mode))
			continue;
		for (; *s; s++)
			if (str_eq(*s, site))
				return true;
	}
	return false;
}

/* Payload that the receivers got: the base of "per byte". */
static bool delivered_bytes(json_object *ledger, double *ret)
{
	json_object *balance = doc_at(ledger, "balance");

	if (doc_number(ledger, "delivered", ret))
		return true;
	for (size_t i = 0; i < doc_length(balance); i++) {
		json_object *row = json_object_array_get_idx(balance, i);
		const char *rule = doc_string(row, "rule");

		if (rule && str_eq(rule, "received"))
			return doc_number(row, "left", ret);
	}
	return false;
}

static bool is_kind(json_object *row, const char *kind)
{
	const char *k = doc_string(row, "kind");

	return k && str_eq(k, kind);
}

static bool per_byte(json_object *result, json_object *row, double bytes, double *ret)
{
	double delivered;

	if (is_kind(row, "copy") && doc_number(result_copies(result), doc_string(row, "site"), ret))
		return true;
	if (!delivered_bytes(doc_at(result, "ledger"), &delivered) || delivered <= 0)
		return false;
	*ret = bytes / delivered;
	return true;
}

/* The hook without its kind ("tp_btf/"), which only the probe's list needs. */
static void seen_by(struct table *t, json_object *row)
{
	const char *evidence = doc_text(row, "evidence"), *hook = doc_text(row, "hook"),
		   *slash = strchr(hook, '/');

	hook = slash ? slash + 1 : hook;
	if (str_eq(evidence, "observed") && *hook)
		table_cell(t, STYLE_DIM, "%s", hook);
	else
		table_cell(t, STYLE_DIM, "%s%s%s", evidence, *hook ? ": " : "", hook);
}

static void site_row(struct table *t, json_object *result, json_object *row)
{
	double bytes = 0, hits = 0, share;
	bool b = doc_number(row, "bytes", &bytes), h = doc_number(row, "hits", &hits);
	bool late = str_eq(doc_text(row, "site"), "tx_deferred_copy") && bytes > 0;

	table_cell(t, late ? STYLE_NOTE : STYLE_NONE, "%s", doc_text(row, "site"));
	table_cell(t, STYLE_NONE, "%s", b ? figure_bytes(bytes).s : UNKNOWN);
	if (b && per_byte(result, row, bytes, &share))
		table_cell(t, is_kind(row, "copy") ? STYLE_BOLD : STYLE_NONE, "%.2f", share);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", h ? figure_count(whole(hits)).s : UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", b && h && hits > 0 ? figure_mean_size(bytes / hits).s : UNKNOWN);
	seen_by(t, row);
}

/* Where a row of the ledger is shown: as a line, among those without bytes, or among those that cannot be
 * seen. */
static void sort_row(
	struct table *t, json_object *result, json_object *row, json_object *nothing, json_object *blind)
{
	const char *site = doc_text(row, "site"), *mode = doc_string(result, "spec.mode");
	double bytes = 0, hits = 0;

	if (str_eq(doc_text(row, "evidence"), "unavailable"))
		reasons_add(blind, doc_string(row, "reason"), site);
	else if (doc_number(row, "bytes", &bytes) && bytes == 0 &&
		 !(doc_number(row, "hits", &hits) && hits > 0) && !zero_matters(mode, site))
		json_object_array_add(nothing, json_object_new_string(site));
	else
		site_row(t, result, row);
}

static void render_nothing(struct out *o, json_object *nothing)
{
	if (doc_length(nothing) == 0)
		return;
	out_text(o, STYLE_DIM, "nothing at: ");
	for (size_t i = 0; i < doc_length(nothing); i++)
		out_text(o, STYLE_DIM, "%s%s", i ? ", " : "",
			json_object_get_string(json_object_array_get_idx(nothing, i)));
	out_newline(o);
}

static void render_blind(struct out *o, json_object *blind)
{
	json_object_object_foreach(blind, reason, names)
	{
		_cleanup_free_ char *text = NULL;

		if (asprintf(&text, "%s: %s", json_object_get_string(names), reason) < 0) {
			text = NULL;
			continue;
		}
		out_text(o, STYLE_DIM, "not visible here: ");
		out_wrap(o, STYLE_DIM, text);
		out_newline(o);
	}
}

/* A caller is a string, or an object with its name in one of these members and its hits. */
static const char *caller_name(json_object *caller)
{
	static const char *const members[] = {"caller", "function", "symbol", "name", "stack"};

	if (json_object_is_type(caller, json_type_string))
		return json_object_get_string(caller);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		json_object *o = doc_at(caller, members[i]);

		if (json_object_is_type(o, json_type_string))
			return json_object_get_string(o);
		if (json_object_is_type(o, json_type_array) && doc_length(o) > 0)
			return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	}
	return NULL;
}

static void render_callers(struct out *o, json_object *row)
{
	json_object *callers = doc_at(row, "callers");

	for (size_t i = 0; i < doc_length(callers) && i < CALLERS_SHOWN; i++) {
		json_object *caller = json_object_array_get_idx(callers, i);
		const char *name = caller_name(caller);
		double hits;

		if (!name)
			continue;
		out_text(o, STYLE_DIM, "%s called by: ", doc_text(row, "site"));
		out_wrap(o, STYLE_DIM, name);
		if (doc_number(caller, "hits", &hits))
			out_text(o, STYLE_DIM, " (%s)", figure_count(whole(hits)).s);
		out_newline(o);
	}
}

static void render_copies(struct out *o, json_object *result)
{
	json_object *copies = result_copies(result);
	const char *reason = doc_reason(copies, "total"), *sep = " = ";
	double total, share;

	out_text(o, STYLE_BOLD, "copies per byte  ");
	if (!doc_number(copies, "total", &total)) {
		out_wrap(o, STYLE_NONE, reason ? reason : "not counted");
		out_newline(o);
		return;
	}
	out_text(o, STYLE_BOLD, "%.2f", total);
	json_object_object_foreach(copies, site, value)
	{
		(void)value;
		if (str_eq(site, "total") || !doc_number(copies, site, &share) || share <= 0)
			continue;
		out_text(o, STYLE_NONE, "%s%s %.2f", sep, site, share);
		sep = " + ";
	}
	if (doc_flag(copies, "lower_bound") == 1)
		out_text(o, STYLE_NOTE, " (a lower bound: not every copying site is visible here)");
	out_newline(o);
}

void render_ledger(struct out *o, json_object *result)
{
	static const struct column columns[] = {{"site", false}, {"bytes", true}, {"per byte", true},
		{"hits", true}, {"avg/hit", true}, {"seen by", false}};
	json_object *ledger = doc_at(result, "ledger"), *sites = doc_at(ledger, "sites");
	_cleanup_(table_freep) struct table *t = table_new(&columns[0], ARRAY_SIZE(columns));
	_cleanup_json_ json_object *nothing = json_object_new_array(), *blind = json_object_new_object();
	const char *reason = doc_reason(result, "ledger");

	if (doc_length(sites) == 0) {
		render_label(o, "ledger");
		out_wrap(o, STYLE_NOTE, reason ? reason : "none was kept");
		out_newline(o);
		if (result_copies(result))
			render_copies(o, result);
		return;
	}
	for (size_t i = 0; i < doc_length(sites); i++)
		sort_row(t, result, json_object_array_get_idx(sites, i), nothing, blind);
	table_print(t, o, 0);
	render_copies(o, result);
	render_nothing(o, nothing);
	render_blind(o, blind);
	render_causes(o, ledger);
	for (size_t i = 0; i < doc_length(sites); i++)
		render_callers(o, json_object_array_get_idx(sites, i));
}

/* Appends one side of an equation, each name of a site followed by its bytes, or, if no name is one, by the
 * side's sum. Words in parentheses and figures are left as they are. */
static void put_side(FILE *f, json_object *ledger, const char *side, size_t n, int64_t sum)
{
	bool named = false;

	for (size_t i = 0; i < n;) {
		size_t len = 0;
		char name[64];
		int64_t bytes;

		while (i + len < n && (isalnum((unsigned char)side[i + len]) || side[i + len] == '_'))
			len++;
		fprintf(f, "%.*s", (int)MAX(len, 1), side + i);
		snprintf(name, sizeof(name), "%.*s", (int)len, side + i);
		i += MAX(len, 1);
		if (len && doc_integer(ledger_site(ledger, name), "bytes", &bytes)) {
			fprintf(f, " %s", figure_count(bytes).s);
			named = true;
		}
	}
	if (!named)
		fprintf(f, " %s", figure_count(sum).s);
}

/* "accepted 5,120,000 = tx_copy 0 + tx_pin 5,120,000 + tx_splice 0" */
static char *equation_text(json_object *ledger, json_object *row, int64_t left, int64_t right)
{
	static const char *const relations[] = {" <= ", " = "};
	const char *text = doc_text(row, "text"), *at = NULL, *relation = " = ";
	char *result = NULL;
	size_t size;
	FILE *f = open_memstream(&result, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(relations) && !at; i++) {
		relation = relations[i];
		at = strstr(text, relation);
	}
	if (at) {
		put_side(f, ledger, text, (size_t)(at - text), left);
		fputs(relation, f);
		put_side(f, ledger, at + strlen(relation), strlen(at + strlen(relation)), right);
	} else {
		fprintf(f, "%s%s%s = %s", text, *text ? ": " : "", figure_count(left).s,
			figure_count(right).s);
	}
	fclose(f);
	return result;
}

static void balance_row(struct table *t, json_object *ledger, json_object *row)
{
	_cleanup_free_ char *equation = NULL;
	int64_t left, right, difference;
	int holds = doc_flag(row, "holds");
	const char *reason = doc_string(row, "reason");

	table_cell(t, STYLE_NONE, "%s", doc_text(row, "rule"));
	if (holds < 0 || !doc_integer(row, "left", &left) || !doc_integer(row, "right", &right)) {
		table_cell(t, STYLE_DIM, "unavailable");
		table_cell(t, STYLE_DIM, "%s", reason ? reason : "no reason given");
		return;
	}
	equation = equation_text(ledger, row, left, right);
	if (!doc_integer(row, "difference", &difference))
		difference = left - right;
	table_cell(t, holds ? STYLE_GOOD : STYLE_BAD, holds ? "ok" : "DIFFERS");
	if (holds)
		table_cell(t, STYLE_NONE, "%s", equation ? equation : "");
	else
		table_cell(t, STYLE_NONE, "%s   difference %s%s%s", equation ? equation : "",
			figure_count(difference).s, reason ? ": " : "", reason ? reason : "");
}

/* Why the books may be off: the document's own sentences, then the figures behind them. */
static void render_doubts(struct out *o, json_object *ledger)
{
	json_object *doubts = doc_at(ledger, "doubts"), *misses = doc_at(ledger, "misses");
	double tx, rx, n;

	for (size_t i = 0; i < doc_length(doubts); i++)
		out_line(o, STYLE_NOTE, "%s", json_object_get_string(json_object_array_get_idx(doubts, i)));
	if (doc_number(ledger, "gap.tx", &tx) && doc_number(ledger, "gap.rx", &rx) && (tx != 0 || rx != 0))
		out_line(o, STYLE_NOTE, "gap: %s bytes sent and %s received passed by the hooks unseen",
			figure_count(whole(tx)).s, figure_count(whole(rx)).s);
	for (size_t i = 0; i < doc_length(misses); i++) {
		json_object *row = json_object_array_get_idx(misses, i);

		if (doc_number(row, "misses", &n) && n > 0)
			out_line(o, STYLE_NOTE, "the kernel skipped %s %s times", doc_text(row, "program"),
				figure_count(whole(n)).s);
	}
}

static void render_books(struct out *o, json_object *ledger)
{
	int balanced = doc_flag(ledger, "balanced"), exact = doc_flag(ledger, "exact");
	double served, all = (double)doc_length(doc_at(ledger, "balance"));

	out_text(o, STYLE_BOLD, "books: ");
	if (balanced == 0)
		out_text(o, STYLE_BAD, "they do NOT balance");
	else if (balanced < 0)
		out_text(o, STYLE_NOTE, "no equation could be checked");
	else
		out_text(o, STYLE_GOOD, "balanced");
	if (exact >= 0)
		out_text(o, exact ? STYLE_GOOD : STYLE_NOTE, exact ? ", exact" : ", not exact");
	if (doc_number(ledger, "equations_served", &served) && served < all)
		out_text(o, STYLE_DIM, " (%.0f of %.0f equations can be checked here)", served, all);
	out_newline(o);
}

void render_balance(struct out *o, json_object *ledger)
{
	static const struct column columns[] = {{NULL, false}, {NULL, false}, {NULL, false}};
	_cleanup_(table_freep) struct table *t = table_new(columns, ARRAY_SIZE(columns));
	json_object *balance = doc_at(ledger, "balance");

	if (doc_length(balance) == 0)
		return;
	for (size_t i = 0; i < doc_length(balance); i++)
		balance_row(t, ledger, json_object_array_get_idx(balance, i));
	table_print(t, o, 0);
	render_books(o, ledger);
	render_doubts(o, ledger);
}
