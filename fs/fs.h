/* SPDX-License-Identifier: Apache-2.0 */
/* A mounted file system, as its users (FUSE, tools, tests) see it. fs_core.h has its inside.
 *
 * Locks, in the order in which they nest (outermost first):
 *   fs->lock        read-write: the tree, the allocator, transactions. Held for memory work only, never across I/O,
 *                   lane_poll or a reply.
 *   inode locks     the inode table and range locks (fs/inode.h)
 *   journal lock    queue of records
 *   cache mutex     inside cache/
 * Wakes are posted after the lock that guards the condition is released. */
#ifndef NVOFS_FS_FS_H
#define NVOFS_FS_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include "fs/format.h"
#include "fs/op.h"

struct fs;

struct fs_conf {
	struct ns *ns;             /* borrowed; connected */
	struct cache *cache;       /* borrowed; registered with ns */
	unsigned nworkers;         /* = lanes to open on ns */
	bool readonly;             /* nothing is ever written */
	bool offline;              /* checker: read-only, journal replayed in memory, no heartbeat check, no reaping */
	unsigned commit_ms;        /* longest time until a committed change is in the journal (default 1000) */
	unsigned checkpoint_ms;    /* default 5000 */
	size_t node_bytes;         /* memory for tree nodes (default 64 MiB) */
	/* Where fs_reclaim finds it: set by a mount that succeeded, emptied before it is freed. May be NULL. */
	struct fs *_Atomic *self;
	uint8_t hostid[16];        /* of the heartbeat; who is who across mounts of one host */
};

struct fs_info {               /* for status, statfs; a snapshot */
	uint8_t uuid[16];
	char label[65];
	uint64_t nblocks, free_blocks, avail_blocks, inodes, gen, epoch;
	uint64_t journal_blocks, journal_used;
	uint64_t checkpoints, records, txns, nodes_cached, nodes_dirty, pending_frees;
	bool readonly, claimed, frozen;  /* claimed: this mount may write; frozen: a write error stopped it */
	uint64_t wait_ns;          /* until the dead writer's time is over; 0: nothing to wait for */
};

/* Reads superblocks, heartbeat and journal (replayed in memory); usable for reading on return. Writing waits (ops
 * park) until the file system is claimed (DEVICE.md rule 6), which goes on in the background. On failure *fs is NULL and
 * why has one line. Blocking; the calling thread acts as worker 0 meanwhile. */
int fs_mount(struct fs **, const struct fs_conf *, char *why, size_t why_len);
/* Syncs, reaps what is due, writes the last checkpoint and gives the heartbeat block back. No ops may be active; the
 * calling thread acts as all workers. A result < 0: not everything could be written. Frees fs. */
int fs_unmount(struct fs *);
/* Forgets everything at once, writes nothing: what a killed daemon does (tests). No io may be in flight. */
void fs_abandon(struct fs *);
/* ns_conf.reclaim: arg is a struct fs *_Atomic * (NULL in it: not mounted yet). Is the file system still ours? */
int fs_reclaim(void *arg, struct ns *);
/* What a checkpoint would write now (nodes, bitmaps, both superblocks), through write instead of to the device; for the
 * checker on an offline mount. */
int fs_checkpoint_to(struct fs *, int (*write)(void *arg, uint64_t block, uint32_t n, const void *buf), void *arg);
/* Polls all workers on the calling thread (tools and tests); true if anything happened. */
bool fs_poll_all(struct fs *);
struct worker *fs_worker(struct fs *, unsigned index);
unsigned fs_nworkers(const struct fs *);
/* Timers: heartbeat, commit, checkpoint, claiming, reaping. Called by worker 0's loop; returns ns until the next one. */
uint64_t fs_tick(struct fs *);
void fs_info(struct fs *, struct fs_info *);
struct ns *fs_ns(struct fs *);
struct cache *fs_cache(struct fs *);
/* Waits for a checkpoint that contains everything committed so far (tests, unmount; op->run). */
int fs_checkpoint(struct op *);

void fs_lock_shared(struct fs *);
void fs_lock_excl(struct fs *);
void fs_unlock(struct fs *);

/* mkfs: writes an empty file system on ns. Erases what was recognisable before (both rings, the head) first. */
struct mkfs_conf {
	struct ns *ns;
	struct cache *cache;
	const char *label;         /* at most 63 bytes */
	uint8_t uuid[16];
	uint32_t root_uid, root_gid;
	void (*progress)(void *arg, unsigned done, unsigned total); /* may be NULL */
	void *progress_arg;
};
int fs_format(const struct mkfs_conf *, char *why, size_t why_len);

/* What is there: reads and judges superblocks and heartbeat without mounting. */
struct fs_probe {
	bool valid;                /* a superblock was found; the fields below hold */
	struct super_disk super;   /* the newest valid one */
	bool heartbeat_valid;
	struct heartbeat_disk heartbeat;
};
/* 0 and *out, also for "nothing there" (valid = false); -E_NEWER; -E_BAD_SUPER (magic without a valid superblock);
 * read errors. */
int fs_probe(struct ns *, struct fs_probe *out);
/* Blocking for two to four heartbeat intervals when the heartbeat names a holder: 0 nobody, -E_IN_USE and who (one line). */
int fs_holder(struct ns *, const struct fs_probe *, char *who, size_t who_len);

#endif
