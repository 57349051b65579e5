/* SPDX-License-Identifier: Apache-2.0 */
/* Repair: a new tree from the keys that survived, and the allocation state from that tree.
 *
 *      repair_plan (reads; the new state is in memory) -> checker over repair_source -> repair_commit
 *
 *  1. Nothing that the newest superblock reaches is overwritten: nodes and bitmaps go to places that are free in the old
 *     and in the new state, and one superblock makes the new one current. Cut off before it, nothing has changed.
 *  2. A plan is a function of what is on the device. Planned over its own result there is nothing to change.
 *  3. An EXTENT or INLINE item that makes sense by itself is kept, whatever else is wrong with its file. */
#ifndef NVOFS_FS_REPAIR_H
#define NVOFS_FS_REPAIR_H

#include "fs/check.h"

struct repair;

struct repair_conf {
	struct check_source source;
	void *mem;              /* as in check_conf */
	/* One line for each change; may be NULL. */
	void (*found)(void *arg, const char *line);
	void *arg;
	const volatile sig_atomic_t *cancel;
};

struct repair_report {
	uint64_t safe;          /* changes that lose nothing: space, counts, links, superblocks, orphans */
	uint64_t other;         /* what is more than that: something was lost, moved or guessed */
	uint64_t lost;          /* those of them by which something is gone */
	uint64_t saved;         /* things put into lost+found */
	uint64_t blocks;        /* to be written */
};

/* 0 and *report (no changes: nothing is to be written); -E_BAD_NODE when the tree's root is lost, -E_BAD_SUPER, -E_NEWER,
 * -E_NOT_NVOFS, -E_NO_SPACE for the new tree, read errors, -ENOMEM. repair_free in any case. */
int repair_plan(struct repair **, const struct repair_conf *, struct repair_report *report);
/* The device as it will be. */
struct check_source repair_source(struct repair *);
/* fua: it is durable on return. flush: everything before is. 0 or the first error; the device is as before, or repaired. */
int repair_commit(struct repair *, int (*write)(void *, uint64_t block, uint32_t nblocks, const void *, bool fua),
		  int (*flush)(void *), void *arg);
void repair_free(struct repair *);

#endif
