// SPDX-License-Identifier: MIT
/* copyledgerd: parses its options, takes its socket and state directory, and runs the event loop. */
#include <errno.h>
#include <getopt.h>
#include <linux/limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "commands.h"
#include "config.h"
#include "control.h"
#include "host.h"
#include "ledger.h"
#include "log.h"
#include "manager.h"
#include "perf.h"
#include "run.h"

#define CONFIG_NAME "copyledgerd.conf"
#define LOADGEN_NAME "copyledger-loadgen"
/* A run of 1000 lanes needs 2000 threads with some 20 perf events each. */
#define FILES_WANTED 131072

struct options {
	const char *socket, *state_dir, *config;
	char loadgen[PATH_MAX], state_env[PATH_MAX], config_env[PATH_MAX];
	bool config_optional, check_config;
	int done; /* exit at once with status done - 1 */
};

static const struct run_ops run_functions = {
	.start = run_start,
	.go_on = run_continue,
	.cancel = run_cancel,
	.free = run_free,
	.finished = run_finished,
	.state = run_state,
	.progress = run_progress,
	.trace = run_trace,
	.result = run_result,
	.ledger_probe = ledger_probe,
	.perf_probe = perf_probe,
	.host_snapshot = host_snapshot,
};

static void help(void)
{
	printf("Usage: copyledgerd [OPTION]...\n"
	       "Measures TCP transfers and keeps the ledger of their copies; clients speak Varlink to it.\n\n"
	       "  --socket PATH     listen here (default: the socket that systemd passes)\n"
	       "  --state-dir DIR   keep results in DIR (default: $STATE_DIRECTORY)\n"
	       "  --loadgen PATH    the load generator (default: beside this program, else in\n"
	       "                    ../libexec/copyledger from there)\n"
	       "  --config FILE     limits, a line each: name = number\n"
	       "                    (default: $CONFIGURATION_DIRECTORY/" CONFIG_NAME ", if it is there);\n"
	       "                    read again on SIGHUP\n"
	       "  --check-config    read the configuration, say whether it is good, and exit\n"
	       "  --print-config    print a configuration file with every setting, its meaning and default, "
	       "and exit\n"
	       "  --version         print the version and exit\n"
	       "  --help            print this and exit\n");
}

static int bad_usage(void)
{
	fprintf(stderr, "Try 'copyledgerd --help'.\n");
	return 1 + 2;
}

static void parse_option(int c, struct options *o)
{
	switch (c) {
	case 's':
		o->socket = optarg;
		break;
	case 'd':
		o->state_dir = optarg;
		break;
	case 'l':
		str_copy(o->loadgen, optarg);
		break;
	case 'c':
		o->config = optarg;
		break;
	case 'k':
		o->check_config = true;
		break;
	case 'p':
		limits_print();
		o->done = 1;
		break;
	case 'v':
		printf("copyledgerd %s\n", COPYLEDGER_VERSION);
		o->done = 1;
		break;
	case 'h':
		help();
		o->done = 1;
		break;
	default:
		o->done = bad_usage();
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"state-dir", required_argument, NULL, 'd'},
		{"loadgen", required_argument, NULL, 'l'},
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, 'k'},
		{"print-config", no_argument, NULL, 'p'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{},
	};
	int c;

	while (!o->done && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
		parse_option(c, o);
	if (!o->done && optind < argc) {
		fprintf(stderr, "copyledgerd: '%s' is no option\n", argv[optind]);
		o->done = bad_usage();
	}
}

/* systemd gives a list with ':' between the directories; the first one is ours. */
static void default_state_dir(struct options *o)
{
	const char *env = getenv("STATE_DIRECTORY");

	if (o->state_dir || !env || !*env)
		return;
	str_copy(o->state_env, env);
	o->state_env[strcspn(o->state_env, ":")] = 0;
	o->state_dir = o->state_env;
}

/* Under systemd a file of this name is read if it is there. */
static void default_config(struct options *o)
{
	const char *env = getenv("CONFIGURATION_DIRECTORY");

	if (o->config || !env || !*env)
		return;
	snprintf(o->config_env, sizeof(o->config_env), "%.*s/" CONFIG_NAME, (int)strcspn(env, ":"), env);
	o->config = o->config_env;
	o->config_optional = true;
}

/* A file that need not be there and is not means the defaults. */
static int read_config(const struct options *o, struct limits *ret, struct fault *reterr)
{
	*ret = limits_default;
	if (!o->config || (o->config_optional && access(o->config, F_OK) < 0))
		return 0;
	return limits_read(o->config, ret, reterr);
}

/* Beside the daemon, as it was built, or in libexec of whatever prefix it was installed below. */
static void default_loadgen(struct options *o)
{
	static const char *const places[] = {LOADGEN_NAME, "../libexec/copyledger/" LOADGEN_NAME};
	char path[PATH_MAX];
	ssize_t n;
	char *slash;

	if (o->loadgen[0])
		return;
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[MAX(n, 0)] = 0;
	slash = strrchr(path, '/');
	if (slash)
		slash[1] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(o->loadgen, sizeof(o->loadgen), "%.4000s%s", path, places[i]);
		if (access(o->loadgen, X_OK) == 0)
			return;
	}
}

