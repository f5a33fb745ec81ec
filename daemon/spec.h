/* SPDX-License-Identifier: MIT */
/* What a client asks for: the parameters of one run, checked. */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "limit.h"
#include "utf8.h"

/* The part of a run of two hosts that is under this daemon; role LG_ROLE_BOTH: it is no such run. */
struct pair {
	uint32_t role; /* enum lg_role of wire.h */
	char id[24];   /* the receiver's run id, known to both; "" : it is this run's own */
	char address[48];
	uint32_t port;
	uint8_t token[16];
	int listener; /* of a receiver: borrowed for the start */
};

struct spec {
	char mode[32];       /* of transfer_modes: how is sent */
	char receive[32];    /* of receive_modes */
	char workload[16];   /* "stream", "rr" */
	char path[80];       /* "loopback", "veth", "netns:SERVER,CLIENT" */
	char ledger[16];     /* "auto", "fentry", "tracepoint", "off": which hooks may be used */
	char congestion[16]; /* "" : the default of the path's namespace */
	char label[LIMIT_LABEL * UTF8_MAX + 1];
	uint64_t size; /* bytes a message */
	uint32_t fields, threads;
	uint64_t warmup_ms, duration_ms;
	uint32_t sndbuf, rcvbuf; /* bytes, 0: the kernel's default */
	uint32_t ip;             /* 4 or 6 */
	bool verify, pin, perf;
	bool hook_times;  /* the kernel shall measure the ledger's programs */
	bool nodelay;     /* TCP_NODELAY while a stream runs */
	struct pair pair; /* not a member of the object: StartRun's own parameter */
};

/*
 * Checks every member of obj against the table of members (type, range, known names; an unknown member is an
 * error) and fills *ret with defaults for what is absent. On error *ret is untouched and *reterr names field,
 * value and limit.
 */
int spec_parse(json_object *obj, struct spec *ret, struct fault *reterr);

/* The i-th known mode or path, NULL after the last. */
const char *spec_mode_name(size_t i);
const char *spec_path_name(size_t i);

/* For a fault of spec_parse(obj): value, min, max, known or expected, as members_details() gives them. Owned
 * by the caller. */
json_object *spec_details(json_object *obj, const struct fault *fault);

/* The whole spec, defaults included, as a new object that the caller owns. */
json_object *spec_to_json(const struct spec *spec);

/* The i-th name of a tier of hooks, NULL after the last. */
const char *spec_tier_name(size_t i);
