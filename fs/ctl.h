/* SPDX-License-Identifier: Apache-2.0 */
/* What a program asks a running daemon through an ioctl on the mount's root directory. The daemon fills out with
 * JSON text (RFC 8259), zero-terminated, so that keys can be added without a new number. */
#ifndef NVOFS_FS_CTL_H
#define NVOFS_FS_CTL_H

#include <sys/ioctl.h>

#define CTL_STATUS_LEN 8192u /* FUSE passes at most 16 KiB - 1 through an ioctl that names its size */

struct ctl_status {
	char json[CTL_STATUS_LEN];
};
#define CTL_STATUS _IOR(0xF5, 0x01, struct ctl_status)

#endif
