// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel half of the ledger: books every payload byte of the account's sockets where it is moved.
 *
 * A socket belongs to the account when it has a row in `socks`, written by the daemon through the socket's
 * fd. For any other socket each program is one failed look-up. Programs of two tiers serve the same sites;
 * the daemon attaches, site by site, those that this kernel takes: fentry/fexit on the very functions, or
 * tracepoints with what can be derived from them. doc/ledger.md says which equation rests on what.
 */
#include "shared.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "GPL";

/* The kernel's ABI numbers that BTF does not carry (include/linux/socket.h, netdev_features.h,
 * uapi/linux/errqueue.h). */
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define MSG_ZEROCOPY 0x4000000
#define MSG_SPLICE_PAGES 0x8000000
#define NETIF_F_SG 1ULL
#define NETIF_F_CSUM (1ULL << 1 | 1ULL << 3 | 1ULL << 4) /* IPv4, any, IPv6 */
#define NETIF_F_TSO (1ULL << 16)
#define SKBFL_ZEROCOPY_ENABLE 1
#define SO_EE_ORIGIN_ZEROCOPY 5
#define SO_EE_CODE_ZEROCOPY_COPIED 1
#define IFF_LOOPBACK 8
#define AF_INET 2
#define TCP_HEADER_MIN 20
#define KIND_LOOPBACK 0x6b636162706f6f6cULL /* "loopback" in a little-endian word */

const volatile __u64 sock_ofree = 0;   /* the destructor that marks a notification skb; learnt, see learn */
const volatile __u64 learn_cookie = 0; /* the socket that learn watches */
const volatile bool has_rdonly_cast = false; /* 6.2: typed reads of any address, allowed under lockdown too */
const volatile bool retransmit_has_err = false; /* tcp_retransmit_skb carries the result as third argument */

const volatile bool only_copies = false;   /* no call of the account's senders pins or splices: tx_turn is left out */
const volatile bool uring_has_cqe = false; /* 6.16: io_uring_complete carries the completion itself */
const volatile struct watch_filter filter = {};

__u64 learnt;
/* Hooks are attached one after the other: a call whose start was seen, and whose end was not yet to be seen, must not
 * be taken up. The daemon sets it when all are there. */
bool armed;
__u64 last_row; /* ids of rows that a watch makes; the daemon's own are below 2^32 */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_row);
} socks SEC(".maps");

/* Socket cookie to row id, for hooks that see only an address: a recycled struct sock has another cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct owner);
} owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct view);
} views SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, CALLERS_MAX);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_DEPTH * sizeof(__u64));
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CALLERS_MAX);
	__type(key, struct caller_key);
	__type(value, struct caller);
} callers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct zc_key);
	__type(value, __u64);
} zc_sends SEC(".maps");

/* Zero-copy sends of io_uring, by the address of their struct ubuf_info: one notification a request. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct uring_send);
} uring_sends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WRITER_MAX * SITE_MAX);
	__type(key, __u32);
	__type(value, struct cell);
} cells SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WRITER_MAX);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/*
 * Before 6.2 there is no such kfunc, and to look for it libbpf would walk the modules' BTF, for which a service has no
 * right: the object is built a second time without it.
 */
#ifdef NO_RDONLY_CAST
static __always_inline void *bpf_rdonly_cast(const void *obj, __u32 btf_id)
{
	return (void *)obj; /* never reached: has_rdonly_cast is false */
}
#else
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
#endif

/* Reads ptr->field of an address that the verifier knows nothing of. */
#define LOAD(type, ptr, field)                                                                               \
	({                                                                                                   \
		__typeof__(((type *)0)->field) v_;                                                           \
		const type *p_ = (const void *)(ptr);                                                        \
		if (has_rdonly_cast) {                                                                       \
			p_ = bpf_rdonly_cast(p_, bpf_core_type_id_kernel(type));                             \
			v_ = p_->field;                                                                      \
		} else {                                                                                     \
			bpf_core_read(&v_, sizeof(v_), &p_->field);                                          \
		}                                                                                            \
		v_;                                                                                          \
	})

/* ---- books ---- */

#define ADD(word, v) __sync_fetch_and_add(&(word), (v))

/* To the books of a writer, see shared.h. */
#define ADD_AS(writer, word, v)                                                                              \
	do {                                                                                                 \
		if ((writer) == WRITER_SHARED)                                                               \
			ADD(word, v);                                                                        \
		else                                                                                         \
			(word) += (v);                                                                       \
	} while (0)

static __always_inline __u32 log2_bucket(__u64 v)
{
	__u32 n = 0;

#pragma unroll
	for (int shift = 16; shift; shift >>= 1) {
		if (v >> shift) {
			v >>= shift;
			n += shift;
		}
	}
	return n & (CELL_BUCKETS - 1);
}

static __always_inline struct view *view_of(__u64 id)
{
	return filter.watching ? bpf_map_lookup_elem(&views, &id) : NULL;
}

static __always_inline void book_at(
	enum book_writer writer, __u64 view, __u32 site, __u64 hits, __u64 bytes, __u32 bucket)
{
	__u32 index = writer * SITE_MAX + site;
	struct cell *c = bpf_map_lookup_elem(&cells, &index);
	struct view *v = view_of(view);

	if (!c)
		return;
	ADD_AS(writer, c->hits, hits);
	ADD_AS(writer, c->bytes, bytes);
	ADD_AS(writer, c->log2[bucket & (CELL_BUCKETS - 1)], hits);
	if (v && site < SITE_MAX)
		ADD(v->bytes[site], bytes);
}

static __always_inline void book_as(enum book_writer writer, __u64 view, __u32 site, __u64 bytes)
{
	book_at(writer, view, site, 1, bytes, log2_bucket(bytes));
}

static __always_inline void book(__u64 view, __u32 site, __u64 bytes)
{
	book_as(WRITER_SHARED, view, site, bytes);
}

/* Bytes that calls returned, and how many calls: `number` is the counter of these. */
static __always_inline void count_calls(
	enum book_writer writer, __u32 counter, __u64 bytes, __u32 number, __u64 calls)
{
	__u32 index = writer;
	struct tally *t = bpf_map_lookup_elem(&tallies, &index);

