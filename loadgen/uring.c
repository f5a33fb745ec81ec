/* SPDX-License-Identifier: MIT */
/* A lane's own ring. */
#include <errno.h>

#include "macro.h"
#include "uring.h"

#define SUBMISSIONS 4
#define COMPLETIONS_MAX 65536u

int uring_open(struct io_uring *ring, unsigned int completions, enum uring_work work)
{
	/* 6.1: completions are worked off in the lane's own calls, not by interrupting it. */
	unsigned int when =
		work == URING_WORK_AT_RING ? IORING_SETUP_DEFER_TASKRUN : IORING_SETUP_COOP_TASKRUN;
	struct io_uring_params own = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | when,
		.cq_entries = MIN(MAX(completions, 2u * SUBMISSIONS), COMPLETIONS_MAX)};
	struct io_uring_params plain = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = own.cq_entries};
	int r;

	r = io_uring_queue_init_params(SUBMISSIONS, ring, &own);
	return r == -EINVAL ? io_uring_queue_init_params(SUBMISSIONS, ring, &plain) : r;
}

int uring_probe(int opcode)
{
	struct io_uring_probe *probe;
	struct io_uring ring;
	int r;

	r = uring_open(&ring, 0, URING_WORK_AT_RING);
	if (r < 0)
		return r;
	probe = io_uring_get_probe_ring(&ring);
	r = probe && io_uring_opcode_supported(probe, opcode) ? 0 : -EOPNOTSUPP;
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
	return r;
}
