/* SPDX-License-Identifier: MIT */
/* Provenance: what this host is and how it is set, so that a result can be read years later. */
#pragma once

#include <json.h>

/* A snapshot; the caller owns it. An absent figure is {"value": null, "reason": "..."} where a scalar is
 * expected. */
json_object *host_snapshot(void);

/* Names of the members that differ between two snapshots and should not during a run (governor, sysctl,
 * affinity, memory limits, other BPF programs ...), as an array of strings; load, PSI and other figures that
 * move are left out. */
json_object *host_changes(json_object *before, json_object *after);
