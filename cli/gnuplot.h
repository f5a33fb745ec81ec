/* SPDX-License-Identifier: MIT */
/* gnuplot as a child: it gets a script on its standard input. */
#pragma once

#include <stdio.h>

#include "fault.h"

/* A text as a gnuplot string, in single quotes: in double ones it would run what stands in backquotes.
 * Control characters are shown, not sent. */
void gnuplot_string(FILE *f, const char *text);

/* Runs a script to its end. Faults: "no_gnuplot" (names the package), "gnuplot" (with the first line that it
 * said). */
int gnuplot_run(const char *script, struct fault *reterr);
