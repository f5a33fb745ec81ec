/* SPDX-License-Identifier: MIT */
/* Why a copy that nobody asked for happened, in the field's words, from the kernel's way to it. */
#pragma once

#include "ledger.h"

struct cause {
	const char *text; /* NULL: not known */
	bool from_stack;  /* else only from the device that the skb was at */
	bool in_queue; /* in the receive queue, as timing and memory have it: long after the sender's part */
};

struct cause cause_of(const struct call_path *path);
