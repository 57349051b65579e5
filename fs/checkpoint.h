/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint: makes the state at one cut durable as a whole.
 *
 *   IDLE -request-> CUT (exclusive lock, no I/O) -> NODES + IMAGES -> FLUSH -> SUPER_A -> SUPER_B -> IDLE
 *                    '- waits while frees wait for their bitmap
 *
 *  1. One is in flight. It runs on worker 0, started by its tick or its mailbox.
 *  2. The superblock on ring A is the commit point: written FUA after a Flush that covers all the cut refers to. The ring
 *     slot, and the bitmap slots, that the committed superblock names are not touched.
 *  3. After ring B: the journal is released up to the cut, and what was freed before it waits only for its epoch.
 *  4. A write that fails for good freezes the file system: nothing is half-committed, every later fsync fails. */
#ifndef NVOFS_FS_CHECKPOINT_H
#define NVOFS_FS_CHECKPOINT_H

#include "fs/fs_core.h"

int checkpoint_new(struct fs *);
void checkpoint_free(struct fs *);
/* Any thread, any lock: one should be made soon. */
void checkpoint_request(struct fs *);
/* Worker 0. force: even if nothing changed. clean: mark the superblock as cleanly unmounted. */
void checkpoint_start(struct fs *, bool force, bool clean);
/* Worker 0's tick: starts what was requested, is due, or waits for memory. */
void checkpoint_tick(struct fs *);
bool checkpoint_running(const struct fs *);
/* The fs froze: those who wait hear it. */
void checkpoint_wake(struct fs *, int status);
uint64_t checkpoint_count(const struct fs *);

#endif
