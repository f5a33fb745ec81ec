/* SPDX-License-Identifier: MIT */
/* The load generator without a daemon: it drives itself over a pair of its own and prints what it counted. */
#pragma once

/* Parses options, runs, prints to stdout. Returns an exit status: 0 done, 1 failed, 2 usage. */
int byhand_main(int argc, char **argv);
