/* SPDX-License-Identifier: MIT */
/* The tables of names: transfer modes, workloads, paths. */
#include "modes.h"
#include "macro.h"

const struct transfer_mode *const transfer_modes[] = {
	&mode_two_copy,
	&mode_one_copy,
	&mode_zero_copy,
	NULL,
};

const char *const workload_names[] = {"stream", "rr", NULL};
const char *const path_names[] = {"loopback", "veth", NULL};

const struct transfer_mode *transfer_mode_find(const char *name)
{
	for (size_t i = 0; transfer_modes[i]; i++)
		if (str_eq(transfer_modes[i]->name, name))
			return transfer_modes[i];
	return NULL;
}
