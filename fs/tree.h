/* SPDX-License-Identifier: Apache-2.0 */
/* The copy-on-write B+tree of everything: keys (object, type, offset) in nodes of 16 KiB.
 *
 * Invariants:
 *  1. A node whose birth is older than the running generation is never changed: it is copied to a new address first.
 *  2. A node in memory is either clean (its image is on the device at its address, or frozen and on its way there) or
 *     dirty (birth == running generation), and dirty nodes are never evicted.
 *  3. A pointer's {block, birth, crc} names one content; whoever reads it checks all three. The crc of a pointer to a dirty
 *     node is filled in at the cut.
 *  4. The hash of nodes, and node memory, change only under the exclusive fs lock.
 *
 * All calls under the fs lock: tree_get and cursors shared or exclusive, tree_put and tree_del exclusive (and only from
 * txn.c). -E_PARKED: a node is being read, the op is registered and has to return. */
#ifndef NVOFS_FS_TREE_H
#define NVOFS_FS_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include "fs/format.h"

struct fs;
struct op;
struct node;

struct key {
	uint64_t object;
	uint8_t type;
	uint64_t offset;
};
#define KEY(o, t, f) ((struct key){ .object = (o), .type = (t), .offset = (f) })

struct item {
	struct key key;
	const uint8_t *val; /* into the node: valid until the lock is released or the tree changed */
	uint32_t len;
};

int key_compare(const struct key *a, const struct key *b);

/* 0, -ENOENT, -E_PARKED or a damage code. After -ENOENT the leaf where the key would be is in memory and pinned. */
int tree_get(struct op *, const struct key *, struct item *);
/* The first item with key >= *k / the last one with key <= *k; -ENOENT if there is none in the whole tree. */
int tree_ceil(struct op *, const struct key *k, struct item *);
int tree_floor(struct op *, const struct key *k, struct item *);

/* Items in ascending order from key on: for (r = cursor_first(...); r == 0; r = cursor_next(...)); ends with -ENOENT.
 * A cursor lives within one holding of the lock and does not survive changes. */
struct cursor {
	struct op *op;
	struct node *leaf;
	uint32_t index;
};
int cursor_first(struct cursor *, struct op *, const struct key *, struct item *);
int cursor_next(struct cursor *, struct item *);

#endif
