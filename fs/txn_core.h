/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions as mount, replay and mkfs use them: the same changes, without journal and without waiting. */
#ifndef NVOFS_FS_TXN_CORE_H
#define NVOFS_FS_TXN_CORE_H

#include "fs/fs_core.h"
#include "fs/txn.h"

int txn_new(struct fs *);
void txn_free(struct fs *);
/* Exclusive lock; the keys' nodes are in memory. */
void txn_replay_begin(struct fs *);
void txn_put_fs(struct fs *, const struct key *, const void *head, uint32_t head_len, const void *tail, uint32_t tail_len);
void txn_del_fs(struct fs *, const struct key *);
/* The same for a key that may be missing (bytes from the device): false, and nothing done. */
bool txn_del_checked(struct fs *, const struct key *);
void txn_replay_commit(struct fs *);

#endif
