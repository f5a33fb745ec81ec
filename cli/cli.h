/* SPDX-License-Identifier: MIT */
/* A command is one file and one row of commands[]. */
#pragma once

#include "client.h"
#include "options.h"
#include "out.h"

enum exit_status {
	STATUS_OK = 0,          /* done, and the books balance */
	STATUS_FAILED = 1,      /* the run, or what was asked for, failed */
	STATUS_USAGE = 2,       /* the request was wrong */
	STATUS_UNREACHABLE = 3, /* no daemon, or not allowed to talk to it */
	STATUS_UNBALANCED = 4,  /* done, but the books do not balance */
};

/* What every command gets. */
struct cli {
	struct opt_values values;
	const char *socket;
	bool json;
	struct out out, err;
};

struct command {
	const char *name, *operands; /* "[ID]"; "" : none */
	const char *summary;         /* one line, lower case, no full stop */
	const char *details;         /* more lines for its help, or NULL */
	const struct opt *options;   /* ends with a NULL name; NULL: only the common ones */
	int min_operands, max_operands;
	int (*run)(struct cli *cli); /* an exit status */
};

/* Prints "copyledger: " and the fault's sentence on stderr; returns the exit status that belongs to it. */
int cli_fail(struct cli *cli, const struct fault *fault);

/* Connects, calls once and reports a failure. Returns an exit status; *ret is the caller's when it is
 * STATUS_OK. */
int cli_call(struct cli *cli, const char *method, json_object *parameters, json_object **ret);

/* {"id": operand or fallback}, owned by the caller; without both an empty object. */
json_object *cli_id(const struct cli *cli, const char *fallback);

/* Sweeps' ids, and no run's, begin with an s and a digit. */
bool cli_is_sweep(const char *id);

/* The reply of GetSweep as --json or as text; its exit status. */
int cli_show_sweep(struct cli *cli, json_object *reply);

/* The document on stdout, for --json. An exit status. */
int cli_print_json(struct cli *cli, json_object *o, bool pretty);

/* A result as --json or as text; its exit status. */
int cli_show_result(struct cli *cli, json_object *result);

/* Blocks SIGINT and SIGTERM; returns an fd that becomes readable on either, or a negative errno. */
int cli_catch_signals(void);
