/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/RDMA, the connection: queue pair, completion queue, rings; connecting and stopping. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/rdma.h"

#define RETRIES 7                    /* 3 bits: the most; of receives that are not there it means for ever */

/* ---- memory ---- */

static int alloc_ring(struct rdma_conn *w)
{
	size_t nsqe = w->depth + 1u, sqes = nsqe * sizeof(struct sqe_wire), cqes = nsqe * sizeof(struct cqe_wire);
	size_t len = ROUND_UP(sqes + cqes, 4096);

	w->ring = aligned_alloc(4096, len);
	w->slots = calloc(nsqe, sizeof(*w->slots));
	w->sends = calloc(w->depth, sizeof(*w->sends));
	w->send_sges = calloc(w->depth * 2u, sizeof(*w->send_sges));
	w->recvs = calloc(nsqe, sizeof(*w->recvs));
	w->recv_sges = calloc(nsqe, sizeof(*w->recv_sges));
	if (!w->ring || !w->slots || !w->sends || !w->send_sges || !w->recvs || !w->recv_sges)
		return -ENOMEM;
	memset(w->ring, 0, len);
	w->sqes = w->ring;
	w->cqes = (struct cqe_wire *)((uint8_t *)w->ring + sqes);
	w->ring_mr = ibv_reg_mr(w->domain->pd, w->ring, len, IBV_ACCESS_LOCAL_WRITE);
	return w->ring_mr ? 0 : errno == ENOMEM ? -E_MEMLOCK : -errno;
}

static int post_all_receives(struct rdma_conn *w)
{
	struct ibv_recv_wr *bad;

	for (unsigned i = 0; i <= w->depth; i++) {
		w->recv_sges[i] = (struct ibv_sge){ (uintptr_t)&w->cqes[i], sizeof(*w->cqes), w->ring_mr->lkey };
		w->recvs[i] = (struct ibv_recv_wr){ .wr_id = RDMA_RECV | i, .sg_list = &w->recv_sges[i], .num_sge = 1,
						    .next = i < w->depth ? &w->recvs[i + 1] : NULL };
	}
	return -ibv_post_recv(w->qp, w->recvs, &bad);
}

/* ---- verbs ---- */

