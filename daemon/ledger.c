// SPDX-License-Identifier: MIT
/* Loads the ledger's programs, chooses for each site the best hook that this kernel takes, and reads the
 * books. */
#include "ledger.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "ledger.skel.h"
#include "ledger_nocast.skel.h"

#define ENOTSUPP 524 /* the kernel's own, which no header has: an architecture lacks something */

DEFINE_CLEANUP(struct ledger_bpf *, ledger_bpf__destroy)
DEFINE_CLEANUP(struct btf *, btf__free)

const char *const evidence_names[] = {"unavailable", "derived", "observed"};

const struct site_row site_rows[SITE_MAX] = {
#define COPY_SITE(id, name, side, kind, meaning) {name, side, kind, meaning},
#include "sites.def"
#undef COPY_SITE
};

enum tier { TIER_FENTRY, TIER_TRACEPOINT, TIER_MAX };
static const char *const tier_names[] = {"fentry", "tracepoint"};

/* What is chosen as a whole: all needed hooks of a group's tier, or none of them. */
enum group {
	GROUP_SEND,
	GROUP_RECV,
	GROUP_MAP,
	GROUP_DEFERRED,
	GROUP_SKB_COPY,
	GROUP_COMPLETE,
	GROUP_URING,
	GROUP_RETRANSMIT,
	GROUP_LIFE,
	GROUP_MAX
};

enum need {
	NEEDED,
	OPTIONAL,
	WATCHES, /* needed there, useless elsewhere */
	LENDS,   /* needed where pages may be pinned or spliced: left out of an account that only copies */
};

#define BOTH TIER_MAX

/*
 * The kernel may skip a run of a program. Such a miss is audited when the equations named here hold: bytes
 * that the run would have booked would be missing on one side. A miss that no equation can show leaves a
 * doubt.
 */
static const struct hook {
	const char *program;
	enum group group;
	enum tier tier; /* BOTH: the same in either tier */
	enum need need;
	const char *audit[HOOK_AUDITS];
} hooks[] = {
	{"tx_call", GROUP_SEND, TIER_FENTRY, LENDS, {}},
	{"site_TX_COPY", GROUP_SEND, TIER_FENTRY, NEEDED, {"accepted"}},
	{"site_TX_PIN", GROUP_SEND, TIER_FENTRY, LENDS, {}},
	{"zc_realloc", GROUP_SEND, TIER_FENTRY, LENDS, {"completed", "deferred"}},
	{"site_TX_SPLICE", GROUP_SEND, TIER_FENTRY, OPTIONAL, {"accepted"}}, /* gone in 6.5 */
	{"tx_turn", GROUP_SEND, TIER_TRACEPOINT, LENDS, {}},
	{"tx_length", GROUP_SEND, TIER_TRACEPOINT, NEEDED, {"accepted"}},
	{"rx_call", GROUP_RECV, TIER_FENTRY, WATCHES, {}},
	{"site_RX_COPY", GROUP_RECV, TIER_FENTRY, NEEDED, {"received"}},
	{"site_RX_DISCARD", GROUP_RECV, TIER_FENTRY, NEEDED, {"received", "delivered"}},
	{"rx_copy_tp", GROUP_RECV, TIER_TRACEPOINT, NEEDED, {"received"}},
	{"rx_length", GROUP_RECV, TIER_TRACEPOINT, NEEDED, {"received", "delivered"}},
	{"site_RX_MAP", GROUP_MAP, TIER_FENTRY, NEEDED, {"received"}},
	{"site_TX_DEFERRED_COPY", GROUP_DEFERRED, TIER_FENTRY, LENDS, {"deferred"}},
	{"deferred_receive", GROUP_DEFERRED, TIER_TRACEPOINT, LENDS, {"deferred"}},
	{"site_SKB_COPY", GROUP_SKB_COPY, TIER_FENTRY, NEEDED, {}},
	{"copy_csum_bits", GROUP_SKB_COPY, TIER_FENTRY, NEEDED, {}},
	{"coalesce", GROUP_SKB_COPY, TIER_FENTRY, NEEDED, {}},
	{"egress_linear", GROUP_SKB_COPY, TIER_TRACEPOINT, NEEDED, {}},
	/* A merge that was missed is told again by the notification it went into, whose code may be another:
	   "deferred". */
	{"site_ZC_COMPLETE", GROUP_COMPLETE, BOTH, LENDS, {"completed", "deferred"}},
	{"zc_purged", GROUP_COMPLETE, BOTH, LENDS, {"completed", "deferred"}},
	{"uring_complete", GROUP_URING, BOTH, LENDS, {"completed", "deferred"}},
	{"retransmit", GROUP_RETRANSMIT, BOTH, NEEDED, {"deferred"}},
	{"sock_base", GROUP_LIFE, BOTH, NEEDED, {}},
	{"sock_end", GROUP_LIFE, BOTH, NEEDED, {"sent"}},
};
#define HOOKS ARRAY_SIZE(hooks)

