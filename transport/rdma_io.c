/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/RDMA, the data path: commands out in one chain, completions in, sleeping. Nothing here allocates or copies
 * payload: the target moves it by RDMA between its memory and the slot's, or it is gathered behind the SQE. */
#include <assert.h>
#include <errno.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/rdma.h"

#define LOOK_NS NS_PER_MS

static void die(struct rdma_conn *w, int code)
{
	if (!w->dead)
		w->dead = code;
}

/* ---- sending ---- */

static void prepare(struct rdma_conn *w, struct slot *s, unsigned i)
{
	struct ibv_send_wr *wr = &w->sends[i];
	struct ibv_sge *sge = &w->send_sges[2 * i];
	uint16_t cid = get16(s->sqe.cid);
	bool inside;

	assert(cid <= w->depth && !w->slots[cid]);
	inside = rdma_build_sgl(s, w->incapsule);
	w->slots[cid] = s;
	w->sqes[cid] = s->sqe;
	s->status = 0;
	s->flags = 0;
	s->moved = 0;
	sge[0] = (struct ibv_sge){ (uintptr_t)&w->sqes[cid], sizeof(s->sqe), w->ring_mr->lkey };
	*wr = (struct ibv_send_wr){ .wr_id = cid, .sg_list = sge, .num_sge = 1, .opcode = IBV_WR_SEND,
				    .send_flags = IBV_SEND_SIGNALED, .next = wr + 1 };
	if (inside) {
		sge[1] = (struct ibv_sge){ (uintptr_t)s->mem, s->len, s->key->lkey };
		wr->num_sge = 2;
	} else if (w->max_inline >= sizeof(s->sqe)) {
		wr->send_flags |= IBV_SEND_INLINE;
	}
}

int rdma_send(struct wire *wire, struct slot *const *slots, unsigned n)
{
	struct rdma_conn *w = rdma_conn(wire);
	struct ibv_send_wr *bad;

	if (w->dead)
		return w->dead;
	n = MIN(n, w->limit - w->inflight);
	if (!n)
		return 0;
	for (unsigned i = 0; i < n; i++)
		prepare(w, slots[i], i);
	w->sends[n - 1].next = NULL;
	w->inflight += n;
	if (ibv_post_send(w->qp, w->sends, &bad)) {
		die(w, -E_LOST);
		return w->dead;
	}
	return (int)n;
}

/* ---- completions ---- */

static void part_done(struct rdma_conn *w, struct slot *s, uint8_t part)
{
	s->flags |= part;
	if (s->flags != (RDMA_SENT | RDMA_ANSWERED))
		return;
	w->slots[get16(s->sqe.cid)] = NULL;
	w->inflight--;
	s->next = NULL;
	*w->done_tail = s;
	w->done_tail = &s->next;
}

static void sent(struct rdma_conn *w, uint64_t cid)
{
	if (w->slots[cid])
		part_done(w, w->slots[cid], RDMA_SENT);
}

/* A response. Its receive is put before *again, to be posted with the others. */
static void answered(struct rdma_conn *w, const struct ibv_wc *wc, struct ibv_recv_wr **again)
{
	unsigned i = (unsigned)(wc->wr_id & ~RDMA_RECV);
	struct cqe_wire cqe = w->cqes[i];
	uint16_t cid = get16(cqe.cid);
	struct slot *s = cid <= w->depth ? w->slots[cid] : NULL;

	w->recvs[i].next = *again;
	*again = &w->recvs[i];
	if (wc->byte_len != sizeof(cqe) || !s || s->flags & RDMA_ANSWERED) {
		log_warn("queue %u: a response of %u bytes for command %u, which is not outstanding", w->qid, wc->byte_len, cid);
		die(w, -E_BAD_CAPSULE);
		return;
	}
	s->cqe = cqe;
	part_done(w, s, RDMA_ANSWERED);
}

