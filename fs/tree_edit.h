/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the tree: for txn.c alone, under the exclusive fs lock, with every node on the way in memory and enough
 * free quads (alloc.h). Nothing here can fail but for a damaged
 * tree, which freezes the file system and leaves a tree in memory that can be read, and is never written. */
#ifndef NVOFS_FS_TREE_EDIT_H
#define NVOFS_FS_TREE_EDIT_H

#include "fs/fs_core.h"

void tree_put(struct fs *, const struct key *, const void *head, uint32_t head_len, const void *tail, uint32_t tail_len);
void tree_del(struct fs *, const struct key *);
/* The item in memory; false if the key is not there. */
bool tree_peek(struct fs *, const struct key *, struct item *);
/* Quads that changing nkeys keys can take at most. */
uint64_t tree_cost(const struct fs *, unsigned nkeys);
/* At the cut: seals every node born in the running generation, bottom up, into the pointers to them. */
void tree_seal(struct fs *);

#endif
