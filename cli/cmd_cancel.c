// SPDX-License-Identifier: MIT
/* copyledger cancel: ends a run or a sweep early, or takes it out of the queue. */
#include "cli.h"
#include "commands.h"

static int cmd_cancel(struct cli *cli)
{
	_cleanup_json_ json_object *parameters = cli_id(cli, NULL), *reply = NULL;
	bool sweep = cli_is_sweep(cli->values.operands[0]);
	int r;

	r = cli_call(cli, sweep ? "CancelSweep" : "CancelRun", parameters, &reply);
	if (r != STATUS_OK)
		return r;
	if (cli->json)
		return cli_print_json(cli, reply, true);
	if (sweep) {
		out_line(&cli->out, STYLE_NONE,
			"sweep %s: cancelled; 'copyledger sweep --resume %s' goes on with it",
			doc_text(reply, "sweep.id"), doc_text(reply, "sweep.id"));
		return STATUS_OK;
	}
	out_line(&cli->out, STYLE_NONE, "run %s: asked to stop while %s", doc_text(reply, "id"),
		doc_text(reply, "state"));
	return STATUS_OK;
}

const struct command command_cancel = {
	.name = "cancel",
	.operands = "ID",
	.summary = "end a run or a sweep early; what it measured until then stays",
	.min_operands = 1,
	.max_operands = 1,
	.run = cmd_cancel,
};
