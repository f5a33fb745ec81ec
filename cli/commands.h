/* SPDX-License-Identifier: MIT */
/* All commands, their help, and the choice among them. */
#pragma once

#include "cli.h"

extern const struct command *const commands[]; /* ends with NULL */
extern const struct opt common_options[];      /* ends with a NULL name */

extern const struct command command_run, command_probe, command_list, command_show, command_trace,
	command_watch, command_cancel, command_info, command_help, command_sweep,
	command_export, command_compare, command_explain, command_plot, command_report,
	command_bridge;

const struct command *command_find(const char *name); /* NULL: unknown */

void help_main(struct out *o);
void help_command(struct out *o, const struct command *c);

/* Runs what argv asks for; cli has its streams and the default socket. An exit status; cli->values is the
 * caller's to free. */
int commands_dispatch(struct cli *cli, int argc, char **argv);
