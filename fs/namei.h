/* SPDX-License-Identifier: Apache-2.0 */
/* What removing and renaming share. */
#ifndef NVOFS_FS_NAMEI_H
#define NVOFS_FS_NAMEI_H

#include "fs/fs_core.h"
#include "fs/op.h"

/* In a transaction: the inode has a name less; the last one: no links, and an ORPHAN item (gathered before). */
void inode_drop_name(struct op *, uint64_t ino, struct inode_disk *, bool last);
/* After its commit. */
void orphan_known(struct fs *, uint64_t ino);
/* In a transaction: a directory has so many entries and subdirectories more; stamped and stored. */
void dir_changed(struct op *, uint64_t ino, struct inode_disk *, int entries, int subdirs);

#endif
