/* SPDX-License-Identifier: Apache-2.0 */
/* The sequences that broke the first design of the device format, each as a test of its own. What chance finds is in
 * test_crash and test_fault; here is what must never come back.   test_sequences [NAME] */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "fs/super.h"
#include "tests/sim/sim_fs.h"

#define SIZE 50000u
static uint8_t buf[1 * MiB], back[1 * MiB];

#define MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			return -1; \
		} \
	} while (0)

static uint64_t make(struct sim *s, const char *name)
{
	struct stat st;

	return sim_mknod(s, INO_ROOT, name, S_IFREG | 0600, 0, 0, 0, &st) ? 0 : st.st_ino;
}

static int put(struct sim *s, uint64_t ino, uint64_t off, uint8_t byte, uint32_t len)
{
	memset(buf, byte, len);
	return sim_write(s, ino, off, buf, len, 0) == len ? 0 : -1;
}

/* Are all len bytes from off this byte? */
static bool is(struct sim *s, uint64_t ino, uint64_t off, uint8_t byte, uint32_t len)
{
	if (sim_read(s, ino, off, back, len) != len)
		return false;
	for (uint32_t i = 0; i < len; i++)
		if (back[i] != byte)
			return false;
	return true;
}

static int start(struct sim *s)
{
	return sim_format(s) || sim_mount(s) ? -1 : sim_wait_writable(s);
}

static void cut(struct sim *s, enum media_keep keep)
{
	struct rng rng = {1};

	sim_crash(s, FATE_NEVER);
	media_cut(sim_dev_media(s->dev), keep, &rng);
}

static int sound(struct sim *s)
{
	return sim_check(s) || sim_check_replayed(s) || sim_mount(s) || sim_wait_writable(s) ? -1 : 0;
}

/* A write is in the target's cache, the target dies and comes back, fsync is answered. */
static int cache_lost_before_fsync(struct sim *s)
{
	uint64_t x = make(s, "x");

	MUST(put(s, x, 0, 1, SIZE) == 0);
	sim_dev_power_cut(s->dev, KEEP_NONE, NS_PER_S);
	MUST(sim_fsync(s, x) == 0);
	cut(s, KEEP_NONE);
	MUST(sound(s) == 0 && is(s, x, 0, 1, SIZE));
	return 0;
}

/* fsync(y) commits x's new extents too: x's data must have left the cache before. */
static int fsync_of_another(struct sim *s)
{
	uint64_t x = make(s, "x"), y = make(s, "y");

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_fsync(s, x) == 0);
	MUST(put(s, x, 0, 2, SIZE) == 0 && put(s, y, 0, 3, 10) == 0 && sim_fsync(s, y) == 0);
	cut(s, KEEP_NONE);
	MUST(sound(s) == 0 && is(s, x, 0, 2, SIZE) && is(s, y, 0, 3, 10));
	return 0;
}

/* Blocks are born and freed within one generation; they may not be used again before it is durable. */
static int freed_in_its_generation(struct sim *s)
{
	uint64_t x = make(s, "x"), y = make(s, "y");

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_fsync(s, x) == 0); /* the record with x's first extents is durable */
	for (int i = 0; i < 60; i++) /* more than the device has */
		MUST(put(s, y, 0, (uint8_t)(10 + i), 1 * MiB) == 0 && (i || put(s, x, 0, 2, SIZE) == 0));
	cut(s, KEEP_LBAS);
	MUST(sound(s) == 0 && (is(s, x, 0, 1, SIZE) || is(s, x, 0, 2, SIZE)));
	return 0;
}

/* Places are given out all round the device, so the last that come again are those that were given out just before. These
 * make room behind what the test is about, and use what is free to be used again, in pieces of SIZE, but for less than
 * that room. fill returns how many pieces, or -1. */
