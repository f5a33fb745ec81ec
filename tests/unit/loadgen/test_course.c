/* SPDX-License-Identifier: MIT */
/* The course of a run as the daemon sees it: messages, counters, snapshots, early stops, refusals, a daemon
 * that is gone. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "course.h"
#include "lane.h"

#define MS 1000000ULL
#define PATIENCE_MS 20000
#define SOCKETS_MAX 8

struct course {
	struct lg_shm *shm;
	int fd;
	pid_t child;
	int sockets[SOCKETS_MAX];
	uint32_t n_sockets;
};

static const struct lg_plan base = {
	.version = LG_VERSION,
	.lanes = 2,
	.size = 1000,
	.fields = 3,
	.flags = LG_VERIFY,
	.duration_ns = 20 * MS,
	.mode = "two-copy",
	.workload = "stream",
	.path = "loopback",
	.receive = "recv",
};

static void start(struct course *c, const struct lg_plan *plan)
{
	int pair[2];

	*c = (struct course){};
	c->shm = mmap(
		NULL, lg_shm_size(plan->lanes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(c->shm, MAP_FAILED);
	c->shm->plan = *plan;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	c->child = fork();
	assert_true(c->child >= 0);
	if (c->child == 0) {
		close(pair[0]);
		_exit(control_run(pair[1], c->shm));
	}
	close(pair[1]);
	c->fd = pair[0];
}

static void order(struct course *c, uint32_t type)
{
	const struct lg_message m = {.type = type};

	assert_int_equal(send(c->fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
}

static void keep_sockets(struct course *c, const struct lg_message *m, struct msghdr *msg)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	assert_non_null(cmsg);
	assert_int_equal(cmsg->cmsg_len, CMSG_LEN(m->count * sizeof(int)));
	assert_int_equal(m->first, c->n_sockets);
	assert_true(m->first + m->count <= SOCKETS_MAX);
	memcpy(c->sockets + m->first, CMSG_DATA(cmsg), m->count * sizeof(int));
	c->n_sockets += m->count;
}

/* The next message but LG_SOCKETS; type 0: the child has closed. */
static struct lg_message next(struct course *c)
{
	union {
		char bytes[CMSG_SPACE(LG_FDS_PER_MESSAGE * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct lg_message m;

	do {
		struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
		struct msghdr msg = {.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control)};
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return (struct lg_message){};
		assert_int_equal(n, sizeof(m));
		if (m.type == LG_SOCKETS)
			keep_sockets(c, &m, &msg);
	} while (m.type == LG_SOCKETS);
	return m;
}

static void expect(struct course *c, uint32_t type)
{
	struct lg_message m = next(c);

	if (m.type != type)
		fail_msg("message %u instead of %u: %s", m.type, type, m.text);
}

static int wait_for_child(struct course *c)
{
	int status = 0;

	assert_int_equal(waitpid(c->child, &status, 0), c->child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void finish(struct course *c)
{
	for (uint32_t i = 0; i < c->n_sockets; i++)
		close(c->sockets[i]);
	close(c->fd);
	munmap(c->shm, lg_shm_size(c->shm->plan.lanes));
}

static const struct lg_side *side(const struct course *c, uint32_t lane, int s)
{
	return &c->shm->lane[lane].side[s];
}

/* What every run must leave behind, whatever it was. */
static void assert_books(const struct course *c)
{
	const struct lg_shm *shm = c->shm;

	for (uint32_t i = 0; i < shm->plan.lanes; i++) {
		const struct lg_side *tx = side(c, i, LG_SENDER), *rx = side(c, i, LG_RECEIVER);

		assert_int_equal(tx->now.bytes_sent, rx->now.bytes_received);
		assert_int_equal(tx->now.messages_sent, rx->now.messages_received);
		assert_int_equal(tx->now.bytes_sent, tx->now.messages_sent * shm->plan.size);
		assert_int_equal(rx->now.bytes_sent, tx->now.bytes_received);
		assert_int_equal(tx->at_end.bytes_sent, rx->at_end.bytes_received);
		assert_int_equal(tx->now.zc_sends, tx->now.zc_done);
		assert_int_equal(tx->now.zc_bytes, tx->now.zc_bytes_done);
		assert_true(tx->now.zc_done_copied <= tx->now.zc_done);
		assert_int_equal(rx->now.zc_bytes, rx->now.zc_bytes_done);
		/* TCP's own figures: a FIN each way, and the SYN of the side that connected. */
		assert_true(tx->tcp.valid && rx->tcp.valid);
		assert_int_equal(tx->tcp.bytes_acked, tx->now.bytes_sent + 1);
		assert_int_equal(rx->tcp.bytes_acked, rx->now.bytes_sent + 2);
		assert_int_equal(tx->tcp.bytes_received, tx->now.bytes_received + 1);
		assert_int_equal(rx->tcp.bytes_received, rx->now.bytes_received + 1);
		assert_true(tx->tid && rx->tid && tx->tid != rx->tid);
	}
}

static void assert_window(const struct course *c)
{
	for (uint32_t i = 0; i < c->shm->plan.lanes; i++)
		for (int s = 0; s < LG_SIDES; s++) {
			const struct lg_side *x = side(c, i, s);
			uint64_t messages = x->at_end.messages_received - x->at_start.messages_received;

			assert_int_equal(x->latency.count, c->shm->latency_valid ? messages : 0);
		}
	/* A window that ran to its end is never counted as shorter than it was asked to be. */
	if (c->shm->plan.duration_ns < 1000 * MS)
		assert_true(c->shm->end_ns - c->shm->start_ns >= c->shm->plan.duration_ns);
	assert_true(c->shm->end_ns > c->shm->start_ns);
}

static void run_whole(const struct lg_plan *plan, struct course *c)
{
	start(c, plan);
	expect(c, LG_CONNECTED);
	assert_int_equal(c->n_sockets, plan->lanes * LG_SIDES);
	order(c, LG_GO_WARMUP);
	expect(c, LG_WARMED);
	order(c, LG_GO_MEASURE);
	expect(c, LG_MEASURED);
	order(c, LG_GO_CLOSE);
	expect(c, LG_DONE);
	assert_int_equal(wait_for_child(c), 0);
	assert_books(c);
	assert_window(c);
}

/* A window so short that a busy machine may keep a lane from its CPU all through it: such a run is made again
 * with a longer one. A lane that moves nothing in seconds is broken. */
static void run_moving(struct lg_plan plan, uint32_t lane, struct course *c)
{
	for (;; plan.duration_ns *= 4) {
		run_whole(&plan, c);
		if (side(c, lane, LG_RECEIVER)->now.messages_received > 0)
			return;
		if (plan.duration_ns > 2000 * MS)
			fail_msg("lane %u moved nothing in %u ms", lane,
				(unsigned int)(plan.duration_ns / MS));
		finish(c);
	}
}

static unsigned int had; /* of the modes that lacks() was asked for in this test */

/* A kernel without a mode cannot run it, which the probe has to say. */
static int lacks(const char *name, int (*probe)(void))
{
	int r = probe ? probe() : 0;

	if (r < 0)
		print_message("this kernel lacks %s: %s\n", name, strerror(-r));
	else
		had++;
	return r < 0;
}

/* A test that ran with no mode at all has shown nothing. */
static void assert_some_had(void)
{
	assert_true(had > 0);
	had = 0;
}

static void test_whole_course(void **state)
{
	static const char *const workloads[] = {"stream", "rr"};
	static const uint64_t sizes[] = {1, 15, 16, 1000, 100000};

	for (size_t m = 0; transfer_modes[m]; m++)
		for (size_t w = 0; w < ARRAY_SIZE(workloads); w++)
			for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
				struct lg_plan plan = base;
				struct course c;

				plan.size = sizes[s];
				plan.warmup_ns = s % 2 ? 10 * MS : 0;
				plan.flags = s % 2 ? LG_PIN : LG_VERIFY;
				if (lacks(transfer_modes[m]->name, transfer_modes[m]->probe))
					continue;
				str_copy(plan.mode, transfer_modes[m]->name);
				str_copy(plan.workload, workloads[w]);
				run_moving(plan, 1, &c);
				assert_int_equal(side(&c, 0, LG_SENDER)->round_trip.count > 0, w == 1);
				finish(&c);
			}
	assert_some_had();
}

/* Senders whose pages can and cannot be mapped, messages that are and are not of whole pages. */
static void test_receive_modes(void **state)
{
	static const char *const modes[] = {"one-copy", "zero-copy", "sendfile"};
	static const uint64_t sizes[] = {100, 65536, 100001};

	for (size_t x = 0; receive_modes[x]; x++)
		for (size_t i = 0; i < ARRAY_SIZE(modes) * ARRAY_SIZE(sizes); i++) {
			const struct receive_mode *receive = receive_modes[x];
			const struct lg_counts *rx;
			struct lg_plan plan = base;
			struct course c;

			if (lacks(receive->name, receive->probe))
				continue;
			plan.size = sizes[i / ARRAY_SIZE(modes)];
			plan.flags = receive->caps & RECEIVE_DISCARDS ? 0 : LG_VERIFY;
			str_copy(plan.mode, modes[i % ARRAY_SIZE(modes)]);
			str_copy(plan.receive, receive->name);
			run_moving(plan, 0, &c);
			rx = &side(&c, 0, LG_RECEIVER)->now;
			assert_int_equal(rx->messages_received, side(&c, 0, LG_SENDER)->now.messages_sent);
			assert_true(rx->map_bytes % 4096 == 0 && rx->map_bytes <= rx->bytes_received);
			assert_true(!rx->map_bytes || str_eq(receive->name, "mmap"));
			assert_int_equal(c.shm->unseen, !!(receive->caps & RECEIVE_DISCARDS));
			assert_int_equal(c.shm->latency_valid, !c.shm->unseen);
			finish(&c);
		}
	assert_some_had();
}

/* The load runs without a capability, but for the one that exempts its pages from a limit which even root
 * has. */
static void test_lanes_have_no_privileges(void **state)
{
	char name[64], line[128];
	uint64_t caps = 0, ipc_lock = 1u << 14;
	unsigned int lines = 0;
	struct course c;
	FILE *f;

	start(&c, &base);
	expect(&c, LG_CONNECTED);
	snprintf(name, sizeof(name), "/proc/%d/status", (int)side(&c, 0, LG_SENDER)->tid);
	f = fopen(name, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "CapBnd", 6) == 0 || sscanf(line, "Cap%*[a-zA-Z]: %" SCNx64, &caps) != 1)
			continue;
		assert_int_equal(caps & ~ipc_lock, 0);
		lines++;
	}
	fclose(f);
	assert_int_equal(lines, 4); /* inheritable, permitted, effective, ambient */
	order(&c, LG_GO_CLOSE);
	expect(&c, LG_DONE);
	assert_int_equal(wait_for_child(&c), 0);
	finish(&c);
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &len), 0);
	return value;
}

