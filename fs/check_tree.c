/* SPDX-License-Identifier: Apache-2.0 */
/* The checker's walk of the tree, depth first and in key order. Leaves are read LEAF_BATCH at a time; the levels above
 * one node at a time. A node that does not match its pointer is reported and not entered. */
#include <string.h>
#include "fs/check_impl.h"

/* Findings about nodes, which only a new tree can mend. */
#define TREE_SAY(c, ...) \
	do { \
		(c)->tree_errors++; \
		check_say(c, __VA_ARGS__); \
	} while (0)

/* What is known of a node before it is read. */
struct expect {
	struct ptr_disk ptr;
	struct check_key first, end;    /* keys lie in [first, end) */
	bool root;                      /* first is the node's own word */
	bool bounded;                   /* end holds */
	unsigned level;
};

struct check_key check_key_get(const struct key_disk *k)
{
	return (struct check_key){ .object = get64(k->object), .type = k->type, .offset = get64(k->offset) };
}

/* The tree below this pointer is lost to the walk. */
static void lost(struct check *c, const struct expect *e)
{
	c->rep->incomplete = true;
	if (c->repair)
		repair_on_lost(c->repair, get64(e->ptr.block), e->level, &e->first, e->bounded ? &e->end : NULL);
}

/* The pointer alone, and that its blocks are nobody else's. */
static bool pointer_good(struct check *c, const struct expect *e, uint64_t parent_birth)
{
	uint64_t block = get64(e->ptr.block), birth = get64(e->ptr.birth), first;
	unsigned long long b = block;
	const char *fixed;
	bool good = true;

	if (birth == 0 || birth > parent_birth)
		TREE_SAY(c, 0, "node at block %llu: birth %llu, but its parent's is %llu", b,
			  (unsigned long long)birth, (unsigned long long)parent_birth);
	if (block % NODE_BLOCKS || !range_fits(block, NODE_BLOCKS, c->nblocks)) {
		TREE_SAY(c, 0, "pointer to a node at block %llu: not a place for a node", b);
		good = false;
	} else if ((fixed = check_fixed(c, block, NODE_BLOCKS))) {
		TREE_SAY(c, 0, "pointer to a node at block %llu: that is inside the %s", b, fixed);
		good = false;
	} else if (check_own(c, block, NODE_BLOCKS, &first)) {
		TREE_SAY(c, 0, "node at block %llu: block %llu is already used by something else", b,
			  (unsigned long long)first);
		good = false;
	}
	if (!good)
		lost(c, e);
	return good;
}

/* Identity: the bytes are the ones that the pointer means. */
static bool identity_good(struct check *c, const struct expect *e, const struct node_disk *n, int status)
{
	unsigned long long b = get64(e->ptr.block);
	uint32_t crc;

	if (status) {
		TREE_SAY(c, 0, "node at block %llu cannot be read: %s", b, err_text(status));
		return false;
	}
	crc = check_crc_zeroed(n, NODE_SIZE, offsetof(struct node_disk, crc));
	if (get32(n->magic) != NODE_MAGIC)
		TREE_SAY(c, 0, "node at block %llu: no node is there (magic %08x)", b, get32(n->magic));
	else if (get64(n->block) != b)
		TREE_SAY(c, 0, "node at block %llu: what is there belongs to block %llu", b,
			  (unsigned long long)get64(n->block));
	else if (get64(n->birth) != get64(e->ptr.birth))
		TREE_SAY(c, 0, "node at block %llu: birth %llu, its pointer says %llu", b,
			  (unsigned long long)get64(n->birth), (unsigned long long)get64(e->ptr.birth));
	else if (memcmp(n->uuid, c->super.uuid, sizeof(n->uuid)))
		TREE_SAY(c, 0, "node at block %llu: of another file system (uuid)", b);
	else if (get32(n->crc) != crc || get32(e->ptr.crc) != crc)
		TREE_SAY(c, 0, "node at block %llu: checksum mismatch (computed %08x, node says %08x, pointer %08x)",
			  b, crc, get32(n->crc), get32(e->ptr.crc));
	else if (n->level != e->level)
		TREE_SAY(c, 0, "node at block %llu: level %u, expected %u", b, n->level, e->level);
	else
		return true;
	return false;
}

