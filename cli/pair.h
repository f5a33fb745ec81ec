/* SPDX-License-Identifier: MIT */
/* A run of two hosts: the senders under the daemon here, the receivers under the peer's, driven from here. */
#pragma once

#include "cli.h"

#define PAIR_SCHEMA "copyledger/pair/1"

/* copyledger run with --peer, --via or --peer-address; an exit status. */
int pair_run(struct cli *cli);

/* The one document (schema copyledger/pair/1) of two results, each of which may be NULL; owned by the caller.
 */
json_object *pair_merge(json_object *sender, json_object *receiver);
int pair_status(json_object *pair);
