// SPDX-License-Identifier: MIT
/* copyledger run: starts a run, follows it, shows its result. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cli.h"
#include "commands.h"
#include "pair.h"
#include "progress.h"

static const struct opt run_options[] = {
	{"mode", 'm', "MODE", NULL, NULL, OPT_REQUIRED,
		"two-copy, one-copy, zero-copy, sendfile, splice, uring-send or uring-send-zc"},
	{"receive", 'r', "NAME", NULL, NULL, 0, "recv (the default), recv-trunc or mmap"},
	{"workload", 'w', "NAME", NULL, NULL, 0,
		"stream (back to back, the default) or rr (one out, one back)"},
	{"path", 'p', "NAME", NULL, NULL, 0,
		"loopback (the default), veth (two network namespaces) or netns:SERVER,CLIENT (two that "
		"exist)"},
	{"size", 's', "BYTES", NULL, opt_size, 0, "bytes a message, as in 64K (the default)"},
	{"fields", 'f', "N", NULL, opt_integer, 0, "buffers that a message is made of (default 8)"},
	{"threads", 't', "N", NULL, opt_integer, 0,
		"connections, each with a sending and a receiving thread (default 1)"},
	{"duration", 'd', "TIME", "duration_ms", opt_duration, 0, "the measured window, as in 5s or 500ms"},
	{"warmup", 0, "TIME", "warmup_ms", opt_duration, 0, "load before the measured window"},
	{"verify", 0, NULL, NULL, NULL, 0, "the receiver checks every byte"},
	{"no-pin", 0, NULL, "pin", opt_false, 0, "do not bind threads to CPUs"},
	{"no-perf", 0, NULL, "perf", opt_false, 0, "no perf counters"},
	{"ledger", 0, "TIER", NULL, NULL, 0,
		"hooks of the ledger: auto (the default), fentry, tracepoint or off"},
	{"hook-times", 0, NULL, "hook_times", NULL, 0, "time every hook of the ledger: costs some more"},
	{"ipv6", '6', NULL, "ip", opt_ipv6, 0, "over IPv6"},
	{"congestion", 0, "NAME", NULL, NULL, 0, "a congestion control of the kernel"},
	{"sndbuf", 0, "BYTES", NULL, opt_size, 0, "SO_SNDBUF of the senders"},
	{"rcvbuf", 0, "BYTES", NULL, opt_size, 0, "SO_RCVBUF of the receivers"},
	{"label", 'l', "TEXT", NULL, NULL, 0, "a name to find the run by"},
	{"peer", 0, "HOST", NULL, NULL, OPT_LOCAL,
		"the receivers run on this host, whose daemon is reached by 'ssh HOST copyledger bridge'"},
	{"via", 0, "COMMAND", NULL, NULL, OPT_LOCAL, "reach the other host's daemon by this command instead"},
	{"peer-address", 0, "ADDRESS", NULL, NULL, OPT_LOCAL,
		"connect to this numeric address of the other host (default: what HOST resolves to)"},
	{"detach", 0, NULL, NULL, NULL, OPT_LOCAL, "print the run's id and leave it to the daemon"},
	{},
};

struct follow {
	struct cli *cli;
	struct progress progress;
	json_object *result; /* owned */
	const char *id;
	int signals; /* fd */
	unsigned int interrupts;
	bool cancelled; /* the daemon took the request */
};

static int on_reply(json_object *reply, void *userdata)
{
	struct follow *f = userdata;
	json_object *result = doc_at(reply, "result"), *progress = doc_at(reply, "progress");

	if (json_object_is_type(result, json_type_object) && !f->result)
		f->result = json_object_get(result);
	else if (progress)
		progress_show(&f->progress, progress);
	return 0;
}

static int on_cancelled(json_object *reply, void *userdata)
{
	struct follow *f = userdata;

	f->cancelled = true;
	return 0;
}

/* The first Ctrl-C asks the daemon to end the run; its result still comes. The second one does not wait for a
 * daemon that hangs, here either. */