	if (!t)
		return;
	ADD_AS(writer, t->v[counter], bytes);
	ADD_AS(writer, t->v[number], calls);
}

static __always_inline void count(__u32 counter, __u64 n)
{
	__u32 index = WRITER_SHARED;
	struct tally *t = bpf_map_lookup_elem(&tallies, &index);

	if (t && counter < COUNTER_MAX)
		ADD(t->v[counter], n);
}

/* ---- rows ---- */

/* A watched socket may be used by several threads at once; one of a run has one that sends and one that receives. */
#define ADD_TO_ROW(word, v) ADD_AS(filter.watching ? WRITER_SHARED : WRITER_END, word, v)

static __always_inline struct sock_row *row_of(const struct sock *sk)
{
	struct sock_row *row = sk ? bpf_sk_storage_get(&socks, (void *)sk, NULL, 0) : NULL;

	return filter.watching && row && row->flags & ROW_LEFT ? NULL : row;
}

static __always_inline bool filter_matches(const struct sock *sk)
{
	__u64 task = bpf_get_current_pid_tgid();

	if (filter.tgid && filter.tgid != task >> 32)
		return false;
	if (filter.has_uid && filter.uid != (__u32)bpf_get_current_uid_gid())
		return false;
	if (filter.port && filter.port != sk->__sk_common.skc_num &&
		filter.port != bpf_ntohs(sk->__sk_common.skc_dport))
		return false;
	if (filter.netns && filter.netns != sk->__sk_common.skc_net.net->ns.inum)
		return false;
	return !filter.cgroup || bpf_get_current_ancestor_cgroup_id(filter.cgroup_level) == filter.cgroup;
}

static __always_inline void fill_view(struct view *v, const struct sock *sk)
{
	v->tgid = bpf_get_current_pid_tgid() >> 32;
	v->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(v->comm, sizeof(v->comm));
	v->family = sk->__sk_common.skc_family;
	v->local_port = sk->__sk_common.skc_num;
	v->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	if (v->family == AF_INET) {
		*(__u32 *)v->local = sk->__sk_common.skc_rcv_saddr;
		*(__u32 *)v->remote = sk->__sk_common.skc_daddr;
		return;
	}
	__builtin_memcpy(v->local, &sk->__sk_common.skc_v6_rcv_saddr, sizeof(v->local));
	__builtin_memcpy(v->remote, &sk->__sk_common.skc_v6_daddr, sizeof(v->remote));
}

/* A process, also beside another one that has its pid later: when it began, in 10 ms, and its pid. */
static __always_inline __u64 current_process(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->group_leader->start_boottime / 10000000 << 32 | bpf_get_current_pid_tgid() >> 32;
}

static __always_inline void open_view(__u64 id, const struct sock *sk)
{
	struct view fresh = {}, *v = view_of(id);

	if (!v) {
		fill_view(&fresh, sk);
		bpf_map_update_elem(&views, &id, &fresh, BPF_NOEXIST);
		v = view_of(id);
	}
	if (v)
		ADD(v->opened, 1);
	else
		count(COUNTER_UNSEEN, 1);
}

/*
 * An upper-layer protocol (kernel TLS) has the socket: what its calls return is not what TCP sends, and what it copies when
 * it encrypts passes no site.
 */
static __always_inline bool has_ulp(const struct sock *sk)
{
	return LOAD(struct inet_connection_sock, sk, icsk_ulp_ops);
}

/* The books keep what they have of a socket: each of its calls has ended, and was booked at its end. */
static __noinline void leave(struct sock_row *row)
{
	struct view *v = view_of(row->view);

	if (__sync_fetch_and_or(&row->flags, ROW_LEFT) & ROW_LEFT)
		return;
	if (v)
		ADD(v->closed, 1);
	count(COUNTER_SOCKETS_LEFT, 1);
	count(COUNTER_SOCKETS_CLOSED, 1);
}

/* In a call of the socket's, or at its end. */
static __always_inline struct sock_row *row_in_call(const struct sock *sk)
{
	struct sock_row *row = row_of(sk);

	if (!filter.watching || !row || !has_ulp(sk))
		return row;
	leave(row);
	return NULL;
}

/* A watch takes a socket up at the first call that its filter matches. Callers hold the socket's lock. */
static __noinline struct sock_row *adopt(struct sock *sk)
{
	struct sock_row *row;

	/* A raw socket can be of TCP's protocol too. */
	if (!armed || sk->sk_protocol != IPPROTO_TCP || sk->sk_type != SOCK_STREAM || !filter_matches(sk))
		return NULL;
	row = bpf_sk_storage_get(&socks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!row) {
		count(COUNTER_UNSEEN, 1);
		return NULL;
	}
	if (row->flags & ROW_LEFT)
		return NULL;
	if (has_ulp(sk)) {
		row->flags = ROW_LEFT;
		count(COUNTER_SOCKETS_LEFT, 1);
		return NULL;
	}
	row->id = (1ULL << 32) + __sync_fetch_and_add(&last_row, 1);
	row->view = filter.by_socket ? row->id : current_process();
	row->write_base = row->write_seq = LOAD(struct tcp_sock, sk, write_seq);
	row->copied_base = LOAD(struct tcp_sock, sk, copied_seq);
	row->retrans_base = LOAD(struct tcp_sock, sk, bytes_retrans);
	row->flags = ROW_SEQ | ROW_FIRST_SEND | ROW_FIRST_RECV;
	open_view(row->view, sk);
	count(COUNTER_SOCKETS_ADOPTED, 1);
	return row;
}

static __always_inline struct sock_row *row_or_adopt(const struct sock *sk)
{
	struct sock_row *row = row_in_call(sk);

	return row || !filter.watching || !sk ? row : adopt((void *)sk);
}

/* Of a socket with a row, which only TCP's have. */
static __always_inline __u32 write_seq_of(const struct sock *sk)
{
	const struct tcp_sock *tp;

	if (has_rdonly_cast)
		return LOAD(struct tcp_sock, sk, write_seq);
	tp = bpf_skc_to_tcp_sock((void *)sk); /* allowed under lockdown too */
	return tp ? tp->write_seq : 0;
}

