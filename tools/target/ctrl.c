/* SPDX-License-Identifier: Apache-2.0 */
/* A controller: made by a Connect of an admin queue, joined by I/O queues, ended with the admin queue (base 3.1.3).
 * Also its properties: it is enabled and shut down at once, as nothing here takes time. */
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "tools/target/target.h"

uint64_t ctrl_cap(const struct target *t)
{
	/* 15 x 500 ms to get ready; bit 59: ready with its media (CRMS.CRWMS), so CRTO exists. */
	return (uint64_t)(t->conf.queue_size - 1) | NVME_CAP_CQR | 15ull << NVME_CAP_TO_SHIFT | NVME_CAP_CSS_NVM |
	       NVME_CAP_CSS_IOCS | 1ull << 59;
}

/* target->lock held, here, in next_cntlid and in find. */
static bool cntlid_taken(struct target *t, uint16_t cntlid)
{
	list_for_each(l, &t->ctrls)
		if (list_entry(l, struct ctrl, link)->cntlid == cntlid)
			return true;
	return false;
}

/* Numbers go round, so that a late command of an ended association does not meet its successor. FFF0h and above are
 * reserved (base 6.3, CNTLID). */
static uint16_t next_cntlid(struct target *t)
{
	do {
		t->last_cntlid = t->last_cntlid >= 0xffef ? 1 : t->last_cntlid + 1;
	} while (cntlid_taken(t, t->last_cntlid));
	return t->last_cntlid;
}

/* q keeps a pointer to it, and counts as its first reference. Complete before it is in the list, where target_tick
 * finds it. */
struct ctrl *ctrl_new(struct queue *q, const struct connect_data_wire *data, uint32_t kato_ms, bool discovery)
{
	struct target *t = q->target;
	struct ctrl *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->target = t;
	c->discovery = discovery;
	memcpy(c->hostid, data->hostid, sizeof(c->hostid));
	memcpy(c->hostnqn, data->hostnqn, sizeof(c->hostnqn));
	atomic_init(&c->kato_ms, kato_ms);
	atomic_init(&c->seen, clock_now());
	atomic_init(&c->write_cache, t->vwc);
	c->refs = 1;
	c->queues[0] = q;
	q->ctrl = c;
	pthread_mutex_lock(&t->lock);
	c->cntlid = next_cntlid(t);
	list_append(&t->ctrls, &c->link);
	pthread_mutex_unlock(&t->lock);
	log_debug("controller %u: made for host %s, keep-alive %u ms", c->cntlid, c->hostnqn, kato_ms);
	return c;
}

/* Without its admin queue it is on its way out: nobody may join it. */
static struct ctrl *find(struct target *t, uint16_t cntlid)
{
	list_for_each(l, &t->ctrls) {
		struct ctrl *c = list_entry(l, struct ctrl, link);

		if (c->cntlid == cntlid && !c->dead)
			return c;
	}
	return NULL;
}

#define IN_DATA(field) (1u << 16 | (uint32_t)offsetof(struct connect_data_wire, field))
#define IN_SQE(field) ((uint32_t)offsetof(struct sqe_wire, connect.field))

/* *bad_param is where the first wrong parameter stands, whether that is used or not. The same host as on the admin
 * queue, by both its names, or one host could join another's controller. */
static uint16_t join_locked(struct queue *q, uint16_t qid, const struct connect_data_wire *data, uint32_t *bad_param)
{
	struct ctrl *c = find(q->target, get16(data->cntlid));

	*bad_param = IN_DATA(cntlid);
	if (!c || c->discovery)
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
	*bad_param = IN_DATA(hostnqn);
	if (strcmp(c->hostnqn, data->hostnqn) || memcmp(c->hostid, data->hostid, sizeof(c->hostid)))
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
	*bad_param = IN_SQE(qid);
	if (qid > q->target->conf.max_queues)
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_STATUS_DNR;
	if (!ctrl_ready(c) || c->queues[qid])
		return NVME_SC_SEQUENCE | NVME_STATUS_DNR;
	c->queues[qid] = q;
	c->refs++;
	q->ctrl = c;
	return 0;
}

uint16_t ctrl_join(struct queue *q, uint16_t qid, const struct connect_data_wire *data, uint32_t *bad_param)
{
	uint16_t status;

	pthread_mutex_lock(&q->target->lock);
	status = join_locked(q, qid, data, bad_param);
	pthread_mutex_unlock(&q->target->lock);
	return status;
}

/* The admin queue takes all others with it: they are told to disconnect, and leave on their own threads, the last
 * of which frees the controller. Outside of the lock nobody can find it any more. */
void ctrl_leave(struct queue *q)
{
	struct target *t = q->target;
	struct ctrl *c = q->ctrl;
	bool last;

	if (!c)
		return;
	pthread_mutex_lock(&t->lock);
	c->queues[q->qid] = NULL;
	if (!q->qid) {
		c->dead = true;
		for (unsigned i = 1; i < ARRAY_SIZE(c->queues); i++)
			if (c->queues[i])
				c->queues[i]->front->disconnect(c->queues[i]);
	}
	last = !--c->refs;
	if (last)
		list_del(&c->link);
	pthread_mutex_unlock(&t->lock);
	q->ctrl = NULL;
	if (last) {
		log_debug("controller %u: gone", c->cntlid);
		free(c);
	}
}

/* What a host may ask for: entries of 64 and 16 bytes, pages of 4096, the NVM command set. */
static bool cc_good(const struct ctrl *c, uint32_t cc)
{
	uint32_t css = (cc & NVME_CC_CSS_MASK) >> NVME_CC_CSS_SHIFT;

	if (NVME_CC_MPS(cc))
		return false;
	if (c->discovery)
		return true;
	return NVME_CC_IOSQES(cc) == 6 && NVME_CC_IOCQES(cc) == 4 && (css == NVME_CC_CSS_NVM || css == NVME_CC_CSS_ALL);
}

/* There is no status for a shutdown that failed: the log has to do. */
static void flush_all(struct target *t)
{
	for (unsigned i = 0; i < t->nr_ns; i++)
		if (backing_flush(&t->ns[i].backing))
			log_error("%s: flushing failed", t->ns[i].backing.name);
}

/* Only changes count, as with real hardware. On the admin queue's thread. A CC that cannot be is told by CSTS.CFS,
 * not by a status (base 3.1.4). */
uint16_t ctrl_set_cc(struct ctrl *c, uint32_t cc)
{
	uint32_t old = c->cc, csts = c->csts;

	if ((cc & NVME_CC_EN) && !(old & NVME_CC_EN))
		csts = cc_good(c, cc) ? NVME_CSTS_RDY : NVME_CSTS_CFS;
	if (!(cc & NVME_CC_EN) && (old & NVME_CC_EN)) { /* reset: outstanding event requests are gone */
		csts = 0;
		c->nr_aer = 0;
	}
	if ((cc & NVME_CC_SHN_MASK) && !(old & NVME_CC_SHN_MASK)) {
		if (!c->discovery)
			flush_all(c->target);
		csts = (csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_COMPLETE;
	}
	c->cc = cc;
	c->csts = csts;
	return 0;
}