/* How a group's tier serves a site. A reason is the rule of a derived figure. */
static const struct service {
	enum copy_site site;
	enum group group;
	enum tier tier;
	enum evidence evidence;
	const char *hook, *reason;
} services[] = {
	{SITE_TX_COPY, GROUP_SEND, TIER_FENTRY, EVIDENCE_DERIVED, "fexit/tcp_sendmsg_locked",
		"bytes that the call returned, less those pinned or spliced"},
	{SITE_TX_COPY, GROUP_SEND, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/tcp_sendmsg_locked",
		"write_seq's movement in turns of calls whose flags and route copy"},
	{SITE_TX_PIN, GROUP_SEND, TIER_FENTRY, EVIDENCE_OBSERVED, "fexit/skb_zerocopy_iter_stream", NULL},
	{SITE_TX_PIN, GROUP_SEND, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/tcp_sendmsg_locked",
		"write_seq's movement in turns of calls whose flags and route pin"},
	{SITE_TX_SPLICE, GROUP_SEND, TIER_FENTRY, EVIDENCE_DERIVED, "fexit/tcp_sendmsg_locked",
		"bytes that a call with MSG_SPLICE_PAGES returned (before 6.5: do_tcp_sendpages)"},
	{SITE_TX_SPLICE, GROUP_SEND, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/tcp_sendmsg_locked",
		"write_seq's movement in turns of calls whose flags and route splice"},
	{SITE_TX_DEFERRED_COPY, GROUP_DEFERRED, TIER_FENTRY, EVIDENCE_OBSERVED, "fentry/skb_copy_ubufs",
		NULL},
	{SITE_TX_DEFERRED_COPY, GROUP_DEFERRED, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/netif_receive_skb",
		"fragments of an skb that still carries pinned pages when it is received on this host: the "
		"next step "
		"copies them"},
	{SITE_SKB_COPY, GROUP_SKB_COPY, TIER_FENTRY, EVIDENCE_OBSERVED,
		"fexit/skb_copy_bits, skb_copy_and_csum_bits, skb_try_coalesce", NULL},
	{SITE_SKB_COPY, GROUP_SKB_COPY, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/net_dev_start_xmit",
		"payload in the linear part at egress; packet taps, collapse and coalescing are not seen"},
	{SITE_RX_COPY, GROUP_RECV, TIER_FENTRY, EVIDENCE_OBSERVED, "fexit/skb_copy_datagram_iter", NULL},
	{SITE_RX_COPY, GROUP_RECV, TIER_TRACEPOINT, EVIDENCE_OBSERVED, "tp_btf/skb_copy_datagram_iovec",
		NULL},
	{SITE_RX_MAP, GROUP_MAP, TIER_FENTRY, EVIDENCE_OBSERVED, "fexit/tcp_zerocopy_receive", NULL},
	{SITE_RX_MAP, GROUP_RECV, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/tcp_destroy_sock",
		"copied_seq's movement that no receive call explains: none as long as gap.rx is 0"},
	{SITE_RX_DISCARD, GROUP_RECV, TIER_FENTRY, EVIDENCE_OBSERVED, "fexit/tcp_recvmsg_locked", NULL},
	{SITE_RX_DISCARD, GROUP_RECV, TIER_TRACEPOINT, EVIDENCE_OBSERVED, "tp_btf/sock_recv_length", NULL},
	{SITE_ZC_COMPLETE, GROUP_COMPLETE, BOTH, EVIDENCE_OBSERVED, "tp_btf/consume_skb, kfree_skb", NULL},
};

/* Of an account that only copies: these come first. */
static const struct service copying_services[] = {
	{SITE_TX_COPY, GROUP_SEND, TIER_TRACEPOINT, EVIDENCE_DERIVED, "tp_btf/sock_send_length",
		"write_seq's movement over calls that ask for no page to be pinned or spliced"},
#define NOT_LENT(site)                                                                                       \
	{                                                                                                    \
		site, GROUP_SEND, BOTH, EVIDENCE_DERIVED, "the senders' mode", NOT_LENT_REASON               \
	}
#define NOT_LENT_REASON "no call asks for a page to be pinned or spliced: the hooks for these are left out"
	NOT_LENT(SITE_TX_PIN),
	NOT_LENT(SITE_TX_SPLICE),
	NOT_LENT(SITE_TX_DEFERRED_COPY),
	NOT_LENT(SITE_ZC_COMPLETE),
};

/* What the kernel said of each hook when it was last asked; asked once, since a kernel does not change under
 * us, but again after a failure that is not lasting. */
struct hook_state {
	int error;         /* 0, or the negative errno of load or attach */
	const char *stage; /* "find", "load", "attach" */
};

/* Each answer includes those before it, and takes longer. */
enum asked {
	ASKED_NOTHING,
	ASKED_TARGETS, /* what the hooks attach to is there, and its kind is not refused */
	ASKED_LOADS,   /* the programs load */
	ASKED_ALL,     /* they attach, too */
};

static struct kernel_answer {
	enum asked asked;
	bool asked_completions, asked_symbols;
	struct hook_state hook[HOOKS];
	bool has_rdonly_cast, retransmit_has_err, uring_has_cqe, can_symbolise;
	uint64_t sock_ofree;
	int learn_error;
} kernel;

struct ledger {
	struct ledger_bpf *bpf;
	struct bpf_link *link[HOOKS];
	enum tier tier[GROUP_MAX]; /* TIER_MAX: none */
	char reason[GROUP_MAX][256];
	int cpus;
	int stats; /* the kernel measures programs as long as this fd is open; negative: why it does not */
	bool attached[HOOKS];
	bool can_symbolise;
	bool maps;    /* the receivers use TCP_ZEROCOPY_RECEIVE */
	bool watches; /* sockets are taken up by a filter */
	bool copies;  /* no call of a sender asks for a page to be pinned or spliced */
};

/* ---- what this kernel takes ---- */

/* Whether the kernel would say the same again. Want of memory, of descriptors or of time passes, and so does
 * that of a way to 127.0.0.1. EBUSY is said of functions that have no place for a trampoline. */
static bool is_lasting(int error)
{
	static const int lasting[] = {EPERM, EACCES, ENOENT, ESRCH, EINVAL, E2BIG, EBUSY, ENOSYS, ENOPROTOOPT,
		EOPNOTSUPP, ENOTSUPP};

	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++)
		if (error == -lasting[i])
			return true;
	return false;
}

