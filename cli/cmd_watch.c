// SPDX-License-Identifier: MIT
/* copyledger watch: the ledger of sockets that are not ours, while they are used. */
#include <errno.h>

#include "cli.h"
#include "commands.h"
#include "live.h"
#include "render.h"

#define ONCE_DURATION_MS 10000
#define INTERVAL_MS 1000
#define INTERVAL_MAX_MS 60000 /* the daemon's limit */

static const struct opt watch_options[] = {
	{"pid", 'p', "PID", NULL, opt_integer, 0, "sockets that this process uses"},
	{"cgroup", 'c', "PATH", NULL, NULL, 0, "sockets that processes of this cgroup use"},
	{"port", 0, "N", NULL, opt_integer, 0, "sockets with this local or remote port"},
	{"netns", 0, "NAME", NULL, NULL, 0,
		"sockets of this network namespace: a name of /run/netns, or an inode number"},
	{"all", 'a', NULL, NULL, NULL, 0, "all sockets that you may watch"},
	{"by", 'b', "KIND", NULL, NULL, 0, "what a row is: process (the default) or socket"},
	{"interval", 'i', "TIME", "interval_ms", opt_duration, 0,
		"between two views, as in 500ms (default 1s)"},
	{"duration", 'd', "TIME", "duration_ms", opt_duration, 0,
		"end after this time (default: Ctrl-C ends it; 10s with --once)"},
	{"once", '1', NULL, NULL, NULL, OPT_LOCAL, "show only what was seen at the end"},
	{"top", 'n', "N", NULL, opt_integer, 0, "rows, those that move most (default 50)"},
	{"ledger", 0, "TIER", NULL, NULL, 0, "hooks: auto (the default), fentry or tracepoint"},
	{},
};

struct watcher {
	struct cli *cli;
	struct live live;
	bool once;
	json_object *watch, *previous; /* the last document and the one before; owned */
	bool ended;
};

static void render(struct out *o, void *userdata)
{
	struct watcher *w = userdata;

	render_watch(o, w->watch, w->previous, w->ended);
}

static int on_watch(json_object *reply, void *userdata)
{
	struct watcher *w = userdata;
	json_object *watch = doc_at(reply, "watch");

	if (!json_object_is_type(watch, json_type_object))
		return 0;
	json_object_put(w->previous);
	w->previous = w->watch;
	w->watch = json_object_get(watch);
	if (w->once)
		return 0;
	if (w->cli->json)
		return doc_print(w->cli->out.f, watch, false);
	return live_draw(&w->live, render, w, false);
}

/* Shows the last document's sums, and the balance behind them. whole: the duration is over. */
static int conclude(struct watcher *w, bool whole)
{
	int r = 0;

	w->ended = true;
	if (!w->watch || (w->once && !whole)) {
		out_line(&w->cli->err, STYLE_NONE,
			"copyledger: the watch was ended before there was anything to show");
		return STATUS_FAILED;
	}
	if (!w->cli->json)
		r = live_draw(&w->live, render, w, true);
	else if (w->once)
		r = doc_print(w->cli->out.f, w->watch, true);
	return r < 0 ? r : watch_status(w->watch);
}

static void set_default(json_object *o, const char *name, int64_t value)
{
	if (!doc_at(o, name))
		json_object_object_add(o, name, json_object_new_int64(value));
}

/* What the options say, with the defaults that are the command's own; owned by the caller. A row of a socket
 * that has ended is in one document only: what is shown once is one interval, as far as the daemon allows. */
static json_object *request(const struct cli *cli, bool once)
{
	json_object *o = json_object_get(cli->values.request);
	int64_t duration = ONCE_DURATION_MS;

	if (once) {
		set_default(o, "duration_ms", duration);
		doc_integer(o, "duration_ms", &duration);
	}
	set_default(o, "interval_ms", once ? MIN(duration, INTERVAL_MAX_MS) : INTERVAL_MS);
	return o;
}

static int cmd_watch(struct cli *cli)
{
	struct watcher w = {
		.cli = cli, .live = {.out = &cli->out}, .once = doc_flag(cli->values.local, "once") == 1};
	_cleanup_json_ json_object *parameters = request(cli, w.once);
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_close_ int signals = cli_catch_signals();
	struct fault fault = {};
	int r;

	r = client_connect(cli->socket, &c, &fault);
	if (r == 0)
		r = client_call_more(c, "Watch", parameters, signals, on_watch, &w, &fault);
	if (r == 0 || r == -EINTR) { /* Ctrl-C is how a watch ends */
		r = conclude(&w, r == 0);
		fault = (struct fault){};
	}
	json_object_put(w.watch);
	json_object_put(w.previous);
	if (r < 0 && !*fault.code) /* neither on_watch() nor conclude() has a sentence of its own */
		fault_set(&fault, r, "output", "", "cannot write the view: %s", strerror(-r));
	return r < 0 ? cli_fail(cli, &fault) : r;
}

const struct command command_watch = {
	.name = "watch",
	.operands = "",
	.summary = "keep the ledger of programs that are not ours, live",
	.details = "All conditions that are given must hold. Ctrl-C ends it with the totals and the balance. "
		   "With "
		   "--json each view is one document on a line of its own, with --once one at the end.",
	.options = watch_options,
	.run = cmd_watch,
};
