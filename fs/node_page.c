/* SPDX-License-Identifier: Apache-2.0 */
/* The slotted page: items grow from the header upwards in key order, values from the end downwards. A removed value
 * leaves a hole (counted in dead) until an insert needs the room: then the page is compacted. */
#include <string.h>
#include "base/crc.h"
#include "fs/node.h"

/* The order of the tree: all of an object together, in it by type, in it by offset. */
int key_compare(const struct key *a, const struct key *b)
{
	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

struct key key_load(const struct key_disk *k)
{
	return KEY(get64(k->object), k->type, get64(k->offset));
}

struct key_disk key_store(const struct key *k)
{
	return (struct key_disk){ .object = put64(k->object), .type = k->type, .offset = put64(k->offset) };
}

struct key node_key(const struct node *n, uint32_t i)
{
	return key_load(&node_items(n->mem)[i].key);
}

/* out->val points into the node: valid while it is pinned and not changed. */
void node_item(const struct node *n, uint32_t i, struct item *out)
{
	const struct item_disk *it = &node_items(n->mem)[i];

	out->key = key_load(&it->key);
	out->val = (const uint8_t *)n->mem + get16(it->off);
	out->len = get16(it->len);
}

/* The first item that is not below k (node_nitems if all are), and whether it is k itself. */
uint32_t node_search(const struct node *n, const struct key *k, bool *exact)
{
	uint32_t low = 0, high = node_nitems(n);

	*exact = false;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		struct key m = node_key(n, mid);
		int c = key_compare(&m, k);

		if (c < 0) {
			low = mid + 1;
		} else {
			high = mid;
			*exact |= c == 0;
		}
	}
	return low;
}

/* A child's level is not stored with the pointer: it follows from ours, and node_check compares it. */
struct ptr node_child(const struct node *n, uint32_t i)
{
	struct item it;
	struct ptr_disk p;

	node_item(n, i, &it);
	memcpy(&p, it.val, sizeof(p));
	return (struct ptr){ .block = get64(p.block), .birth = get64(p.birth), .crc = get32(p.crc),
			     .level = (uint8_t)(n->mem->level - 1) };
}

/* In place: all pointers have one size. The node is dirty already, and its own checksum is made at the cut. */
void node_set_child(struct node *n, uint32_t i, const struct ptr *p)
{
	struct ptr_disk d = { .block = put64(p->block), .birth = put64(p->birth), .crc = put32(p->crc) };

	memcpy((uint8_t *)n->mem + get16(node_items(n->mem)[i].off), &d, sizeof(d));
}

void node_set_key(struct node *n, uint32_t i, const struct key *k)
{
	node_items(n->mem)[i].key = key_store(k);
}

void node_set_first(struct node *n, const struct key *k)
{
	n->mem->first = key_store(k);
}

struct key node_first(const struct node *n)
{
	return key_load(&n->mem->first);
}

/* Bytes between the items and the lowest value. */
static uint32_t gap(const struct node_disk *m)
{
	return get16(m->low) - (uint32_t)(sizeof(*m) + get16(m->nitems) * sizeof(struct item_disk));
}

/* What inserts can have, compacting if need be; node_need says what one takes. */
uint32_t node_room(const struct node *n)
{
	return gap(n->mem) + get16(n->mem->dead);
}

uint32_t node_used(const struct node *n)
{
	return NODE_SIZE - (uint32_t)sizeof(struct node_disk) - node_room(n);
}

/* Lays the values out anew from the page's end down, without holes. From a copy: they lie in the order of
 * insertion, so moving them in place would overwrite some. */
static void compact(struct node_disk *m)
{
	static _Thread_local uint8_t copy[NODE_SIZE];
	struct item_disk *items = node_items(m);
	uint32_t low = NODE_SIZE, n = get16(m->nitems);

	memcpy(copy, m, NODE_SIZE);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t len = get16(items[i].len);

		low -= len;
		memcpy((uint8_t *)m + low, copy + get16(items[i].off), len);
		items[i].off = put16((uint16_t)low);
	}
	m->low = put16((uint16_t)low);
	m->dead = put16(0);
	/* No stale bytes of other files in the gap: images are compared, and they go over the wire. */
	memset(items + n, 0, gap(m));
}

