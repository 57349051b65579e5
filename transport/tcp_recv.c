/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP, receiving. A header is read into the staging and checked, then the payload is received straight into the
 * slot's memory with the staging behind it in the same call. While large reads are out, the staging is asked for no more
 * than the headers that must come next, so nothing of their payload lands there; else it is asked for all it holds:
 * copying a few KiB is cheaper than a system call, and is counted. Small reads alone: see tcp_guess.c.
 *
 *   HEADER --C2HData--> PAD --> DATA --> DIGEST --> HEADER */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/log.h"
#include "transport/ns.h"
#include "transport/tcp.h"

#define PDU_HEADER 24u /* of everything that a controller sends after ICResp */

/* The peer broke a rule that tcp_pdu_check does not know. */
static int violation(struct tcp_conn *w, const void *header, uint16_t fes, uint32_t fei)
{
	w->rx_pdu.fes = fes;
	w->rx_pdu.fei = fei;
	tcp_send_term(w, &w->rx_pdu, header, w->rx_pdu.header_len);
	return -E_BAD_PDU;
}

static struct slot *slot_of(struct tcp_conn *w, le16 cid)
{
	return get16(cid) < w->nslots ? w->slots[get16(cid)] : NULL;
}

void tcp_finish(struct tcp_conn *w, struct slot *s)
{
	w->slots[get16(s->sqe.cid)] = NULL;
	w->outstanding--;
	if (s->flags & TCP_LARGE)
		w->large--;
	if (s->flags & TCP_GUESSABLE)
		tcp_guess_finished(w, s);
	s->next = NULL;
	*w->done_tail = s;
	w->done_tail = &s->next;
}

static int got_response(struct tcp_conn *w, const struct tcp_resp_wire *resp)
{
	struct slot *s = slot_of(w, resp->cqe.cid);
	struct tcp_tx *tx = &w->tx[get16(resp->cqe.cid) % w->nslots];

	/* Nobody can have answered a command that has not left. */
	if (!s || s->flags & TCP_RESPONDED || tx->kind == TX_CAPSULE)
		return violation(w, resp, TCP_FES_HEADER_FIELD, offsetof(struct tcp_resp_wire, cqe.cid));
	if (!cqe_status(&resp->cqe) && s->dir != SLOT_NONE && s->moved != s->len)
		return violation(w, resp, TCP_FES_SEQUENCE, 0);
	s->cqe = resp->cqe;
	s->flags |= TCP_RESPONDED;
	if (tx->kind == TX_IDLE)
		tcp_finish(w, s);
	return 0;
}

static int got_r2t(struct tcp_conn *w, const struct tcp_r2t_wire *r2t)
{
	struct slot *s = slot_of(w, r2t->cccid);
	uint32_t len = get32(r2t->r2tl);

	if (!s || s->dir != SLOT_TO_CTRL || s->flags & (TCP_INCAPSULE | TCP_RESPONDED))
		return violation(w, r2t, TCP_FES_HEADER_FIELD, offsetof(struct tcp_r2t_wire, cccid));
	if (w->tx[get16(r2t->cccid)].kind != TX_IDLE)
		return violation(w, r2t, TCP_FES_LIMIT, 0);
	if (get32(r2t->r2to) != s->moved || !len || len > s->len - s->moved)
		return violation(w, r2t, TCP_FES_OUT_OF_RANGE, 0);
	tcp_send_granted(w, s, get16(r2t->ttag), len);
	return 0;
}

static int got_data_header(struct tcp_conn *w, const struct tcp_data_wire *data)
{
	struct slot *s = slot_of(w, data->cccid);
	uint32_t len = w->rx_pdu.data_len;

	if (!s || s->dir != SLOT_TO_HOST || w->tx[get16(data->cccid)].kind != TX_IDLE)
		return violation(w, data, TCP_FES_HEADER_FIELD, offsetof(struct tcp_data_wire, cccid));
	if (get32(data->datao) != s->moved || len > s->len - s->moved)
		return violation(w, data, TCP_FES_OUT_OF_RANGE, 0);
	if (w->rx_pdu.flags & TCP_PDU_F_SUCCESS && len != s->len - s->moved)
		return violation(w, data, TCP_FES_SEQUENCE, 0);
	s->crc = 0;
	w->rx_slot = s;
	w->rx_left = w->rx_pdu.data_off - w->rx_pdu.header_len;
	w->rx_state = RX_PAD;
	return 0;
}

