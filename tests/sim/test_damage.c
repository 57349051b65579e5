/* SPDX-License-Identifier: Apache-2.0 */
/* Images that were damaged, by chance and with intent (right checksums, wrong content): mounting, reading everything, changing
 * things and checking must end without a crash, whatever they find. Each image is mounted read-only, then for writing, then
 * checked, and then repaired: what is repaired is whole, and repairing it once more changes nothing.
 *   test_damage [--seed N] [--images N] [--seconds N] [--kind NAME] [--verbose] */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "fs/check.h"
#include "fs/repair.h"
#include "tests/sim/damage.h"
#include "tests/sim/sim_fs.h"

#define FILES 600u
#define VISITS 1500u            /* things looked at in one walk: a damaged tree may have loops of names */

static struct sim *s;
static struct dmg d;
static struct rng rng;
static uint64_t seed = 1, number;
static const char *kind_name = "none";
static bool verbose;
static uint8_t buf[256 * KiB];
static uint64_t findings, refused, checked_clean;

/* ---- the image ---- */

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "damage: %s: %s\n", what, err_name(r));
	exit(1);
}

static void make_file(uint64_t dir, unsigned i)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "a-file-with-a-name-that-fills-leaves-%u", i);
	must(sim_mknod(s, dir, name, S_IFREG | 0644, 0, 0, 0, &st), name);
	if (i % 3 == 0)
		must((int)sim_write(s, st.st_ino, 0, buf, 100 + i, 0), "write");
	for (unsigned k = 0; i % 8 == 1 && k < 1 + i % 12; k++)
		must((int)sim_write(s, st.st_ino, k * 3 * FS_BLOCK, buf + i, FS_BLOCK + i, 0), "write");
	if (i % 10 == 2)
		must(sim_setxattr(s, st.st_ino, "user.attribute", buf, 50 + i % 300 * 8, 0), "setxattr");
	if (i % 20 == 3)
		must(sim_link(s, st.st_ino, INO_ROOT, name, &st), "link");
	if (i % 20 == 4) {
		snprintf(name, sizeof(name), "link-%u", i);
		must(sim_symlink(s, dir, name, "target", &st), "symlink");
	}
}

/* crashed: with work left in the journal, and an unlinked file that is still open. */
static void make_image(bool crashed)
{
	struct sim_conf conf;
	struct stat st;
	uint64_t dirs[8];
	char name[16];

	sim_conf_init(&conf, seed + crashed);
	s = sim_new(&conf);
	s->quiet = true;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 31 + i / 4096);
	must(sim_format(s), "format");
	must(sim_mount(s), "mount");
	must(sim_wait_writable(s), "wait");
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "dir%u", i);
		must(sim_mkdir(s, i > 2 ? dirs[i - 3] : INO_ROOT, name, 0755, 0, 0, &st), name);
		dirs[i] = st.st_ino;
	}
	for (unsigned i = 0; i < FILES; i++)
		make_file(dirs[i % 8], i);
	must(sim_mknod(s, INO_ROOT, "big", S_IFREG | 0644, 0, 0, 0, &st), "mknod");
	for (unsigned k = 0; k < 8; k++)
		must((int)sim_write(s, st.st_ino, k * sizeof(buf), buf, sizeof(buf), 0), "write");
	if (!crashed) {
		must(sim_unmount(s), "unmount");
		return;
	}
	must(sim_checkpoint(s), "checkpoint");
	for (unsigned i = FILES; i < FILES + 30; i++)
		make_file(dirs[i % 8], i);
	must(sim_fsync(s, st.st_ino), "fsync");
	sim_crash(s, FATE_EXECUTED);
}

/* ---- damage ---- */

static unsigned some_node(int level)
{
	unsigned i;

	for (unsigned tries = 0; tries < 1000; tries++) {
		i = (unsigned)rng_below(&rng, d.n);
		if (level < 0 || d.nodes[i].level == (unsigned)level)
			return i;
	}
	return 0;
}

static unsigned items(unsigned node)
{
	unsigned n = get16(dmg_node(&d, node)->nitems);

	return n ? n : 1;
}

