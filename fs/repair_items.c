/* SPDX-License-Identifier: Apache-2.0 */
/* What survived: a reference for each key that the checker's walk reaches, the journal's changes on top of them. Names and
 * attributes get the position that their hash says; inode numbers that may not exist get new ones. */
#include <stdlib.h>
#include <string.h>
#include "fs/journal.h"
#include "fs/repair_impl.h"

/* Inodes 2 to 15 are reserved: what has such a number goes by another one. */
static uint64_t renumber(struct repair *r, uint64_t ino)
{
	if (ino <= INO_ROOT || ino >= INO_FIRST)
		return ino;
	if (!r->reserved[ino]) {
		r->reserved[ino] = r->watermark++;
		repair_say(r, OTHER, ino, "reserved number: it is inode %llu now", (unsigned long long)r->reserved[ino]);
	}
	return r->reserved[ino];
}

static bool name_good(const uint8_t *name, unsigned len)
{
	return len && !memchr(name, '/', len) && !memchr(name, 0, len) &&
	       !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* The name in a DIRENT or XATTR value; NULL if that is none. */
static const uint8_t *name_of(uint8_t type, const uint8_t *val, uint32_t len, unsigned *n)
{
	const struct dirent_disk *d = (const struct dirent_disk *)val;
	const struct xattr_disk *x = (const struct xattr_disk *)val;

	if (type == ITEM_DIRENT) {
		if (len < sizeof(*d) || len != sizeof(*d) + d->namelen || !name_good(val + sizeof(*d), d->namelen))
			return NULL;
		*n = d->namelen;
		return val + sizeof(*d);
	}
	if (len < sizeof(*x) || !x->namelen || len != sizeof(*x) + x->namelen + get16(x->len))
		return NULL;
	*n = x->namelen;
	return val + sizeof(*x);
}

static void add(struct repair *r, const struct check_key *k, const uint8_t *val, uint32_t len, struct ref ref)
{
	struct ref *to;
	unsigned n;
	const uint8_t *name;
	char text[80];

	ref.object = k->object ? renumber(r, k->object) : 0;
	ref.type = k->type;
	ref.offset = k->offset;
	ref.order = (uint32_t)r->refs.n;
	if (k->object && !(ref.flags & REF_DEL) && (k->type == ITEM_DIRENT || k->type == ITEM_XATTR)) {
		name = name_of(k->type, val, len, &n);
		if (!name) {
			repair_say(r, LOST, k->object, "item %s has no proper name: dropped", check_key_print(k, text, sizeof(text)));
			return;
		}
		if (ref.offset >> 8 != check_hash(&r->c, name, n)) {
			ref.offset = check_hash(&r->c, name, n) << 8;
			repair_say(r, OTHER, k->object, "'%.*s' is moved to the position of its hash", (int)n, (const char *)name);
		}
	}
	to = repair_add(r, &r->refs, sizeof(ref));
	if (to)
		*to = ref;
}

void repair_on_item(struct repair *r, uint64_t node, unsigned index, const struct check_key *k, const uint8_t *val, uint32_t len)
{
	add(r, k, val, len, (struct ref){ .node = node, .index = (uint16_t)index });
}

void repair_on_node(struct repair *r, uint64_t block)
{
	uint64_t *to = repair_add(r, &r->nodes, sizeof(*to));

	if (to)
		*to = block;
}

void repair_on_lost(struct repair *r, uint64_t block, unsigned level, const struct check_key *first, const struct check_key *end)
{
	struct lost *to = repair_add(r, &r->lost, sizeof(*to));

	if (!to)
		return;
	*to = (struct lost){ .first = *first, .block = block, .level = level, .bounded = end };
	if (end)
		to->end = *end;
}

/* ---- the journal ---- */

static bool change_add(struct repair *r, const uint8_t **p, const uint8_t *end)
{
	struct txnop_disk d;
	struct check_key k;
	struct ref ref = { .flags = REF_MEM };

	if ((size_t)(end - *p) < sizeof(d))
		return false;
	memcpy(&d, *p, sizeof(d));
	*p += sizeof(d);
	if (get16(d.len) > VALUE_MAX || get16(d.len) > end - *p || (d.op != OP_PUT && d.op != OP_DEL))
		return false;
	k = (struct check_key){ .object = get64(d.key.object), .type = d.key.type, .offset = get64(d.key.offset) };
	ref.mem = *p;
	ref.index = get16(d.len);
	ref.flags |= d.op == OP_DEL ? REF_DEL : 0;
	add(r, &k, *p, ref.index, ref);
	*p += ref.index;
	return true;
}

/* The transactions of one record, whose checksum held; the bytes stay. */
static bool record_add(struct repair *r, const uint8_t *record)
{
	const struct record_disk *h = (const void *)record;
	const uint8_t *p = record + sizeof(*h), *end = record + get32(h->length);

	for (uint32_t i = 0; i < get32(h->count); i++) {
		const uint8_t *stop;
		struct txn_disk t;

		if ((size_t)(end - p) < sizeof(t))
			return false;
		memcpy(&t, p, sizeof(t));
		if (get32(t.length) < sizeof(t) || get32(t.length) > (size_t)(end - p))
			return false;
		stop = p + get32(t.length);
		p += sizeof(t);
		for (uint32_t k = 0; k < get32(t.nops); k++)
			if (!change_add(r, &p, stop))
				return false;
		r->watermark = MAX(r->watermark, get64(t.ino_watermark));
		p = stop;
	}
	return true;
}

/* The record with seq at pos or, if it is not there, at the ring's head; length 0: the chain ends. */
static uint32_t record_read(struct repair *r, uint64_t *pos, uint64_t seq, uint32_t prev)
{
	uint64_t try[2] = { *pos, 0 }, size = r->c.journal_len;
	const struct record_disk *h = (const void *)r->c.data;

	for (unsigned i = 0; i < (*pos ? 2u : 1u); i++) {
		uint32_t n = (uint32_t)MIN(RECORD_MAX / FS_BLOCK, size - try[i]);

		if (check_read_one(&r->c, r->c.journal_start + try[i], n, r->c.data) ||
		    record_check(r->c.data, (size_t)n * FS_BLOCK, r->c.super.uuid, get64(r->c.super.epoch), seq, prev))
			continue;
		*pos = try[i];
		return get32(h->length);
	}
	return 0;
}

static void journal_collect(struct repair *r)
{
	uint64_t pos = get64(r->c.super.journal_pos), seq = get64(r->c.super.cut_seq) + 1, scanned = 0, records = 0;
	uint32_t prev = get32(r->c.super.prev_crc), len;
	bool rotten = false;

	while (!r->error && scanned <= r->c.journal_len && (len = record_read(r, &pos, seq, prev))) {
		const uint8_t *record = repair_keep(r, r->c.data, len);
		const struct record_disk *h = (const void *)record;

		if (!record)
			return;
		rotten |= get64(h->committed_gen) > r->c.gen;
		if (!record_add(r, record))
			repair_say(r, LOST, 0, "journal record %llu makes no sense: its end is left out", (unsigned long long)seq);
		prev = get32(h->crc);
		seq++;
		records++;
		scanned += DIV_UP(len, FS_BLOCK);
		pos += DIV_UP(len, FS_BLOCK);
		pos = pos >= r->c.journal_len ? 0 : pos;
	}
	if (rotten)
		repair_say(r, OTHER, 0, "a superblock newer than generation %llu is lost: that one and the journal are used",
			   (unsigned long long)r->c.gen);
	if (records) {
		r->tree = true;
		repair_say(r, SAFE, 0, "%llu journal records are taken into the tree", (unsigned long long)records);
	}
}

/* ---- order ---- */

static int by_key(const void *a, const void *b)
{
	const struct ref *x = a, *y = b;

	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

void repair_sort(struct repair *r)
{
	if (r->refs.n)
		qsort(r->refs.p, r->refs.n, sizeof(struct ref), by_key);
}

static bool same_key(const struct ref *a, const struct ref *b)
{
	return a->object == b->object && a->type == b->type && a->offset == b->offset;
}

/* The journal's last word on a key replaces what the tree has. Names in one bucket are repair_judge's matter. */
static void journal_wins(struct repair *r)
{
	for (uint64_t i = 0; i < r->refs.n; i++) {
		struct ref *ref = repair_ref(r, i);

		if (!(ref->flags & REF_MEM))
			continue;
		for (uint64_t k = i; k-- > 0 && same_key(repair_ref(r, k), ref);)
			repair_ref(r, k)->flags |= REF_DROP;
		if (ref->flags & REF_DEL)
			ref->flags |= REF_DROP;
	}
}

uint64_t repair_find(const struct repair *r, uint64_t object, uint8_t type, uint64_t offset)
{
	struct ref key = { .object = object, .type = type, .offset = offset };
	uint64_t low = 0, high = r->refs.n;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (by_key(repair_ref(r, mid), &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ---- values ---- */

static const uint8_t *leaf(struct repair *r, uint64_t block)
{
	unsigned i = block / NODE_BLOCKS % REPAIR_CACHE;

	if (r->cache[i].data && r->cache[i].block == block)
		return r->cache[i].data;
	if (!r->cache[i].data)
		r->cache[i].data = malloc(NODE_SIZE);
	if (!r->cache[i].data) {
		r->error = -ENOMEM;
		return NULL;
	}
	r->cache[i].block = 0;
	if (check_read_one(&r->c, block, NODE_BLOCKS, r->c.spare))
		return NULL;
	memcpy(r->cache[i].data, r->c.spare, NODE_SIZE);
	r->cache[i].block = block;
	return r->cache[i].data;
}

const uint8_t *repair_value(struct repair *r, const struct ref *ref, uint32_t *len)
{
	const struct node_disk *n;
	const struct item_disk *it;

	if (ref->flags & REF_MEM) {
		*len = ref->index;
		return ref->mem;
	}
	n = (const void *)leaf(r, ref->node);
	if (!n)
		return NULL;
	it = (const struct item_disk *)(n + 1) + ref->index;
	/* It was judged when it was walked; it may have been read wrong, or changed, since. */
	if (ref->index >= get16(n->nitems) || sizeof(*n) + (ref->index + 1u) * sizeof(*it) > NODE_SIZE ||
	    !range_fits(get16(it->off), get16(it->len), NODE_SIZE) || get16(it->len) > VALUE_MAX) {
		r->error = -E_BAD_NODE;
		return NULL;
	}
	*len = get16(it->len);
	return (const uint8_t *)n + get16(it->off);
}

uint64_t repair_birth(struct repair *r, const struct ref *ref)
{
	const struct node_disk *n = ref->flags & REF_MEM ? NULL : (const void *)leaf(r, ref->node);

	return n ? get64(n->birth) : r->gen;
}

static void lost_tell(struct repair *r)
{
	const struct lost *l = r->lost.p;
	char x[80], y[80];

	for (uint64_t i = 0; i < r->lost.n; i++, l++)
		repair_say(r, LOST, 0, "tree node at block %llu (level %u) is lost: keys from %s up to %s", (unsigned long long)l->block,
			   l->level, check_key_print(&l->first, x, sizeof(x)),
			   l->bounded ? check_key_print(&l->end, y, sizeof(y)) : "the end");
}

int repair_collect(struct repair *r)
{
	int err = check_walk(&r->c, &r->check_conf, &r->check_report, r);

	if (err || r->error)
		return err ? err : r->error;
	if (!r->refs.n)
		return -E_BAD_NODE; /* there was a root directory at least: the root of the tree is lost */
	lost_tell(r);
	if (r->c.tree_errors && !r->lost.n)
		repair_say(r, OTHER, 0, "%llu errors in tree nodes: the tree is built anew", (unsigned long long)r->c.tree_errors);
	if (!(get32(r->c.super.state) & SUPER_CLEAN))
		journal_collect(r);
	repair_sort(r);
	journal_wins(r);
	return r->error;
}
