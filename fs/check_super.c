/* SPDX-License-Identifier: Apache-2.0 */
/* The checker's choice of superblock (newest valid one of both rings) and what can be said of it alone. A torn slot is
 * no finding: a crash while it was written leaves one. A ring without a single valid slot is. */
#include <string.h>
#include "fs/check_impl.h"

enum ring_state { RING_EMPTY, RING_MAGIC, RING_VALID };

static bool super_valid(const struct super_disk *s)
{
	return get64(s->magic) == SUPER_MAGIC &&
	       get32(s->crc) == check_crc_zeroed(s, sizeof(*s), offsetof(struct super_disk, crc));
}

/* Reads a ring into mem and finds its newest valid slot. */
static int ring_read(struct check *c, uint64_t block, struct super_disk *best, enum ring_state *state)
{
	const struct super_disk *s = (const struct super_disk *)c->leaves;
	int r = check_read_one(c, block, RING_BLOCKS, c->leaves);

	*state = RING_EMPTY;
	for (unsigned i = 0; !r && i < RING_SLOTS; i++) {
		if (get64(s[i].magic) == SUPER_MAGIC && *state == RING_EMPTY)
			*state = RING_MAGIC;
		if (!super_valid(&s[i]))
			continue;
		if (*state != RING_VALID || get64(s[i].gen) > get64(best->gen))
			*best = s[i];
		*state = RING_VALID;
	}
	return r;
}

static uint64_t ring_b_place(const struct check *c, const struct super_disk *a)
{
	uint64_t end = MIN(c->conf->source.nblocks, (uint64_t)GROUP_BLOCKS);
	uint64_t b = a ? get64(a->ring_b) : end - RING_BLOCKS;

	return b > JOURNAL_START && range_fits(b, RING_BLOCKS, end) ? b : end - RING_BLOCKS;
}

static int super_choose(struct check *c)
{
	struct super_disk a, b;
	enum ring_state sa, sb;
	int ra, rb;

	if (c->conf->source.nblocks < MIN_BLOCKS)
		return -E_NOT_NVOFS;
	ra = ring_read(c, RING_A, &a, &sa);
	rb = ring_read(c, ring_b_place(c, !ra && sa == RING_VALID ? &a : NULL), &b, &sb);
	if (ra)
		check_say(c, 0, "superblock ring A at block %u cannot be read: %s", RING_A, err_text(ra));
	if (rb)
		check_say(c, 0, "superblock ring B cannot be read: %s", err_text(rb));
	if ((ra || sa != RING_VALID) && (rb || sb != RING_VALID)) {
		if (ra || rb)
			return ra ? ra : rb;
		return sa == RING_MAGIC || sb == RING_MAGIC ? -E_BAD_SUPER : -E_NOT_NVOFS;
	}
	if (!ra && sa != RING_VALID)
		check_say(c, 0, "superblock ring A at block %u has no valid superblock", RING_A);
	if (!rb && sb != RING_VALID)
		check_say(c, 0, "superblock ring B has no valid superblock");
	if (ra || sa != RING_VALID) {
		c->super = b;
	} else if (rb || sb != RING_VALID) {
		c->super = a;
	} else {
		c->super = get64(b.gen) > get64(a.gen) ? b : a;
		if (get64(b.gen) > get64(a.gen)) /* ring A is written first */
			check_say(c, 0, "superblock of generation %llu is in ring B only: it is damaged in ring A",
				  (unsigned long long)get64(b.gen));
		if (get64(a.gen) == get64(b.gen) && memcmp(&a, &b, sizeof(a)))
			check_say(c, 0, "superblocks of generation %llu in ring A and ring B differ",
				  (unsigned long long)get64(a.gen));
	}
	return 0;
}

static bool label_good(const struct super_disk *s)
{
	size_t n = strnlen(s->label, sizeof(s->label));

	for (size_t i = n; i < sizeof(s->label); i++) {
		if (s->label[i])
			return false;
	}
	return n < sizeof(s->label);
}

/* Fields without which nothing else can be looked at. */
static bool super_usable(struct check *c)
{
	const struct super_disk *s = &c->super;
	uint64_t n = get64(s->nblocks), end = MIN(n, (uint64_t)GROUP_BLOCKS), errors = c->rep->errors;

	if (n < MIN_BLOCKS || n > (uint64_t)L2_MAX * DESCS * DESCS * GROUP_BLOCKS)
		check_say(c, 0, "superblock: %llu blocks cannot be a file system", (unsigned long long)n);
	else if (n > c->conf->source.nblocks)
		check_say(c, 0, "superblock: the file system has %llu blocks, the namespace only %llu",
			  (unsigned long long)n, (unsigned long long)c->conf->source.nblocks);
	if (get32(s->block_size) != FS_BLOCK || get32(s->node_size) != NODE_SIZE)
		check_say(c, 0, "superblock: block size %u and node size %u", get32(s->block_size),
			  get32(s->node_size));
	if (get32(s->csum_type) != CSUM_CRC32C)
		check_say(c, 0, "superblock: unknown checksum type %u", get32(s->csum_type));
	if (get64(s->ring_b) <= JOURNAL_START || !range_fits(get64(s->ring_b), RING_BLOCKS, end))
		check_say(c, 0, "superblock: ring B at block %llu", (unsigned long long)get64(s->ring_b));
	else if (get64(s->journal_start) < JOURNAL_START ||
		 !range_fits(get64(s->journal_start), get64(s->journal_len), get64(s->ring_b)) ||
		 get64(s->journal_len) < JOURNAL_MIN || get64(s->journal_len) > JOURNAL_MAX)
		check_say(c, 0, "superblock: the journal has %llu blocks from block %llu",
			  (unsigned long long)get64(s->journal_len), (unsigned long long)get64(s->journal_start));
	if (s->root_level >= LEVELS_MAX)
		check_say(c, 0, "superblock: the tree has level %u", s->root_level);
	return c->rep->errors == errors;
}

static void super_fields(struct check *c)
{
	const struct super_disk *s = &c->super;

	if (get64(s->journal_pos) >= get64(s->journal_len))
		check_say(c, 0, "superblock: journal position %llu is behind the journal's end",
			  (unsigned long long)get64(s->journal_pos));
	if (!get64(s->gen))
		check_say(c, 0, "superblock: generation 0");
	if (!label_good(s))
		check_say(c, 0, "superblock: the label is not padded with zeros");
	if (get64(s->ino_watermark) < INO_FIRST)
		check_say(c, 0, "superblock: inode watermark %llu", (unsigned long long)get64(s->ino_watermark));
	if (get64(s->newest_snapshot))
		check_say(c, 0, "superblock: names a snapshot, which this version does not know");
}

int check_super(struct check *c)
{
	const struct super_disk *s = &c->super;
	uint64_t n;
	int r = super_choose(c);

	if (r)
		return r;
	c->rep->super = *s;
	if (get32(s->version) > FORMAT_VERSION || get64(s->incompat))
		return -E_NEWER;
	if (!super_usable(c))
		return -E_BAD_SUPER;
	super_fields(c);
	n = get64(s->nblocks);
	c->nblocks = n % GROUP_BLOCKS < GROUP_MIN ? ROUND_DOWN(n, GROUP_BLOCKS) : n;
	c->ngroups = DIV_UP(c->nblocks, GROUP_BLOCKS);
	c->gen = get64(s->gen);
	c->journal_start = get64(s->journal_start);
	c->journal_len = get64(s->journal_len);
	c->ring_b = get64(s->ring_b);
	c->total = c->nblocks - MIN(get64(s->free_blocks), c->nblocks);
	return 0;
}