static int room(struct sim *s, uint64_t ino)
{
	struct stat in = {0};

	MUST(sim_setattr(s, ino, SET_SIZE, &in, NULL) == 0 && sim_checkpoint(s) == 0 && sim_checkpoint(s) == 0);
	for (uint64_t i = 0; i < 8; i++)
		MUST(put(s, ino, i * MiB, 1, 1 * MiB) == 0);
	MUST(sim_setattr(s, ino, SET_SIZE, &in, NULL) == 0 && sim_checkpoint(s) == 0 && sim_checkpoint(s) == 0);
	return 0;
}

static int fill(struct sim *s, uint64_t ino, uint8_t byte)
{
	struct fs_info info;
	int n = 0;

	for (fs_info(s->fs, &info); info.avail_blocks > 1024; fs_info(s->fs, &info))
		MUST(put(s, ino, (uint64_t)n++ * MiB, byte, SIZE) == 0);
	return n;
}

static bool filled(struct sim *s, uint64_t ino, uint8_t byte, int n)
{
	for (int i = 0; i < n; i++)
		if (!is(s, ino, (uint64_t)i * MiB, byte, SIZE))
			return false;
	return true;
}

/* A reader knows a block, stalls; the block is freed, checkpointed, and wanted for something else. */
static int reader_stalls(struct sim *s)
{
	struct sim_fault slow = {.type = FAULT_SLOW, .ops = SIM_OP(NVME_IO_READ), .last = UINT64_MAX, .count = 1,
				 .per_mille = 1000, .delay = 60 * NS_PER_S};
	uint64_t x = make(s, "x"), y = make(s, "y");
	struct cache_stats stats;
	struct stat in = {0};
	struct sim_call c;

	MUST(room(s, y) == 0 && put(s, x, 0, 1, SIZE) == 0 && room(s, y) == 0);
	MUST(sim_unmount(s) == 0 && sim_mount(s) == 0 && sim_wait_writable(s) == 0);
	MUST(sim_getattr(s, x, &in) == 0); /* the nodes are in memory, the data are not */
	slow.first = (JOURNAL_START + 1024) * (FS_BLOCK / s->conf.dev.lba_size); /* not the heartbeat */
	sim_dev_fault(s->dev, &slow);
	sim_call_init(s, &c, fs_read);
	c.op->ino = x;
	c.op->off = 32768;
	c.op->len = 10000;
	sim_start(s, &c);
	MUST(!c.done);
	in.st_size = 0;
	MUST(sim_setattr(s, x, SET_SIZE, &in, NULL) == 0);
	MUST(sim_checkpoint(s) == 0 && sim_checkpoint(s) == 0 && fill(s, y, 10) > 0 && !c.done);
	/* Whatever it answers (by then the file is empty), it is not another's, and what it asked the target for was still there. */
	MUST(sim_finish(s, &c) == 0);
	for (unsigned i = 0; i < c.op->niov; i++)
		for (size_t k = 0; k < c.op->iov[i].iov_len; k++)
			MUST(((uint8_t *)c.op->iov[i].iov_base)[k] == 1);
	cache_stats(s->cache, &stats);
	MUST(stats.checksum_errors == 0);
	sim_end(s, &c);
	return 0;
}

/* Every choice of what the device kept of what was not durable. */
static int judge_all(struct sim *s, int (*judge)(struct sim *))
{
	struct media *m = sim_dev_media(s->dev);

	for (enum media_keep keep = 0; keep < KEEP_CHOICES; keep++) {
		media_push(m);
		media_cut(m, keep, &s->rng);
		MUST(judge(s) == 0);
		media_restore(m);
		media_pop(m);
	}
	return 0;
}

/* Does work, and judges what a power cut after each event of it leaves, and in the middle of each write. Nothing is
 * mounted when judge is called, nor may be afterwards. In the end the device is as work left it, with nothing mounted. */
