/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that ios may use, registered in chunks with one key to fill and one to source, so that a target can write only
 * where it is read into. Fabrics without registration (TCP) know no keys. Chunks are only ever added: looking one up
 * takes no lock. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

static int add_chunk(struct ns *ns, uintptr_t base, size_t len)
{
	unsigned n = atomic_load(&ns->nchunks);
	struct ns_chunk *c = &ns->chunks[n];
	int r;

	if (n == NS_CHUNKS)
		return -ENOSPC;
	c->base = base;
	c->len = len;
	r = ns->ops->map(ns->domain, (void *)base, len, WIRE_REMOTE_WRITE, &c->fill);
	if (r)
		return r;
	r = ns->ops->map(ns->domain, (void *)base, len, WIRE_REMOTE_READ, &c->source);
	if (r) {
		ns->ops->unmap(ns->domain, &c->fill);
		return r;
	}
	atomic_store_explicit(&ns->nchunks, n + 1, memory_order_release);
	return 0;
}

int ns_add_memory(struct ns *ns, void *mem, size_t len)
{
	uint64_t start = clock_now();
	int r = 0;

	if (!ns->ops->map)
		return 0;
	pthread_mutex_lock(&ns->memory_lock);
	for (size_t at = 0; !r && at < len; at += NS_CHUNK_MAX)
		r = add_chunk(ns, (uintptr_t)mem + at, MIN(len - at, NS_CHUNK_MAX));
	ns->info.map_ns += clock_now() - start;
	pthread_mutex_unlock(&ns->memory_lock);
	return r;
}

const struct wire_key *ns_key(const struct ns *ns, const void *mem, enum slot_dir dir)
{
	unsigned n = atomic_load_explicit(&ns->nchunks, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct ns_chunk *c = &ns->chunks[i];

		if ((uintptr_t)mem - c->base < c->len)
			return dir == SLOT_TO_HOST ? &c->fill : &c->source;
	}
	return NULL;
}

void ns_memory_exit(struct ns *ns)
{
	for (unsigned i = 0; i < ns->nchunks; i++) {
		ns->ops->unmap(ns->domain, &ns->chunks[i].fill);
		ns->ops->unmap(ns->domain, &ns->chunks[i].source);
	}
}
