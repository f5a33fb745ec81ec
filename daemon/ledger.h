/* SPDX-License-Identifier: MIT */
/*
 * The ledger of one account: its programs in the kernel, attached as long as this object lives, and its
 * books. Hooks are asked of the kernel one by one; a site that no hook can serve is unavailable, with the
 * errno and the reason.
 */
#pragma once

#include <json.h>
#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "macro.h"
#include "shared.h"

struct ledger;

enum evidence { EVIDENCE_UNAVAILABLE, EVIDENCE_DERIVED, EVIDENCE_OBSERVED };
extern const char *const evidence_names[];

struct site_row {
	const char *name, *side, *kind, *meaning;
};
extern const struct site_row site_rows[SITE_MAX];

/* How a site is served on this kernel. The strings live as long as the ledger (or the program, for
 * constants). */
struct site_status {
	enum evidence evidence;
	const char *hook;   /* NULL when unavailable */
	const char *reason; /* the rule of a derived figure, or why there is none; NULL when observed */
};

struct books {
	struct cell site[SITE_MAX];
	uint64_t counter[COUNTER_MAX];
};

struct ledger_config {
	const char *tier;                  /* "auto", "fentry" or "tracepoint" */
	uint32_t sockets;                  /* that will be registered */
	uint32_t zc_sends;                 /* MSG_ZEROCOPY sends that may be on their way at once */
	bool maps;                         /* the receivers use TCP_ZEROCOPY_RECEIVE */
	bool copies;                       /* no call of a sender asks for a page to be pinned or spliced */
	const struct watch_filter *filter; /* NULL: registered sockets only */
	bool timed;                        /* the kernel shall measure the programs, if it may be asked to */
};

/* Loads and attaches. A site without a hook is no error; no BPF at all is one, with its reason in *reterr. */
int ledger_open(const struct ledger_config *config, struct ledger **ret, struct fault *reterr);
/* Detaches and frees: nothing stays in the kernel. NULL is allowed. */
struct ledger *ledger_close(struct ledger *l);
DEFINE_CLEANUP(struct ledger *, ledger_close)

/* Makes the socket behind fd one of the account's. id: unique in the account, not 0. The fd may be closed
 * afterwards. */
int ledger_register(struct ledger *l, int fd, uint64_t id);
/* Takes the sequence bases of all registered sockets; nothing may be in flight on them. */
int ledger_arm(struct ledger *l);

int ledger_read(struct ledger *l, struct books *ret);
/* Whether the kernel measures the programs: 0, or why not, -ENODATA if it was not asked to. */
int ledger_timed(const struct ledger *l);
struct site_status ledger_site(const struct ledger *l, enum copy_site site);
/* The tier that serves the senders: "fentry", "tracepoint" or "none". */
const char *ledger_tier(const struct ledger *l);

#define HOOK_AUDITS 2
struct hook_cost {
	const char *program, *attach;
	uint64_t misses; /* runs that the kernel skipped */
	uint64_t runs;   /* counted only while kernel.bpf_stats_enabled */
	uint64_t run_ns;
	const char *
		audit[HOOK_AUDITS]; /* equations that would show the bytes of a missed run; NULL: none does */
};
/* The attached programs, at most max of them; returns their number. */
size_t ledger_hooks(const struct ledger *l, struct hook_cost *ret, size_t max);
#define LEDGER_HOOKS_MAX 32

/* Where a copy that nobody asked for came from. */
struct call_path {
	enum copy_site site;
	uint64_t hits, bytes;
	char kind[9];                /* "loopback", the device's rtnl kind ("veth"), or "" */
	char stack[STACK_DEPTH][64]; /* symbols, innermost first, "" after the last */
	uint32_t lacks;              /* enum lacks */
	bool stack_known;
};
/* The call paths, most bytes first; *ret is the caller's to free. Returns their number or a negative errno.
 */
int ledger_call_paths(struct ledger *l, struct call_path **ret);

struct view_row {
	uint64_t id;
	struct view view;
};
/* What a watch sees: *ret is the caller's to free. Returns the number of rows, VIEWS_MAX at most. */
int ledger_views(struct ledger *l, struct view_row **ret);
/* Makes room: nothing more may be booked to the view. */
void ledger_forget_view(struct ledger *l, uint64_t id);
/* Pinned bytes whose completion has not come yet; *ret_sends: their sends. */
int ledger_outstanding(struct ledger *l, uint64_t *ret_bytes, uint64_t *ret_sends);
/* Bytes of kernel memory that the account's maps may take at most. */
uint64_t ledger_map_bytes(const struct ledger *l);

/* Tries every hook now. Arrays of SiteStatus, HookStatus and sentences; the caller owns them. */
int ledger_probe(json_object **ret_sites, json_object **ret_hooks, json_object **ret_summary);