/* Somewhere that is used: the head, a node, or anything below the middle. */
static uint64_t some_block(void)
{
	switch (rng_below(&rng, 4)) {
	case 0: return rng_below(&rng, JOURNAL_START + 16);
	case 1: return d.nodes[some_node(-1)].block + rng_below(&rng, NODE_BLOCKS);
	case 2: return d.nblocks - 1 - rng_below(&rng, RING_BLOCKS);
	}
	return rng_below(&rng, d.nblocks / 2);
}

static void k_bytes(void)
{
	for (uint64_t n = rng_range(&rng, 1, 60); n--;)
		((uint8_t *)dmg_block(&d, some_block(), 1))[rng_below(&rng, FS_BLOCK)] = (uint8_t)rng_u64(&rng);
}

static void k_flip(void)
{
	((uint8_t *)dmg_block(&d, some_block(), 1))[rng_below(&rng, FS_BLOCK)] ^= (uint8_t)(1u << rng_below(&rng, 8));
}

static void k_garbage(void)
{
	uint8_t *p = dmg_block(&d, some_block(), 1);

	for (unsigned i = 0; i < FS_BLOCK; i++)
		p[i] = (uint8_t)rng_u64(&rng);
}

static void swap_blocks(uint64_t a, uint64_t b, unsigned n)
{
	static uint8_t t[NODE_SIZE];

	memcpy(t, dmg_block(&d, a, n), n * FS_BLOCK);
	memcpy(dmg_block(&d, a, n), dmg_block(&d, b, n), n * FS_BLOCK);
	memcpy(dmg_block(&d, b, n), t, n * FS_BLOCK);
}

static void k_swap(void) { swap_blocks(some_block(), some_block(), 1); }
static void k_swap_nodes(void) { swap_blocks(d.nodes[some_node(-1)].block, d.nodes[some_node(-1)].block, NODE_BLOCKS); }
static void k_zero_node(void) { memset(dmg_block(&d, d.nodes[some_node(-1)].block, 4), 0, NODE_SIZE); }
static void k_lost_leaf(void) { dmg_node(&d, some_node(0))->pad1[0] ^= 1; }

/* ---- with right checksums ---- */

static void k_node_bytes(void)
{
	unsigned i = some_node(-1);
	uint8_t *p = (uint8_t *)dmg_node(&d, i);

	for (uint64_t n = rng_range(&rng, 1, 6); n--;) {
		uint64_t top = rng_one_in(&rng, 3) ? 64 : rng_one_in(&rng, 2) ? 64 + 21 * items(i) : NODE_SIZE;

		p[rng_range(&rng, rng_one_in(&rng, 4) ? 0 : 8, top - 1)] = (uint8_t)(rng_one_in(&rng, 3) ? 0xff : rng_u64(&rng));
	}
	dmg_seal(&d, i);
}

static struct ptr_disk *pointer(unsigned node, unsigned i) { return (struct ptr_disk *)dmg_value(dmg_node(&d, node), i); }

/* Any inner node: the root, where there is one level of them only. */
static unsigned some_inner(void)
{
	unsigned i = some_node(-1);

	while (i && !d.nodes[i].level)
		i = (unsigned)d.nodes[i].parent;
	return i;
}

static void k_two_parents(void)
{
	unsigned a = some_inner();

	for (uint64_t n = rng_range(&rng, 1, 8); n--;)
		*pointer(a, (unsigned)rng_below(&rng, items(a))) = *pointer(a, (unsigned)rng_below(&rng, items(a)));
	dmg_seal(&d, a);
}

static void k_loop(void)
{
	unsigned a = some_inner();
	struct ptr_disk *p = pointer(a, (unsigned)rng_below(&rng, items(a)));

	p->block = put64(d.nodes[a].block);
	p->birth = dmg_node(&d, a)->birth;
	p->crc = dmg_node(&d, a)->crc;
	dmg_seal(&d, a);
}

