/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of file blocks, locked per inode from gather to commit: they order overlapping writes, and writes against
 * truncation. Readers take none. First come, first served: an op waits for every older overlapping one, so nobody
 * starves; an op has one range at most and locks it before anything else that can block for long, so there is no cycle. */
#ifndef NVOFS_FS_RANGE_H
#define NVOFS_FS_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct op;

#define RANGE_END UINT64_MAX

/* [first, last] of op->inode (held): 0, or -E_PARKED and the op keeps its place in the queue. A different range than
 * the one it has or awaits gives that one up first. */
int range_lock(struct op *, uint64_t first, uint64_t last);
bool range_covers(const struct op *, uint64_t first, uint64_t last);
/* Gives the range, or the place in the queue, back; nothing to do without one. */
void range_unlock(struct op *);

#endif
