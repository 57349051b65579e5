/* SPDX-License-Identifier: Apache-2.0 */
/* Directories: names in hash buckets. The key of an entry, (directory, DIRENT, hash << 8 | i), is its readdir cookie and
 * never changes while the entry lives. Extended attributes use the same buckets. Under the fs lock. */
#ifndef NVOFS_FS_DIR_H
#define NVOFS_FS_DIR_H

#include "fs/fs_core.h"
#include "fs/op.h"

struct dir_entry {
	struct key key;            /* where it is; or, if not found, a free place, whose leaf is in memory */
	uint64_t ino;
	uint8_t type;              /* DT_* */
};

/* 0 and the length, or -ENOENT (empty), -ENAMETOOLONG, -EINVAL ("/" in it). */
int name_check(const char *name, size_t *len);
/* name_check, and "." and ".." are refused with -EEXIST if they are to be made, else -EINVAL. */
int name_check_new(const char *name, size_t *len);
/* First key of the bucket of a name. */
struct key bucket_key(const struct fs *, uint64_t object, uint8_t type, const void *name, size_t len);

/* 0; -ENOENT with a free place; -E_NO_SPACE if there is none; -E_PARKED; -E_BAD_ITEM. */
int dir_find(struct op *, uint64_t dir, const char *name, size_t len, struct dir_entry *);
/* Inside a transaction. */
void dir_put(struct op *, const struct key *, uint64_t ino, uint8_t type, const char *name, size_t len);
/* 0: no entry; -ENOTEMPTY. */
int dir_empty(struct op *, uint64_t dir);
/* The inode of a directory: -ENOTDIR if it is none, -ENOENT if it was removed. */
int dir_load(struct op *, uint64_t dir, struct inode_disk *);
static inline uint8_t mode_dtype(uint32_t mode) { return (mode & S_IFMT) >> 12; } /* as IFTODT */

/* Walks one bucket: 0 with the next item, -ENOENT at its end with the lowest free place in *free_at (UINT64_MAX: none). */
struct bucket {
	struct cursor cursor;
	struct key first;
	uint64_t free_at, next;
	bool started;
};
void bucket_start(struct bucket *, const struct key *first);
int bucket_next(struct bucket *, struct op *, struct item *);

#endif
