/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of repair: which superblock counts, the steps, and writing the result in the one order that is safe. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fs/alloc_core.h"
#include "fs/repair_impl.h"
#include "fs/super.h"

void repair_say(struct repair *r, enum how how, uint64_t ino, const char *format, ...)
{
	char text[1024], path[PATH_BYTES], line[PATH_BYTES + 1100];
	const char *at;
	va_list args;

	if (how == SAFE)
		r->rep->safe++;
	else
		r->rep->other++;
	r->tree |= how != SAFE;
	r->rep->lost += how == LOST;
	if (!r->conf->found || r->rep->safe + r->rep->other > CHECK_LINES)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p; p++) /* names are bytes */
		*p = (unsigned char)*p < ' ' || *p == 127 ? '?' : *p;
	at = ino ? check_path(&r->c, ino, path, sizeof(path)) : "";
	if (ino)
		snprintf(line, sizeof(line), "inode %llu%s%s%s: %s", (unsigned long long)ino, *at ? " (" : "", at, *at ? ")" : "", text);
	else
		snprintf(line, sizeof(line), "%s", text);
	r->conf->found(r->conf->arg, line);
}

void *repair_add(struct repair *r, struct array *a, size_t size)
{
	if (a->n == a->cap) {
		uint64_t cap = a->cap ? a->cap * 2 : 256;
		void *p = r->error || cap > UINT32_MAX ? NULL : realloc(a->p, cap * size);

		if (!p) {
			r->error = r->error ? r->error : -ENOMEM;
			return NULL;
		}
		a->p = p;
		a->cap = cap;
	}
	memset((uint8_t *)a->p + a->n * size, 0, size);
	return (uint8_t *)a->p + a->n++ * size;
}

const uint8_t *repair_keep(struct repair *r, const void *data, size_t len)
{
	uint8_t **to = repair_add(r, &r->mems, sizeof(*to)), *copy = to ? malloc(MAX(len, 1)) : NULL;

	if (!copy) {
		r->error = -ENOMEM;
		return NULL;
	}
	memcpy(copy, data, len);
	*to = copy;
	return copy;
}

struct write {
	uint64_t block;
	uint32_t n;
};

int repair_write(struct repair *r, uint64_t block, uint32_t n, const void *data)
{
	struct write *to = repair_add(r, &r->writes, sizeof(*to));

	if (!to)
		return r->error;
	*to = (struct write){ block, n };
	r->error = check_overlay_write(r->overlay, block, n, data);
	return r->error;
}

/* ---- superblocks ---- */

struct choice {
	struct super_disk super, best[2];       /* of both, of each ring */
	unsigned slot;
	uint64_t newest[2];     /* generation of the newest good one in each ring; 0: none */
};

static int ring_read(struct repair *r, unsigned ring, uint64_t block, struct choice *c)
{
	static const uint8_t zeros[SUPER_BLOCKS * FS_BLOCK];
	const struct super_disk *s = r->conf->mem;
	struct check_read read = { .block = block, .nblocks = RING_BLOCKS, .buf = r->conf->mem };
	int newer = 0;

	r->source.read(r->source.arg, &read, 1);
	for (unsigned i = 0; !read.status && i < RING_SLOTS; i++) {
		int err = super_check(&s[i], r->conf->source.nblocks);

		if (err == -E_NEWER)
			newer = err;
		if (err == -E_BAD_SUPER) { /* a right checksum, and nonsense: must not be found again */
			r->erase[ring][i] = true;
			if (check_overlay_write(r->overlay, block + i * SUPER_BLOCKS, SUPER_BLOCKS, zeros))
				return -ENOMEM;
			repair_say(r, SAFE, 0, "superblock %u of ring %c makes no sense: erased", i, 'A' + ring);
		}
		if (err)
			continue;
		if (get64(s[i].gen) > get64(c->super.gen)) {
			c->super = s[i];
			c->slot = i;
		}
		if (get64(s[i].gen) > c->newest[ring])
			c->best[ring] = s[i];
		c->newest[ring] = MAX(c->newest[ring], get64(s[i].gen));
	}
	return newer;
}

static int super_choose(struct repair *r)
{
	struct choice c = { .slot = 0 };
	struct layout l;
	int err;

	if (r->conf->source.nblocks < MIN_BLOCKS)
		return -E_NOT_NVOFS;
	err = ring_read(r, 0, RING_A, &c);
	layout_of(c.newest[0] ? get64(c.super.nblocks) : r->conf->source.nblocks, &l);
	if (!err)
		err = ring_read(r, 1, l.ring_b, &c);
	if (err)
		return err;
	if (!get64(c.super.gen))
		return -E_BAD_SUPER;
	for (unsigned i = 0; i < 2; i++)
		if (c.newest[i] < get64(c.super.gen) && (!i || !c.newest[i])) /* B lags behind after a crash */
			repair_say(r, SAFE, 0, "superblock ring %c gets generation %llu from the other one", 'A' + i,
				   (unsigned long long)get64(c.super.gen));
	if (c.newest[0] == c.newest[1] && memcmp(&c.best[0], &c.best[1], sizeof(c.best[0])))
		repair_say(r, SAFE, 0, "superblocks of generation %llu in ring A and ring B differ: the one in ring A counts",
			   (unsigned long long)c.newest[0]);
	r->super = c.super;
	r->gen = get64(c.super.gen) + 3; /* births of a dead session are below */
	r->watermark = MIN(MAX(get64(c.super.ino_watermark), INO_FIRST), INO_LAST);
	r->slot = (c.slot + 1) % RING_SLOTS;
	return 0;
}

