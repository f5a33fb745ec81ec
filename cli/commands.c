// SPDX-License-Identifier: MIT
/* The table of commands, and the way from a command line to one of its rows. */
#include <errno.h>

#include "commands.h"

const struct command *const commands[] = {
	&command_run,
	&command_sweep,
	&command_probe,
	&command_list,
	&command_show,
	&command_export,
	&command_compare,
	&command_explain,
	&command_plot,
	&command_report,
	&command_trace,
	&command_watch,
	&command_cancel,
	&command_bridge,
	&command_info,
	&command_help,
	NULL,
};

const struct opt common_options[] = {
	{"socket", 0, "PATH", NULL, NULL, OPT_LOCAL,
		"the daemon's socket (default: COPYLEDGER_SOCKET, else " CLIENT_SOCKET ")"},
	{"json", 'j', NULL, NULL, NULL, OPT_LOCAL,
		"print the document as JSON, and nothing else on standard output"},
	{"color", 0, NULL, "color", NULL, OPT_LOCAL, "colour even if standard output is not a terminal"},
	{"no-color", 0, NULL, "color", opt_false, OPT_LOCAL,
		"no colour on a terminal either (or set NO_COLOR)"},
	{"help", 'h', NULL, NULL, NULL, OPT_LOCAL, "show this help"},
	{"version", 'V', NULL, NULL, NULL, OPT_LOCAL, "show the version"},
	{},
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; commands[i]; i++)
		if (str_eq(commands[i]->name, name))
			return commands[i];
	return NULL;
}

/* Takes the common options out of v; those behind the command win over those before it. */
static void cli_settings(struct cli *cli, const struct opt_values *v)
{
	const char *socket = doc_string(v->local, "socket");
	int color = doc_flag(v->local, "color");

	if (socket)
		cli->socket = socket;
	if (doc_flag(v->local, "json") == 1)
		cli->json = true;
	if (color >= 0)
		cli->out.color = cli->err.color = color;
}

static int usage(struct cli *cli, const char *command, const struct fault *fault)
{
	int status = cli_fail(cli, fault);

	out_line(&cli->err, STYLE_NONE, "Try 'copyledger%s%s --help'.", command ? " " : "",
		command ? command : "");
	return status;
}

/* Prints what --help or --version ask for; -ENOENT: neither was given. */
static int informed(struct cli *cli, const struct opt_values *v, const struct command *c)
{
	if (doc_flag(v->local, "help") == 1 && c)
		help_command(&cli->out, c);
	else if (doc_flag(v->local, "help") == 1)
		help_main(&cli->out);
	else if (doc_flag(v->local, "version") == 1)
		out_line(&cli->out, STYLE_NONE, "copyledger %s", COPYLEDGER_VERSION);
	else
		return -ENOENT;
	return STATUS_OK;
}

static int check_operands(const struct command *c, const struct opt_values *v, struct fault *reterr)
{
	if (v->n_operands < c->min_operands)
		return fault_set(reterr, -EINVAL, "usage", "", "'%s' needs %s", c->name, c->operands);
	if (v->n_operands > c->max_operands)
		return fault_set(reterr, -EINVAL, "usage", "", "'%s' has no use for '%s'", c->name,
			v->operands[c->max_operands]);
	return 0;
}

static int run_command(struct cli *cli, const struct command *c, int argc, char **argv)
{
	const struct opt *const tables[] = {c->options, common_options};
	struct fault fault = {};
	int r;

	r = options_parse(argc, argv, tables, false, &cli->values, &fault);
	if (r < 0)
		return usage(cli, c->name, &fault);
	cli_settings(cli, &cli->values);
	r = informed(cli, &cli->values, c);
	if (r >= 0)
		return r;
	r = check_operands(c, &cli->values, &fault);
	if (r == 0)
		r = options_require(c->options, &cli->values, &fault);
	if (r < 0)
		return usage(cli, c->name, &fault);
	return c->run(cli);
}

int commands_dispatch(struct cli *cli, int argc, char **argv)
{
	const struct opt *const tables[] = {NULL, common_options};
	_cleanup_options_ struct opt_values v = {};
	const struct command *c;
	struct fault fault = {};
	int r;

	r = options_parse(argc, argv, tables, true, &v, &fault);
	if (r < 0)
		return usage(cli, NULL, &fault);
	cli_settings(cli, &v);
	r = informed(cli, &v, v.n_operands ? command_find(v.operands[0]) : NULL);
	if (r >= 0)
		return r;
	if (v.n_operands == 0) {
		help_main(&cli->err);
		return STATUS_USAGE;
	}
	c = command_find(v.operands[0]);
	if (!c) {
		fault_set(&fault, -EINVAL, "usage", "", "unknown command '%s'", v.operands[0]);
		return usage(cli, NULL, &fault);
	}
	return run_command(cli, c, v.n_operands, v.operands);
}
