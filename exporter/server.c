// SPDX-License-Identifier: MIT
/* libmicrohttpd in sd-event's loop, with connections that are counted here. */
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "pages.h"
#include "server.h"

#define ACCEPTS_A_TURN 16
#define PAUSE_USEC 100000ULL /* without descriptors or memory for another connection */
#define LISTENERS 8

struct connection {
	struct connection *next;
	int fd;
	uint64_t since; /* CLOCK_MONOTONIC, us */
};

struct server {
	sd_event *event;
	struct scraper *scraper;
	struct MHD_Daemon *http;
	sd_event_source *io, *again, *timer, *pause;
	sd_event_source *listener[LISTENERS];
	size_t n_listeners;
	struct connection *oldest, **end; /* in the order of their coming */
	size_t n;
};

static uint64_t now_usec(void)
{
	return clock_now_ns() / 1000;
}

/* ---- connections ---- */

static void take_out(struct server *s, struct connection *gone)
{
	for (struct connection **at = &s->oldest; *at; at = &(*at)->next) {
		if (*at != gone)
			continue;
		*at = gone->next;
		if (s->end == &gone->next)
			s->end = at;
		s->n--;
		return;
	}
}

/* It counts no more; libmicrohttpd closes it when it next looks. */
static void end_oldest(struct server *s)
{
	struct connection *c = s->oldest;

	shutdown(c->fd, SHUT_RDWR);
	take_out(s, c);
}

static void remember(struct server *s, struct MHD_Connection *http, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(http, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct connection *c = calloc(1, sizeof(*c));

	*context = c;
	if (!c || !info) { /* unknown is unbounded: rather none */
		if (info)
			shutdown(info->connect_fd, SHUT_RDWR);
		*context = NULL;
		free(c);
		return;
	}
	c->fd = info->connect_fd;
	c->since = now_usec();
	*s->end = c;
	s->end = &c->next;
	s->n++;
}

static void on_connection(
	void *userdata, struct MHD_Connection *http, void **context, enum MHD_ConnectionNotificationCode what)
{
	struct server *s = userdata;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		remember(s, http, context);
		return;
	}
	if (*context)
		take_out(s, *context);
	free(*context);
}

/* ---- requests ---- */

static enum MHD_Result send_page(struct MHD_Connection *http, struct page *page)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(page->length, page->body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result done;

	if (!r) {
		free(page->body);
		return MHD_NO;
	}
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	MHD_add_response_header(r, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (page->allow)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, page->allow);
	done = MHD_queue_response(http, page->status, r);
	MHD_destroy_response(r);
	return done;
}

/* A body is not waited for: the connection ends with the reply. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *http, const char *path,
	const char *method, const char *version, const char *upload, size_t *upload_size, void **context)
{
	struct server *s = userdata;
	const char *accept = MHD_lookup_connection_value(http, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	struct page page;

	if (page_make(method, path, accept, s->scraper, &page) < 0)
		return MHD_NO;
	return send_page(http, &page);
}

/* ---- the event loop ---- */

/* At the moment when the oldest connection's time is over. */
static void arm(struct server *s)
{
	if (!s->oldest) {
		sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(s->timer, s->oldest->since + SERVER_LIFE_MS * 1000ULL);
	sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void turn(struct server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(s->http);
	/* what it has read already makes no descriptor ready */
	sd_event_source_set_enabled(s->again,
		MHD_get_timeout(s->http, &ms) == MHD_YES && ms == 0 ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	arm(s);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	turn(userdata);
	return 0;
}

static int on_again(sd_event_source *source, void *userdata)
{
	turn(userdata);
	return 0;
}

static void set_listening(struct server *s, int enabled)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		sd_event_source_set_enabled(s->listener[i], enabled);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct server *s = userdata;
	uint64_t now = now_usec();

	while (s->oldest && s->oldest->since + SERVER_LIFE_MS * 1000ULL <= now)
		end_oldest(s);
	turn(s);
	return 0;
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	set_listening(userdata, SD_EVENT_ON);
	return 0;
}

/* Takes a connection; the place of the oldest if there is none. */
static int take(struct server *s, int listener)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (s->n >= SERVER_CONNECTIONS) {
		end_oldest(s);
		MHD_run(s->http);
	}
	/* it closes fd if it does not take it */
	return MHD_add_connection(s->http, fd, (struct sockaddr *)&sa, len) == MHD_YES ? 0 : -ENOMEM;
}

static int on_listener(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct server *s = userdata;
	int r = 0;

	for (int i = 0; i < ACCEPTS_A_TURN && r == 0; i++)
		r = take(s, fd);
	turn(s);
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS) {
		set_listening(s, SD_EVENT_OFF);
		sd_event_source_set_time_relative(s->pause, PAUSE_USEC);
		sd_event_source_set_enabled(s->pause, SD_EVENT_ONESHOT);
	}
	return 0;
}

/* ---- start and end ---- */

static int start_http(struct server *s)
{
	const union MHD_DaemonInfo *info;
	int r;

	s->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, s,
		/* with room for those that were ended and are not closed yet */
		MHD_OPTION_CONNECTION_LIMIT, 2U * SERVER_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)SERVER_MEMORY, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	info = s->http ? MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return -ENOMEM;
	r = sd_event_add_io(s->event, &s->io, info->epoll_fd, EPOLLIN, on_io, s);
	if (r >= 0)
		r = sd_event_add_defer(s->event, &s->again, on_again, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->again, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(s->event, &s->timer, CLOCK_MONOTONIC, 0, 10000, on_timer, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	/* its own: the timer is switched off with the last connection, and the listeners would stay off */
	if (r >= 0)
		r = sd_event_add_time(s->event, &s->pause, CLOCK_MONOTONIC, 0, 10000, on_pause_over, s);
	return r < 0 ? r : sd_event_source_set_enabled(s->pause, SD_EVENT_OFF);
}

int server_new(sd_event *event, struct scraper *scraper, struct server **ret, struct fault *reterr)
{
	_cleanup_(server_freep) struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return fault_set(reterr, -ENOMEM, "no_memory", "", "out of memory");
	s->event = sd_event_ref(event);
	s->scraper = scraper;
	s->end = &s->oldest;
	r = start_http(s);
	if (r < 0)
		return fault_set(reterr, r, "http", "", "cannot start to serve HTTP: %s", strerror(-r));
	*ret = TAKE_PTR(s);
	return 0;
}

struct server *server_free(struct server *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_listeners; i++)
		sd_event_source_disable_unref(s->listener[i]);
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->again);
	sd_event_source_disable_unref(s->timer);
	sd_event_source_disable_unref(s->pause);
	if (s->http)
		MHD_stop_daemon(s->http); /* each connection is forgotten */
	sd_event_unref(s->event);
	free(s);
	return NULL;
}

int server_listen(struct server *s, int fd, struct fault *reterr)
{
	int flags = fcntl(fd, F_GETFL), r = -E2BIG;

	/* who connected may be gone when it is taken: that may not block */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		r = -errno;
	else if (s->n_listeners < LISTENERS)
		r = sd_event_add_io(s->event, &s->listener[s->n_listeners], fd, EPOLLIN, on_listener, s);
	if (r < 0)
		return fault_set(reterr, r, "socket", "", "cannot watch a socket: %s", strerror(-r));
	s->n_listeners++;
	return 0;
}