static __always_inline __u32 copied_seq_of(const struct sock *sk)
{
	const struct tcp_sock *tp;

	if (has_rdonly_cast)
		return LOAD(struct tcp_sock, sk, copied_seq);
	tp = bpf_skc_to_tcp_sock((void *)sk);
	return tp ? tp->copied_seq : 0;
}

/* Run once over the registered sockets while nothing is in flight: from here on the sequence numbers audit
 * the calls. */
SEC("?iter/bpf_sk_storage_map")
int sock_base(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock_row *row = ctx->value;
	struct sock *sk = ctx->sk;
	struct tcp_sock *tp;

	if (!row || !sk)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || row->flags & ROW_SEQ)
		return 0;
	row->write_base = tp->write_seq;
	row->write_seq = tp->write_seq;
	row->copied_base = tp->copied_seq;
	row->flags |= ROW_SEQ;
	return 0;
}

/* ---- MSG_ZEROCOPY sends and their completions ---- */

/*
 * The bytes of a send are known when it is over; its completion may come earlier, even inside the call. The
 * word of the send starts as 0, before any byte moves; each of the two puts its half in with an exchange, and
 * the one that finds the other's half there accounts and deletes. A missing word is a completion told twice:
 * notifications merge, and the merged one names the same sends again.
 */
static __always_inline void zc_open(const struct sock_row *row, __u32 id)
{
	struct zc_key key = {.row = row->id, .id = id};
	__u64 zero = 0;

	if (bpf_map_update_elem(&zc_sends, &key, &zero, BPF_ANY))
		count(COUNTER_ZC_LOST, 1);
}

static __always_inline void zc_account(__u64 view, __u64 bytes, bool copied)
{
	struct view *v = view_of(view);

	book(view, SITE_ZC_COMPLETE, bytes);
	if (v)
		ADD(*(copied ? &v->zc_copied : &v->zc_zero), bytes);
	count(copied ? COUNTER_ZC_BYTES_COPIED : COUNTER_ZC_BYTES_ZERO, bytes);
	count(copied ? COUNTER_ZC_SENDS_COPIED : COUNTER_ZC_SENDS_ZERO, 1);
}

/* moved: the call took bytes. If not, the kernel has taken the id back and gives it to the next call. */
static __always_inline void zc_sent(const struct sock_row *row, __u32 id, __u64 bytes, bool moved)
{
	struct zc_key key = {.row = row->id, .id = id};
	__u64 *word = bpf_map_lookup_elem(&zc_sends, &key), old;

	if (!word)
		return;
	old = moved ? __sync_lock_test_and_set(word, bytes | ZC_SENT) : 0;
	if (!moved || old & ZC_DONE)
		bpf_map_delete_elem(&zc_sends, &key);
	if (old & ZC_DONE)
		zc_account(row->view, bytes, old & ZC_COPIED);
}

static __always_inline void zc_done(__u64 row, __u64 view, __u32 id, bool copied)
{
	struct zc_key key = {.row = row, .id = id};
	__u64 *word = bpf_map_lookup_elem(&zc_sends, &key), old;

	if (!word)
		return;
	/* A second word about a send that is not over yet keeps the first one's code: the kernel loses it in
	 * merging. */
	if (*word & ZC_DONE)
		return;
	old = __sync_lock_test_and_set(word, ZC_DONE | (copied ? ZC_COPIED : 0));
	if (!(old & ZC_SENT))
		return;
	bpf_map_delete_elem(&zc_sends, &key);
	zc_account(view, old & ~ZC_SENT, copied);
}

struct zc_range {
	__u64 row, view;
	__u32 lo;
	__u32 copied;
};

static long zc_done_one(__u32 i, struct zc_range *r)
{
	zc_done(r->row, r->view, r->lo + i, r->copied);
	return 0;
}

/* The last word of a kernel's ubuf_info before it had an ops pointer (6.10). */
struct ubuf_info___callback {
	void *callback;
} __attribute__((preserve_access_index));

/*
 * A notification lives in the cb of an skb from sock_omalloc(), whose destructor is sock_ofree and whose sk
 * is the sender; the skb keeps the socket, and so its row, alive. It is freed exactly once: merged into the
 * error queue's tail, aborted, with a dead socket, read by the application, or purged. Until it is queued cb
 * is a ubuf_info, whose first word is never 0; in the queue it is a sock_exterr_skb, whose first word is 0.
 */
static __always_inline void zc_notification(const struct sk_buff *skb)
{
	const void *cb = (const void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	const struct sock_row *row = row_of(skb->sk);
	struct zc_range r = {};
	__u64 first;
	__u32 n;

	if (!row)
		return;
	r.row = row->id;
	r.view = row->view;
	if (bpf_core_field_exists(struct ubuf_info, ops))
		first = (__u64)LOAD(struct ubuf_info, cb, ops);
	else
		first = (__u64)LOAD(struct ubuf_info___callback, cb, callback);
	if (first) {
		r.lo = LOAD(struct ubuf_info_msgzc, cb, id);
		n = LOAD(struct ubuf_info_msgzc, cb, len);
		if (has_rdonly_cast) {
			const struct ubuf_info_msgzc *u =
				bpf_rdonly_cast(cb, bpf_core_type_id_kernel(struct ubuf_info_msgzc));

			r.copied = !BPF_CORE_READ_BITFIELD(u, zerocopy);
		} else {
			r.copied =
				!BPF_CORE_READ_BITFIELD_PROBED((const struct ubuf_info_msgzc *)cb, zerocopy);
		}
	} else {
		if (LOAD(struct sock_exterr_skb, cb, ee.ee_origin) != SO_EE_ORIGIN_ZEROCOPY)
			return;
		r.lo = LOAD(struct sock_exterr_skb, cb, ee.ee_info);
		n = LOAD(struct sock_exterr_skb, cb, ee.ee_data) - r.lo + 1;
		r.copied = LOAD(struct sock_exterr_skb, cb, ee.ee_code) & SO_EE_CODE_ZEROCOPY_COPIED;
	}
	bpf_loop(n, zc_done_one, &r, 0);
}

SEC("?tp_btf/consume_skb")
int BPF_PROG(site_ZC_COMPLETE, struct sk_buff *skb)
{
	if ((__u64)skb->destructor == sock_ofree)
		zc_notification(skb);
	return 0;
}

/* Learns sock_ofree's address, which /proc/kallsyms hides from a service, from a completion on a socket of
 * the daemon. */
SEC("?tp_btf/consume_skb")
int BPF_PROG(learn, struct sk_buff *skb)
{
	const void *cb = (const void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	const struct sock *sk = skb->sk;

	if (!sk || (__u64)sk->__sk_common.skc_cookie.counter != learn_cookie || skb->len)
		return 0;
	if (LOAD(struct sock_exterr_skb, cb, ee.ee_origin) == SO_EE_ORIGIN_ZEROCOPY)
		learnt = (__u64)skb->destructor;
	return 0;
}

/* ---- send ---- */

static __always_inline bool asks_zerocopy(const struct sock *sk, const struct msghdr *msg)
{
	return msg->msg_flags & MSG_ZEROCOPY &&
	       sk->__sk_common.skc_flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY));
}

