/* SPDX-License-Identifier: Apache-2.0 */
/* Reading metadata blocks (tree nodes, bitmaps) into private memory: one read however many ops wait for it. What arrives
 * is copied out of the arena first and judged then, since a target may still write to the arena.
 *
 *      fill_start --(run_read)--> arrived --> judge(copy) --> install under the exclusive fs lock --> wake all
 */
#ifndef NVOFS_FS_FILL_H
#define NVOFS_FS_FILL_H

#include <stdint.h>
#include "fs/op.h"

struct fills;
struct fill;

struct fill {
	uint64_t block;
	uint32_t nblocks;
	/* Without locks, on the lane's thread: checks data (in arena memory: copy first) and keeps what it needs in
	 * priv. 0 or a code. */
	int (*judge)(struct fs *, struct fill *, const void *data);
	/* Exclusive fs lock; status of read and judgement. */
	void (*install)(struct fs *, struct fill *, int status);
	uint64_t args[4];
	void *priv;
	/* private to fill.c */
	struct list link, waiters;
	struct worker *worker;
	struct run *run;
	int status;
};

int fills_new(struct fills **, struct fs *);
void fills_free(struct fills *);
/* Under the fs lock (any). Joins the fill of block if one is under way, else starts like *wanted; registers op for its
 * end. Returns -E_PARKED, or a code if that cannot be done. */
int fill_start(struct op *, const struct fill *wanted);
/* The same without anyone waiting (the worker's lane reads). */
int fill_start_nowait(struct worker *, const struct fill *wanted);

#endif