/* All of a C2HData PDU is there. */
static void end_of_data(struct tcp_conn *w)
{
	struct slot *s = w->rx_slot;

	w->rx_slot = NULL;
	w->rx_state = RX_HEADER;
	if (w->rx_pdu.flags & TCP_PDU_F_LAST)
		w->responds = !(w->rx_pdu.flags & TCP_PDU_F_SUCCESS);
	if (!(w->rx_pdu.flags & TCP_PDU_F_SUCCESS))
		return;
	s->cqe = (struct cqe_wire){ .cid = s->sqe.cid };
	tcp_finish(w, s);
}

void tcp_data_arrived(struct tcp_conn *w, uint32_t n)
{
	struct slot *s = w->rx_slot;

	if (w->rx_pdu.ddgst)
		s->crc = crc32c_more(s->crc, (uint8_t *)s->mem + s->moved, n);
	s->moved += n;
	w->rx_left -= n;
	if (w->rx_left)
		return;
	if (w->rx_pdu.ddgst) {
		w->rx_state = RX_DIGEST;
		w->rx_left = TCP_PDU_DIGEST_LEN;
	} else {
		end_of_data(w);
	}
}

static void copy_data(struct tcp_conn *w, const uint8_t *from, uint32_t n)
{
	struct slot *s = w->rx_slot;

	memcpy((uint8_t *)s->mem + s->moved, from, n);
	if (w->stats)
		atomic_store_explicit(&w->stats->copied_read,
				      atomic_load_explicit(&w->stats->copied_read, memory_order_relaxed) + n,
				      memory_order_relaxed);
	tcp_data_arrived(w, n);
}

/* Only this command suffers: it completes with an error of its own and is tried again. */
static void check_digest(struct tcp_conn *w, const uint8_t *bytes)
{
	le32 got;

	memcpy(&got, bytes, sizeof(got));
	if (get32(got) != w->rx_slot->crc)
		w->rx_slot->status = -E_DATA_DIGEST;
	end_of_data(w);
}

static int got_term(struct tcp_conn *w, const struct tcp_term_wire *term)
{
	log_warn("queue %u: the controller ended the connection: %s (FES %02xh, FEI %08xh)", w->qid,
		 tcp_pdu_fes_text(get16(term->fes)), get16(term->fes), get32(term->fei));
	return -E_LOST;
}

static int got_header(struct tcp_conn *w, const uint8_t *bytes)
{
	const union tcp_pdu_wire *pdu = (const union tcp_pdu_wire *)bytes;

	switch (w->rx_pdu.type) {
	case TCP_PDU_RESP:
		return got_response(w, &pdu->resp);
	case TCP_PDU_C2H_DATA:
		return got_data_header(w, &pdu->data);
	case TCP_PDU_R2T:
		return got_r2t(w, &pdu->r2t);
	case TCP_PDU_C2H_TERM:
		return got_term(w, &pdu->term);
	}
	return violation(w, bytes, TCP_FES_SEQUENCE, 0);
}

static int parse_header(struct tcp_conn *w)
{
	const uint8_t *bytes = w->staging + w->rx_pos;
	int r = tcp_pdu_check(&w->expect, bytes, w->rx_end - w->rx_pos, &w->rx_pdu);

	if (r == -EAGAIN)
		return r;
	if (r) {
		tcp_send_term(w, &w->rx_pdu, bytes, MIN(w->rx_end - w->rx_pos, PDU_HEADER));
		return r;
	}
	w->rx_pos += w->rx_pdu.header_len;
	return got_header(w, bytes);
}