static __always_inline __u32 class_of(const struct sock *sk, const struct msghdr *msg)
{
	bool sg = sk->sk_route_caps & NETIF_F_SG;

	if (msg->msg_flags & MSG_ZEROCOPY)
		return sg && (msg->msg_ubuf || asks_zerocopy(sk, msg)) ? CLASS_PIN : CLASS_COPY;
	return sg && msg->msg_flags & MSG_SPLICE_PAGES ? CLASS_SPLICE : CLASS_COPY;
}

static __always_inline void book_class(enum book_writer writer, struct sock_row *row, __u32 class, __u32 bytes)
{
	__u64 booked = row->booked;

	if (class == CLASS_NONE)
		return;
	if (booked >> 8 != bytes) {
		booked = (__u64)bytes << 8 | log2_bucket(bytes);
		row->booked = booked;
	}
	/* Each by its constant: 6.1 takes no variable index into a view. */
	if (class == CLASS_COPY)
		book_at(writer, row->view, SITE_TX_COPY, 1, bytes, booked);
	else if (class == CLASS_PIN)
		book_at(writer, row->view, SITE_TX_PIN, 1, bytes, booked);
	else if (class == CLASS_SPLICE)
		book_at(writer, row->view, SITE_TX_SPLICE, 1, bytes, booked);
}

/* io_uring gives its own notification along; it is taken down before any byte moves. */
static __always_inline void uring_open(const struct sock_row *row, const void *ubuf)
{
	struct uring_send fresh = {.owner = {row->id, row->view}};
	__u64 key = (__u64)ubuf;

	if (!bpf_map_lookup_elem(&uring_sends, &key) &&
		bpf_map_update_elem(&uring_sends, &key, &fresh, BPF_NOEXIST))
		count(COUNTER_ZC_LOST, 1);
}

static __always_inline void uring_add(__u64 ubuf, __u64 bytes)
{
	struct uring_send *u = bpf_map_lookup_elem(&uring_sends, &ubuf);

	if (u)
		ADD(u->bytes, bytes);
}

/*
 * What a watched socket pins while its route is the loopback device is copied on delivery, each byte: with that, the
 * hooks of the path can be audited though nobody asks the socket for its tcp_info.
 */
static __always_inline void look_at_route(const struct sock *sk, struct sock_row *row)
{
	const void *dst = sk->sk_dst_cache, *dev;

	if (!filter.watching || row->class != CLASS_PIN)
		return;
	row->flags &= ~ROW_LOCAL;
	dev = dst ? LOAD(struct dst_entry, dst, dev) : NULL;
	if (dev && LOAD(struct net_device, dev, flags) & IFF_LOOPBACK)
		row->flags |= ROW_LOCAL;
}

static __always_inline void pinned_local(struct sock_row *row, __u64 bytes)
{
	if (!(row->flags & ROW_LOCAL) || !bytes)
		return;
	ADD(row->pinned_local, bytes);
	count(COUNTER_PINNED_LOCAL, bytes);
}

/* Of several threads that send on a watched socket, the end of one's call can meet the next one's begin: one books. */
static __always_inline bool claim(struct sock_row *row, __u32 was, __u32 seq)
{
	if (filter.watching)
		return __sync_val_compare_and_swap(&row->write_seq, was, seq) == was;
	row->write_seq = seq;
	return true;
}

/*
 * Books what write_seq has moved since the last look, to the class of the turn that moved it. Of a socket whose FIN was seen
 * with its last call, the end less that FIN lies before the last look: nothing moved.
 */
static __always_inline void tx_settle(enum book_writer writer, struct sock_row *row, __u32 seq)
{
	__u32 class = row->class, was = row->write_seq;
	__s32 moved = seq - was;

	if (moved <= 0 || !claim(row, was, seq))
		return;
	book_class(writer, row, class, moved);
	row->flags |= ROW_ZC_MOVED;
	if (class != CLASS_PIN)
		return;
	row->zc_bytes += moved;
	pinned_local(row, moved);
	if (row->ubuf)
		uring_add(row->ubuf, moved);
}

static __always_inline void zc_close(struct sock_row *row)
{
	if (row->flags & ROW_ZC_OPEN)
		zc_sent(row, row->zc_id, row->zc_bytes, row->flags & ROW_ZC_MOVED);
	row->flags &= ~(ROW_ZC_OPEN | ROW_ZC_MOVED);
	row->zc_bytes = 0;
}

/* A socket that a watch took up is known by its cookie from its first MSG_ZEROCOPY send on. */
static __always_inline void own(struct sock *sk, struct sock_row *row)
{
	struct owner owner = {row->id, row->view};
	__u64 cookie;

	if (!filter.watching || row->flags & ROW_OWNED)
		return;
	cookie = bpf_get_socket_cookie(sk);
	if (bpf_map_update_elem(&owners, &cookie, &owner, BPF_ANY))
		count(COUNTER_UNSEEN, 1);
	row->flags |= ROW_OWNED;
}

/* A send's id is taken at the start of the call: a completion can come before the call ends. */
static __always_inline void zc_begin(const struct sock *sk, struct sock_row *row, __u32 id)
{
	own((void *)sk, row);
	row->zc_id = id;
	row->flags |= ROW_ZC_OPEN;
	row->flags &= ~ROW_ZC_MOVED;
	row->zc_bytes = 0;
	zc_open(row, id);
}

