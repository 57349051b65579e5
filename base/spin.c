/* SPDX-License-Identifier: Apache-2.0 */
#include "base/spin.h"
#include "base/num.h"

#define GAP_MIN 16u                /* waits from one try of the other way to the next */
#define GAP_MAX 1024u
#define COST_MIN 1000ull          /* ns: 0 means never tried, and an average has to be able to move */
#define COST_MAX (1000 * 1000ull) /* a lost target must not be remembered for long */

/* Sleeping has to be clearly better: what follows a sleep (reading events, arming again) is not in these numbers. */
static enum spin_way better(const struct spin *s)
{
	uint64_t asleep = s->cost[SPIN_SLEEP];

	return asleep && asleep + asleep / 16 < s->cost[SPIN_GIVE_WAY] ? SPIN_SLEEP : SPIN_GIVE_WAY;
}

static void begin(struct spin *s, uint64_t now)
{
	s->since = now;
	s->way = better(s);
	s->trying = !s->until_try--;
	if (s->trying) {
		s->way = s->way == SPIN_SLEEP ? SPIN_GIVE_WAY : SPIN_SLEEP;
		s->gap = MAX(s->gap, GAP_MIN);
		s->until_try = s->gap;
	}
}

bool spin_again(struct spin *s, uint64_t now)
{
	if (!s->since)
		begin(s, now);
	s->slept = s->way == SPIN_SLEEP || now - s->since >= SPIN_NS;
	return !s->slept;
}

/* The moving average: 1/8 is new, or 1/2 for the way that is seldom taken; a single wait counts as at most four times it. */
static uint64_t average(uint64_t old, uint64_t took, bool trying)
{
	uint64_t part = trying ? 2 : 8;

	return old ? old - old / part + MIN(took, 4 * old) / part : took;
}

/* Who slept in the end has given way in vain. That costs CPU time, which counts as much as time; and a long wait is not to
 * begin with it at all (hence the eighth, more than what better() overlooks). When waits have become much longer or
 * shorter, what is known of the other way is of no use any more. */
void spin_end(struct spin *s, uint64_t now)
{
	uint64_t *cost = &s->cost[s->way], took;

	if (!s->since)
		return;
	took = MIN(MAX(now - s->since, COST_MIN), COST_MAX);
	s->since = 0;
	if (s->slept && s->way == SPIN_GIVE_WAY)
		took += MAX(SPIN_NS, took / 8);
	*cost = average(*cost, took, s->trying);
	if (s->trying) {
		s->gap = better(s) == s->way ? GAP_MIN : MIN(s->gap * 2, GAP_MAX);
		s->known = s->cost[better(s)];
	} else if (*cost > 4 * s->known || *cost < s->known / 4) {
		s->cost[!s->way] = 0;
		s->known = *cost;
		s->gap = 0;
		s->until_try = s->way == SPIN_SLEEP ? GAP_MIN : 0; /* giving way is taken next in any case */
	}
}