static int each_cut(struct sim *s, int (*work)(struct sim *), int (*judge)(struct sim *))
{
	struct media *m = sim_dev_media(s->dev);
	size_t n;

	media_push(m);
	sim_dev_record(s->dev, true);
	MUST(work(s) == 0);
	n = sim_dev_nevents(s->dev);
	sim_dev_record(s->dev, false);
	if (s->fs)
		sim_crash(s, FATE_NEVER);
	media_restore(m);
	for (size_t i = 0; i < n; i++) {
		if (sim_dev_event(s->dev, i)->fua) {
			media_push(m);
			sim_dev_apply(s->dev, i, true);
			MUST(judge_all(s, judge) == 0);
			media_restore(m);
			media_pop(m);
		}
		sim_dev_apply(s->dev, i, false);
		MUST(judge_all(s, judge) == 0);
	}
	media_pop(m);
	return 0;
}

static uint64_t attributed;

/* a is set first, each to bytes that are all the same. */
static int two_attributes(struct sim *s, uint8_t byte)
{
	memset(buf, byte, 3000);
	MUST(sim_setxattr(s, attributed, "user.a", buf, 3000, 0) == 0 && sim_setxattr(s, attributed, "user.b", buf, 2900, 0) == 0);
	return sim_fsync(s, attributed);
}

static int more_attributes(struct sim *s)
{
	for (uint8_t i = 2; i < 6; i++)
		MUST(two_attributes(s, i) == 0);
	return 0;
}

static int same_bytes(struct sim *s, const char *name, uint32_t len)
{
	MUST(sim_getxattr(s, attributed, name, back, len) == len);
	for (uint32_t i = 1; i < len; i++)
		MUST(back[i] == back[0]);
	return back[0];
}

static int judge_attributes(struct sim *s)
{
	int a, b;

	MUST(sound(s) == 0);
	a = same_bytes(s, "user.a", 3000);
	b = same_bytes(s, "user.b", 2900);
	MUST(b >= 1 && (a == b || a == b + 1));
	MUST(two_attributes(s, 9) == 0);
	cut(s, KEEP_NONE);
	MUST(sim_mount(s) == 0 && same_bytes(s, "user.a", 3000) == 9 && same_bytes(s, "user.b", 2900) == 9);
	sim_crash(s, FATE_NEVER);
	return 0;
}

/* A record is cut off anywhere, and after recovery another one lies in its place: neither the torn one nor what is left
 * behind it may join the chain. */
static int torn_record(struct sim *s)
{
	attributed = make(s, "x");
	MUST(two_attributes(s, 1) == 0 && each_cut(s, more_attributes, judge_attributes) == 0);
	return 0;
}

/* Its command is on its way. */
static int write_begins(struct sim *s, struct sim_call *c, uint64_t ino, uint8_t byte)
{
	memset(buf, byte, SIZE);
	MUST(sim_write_prepare(s, c, ino, 0, buf, SIZE) == 0);
	sim_start(s, c);
	sim_step(s);
	return 0;
}

/* Commands of a killed daemon are executed while the next one is at work. */
static int late_writes(struct sim *s)
{
	uint64_t x = make(s, "x"), y = 0;

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_fsync(s, x) == 0);
	for (int i = 0; i < 12; i++) {
		struct sim_call c;
		int n;

		MUST(write_begins(s, &c, x, (uint8_t)(100 + i)) == 0);
		sim_crash(s, FATE_LATER);
		MUST(sim_mount(s) == 0);
		y = i ? y : make(s, "y");
		MUST(room(s, y) == 0 && (n = fill(s, y, (uint8_t)(10 + i))) > 0);
		sim_run_for(s, 30 * NS_PER_S);
		MUST(sim_dev_orphans_until(s->dev) == 0);
		MUST(sim_unmount(s) == 0 && sound(s) == 0 && filled(s, y, (uint8_t)(10 + i), n) && is(s, x, 0, 1, SIZE));
	}
	return 0;
}

static void rot(struct sim *s, uint64_t block)
{
	struct media *m = sim_dev_media(s->dev);

	media_poke(m, block * FS_BLOCK / m->lba_size)[100] ^= 1;
}

