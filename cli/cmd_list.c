// SPDX-License-Identifier: MIT
/* copyledger list: runs, or sweeps, that are queued, running or stored. */
#include "cli.h"
#include "commands.h"
#include "render.h"

static const struct opt list_options[] = {
	{"mode", 'm', "MODE", NULL, NULL, 0, "only runs of this mode"},
	{"label", 'l', "TEXT", NULL, NULL, 0, "only runs with this label"},
	{"state", 0, "STATE", NULL, NULL, 0,
		"only runs in this state: queued, measuring, done, failed, cancelled ..."},
	{"since", 0, "MOMENT", NULL, NULL, 0,
		"only runs started at or after this moment, as in 2026-01-31T12:00:00Z"},
	{"until", 0, "MOMENT", NULL, NULL, 0, "only runs started at or before this moment"},
	{"sweeps", 0, NULL, NULL, NULL, OPT_LOCAL, "sweeps instead of runs"},
	{"limit", 'n', "N", NULL, opt_integer, 0,
		"at most so many rows, the newest (default 100, at most 1000)"},
	{},
};

static int cmd_list(struct cli *cli)
{
	bool sweeps = doc_flag(cli->values.local, "sweeps") == 1;
	_cleanup_json_ json_object *reply = NULL;
	int r;

	r = cli_call(cli, sweeps ? "ListSweeps" : "ListRuns", cli->values.request, &reply);
	if (r != STATUS_OK)
		return r;
	if (cli->json)
		return cli_print_json(cli, reply, true);
	if (sweeps)
		render_sweeps(&cli->out, reply);
	else
		render_list(&cli->out, reply);
	return STATUS_OK;
}

const struct command command_list = {
	.name = "list",
	.operands = "",
	.summary = "list runs or sweeps, the newest first",
	.options = list_options,
	.run = cmd_list,
};
