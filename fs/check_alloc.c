/* SPDX-License-Identifier: Apache-2.0 */
/* Free space: the bitmap that the walk gives must be the one on the device, bit for bit, and every count must be the
 * count of the bitmap below it. Bitmaps are allocated for groups that something was found in; the others have only
 * their fixed blocks set. */
#include <stdlib.h>
#include <string.h>
#include "base/crc.h"
#include "fs/check_impl.h"

#define DIFFS 8u                /* ranges told of one group */

struct counts {
	uint64_t free, quads;
};

/* Descriptors of both sizes in one form. */
struct desc {
	struct counts counts;
	uint32_t crc;
	unsigned slot, flags;
};

int check_alloc_init(struct check *c)
{
	c->owned = calloc(c->ngroups, sizeof(*c->owned));
	return c->owned ? 0 : -ENOMEM;
}

void check_alloc_exit(struct check *c)
{
	for (uint64_t g = 0; c->owned && g < c->ngroups; g++)
		free(c->owned[g]);
	free(c->owned);
}

static bool overlap(uint64_t a, uint64_t n, uint64_t start, uint64_t len)
{
	return a < start + len && start < a + n;
}

const char *check_fixed(const struct check *c, uint64_t block, uint64_t n)
{
	uint64_t in = block % GROUP_BLOCKS;

	if (in < GROUP_FIXED || in + n > GROUP_BLOCKS)
		return "fixed blocks of a group (bitmaps)";
	if (overlap(block, n, 0, JOURNAL_START))
		return "superblock ring A and heartbeat area";
	if (overlap(block, n, c->journal_start, c->journal_len))
		return "journal";
	if (overlap(block, n, c->ring_b, RING_BLOCKS))
		return "superblock ring B";
	return NULL;
}

static void set_bits(uint8_t *map, uint64_t first, uint64_t end)
{
	for (; first < end; first++)
		map[first / 8] |= (uint8_t)(1u << first % 8);
}

/* A group without files: fixed blocks, and bits past the end. */
void check_group_empty(const struct check *c, uint64_t group, uint8_t *map)
{
	uint64_t len = MIN((uint64_t)GROUP_BLOCKS, c->nblocks - group * GROUP_BLOCKS);

	memset(map, 0, FS_BLOCK);
	set_bits(map, 0, GROUP_FIXED);
	set_bits(map, len, GROUP_BLOCKS);
	if (group)
		return;
	set_bits(map, 0, JOURNAL_START);
	set_bits(map, c->journal_start, c->journal_start + c->journal_len);
	set_bits(map, c->ring_b, c->ring_b + RING_BLOCKS);
}

uint32_t check_own(struct check *c, uint64_t block, uint32_t n, uint64_t *first)
{
	uint64_t group = block / GROUP_BLOCKS, in = block % GROUP_BLOCKS;
	uint8_t *map = c->owned[group];
	uint32_t twice = 0;

	if (!map) {
		map = malloc(FS_BLOCK);
		if (!map) {
			c->fatal = -ENOMEM;
			return 0;
		}
		check_group_empty(c, group, map);
		c->owned[group] = map;
	}
	for (uint64_t i = in; i < in + n; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		if (map[i / 8] & bit && !twice++)
			*first = group * GROUP_BLOCKS + i;
		map[i / 8] |= bit;
	}
	return twice;
}

/* ---- counts ---- */

static struct counts count_map(const uint8_t *map)
{
	struct counts n = { 0, 0 };

	for (unsigned i = 0; i < FS_BLOCK; i++) {
		n.free += 8 - (unsigned)__builtin_popcount(map[i]);
		n.quads += !(map[i] & 0x0f) + !(map[i] & 0xf0);
	}
	return n;
}

void check_count_map(const uint8_t *map, uint64_t *free, uint64_t *quads)
{
	struct counts n = count_map(map);

	*free = n.free;
	*quads = n.quads;
}

static void counts_add(struct counts *sum, const struct counts *n)
{
	sum->free += n->free;
	sum->quads += n->quads;
}

static struct counts empty_counts(const struct check *c, uint64_t group)
{
	uint8_t map[FS_BLOCK];