static void k_pointer(void)
{
	unsigned a = some_inner();
	struct ptr_disk *p = pointer(a, (unsigned)rng_below(&rng, items(a)));
	static const uint64_t blocks[] = { 0, 8, 32, 36, 1ull << 60, UINT64_MAX - 3, 16380, 16376 };

	if (rng_one_in(&rng, 2))
		p->block = put64(blocks[rng_below(&rng, 8)]);
	else
		p->birth = put64(get64(dmg_super(&d)->gen) + rng_below(&rng, 6));
	dmg_seal(&d, a);
}

static void k_births(void)
{
	uint64_t birth = get64(dmg_super(&d)->gen) + rng_below(&rng, 5);
	unsigned i = some_node(0), up;

	for (;; i = up) {
		dmg_node(&d, i)->birth = put64(birth);
		dmg_seal(&d, i);
		if (d.nodes[i].parent < 0)
			break;
		up = (unsigned)d.nodes[i].parent;
		pointer(up, d.nodes[i].index)->birth = put64(birth);
	}
	dmg_super(&d)->root.birth = put64(birth);
	dmg_seal_super(&d);
}

static void k_order(void)
{
	unsigned i = some_node(-1), a = (unsigned)rng_below(&rng, items(i)), b = (unsigned)rng_below(&rng, items(i));
	struct key_disk k = dmg_item(dmg_node(&d, i), a)->key;

	dmg_item(dmg_node(&d, i), a)->key = dmg_item(dmg_node(&d, i), b)->key;
	if (!rng_one_in(&rng, 3))
		dmg_item(dmg_node(&d, i), b)->key = k;
	dmg_seal(&d, i);
}

static void k_key(void)
{
	unsigned i = some_node(-1);
	struct item_disk *it = dmg_item(dmg_node(&d, i), (unsigned)rng_below(&rng, items(i)));

	switch (rng_below(&rng, 3)) {
	case 0: it->key.object = put64(rng_one_in(&rng, 2) ? rng_below(&rng, 60) : rng_u64(&rng)); break;
	case 1: it->key.type = (uint8_t)rng_below(&rng, 24); break;
	default: it->key.offset = put64(rng_one_in(&rng, 2) ? get64(it->key.offset) + rng_range(&rng, 1, 40) : rng_u64(&rng));
	}
	dmg_seal(&d, i);
}

static void k_extent(void)
{
	unsigned node, item, node2, item2;
	struct extent_disk *e, *other;

	if (!dmg_find(&d, ITEM_EXTENT, some_node(0), &node, &item) || !dmg_find(&d, ITEM_EXTENT, some_node(0), &node2, &item2))
		return;
	e = (struct extent_disk *)dmg_value(dmg_node(&d, node), item);
	other = (struct extent_disk *)dmg_value(dmg_node(&d, node2), item2);
	switch (rng_below(&rng, 7)) {
	case 0: e->block = other->block; break;
	case 1: e->block = put64(rng_u64(&rng) >> rng_below(&rng, 64)); break;
	case 2: e->block = put64(d.nodes[some_node(-1)].block); break;
	case 3: e->nblocks = e->stored_blocks = put16((uint16_t)rng_below(&rng, 140)); break;
	case 4: e->flags = (uint8_t)rng_below(&rng, 4); break;
	case 5: e->birth = put64(rng_u64(&rng) >> rng_below(&rng, 64)); break;
	default: dmg_item(dmg_node(&d, node), item)->key.offset = put64(rng_below(&rng, 40));
	}
	dmg_seal(&d, node);
}

static void k_inode(void)
{
	unsigned node, item;
	struct inode_disk *in;

	if (!dmg_find(&d, ITEM_INODE, some_node(0), &node, &item))
		return;
	while (item + 1 < items(node) && !rng_one_in(&rng, 4))
		item++;
	if (dmg_item(dmg_node(&d, node), item)->key.type != ITEM_INODE)
		return;
	in = (struct inode_disk *)dmg_value(dmg_node(&d, node), item);
	switch (rng_below(&rng, 8)) {
	case 0: in->size = put64(rng_u64(&rng) >> rng_below(&rng, 64)); break;
	case 1: in->nlink = put32((uint32_t)rng_below(&rng, 4)); break;
	case 2: in->mode = put32((uint32_t)rng_u64(&rng) & 0xffff); break;
	case 3: in->flags = put32((uint32_t)rng_below(&rng, 3)); break;
	case 4: in->blocks = put64(rng_u64(&rng)); break;
	case 5: in->entries = put64(rng_below(&rng, 5)); break;
	case 6: in->parent = put64(rng_below(&rng, 40)); break;
	default: in->mtime.ns = put32(UINT32_MAX);
	}
	dmg_seal(&d, node);
}

