/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks and heartbeats: pure functions over their bytes, and the blocking reads at mount. A structure's
 * checksum is of all of it with the checksum's field zero. Everything read here is the device's word: it is checked
 * whole before any of it is believed. */
#include "fs/super.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/crc.h"
#include "fs/alloc_core.h"

static uint32_t super_crc(const struct super_disk *s)
{
	struct super_disk copy = *s;

	copy.crc = put32(0);
	return crc32c(&copy, sizeof(copy));
}

/* Last, after every other field is set. */
void super_seal(struct super_disk *s)
{
	s->crc = put32(super_crc(s));
}

/* The magic comes first, so that a foreign device is told from a damaged one; the checksum next, so that only what
 * was written is judged as newer. Layout fields must be what this code would compute from nblocks: whatever differs
 * was not made by it. No incompat bit is known yet, so any of them refuses. A device that is larger than the file
 * system is fine, a smaller one is not. */
int super_check(const struct super_disk *s, uint64_t nblocks)
{
	struct layout l;

	if (get64(s->magic) != SUPER_MAGIC)
		return -E_NOT_NVOFS;
	if (super_crc(s) != get32(s->crc))
		return -E_CHECKSUM;
	if (get32(s->version) > FORMAT_VERSION || get64(s->incompat))
		return -E_NEWER;
	if (get64(s->nblocks) < MIN_BLOCKS || get64(s->nblocks) > nblocks)
		return -E_BAD_SUPER;
	layout_of(get64(s->nblocks), &l);
	if (l.nl2 > L2_MAX || get32(s->block_size) != FS_BLOCK || get32(s->node_size) != NODE_SIZE ||
	    get32(s->csum_type) != CSUM_CRC32C || get64(s->journal_start) != JOURNAL_START ||
	    get64(s->journal_len) != l.journal_len || get64(s->journal_pos) >= l.journal_len ||
	    get64(s->ring_b) != l.ring_b || s->root_level >= LEVELS_MAX ||
	    get64(s->root.birth) > get64(s->gen) || get64(s->gen) > UINT64_MAX / 2 || s->label[sizeof(s->label) - 1])
		return -E_BAD_SUPER;
	return 0;
}

struct choice {
	struct super_disk *best;
	unsigned *slot;         /* of best */
	bool found;
	uint64_t newer;         /* highest generation that only a newer version understands */
	int worst;              /* the most telling failure: newer > damaged > nothing */
};

static int scan_ring(struct ns *ns, uint64_t ring, struct choice *c)
{
	struct super_disk s[RING_SLOTS];
	int err = ns_read_sync(ns, ring, RING_BLOCKS, s);

	if (err)
		return err;
	for (unsigned i = 0; i < RING_SLOTS; i++) {
		err = super_check(&s[i], ns_info(ns)->nblocks);
		if (!err && (!c->found || get64(s[i].gen) > get64(c->best->gen))) {
			*c->best = s[i];
			*c->slot = i;
			c->found = true;
		} else if (err == -E_NEWER) {
			c->newer = MAX(c->newer, get64(s[i].gen));
			c->worst = err;
		} else if (err && err != -E_NOT_NVOFS && c->worst != -E_NEWER) {
			c->worst = -E_BAD_SUPER;
		}
	}
	return 0;
}

/* Highest generation of both rings. A ring that cannot be read does not matter while the other gives one. *slot is
 * the same in both rings: a checkpoint writes it to the same place of each. What a newer version has written since is
 * not passed over: the state before it is none any more. */
int super_read(struct ns *ns, struct super_disk *out, unsigned *slot)
{
	struct choice c = { .best = out, .slot = slot, .worst = -E_NOT_NVOFS };
	struct layout l;
	int err_a, err_b;

	if (ns_info(ns)->nblocks < MIN_BLOCKS)
		return -E_NOT_NVOFS;
	layout_of(ns_info(ns)->nblocks, &l);
	err_a = scan_ring(ns, RING_A, &c);
	/* The namespace may have grown since: a file system in one group knows better where its ring B is. */
	err_b = scan_ring(ns, c.found ? get64(out->ring_b) : l.ring_b, &c);
	if (c.found)
		return c.newer > get64(out->gen) ? -E_NEWER : 0;
	if (err_a || err_b)
		return err_a ? err_a : err_b;
	return c.worst;
}

