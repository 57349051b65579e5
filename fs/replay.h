/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery: the journal's records after the superblock's cut, read, checked and applied in memory. */
#ifndef NVOFS_FS_REPLAY_H
#define NVOFS_FS_REPLAY_H

#include "fs/fs_core.h"

struct replay {
	uint64_t records, txns;
	uint64_t next_pos, next_seq; /* where the journal goes on: an offset in blocks, behind everything that was scanned */
	uint32_t prev_crc;
};

/* Blocking, on worker 0, before anything else uses fs. Nothing is written. 0 or a code (-E_ROTTEN_SUPER, -E_BAD_ITEM,
 * damage, read errors). */
int replay_journal(struct fs *, struct replay *);

#endif