static void k_dirent(void)
{
	unsigned node, item;
	struct dirent_disk *e;

	if (!dmg_find(&d, ITEM_DIRENT, some_node(0), &node, &item))
		return;
	e = (struct dirent_disk *)dmg_value(dmg_node(&d, node), item);
	switch (rng_below(&rng, 4)) {
	case 0: e->ino = put64(rng_below(&rng, 60)); break;
	case 1: e->type = (uint8_t)rng_u64(&rng); break;
	case 2: e->namelen = (uint8_t)rng_u64(&rng); break;
	default: ((uint8_t *)(e + 1))[rng_below(&rng, 5)] = (uint8_t)(rng_one_in(&rng, 2) ? '/' : rng_u64(&rng));
	}
	dmg_seal(&d, node);
}

/* The item goes, whatever it was: a file without its inode, an inode without its name. */
static void k_drop(void)
{
	unsigned i = some_node(0);

	for (uint64_t n = rng_range(&rng, 1, 3); n--;) {
		struct node_disk *p = dmg_node(&d, i);
		unsigned count = get16(p->nitems), at = (unsigned)rng_below(&rng, items(i));

		if (count < 2)
			return;
		p->dead = put16((uint16_t)(get16(p->dead) + get16(dmg_item(p, at)->len)));
		memmove(dmg_item(p, at), dmg_item(p, at + 1), (count - at - 1) * sizeof(struct item_disk));
		p->nitems = put16((uint16_t)(count - 1));
	}
	dmg_seal(&d, i);
}

static void k_level(void)
{
	struct super_disk *p = dmg_super(&d);
	unsigned i = some_node(-1);

	if (rng_one_in(&rng, 2))
		p->root_level = (uint8_t)rng_below(&rng, 12);
	else
		dmg_node(&d, i)->level = (uint8_t)rng_below(&rng, 10);
	dmg_seal(&d, i);
}

/* A tree of level 7, each node above the real root with one child, or full of pointers to the same one: it cannot grow. */
static void k_tall(void)
{
	struct super_disk *p = dmg_super(&d);
	struct ptr_disk below = p->root;

	for (unsigned level = p->root_level + 1u; level < LEVELS_MAX; level++) {
		uint64_t block = dmg_free_quad(&d, 0);
		struct node_disk *n = dmg_block(&d, block, NODE_BLOCKS);
		unsigned count = level == LEVELS_MAX - 1 && rng_one_in(&rng, 2) ? 398 : 1, low = NODE_SIZE;
		uint8_t *map = dmg_bitmap(&d);

		map[block / 8] |= (uint8_t)(15u << block % 8);
		memset(n, 0, NODE_SIZE);
		*n = (struct node_disk){ .magic = put32(NODE_MAGIC), .block = put64(block), .birth = p->gen,
			.level = (uint8_t)level, .nitems = put16((uint16_t)count) };
		memcpy(n->uuid, p->uuid, sizeof(n->uuid));
		for (unsigned i = 0; i < count; i++) {
			low -= (unsigned)sizeof(below);
			memcpy((uint8_t *)n + low, &below, sizeof(below));
			*dmg_item(n, i) = (struct item_disk){ .key.object = put64(i * (uint64_t)1000000), .off = put16((uint16_t)low),
				.len = put16(sizeof(below)) };
		}
		n->low = put16((uint16_t)low);
		d.nodes[0] = (struct dmg_node){ .block = block, .parent = -1, .level = level };
		p->root = (struct ptr_disk){ .block = put64(block), .birth = p->gen };
		p->root_level = (uint8_t)level;
		dmg_seal(&d, 0);
		below = p->root;
	}
	dmg_seal_bitmap(&d);
}

