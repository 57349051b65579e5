/* SPDX-License-Identifier: Apache-2.0 */
/* The namespace: opening, closing, and the synchronous calls. ns_impl.h has the picture. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/identity.h"
#include "transport/ns_impl.h"

#define FIRST_DOUBTS 256

static struct ns *ns_new(const struct ns_conf *conf)
{
	struct ns *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return NULL;
	ns->conf = *conf;
	ns->wake_fd = -1;
	ns->gen = 1;
	list_init(&ns->orphans);
	pthread_mutex_init(&ns->lock, NULL);
	pthread_mutex_init(&ns->doubt_lock, NULL);
	pthread_mutex_init(&ns->memory_lock, NULL);
	pthread_mutex_init(&ns->sync_lock, NULL);
	ns->doubts = calloc(FIRST_DOUBTS, sizeof(*ns->doubts));
	ns->doubt_room = FIRST_DOUBTS;
	ns->sync_mem = aligned_alloc(4096, SYNC_BLOCKS * BLOCK_SIZE);
	ns->recovery_mem = aligned_alloc(4096, SYNC_BLOCKS * BLOCK_SIZE);
	return ns;
}

/* Everything but threads and lanes; the wires in the queues are idle. */
static void ns_free(struct ns *ns)
{
	if (ns->ctrl)
		ctrl_shutdown(ns->ctrl);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct wire *w = ns->queues[i].wire;

		if (w) {
			ns->ops->stop(w);
			ns->ops->free(w);
		}
	}
	ctrl_close(ns->ctrl, true);
	ns_memory_exit(ns);
	if (ns->domain)
		ns->ops->domain_close(ns->domain);
	pthread_mutex_destroy(&ns->lock);
	pthread_mutex_destroy(&ns->doubt_lock);
	pthread_mutex_destroy(&ns->memory_lock);
	pthread_mutex_destroy(&ns->sync_lock);
	free(ns->queues);
	free(ns->list);
	free(ns->doubts);
	free(ns->sync_mem);
	free(ns->recovery_mem);
	free(ns);
}

static int open_sync(struct ns *ns)
{
	int r = ns_add_bounce(ns, ns->sync_mem, SYNC_BLOCKS * BLOCK_SIZE);

	if (!r)
		r = ns_add_bounce(ns, ns->recovery_mem, SYNC_BLOCKS * BLOCK_SIZE);
	return r ? r : lane_open(&ns->sync, ns, ns->nqueues - 1);
}

static int start(struct ns *ns, char *why, size_t why_len)
{
	int r;

	if (!ns->doubts || !ns->sync_mem || !ns->recovery_mem)
		return -ENOMEM;
	ns->ops = wire_find(ns->conf.addr.transport, why, why_len);
	if (!ns->ops)
		return -EPROTONOSUPPORT;
	r = identity_fill(&ns->conf.addr, "", why, why_len);
	if (!r)
		r = ns->ops->domain_open(&ns->domain, &ns->conf.addr, why, why_len);
	if (!r)
		r = ns_connect_first(ns, why, why_len);
	if (r)
		return r;
	atomic_store(&ns->info.connected, true);
	if (ns->conf.flags & NS_ADMIN_ONLY) /* asked and answered: nothing to keep alive */
		return 0;
	r = open_sync(ns);
	if (r == -E_MEMLOCK)
		ns_memory_text(ns, r, 2 * SYNC_BLOCKS * BLOCK_SIZE, why, why_len);
	return r ? r : ns_control_start(ns);
}

int ns_open(struct ns **out, const struct ns_conf *conf, char *why, size_t why_len)
{
	char reason[512] = "", addr[NQN_MAX + 300];
	struct ns *ns = ns_new(conf);
	int r;

	*out = NULL;
	if (!ns)
		return -ENOMEM;
	r = start(ns, reason, sizeof(reason));
	if (!r) {
		*out = ns;
		return 0;
	}
	snprintf(why, why_len, "%s: %s", ns_addr_print(&conf->addr, addr, sizeof(addr)), *reason ? reason : err_text(r));
	if (ns->sync)
		lane_close(ns->sync);
	ns_free(ns);
	return r;
}

/* A write whose fate is unknown may execute as long as its association is not dead: whoever opens the namespace next does
 * not know of it, so we stay until then. */
static void outlive_doubts(struct ns *ns)
{
	uint64_t last;

	while (!atomic_load(&ns->given_up) && (last = ns_doubt_last(ns)) && last > clock_now()) {
		if (ns->conf.flags & NS_NO_THREAD)
			ns_control(ns);
		clock_sleep(MIN(last - clock_now(), 50 * NS_PER_MS));
	}
}