int tcp_parse_step(struct tcp_conn *w)
{
	const uint8_t *bytes = w->staging + w->rx_pos;
	uint32_t n = MIN(w->rx_end - w->rx_pos, w->rx_left);

	switch (w->rx_state) {
	case RX_HEADER:
		return parse_header(w);
	case RX_PAD:
		w->rx_pos += n;
		w->rx_left -= n;
		if (w->rx_left)
			return -EAGAIN;
		w->rx_state = RX_DATA;
		w->rx_left = w->rx_pdu.data_len;
		return 0;
	case RX_DATA:
		w->rx_pos += n;
		if (n)
			copy_data(w, bytes, n);
		return n ? 0 : -EAGAIN;
	case RX_DIGEST:
		if (n < TCP_PDU_DIGEST_LEN)
			return -EAGAIN;
		w->rx_pos += n;
		check_digest(w, bytes);
		return 0;
	}
	return -E_BAD_PDU;
}

int tcp_parse(struct tcp_conn *w)
{
	int r;

	do
		r = tcp_parse_step(w);
	while (!r);
	return r == -EAGAIN ? 0 : r;
}

/* Bytes to ask the staging for. With large reads out (or, of a header, when the data behind it will be guessed): what is left of the header, or the digest, the response if one must
 * follow, and the next header, all of which come before any further payload. */
static uint32_t staging_wanted(const struct tcp_conn *w)
{
	uint32_t header = PDU_HEADER + (w->conf.hdgst ? TCP_PDU_DIGEST_LEN : 0), want, have = w->rx_end - w->rx_pos;

	if (w->rx_state == RX_HEADER && (w->large || (w->small && w->small == w->outstanding && !w->guess_pause)))
		return header - have;
	if (!w->large)
		return TCP_STAGING - w->rx_end;
	want = w->rx_pdu.ddgst ? TCP_PDU_DIGEST_LEN : 0;
	want += header;
	if ((w->rx_pdu.flags & (TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS)) == TCP_PDU_F_LAST)
		want += header;
	if (w->rx_state == RX_PAD) /* the payload itself follows: only the padding may be read */
		want = w->rx_left;
	return want - MIN(have, want - 1);
}

/* The staging holds an unfinished header or digest at most; it moves to the front. */
static void compact(struct tcp_conn *w)
{
	uint32_t have = w->rx_end - w->rx_pos;

	if (have && w->rx_pos)
		memmove(w->staging, w->staging + w->rx_pos, have);
	w->rx_pos = 0;
	w->rx_end = have;
}

/* One recvmsg. Bytes received with *full telling whether it was all that was asked for; 0: none there; < 0: dead. */
static ssize_t fill(struct tcp_conn *w, bool *full)
{
	struct iovec iov[2];
	struct msghdr msg = { .msg_iov = iov };
	uint32_t direct = w->rx_state == RX_DATA ? w->rx_left : 0, want;
	ssize_t n;

	compact(w);
	want = staging_wanted(w);
	if (direct)
		iov[msg.msg_iovlen++] = (struct iovec){ (uint8_t *)w->rx_slot->mem + w->rx_slot->moved, direct };
	iov[msg.msg_iovlen++] = (struct iovec){ w->staging + w->rx_end, want };
	do
		n = recvmsg(w->fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -E_LOST;
	*full = (size_t)n == (size_t)direct + want;
	if (direct)
		tcp_data_arrived(w, (uint32_t)MIN((size_t)n, (size_t)direct));
	if ((size_t)n > direct)
		w->rx_end += (uint32_t)((size_t)n - direct);
	return n;
}

/* Until the socket is drained, or enough came for the owner to have something to do. */
static int receive(struct tcp_conn *w)
{
	for (unsigned i = 0; i < 16; i++) {
		bool full = false;
		ssize_t n = tcp_guess_possible(w) ? tcp_guess_fill(w, &full) : fill(w, &full);
		int r = n > 0 ? tcp_parse(w) : (int)n;

		if (r < 0)
			return r;
		if (!full)
			break;
	}
	return 0;
}

int tcp_poll(struct wire *wire, struct slot **done, unsigned max)
{
	struct tcp_conn *w = tcp_conn(wire);
	unsigned n = 0;

	if (!w->done && !w->dead) {
		w->dead = receive(w);
		if (!w->dead && w->txq)
			w->dead = tcp_push(w);
	}
	while (n < max && w->done) {
		done[n++] = w->done;
		w->done = w->done->next;
	}
	if (!w->done)
		w->done_tail = &w->done;
	return n ? (int)n : w->dead; /* what was finished before it died is finished; the next poll tells */
}
