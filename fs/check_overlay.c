/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in memory in front of a source: the checkpoint that a replayed journal would make, checked without writing it.
 * A hash table with open addressing; block + 1 is the key, 0 an empty place. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"
#include "fs/check.h"

struct place {
	uint64_t key;
	uint8_t *data;
};

struct check_overlay {
	struct place *places;
	uint64_t cap, n;        /* cap is a power of two, at most three quarters are in use */
	struct check_source base;
};

int check_overlay_new(struct check_overlay **out)
{
	struct check_overlay *o = calloc(1, sizeof(*o));

	*out = NULL;
	if (!o)
		return -ENOMEM;
	o->cap = 1024;
	o->places = calloc(o->cap, sizeof(*o->places));
	if (!o->places) {
		free(o);
		return -ENOMEM;
	}
	*out = o;
	return 0;
}

void check_overlay_free(struct check_overlay *o)
{
	if (!o)
		return;
	for (uint64_t i = 0; i < o->cap; i++)
		free(o->places[i].data);
	free(o->places);
	free(o);
}

/* Where block is, or would be. */
static struct place *place_of(struct place *places, uint64_t cap, uint64_t block)
{
	uint64_t i = (block * 0x9e3779b97f4a7c15ull) >> 20;

	for (;; i++) {
		struct place *p = &places[i & (cap - 1)];

		if (p->key == block + 1 || !p->key)
			return p;
	}
}

static int grow(struct check_overlay *o)
{
	struct place *more = calloc(o->cap * 2, sizeof(*more));

	if (!more)
		return -ENOMEM;
	for (uint64_t i = 0; i < o->cap; i++) {
		if (o->places[i].key)
			*place_of(more, o->cap * 2, o->places[i].key - 1) = o->places[i];
	}
	free(o->places);
	o->places = more;
	o->cap *= 2;
	return 0;
}

int check_overlay_write(void *overlay, uint64_t block, uint32_t nblocks, const void *buf)
{
	struct check_overlay *o = overlay;

	for (uint32_t i = 0; i < nblocks; i++) {
		struct place *p;

		if (o->n >= o->cap / 4 * 3 && grow(o))
			return -ENOMEM;
		p = place_of(o->places, o->cap, block + i);
		if (!p->key) {
			p->data = malloc(FS_BLOCK);
			if (!p->data)
				return -ENOMEM;
			p->key = block + i + 1;
			o->n++;
		}
		memcpy(p->data, (const uint8_t *)buf + (size_t)i * FS_BLOCK, FS_BLOCK);
	}
	return 0;
}

uint64_t check_overlay_blocks(const struct check_overlay *o)
{
	return o->n;
}

static void overlay_read(void *arg, struct check_read *reads, unsigned n)
{
	struct check_overlay *o = arg;

	o->base.read(o->base.arg, reads, n);
	for (unsigned i = 0; i < n; i++) {
		uint32_t hits = 0;

		for (uint32_t k = 0; k < reads[i].nblocks; k++) {
			const struct place *p = place_of(o->places, o->cap, reads[i].block + k);

			if (!p->key)
				continue;
			memcpy((uint8_t *)reads[i].buf + (size_t)k * FS_BLOCK, p->data, FS_BLOCK);
			hits++;
		}
		if (hits == reads[i].nblocks)
			reads[i].status = 0;
	}
}

struct check_source check_overlay_source(struct check_overlay *o, const struct check_source *base)
{
	o->base = *base;
	return (struct check_source){ .read = overlay_read, .arg = o, .nblocks = base->nblocks };
}
