// SPDX-License-Identifier: MIT
/* What the commands share: calling the daemon, failing with a sentence, printing documents. */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "cli.h"
#include "render.h"

/* Codes of faults, the daemon's and our own; what is not here is a plain failure. */
static const struct code_status {
	const char *code;
	enum exit_status status;
} code_statuses[] = {
	{"usage", STATUS_USAGE},
	{"InvalidRequest", STATUS_USAGE},
	{"OutOfRange", STATUS_USAGE},
	{"UnknownName", STATUS_USAGE},
	{"UnknownMember", STATUS_USAGE},
	{"MissingMember", STATUS_USAGE},
	{"WrongType", STATUS_USAGE},
	{"NoSuchRun", STATUS_USAGE},
	{"NoSuchSweep", STATUS_USAGE},
	{"LimitExceeded", STATUS_USAGE},
	{"InvalidParameter", STATUS_USAGE},
	{"unreachable", STATUS_UNREACHABLE},
	{"PermissionDenied", STATUS_UNREACHABLE},
	{"permission_denied", STATUS_UNREACHABLE},
};

static enum exit_status status_of(const char *code)
{
	for (size_t i = 0; i < ARRAY_SIZE(code_statuses); i++)
		if (str_eq(code, code_statuses[i].code))
			return code_statuses[i].status;
	return STATUS_FAILED;
}

int cli_fail(struct cli *cli, const struct fault *fault)
{
	out_text(&cli->err, STYLE_BAD, "copyledger:");
	out_text(&cli->err, STYLE_NONE, " ");
	out_wrap(&cli->err, STYLE_NONE, fault->text);
	out_newline(&cli->err);
	return status_of(fault->code);
}

int cli_call(struct cli *cli, const char *method, json_object *parameters, json_object **ret)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct fault fault = {};
	int r;

	r = client_connect(cli->socket, &c, &fault);
	if (r == 0)
		r = client_call(c, method, parameters, ret, &fault);
	return r < 0 ? cli_fail(cli, &fault) : STATUS_OK;
}

json_object *cli_id(const struct cli *cli, const char *fallback)
{
	const char *id = cli->values.n_operands ? cli->values.operands[0] : fallback;
	json_object *o = json_object_new_object();

	if (id)
		json_object_object_add(o, "id", json_object_new_string(id));
	return o;
}

bool cli_is_sweep(const char *id)
{
	return id && id[0] == 's' && id[1] >= '0' && id[1] <= '9';
}

int cli_print_json(struct cli *cli, json_object *o, bool pretty)
{
	struct fault fault;
	int r;

	r = doc_print(cli->out.f, o, pretty);
	if (r == 0)
		return STATUS_OK;
	fault_set(&fault, r, "output", "", "cannot write the document: %s", strerror(-r));
	return cli_fail(cli, &fault);
}

int cli_show_result(struct cli *cli, json_object *result)
{
	int r = STATUS_OK;

	if (cli->json)
		r = cli_print_json(cli, result, true);
	else
		render_result(&cli->out, result);
	return r == STATUS_OK ? result_status(result) : r;
}

int cli_catch_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}
