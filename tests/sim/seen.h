/* SPDX-License-Identifier: Apache-2.0 */
/* What was found in device states that were looked at: a table of hashes with open addressing. Neither hash may be 0. */
#ifndef NVOFS_TESTS_SIM_SEEN_H
#define NVOFS_TESTS_SIM_SEEN_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

struct seen {
	struct seen_slot {
		uint64_t state, found;
	} *slots;
	uint64_t n, mask;
};

static inline void seen_init(struct seen *s)
{
	s->n = 0;
	s->mask = (1 << 16) - 1;
	s->slots = calloc(s->mask + 1, sizeof(*s->slots));
	assert(s->slots);
}

static inline void seen_exit(struct seen *s) { free(s->slots); }

static inline struct seen_slot *seen_slot(const struct seen *s, uint64_t state)
{
	uint64_t i = state & s->mask;

	while (s->slots[i].state && s->slots[i].state != state)
		i = (i + 1) & s->mask;
	return &s->slots[i];
}

/* What was found there; 0: it was not looked at. */
static inline uint64_t seen_get(const struct seen *s, uint64_t state) { return seen_slot(s, state)->found; }

static inline void seen_put(struct seen *s, uint64_t state, uint64_t found)
{
	struct seen old = *s;
	struct seen_slot *to;

	if (2 * s->n > s->mask) {
		s->mask = 2 * s->mask + 1;
		s->slots = calloc(s->mask + 1, sizeof(*s->slots));
		assert(s->slots);
		for (uint64_t i = 0; i <= old.mask; i++)
			if (old.slots[i].state)
				*seen_slot(s, old.slots[i].state) = old.slots[i];
		free(old.slots);
	}
	to = seen_slot(s, state);
	s->n += !to->state;
	*to = (struct seen_slot){state, found};
}

#endif
