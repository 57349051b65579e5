/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>

static uint64_t virtual_ns; /* 0: the real clock */
static void (*virtual_idle)(void *, uint64_t);
static void *virtual_idle_arg;

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

bool clock_is_virtual(void)
{
	return virtual_ns != 0;
}

int clock_poll(struct pollfd *fds, unsigned n, uint64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(timeout_ns / NS_PER_S), .tv_nsec = (long)(timeout_ns % NS_PER_S)};
	int r;

	if (virtual_ns) {
		r = poll(fds, n, 0);
		timeout_ns = timeout_ns == UINT64_MAX ? NS_PER_S : timeout_ns;
		if (r == 0 && timeout_ns && virtual_idle)
			virtual_idle(virtual_idle_arg, timeout_ns);
		else if (r == 0)
			virtual_ns += timeout_ns;
	} else {
		r = ppoll(fds, n, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
	}
	return r < 0 ? -errno : r;
}

void clock_virtual_idle(void (*idle)(void *, uint64_t), void *arg)
{
	virtual_idle = idle;
	virtual_idle_arg = arg;
}

void clock_sleep(uint64_t ns)
{
	uint64_t end = clock_now() + ns;

	for (uint64_t now = clock_now(); now < end; now = clock_now())
		clock_poll(NULL, 0, end - now);
}
