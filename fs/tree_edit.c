/* SPDX-License-Identifier: Apache-2.0 */
/* One pass from the root down: every node on the way is made dirty (copied if it was born earlier), and split before it
 * is entered if what may have to be inserted would not fit, so that a split never has to go back up. Deleting removes
 * empty nodes on the way back and merges a thin one with a neighbour that happens to be in memory: it never reads. */
#include "fs/tree_edit.h"

#include <assert.h>
#include <string.h>
#include "fs/alloc_core.h"
#include "fs/node.h"

/* Bytes from the device can make a tree that has no answer here: one node under two parents, say (the first change through
 * one of them takes it away from under the other). In the middle of a transaction there is no way back: writing stops for
 * good, and what is durable stays as it is. */
static void damaged(struct fs *fs)
{
	fs_freeze(fs, -E_BAD_NODE, "changing the tree");
}

struct path {
	struct node *node[LEVELS_MAX];
	uint32_t index[LEVELS_MAX]; /* of the child taken */
	unsigned depth;             /* nodes in it; the last one is the leaf */
};

static struct ptr ptr_to(const struct node *n)
{
	return (struct ptr){ .block = n->block, .birth = n->birth, .level = n->mem->level };
}

/* The node that p names, dirty; parent (dirty, or NULL for the root) is made to point at the copy. NULL: damaged. */
static struct node *make_dirty(struct fs *fs, const struct ptr *p, struct node *parent, uint32_t index)
{
	struct node *n = node_find(fs, p->block, p->birth), *copy;
	struct ptr to;

	if (!n || n->mem->level != p->level) { /* it was gathered before */
		damaged(fs);
		return NULL;
	}
	if (n->birth == fs->gen)
		return n;
	copy = node_copy(fs, n, alloc_node(fs));
	alloc_free(fs, n->block, NODE_BLOCKS);
	node_forget(fs, n);
	to = ptr_to(copy);
	if (parent)
		node_set_child(parent, index, &to);
	else
		fs->root = to;
	return copy;
}

static void free_node(struct fs *fs, struct node *n)
{
	alloc_free(fs, n->block, NODE_BLOCKS);
	node_forget(fs, n);
}

static void insert_child(struct node *parent, uint32_t index, const struct key *k, const struct ptr *p)
{
	struct ptr_disk d = { .block = put64(p->block), .birth = put64(p->birth) };

	node_insert(parent, index, k, &d, sizeof(d), NULL, 0);
}

/* A new root above the present one. NULL: a tree of this height is none that we made. */
static struct node *grow(struct fs *fs)
{
	struct node *old = node_find(fs, fs->root.block, fs->root.birth), *root;
	struct key first = node_first(old);
	struct ptr p = ptr_to(old);

	if (fs->root.level + 1u >= LEVELS_MAX) {
		damaged(fs);
		return NULL;
	}
	root = node_create(fs, alloc_node(fs), (uint8_t)(fs->root.level + 1), &first);
	insert_child(root, 0, &first, &p);
	fs->root = ptr_to(root);
	return root;
}

/* Where to cut so that both halves have about the same bytes; 1 .. nitems-1. The larger half is at most half of the
 * node and half of the longest item: there is always room for one more of the longest. */
static uint32_t middle(const struct node *n)
{
	uint32_t half = node_used(n) / 2, sum = 0, i, count = node_nitems(n);

	for (i = 0; i + 1 < count; i++) {
		struct item it;

		node_item(n, i, &it);
		if (sum + node_need(it.len) / 2 >= half)
			break;
		sum += node_need(it.len);
	}
	return MAX(i, 1);
}

/* Splits the dirty node n, child number index of the dirty parent (which has room), and returns the half for k. at_end: k
 * goes behind all of n, as keys that only grow do: then the left half stays full. */
static struct node *split(struct fs *fs, struct node *n, struct node *parent, uint32_t *index, const struct key *k)
{
	uint32_t count = node_nitems(n), cut;
	struct key last = node_key(n, count - 1), first;
	bool at_end = key_compare(k, &last) > 0 && n->mem->level == 0;
	struct node *right;
	struct ptr p;

	cut = at_end ? count : middle(n);
	first = at_end ? *k : node_key(n, cut);
	right = node_create(fs, alloc_node(fs), n->mem->level, &first);
	node_move(n, cut, right);
	p = ptr_to(right);
	insert_child(parent, *index + 1, &first, &p);
	if (key_compare(k, &first) < 0)
		return n;
	(*index)++;
	return right;
}

/* Makes the way to k dirty; need: bytes that have to fit into the leaf (0: nothing is inserted). False: damaged. */
static bool walk(struct fs *fs, const struct key *k, uint32_t need, struct path *path)
{
	struct ptr p = fs->root;
	struct node *parent = NULL;
	uint32_t index = 0;

	path->depth = 0;
	for (;;) {
		struct node *n = make_dirty(fs, &p, parent, index);
		struct key first;
		uint32_t want;
		bool exact;

		if (!n)
			return false;
		want = n->mem->level ? node_need(sizeof(struct ptr_disk)) : need;
		first = node_first(n);
		if (need && node_room(n) < want) {
			if (!parent) {
				parent = grow(fs);
				if (!parent)
					return false;
				index = 0;
				path->node[0] = parent;
				path->depth = 1;
			}
			n = split(fs, n, parent, &index, k);
			path->index[path->depth - 1] = index;
			first = node_first(n);
		}
		if (need && key_compare(k, &first) < 0) { /* keeps "the parent's key is the child's lower bound" */
			node_set_first(n, k);
			if (parent)
				node_set_key(parent, index, k);
		}
		path->node[path->depth] = n;
		if (n->mem->level == 0) {
			path->depth++;
			return true;
		}
		parent = n;
		index = node_search(n, k, &exact);
		index = exact || index == 0 ? index : index - 1;
		path->index[path->depth++] = index;
		p = node_child(n, index);
	}
}

