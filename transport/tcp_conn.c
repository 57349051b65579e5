/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP, the connection: resolve, connect, exchange ICReq and ICResp, stop. Connecting blocks its caller (the control
 * thread) up to a limit; from then on the socket is never waited for here. */
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "transport/tcp.h"

/* One line for the user; returns code. */
static int __attribute__((format(printf, 3, 4))) fail(const struct wire_conf *conf, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (conf->why)
		vsnprintf(conf->why, conf->why_len, format, ap);
	va_end(ap);
	return code;
}

static int ms_left(uint64_t deadline)
{
	uint64_t now = clock_now();

	return now >= deadline ? 0 : (int)DIV_UP(deadline - now, NS_PER_MS);
}

/* 0 when fd has one of events, -E_TIMEDOUT at the deadline. */
static int wait_fd(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int r;

	do
		r = poll(&p, 1, ms_left(deadline));
	while (r < 0 && errno == EINTR);
	return r > 0 ? 0 : r == 0 ? -E_TIMEDOUT : -errno;
}

static int bind_source(int fd, int family, const struct ns_addr *a)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *ai;
	int r;

	if (a->host_iface[0] &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, a->host_iface, (socklen_t)strlen(a->host_iface)))
		return -errno;
	if (!a->host_traddr[0])
		return 0;
	if (getaddrinfo(a->host_traddr, NULL, &hints, &ai))
		return -EADDRNOTAVAIL;
	r = bind(fd, ai->ai_addr, ai->ai_addrlen) ? -errno : 0;
	freeaddrinfo(ai);
	return r;
}

static int finish_connect(int fd, uint64_t deadline)
{
	socklen_t len = sizeof(int);
	int err, r = wait_fd(fd, POLLOUT, deadline);

	if (r)
		return r;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) ? -errno : -err;
}

/* A connected non-blocking socket, or < 0. */
static int connect_one(const struct addrinfo *ai, const struct wire_conf *conf, uint64_t deadline)
{
	int one = 1, timeout = (int)conf->user_timeout_ms;
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (timeout)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	r = bind_source(fd, ai->ai_family, conf->addr);
	if (!r)
		r = connect(fd, ai->ai_addr, ai->ai_addrlen) ? -errno : 0;
	if (r == -EINPROGRESS)
		r = finish_connect(fd, deadline);
	if (!r)
		return fd;
	close(fd);
	return r;
}

static int connect_any(const struct wire_conf *conf, uint64_t deadline)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list;
	int r = getaddrinfo(conf->addr->host, conf->addr->port, &hints, &list), fd = -EHOSTUNREACH;

	if (r)
		return fail(conf, -EHOSTUNREACH, "no such host \"%s\" (%s)", conf->addr->host, gai_strerror(r));
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = connect_one(ai, conf, deadline);
	freeaddrinfo(list);
	if (fd == -ECONNREFUSED)
		return fail(conf, fd, "connection refused (nothing listens on port %s there)", conf->addr->port);
	if (fd < 0)
		return fail(conf, fd, "cannot connect: %s", err_text(fd));
	return fd;
}

/* All of len bytes in or out before the deadline. */
static int transfer(int fd, bool out, uint8_t *bytes, size_t len, uint64_t deadline)
{
	while (len) {
		ssize_t n = out ? send(fd, bytes, len, MSG_NOSIGNAL) : recv(fd, bytes, len, 0);
		int r;

		if (n == 0 && !out)
			return -E_LOST;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
			continue;
		}
		r = wait_fd(fd, out ? POLLOUT : POLLIN, deadline);
		if (r)
			return r;
	}
	return 0;
}

static int check_ic_resp(struct tcp_conn *w, const struct wire_conf *conf, const union tcp_pdu_wire *pdu)
{
	const struct tcp_ic_wire *ic = &pdu->ic;
	struct tcp_pdu info;

	if (tcp_pdu_check(&w->expect, pdu->bytes, sizeof(*ic), &info) || tcp_pdu_check_ic(ic, &info))
		return fail(conf, -E_BAD_PDU, "what answers there is not NVMe/TCP (malformed ICResp)");
	w->conf.hdgst = ic->dgst & TCP_PDU_DIGEST_HDR;
	w->conf.ddgst = ic->dgst & TCP_PDU_DIGEST_DATA;
	if ((w->conf.hdgst && !conf->hdr_digest) || (w->conf.ddgst && !conf->data_digest))
		return fail(conf, -E_BAD_PDU, "the controller switched digests on that were not asked for");
	if (conf->hdr_digest && !w->conf.hdgst)
		return fail(conf, -ENOTSUP, "the controller does not do header digests");
	if (conf->data_digest && !w->conf.ddgst)
		return fail(conf, -ENOTSUP, "the controller does not do data digests");
	w->conf.pda = ic->pda;
	w->maxh2c = get32(ic->max);
	w->expect.hdgst = w->conf.hdgst;
	w->expect.ddgst = w->conf.ddgst;
	w->expect.connected = true;
	return 0;
}

