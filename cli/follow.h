/* SPDX-License-Identifier: MIT */
/* Starting a run and following it to its end, through Ctrl-C. */
#pragma once

#include "cli.h"
#include "progress.h"

struct follow {
	struct cli *cli;
	const char *id; /* of the run */
	int signals;    /* of cli_catch_signals() */
	struct progress progress;
	json_object *result;     /* the caller's; NULL: none came */
	unsigned int interrupts; /* Ctrl-C and the like, until now */
	bool cancelled;          /* the daemon took the request */
};

/* *ret: StartRun's reply, in which there is an id; owned by the caller. spec is borrowed. */
int follow_start(struct client *c, json_object *spec, json_object **ret, struct fault *reterr);

/* The first Ctrl-C has the daemon end the run, and the result still comes; the second one leaves at once,
 * says so and returns -EINTR. Else 0 with a result, or what client_call_more() returns. */
int follow_run(struct follow *f, struct client *c, struct fault *reterr);
