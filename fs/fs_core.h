/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a mounted file system, for fs/ alone. Who owns what is said with each part. */
#ifndef NVOFS_FS_FS_CORE_H
#define NVOFS_FS_FS_CORE_H

#include <pthread.h>
#include "fs/fs.h"
#include "fs/replay.h"
#include "fs/tree.h"

struct inode_table;     /* fs/inode.c */
struct node_cache;      /* fs/node.c */
struct alloc;           /* fs/alloc.c */
struct journal;         /* fs/journal.c */
struct checkpoint;      /* fs/checkpoint.c */
struct claim;           /* fs/claim.c: heartbeat and the dead writer's rule */

/* A pointer to a node, in memory. */
struct ptr {
	uint64_t block, birth;
	uint32_t crc;
	uint8_t level;
};

struct fs {
	struct fs_conf conf;
	struct ns *ns;
	struct cache *cache;
	pthread_rwlock_t lock;
	struct worker *workers;
	uint8_t uuid[16], hash_key[16];/* of the superblock; constant, so readable without lock */
	struct super_disk super;       /* as last made durable; guarded by lock */
	unsigned super_slot;           /* ring slot it lies in */
	uint64_t nblocks, ngroups;
	uint64_t gen;                  /* running generation: births of what is written now; guarded by lock */
	uint64_t epoch;                /* of this mount */
	_Atomic int frozen;            /* 0, or the code that stopped all writing */
	_Atomic bool writable;         /* claimed: transactions may begin */
	uint64_t ino_next;
	uint64_t inodes_used;
	struct fills *fills;           /* fs/fill.c */
	struct node_cache *nodes;
	struct alloc *alloc;
	struct journal *journal;
	struct checkpoint *checkpoint;
	struct claim *claim;
	struct inode_table *inodes;    /* of fs/inode.c; made by inodes_init, freed by inodes_exit */
	struct waitq wait_writable;    /* ops that want to write before the file system is claimed; guarded by lock */
	struct ptr root;               /* of the tree as it is now; block 0: empty; guarded by lock */
	_Atomic uint64_t op_epoch;     /* fs/epoch.h */
	struct txn *txn;               /* fs/txn.c: the one transaction under construction */
	uint64_t mounted_at;           /* clock_now */
	struct replay recovered;       /* what the mount found in the journal, and where it ended */
	/* worker 0's: */
	uint64_t last_commit, reap_retry, reap_deadline;
	bool reaping;
	_Atomic uint64_t txns;
	struct io pressure_flush;      /* fs/pressure.c; on its way while pressure is set */
	_Atomic bool pressure;
};

/* Stops all writing for good; the first code wins. Any thread. */
void fs_freeze(struct fs *, int code, const char *what);

int inodes_init(struct fs *);
void inodes_exit(struct fs *);

#endif
