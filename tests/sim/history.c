/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/history.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void history_init(struct history *h, const struct model *now)
{
	*h = (struct history){0};
	history_add(h, now, true);
}

static void drop_all(struct history *h)
{
	for (size_t i = 0; i < h->n; i++)
		model_exit(&h->states[i]);
	h->n = 0;
}

void history_exit(struct history *h)
{
	drop_all(h);
	free(h->states);
}

void history_add(struct history *h, const struct model *now, bool synced)
{
	if (synced)
		drop_all(h);
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 64;
		h->states = realloc(h->states, h->cap * sizeof(*h->states));
		assert(h->states);
	}
	model_copy(&h->states[h->n++], now);
}

void history_keep(struct history *h, size_t index)
{
	struct model kept;

	model_copy(&kept, &h->states[index]);
	history_add(h, &kept, true);
	model_exit(&kept);
}

int64_t history_match(struct history *h, struct model *now)
{
	uint64_t hash = model_hash(now);
	char why[400] = "";

	for (size_t i = h->n; i-- > 0;)
		if (model_hash(&h->states[i]) == hash)
			return (int64_t)i;
	for (size_t i = h->n; i-- > 0;) {
		model_equal(now, &h->states[i], why, sizeof(why));
		fprintf(stderr, "against the state %zu operations ago: %s\n", h->n - 1 - i, why);
	}
	model_print(now);
	return -1;
}
