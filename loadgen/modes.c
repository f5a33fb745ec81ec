/* SPDX-License-Identifier: MIT */
/* The tables of names: transfer modes, receive modes, workloads, paths. */
#include "modes.h"
#include "macro.h"

const struct transfer_mode *const transfer_modes[] = {
	&mode_two_copy,
	&mode_one_copy,
	&mode_zero_copy,
	&mode_sendfile,
	&mode_splice,
	&mode_uring_send,
	&mode_uring_send_zc,
	NULL,
};

const struct receive_mode *const receive_modes[] = {
	&receive_recv,
	&receive_recv_trunc,
	&receive_mmap,
	NULL,
};

const char *const workload_names[] = {"stream", "rr", NULL};
const char *const path_names[] = {"loopback", "veth", "netns:SERVER,CLIENT", NULL};

const struct transfer_mode *transfer_mode_find(const char *name)
{
	for (size_t i = 0; transfer_modes[i]; i++)
		if (str_eq(transfer_modes[i]->name, name))
			return transfer_modes[i];
	return NULL;
}

const struct receive_mode *receive_mode_find(const char *name)
{
	for (size_t i = 0; receive_modes[i]; i++)
		if (str_eq(receive_modes[i]->name, name))
			return receive_modes[i];
	return NULL;
}