static int create_cq(struct rdma_conn *w)
{
	struct ibv_context *verbs = w->cm.id->verbs;

	w->events = ibv_create_comp_channel(verbs);
	if (!w->events || fcntl(w->events->fd, F_SETFL, O_NONBLOCK) || fcntl(w->events->fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	w->cq = ibv_create_cq(verbs, 2 * w->depth + 5, w, w->events, w->qid % MAX(verbs->num_comp_vectors, 1));
	return w->cq ? 0 : -errno;
}

/* SQEs travel inside the work request where the device can do that: it saves the device a read of our memory. */
static int create_qp(struct rdma_conn *w)
{
	struct ibv_qp_init_attr attr = { .qp_context = w, .send_cq = w->cq, .recv_cq = w->cq, .qp_type = IBV_QPT_RC,
					 .sq_sig_all = 1 };

	attr.cap = (struct ibv_qp_cap){ .max_send_wr = w->depth + 2u, .max_recv_wr = w->depth + 1u, .max_send_sge = 2,
					.max_recv_sge = 1, .max_inline_data = sizeof(struct sqe_wire) };
	if (rdma_create_qp(w->cm.id, w->domain->pd, &attr)) {
		attr.cap.max_inline_data = 0;
		if (rdma_create_qp(w->cm.id, w->domain->pd, &attr))
			return -errno;
	}
	w->max_inline = attr.cap.max_inline_data;
	w->qp = w->cm.id->qp;
	return 0;
}

static int create_all(struct rdma_conn *w, const struct wire_conf *conf)
{
	int r = alloc_ring(w);

	if (!r)
		r = create_cq(w);
	if (!r)
		r = create_qp(w);
	if (!r)
		r = post_all_receives(w);
	return r ? rdma_fail(conf, r, "the RDMA device cannot make queue %u: %s", w->qid, err_text(r)) : 0;
}

/* ---- stop ---- */

static void destroy_cq(struct rdma_conn *w)
{
	struct ibv_cq *cq;
	void *context;

	if (!w->cq)
		return;
	while (!ibv_get_cq_event(w->events, &cq, &context))
		w->unacked++;
	if (w->unacked)
		ibv_ack_cq_events(w->cq, w->unacked);
	ibv_destroy_cq(w->cq);
	w->cq = NULL;
}

/* The order matters: with the queue pair merely in error a write that was on its way could still land. */
static void rdma_stop(struct wire *wire)
{
	struct rdma_conn *w = rdma_conn(wire);

	w->dead = w->dead ? w->dead : -E_LOST;
	if (w->qp) {
		rdma_disconnect(w->cm.id);
		rdma_destroy_qp(w->cm.id);
		w->qp = NULL;
	}
	destroy_cq(w); /* what completed meanwhile is dropped: the owner takes all that it sent for in doubt */
	w->done = NULL;
	w->inflight = 0;
	if (w->slots)
		memset(w->slots, 0, (w->depth + 1u) * sizeof(*w->slots));
}

static void rdma_free(struct wire *wire)
{
	struct rdma_conn *w = rdma_conn(wire);

	rdma_stop(wire);
	if (w->events)
		ibv_destroy_comp_channel(w->events);
	if (w->ring_mr)
		ibv_dereg_mr(w->ring_mr);
	free(w->ring);
	free(w->slots);
	free(w->sends);
	free(w->send_sges);
	free(w->recvs);
	free(w->recv_sges);
	pthread_mutex_lock(&w->domain->dead_lock);
	list_append(&w->domain->dead, &w->link);
	pthread_mutex_unlock(&w->domain->dead_lock);
}

void rdma_bury(struct wire_domain *d)
{
	struct list all, *l;

	list_init(&all);
	pthread_mutex_lock(&d->dead_lock);
	list_splice(&all, &d->dead);
	pthread_mutex_unlock(&d->dead_lock);
	while ((l = list_pop(&all))) {
		struct rdma_conn *w = list_entry(l, struct rdma_conn, link);

		rdma_cm_close(&w->cm);
		free(w);
	}
}

/* ---- connect ---- */

static int establish(struct rdma_conn *w, const struct wire_conf *conf, uint64_t deadline)
{
	struct rdma_request_wire request;
	struct rdma_conn_param param = { .private_data = &request, .private_data_len = sizeof(request),
					 .retry_count = RETRIES, .rnr_retry_count = RETRIES, .flow_control = 1 };
	uint16_t crqsize;
	int r;

	/* What the target may read from us at a time: writes need it. We read nothing from the target. */
	param.responder_resources = (uint8_t)MIN(w->domain->attr.max_qp_rd_atom, 255);
	rdma_build_request(&request, w->qid, (uint16_t)(w->depth + 1), conf->cntlid);
	r = rdma_cm_connect(&w->cm, conf, &param, deadline, &crqsize);
	if (r)
		return r;
	if (crqsize < w->limit) { /* 0 is not told by old targets */
		log_debug("queue %u: the controller has %u receives, the queue %u entries", w->qid, crqsize, w->depth + 1u);
		w->limit = crqsize ? crqsize : w->limit;
	}
	return 0;
}

static int open_conn(struct rdma_conn *w, const struct wire_conf *conf)
{
	uint64_t deadline = clock_now() + conf->connect_ms * NS_PER_MS;
	int r = w->qid ? 0 : rdma_domain_renew(w->domain, conf, deadline);

	if (!r)
		r = rdma_cm_open(&w->cm, conf, deadline);
	if (r)
		return r;
	if (w->cm.id->verbs != w->domain->cm.id->verbs)
		return rdma_fail(conf, -EHOSTUNREACH, "another RDMA device leads to %s now", conf->addr->host);
	r = rdma_cm_resolve_route(&w->cm, conf, deadline);
	if (!r)
		r = create_all(w, conf);
	return r ? r : establish(w, conf, deadline);
}

static int rdma_connect_queue(struct wire **wire, struct wire_domain *domain, struct lane_stats *stats, uint16_t qid,
			      uint16_t sqsize, const struct wire_conf *conf, struct wire_limits *limits)
{
	struct rdma_conn *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return rdma_fail(conf, -ENOMEM, "out of memory");
	rdma_bury(domain);
	*w = (struct rdma_conn){ .wire.ops = &wire_rdma, .domain = domain, .qid = qid, .depth = sqsize, .limit = sqsize };
	w->done_tail = &w->done;
	r = open_conn(w, conf);
	if (r) {
		rdma_free(&w->wire);
		return r;
	}
	*limits = (struct wire_limits){ .max_sge = 1 };
	*wire = &w->wire;
	return 0;
}

static void rdma_set_limits(struct wire *wire, const struct wire_limits *limits)
{
	rdma_conn(wire)->incapsule = limits->incapsule;
}

static int rdma_fds(const struct wire *wire, struct wire_fd *fds, unsigned max)
{
	const struct rdma_conn *w = rdma_conn(wire);

	if (max < 2 || !w->qp)
		return 0;
	fds[0] = (struct wire_fd){ w->events->fd, EPOLLIN };
	fds[1] = (struct wire_fd){ w->cm.channel->fd, EPOLLIN };
	return 2;
}

const struct wire_ops wire_rdma = {
	.name = "rdma",
	.domain_open = rdma_domain_open,
	.domain_close = rdma_domain_close,
	.map = rdma_map,
	.unmap = rdma_unmap,
	.connect = rdma_connect_queue,
	.set_limits = rdma_set_limits,
	.fds = rdma_fds,
	.send = rdma_send,
	.poll = rdma_poll,
	.arm = rdma_arm,
	.stop = rdma_stop,
	.free = rdma_free,
};
