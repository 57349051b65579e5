/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: one mapping of page-aligned memory, and a buddy allocator over its pages.
 *
 *  1. Pieces are 2^order pages, order 0 to 7, aligned to their size; so none crosses a chunk of 128 pages.
 *  2. A free piece is on the list of its order, and piece[] of its first page has order + 1; piece[] is 0 elsewhere.
 *  3. The buddy of a free piece is never a free piece of the same order (they would be one), except in order 7.
 *
 * An allocation takes order_up(n) and gives the tail back at once as aligned pieces, and any stretch of pages inside a
 * chunk may be freed by itself: run_trim and eviction of odd sizes need nothing more. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_impl.h"

#define HUGE_PAGE (2 * MiB)

static void *map(size_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void *arena_map_table(size_t bytes)
{
	return map(bytes, MAP_NORESERVE);
}

/* Transparent huge pages need an aligned mapping: takes one huge page more and unmaps what is too much. */
static void *map_aligned(size_t bytes)
{
	uint8_t *p = map(bytes + HUGE_PAGE, 0), *start;

	if (!p)
		return NULL;
	start = (uint8_t *)ROUND_UP((uintptr_t)p, (uintptr_t)HUGE_PAGE);
	if (start > p)
		munmap(p, (size_t)(start - p));
	if (start < p + HUGE_PAGE)
		munmap(start + bytes, (size_t)(p + HUGE_PAGE - start));
	return start;
}

static void *map_arena(size_t bytes, bool huge_pages)
{
	void *p = huge_pages ? map(bytes, MAP_HUGETLB) : NULL;

	if (p)
		return p;
	p = map_aligned(bytes);
	if (p && huge_pages)
		madvise(p, bytes, MADV_HUGEPAGE); /* a wish: failing costs speed only */
	return p;
}

static void piece_add(struct arena *a, uint32_t page, unsigned order)
{
	uint32_t old = a->head[order];

	a->link[page] = (struct page_link){ .next = old, .prev = PAGE_NONE };
	if (old != PAGE_NONE)
		a->link[old].prev = page;
	a->head[order] = page;
	a->piece[page] = (uint8_t)(order + 1);
}

static void piece_del(struct arena *a, uint32_t page, unsigned order)
{
	struct page_link l = a->link[page];

	if (l.prev != PAGE_NONE)
		a->link[l.prev].next = l.next;
	else
		a->head[order] = l.next;
	if (l.next != PAGE_NONE)
		a->link[l.next].prev = l.prev;
	a->piece[page] = 0;
}

static void piece_free(struct arena *a, uint32_t page, unsigned order)
{
	assert(!a->piece[page]);
	while (order < CHUNK_ORDER) {
		uint32_t buddy = page ^ (1u << order);

		if (a->piece[buddy] != order + 1)
			break;
		piece_del(a, buddy, order);
		page &= ~(1u << order);
		order++;
	}
	piece_add(a, page, order);
}

void arena_free(struct arena *a, uint32_t first, uint32_t npages)
{
	assert(npages && first / CHUNK_PAGES == (first + npages - 1) / CHUNK_PAGES);
	a->free_pages += npages;
	while (npages) {
		unsigned aligned = first ? (unsigned)__builtin_ctz(first) : CHUNK_ORDER;
		unsigned order = MIN(MIN(aligned, CHUNK_ORDER), 31u - (unsigned)__builtin_clz(npages));

		piece_free(a, first, order);
		first += 1u << order;
		npages -= 1u << order;
	}
}

bool arena_alloc(struct arena *a, uint32_t npages, uint32_t *first)
{
	unsigned want = order_up(npages), order = want;
	uint32_t page;

	while (order < NR_ORDERS && a->head[order] == PAGE_NONE)
		order++;
	if (order == NR_ORDERS)
		return false;
	page = a->head[order];
	piece_del(a, page, order);
	a->free_pages -= 1u << order;
	if (npages < 1u << order)
		arena_free(a, page + npages, (1u << order) - npages);
	*first = page;
	return true;
}

int arena_init(struct arena *a, size_t bytes, bool huge_pages)
{
	memset(a, 0, sizeof(*a));
	a->bytes = MAX(ROUND_DOWN(bytes, HUGE_PAGE), 2 * HUGE_PAGE);
	if (a->bytes / BLOCK_SIZE >= PAGE_NONE)
		return -EINVAL;
	a->npages = (uint32_t)(a->bytes / BLOCK_SIZE);
	a->mem = map_arena(a->bytes, huge_pages);
	a->link = arena_map_table(a->npages * sizeof(*a->link));
	a->piece = arena_map_table(a->npages);
	a->owner = arena_map_table(a->npages * sizeof(*a->owner));
	if (!a->mem || !a->link || !a->piece || !a->owner) {
		arena_exit(a);
		return -ENOMEM;
	}
	for (unsigned order = 0; order < NR_ORDERS; order++)
		a->head[order] = PAGE_NONE;
	for (uint32_t end = a->npages; end; end -= CHUNK_PAGES) /* so that low pages go first */
		arena_free(a, end - CHUNK_PAGES, CHUNK_PAGES);
	return 0;
}

void arena_exit(struct arena *a)
{
	if (a->mem)
		munmap(a->mem, a->bytes);
	if (a->link)
		munmap(a->link, a->npages * sizeof(*a->link));
	if (a->piece)
		munmap(a->piece, a->npages);
	if (a->owner)
		munmap(a->owner, a->npages * sizeof(*a->owner));
}
