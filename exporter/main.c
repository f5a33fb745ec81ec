// SPDX-License-Identifier: MIT
/* copyledger-exporter: parses its options, takes its sockets, and answers scrapers until it is told to end.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "client.h"
#include "listen.h"
#include "metrics.h"
#include "server.h"
#include "utf8.h"

#define NAME "copyledger-exporter"
#define ADDRESS "127.0.0.1:19423"
#define STATUS_USAGE 2

struct options {
	const char *socket, *listen;
	int done; /* exit at once with status done - 1 */
};

static void say(const char *fmt, ...) _printf_(1, 2);
static void say(const char *fmt, ...)
{
	char text[512], clean[520];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, NAME ": %s\n", utf8_clean(clean, sizeof(clean), text));
}

static void help(void)
{
	printf("Usage: " NAME " [OPTION]...\n"
	       "Says what copyledgerd has measured and watches to Prometheus, at /metrics.\n\n"
	       "  --listen ADDR:PORT  serve there (default: the sockets that systemd passes,\n"
	       "                      else " ADDRESS ")\n"
	       "  --socket PATH       the daemon's control socket (default: $COPYLEDGER_SOCKET,\n"
	       "                      else " CLIENT_SOCKET ")\n"
	       "  --metrics           list the metrics, as Markdown, and exit\n"
	       "  --version           print the version and exit\n"
	       "  --help              print this and exit\n");
}

static void parse_option(int c, struct options *o)
{
	o->done = 1;
	switch (c) {
	case 'l':
		o->listen = optarg;
		o->done = 0;
		break;
	case 's':
		o->socket = optarg;
		o->done = 0;
		break;
	case 'm':
		metrics_document(stdout);
		break;
	case 'v':
		printf(NAME " %s\n", COPYLEDGER_VERSION);
		break;
	case 'h':
		help();
		break;
	default:
		fprintf(stderr, "Try '" NAME " --help'.\n");
		o->done = 1 + STATUS_USAGE;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"socket", required_argument, NULL, 's'},
		{"metrics", no_argument, NULL, 'm'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	const char *env = getenv("COPYLEDGER_SOCKET");
	int c;

	o->socket = env && *env ? env : CLIENT_SOCKET;
	while (!o->done && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
		parse_option(c, o);
	if (!o->done && optind < argc) {
		say("'%s' is no option", argv[optind]);
		o->done = 1 + STATUS_USAGE;
	}
}

/* Once for each change, not for each scrape. */
static void daemon_changed(enum outcome outcome, const struct fault *fault)
{
	if (outcome == SCRAPE_OK)
		say("the daemon answers again");
	else
		say("the daemon does not answer (%s), copyledger_up is 0: %s", outcome_names[outcome],
			fault->text);
}

static int take_sockets(const struct options *o, int fds[LISTEN_MAX], struct fault *reterr)
{
	struct address address;
	int r = o->listen ? 0 : listen_inherited(fds, reterr);

	if (r != 0)
		return r;
	r = address_parse(o->listen ? o->listen : ADDRESS, &address, reterr);
	if (r < 0)
		return r;
	fds[0] = listen_at(&address, reterr);
	return fds[0] < 0 ? fds[0] : 1;
}

static int run_loop(sd_event *event, struct fault *reterr)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	sd_notify(0, "READY=1");
	if (r >= 0)
		r = sd_event_loop(event);
	return r < 0 ? fault_set(reterr, r, "event", "", "the event loop failed: %s", strerror(-r)) : 0;
}

static int serve(const struct options *o, struct fault *reterr)
{
	struct scraper scraper = {.socket = o->socket, .changed = daemon_changed};
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(server_freep) struct server *server = NULL;
	char text[ADDRESS_TEXT];
	int fds[LISTEN_MAX], n, r;

	n = take_sockets(o, fds, reterr);
	if (n < 0)
		return n;
	r = sd_event_default(&event);
	if (r < 0)
		return fault_set(reterr, r, "event", "", "cannot make an event loop: %s", strerror(-r));
	r = server_new(event, &scraper, &server, reterr);
	for (int i = 0; r == 0 && i < n; i++) {
		r = server_listen(server, fds[i], reterr);
		if (r == 0)
			say("version %s, listening on %s, asking %s", COPYLEDGER_VERSION,
				address_of(fds[i], text), o->socket);
	}
	return r < 0 ? r : run_loop(event, reterr);
}

int main(int argc, char **argv)
{
	struct options o = {};
	struct fault fault = {};
	int r;

	parse_options(argc, argv, &o);
	if (o.done == 1 && (fflush(stdout) != 0 || ferror(stdout))) {
		say("cannot write to standard output: %m");
		return EXIT_FAILURE;
	}
	if (o.done)
		return o.done - 1;
	r = serve(&o, &fault);
	if (r == 0)
		return EXIT_SUCCESS;
	say("%s", fault.text);
	return str_eq(fault.code, "usage") ? STATUS_USAGE : EXIT_FAILURE;
}