static void failed(struct rdma_conn *w, const struct ibv_wc *wc)
{
	if (!w->dead && wc->status != IBV_WC_WR_FLUSH_ERR)
		log_info("queue %u: %s failed: %s", w->qid, wc->wr_id & RDMA_RECV ? "a receive" : "a send",
			 ibv_wc_status_str(wc->status));
	die(w, -E_LOST);
}

/* One batch. How many there were. */
static int take_batch(struct rdma_conn *w)
{
	struct ibv_recv_wr *again = NULL, *bad;
	struct ibv_wc wcs[RDMA_WCS];
	int n = ibv_poll_cq(w->cq, RDMA_WCS, wcs);

	for (int i = 0; i < n; i++) {
		if (wcs[i].status != IBV_WC_SUCCESS)
			failed(w, &wcs[i]);
		else if (wcs[i].wr_id & RDMA_RECV)
			answered(w, &wcs[i], &again);
		else
			sent(w, wcs[i].wr_id);
	}
	w->polled |= n > 0;
	if (n < 0 || (again && !w->dead && ibv_post_recv(w->qp, again, &bad)))
		die(w, -E_LOST);
	return n;
}

int rdma_poll(struct wire *wire, struct slot **done, unsigned max)
{
	struct rdma_conn *w = rdma_conn(wire);
	unsigned n = 0;

	while (!w->dead && take_batch(w) == RDMA_WCS)
		;
	while (n < max && w->done) {
		done[n++] = w->done;
		w->done = w->done->next;
	}
	if (!w->done)
		w->done_tail = &w->done;
	return n ? (int)n : w->dead; /* what was finished before it died is finished; the next poll tells */
}

/* ---- sleeping ---- */

/* With an event the queue has disarmed itself, whether or not its completion has been polled already. Without one it is still
 * armed, whatever has been polled: that came before, or its event is on its way. */
static void take_event(struct rdma_conn *w)
{
	struct ibv_cq *cq;
	void *context;

	if (ibv_get_cq_event(w->events, &cq, &context))
		return;
	w->unacked++;
	w->armed = false;
}

static void hear_news(struct rdma_conn *w)
{
	struct rdma_news news;
	int r;

	while ((r = rdma_cm_next(&w->cm, &news)) > 0) {
		if (news.event == RDMA_CM_EVENT_TIMEWAIT_EXIT || news.event == RDMA_CM_EVENT_ESTABLISHED)
			continue;
		if (news.event != RDMA_CM_EVENT_DISCONNECTED)
			log_info("queue %u: %s", w->qid, rdma_event_str(news.event));
		die(w, -E_LOST);
	}
	if (r < 0)
		die(w, -E_LOST);
}

/* He wants to sleep again, without a completion in between. The first time he may: an event makes the descriptor readable and
 * ends the sleep at once. If it was none of a new completion we are here again, and then, and now and then afterwards, system
 * calls find out whether there is one: of a completion that was polled earlier, of one that came after the last poll
 * (then it has to be polled again: who slept now would sleep over it), or of the connection. */
static void look(struct rdma_conn *w)
{
	uint64_t now;

	if (!w->again++)
		return;
	now = clock_now();
	if (w->again > 2 && now - w->looked_at < LOOK_NS)
		return;
	w->looked_at = now;
	take_event(w);
	hear_news(w);
}

/* 1: poll again. Nothing is armed while no command is in flight: then only news of the connection can come, and these
 * make its descriptor readable. So a worker that finds its answers without sleeping never asks for an event. */
int rdma_arm(struct wire *wire)
{
	struct rdma_conn *w = rdma_conn(wire);
	bool armed;

	if (w->done || w->dead)
		return 1;
	if (w->polled && w->armed)
		take_event(w);
	if (w->polled)
		w->again = 0;
	w->polled = false;
	armed = w->armed;
	if (armed || !w->inflight) {
		look(w);
		return w->dead || w->armed != armed;
	}
	if (ibv_req_notify_cq(w->cq, 0))
		die(w, -E_LOST);
	w->armed = true;
	w->again = 0;
	if (!w->dead)
		take_batch(w); /* what came before it was armed makes no event */
	return w->done || w->dead || w->polled;
}
