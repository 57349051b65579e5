/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying checksums while mounted. */
#ifndef NVOFS_FS_SCRUB_H
#define NVOFS_FS_SCRUB_H

#include "fs/ctl.h"
#include "fs/fs_core.h"

struct scrub {
	struct ctl_scrub ctl;      /* in and out */
	/* of the step */
	bool is_node;
	struct ptr node;
	uint64_t ino, start, block;/* start: file block of the extent */
	uint32_t n, at, step;      /* blocks; done; read at once */
	uint32_t crcs[EXTENT_MAX];
	uint64_t copy[NODE_SIZE / 8];
};

/* op->out: a struct scrub, zeroed but for ctl. */
int fs_scrub(struct op *);

#endif
