// SPDX-License-Identifier: MIT
/* copyledger sweep: has a grid of runs measured, follows it, shows its cells. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cli.h"
#include "commands.h"
#include "progress.h"
#include "render.h"

/* Turns each part between commas into a value by parse (NULL: a string). */
static int parse_parts(const char *arg,
	int (*parse)(const char *arg, json_object **ret, struct fault *reterr), json_object **ret,
	struct fault *reterr)
{
	_cleanup_json_ json_object *list = json_object_new_array();
	_cleanup_free_ char *copy = strdup(arg);
	char *rest = copy, *part;
	int r = list && copy ? 0 : -ENOMEM;

	while (r == 0 && (part = opt_part(&rest))) {
		json_object *value = NULL;

		if (!*part)
			return fault_set(
				reterr, -EINVAL, "usage", "", "takes a list like a,b, not '%s'", arg);
		r = parse ? parse(part, &value, reterr) : 0;
		if (r == 0 && !parse)
			value = json_object_new_string(part);
		if (r == 0)
			r = value && json_object_array_add(list, value) == 0 ? 0 : -ENOMEM;
	}
	if (r == 0)
		*ret = TAKE_PTR(list);
	return r;
}

static int opt_words(const char *arg, json_object **ret, struct fault *reterr)
{
	return parse_parts(arg, NULL, ret, reterr);
}

static int opt_sizes(const char *arg, json_object **ret, struct fault *reterr)
{
	return parse_parts(arg, opt_size, ret, reterr);
}

static int opt_integers(const char *arg, json_object **ret, struct fault *reterr)
{
	return parse_parts(arg, opt_integer, ret, reterr);
}

/* The grid up to 1 MiB. */
static int opt_wide(const char *arg, json_object **ret, struct fault *reterr)
{
	return opt_sizes("64,256,1K,4K,16K,64K,256K,1M", ret, reterr);
}

static const struct opt sweep_options[] = {
	{"modes", 'm', "LIST", NULL, opt_words, 0, "default two-copy,one-copy,zero-copy"},
	{"sizes", 's', "LIST", NULL, opt_sizes, 0, "bytes a message, default 64,256,1K,4K"},
	{"wide", 0, NULL, "sizes", opt_wide, 0, "sizes 64,256,1K,4K,16K,64K,256K,1M"},
	{"threads", 't', "LIST", NULL, opt_integers, 0, "default 1,2,4,8"},
	{"paths", 'p', "LIST", NULL, opt_words, 0, "loopback (the default), veth, netns:SERVER,CLIENT"},
	{"workloads", 'w', "LIST", NULL, opt_words, 0, "stream (the default), rr"},
	{"receive", 'r', "NAME", NULL, NULL, 0, "recv (the default), recv-trunc or mmap"},
	{"fields", 'f', "N", NULL, opt_integer, 0, "buffers that a message is made of (default 8)"},
	{"repeat", 'n', "N", NULL, opt_integer, 0, "runs a cell at most (default 5); it may converge before"},
	{"duration", 'd', "TIME", "duration_ms", opt_duration, 0,
		"the measured window of a run (default 1s)"},
	{"warmup", 0, "TIME", "warmup_ms", opt_duration, 0, "load before it (default 200ms)"},
	{"seed", 0, "N", NULL, opt_integer, 0, "of the order of the runs and of the bootstrap (default 1)"},
	{"verify", 0, NULL, NULL, NULL, 0, "the receivers check every byte"},
	{"no-pin", 0, NULL, "pin", opt_false, 0, "do not bind threads to CPUs"},
	{"no-perf", 0, NULL, "perf", opt_false, 0, "no perf counters"},
	{"ledger", 0, "TIER", NULL, NULL, 0,
		"hooks of the ledger: auto (the default), fentry, tracepoint or off"},
	{"hook-times", 0, NULL, "hook_times", NULL, 0, "time every hook of the ledger: costs some more"},
	{"no-delay", 'N', NULL, "nodelay", NULL, 0,
		"TCP_NODELAY also for streams: no small packet waits for another"},
	{"ipv6", '6', NULL, "ip", opt_ipv6, 0, "over IPv6"},
	{"congestion", 0, "NAME", NULL, NULL, 0, "a congestion control of the kernel"},
	{"sndbuf", 0, "BYTES", NULL, opt_size, 0, "SO_SNDBUF of the senders"},
	{"rcvbuf", 0, "BYTES", NULL, opt_size, 0, "SO_RCVBUF of the receivers"},
	{"label", 'l', "TEXT", NULL, NULL, 0, "a name to find the sweep and its runs by"},
	{"resume", 0, "ID", NULL, NULL, OPT_LOCAL,
		"follow this sweep again, and go on with it if it stopped"},
	{"detach", 0, NULL, NULL, NULL, OPT_LOCAL, "print the sweep's id and leave it to the daemon"},
	{},
};

struct follow {
	struct cli *cli;
	struct progress progress;
	json_object *summary; /* owned */
	int64_t ended, cells;
};