/* Births up to two generations above the superblock may be on the device (a dead session's). */
static void super_next(struct repair *r)
{
	struct super_disk *s = &r->super;
	struct layout l;
	size_t n = strnlen(s->label, sizeof(s->label));

	layout_of(get64(s->nblocks), &l);
	if (get64(s->newest_snapshot))
		repair_say(r, OTHER, 0, "superblock: it names a snapshot, which there is not");
	for (size_t i = n; i < sizeof(s->label); i++)
		if (s->label[i]) {
			repair_say(r, SAFE, 0, "superblock: the label is padded with zeros");
			memset(s->label + n, 0, sizeof(s->label) - n);
		}
	s->newest_snapshot = put64(0);
	s->gen = s->safe_gen = put64(r->gen);
	s->epoch = put64(get64(s->epoch) + 1); /* no record of the old journal continues it */
	s->journal_pos = put64(0);
	s->state = put32(SUPER_CLEAN);
	super_seal(s);
}

static void supers_overlay(struct repair *r)
{
	uint64_t rings[2] = { RING_A, get64(r->super.ring_b) };

	for (unsigned i = 0; i < 2 && !r->error; i++)
		r->error = check_overlay_write(r->overlay, rings[i] + r->slot * SUPER_BLOCKS, SUPER_BLOCKS, &r->super);
}

/* ---- steps ---- */

static int make(struct repair *r)
{
	int err = super_choose(r);

	if (!err)
		err = repair_collect(r);
	if (err)
		return err;
	r->live = calloc(r->c.ngroups, sizeof(*r->live));
	r->busy = calloc(r->c.ngroups, sizeof(*r->busy));
	if (!r->live || !r->busy)
		return -ENOMEM;
	for (uint64_t i = 0; i < r->nodes.n; i++)
		repair_take(r, r->busy, ((const uint64_t *)r->nodes.p)[i], NODE_BLOCKS);
	repair_judge(r);
	if (!r->error)
		repair_names(r);
	if (!r->error)
		repair_build(r);
	if (!r->error)
		repair_alloc(r);
	if (!r->error)
		super_next(r);
	if (!r->error && r->rep->safe + r->rep->other)
		supers_overlay(r);
	return r->error ? r->error : r->c.fatal;
}

int repair_plan(struct repair **out, const struct repair_conf *conf, struct repair_report *report)
{
	struct repair *r = calloc(1, sizeof(*r));
	struct check_source base = conf->source;
	int err;

	*out = r;
	memset(report, 0, sizeof(*report));
	if (!r)
		return -ENOMEM;
	r->conf = conf;
	r->rep = report;
	err = check_overlay_new(&r->overlay);
	if (err)
		return err;
	r->source = check_overlay_source(r->overlay, &base);
	r->check_conf = (struct check_conf){ .source = r->source, .mem = conf->mem, .skip_data = true, .cancel = conf->cancel };
	err = make(r);
	for (uint64_t i = 0; i < r->writes.n; i++)
		report->blocks += ((const struct write *)r->writes.p)[i].n;
	return err;
}

struct check_source repair_source(struct repair *r)
{
	return r->source;
}

/* One write of the plan, from the overlay. */
static int write_out(struct repair *r, const struct write *w, int (*write)(void *, uint64_t, uint32_t, const void *, bool),
		     void *arg)
{
	struct check_read read = { .block = w->block, .nblocks = w->n, .buf = r->conf->mem };

	r->source.read(r->source.arg, &read, 1);
	return read.status ? read.status : write(arg, w->block, w->n, read.buf, false);
}

int repair_commit(struct repair *r, int (*write)(void *, uint64_t, uint32_t, const void *, bool), int (*flush)(void *), void *arg)
{
	static const uint8_t zeros[SUPER_BLOCKS * FS_BLOCK];
	uint64_t rings[2] = { RING_A, get64(r->super.ring_b) };
	int err = 0;

	if (!(r->rep->safe + r->rep->other))
		return 0;
	for (uint64_t i = 0; i < r->writes.n && !err; i++)
		err = write_out(r, (struct write *)r->writes.p + i, write, arg);
	if (!err)
		err = flush(arg);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = write(arg, rings[i] + r->slot * SUPER_BLOCKS, SUPER_BLOCKS, &r->super, true);
	for (unsigned i = 0; i < 2 * RING_SLOTS && !err; i++)
		if (r->erase[i / RING_SLOTS][i % RING_SLOTS] && i % RING_SLOTS != r->slot)
			err = write(arg, rings[i / RING_SLOTS] + i % RING_SLOTS * SUPER_BLOCKS, SUPER_BLOCKS, zeros, true);
	return err;
}

void repair_free(struct repair *r)
{
	struct array *arrays[] = { &r->refs, &r->inos, &r->names, &r->lost, &r->nodes, &r->writes, &r->mems, &r->orphans };

	if (!r)
		return;
	for (uint64_t g = 0; r->live && r->busy && g < r->c.ngroups; g++) {
		free(r->live[g]);
		free(r->busy[g]);
	}
	free(r->live);
	free(r->busy);
	for (uint64_t i = 0; i < r->mems.n; i++)
		free(((void **)r->mems.p)[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(arrays); i++)
		free(arrays[i]->p);
	for (unsigned i = 0; i < LEVELS_MAX; i++)
		free(r->level[i].node);
	for (unsigned i = 0; i < REPAIR_CACHE; i++)
		free(r->cache[i].data);
	check_close(&r->c);
	check_overlay_free(r->overlay);
	free(r);
}
