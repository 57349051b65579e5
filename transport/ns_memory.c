/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that ios may use, registered in chunks with one key to fill and one to source, so that a target can write only
 * where it is read into. Fabrics without registration (TCP) know no keys. Chunks are only ever added: looking one up
 * takes no lock.
 *
 * Pages under two keys count twice against RLIMIT_MEMLOCK. Where that is too little for two, and only then, memory gets
 * one key for both directions: a target could then also write where it is to read from, which the checksums of what is
 * read later would notice, and that is said in the log. */
#include <stdio.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

static void remove_chunk(struct ns *ns, struct ns_chunk *c)
{
	ns->ops->unmap(ns->domain, &c->fill);
	if (c->source.len)
		ns->ops->unmap(ns->domain, &c->source);
}

static int map_chunk(struct ns *ns, struct ns_chunk *c, bool one_key)
{
	int r = ns->ops->map(ns->domain, (void *)c->base, c->len, WIRE_REMOTE_WRITE | (one_key ? WIRE_REMOTE_READ : 0),
			     &c->fill);

	c->source.len = 0;
	if (r || one_key)
		return r;
	r = ns->ops->map(ns->domain, (void *)c->base, c->len, WIRE_REMOTE_READ, &c->source);
	if (r)
		ns->ops->unmap(ns->domain, &c->fill);
	return r;
}

/* All of it or nothing. */
static int add_chunks(struct ns *ns, uint8_t *mem, size_t len, bool one_key)
{
	unsigned first = atomic_load(&ns->nchunks), n = first;
	int r = 0;

	for (size_t at = 0; !r && at < len; at += NS_CHUNK_MAX) {
		struct ns_chunk *c = &ns->chunks[n];

		if (n == NS_CHUNKS) {
			r = -ENOSPC;
			break;
		}
		c->base = (uintptr_t)mem + at;
		c->len = MIN(len - at, NS_CHUNK_MAX);
		r = map_chunk(ns, c, one_key);
		if (!r)
			n++;
	}
	while (r && n > first)
		remove_chunk(ns, &ns->chunks[--n]);
	atomic_store_explicit(&ns->nchunks, n, memory_order_release);
	return r;
}

static uint64_t mapped(const struct ns *ns)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ns->nchunks; i++)
		sum += ns->chunks[i].len + ns->chunks[i].source.len;
	return sum;
}

const char *ns_memory_text(const struct ns *ns, int code, size_t len, char *buf, size_t buf_len)
{
	struct rlimit limit = { 0 };
	uint64_t need = DIV_UP(mapped(ns) + len, MiB) + 1; /* queues, the page of the admin queue */

	if (code != -E_MEMLOCK) {
		snprintf(buf, buf_len, "%s", err_text(code));
		return buf;
	}
	getrlimit(RLIMIT_MEMLOCK, &limit);
	snprintf(buf, buf_len, "the RDMA device has to lock %llu MiB, and RLIMIT_MEMLOCK is %llu MiB: ulimit -l %llu (or "
		 "LimitMEMLOCK= in the unit, CAP_IPC_LOCK), or a smaller cache", (unsigned long long)need,
		 (unsigned long long)(limit.rlim_cur / MiB), (unsigned long long)(need * KiB));
	return buf;
}

static int add_memory(struct ns *ns, void *mem, size_t len, bool one_key)
{
	uint64_t start = clock_now();
	int r;

	if (!ns->ops->map)
		return 0;
	pthread_mutex_lock(&ns->memory_lock);
	r = add_chunks(ns, mem, len, one_key);
	if (r == -E_MEMLOCK && !one_key) {
		r = add_chunks(ns, mem, len, true);
		if (!r)
			log_warn("RLIMIT_MEMLOCK is too small to lock %zu MiB twice: one key for reading and writing", len >> 20);
	}
	ns->info.map_ns += clock_now() - start;
	pthread_mutex_unlock(&ns->memory_lock);
	return r;
}

int ns_add_memory(struct ns *ns, void *mem, size_t len)
{
	return add_memory(ns, mem, len, false);
}

int ns_add_bounce(struct ns *ns, void *mem, size_t len)
{
	return add_memory(ns, mem, len, true);
}

static const struct ns_chunk *chunk_of(const struct ns *ns, const void *mem)
{
	unsigned n = atomic_load_explicit(&ns->nchunks, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct ns_chunk *c = &ns->chunks[i];

		if ((uintptr_t)mem - c->base < c->len)
			return c;
	}
	return NULL;
}

const struct wire_key *ns_key(const struct ns *ns, const void *mem, enum slot_dir dir)
{
	const struct ns_chunk *c = chunk_of(ns, mem);

	if (!c)
		return NULL;
	return dir == SLOT_TO_HOST || !c->source.len ? &c->fill : &c->source;
}

uint32_t ns_same_key(const struct ns *ns, const void *mem, uint32_t n)
{
	const struct ns_chunk *c = chunk_of(ns, mem);
	uint64_t room;

	if (!c)
		return n;
	room = (c->base + c->len - (uintptr_t)mem) / BLOCK_SIZE;
	return (uint32_t)MIN(room, n);
}

void ns_memory_exit(struct ns *ns)
{
	for (unsigned i = 0; i < ns->nchunks; i++)
		remove_chunk(ns, &ns->chunks[i]);
}
