// SPDX-License-Identifier: MIT
/* Drives a run of two hosts: both daemons go from gate to gate, and when one of them ends early the other is
 * told. */
#include "pair.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include "render.h"

#define LOOK_MS 20
#define END_LOOKS (20000 / LOOK_MS) /* for the other side, when one has ended */

enum { HERE, THERE, SIDES };
static const char *const roles[SIDES] = {"sender", "receiver"};

struct side {
	struct client *c;         /* NULL: not reached yet, or no more */
	json_object *id, *result; /* {"id": ...} of its run; the document, when it has ended */
	char state[16];
	bool told;
};

struct pair_run {
	struct cli *cli;
	struct side side[SIDES];
	char address[64];
	struct fault fault;
	int signals;
	unsigned int interrupts;
};

static int fail_side(struct pair_run *p, int s, const struct fault *fault)
{
	return fault_set(&p->fault, fault->error, fault->code, fault->field, "the %s's daemon: %s", roles[s],
		fault->text);
}

/* ---- calls, and what ends them ---- */

/* A call that was left, or that went wrong on its way, is never answered in order: the connection is of no
 * more use, and the bridge ends with it. */
static void hang_up(struct side *side, int r)
{
	if (r < 0 && r != -EREMOTEIO)
		side->c = client_free(side->c);
}

/* That it ended in between is no failure of ours. */
static void cancel(struct pair_run *p, int s)
{
	struct side *side = &p->side[s];
	json_object *reply = NULL;
	struct fault fault;

	if (!side->c || !side->id || side->result || side->told)
		return;
	side->told = true;
	hang_up(side, client_call_waking(side->c, "CancelRun", side->id, p->signals, &reply, &fault));
	json_object_put(reply);
}

/* What a Ctrl-C says: 0 to go on, to the end that the caller makes of it, or -EINTR to leave: there is
 * nothing to be shown yet, or it is the second one. */
