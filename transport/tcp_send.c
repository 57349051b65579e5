/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP, sending: PDUs are gathered from their headers in tx[] and the slots' memory into one sendmsg for all that is
 * queued. The queue is first in, first out by PDU; a slot with more PDUs to send goes to its end, since the PDUs behind
 * it may have been begun in the same call. */
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include "base/crc.h"
#include "base/err.h"
#include "transport/tcp.h"

#define SEND_IOV 96

static struct tcp_tx *tx_of(struct tcp_conn *w, const struct slot *s)
{
	return &w->tx[get16(s->sqe.cid)];
}

static void enqueue(struct tcp_conn *w, struct slot *s)
{
	s->next = NULL;
	*w->txq_tail = s;
	w->txq_tail = &s->next;
}

static void dequeue(struct tcp_conn *w)
{
	w->txq = w->txq->next;
	if (!w->txq)
		w->txq_tail = &w->txq;
}

static uint32_t pdu_len(const struct tcp_tx *tx)
{
	return tx->head_len + tx->data_len + tx->tail_len;
}

/* Data of the PDU whose header was just built. */
static void attach_data(struct tcp_conn *w, struct slot *s, struct tcp_tx *tx, uint32_t offset, uint32_t len)
{
	tx->sent = 0;
	tx->data_off = offset;
	tx->data_len = len;
	tx->tail_len = 0;
	if (len && w->conf.ddgst) {
		tx->ddgst = put32(crc32c((uint8_t *)s->mem + offset, len));
		tx->tail_len = TCP_PDU_DIGEST_LEN;
	}
}

/* Data ride in the capsule up to what the controller takes; else it asks for them with R2T. */
static void fill_sgl(struct tcp_conn *w, struct slot *s)
{
	uint32_t limit = s->sqe.opcode == NVME_FABRICS ? TCP_ADMIN_INCAPSULE : w->incapsule;
	bool inside = s->dir == SLOT_TO_CTRL && s->len && s->len <= limit;

	s->flags = inside ? TCP_INCAPSULE : 0;
	s->sqe.flags |= NVME_SQE_PSDT_SGL;
	s->sqe.sgl = (struct sgl_wire){ .len = put32(s->dir == SLOT_NONE ? 0 : s->len),
					.id = inside ? NVME_SGL_ID_INCAPSULE : NVME_SGL_ID_TRANSPORT };
}

static void start_capsule(struct tcp_conn *w, struct slot *s)
{
	struct tcp_tx *tx = tx_of(w, s);
	uint32_t inside;

	s->moved = 0;
	s->crc = 0;
	s->status = 0;
	fill_sgl(w, s);
	inside = s->flags & TCP_INCAPSULE ? s->len : 0;
	tx->kind = TX_CAPSULE;
	tx->r2t_left = 0;
	tx->head_len = tcp_pdu_build_cmd(&tx->pdu, &w->conf, &s->sqe, inside);
	attach_data(w, s, tx, 0, inside);
	w->outstanding++;
	if (s->dir == SLOT_TO_HOST && s->len > TCP_SMALL) {
		s->flags |= TCP_LARGE;
		w->large++;
	} else if (s->dir == SLOT_TO_HOST && s->len) {
		tcp_guess_sent(w, s);
	}
	enqueue(w, s);
}

/* One H2CData PDU of at most MAXH2CDATA bytes. */
static void start_data(struct tcp_conn *w, struct slot *s)
{
	struct tcp_tx *tx = tx_of(w, s);
	uint32_t len = MIN(tx->r2t_left, w->maxh2c);

	tx->kind = TX_DATA;
	tx->r2t_left -= len;
	tx->head_len = tcp_pdu_build_h2c_data(&tx->pdu, &w->conf, get16(s->sqe.cid), tx->ttag, s->moved, len,
					      !tx->r2t_left);
	attach_data(w, s, tx, s->moved, len);
	enqueue(w, s);
}

