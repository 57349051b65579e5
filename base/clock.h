/* SPDX-License-Identifier: Apache-2.0 */
/* Time. Nanoseconds since an arbitrary start (CLOCK_BOOTTIME, so that a suspended machine sees it pass), and the
 * wall clock for timestamps. Tests put a virtual clock in their place: then time moves only when told to. */
#ifndef NVOFS_BASE_CLOCK_H
#define NVOFS_BASE_CLOCK_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

uint64_t clock_now(void);
struct timespec clock_wall(void);
/* Virtual time from now on, starting at ns (> 0); 0 gives the real clock back. */
void clock_virtual_set(uint64_t ns);
void clock_virtual_add(uint64_t ns);
bool clock_is_virtual(void);
/* Whoever sleeps does it with these two, so that virtual time passes instead. clock_poll is ppoll (timeout UINT64_MAX:
 * for ever): -errno or the count of ready descriptors; on the virtual clock it only looks, and if nothing is ready
 * the time-out has passed (1 s instead of for ever). */
int clock_poll(struct pollfd *, unsigned n, uint64_t timeout_ns);
void clock_sleep(uint64_t ns);
/* A simulation's own way to let at most ns of virtual time pass (at least 1), in which it does what is due; NULL: all
 * of it passes at once. */
void clock_virtual_idle(void (*idle)(void *arg, uint64_t ns), void *arg);

#endif