/*
 * Tracepoint tier: fires once a turn of tcp_sendmsg_locked's loop, before that turn's bytes move, under the
 * socket lock. So write_seq's movement since the last turn belongs to the last turn's class, and to its
 * notification's id.
 */
SEC("?tp_btf/tcp_sendmsg_locked")
int BPF_PROG(tx_turn, const struct sock *sk, const struct msghdr *msg)
{
	struct sock_row *row = row_or_adopt(sk);
	__u32 id;

	if (!row)
		return 0;
	tx_settle(WRITER_BEGIN, row, write_seq_of(sk));
	row->class = class_of(sk, msg);
	look_at_route(sk, row);
	row->ubuf = (__u64)msg->msg_ubuf;
	if (row->ubuf && row->class == CLASS_PIN)
		uring_open(row, (void *)row->ubuf);
	if (!row->ubuf && asks_zerocopy(sk, msg)) {
		id = sk->sk_zckey.counter - 1;
		if (!(row->flags & ROW_ZC_OPEN) || row->zc_id != id) {
			zc_close(row);
			zc_begin(sk, row, id);
		}
	} else if (row->flags & ROW_ZC_OPEN) {
		zc_close(row);
	}
	return 0;
}

/* A watch can take up a socket in the middle of a call: what had moved before is not the account's. */
static __always_inline __u32 first_call(struct sock_row *row, __u32 flag, int ret, __u32 since)
{
	if (!(row->flags & flag))
		return ret;
	/* Another thread may hold the socket, and set other flags. */
	__sync_fetch_and_and(&row->flags, ~flag);
	return since < ret ? since : ret;
}

static __always_inline void accepted(enum book_writer writer, struct sock_row *row, int ret, __u32 seq)
{
	struct view *v;

	if (ret <= 0)
		return;
	ret = first_call(row, ROW_FIRST_SEND, ret, seq - row->write_base);
	ADD_TO_ROW(row->accepted, ret);
	v = view_of(row->view);
	if (v)
		ADD(v->accepted, ret);
	count_calls(writer, COUNTER_ACCEPTED, ret, COUNTER_SEND_CALLS, 1);
}

/* Without the socket's lock a look at write_seq may come after another thread's close: its FIN is no byte. */
static __always_inline __u32 fin_is_queued(const struct sock *sk)
{
	__u8 state = sk->__sk_common.skc_state;

	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING || state == TCP_LAST_ACK;
}

/*
 * A stream's calls are alike, and there are a million a second. One that copied as many bytes as the call before it is
 * counted in the row, which the program has at hand anyway. The books take these calls over with the first one that is
 * not like them, with the first one of a new tick of the kernel's clock, and with the end of the socket: what is read
 * meanwhile lacks those of a socket's last tick.
 */
static __always_inline bool is_repeated(struct sock_row *row, int ret, __u32 seq)
{
	/* A FIN in write_seq would be one more than the call returned. */
	if (!only_copies || ret <= 0 || row->length != ret || seq - row->write_seq != ret ||
		row->tick != (__u32)bpf_jiffies64())
		return false;
	row->write_seq = seq;
	row->repeats++;
	return true;
}

static __always_inline void take_over_repeats(enum book_writer writer, struct sock_row *row)
{
	__u64 bytes = (__u64)row->repeats * row->length;

	if (!row->repeats)
		return;
	row->accepted += bytes;
	book_at(writer, row->view, SITE_TX_COPY, row->repeats, bytes, log2_bucket(row->length));
	count_calls(writer, COUNTER_ACCEPTED, bytes, COUNTER_SEND_CALLS, row->repeats);
	row->repeats = 0;
}

static __always_inline void expect_repeats(struct sock_row *row, int ret)
{
	row->length = ret > 0 ? ret : 0;
	row->tick = bpf_jiffies64();
}

/* Apart, so that a repeated call does not pay for its registers and its stack. */
static __noinline int book_call(struct sock *sk, struct sock_row *row, int ret, __u32 seq)
{
	if (only_copies) {
		take_over_repeats(WRITER_END, row);
		expect_repeats(row, ret);
	}
	seq -= fin_is_queued(sk);
	accepted(WRITER_END, row, ret, seq);
	if (sk->sk_lock.owned)
		return 0;
	/* Another thread's whole call may lie between the first look and this one. */
	if (filter.watching)
		seq = write_seq_of(sk) - fin_is_queued(sk);
	tx_settle(WRITER_END, row, seq);
	zc_close(row);
	return 0;
}

/* The call has ended and let go of the socket: unless another thread has taken it since, nothing is on its
 * way. */
SEC("?tp_btf/sock_send_length")
int BPF_PROG(tx_length, struct sock *sk, int ret)
{
	struct sock_row *row = row_in_call(sk);
	__u32 seq;

	if (!row)
		return 0;
	seq = write_seq_of(sk);
	return is_repeated(row, ret, seq) ? 0 : book_call(sk, row, ret, seq);
}

/* fentry tier. The class serves splice only; what is pinned is seen at the function that pins. */
SEC("?fentry/tcp_sendmsg_locked")
int BPF_PROG(tx_call, struct sock *sk, struct msghdr *msg)
{
	struct sock_row *row = row_or_adopt(sk);

	if (!row)
		return 0;
	row->class = class_of(sk, msg);
	look_at_route(sk, row);
	row->pinned = 0;
	row->ubuf = (__u64)msg->msg_ubuf;
	if (row->ubuf && row->class == CLASS_PIN)
		uring_open(row, (void *)row->ubuf);
	return 0;
}

SEC("?fexit/msg_zerocopy_realloc")
int BPF_PROG(zc_realloc, struct sock *sk)
{
	struct sock_row *row = row_in_call(sk);
	__u64 uarg = 0;

	if (row && !bpf_get_func_ret(ctx, &uarg) && uarg)
		zc_begin(sk, row, sk->sk_zckey.counter - 1);
	return 0;
}

