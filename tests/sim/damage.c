/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/damage.h"

#include <string.h>
#include "base/crc.h"

void *dmg_block(struct dmg *d, uint64_t block, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		media_poke(d->m, block + i);
	return d->m->mem + block * FS_BLOCK;
}

static uint32_t sum(const void *p, size_t len, size_t at)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(p, at);

	crc = crc32c_more(crc, zero, 4);
	return crc32c_more(crc, (const uint8_t *)p + at + 4, len - at - 4);
}

struct super_disk *dmg_super(struct dmg *d)
{
	return dmg_block(d, RING_A + d->slot * SUPER_BLOCKS, SUPER_BLOCKS);
}

struct node_disk *dmg_node(struct dmg *d, unsigned i)
{
	return dmg_block(d, d->nodes[i].block, NODE_BLOCKS);
}

static void collect(struct dmg *d, int parent, unsigned index, uint64_t block, unsigned level)
{
	const struct node_disk *n;
	unsigned me = d->n;

	if (d->n == DMG_NODES || block + NODE_BLOCKS > d->nblocks)
		return;
	d->nodes[d->n++] = (struct dmg_node){block, parent, index, level};
	n = (const struct node_disk *)(d->m->mem + block * FS_BLOCK);
	for (unsigned i = 0; level && i < get16(n->nitems); i++) {
		const struct item_disk *it = (const struct item_disk *)(n + 1) + i;
		const struct ptr_disk *p = (const void *)((const uint8_t *)n + get16(it->off));

		collect(d, (int)me, i, get64(p->block), level - 1);
	}
}

int dmg_open(struct dmg *d, struct media *m, uint64_t bytes)
{
	const struct super_disk *s = (const void *)(m->mem + RING_A * FS_BLOCK);
	uint64_t best = 0;

	d->m = m;
	d->n = 0;
	d->nblocks = bytes / FS_BLOCK;
	for (unsigned i = 0; i < RING_SLOTS; i++) {
		if (get64(s[i].magic) != SUPER_MAGIC || get32(s[i].crc) != sum(&s[i], sizeof(s[i]), offsetof(struct super_disk, crc)) ||
		    get64(s[i].gen) <= best)
			continue;
		best = get64(s[i].gen);
		d->slot = i;
	}
	if (!best)
		return -1;
	s += d->slot;
	collect(d, -1, 0, get64(s->root.block), s->root_level);
	return 0;
}

void dmg_seal_super(struct dmg *d)
{
	struct super_disk *s = dmg_super(d);

	s->crc = put32(sum(s, sizeof(*s), offsetof(struct super_disk, crc)));
	memcpy(dmg_block(d, (d->nblocks < GROUP_BLOCKS ? d->nblocks : GROUP_BLOCKS) - RING_BLOCKS + d->slot * SUPER_BLOCKS,
			 SUPER_BLOCKS), s, sizeof(*s));
}

void dmg_seal(struct dmg *d, unsigned i)
{
	for (;;) {
		struct node_disk *n = dmg_node(d, i), *up;
		struct ptr_disk *p;

		n->crc = put32(sum(n, NODE_SIZE, offsetof(struct node_disk, crc)));
		if (d->nodes[i].parent < 0) {
			dmg_super(d)->root.crc = n->crc;
			break;
		}
		up = dmg_node(d, (unsigned)d->nodes[i].parent);
		/* What was changed may be the place of the pointer, or its target. */
		if (get16(dmg_item(up, d->nodes[i].index)->off) > NODE_SIZE - sizeof(*p))
			break;
		p = (struct ptr_disk *)dmg_value(up, d->nodes[i].index);
		if (get64(p->block) == d->nodes[i].block)
			p->crc = n->crc;
		i = (unsigned)d->nodes[i].parent;
	}
	dmg_seal_super(d);
}

static struct desc_disk *desc(struct dmg *d, struct desc_disk **l1, struct desc_disk **l2)
{
	struct super_disk *s = dmg_super(d);

	*l2 = dmg_block(d, L2_SLOT + (s->l2[0].slot & 1), 1);
	*l1 = dmg_block(d, L1_SLOT + ((*l2)[0].slot & 1), 1);
	return *l1;
}

uint8_t *dmg_bitmap(struct dmg *d)
{
	struct desc_disk *l1, *l2;

	return dmg_block(d, L0_SLOT + (desc(d, &l1, &l2)->slot & 1), 1);
}

/* Counts are made right, too: only the bits are wrong. */
void dmg_seal_bitmap(struct dmg *d)
{
	const uint8_t *map = dmg_bitmap(d);
	struct super_disk *s = dmg_super(d);
	struct desc_disk *l1, *l2;
	uint32_t nfree = 0, quads = 0;

	desc(d, &l1, &l2);
	for (unsigned i = 0; i < FS_BLOCK; i++) {
		nfree += 8 - (unsigned)__builtin_popcount(map[i]);
		quads += !(map[i] & 15) + !(map[i] >> 4);
	}
	l1[0].crc = put32(crc32c(map, FS_BLOCK));
	l1[0].free = l2[0].free = put32(nfree);
	l1[0].quads = l2[0].quads = put32(quads);
	l2[0].crc = put32(crc32c(l1, FS_BLOCK));
	s->l2[0].crc = put32(crc32c(l2, FS_BLOCK));
	s->l2[0].free = put64(nfree);
	s->l2[0].quads = put64(quads);
	s->free_blocks = put64(nfree);
	dmg_seal_super(d);
}

bool dmg_find(struct dmg *d, uint8_t type, unsigned from, unsigned *node, unsigned *item)
{
	for (unsigned k = 0; k < d->n; k++) {
		unsigned i = (from + k) % d->n;
		struct node_disk *n = dmg_node(d, i);

		for (unsigned j = 0; !d->nodes[i].level && j < get16(n->nitems); j++)
			if (dmg_item(n, j)->key.type == type && get64(dmg_item(n, j)->key.object)) {
				*node = i;
				*item = j;
				return true;
			}
	}
	return false;
}

uint64_t dmg_free_quad(struct dmg *d, unsigned skip)
{
	const uint8_t *map = dmg_bitmap(d);

	for (uint64_t b = d->nblocks / 2; b < d->nblocks - RING_BLOCKS; b += NODE_BLOCKS)
		if (!(map[b / 8] >> b % 8 & 15) && !skip--)
			return b;
	return 0;
}
