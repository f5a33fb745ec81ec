// SPDX-License-Identifier: MIT
/* Speaks Varlink's framing, JSON and a NUL, with each client, without ever waiting for one. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "clock.h"
#include "commands.h"
#include "control.h"
#include "jsonx.h"
#include "limit.h"
#include "log.h"
#include "manager.h"

#define BACKLOG 1024
#define ACCEPTS_A_TURN 32
#define SERIAL (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
/* When all places are taken, a client that has been idle this long gives its place to a new one. */
#define EVICT_USEC 1000000ULL
/* A client that asks on without reading what it got is closed when it took no byte of it for so long. */
#define STALL_USEC 2000000ULL
/* After an over-long message so much more is read and dropped, so that its sender gets to the reply. */
#define DRAIN_BYTES (4U << 20)
#define ACCEPT_PAUSE_USEC 200000ULL

struct client {
	struct client *next;
	struct control *control;
	int fd;
	unsigned int access;
	uid_t uid; /* of the peer; nobody's if the kernel does not say */
	sd_event_source *io, *kick;
	struct call *call; /* the one that waits; later requests stay in the buffer, so that replies keep
			      their order */
	bool eof;          /* nothing more comes from it */
	bool draining;     /* after an over-long message: input is dropped */
	bool doomed;       /* to be closed from the event loop */
	uint64_t active; /* CLOCK_MONOTONIC, us: its last whole request or reply, or when it last took some of
			    one */
	size_t drained, in_used;
	char *out;
	size_t out_used, out_sent, out_size;
	char in[LIMIT_MESSAGE + 1];
};

struct control {
	sd_event *event;
	struct manager *manager;
	struct limits limits;
	int listen_fd;
	sd_event_source *listen, *idle, *pause;
	struct client *clients;
	unsigned int n;
};

/* Not the loop's own time: a turn that started a run took long. */
static uint64_t now_usec(void)
{
	return clock_now_ns() / 1000;
}

/* ---- closing ---- */

static void client_close(struct client *cl)
{
	struct control *c = cl->control;

	for (struct client **at = &c->clients; *at; at = &(*at)->next)
		if (*at == cl) {
			*at = cl->next;
			manager_count_clients(c->manager, --c->n);
			break;
		}
	call_abandon(cl->call);
	sd_event_source_disable_unref(cl->io);
	sd_event_source_disable_unref(cl->kick);
	close_fd(cl->fd);
	free(cl->out);
	free(cl);
	if (c->n == 0) {
		sd_event_source_set_enabled(c->idle, SD_EVENT_OFF);
		malloc_trim(0); /* an idle daemon stays small */
	}
}

/* Does what is due for a client soon, from the event loop: it may be in use further up the stack. */
static void client_kick(struct client *cl)
{
	sd_event_source_set_enabled(cl->kick, SD_EVENT_ONESHOT);
}

static void client_doom(struct client *cl)
{
	cl->doomed = true;
	client_kick(cl);
}

/* ---- replies ---- */

static size_t queued(const struct client *cl)
{
	return cl->out_used - cl->out_sent;
}

static bool wants_input(const struct client *cl)
{
	return !cl->eof && !cl->doomed && (cl->draining || cl->in_used < sizeof(cl->in));
}

/* Asks for the events that something can be done with. */
static void update_events(struct client *cl)
{
	sd_event_source_set_io_events(
		cl->io, (wants_input(cl) ? EPOLLIN : 0) | (queued(cl) > 0 ? EPOLLOUT : 0));
}

