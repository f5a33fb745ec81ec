/* SPDX-License-Identifier: MIT */
/* A transfer mode is one file and one row of transfer_modes. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct lane;

enum mode_caps {
	MODE_TX = 1 << 0,
	MODE_RX = 1 << 1,
	MODE_DEFERRED = 1 << 2, /* buffers stay busy until reaped */
	MODE_PINS = 1 << 3,	/* asks the kernel to pin user pages instead of copying */
	MODE_PACKS = 1 << 4,	/* copies the fields into one buffer first */
};

struct mode_counter {
	const char *name;
	size_t offset; /* of a uint64_t in the mode's state */
};

struct transfer_mode {
	const char *name, *summary;
	unsigned int caps;
	size_t state_size;		       /* zeroed, cache-line aligned, at lane->state */
	const struct mode_counter *counters;   /* ends with a NULL name; NULL: none; at most LG_MODE_COUNTERS */
	int (*probe)(void);		       /* 0, or a negative errno: why this kernel lacks it; NULL: always there */
	int (*open)(struct lane *ln);
	void (*close)(struct lane *ln);	       /* also after a failed open() */
	ssize_t (*send)(struct lane *ln, size_t len); /* hot: bytes, 0 at the end, -EAGAIN/-ENOBUFS = reap or wait */
	ssize_t (*recv)(struct lane *ln, size_t len);
	int (*reap)(struct lane *ln, int wait_ms);
};

extern const struct transfer_mode *const transfer_modes[]; /* ends with NULL */
const struct transfer_mode *transfer_mode_find(const char *name); /* NULL: unknown */

/* Names of a const NULL-ended list, for checks and help. */
extern const char *const workload_names[]; /* "stream", "rr" */
extern const char *const path_names[];	   /* "loopback", "veth" */
