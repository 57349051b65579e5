/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting a namespace: a controller, the namespace on it, an I/O queue for each lane and one for the synchronous calls.
 * The first time what is found is written down in ns_info; after that what is found must be the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns_impl.h"

static int open_ctrl(struct ns *ns, struct ctrl **c, unsigned nqueues, char *why, size_t why_len)
{
	struct ctrl_conf conf = { .ops = ns->ops, .domain = ns->domain, .addr = &ns->conf.addr, .nr_queues = nqueues,
				  .why = why, .why_len = why_len };

	return ctrl_open(c, &conf);
}

/* The attempt is over: no deadline, and nobody listens to why. */
static void settle(struct ctrl *c)
{
	c->deadline = 0;
	c->why = NULL;
}

static void stop_wires(struct ns *ns, struct wire **wires, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!wires[i])
			continue;
		ns->ops->stop(wires[i]);
		ns->ops->free(wires[i]);
		wires[i] = NULL;
	}
}

static int connect_queues(struct ns *ns, struct ctrl *c, struct wire **wires)
{
	for (unsigned i = 0; i < ns->nqueues; i++) {
		int r = ctrl_connect_io(c, &wires[i], (uint16_t)(i + 1), &ns->queues[i].stats);

		if (r) {
			stop_wires(ns, wires, i);
			return r;
		}
	}
	return 0;
}

/* ---- the first time ---- */

static void note_ctrl(struct ns *ns, const struct ctrl *c)
{
	struct ns_info *info = &ns->info;
	const struct ns_addr *a = &ns->conf.addr;

	info->vwc = c->vwc;
	info->can_discard = c->can_discard;
	info->can_zero = c->can_zero;
	info->max_io_blocks = MAX(c->max_io / BLOCK_SIZE, 1u);
	info->queue_size = c->entries;
	info->kato_ms = c->kato_ms;
	info->dead_ms = (c->traffic_based ? 3 : 2) * a->keep_alive_tmo * 1000 + MAX(c->cqt_ms, a->quiesce_time * 1000);
	info->cntlid = c->cntlid;
	info->hdr_digest = a->hdr_digest;
	info->data_digest = a->data_digest;
	strcpy(info->model, c->model);
	strcpy(info->serial, c->serial);
	strcpy(info->firmware, c->firmware);
	strcpy(info->subnqn, a->nqn);
	strcpy(info->hostnqn, a->hostnqn);
	memcpy(info->hostid, a->hostid, 16);
	snprintf(info->address, sizeof(info->address), strchr(a->host, ':') ? "[%.110s]:%s" : "%.110s:%s", a->host, a->port);
	snprintf(info->transport, sizeof(info->transport), "%s", ns->ops->name);
	memcpy(ns->crdt_ms, c->crdt_ms, sizeof(ns->crdt_ms));
}

static void note_ident(struct ns *ns, const struct ctrl *c, uint32_t nsid, const struct ns_ident *ident)
{
	struct ns_info *info = &ns->info;
	unsigned shift = BLOCK_SHIFT - ident->lba_shift;

	ns->ident = *ident;
	ns->lba_per_block = 1u << shift;
	info->nsid = nsid;
	info->lba_size = 1u << ident->lba_shift;
	info->nblocks = ident->nlbas >> shift;
	info->max_io_blocks = MIN(info->max_io_blocks, 65536u >> shift); /* NLB has 16 bits */
	ns->max_zero_blocks = MIN(MAX(c->max_zero / BLOCK_SIZE, 1u), 65536u >> shift);
	ns->max_discard_blocks = (c->max_discard ? c->max_discard : UINT32_MAX) >> shift;
	info->can_discard = info->can_discard && ns->max_discard_blocks;
	memcpy(info->nguid, ident->nguid, 16);
	memcpy(info->eui64, ident->eui64, 8);
	memcpy(info->uuid, ident->uuid, 16);
}

/* One queue is for the synchronous calls, the rest are lanes. */
static int make_queues(struct ns *ns, struct ctrl *c)
{
	if (c->nr_queues < 2)
		return ctrl_fail(c, -ENOSPC, "the controller grants one I/O queue only; two are needed");
	ns->queues = calloc(c->nr_queues, sizeof(*ns->queues));
	if (!ns->queues)
		return ctrl_fail(c, -ENOMEM, "out of memory");
	ns->nqueues = c->nr_queues;
	ns->info.nr_queues = (uint16_t)(c->nr_queues - 1);
	for (unsigned i = 0; i < ns->nqueues; i++)
		list_init(&ns->queues[i].stolen);
	return 0;
}