	if (group && group + 1 < c->ngroups)
		return (struct counts){ GROUP_BLOCKS - GROUP_FIXED, (GROUP_BLOCKS - GROUP_FIXED) / NODE_BLOCKS };
	check_group_empty(c, group, map);
	return count_map(map);
}

static bool counts_check(struct check *c, const char *what, uint64_t which, const struct counts *said,
			 const struct counts *found)
{
	if (said->free == found->free && said->quads == found->quads)
		return true;
	check_say(c, 0,
		  "%s %llu: the descriptor says %llu free blocks and %llu free quads, below it there are %llu and %llu",
		  what, (unsigned long long)which, (unsigned long long)said->free, (unsigned long long)said->quads,
		  (unsigned long long)found->free, (unsigned long long)found->quads);
	return false;
}

/* ---- the images ---- */

static struct desc desc_get(const struct desc_disk *d)
{
	return (struct desc){ { get32(d->free), get32(d->quads) }, get32(d->crc), d->slot, d->flags };
}

static struct desc desc_super_get(const struct desc_super_disk *d)
{
	return (struct desc){ { get64(d->free), get64(d->quads) }, get32(d->crc), d->slot, d->flags };
}

static bool desc_good(struct check *c, const char *what, uint64_t which, const struct desc *d)
{
	if (d->slot <= 1 && !(d->flags & ~DESC_UNINIT))
		return true;
	check_say(c, 0, "%s %llu: the descriptor has slot %u and flags %x", what, (unsigned long long)which, d->slot,
		  d->flags);
	return false;
}

/* Is what was read the block that the descriptor means? */
static bool image_good(struct check *c, const char *what, uint64_t which, const struct desc *d, const void *image,
		       int status)
{
	if (status)
		check_say(c, 0, "%s %llu cannot be read: %s", what, (unsigned long long)which, err_text(status));
	else if (crc32c(image, FS_BLOCK) != d->crc)
		check_say(c, 0, "%s %llu (slot %u): checksum mismatch", what, (unsigned long long)which, d->slot);
	else
		return true;
	return false;
}

static bool bit(const uint8_t *map, unsigned i)
{
	return map[i / 8] >> i % 8 & 1;
}

/* Both maps differ: tells the first few ranges. With parts of the tree missing, a block without owner means nothing. */
static void diff_tell(struct check *c, uint64_t group, const uint8_t *owned, const uint8_t *image)
{
	unsigned told = 0, i = 0, n;

	while (i < GROUP_BLOCKS && told <= DIFFS) {
		bool used = bit(owned, i);

		for (n = 0; i + n < GROUP_BLOCKS && bit(owned, i + n) == used && bit(image, i + n) != used; n++)
			;
		if (n && (used || !c->rep->incomplete)) {
			if (told++ < DIFFS)
				check_say(c, 0, used ? "group %llu: blocks %llu+%u are used, but free in the bitmap" :
					  "group %llu: blocks %llu+%u are used in the bitmap, but by nothing",
					  (unsigned long long)group, (unsigned long long)(group * GROUP_BLOCKS + i), n);
			else
				check_say(c, 0, "group %llu: more differences", (unsigned long long)group);
		}
		i += n ? n : 1;
	}
}

/* image NULL: the group is UNINIT. Returns what the image counts. */
static struct counts group_check(struct check *c, uint64_t group, const uint8_t *image)
{
	uint8_t empty[FS_BLOCK];
	const uint8_t *owned = c->owned[group];

	if (!owned && !image)
		return empty_counts(c, group);
	if (!owned || !image)
		check_group_empty(c, group, empty);
	owned = owned ? owned : empty;
	image = image ? image : empty;
	if (memcmp(owned, image, FS_BLOCK))
		diff_tell(c, group, owned, image);
	return count_map(image);
}

/* ---- the levels ---- */

/* Up to DESCS groups below one L1 block; descs NULL: all UNINIT. */
static struct counts groups_check(struct check *c, uint64_t first, const struct desc_disk *descs)
{
	struct counts sum = { 0, 0 }, n;
	unsigned count = (unsigned)MIN((uint64_t)DESCS, c->ngroups - first), reads = 0;

