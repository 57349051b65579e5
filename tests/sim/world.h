/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated file system and its reference model, side by side, and random operations on both. Each step does one
 * operation, compares the results, learns the times. What is asked for is chosen to hit limits: few names, sizes and
 * offsets around block, extent, inline and node sizes. */
#ifndef NVOFS_TESTS_SIM_WORLD_H
#define NVOFS_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include "tests/sim/model.h"
#include "tests/sim/sim_fs.h"

#define WORLD_OPEN 6u
#define WORLD_BUF (1 * MiB)
#define WORLD_SLOW 3u

/* A read that is on its way while other things happen: each page of it must be what the file had at some time since. */
struct slow_read {
	struct sim_call call;      /* op NULL: none */
	uint64_t ino, off;
	uint32_t len;
	struct model *seen;        /* since it began */
	size_t nseen;
};

struct world {
	struct sim *s;
	struct model m;
	struct rng rng;
	uint64_t steps;            /* operations so far */
	uint64_t max_size;         /* of files that are written */
	size_t max_nodes;          /* about how many inodes */
	bool tolerant;             /* faults are injected: an operation may fail with an I/O error, without effect */
	bool damaged;              /* and what is on the device may be lost for good: then also later ones */
	bool nomem;                /* memory may run out: an operation may fail with -ENOMEM, without effect */
	bool full;                 /* an operation may fail for want of space, or write less */
	bool no_sync;              /* no fsync, no checkpoints by themselves */
	bool synced;               /* the last step made everything before it durable */
	bool changed;              /* the last step changed something */
	bool parallel;             /* the last step was several operations at once, each on an inode of its own */
	bool no_parallel;
	struct mnode *listing;     /* a directory that is being read, and the names found so far; NULL: none */
	uint64_t cookie;
	struct model listed_from;  /* as it was when the reading began */
	char (*changed_names)[256];/* made, removed or renamed in it since */
	size_t nchanged;
	bool slow_reads;
	struct slow_read slow[WORLD_SLOW];
	bool trace;
	uint64_t errors;           /* tolerated */
	uint64_t open[WORLD_OPEN]; /* inodes; 0: free */
	char what[700];            /* the last operation, in words */
	uint8_t *buf, *buf2;       /* WORLD_BUF each */
};

/* Formats, mounts, takes the root into the model. 0 or a negative code. */
int world_init(struct world *, const struct sim_conf *);
void world_exit(struct world *);
/* Leaves about this many blocks for data: a large file takes the rest, so that blocks are used again soon. */
int world_ballast(struct world *, uint64_t leave);
/* Commits n records, so that the journal's position moves on. */
int world_age_journal(struct world *, unsigned n);
/* One random operation. 0; or -1 after a report on stderr: the file system did something else than the model. */
int world_step(struct world *);
/* After operations that began at start: learns the times of what they stamped, forgets what nobody has any more. */
int world_settle(struct world *, struct timespec start);
/* world_ace.c: operation number op (below WORLD_ACE) of the exhaustive workloads, followed by nothing, fsync or a
 * checkpoint (after: 0, 1, 2). What it would work on may be gone: then nothing happens. world_ace_init makes that. */
#define WORLD_ACE 26u
int world_ace_init(struct world *);
int world_ace_op(struct world *, unsigned op, unsigned after);
/* Slow reads: waits for all and judges them / forgets them (the file system is gone, or about to be). */
int world_finish_slow(struct world *);
void world_drop_slow(struct world *);
/* A directory read in many small calls while it changes: who was there all the time is found once. */
int world_list_step(struct world *);
void world_list_drop(struct world *);
/* Of world_step. */
int world_slow_step(struct world *);
void world_slow_start(struct world *, uint64_t ino, uint64_t off, uint32_t len);
/* Closes every open file. */
int world_close_all(struct world *);
/* The whole tree against the model; 0, or -1 after a report. */
int world_compare(struct world *);
/* Unmounts, checks, mounts again, compares. */
int world_remount(struct world *);
/* Removes everything, so that only the root is left. */
int world_empty(struct world *);

#endif
