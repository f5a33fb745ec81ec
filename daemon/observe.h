/* SPDX-License-Identifier: MIT */
/* A watch: an account on sockets that are not ours, and the document that it gives each interval. */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "fault.h"
#include "limit.h"
#include "macro.h"
#include "totals.h"

#define WATCH_SCHEMA "copyledger/watch/1"

struct observe_spec {
	bool all;             /* everything that the client may see */
	uint32_t pid, port;   /* 0: any */
	char cgroup[256];     /* path below the cgroup2 mount, or absolute; "" : any */
	char netns[64];       /* a name of /run/netns or an inode number; "" : any */
	char by[16];          /* "process" or "socket": what a row is */
	char ledger[16];      /* as in struct spec */
	uint32_t interval_ms; /* between documents */
	uint32_t duration_ms; /* 0: until freed */
	uint32_t top;         /* rows in a document; the others are summed */
	bool only_uid;        /* the client may watch only processes of uid */
	uint32_t uid;
};

struct observer;

/* The watches that go on, each at a place of its own, and what those that ended have seen. */
struct observers {
	struct observer *at[LIMIT_WATCHES];
	struct account ended;
};

/* document is the callee's. final: the duration is over; the observer may be freed inside it. */
typedef void (*observe_report_fn)(json_object *document, bool final, void *userdata);

/* Starts to watch at once; the first document comes from the event loop's next turn. Sockets that exist are
 * taken up at their next call. all is borrowed and must live longer. */
int observe_start(sd_event *event, struct observers *all, const struct observe_spec *spec,
	observe_report_fn report, void *userdata, struct observer **ret, struct fault *reterr);
/* Ends it: nothing stays in the kernel. NULL is allowed. */
struct observer *observe_free(struct observer *o);
/* Watches that are going on. */
unsigned int observe_count(const struct observers *all);
DEFINE_CLEANUP(struct observer *, observe_free)

/* Adds what all watches have seen until now to *sum, and an object of type WatchTotals of each that goes on
 * to array. -ENOMEM. */
int observe_totals(struct observers *all, struct account *sum, json_object *array);