SEC("?fexit/skb_zerocopy_iter_stream")
int BPF_PROG(site_TX_PIN, struct sock *sk)
{
	struct sock_row *row = row_of(sk);
	__u64 ret = 0;

	if (!row || bpf_get_func_ret(ctx, &ret) || (int)ret <= 0)
		return 0;
	row->pinned += (int)ret;
	book_as(WRITER_BEGIN, row->view, SITE_TX_PIN, (int)ret);
	return 0;
}

SEC("?fexit/tcp_sendmsg_locked")
int BPF_PROG(site_TX_COPY, struct sock *sk)
{
	struct sock_row *row = row_in_call(sk);
	__u64 ret = 0;
	int bytes;

	if (!row || bpf_get_func_ret(ctx, &ret))
		return 0;
	bytes = ret;
	row->write_seq = write_seq_of(sk);
	accepted(WRITER_END, row, bytes, row->write_seq);
	if (bytes > 0) {
		row->flags |= ROW_ZC_MOVED;
		if ((__u64)bytes > row->pinned)
			book_class(WRITER_END, row, row->class == CLASS_SPLICE ? CLASS_SPLICE : CLASS_COPY,
				bytes - row->pinned);
	}
	pinned_local(row, row->pinned);
	if (row->ubuf)
		uring_add(row->ubuf, row->pinned);
	if (row->flags & ROW_ZC_OPEN) {
		row->zc_bytes = row->pinned;
		zc_close(row);
	}
	return 0;
}

/* Until 6.5 sendfile and splice have a function of their own. */
SEC("?fexit/do_tcp_sendpages")
int BPF_PROG(site_TX_SPLICE, struct sock *sk)
{
	struct sock_row *row = row_in_call(sk);
	__u64 ret = 0;

	if (!row || bpf_get_func_ret(ctx, &ret) || (int)ret <= 0)
		return 0;
	row->write_seq = write_seq_of(sk);
	accepted(WRITER_SHARED, row, (int)ret, row->write_seq);
	book(row->view, SITE_TX_SPLICE, (int)ret);
	return 0;
}

/* ---- the pinned skb, later ---- */

static __always_inline struct owner *uring_owner(const void *ubuf)
{
	__u64 key = (__u64)ubuf;
	struct uring_send *u = bpf_map_lookup_elem(&uring_sends, &key);

	return u ? &u->owner : NULL;
}

/* The sender whose pages an skb carries, if it is of the account. All is followed by address: skb->sk may be
 * gone. */
static __always_inline struct owner *pinned_owner(const struct sk_buff *skb)
{
	const void *info = skb->head + skb->end, *notification;
	__u64 cookie;

	if (bpf_core_field_exists(struct skb_shared_info, flags) &&
		!(LOAD(struct skb_shared_info, info, flags) & SKBFL_ZEROCOPY_ENABLE))
		return NULL;
	notification = LOAD(struct skb_shared_info, info, destructor_arg);
	notification -= bpf_core_field_offset(struct sk_buff, cb);
	if ((__u64)LOAD(struct sk_buff, notification, destructor) != sock_ofree)
		return uring_owner(notification + bpf_core_field_offset(struct sk_buff, cb));
	cookie = LOAD(struct sock, LOAD(struct sk_buff, notification, sk), __sk_common.skc_cookie.counter);
	return bpf_map_lookup_elem(&owners, &cookie);
}

/* The kind of the device that an skb is at, as up to 8 characters in a word: no string need be read for it.
 */
static __always_inline __u64 device_kind(const struct sk_buff *skb)
{
	const struct net_device *dev = skb->dev;
	__u64 kind;

	if (!dev)
		return 0;
	if (dev->flags & IFF_LOOPBACK)
		return KIND_LOOPBACK;
	if (!dev->rtnl_link_ops)
		return 0;
	kind = (__u64)LOAD(struct rtnl_link_ops, dev->rtnl_link_ops, kind);
	return kind ? (__u64)LOAD(struct list_head, kind, next) : 0;
}

static __always_inline __u32 device_lacks(const struct sk_buff *skb)
{
	const struct net_device *dev = skb->dev;
	__u64 features;

	if (!dev)
		return 0;
	features = dev->features;
	return (features & NETIF_F_SG ? 0 : LACKS_SG) | (features & NETIF_F_CSUM ? 0 : LACKS_CSUM) |
	       (features & NETIF_F_TSO ? 0 : LACKS_TSO);
}

static __always_inline void book_caller(struct caller_key *key, __u64 view, __u64 bytes)
{
	struct caller zero = {}, *c;

	book(view, key->site, bytes);
	c = bpf_map_lookup_elem(&callers, key);
	if (!c) {
		bpf_map_update_elem(&callers, key, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&callers, key);
	}
	if (!c) {
		count(COUNTER_UNSEEN, 1);
		return;
	}
	ADD(c->hits, 1);
	ADD(c->bytes, bytes);
}

/*
 * Without the frames of the program itself and of what called it. Two stacks of one hash cannot both be kept:
 * the second is tried once more without its innermost frame, the function that copies, which names no cause.
 */
static __always_inline __s32 stack_of(void *ctx)
{
	__s32 id = bpf_get_stackid(ctx, &stacks, BPF_F_FAST_STACK_CMP | 2);

	return id >= 0 ? id : bpf_get_stackid(ctx, &stacks, BPF_F_FAST_STACK_CMP | 3);
}

/* Local delivery: an skb that still carries the notification here is copied next, by skb_orphan_frags_rx().
 */
SEC("?tp_btf/netif_receive_skb")
int BPF_PROG(deferred_receive, struct sk_buff *skb)
{
	struct caller_key key = {.site = SITE_TX_DEFERRED_COPY, .stack = -1};
	struct owner *o = skb->data_len ? pinned_owner(skb) : NULL;

	if (!o)
		return 0;
	key.kind = device_kind(skb);
	book_caller(&key, o->view, skb->data_len);
	return 0;
}

SEC("?fentry/skb_copy_ubufs")
int BPF_PROG(site_TX_DEFERRED_COPY, struct sk_buff *skb)
{
	struct caller_key key = {.site = SITE_TX_DEFERRED_COPY};
	struct owner *o = skb->data_len ? pinned_owner(skb) : NULL;

	if (!o)
		return 0;
	key.stack = stack_of(ctx);
	key.kind = device_kind(skb);
	book_caller(&key, o->view, skb->data_len);
	return 0;
}

