/* SPDX-License-Identifier: Apache-2.0 */
/* Free space: bitmaps of 32768 blocks with two levels of summaries (FORMAT.md), loaded when touched.
 *
 * In memory a group has two bitmaps: live (the tree as it is now refers to the block, or it is fixed) and busy (live, or
 * not to be given out yet: data in flight, freed but not past its checkpoint, its readers and its followers).
 *
 *                 alloc_data            txn (EXTENT put)        txn (EXTENT gone)
 *      free ---------------------> busy -----------------> live+busy -------------> busy (pending)
 *       ^                            |  alloc_cancel                                    |
 *       '----------------------------'--------------------<-----------------------------'
 *             both only after a later superblock is durable and every op begun before has ended
 *
 *  1. live is a subset of busy. The image of a checkpoint is live at its cut.
 *  2. Nodes take aligned quads; data takes a quad apart only while more than reserve_quads are free.
 * Exclusive fs lock for everything here but alloc_free_blocks. */
#ifndef NVOFS_FS_ALLOC_H
#define NVOFS_FS_ALLOC_H

#include <stdint.h>
#include "fs/format.h"

struct fs;
struct op;

/* Up to want (>= 1) contiguous free blocks, near goal (0: anywhere), never across a group; marks them busy. 0;
 * -E_PARKED (a bitmap is being read, or a checkpoint is to bring freed blocks back); -E_NO_SPACE. */
int alloc_data(struct op *, uint64_t goal, uint32_t want, uint64_t *block, uint32_t *got);
/* Blocks of alloc_data that no transaction will name. */
void alloc_cancel(struct fs *, uint64_t block, uint32_t n);
/* For statfs: blocks that are not live; and those of them that data may take. */
uint64_t alloc_free_blocks(const struct fs *);
uint64_t alloc_avail_blocks(const struct fs *);

#endif