/* Whether a hook is taken to be missing that may be there the next time. */
static bool doubts_a_hook(void)
{
	for (size_t i = 0; i < HOOKS; i++)
		if (kernel.hook[i].error && !is_lasting(kernel.hook[i].error))
			return true;
	return false;
}

/* The object that fits this kernel. Both are built from one source, so that one skeleton's layout serves
 * both. */
static struct ledger_bpf *open_object(void)
{
	struct ledger_bpf *bpf;

	if (kernel.has_rdonly_cast)
		return ledger_bpf__open();
	bpf = calloc(1, sizeof(*bpf));
	if (!bpf || ledger_bpf__create_skeleton(bpf) < 0) {
		free(bpf);
		return NULL;
	}
	bpf->skeleton->data = (void *)ledger_nocast_bpf__elf_bytes(&bpf->skeleton->data_sz);
	if (bpf_object__open_skeleton(bpf->skeleton, NULL) < 0) {
		ledger_bpf__destroy(bpf);
		return NULL;
	}
	return bpf;
}

static struct bpf_program *program_of(const struct ledger_bpf *bpf, const char *name)
{
	return bpf_object__find_program_by_name(bpf->obj, name);
}

/* What a section attaches to, by the kernel's types: a function, or the prototype of a tracepoint. */
struct target {
	char name[64];
	__u32 id; /* 0: the kernel has none */
};

#define TRACE_PREFIX "btf_trace_"
#define RDONLY_CAST "bpf_rdonly_cast"
#define URING_COMPLETE TRACE_PREFIX "io_uring_complete"
#define RETRANSMIT TRACE_PREFIX "tcp_retransmit_skb"

static const char *const features[] = {RDONLY_CAST, URING_COMPLETE, RETRANSMIT};

#define TARGETS (HOOKS + ARRAY_SIZE(features))

static bool is_iterator(const char *section)
{
	return strncmp(section, "iter/", 5) == 0;
}

static struct target target_of(const char *section)
{
	struct target t = {};

	snprintf(t.name, sizeof(t.name), "%s%s", strncmp(section, "tp_btf/", 7) == 0 ? TRACE_PREFIX : "",
		strchr(section, '/') + 1);
	return t;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct target *)a)->name, ((const struct target *)b)->name);
}

static int is_named(const void *name, const void *target)
{
	return strcmp(name, ((const struct target *)target)->name);
}

/* Sorted by name. Of some with one name always the same. */
static struct target *target_named(struct target *targets, const char *name)
{
	return bsearch(name, targets, TARGETS, sizeof(*targets), is_named);
}

/* All at once: libbpf goes through all the types for each name that it is asked for. */
static void find_targets(const struct btf *btf, struct target *targets)
{
	__u32 types = btf__type_cnt(btf);

	qsort(targets, TARGETS, sizeof(*targets), by_name);
	for (__u32 id = 1; id < types; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		const char *name = btf__name_by_offset(btf, t->name_off);
		struct target *found;

		if (strncmp(name, TRACE_PREFIX, sizeof(TRACE_PREFIX) - 1) == 0 ? !btf_is_typedef(t)
									       : !btf_is_func(t))
			continue;
		found = target_named(targets, name);
		if (found)
			found->id = id;
	}
}

/*
 * A program that does nothing tells quickly whether the kernel refuses its kind at this function: each hook's
 * own, loaded alone, takes the whole object's maps and types with it (ten milliseconds).
 */
static int try_empty(const char *section, __u32 id)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	DECLARE_LIBBPF_OPTS(bpf_prog_load_opts, opts);
	int fd;

	if (strncmp(section, "fentry/", 7) == 0)
		opts.expected_attach_type = BPF_TRACE_FENTRY;
	else if (strncmp(section, "fexit/", 6) == 0)
		opts.expected_attach_type = BPF_TRACE_FEXIT;
	else
		return 0;
	opts.attach_btf_id = id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "empty", "GPL", nothing, ARRAY_SIZE(nothing), &opts);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int trace_arguments(const struct btf *btf, __u32 id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);

	t = t ? btf__type_by_id(btf, t->type) : NULL; /* the pointer */
	t = t ? btf__type_by_id(btf, t->type) : NULL; /* the prototype */
	return t && btf_is_func_proto(t) ? btf_vlen(t) - 1 : -1;
}

static void set_knobs(struct ledger_bpf *bpf)
{
	bpf->rodata->has_rdonly_cast = kernel.has_rdonly_cast;
	bpf->rodata->retransmit_has_err = kernel.retransmit_has_err;
	bpf->rodata->uring_has_cqe = kernel.uring_has_cqe;
	bpf->rodata->sock_ofree = kernel.sock_ofree;
}

static int load_object(struct ledger_bpf *bpf)
{
	int r = ledger_bpf__load(bpf);

	if (r >= 0 && !bpf->bss) /* libbpf goes on when it cannot map it */
		r = -ENOMEM;
	return r;
}

/* Loads the hooks that were not refused yet, or only one of them. */
static int trial_load(size_t only, struct ledger_bpf **ret)
{
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = open_object();
	int r;

	if (!bpf)
		return -errno;
	set_knobs(bpf);
	for (size_t i = 0; i < HOOKS; i++)
		bpf_program__set_autoload(program_of(bpf, hooks[i].program),
			!kernel.hook[i].error && (only == HOOKS || only == i));
	r = load_object(bpf);
	if (r >= 0)
		*ret = TAKE_PTR(bpf);
	return r;
}

