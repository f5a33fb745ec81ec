/* SPDX-License-Identifier: MIT */
/* A look at a path: a load generator that opens it, reads its devices and ends, and its namespaces with it.
 */
#pragma once

#include <json.h>
#include <systemd/sd-event.h>

#include "fault.h"
#include "macro.h"

struct pathprobe;

/* status, of type PathStatus, is the callee's; NULL: *fault says why there is none. The probe may be freed
 * inside. */
typedef void (*pathprobe_fn)(json_object *status, const struct fault *fault, void *userdata);

/* done comes from the event loop, once. */
int pathprobe_start(sd_event *event, const char *loadgen, const char *path, pathprobe_fn done, void *userdata,
	struct pathprobe **ret, struct fault *reterr);
/* Ends it at once: nothing is left of it. NULL is allowed. */
struct pathprobe *pathprobe_free(struct pathprobe *p);
DEFINE_CLEANUP(struct pathprobe *, pathprobe_free)
/* Probes that are going on. */
unsigned int pathprobe_count(void);
