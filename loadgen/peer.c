// SPDX-License-Identifier: MIT
/* Lanes between two hosts: the token at the door, the clocks' distance, and who may come in for how long. */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "message.h"
#include "mode.h"
#include "netpath.h"
#include "rtnl.h"
#include "sockets.h"

#define BACKLOG 128
#define GUESTS 64                       /* connections that have not shown their token yet */
#define GUEST_NS UINT64_C(2000000000)   /* for it */
#define ACCEPT_NS UINT64_C(10000000000) /* for all lanes */

int peer_check(const struct lg_plan *plan, struct fault *reterr)
{
	if (plan->role == LG_ROLE_BOTH)
		return 0;
	if (plan->role > LG_ROLE_RECEIVER)
		return fault_set(reterr, -EINVAL, "unknown_name", "", "unknown role %u", plan->role);
	if (plan->size < MESSAGE_HEADER)
		return fault_set(reterr, -EINVAL, "invalid_request", "size",
			"between two hosts a message has at least %u bytes, not %" PRIu64
			": its header ends a phase",
			MESSAGE_HEADER, plan->size);
	if (receive_mode_find(plan->receive)->caps)
		return fault_set(reterr, -EINVAL, "invalid_request", "receive",
			"receive mode %s does not go with two hosts: it must be woken by the sender's side, "
			"or does "
			"not see the last message",
			plan->receive);
	if (transfer_mode_find(plan->mode)->caps & MODE_SPLICES)
		return fault_set(reterr, -EINVAL, "invalid_request", "mode",
			"mode %s does not go with two hosts: its pages may be written again when the "
			"receiver has read "
			"them, which the other host does not tell",
			plan->mode);
	return 0;
}

static int parse_address(
	const char *text, uint32_t port, int ipv6, struct sockaddr_in6 *ret, socklen_t *ret_len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;

	*ret = (struct sockaddr_in6){};
	if (!*text)
		text = ipv6 ? "::" : "0.0.0.0";
	if (inet_pton(AF_INET6, text, &ret->sin6_addr) == 1) {
		ret->sin6_family = AF_INET6;
		ret->sin6_port = htons((uint16_t)port);
		*ret_len = sizeof(*ret);
		return 0;
	}
	if (inet_pton(AF_INET, text, &in->sin_addr) != 1)
		return -EINVAL;
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)port);
	*ret_len = sizeof(*in);
	return 0;
}