/* The caller has made sure of node_room. head and tail must not lie in n: compacting moves its values. */
void node_insert(struct node *n, uint32_t index, const struct key *k, const void *head, uint32_t head_len,
		 const void *tail, uint32_t tail_len)
{
	struct node_disk *m = n->mem;
	struct item_disk *items = node_items(m);
	uint32_t len = head_len + tail_len, count = get16(m->nitems), low;

	if (gap(m) < node_need(len))
		compact(m);
	low = get16(m->low) - len;
	if (head_len)
		memcpy((uint8_t *)m + low, head, head_len);
	if (tail_len)
		memcpy((uint8_t *)m + low + head_len, tail, tail_len);
	memmove(&items[index + 1], &items[index], (count - index) * sizeof(*items));
	items[index] = (struct item_disk){ .key = key_store(k), .off = put16((uint16_t)low), .len = put16((uint16_t)len) };
	m->low = put16((uint16_t)low);
	m->nitems = put16((uint16_t)(count + 1));
}

/* The bytes are cleared, so that nothing that was deleted goes out with the node's next image. The lowest value
 * gives its room to the gap at once; any other leaves a hole. */
void node_remove(struct node *n, uint32_t index)
{
	struct node_disk *m = n->mem;
	struct item_disk *items = node_items(m);
	uint32_t count = get16(m->nitems), off = get16(items[index].off), len = get16(items[index].len);

	memset((uint8_t *)m + off, 0, len);
	if (off == get16(m->low) && len > 0)
		m->low = put16((uint16_t)(off + len));
	else
		m->dead = put16((uint16_t)(get16(m->dead) + len));
	memmove(&items[index], &items[index + 1], (count - index - 1) * sizeof(*items));
	memset(&items[count - 1], 0, sizeof(*items));
	m->nitems = put16((uint16_t)(count - 1));
}

/* Items from index from on go behind those of to, whose keys are below theirs (splitting, merging). Removed from
 * the end, so that no item moves twice. */
void node_move(struct node *n, uint32_t from, struct node *to)
{
	uint32_t count = node_nitems(n), at = node_nitems(to);

	for (uint32_t i = from; i < count; i++) {
		struct item it;

		node_item(n, i, &it);
		node_insert(to, at++, &it.key, it.val, it.len, NULL, 0);
	}
	for (uint32_t i = count; i-- > from;)
		node_remove(n, i);
}

/* The checksum is of the whole node with its own field zero. Returns it, for the pointer. */
uint32_t node_seal(struct node *n)
{
	n->mem->crc = put32(0);
	n->mem->crc = put32(crc32c(n->mem, NODE_SIZE));
	return get32(n->mem->crc);
}

/* No child is younger than its parent (tree_seal takes those of the running generation for its own). */
static bool birth_good(const struct node_disk *m, uint32_t off)
{
	struct ptr_disk p;

	memcpy(&p, (const uint8_t *)m + off, sizeof(p));
	return get64(p.birth) <= get64(m->birth);
}

/* Items and values lie inside the page, keys ascend from first on, values do not overlap in sum, pointers have their
 * size. */
static int check_items(const struct node_disk *m)
{
	const struct item_disk *items = node_items(m);
	uint32_t n = get16(m->nitems), low = get16(m->low), sum = 0;
	struct key last = key_load(&m->first);

	if (sizeof(*m) + n * sizeof(*items) > low || low > NODE_SIZE)
		return -E_BAD_NODE;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t off = get16(items[i].off), len = get16(items[i].len);
		struct key k = key_load(&items[i].key);
		int c = key_compare(&last, &k);

		if (c > 0 || (i > 0 && c == 0))
			return -E_BAD_NODE;
		if (off < low || off > NODE_SIZE || len > NODE_SIZE - off || len > VALUE_MAX ||
		    (m->level > 0 && (len != sizeof(struct ptr_disk) || !birth_good(m, off))))
			return -E_BAD_NODE;
		sum += len;
		last = k;
	}
	return sum + get16(m->dead) == NODE_SIZE - low ? 0 : -E_BAD_NODE;
}

/* Bytes of the device, copied out of what a target can write to. Checksum first: -E_CHECKSUM says they are not what
 * was written there; -E_BAD_NODE that what was written is wrong, or that they belong to another place, time or file
 * system. The checksum is the pointer's, so a stale node at the right address is seen too. An inner node without
 * items could not be descended into. */
int node_check(const struct node_disk *m, const uint8_t uuid[16], const struct ptr *p)
{
	struct node_disk head = *m;
	uint32_t crc;

	head.crc = put32(0);
	crc = crc32c(&head, sizeof(head));
	crc = crc32c_more(crc, m + 1, NODE_SIZE - sizeof(head));
	if (get32(m->magic) != NODE_MAGIC || crc != p->crc || get32(m->crc) != crc)
		return -E_CHECKSUM;
	if (memcmp(m->uuid, uuid, sizeof(m->uuid)) || get64(m->block) != p->block || get64(m->birth) != p->birth ||
	    m->level != p->level || (m->level > 0 && get16(m->nitems) == 0))
		return -E_BAD_NODE;
	return check_items(m);
}
