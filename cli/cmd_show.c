// SPDX-License-Identifier: MIT
/* copyledger show: the result of a run that has ended, or a sweep's cells. */
#include <errno.h>

#include "cli.h"
#include "commands.h"

static int show_sweep(struct cli *cli, json_object *parameters)
{
	_cleanup_json_ json_object *reply = NULL;
	int r = cli_call(cli, "GetSweep", parameters, &reply);

	return r == STATUS_OK ? cli_show_sweep(cli, reply) : r;
}

static int cmd_show(struct cli *cli)
{
	_cleanup_json_ json_object *parameters = cli_id(cli, "last"), *reply = NULL;
	struct fault fault;
	json_object *result;
	int r;

	if (cli->values.n_operands && cli_is_sweep(cli->values.operands[0]))
		return show_sweep(cli, parameters);
	r = cli_call(cli, "GetRun", parameters, &reply);
	if (r != STATUS_OK)
		return r;
	result = doc_at(reply, "result");
	if (json_object_is_type(result, json_type_object))
		return cli_show_result(cli, result);
	fault_set(&fault, -ENODATA, "no_result", "",
		"run %s is %s and has no result yet: 'copyledger trace %s' follows it", doc_text(reply, "id"),
		doc_text(reply, "state"), doc_text(reply, "id"));
	return cli_fail(cli, &fault);
}

const struct command command_show = {
	.name = "show",
	.operands = "[ID]",
	.summary = "show the result of a run, the last one or the one with this id (a unique beginning is "
		   "enough), or the cells of a sweep",
	.details = "The exit status is the one that the run itself had.",
	.max_operands = 1,
	.run = cmd_show,
};