static int open_queues(struct ns *ns, struct ctrl *c)
{
	struct wire **wires;
	int r = make_queues(ns, c);

	if (r)
		return r;
	wires = calloc(ns->nqueues, sizeof(*wires));
	if (!wires)
		return ctrl_fail(c, -ENOMEM, "out of memory");
	r = connect_queues(ns, c, wires);
	for (unsigned i = 0; i < ns->nqueues; i++)
		ns->queues[i].wire = wires[i];
	free(wires);
	return r;
}

static int admin_only(struct ns *ns, struct ctrl *c)
{
	struct ns_ident ident;
	int r = ns_identify_all(c, &ns->list, &ns->nlist);

	if (r || (!ns->conf.addr.nsid && ns->nlist != 1))
		return r;
	ns->info.nsid = ns->conf.addr.nsid ? ns->conf.addr.nsid : ns->list[0].nsid;
	r = ns_identify(c, ns->info.nsid, &ident);
	if (!r)
		note_ident(ns, c, ns->info.nsid, &ident);
	return r;
}

static int with_queues(struct ns *ns, struct ctrl *c)
{
	struct ns_ident ident;
	uint32_t nsid;
	int r = ns_find(c, &ns->conf.addr, &nsid);

	if (!r)
		r = ns_identify(c, nsid, &ident);
	if (r)
		return r;
	note_ident(ns, c, nsid, &ident);
	return open_queues(ns, c);
}

static unsigned wanted_queues(const struct ns *ns)
{
	unsigned n = ns->conf.nr_queues ? ns->conf.nr_queues : 1, limit = ns->conf.addr.nr_io_queues;

	return (limit ? MIN(n, limit) : n) + 1;
}

int ns_connect_first(struct ns *ns, char *why, size_t why_len)
{
	bool admin = ns->conf.flags & NS_ADMIN_ONLY;
	struct ctrl *c;
	int r = open_ctrl(ns, &c, admin ? 0 : wanted_queues(ns), why, why_len);

	if (r)
		return r;
	note_ctrl(ns, c);
	r = admin ? admin_only(ns, c) : with_queues(ns, c);
	settle(c);
	if (r) {
		ctrl_close(c, true);
		return r;
	}
	ns->ctrl = c;
	ns_refresh(ns);
	return 0;
}

/* ---- again ---- */

static bool same_namespace(const struct ns_ident *a, const struct ns_ident *b)
{
	return !memcmp(a->nguid, b->nguid, 16) && !memcmp(a->eui64, b->eui64, 8) && !memcmp(a->uuid, b->uuid, 16) &&
	       a->lba_shift == b->lba_shift && a->nlbas <= b->nlbas;
}

/* What the lanes were built on must still hold. */
static int check_shape(struct ns *ns, struct ctrl *c)
{
	if (c->nr_queues < ns->nqueues)
		return ctrl_fail(c, -ENOSPC, "the controller grants %u I/O queues now, %u are in use", c->nr_queues,
				 ns->nqueues);
	if (c->max_io < ns->info.max_io_blocks * BLOCK_SIZE || c->entries < ns->info.queue_size || c->vwc != ns->info.vwc)
		return ctrl_fail(c, -ENOTSUP, "the controller has other limits now than before");
	c->entries = ns->info.queue_size;
	return 0;
}

static int check_same(struct ns *ns, struct ctrl *c)
{
	struct ns_ident ident;
	int r = ns_identify(c, ns->info.nsid, &ident);

	if (r)
		return r;
	if (!same_namespace(&ns->ident, &ident))
		return ctrl_fail(c, -E_ID_CHANGED, "another namespace answers at that address now");
	return check_shape(ns, c);
}

int ns_connect_again(struct ns *ns, struct wire **wires, char *why, size_t why_len)
{
	struct ctrl *c;
	int r = open_ctrl(ns, &c, ns->nqueues, why, why_len);

	if (r)
		return r;
	r = check_same(ns, c);
	if (!r)
		r = connect_queues(ns, c, wires);
	settle(c);
	if (r) {
		ctrl_close(c, true);
		return r;
	}
	ns->ctrl = c;
	return 0;
}
