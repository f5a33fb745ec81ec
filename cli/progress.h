/* SPDX-License-Identifier: MIT */
/* One line on a terminal that says how far a run is; nothing at all elsewhere. */
#pragma once

#include "doc.h"
#include "out.h"

struct progress {
	struct out *out;
	bool shown;
	const char *before; /* stands before a run's progress; NULL: nothing does */
};

struct progress progress_new(struct out *out);
void progress_show(struct progress *p, json_object *progress);       /* type Progress of the interface */
void progress_show_sweep(struct progress *p, json_object *progress); /* type SweepProgress */
void progress_clear(struct progress *p);