/* To the wanted value if the kernel lets us, else as far as the hard limit goes. */
static void raise_limit(int resource, rlim_t wanted)
{
	struct rlimit had, limit = {wanted, wanted};

	if (getrlimit(resource, &had) < 0 || had.rlim_cur >= wanted)
		return;
	if (had.rlim_max > wanted)
		limit.rlim_max = had.rlim_max;
	if (setrlimit(resource, &limit) == 0)
		return;
	had.rlim_cur = had.rlim_max;
	if (setrlimit(resource, &had) < 0)
		log_warning("cannot raise a resource limit, going on: %m");
}

static int socket_from_systemd(struct fault *reterr)
{
	int n = sd_listen_fds(1);

	if (n < 0)
		return fault_set(
			reterr, n, "socket", "", "cannot take the socket from systemd: %s", strerror(-n));
	if (n != 1 || sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_STREAM, 1) <= 0)
		return fault_set(reterr, -EINVAL, "socket", "",
			"%d sockets came from systemd, one listening stream socket is needed: give --socket "
			"PATH, or "
			"start copyledgerd.socket",
			n);
	return SD_LISTEN_FDS_START;
}

struct service {
	const struct options *options;
	struct manager *manager;
	struct control *control;
};

/* sd_notify(3): a reload is told from its begin, on systemd's clock, to its end. */
static void say_reloading(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reading the configuration",
		ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000);
}

/* A bad file changes nothing. */
static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct service *s = userdata;
	struct limits limits;
	struct fault fault;

	say_reloading();
	if (read_config(s->options, &limits, &fault) < 0) {
		log_error("%s; the limits stay as they are", fault.text);
	} else {
		manager_set_limits(s->manager, &limits);
		control_set_limits(s->control, &limits);
		log_info("the configuration was read again");
	}
	sd_notify(0, "READY=1");
	manager_say_status(s->manager);
	return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	log_info("%s: ending", strsignal(info->ssi_signo));
	sd_notify(0, "STOPPING=1");
	manager_stop(((struct service *)userdata)->manager);
	return 0;
}

/* SIGCHLD is blocked here, before anything could start a child: sd-event wants it so. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of a write, not the end */
}

static int serve(sd_event *event, struct service *s)
{
	int r;

	r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, s);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_signal, s);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_reload, s);
	if (r < 0)
		return r;
	sd_notify(0, "READY=1\nSTATUS=idle");
	r = sd_event_set_watchdog(event, true);
	return r < 0 ? r : sd_event_loop(event);
}

static int run_daemon(const struct options *o, const struct limits *limits, struct fault *reterr)
{
	struct manager_config config = {.loadgen = o->loadgen, .state_dir = o->state_dir, .limits = *limits};
	_cleanup_(sd_event_unrefp) sd_event *event = NULL;
	_cleanup_(manager_freep) struct manager *m = NULL;
	_cleanup_(control_freep) struct control *control = NULL;
	struct service service;
	int r, fd;

	r = sd_event_default(&event);
	if (r < 0)
		return fault_set(reterr, r, "event", "", "cannot make an event loop: %s", strerror(-r));
	fd = o->socket ? control_listen(o->socket, reterr) : socket_from_systemd(reterr);
	if (fd < 0)
		return fd;
	r = manager_new(event, &run_functions, &config, &m, reterr);
	if (r < 0) {
		close_fd(fd);
		return r;
	}
	r = control_new(event, m, limits, fd, &control, reterr);
	if (r < 0)
		return r;
	log_info("version %s, %s%s, results in %s", COPYLEDGER_VERSION,
		o->socket ? "listening on " : "socket of systemd", o->socket ? o->socket : "",
		manager_state_dir(m) ? manager_state_dir(m) : "memory");
	service = (struct service){o, m, control};
	r = serve(event, &service);
	return r < 0 ? fault_set(reterr, r, "event", "", "the event loop failed: %s", strerror(-r)) : 0;
}

int main(int argc, char **argv)
{
	static struct options o;
	struct limits limits;
	struct fault fault = {0};
	int r;

	umask(0077); /* the results are for the owner, in whatever folder they lie */
	log_init();
	parse_options(argc, argv, &o);
	if (o.done == 1 && (fflush(stdout) != 0 || ferror(stdout))) {
		log_error("cannot write to standard output: %m");
		return EXIT_FAILURE;
	}
	if (o.done)
		return o.done - 1;
	default_config(&o);
	r = read_config(&o, &limits, &fault);
	if (r < 0 || o.check_config) {
		if (r < 0)
			log_error("%s", fault.text);
		else
			log_info("the configuration is good");
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	default_state_dir(&o);
	default_loadgen(&o);
	block_signals();
	raise_limit(RLIMIT_NOFILE, FILES_WANTED);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	r = run_daemon(&o, &limits, &fault);
	if (r < 0)
		log_error("%s", fault.text);
	/* only a daemon that listened itself has a file to remove, and only if no other one listens there */
	if (o.socket && r != -EADDRINUSE)
		control_unlisten(o.socket);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