void ns_close(struct ns *ns)
{
	struct list *l;

	if (!ns)
		return;
	outlive_doubts(ns);
	ns_control_stop(ns);
	if (ns->sync)
		lane_close(ns->sync);
	while ((l = list_pop(&ns->orphans))) {
		struct io *io = list_entry(l, struct io, link);

		io->stable(io);
	}
	ns_free(ns);
}

const struct ns_info *ns_info(const struct ns *ns)
{
	return &ns->info;
}

unsigned ns_list(const struct ns *ns, const struct ns_list_entry **list)
{
	*list = ns->list;
	return ns->nlist;
}

uint64_t ns_unflushed(const struct ns *ns)
{
	uint64_t bytes = atomic_load_explicit(&ns->orphan_bytes, memory_order_relaxed);
	struct ns *rw = (struct ns *)ns; /* the mutex only */

	pthread_mutex_lock(&rw->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		if (ns->queues[i].lane)
			bytes += atomic_load_explicit(&ns->queues[i].lane->unflushed_bytes, memory_order_relaxed);
	}
	pthread_mutex_unlock(&rw->lock);
	return bytes;
}

void ns_give_up(struct ns *ns, int code)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&ns->given_up, &none, code < 0 ? code : -EIO))
		return;
	pthread_mutex_lock(&ns->lock);
	for (unsigned i = 0; i < ns->nqueues; i++) {
		struct lane *lane = ns->queues[i].lane;

		if (lane)
			mailbox_post(&lane->mailbox, &lane->give_up_letter);
	}
	pthread_mutex_unlock(&ns->lock);
	ns_wake(ns);
}

/* ---- synchronous calls ---- */

struct sync_io {
	struct io io;
	unsigned pending;
	int status;
};

static void sync_done(struct io *io, int status)
{
	struct sync_io *s = container_of(io, struct sync_io, io);

	s->status = status;
	s->pending = 0;
}

/* With sync_lock held. */
static int sync_run(struct ns *ns, enum io_op op, uint64_t block, uint32_t nblocks)
{
	struct sync_io s = { .io = { .op = op, .flags = IO_URGENT | IO_FUA, .block = block, .nblocks = nblocks,
				     .mem = ns->sync_mem, .done = sync_done }, .pending = 1 };

	list_init(&s.io.link);
	lane_submit(ns->sync, &s.io);
	lane_wait(ns->sync, &s.pending);
	return s.status;
}

/* Whether a synchronous call cannot be made: 0, or why. */
static int refuse_sync(const struct ns *ns)
{
	return !ns->sync ? -EINVAL : ns->recovering && pthread_equal(ns->control, pthread_self()) ? -EBUSY : 0;
}

int ns_read_sync(struct ns *ns, uint64_t block, uint32_t nblocks, void *buf)
{
	int r = 0;

	if (refuse_sync(ns))
		return refuse_sync(ns) == -EBUSY ? ns_recover_read(ns, block, nblocks, buf) : -EINVAL;
	pthread_mutex_lock(&ns->sync_lock);
	for (uint32_t at = 0; !r && at < nblocks; at += SYNC_BLOCKS) {
		uint32_t n = MIN(nblocks - at, SYNC_BLOCKS);

		r = sync_run(ns, IO_READ, block + at, n);
		if (!r)
			memcpy((uint8_t *)buf + (size_t)at * BLOCK_SIZE, ns->sync_mem, (size_t)n * BLOCK_SIZE);
	}
	pthread_mutex_unlock(&ns->sync_lock);
	return r;
}

int ns_write_sync(struct ns *ns, uint64_t block, uint32_t nblocks, const void *buf, unsigned flags)
{
	int r = refuse_sync(ns);

	if (r)
		return r;
	pthread_mutex_lock(&ns->sync_lock);
	for (uint32_t at = 0; !r && at < nblocks; at += SYNC_BLOCKS) {
		uint32_t n = MIN(nblocks - at, SYNC_BLOCKS);

		memcpy(ns->sync_mem, (const uint8_t *)buf + (size_t)at * BLOCK_SIZE, (size_t)n * BLOCK_SIZE);
		r = sync_run(ns, IO_WRITE, block + at, n);
	}
	pthread_mutex_unlock(&ns->sync_lock);
	return r;
}

int ns_flush_sync(struct ns *ns)
{
	int r = refuse_sync(ns);

	if (r)
		return r;
	pthread_mutex_lock(&ns->sync_lock);
	r = sync_run(ns, IO_FLUSH, 0, 0);
	pthread_mutex_unlock(&ns->sync_lock);
	return r;
}
