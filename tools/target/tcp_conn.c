/* SPDX-License-Identifier: Apache-2.0 */
/* One NVMe/TCP connection, that is one queue: ICReq and ICResp, then capsules and data until either side ends it.
 *
 *      CapsuleCmd --> begin --+-> nothing to move, or in the capsule --> execute --> CapsuleResp
 *                             +-> to the host: execute --> C2HData... --> CapsuleResp (or SUCCESS)
 *                             '-> to us: transfer --> R2T --> H2CData --> ... --> execute --> CapsuleResp
 *
 *  1. ttag is the index of a transfer; one is in use from begin to its response, so there are never more than the queue
 *     has
 *     entries unless the host breaks the protocol.
 *  2. Data of a command are asked for in order, so H2CData have to arrive in order (DATAO = bytes received so far).
 *  3. With data digests nothing is received into or sent from a backing itself: what is checked is what is used. */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>
#include "base/crc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "tools/target/tcp.h"

#define POOL_BYTES (16 * MiB)  /* of buffers for data on their way to us, per connection */
#define POOL_MIN 4u
#define BULK_ROOM 512u         /* while bulk data are expected: a few headers behind them */
#define SETUP_SECONDS 10       /* for ICReq and Connect */

struct transfer {
	struct request request;
	uint8_t *data;
	bool pooled;               /* data is a buffer of the pool */
	bool bad;                  /* a data digest did not match */
	uint32_t asked, got;       /* bytes */
	int next;                  /* in the free list or the waiting list; -1 ends */
	bool used;
};

struct conn {
	struct tcp_conn *base;
	const struct tcp_conf *conf;
	struct queue queue;
	_Atomic bool ended;        /* by another thread: what still lies in the socket is not executed any more */
	struct stream stream;
	struct tcp_pdu_limits rx;
	struct tcp_pdu_conf tx;
	uint64_t max_r2t;          /* outstanding ones of a command */
	struct transfer *transfers;
	unsigned nr_transfers, active;
	int free, waiting, waiting_last;
	uint8_t *pool[64];         /* unused buffers */
	unsigned nr_pool, pool_made, pool_max;
};

/* Wakes the thread out of its receive. The flag comes first: commands that were received already are not begun any
 * more. */
static void disconnect(struct queue *q)
{
	struct conn *c = container_of(q, struct conn, queue);

	c->ended = true;
	shutdown(c->base->fd, SHUT_RDWR);
}

/* Queued, not sent: the next receive flushes (tcp.h, invariant 1). */
static int send_cqe(struct conn *c, const struct cqe_wire *cqe)
{
	int err = stream_room(&c->stream, TCP_PDU_HEADER_MAX);
	union tcp_pdu_wire *w;

	if (err)
		return err;
	w = stream_small(&c->stream, sizeof(w->resp) + TCP_PDU_DIGEST_LEN);
	stream_send(&c->stream, w, tcp_pdu_build_resp(w, &c->tx, cqe));
	return 0;
}

static void complete(struct queue *q, const struct cqe_wire *cqe)
{
	send_cqe(container_of(q, struct conn, queue), cqe); /* an error shows at the next receive */
}

static void pad(char *field, size_t len, const char *text)
{
	memset(field, ' ', len);
	memcpy(field, text, MIN(strlen(text), len));
}

/* Fixed-width fields, padded with spaces. */
static void address(struct queue *q, struct discovery_entry_wire *e)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[256] = "", port[32] = "";

	if (!getsockname(container_of(q, struct conn, queue)->base->fd, (struct sockaddr *)&ss, &len))
		getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
	e->trtype = NVME_TRTYPE_TCP;
	e->adrfam = ss.ss_family == AF_INET6 ? NVME_ADRFAM_IPV6 : NVME_ADRFAM_IPV4;
	pad(e->traddr, sizeof(e->traddr), host);
	pad(e->trsvcid, sizeof(e->trsvcid), port);
}

static const struct queue_front front = { disconnect, complete, address };

/* ---- data to the host ---- */

static int send_digest(struct conn *c, const void *data, uint32_t len)
{
	uint32_t crc = crc32c(data, len);
	le32 *digest = stream_small(&c->stream, sizeof(*digest));

	if (!digest)
		return -EPIPE;
	if (fault_corrupts_digest(&c->queue.target->fault))
		crc ^= 1;
	*digest = put32(crc);
	stream_send(&c->stream, digest, sizeof(*digest));
	return 0;
}

