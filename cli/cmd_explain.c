// SPDX-License-Identifier: MIT
/* copyledger explain: what measured results answer, in sentences. */
#include <errno.h>

#include "commands.h"
#include "explain.h"

static const struct opt explain_options[] = {
	{"runs", 0, NULL, NULL, NULL, OPT_LOCAL,
		"list the figures that each answer rests on, with the ids of their runs"},
	{},
};

static int cmd_explain(struct cli *cli)
{
	const char *source = cli->values.n_operands ? cli->values.operands[0] : "last";
	_cleanup_(dataset_freep) struct dataset *d = NULL;
	_cleanup_json_ json_object *document = NULL;
	struct fault fault = {};
	int r;

	r = dataset_open(cli, source, &d, &fault);
	if (r == 0)
		r = dataset_check_alike(d, &fault);
	if (r == 0 && explain_answers(d, &document) < 0)
		r = fault_set(&fault, -ENOMEM, "no_memory", "", "out of memory");
	if (r < 0)
		return cli_fail(cli, &fault);
	if (cli->json)
		return cli_print_json(cli, document, true);
	render_explain(&cli->out, document, doc_flag(cli->values.local, "runs") == 1);
	return STATUS_OK;
}

const struct command command_explain = {
	.name = "explain",
	.operands = "[SOURCE]",
	.summary = "answer from measured results: is it zero-copy, from what size does which way pay, what "
		   "does a copy cost",
	.details = "SOURCE is what 'copyledger export' takes, by default the newest sweep. What its medians "
		   "and 95 % "
		   "intervals cannot carry is not answered, and why is said.",
	.options = explain_options,
	.max_operands = 1,
	.run = cmd_explain,
};
