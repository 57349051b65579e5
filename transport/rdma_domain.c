/* SPDX-License-Identifier: Apache-2.0 */
/* The device that leads to a target, one protection domain on it, and the memory that is registered there. Other targets
 * have other domains, so that a key that one was given is worth nothing at another.
 *
 * A device can go and come back (unplugged, its driver loaded again). Its registrations go with it; what was registered
 * is therefore kept as a list, and before the next association's first queue all of it is registered again, into the same
 * struct wire_key. No queue is connected then (rule 3 of ns_impl.h), so nobody is using a key. */
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/rdma.h"

struct region {
	struct list link;
	struct wire_key *key;        /* borrowed until unmap */
	void *mem;
	size_t len;
	unsigned access;
	struct ibv_mr *mr;           /* NULL while the device is gone */
};

static int register_region(struct wire_domain *d, struct region *g)
{
	int access = IBV_ACCESS_LOCAL_WRITE | (g->access & WIRE_REMOTE_WRITE ? IBV_ACCESS_REMOTE_WRITE : 0) |
		     (g->access & WIRE_REMOTE_READ ? IBV_ACCESS_REMOTE_READ : 0);

	g->mr = ibv_reg_mr(d->pd, g->mem, g->len, access);
	if (!g->mr && (errno == EIO || errno == ENODEV)) {
		d->gone = true;
		return 0;
	}
	if (!g->mr)
		return errno == ENOMEM ? -E_MEMLOCK : -errno;
	*g->key = (struct wire_key){ .base = (uintptr_t)g->mem, .len = g->len, .lkey = g->mr->lkey, .rkey = g->mr->rkey,
				     .handle = g };
	return 0;
}

int rdma_map(struct wire_domain *d, void *mem, size_t len, unsigned access, struct wire_key *key)
{
	struct region *g = calloc(1, sizeof(*g));
	int r = 0;

	if (!g)
		return -ENOMEM;
	*g = (struct region){ .key = key, .mem = mem, .len = len, .access = access };
	*key = (struct wire_key){ .base = (uintptr_t)mem, .len = len, .handle = g };
	pthread_mutex_lock(&d->lock);
	if (!d->gone)
		r = register_region(d, g);
	if (!r)
		list_append(&d->regions, &g->link);
	pthread_mutex_unlock(&d->lock);
	if (r) {
		*key = (struct wire_key){ 0 };
		free(g);
	}
	return r;
}

void rdma_unmap(struct wire_domain *d, struct wire_key *key)
{
	struct region *g = key->handle;

	if (!g)
		return;
	pthread_mutex_lock(&d->lock);
	list_del(&g->link);
	if (g->mr && ibv_dereg_mr(g->mr))
		log_debug("a memory region could not be given back: %s", err_text(-errno));
	pthread_mutex_unlock(&d->lock);
	*key = (struct wire_key){ 0 };
	free(g);
}

/* ---- the device ---- */

static int open_device(struct wire_domain *d, const struct wire_conf *conf, uint64_t deadline)
{
	int r = rdma_cm_open(&d->cm, conf, deadline);

	if (r)
		return r;
	if (ibv_query_device(d->cm.id->verbs, &d->attr))
		r = -EIO;
	else
		d->pd = ibv_alloc_pd(d->cm.id->verbs);
	if (!r && !d->pd)
		r = -errno;
	if (!r)
		return 0;
	rdma_fail(conf, r, "the RDMA device %s cannot be used: %s", ibv_get_device_name(d->cm.id->verbs->device), err_text(r));
	rdma_cm_close(&d->cm);
	return r;
}

static void close_device(struct wire_domain *d)
{
	list_for_each(l, &d->regions) {
		struct region *g = list_entry(l, struct region, link);

		if (g->mr)
			ibv_dereg_mr(g->mr);
		g->mr = NULL;
	}
	if (d->pd)
		ibv_dealloc_pd(d->pd);
	d->pd = NULL;
	rdma_cm_close(&d->cm);
}

static int register_all(struct wire_domain *d)
{
	list_for_each(l, &d->regions) {
		int r = register_region(d, list_entry(l, struct region, link));

		if (r)
			return r;
	}
	return 0;
}

static bool device_went(struct wire_domain *d)
{
	struct rdma_news news;

	while (!d->gone && rdma_cm_next(&d->cm, &news) > 0)
		d->gone = news.event == RDMA_CM_EVENT_DEVICE_REMOVAL;
	return d->gone;
}

/* Whether another device leads to the address now. */
static bool other_device(struct wire_domain *d, const struct wire_conf *conf, uint64_t deadline)
{
	struct wire_conf quiet = *conf;
	struct rdma_cm cm;
	bool other;

	quiet.why = NULL;
	if (rdma_cm_open(&cm, &quiet, deadline))
		return false; /* connecting will say why */
	other = cm.id->verbs != d->cm.id->verbs;
	rdma_cm_close(&cm);
	return other;
}

static int replace_device(struct wire_domain *d, const struct wire_conf *conf, uint64_t deadline)
{
	int r;

	close_device(d);
	d->gone = true;
	r = open_device(d, conf, deadline);
	if (r)
		return r;
	d->gone = false;
	r = register_all(d);
	if (!r && d->gone)
		r = -ENODEV;
	if (r) {
		close_device(d);
		d->gone = true;
		return rdma_fail(conf, r, "cannot register memory with the RDMA device: %s", err_text(r));
	}
	return 0;
}

int rdma_domain_renew(struct wire_domain *d, const struct wire_conf *conf, uint64_t deadline)
{
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (d->fresh) {
		d->fresh = false;
	} else if (d->gone || device_went(d) || other_device(d, conf, deadline)) {
		r = replace_device(d, conf, deadline);
		if (!r)
			log_info("RDMA device %s: memory registered again", ibv_get_device_name(d->cm.id->verbs->device));
	}
	pthread_mutex_unlock(&d->lock);
	return r;
}

int rdma_domain_open(struct wire_domain **domain, const struct ns_addr *addr, char *why, size_t why_len)
{
	struct wire_conf conf = { .addr = addr, .why = why, .why_len = why_len };
	struct wire_domain *d;
	int r;

	*domain = NULL;
	if (addr->hdr_digest || addr->data_digest)
		return rdma_fail(&conf, -ENOTSUP, "RDMA has no digests: leave hdr-digest and data-digest out");
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	list_init(&d->regions);
	list_init(&d->dead);
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->dead_lock, NULL);
	ibv_fork_init(); /* mounting starts a helper; kernels before 5.12 take registered pages from the parent else */
	r = open_device(d, &conf, clock_now() + addr->connect_tmo * NS_PER_S);
	if (r) {
		rdma_domain_close(d);
		return r;
	}
	d->fresh = true;
	*domain = d;
	return 0;
}

void rdma_domain_close(struct wire_domain *d)
{
	rdma_bury(d);
	close_device(d);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->dead_lock);
	free(d);
}