static int on_reply(json_object *reply, void *userdata)
{
	struct follow *f = userdata;
	json_object *summary = doc_at(reply, "summary"), *cell = doc_at(reply, "cell"),
		    *progress = doc_at(reply, "progress");

	if (summary && !f->summary)
		f->summary = json_object_get(summary);
	if (cell) {
		f->ended++;
		progress_clear(&f->progress);
		if (!f->cli->json)
			render_sweep_cell(&f->cli->out, cell, f->ended, f->cells);
		fflush(f->cli->out.f);
	}
	if (progress)
		progress_show_sweep(&f->progress, progress);
	return 0;
}

static int sweep_status(json_object *sweep)
{
	int64_t failed = 0, unbalanced = 0;

	doc_integer(sweep, "cells_failed", &failed);
	doc_integer(sweep, "unbalanced", &unbalanced);
	if (failed || !str_eq(doc_text(sweep, "state"), "done"))
		return STATUS_FAILED;
	return unbalanced ? STATUS_UNBALANCED : STATUS_OK;
}

int cli_show_sweep(struct cli *cli, json_object *reply)
{
	int r = STATUS_OK;

	if (cli->json)
		r = cli_print_json(cli, reply, true);
	else
		render_sweep(&cli->out, reply);
	return r == STATUS_OK ? sweep_status(doc_at(reply, "sweep")) : r;
}

static void say_how_to_go_on(struct cli *cli, const char *what, const char *id)
{
	out_line(&cli->err, STYLE_NONE,
		"%s: 'copyledger sweep --resume %s' goes on, 'copyledger cancel %s' ends it", what, id, id);
}

/* The cells as the daemon has them now. */
static int show(struct cli *cli, struct client *c, json_object *id)
{
	_cleanup_json_ json_object *reply = NULL;
	struct fault fault = {};
	int r = client_call(c, "GetSweep", id, &reply, &fault);

	if (r < 0)
		return cli_fail(cli, &fault);
	if (!cli->json && doc_length(doc_at(reply, "cells")))
		out_newline(&cli->out);
	return cli_show_sweep(cli, reply);
}

static int follow(struct cli *cli, struct client *c, json_object *started)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *summary = NULL;
	struct follow f = {.cli = cli, .progress = progress_new(&cli->err)};
	_cleanup_close_ int signals = cli_catch_signals();
	const char *id = doc_text(started, "id");
	struct fault fault = {};
	int r;

	doc_integer(started, "sweep.cells", &f.cells);
	json_object_object_add(parameters, "id", json_object_new_string(id));
	r = client_call_more(c, "FollowSweep", parameters, signals, on_reply, &f, &fault);
	progress_clear(&f.progress);
	summary = f.summary;
	if (r == -EINTR) {
		say_how_to_go_on(cli, "left, the daemon goes on with the sweep", id);
		return STATUS_FAILED;
	}
	if (r < 0) {
		r = cli_fail(cli, &fault);
		say_how_to_go_on(cli, "when the daemon is back", id);
		return r;
	}
	r = show(cli, c, parameters);
	if (str_eq(doc_text(summary, "state"), "interrupted"))
		say_how_to_go_on(cli, "the daemon has ended", id);
	return r;
}

/* *ret holds the id of the sweep; owned by the caller. */
static int start(struct cli *cli, struct client *c, json_object **ret)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *reply = NULL;
	const char *resume = doc_string(cli->values.local, "resume");
	struct fault fault = {};
	int r;

	if (resume)
		json_object_object_add(parameters, "resume", json_object_new_string(resume));
	else
		json_object_object_add(parameters, "spec", json_object_get(cli->values.request));
	r = client_call(c, "StartSweep", parameters, &reply, &fault);
	if (r == 0 && !doc_string(reply, "id"))
		r = fault_set(&fault, -EBADMSG, "bad_reply", "", "the daemon started a sweep without an id");
	if (r < 0)
		return cli_fail(cli, &fault);
	*ret = TAKE_PTR(reply);
	return STATUS_OK;
}

static int check_usage(const struct cli *cli, struct fault *reterr)
{
	if (doc_string(cli->values.local, "resume") && json_object_object_length(cli->values.request) > 0)
		return fault_set(reterr, -EINVAL, "usage", "",
			"'--resume' goes on with what the sweep was: no other parameters can be given");
	return 0;
}

static int cmd_sweep(struct cli *cli)
{
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_json_ json_object *started = NULL;
	struct fault fault = {};
	int r;

	r = check_usage(cli, &fault);
	if (r == 0)
		r = client_connect(cli->socket, &c, &fault);
	if (r < 0)
		return cli_fail(cli, &fault);
	r = start(cli, c, &started);
	if (r != STATUS_OK)
		return r;
	if (doc_flag(cli->values.local, "detach") != 1)
		return follow(cli, c, started);
	if (cli->json)
		return cli_print_json(cli, started, true);
	out_line(&cli->out, STYLE_NONE, "%s", doc_text(started, "id"));
	return STATUS_OK;
}

const struct command command_sweep = {
	.name = "sweep",
	.operands = "",
	.summary = "measure a grid of modes, sizes and threads",
	.details = "A cell is run until the interval of its median throughput is within 2.5 % of it. The "
		   "daemon does the "
		   "work: Ctrl-C only leaves, --resume comes back, 'copyledger cancel ID' ends the sweep.",
	.options = sweep_options,
	.run = cmd_sweep,
};
