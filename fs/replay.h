/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery: the journal's records after the superblock's cut, read, checked and applied in memory. */
#ifndef NVOFS_FS_REPLAY_H
#define NVOFS_FS_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

struct fs;

struct replay {
	uint64_t records, txns;
	uint64_t next_pos, next_seq; /* where the journal goes on: an offset in blocks, behind everything that was scanned */
	uint32_t prev_crc;
};

/* Blocking, on worker 0, before anything else uses fs. Nothing is written. 0 or a code (-E_ROTTEN_SUPER, -E_BAD_ITEM,
 * damage, read errors). */
int replay_journal(struct fs *, struct replay *);
/* Blocking, not from a call-back of a lane, once nothing of the dead session can land any more: makes the device again
 * what recovery found (fs->super, fs->recovered). Superblocks and records that came later, which nobody was told of, are
 * erased; -E_MOVED if there are any and erase is false. 0 or a code. */
int replay_settle(struct fs *, bool erase);

#endif