/* data stay where they are until the flush: a place in the backing, or bulk memory. */
static int send_chunk(struct conn *c, const struct request *r, const uint8_t *data, uint32_t off, uint32_t len,
		      uint8_t flags)
{
	int err = stream_room(&c->stream, 2 * TCP_PDU_HEADER_MAX);
	union tcp_pdu_wire *w;

	if (err)
		return err;
	w = stream_small(&c->stream, TCP_PDU_HEADER_MAX);
	stream_send(&c->stream, w, tcp_pdu_build_c2h_data(w, &c->tx, get16(r->sqe.cid), off, len, flags));
	stream_send(&c->stream, data + off, len);
	return c->tx.ddgst ? send_digest(c, data + off, len) : 0;
}

/* SUCCESS stands for a response that would say nothing; that needs a host that does without SQHD (NVMe/TCP 3.3.2.2). */
static int send_data(struct conn *c, const struct request *r, const uint8_t *data)
{
	bool success = c->queue.no_flow && !get32(r->cqe.dw0) && !get32(r->cqe.dw1);
	uint32_t step = c->conf->c2h_len;
	int err = 0;

	for (uint32_t off = 0; off < r->len && !err; off += MIN(step, r->len - off)) {
		bool last = r->len - off <= step;
		uint8_t flags = last ? TCP_PDU_F_LAST | (success ? TCP_PDU_F_SUCCESS : 0) : 0;

		err = send_chunk(c, r, data, off, MIN(step, r->len - off), flags);
	}
	if (!err && !success)
		err = send_cqe(c, &r->cqe);
	/* A flush between the chunks let go of the bulk memory that the later ones still use. */
	return !err && r->len > step ? stream_flush(&c->stream) : err;
}

/* With data digests the bytes are copied out first: another queue could change them between digest and sending. */
static int answer_read(struct conn *c, struct request *r)
{
	int err = stream_room(&c->stream, 4 * TCP_PDU_HEADER_MAX);
	void *data = NULL;

	if (err)
		return err;
	if (c->tx.ddgst)
		r->place = NULL;
	if (!r->place && !(data = stream_bulk(&c->stream, r->len)))
		return -EPIPE;
	request_execute(&c->queue, r, data);
	return cqe_status(&r->cqe) ? send_cqe(c, &r->cqe) : send_data(c, r, r->place ? r->place : data);
}

/* ---- data to us ---- */

/* Asks for more while the host allows more R2Ts for one command (MAXR2T, 0-based on the wire). asked - got is what
 * is still to come. */
static int send_r2ts(struct conn *c, struct transfer *t)
{
	uint32_t step = c->conf->r2t_len;

	while (t->asked < t->request.len && DIV_UP(t->asked - t->got, step) < c->max_r2t) {
		uint32_t len = MIN(step, t->request.len - t->asked);
		int err = stream_room(&c->stream, TCP_PDU_HEADER_MAX);
		union tcp_pdu_wire *w;

		if (err)
			return err;
		w = stream_small(&c->stream, sizeof(w->r2t) + TCP_PDU_DIGEST_LEN);
		stream_send(&c->stream, w,
			    tcp_pdu_build_r2t(w, &c->tx, get16(t->request.sqe.cid), (uint16_t)(t - c->transfers),
					      t->asked, len));
		t->asked += len;
	}
	return 0;
}

