/* SPDX-License-Identifier: Apache-2.0 */
/* Where the fixed things lie; a pure function of the number of blocks. */
#include <string.h>
#include "fs/alloc_core.h"

void layout_of(uint64_t nblocks, struct layout *l)
{
	uint64_t rest = nblocks % GROUP_BLOCKS;

	if (rest < GROUP_MIN)
		nblocks -= rest;
	l->nblocks = nblocks;
	l->ngroups = DIV_UP(nblocks, GROUP_BLOCKS);
	l->nchunks = DIV_UP(l->ngroups, DESCS);
	l->nl2 = DIV_UP(l->nchunks, DESCS);
	l->journal_len = MIN(MAX(nblocks / 64, JOURNAL_MIN), JOURNAL_MAX);
	l->ring_b = MIN(nblocks, GROUP_BLOCKS) - RING_BLOCKS;
	/* 1/64 of the space, 4 to 256 MiB, for nodes alone: deleting must work on a full file system. */
	l->reserve_quads = MIN(MAX(nblocks / 64 / NODE_BLOCKS, 256), 16384);
}

void layout_bitmap(const struct layout *l, uint64_t group, uint64_t *map)
{
	uint64_t first = group * GROUP_BLOCKS, end = MIN(l->nblocks - first, GROUP_BLOCKS);

	memset(map, 0, GROUP_BLOCKS / 8);
	bitmap_set(map, 0, GROUP_FIXED);
	if (end < GROUP_BLOCKS)
		bitmap_set(map, (uint32_t)end, GROUP_BLOCKS - (uint32_t)end);
	if (group == 0) {
		bitmap_set(map, 0, JOURNAL_START + (uint32_t)l->journal_len);
		bitmap_set(map, (uint32_t)l->ring_b, RING_BLOCKS);
	}
}

void layout_counts(const struct layout *l, uint64_t group, uint32_t *free, uint32_t *quads)
{
	uint64_t map[BITMAP_WORDS];

	/* All groups but the first and the last are alike. */
	if (group > 0 && group + 1 < l->ngroups) {
		*free = GROUP_BLOCKS - GROUP_FIXED;
		*quads = *free / NODE_BLOCKS;
		return;
	}
	layout_bitmap(l, group, map);
	*free = GROUP_BLOCKS - bitmap_count(map, 0, GROUP_BLOCKS);
	*quads = bitmap_quads(map);
}
