/* SPDX-License-Identifier: Apache-2.0 */
/* Reads everything that a mounted file system says of itself into a model. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/sim/sim_fs.h"

#define CHUNK (256 * KiB)

static int load_contents(struct sim *s, struct mnode *n)
{
	static uint8_t buf[CHUNK];

	for (uint64_t off = 0; off < n->size && n->ino != s->skip;) {
		uint32_t len = (uint32_t)MIN(n->size - off, CHUNK);
		int64_t r;

		if (n->size > 64 * MiB) { /* sparse: only where there is something */
			int64_t data = sim_lseek(s, n->ino, off, SEEK_DATA);

			if (data == -ENXIO)
				return 0;
			if (data < 0)
				return (int)data;
			off = (uint64_t)data / MPAGE * MPAGE;
			len = (uint32_t)MIN(n->size - off, CHUNK);
		}
		r = sim_read(s, n->ino, off, buf, len);
		if (r < 0)
			return (int)r;
		if (r != len) {
			fprintf(stderr, "sim: inode %" PRIu64 ": read %" PRId64 " of %u bytes at %" PRIu64 "\n", n->ino, r, len, off);
			return -E_BAD_ITEM;
		}
		memset(buf + len, 0, ROUND_UP(len, MPAGE) - len);
		for (uint32_t at = 0; at < len; at += MPAGE)
			model_set_page(n, (off + at) / MPAGE, buf + at);
		off += len;
	}
	return 0;
}

static int load_xattrs(struct sim *s, struct model *m, uint64_t ino)
{
	char names[65536], value[65536];
	int64_t len = sim_listxattr(s, ino, names, sizeof(names));

	if (len < 0)
		return (int)len;
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		int64_t n = sim_getxattr(s, ino, name, value, sizeof(value));

		if (n < 0)
			return (int)n;
		model_setxattr(m, ino, name, value, (uint32_t)n, 0);
	}
	model_edit(m, ino)->stamped = 0;
	return 0;
}

static void load_attr(struct mnode *n, const struct stat *st)
{
	n->mode = st->st_mode;
	n->uid = st->st_uid;
	n->gid = st->st_gid;
	n->nlink = (uint32_t)st->st_nlink;
	n->rdev = st->st_rdev;
	n->size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size;
	n->atime = st->st_atim;
	n->mtime = st->st_mtim;
	n->ctime = st->st_ctim;
}

static int load_node(struct sim *s, struct model *m, uint64_t ino, uint64_t parent)
{
	struct mnode *n = model_add(m, ino);
	struct stat st;
	int r = sim_getattr(s, ino, &st);

	if (r)
		return r;
	assert(st.st_ino == ino);
	load_attr(n, &st);
	n->parent = S_ISDIR(n->mode) ? parent : 0;
	r = load_xattrs(s, m, ino);
	if (r == 0 && S_ISREG(n->mode))
		r = load_contents(s, n);
	if (r == 0 && S_ISLNK(n->mode)) {
		n->target = calloc(1, 4200);
		assert(n->target);
		r = sim_readlink(s, ino, n->target, 4200);
	}
	if (r || !S_ISDIR(n->mode))
		return r;
	r = sim_readdir(s, ino, (unsigned)rng_range(&s->rng, 1, 40), n);
	for (size_t i = 0; r == 0 && i < n->nentries; i++) {
		/* the number by name must be the one that readdir told */
		r = sim_lookup(s, ino, n->entries[i].name, &st);
		if (r == 0 && st.st_ino != n->entries[i].ino)
			r = -E_BAD_ITEM;
		if (r == 0 && !model_get(m, st.st_ino))
			r = load_node(s, m, st.st_ino, ino);
		n = model_edit(m, ino);
	}
	return r;
}

int sim_load(struct sim *s, struct model *m)
{
	int r;

	model_init_empty(m);
	r = load_node(s, m, INO_ROOT, INO_ROOT);
	if (r && !s->quiet)
		fprintf(stderr, "sim: reading the tree: %s\n", err_name(r));
	return r;
}
