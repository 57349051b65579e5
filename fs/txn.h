/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: a set of key changes that reaches the tree, the allocator and the journal whole or not at all.
 *
 *      gather (tree_get every key that will be put or deleted, in this holding of the exclusive lock)
 *      -> txn_begin -> txn_put / txn_del ... -> txn_commit
 *
 *  1. Between txn_begin and txn_commit nothing can fail or park: begin has made sure of space, journal room and bitmaps.
 *  2. Blocks follow keys: putting an EXTENT item makes its blocks live, replacing or deleting one frees those that no
 *     EXTENT item of the same transaction names again. There is no other way to allocate or free data blocks for good.
 *  3. Data must be on the device (done() of its write) before the transaction that names it commits.
 *  4. A committed transaction is in memory; it is durable when its journal record is (txn_sync). Order of commit is order
 *     of recovery. */
#ifndef NVOFS_FS_TXN_H
#define NVOFS_FS_TXN_H

#include <stdint.h>
#include "fs/tree.h"

/* At most TXN_KEYS puts and deletes a transaction (and TXN_MAX bytes). */
#define TXN_KEYS 64u

/* Exclusive lock held, kept on 0. nkeys: upper bound of puts + deletes. On any other result nothing happened and
 * the caller unlocks and returns it: -E_PARKED (a checkpoint, a bitmap, the dead writer's rule), -E_NO_SPACE,
 * -E_READ_ONLY, -E_FROZEN. frees: the transaction only gives space back (may use the reserve). */
int txn_begin(struct op *, unsigned nkeys, bool frees);
/* Inserts or replaces. The value is head||tail (tail may be NULL): at most VALUE_MAX bytes. */
void txn_put(struct op *, const struct key *, const void *head, uint32_t head_len, const void *tail, uint32_t tail_len);
/* The key must exist. */
void txn_del(struct op *, const struct key *);
void txn_commit(struct op *);
/* A new inode number (inside a transaction). */
uint64_t txn_new_ino(struct op *);

/* Everything committed so far durable? 0, or -E_PARKED until it is (no lock held; op->scratch[7] is used), or the error
 * that froze the file system. */
int txn_sync(struct op *);

#endif
