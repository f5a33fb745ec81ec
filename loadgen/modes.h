/* SPDX-License-Identifier: MIT */
/* What the files of the modes share: their rows, and the halves that several of them use. */
#pragma once

#include "mode.h"

extern const struct transfer_mode mode_two_copy, mode_one_copy, mode_zero_copy, mode_sendfile, mode_splice,
	mode_uring_send, mode_uring_send_zc;
extern const struct receive_mode receive_recv, receive_recv_trunc, receive_mmap;

/* recv() into the lane's buffer, with flags beside the lane's own. */
ssize_t receive_plain(struct lane *ln, size_t len, int flags);

/* An error of the lane's socket, which also wakes a poll for completions: 0 or a negative errno. */
int socket_error(struct lane *ln);