static int exchange_ic(struct tcp_conn *w, const struct wire_conf *conf, uint64_t deadline)
{
	uint8_t dgst = (uint8_t)((conf->hdr_digest ? TCP_PDU_DIGEST_HDR : 0) | (conf->data_digest ? TCP_PDU_DIGEST_DATA : 0));
	union tcp_pdu_wire pdu;
	int r;

	tcp_pdu_build_ic_req(&pdu, 0, dgst, 0); /* no alignment asked, one R2T at a time */
	r = transfer(w->fd, true, pdu.bytes, sizeof(pdu.ic), deadline);
	if (!r)
		r = transfer(w->fd, false, pdu.bytes, sizeof(pdu.ic), deadline);
	if (r)
		return fail(conf, r, "connected, but no answer to ICReq (%s); is it NVMe/TCP that listens there?",
			    r == -E_LOST ? "connection closed" : err_text(r));
	return check_ic_resp(w, conf, &pdu);
}

static void tcp_stop(struct wire *wire)
{
	struct tcp_conn *w = tcp_conn(wire);
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (w->fd < 0)
		return;
	setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)); /* nothing is sent from our memory after close */
	close(w->fd);
	w->fd = -1;
	w->dead = -E_LOST;
	w->done = NULL;
}

static void tcp_free(struct wire *wire)
{
	struct tcp_conn *w = tcp_conn(wire);

	tcp_stop(wire);
	free(w->slots);
	free(w->tx);
	free(w->staging);
	free(w);
}

static struct tcp_conn *tcp_new(struct lane_stats *stats, uint16_t qid, uint16_t sqsize)
{
	struct tcp_conn *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct tcp_conn){ .wire.ops = &wire_tcp, .fd = -1, .qid = qid, .nslots = (uint16_t)(sqsize + 1),
				.stats = stats };
	w->expect = (struct tcp_pdu_limits){ .dir = TCP_PDU_TO_HOST, .max_data = UINT32_MAX };
	w->oldest = w->youngest = TCP_NO_CID;
	w->done_tail = &w->done;
	w->txq_tail = &w->txq;
	w->slots = calloc(w->nslots, sizeof(struct slot *));
	w->tx = calloc(w->nslots, sizeof(struct tcp_tx));
	w->staging = aligned_alloc(4096, TCP_STAGING);
	if (w->slots && w->tx && w->staging)
		return w;
	tcp_free(&w->wire);
	return NULL;
}

static int tcp_connect(struct wire **wire, struct wire_domain *domain, struct lane_stats *stats, uint16_t qid,
		       uint16_t sqsize, const struct wire_conf *conf, struct wire_limits *limits)
{
	uint64_t deadline = clock_now() + conf->connect_ms * NS_PER_MS;
	struct tcp_conn *w = tcp_new(stats, qid, sqsize);
	int r;

	if (!w)
		return fail(conf, -ENOMEM, "out of memory");
	r = w->fd = connect_any(conf, deadline);
	if (r >= 0)
		r = exchange_ic(w, conf, deadline);
	if (r < 0) {
		tcp_free(&w->wire);
		return r;
	}
	w->incapsule = qid ? 0 : TCP_ADMIN_INCAPSULE;
	*limits = (struct wire_limits){ w->incapsule, 1, w->conf.hdgst, w->conf.ddgst };
	*wire = &w->wire;
	return 0;
}

static void tcp_set_limits(struct wire *wire, const struct wire_limits *limits)
{
	tcp_conn(wire)->incapsule = limits->incapsule;
}

static int tcp_fds(const struct wire *wire, struct wire_fd *fds, unsigned max)
{
	const struct tcp_conn *w = tcp_conn(wire);

	if (!max || w->fd < 0)
		return 0;
	fds[0] = (struct wire_fd){ w->fd, w->txq ? EPOLLIN | EPOLLOUT : EPOLLIN };
	return 1;
}

/* Level-triggered: what the kernel holds wakes by itself. */
static int tcp_arm(struct wire *wire)
{
	return tcp_conn(wire)->done || tcp_conn(wire)->dead;
}

/* TCP knows no device and no registration: map stays away, and keys are NULL. */
static int tcp_domain_open(struct wire_domain **domain, const struct ns_addr *addr, char *why, size_t why_len)
{
	*domain = NULL;
	return 0;
}

static void tcp_domain_close(struct wire_domain *domain)
{
}

const struct wire_ops wire_tcp = {
	.name = "tcp",
	.poll_sends = true,
	.domain_open = tcp_domain_open,
	.domain_close = tcp_domain_close,
	.connect = tcp_connect,
	.set_limits = tcp_set_limits,
	.fds = tcp_fds,
	.send = tcp_send,
	.poll = tcp_poll,
	.arm = tcp_arm,
	.stop = tcp_stop,
	.free = tcp_free,
};