/* Blocks of ring at that hold the newest superblock. */
static uint64_t newest(struct sim *s, uint64_t ring)
{
	uint64_t best = 0, gen = 0;

	for (uint64_t b = ring; b < ring + RING_BLOCKS; b += SUPER_BLOCKS) {
		const struct super_disk *d = (const void *)(sim_dev_media(s->dev)->mem + b * FS_BLOCK);

		if (get64(d->magic) == SUPER_MAGIC && get64(d->gen) >= gen) {
			gen = get64(d->gen);
			best = b;
		}
	}
	return best;
}

/* The committed superblock rots: the other ring has it; if both rot, the state before it is no state. */
static int superblock_rots(struct sim *s)
{
	uint64_t x = make(s, "x"), ring_b = s->conf.dev.bytes / FS_BLOCK - RING_BLOCKS;

	for (int i = 0; i < 5; i++)
		MUST(put(s, x, 0, (uint8_t)(1 + i), SIZE) == 0 && sim_checkpoint(s) == 0);
	MUST(put(s, x, 0, 9, SIZE) == 0 && sim_fsync(s, x) == 0);
	cut(s, KEEP_ALL);
	rot(s, newest(s, RING_A));
	MUST(sim_mount(s) == 0 && is(s, x, 0, 9, SIZE));
	sim_crash(s, FATE_NEVER);
	rot(s, newest(s, ring_b));
	MUST(sim_mount(s) == -E_ROTTEN_SUPER);
	return 0;
}

/* A newer version was here last, and its superblock says that this one cannot read what it wrote. The superblocks of this
 * version that are still in the rings are no state any more. */
static int newer_version(struct sim *s)
{
	uint64_t x = make(s, "x"), ring[] = { RING_A, s->conf.dev.bytes / FS_BLOCK - RING_BLOCKS };
	struct media *m = sim_dev_media(s->dev);

	for (int i = 0; i < 5; i++)
		MUST(put(s, x, 0, (uint8_t)(1 + i), SIZE) == 0 && sim_checkpoint(s) == 0);
	MUST(sim_unmount(s) == 0);
	for (int i = 0; i < 2; i++) {
		struct super_disk d;

		memcpy(&d, m->mem + newest(s, ring[i]) * FS_BLOCK, sizeof(d));
		d.incompat = put64(1);
		super_seal(&d);
		media_write(m, newest(s, ring[i]) * FS_BLOCK / m->lba_size, sizeof(d) / m->lba_size, &d, false, 0);
	}
	s->quiet = true;
	MUST(sim_mount(s) == -E_NEWER && sim_mount_ro(s, true) == -E_NEWER && sim_check(s) == -E_NEWER);
	return 0;
}

/* The file called name, its first SIZE bytes all the same and not 0: that byte; 0: no such file; -1: neither. */
static int content(struct sim *s, uint64_t dir, const char *name)
{
	struct stat st;
	int r = sim_lookup(s, dir, name, &st);

	if (r)
		return r == -ENOENT ? 0 : -1;
	return sim_read(s, st.st_ino, 0, back, SIZE) == SIZE && back[0] && is(s, st.st_ino, 0, back[0], SIZE) ? back[0] : -1;
}

static int judge_format(struct sim *s)
{
	int r = sim_mount(s), x;

	MUST(r == 0 || r == -E_NOT_NVOFS || r == -E_BAD_SUPER);
	if (r)
		return 0;
	x = content(s, INO_ROOT, "x");
	MUST(x == 9 || x == 0);
	sim_crash(s, FATE_NEVER);
	return sim_check_replayed(s);
}

/* mkfs over an older file system whose generation is higher, cut anywhere: the old one, none, or the new one. */
static int format_again(struct sim *s)
{
	uint64_t x = make(s, "x");
	struct stat st;

	for (int i = 0; i < 9; i++)
		MUST(put(s, x, 0, (uint8_t)(1 + i), SIZE) == 0 && sim_checkpoint(s) == 0);
	MUST(sim_unmount(s) == 0);
	MUST(each_cut(s, sim_format, judge_format) == 0);
	MUST(sound(s) == 0 && sim_lookup(s, INO_ROOT, "x", &st) == -ENOENT);
	return 0;
}