static void k_bitmap(void)
{
	uint8_t *map = dmg_bitmap(&d);

	for (uint64_t n = rng_range(&rng, 1, 10); n--;)
		map[rng_below(&rng, d.nblocks / 8)] ^= (uint8_t)rng_u64(&rng);
	if (rng_one_in(&rng, 4))
		memset(map + JOURNAL_START / 8, 0, d.nblocks / 8 - 100);
	if (!rng_one_in(&rng, 5))
		dmg_seal_bitmap(&d);
}

static void k_super(void)
{
	uint8_t *p = (uint8_t *)dmg_super(&d);

	for (uint64_t n = rng_range(&rng, 1, 3); n--;) {
		uint64_t at = rng_one_in(&rng, 3) ? rng_range(&rng, 1048, 1080) : rng_range(&rng, 96, 312);

		if (at < 104 || at >= 128) /* a newer version is another matter */
			p[at] = (uint8_t)rng_u64(&rng);
	}
	dmg_seal_super(&d);
}

/* The newest one rots in one ring or in both. */
static void k_ring(void)
{
	unsigned which = (unsigned)rng_range(&rng, 1, 3);
	uint64_t b = MIN(d.nblocks, (uint64_t)GROUP_BLOCKS) - RING_BLOCKS;

	if (which & 1)
		dmg_super(&d)->pad1[5] ^= 1;
	if (which & 2)
		((uint8_t *)dmg_block(&d, b + d.slot * SUPER_BLOCKS, 1))[500] ^= 1;
}

/* Bytes of the journal: where the first record is, checksums not made right. */
static void k_journal(void)
{
	uint64_t at = get64(dmg_super(&d)->journal_pos) + rng_below(&rng, 4);

	((uint8_t *)dmg_block(&d, JOURNAL_START + at % 1000, 1))[rng_below(&rng, 200)] ^= (uint8_t)rng_u64(&rng);
}

static const struct kind {
	const char *name;
	void (*fn)(void);
} kinds[] = {
	{ "bytes", k_bytes }, { "flip", k_flip }, { "garbage", k_garbage }, { "swap", k_swap }, { "swap-nodes", k_swap_nodes },
	{ "zero-node", k_zero_node }, { "lost-leaf", k_lost_leaf }, { "node-bytes", k_node_bytes }, { "two-parents", k_two_parents },
	{ "loop", k_loop }, { "pointer", k_pointer }, { "births", k_births }, { "order", k_order }, { "key", k_key },
	{ "extent", k_extent }, { "inode", k_inode }, { "dirent", k_dirent }, { "drop", k_drop }, { "level", k_level },
	{ "tall", k_tall }, { "bitmap", k_bitmap }, { "super", k_super }, { "ring", k_ring }, { "journal", k_journal },
};

/* ---- using it ---- */

static unsigned visits;

static void read_file(uint64_t ino, uint64_t size)
{
	for (uint64_t off = 0; off < MIN(size, 4 * MiB); off += sizeof(buf))
		sim_read(s, ino, off, buf, sizeof(buf));
	if (size > 4 * MiB)
		sim_lseek(s, ino, 4 * MiB, SEEK_DATA);
}

static void walk(uint64_t ino, unsigned depth)
{
	char names[4096], value[4096];
	struct mnode dir = { 0 };
	struct stat st;
	int64_t n;

	if (visits++ > VISITS || sim_getattr(s, ino, &st))
		return;
	n = sim_listxattr(s, ino, names, sizeof(names));
	for (int64_t at = 0; at < n; at += (int64_t)strlen(names + at) + 1)
		sim_getxattr(s, ino, names + at, value, sizeof(value));
	if (S_ISREG(st.st_mode))
		read_file(ino, (uint64_t)st.st_size);
	else if (S_ISLNK(st.st_mode))
		sim_readlink(s, ino, value, sizeof(value));
	else if (S_ISDIR(st.st_mode) && depth < 12)
		sim_readdir(s, ino, 50, &dir);
	for (size_t i = 0; i < dir.nentries; i++) {
		if (sim_lookup(s, ino, dir.entries[i].name, &st) == 0)
			walk(st.st_ino, depth + 1);
	}
	free(dir.entries);
}