static const struct item_disk *items_of(const struct node_disk *n)
{
	return (const struct item_disk *)(n + 1);
}

/* Marks value bytes in cover; false if outside the node or used twice. */
static bool value_good(struct check *c, const struct item_disk *it, unsigned low)
{
	unsigned off = get16(it->off), len = get16(it->len);

	if (len > VALUE_MAX || off < low || !range_fits(off, len, NODE_SIZE))
		return false;
	if (len && memchr(c->cover + off, 1, len))
		return false;
	memset(c->cover + off, 1, len);
	return true;
}

/* Structure: header, place of every value. The walk may go on if it holds. */
static bool structure_good(struct check *c, const struct expect *e, const struct node_disk *n)
{
	unsigned long long b = get64(e->ptr.block);
	unsigned nitems = get16(n->nitems), low = get16(n->low), used = 0;
	const struct item_disk *it = items_of(n);

	if (low > NODE_SIZE || sizeof(*n) + nitems * sizeof(*it) > low) {
		TREE_SAY(c, 0, "node at block %llu: %u items and values from byte %u do not fit", b, nitems, low);
		return false;
	}
	memset(c->cover, 0, NODE_SIZE);
	for (unsigned i = 0; i < nitems; i++) {
		if (!value_good(c, &it[i], low)) {
			TREE_SAY(c, 0,
				  "node at block %llu: value of item %u (%u bytes at %u) lies outside or in another", b,
				  i, get16(it[i].len), get16(it[i].off));
			return false;
		}
		if (e->level && get16(it[i].len) != sizeof(struct ptr_disk)) {
			TREE_SAY(c, 0, "node at block %llu: item %u is no pointer (%u bytes)", b, i, get16(it[i].len));
			return false;
		}
		used += get16(it[i].len);
	}
	if (used + get16(n->dead) != NODE_SIZE - low)
		TREE_SAY(c, 0, "node at block %llu: %u dead bytes, should be %u", b, get16(n->dead),
			  NODE_SIZE - low - used);
	if (e->level && !nitems)
		TREE_SAY(c, 0, "node at block %llu: level %u without items", b, e->level);
	return true;
}

/* Order and bounds of keys: reported, and the walk goes on (records are sorted later). */
static void keys_check(struct check *c, const struct expect *e, const struct node_disk *n)
{
	const struct item_disk *it = items_of(n);
	struct check_key first = check_key_get(&n->first), last = first, k;
	unsigned long long b = get64(e->ptr.block);
	char x[80], y[80];

	if (!e->root && check_key_compare(&first, &e->first))
		TREE_SAY(c, 0, "node at block %llu: first key %s, its parent says %s", b,
			  check_key_print(&first, x, sizeof(x)), check_key_print(&e->first, y, sizeof(y)));
	for (unsigned i = 0; i < get16(n->nitems); i++, last = k) {
		k = check_key_get(&it[i].key);
		if (i ? check_key_compare(&k, &last) <= 0 : check_key_compare(&k, &first) < 0)
			TREE_SAY(c, 0, "node at block %llu: item %u: key %s is not above %s", b, i,
				  check_key_print(&k, x, sizeof(x)), check_key_print(&last, y, sizeof(y)));
		if (e->bounded && check_key_compare(&k, &e->end) >= 0)
			TREE_SAY(c, 0, "node at block %llu: item %u: key %s is not below its parent's bound %s", b, i,
				  check_key_print(&k, x, sizeof(x)), check_key_print(&e->end, y, sizeof(y)));
	}
}