int peer_listen(const struct lg_plan *plan, const char *address, int *ret_fd, uint32_t *ret_port,
	struct fault *reterr)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_in6 addr;
	socklen_t len;
	int r;

	r = parse_address(address, 0, !!(plan->flags & LG_IPV6), &addr, &len);
	if (r < 0)
		return fault_set(
			reterr, r, "invalid_request", "address", "'%s' is not a numeric address", address);
	r = socket_new(plan, addr.sin6_family, &fd, reterr);
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, BACKLOG) < 0 ||
		getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return fault_set(reterr, -errno, "listen", "address", "cannot listen on '%s': %s",
			*address ? address : "any address", strerror(errno));
	*ret_port = ntohs(addr.sin6_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Hexadecimal digits into bytes, anything else is passed over. */
static void boot_id(uint8_t ret[16])
{
	_cleanup_fclose_ FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned int byte;

	memset(ret, 0, 16);
	for (int i = 0; f && i < 16; i++) {
		if (fscanf(f, "%2x", &byte) != 1)
			return;
		ret[i] = (uint8_t)byte;
		if (i == 3 || i == 5 || i == 7 || i == 9)
			fgetc(f);
	}
}

static struct peer_hello own_hello(const struct lg_plan *plan, uint32_t lane)
{
	struct peer_hello h = {.lane = htonl(lane), .clock = htonl(clock_source.tsc)};

	boot_id(h.boot);
	if (plan->role == LG_ROLE_SENDER)
		memcpy(h.token, plan->token, sizeof(h.token));
	return h;
}

int peer_admit(const struct peer_hello *hello, const struct lg_plan *plan, const int *fds)
{
	uint32_t lane = ntohl(hello->lane);
	volatile uint8_t difference = 0;

	for (size_t i = 0; i < LG_TOKEN; i++)
		difference |= hello->token[i] ^ plan->token[i];
	if (difference || lane >= plan->lanes || fds[lane * LG_SIDES + LG_RECEIVER] >= 0)
		return -EACCES;
	return (int)lane;
}

/* Stamps of the two are comparable only if one machine made both, since its last boot and from the same
 * source. */
static void compare_clocks(struct lg_shm *shm, const struct peer_hello *theirs)
{
	static const uint8_t unknown[16];
	struct peer_hello ours = own_hello(&shm->plan, 0);

	shm->clocks.shared = memcmp(ours.boot, unknown, sizeof(unknown)) && ours.clock == theirs->clock &&
			     memcmp(ours.boot, theirs->boot, sizeof(ours.boot)) == 0;
	if (!shm->clocks.shared)
		shm->latency_valid = 0;
}

static int send_whole(int fd, const void *p, size_t n)
{
	ssize_t sent;

	do {
		sent = send(fd, p, n, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)sent == n ? 0 : -EPIPE;
}

static int receive_whole(int fd, void *p, size_t n)
{
	for (ssize_t got; n; p = (char *)p + got, n -= (size_t)got) {
		got = recv(fd, p, n, MSG_WAITALL);
		if (got < 0 && errno == EINTR)
			got = 0;
		else if (got <= 0)
			return !got ? -ECONNRESET : errno == EAGAIN ? -ETIMEDOUT : -errno;
	}
	return 0;
}

static int64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* The answer was written between the sending and the arrival of its ping: half of the way is the best guess,
 * and all that it can be off by. */
static int ping(int fd, struct lg_clock *best)
{
	int64_t before = wall_ns(), after;
	uint64_t started = clock_now_ns(), took, theirs = htobe64((uint64_t)before);
	int r;

	r = send_whole(fd, &theirs, sizeof(theirs));
	if (r == 0)
		r = receive_whole(fd, &theirs, sizeof(theirs));
	if (r < 0)
		return r;
	took = clock_now_ns() - started;
	after = before + (int64_t)took;
	if (best->measured && took / 2 >= best->error_ns)
		return 0;
	best->measured = 1;
	best->error_ns = (took + 1) / 2;
	best->offset_ns = (int64_t)be64toh(theirs) - (before + (after - before) / 2);
	return 0;
}

static int answer_ping(int fd)
{
	uint64_t ours;
	int r;

	r = receive_whole(fd, &ours, sizeof(ours));
	ours = htobe64((uint64_t)wall_ns());
	return r < 0 ? r : send_whole(fd, &ours, sizeof(ours));
}

/* In the child's own namespace: the device by which the other end is reached. */
static void note_device(struct lg_shm *shm, int fd)
{
	int side = shm->plan.role == LG_ROLE_SENDER ? LG_SENDER : LG_RECEIVER;
	struct netpath path = {.ns = {-1, -1}};
	struct sockaddr_in6 peer = {};
	socklen_t len = sizeof(peer);
	struct rtnl_route route;
	const void *address = &peer.sin6_addr;

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return;
	if (peer.sin6_family == AF_INET)
		address = &((struct sockaddr_in *)&peer)->sin_addr;
	if (rtnl_route_get(peer.sin6_family, address, peer.sin6_family == AF_INET6 ? 16 : 4, &route) < 0)
		return;
	if_indextoname(route.ifindex, path.device[side]);
	netpath_device(&path, side, &shm->device[side]);
}

/* ---- the sender: connects ---- */

static int knock(const struct lg_plan *plan, uint32_t lane, int *ret, struct fault *reterr)
{
	struct peer_hello hello = own_hello(plan, lane);
	struct sockaddr_in6 addr;
	socklen_t len;
	int r;

	r = parse_address(plan->peer, plan->port, 0, &addr, &len);
	if (r < 0)
		return fault_set(reterr, r, "connect", "", "'%s' is not a numeric address", plan->peer);
	r = socket_new(plan, addr.sin6_family, ret, reterr);
	if (r < 0)
		return r;
	r = socket_connect(*ret, &addr, len);
	if (r == 0)
		r = send_whole(*ret, &hello, sizeof(hello));
	return r < 0 ? fault_set(reterr, r, "connect", "", "cannot connect to %s port %u: %s", plan->peer,
			       plan->port, strerror(-r))
		     : 0;
}

static int be_let_in(struct lg_shm *shm, uint32_t lane, int fd, struct fault *reterr)
{
	struct peer_hello theirs;
	int r;

	r = receive_whole(fd, &theirs, sizeof(theirs));
	for (int i = 0; !lane && r == 0 && i < PEER_PINGS; i++)
		r = ping(fd, &shm->clocks);
	if (r < 0)
		return fault_set(reterr, r, "connect", "", "%s does not let lane %u in: %s", shm->plan.peer,
			lane, strerror(-r));
	if (!lane)
		compare_clocks(shm, &theirs);
	return socket_make_blocking(fd, reterr);
}

static int connect_all(struct lg_shm *shm, int *fds, struct fault *reterr)
{
	uint32_t lanes = shm->plan.lanes;
	int r;

	/* The first one by itself: while its pings are answered nobody accepts, and the others would not all
	 * have room in the queue. */
	r = knock(&shm->plan, 0, &fds[LG_SENDER], reterr);
	if (r == 0)
		r = be_let_in(shm, 0, fds[LG_SENDER], reterr);
	for (uint32_t i = 1; i < lanes && r == 0; i++)
		r = knock(&shm->plan, i, &fds[i * LG_SIDES + LG_SENDER], reterr);
	for (uint32_t i = 1; i < lanes && r == 0; i++)
		r = be_let_in(shm, i, fds[i * LG_SIDES + LG_SENDER], reterr);
	return r;
}

/* ---- the receiver: accepts ---- */

struct guest {
	int fd; /* -1: a free place */
	size_t got;
	uint64_t deadline;
	struct peer_hello hello;
};

struct door {
	struct lg_shm *shm;
	int *fds;
	int listener;
	uint32_t inside, refused;
	struct guest guest[GUESTS];
};

static void send_away(struct door *d, struct guest *g)
{
	g->fd = close_fd(g->fd);
	d->refused++;
}

static int welcome(struct door *d, uint32_t lane, const struct guest *g, struct fault *reterr)
{
	struct peer_hello ours = own_hello(&d->shm->plan, lane);
	int r;

	fcntl(g->fd, F_SETFL, fcntl(g->fd, F_GETFL) & ~O_NONBLOCK);
	r = send_whole(g->fd, &ours, sizeof(ours));
	for (int i = 0; !lane && r == 0 && i < PEER_PINGS; i++)
		r = answer_ping(g->fd);
	if (r < 0)
		return fault_set(
			reterr, r, "accept", "", "lane %u was let in and broke: %s", lane, strerror(-r));
	if (!lane)
		compare_clocks(d->shm, &g->hello);
	return socket_make_blocking(g->fd, reterr);
}

static int hear(struct door *d, struct guest *g, struct fault *reterr)
{
	ssize_t n = recv(g->fd, (char *)&g->hello + g->got, sizeof(g->hello) - g->got, MSG_DONTWAIT);
	int lane;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		send_away(d, g);
		return 0;
	}
	g->got += (size_t)n;
	if (g->got < sizeof(g->hello))
		return 0;
	lane = peer_admit(&g->hello, &d->shm->plan, d->fds);
	if (lane < 0) {
		send_away(d, g);
		return 0;
	}
	d->fds[lane * LG_SIDES + LG_RECEIVER] = g->fd;
	d->inside++;
	lane = welcome(d, (uint32_t)lane, g, reterr);
	g->fd = -1;
	return lane;
}

static void take_guest(struct door *d, struct guest *g)
{
	g->fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	g->got = 0;
	g->deadline = clock_now_ns() + GUEST_NS;
}

static struct guest *free_place(struct door *d)
{
	for (size_t i = 0; i < GUESTS; i++)
		if (d->guest[i].fd < 0)
			return &d->guest[i];
	return NULL;
}

static int look_at_guests(struct door *d, const struct pollfd *p, struct fault *reterr)
{
	uint64_t now = clock_now_ns();
	int r = 0;

	for (size_t i = 0; i < GUESTS && r == 0; i++) {
		struct guest *g = &d->guest[i];

		if (g->fd < 0)
			continue;
		if (p[i].revents)
			r = hear(d, g, reterr);
		else if (now >= g->deadline)
			send_away(d, g);
	}
	return r;
}

static int open_door(struct door *d, struct fault *reterr)
{
	uint64_t deadline = clock_now_ns() + ACCEPT_NS;
	struct pollfd p[GUESTS + 1];
	int r = 0;

	while (d->inside < d->shm->plan.lanes && r == 0) {
		if (clock_now_ns() >= deadline)
			return fault_set(reterr, -ETIMEDOUT, "accept", "",
				"%u of %u lanes came within %" PRIu64 " s; %u other connections were refused",
				d->inside, d->shm->plan.lanes, ACCEPT_NS / 1000000000, d->refused);
		for (size_t i = 0; i < GUESTS; i++)
			p[i] = (struct pollfd){.fd = d->guest[i].fd, .events = POLLIN};
		p[GUESTS] = (struct pollfd){.fd = free_place(d) ? d->listener : -1, .events = POLLIN};
		if (poll(p, GUESTS + 1, 100) < 0)
			continue;
		r = look_at_guests(d, p, reterr);
		if (p[GUESTS].revents && free_place(d))
			take_guest(d, free_place(d));
	}
	return r;
}

static int accept_all(struct lg_shm *shm, int *fds, struct fault *reterr)
{
	struct door d = {.shm = shm, .fds = fds, .listener = LG_FD_LISTENER};
	int r;

	for (size_t i = 0; i < GUESTS; i++)
		d.guest[i].fd = -1;
	fcntl(d.listener, F_SETFL, O_NONBLOCK);
	r = open_door(&d, reterr);
	for (size_t i = 0; i < GUESTS; i++)
		close_fd(d.guest[i].fd);
	close(LG_FD_LISTENER);
	return r;
}

int peer_connect(struct lg_shm *shm, int *fds, struct fault *reterr)
{
	int side = shm->plan.role == LG_ROLE_SENDER ? LG_SENDER : LG_RECEIVER;
	int r = side == LG_SENDER ? connect_all(shm, fds, reterr) : accept_all(shm, fds, reterr);

	explicit_bzero(shm->plan.token, sizeof(shm->plan.token));
	if (r == 0)
		note_device(shm, fds[side]);
	return r;
}
