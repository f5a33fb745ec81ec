// SPDX-License-Identifier: MIT
/* A watch as text: what was seen, how fast it moves, who moves it, and why pinned bytes were copied. */
#include <inttypes.h>

#include "cli.h"
#include "render.h"
#include "table.h"

int watch_status(json_object *watch)
{
	return doc_flag(watch, "ledger.balanced") == 0 ? STATUS_UNBALANCED : STATUS_OK;
}

/* "process 12, port 80, by socket" */
static void render_filter(struct out *o, json_object *filter)
{
	static const struct {
		const char *member, *words;
	} numbers[] = {{"pid", "process"}, {"port", "port"}},
	  names[] = {{"cgroup", "cgroup"}, {"netns", "netns"}};
	const char *sep = "watching ";
	int64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (doc_integer(filter, numbers[i].member, &n) && n) {
			out_text(o, STYLE_BOLD, "%s%s %" PRId64, sep, numbers[i].words, n);
			sep = ", ";
		}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (*doc_text(filter, names[i].member)) {
			out_text(o, STYLE_BOLD, "%s%s %s", sep, names[i].words,
				doc_text(filter, names[i].member));
			sep = ", ";
		}
	if (!str_eq(sep, ", "))
		out_text(o, STYLE_BOLD, "watching everything");
	if (doc_integer(filter, "uid", &n))
		out_text(o, STYLE_BOLD, ", of uid %" PRId64, n);
}

/* Bytes a second that all sockets together moved since the document before. */
static bool total_rate(json_object *watch, json_object *previous, const char *counter, double *ret)
{
	double ms, then_ms = 0, bytes, then = 0;

	if (!doc_number(watch, "elapsed_ms", &ms) || !doc_number(watch, counter, &bytes))
		return false;
	if (previous &&
		(!doc_number(previous, "elapsed_ms", &then_ms) || !doc_number(previous, counter, &then)))
		return false;
	if (ms <= then_ms || bytes < then)
		return false;
	*ret = (bytes - then) * 1e3 / (ms - then_ms);
	return true;
}

static void render_total(
	struct out *o, json_object *watch, json_object *previous, const char *word, const char *counter)
{
	double bytes, rate;

	if (!doc_number(watch, counter, &bytes))
		return;
	out_text(o, STYLE_NONE, "  %s %s", word, figure_bytes(bytes).s);
	if (total_rate(watch, previous, counter, &rate))
		out_text(o, STYLE_BOLD, " (%s/s)", figure_bytes(rate).s);
}

static void render_sockets(struct out *o, json_object *watch, json_object *previous)
{
	double seen, open;

	if (doc_number(watch, "sockets.seen", &seen) && doc_number(watch, "sockets.open", &open))
		out_text(o, STYLE_NONE, "sockets %s seen, %s open", figure_count(whole(seen)).s,
			figure_count(whole(open)).s);
	render_total(o, watch, previous, "sent", "ledger.counters.accepted_bytes");
	render_total(o, watch, previous, "received", "ledger.counters.received_bytes");
	out_newline(o);
}

/* "copies per byte 1.00  exact", or what stands against it. */
static void render_exactness(struct out *o, json_object *ledger)
{
	json_object *doubts = doc_at(ledger, "doubts");
	int exact = doc_flag(ledger, "exact");
	double total;

	out_text(o, STYLE_NONE, "copies per byte ");
	if (doc_number(ledger, "copies_per_byte.total", &total))
		out_text(o, STYLE_BOLD, "%.2f  ", total);
	else
		out_text(o, STYLE_NONE, UNKNOWN "  ");
	if (exact == 1)
		out_text(o, STYLE_GOOD, "exact");
	else if (exact == 0)
		out_text(o, STYLE_NOTE, "not exact");
	for (size_t i = 0; i < doc_length(doubts); i++)
		out_text(o, STYLE_NOTE, "%s%s", i ? "; " : ": ",
			json_object_get_string(json_object_array_get_idx(doubts, i)));
	out_newline(o);
}

static void render_cost(struct out *o, json_object *watch)
{
	double ns, ms, bytes, hooks = (double)doc_length(doc_at(watch, "instrument.hooks"));

	out_text(o, STYLE_DIM, "%.0f hooks", hooks);
	if (doc_number(watch, "instrument.hook_ns", &ns) && doc_number(watch, "elapsed_ms", &ms) && ms > 0)
		out_text(o, STYLE_DIM, ": %s, %s of one CPU", figure_duration(ns).s,
			figure_percent(ns, ms * 1e6).s);
	else
		out_text(o, STYLE_DIM, ": cost not known (%s)",
			doc_reason(watch, "instrument.hook_ns") ? doc_reason(watch, "instrument.hook_ns")
								: "no reason given");
	if (doc_number(watch, "map_bytes_max", &bytes))
		out_text(o, STYLE_DIM, "  maps at most %s", figure_bytes(bytes).s);
	if (doc_number(watch, "socket_bytes", &bytes))
		out_text(o, STYLE_DIM, " and %s a socket", figure_bytes(bytes).s);
	out_newline(o);
}

