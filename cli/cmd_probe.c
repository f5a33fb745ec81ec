// SPDX-License-Identifier: MIT
/* copyledger probe: what this machine can show, and what would be needed for the rest; or what a path does.
 */
#include "cli.h"
#include "commands.h"
#include "render.h"

static const struct opt probe_options[] = {
	{"path", 'p', "NAME", NULL, NULL, 0,
		"does this path force a copy for MSG_ZEROCOPY: loopback, veth or netns:SERVER,CLIENT"},
	{"hooks", 0, NULL, NULL, NULL, OPT_LOCAL,
		"list every hook that was tried, not only those that failed"},
	{},
};

static int cmd_probe(struct cli *cli)
{
	_cleanup_json_ json_object *reply = NULL;
	int r;

	r = cli_call(cli, "Probe", cli->values.request, &reply);
	if (r != STATUS_OK)
		return r;
	if (cli->json)
		return cli_print_json(cli, reply, true);
	if (doc_at(reply, "path"))
		render_path(&cli->out, doc_at(reply, "path"));
	else
		render_probe(&cli->out, reply, doc_flag(cli->values.local, "hooks") == 1);
	return STATUS_OK;
}

const struct command command_probe = {
	.name = "probe",
	.operands = "",
	.summary = "try every hook, mode and perf event, and say what is missing for the rest",
	.options = probe_options,
	.run = cmd_probe,
};
