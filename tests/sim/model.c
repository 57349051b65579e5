/* SPDX-License-Identifier: Apache-2.0 */
/* The reference model (model.h): values, their hashes and comparison. model_ops.c has the operations. */
#include "tests/sim/model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"

static void page_put(struct mpage *p)
{
	if (p && --p->refs == 0)
		free(p);
}

static void entries_free(struct mentry *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(e[i].value);
	free(e);
}

static struct mentry *entries_copy(const struct mentry *e, size_t n)
{
	struct mentry *to = calloc(n + 1, sizeof(*to));

	assert(to);
	for (size_t i = 0; i < n; i++) {
		to[i] = e[i];
		if (e[i].value) {
			to[i].value = malloc(e[i].len + 1);
			assert(to[i].value);
			memcpy(to[i].value, e[i].value, e[i].len);
		}
	}
	return to;
}

static void node_put(struct mnode *n)
{
	if (--n->refs)
		return;
	for (size_t i = 0; i < n->npages; i++)
		page_put(n->pages[i]);
	free(n->pages);
	entries_free(n->entries, n->nentries);
	entries_free(n->xattrs, n->nxattrs);
	free(n->target);
	free(n);
}

static struct mnode *node_copy(const struct mnode *n)
{
	struct mnode *to = malloc(sizeof(*to));

	assert(to);
	*to = *n;
	to->refs = 1;
	to->entries = entries_copy(n->entries, n->nentries);
	to->xattrs = entries_copy(n->xattrs, n->nxattrs);
	to->target = n->target ? strdup(n->target) : NULL;
	to->pages = malloc((n->npages + 1) * sizeof(*to->pages));
	assert(to->pages);
	for (size_t i = 0; i < n->npages; i++) {
		to->pages[i] = n->pages[i];
		if (to->pages[i])
			to->pages[i]->refs++;
	}
	return to;
}

void model_init_empty(struct model *m)
{
	*m = (struct model){0};
}

void model_init(struct model *m, const struct stat *root)
{
	struct mnode *n;

	model_init_empty(m);
	n = model_add(m, root->st_ino);
	n->mode = root->st_mode;
	n->uid = root->st_uid;
	n->gid = root->st_gid;
	n->nlink = (uint32_t)root->st_nlink;
	n->atime = root->st_atim;
	n->mtime = root->st_mtim;
	n->ctime = root->st_ctim;
	n->parent = root->st_ino;
}

void model_exit(struct model *m)
{
	for (size_t i = 0; i < m->n; i++)
		node_put(m->nodes[i]);
	free(m->nodes);
	*m = (struct model){0};
}

void model_copy(struct model *to, const struct model *from)
{
	*to = *from;
	to->nodes = malloc((from->n + 1) * sizeof(*to->nodes));
	assert(to->nodes);
	for (size_t i = 0; i < from->n; i++) {
		to->nodes[i] = from->nodes[i];
		to->nodes[i]->refs++;
	}
}