/* All at once where the kernel takes all; else each alone, to learn which it refuses, and then the rest. */
static int load_what_loads(struct ledger_bpf **ret)
{
	int r = trial_load(HOOKS, ret);

	if (r >= 0)
		return 0;
	for (size_t i = 0; i < HOOKS; i++) {
		_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *alone = NULL;

		if (kernel.hook[i].error)
			continue;
		r = trial_load(i, &alone);
		if (r < 0)
			kernel.hook[i] = (struct hook_state){r, "load"};
	}
	return trial_load(HOOKS, ret);
}

static int iter_attach(struct ledger_bpf *bpf, struct bpf_link **ret)
{
	union bpf_iter_link_info info = {.map.map_fd = bpf_map__fd(bpf->maps.socks)};
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	*ret = bpf_program__attach_iter(bpf->progs.sock_base, &opts);
	return *ret ? 0 : -errno;
}

static int hook_attach(struct ledger_bpf *bpf, const struct hook *h, struct bpf_link **ret)
{
	struct bpf_program *p = program_of(bpf, h->program);

	if (p == bpf->progs.sock_base)
		return iter_attach(bpf, ret);
	*ret = bpf_program__attach(p);
	return *ret ? 0 : -errno;
}

/* A completion on a socket pair of our own shows the address of sock_ofree to the program learn. */
static int zerocopy_once(int tx, int rx)
{
	char control[128], buffer[4096] = {0};
	struct msghdr msg = {.msg_control = control, .msg_controllen = sizeof(control)};
	struct pollfd p = {.fd = tx};
	int one = 1;

	if (setsockopt(tx, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0)
		return -errno;
	if (send(tx, buffer, sizeof(buffer), MSG_ZEROCOPY | MSG_NOSIGNAL) < 0)
		return -errno;
	if (recv(rx, buffer, sizeof(buffer), MSG_WAITALL) < 0)
		return -errno;
	if (poll(&p, 1, 1000) <= 0)
		return -ETIMEDOUT;
	return recvmsg(tx, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* Should a filter drop what goes to 127.0.0.1, the daemon is not to wait for it as long as TCP does. */
static int limit_waits(int fd)
{
	static const struct timeval limit = {.tv_sec = 1};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
			       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0
		       ? -errno
		       : 0;
}

/* What is accepted has the listener's limits. */
static int tcp_pair(int *ret_tx, int *ret_rx)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int tx = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || tx < 0 || limit_waits(listener) < 0 || limit_waits(tx) < 0 ||
		bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, 1) < 0 ||
		getsockname(listener, (struct sockaddr *)&a, &len) < 0 ||
		connect(tx, (struct sockaddr *)&a, len) < 0)
		return -errno;
	*ret_rx = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*ret_rx < 0)
		return -errno;
	*ret_tx = TAKE_FD(tx);
	return 0;
}

