/* SPDX-License-Identifier: Apache-2.0 */
/* How to wait for an answer that is under way: sleep at once, or first give way to others for a while and look again.
 *
 *      begin --again--> give way, look --again--> ... --answer--> end
 *            '--------> sleep .............................^
 *
 * Giving way (sched_yield(2)) saves going to sleep and being woken when nobody else wants this CPU, and when those who want
 * it work on the answer. But who gives way to a program that computes waits for the end of its time slice, where a
 * sleeper is preferred once it is woken. Nobody says which it is: so each wait is timed, the way that took less on average
 * is taken, and the other is tried now and then; the more often in vain, the more rarely.
 *
 * One thread's; nothing here allocates, locks or reads a clock. */
#ifndef NVOFS_BASE_SPIN_H
#define NVOFS_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS (50 * 1000ull)    /* some round trips on a fast network; then everybody sleeps */

enum spin_way { SPIN_SLEEP, SPIN_GIVE_WAY };

struct spin {
	uint64_t since;           /* begin of this wait; 0: there is none */
	uint64_t cost[2];         /* ns of a wait, moving average of each way; 0: never tried */
	uint32_t until_try, gap;  /* waits until the other way is tried; between the last try and that one */
	uint64_t known;           /* what the usual way took when the other was tried last */
	enum spin_way way;        /* of this wait */
	bool trying;              /* this wait tries the other way */
	bool slept;               /* in the end */
};

/* now: of clock_now(). Nothing has come: true: give way and look again; false: sleep. */
bool spin_again(struct spin *, uint64_t now);
/* What was waited for came. Without effect if nothing was. */
void spin_end(struct spin *, uint64_t now);

#endif
