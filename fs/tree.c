/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up. */
#include "fs/tree.h"

#include "fs/node.h"

/* Last child whose key is <= *k; the first one if all are greater. */
static uint32_t child_index(const struct node *n, const struct key *k)
{
	bool exact;
	uint32_t i = node_search(n, k, &exact);

	return exact || i == 0 ? i : i - 1;
}

/* Walks down to the leaf for k. limit, if not NULL, gets the smallest key of the leaf to the right (has_limit). */
static int descend(struct op *op, const struct key *k, struct node **leaf, struct key *right, bool *has_right,
		   struct key *left, bool *has_left)
{
	struct fs *fs = op->worker->fs;
	struct ptr p = fs->root;

	*has_right = *has_left = false;
	if (!p.block)
		return -ENOENT;
	for (;;) {
		struct node *n;
		uint32_t i;
		int err = node_get(op, &p, &n);

		if (err)
			return err;
		if (n->mem->level == 0) {
			*leaf = n;
			return 0;
		}
		i = child_index(n, k);
		if (i + 1 < node_nitems(n)) {
			*right = node_key(n, i + 1);
			*has_right = true;
		}
		if (i > 0) { /* everything left of this child is smaller than its key */
			*left = node_key(n, i);
			*has_left = true;
		}
		p = node_child(n, i);
		if (p.birth > n->birth)
			return -E_BAD_NODE;
	}
}

int tree_get(struct op *op, const struct key *k, struct item *out)
{
	struct key right, left;
	bool has_right, has_left, exact;
	struct node *leaf;
	uint32_t i;
	int err = descend(op, k, &leaf, &right, &has_right, &left, &has_left);

	if (err)
		return err;
	i = node_search(leaf, k, &exact);
	if (!exact)
		return -ENOENT;
	node_item(leaf, i, out);
	return 0;
}

/* The first item >= *k, moving right over leaves that have none. */
static int seek(struct cursor *c, struct op *op, struct key k, struct item *out)
{
	for (;;) {
		struct key right, left;
		bool has_right, has_left, exact;
		int err = descend(op, &k, &c->leaf, &right, &has_right, &left, &has_left);

		if (err)
			return err;
		c->op = op;
		c->index = node_search(c->leaf, &k, &exact);
		if (c->index < node_nitems(c->leaf)) {
			node_item(c->leaf, c->index, out);
			return 0;
		}
		/* right > k always: a damaged tree whose keys go back would loop. */
		if (!has_right || key_compare(&right, &k) <= 0)
			return -ENOENT;
		k = right;
	}
}

int tree_ceil(struct op *op, const struct key *k, struct item *out)
{
	struct cursor c;

	return seek(&c, op, *k, out);
}

/* The greatest key below *k; false at zero. */
static bool before(struct key *k)
{
	if (k->offset-- > 0)
		return true;
	if (k->type-- > 0)
		return true;
	return k->object-- > 0;
}

int tree_floor(struct op *op, const struct key *key, struct item *out)
{
	struct key k = *key;

	for (;;) {
		struct key right, left;
		bool has_right, has_left, exact;
		struct node *leaf;
		uint32_t i;
		int err = descend(op, &k, &leaf, &right, &has_right, &left, &has_left);

		if (err)
			return err;
		i = node_search(leaf, &k, &exact);
		if (exact || i > 0) {
			node_item(leaf, exact ? i : i - 1, out);
			return 0;
		}
		if (!has_left || key_compare(&left, &k) > 0 || !before(&left))
			return -ENOENT;
		k = left;
	}
}

int cursor_first(struct cursor *c, struct op *op, const struct key *k, struct item *out)
{
	return seek(c, op, *k, out);
}

int cursor_next(struct cursor *c, struct item *out)
{
	struct key k = node_key(c->leaf, c->index);

	if (c->index + 1 < node_nitems(c->leaf)) {
		node_item(c->leaf, ++c->index, out);
		return 0;
	}
	/* The next possible key. */
	if (++k.offset == 0 && ++k.type == 0 && ++k.object == 0)
		return -ENOENT;
	return seek(c, c->op, k, out);
}
