/* SPDX-License-Identifier: Apache-2.0 */
/* The bitmap of one group: 32768 bits in 512 words, bit set = block taken. Pure functions. */
#ifndef NVOFS_FS_BITMAP_H
#define NVOFS_FS_BITMAP_H

#include <stdbool.h>
#include <stdint.h>
#include "fs/format.h"

#define BITMAP_WORDS (GROUP_BLOCKS / 64)

/* Sets or clears n bits from bit on; returns by how many wholly free aligned quads the bitmap changed (positive). */
uint32_t bitmap_set(uint64_t *map, uint32_t bit, uint32_t n);
uint32_t bitmap_clear(uint64_t *map, uint32_t bit, uint32_t n);
bool bitmap_test(const uint64_t *map, uint32_t bit);
/* How many of n bits from bit on are set. */
uint32_t bitmap_count(const uint64_t *map, uint32_t bit, uint32_t n);
uint32_t bitmap_quads(const uint64_t *map);
/* The first run of at least `least` free bits at or after from (wrapping once), as much of it as is wanted; else the
 * longest. whole_quads = false: bits of wholly free quads do not count as free. Returns its length (at most want; 0: none)
 * and *bit. 1 <= least <= want. */
uint32_t bitmap_find(const uint64_t *map, uint32_t from, uint32_t least, uint32_t want, bool whole_quads, uint32_t *bit);
/* First bit of a wholly free quad at or after from (wrapping), or GROUP_BLOCKS. */
uint32_t bitmap_find_quad(const uint64_t *map, uint32_t from);
/* To and from the block on the device. */
void bitmap_load(uint64_t *map, const void *block);
void bitmap_store(const uint64_t *map, void *block);

#endif
