/* SPDX-License-Identifier: MIT */
/* What a path's devices say of MSG_ZEROCOPY before a byte is sent, and the path as a block of a document. */
#pragma once

#include <json.h>
#include <stdbool.h>

#include "wire.h"

struct path_verdict {
	bool known;              /* false: a device does not tell what the verdict needs */
	bool forces;             /* what is pinned is copied after all, whoever sends it */
	const char *cause, *why; /* of forces, in the words of cause.h; why alone: of not known */
};

/* A path of these is between two sockets of this host by its name: what is pinned is copied on delivery. */
bool path_is_local(const char *name);

/* device: LG_SIDES of them, as netpath_device() fills them. */
struct path_verdict path_verdict(const char *name, const struct lg_device *device);

/* Type PathStatus of the interface; the caller owns it. */
json_object *path_json(const char *name, const struct lg_device *device);
