/* SPDX-License-Identifier: Apache-2.0 */
/* The in-process fabric (transport/inproc.h): the peer is a function call away, so there is nothing to encode and
 * nothing to register.
 *  1. A slot is with the peer (counted in inflight) from submit until finish, then in the done list until poll
 *     hands it out: in the order of completion, which need not be that of submission.
 *  2. done_tail points at the link that the next finished slot goes to: &done while the list is empty.
 *  3. dead is set once and stays; answers that came before the loss are still handed out, as a socket would do.
 *  4. peer is NULL after stop, which makes stop idempotent. */
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/num.h"
#include "transport/inproc.h"

static struct inproc_queue *queue_of(const struct wire *w)
{
	return container_of(w, struct inproc_queue, wire);
}

/* Hands the slot back to the host, for the next poll to find. It may be called inside submit: nothing of it is
 * touched after. */
static void finish(struct inproc_queue *q, struct slot *s)
{
	s->next = NULL;
	*q->done_tail = s;
	q->done_tail = &s->next;
	q->inflight--;
}

/* An answer by the controller: the wire itself is content (slot->status 0) whatever the NVMe status says. */
void inproc_complete(struct inproc_queue *q, struct slot *s, uint16_t status, uint64_t value)
{
	s->cqe = (struct cqe_wire){ .value = put64(value), .cid = s->sqe.cid };
	cqe_set_status(&s->cqe, status);
	s->status = 0;
	finish(q, s);
}

/* The command may well have been executed: only what arrived here is no good, as with a data digest that does not
 * match. */
void inproc_fail(struct inproc_queue *q, struct slot *s, int code)
{
	s->cqe = (struct cqe_wire){ .cid = s->sqe.cid };
	s->status = code;
	finish(q, s);
}

void inproc_break(struct inproc_queue *q)
{
	q->dead = -E_LOST;
}

/* No device, so no domain; NULL is passed through connect unlooked at. */
static int inproc_domain_open(struct wire_domain **domain, const struct ns_addr *addr, char *why, size_t why_len)
{
	*domain = NULL;
	return 0;
}

static void inproc_domain_close(struct wire_domain *domain)
{
}

/* sqsize is 0-based, as on the wire; stats are not counted here, since there are no bytes to count. */
static int inproc_connect(struct wire **wire, struct wire_domain *domain, struct lane_stats *stats, uint16_t qid,
			  uint16_t sqsize, const struct wire_conf *conf, struct wire_limits *limits)
{
	struct inproc_queue *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	*q = (struct inproc_queue){ .wire.ops = &wire_inproc, .peer = conf->addr->inproc, .qid = qid,
				    .entries = (uint16_t)(sqsize + 1) };
	q->done_tail = &q->done;
	*limits = (struct wire_limits){ .max_sge = 1 };
	r = q->peer->connect(q->peer, q);
	if (!r) {
		*wire = &q->wire;
		return 0;
	}
	if (conf->why)
		snprintf(conf->why, conf->why_len, "the peer refused: %s", err_text(r));
	free(q);
	return r;
}

/* There is no capsule, so how much would fit into one does not matter. */
static void inproc_set_limits(struct wire *w, const struct wire_limits *limits)
{
}

/* Nothing to sleep on: whoever waits lets (virtual) time pass instead, see wire_wait. */
static int inproc_fds(const struct wire *w, struct wire_fd *fds, unsigned max)
{
	return 0;
}

/* Never short: a peer that wants back-pressure answers late. A peer that breaks the queue meanwhile still gets the
 * rest of the batch, like bytes that were in a socket already. */
static int inproc_send(struct wire *w, struct slot *const *slots, unsigned n)
{
	struct inproc_queue *q = queue_of(w);

	if (q->dead)
		return q->dead;
	for (unsigned i = 0; i < n; i++) {
		slots[i]->moved = 0;
		slots[i]->status = 0;
		q->inflight++;
		q->peer->submit(q->peer, q, slots[i]);
	}
	return (int)n;
}

/* The peer's poll may complete more slots or break the queue. The code of a loss is told only when nothing is left
 * to hand out. */
static int inproc_poll(struct wire *w, struct slot **done, unsigned max)
{
	struct inproc_queue *q = queue_of(w);
	unsigned n = 0;

	if (!q->dead && q->peer->poll)
		q->peer->poll(q->peer, q);
	while (n < max && q->done) {
		done[n++] = q->done;
		q->done = q->done->next;
	}
	/* The last element's link was the tail; it left with its slot. */
	if (!q->done)
		q->done_tail = &q->done;
	return n ? (int)n : q->dead;
}

/* A dead queue counts as something to poll for, else its owner would sleep on it. */
static int inproc_arm(struct wire *w)
{
	return queue_of(w)->done || queue_of(w)->dead;
}

/* disconnect comes first: until it has returned the peer may still read and fill slots' memory. The done list is
 * dropped since the slots are their owner's again. */
static void inproc_stop(struct wire *w)
{
	struct inproc_queue *q = queue_of(w);

	if (!q->peer)
		return;
	if (q->peer->disconnect)
		q->peer->disconnect(q->peer, q);
	q->peer = NULL;
	q->dead = -E_LOST;
	q->done = NULL;
}

static void inproc_free(struct wire *w)
{
	inproc_stop(w);
	free(queue_of(w));
}

const struct wire_ops wire_inproc = {
	.name = "inproc",
	.domain_open = inproc_domain_open,
	.domain_close = inproc_domain_close,
	.connect = inproc_connect,
	.set_limits = inproc_set_limits,
	.fds = inproc_fds,
	.send = inproc_send,
	.poll = inproc_poll,
	.arm = inproc_arm,
	.stop = inproc_stop,
	.free = inproc_free,
};
