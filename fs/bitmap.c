/* SPDX-License-Identifier: Apache-2.0 */
/* Bits of one group, 64 at a time. A quad is four blocks aligned to four, the size of a tree node (NODE_BLOCKS); a
 * word has 16. Callers keep [bit, bit + n) inside the group and hold the lock that guards the map: there is none
 * here. */
#include "fs/bitmap.h"

#include <string.h>

#define NIBBLES 0x1111111111111111ull

/* One bit (the lowest) for each nibble of w that is zero: a wholly free quad. */
static uint64_t free_quads(uint64_t w)
{
	w |= w >> 1;
	w |= w >> 2;
	return ~w & NIBBLES;
}

/* n from 1 to 64 - from; a shift by 64 would be undefined. */
static uint64_t mask(uint32_t from, uint32_t n)
{
	return (n == 64 ? ~0ull : (1ull << n) - 1) << from;
}

/* The number of quads that changed between wholly free and not is found by comparing both words, so that setting
 * bits that are set already (or clearing clear ones) counts nothing. */
static uint32_t change(uint64_t *map, uint32_t bit, uint32_t n, bool set)
{
	uint32_t quads = 0;

	while (n > 0) {
		uint32_t in = bit % 64, k = MIN(64 - in, n);
		uint64_t *w = &map[bit / 64], old = *w;

		*w = set ? old | mask(in, k) : old & ~mask(in, k);
		quads += (uint32_t)__builtin_popcountll(free_quads(old) ^ free_quads(*w));
		bit += k;
		n -= k;
	}
	return quads;
}

uint32_t bitmap_set(uint64_t *map, uint32_t bit, uint32_t n)
{
	return change(map, bit, n, true);
}

uint32_t bitmap_clear(uint64_t *map, uint32_t bit, uint32_t n)
{
	return change(map, bit, n, false);
}

bool bitmap_test(const uint64_t *map, uint32_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

/* Word by word, as change() goes. */
uint32_t bitmap_count(const uint64_t *map, uint32_t bit, uint32_t n)
{
	uint32_t set = 0;

	while (n > 0) {
		uint32_t in = bit % 64, k = MIN(64 - in, n);

		set += (uint32_t)__builtin_popcountll(map[bit / 64] & mask(in, k));
		bit += k;
		n -= k;
	}
	return set;
}

uint32_t bitmap_quads(const uint64_t *map)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < BITMAP_WORDS; i++)
		n += (uint32_t)__builtin_popcountll(free_quads(map[i]));
	return n;
}

/* A word as a search sees it. Without whole_quads a free quad looks taken (15: all four bits of a nibble), so that
 * data goes into quads that are broken already. */
static uint64_t word(const uint64_t *map, uint32_t i, bool whole_quads)
{
	return whole_quads ? map[i] : map[i] | free_quads(map[i]) * 15;
}

/* Length of the free run at bit, at most want; it may go on over words, never over the group's end. */
static uint32_t run_at(const uint64_t *map, uint32_t bit, uint32_t want, bool whole_quads)
{
	uint32_t len = 0;

	want = MIN(want, GROUP_BLOCKS - bit);
	while (len < want) {
		uint32_t in = (bit + len) % 64;
		uint64_t w = word(map, (bit + len) / 64, whole_quads) >> in;
		/* The shift has brought zeros in from above: they are no free bits, hence the second bound. */
		uint32_t n = w ? (uint32_t)__builtin_ctzll(w) : 64 - in;

		n = MIN(n, 64 - in);
		len += n;
		if (n < 64 - in)
			break;
	}
	return MIN(len, want);
}

/* First free bit in [from, end), or end. */
static uint32_t next_free(const uint64_t *map, uint32_t from, uint32_t end, bool whole_quads)
{
	while (from < end) {
		uint64_t w = ~word(map, from / 64, whole_quads) >> (from % 64);

		if (w)
			return MIN(from + (uint32_t)__builtin_ctzll(w), end);
		from = (from / 64 + 1) * 64;
	}
	return end;
}

/* Two passes, from the goal to the end and from the start to the goal: near the goal first. First fit if there is
 * one that is long enough; else the longest, the first of those. A run over the goal is seen whole by the second pass. */
uint32_t bitmap_find(const uint64_t *map, uint32_t from, uint32_t least, uint32_t want, bool whole_quads, uint32_t *bit)
{
	uint32_t best = 0;

	for (int pass = 0; pass < 2; pass++) {
		uint32_t at = pass ? 0 : from, end = pass ? from : GROUP_BLOCKS;

		while ((at = next_free(map, at, end, whole_quads)) < end) {
			uint32_t len = run_at(map, at, want, whole_quads);

			if (len > best) {
				best = len;
				*bit = at;
				if (best >= least)
					return best;
			}
			at += len;
		}
	}
	return best;
}

/* One word more than there are: the first one is looked at again for its bits before from. */
uint32_t bitmap_find_quad(const uint64_t *map, uint32_t from)
{
	uint32_t first = from / 64;

	for (uint32_t k = 0; k <= BITMAP_WORDS; k++) {
		uint32_t i = (first + k) % BITMAP_WORDS;
		uint64_t q = free_quads(map[i]);

		if (k == 0)
			q &= ~0ull << (from % 64);
		if (q)
			return i * 64 + (uint32_t)__builtin_ctzll(q);
	}
	return GROUP_BLOCKS;
}

/* Words are little-endian on the device; block needs no alignment. */
void bitmap_load(uint64_t *map, const void *block)
{
	for (unsigned i = 0; i < BITMAP_WORDS; i++) {
		le64 v;

		memcpy(&v, (const uint8_t *)block + i * 8, 8);
		map[i] = get64(v);
	}
}

void bitmap_store(const uint64_t *map, void *block)
{
	for (unsigned i = 0; i < BITMAP_WORDS; i++) {
		le64 v = put64(map[i]);

		memcpy((uint8_t *)block + i * 8, &v, 8);
	}
}
