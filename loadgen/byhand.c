/* SPDX-License-Identifier: MIT */
/* The load generator run by hand: a child follows the course, this side takes the daemon's part and prints.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "byhand.h"
#include "course.h"
#include "limit.h"
#include "mode.h"
#include "units.h"

struct option_row {
	const char *name, *argument, *help;
	int (*set)(struct lg_plan *p, const char *value);
};

static int set_name(char *to, size_t n, const char *value)
{
	return str_copy_n(to, n, value) ? 0 : -ERANGE;
}

static int set_mode(struct lg_plan *p, const char *value)
{
	return set_name(p->mode, sizeof(p->mode), value);
}

static int set_receive(struct lg_plan *p, const char *value)
{
	return set_name(p->receive, sizeof(p->receive), value);
}

static int set_workload(struct lg_plan *p, const char *value)
{
	return set_name(p->workload, sizeof(p->workload), value);
}

static int set_path(struct lg_plan *p, const char *value)
{
	return set_name(p->path, sizeof(p->path), value);
}

static int set_congestion(struct lg_plan *p, const char *value)
{
	return set_name(p->congestion, sizeof(p->congestion), value);
}

static int set_size(struct lg_plan *p, const char *value)
{
	return units_parse_size(value, &p->size);
}

static int set_u32(uint32_t *to, uint64_t max, const char *value)
{
	uint64_t n;
	int r;

	r = units_parse_size(value, &n);
	if (r < 0)
		return r;
	if (n > max)
		return -ERANGE;
	*to = (uint32_t)n;
	return 0;
}

static int set_fields(struct lg_plan *p, const char *value)
{
	return set_u32(&p->fields, LIMIT_FIELDS_MAX, value);
}

static int set_threads(struct lg_plan *p, const char *value)
{
	return set_u32(&p->lanes, LIMIT_THREADS_MAX, value);
}

static int set_sndbuf(struct lg_plan *p, const char *value)
{
	return set_u32(&p->sndbuf, LIMIT_SOCKBUF_MAX, value);
}

static int set_rcvbuf(struct lg_plan *p, const char *value)
{
	return set_u32(&p->rcvbuf, LIMIT_SOCKBUF_MAX, value);
}

static int set_time(uint64_t *to, uint64_t min, uint64_t max, const char *value)
{
	uint64_t ms;
	int r;

	r = units_parse_duration_ms(value, &ms);
	if (r < 0)
		return r;
	if (ms < min || ms > max)
		return -ERANGE;
	*to = ms * 1000000;
	return 0;
}

static int set_duration(struct lg_plan *p, const char *value)
{
	return set_time(&p->duration_ns, LIMIT_DURATION_MS_MIN, LIMIT_DURATION_MS_MAX, value);
}

static int set_warmup(struct lg_plan *p, const char *value)
{
	return set_time(&p->warmup_ns, 0, LIMIT_WARMUP_MS_MAX, value);
}

static int set_verify(struct lg_plan *p, const char *value)
{
	p->flags |= LG_VERIFY;
	return 0;
}

static int set_ipv6(struct lg_plan *p, const char *value)
{
	p->flags |= LG_IPV6;
	return 0;
}

static int set_no_pin(struct lg_plan *p, const char *value)
{
	p->flags &= ~(uint32_t)LG_PIN;
	return 0;
}

static const struct option_row rows[] = {
	{"mode", "NAME", "how to send (default two-copy)", set_mode},
	{"receive", "NAME", "how to receive (default recv)", set_receive},
	{"workload", "NAME", "stream or rr (default stream)", set_workload},
	{"path", "NAME", "loopback, veth or netns:SERVER,CLIENT (default loopback)", set_path},
	{"size", "BYTES", "bytes a message (default 64K)", set_size},
	{"fields", "N", "buffers a message (default 8)", set_fields},
	{"threads", "N", "lanes (default 1)", set_threads},
	{"duration", "TIME", "of the measured window (default 1s)", set_duration},
	{"warmup", "TIME", "before it (default 100ms)", set_warmup},
	{"congestion", "NAME", "congestion control (default: the namespace's)", set_congestion},
	{"sndbuf", "BYTES", "SO_SNDBUF (default: the kernel's)", set_sndbuf},
	{"rcvbuf", "BYTES", "SO_RCVBUF (default: the kernel's)", set_rcvbuf},
	{"verify", NULL, "check every byte", set_verify},
	{"ipv6", NULL, "use IPv6", set_ipv6},
	{"no-pin", NULL, "do not bind threads to CPUs", set_no_pin},
};

static int usage(FILE *to, int status)
{
	fprintf(to, "usage: copyledger-loadgen [OPTION]...\n"
		    "Runs TCP transfers within this machine and prints what the lanes counted.\n"
		    "(copyledgerd starts it with --daemon; by hand it needs no daemon.)\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		fprintf(to, "  --%-10s %-6s %s\n", rows[i].name, rows[i].argument ? rows[i].argument : "",
			rows[i].help);
	fprintf(to, "  --%-10s %-6s %s\n\nmodes:\n", "help", "", "print this");
	for (size_t i = 0; transfer_modes[i]; i++)
		fprintf(to, "  %-14s %s\n", transfer_modes[i]->name, transfer_modes[i]->summary);
	fprintf(to, "\nreceive modes:\n");
	for (size_t i = 0; receive_modes[i]; i++)
		fprintf(to, "  %-14s %s\n", receive_modes[i]->name, receive_modes[i]->summary);
	return status;
}

/* 0, or the exit status with its sign turned, so that --help (0) can be told from going on. */
static int parse_options(int argc, char **argv, struct lg_plan *p)
{
	struct option options[ARRAY_SIZE(rows) + 2] = {};
	int c, index = 0, r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		options[i] = (struct option){.name = rows[i].name, .has_arg = !!rows[i].argument, .val = 'o'};
	options[ARRAY_SIZE(rows)] = (struct option){.name = "help", .val = 'h'};
	while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
		if (c == 'h')
			exit(usage(stdout, 0));
		if (c != 'o')
			return usage(stderr, 2);
		r = rows[index].set(p, optarg);
		if (r < 0) {
			fprintf(stderr, "copyledger-loadgen: --%s: '%s': %s\n", rows[index].name, optarg,
				strerror(-r));
			return 2;
		}
	}
	return optind < argc ? usage(stderr, 2) : 0;
}

