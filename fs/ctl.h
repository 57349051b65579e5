/* SPDX-License-Identifier: Apache-2.0 */
/* What a program asks a running daemon through an ioctl on the mount's root directory. The daemon fills out with
 * JSON text (RFC 8259), zero-terminated, so that keys can be added without a new number. */
#ifndef NVOFS_FS_CTL_H
#define NVOFS_FS_CTL_H

#include <stdint.h>
#include <sys/ioctl.h>

#define CTL_STATUS_LEN 8192u /* FUSE passes at most 16 KiB - 1 through an ioctl that names its size */

struct ctl_status {
	char json[CTL_STATUS_LEN];
};
#define CTL_STATUS _IOR(0xF5, 0x01, struct ctl_status)

/* One step of a scrub. In: all zeros at first, then what the step before gave, but for nbad. Root and the owner of the daemon. */
#define SCRUB_LEVELS 16u
#define SCRUB_BAD 12u
struct ctl_scrub_bad {
	uint64_t ino;              /* 0: a node of the tree */
	uint64_t offset;           /* bytes in the file */
	uint64_t block;            /* on the device */
	char error[96];
	char path[512];
};
struct ctl_scrub {
	uint64_t object, offset;   /* key to go on from; opaque to the caller */
	uint32_t type;
	uint32_t done;             /* there is nothing more */
	uint64_t seen[SCRUB_LEVELS];
	uint64_t data_blocks, node_blocks, found; /* sums over all steps; found: bad ones, also beyond nbad */
	uint32_t nbad, pad;        /* of this step */
	struct ctl_scrub_bad bad[SCRUB_BAD];
};
#define CTL_SCRUB _IOWR(0xF5, 0x02, struct ctl_scrub)

#endif
