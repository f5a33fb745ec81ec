// SPDX-License-Identifier: MIT
/* copyledger run: starts a run, follows it, shows its result. */
#include <errno.h>

#include "commands.h"
#include "follow.h"
#include "overhead.h"
#include "pair.h"

static const struct opt run_options[] = {
	{"mode", 'm', "MODE", NULL, NULL, OPT_REQUIRED,
		"two-copy, one-copy, zero-copy, sendfile, splice, uring-send or uring-send-zc"},
	{"receive", 'r', "NAME", NULL, NULL, 0, "recv (the default), recv-trunc or mmap"},
	{"workload", 'w', "NAME", NULL, NULL, 0,
		"stream (back to back, the default) or rr (one out, one back)"},
	{"path", 'p', "NAME", NULL, NULL, 0,
		"loopback (the default), veth (two network namespaces) or netns:SERVER,CLIENT (two that "
		"exist, SERVER sends; for a daemon that runs as root)"},
	{"size", 's', "BYTES", NULL, opt_size, 0, "bytes a message, as in 64K (the default)"},
	{"fields", 'f', "N", NULL, opt_integer, 0, "buffers that a message is made of (default 8)"},
	{"threads", 't', "N", NULL, opt_integer, 0,
		"connections, each with a sending and a receiving thread (default 1)"},
	{"duration", 'd', "TIME", "duration_ms", opt_duration, 0,
		"the measured window, as in 500ms (default 5s)"},
	{"warmup", 0, "TIME", "warmup_ms", opt_duration, 0,
		"load before the measured window (default 500ms)"},
	{"verify", 0, NULL, NULL, NULL, 0, "the receiver checks every byte"},
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
	{"label", 'l', "TEXT", NULL, NULL, 0, "a name to find the run by"},
	{"peer", 0, "HOST", NULL, NULL, OPT_LOCAL,
		"the receivers run on this host, whose daemon is reached by 'ssh HOST copyledger bridge'"},
	{"via", 0, "COMMAND", NULL, NULL, OPT_LOCAL, "reach the other host's daemon by this command instead"},
	{"peer-address", 0, "ADDRESS", NULL, NULL, OPT_LOCAL,
		"connect to this numeric address of the other host (default: what HOST resolves to)"},
	{"overhead", 0, NULL, NULL, NULL, OPT_LOCAL,
		"measure what the ledger costs: runs with it and without, in turns, that share --duration "
		"(default 10s, each 200ms at least; --warmup is each one's, default 100ms)"},
	{"pairs", 0, "N", NULL, opt_integer, OPT_LOCAL,
		"of --overhead: so many runs with and so many without (default 10)"},
	{"detach", 0, NULL, NULL, NULL, OPT_LOCAL, "print the run's id and leave it to the daemon"},
	{},
};

static int run_and_follow(struct cli *cli, struct client *c, const char *id)
{
	_cleanup_close_ int signals = cli_catch_signals();
	struct follow f = {.cli = cli, .progress = progress_new(&cli->err), .id = id, .signals = signals};
	_cleanup_json_ json_object *result = NULL;
	struct fault fault = {};
	int r;

	r = follow_run(&f, c, &fault);
	result = f.result;
	if (r == -EINTR)
		return STATUS_FAILED;
	if (r == -ECONNRESET || r == -ETIME) {
		r = cli_fail(cli, &fault);
		out_line(&cli->err, STYLE_NONE, "When it is back, 'copyledger show %s' has the result.", id);
		return r;
	}
	return r < 0 ? cli_fail(cli, &fault) : cli_show_result(cli, result);
}

static int cmd_run(struct cli *cli)
{
	_cleanup_(client_freep) struct client *c = NULL;
	_cleanup_json_ json_object *started = NULL;
	json_object *local = cli->values.local;
	struct fault fault = {};
	int r;

	if (doc_flag(local, "overhead") == 1 || doc_at(local, "pairs"))
		return overhead_run(cli);
	if (doc_string(local, "peer") || doc_string(local, "via") || doc_string(local, "peer-address"))
		return pair_run(cli);
	r = client_connect(cli->socket, &c, &fault);
	if (r == 0)
		r = follow_start(c, cli->values.request, &started, &fault);
	if (r < 0)
		return cli_fail(cli, &fault);
	if (doc_flag(local, "detach") != 1)
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