/* Purged notifications, and pinned skbs that are dropped before they reach a copy: TCP sends those again. */
SEC("?tp_btf/kfree_skb")
int BPF_PROG(zc_purged, struct sk_buff *skb)
{
	if ((__u64)skb->destructor == sock_ofree)
		zc_notification(skb);
	else if (skb->data_len && pinned_owner(skb))
		count(COUNTER_DROPPED_PINNED, skb->data_len);
	return 0;
}

#define IORING_CQE_F_NOTIF (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)

/* The notification of an io_uring send: its request is the struct io_kiocb that carries the ubuf_info. */
SEC("?tp_btf/io_uring_complete")
int BPF_PROG(uring_complete, void *ring, void *req)
{
	struct uring_send *u, last;
	__u32 flags, res;
	__u64 key;

	if (uring_has_cqe) {
		flags = LOAD(struct io_uring_cqe, ctx[2], flags);
		res = LOAD(struct io_uring_cqe, ctx[2], res);
	} else {
		res = ctx[3];
		flags = ctx[4];
	}
	if (!req || !(flags & IORING_CQE_F_NOTIF))
		return 0;
	key = (__u64)req + bpf_core_field_offset(struct io_kiocb, cmd) +
	      bpf_core_field_offset(struct io_notif_data, uarg);
	u = bpf_map_lookup_elem(&uring_sends, &key);
	if (!u)
		return 0;
	last = *u;
	bpf_map_delete_elem(&uring_sends, &key);
	zc_account(last.owner.view, last.bytes, res & IORING_NOTIF_USAGE_ZC_COPIED);
	return 0;
}

SEC("?tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmit, const struct sock *sk, const struct sk_buff *skb)
{
	struct sock_row *row = row_of(sk);

	if (!row)
		return 0;
	if (retransmit_has_err && (int)ctx[2])
		return 0;
	count(COUNTER_RETRANSMITTED, skb->len);
	ADD(row->retransmitted, skb->len);
	if (!pinned_owner(skb))
		return 0;
	count(COUNTER_RETRANSMITTED_PINNED, skb->len);
	pinned_local(row, skb->len);
	return 0;
}

/* ---- copies inside the kernel ---- */

static __always_inline void book_skb_copy(void *ctx, const struct sk_buff *skb, __u64 bytes)
{
	struct caller_key key = {.site = SITE_SKB_COPY};
	struct sock_row *row = bytes ? row_of(skb->sk) : NULL;

	if (!row)
		return;
	key.stack = stack_of(ctx);
	key.kind = device_kind(skb);
	book_caller(&key, row->view, bytes);
}

SEC("?fexit/skb_copy_bits")
int BPF_PROG(site_SKB_COPY, const struct sk_buff *skb, int offset, void *to, int len)
{
	__u64 ret = 0;

	if (!bpf_get_func_ret(ctx, &ret) && !ret)
		book_skb_copy(ctx, skb, len);
	return 0;
}

SEC("?fexit/skb_copy_and_csum_bits")
int BPF_PROG(copy_csum_bits, const struct sk_buff *skb, int offset, u8 *to, int len)
{
	book_skb_copy(ctx, skb, len);
	return 0;
}

/* Coalescing copies only into the linear part of a linear skb; where it moves fragments instead, `to` gets a
 * data_len. */
SEC("?fexit/skb_try_coalesce")
int BPF_PROG(coalesce, struct sk_buff *to, struct sk_buff *from)
{
	__u64 ret = 0;

	if (!bpf_get_func_ret(ctx, &ret) && (bool)ret && !to->data_len)
		book_skb_copy(ctx, to, from->len);
	return 0;
}

/* TCP keeps payload in fragments: what is linear when the device gets it was copied there on the way. */
SEC("?tp_btf/net_dev_start_xmit")
int BPF_PROG(egress_linear, const struct sk_buff *skb)
{
	__s64 linear = skb->len - skb->data_len, headers;
	struct caller_key key = {.site = SITE_SKB_COPY, .stack = -1};
	const struct tcphdr *th;
	struct sock_row *row;

	/* Most packets are told apart by lengths alone. */
	if (linear <= skb->transport_header - skb->mac_header + TCP_HEADER_MIN)
		return 0;
	th = (const void *)skb->head + skb->transport_header;
	if (has_rdonly_cast) {
		th = bpf_rdonly_cast(th, bpf_core_type_id_kernel(struct tcphdr));
		headers = BPF_CORE_READ_BITFIELD(th, doff) * 4;
	} else {
		headers = BPF_CORE_READ_BITFIELD_PROBED(th, doff) * 4;
	}
	/* __dev_queue_xmit() has set mac_header to where the data start. */
	headers += skb->transport_header - skb->mac_header;
	row = linear > headers ? row_of(skb->sk) : NULL;
	if (!row)
		return 0;
	key.kind = device_kind(skb);
	key.lacks = device_lacks(skb);
	book_caller(&key, row->view, linear - headers);
	return 0;
}

/* ---- receive ---- */

static __always_inline void received(struct sock_row *row, const struct sock *sk, int ret, int flags)
{
	struct view *v;

	if (ret <= 0 || flags & MSG_ERRQUEUE)
		return;
	/* The urgent byte is kept in the socket, and copied from there. */
	if (flags & MSG_OOB && !(flags & MSG_TRUNC))
		book(row->view, SITE_RX_COPY, ret);
	if (flags & MSG_PEEK) {
		if (!(flags & MSG_TRUNC)) /* else it was only asked how much there is */
			count(COUNTER_PEEKED, ret);
		return;
	}
	if (!(flags & MSG_OOB))
		ret = first_call(row, ROW_FIRST_RECV, ret, copied_seq_of(sk) - row->copied_base);
	ADD_TO_ROW(row->received, ret);
	v = view_of(row->view);
	if (v)
		ADD(v->received, ret);
	count_calls(WRITER_END, COUNTER_RECEIVED, ret, COUNTER_RECV_CALLS, 1);
	if (flags & MSG_TRUNC)
		book(row->view, SITE_RX_DISCARD, ret);
}

SEC("?tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(rx_copy_tp, const struct sk_buff *skb, int len)
{
	struct sock_row *row = len > 0 ? row_or_adopt(skb->sk) : NULL;

	if (row)
		book_as(WRITER_BEGIN, row->view, SITE_RX_COPY, len);
	return 0;
}

SEC("?tp_btf/sock_recv_length")
int BPF_PROG(rx_length, struct sock *sk, int ret, int flags)
{
	struct sock_row *row = row_in_call(sk);

	if (row)
		received(row, sk, ret, flags);
	return 0;
}

/* A watch takes a receiver up at the start of a call, so that it sees the call's end too. */
SEC("?fentry/tcp_recvmsg_locked")
int BPF_PROG(rx_call, struct sock *sk)
{
	row_or_adopt(sk);
	return 0;
}

SEC("?fexit/skb_copy_datagram_iter")
int BPF_PROG(site_RX_COPY, const struct sk_buff *skb, int offset, void *to, int len)
{
	struct sock_row *row = len > 0 ? row_of(skb->sk) : NULL;
	__u64 ret = 0;

	if (row && !bpf_get_func_ret(ctx, &ret) && !(int)ret)
		book_as(WRITER_BEGIN, row->view, SITE_RX_COPY, len);
	return 0;
}

SEC("?fexit/tcp_recvmsg_locked")
int BPF_PROG(site_RX_DISCARD, struct sock *sk, struct msghdr *msg, size_t len, int flags)
{
	struct sock_row *row = row_in_call(sk);
	__u64 ret = 0;

	if (row && !bpf_get_func_ret(ctx, &ret))
		received(row, sk, (int)ret, flags);
	return 0;
}

/* TCP_ZEROCOPY_RECEIVE: length is valid only on success, on failure it still holds the request. */
SEC("?fexit/tcp_zerocopy_receive")
int BPF_PROG(site_RX_MAP, struct sock *sk, struct tcp_zerocopy_receive *zc)
{
	struct sock_row *row = row_in_call(sk);
	__u64 ret = 0;
	__u32 length;

	if (!row || bpf_get_func_ret(ctx, &ret) || (int)ret)
		return 0;
	length = zc->length;
	if (!length)
		return 0;
	book(row->view, SITE_RX_MAP, length);
	ADD(row->received, length);
	count(COUNTER_RECEIVED, length);
	return 0;
}

/* ---- the end of a socket ---- */

/*
 * What a sequence number moved over the socket's life, less what the calls returned. A FIN takes one number;
 * anything else is bytes that moved without being seen, or were seen twice.
 */
static __always_inline void audit(__u32 counter, __s32 rest, bool fin)
{
	if (rest > 0)
		rest -= fin;
	if (rest)
		count(counter, rest > 0 ? rest : -rest);
}

/* The FIN is the last number: it is read when nothing is left after it. */
static __always_inline bool fin_was_read(const struct sock *sk)
{
	return sk->__sk_common.skc_flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE)) &&
	       LOAD(struct tcp_sock, sk, copied_seq) == LOAD(struct tcp_sock, sk, rcv_nxt);
}