static void change_some(void)
{
	struct stat st, in = { .st_size = 5000 };
	struct mnode root = { 0 };
	char name[32];

	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		if (sim_mknod(s, INO_ROOT, name, S_IFREG | 0600, 0, 0, 0, &st) == 0)
			sim_write(s, st.st_ino, i * 700, buf, 3000 * (i + 1), 0);
	}
	sim_readdir(s, INO_ROOT, 50, &root);
	for (size_t i = 0; i < root.nentries; i++) {
		const char *n = root.entries[i].name;

		if (sim_lookup(s, INO_ROOT, n, &st))
			continue;
		switch (rng_below(&rng, 6)) {
		case 0: sim_unlink(s, INO_ROOT, n); break;
		case 1: sim_write(s, st.st_ino, rng_below(&rng, 100000), buf, 9000, 0); break;
		case 2: sim_setattr(s, st.st_ino, SET_SIZE, &in, NULL); break;
		case 3: sim_rename(s, INO_ROOT, n, INO_ROOT, "renamed", 0); break;
		case 4: sim_mkdir(s, st.st_ino, "sub", 0700, 0, 0, &st); break;
		default: sim_rmdir(s, INO_ROOT, n);
		}
	}
	free(root.entries);
	sim_fsync(s, INO_ROOT);
	sim_checkpoint(s);
	sim_run_for(s, 2 * NS_PER_S);
}

/* Gone even if it does not unmount. */
static void unmount(void)
{
	sim_unmount(s);
}

static void use(void)
{
	visits = 0;
	if (sim_mount_ro(s, false) == 0) {
		walk(INO_ROOT, 0);
		unmount();
	}
	if (sim_mount(s)) {
		refused++;
		return;
	}
	if (sim_wait_writable(s) == 0) {
		change_some();
		visits = VISITS - 200;
		walk(INO_ROOT, 0);
	}
	unmount();
}

/* ---- the checker ---- */

static void on_found(void *arg, const char *line)
{
	if (!line[0] || strchr(line, '\n'))
		abort();
	if (verbose)
		fprintf(stderr, "found: %s\n", line);
}

static void read_media(void *arg, struct check_read *reads, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!reads[i].nblocks || !range_fits(reads[i].block, reads[i].nblocks, d.nblocks))
			abort();
		memcpy(reads[i].buf, d.m->mem + reads[i].block * FS_BLOCK, (size_t)reads[i].nblocks * FS_BLOCK);
		reads[i].status = 0;
	}
}

static struct check_source media(void) { return (struct check_source){ .read = read_media, .nblocks = d.nblocks }; }

static int check(struct check_report *rep, bool skip_data)
{
	static uint8_t mem[CHECK_MEM] __attribute__((aligned(4096)));
	struct check_conf conf = { .source = media(), .found = on_found, .mem = mem, .skip_data = skip_data };

	return check_run(&conf, rep);
}

/* ---- repair ---- */

static uint64_t repaired, hopeless, saved, lost;

static int write_media(void *arg, uint64_t block, uint32_t n, const void *data, bool fua)
{
	if (!n || !range_fits(block, n, d.nblocks))
		abort();
	memcpy(dmg_block(&d, block, n), data, (size_t)n * FS_BLOCK);
	return 0;
}

static int flush_media(void *arg) { return 0; }

/* Plans, and writes what is planned. Returns what repair_plan did. */
static int repair_once(struct repair_report *rep, bool commit)
{
	static uint8_t mem[CHECK_MEM] __attribute__((aligned(4096)));
	struct repair_conf conf = { .source = media(), .mem = mem, .found = on_found };
	struct repair *r;
	int err = repair_plan(&r, &conf, rep);

	if (!err && commit && repair_commit(r, write_media, flush_media, NULL))
		abort();
	repair_free(r);
	return err;
}