/* No file system is no error here (p->valid stays false): mkfs and nvofsctl ask just that. */
int fs_probe(struct ns *ns, struct fs_probe *p)
{
	unsigned slot;
	int err;

	memset(p, 0, sizeof(*p));
	err = super_read(ns, &p->super, &slot);
	if (err == -E_NOT_NVOFS)
		return 0;
	if (err)
		return err;
	p->valid = true;
	err = ns_read_sync(ns, HEARTBEAT_BLOCK, 1, &p->heartbeat);
	if (err)
		return err;
	p->heartbeat_valid = heartbeat_valid(&p->heartbeat, p->super.uuid);
	return 0;
}

/* ---- heartbeat ---- */

static uint32_t heartbeat_crc(const struct heartbeat_disk *h)
{
	struct heartbeat_disk copy = *h;

	copy.crc = put32(0);
	return crc32c(&copy, sizeof(copy));
}

void heartbeat_seal(struct heartbeat_disk *h)
{
	h->crc = put32(heartbeat_crc(h));
}

/* The uuid keeps a heartbeat of the file system that was here before mkfs from counting. */
bool heartbeat_valid(const struct heartbeat_disk *h, const uint8_t uuid[16])
{
	return get32(h->magic) == HEARTBEAT_MAGIC && heartbeat_crc(h) == get32(h->crc) && !memcmp(h->uuid, uuid, 16);
}

/* Unmounting writes a token of zeros (claim_release). */
bool heartbeat_held(const struct heartbeat_disk *h)
{
	static const uint8_t nobody[16];

	return memcmp(h->token, nobody, sizeof(nobody)) != 0;
}

/* In UTC: reader and holder may be in different time zones. host is bounded, for it may lack its final zero. */
static void name_holder(const struct heartbeat_disk *h, char *who, size_t len)
{
	time_t since = (time_t)get64(h->since);
	char when[32] = "?";
	struct tm tm;

	if (gmtime_r(&since, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm);
	snprintf(who, len, "mounted by host '%.64s', pid %u, since %s", h->host, get32(h->pid), when);
}

/* All of it: whatever changes means that somebody wrote. */
static bool same_beat(const struct heartbeat_disk *a, const struct heartbeat_disk *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Blocks for up to four intervals of the heartbeat, each taken as 0.1 s at least and 10 s at most, whatever the
 * block says. 0: nobody alive; -E_IN_USE with the holder's name in who. */
int fs_holder(struct ns *ns, const struct fs_probe *p, char *who, size_t len)
{
	struct heartbeat_disk last = p->heartbeat, now;
	uint32_t ms = get32(p->heartbeat.interval_ms);
	int err;

	if (!p->valid || !p->heartbeat_valid || !heartbeat_held(&p->heartbeat))
		return 0;
	/* One change may be a late command of a dead mount; who lives goes on. */
	for (int i = 0; i < 2; i++, last = now) {
		clock_sleep(2 * MIN(MAX(ms, 100), 10000) * NS_PER_MS);
		err = ns_read_sync(ns, HEARTBEAT_BLOCK, 1, &now);
		if (err)
			return err;
		/* Not valid: read in the middle of a beat, or of a beat that broke off (then it stays as it is). */
		if (same_beat(&last, &now) || (heartbeat_valid(&now, p->super.uuid) && !heartbeat_held(&now)))
			return 0;
	}
	name_holder(heartbeat_valid(&now, p->super.uuid) ? &now : &p->heartbeat, who, len);
	return -E_IN_USE;
}