static int write_and_checkpoint(struct sim *s)
{
	struct stat st;

	for (uint8_t i = 2; i < 6; i++)
		MUST(sim_lookup(s, INO_ROOT, "x", &st) == 0 && put(s, st.st_ino, 0, i, SIZE) == 0 && sim_checkpoint(s) == 0);
	return 0;
}

/* What is there is whole, also after one more checkpoint. */
static int judge_slots(struct sim *s)
{
	struct stat st;
	int x;

	MUST(sound(s) == 0);
	x = content(s, INO_ROOT, "x");
	MUST(x >= 1 && x <= 5);
	MUST(sim_lookup(s, INO_ROOT, "x", &st) == 0 && put(s, st.st_ino, 0, 7, SIZE) == 0 && sim_checkpoint(s) == 0);
	sim_crash(s, FATE_NEVER);
	return sim_check_replayed(s);
}

/* The same group in several checkpoints, each cut off anywhere: an image that the committed superblock names is never
 * written over, and one of a checkpoint that came to nothing is never taken. */
static int aborted_checkpoint(struct sim *s)
{
	uint64_t x = make(s, "x");

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_checkpoint(s) == 0);
	MUST(each_cut(s, write_and_checkpoint, judge_slots) == 0);
	return sound(s);
}

static uint64_t folders[2];

static int rename_about(struct sim *s)
{
	MUST(sim_rename(s, folders[0], "a", folders[1], "b", 0) == 0 && sim_checkpoint(s) == 0);
	MUST(sim_rename(s, folders[1], "b", folders[0], "c", 0) == 0 && sim_fsync(s, folders[0]) == 0);
	MUST(sim_rename(s, folders[0], "c", folders[1], "a", 0) == 0 && sim_checkpoint(s) == 0);
	return 0;
}

static int judge_rename(struct sim *s)
{
	static const struct { unsigned folder; const char *name; } places[] = { {0, "a"}, {1, "b"}, {0, "c"}, {1, "a"} };
	int names = 0;

	MUST(sim_check_replayed(s) == 0 && sim_mount(s) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		int x = content(s, folders[places[i].folder], places[i].name);

		MUST(x == 0 || x == 1);
		names += x;
	}
	MUST(names == 1);
	sim_crash(s, FATE_NEVER);
	return 0;
}

/* A file goes from folder to folder, over checkpoints and records: cut anywhere it has one name. */
static int half_a_rename(struct sim *s)
{
	struct stat st;

	for (unsigned i = 0; i < 2; i++) {
		MUST(sim_mkdir(s, INO_ROOT, i ? "q" : "p", 0700, 0, 0, &st) == 0);
		folders[i] = st.st_ino;
	}
	MUST(sim_mknod(s, folders[0], "a", S_IFREG | 0600, 0, 0, 0, &st) == 0 && put(s, st.st_ino, 0, 1, SIZE) == 0);
	MUST(sim_checkpoint(s) == 0 && each_cut(s, rename_about, judge_rename) == 0);
	return sound(s);
}

/* A write is in flight when the association is lost; it is sent again and done; the file is emptied and the blocks are
 * wanted for another one. Then the target executes what it had of the old association. */
static int late_duplicate(struct sim *s)
{
	uint64_t x = make(s, "x"), y = make(s, "y");

	for (int i = 0; i < 6; i++) {
		struct stat in = {0};
		struct sim_call c;
		int n;

		MUST(write_begins(s, &c, x, (uint8_t)(100 + i)) == 0);
		sim_dev_lose(s->dev, FATE_LATER, 0);
		MUST(sim_finish(s, &c) == 0);
		sim_end(s, &c);
		MUST(sim_setattr(s, x, SET_SIZE, &in, NULL) == 0);
		MUST(room(s, y) == 0 && (n = fill(s, y, (uint8_t)(10 + i))) > 0);
		sim_run_for(s, 30 * NS_PER_S);
		MUST(sim_dev_orphans_until(s->dev) == 0);
		MUST(sim_unmount(s) == 0 && sound(s) == 0 && filled(s, y, (uint8_t)(10 + i), n));
	}
	return 0;
}

