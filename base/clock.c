/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

static uint64_t virtual_ns; /* 0: the real clock */

uint64_t clock_now(void)
{
	struct timespec ts;

	if (virtual_ns)
		return virtual_ns;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

struct timespec clock_wall(void)
{
	struct timespec ts;

	if (virtual_ns) {
		ts.tv_sec = (time_t)(1700000000 + virtual_ns / NS_PER_S);
		ts.tv_nsec = (long)(virtual_ns % NS_PER_S);
		return ts;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

void clock_virtual_set(uint64_t ns)
{
	virtual_ns = ns;
}

void clock_virtual_add(uint64_t ns)
{
	virtual_ns += ns;
}
