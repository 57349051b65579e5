/* SPDX-License-Identifier: Apache-2.0 */
/* Operations and the workers that run them: replay on miss.
 *
 * An operation is straight-line C (op->run). When it needs something that is not there yet (a tree node, a page, the
 * end of a checkpoint, a range lock) it registers a waiter, returns -E_PARKED and is run again from the top when all it
 * waits for has come. It keeps its pins, so it always gets further.
 *
 *      op_new -> op_start --> run() --> finish(status) -> (op_free)
 *                   ^            |-E_PARKED
 *                   '- op_wake <-'
 *
 *  1. run() takes and releases fs locks itself and holds none when it returns or waits.
 *  2. run() changes nothing before the point from which it cannot park any more; phases that must not be repeated
 *     (data already written) are remembered in op->phase.
 *  3. An op belongs to one worker: run, finish and the delivery of wakes happen on its thread. Wakes may come from
 *     any thread (through the mailbox).
 *  4. Pins are dropped before finish() is called, except those of op->runs, which the reply is made from: finish() or
 *     op_free drops them.
 *  5. While an op is active, blocks that it may have looked up are not reused (fs/epoch.h). */
#ifndef NVOFS_FS_OP_H
#define NVOFS_FS_OP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include "base/err.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "cache/cache.h"
#include "fs/format.h"

struct fs;
struct op;
struct node;
struct inode;

#define OP_NODES 96    /* pinned nodes; when full the oldest pin is dropped */
#define OP_RUNS 272    /* pinned runs: a 1 MiB read of single blocks and then some */
#define OP_IOVS 272
#define OP_WAITS 24    /* events awaited at once */
#define WORKER_OPS 128

struct worker {
	struct fs *fs;
	struct lane *lane;
	unsigned index;
	struct mailbox mailbox;
	struct list ready;         /* ops to be run (again) */
	struct list free_ops;
	struct op *ops;
	_Atomic uint32_t active[4];/* active ops by epoch % 4 (fs/epoch.h) */
	_Atomic uint64_t allocs;       /* heap allocations made by our code for data requests */
	_Atomic uint64_t copied_read, copied_written; /* payload bytes copied by fs code */
	_Atomic uint64_t data_requests, requests, replays;
	_Atomic uint64_t parked;       /* ops waiting now */
};

struct op_waiter {
	struct waiter w;           /* w.link, w.wake */
	struct op *op;             /* NULL: free */
};

/* What a setattr changes. */
#define SET_MODE 1u
#define SET_UID 2u
#define SET_GID 4u
#define SET_SIZE 8u
#define SET_ATIME 16u
#define SET_MTIME 32u
#define SET_CTIME 64u
#define SET_KILL_PRIV 128u /* drop setuid/setgid (size change, write, chown by the unprivileged) */

struct op {
	/* set by whoever starts it */
	int (*run)(struct op *);
	void (*finish)(struct op *, int status); /* status: 0 or a negative code; may op_free(op) */
	void *owner;               /* the requester's (FUSE request, test, waiting thread) */
	/* arguments; which are used is said with each operation in fs/ops.h */
	uint64_t ino, ino2;
	const char *name, *name2;  /* borrowed until finish */
	uint64_t off;
	uint32_t len, mode, flags, uid, gid, valid;
	uint64_t rdev;
	struct timespec atime, mtime, ctime;
	const void *in;            /* bytes that come in: xattr value, symlink target; borrowed */
	/* results */
	struct stat attr;
	uint64_t result;           /* a count or a size */
	void *out;                 /* bytes that go out (getxattr, listxattr, readlink): caller's memory of len bytes */
	struct iovec iov[OP_IOVS]; /* read: the reply, pointing into pinned runs and the zero page */
	unsigned niov;
	struct run *runs[OP_RUNS]; /* read: pinned for the reply. write: the payload's runs (taken from the caller) */
	unsigned nruns;
	/* readdir: called for each entry in order; non-zero: does not fit, stop. Restarted by reset(). */
	int (*emit)(struct op *, const char *name, size_t namelen, uint64_t ino, unsigned dtype, const struct stat *attr,
		    uint64_t next_cookie);
	void (*reset)(struct op *);
	/* the machine's own */
	struct worker *worker;
	int error;                 /* first failure among the awaited events; run() is called with it once if own_errors */
	bool own_errors, started;
	bool ending;               /* run() decided on end_status, but some events are still to come */
	int end_status;
	unsigned phase;            /* of run(), kept over replays */
	uint64_t scratch[8];       /* of run(), kept over replays */
	uint64_t patience;         /* fs/fill.c: until when it waits for page frames */
	struct inode *inode;       /* referenced while the op lives, dropped by op_free (fs/inode.h) */
	struct list range;         /* fs/range.h: the held or awaited block range */
	uint64_t range_first, range_last;
	bool range_held, range_queued; /* of this thread alone, where range's links are its neighbours' too */
	unsigned tries;
	uint64_t epoch;            /* fs/epoch.h; valid while in_epoch */
	bool in_epoch, fills;      /* fills: waits for the reading of a block */
	struct node *nodes[OP_NODES];
	unsigned nnodes, node_next;
	struct op_waiter waits[OP_WAITS];
	_Atomic unsigned pending;  /* events awaited, plus one while run() is running */
	_Atomic int wake_status;
	struct list link;          /* worker's ready or free list */
	struct letter letter;
};

int worker_init(struct worker *, struct fs *, struct lane *, unsigned index);
void worker_exit(struct worker *);
/* Delivers mail and runs ready ops; true if there were any. */
bool worker_run(struct worker *w);
/* The same, then polls the lane and runs what that made ready. */
bool worker_poll(struct worker *);
/* Sleeps on mailbox and lane until something happens or timeout_ns passed (for tools; the daemon has its own loop). */
void worker_sleep(struct worker *, uint64_t timeout_ns);

/* Zeroed but for the machine's own part; NULL if all WORKER_OPS are in use (the caller stops taking requests). */
struct op *op_new(struct worker *);
void op_free(struct op *);
/* Runs it as far as it goes. finish() may be called before this returns. */
void op_start(struct op *);
/* A waiter to register with whatever the op waits for, counted as awaited; NULL if all are in use (then park with
 * what there is). If registering fails (the event has happened), give it back with op_unwait. */
struct waiter *op_wait(struct op *);
/* The same for what is not the reading of a block (a range lock, space, a checkpoint): an op that waits for nothing
 * else lets go of its epoch, since it will look up everything again; so it cannot hold up what it waits for. */
struct waiter *op_wait_idle(struct op *);
void op_unwait(struct op *, struct waiter *);
/* Runs op to its end on the calling thread, polling and sleeping; returns its status. finish is replaced. The caller
 * frees the op. For tools, tests, mount and unmount. */
int op_run_sync(struct op *);
/* Keeps a node / a run pinned till the op ends. op_pin_run takes over the caller's pin; false if there is no room. */
void op_pin_node(struct op *, struct node *);
bool op_pin_run(struct op *, struct run *);
void op_unpin_runs(struct op *);

/* A list of waiters with its own lock: wait queues for checkpoints, journal, takeover. */
struct waitq {
	struct list list;
	_Atomic bool some;
};
void waitq_init(struct waitq *);
/* Under whatever lock guards the condition. */
void waitq_add(struct waitq *, struct waiter *);
/* Takes all waiters out (under the lock); wake them after unlocking. */
void waitq_take(struct waitq *, struct list *out);
void waiters_wake(struct list *, int status);

#endif