/* Buffers of MDTS bytes, made as needed up to pool_max and kept; NULL: none now. */
static uint8_t *pool_get(struct conn *c)
{
	void *p;

	if (c->nr_pool)
		return c->pool[--c->nr_pool];
	if (c->pool_made == c->pool_max)
		return NULL;
	p = mmap(NULL, c->queue.target->conf.mdts, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	c->pool_made++;
	return p;
}

/* Gives a transfer memory and asks for its data, or lets it wait for memory. */
static int start_transfer(struct conn *c, struct transfer *t)
{
	if (t->request.place && !c->rx.ddgst) {
		t->data = t->request.place;
	} else {
		t->data = pool_get(c);
		t->pooled = true;
	}
	if (t->data) {
		c->active++;
		return send_r2ts(c, t);
	}
	/* Nobody would ever give a buffer back: waiting would be for ever. */
	if (!c->pool_made)
		return -ENOMEM;
	t->next = -1;
	if (c->waiting < 0)
		c->waiting = (int)(t - c->transfers);
	else
		c->transfers[c->waiting_last].next = (int)(t - c->transfers);
	c->waiting_last = (int)(t - c->transfers);
	return 0;
}

static int new_transfer(struct conn *c, const struct request *r)
{
	struct transfer *t;

	if (c->free < 0) {
		log_warn("a host has more commands outstanding than its queue has entries");
		return -E_BAD_PDU;
	}
	t = &c->transfers[c->free];
	c->free = t->next;
	*t = (struct transfer){ .request = *r, .used = true };
	return start_transfer(c, t);
}

/* A buffer that comes back starts the oldest waiting transfer. A digest that did not match fails the command, not
 * the connection: the host may send it again (NVMe/TCP, data digest errors are not fatal). */
static int end_transfer(struct conn *c, struct transfer *t)
{
	int err, next = c->waiting;

	if (t->bad)
		request_fail(&c->queue, &t->request, NVME_SC_TRANSIENT_TRANSPORT);
	else
		request_execute(&c->queue, &t->request, t->data);
	err = send_cqe(c, &t->request.cqe);
	if (t->pooled)
		c->pool[c->nr_pool++] = t->data;
	t->used = false;
	t->next = c->free;
	c->free = (int)(t - c->transfers);
	c->active--;
	if (err || next < 0 || !c->nr_pool)
		return err;
	c->waiting = c->transfers[next].next;
	return start_transfer(c, &c->transfers[next]);
}

/* For C2HTermReq: what was wrong and where in the header. */
static int bad_data(struct tcp_pdu *pdu, uint16_t fes, uint32_t fei)
{
	pdu->fes = fes;
	pdu->fei = fei;
	return -E_BAD_PDU;
}

/* Receives a data digest and compares. */
static int take_digest(struct conn *c, const void *data, uint32_t len, bool *bad)
{
	le32 digest;
	int err = stream_take(&c->stream, &digest, sizeof(digest));

	if (!err && get32(digest) != crc32c(data, len)) {
		log_warn("queue %u: data digest mismatch", c->queue.qid);
		*bad = true;
	}
	return err;
}

/* The ttag is the host's word: it must name a transfer that is in use and belong to its command. Data must continue
 * where they stopped, inside of what was asked for (invariant 2). */
static int on_data(struct conn *c, struct tcp_pdu *pdu)
{
	struct tcp_data_wire head;
	struct transfer *t;
	uint16_t ttag;
	int err;

	memcpy(&head, stream_at(&c->stream), sizeof(head));
	ttag = get16(head.ttag);
	if (ttag >= c->nr_transfers || !c->transfers[ttag].used ||
	    get16(head.cccid) != get16(c->transfers[ttag].request.sqe.cid))
		return bad_data(pdu, TCP_FES_HEADER_FIELD, offsetof(struct tcp_data_wire, ttag));
	t = &c->transfers[ttag];
	if (get32(head.datao) != t->got || pdu->data_len > t->asked - t->got)
		return bad_data(pdu, TCP_FES_OUT_OF_RANGE, 0);
	stream_skip(&c->stream, pdu->header_len);
	err = stream_take(&c->stream, NULL, pdu->data_off - pdu->header_len);
	err = err ? err : stream_take(&c->stream, t->data + t->got, pdu->data_len);
	if (!err && pdu->ddgst)
		err = take_digest(c, t->data + t->got, pdu->data_len, &t->bad);
	if (err)
		return err;
	t->got += pdu->data_len;
	return t->got == t->request.len ? end_transfer(c, t) : send_r2ts(c, t);
}

/* ---- commands ---- */

static int run_command(struct conn *c, struct request *r, const uint8_t *capsule, bool bad)
{
	if (!r->done && bad)
		request_fail(&c->queue, r, NVME_SC_TRANSIENT_TRANSPORT);
	if (!r->done && r->held)
		return 0;
	if (!r->done && r->dir == REQUEST_TO_HOST)
		return answer_read(c, r);
	if (!r->done && r->dir == REQUEST_TO_CTRL && !r->in_capsule)
		return new_transfer(c, r);
	if (!r->done)
		request_execute(&c->queue, r, r->dir ? (void *)(capsule + r->capsule_off) : NULL);
	return send_cqe(c, &r->cqe);
}

/* The first command of a queue was its Connect, or failed: then the host may try again. */
static void after_connect(struct conn *c)
{
	static const struct timeval forever;

	if (!c->queue.ctrl)
		return;
	c->rx.max_incapsule = c->queue.incapsule;
	setsockopt(c->base->fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
}

/* The capsule is used in the receive buffer and skipped afterwards, so nothing may be received in between. */
static int on_command(struct conn *c, struct tcp_pdu *pdu)
{
	struct request r;
	const uint8_t *capsule;
	bool bad = false, connected = c->queue.ctrl;
	int err = stream_need(&c->stream, pdu->plen); /* at most max_incapsule and headers: fits */
	le32 digest;

	if (err)
		return err;
	memcpy(&r.sqe, stream_at(&c->stream) + offsetof(struct tcp_cmd_wire, sqe), sizeof(r.sqe));
	capsule = stream_at(&c->stream) + pdu->data_off;
	r.capsule_len = pdu->data_len;
	if (pdu->ddgst) {
		memcpy(&digest, capsule + pdu->data_len, sizeof(digest));
		bad = get32(digest) != crc32c(capsule, pdu->data_len);
	}
	request_begin(&c->queue, &r);
	err = run_command(c, &r, capsule, bad);
	stream_skip(&c->stream, pdu->plen);
	if (!connected)
		after_connect(c);
	return err;
}

/* ---- connection ---- */

/* Digests are granted if the host asks and we are told to; PDA of ICReq is what the host wants for data to it, CPDA
 * what we want. ICResp itself goes without digests (tx is set after it is built). */
static int on_ic_req(struct conn *c, struct tcp_pdu *pdu)
{
	struct tcp_ic_wire req;
	union tcp_pdu_wire *w;
	uint8_t dgst;
	int err;

	memcpy(&req, stream_at(&c->stream), sizeof(req));
	err = tcp_pdu_check_ic(&req, pdu);
	if (err)
		return err;
	stream_skip(&c->stream, sizeof(req));
	dgst = req.dgst & ((c->conf->hdr_digest ? TCP_PDU_DIGEST_HDR : 0) |
			   (c->conf->data_digest ? TCP_PDU_DIGEST_DATA : 0));
	w = stream_small(&c->stream, sizeof(*w));
	if (!w)
		return -EPIPE;
	stream_send(&c->stream, w, tcp_pdu_build_ic_resp(w, c->conf->cpda, dgst, c->conf->max_h2c));
	c->max_r2t = get32(req.max) + 1ull;
	c->tx = (struct tcp_pdu_conf){ dgst & TCP_PDU_DIGEST_HDR, dgst & TCP_PDU_DIGEST_DATA, req.pda };
	c->rx.hdgst = c->tx.hdgst;
	c->rx.ddgst = c->tx.ddgst;
	c->rx.connected = true;
	return 0;
}

static int on_term(struct conn *c, struct tcp_pdu *pdu)
{
	const struct tcp_term_wire *term = (const void *)stream_at(&c->stream);

	log_warn("a host ended its connection: %s (fes %u, fei %u)", tcp_pdu_fes_text(get16(term->fes)),
		 get16(term->fes), get32(term->fei));
	return -E_BAD_PDU;
}

/* Checked in two steps: the length of the header must be known to be good before the header is waited for.
 * -ECONNRESET is the usual end. */
static int one_pdu(struct conn *c, struct tcp_pdu *pdu)
{
	int err;

	c->stream.room_limit = c->active ? BULK_ROOM : UINT32_MAX;
	err = stream_need(&c->stream, TCP_PDU_CH_LEN);
	err = err ? err : tcp_pdu_check_common(&c->rx, stream_at(&c->stream), pdu);
	err = err ? err : stream_need(&c->stream, pdu->header_len);
	err = err ? err : tcp_pdu_check(&c->rx, stream_at(&c->stream), pdu->header_len, pdu);
	if (err || c->ended)
		return err ? err : -ECONNRESET;
	queue_seen(&c->queue);
	switch (pdu->type) {
	case TCP_PDU_IC_REQ:
		return on_ic_req(c, pdu);
	case TCP_PDU_CMD:
		return on_command(c, pdu);
	case TCP_PDU_H2C_DATA:
		return on_data(c, pdu);
	default:
		return on_term(c, pdu);
	}
}

/* Tells the host what was wrong, and gives it a second to read that before the connection goes. */
static void send_term(struct conn *c, const struct tcp_pdu *pdu)
{
	static const struct timeval second = { .tv_sec = 1 };
	uint8_t term[sizeof(struct tcp_term_wire) + TCP_PDU_TERM_DATA_MAX];
	unsigned len = tcp_pdu_build_term(term, TCP_PDU_TO_HOST, pdu->fes, pdu->fei, stream_at(&c->stream),
					  MIN(c->stream.end - c->stream.pos, pdu->header_len ? pdu->header_len + 0u : 8u));

	log_warn("queue %u: a bad PDU of type %02x: %s (fei %u)", c->queue.qid, pdu->type, tcp_pdu_fes_text(pdu->fes),
		 pdu->fei);
	if (stream_flush(&c->stream) || send(c->base->fd, term, len, MSG_NOSIGNAL) < 0)
		return;
	shutdown(c->base->fd, SHUT_WR);
	setsockopt(c->base->fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	while (recv(c->base->fd, term, sizeof(term), 0) > 0)
		;
}

/* Before Connect a time limit, so that silent connections do not pile up. */
static int conn_init(struct conn *c, struct tcp_conn *base)
{
	static const struct timeval setup = { .tv_sec = SETUP_SECONDS };
	struct target *t = base->server->target;
	uint32_t incapsule = MAX(t->conf.incapsule, TARGET_ADMIN_INCAPSULE);

	c->base = base;
	c->conf = &base->server->conf;
	c->rx = (struct tcp_pdu_limits){ .dir = TCP_PDU_TO_CTRL, .pda = c->conf->cpda,
					 .max_incapsule = TARGET_ADMIN_INCAPSULE, .max_data = c->conf->max_h2c };
	c->pool_max = (unsigned)MIN(MAX(POOL_BYTES / t->conf.mdts, POOL_MIN), ARRAY_SIZE(c->pool));
	c->nr_transfers = MAX(t->conf.queue_size, TARGET_ADMIN_ENTRIES);
	c->waiting = c->waiting_last = -1;
	c->transfers = calloc(c->nr_transfers, sizeof(*c->transfers));
	if (!c->transfers)
		return -ENOMEM;
	for (unsigned i = 0; i < c->nr_transfers; i++)
		c->transfers[i].next = i + 1 < c->nr_transfers ? (int)i + 1 : -1;
	queue_init(&c->queue, t, &front);
	setsockopt(base->fd, SOL_SOCKET, SO_RCVTIMEO, &setup, sizeof(setup));
	return stream_init(&c->stream, base->fd, (uint32_t)(incapsule + 128 * KiB), (uint32_t)(t->conf.mdts + 512 * KiB),
			   c->conf->spin_us * 1000ull);
}

/* The queue leaves its controller first: after that nobody else knows of c. */
static void conn_exit(struct conn *c)
{
	queue_exit(&c->queue);
	for (unsigned i = 0; c->transfers && i < c->nr_transfers; i++)
		if (c->transfers[i].used && c->transfers[i].pooled && c->transfers[i].data)
			munmap(c->transfers[i].data, c->queue.target->conf.mdts);
	while (c->nr_pool)
		munmap(c->pool[--c->nr_pool], c->queue.target->conf.mdts);
	stream_exit(&c->stream);
	free(c->transfers);
}

/* Only protocol errors are worth a C2HTermReq: with any other the connection is gone, or the host is ending it. */
void tcp_conn_run(struct tcp_conn *base)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct tcp_pdu pdu = { 0 };
	int err = c ? conn_init(c, base) : -ENOMEM;

	while (!err)
		err = one_pdu(c, &pdu);
	if ((err == -E_BAD_PDU || err == -E_HEADER_DIGEST) && pdu.fes)
		send_term(c, &pdu);
	else if (err == -ENOMEM)
		log_error("a connection is closed: %s", err_text(err));
	if (c)
		conn_exit(c);
	free(c);
}
