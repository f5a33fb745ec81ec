/* SPDX-License-Identifier: MIT */
/* Every limit on what a client controls. GetInfo reports them; the tests go to each edge. */
#pragma once

#define LIMIT_SIZE_MIN 1ULL
#define LIMIT_SIZE_MAX (64ULL << 20)	/* bytes a message */
#define LIMIT_FIELDS_MIN 1U
#define LIMIT_FIELDS_MAX 64U
#define LIMIT_THREADS_MIN 1U
#define LIMIT_THREADS_MAX 1000U		/* lanes: two threads and two sockets each */
#define LIMIT_WARMUP_MS_MAX 60000U
#define LIMIT_DURATION_MS_MIN 10U
#define LIMIT_DURATION_MS_MAX 3600000U
#define LIMIT_SOCKBUF_MAX (256U << 20)	/* bytes, SO_SNDBUF and SO_RCVBUF */
#define LIMIT_LABEL 64U			/* characters */

#define LIMIT_MESSAGE (16U << 10)	/* bytes of a request, its NUL not counted */
#define LIMIT_DEPTH 8U			/* nesting of a request */
#define LIMIT_VALUES 256U		/* values of a request: objects, arrays, strings, numbers, words */
#define LIMIT_CLIENTS 256U
#define LIMIT_CLIENT_QUEUE (1U << 20)	/* bytes of replies that a client has not read yet (a single larger reply passes) */
#define LIMIT_IDLE_MS 60000U		/* a client that neither asks nor waits is closed */
#define LIMIT_RUN_QUEUE 64U		/* runs waiting */
#define LIMIT_RESULTS_MAX 100000U	/* results kept, unless the configuration wants others */
#define LIMIT_LIST 1000U		/* rows of one ListRuns */
#define LIMIT_WATCHES 8U		/* going on at once */
#define LIMIT_PATH_PROBES 4U		/* going on at once */
#define LIMIT_WATCH_TOP 1000U		/* rows of a watch's document */
#define LIMIT_TRACE_INTERVAL_MS_MIN 50U
#define LIMIT_TRACE_INTERVAL_MS_MAX 60000U
#define LIMIT_SWEEP_LIST 32U		/* values of one list of a sweep */
#define LIMIT_SWEEP_CELLS 1024U
#define LIMIT_SWEEP_REPEAT 100U		/* runs a cell */
#define LIMIT_SWEEP_RUNS 10240U		/* cells x repeats */
#define LIMIT_SWEEP_QUEUE 8U		/* sweeps under way, one of them running */