	for (unsigned i = 0; descs && i < count; i++) {
		struct desc d = desc_get(&descs[i]);

		if (desc_good(c, "group", first + i, &d) && !(d.flags & DESC_UNINIT))
			c->reads[reads++] = (struct check_read){ .nblocks = 1, .buf = c->leaves + i * FS_BLOCK,
				.block = (first + i) * GROUP_BLOCKS + L0_SLOT + d.slot };
	}
	if (reads)
		c->conf->source.read(c->conf->source.arg, c->reads, reads);
	for (unsigned i = 0, r = 0; i < count && !c->fatal; i++) {
		const uint8_t *image = c->leaves + i * FS_BLOCK;
		struct desc d = descs ? desc_get(&descs[i]) : (struct desc){ .flags = DESC_UNINIT };

		c->rep->groups++;
		if (r < reads && c->reads[r].buf == image) {
			c->rep->read_errors += c->reads[r].status != 0;
			if (!image_good(c, "bitmap of group", first + i, &d, image, c->reads[r++].status)) {
				counts_add(&sum, &d.counts);
				continue;
			}
		} else {
			c->rep->groups_uninit++;
			image = NULL;
		}
		n = group_check(c, first + i, image);
		if (descs)
			counts_check(c, "group", first + i, &d.counts, &n);
		counts_add(&sum, descs ? &d.counts : &n);
	}
	return sum;
}

/* One summary block: 0 and its image, or the reason why it is not there was told (< 0). */
static int summary_read(struct check *c, const char *what, uint64_t which, uint64_t block, const struct desc *d,
			uint8_t *buf)
{
	int r;

	if (!desc_good(c, what, which, d))
		return -E_BAD_BITMAP;
	r = check_read_one(c, block + d->slot, 1, buf);
	return image_good(c, what, which, d, buf, r) ? 0 : -E_BAD_BITMAP;
}

/* One L1 block; d NULL: below an UNINIT L2. */
static struct counts l1_check(struct check *c, uint64_t l1, const struct desc *d)
{
	uint64_t first = l1 * DESCS;
	bool read = d && !(d->flags & DESC_UNINIT);
	struct counts n;

	if (read && summary_read(c, "summary L1", l1, first * GROUP_BLOCKS + L1_SLOT, d, c->node[1]))
		return d->counts;
	n = groups_check(c, first, read ? (const struct desc_disk *)c->node[1] : NULL);
	if (d)
		counts_check(c, "summary L1", l1, &d->counts, &n);
	return d ? d->counts : n;
}

static struct counts l2_check(struct check *c, uint64_t l2, const struct desc *d)
{
	uint64_t first = l2 * DESCS, nl1 = DIV_UP(c->ngroups, DESCS);
	bool read = !(d->flags & DESC_UNINIT);
	struct counts n = { 0, 0 };

	if (read && summary_read(c, "summary L2", l2, first * DESCS * GROUP_BLOCKS + L2_SLOT, d, c->node[2]))
		return d->counts;
	for (unsigned i = 0; i < DESCS && first + i < nl1 && !check_stop(c); i++) {
		struct desc sub = read ? desc_get((const struct desc_disk *)c->node[2] + i) : (struct desc){.slot = 0};
		struct counts m = l1_check(c, first + i, read ? &sub : NULL);

		counts_add(&n, &m);
	}
	if (!c->fatal)
		counts_check(c, "summary L2", l2, &d->counts, &n);
	return d->counts;
}

void check_alloc(struct check *c)
{
	uint64_t nl2 = DIV_UP(c->ngroups, DESCS * DESCS);
	struct counts sum = { 0, 0 };

	for (uint64_t i = 0; i < nl2 && !check_stop(c); i++) {
		struct desc d = desc_super_get(&c->super.l2[i]);
		struct counts n = l2_check(c, i, &d);

		counts_add(&sum, &n);
	}
	if (c->fatal)
		return;
	if (sum.free != get64(c->super.free_blocks))
		check_say(c, 0, "superblock: %llu free blocks, the summaries have %llu",
			  (unsigned long long)get64(c->super.free_blocks), (unsigned long long)sum.free);
	c->rep->used_blocks = c->nblocks - MIN(sum.free, c->nblocks);
	if (c->rep->incomplete)
		check_say(c, 0,
			  "parts of the tree are missing: space without an owner and counts of links were not judged");
}
