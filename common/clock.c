/* SPDX-License-Identifier: MIT */
/* Which clock stamps messages, and how long its tick is. */
#include <stdio.h>

#include "clock.h"
#include "macro.h"

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define CALIBRATE_NS 5000000u

struct clock_source clock_source = {.name = "monotonic", .tsc = 0, .mult = 1ULL << 32};

#if defined(__x86_64__)
static int kernel_trusts_tsc(void)
{
	_cleanup_fclose_ FILE *f = fopen(CLOCKSOURCE, "re");
	char name[32];

	return f && fscanf(f, "%31s", name) == 1 && str_eq(name, "tsc");
}

/* A pair of readings of one moment: of several tries the one that took the shortest, so that no preemption is
 * in it. */
static void read_pair(uint64_t *ret_tsc, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = __builtin_ia32_rdtsc(), ns = clock_now_ns(), after = __builtin_ia32_rdtsc();

		if (after - before >= best)
			continue;
		best = after - before;
		*ret_tsc = before + (after - before) / 2;
		*ret_ns = ns;
	}
}

void clock_init(void)
{
	uint64_t tsc0 = 0, tsc1 = 0, ns0 = 0, ns1 = 0;

	if (clock_source.tsc || !kernel_trusts_tsc())
		return;
	read_pair(&tsc0, &ns0);
	while (clock_now_ns() - ns0 < CALIBRATE_NS)
		;
	read_pair(&tsc1, &ns1);
	if (tsc1 <= tsc0 || ns1 <= ns0)
		return;
	clock_source.mult = (uint64_t)(((unsigned __int128)(ns1 - ns0) << 32) / (tsc1 - tsc0));
	clock_source.name = "tsc";
	clock_source.tsc = 1;
}
#else
void clock_init(void)
{
}
#endif