static void cancel(struct follow *f, json_object *id)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct fault fault = {};
	int r;

	progress_clear(&f->progress);
	out_line(&f->cli->err, STYLE_NONE, "cancelling run %s; once more leaves without waiting for it",
		f->id);
	r = client_connect(f->cli->socket, &c, &fault);
	if (r == 0)
		r = client_call_more(c, "CancelRun", id, f->signals, on_cancelled, f, &fault);
	if (r < 0 && r != -EINTR)
		cli_fail(f->cli, &fault);
}

static int leave(struct follow *f)
{
	progress_clear(&f->progress);
	out_line(&f->cli->err, STYLE_NONE,
		f->cancelled ? "left: run %s was told to stop, 'copyledger show %s' has what it measured"
			     : "left: run %s goes on, 'copyledger cancel %s' ends it",
		f->id, f->id);
	return STATUS_FAILED;
}

static void take_signal(struct follow *f)
{
	struct signalfd_siginfo info;

	if (read(f->signals, &info, sizeof(info)) == sizeof(info))
		f->interrupts++;
}

/* Follows to the end, through interruptions. 0, -EINTR: left behind, or what client_follow() returns. */
static int follow(struct follow *f, struct client *c, json_object *id, struct fault *reterr)
{
	int r;

	r = client_call_more(c, "FollowRun", id, f->signals, on_reply, f, reterr);
	while (r == -EINTR && f->interrupts < 2) {
		take_signal(f);
		if (f->interrupts == 1)
			cancel(f, id);
		if (f->interrupts < 2)
			r = client_follow(c, f->signals, on_reply, f, reterr);
	}
	progress_clear(&f->progress);
	return r;
}

static int run_and_follow(struct cli *cli, struct client *c, const char *id)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *result = NULL;
	struct follow f = {.cli = cli, .progress = progress_new(&cli->err), .id = id};
	_cleanup_close_ int signals = cli_catch_signals();
	struct fault fault = {};
	int r;

	f.signals = signals;
	json_object_object_add(parameters, "id", json_object_new_string(id));
	r = follow(&f, c, parameters, &fault);
	result = f.result;
	if (r == -EINTR)
		return leave(&f);
	if (r == 0 && !result)
		r = fault_set(
			&fault, -EBADMSG, "bad_reply", "", "the daemon ended run %s without a result", id);
	if (r == -ECONNRESET || r == -ETIME) {
		r = cli_fail(cli, &fault);
		out_line(&cli->err, STYLE_NONE, "When it is back, 'copyledger show %s' has the result.", id);
		return r;
	}
	return r < 0 ? cli_fail(cli, &fault) : cli_show_result(cli, result);
}

/* *ret holds the id of the run; owned by the caller. */
static int start(struct cli *cli, struct client *c, json_object **ret)
{
	_cleanup_json_ json_object *parameters = json_object_new_object(), *reply = NULL;
	struct fault fault = {};
	int r;

	json_object_object_add(parameters, "spec", json_object_get(cli->values.request));
	r = client_call(c, "StartRun", parameters, &reply, &fault);
	if (r == 0 && !doc_string(reply, "id"))
		r = fault_set(&fault, -EBADMSG, "bad_reply", "", "the daemon started a run without an id");
	if (r < 0)
		return cli_fail(cli, &fault);
	*ret = TAKE_PTR(reply);
	return STATUS_OK;
}

static int cmd_run(struct cli *cli)
{
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_json_ json_object *started = NULL;
	struct fault fault = {};
	int r;

	if (doc_string(cli->values.local, "peer") || doc_string(cli->values.local, "via"))
		return pair_run(cli);
	r = client_connect(cli->socket, &c, &fault);
	if (r < 0)
		return cli_fail(cli, &fault);
	r = start(cli, c, &started);
	if (r != STATUS_OK)
		return r;
	if (doc_flag(cli->values.local, "detach") != 1)
		return run_and_follow(cli, c, doc_text(started, "id"));
	if (cli->json)
		return cli_print_json(cli, started, true);
	out_line(&cli->out, STYLE_NONE, "%s", doc_text(started, "id"));
	return STATUS_OK;
}

const struct command command_run = {
	.name = "run",
	.operands = "",
	.summary = "measure one transfer and show its ledger",
	.details = "Ctrl-C ends the run and shows what was measured until then; a second one leaves at once.",
	.options = run_options,
	.run = cmd_run,
};
