/* SPDX-License-Identifier: MIT */
/* What the files of the modes share: their rows, and the receive half that all of them use today. */
#pragma once

#include "mode.h"

extern const struct transfer_mode mode_two_copy, mode_one_copy, mode_zero_copy;

/* recv() into the lane's buffer: the kernel copies once. */
ssize_t mode_plain_recv(struct lane *ln, size_t len);