/* Writes what the socket takes. -EAGAIN: some is left. */
static int flush(struct client *cl)
{
	while (queued(cl) > 0) {
		ssize_t n = send(cl->fd, cl->out + cl->out_sent, queued(cl), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		cl->out_sent += n;
		cl->active = now_usec();
	}
	free(cl->out);
	cl->out = NULL;
	cl->out_used = cl->out_sent = cl->out_size = 0;
	return 0;
}

static int out_reserve(struct client *cl, size_t n)
{
	size_t size;
	char *p;

	if (cl->out_sent > 0) {
		memmove(cl->out, cl->out + cl->out_sent, queued(cl));
		cl->out_used -= cl->out_sent;
		cl->out_sent = 0;
	}
	if (cl->out_size - cl->out_used >= n)
		return 0;
	size = MAX(cl->out_used + n, 2 * cl->out_size);
	p = realloc(cl->out, size);
	if (!p)
		return -ENOMEM;
	cl->out = p;
	cl->out_size = size;
	return 0;
}

/* Queues n bytes that end with a NUL. -ENOBUFS: the client does not read. */
static int enqueue(struct client *cl, const char *text, size_t n)
{
	int r;

	if (queued(cl) > 0 && queued(cl) + n > cl->control->limits.client_queue)
		return -ENOBUFS;
	r = out_reserve(cl, n);
	if (r < 0)
		return r;
	memcpy(cl->out + cl->out_used, text, n);
	cl->out_used += n;
	r = flush(cl);
	update_events(cl);
	return r == -EAGAIN ? 0 : r;
}

static int send_json(struct client *cl, json_object *message)
{
	size_t n;
	const char *text = message ? json_object_to_json_string_length(message, SERIAL, &n) : NULL;

	return text ? enqueue(cl, text, n + 1) : -ENOMEM;
}

static void client_reply(json_object *message, bool final, void *userdata)
{
	struct client *cl = userdata;
	int r = cl->doomed ? 0 : send_json(cl, message);

	if (r < 0) {
		if (r == -ENOBUFS)
			log_warning(
				"a client does not read its replies (%zu bytes wait), going on without it",
				queued(cl));
		client_doom(cl);
	}
	if (!final)
		return;
	cl->call = NULL;
	cl->active = now_usec();
	client_kick(cl);
}

/* ---- idle clients ---- */

/* Asks more before it took the replies that it has. */
static bool is_ahead(const struct client *cl)
{
	return !cl->call && queued(cl) > 0 && cl->in_used > 0;
}

/* The moment when a client is closed as idle; never while its call waits. */
static uint64_t idle_deadline(const struct client *cl)
{
	uint64_t idle = cl->control->limits.idle_ms * 1000;

	if (cl->call)
		return UINT64_MAX;
	return cl->active + (is_ahead(cl) ? MIN(idle, STALL_USEC) : idle);
}

/* One timer for all: at the earliest deadline, at the latest after a whole period. */
static void arm_idle(struct control *c, uint64_t now)
{
	uint64_t next = now + c->limits.idle_ms * 1000;

	for (struct client *cl = c->clients; cl; cl = cl->next)
		next = MIN(next, idle_deadline(cl));
	sd_event_source_set_time(c->idle, next);
	sd_event_source_set_enabled(c->idle, SD_EVENT_ONESHOT);
}

/* A turn of the event loop that took long may have kept us from a request that has come in time. */
static bool has_asked(const struct client *cl)
{
	char text[sizeof(cl->in)];
	ssize_t n = is_ahead(cl) ? 0 : recv(cl->fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 && memchr(text, 0, n);
}

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *c = userdata;
	uint64_t now = now_usec();
	struct client *next;

	for (struct client *cl = c->clients; cl; cl = next) {
		next = cl->next;
		if (idle_deadline(cl) > now)
			continue;
		if (has_asked(cl))
			cl->active = now;
		else
			client_close(cl);
	}
	if (c->clients)
		arm_idle(c, now);
	return 0;
}

/* Makes room by closing the client that has been idle longest, if it has been for long enough. */
static bool evict(struct control *c)
{
	struct client *oldest = NULL;

	for (struct client *cl = c->clients; cl; cl = cl->next)
		if (!cl->call && (!oldest || cl->active < oldest->active))
			oldest = cl;
	if (!oldest || now_usec() - oldest->active < EVICT_USEC)
		return false;
	client_close(oldest);
	return true;
}

/* ---- requests ---- */

/* A message without an end: the error is the last thing that this client gets, its input is dropped until it
 * goes. */
static void too_long(struct client *cl)
{
	_cleanup_json_ json_object *message = limit_error("message", cl->in_used, LIMIT_MESSAGE,
		"a message may have 16384 bytes at most: the connection is closed");

	_Static_assert(LIMIT_MESSAGE == 16384, "the sentence names the limit");
	cl->draining = true;
	cl->in_used = 0;
	if (send_json(cl, message) < 0)
		client_doom(cl);
}

/*
 * Hands whole messages over, the next one when the last is answered and its replies are with the kernel: so
 * the queue of a client that asks but does not read holds one reply.
 */
static void process(struct client *cl)
{
	char *at = cl->in, *end = cl->in + cl->in_used, *nul;

	while (!cl->call && !cl->doomed && queued(cl) == 0 && (nul = memchr(at, 0, end - at))) {
		cl->active = now_usec();
		cl->call =
			call_begin(cl->control->manager, cl->access, cl->uid, at, nul - at, client_reply, cl);
		at = nul + 1;
	}
	cl->in_used = end - at;
	memmove(cl->in, at, cl->in_used);
	if (!cl->call && cl->in_used == sizeof(cl->in) && !memchr(cl->in, 0, cl->in_used))
		too_long(cl);
}

static int drop_input(struct client *cl, size_t n)
{
	cl->drained += n;
	return cl->drained > DRAIN_BYTES ? -EMSGSIZE : 0;
}

/* One read a turn, so that no client holds up the others. */
static int take_input(struct client *cl)
{
	size_t at = cl->draining ? 0 : cl->in_used;
	ssize_t n = recv(cl->fd, cl->in + at, sizeof(cl->in) - at, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0) {
		cl->eof = true;
		return 0;
	}
	if (cl->draining)
		return drop_input(cl, n);
	cl->in_used += n;
	return 0;
}

/* True when nothing more can be done for a client; what remains of a message without its NUL is nobody's. */
static bool finished(const struct client *cl)
{
	return cl->doomed || (cl->eof && !cl->call && queued(cl) == 0);
}

/* What is left to do after something was read or written; may close the client. */
static void settle(struct client *cl)
{
	if (!cl->doomed && !cl->draining && queued(cl) == 0)
		process(cl);
	if (finished(cl)) {
		client_close(cl);
		return;
	}
	if (cl->draining && queued(cl) == 0)
		shutdown(cl->fd, SHUT_WR);
	if (is_ahead(cl))
		arm_idle(cl->control, now_usec());
	update_events(cl);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct client *cl = userdata;
	int r = 0;

	if (events & EPOLLOUT)
		r = flush(cl);
	if ((r == 0 || r == -EAGAIN) && events & EPOLLIN && wants_input(cl))
		r = take_input(cl);
	/* a peer that is gone for good; what it had sent before is read first */
	if (events & (EPOLLHUP | EPOLLERR) && !wants_input(cl))
		r = -EPIPE;
	if (r < 0 && r != -EAGAIN)
		client_close(cl);
	else
		settle(cl);
	return 0;
}

static int on_kick(sd_event_source *source, void *userdata)
{
	settle(userdata);
	return 0;
}

/* ---- new clients ---- */

static void refuse(struct control *c, int fd)
{
	_cleanup_json_ json_object *message = limit_error("clients", c->n + 1, c->limits.clients,
		"all places for clients are taken: try again in a second");
	size_t n;
	const char *text = message ? json_object_to_json_string_length(message, SERIAL, &n) : NULL;

	if (text && send(fd, text, n + 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_info("a client that was refused did not hear of it: %m");
}

static int watch_client(struct client *cl)
{
	sd_event *event = cl->control->event;
	int r;

	r = sd_event_add_io(event, &cl->io, cl->fd, EPOLLIN, on_io, cl);
	if (r >= 0)
		r = sd_event_add_defer(event, &cl->kick, on_kick, cl);
	return r < 0 ? r : sd_event_source_set_enabled(cl->kick, SD_EVENT_OFF);
}

int control_add(struct control *c, int taken, unsigned int access)
{
	_cleanup_close_ int fd = taken;
	struct client *cl;
	int r;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (c->n >= c->limits.clients && !evict(c)) {
		refuse(c, fd);
		return -EMFILE;
	}
	cl = calloc(1, sizeof(*cl));
	if (!cl)
		return -ENOMEM;
	cl->control = c;
	cl->fd = TAKE_FD(fd);
	cl->access = access;
	cl->uid = getsockopt(cl->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? (uid_t)-1 : peer.uid;
	cl->active = now_usec();
	cl->next = c->clients;
	c->clients = cl;
	manager_count_clients(c->manager, ++c->n);
	r = watch_client(cl);
	if (r < 0) {
		client_close(cl);
		return r;
	}
	if (c->n == 1)
		arm_idle(c, cl->active);
	return 0;
}

unsigned int control_clients(const struct control *c)
{
	return c->n;
}

/* Whether the peer, by any of its groups, is in group gid. */
static bool peer_in_group(int fd, gid_t primary, gid_t gid)
{
	_cleanup_free_ gid_t *groups = NULL;
	socklen_t len = 0;

	if (primary == gid)
		return true;
	/* asked with no room first: the kernel answers with the size */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false;
	groups = malloc(len);
	if (!groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* The group that owns the socket's file; the daemon's own if it has none. */
static gid_t socket_group(int listen_fd)
{
	struct sockaddr_un address = {0};
	socklen_t len = sizeof(address) - 1;
	struct stat st;

	if (getsockname(listen_fd, (struct sockaddr *)&address, &len) == 0 && address.sun_path[0] &&
		stat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		return st.st_gid;
	return getegid();
}

static unsigned int peer_access(int listen_fd, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	if (peer.uid == 0 || peer.uid == geteuid() || peer_in_group(fd, peer.gid, socket_group(listen_fd)) ||
		peer_in_group(fd, peer.gid, getegid()))
		return ACCESS_READ | ACCESS_RUN;
	return ACCESS_READ;
}

/* Out of file descriptors: the queue of connections would wake us for ever. */
static void pause_listening(struct control *c)
{
	log_warning("cannot accept a client: %m; trying again soon");
	sd_event_source_set_enabled(c->listen, SD_EVENT_OFF);
	sd_event_source_set_time_relative(c->pause, ACCEPT_PAUSE_USEC);
	sd_event_source_set_enabled(c->pause, SD_EVENT_ONESHOT);
}

static int on_pause(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *c = userdata;

	return sd_event_source_set_enabled(c->listen, SD_EVENT_ON);
}

static bool is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* 1 if a client was taken, 0 if none waits. */
static int accept_one(struct control *c, int listen_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), r;

	if (fd < 0) {
		if (is_shortage(errno))
			pause_listening(c);
		return 0;
	}
	r = control_add(c, fd, peer_access(listen_fd, fd));
	if (r < 0 && r != -EMFILE)
		log_warning("cannot serve a client, going on: %s", strerror(-r));
	return 1;
}

static int on_listen(sd_event_source *source, int listen_fd, uint32_t events, void *userdata)
{
	for (int i = 0; i < ACCEPTS_A_TURN && accept_one(userdata, listen_fd) > 0; i++)
		;
	return 0;
}

/* ---- start and end ---- */

static int add_timer(struct control *c, sd_event_source **ret, sd_event_time_handler_t handler)
{
	int r = sd_event_add_time(c->event, ret, CLOCK_MONOTONIC, 0, 0, handler, c);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static int set_up(struct control *c)
{
	int r;

	r = add_timer(c, &c->idle, on_idle);
	if (r >= 0)
		r = add_timer(c, &c->pause, on_pause);
	if (r < 0 || c->listen_fd < 0)
		return r;
	/* systemd's may block, and a client may be gone before it is accepted */
	if (fcntl(c->listen_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return sd_event_add_io(c->event, &c->listen, c->listen_fd, EPOLLIN, on_listen, c);
}

void control_set_limits(struct control *c, const struct limits *limits)
{
	c->limits = *limits;
}

int control_new(sd_event *event, struct manager *m, const struct limits *limits, int listen_fd,
	struct control **ret, struct fault *reterr)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close_fd(listen_fd);
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	}
	c->event = sd_event_ref(event);
	c->manager = m;
	c->limits = *limits;
	c->listen_fd = listen_fd;
	r = set_up(c);
	if (r < 0) {
		control_free(c);
		return fault_set(
			reterr, r, "socket", "", "cannot watch the control socket: %s", strerror(-r));
	}
	*ret = c;
	return 0;
}

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	while (c->clients)
		client_close(c->clients);
	sd_event_source_disable_unref(c->listen);
	sd_event_source_disable_unref(c->idle);
	sd_event_source_disable_unref(c->pause);
	close_fd(c->listen_fd);
	sd_event_unref(c->event);
	free(c);
	return NULL;
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
	mode_t old = umask(0117); /* 0660 from the first moment on */
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

/* Whether the file is a socket that nobody listens on any more. */
static bool is_stale(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0 || lstat(address->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	return connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
}

static int remove_stale(const struct sockaddr_un *address, struct fault *reterr)
{
	if (!is_stale(address))
		return fault_set(reterr, -EADDRINUSE, "socket_in_use", "",
			"another program listens on %s, or it is no socket: it is left alone",
			address->sun_path);
	if (unlink(address->sun_path) < 0)
		return fault_set(reterr, -errno, "socket", "", "cannot replace %s: %m", address->sun_path);
	return 0;
}

int control_listen(const char *path, struct fault *reterr)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	if (!str_copy(address.sun_path, path))
		return fault_set(reterr, -ENAMETOOLONG, "socket", "",
			"the socket's path may have %zu bytes at most: %s", sizeof(address.sun_path) - 1,
			path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	r = fd < 0 ? -errno : bind_private(fd, &address);
	if (r == -EADDRINUSE) {
		r = remove_stale(&address, reterr);
		if (r < 0)
			return r;
		r = bind_private(fd, &address);
	}
	if (r == 0 && listen(fd, BACKLOG) < 0)
		r = -errno;
	if (r < 0)
		return fault_set(reterr, r, "socket", "", "cannot listen on %s: %s", path, strerror(-r));
	return TAKE_FD(fd);
}

void control_unlisten(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	/* our own socket is closed, so an answer would come from a daemon that took the place over */
	if (str_copy(address.sun_path, path) && is_stale(&address))
		unlink(path);
}
