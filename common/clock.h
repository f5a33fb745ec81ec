/* SPDX-License-Identifier: MIT */
/*
 * Stamps for latency: the TSC where the kernel itself trusts it as its clock, else CLOCK_MONOTONIC. Stamps
 * are only compared with stamps of the same process.
 */
#pragma once

#include <stdint.h>
#include <time.h>

/* ns = units * mult >> 32; mult is 2^32 for CLOCK_MONOTONIC. Written by clock_init() only. */
struct clock_source {
	const char *name; /* "tsc" or "monotonic" */
	int tsc;
	uint64_t mult;
};

extern struct clock_source clock_source;

/* Chooses and calibrates (5 ms); to be called once, before any thread. Without it stamps are CLOCK_MONOTONIC.
 */
void clock_init(void);

static inline const char *clock_name(void)
{
	return clock_source.name;
}

/* CLOCK_MONOTONIC in ns. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_stamp(void)
{
#if defined(__x86_64__)
	if (clock_source.tsc)
		return __builtin_ia32_rdtsc();
#endif
	return clock_now_ns();
}

/* The difference of two stamps in ns; 0 if the later one is not later (TSCs of two cores can differ by some
 * cycles). */
static inline uint64_t clock_stamp_to_ns(uint64_t delta)
{
	if ((int64_t)delta <= 0)
		return 0;
	return (uint64_t)(((unsigned __int128)delta * clock_source.mult) >> 32);
}

/* The other way: how much later a stamp is after ns. */
static inline uint64_t clock_ns_to_stamp(uint64_t ns)
{
	return (uint64_t)(((unsigned __int128)ns << 32) / clock_source.mult);
}
