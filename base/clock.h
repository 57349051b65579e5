/* SPDX-License-Identifier: Apache-2.0 */
/* Time. Nanoseconds since an arbitrary start (CLOCK_BOOTTIME, so that a suspended machine sees it pass), and the
 * wall clock for timestamps. Tests put a virtual clock in their place: then time moves only when told to. */
#ifndef NVOFS_BASE_CLOCK_H
#define NVOFS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull

uint64_t clock_now(void);
struct timespec clock_wall(void);
/* Virtual time from now on, starting at ns (> 0); 0 gives the real clock back. */
void clock_virtual_set(uint64_t ns);
void clock_virtual_add(uint64_t ns);

#endif
