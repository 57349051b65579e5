/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks and the heartbeat block as bytes: sealing, checking, finding the newest. */
#ifndef NVOFS_FS_SUPER_H
#define NVOFS_FS_SUPER_H

#include "fs/fs.h"

void super_seal(struct super_disk *);
/* Bytes from a device of nblocks: 0; -E_NOT_NVOFS (no magic); -E_CHECKSUM; -E_NEWER; -E_BAD_SUPER (makes no sense). */
int super_check(const struct super_disk *, uint64_t nblocks);
/* The newest valid superblock and its ring slot: 0; -E_NOT_NVOFS; -E_NEWER; -E_BAD_SUPER; a read error. */
int super_read(struct ns *, struct super_disk *, unsigned *slot);

void heartbeat_seal(struct heartbeat_disk *);
bool heartbeat_valid(const struct heartbeat_disk *, const uint8_t uuid[16]);
/* Does it name a mount? */
bool heartbeat_held(const struct heartbeat_disk *);

#endif
