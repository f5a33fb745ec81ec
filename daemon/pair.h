/* SPDX-License-Identifier: MIT */
/* StartRun's parameter pair: which side of a run of two hosts is to be run here. */
#pragma once

#include "spec.h"

/* Fills spec->pair, whose other members are parsed already; spec->path becomes "peer". Faults as spec_parse()
 * has. */
int pair_parse(json_object *obj, struct spec *spec, struct fault *reterr);
json_object *pair_details(json_object *obj, const struct fault *fault);

/* For a receiver: makes the token and listens; *ret_listener is the caller's, spec->pair borrows it. For
 * others nothing. */
int pair_open(struct spec *spec, int *ret_listener, struct fault *reterr);
/* What the sender's host has to know: port and token, which is said once, here. */
int pair_invite(const struct spec *spec, json_object *reply);