/* Half of the most that a receive buffer grows to by itself: the kernel takes no higher mark. */
static int most_mark(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_rmem", "re");
	int least, first, most;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d %d %d", &least, &first, &most), 3);
	fclose(f);
	return most / 2;
}

static int has_congestion(const char *name)
{
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_available_congestion_control", "re");
	char line[256] = "";
	int found;

	assert_non_null(f);
	found = fgets(line, sizeof(line), f) && strstr(line, name);
	fclose(f);
	return found;
}

/* bbr paces the sender by its acknowledgements: its receivers keep their mark also for large messages. */
static void test_paced_senders_keep_the_mark(void **state)
{
	struct lg_plan plan = base;
	struct course c;

	if (!has_congestion("bbr")) {
		print_message("this kernel has no bbr, or does not say so\n");
		skip();
	}
	plan.lanes = 1;
	plan.size = 65536;
	str_copy(plan.mode, "one-copy");
	str_copy(plan.congestion, "bbr");
	start(&c, &plan);
	expect(&c, LG_CONNECTED);
	assert_int_equal(option(c.sockets[LG_RECEIVER], SO_RCVLOWAT), MIN(256 << 10, most_mark()));
	order(&c, LG_GO_CLOSE);
	expect(&c, LG_DONE);
	assert_int_equal(wait_for_child(&c), 0);
	finish(&c);
}

