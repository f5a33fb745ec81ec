// SPDX-License-Identifier: MIT
/* copyledger help: made from the tables of commands and options. */
#include <errno.h>

#include "commands.h"

static const char exit_help[] = "Exit status: 0 done and balanced, 1 the run failed, 2 wrong usage, 3 the "
				"daemon cannot be reached or does not allow it, 4 done, but "
				"the books do not balance.";

void help_main(struct out *o)
{
	out_line(o, STYLE_BOLD, "Usage: copyledger COMMAND [OPTION]... [OPERAND]");
	out_wrap(o, STYLE_NONE,
		"Measures TCP transfers and keeps a ledger of every copy of their bytes. The work is done by "
		"copyledgerd(8).");
	out_newline(o);
	out_newline(o);
	for (size_t i = 0; commands[i]; i++) {
		out_text(o, STYLE_BOLD, "  %s", commands[i]->name);
		out_pad(o, 11);
		out_wrap(o, STYLE_NONE, commands[i]->summary);
		out_newline(o);
	}
	out_newline(o);
	options_help(o, common_options);
	out_newline(o);
	out_wrap(o, STYLE_NONE, "'copyledger COMMAND --help' lists the options of a command.");
	out_newline(o);
	out_wrap(o, STYLE_NONE, exit_help);
	out_newline(o);
}

void help_command(struct out *o, const struct command *c)
{
	out_line(o, STYLE_BOLD, "Usage: copyledger %s [OPTION]...%s%s", c->name, *c->operands ? " " : "",
		c->operands);
	out_wrap(o, STYLE_NONE, c->summary);
	out_newline(o);
	out_newline(o);
	if (c->details) {
		out_wrap(o, STYLE_NONE, c->details);
		out_newline(o);
		out_newline(o);
	}
	if (c->options) {
		options_help(o, c->options);
		out_newline(o);
	}
	options_help(o, common_options);
	out_newline(o);
	out_wrap(o, STYLE_NONE, exit_help);
	out_newline(o);
}

static int cmd_help(struct cli *cli)
{
	const char *name = cli->values.n_operands ? cli->values.operands[0] : NULL;
	const struct command *c = name ? command_find(name) : NULL;
	struct fault fault;

	if (name && !c) {
		fault_set(&fault, -EINVAL, "usage", "", "unknown command '%s'", name);
		return cli_fail(cli, &fault);
	}
	if (c)
		help_command(&cli->out, c);
	else
		help_main(&cli->out);
	return STATUS_OK;
}

const struct command command_help = {
	.name = "help",
	.operands = "[COMMAND]",
	.summary = "show the commands, or the options of one",
	.max_operands = 1,
	.run = cmd_help,
};
