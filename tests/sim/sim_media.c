/* SPDX-License-Identifier: Apache-2.0 */
/* The medium (sim_media.h). One mapping without reserve, so that a large device costs what is written to it. */
#include "tests/sim/sim_media.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/num.h"

static void *grown(void *p, size_t *cap, size_t n, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 64;
	p = realloc(p, *cap * size);
	assert(p);
	return p;
}

static struct vlog *vlog_new(void)
{
	struct vlog *log = calloc(1, sizeof(*log));

	assert(log);
	log->refs = 1;
	return log;
}

static void vlog_put(struct vlog *log)
{
	if (--log->refs)
		return;
	free(log->entries);
	free(log->old);
	free(log);
}

/* The log, to be changed: a copy of its own if a snapshot holds it too. */
static struct vlog *vlog_own(struct media *m)
{
	struct vlog *from = m->log, *log;

	if (from->refs == 1)
		return from;
	log = vlog_new();
	log->n = log->cap = from->n;
	if (from->n) {
		log->entries = malloc(from->n * sizeof(*log->entries));
		log->old = malloc(from->n * m->lba_size);
		assert(log->entries && log->old);
		memcpy(log->entries, from->entries, from->n * sizeof(*log->entries));
		memcpy(log->old, from->old, from->n * m->lba_size);
	}
	from->refs--;
	return m->log = log;
}

static void vlog_add(struct media *m, uint64_t lba, uint64_t cmd)
{
	struct vlog *log = vlog_own(m);

	if (log->n == log->cap) {
		log->entries = grown(log->entries, &log->cap, log->n, sizeof(*log->entries));
		log->old = realloc(log->old, log->cap * m->lba_size);
		assert(log->old);
	}
	log->entries[log->n] = (struct vlog_entry){.lba = lba, .cmd = cmd};
	memcpy(log->old + log->n * m->lba_size, m->mem + lba * m->lba_size, m->lba_size);
	log->n++;
}

/* A small set of LBAs. */
struct lba_set {
	uint64_t *slots;
	size_t mask;
};

static void set_init(struct lba_set *s, size_t n)
{
	s->mask = 15;
	while (s->mask < 2 * n)
		s->mask = s->mask * 2 + 1;
	s->slots = malloc((s->mask + 1) * sizeof(uint64_t));
	assert(s->slots);
	memset(s->slots, 0xff, (s->mask + 1) * sizeof(uint64_t));
}

static uint64_t *set_find(struct lba_set *s, uint64_t lba)
{
	size_t i = (lba * 0x9e3779b97f4a7c15ull >> 20) & s->mask;

	while (s->slots[i] != UINT64_MAX && s->slots[i] != lba)
		i = (i + 1) & s->mask;
	return &s->slots[i];
}

static bool set_has(struct lba_set *s, uint64_t lba) { return *set_find(s, lba) == lba; }
static void set_add(struct lba_set *s, uint64_t lba) { *set_find(s, lba) = lba; }

void media_init(struct media *m, uint64_t bytes, uint32_t lba_size)
{
	*m = (struct media){.bytes = bytes, .lba_size = lba_size, .log = vlog_new()};
	m->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert(m->mem != MAP_FAILED);
	m->page_hash = calloc(bytes / MEDIA_PAGE + 1, sizeof(uint64_t)); /* a page never written counts 0 */
	m->stale = calloc(bytes / MEDIA_PAGE / 64 + 1, sizeof(uint64_t));
	assert(m->page_hash && m->stale);
}

void media_exit(struct media *m)
{
	while (m->nlevels)
		media_pop(m);
	vlog_put(m->log);
	munmap(m->mem, m->bytes);
	free(m->page_hash);
	free(m->stale);
	free(m->stale_pages);
}

static void mark_stale(struct media *m, uint64_t page)
{
	if (m->stale[page / 64] >> page % 64 & 1)
		return;
	m->stale[page / 64] |= 1ull << page % 64;
	m->stale_pages = grown(m->stale_pages, &m->stale_cap, m->nstale, sizeof(*m->stale_pages));
	m->stale_pages[m->nstale++] = page;
}

/* Four lanes, so that the multiplications overlap. All zeros give 0, as if the page had never been written. */
static uint64_t hash_page(uint64_t page, const uint8_t *mem)
{
	uint64_t lane[4] = {0}, word[4], any = 0, h = page;

	for (size_t i = 0; i < MEDIA_PAGE; i += sizeof(word)) {
		memcpy(word, mem + i, sizeof(word));
		for (unsigned k = 0; k < 4; k++) {
			any |= word[k];
			lane[k] = (lane[k] ^ word[k]) * 0x9fb21c651e98df25ull;
			lane[k] ^= lane[k] >> 29;
		}
	}
	for (unsigned k = 0; k < 4; k++)
		h = (h ^ lane[k] ^ h >> 31) * 0xd6e8feb86659fd93ull + k;
	return any ? h ^ h >> 32 : 0;
}