static bool node_good(struct check *c, const struct expect *e, const struct node_disk *n, int status)
{
	c->rep->checked_blocks += NODE_BLOCKS;
	if (!identity_good(c, e, n, status) || !structure_good(c, e, n)) {
		if (status)
			c->rep->read_errors++;
		lost(c, e);
		return false;
	}
	keys_check(c, e, n);
	c->rep->nodes++;
	if (c->repair)
		repair_on_node(c->repair, get64(n->block));
	if (!e->level)
		c->rep->leaves++;
	return true;
}

static void leaf_walk(struct check *c, const struct node_disk *n)
{
	const struct item_disk *it = items_of(n);

	for (unsigned i = 0; i < get16(n->nitems) && !c->fatal; i++) {
		struct check_key k = check_key_get(&it[i].key);

		c->rep->items++;
		check_item(c, get64(n->block), get64(n->birth), i, &k, (const uint8_t *)n + get16(it[i].off),
			   get16(it[i].len));
		if (c->repair)
			repair_on_item(c->repair, get64(n->block), i, &k, (const uint8_t *)n + get16(it[i].off), get16(it[i].len));
	}
}

/* What parent's item i says of its child. */
static void child_expect(const struct expect *e, const struct node_disk *n, unsigned i, struct expect *child)
{
	const struct item_disk *it = items_of(n);

	memcpy(&child->ptr, (const uint8_t *)n + get16(it[i].off), sizeof(child->ptr));
	child->first = check_key_get(&it[i].key);
	child->level = e->level - 1;
	child->root = false;
	if (i + 1u < get16(n->nitems)) {
		child->end = check_key_get(&it[i + 1].key);
		child->bounded = true;
	} else {
		child->end = e->end;
		child->bounded = e->bounded;
	}
}

/* Children of a level 1 node. */
static void leaves_walk(struct check *c, const struct expect *e, const struct node_disk *n)
{
	struct expect child[LEAF_BATCH];
	struct check_read reads[LEAF_BATCH];
	unsigned i = 0, nitems = get16(n->nitems), k;

	while (i < nitems && !check_stop(c)) {
		for (k = 0; k < LEAF_BATCH && i < nitems; i++) {
			child_expect(e, n, i, &child[k]);
			if (!pointer_good(c, &child[k], get64(n->birth)))
				continue;
			reads[k] = (struct check_read){ .block = get64(child[k].ptr.block), .nblocks = NODE_BLOCKS,
				.buf = c->leaves + k * NODE_SIZE };
			k++;
		}
		c->conf->source.read(c->conf->source.arg, reads, k);
		for (unsigned j = 0; j < k && !c->fatal; j++) {
			const struct node_disk *leaf = reads[j].buf;

			if (node_good(c, &child[j], leaf, reads[j].status))
				leaf_walk(c, leaf);
		}
		check_tick(c);
	}
}

/* Recursion is bounded by LEVELS_MAX: a child's level is one less by identity_good. */
static void node_walk(struct check *c, const struct expect *e, uint64_t parent_birth)
{
	const struct node_disk *n = (const struct node_disk *)c->node[e->level];
	struct check_read r = { .block = get64(e->ptr.block), .nblocks = NODE_BLOCKS, .buf = c->node[e->level] };
	struct expect child;

	if (check_stop(c) || !pointer_good(c, e, parent_birth))
		return;
	c->conf->source.read(c->conf->source.arg, &r, 1);
	if (!node_good(c, e, n, r.status))
		return;
	if (e->level == 0)
		leaf_walk(c, n);
	else if (e->level == 1)
		leaves_walk(c, e, n);
	for (unsigned i = 0; e->level > 1 && i < get16(n->nitems) && !c->fatal; i++) {
		child_expect(e, n, i, &child);
		node_walk(c, &child, get64(n->birth));
	}
}

void check_tree(struct check *c)
{
	struct expect root = { .ptr = c->super.root, .level = c->super.root_level, .root = true };

	c->rep->levels = root.level + 1u;
	node_walk(c, &root, c->gen);
	check_object_end(c);
}
