/* SPDX-License-Identifier: MIT */
/* The daemon's log on stderr: with syslog priorities where the journal reads it, plain words elsewhere. */
#pragma once

#include <syslog.h>

#include "macro.h"

/* Looks whether stderr is the journal's ($JOURNAL_STREAM). Before it: plain words. */
void log_init(void);

/* One line, one write; control bytes and what is not UTF-8 become '?'. priority is LOG_ERR, LOG_WARNING or
 * LOG_INFO. */
void log_line(int priority, const char *fmt, ...) _printf_(2, 3);

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