uint64_t media_hash(struct media *m)
{
	while (m->nstale) {
		uint64_t page = m->stale_pages[--m->nstale];

		m->stale[page / 64] &= ~(1ull << page % 64);
		m->hash -= m->page_hash[page];
		m->page_hash[page] = hash_page(page, m->mem + page * MEDIA_PAGE);
		m->hash += m->page_hash[page];
	}
	return m->hash;
}

/* Whoever changes [from, from+len) says so before: saves its pages for the newest snapshot. */
static void touch(struct media *m, uint64_t from, uint64_t len)
{
	struct media_level *l;

	for (uint64_t page = from / MEDIA_PAGE; page <= (from + len - 1) / MEDIA_PAGE; page++)
		mark_stale(m, page);
	if (!m->nlevels)
		return;
	l = &m->levels[m->nlevels - 1];
	for (uint64_t page = from / MEDIA_PAGE; page <= (from + len - 1) / MEDIA_PAGE; page++) {
		if (l->saved[page / 64] >> page % 64 & 1)
			continue;
		l->saved[page / 64] |= 1ull << page % 64;
		if (l->n == l->cap) {
			l->pages = grown(l->pages, &l->cap, l->n, sizeof(*l->pages));
			l->old = realloc(l->old, l->cap * MEDIA_PAGE);
			assert(l->old);
		}
		l->pages[l->n] = page;
		memcpy(l->old + l->n++ * MEDIA_PAGE, m->mem + page * MEDIA_PAGE, MEDIA_PAGE);
	}
}

/* Entries that drop says go, in place. */
static void vlog_filter(struct media *m, bool (*drop)(void *arg, const struct vlog_entry *), void *arg)
{
	struct vlog *log = vlog_own(m);
	size_t kept = log->n;

	/* Newest first, so that drop can say "older ones of this LBA too"; survivors are packed at the end. */
	for (size_t i = log->n; i-- > 0;) {
		if (drop(arg, &log->entries[i]))
			continue;
		kept--;
		log->entries[kept] = log->entries[i];
		if (kept != i)
			memcpy(log->old + kept * m->lba_size, log->old + i * m->lba_size, m->lba_size);
	}
	memmove(log->entries, log->entries + kept, (log->n - kept) * sizeof(*log->entries));
	memmove(log->old, log->old + kept * m->lba_size, (log->n - kept) * m->lba_size);
	log->n -= kept;
}

struct lba_span {
	uint64_t first, last;
};

static bool in_span(void *arg, const struct vlog_entry *e)
{
	const struct lba_span *s = arg;

	return e->lba >= s->first && e->lba <= s->last;
}

void media_write(struct media *m, uint64_t lba, uint32_t nlb, const void *data, bool volatile_, uint64_t cmd)
{
	uint64_t from = lba * m->lba_size, len = (uint64_t)nlb * m->lba_size;
	struct lba_span span = {lba, lba + nlb - 1};

	assert(nlb && from + len <= m->bytes);
	for (uint32_t i = 0; volatile_ && i < nlb; i++)
		vlog_add(m, lba + i, cmd);
	touch(m, from, len);
	if (data)
		memcpy(m->mem + from, data, len);
	else
		memset(m->mem + from, 0, len);
	if (!volatile_ && m->log->n)
		vlog_filter(m, in_span, &span);
}

void media_completed(struct media *m, uint64_t cmd, uint64_t stamp)
{
	size_t i = m->log->n;

	while (i > 0 && m->log->entries[i - 1].cmd > cmd) /* numbers grow in the order of execution */
		i--;
	if (i == 0 || m->log->entries[i - 1].cmd != cmd)
		return;
	for (struct vlog *log = vlog_own(m); i > 0 && log->entries[i - 1].cmd == cmd; i--)
		log->entries[i - 1].done = stamp;
}

struct flush {
	uint64_t stamp;
	struct lba_set durable;
};

static bool flushed(void *arg, const struct vlog_entry *e)
{
	struct flush *f = arg;

	if (e->done && e->done <= f->stamp)
		set_add(&f->durable, e->lba); /* this version is durable, so none before it can come back */
	return set_has(&f->durable, e->lba);
}

void media_flush(struct media *m, uint64_t stamp)
{
	struct flush f = {.stamp = stamp};

	if (!m->log->n)
		return;
	set_init(&f.durable, m->log->n);
	vlog_filter(m, flushed, &f);
	free(f.durable.slots);
}

/* One command of the log, by chance. */
static uint64_t some_command(const struct vlog *log, struct rng *rng)
{
	return log->entries[rng_below(rng, log->n)].cmd;
}