static int take_signal(struct pair_run *p)
{
	struct signalfd_siginfo info;

	if (read(p->signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (!p->side[THERE].id)
		return fault_set(&p->fault, -EINTR, "interrupted", "",
			"interrupted before the receiver's daemon had started its run");
	if (p->interrupts++)
		return fault_set(&p->fault, -EINTR, "interrupted", "", "left: both runs end by themselves");
	out_line(&p->cli->err, STYLE_NONE, "cancelling both runs; once more leaves without waiting for them");
	return 0;
}

/* The first Ctrl-C ends the sender, whose last message ends the receiver. Not amid a call of the sender's. */
static void heed(struct pair_run *p)
{
	if (p->interrupts)
		cancel(p, HERE);
}

static int call(struct pair_run *p, int s, const char *method, json_object *parameters, json_object **ret)
{
	struct side *side = &p->side[s];
	struct fault fault = {};
	int r;

	if (!side->c)
		return fault_set(&p->fault, -ECONNRESET, "unreachable", "",
			"the %s's daemon does not answer any more", roles[s]);
	r = client_call_waking(side->c, method, parameters, p->signals, ret, &fault);
	while (r == -EINTR && take_signal(p) == 0) {
		if (s == THERE)
			heed(p); /* now: it may be the only one that can still be told */
		r = client_await(side->c, p->signals, ret, &fault);
	}
	hang_up(side, r);
	heed(p);
	return r < 0 && r != -EINTR ? fail_side(p, s, &fault) : r;
}

/* ---- what is asked ---- */

static int refuse(struct pair_run *p, const char *text)
{
	return fault_set(&p->fault, -EINVAL, "usage", "", "%s", text);
}

static int check_usage(struct pair_run *p)
{
	json_object *local = p->cli->values.local;

	if (!doc_string(local, "peer") && !doc_string(local, "via"))
		return refuse(p, "--peer-address is of a run of two hosts: it needs --peer or --via, too");
	if (doc_flag(local, "detach") == 1)
		return refuse(p, "--detach does not go with two hosts: they are driven from here");
	if (doc_at(p->cli->values.request, "path"))
		return refuse(p, "--path does not go with two hosts: the path is the one between them");
	return 0;
}

/* ---- reaching the other host ---- */

static int resolve(struct pair_run *p, const char *host)
{
	const char *at = strrchr(host, '@');
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int64_t version = 0;
	int r;

	if (doc_integer(p->cli->values.request, "ip", &version))
		hints.ai_family = version == 6 ? AF_INET6 : AF_INET;
	r = getaddrinfo(at ? at + 1 : host, NULL, &hints, &found);
	if (r == 0)
		r = getnameinfo(found->ai_addr, found->ai_addrlen, p->address, sizeof(p->address), NULL, 0,
			NI_NUMERICHOST);
	freeaddrinfo(found);
	return r ? fault_set(&p->fault, -EINVAL, "usage", "",
			   "cannot resolve %s (%s): give its address by --peer-address", host,
			   gai_strerror(r))
		 : 0;
}

/* The receiver listens in one family only: in that of the address. */
static int settle_family(struct pair_run *p)
{
	json_object *request = p->cli->values.request;
	int64_t version = 0, needed = strchr(p->address, ':') ? 6 : 4;

	if (doc_integer(request, "ip", &version) && version != needed)
		return fault_set(&p->fault, -EINVAL, "usage", "", "%s is no address of IPv%" PRId64, p->address,
			version);
	json_object_object_add(request, "ip", json_object_new_int64(needed));
	return 0;
}

static int find_address(struct pair_run *p)
{
	const char *address = doc_string(p->cli->values.local, "peer-address");
	const char *host = doc_string(p->cli->values.local, "peer");

	if (address)
		return str_copy(p->address, address) ? 0
						     : fault_set(&p->fault, -EINVAL, "usage", "",
							       "'%s' is not an address", address);
	if (host)
		return resolve(p, host);
	return fault_set(&p->fault, -EINVAL, "usage", "",
		"--via needs --peer-address, or --peer whose address is to be used");
}

static int reach(struct pair_run *p)
{
	const char *via = doc_string(p->cli->values.local, "via"),
		   *host = doc_string(p->cli->values.local, "peer");
	char *const shell[] = {"sh", "-c", (char *)via, NULL}, *const ssh[] = {"ssh", (char *)host,
								       "copyledger", "bridge", NULL};
	struct fault fault = {};
	int r;

	if (!via && host[0] == '-')
		return fault_set(&p->fault, -EINVAL, "usage", "", "'%s' is not a host", host);
	r = client_connect(p->cli->socket, &p->side[HERE].c, &fault);
	if (r < 0)
		return fail_side(p, HERE, &fault);
	r = client_spawn(via ? shell : ssh, &p->side[THERE].c, &fault);
	return r < 0 ? fail_side(p, THERE, &fault) : 0;
}

/* ---- the course ---- */

static int start(struct pair_run *p, int s, json_object *pair, json_object **ret)
{
	_cleanup_json_ json_object *parameters = json_object_new_object();
	int r;

	json_object_object_add(parameters, "spec", json_object_get(p->cli->values.request));
	json_object_object_add(parameters, "pair", pair);
	r = call(p, s, "StartRun", parameters, ret);
	if (r < 0)
		return r;
	if (!doc_string(*ret, "id"))
		return fault_set(&p->fault, -EBADMSG, "bad_reply", "",
			"the %s's daemon started a run without an id", roles[s]);
	p->side[s].id = json_object_new_object();
	json_object_object_add(p->side[s].id, "id", json_object_get(doc_at(*ret, "id")));
	return 0;
}

static int start_both(struct pair_run *p)
{
	_cleanup_json_ json_object *invitation = NULL, *started = NULL;
	json_object *pair = json_object_new_object();
	int64_t port;
	int r;

	json_object_object_add(pair, "role", json_object_new_string(roles[THERE]));
	r = start(p, THERE, pair, &invitation);
	if (r < 0)
		return r;
	if (!doc_string(invitation, "token") || !doc_integer(invitation, "port", &port))
		return fault_set(
			&p->fault, -EBADMSG, "bad_reply", "", "the receiver's daemon gave no port and token");
	pair = json_object_new_object();
	json_object_object_add(pair, "role", json_object_new_string(roles[HERE]));
	json_object_object_add(pair, "address", json_object_new_string(p->address));
	json_object_object_add(pair, "port", json_object_new_int64(port));
	json_object_object_add(pair, "token", json_object_get(doc_at(invitation, "token")));
	json_object_object_add(pair, "id", json_object_get(doc_at(invitation, "id")));
	return start(p, HERE, pair, &started);
}

static int look(struct pair_run *p, int s)
{
	_cleanup_json_ json_object *reply = NULL;
	struct side *side = &p->side[s];
	int r;

	if (side->result)
		return 0;
	r = call(p, s, "GetRun", side->id, &reply);
	if (r < 0)
		return r;
	str_copy(side->state, doc_text(reply, "state"));
	if (json_object_is_type(doc_at(reply, "result"), json_type_object))
		side->result = json_object_get(doc_at(reply, "result"));
	return 0;
}

/* 0, or -EINTR to leave. */
static int pause_or_signal(struct pair_run *p)
{
	struct pollfd fd = {.fd = p->signals, .events = POLLIN};
	int r = 0;

	if (poll(&fd, 1, LOOK_MS) > 0)
		r = take_signal(p);
	heed(p);
	return r;
}

static int look_at_both(struct pair_run *p)
{
	int r = look(p, HERE);

	return r < 0 ? r : look(p, THERE);
}

/* Its own end ends the other one. */
static bool is_orderly(const struct side *side)
{
	return str_eq(side->state, "done");
}

/* Until both are in the state (or have ended), or one has ended without the other: then that one is
 * cancelled, if it does not end by itself. */
static int wait_both(struct pair_run *p, const char *state)
{
	unsigned int alone = 0;
	int r = look_at_both(p);

	while (r == 0) {
		struct side *here = &p->side[HERE], *there = &p->side[THERE];

		if (here->result && there->result)
			return 0;
		if (str_eq(here->state, state) && str_eq(there->state, state))
			return 0;
		if (here->result || there->result) {
			int other = here->result ? THERE : HERE;

			if (!is_orderly(&p->side[!other]))
				cancel(p, other);
			if (++alone > END_LOOKS)
				return fault_set(&p->fault, -ETIME, "peer_timeout", "",
					"the %s's run does not end", roles[other]);
		}
		r = pause_or_signal(p);
		if (r == 0)
			r = look_at_both(p);
	}
	return r;
}

static int go_on(struct pair_run *p)
{
	int r = 0;

	/* The receiver first: what comes is then received in a phase of its own. */
	for (int s = THERE; s >= HERE && r == 0; s--) {
		_cleanup_json_ json_object *reply = NULL;

		if (!p->side[s].result)
			r = call(p, s, "ContinueRun", p->side[s].id, &reply);
	}
	return r;
}

static int course(struct pair_run *p)
{
	static const char *const gates[] = {"connected", "ready"};
	int r;

	r = find_address(p);
	if (r == 0)
		r = settle_family(p);
	if (r == 0)
		r = reach(p);
	if (r == 0)
		r = start_both(p);
	for (size_t i = 0; i < ARRAY_SIZE(gates) && r == 0; i++) {
		r = wait_both(p, gates[i]);
		if (r == 0 && !p->side[HERE].result && !p->side[THERE].result)
			r = go_on(p);
	}
	return r < 0 ? r : wait_both(p, "");
}

/* ---- the end ---- */

static void render_pair(struct cli *cli, json_object *pair)
{
	json_object *m = doc_at(pair, "merged"), *balance = doc_at(m, "balance");
	double copies, gbps, offset, error;

	for (int s = HERE; s < SIDES; s++) {
		out_line(&cli->out, STYLE_BOLD, "%s's host", roles[s]);
		if (json_object_is_type(doc_at(pair, roles[s]), json_type_object))
			render_result(&cli->out, doc_at(pair, roles[s]));
		out_newline(&cli->out);
	}
	if (!m)
		return;
	out_line(&cli->out, STYLE_BOLD, "both hosts, run %s", doc_text(pair, "id"));
	if (doc_number(m, "throughput_gbps", &gbps))
		out_line(&cli->out, STYLE_NONE, "throughput at the receiver  %s", figure_rate(gbps).s);
	if (doc_number(m, "copies_per_byte.total", &copies))
		out_line(&cli->out, STYLE_NONE, "copies per byte  %s%.3f",
			doc_flag(m, "copies_per_byte.lower_bound") == 1 ? "at least " : "", copies);
	if (doc_number(m, "clock.offset_ns", &offset) && doc_number(m, "clock.error_ns", &error))
		out_line(&cli->out, STYLE_NONE, "the receiver's clock is ahead by  %.1f us, within %.1f us",
			offset / 1e3, error / 1e3);
	for (size_t i = 0; i < doc_length(balance); i++) {
		json_object *e = json_object_array_get_idx(balance, i);
		int64_t left, right;

		if (doc_integer(e, "left", &left) && doc_integer(e, "right", &right))
			out_line(&cli->out, STYLE_NONE, "%s: %lld = %lld: %s", doc_text(e, "text"),
				(long long)left, (long long)right,
				doc_flag(e, "holds") == 1 ? "holds" : "does not hold");
	}
}

static int show(struct pair_run *p)
{
	_cleanup_json_ json_object *pair = pair_merge(p->side[HERE].result, p->side[THERE].result);
	int r = STATUS_OK;

	if (p->cli->json)
		r = cli_print_json(p->cli, pair, true);
	else
		render_pair(p->cli, pair);
	return r == STATUS_OK ? pair_status(pair) : r;
}

int pair_run(struct cli *cli)
{
	_cleanup_close_ int signals = cli_catch_signals();
	struct pair_run p = {.cli = cli, .signals = signals};
	int r, status;

	if (signals >= 0) /* for the bridge, which is to outlive a Ctrl-C; blocked, it is read here */
		signal(SIGINT, SIG_IGN);
	r = check_usage(&p);
	if (r == 0)
		r = course(&p);
	for (int s = HERE; s < SIDES && r < 0; s++)
		cancel(&p, s);
	status = r < 0 ? cli_fail(cli, &p.fault) : show(&p);
	for (int s = HERE; s < SIDES; s++) {
		client_free(p.side[s].c);
		json_object_put(p.side[s].id);
		json_object_put(p.side[s].result);
	}
	return status;
}
