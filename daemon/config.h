/* SPDX-License-Identifier: MIT */
/* The limits that an administrator may lower, and the file that says so. */
#pragma once

#include <json.h>
#include <stdint.h>

#include "fault.h"

struct limits {
	uint64_t clients, client_queue, idle_ms;
	uint64_t run_queue, results_max;
	uint64_t size_max, fields_max, threads_max, warmup_ms_max, duration_ms_max, sockbuf_max;
	uint64_t sweep_queue, sweep_cells, sweep_repeat, sweep_runs;
	uint64_t watches, watch_top, path_probes;
};

/* What common/limit.h has. */
extern const struct limits limits_default;

/*
 * Reads lines of the form "name = number"; blank lines and lines that begin with '#' are skipped. *ret keeps
 * what the file does not name. The fault names file and line; *ret is untouched then.
 */
int limits_read(const char *path, struct limits *ret, struct fault *reterr);

/* Every limit by name, those that cannot be lowered too, as GetInfo shows them; owned by the caller. */
json_object *limits_to_json(const struct limits *limits);

/* A whole configuration file to stdout: each setting with its meaning and bounds, and its default commented
 * out. */
void limits_print(void);