void tree_put(struct fs *fs, const struct key *k, const void *head, uint32_t head_len, const void *tail, uint32_t tail_len)
{
	struct path path;
	struct node *leaf;
	uint32_t i, len = head_len + tail_len;
	struct item it;
	bool exact;

	assert(len <= VALUE_MAX);
	if (!fs->root.block) {
		leaf = node_create(fs, alloc_node(fs), 0, k);
		fs->root = ptr_to(leaf);
	}
	if (!walk(fs, k, node_need(len), &path))
		return;
	leaf = path.node[path.depth - 1];
	i = node_search(leaf, k, &exact);
	if (exact) {
		node_item(leaf, i, &it);
		if (it.len == len) {
			uint8_t *to = (uint8_t *)(uintptr_t)it.val;

			memcpy(to, head, head_len);
			if (tail_len)
				memcpy(to + head_len, tail, tail_len);
			return;
		}
		node_remove(leaf, i);
	}
	node_insert(leaf, i, k, head, head_len, tail, tail_len);
}

/* Merges the child number index of the dirty parent with the one to its right, if both are in memory and thin. */
static bool merge(struct fs *fs, struct node *parent, uint32_t index)
{
	struct ptr lp, rp;
	struct node *left, *right;

	if (index + 1 >= node_nitems(parent))
		return false;
	lp = node_child(parent, index);
	rp = node_child(parent, index + 1);
	left = node_find(fs, lp.block, lp.birth);
	right = node_find(fs, rp.block, rp.birth);
	if (!left || !right || left == right ||
	    node_used(left) + node_used(right) > (NODE_SIZE - sizeof(struct node_disk)) * 3 / 4)
		return false;
	left = make_dirty(fs, &lp, parent, index);
	right = make_dirty(fs, &rp, parent, index + 1);
	if (!left || !right)
		return false;
	node_move(right, 0, left);
	node_remove(parent, index + 1);
	free_node(fs, right);
	return true;
}

/* Makes the tree lower while the root has a single child. */
static void shrink(struct fs *fs)
{
	while (fs->root.level > 0) {
		struct node *root = node_find(fs, fs->root.block, fs->root.birth);
		struct ptr child;

		if (node_nitems(root) != 1)
			return;
		child = node_child(root, 0);
		if (!node_find(fs, child.block, child.birth))
			return; /* its checksum is in the pointer alone; some other time */
		free_node(fs, root);
		fs->root = child;
	}
}

void tree_del(struct fs *fs, const struct key *k)
{
	struct path path;
	struct node *leaf;
	uint32_t i;
	bool exact;

	if (!walk(fs, k, 0, &path))
		return;
	leaf = path.node[path.depth - 1];
	i = node_search(leaf, k, &exact);
	if (!exact) {
		damaged(fs);
		return;
	}
	node_remove(leaf, i);
	for (unsigned d = path.depth - 1; d > 0; d--) {
		struct node *n = path.node[d], *parent = path.node[d - 1];
		uint32_t at = path.index[d - 1];

		if (node_nitems(n) == 0) {
			node_remove(parent, at);
			free_node(fs, n);
		} else if (node_used(n) > NODE_SIZE / 4 || !(merge(fs, parent, at) || (at > 0 && merge(fs, parent, at - 1)))) {
			break;
		}
	}
	if (fs->root.level > 0 && node_nitems(path.node[0]) == 0) {
		free_node(fs, path.node[0]);
		fs->root = (struct ptr){ 0 };
		return;
	}
	shrink(fs);
}

bool tree_peek(struct fs *fs, const struct key *k, struct item *out)
{
	struct ptr p = fs->root;

	while (p.block) {
		struct node *n = node_find(fs, p.block, p.birth);
		bool exact;
		uint32_t i;

		if (!n || n->mem->level != p.level) {
			damaged(fs);
			return false;
		}
		i = node_search(n, k, &exact);
		if (n->mem->level == 0) {
			if (exact)
				node_item(n, i, out);
			return exact;
		}
		p = node_child(n, exact || i == 0 ? i : i - 1);
	}
	return false;
}

uint64_t tree_cost(const struct fs *fs, unsigned nkeys)
{
	/* Each key: its way from the root, a split on every level and a new root; a merge copies two neighbours more. */
	uint64_t levels = fs->root.level + 1u;

	return nkeys * (levels + 3) + levels + 2;
}

static uint32_t seal(struct fs *fs, const struct ptr *p)
{
	struct node *n = node_find(fs, p->block, p->birth);

	assert(n);
	if (n->mem->level > 0)
		for (uint32_t i = 0; i < node_nitems(n); i++) {
			struct ptr child = node_child(n, i);

			if (child.birth != fs->gen)
				continue;
			child.crc = seal(fs, &child);
			node_set_child(n, i, &child);
		}
	return node_seal(n);
}

void tree_seal(struct fs *fs)
{
	if (fs->root.block && fs->root.birth == fs->gen)
		fs->root.crc = seal(fs, &fs->root);
}