/* Index of ino, or where it would be. */
static size_t find(const struct model *m, uint64_t ino)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (m->nodes[mid]->ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct mnode *model_get(const struct model *m, uint64_t ino)
{
	size_t i = find(m, ino);

	return i < m->n && m->nodes[i]->ino == ino ? m->nodes[i] : NULL;
}

struct mnode *model_edit(struct model *m, uint64_t ino)
{
	size_t i = find(m, ino);
	struct mnode *n;

	if (i == m->n || m->nodes[i]->ino != ino)
		return NULL;
	n = m->nodes[i];
	if (n->refs > 1) {
		m->nodes[i] = node_copy(n);
		node_put(n);
	}
	m->hash = m->nodes[i]->hash = 0;
	return m->nodes[i];
}

struct mnode *model_add(struct model *m, uint64_t ino)
{
	size_t i = find(m, ino);
	struct mnode *n = calloc(1, sizeof(*n));

	assert(n && (i == m->n || m->nodes[i]->ino != ino));
	n->refs = 1;
	n->ino = ino;
	m->nodes = realloc(m->nodes, (m->n + 1) * sizeof(*m->nodes));
	assert(m->nodes);
	memmove(&m->nodes[i + 1], &m->nodes[i], (m->n - i) * sizeof(*m->nodes));
	m->nodes[i] = n;
	m->n++;
	m->hash = 0;
	return n;
}

void model_forget(struct model *m, uint64_t ino)
{
	size_t i = find(m, ino);

	assert(i < m->n && m->nodes[i]->ino == ino);
	node_put(m->nodes[i]);
	memmove(&m->nodes[i], &m->nodes[i + 1], (m->n - i - 1) * sizeof(*m->nodes));
	m->n--;
	m->hash = 0;
}

void model_add_entry(struct mnode *n, const char *name, uint64_t ino)
{
	n->entries = realloc(n->entries, (n->nentries + 1) * sizeof(*n->entries));
	assert(n->entries);
	n->entries[n->nentries] = (struct mentry){.ino = ino};
	snprintf(n->entries[n->nentries++].name, sizeof(n->entries->name), "%s", name);
}

static bool all_zero(const uint8_t *b)
{
	return b[0] == 0 && memcmp(b, b + 1, MPAGE - 1) == 0;
}

void model_set_page(struct mnode *n, size_t index, const uint8_t *bytes)
{
	bool zero = !bytes || all_zero(bytes);
	struct mpage *p = NULL;

	if (index >= n->npages) {
		if (zero)
			return;
		n->pages = realloc(n->pages, (index + 1) * sizeof(*n->pages));
		assert(n->pages);
		memset(n->pages + n->npages, 0, (index + 1 - n->npages) * sizeof(*n->pages));
		n->npages = index + 1;
	}
	if (!zero) {
		p = malloc(sizeof(*p));
		assert(p);
		p->refs = 1;
		p->hash = 0;
		memcpy(p->bytes, bytes, MPAGE);
	}
	page_put(n->pages[index]);
	n->pages[index] = p;
}

/* ---- hashes: FNV-1a over words, enough to tell accidents apart ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, const void *data, size_t len)
{
	const uint8_t *b = data;
	uint64_t v = 0;

	for (; len >= 8; len -= 8, b += 8) {
		memcpy(&v, b, 8);
		h = mix(h, v);
	}
	v = 0;
	memcpy(&v, b, len);
	return mix(mix(h, v), len);
}

static uint64_t nonzero(uint64_t h) { return h ? h : 1; }

static uint64_t page_hash(struct mpage *p)
{
	if (!p->hash)
		p->hash = nonzero(mix_bytes(7, p->bytes, MPAGE));
	return p->hash;
}

/* Lists have no order: the sum of their members' hashes. */
static uint64_t entries_hash(const struct mentry *e, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += mix_bytes(mix_bytes(mix(3, e[i].ino), e[i].name, strlen(e[i].name)), e[i].value ? (void *)e[i].value : "",
				 e[i].len);
	return sum;
}

static uint64_t mix_time(uint64_t h, struct timespec t)
{
	return mix(mix(h, (uint64_t)t.tv_sec), (uint64_t)t.tv_nsec);
}

static uint64_t node_hash(struct mnode *n)
{
	uint64_t h = 5;

	if (n->hash)
		return n->hash;
	h = mix(mix(mix(mix(h, n->ino), n->mode), n->uid), n->gid);
	h = mix(mix(mix(h, n->nlink), n->rdev), n->size);
	h = mix_time(mix_time(mix_time(h, n->atime), n->mtime), n->ctime);
	h = mix(mix(h, entries_hash(n->entries, n->nentries)), entries_hash(n->xattrs, n->nxattrs));
	if (n->target)
		h = mix_bytes(h, n->target, strlen(n->target));
	for (size_t i = 0; i < n->npages; i++)
		if (n->pages[i])
			h = mix(mix(h, i), page_hash(n->pages[i]));
	return n->hash = nonzero(h);
}

uint64_t model_hash(struct model *m)
{
	uint64_t h = 11;

	if (m->hash)
		return m->hash;
	for (size_t i = 0; i < m->n; i++)
		if (m->nodes[i]->nlink)
			h = mix(h, node_hash(m->nodes[i]));
	return m->hash = nonzero(h);
}

/* ---- comparison, with words ---- */

static bool time_equal(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool entries_equal(const struct mentry *a, size_t na, const struct mentry *b, size_t nb, char *why, size_t len)
{
	for (size_t i = 0; i < na; i++) {
		size_t j = 0;

		while (j < nb && strcmp(a[i].name, b[j].name))
			j++;
		if (j == nb || a[i].ino != b[j].ino || a[i].len != b[j].len ||
		    (a[i].len && memcmp(a[i].value, b[j].value, a[i].len))) {
			snprintf(why, len, "'%s' is %s", a[i].name, j == nb ? "missing in the second" : "different");
			return false;
		}
	}
	if (na != nb)
		snprintf(why, len, "%zu names against %zu", na, nb);
	return na == nb;
}

static bool contents_equal(const struct mnode *a, const struct mnode *b, char *why, size_t len)
{
	static const uint8_t zeros[MPAGE];

	for (size_t i = 0; i < MAX(a->npages, b->npages); i++) {
		const struct mpage *p = i < a->npages ? a->pages[i] : NULL, *q = i < b->npages ? b->pages[i] : NULL;
		const uint8_t *x = p ? p->bytes : zeros, *y = q ? q->bytes : zeros;
		unsigned at = 0;

		if (p == q || memcmp(x, y, MPAGE) == 0)
			continue;
		while (x[at] == y[at])
			at++;
		snprintf(why, len, "content differs from byte %" PRIu64 " (%02x, %02x)", (uint64_t)i * MPAGE + at, x[at], y[at]);
		return false;
	}
	return true;
}

#define SAME(field, format) \
	if (a->field != b->field) { \
		snprintf(why, len, #field " " format " against " format, a->field, b->field); \
		return false; \
	}

static bool node_equal(const struct mnode *a, const struct mnode *b, char *why, size_t len)
{
	SAME(mode, "%o");
	SAME(uid, "%u");
	SAME(gid, "%u");
	SAME(nlink, "%u");
	SAME(rdev, "%" PRIu64);
	SAME(size, "%" PRIu64);
	if (!time_equal(a->atime, b->atime) || !time_equal(a->mtime, b->mtime) || !time_equal(a->ctime, b->ctime)) {
		snprintf(why, len, "times: a %ld.%09ld %ld.%09ld m %ld.%09ld %ld.%09ld c %ld.%09ld %ld.%09ld",
			 a->atime.tv_sec, a->atime.tv_nsec, b->atime.tv_sec, b->atime.tv_nsec, a->mtime.tv_sec,
			 a->mtime.tv_nsec, b->mtime.tv_sec, b->mtime.tv_nsec, a->ctime.tv_sec, a->ctime.tv_nsec,
			 b->ctime.tv_sec, b->ctime.tv_nsec);
		return false;
	}
	if (!a->target != !b->target || (a->target && strcmp(a->target, b->target))) {
		snprintf(why, len, "targets differ");
		return false;
	}
	return entries_equal(a->entries, a->nentries, b->entries, b->nentries, why, len) &&
	       entries_equal(a->xattrs, a->nxattrs, b->xattrs, b->nxattrs, why, len) && contents_equal(a, b, why, len);
}

bool model_equal(const struct model *a, const struct model *b, char *why, size_t len)
{
	size_t i = 0, j = 0;

	for (;; i++, j++) {
		char detail[256] = "";

		while (i < a->n && !a->nodes[i]->nlink)
			i++;
		while (j < b->n && !b->nodes[j]->nlink)
			j++;
		if (i == a->n && j == b->n)
			return true;
		if (i == a->n || j == b->n || a->nodes[i]->ino != b->nodes[j]->ino) {
			uint64_t x = i < a->n ? a->nodes[i]->ino : UINT64_MAX, y = j < b->n ? b->nodes[j]->ino : UINT64_MAX;

			snprintf(why, len, "inode %" PRIu64 " is only in the %s", MIN(x, y), x < y ? "first" : "second");
			return false;
		}
		if (a->nodes[i] != b->nodes[j] && !node_equal(a->nodes[i], b->nodes[j], detail, sizeof(detail))) {
			snprintf(why, len, "inode %" PRIu64 ": %s", a->nodes[i]->ino, detail);
			return false;
		}
	}
}

static bool node_same(const struct mnode *n, const struct mnode *other)
{
	char why[256];

	return other && other->nlink && node_equal(n, other, why, sizeof(why));
}

bool model_between(const struct model *m, const struct model *a, const struct model *b)
{
	size_t linked = 0, linked_a = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct mnode *n = m->nodes[i];

		linked += n->nlink > 0;
		if (n->nlink && !node_same(n, model_get(a, n->ino)) && !node_same(n, model_get(b, n->ino)))
			return false;
	}
	for (size_t i = 0; i < a->n; i++)
		linked_a += a->nodes[i]->nlink > 0;
	return linked == linked_a;
}

void model_print(const struct model *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct mnode *n = m->nodes[i];

		fprintf(stderr, "  inode %" PRIu64 " mode %o nlink %u size %" PRIu64 " xattrs %zu:", n->ino, n->mode, n->nlink,
			n->size, n->nxattrs);
		for (size_t j = 0; j < n->nentries; j++)
			fprintf(stderr, " %s=%" PRIu64, n->entries[j].name, n->entries[j].ino);
		fprintf(stderr, "%s%s\n", n->target ? " -> " : "", n->target ? n->target : "");
	}
}