static int learn_sock_ofree(void)
{
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = open_object();
	_cleanup_close_ int tx = -1, rx = -1;
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	int r;

	if (!bpf)
		return -errno;
	r = tcp_pair(&tx, &rx);
	if (r < 0)
		return r;
	if (getsockopt(tx, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	set_knobs(bpf);
	bpf->rodata->learn_cookie = cookie;
	bpf_program__set_autoload(bpf->progs.learn, true);
	r = load_object(bpf);
	if (r < 0)
		return r;
	bpf->links.learn = bpf_program__attach(bpf->progs.learn);
	if (!bpf->links.learn)
		return -errno;
	r = zerocopy_once(tx, rx);
	if (r < 0)
		return r;
	kernel.sock_ofree = bpf->bss->learnt;
	return kernel.sock_ofree ? 0 : -ENODATA;
}

/* Without it call paths are addresses, and a cause is derived from the device alone. */
static int try_symbolise(void)
{
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = open_object();

	if (!bpf)
		return -errno;
	set_knobs(bpf);
	bpf_program__set_autoload(bpf->progs.symbolise, true);
	return load_object(bpf);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN && getenv("COPYLEDGER_LIBBPF_LOG"))
		return vfprintf(stderr, format, args);
	return 0;
}

static int ask_targets(void)
{
	_cleanup_(btf__freep) struct btf *btf = btf__load_vmlinux_btf();
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = NULL;
	struct target key[TARGETS] = {}, found[TARGETS];
	const char *section[HOOKS];

	if (!btf)
		return -errno;
	bpf = open_object();
	if (!bpf)
		return -errno;
	for (size_t i = 0; i < HOOKS; i++) {
		section[i] = bpf_program__section_name(program_of(bpf, hooks[i].program));
		key[i] = target_of(section[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		snprintf(key[HOOKS + i].name, sizeof(key->name), "%s", features[i]);
	memcpy(found, key, sizeof(found));
	find_targets(btf, found);
	for (size_t i = 0; i < HOOKS; i++) {
		__u32 id = target_named(found, key[i].name)->id;
		int r = id || is_iterator(section[i]) ? try_empty(section[i], id) : -ENOENT;

		if (r < 0)
			kernel.hook[i] = (struct hook_state){r, id ? "load" : "find"};
	}
	kernel.has_rdonly_cast = target_named(found, RDONLY_CAST)->id > 0;
	kernel.uring_has_cqe = trace_arguments(btf, target_named(found, URING_COMPLETE)->id) == 3;
	kernel.retransmit_has_err = trace_arguments(btf, target_named(found, RETRANSMIT)->id) >= 3;
	return 0;
}

/* The first program at a tracepoint waits for a grace period if one was taken from any since the last wait:
 * so none is, until all are there. */
static void try_to_attach(struct ledger_bpf *bpf)
{
	struct bpf_link *link[HOOKS] = {};

	for (size_t i = 0; i < HOOKS; i++) {
		int r = kernel.hook[i].error ? 0 : hook_attach(bpf, &hooks[i], &link[i]);

		if (r < 0)
			kernel.hook[i] = (struct hook_state){r, "attach"};
	}
	for (size_t i = 0; i < HOOKS; i++)
		bpf_link__destroy(link[i]);
}

/* Asked before the first account that takes stacks. */
static void ask_symbols(void)
{
	int r;

	if (kernel.asked_symbols)
		return;
	r = try_symbolise();
	kernel.can_symbolise = r >= 0;
	kernel.asked_symbols = r >= 0 || is_lasting(r);
}

/* Asked before the first account that may see completions: a copying one does without. */
static void ask_completions(void)
{
	if (kernel.asked_completions)
		return;
	kernel.asked_completions = true;
	kernel.learn_error = learn_sock_ofree();
	for (size_t i = 0; i < HOOKS; i++)
		if (kernel.learn_error && hooks[i].group == GROUP_COMPLETE && !kernel.hook[i].error)
			kernel.hook[i] = (struct hook_state){kernel.learn_error, "learn"};
}

/* Asks the kernel about every hook, anew, and no further than `most`. */
static int ask_kernel(enum asked most, struct fault *reterr)
{
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = NULL;
	int r;

	libbpf_set_print(quiet);
	memset(&kernel, 0, sizeof(kernel));
	r = ask_targets();
	if (r < 0)
		return fault_set(reterr, r, "no_btf", "",
			"the kernel's types cannot be read from /sys/kernel/btf/vmlinux: %s; the ledger "
			"needs a kernel "
			"with CONFIG_DEBUG_INFO_BTF",
			strerror(-r));
	r = most >= ASKED_LOADS ? load_what_loads(&bpf) : 0;
	if (r < 0)
		return fault_set(reterr, r, "no_bpf", "",
			"BPF programs cannot be loaded: %s; the daemon needs CAP_BPF and CAP_PERFMON",
			strerror(-r));
	if (most >= ASKED_ALL) {
		try_to_attach(bpf);
		ask_completions();
		ask_symbols();
	}
	kernel.asked = most;
	return 0;
}

/* ---- choosing ---- */

static bool of_tier(const struct hook *h, enum tier tier)
{
	return h->tier == tier || h->tier == BOTH;
}

/* NULL if all needed hooks of the group's tier work, else the first that does not. */
static const struct hook *missing_hook(enum group group, enum tier tier, bool *ret_any)
{
	*ret_any = false;
	for (size_t i = 0; i < HOOKS; i++) {
		if (hooks[i].group != group || !of_tier(&hooks[i], tier))
			continue;
		*ret_any = true;
		if ((hooks[i].need == NEEDED || hooks[i].need == LENDS) && kernel.hook[i].error)
			return &hooks[i];
	}
	return NULL;
}

static void explain_missing(const struct hook *h, char *buf, size_t n)
{
	const struct hook_state *s = &kernel.hook[h - hooks];

	snprintf(buf, n, "%s: %s: %s", h->program, s->stage,
		s->error == -ENOENT && str_eq(s->stage, "find") ? "this kernel has no such hook"
								: strerror(-s->error));
}

static enum tier choose_tier(enum group group, const char *wanted, char *reason, size_t n)
{
	reason[0] = 0;
	for (enum tier t = 0; t < TIER_MAX; t++) {
		const struct hook *missing;
		bool any;

		if (!str_eq(wanted, "auto") && !str_eq(wanted, tier_names[t]))
			continue;
		missing = missing_hook(group, t, &any);
		if (any && !missing)
			return t;
		if (any && !reason[0])
			explain_missing(missing, reason, n);
	}
	if (!reason[0])
		snprintf(reason, n, "no hook of the %s tier serves it", wanted);
	return TIER_MAX;
}

static const struct service *service_in(
	const struct ledger *l, enum copy_site site, const struct service *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct service *s = &rows[i];

		if (s->site == site && l->tier[s->group] != TIER_MAX &&
			(s->tier == BOTH || s->tier == l->tier[s->group]))
			return s;
	}
	return NULL;
}

static const struct service *service_of(const struct ledger *l, enum copy_site site)
{
	const struct service *s = NULL;

	if (l->copies)
		s = service_in(l, site, copying_services, ARRAY_SIZE(copying_services));
	return s ? s : service_in(l, site, services, ARRAY_SIZE(services));
}

static const char *unavailable_reason(const struct ledger *l, enum copy_site site)
{
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		if (services[i].site == site)
			return l->reason[services[i].group];
	return "no program";
}

struct site_status ledger_site(const struct ledger *l, enum copy_site site)
{
	const struct service *s;

	if (site == SITE_APP_PACK)
		return (struct site_status){EVIDENCE_OBSERVED, "the sender's lane", NULL};
	s = service_of(l, site);
	if (s)
		return (struct site_status){s->evidence, s->hook, s->reason};
	return (struct site_status){EVIDENCE_UNAVAILABLE, NULL, unavailable_reason(l, site)};
}

const char *ledger_tier(const struct ledger *l)
{
	return l->tier[GROUP_SEND] == TIER_MAX ? "none" : tier_names[l->tier[GROUP_SEND]];
}

static void choose(struct ledger *l, const char *wanted)
{
	for (enum group g = 0; g < GROUP_MAX; g++)
		l->tier[g] = choose_tier(g, wanted, l->reason[g], sizeof(l->reason[g]));
}

static bool chosen(const struct ledger *l, size_t hook)
{
	enum tier t = l->tier[hooks[hook].group];

	if ((hooks[hook].need == WATCHES && !l->watches) || (hooks[hook].need == LENDS && l->copies))
		return false;
	return t != TIER_MAX && of_tier(&hooks[hook], t) && !kernel.hook[hook].error;
}

/* ---- an account ---- */

static int load_chosen(struct ledger *l, const struct ledger_config *config)
{
	int r;

	l->bpf = open_object();
	if (!l->bpf)
		return -errno;
	set_knobs(l->bpf);
	l->bpf->rodata->only_copies = l->copies;
	bpf_map__set_max_entries(l->bpf->maps.owners, MAX(config->sockets, 1U));
	bpf_map__set_max_entries(l->bpf->maps.zc_sends, MAX(config->zc_sends, 1U));
	bpf_map__set_max_entries(l->bpf->maps.uring_sends, MAX(config->zc_sends, 1U));
	if (config->filter) {
		l->bpf->rodata->filter = *config->filter;
		bpf_map__set_max_entries(l->bpf->maps.views, VIEWS_MAX);
		/* A watch outlives its sockets: the oldest make room. */
		bpf_map__set_type(l->bpf->maps.owners, BPF_MAP_TYPE_LRU_HASH);
	}
	for (size_t i = 0; i < HOOKS; i++)
		bpf_program__set_autoload(program_of(l->bpf, hooks[i].program), chosen(l, i));
	bpf_program__set_autoload(l->bpf->progs.symbolise, kernel.can_symbolise);
	r = load_object(l->bpf);
	if (r < 0)
		return r;
	l->can_symbolise = kernel.can_symbolise;
	for (size_t i = 0; i < HOOKS; i++) {
		if (!chosen(l, i) || hooks[i].group == GROUP_LIFE)
			continue;
		r = hook_attach(l->bpf, &hooks[i], &l->link[i]);
		if (r < 0)
			return r;
		l->attached[i] = true;
	}
	return 0;
}

/* The socket's end is attached like all others; its base is an iterator, run on demand by ledger_arm(). */
static int attach_life(struct ledger *l)
{
	int r = 0;

	for (size_t i = 0; i < HOOKS && !r; i++)
		if (chosen(l, i) && str_eq(hooks[i].program, "sock_end")) {
			r = hook_attach(l->bpf, &hooks[i], &l->link[i]);
			l->attached[i] = !r;
		}
	return r;
}

static int open_once(const struct ledger_config *config, struct ledger **ret)
{
	_cleanup_(ledger_closep) struct ledger *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->stats = -ENODATA;
	l->cpus = libbpf_num_possible_cpus();
	if (l->cpus < 0)
		return l->cpus;
	if (!config->copies)
		ask_completions();
	choose(l, config->tier);
	if (!config->copies || l->tier[GROUP_SKB_COPY] == TIER_FENTRY)
		ask_symbols();
	if (config->timed) {
		int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

		l->stats = fd < 0 ? -errno : fd;
	}
	l->maps = config->maps;
	l->copies = config->copies;
	l->watches = config->filter != NULL;
	r = load_chosen(l, config);
	if (r >= 0)
		r = attach_life(l);
	if (r < 0)
		return r;
	l->bpf->bss->armed = true;
	*ret = TAKE_PTR(l);
	return 0;
}

/* What is not known to be refused is taken to work, and the kernel is asked more only if it does not: the
 * others may work without it. */
int ledger_open(const struct ledger_config *config, struct ledger **ret, struct fault *reterr)
{
	int r = 0;

	if (doubts_a_hook())
		kernel.asked = ASKED_NOTHING;
	do {
		if (r < 0 || kernel.asked == ASKED_NOTHING) {
			r = ask_kernel(kernel.asked + 1, reterr);
			if (r < 0)
				return r;
		}
		r = open_once(config, ret);
	} while (r < 0 && kernel.asked < ASKED_ALL);
	if (r < 0)
		return fault_set(reterr, r, "no_bpf", "",
			"the ledger's programs cannot be loaded or attached: %s", strerror(-r));
	return 0;
}

struct ledger *ledger_close(struct ledger *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < HOOKS; i++)
		bpf_link__destroy(l->link[i]);
	ledger_bpf__destroy(l->bpf);
	if (l->stats >= 0)
		close(l->stats);
	free(l);
	return NULL;
}

int ledger_register(struct ledger *l, int fd, uint64_t id)
{
	struct sock_row row = {.id = id, .class = l->copies ? CLASS_COPY : CLASS_NONE};
	struct owner owner;
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	owner = (struct owner){id, 0};
	if (bpf_map_update_elem(bpf_map__fd(l->bpf->maps.owners), &cookie, &owner, BPF_ANY) < 0)
		return -errno;
	if (bpf_map_update_elem(bpf_map__fd(l->bpf->maps.socks), &fd, &row, BPF_NOEXIST) < 0)
		return -errno;
	return 0;
}

/* An iterator runs while it is read; ours writes nothing. */
static int run_iterator(int fd)
{
	char sink[64];
	ssize_t n;

	do
		n = read(fd, sink, sizeof(sink));
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int ledger_arm(struct ledger *l)
{
	_cleanup_close_ int fd = -1;
	struct bpf_link *link;
	int r;

	if (l->tier[GROUP_LIFE] == TIER_MAX)
		return -EOPNOTSUPP;
	r = iter_attach(l->bpf, &link);
	if (r < 0)
		return r;
	fd = bpf_iter_create(bpf_link__fd(link));
	r = fd < 0 ? -errno : run_iterator(fd);
	bpf_link__destroy(link);
	return r;
}

/* ---- books ---- */

static int read_site(const struct ledger *l, struct cell *percpu, uint32_t index, struct cell *site)
{
	if (bpf_map_lookup_elem(bpf_map__fd(l->bpf->maps.cells), &index, percpu) < 0)
		return -errno;
	for (int cpu = 0; cpu < l->cpus; cpu++) {
		site->hits += percpu[cpu].hits;
		site->bytes += percpu[cpu].bytes;
		for (size_t i = 0; i < CELL_BUCKETS; i++)
			site->log2[i] += percpu[cpu].log2[i];
	}
	return 0;
}

static int read_tally(const struct ledger *l, struct tally *percpu, uint32_t writer, uint64_t *counters)
{
	if (bpf_map_lookup_elem(bpf_map__fd(l->bpf->maps.tallies), &writer, percpu) < 0)
		return -errno;
	for (int cpu = 0; cpu < l->cpus; cpu++)
		for (size_t i = 0; i < COUNTER_MAX; i++)
			counters[i] += percpu[cpu].v[i];
	return 0;
}

/*
 * Where the receiver maps pages and no hook shows it, what copied_seq moved outside of the receive calls is
 * what was mapped. The application's own count is on the other side of the equation.
 */
static void map_remainder(struct books *b)
{
	uint64_t rest = b->counter[COUNTER_GAP_RX];

	b->site[SITE_RX_MAP].bytes += rest;
	b->counter[COUNTER_RECEIVED] += rest;
	b->counter[COUNTER_GAP_RX] = 0;
}

int ledger_read(struct ledger *l, struct books *ret)
{
	_cleanup_free_ struct cell *cells = calloc(l->cpus, sizeof(*cells));
	_cleanup_free_ struct tally *tallies = calloc(l->cpus, sizeof(*tallies));
	struct books b = {};
	int r = 0;

	if (!cells || !tallies)
		return -ENOMEM;
	/* The counters first: what a call returned by now stands at its sites when these are read. */
	for (uint32_t w = 0; w < WRITER_MAX && r >= 0; w++)
		r = read_tally(l, tallies, w, b.counter);
	for (uint32_t i = 0; i < WRITER_MAX * SITE_MAX && r >= 0; i++)
		r = read_site(l, cells, i, &b.site[i % SITE_MAX]);
	if (r < 0)
		return r;
	if (l->maps && l->tier[GROUP_RECV] == TIER_TRACEPOINT)
		map_remainder(&b);
	*ret = b;
	return 0;
}

int ledger_timed(const struct ledger *l)
{
	return MIN(l->stats, 0);
}

size_t ledger_hooks(const struct ledger *l, struct hook_cost *ret, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < HOOKS && n < max; i++) {
		struct bpf_program *p = program_of(l->bpf, hooks[i].program);
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (!l->attached[i] || bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &len) < 0)
			continue;
		ret[n] = (struct hook_cost){hooks[i].program, bpf_program__section_name(p),
			info.recursion_misses, info.run_cnt, info.run_time_ns, {}};
		memcpy(ret[n++].audit, hooks[i].audit, sizeof(hooks[i].audit));
	}
	return n;
}

/* ---- where copies came from ---- */

static int symbolise(struct ledger *l, uint32_t stack, struct call_path *path)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (!l->can_symbolise)
		return -EOPNOTSUPP;
	memset(l->bpf->bss->symbol_address, 0, sizeof(l->bpf->bss->symbol_address));
	if (bpf_map_lookup_elem(bpf_map__fd(l->bpf->maps.stacks), &stack, l->bpf->bss->symbol_address) < 0)
		return -errno;
	memset(l->bpf->bss->symbol_name, 0, sizeof(l->bpf->bss->symbol_name));
	if (bpf_prog_test_run_opts(bpf_program__fd(l->bpf->progs.symbolise), &opts) < 0)
		return -errno;
	memcpy(path->stack, l->bpf->bss->symbol_name, sizeof(path->stack));
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	const struct call_path *x = a, *y = b;

	return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

int ledger_call_paths(struct ledger *l, struct call_path **ret)
{
	_cleanup_free_ struct call_path *paths = calloc(CALLERS_MAX, sizeof(*paths));
	int fd = bpf_map__fd(l->bpf->maps.callers), n = 0;
	struct caller_key key, *previous = NULL;
	struct caller c;

	if (!paths)
		return -ENOMEM;
	for (; n < CALLERS_MAX && bpf_map_get_next_key(fd, previous, &key) >= 0; previous = &key) {
		struct call_path *p = &paths[n];

		if (bpf_map_lookup_elem(fd, &key, &c) < 0)
			continue;
		n++;
		*p = (struct call_path){
			.site = key.site, .lacks = key.lacks, .hits = c.hits, .bytes = c.bytes};
		memcpy(p->kind, &key.kind, sizeof(key.kind));
		p->stack_known = key.stack >= 0 && symbolise(l, key.stack, p) >= 0;
	}
	qsort(paths, n, sizeof(*paths), by_bytes);
	*ret = TAKE_PTR(paths);
	return n;
}

/* ---- watches ---- */

int ledger_views(struct ledger *l, struct view_row **ret)
{
	_cleanup_free_ struct view_row *rows = calloc(VIEWS_MAX, sizeof(*rows));
	int fd = bpf_map__fd(l->bpf->maps.views), n = 0;
	uint64_t key, *previous = NULL;

	if (!rows)
		return -ENOMEM;
	for (; n < VIEWS_MAX && bpf_map_get_next_key(fd, previous, &key) >= 0; previous = &key) {
		rows[n].id = key;
		if (bpf_map_lookup_elem(fd, &key, &rows[n].view) >= 0)
			n++;
	}
	*ret = TAKE_PTR(rows);
	return n;
}

void ledger_forget_view(struct ledger *l, uint64_t id)
{
	bpf_map_delete_elem(bpf_map__fd(l->bpf->maps.views), &id);
}

int ledger_outstanding(struct ledger *l, uint64_t *ret_bytes, uint64_t *ret_sends)
{
	int fd = bpf_map__fd(l->bpf->maps.zc_sends);
	struct zc_key key, *previous = NULL;
	uint64_t word, bytes = 0, sends = 0;
	uint32_t left = bpf_map__max_entries(l->bpf->maps.zc_sends);

	/* A key that is deleted meanwhile sends the walk back to the start. */
	for (; left-- && bpf_map_get_next_key(fd, previous, &key) >= 0; previous = &key) {
		if (bpf_map_lookup_elem(fd, &key, &word) < 0 || !(word & ZC_SENT))
			continue;
		bytes += word & ~ZC_SENT;
		sends++;
	}
	*ret_bytes = bytes;
	*ret_sends = sends;
	return 0;
}

/* A hash's element is its head (48 bytes), key and value; the rest of a map is small beside that. */
uint64_t ledger_map_bytes(const struct ledger *l)
{
	struct bpf_map *map;
	uint64_t n = 0;

	bpf_object__for_each_map(map, l->bpf->obj)
	{
		uint64_t each = bpf_map__value_size(map);

		if (bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY)
			each *= l->cpus;
		else if (bpf_map__type(map) != BPF_MAP_TYPE_ARRAY)
			each += bpf_map__key_size(map) + 48;
		n += each * bpf_map__max_entries(map);
	}
	return n;
}

/* ---- probe ---- */

static json_object *text_or_null(const char *s)
{
	return s && *s ? json_object_new_string(s) : NULL;
}

static json_object *site_to_json(const struct ledger *l, enum copy_site site)
{
	const struct site_row *row = &site_rows[site];
	struct site_status s = ledger_site(l, site);
	json_object *o = json_object_new_object();

	json_object_object_add(o, "site", json_object_new_string(row->name));
	json_object_object_add(o, "side", json_object_new_string(row->side));
	json_object_object_add(o, "kind", json_object_new_string(row->kind));
	json_object_object_add(o, "meaning", json_object_new_string(row->meaning));
	json_object_object_add(o, "evidence", json_object_new_string(evidence_names[s.evidence]));
	json_object_object_add(o, "hook", text_or_null(s.hook));
	json_object_object_add(o, "reason", text_or_null(s.reason));
	return o;
}

static json_object *hook_to_json(const struct ledger_bpf *bpf, size_t i)
{
	const struct hook *h = &hooks[i];
	const struct hook_state *s = &kernel.hook[i];
	json_object *o = json_object_new_object();
	char reason[160] = "";

	if (s->error)
		explain_missing(h, reason, sizeof(reason));
	json_object_object_add(o, "program", json_object_new_string(h->program));
	json_object_object_add(o, "attach",
		json_object_new_string(
			strchr(bpf_program__section_name(program_of(bpf, h->program)), '/') + 1));
	json_object_object_add(
		o, "tier", json_object_new_string(h->tier == BOTH ? "both" : tier_names[h->tier]));
	json_object_object_add(o, "available", json_object_new_boolean(!s->error));
	json_object_object_add(o, "error", s->error ? text_or_null(strerrorname_np(-s->error)) : NULL);
	json_object_object_add(o, "reason", text_or_null(reason));
	return o;
}

static json_object *summarise(const struct ledger *l)
{
	json_object *a = json_object_new_array();
	unsigned int n[3] = {0};
	char text[300];

	for (enum copy_site s = 0; s < SITE_MAX; s++)
		n[ledger_site(l, s).evidence]++;
	snprintf(text, sizeof(text),
		"Of %d copy sites this kernel shows %u as observed and %u as derived; %u %s unavailable.",
		SITE_MAX, n[EVIDENCE_OBSERVED], n[EVIDENCE_DERIVED], n[EVIDENCE_UNAVAILABLE],
		n[EVIDENCE_UNAVAILABLE] == 1 ? "is" : "are");
	json_object_array_add(a, json_object_new_string(text));
	if (l->tier[GROUP_SEND] == TIER_TRACEPOINT) {
		char why[160];

		choose_tier(GROUP_SEND, "fentry", why, sizeof(why));
		snprintf(text, sizeof(text),
			"Senders are seen through tracepoints; the fentry tier, which sees the copies "
			"themselves, is "
			"refused here (%s).",
			why);
		json_object_array_add(a, json_object_new_string(text));
	}
	return a;
}

int ledger_probe(json_object **ret_sites, json_object **ret_hooks, json_object **ret_summary)
{
	_cleanup_(ledger_bpf__destroyp) struct ledger_bpf *bpf = NULL;
	struct ledger l = {};
	struct fault fault = {};
	json_object *sites, *rows;
	int r;

	r = ask_kernel(ASKED_ALL, &fault);
	for (enum group g = 0; r < 0 && g < GROUP_MAX; g++) {
		l.tier[g] = TIER_MAX;
		str_copy(l.reason[g], fault.text);
	}
	if (r >= 0)
		choose(&l, "auto");
	bpf = r >= 0 ? open_object() : NULL;
	sites = json_object_new_array();
	rows = json_object_new_array();
	for (enum copy_site s = 0; s < SITE_MAX; s++)
		json_object_array_add(sites, site_to_json(&l, s));
	for (size_t i = 0; bpf && i < HOOKS; i++)
		json_object_array_add(rows, hook_to_json(bpf, i));
	*ret_summary = summarise(&l);
	*ret_sites = sites;
	*ret_hooks = rows;
	return 0;
}
