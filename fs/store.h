/* SPDX-License-Identifier: Apache-2.0 */
/* Storing file data: what write, truncate and fallocate share. Whole blocks in op->runs reach new places on the
 * device first, then one or a few transactions make the file refer to them.
 *
 *      (prepare runs) -> store_begin -> store_data: ALLOC -> WRITING -> STORED -> store_commit -> store_end
 *                                                   ^          |
 *                                                   '- failed -'  up to STORE_TRIES places for each run
 *
 *  1. The caller holds the range lock of all blocks concerned from before it reads old content until store_end.
 *  2. Runs are allocated in order; run->block 0 means: no place yet. Births are the generation of the allocation.
 *  3. Written runs enter the cache before the commit, when nobody can ask for them yet: who can, finds them.
 *  4. Until the commit the file is as before; a failure gives all places back and leaves it so. */
#ifndef NVOFS_FS_STORE_H
#define NVOFS_FS_STORE_H

#include "fs/extent.h"
#include "fs/inode.h"

/* op->scratch of the operations that store. [0] is the argument of fs_write. */
enum { S_PAYLOAD, S_FIRST, S_LEAD, S_TRIES, S_AWAITED, S_WAITER, S_LEFT, S_NEXT };
/* op->phase; those before STORE_ALLOC belong to the operation. ATTR_SIZED: a truncate as part of something else is done. */
enum { STORE_ALLOC = 16, STORE_WRITING, STORE_STORED, ATTR_SIZED };
#define STORE_NO_LEAD UINT64_MAX
#define STORE_TRIES 3u

/* op->runs hold blocks first.. of the file; with a lead, runs[0] is the one block lead (< first) and the others
 * follow from first. */
void store_begin(struct op *, uint64_t first, uint64_t lead);
/* Until all is on the device. */
int store_data(struct op *);

struct change {
	uint64_t first, end;       /* file blocks whose extents are replaced by the runs, or by a hole */
	enum { SIZE_KEEP, SIZE_GROW, SIZE_SET } how;
	uint64_t size;
	bool no_data;              /* op->runs are something else */
	bool mtime, kill_priv;
	bool attrs;                /* apply op's setattr arguments, too */
	bool frees;                /* may use the reserve */
	bool steps;                /* first to the new size, with INODE_TRUNCATE and ORPHAN if that leaves extents behind */
};
/* In as many transactions as it needs (one, but for heaps of old extents). */
int store_commit(struct op *, const struct change *);
/* One of them. 1: there is more. Exclusive lock. */
int store_commit_step(struct op *, const struct change *);
/* Afterwards, whatever the status: places without a key are given back, runs unpinned, the range unlocked. */
void store_end(struct op *, int status);

/* The old content of file block fb, for a partial change: 0 and a pinned run (caller unpins), or NULL in *run for a
 * hole; -E_PARKED; or an error, logged. */
int block_read(struct op *, uint64_t fb, struct run **run, uint32_t *page);
/* Forgets what block_read waited for. */
void awaited_drop(struct op *);
/* What the awaited events failed with; 0 if block_read will judge that itself. */
int store_error(const struct op *);
/* One line for the log: code at a byte offset. Returns code. */
int data_error(struct op *, uint64_t offset, uint64_t block, int code);

/* What a change has to know before it locks: the inode, and its inline data if any. */
struct file_view {
	struct inode_disk inode;
	bool is_inline;
	uint32_t len;              /* of inline bytes; up to the size the rest is zero */
	uint8_t bytes[INLINE_MAX];
};
/* Takes and releases the shared lock. -EISDIR, -EINVAL if it is no regular file. */
int file_view(struct op *, struct file_view *);
/* The same under a lock that is held. */
int file_view_locked(struct op *, struct file_view *);
/* Replaces (len 0: removes) the inline bytes and sets the size, in one transaction; applies c's inode part. */
int inline_store(struct op *, const uint8_t *bytes, uint32_t len, const struct change *c);
/* Inode part of a change (not the size). */
void change_inode(struct op *, const struct change *, struct inode_disk *);
/* Completes a truncate that was cut off (INODE_TRUNCATE), before anything else is done to the file. */
int truncate_finish(struct op *, const struct inode_disk *);
/* One new run of one page, zeroed; NULL and *r set if there is none. */
struct run *page_new(struct op *, int *r);
/* op->attr from op's arguments (fs/attr.c). */
void attr_apply(const struct op *, struct inode_disk *);

#endif