/* What a receiver sleeps for, and the room that it has from the beginning: what is lost of it shows in no
 * result, only in the speed. */
static void test_receivers_have_marks_and_room(void **state)
{
	static const struct {
		const char *mode, *workload;
		uint64_t size;
		uint32_t sndbuf;
		int apart, together; /* the mark where each lane has a CPU, and where not */
		int room;
	} rows[] = {
		{"two-copy", "stream", 1000, 0, 256 << 10, 256 << 10, 256 << 10},
		{"one-copy", "stream", 1000, 0, 256 << 10, 256 << 10, 256 << 10},
		{"one-copy", "stream", 65536, 0, 1, 256 << 10, 0},
		{"one-copy", "stream", 131072, 65536, 512 << 10, 256 << 10, 256 << 10},
		{"zero-copy", "stream", 1000, 0, 64 << 10, 64 << 10, 2 << 20},
		{"zero-copy", "stream", 16384, 0, 1, 1, 0},
		{"zero-copy", "stream", 65536, 0, 512 << 10, 128 << 10, 128 << 10},
		{"zero-copy", "stream", 1 << 20, 0, 1 << 20, 128 << 10, 128 << 10},
		{"splice", "stream", 64, 0, 64 << 10, 64 << 10, 2 << 20},
		{"one-copy", "rr", 1000, 0, 1, 1, 0},
		{"zero-copy", "rr", 1000, 0, 1, 1, 0},
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		size_t row = i / 2;
		struct lg_plan plan = base;
		struct course c;
		cpu_set_t cpus;
		int mark;

		plan.lanes = 1 + i % 2;
		plan.size = rows[row].size;
		plan.sndbuf = rows[row].sndbuf;
		str_copy(plan.congestion, "reno"); /* each kernel has it; others may be paced */
		str_copy(plan.mode, rows[row].mode);
		str_copy(plan.workload, rows[row].workload);
		assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
		mark = (int)plan.lanes * LG_SIDES <= CPU_COUNT(&cpus) ? rows[row].apart : rows[row].together;
		start(&c, &plan);
		expect(&c, LG_CONNECTED);
		assert_int_equal(option(c.sockets[LG_SENDER], SO_RCVLOWAT), 1);
		assert_int_equal(option(c.sockets[LG_RECEIVER], SO_RCVLOWAT), MIN(mark, most_mark()));
		assert_true(option(c.sockets[LG_RECEIVER], SO_RCVBUF) >= MIN(rows[row].room, most_mark()));
		order(&c, LG_GO_CLOSE);
		expect(&c, LG_DONE);
		assert_int_equal(wait_for_child(&c), 0);
		finish(&c);
	}
}

