/* SPDX-License-Identifier: MIT */
/*
 * The HTTP side. A connection is for one request and has a bound in memory and in time; when all places are
 * taken, the oldest gives its place to a new one, so that idle ones keep nobody out.
 */
#pragma once

#include <systemd/sd-event.h>

#include "fault.h"
#include "macro.h"
#include "scrape.h"

#define SERVER_CONNECTIONS 64
#define SERVER_MEMORY (16U << 10) /* bytes a connection: request line, headers, and those of the reply */
#define SERVER_LIFE_MS 10000      /* of a connection */

struct server;

/* scraper is borrowed and must live longer. */
int server_new(sd_event *event, struct scraper *scraper, struct server **ret, struct fault *reterr);
struct server *server_free(struct server *s); /* NULL is allowed */
DEFINE_CLEANUP(struct server *, server_free)

/* Serves who connects to fd, a listening socket that is borrowed. */
int server_listen(struct server *s, int fd, struct fault *reterr);
