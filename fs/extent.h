/* SPDX-License-Identifier: Apache-2.0 */
/* Extents: where a range of a file lies, and how a transaction replaces a range.
 *
 *  1. Items are checked when read: a bad one is -E_BAD_ITEM, never a wrong block.
 *  2. A plan is gathered (all keys that it will put or delete are in memory), then applied, within one holding of the
 *     exclusive lock. It is bounded: what does not fit into one transaction is left for the next, from plan.end on.
 *  3. Extents of a file never overlap; each is at most EXTENT_MAX blocks of one birth. */
#ifndef NVOFS_FS_EXTENT_H
#define NVOFS_FS_EXTENT_H

#include "fs/fs_core.h"
#include "fs/op.h"
#include "fs/tree.h"

#define FILE_BLOCKS (1ull << 48)   /* end of every file, in blocks (FILE_MAX) */
#define PLAN_DELS 36u
#define PLAN_PIECES 16u
#define PLAN_KEYS (PLAN_DELS + PLAN_PIECES + 3)

struct extent {
	uint64_t start;            /* file block */
	uint64_t block, birth;
	uint32_t n;
	bool unwritten;
	const uint8_t *crcs;       /* n le32 in the node, unaligned; NULL if unwritten. Valid as long as the item */
};

static inline uint64_t extent_end(const struct extent *e) { return e->start + e->n; }
static inline uint32_t extent_crc(const struct extent *e, uint32_t i)
{
	le32 v;

	memcpy(&v, e->crcs + 4 * i, 4);
	return get32(v);
}

/* -E_BAD_ITEM or 0. */
int extent_parse(const struct fs *, const struct item *, struct extent *);

/* Extents of ino that touch [first, end), ascending; within one holding of the lock:
 * for (r = extent_first(...); !r; r = extent_next(...)); ends with -ENOENT. */
struct extent_iter {
	struct cursor cursor;
	uint64_t ino, end, last;   /* last: end of the one before, to see overlaps */
};
int extent_first(struct extent_iter *, struct op *, uint64_t ino, uint64_t first, uint64_t end, struct extent *);
int extent_next(struct extent_iter *, struct extent *);

/* Where to put data for file block fb: right behind what lies before it. 0: anywhere. Also 0 if that is not in memory. */
int extent_goal(struct op *, uint64_t ino, uint64_t fb, uint64_t *goal);

struct piece {                     /* new data: file blocks start.. at device block.. */
	uint64_t start, block, birth;
	uint32_t n;
	uint32_t run;              /* op->runs[run] holds its first block ... */
	uint32_t page;             /* ... at this page; the rest follows there and in the next runs */
};

struct plan_item {                 /* a ready EXTENT value */
	uint64_t start;
	struct extent_disk disk;
	le32 crcs[EXTENT_MAX];
};

struct plan {
	uint64_t ino, first, end;  /* replaces [first, end): cut short if it is too much for one transaction */
	const struct piece *pieces;/* ascending, inside [first, end); the rest becomes a hole */
	unsigned npieces;
	/* gathered: */
	struct { uint64_t start, block; uint32_t n; } dels[PLAN_DELS]; /* wholly replaced; blocks of it that go */
	unsigned ndels;
	bool left, right, merge;
	struct plan_item left_item, right_item, merge_item;
	struct { uint64_t block; uint32_t n; } cut[2];                 /* blocks that the remainders lose */
	unsigned ncuts;
	uint64_t freed, added;     /* blocks */
};
/* Fills in the gathered part. 0, -E_PARKED, -E_BAD_ITEM. */
int plan_gather(struct op *, struct plan *);
unsigned plan_keys(const struct plan *);
void plan_apply(struct op *, const struct plan *);
/* After the commit: the cache forgets what was freed. */
void plan_forget(struct op *, const struct plan *);

#endif
