// SPDX-License-Identifier: MIT
/* copyledger trace: the ledger of a run while it is written. */
#include <errno.h>

#include "cli.h"
#include "commands.h"
#include "live.h"
#include "progress.h"
#include "render.h"

static const struct opt trace_options[] = {
	{"interval", 'i', "TIME", "interval_ms", opt_duration, 0,
		"between two tables, as in 500ms (default 1s)"},
	{},
};

struct tracer {
	struct cli *cli;
	struct live live;
	struct progress progress;      /* while the run waits */
	json_object *trace, *previous; /* previous: owned */
};

static void render(struct out *o, void *userdata)
{
	struct tracer *t = userdata;

	render_trace(o, t->trace, t->previous);
}

static int on_trace(json_object *reply, void *userdata)
{
	struct tracer *t = userdata;
	json_object *progress = doc_at(reply, "progress");
	int r;

	t->trace = doc_at(reply, "trace");
	if (progress)
		progress_show(&t->progress, progress);
	if (!t->trace)
		return 0;
	progress_clear(&t->progress);
	r = t->cli->json ? doc_print(t->cli->out.f, t->trace, false) : live_draw(&t->live, render, t, false);
	json_object_put(t->previous);
	t->previous = json_object_get(t->trace);
	return r;
}

static int cmd_trace(struct cli *cli)
{
	_cleanup_json_ json_object *parameters = cli_id(cli, NULL), *interval = NULL;
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_close_ int signals = -1;
	struct tracer t = {.cli = cli, .live = {.out = &cli->out}, .progress = progress_new(&cli->err)};
	struct fault fault = {};
	int r;

	interval = json_object_get(doc_at(cli->values.request, "interval_ms"));
	json_object_object_add(
		parameters, "interval_ms", interval ? TAKE_PTR(interval) : json_object_new_int(1000));
	signals = cli_catch_signals();
	r = client_connect(cli->socket, &c, &fault);
	if (r == 0)
		r = client_call_more(c, "TraceStats", parameters, signals, on_trace, &t, &fault);
	progress_clear(&t.progress);
	json_object_put(t.previous);
	if (r == -EINTR) /* Ctrl-C: only the watching ends */
		return STATUS_OK;
	if (r < 0 && !*fault.code) /* on_trace() has no sentence of its own */
		fault_set(&fault, r, "output", "", "cannot write the table: %s", strerror(-r));
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

const struct command command_trace = {
	.name = "trace",
	.operands = "[ID]",
	.summary = "show what each copy site counts, live; the running run if no id is given",
	.details = "Ends with the run. On a terminal the table is redrawn in place, elsewhere appended; with "
		   "--json each "
		   "table is one document on a line of its own.",
	.options = trace_options,
	.max_operands = 1,
	.run = cmd_trace,
};