/* A receiver that found nothing sleeps for the first byte, without its mark, and has it again afterwards. */
static void test_idle_receivers_get_their_mark_back(void **state)
{
	struct lg_plan plan = base;
	struct course c;

	plan.lanes = SOCKETS_MAX / LG_SIDES; /* of which some wait for their senders' turn */
	plan.size = 64;
	plan.duration_ns = 100 * MS;
	str_copy(plan.mode, "zero-copy");
	start(&c, &plan);
	expect(&c, LG_CONNECTED);
	order(&c, LG_GO_MEASURE);
	expect(&c, LG_MEASURED);
	for (uint32_t i = LG_RECEIVER; i < c.n_sockets; i += LG_SIDES)
		assert_int_equal(option(c.sockets[i], SO_RCVLOWAT), MIN(64 << 10, most_mark()));
	order(&c, LG_GO_CLOSE);
	expect(&c, LG_DONE);
	assert_int_equal(wait_for_child(&c), 0);
	assert_books(&c);
	finish(&c);
}

static void test_sockets_are_the_lanes(void **state)
{
	struct sockaddr_in a, b;
	struct course c;
	socklen_t len;

	start(&c, &base);
	expect(&c, LG_CONNECTED);
	for (uint32_t i = 0; i < base.lanes; i++) {
		len = sizeof(a);
		assert_int_equal(getsockname(c.sockets[2 * i], (struct sockaddr *)&a, &len), 0);
		len = sizeof(b);
		assert_int_equal(getpeername(c.sockets[2 * i + 1], (struct sockaddr *)&b, &len), 0);
		assert_int_equal(a.sin_port, b.sin_port);
	}
	order(&c, LG_GO_CLOSE);
	expect(&c, LG_DONE);
	assert_int_equal(wait_for_child(&c), 0);
	assert_int_equal(side(&c, 0, LG_SENDER)->now.bytes_sent, 0);
	assert_books(&c);
	finish(&c);
}

static void test_packing_is_counted(void **state)
{
	struct lg_plan plan = base;
	struct course c;

	run_whole(&plan, &c);
	assert_int_equal(side(&c, 0, LG_SENDER)->now.pack_bytes, side(&c, 0, LG_SENDER)->now.bytes_sent);
	assert_int_equal(
		side(&c, 0, LG_SENDER)->now.pack_copies, 3 * side(&c, 0, LG_SENDER)->now.messages_sent);
	finish(&c);
	plan.fields = 1;
	run_whole(&plan, &c);
	assert_int_equal(side(&c, 0, LG_SENDER)->now.pack_bytes, 0);
	finish(&c);
}

