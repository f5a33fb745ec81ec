/* SPDX-License-Identifier: MIT */
/* Which of the two text formats a scraper wants, by its header Accept. */
#pragma once

enum format {
	FORMAT_TEXT,        /* Prometheus' own, 0.0.4: whoever says nothing else */
	FORMAT_OPENMETRICS, /* 1.0.0 */
};

/* accept: the header's value; NULL: there is none. A format that is named outweighs one that only a wildcard
 * lets in; of two of the same quality OpenMetrics is taken. */
enum format accept_format(const char *accept);