/* The other host goes on, and has enough occasions to. */
static void run_other(struct sim *s)
{
	struct sim *other = s->idle_arg;

	clock_virtual_add(NS_PER_MS);
	while (sim_step(other))
		;
	fs_tick(other->fs);
	ns_control(other->ns);
	s->at_most = NS_PER_MS;
}

/* A second mount for writing is refused while the first one lives; once that is dead it is not. */
static int second_mount(struct sim *s)
{
	struct sim *other = sim_join(s);
	uint64_t x = make(s, "x");

	MUST(put(s, x, 0, 1, SIZE) == 0);
	other->quiet = true;
	other->idle = run_other;
	other->idle_arg = s;
	clock_virtual_idle(sim_idle, other);
	MUST(sim_mount(other) == -E_IN_USE);
	clock_virtual_idle(sim_idle, s);
	MUST(put(s, x, 0, 2, SIZE) == 0 && sim_fsync(s, x) == 0);
	sim_crash(s, FATE_LATER);
	other->idle = NULL;
	other->at_most = 0;
	clock_virtual_idle(sim_idle, other);
	MUST(sim_mount(other) == 0 && is(other, x, 0, 2, SIZE) && put(other, x, 0, 3, SIZE) == 0);
	MUST(sim_unmount(other) == 0);
	clock_virtual_idle(sim_idle, s);
	sim_free(other);
	return sound(s);
}

/* The target went away for longer than its commands can live; meanwhile somebody else took the file system over. */
static int taken_over(struct sim *s)
{
	struct media *m = sim_dev_media(s->dev);
	struct heartbeat_disk h;
	uint64_t x = make(s, "x"), writes;

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_fsync(s, x) == 0);
	writes = sim_dev_stats(s->dev)->writes;
	sim_dev_lose(s->dev, FATE_NEVER, 20 * NS_PER_S);
	memcpy(&h, m->mem + HEARTBEAT_BLOCK * FS_BLOCK, sizeof(h));
	h.token[3] ^= 0x55;
	h.epoch = put64(get64(h.epoch) + 1);
	heartbeat_seal(&h);
	memcpy(media_poke(m, HEARTBEAT_BLOCK * FS_BLOCK / m->lba_size), &h, sizeof(h));
	MUST(put(s, x, 0, 2, SIZE) != 0 || sim_fsync(s, x) != 0);
	MUST(sim_dev_stats(s->dev)->writes == writes); /* nothing was written into what is another's now */
	sim_crash(s, FATE_NEVER);
	return 0;
}

/* A daemon is stopped for longer than its commands can live, another host takes over, and then it goes on: the target may
 * not have noticed, so nothing of it may be sent on the old association. */
static int stopped_and_continued(struct sim *s)
{
	struct sim *other = sim_join(s);
	uint64_t x = make(s, "x"), y, writes;

	MUST(put(s, x, 0, 1, SIZE) == 0 && sim_fsync(s, x) == 0 && put(s, x, 0, 2, SIZE) == 0);
	clock_virtual_idle(sim_idle, other);
	clock_virtual_add(60 * NS_PER_S);
	MUST(sim_mount(other) == 0 && (y = make(other, "y")) && put(other, y, 0, 3, SIZE) == 0 && sim_fsync(other, y) == 0);
	MUST(sim_checkpoint(other) == 0); /* nothing of it is on its way when writes are counted */
	clock_virtual_idle(sim_idle, s);
	writes = sim_dev_stats(s->dev)->writes;
	put(s, x, 0, 4, SIZE);
	MUST(sim_fsync(s, x) != 0);
	sim_run_for(s, 20 * NS_PER_S);
	MUST(sim_dev_stats(s->dev)->writes == writes);
	sim_crash(s, FATE_NEVER);
	clock_virtual_idle(sim_idle, other);
	MUST(is(other, x, 0, 1, SIZE) || is(other, x, 0, 2, SIZE));
	MUST(is(other, y, 0, 3, SIZE) && sim_unmount(other) == 0);
	clock_virtual_idle(sim_idle, s);
	sim_free(other);
	return sound(s);
}