/* An hour's window ends when it is told to, and the run goes on to its regular end. */
static void test_stop_ends_the_window(void **state)
{
	static const char *const workloads[] = {"stream", "rr"};

	for (size_t w = 0; w < ARRAY_SIZE(workloads); w++) {
		struct lg_plan plan = base;
		struct course c;

		plan.duration_ns = 3600 * 1000 * MS;
		str_copy(plan.workload, workloads[w]);
		start(&c, &plan);
		expect(&c, LG_CONNECTED);
		order(&c, LG_GO_WARMUP);
		expect(&c, LG_WARMED);
		order(&c, LG_GO_MEASURE);
		while (!__atomic_load_n(&side(&c, 0, LG_RECEIVER)->now.messages_received, __ATOMIC_RELAXED))
			poll(NULL, 0, 1);
		order(&c, LG_STOP);
		expect(&c, LG_MEASURED);
		order(&c, LG_GO_CLOSE);
		expect(&c, LG_DONE);
		assert_int_equal(wait_for_child(&c), 0);
		assert_books(&c);
		assert_window(&c);
		finish(&c);
	}
}

/* A daemon that dies takes its child along, at rest and under load. */
static void test_child_ends_with_the_daemon(void **state)
{
	struct lg_plan plan = base;

	plan.duration_ns = 3600 * 1000 * MS;
	for (int running = 0; running < 2; running++) {
		struct course c;

		start(&c, &plan);
		expect(&c, LG_CONNECTED);
		if (running)
			order(&c, LG_GO_MEASURE);
		shutdown(c.fd, SHUT_RDWR);
		assert_int_equal(wait_for_child(&c), 1);
		finish(&c);
	}
}

/* A connection that breaks under load fails the run, with the lane and the call in the text. */
static void test_broken_connection_is_named(void **state)
{
	for (size_t m = 0; transfer_modes[m]; m++) {
		struct lg_plan plan = base;
		struct lg_message message;
		struct course c;

		if (lacks(transfer_modes[m]->name, transfer_modes[m]->probe))
			continue;
		plan.duration_ns = 3600 * 1000 * MS;
		str_copy(plan.mode, transfer_modes[m]->name);
		start(&c, &plan);
		expect(&c, LG_CONNECTED);
		order(&c, LG_GO_MEASURE);
		while (!__atomic_load_n(&side(&c, 1, LG_RECEIVER)->now.messages_received, __ATOMIC_RELAXED))
			poll(NULL, 0, 1);
		/* The daemon's copy of the socket is as good as the lane's own. */
		shutdown(c.sockets[2], SHUT_RDWR);
		message = next(&c);
		assert_int_equal(message.type, LG_FAILED);
		assert_true(message.error < 0);
		assert_non_null(strstr(message.text, "lane 1 "));
		assert_non_null(strchr(strchr(message.text, ':') + 1, ':'));
		assert_int_equal(wait_for_child(&c), 1);
		finish(&c);
	}
	assert_some_had();
}

/* Message 0, with one byte of its payload another than it should be. */
static void put_spoilt(int fd, size_t size, size_t wrong)
{
	uint8_t message[1000];

	assert_true(size <= sizeof(message) && wrong < size);
	pattern_fill(message, 0, 0, size);
	memset(message, 0, MESSAGE_HEADER); /* of sequence 0 */
	message[wrong] ^= 1;
	assert_int_equal(send(fd, message, size, MSG_NOSIGNAL), size);
}

static void assert_found(const struct lg_plan *plan, size_t wrong, const char *what)
{
	struct lg_message m;
	struct course c;

	start(&c, plan);
	expect(&c, LG_CONNECTED);
	/* The daemon's copy of the socket is as good as the lane's own, which sends its message 0 behind this
	 * one. */
	put_spoilt(c.sockets[LG_SENDER], plan->size, wrong);
	order(&c, LG_GO_MEASURE);
	m = next(&c);
	assert_int_equal(m.type, LG_FAILED);
	assert_int_equal(m.error, -EBADMSG);
	assert_non_null(strstr(m.text, "lane 0 receiver"));
	if (!strstr(m.text, what))
		fail_msg("%s, %s: '%s' instead of '%s'", plan->workload, plan->receive, m.text, what);
	assert_int_equal(wait_for_child(&c), 1);
	finish(&c);
}

