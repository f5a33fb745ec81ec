/* SPDX-License-Identifier: MIT */
/*
 * The daemon's log: to the journal with structured fields where stderr is the journal's, else plain words on
 * stderr. Lines about a run or a sweep begin with "run ID: " and, in the journal, carry COPYLEDGER_RUN=ID or
 * COPYLEDGER_SWEEP=ID.
 */
#pragma once

#include <syslog.h>

#include "macro.h"

enum log_about {
	LOG_ABOUT_DAEMON,
	LOG_ABOUT_RUN,
	LOG_ABOUT_SWEEP,
};

/* Looks whether stderr is the journal's ($JOURNAL_STREAM). Before it: plain words. */
void log_init(void);

/* One line, one write; control bytes and what is not UTF-8 become '?'. priority is LOG_ERR, LOG_WARNING or
 * LOG_INFO; id: of the run or the sweep, else unused. */
void log_line(int priority, enum log_about about, const char *id, const char *fmt, ...) _printf_(4, 5);

#define log_error(...) log_line(LOG_ERR, LOG_ABOUT_DAEMON, NULL, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, LOG_ABOUT_DAEMON, NULL, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, LOG_ABOUT_DAEMON, NULL, __VA_ARGS__)
#define log_run(priority, id, ...) log_line(priority, LOG_ABOUT_RUN, id, __VA_ARGS__)
#define log_sweep(priority, id, ...) log_line(priority, LOG_ABOUT_SWEEP, id, __VA_ARGS__)
