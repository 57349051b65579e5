/* SPDX-License-Identifier: Apache-2.0 */
/* Read-ahead of one stream. Asks in batches: nothing until a batch fits into the window (half of it, at most BATCH), then
 * up to the whole window, which doubles with every batch. So commands stay long, the wire always has work (a batch of half
 * a large window would let it run dry and then flood it), and a stream that ends early wasted little.
 *
 *  1. A stream starts with a read that begins exactly where the last ended (a new one: at 0).
 *  2. Once it runs, reads may arrive out of order within what was asked for already, because a kernel that reads ahead
 *     itself sends several requests at once. next never goes back.
 *  3. Anything else is random: window 0, until the next exact hit. */
#include "base/num.h"
#include "cache/cache.h"

#define WINDOW_MIN 32u
#define BATCH 256u        /* blocks: 1 MiB */
#define OUT_OF_ORDER 512u /* blocks before next: 2 MiB of requests overtaken by others */

bool readahead_continues(const struct readahead *ra, uint64_t first, uint32_t n)
{
	if (first == ra->next)
		return true;
	return ra->window && first + n + OUT_OF_ORDER > ra->next && first <= MAX(ra->ahead, ra->next);
}

uint32_t readahead_next(struct readahead *ra, uint64_t first, uint32_t n, uint64_t eof, uint32_t max_window,
			uint64_t *start)
{
	uint64_t end = first + n, want;

	if (!readahead_continues(ra, first, n)) {
		*ra = (struct readahead){ .next = end, .ahead = end };
		return 0;
	}
	ra->next = MAX(ra->next, end);
	ra->ahead = MAX(ra->ahead, ra->next);
	if (ra->ahead >= eof || (ra->window && ra->ahead - ra->next > ra->window - MIN(ra->window / 2, BATCH)))
		return 0;
	ra->window = MIN(MAX(ra->window * 2, WINDOW_MIN), max_window);
	want = MIN(ra->next + ra->window, eof);
	if (want <= ra->ahead)
		return 0;
	*start = ra->ahead;
	ra->ahead = want;
	return (uint32_t)(want - *start);
}