/* One message from the child; sockets are closed at once, nobody here looks at them. */
static int receive(int fd, struct lg_message *ret)
{
	union {
		char bytes[CMSG_SPACE(LG_FDS_PER_MESSAGE * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = ret, .iov_len = sizeof(*ret)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	if (n != (ssize_t)sizeof(*ret))
		return n < 0 ? -errno : -EPIPE;
	c = CMSG_FIRSTHDR(&msg);
	for (size_t i = 0; c && i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
		close(((const int *)CMSG_DATA(c))[i]);
	return 0;
}

/* The daemon's part: an order for each answer. */
static int drive(int fd)
{
	static const uint32_t answer[] = {
		[LG_CONNECTED] = LG_GO_WARMUP, [LG_WARMED] = LG_GO_MEASURE, [LG_MEASURED] = LG_GO_CLOSE};
	struct lg_message m;
	int r;

	for (;;) {
		r = receive(fd, &m);
		if (r < 0) {
			fprintf(stderr, "copyledger-loadgen: the child is gone\n");
			return r;
		}
		if (m.type == LG_FAILED) {
			fprintf(stderr, "copyledger-loadgen: %s\n", m.text);
			return m.error;
		}
		if (m.type == LG_DONE)
			return 0;
		if (m.type == LG_SOCKETS)
			continue;
		m = (struct lg_message){.type = answer[m.type]};
		if (send(fd, &m, sizeof(m), MSG_NOSIGNAL) < 0)
			return -errno;
	}
}

static struct lg_counts window(const struct lg_side *s)
{
	struct lg_counts d;
	const uint64_t *end = (const uint64_t *)&s->at_end, *start = (const uint64_t *)&s->at_start;

	for (size_t i = 0; i < sizeof(d) / sizeof(uint64_t); i++)
		((uint64_t *)&d)[i] = end[i] - start[i];
	return d;
}

static void print_hist(const char *name, const struct hist *h)
{
	printf("%-11s mean %.1f us, p50 %.1f, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f (%" PRIu64
	       " samples)\n",
		name, hist_mean(h) / 1e3, hist_quantile(h, 0.5) / 1e3, hist_quantile(h, 0.9) / 1e3,
		hist_quantile(h, 0.99) / 1e3, hist_quantile(h, 0.999) / 1e3, (double)h->max / 1e3, h->count);
}

static void print_zero_copy(const struct lg_counts *all)
{
	if (!all->zc_sends)
		return;
	printf("zero-copy   %" PRIu64 " sends, %" PRIu64 " completed, %" PRIu64 " of them copied; %" PRIu64
	       " bytes, %" PRIu64 " completed, %" PRIu64 " copied; %" PRIu64 " notifications, %" PRIu64
	       " ENOBUFS, %" PRIu64 " waits\n",
		all->zc_sends, all->zc_done, all->zc_done_copied, all->zc_bytes, all->zc_bytes_done,
		all->zc_bytes_copied, all->zc_notifications, all->zc_enobufs, all->zc_waits);
}

static void add_counts(struct lg_counts *into, const struct lg_counts *c)
{
	for (size_t i = 0; i < sizeof(*c) / sizeof(uint64_t); i++)
		((uint64_t *)into)[i] += ((const uint64_t *)c)[i];
}

static void print_results(const struct lg_shm *shm)
{
	static struct hist latency, round_trip;
	struct lg_counts measured = {}, life = {};
	double seconds = (double)(shm->end_ns - shm->start_ns) / 1e9;

	for (uint32_t i = 0; i < shm->plan.lanes * LG_SIDES; i++) {
		const struct lg_side *s = &shm->lane[i / LG_SIDES].side[i % LG_SIDES];
		struct lg_counts d = window(s);

		add_counts(&measured, &d);
		add_counts(&life, &s->now);
		hist_add(&latency, &s->latency);
		hist_add(&round_trip, &s->round_trip);
	}
	printf("%s %s %s: %" PRIu64 " B in %u fields, %u lanes, ring %u, clock %s, %s\n", shm->plan.mode,
		shm->plan.workload, shm->plan.path, shm->plan.size, shm->fields, shm->plan.lanes, shm->ring,
		shm->clock, shm->lane[0].side[LG_SENDER].tcp.congestion);
	printf("received    %" PRIu64 " bytes, %" PRIu64
	       " messages in %.6f s: %.3f Gbit/s, %.0f bytes a call\n",
		measured.bytes_received, measured.messages_received, seconds,
		(double)measured.bytes_received * 8 / seconds / 1e9,
		measured.recv_calls ? (double)measured.bytes_received / (double)measured.recv_calls : 0);
	printf("life        %" PRIu64 " bytes sent, %" PRIu64 " received, %" PRIu64 " packed\n",
		life.bytes_sent, life.bytes_received, life.pack_bytes);
	if (shm->latency_valid)
		print_hist("latency", &latency);
	if (round_trip.count)
		print_hist("round trip", &round_trip);
	print_zero_copy(&life);
	if (life.map_bytes)
		printf("mapped      %" PRIu64 " bytes of those received\n", life.map_bytes);
}

static struct lg_shm *new_shm(const struct lg_plan *plan)
{
	struct lg_shm *shm = mmap(
		NULL, lg_shm_size(plan->lanes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shm == MAP_FAILED)
		return NULL;
	shm->plan = *plan;
	return shm;
}

int byhand_main(int argc, char **argv)
{
	struct lg_plan plan = {.version = LG_VERSION,
		.lanes = 1,
		.size = 65536,
		.fields = 8,
		.flags = LG_PIN,
		.warmup_ns = 100000000,
		.duration_ns = 1000000000,
		.mode = "two-copy",
		.receive = "recv",
		.workload = "stream",
		.path = "loopback"};
	struct lg_shm *shm;
	int pair[2], r, status;
	pid_t child;

	r = parse_options(argc, argv, &plan);
	if (r)
		return r;
	shm = new_shm(&plan);
	if (!shm || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		fprintf(stderr, "copyledger-loadgen: %s\n", strerror(errno));
		return 1;
	}
	child = fork();
	if (child < 0) {
		fprintf(stderr, "copyledger-loadgen: fork: %s\n", strerror(errno));
		return 1;
	}
	if (child == 0) {
		close(pair[0]);
		_exit(control_run(pair[1], shm));
	}
	close(pair[1]);
	r = drive(pair[0]);
	close(pair[0]);
	if (waitpid(child, &status, 0) < 0 || r < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return 1;
	print_results(shm);
	return 0;
}
