/* SPDX-License-Identifier: Apache-2.0 */
/* The one source of chance of a simulation: splitmix64 (Steele, Lea, Flood 2014), so that a printed seed is the run. */
#ifndef NVOFS_TESTS_SIM_RNG_H
#define NVOFS_TESTS_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_u64(struct rng *r)
{
	uint64_t x = r->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* 0 .. n-1; n > 0. The bias of the remainder does not matter here. */
static inline uint64_t rng_below(struct rng *r, uint64_t n) { return rng_u64(r) % n; }
static inline uint64_t rng_range(struct rng *r, uint64_t low, uint64_t high) { return low + rng_below(r, high - low + 1); }
/* true once in n times on average */
static inline bool rng_one_in(struct rng *r, uint64_t n) { return rng_below(r, n) == 0; }
/* A generator of its own for a part, so that parts do not shift each other's sequences. */
static inline struct rng rng_fork(struct rng *r) { return (struct rng){rng_u64(r)}; }

#endif