/* A close with SO_LINGER 0 goes through tcp_disconnect(), which jumps write_seq ahead and clears the socket's
 * own counts; one that was connected has got a segment. */
static __always_inline bool was_disconnected(const struct sock *sk)
{
	const struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);

	return tp && !tp->segs_in;
}

/*
 * Of a watch: of a connection that was cut off it is not known whether the last pinned bytes were ever sent; of one that
 * came to its end in order, TCP's own count says what was sent again.
 */
static __always_inline void audit_path(const struct sock *sk, const struct sock_row *row, bool disconnected)
{
	__u64 cut_off = row->pinned_local;
	__u32 rest;

	if (!row->pinned_local)
		return;
	if (!disconnected) {
		rest = LOAD(struct tcp_sock, sk, write_seq) - LOAD(struct tcp_sock, sk, snd_una);
		cut_off = rest < cut_off ? rest : cut_off;
		rest = (__u32)LOAD(struct tcp_sock, sk, bytes_retrans) - row->retrans_base;
		if (rest > row->retransmitted)
			count(COUNTER_RETRANSMITS_UNSEEN, rest - row->retransmitted);
	}
	if (cut_off)
		count(COUNTER_PINNED_CUT_OFF, cut_off);
}

static __always_inline void audit_end(struct sock *sk, struct sock_row *row)
{
	__u32 seq = write_seq_of(sk);
	__s32 rest = seq - row->write_base - (__u32)row->accepted;

	audit(COUNTER_GAP_TX, rest, true);
	tx_settle(WRITER_SHARED, row, rest > 0 ? seq - 1 : seq);
	zc_close(row);
	rest = copied_seq_of(sk) - row->copied_base - (__u32)row->received;
	audit(COUNTER_GAP_RX, rest, fin_was_read(sk));
	audit_path(sk, row, false);
}

SEC("?tp_btf/tcp_destroy_sock")
int BPF_PROG(sock_end, struct sock *sk)
{
	struct sock_row *row = row_in_call(sk);
	struct view *v;

	if (!row)
		return 0;
	if (only_copies)
		take_over_repeats(WRITER_SHARED, row);
	v = view_of(row->view);
	if (v)
		ADD(v->closed, 1);
	if (row->flags & ROW_SEQ && !was_disconnected(sk)) {
		audit_end(sk, row);
	} else if (row->flags & ROW_SEQ) { /* its calls had ended before, each settled: only the audit is lost */
		zc_close(row);
		audit_path(sk, row, true);
	}
	/* At last: who reads that all sockets are closed finds what they left in the books. */
	count(COUNTER_SOCKETS_CLOSED, 1);
	return 0;
}

/* ---- names ---- */

/* Turns addresses into names where /proc/kallsyms hides them from a service; run by the daemon, see
 * symbols.c. */
__u64 symbol_address[STACK_DEPTH];
char symbol_name[STACK_DEPTH][64];

SEC("?syscall")
int symbolise(void *ctx)
{
	static const char format[] = "%ps";

	for (int i = 0; i < STACK_DEPTH; i++)
		if (symbol_address[i])
			bpf_snprintf(symbol_name[i], sizeof(symbol_name[i]), format, &symbol_address[i],
				sizeof(__u64));
	return 0;
}
