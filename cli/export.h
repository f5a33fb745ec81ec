/* SPDX-License-Identifier: MIT */
/* Results in the formats of other programs. Each writes to a stream and returns 0 or a negative errno; what
 * the stream itself could not take shows in ferror(). */
#pragma once

#include "dataset.h"

/* RFC 4180 with a header line; columns are only ever added at the end. */
int export_csv_cells(FILE *f, const struct dataset *d); /* a row a cell: medians over its runs */
int export_csv_runs(FILE *f, const struct dataset *d);  /* a row a run */

/* Gauges with the time at which each run ended, for back-filling; ends with "# EOF". */
int export_openmetrics(FILE *f, const struct dataset *d);
