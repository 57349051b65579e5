/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes in memory: who uses which, under which name it was last seen, and what waits to be reaped; and the inode item.
 *
 *               get            lookup, open                    orphan
 *      absent ------> referenced ----------> used ------------------------> used, unlinked
 *        ^                |                   |  forget, release                 |  forget, release, put
 *        '----------------'-------------------'                                  v
 *        '-------------------------------------- reaped ------------------- queued
 *
 *  1. An object lives while it has references (of ops), lookups, opens, or is queued.
 *  2. Only an orphan (no name left, or a truncate that did not end) is queued, once nobody uses it.
 *  3. Everything in struct inode but ino is guarded by its shard's mutex (inode_lock), which nests inside the fs lock. */
#ifndef NVOFS_FS_INODE_H
#define NVOFS_FS_INODE_H

#include <pthread.h>
#include "fs/fs_core.h"
#include "fs/op.h"

#define INODE_STREAMS 4          /* sequential readers of one file that are told apart */
#define FILE_MAX (1ull << 60)    /* longest file, bytes */
#define LINKS_MAX 0x7fffffffu

struct inode {
	struct inode *next;       /* in the bucket */
	uint64_t ino;
	uint32_t refs, opens;
	uint64_t lookups;
	bool orphan, queued;
	uint64_t parent;          /* with name: as the last look-up, create or rename made it known; 0: unknown */
	char *name;               /* owned */
	struct list ranges;       /* ops that hold or await a block range, oldest first (fs/range.h) */
	struct waitq range_wait;
	struct readahead stream[INODE_STREAMS];
	uint8_t stream_next;      /* the one to be replaced next */
	struct list reap;
};

/* A reference; NULL without memory. alloc'd counts as an allocation of worker w (may be NULL). */
struct inode *inode_get(struct fs *, uint64_t ino, struct worker *w);
void inode_put(struct fs *, struct inode *);
/* op->inode for op->ino, once. 0 or -ENOMEM. data: an allocation is counted as one for a data request. */
int inode_hold(struct op *, bool data);
/* The op ends: gives its range and its inode back (op_free calls this; calling it again does nothing). */
void inode_op_ended(struct op *);
void inode_lock(struct fs *, const struct inode *);
void inode_unlock(struct fs *, const struct inode *);

/* One lookup more, under this name. Borrows a reference that the caller holds. */
void inode_looked_up(struct fs *, struct inode *, uint64_t parent, const char *name, size_t len);
/* The name it goes by now; removed: only if it was this one, it has none any more. */
void inode_named(struct fs *, uint64_t ino, uint64_t parent, const char *name, size_t len);
void inode_unnamed(struct fs *, uint64_t ino, uint64_t parent, const char *name, size_t len);
void inode_opened(struct fs *, struct inode *);
void inode_closed(struct fs *, uint64_t ino);
/* It has an ORPHAN item: to be reaped once nobody uses it. Borrows a reference that the caller holds. */
void inode_orphan(struct fs *, struct inode *);
/* No lookups and opens any more, of any inode (the kernel is gone: before the last reaping at unmount). */
void inodes_forget_all(struct fs *);

/* The next orphan to reap, referenced; NULL: none. Stays queued until inode_reaped. */
struct inode *inode_reap_next(struct fs *);
void inode_reaped(struct fs *, struct inode *);
/* Is there something for fs_reap to do? Never on read-only mounts or before writing is allowed. */
bool fs_reap_pending(struct fs *);
/* Where the search for orphans of former mounts stands: next number to look at; 0 = done. Worker 0 only. */
uint64_t *inodes_scan(struct fs *);

/* The inode item, copied and checked: 0, -ENOENT, -E_PARKED, -E_BAD_ITEM. */
int inode_load(struct op *, uint64_t ino, struct inode_disk *);
void inode_store(struct op *, uint64_t ino, const struct inode_disk *);
void inode_stat(uint64_t ino, const struct inode_disk *, struct stat *);
struct time_disk time_build(struct timespec);
/* Stamps: ctime always, mtime if asked. */
void inode_touch(struct inode_disk *, bool mtime);
/* Set-user-ID goes, and set-group-ID of what the group may execute. */
void inode_kill_priv(struct inode_disk *);
static inline uint32_t inode_mode(const struct inode_disk *d) { return get32(d->mode); }
static inline uint64_t inode_size(const struct inode_disk *d) { return get64(d->size); }

/* May this mount change anything (now, or once it is claimed)? 0, -E_READ_ONLY, -E_FROZEN. */
int fs_may_write(struct fs *);
/* 0 once writing is allowed; else the op waits for it (-E_PARKED). Exclusive lock. */
int fs_wait_writable(struct op *);
/* Wakes those that op_retry_later parked. Worker 0's tick: nobody waits for ever. */
void inodes_retry(struct fs *);
/* Lets other work go first and runs op again: for want of page frames. -E_PARKED, or -E_NO_FRAMES after a while
 * (*deadline: 0 at first, the op's to keep). While the target is away nothing comes back, and nothing fails for it. */
int op_retry_later(struct op *, uint64_t *deadline);

#endif
