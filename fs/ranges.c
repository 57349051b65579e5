/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of block ranges; see ranges.h. */
#include "fs/ranges.h"

#include <errno.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/num.h"

/* Doubling: what was asked for is there, and usually more. */
int ranges_ready(struct ranges *v, size_t n)
{
	size_t room = v->room ? v->room : 256;
	struct range *r;

	if (v->n + n <= v->room)
		return 0;
	while (room < v->n + n)
		room *= 2;
	r = realloc(v->r, room * sizeof(*r));
	if (!r)
		return -ENOMEM;
	v->r = r;
	v->room = room;
	return 0;
}

void ranges_add(struct ranges *v, uint64_t block, uint32_t n)
{
	struct range *last = v->n ? &v->r[v->n - 1] : NULL;

	if (last && last->block + last->n == block && last->n + n > last->n) {
		last->n += n;
	} else if (ranges_ready(v, 1) == 0) {
		v->r[v->n++] = (struct range){ .block = block, .n = n };
	} else { /* transactions have room (alloc_ready); else these stay busy, which the next mount forgets */
		log_warn("out of memory: %u free blocks are not used again before the next mount", n);
		return;
	}
	v->blocks += n;
}

void ranges_empty(struct ranges *v)
{
	v->n = 0;
	v->blocks = 0;
}