/* A mount that changes one attribute n times, each change in a record of its own, and then dies. */
static int die_after_records(struct sim *s, uint64_t x, char first, unsigned n)
{
	MUST(sim_mount(s) == 0 && sim_wait_writable(s) == 0);
	for (unsigned i = 0; i < n; i++) {
		char name[16] = {'u', 's', 'e', 'r', '.', (char)(first + i)};

		MUST(sim_setxattr(s, x, name, &first, 1, 0) == 0 && sim_fsync(s, x) == 0);
	}
	cut(s, KEEP_ALL);
	return 0;
}

/* The block of the last record in the journal, counted by sequence; 0: none. */
static uint64_t last_record(struct sim *s)
{
	uint64_t best = 0, seq = 0, epoch = 0;

	for (uint64_t b = JOURNAL_START; b < JOURNAL_START + 1024; b++) {
		const struct record_disk *r = (const void *)(sim_dev_media(s->dev)->mem + b * FS_BLOCK);

		if (get32(r->magic) != RECORD_MAGIC || get64(r->epoch) < epoch || get64(r->seq) < seq)
			continue;
		best = b;
		seq = get64(r->seq);
		epoch = get64(r->epoch);
	}
	return best;
}

/* A mirror out of step: two mounts went on from the same image, and one block of the journal is the other's. It has the right
 * epoch and number, but it followed another record. */
static int record_of_another_history(struct sim *s)
{
	struct media *m = sim_dev_media(s->dev);
	uint8_t *other = malloc(FS_BLOCK), value[4];
	uint64_t x = make(s, "x"), block;

	MUST(sim_unmount(s) == 0);
	media_push(m);
	MUST(die_after_records(s, x, 'a', 2) == 0);
	block = last_record(s);
	memcpy(other, m->mem + block * FS_BLOCK, FS_BLOCK);
	media_restore(m);
	media_pop(m);
	MUST(die_after_records(s, x, 'p', 2) == 0 && block && last_record(s) == block);
	MUST(memcmp(other, m->mem + block * FS_BLOCK, FS_BLOCK) != 0);
	media_write(m, block * FS_BLOCK / m->lba_size, FS_BLOCK / m->lba_size, other, false, 0);
	free(other);
	MUST(sound(s) == 0 && sim_getxattr(s, x, "user.p", value, sizeof(value)) == 1);
	MUST(sim_getxattr(s, x, "user.b", value, sizeof(value)) == -ENODATA);
	return 0;
}

static bool ends_soon(struct sim *s, struct sim_call *c)
{
	uint64_t end = clock_now() + NS_PER_S;

	sim_start(s, c);
	while (!c->done && clock_now() < end)
		if (!sim_step(s))
			sim_pass(s);
	return c->done;
}

/* A checkpoint has made its cut, but its superblock is a long time coming: the records before the cut are still what the
 * committed superblock needs, so there is only the rest of the journal for new ones. */
static int checkpoint_takes_long(struct sim *s)
{
	struct sim_fault late = {.type = FAULT_LATE, .ops = SIM_OP(NVME_IO_WRITE), .count = 1, .per_mille = 1000,
				 .delay = 60 * NS_PER_S};
	uint32_t lbas = FS_BLOCK / s->conf.dev.lba_size, acked = 0, found = 0, next;
	uint64_t x = make(s, "x");
	struct sim_call set, sync;

	late.last = GROUP_FIXED * lbas - 1; /* bitmaps */
	sim_dev_fault(s->dev, &late);
	for (;;) {
		next = acked + 1;
		sim_call_init(s, &set, fs_setxattr);
		set.op->ino = x;
		set.op->name = "user.n";
		set.op->in = &next;
		set.op->len = sizeof(next);
		if (!ends_soon(s, &set)) /* no room in the journal: right */
			break;
		MUST(set.status == 0);
		sim_end(s, &set);
		sim_call_init(s, &sync, fs_fsync);
		sync.op->ino = x;
		if (!ends_soon(s, &sync))
			break;
		MUST(sync.status == 0 && next < 2000);
		sim_end(s, &sync);
		acked = next;
	}
	MUST(acked > 600); /* more than the half that starts a checkpoint */
	cut(s, KEEP_ALL);
	sim_dev_no_faults(s->dev);
	MUST(sound(s) == 0 && sim_getxattr(s, x, "user.n", &found, sizeof(found)) == sizeof(found));
	MUST(found == acked || found == acked + 1);
	return 0;
}

