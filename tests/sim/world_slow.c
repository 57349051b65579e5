/* SPDX-License-Identifier: Apache-2.0 */
/* Reads that take their time while the file is changed, truncated, deleted and its blocks are used again (world.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "tests/sim/world.h"

static void see(struct slow_read *s, const struct model *m)
{
	s->seen = realloc(s->seen, (s->nseen + 1) * sizeof(*s->seen));
	model_copy(&s->seen[s->nseen++], m);
}

static void forget(struct slow_read *s)
{
	for (size_t i = 0; i < s->nseen; i++)
		model_exit(&s->seen[i]);
	free(s->seen);
	*s = (struct slow_read){0};
}

static int wrong(struct world *w, const struct slow_read *s, const char *what, uint64_t at)
{
	fprintf(stderr, "step %" PRIu64 ": slow read of inode %" PRIu64 ", %u bytes at %" PRIu64 ": %s (%" PRIu64 ")\n", w->steps,
		s->ino, s->len, s->off, what, at);
	return -1;
}

/* Did the file ever have these bytes there? Bytes beyond a size of then do not count as different. */
static bool ever(const struct slow_read *s, uint64_t off, const uint8_t *bytes, uint32_t len)
{
	uint8_t then[MPAGE];

	for (size_t i = 0; i < s->nseen; i++) {
		const struct mnode *n = model_get(&s->seen[i], s->ino);

		if (!n)
			continue;
		model_read(n, off, then, len);
		if (memcmp(then, bytes, len) == 0)
			return true;
	}
	return false;
}

static bool length_possible(const struct slow_read *s, uint64_t got)
{
	for (size_t i = 0; i < s->nseen; i++) {
		const struct mnode *n = model_get(&s->seen[i], s->ino);

		if (n && got == (s->off >= n->size ? 0 : MIN(n->size - s->off, (uint64_t)s->len)))
			return true;
	}
	return false;
}

static int judge(struct world *w, struct slow_read *s)
{
	uint8_t *buf = w->buf2;
	uint64_t got = 0;
	int r = s->call.status;

	if (r == -ENOENT && !model_get(&s->seen[s->nseen - 1], s->ino))
		return 0;
	if (r && (w->tolerant && err_errno(r) == -EIO))
		return 0;
	if (r)
		return wrong(w, s, err_name(r), 0);
	for (unsigned i = 0; i < s->call.op->niov; i++) {
		memcpy(buf + got, s->call.op->iov[i].iov_base, s->call.op->iov[i].iov_len);
		got += s->call.op->iov[i].iov_len;
	}
	if (!length_possible(s, got))
		return wrong(w, s, "never had this length", got);
	for (uint64_t at = 0; at < got;) {
		uint32_t n = (uint32_t)MIN(got - at, MPAGE - (s->off + at) % MPAGE);

		if (!ever(s, s->off + at, buf + at, n))
			return wrong(w, s, "never held these bytes at", s->off + at);
		at += n;
	}
	return 0;
}

static int end(struct world *w, struct slow_read *s)
{
	int r = judge(w, s);

	sim_end(w->s, &s->call);
	forget(s);
	return r;
}

/* After a step: the ones under way saw another state; those that are done are judged. */
int world_slow_step(struct world *w)
{
	int r = 0;

	for (unsigned i = 0; i < WORLD_SLOW; i++) {
		struct slow_read *s = &w->slow[i];

		if (!s->call.op)
			continue;
		if (w->changed)
			see(s, &w->m);
		if (s->call.done && end(w, s))
			r = -1;
	}
	return r;
}

void world_slow_start(struct world *w, uint64_t ino, uint64_t off, uint32_t len)
{
	struct slow_read *s = &w->slow[rng_below(&w->rng, WORLD_SLOW)];

	if (s->call.op || !ino)
		return;
	s->ino = ino;
	s->off = off;
	s->len = len;
	see(s, &w->m);
	sim_call_init(w->s, &s->call, fs_read);
	s->call.op->ino = ino;
	s->call.op->off = off;
	s->call.op->len = len;
	sim_start(w->s, &s->call);
}

int world_finish_slow(struct world *w)
{
	int r = 0;

	for (unsigned i = 0; i < WORLD_SLOW; i++)
		if (w->slow[i].call.op) {
			sim_finish(w->s, &w->slow[i].call);
			if (end(w, &w->slow[i]))
				r = -1;
		}
	return r;
}

void world_drop_slow(struct world *w)
{
	for (unsigned i = 0; i < WORLD_SLOW; i++)
		forget(&w->slow[i]);
}