/* Of a wrong byte LG_VERIFY tells, whoever receives; a message too many is told of without it. */
static void test_spoilt_messages_are_found(void **state)
{
	static const char *const workloads[] = {"stream", "rr"};

	for (size_t x = 0; receive_modes[x]; x++)
		for (size_t w = 0; w < ARRAY_SIZE(workloads); w++) {
			const struct receive_mode *receive = receive_modes[x];
			struct lg_plan plan = base;

			if (receive->caps & (w ? RECEIVE_DISCARDS | RECEIVE_STREAM_ONLY : RECEIVE_DISCARDS) ||
				lacks(receive->name, receive->probe))
				continue;
			plan.duration_ns = 3600 * 1000 * MS;
			str_copy(plan.mode, "one-copy");
			str_copy(plan.workload, workloads[w]);
			str_copy(plan.receive, receive->name);
			assert_found(&plan, MESSAGE_HEADER, ": message 0: byte 16 is not what was sent");
			assert_found(&plan, 999, ": message 0: byte 999 is not what was sent");
			plan.flags = 0;
			assert_found(&plan, MESSAGE_HEADER, ": message 0 came where 1 was due");
		}
	assert_some_had();
}

static void assert_refused(const struct lg_plan *plan, const char *word)
{
	struct lg_message m;
	struct course c;

	start(&c, plan);
	m = next(&c);
	assert_int_equal(m.type, LG_FAILED);
	assert_true(m.error < 0);
	if (!strstr(m.text, word))
		fail_msg("'%s' does not name '%s'", m.text, word);
	assert_int_equal(wait_for_child(&c), 1);
	finish(&c);
}

static void test_bad_plans_are_refused(void **state)
{
	struct lg_plan plan;

	plan = base;
	str_copy(plan.mode, "three-copy");
	assert_refused(&plan, "three-copy");
	plan = base;
	str_copy(plan.workload, "bulk");
	assert_refused(&plan, "bulk");
	plan = base;
	str_copy(plan.path, "wire");
	assert_refused(&plan, "wire");
	plan = base;
	str_copy(plan.receive, "read");
	assert_refused(&plan, "'read'");
	plan = base;
	str_copy(plan.receive, "mmap");
	str_copy(plan.workload, "rr");
	assert_refused(&plan, "receive mode mmap does not go with workload rr");
	plan = base;
	str_copy(plan.path, "netns:copyledger-no-such,copyledger-no-such");
	assert_refused(&plan, "/run/netns/copyledger-no-such");
	plan = base;
	str_copy(plan.congestion, "none-such");
	assert_refused(&plan, "none-such");
	plan = base;
	plan.size = 0;
	assert_refused(&plan, "size must be from 1 to 67108864, not 0");
	plan = base;
	plan.fields = LIMIT_FIELDS_MAX + 1;
	assert_refused(&plan, "fields must be from 1 to 64, not 65");
	plan = base;
	plan.version++;
	assert_refused(&plan, "version");
}

static void test_unknown_order_is_refused(void **state)
{
	struct lg_message m;
	struct course c;

	start(&c, &base);
	expect(&c, LG_CONNECTED);
	order(&c, LG_STOP + 1);
	m = next(&c);
	assert_int_equal(m.type, LG_FAILED);
	assert_int_equal(m.error, -EPROTO);
	assert_int_equal(wait_for_child(&c), 1);
	finish(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_course),
		cmocka_unit_test(test_receive_modes),
		cmocka_unit_test(test_lanes_have_no_privileges),
		cmocka_unit_test(test_receivers_have_marks_and_room),
		cmocka_unit_test(test_paced_senders_keep_the_mark),
		cmocka_unit_test(test_idle_receivers_get_their_mark_back),
		cmocka_unit_test(test_sockets_are_the_lanes),
		cmocka_unit_test(test_packing_is_counted),
		cmocka_unit_test(test_stop_ends_the_window),
		cmocka_unit_test(test_child_ends_with_the_daemon),
		cmocka_unit_test(test_broken_connection_is_named),
		cmocka_unit_test(test_spoilt_messages_are_found),
		cmocka_unit_test(test_bad_plans_are_refused),
		cmocka_unit_test(test_unknown_order_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