/* The daemon is killed while reads wait for page frames, each with a part of what it needs. */
static int killed_while_reads_wait(struct sim *s)
{
	struct sim_call c[14];
	uint64_t x = make(s, "x");

	for (uint64_t i = 0; i < ARRAY_SIZE(c); i++)
		MUST(put(s, x, i * MiB, (uint8_t)(1 + i), 1 * MiB) == 0);
	MUST(sim_unmount(s) == 0 && sim_mount(s) == 0 && sim_wait_writable(s) == 0);
	for (unsigned rounds = 0; rounds < 6; rounds++) {
		for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
			sim_call_init(s, &c[i], fs_read);
			c[i].op->ino = x;
			c[i].op->off = i * MiB;
			c[i].op->len = 1 * MiB;
			sim_start(s, &c[i]);
		}
		for (unsigned i = 0; i < rounds * 4; i++)
			if (!sim_step(s))
				sim_pass(s);
		sim_crash(s, FATE_NEVER);
		MUST(sound(s) == 0 && is(s, x, 3 * MiB, 4, 1 * MiB));
	}
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct sim *);
} sequences[] = {
	{"cache_lost_before_fsync", cache_lost_before_fsync},
	{"fsync_of_another", fsync_of_another},
	{"freed_in_its_generation", freed_in_its_generation},
	{"reader_stalls", reader_stalls},
	{"torn_record", torn_record},
	{"late_writes", late_writes},
	{"superblock_rots", superblock_rots},
	{"format_again", format_again},
	{"second_mount", second_mount},
	{"taken_over", taken_over},
	{"stopped_and_continued", stopped_and_continued},
	{"record_of_another_history", record_of_another_history},
	{"checkpoint_takes_long", checkpoint_takes_long},
	{"killed_while_reads_wait", killed_while_reads_wait},
	{"newer_version", newer_version},
	{"aborted_checkpoint", aborted_checkpoint},
	{"half_a_rename", half_a_rename},
	{"late_duplicate", late_duplicate},
};

static int run(size_t i)
{
	int bad = 0;

	for (unsigned variant = 0; variant < 4 && !bad; variant++) {
		struct sim_conf conf;
		struct sim *s;

		sim_conf_init(&conf, 1000 + i * 10 + variant);
		conf.dev.lba_size = variant & 1 ? 512 : 4096;
		conf.workers = variant & 2 ? 2 : 1;
		conf.checkpoint_ms = variant & 2 ? 100 : 0;
		s = sim_new(&conf);
		s->quiet = true;
		bad = start(s) || sequences[i].run(s);
		if (!bad) /* else calls may be left whose places are gone */
			sim_free(s);
		else
			fprintf(stderr, "FAILED: %s, variant %u\n", sequences[i].name, variant);
	}
	return bad;
}

int main(int argc, char **argv)
{
	unsigned failed = 0, n = 0;

	log_init("test_sequences", argc > 1 ? LOG_L_DEBUG : LOG_L_ERROR);
	if (argc < 2)
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	for (size_t i = 0; i < ARRAY_SIZE(sequences); i++) {
		if (argc > 1 && strcmp(argv[1], sequences[i].name))
			continue;
		failed += run(i) != 0;
		n++;
	}
	printf("sequences: %u of %u ok\n", n - failed, n);
	return failed != 0;
}
