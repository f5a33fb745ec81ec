// SPDX-License-Identifier: MIT
/* copyledger(1): asks copyledgerd for measured transfers and shows their ledgers. */
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
	if (fflush(stdout) != 0 || ferror(stdout))
		status = status == STATUS_OK ? STATUS_FAILED : status;
	return status;
}
