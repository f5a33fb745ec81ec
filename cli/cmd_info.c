// SPDX-License-Identifier: MIT
/* copyledger info: what the daemon says about itself. */
#include "cli.h"
#include "commands.h"
#include "render.h"

static int cmd_info(struct cli *cli)
{
	_cleanup_json_ json_object *reply = NULL;
	int r;

	r = cli_call(cli, "GetInfo", NULL, &reply);
	if (r != STATUS_OK)
		return r;
	if (cli->json)
		return cli_print_json(cli, reply, true);
	render_info(&cli->out, reply);
	return STATUS_OK;
}

const struct command command_info = {
	.name = "info",
	.operands = "",
	.summary = "show the daemon's version, state and limits",
	.run = cmd_info,
};
