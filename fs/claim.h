/* SPDX-License-Identifier: Apache-2.0 */
/* Becoming, staying and ceasing to be the writer: the heartbeat block and the rule of the dead writer.
 *
 *   NONE (read-only) ; WAIT -deadline-> CHECK -same as seen-> WRITE -> VERIFY -> SETTLE -> CHECKPOINT (epoch + 1) -> CLAIMED
 *                                        '- somebody else's: frozen, read-only '
 *
 *  1. Nothing is written before the deadline: until then commands of a session that died may still execute.
 *     A superblock or record of that session that landed after the mount had read is taken away (SETTLE): it belongs to
 *     other contents of the places that our first checkpoint writes, which may break off.
 *  2. The heartbeat is written every interval with a counter that grows; whoever sees it grow knows that we live.
 *  3. Only the block's owner (by token) writes it. A heartbeat with another token, seen after a reconnect: we lost the
 *     file system and stop writing for good. */
#ifndef NVOFS_FS_CLAIM_H
#define NVOFS_FS_CLAIM_H

#include "fs/fs_core.h"

#define HEARTBEAT_MS 1000u

int claim_new(struct fs *);
void claim_free(struct fs *);
/* seen: the heartbeat as found; held: it names a mount that is gone, whose commands may execute until deadline. */
void claim_begin(struct fs *, const struct heartbeat_disk *seen, bool held, uint64_t deadline);
/* Worker 0. Returns ns until it wants to be called again. */
uint64_t claim_tick(struct fs *);
/* Under way, and something may have been written. */
bool claim_writing(const struct fs *);
bool claim_failed(const struct fs *);
bool claim_done(const struct fs *);
uint64_t claim_deadline(const struct fs *);
/* Unmount, after the last checkpoint: gives the block back (blocking, no other thread). */
int claim_release(struct fs *);
/* fs is about to be freed: fs_reclaim finds it no more (conf.self). */
void claim_forget_self(struct fs *);

#endif
