/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges with a write of unknown fate: from the loss of an association until its commands can no longer execute at the
 * target (base specification 2.1 section 9.6). A short list under a lock: it is empty but for some seconds after an
 * outage, and then nobody but writers looks at it. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

static bool expired(const struct doubt *d, uint64_t now)
{
	return d->dead_at != UINT64_MAX && d->dead_at <= now;
}

static void forget_expired(struct ns *ns)
{
	unsigned n = atomic_load(&ns->ndoubts), kept = 0;
	uint64_t now = clock_now();

	for (unsigned i = 0; i < n; i++) {
		if (!expired(&ns->doubts[i], now))
			ns->doubts[kept++] = ns->doubts[i];
	}
	atomic_store(&ns->ndoubts, kept);
}

static struct doubt *find_same(struct ns *ns, uint64_t block, uint64_t nblocks)
{
	for (unsigned i = 0; i < atomic_load(&ns->ndoubts); i++) {
		if (ns->doubts[i].block == block && ns->doubts[i].nblocks == nblocks)
			return &ns->doubts[i];
	}
	return NULL;
}

/* Room for one more; without memory the last entry grows to cover everything, which is slow and safe. */
static struct doubt *make_room(struct ns *ns)
{
	unsigned n = atomic_load(&ns->ndoubts);

	if (n == ns->doubt_room) {
		unsigned room = MAX(256u, ns->doubt_room * 2);
		struct doubt *more = realloc(ns->doubts, room * sizeof(*more));

		if (!more)
			return NULL;
		ns->doubts = more;
		ns->doubt_room = room;
	}
	atomic_store(&ns->ndoubts, n + 1);
	return &ns->doubts[n];
}

void ns_doubt_add(struct ns *ns, uint64_t block, uint64_t nblocks)
{
	struct doubt *d;

	pthread_mutex_lock(&ns->doubt_lock);
	forget_expired(ns);
	d = find_same(ns, block, nblocks); /* issued again and lost again */
	if (!d)
		d = make_room(ns);
	if (!d) {
		d = &ns->doubts[ns->doubt_room - 1]; /* doubt_room > 0: ns_open made the first */
		block = 0;
		nblocks = UINT64_MAX;
	}
	*d = (struct doubt){ block, nblocks, UINT64_MAX };
	pthread_mutex_unlock(&ns->doubt_lock);
}

void ns_doubt_seal(struct ns *ns)
{
	uint64_t dead_at = clock_now() + ns->info.dead_ms * NS_PER_MS;

	pthread_mutex_lock(&ns->doubt_lock);
	for (unsigned i = 0; i < atomic_load(&ns->ndoubts); i++) {
		if (ns->doubts[i].dead_at == UINT64_MAX)
			ns->doubts[i].dead_at = dead_at;
	}
	pthread_mutex_unlock(&ns->doubt_lock);
}

uint64_t ns_doubt_check(struct ns *ns, uint64_t block, uint64_t nblocks)
{
	uint64_t until = 0;

	pthread_mutex_lock(&ns->doubt_lock);
	forget_expired(ns);
	for (unsigned i = 0; i < atomic_load(&ns->ndoubts); i++) {
		const struct doubt *d = &ns->doubts[i];

		if (d->nblocks == UINT64_MAX || (block < d->block + d->nblocks && d->block < block + nblocks))
			until = MAX(until, d->dead_at);
	}
	pthread_mutex_unlock(&ns->doubt_lock);
	return until;
}

bool ns_in_doubt(struct ns *ns)
{
	return !atomic_load(&ns->given_up) && ns_doubt_last(ns) > clock_now();
}

uint64_t ns_doubt_last(struct ns *ns)
{
	uint64_t last = 0;

	pthread_mutex_lock(&ns->doubt_lock);
	forget_expired(ns);
	for (unsigned i = 0; i < atomic_load(&ns->ndoubts); i++)
		last = MAX(last, ns->doubts[i].dead_at);
	pthread_mutex_unlock(&ns->doubt_lock);
	return last;
}