void tcp_send_granted(struct tcp_conn *w, struct slot *s, uint16_t ttag, uint32_t len)
{
	struct tcp_tx *tx = tx_of(w, s);

	assert(tx->kind == TX_IDLE && len <= s->len - s->moved);
	tx->ttag = ttag;
	tx->r2t_left = len;
	start_data(w, s);
}

/* Adds what is unsent of [base, base+len), which begins at *skip of the PDU's unsent offset. */
static unsigned add_part(struct iovec *iov, void *base, uint32_t len, uint32_t *skip)
{
	if (*skip >= len) {
		*skip -= len;
		return 0;
	}
	*iov = (struct iovec){ (uint8_t *)base + *skip, len - *skip };
	*skip = 0;
	return 1;
}

static unsigned add_pdu(struct iovec *iov, struct slot *s, struct tcp_tx *tx)
{
	uint32_t skip = tx->sent;
	unsigned n = add_part(iov, &tx->pdu, tx->head_len, &skip);

	if (tx->data_len)
		n += add_part(iov + n, (uint8_t *)s->mem + tx->data_off, tx->data_len, &skip);
	if (tx->tail_len)
		n += add_part(iov + n, &tx->ddgst, tx->tail_len, &skip);
	return n;
}

/* The PDU at the head of the queue is with the kernel. */
static void pdu_sent(struct tcp_conn *w)
{
	struct slot *s = w->txq;
	struct tcp_tx *tx = tx_of(w, s);

	dequeue(w);
	s->moved += tx->data_len;
	if (tx->kind == TX_DATA && tx->r2t_left && !(s->flags & TCP_RESPONDED)) {
		start_data(w, s);
		return;
	}
	tx->kind = TX_IDLE;
	if (s->flags & TCP_RESPONDED)
		tcp_finish(w, s);
}

static void advance(struct tcp_conn *w, size_t bytes)
{
	while (bytes) {
		struct tcp_tx *tx = tx_of(w, w->txq);
		uint32_t rest = pdu_len(tx) - tx->sent;

		if (bytes < rest) {
			tx->sent += (uint32_t)bytes;
			return;
		}
		bytes -= rest;
		tx->sent += rest;
		pdu_sent(w);
	}
}

static unsigned gather(struct tcp_conn *w, struct iovec *iov, size_t *total)
{
	unsigned n = 0;

	for (struct slot *s = w->txq; s && n + 3 <= SEND_IOV; s = s->next)
		n += add_pdu(iov + n, s, tx_of(w, s));
	*total = 0;
	for (unsigned i = 0; i < n; i++)
		*total += iov[i].iov_len;
	return n;
}

int tcp_push(struct tcp_conn *w)
{
	struct iovec iov[SEND_IOV];
	size_t total;

	while (w->txq) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = gather(w, iov, &total) };
		ssize_t n = sendmsg(w->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -E_LOST;
		advance(w, (size_t)n);
		if ((size_t)n < total) /* the socket is full: EPOLLOUT, or the next poll, goes on */
			return 0;
	}
	return 0;
}

int tcp_send(struct wire *wire, struct slot *const *slots, unsigned n)
{
	struct tcp_conn *w = tcp_conn(wire);

	if (w->dead)
		return w->dead;
	for (unsigned i = 0; i < n; i++) {
		uint16_t cid = get16(slots[i]->sqe.cid);

		assert(cid < w->nslots && !w->slots[cid]);
		w->slots[cid] = slots[i];
		start_capsule(w, slots[i]);
	}
	w->dead = tcp_push(w);
	return w->dead ? w->dead : (int)n;
}

void tcp_send_term(struct tcp_conn *w, const struct tcp_pdu *pdu, const void *header, size_t len)
{
	uint8_t out[24 + TCP_PDU_TERM_DATA_MAX];
	unsigned n = tcp_pdu_build_term(out, TCP_PDU_TO_CTRL, pdu->fes, pdu->fei, header, len);

	if (!w->txq || !tx_of(w, w->txq)->sent) /* never into the middle of a PDU */
		(void)!send(w->fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}
