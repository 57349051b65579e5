/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/history.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void history_init(struct history *h, const struct model *now)
{
	*h = (struct history){0};
	history_add(h, now, false, true);
}

static void drop_all(struct history *h)
{
	for (size_t i = 0; i < h->n; i++)
		model_exit(&h->states[i].m);
	h->n = 0;
}

void history_exit(struct history *h)
{
	drop_all(h);
	free(h->states);
}

void history_add(struct history *h, const struct model *now, bool parallel, bool synced)
{
	if (synced)
		drop_all(h);
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 64;
		h->states = realloc(h->states, h->cap * sizeof(*h->states));
		assert(h->states);
	}
	h->states[h->n].parallel = parallel;
	model_copy(&h->states[h->n++].m, now);
}

int64_t history_match(const struct history *h, struct model *now)
{
	uint64_t hash = model_hash(now);
	char why[400] = "";

	for (size_t i = h->n; i-- > 0;)
		if (model_hash(&h->states[i].m) == hash ||
		    (i > 0 && h->states[i].parallel && model_between(now, &h->states[i - 1].m, &h->states[i].m)))
			return (int64_t)i;
	for (size_t i = h->n; i-- > 0;) {
		model_equal(now, &h->states[i].m, why, sizeof(why));
		fprintf(stderr, "against the state %zu operations before the last that may be: %s\n", h->n - 1 - i, why);
	}
	model_print(now);
	return -1;
}