/* An image that can be repaired is whole then but for data, has nothing more to be repaired, and can be used. */
static void repair(void)
{
	struct repair_report rep, again;
	struct check_report found;
	int r = repair_once(&rep, true);

	if (r) {
		if (verbose)
			fprintf(stderr, "repair: %s\n", err_name(r));
		hopeless++;
		return;
	}
	repaired += rep.safe + rep.other > 0;
	saved += rep.saved;
	lost += rep.lost;
	r = check(&found, false);
	if (r || found.errors != found.data_errors) {
		fprintf(stderr, "damage: not whole after repair (%s, %" PRIu64 " errors, %" PRIu64 " of data)\n", err_name(r),
			found.errors, found.data_errors);
		abort();
	}
	if (repair_once(&again, true) || again.safe + again.other) {
		fprintf(stderr, "damage: repaired twice\n");
		abort();
	}
	use();
	if (check(&found, false) || found.errors != found.data_errors) {
		fprintf(stderr, "damage: not whole after repair and use\n");
		abort();
	}
}

static void one(const struct kind *k)
{
	struct check_report rep;
	int r;

	kind_name = k->name;
	media_push(d.m);
	k->fn();
	r = check(&rep, false);
	if (!r && !rep.errors)
		checked_clean++;
	else
		findings += MAX(rep.errors, 1);
	media_push(d.m);
	use();
	check(&rep, false);
	media_restore(d.m);
	repair();
	media_restore(d.m);
	media_pop(d.m);
	media_restore(d.m);
	media_pop(d.m);
	dmg_open(&d, d.m, s->conf.dev.bytes); /* d.nodes may have changed */
}

/* ---- the run ---- */

static void tell(int signal_number)
{
	char line[200];
	int n = snprintf(line, sizeof(line), "damage: signal %d, kind %s: --seed %" PRIu64 " --images %" PRIu64 "\n", signal_number,
			 kind_name, seed, number + 1);

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static bool wanted(const char *only, unsigned i) { return !only || !strcmp(only, kinds[i].name); }

int main(int argc, char **argv)
{
	static const struct option longs[] = { { "seed", 1, NULL, 's' }, { "images", 1, NULL, 'n' }, { "seconds", 1, NULL, 't' },
		{ "kind", 1, NULL, 'k' }, { "verbose", 0, NULL, 'v' }, { "from", 1, NULL, 'f' }, { 0 } };
	uint64_t images = 96, first = 0;
	time_t begun = time(NULL), end = 0;
	const char *only = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (o) {
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': images = strtoull(optarg, NULL, 0); break;
		case 't': end = begun + atoi(optarg); images = UINT64_MAX; break;
		case 'k': only = optarg; break;
		case 'v': verbose = true; break;
		case 'f': first = strtoull(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	log_init("test_damage", LOG_L_ERROR);
	if (!verbose) /* each image has its own */
		log_to_fd(open("/dev/null", O_WRONLY));
	signal(SIGALRM, tell);
	signal(SIGABRT, tell);
	for (unsigned crashed = 0; crashed < 2; crashed++) {
		make_image(crashed);
		if (dmg_open(&d, sim_dev_media(s->dev), s->conf.dev.bytes))
			must(-EIO, "opening the image");
		for (number = first; number < images && (!end || time(NULL) < begun + (end - begun) * (crashed + 1) / 2); number++) {
			unsigned k = (unsigned)(number % ARRAY_SIZE(kinds));

			rng = (struct rng){ seed * 1000003 + number };
			alarm(120);
			if (wanted(only, k))
				one(&kinds[k]);
		}
		alarm(0);
		sim_free(s);
		printf("damage: seed %" PRIu64 ", %s image: %" PRIu64 " mutations of a tree of %u nodes, %" PRIu64 " findings, %" PRIu64
		       " found whole, %" PRIu64 " not mounted for writing\n", seed, crashed ? "crashed" : "unmounted", number - first, d.n,
		       findings, checked_clean, refused);
		printf("damage: %" PRIu64 " repaired, %" PRIu64 " had nothing left to repair from; %" PRIu64 " inodes saved in lost+found, %"
		       PRIu64 " losses told\n", repaired, hopeless, saved, lost);
		findings = checked_clean = refused = repaired = hopeless = saved = lost = 0;
	}
	printf("damage: %ld s\n", (long)(time(NULL) - begun));
	return 0;
}
