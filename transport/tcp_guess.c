/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP, receiving small reads without copying and without a system call for each header: while nothing but small reads
 * is out, it is guessed that the controller answers them in order, each with one PDU. One recvmsg is then asked for
 *
 *      frame 0 | data of the oldest read | frame 1 | data of the next | ... | last frame
 *
 * A frame is what stands between the data: the digest and the response of the read before, the header of the one
 * behind. Frames go through the parser as if they had come by the staging.
 *
 * where the first data may be the rest of a read that has begun.
 *
 *  1. What was guessed is believed only when the parser, having seen the frame, waits for exactly these data.
 *  2. At the first wrong guess everything behind is moved to the staging before a byte of it is parsed: the parser writes
 *     to the memory of slots, where these bytes lie. Memory of a read that is out may be written to at any time.
 *  3. A guess is never larger than the staging. Wrong guesses make a pause, which doubles (a controller that answers out
 *     of order); with one command out there is nothing to guess wrong but its shape. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/err.h"
#include "transport/tcp.h"

#define HEADER 24u
#define PAUSE_MAX 1024u

struct plan {
	struct slot *slots[TCP_GUESSES];
	struct iovec iov[2 * TCP_GUESSES + 1];
	unsigned n;
	size_t total;
};

void tcp_guess_sent(struct tcp_conn *w, struct slot *s)
{
	uint16_t cid = get16(s->sqe.cid);
	struct tcp_tx *tx = &w->tx[cid];

	s->flags |= TCP_GUESSABLE;
	tx->younger = TCP_NO_CID;
	tx->older = w->youngest;
	if (w->youngest == TCP_NO_CID)
		w->oldest = cid;
	else
		w->tx[w->youngest].younger = cid;
	w->youngest = cid;
	w->small++;
}

void tcp_guess_finished(struct tcp_conn *w, struct slot *s)
{
	struct tcp_tx *tx = &w->tx[get16(s->sqe.cid)];

	if (tx->older == TCP_NO_CID)
		w->oldest = tx->younger;
	else
		w->tx[tx->older].younger = tx->younger;
	if (tx->younger == TCP_NO_CID)
		w->youngest = tx->older;
	else
		w->tx[tx->younger].older = tx->older;
	w->small--;
}

bool tcp_guess_possible(struct tcp_conn *w)
{
	if (!w->small || w->small != w->outstanding || w->rx_pos != w->rx_end)
		return false;
	if (w->rx_state != RX_DATA && (w->rx_state != RX_HEADER || w->slots[w->oldest]->moved))
		return false;
	if (!w->guess_pause || w->outstanding == 1)
		return true;
	w->guess_pause--;
	return false;
}

static void add(struct plan *p, void *base, size_t len)
{
	p->iov[p->n++] = (struct iovec){ base, len };
	p->total += len;
}

/* How many reads the plan has; their slots are noted. */
static unsigned make_plan(struct tcp_conn *w, struct plan *p)
{
	unsigned header = HEADER + (w->conf.hdgst ? TCP_PDU_DIGEST_LEN : 0), k = 0;
	unsigned tail = (w->conf.ddgst ? TCP_PDU_DIGEST_LEN : 0) + (w->responds ? header : 0);

	p->n = 0;
	p->total = 0;
	if (w->rx_state == RX_DATA) { /* an empty frame, and the rest */
		add(p, w->frames[0], 0);
		add(p, (uint8_t *)w->rx_slot->mem + w->rx_slot->moved, w->rx_left);
		p->slots[k++] = w->rx_slot;
	}
	for (uint16_t cid = w->oldest; cid != TCP_NO_CID && k < TCP_GUESSES; cid = w->tx[cid].younger) {
		struct slot *s = w->slots[cid];

		if (s == w->rx_slot)
			continue;
		if (s->moved || p->total + header + s->len + 2 * tail > TCP_STAGING)
			break;
		p->slots[k] = s;
		add(p, w->frames[k], k ? tail + header : header);
		add(p, s->mem, s->len);
		k++;
	}
	add(p, w->frames[k], tail);
	return k;
}

static void stage(struct tcp_conn *w, const void *bytes, size_t len)
{
	assert(len <= TCP_STAGING - w->rx_end);
	memcpy(w->staging + w->rx_end, bytes, len);
	w->rx_end += (uint32_t)len;
}

/* Everything of the plan from part i on that was received, n bytes, to the staging. */
static void spill(struct tcp_conn *w, const struct plan *p, unsigned i, size_t n)
{
	for (; n; i++) {
		size_t len = MIN(n, p->iov[i].iov_len);

		stage(w, p->iov[i].iov_base, len);
		n -= len;
	}
}

/* Up to the point where a slot's memory would be touched. */
static int parse_frame(struct tcp_conn *w)
{
	int r;

	do
		r = tcp_parse_step(w);
	while (!r && w->rx_state != RX_DATA);
	return r == -EAGAIN ? 0 : r;
}

static bool guessed_right(const struct tcp_conn *w, const struct slot *s, size_t len)
{
	return w->rx_state == RX_DATA && w->rx_slot == s && w->rx_left == len && w->rx_pos == w->rx_end;
}

static void wrong(struct tcp_conn *w)
{
	w->guess_penalty = MIN(w->guess_penalty ? w->guess_penalty * 2 : 4, PAUSE_MAX);
	w->guess_pause = w->guess_penalty;
}

/* n bytes came for k reads. */
static int take(struct tcp_conn *w, const struct plan *p, unsigned k, size_t n)
{
	for (unsigned i = 0; i <= k && n; i++) {
		size_t len = MIN(n, p->iov[2 * i].iov_len);
		int r;

		stage(w, p->iov[2 * i].iov_base, len);
		n -= len;
		r = len ? parse_frame(w) : 0;
		if (r)
			return r;
		if (!n)
			break;
		if (i == k || !guessed_right(w, p->slots[i], p->iov[2 * i + 1].iov_len)) {
			wrong(w);
			spill(w, p, 2 * i + 1, n);
			break;
		}
		len = MIN(n, p->iov[2 * i + 1].iov_len);
		tcp_data_arrived(w, (uint32_t)len);
		n -= len;
		w->guess_penalty = 0;
	}
	return tcp_parse(w);
}

ssize_t tcp_guess_fill(struct tcp_conn *w, bool *full)
{
	struct plan p;
	unsigned k = make_plan(w, &p);
	struct msghdr msg = { .msg_iov = p.iov, .msg_iovlen = p.n };
	ssize_t n;
	int r;

	assert(k);
	w->rx_pos = w->rx_end = 0;
	do
		n = recvmsg(w->fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 && errno == EAGAIN ? 0 : -E_LOST;
	*full = (size_t)n == p.total;
	r = take(w, &p, k, (size_t)n);
	return r ? r : n;
}