/* ---- why ---- */

/* The one cause of a site's copies; the ledger does not know which view a cause belongs to, so with more than
 * one it is not said of a row. NULL: none. */
static const char *only_cause(json_object *ledger, const char *site)
{
	json_object *callers = doc_at(ledger_site(ledger, site), "callers");
	const char *cause = NULL;

	for (size_t i = 0; i < doc_length(callers); i++) {
		const char *c = caller_cause(json_object_array_get_idx(callers, i));

		if (cause && !str_eq(cause, c))
			return "several causes, see below";
		cause = c;
	}
	return cause;
}

/* ---- views ---- */

static void share_cell(struct table *t, json_object *view, const char *member)
{
	double share;

	if (doc_number(view, member, &share))
		table_cell(t, share > 0 ? STYLE_BOLD : STYLE_NONE, "%s", figure_percent(share, 1).s);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}

static void rate_cell(struct table *t, json_object *view, const char *member)
{
	double rate;

	if (doc_number(view, member, &rate))
		table_cell(t, STYLE_NONE, "%s/s", figure_bytes(rate).s);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
}

static void bytes_cell(struct table *t, json_object *view, const char *member)
{
	double bytes;

	table_cell(t, STYLE_NONE, "%s", doc_number(view, member, &bytes) ? figure_bytes(bytes).s : UNKNOWN);
}

/* Nothing where every row is a process: an empty column takes no room. */
static void ends_cell(struct table *t, const struct out *o, json_object *view)
{
	const char *local = doc_string(view, "local"), *remote = doc_string(view, "remote");

	if (local && remote)
		table_cell(t, STYLE_NONE, "%s %s %s", local, o->utf8 ? "→" : "->", remote);
	else
		table_cell(t, STYLE_NONE, "%s", "");
}

/* last: sums of the whole watch in place of the last interval's rates. */
static void view_row(struct table *t, const struct out *o, json_object *ledger, json_object *view, bool last)
{
	const char *cause = only_cause(ledger, "tx_deferred_copy");
	double n, late = 0;
	int64_t pid;

	if (doc_integer(view, "pid", &pid))
		table_cell(t, STYLE_NONE, "%" PRId64, pid);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
	table_cell(t, STYLE_NONE, "%s", doc_text(view, "comm"));
	ends_cell(t, o, view);
	table_cell(t, STYLE_NONE, "%s",
		doc_number(view, "sockets_open", &n) ? figure_count(whole(n)).s : UNKNOWN);
	if (last) {
		bytes_cell(t, view, "sent");
		bytes_cell(t, view, "received");
	} else {
		rate_cell(t, view, "sent_per_s");
		rate_cell(t, view, "received_per_s");
	}
	if (doc_number(view, "copies_per_byte", &n))
		table_cell(t, STYLE_BOLD, "%.2f", n);
	else
		table_cell(t, STYLE_NONE, UNKNOWN);
	share_cell(t, view, "share_pinned");
	share_cell(t, view, "share_spliced");
	share_cell(t, view, "share_copied_after_all");
	doc_number(view, "share_copied_after_all", &late);
	table_cell(t, STYLE_NOTE, "%s", late > 0 && cause ? cause : "");
}

static void render_views(struct out *o, json_object *watch, bool last)
{
	const struct column columns[] = {{"pid", true}, {"comm", false}, {"local, remote", false},
		{"open", true}, {last ? "sent" : "sent/s", true}, {last ? "received" : "received/s", true},
		{"copies/B", true}, {"pinned", true}, {"spliced", true}, {"after all", true},
		{"cause", false}};
	struct column shown[ARRAY_SIZE(columns)];
	_cleanup_(table_freep) struct table *t = NULL;
	json_object *views = doc_at(watch, "views");
	double left_out;

	memcpy(shown, columns, sizeof(shown));
	if (!str_eq(doc_text(watch, "filter.by"), "socket"))
		shown[2].title = NULL;
	t = table_new(shown, ARRAY_SIZE(shown));
	for (size_t i = 0; i < doc_length(views); i++)
		view_row(t, o, doc_at(watch, "ledger"), json_object_array_get_idx(views, i), last);
	if (doc_length(views))
		table_print(t, o, 0);
	else
		out_line(o, STYLE_DIM, "no call on such a socket yet");
	if (doc_number(watch, "views_left_out", &left_out) && left_out > 0)
		out_line(o, STYLE_DIM, "and %s more, in the totals", figure_count(whole(left_out)).s);
}

void render_watch(struct out *o, json_object *watch, json_object *previous, bool last)
{
	json_object *ledger = doc_at(watch, "ledger");
	double ms;

	render_filter(o, doc_at(watch, "filter"));
	if (doc_number(watch, "elapsed_ms", &ms))
		out_text(o, STYLE_NONE, "  %.1f s", ms / 1e3);
	out_newline(o);
	render_sockets(o, watch, last ? NULL : previous);
	render_exactness(o, ledger);
	render_cost(o, watch);
	render_views(o, watch, last);
	render_causes(o, ledger);
	if (last)
		render_balance(o, ledger);
}
