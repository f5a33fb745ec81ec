// SPDX-License-Identifier: MIT
/* copyledger(1): asks copyledgerd for measured transfers and shows their ledgers. */
#include <errno.h>
#include <locale.h>

#include "commands.h"

int main(int argc, char **argv)
{
	const char *socket = getenv("COPYLEDGER_SOCKET");
	struct cli cli = {};
	int status;

	setlocale(LC_CTYPE, ""); /* characters only: numbers keep their dot */
	cli.socket = socket && *socket ? socket : CLIENT_SOCKET;
	cli.out = out_for(stdout);
	cli.err = out_for(stderr);
	status = commands_dispatch(&cli, argc, argv);
	options_free(&cli.values);
	if (status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout))) {
		out_line(&cli.err, STYLE_NONE, "copyledger: cannot write to standard output: %s",
			strerror(errno));
		status = STATUS_FAILED;
	}
	return status;
}