static bool command_lost(uint64_t cmd, uint64_t salt, unsigned percent)
{
	struct rng r = {cmd * 0x2545f4914f6cdd1dull ^ salt};

	return rng_below(&r, 100) < percent;
}

void media_cut(struct media *m, enum media_keep keep, struct rng *rng)
{
	struct vlog *log = m->log;
	uint64_t one = 0, salt = rng_u64(rng);
	static const uint8_t percents[] = {5, 25, 50, 75, 95};
	unsigned percent = percents[rng_below(rng, sizeof(percents))];
	struct lba_set settled;

	set_init(&settled, log->n);
	if (log->n)
		one = some_command(log, rng);
	for (size_t i = log->n; i-- > 0;) { /* newest first: an LBA is taken back until a version of it is kept */
		const struct vlog_entry *e = &log->entries[i];
		bool lost = keep == KEEP_NONE || (keep == KEEP_LBAS && rng_below(rng, 100) < percent) ||
			    (keep == KEEP_COMMANDS && command_lost(e->cmd, salt, percent)) ||
			    (keep == KEEP_BUT_ONE && e->cmd == one) || (keep == KEEP_ONLY_ONE && e->cmd != one);

		if (set_has(&settled, e->lba))
			continue;
		if (!lost) {
			set_add(&settled, e->lba);
			continue;
		}
		touch(m, e->lba * m->lba_size, m->lba_size);
		memcpy(m->mem + e->lba * m->lba_size, log->old + i * m->lba_size, m->lba_size);
	}
	free(settled.slots);
	m->log = vlog_new();
	vlog_put(log);
}

const uint8_t *media_at(const struct media *m, uint64_t lba)
{
	return m->mem + lba * m->lba_size;
}

void media_read_old(const struct media *m, uint64_t lba, uint32_t nlb, void *out)
{
	uint64_t from = lba * m->lba_size, end = from + (uint64_t)nlb * m->lba_size;

	memcpy(out, m->mem + from, end - from);
	for (unsigned level = m->nlevels; level-- > 0;) { /* older copies over newer ones */
		const struct media_level *l = &m->levels[level];

		for (size_t i = 0; i < l->n; i++) {
			uint64_t page = l->pages[i] * MEDIA_PAGE;
			uint64_t low = MAX(page, from), high = MIN(page + MEDIA_PAGE, end);

			if (low < high)
				memcpy((uint8_t *)out + (low - from), l->old + i * MEDIA_PAGE + (low - page), high - low);
		}
	}
}

uint8_t *media_poke(struct media *m, uint64_t lba)
{
	touch(m, lba * m->lba_size, m->lba_size);
	return m->mem + lba * m->lba_size;
}

uint64_t media_unflushed(const struct media *m)
{
	return m->log->n;
}

void media_push(struct media *m)
{
	struct media_level *l = &m->levels[m->nlevels++];

	assert(m->nlevels <= MEDIA_LEVELS);
	if (!l->saved)
		l->saved = calloc(m->bytes / MEDIA_PAGE / 64 + 1, sizeof(uint64_t));
	assert(l->saved);
	l->n = 0;
	l->log = m->log;
	m->log->refs++;
}

void media_restore(struct media *m)
{
	struct media_level *l = &m->levels[m->nlevels - 1];

	for (size_t i = 0; i < l->n; i++) {
		mark_stale(m, l->pages[i]);
		memcpy(m->mem + l->pages[i] * MEDIA_PAGE, l->old + i * MEDIA_PAGE, MEDIA_PAGE);
		l->saved[l->pages[i] / 64] &= ~(1ull << l->pages[i] % 64);
	}
	l->n = 0;
	vlog_put(m->log);
	m->log = l->log;
	m->log->refs++;
}

/* What this level saved is what the level below would have saved, unless it has an older copy. */
void media_pop(struct media *m)
{
	struct media_level *l = &m->levels[--m->nlevels], *below = m->nlevels ? l - 1 : NULL;

	for (size_t i = 0; below && i < l->n; i++) {
		uint64_t page = l->pages[i];

		if (below->saved[page / 64] >> page % 64 & 1)
			continue;
		below->saved[page / 64] |= 1ull << page % 64;
		if (below->n == below->cap) {
			below->pages = grown(below->pages, &below->cap, below->n, sizeof(*below->pages));
			below->old = realloc(below->old, below->cap * MEDIA_PAGE);
			assert(below->old);
		}
		below->pages[below->n] = page;
		memcpy(below->old + below->n++ * MEDIA_PAGE, l->old + i * MEDIA_PAGE, MEDIA_PAGE);
	}
	vlog_put(l->log);
	free(l->saved);
	free(l->pages);
	free(l->old);
	*l = (struct media_level){0};
}
