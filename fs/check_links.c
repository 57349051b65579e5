/* SPDX-License-Identifier: Apache-2.0 */
/* What concerns more than one object: names and the inodes they mean, link counts, the one parent of a directory, and
 * that everything hangs on the root. Works on the sorted records of the walk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include "fs/check_impl.h"

#define DEPTH_MAX 2048u         /* names of a path in a message */

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct inode_rec *)a)->ino, y = ((const struct inode_rec *)b)->ino;

	return x < y ? -1 : x > y;
}

static int by_name_ino(const void *a, const void *b)
{
	const struct name_rec *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->dir < y->dir ? -1 : x->dir > y->dir;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static struct inode_rec *inode_find(const struct check *c, uint64_t ino)
{
	struct inode_rec key = { .ino = ino };

	return c->ninodes ? bsearch(&key, c->inodes, c->ninodes, sizeof(key), by_ino) : NULL;
}

/* First name of ino in the sorted names, or nnames. */
static uint64_t name_find(const struct check *c, uint64_t ino)
{
	uint64_t low = 0, high = c->nnames;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (c->names[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool orphan_find(const struct check *c, uint64_t ino)
{
	return c->norphans && bsearch(&ino, c->orphans, c->norphans, sizeof(ino), by_number);
}

static unsigned long long ull(uint64_t v)
{
	return v;
}

/* ---- paths, for messages ---- */

/* Reads a name again from its leaf: the walk keeps only where it is. 0 bytes: it cannot be read. */
static unsigned name_read(struct check *c, const struct name_rec *rec, char name[NAME_BYTES])
{
	struct check_read r = { .block = rec->node, .nblocks = NODE_BLOCKS, .buf = c->spare };
	const struct node_disk *n = r.buf;
	const struct item_disk *it = (const struct item_disk *)(n + 1) + rec->index;
	const struct dirent_disk *d;
	unsigned len;

	c->conf->source.read(c->conf->source.arg, &r, 1);
	if (r.status || rec->index >= get16(n->nitems) || (const uint8_t *)(it + 1) > c->spare + NODE_SIZE ||
	    !range_fits(get16(it->off), get16(it->len), NODE_SIZE) || get16(it->len) < sizeof(*d))
		return 0;
	d = (const struct dirent_disk *)(c->spare + get16(it->off));
	len = d->namelen;
	if (sizeof(*d) + len != get16(it->len))
		return 0;
	for (unsigned i = 0; i < len; i++) {
		uint8_t b = ((const uint8_t *)(d + 1))[i];

		name[i] = b < ' ' || b == 127 ? '?' : (char)b;
	}
	return len;
}

const char *check_path(struct check *c, uint64_t ino, char *buf, size_t len)
{
	char name[NAME_BYTES];
	size_t at = len - 1;

	buf[at] = 0;
	if (!c->names_sorted)
		return "";
	if (ino == INO_ROOT)
		return "/";
	for (unsigned depth = 0; ino != INO_ROOT; depth++) {
		uint64_t i = name_find(c, ino);
		unsigned n;

		if (depth == DEPTH_MAX || i == c->nnames || c->names[i].ino != ino)
			return "";
		n = name_read(c, &c->names[i], name);
		if (!n || n + 1 > at)
			return "";
		at -= n;
		memcpy(buf + at, name, n);
		buf[--at] = '/';
		ino = c->names[i].dir;
	}
	return buf + at;
}

static const char *name_text(struct check *c, const struct name_rec *rec, char text[NAME_BYTES + 1])
{
	text[name_read(c, rec, text)] = 0;
	return text;
}

/* ---- names against inodes ---- */

static void name_check(struct check *c, const struct name_rec *rec)
{
	struct inode_rec *in = inode_find(c, rec->ino), *dir;
	char text[NAME_BYTES + 1];

	if (!in) {
		if (!c->rep->incomplete)
			check_say(c, rec->dir, "directory entry '%s' means inode %llu, which does not exist",
				  name_text(c, rec, text), ull(rec->ino));
		return;
	}
	in->names++;
	if (rec->dtype != IFTODT(in->mode))
		check_say(c, rec->dir, "directory entry '%s' says type %u, inode %llu is of type %u",
			  name_text(c, rec, text), rec->dtype, ull(rec->ino), IFTODT(in->mode));
	if (!S_ISDIR(in->mode))
		return;
	dir = inode_find(c, rec->dir);
	if (dir)
		dir->subdirs++;
	if (in->parent != rec->dir)
		check_say(c, rec->ino, "the directory says its parent is %llu, but its name is in %llu",
			  ull(in->parent), ull(rec->dir));
}

static void directory_links(struct check *c, const struct inode_rec *in)
{
	bool root = in->ino == INO_ROOT;

	if (root && in->names)
		check_say(c, in->ino, "the root directory has a name");
	if (in->names > 1)
		check_say(c, in->ino, "the directory has %u names", in->names);
	if (root && in->parent != INO_ROOT)
		check_say(c, in->ino, "the root directory's parent is %llu", ull(in->parent));
	if (in->nlink && in->nlink != 2 + in->subdirs)
		check_say(c, in->ino, "link count is %u, should be %u", in->nlink, 2 + in->subdirs);
	if (!in->nlink && (in->names || root))
		check_say(c, in->ino, "link count is 0, but the directory is in use");
}

static void inode_links(struct check *c, const struct inode_rec *in)
{
	bool orphan = orphan_find(c, in->ino);

	if ((in->nlink == 0 || in->truncate) && !orphan)
		check_say(c, in->ino, in->nlink ? "is to be truncated, but has no ORPHAN item" :
			  "link count is 0, but there is no ORPHAN item");
	if (in->nlink && !in->truncate && orphan)
		check_say(c, in->ino, "has an ORPHAN item, but its link count is %u", in->nlink);
	if (c->rep->incomplete)
		return;
	if (S_ISDIR(in->mode))
		directory_links(c, in);
	else if (in->nlink != in->names)
		check_say(c, in->ino, "link count is %u, %u name%s found", in->nlink, in->names,
			  in->names == 1 ? " was" : "s were");
}

static void orphans_check(struct check *c)
{
	for (uint64_t i = 0; i < c->norphans; i++) {
		if (!inode_find(c, c->orphans[i]) && !c->rep->incomplete)
			check_say(c, 0, "ORPHAN item of inode %llu, which does not exist", ull(c->orphans[i]));
	}
}

/* ---- reachability ---- */

/* The directory that holds in's first name; NULL at the end of the chain. */
static struct inode_rec *up(const struct check *c, const struct inode_rec *in)
{
	uint64_t i = name_find(c, in->ino);

	return i < c->nnames && c->names[i].ino == in->ino ? inode_find(c, c->names[i].dir) : NULL;
}

/* Goes up until something of known fate, twice: to learn the fate, then to write it to all that were passed. */
static void reach(const struct check *c, struct inode_rec *in)
{
	struct inode_rec *p = in;
	bool reached;

	while (p && !p->visited) {
		p->visited = true;
		p->reached = p->ino == INO_ROOT;
		if (p->reached)
			break;
		p = up(c, p);
	}
	/* Passed ones are unreached so far: a cycle ends here on one of them, with the right answer. */
	reached = p && p->reached;
	for (p = in; reached && p && !p->reached; p = up(c, p))
		p->reached = true;
}

static void reach_check(struct check *c)
{
	for (uint64_t i = 0; i < c->ninodes; i++) {
		struct inode_rec *in = &c->inodes[i];

		if (!in->visited)
			reach(c, in);
		if (in->reached || in->nlink == 0)
			continue;
		if (!up(c, in))
			check_say(c, in->ino, "%s without a name", S_ISDIR(in->mode) ? "directory" : "inode");
		else if (S_ISDIR(in->mode))
			check_say(c, in->ino, "directory not reachable from the root");
	}
}

static void doubles_check(struct check *c)
{
	for (uint64_t i = 1; i < c->ninodes; i++) {
		if (c->inodes[i].ino == c->inodes[i - 1].ino)
			check_say(c, c->inodes[i].ino, "the inode is there twice");
	}
}

void check_links(struct check *c)
{
	if (c->ninodes)
		qsort(c->inodes, c->ninodes, sizeof(*c->inodes), by_ino);
	if (c->nnames)
		qsort(c->names, c->nnames, sizeof(*c->names), by_name_ino);
	if (c->norphans)
		qsort(c->orphans, c->norphans, sizeof(*c->orphans), by_number);
	c->names_sorted = true;
	doubles_check(c);
	for (uint64_t i = 0; i < c->nnames && !check_stop(c); i++)
		name_check(c, &c->names[i]);
	for (uint64_t i = 0; i < c->ninodes && !check_stop(c); i++)
		inode_links(c, &c->inodes[i]);
	orphans_check(c);
	if (c->rep->incomplete || check_stop(c))
		return;
	reach_check(c);
	if (!inode_find(c, INO_ROOT))
		check_say(c, 0, "there is no root directory");
	if (c->ninodes != get64(c->super.inodes))
		check_say(c, 0, "superblock: %llu inodes, %llu were found", ull(get64(c->super.inodes)),
			  ull(c->ninodes));
}
