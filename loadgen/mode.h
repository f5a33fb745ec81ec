/* SPDX-License-Identifier: MIT */
/* A transfer mode, which sends, is one file and one row of transfer_modes; a receive mode one of
 * receive_modes. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct lane;

enum mode_caps {
	MODE_DEFERRED = 1 << 0, /* buffers stay busy until reaped */
	MODE_PINS = 1 << 1,     /* asks the kernel to pin user pages instead of copying */
	MODE_PACKS = 1 << 2,    /* copies the fields into one buffer first */
	MODE_SPLICES = 1 << 3,  /* hands page references over through a pipe, nothing is copied or pinned */
	MODE_FILE = 1 << 4,     /* its messages lie in a memfd, each in one piece */
	RECEIVE_DISCARDS = 1 << 5,    /* the program never sees the bytes: nothing in them can be checked */
	RECEIVE_MAPS = 1 << 7,        /* pages of the socket are mapped where they can be */
	RECEIVE_STREAM_ONLY = 1 << 6, /* of no use where each message is waited for */
};

struct mode_counter {
	const char *name;
	size_t offset; /* of a uint64_t in the mode's state */
};

struct transfer_mode {
	const char *name, *summary;
	unsigned int caps;
	size_t state_size;                   /* zeroed, cache-line aligned, at lane->state */
	const struct mode_counter *counters; /* ends with a NULL name; NULL: none; at most LG_MODE_COUNTERS */
	uint32_t fds;                        /* files that a lane opens beside its socket */
	int (*probe)(void); /* 0, or a negative errno: why this kernel lacks it; NULL: always there */
	int (*open)(struct lane *ln);
	void (*close)(struct lane *ln); /* also after a failed open() */
	ssize_t (*send)(
		struct lane *ln, size_t len); /* hot: bytes, 0 at the end, -EAGAIN/-ENOBUFS = reap or wait */
	int (*reap)(struct lane *ln, int wait_ms);
};

struct receive_mode {
	const char *name, *summary;
	unsigned int caps;
	size_t state_size;              /* zeroed, cache-line aligned, at lane->receive_state */
	int (*probe)(void);             /* as above */
	int (*open)(struct lane *ln);   /* NULL: nothing to do */
	void (*close)(struct lane *ln); /* also after a failed open() */
	/* Hot: at most len bytes, now at lane->data (NULL there: nobody has them); 0 at the end, or a
	 * negative errno. */
	ssize_t (*recv)(struct lane *ln, size_t len);
};

extern const struct transfer_mode *const transfer_modes[];        /* ends with NULL */
const struct transfer_mode *transfer_mode_find(const char *name); /* NULL: unknown */
extern const struct receive_mode *const receive_modes[];        /* ends with NULL; the first is the default */
const struct receive_mode *receive_mode_find(const char *name); /* NULL: unknown */

/* Names of a const NULL-ended list, for checks and help. */
extern const char *const workload_names[]; /* "stream", "rr" */
extern const char *const path_names[];     /* "loopback", "veth", and "netns:SERVER,CLIENT" as a form */

/* One of path_names, or netns: with two names of A-Z, a-z, 0-9, '.', '_' and '-', up to 32 characters each.
 */
int netpath_known(const char *name);
