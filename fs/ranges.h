/* SPDX-License-Identifier: Apache-2.0 */
/* A list of ranges of blocks on their way to being free, in the order in which they came. Neighbours that come one after
 * the other are one range. The memory is the owner's to free (v->r). */
#ifndef NVOFS_FS_RANGES_H
#define NVOFS_FS_RANGES_H

#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t block;
	uint32_t n;
};

struct ranges {
	struct range *r;
	size_t n, room;
	uint64_t blocks; /* of all ranges */
};

/* Room for n more: the next n ranges_add cannot fail. 0 or -ENOMEM. */
int ranges_ready(struct ranges *, size_t n);
/* Without room and memory the blocks are dropped, with a line in the log. */
void ranges_add(struct ranges *, uint64_t block, uint32_t n);
/* Keeps the memory. */
void ranges_empty(struct ranges *);

#endif
