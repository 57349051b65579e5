/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator as its neighbours in the core see it (tree_edit, txn, checkpoint, mount). Exclusive fs lock. */
#ifndef NVOFS_FS_ALLOC_CORE_H
#define NVOFS_FS_ALLOC_CORE_H

#include "fs/alloc.h"
#include "fs/bitmap.h"
#include "fs/fs_core.h"

/* Layout of a file system of nblocks: which blocks are never free. */
struct layout {
	uint64_t nblocks, ngroups, nchunks, nl2; /* chunk: what one L1 block covers */
	uint64_t journal_len, ring_b, reserve_quads;
};
void layout_of(uint64_t nblocks, struct layout *);
/* The bitmap of a group of which nothing but the fixed blocks is taken (bits past the end are 1). */
void layout_bitmap(const struct layout *, uint64_t group, uint64_t *map);
void layout_counts(const struct layout *, uint64_t group, uint32_t *free, uint32_t *quads);
static inline uint64_t layout_l0(uint64_t group, unsigned slot) { return group * GROUP_BLOCKS + L0_SLOT + slot; }
static inline uint64_t layout_l1(uint64_t chunk, unsigned slot) { return chunk * DESCS * GROUP_BLOCKS + L1_SLOT + slot; }
static inline uint64_t layout_l2(uint64_t i, unsigned slot) { return i * DESCS * DESCS * GROUP_BLOCKS + L2_SLOT + slot; }

/* Reads the summaries that fs->super names (blocking; mount). fresh: nothing is there yet (mkfs). */
int alloc_open(struct fs *, bool fresh);
void alloc_close(struct fs *);
/* What a blocking read or a lack of memory spoiled until then, so that replaying is not to be relied on; or 0. */
int alloc_error(const struct fs *);
/* From here on bitmaps are read when touched by parking; before, by blocking reads (mount, replay). */
void alloc_go_async(struct fs *);
const struct layout *alloc_layout(const struct fs *);

/* An aligned free quad for a node; alloc_ready has made sure that there is one. */
uint64_t alloc_node(struct fs *);
/* Are quads free quads there in bitmaps that are in memory, leaving leave? 0; -E_PARKED; -E_NO_SPACE. */
int alloc_ready(struct op *, uint64_t quads, uint64_t leave);
/* Blocks that a transaction took (already busy, or not, in replay) / gave up. They are reused after their checkpoint. */
void alloc_use(struct fs *, uint64_t block, uint32_t n);
void alloc_free(struct fs *, uint64_t block, uint32_t n);
/* Replay, pass 1: not to be given out to nodes. 0 or a code. */
int alloc_hold(struct fs *, uint64_t block, uint32_t n);
bool alloc_range_ok(const struct fs *, uint64_t block, uint32_t n);

/* ---- checkpoint ---- */

/* One 4 KiB block of a checkpoint's allocation state. */
struct alloc_image {
	uint64_t block;
	uint8_t data[FS_BLOCK];
};
/* Can the cut be made? Frees that hit bitmaps which are not in memory are waited for. */
bool alloc_can_cut(struct fs *);
/* The cut: images (malloc'd array, taken by the caller) of all that changed, in the slots that the last superblock
 * does not name; fills in s->l2 and s->free_blocks. Returns the number of images, or -ENOMEM (nothing changed). */
int alloc_cut(struct fs *, struct super_disk *s, struct alloc_image **images);
/* The superblock with that cut is durable: what was freed before it waits for its epoch only. */
void alloc_committed(struct fs *);
/* Frees whose epoch is over become free. True if any did (then waiters for space were taken into wake, which is empty otherwise). */
bool alloc_release(struct fs *, struct list *wake);
uint64_t alloc_pending(const struct fs *);
uint64_t alloc_free_quads(const struct fs *);
/* Parks op until blocks come back, having asked for a checkpoint; -E_NO_SPACE if none will. */
int alloc_wait(struct op *);

#endif
