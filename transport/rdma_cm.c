/* SPDX-License-Identifier: Apache-2.0 */
/* The connection manager: which device leads to an address, and connecting a queue pair over it. Blocks its caller (the
 * control thread) up to a deadline; afterwards events are looked for without waiting. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "transport/rdma.h"

#define REJECTED_CONSUMER 28         /* reason of the connection manager: see the private data */
#define REJECTED_NO_SERVICE 8
#define RESOLVE_MS 1000              /* one look for a neighbour; asked again until the deadline */

int rdma_fail(const struct wire_conf *conf, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (conf->why)
		vsnprintf(conf->why, conf->why_len, format, ap);
	va_end(ap);
	return code;
}

int rdma_cm_next(struct rdma_cm *cm, struct rdma_news *news)
{
	struct rdma_cm_event *ev;

	if (rdma_get_cm_event(cm->channel, &ev))
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*news = (struct rdma_news){ .event = ev->event, .status = ev->status };
	if (ev->param.conn.private_data && (ev->event == RDMA_CM_EVENT_ESTABLISHED || ev->event == RDMA_CM_EVENT_REJECTED)) {
		news->len = MIN((size_t)ev->param.conn.private_data_len, sizeof(news->data));
		memcpy(news->data, ev->param.conn.private_data, news->len);
	}
	rdma_ack_cm_event(ev);
	return 1;
}

/* The next event, whatever it is. 0, -E_TIMEDOUT, < 0. */
static int await(struct rdma_cm *cm, uint64_t deadline, struct rdma_news *news)
{
	for (;;) {
		struct pollfd p = { .fd = cm->channel->fd, .events = POLLIN };
		uint64_t now;
		int r = rdma_cm_next(cm, news);

		if (r)
			return r < 0 ? r : 0;
		now = clock_now();
		if (now >= deadline)
			return -E_TIMEDOUT;
		poll(&p, 1, (int)MIN(DIV_UP(deadline - now, NS_PER_MS), 60000));
	}
}

static int ms_left(uint64_t deadline)
{
	uint64_t now = clock_now();

	return now >= deadline ? 1 : (int)MIN(DIV_UP(deadline - now, NS_PER_MS), 3600000);
}

/* ---- addresses ---- */

static int numeric(const char *text, int family, struct sockaddr_storage *out)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *ai;

	if (getaddrinfo(text, NULL, &hints, &ai))
		return -EADDRNOTAVAIL;
	memcpy(out, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
	return 0;
}

/* The first address of an interface: RDMA devices are chosen by address. */
static int of_interface(const char *name, int family, struct sockaddr_storage *out)
{
	size_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	struct ifaddrs *list;
	int r = -EADDRNOTAVAIL;

	if (getifaddrs(&list))
		return -errno;
	for (struct ifaddrs *i = list; i && r; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != family || strcmp(i->ifa_name, name))
			continue;
		memcpy(out, i->ifa_addr, len);
		r = 0;
	}
	freeifaddrs(list);
	return r;
}

/* 1: *out is where to come from, 0: anywhere. */
static int source_address(const struct ns_addr *a, int family, struct sockaddr_storage *out)
{
	int r;

	if (!a->host_traddr[0] && !a->host_iface[0])
		return 0;
	r = a->host_traddr[0] ? numeric(a->host_traddr, family, out) : of_interface(a->host_iface, family, out);
	return r ? r : 1;
}

/* ---- the device ---- */

static int resolve_addr(struct rdma_cm *cm, const struct addrinfo *ai, const struct wire_conf *conf, uint64_t deadline)
{
	struct sockaddr_storage source;
	struct rdma_news news;
	int r = source_address(conf->addr, ai->ai_family, &source);

	if (r < 0)
		return r;
	if (rdma_resolve_addr(cm->id, r ? (struct sockaddr *)&source : NULL, ai->ai_addr, MIN(ms_left(deadline), RESOLVE_MS)))
		return -errno;
	r = await(cm, deadline, &news);
	if (r)
		return r;
	if (news.event == RDMA_CM_EVENT_ADDR_RESOLVED)
		return 0;
	return news.status < 0 ? news.status : -EHOSTUNREACH;
}

static int new_id(struct rdma_cm *cm)
{
	cm->channel = rdma_create_event_channel();
	if (!cm->channel)
		return -errno;
	if (fcntl(cm->channel->fd, F_SETFL, O_NONBLOCK) || fcntl(cm->channel->fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	return rdma_create_id(cm->channel, &cm->id, NULL, RDMA_PS_TCP) ? -errno : 0;
}

static int try_address(struct rdma_cm *cm, const struct addrinfo *ai, const struct wire_conf *conf, uint64_t deadline)
{
	int r = new_id(cm);

	if (r)
		r = rdma_fail(conf, r, "this host has no RDMA device, or the module rdma_ucm is not loaded (%s); \"rdma link\" "
			      "lists devices", err_text(r));
	else
		r = resolve_addr(cm, ai, conf, deadline);
	if (r)
		rdma_cm_close(cm);
	return r;
}

static int explain_resolve(const struct wire_conf *conf, int r)
{
	const struct ns_addr *a = conf->addr;

	switch (-r) {
	case ENODEV:
		return rdma_fail(conf, r, "no RDMA device is on the interface that leads to %s (\"rdma link\" lists them; an ordinary "
				 "network card gets one with \"rdma link add NAME type rxe netdev INTERFACE\")", a->host);
	case EADDRNOTAVAIL:
		return rdma_fail(conf, r, "%s is not an address or interface of this host to come from",
				 a->host_traddr[0] ? a->host_traddr : a->host_iface);
	case E_TIMEDOUT:
	case ETIMEDOUT:
		return rdma_fail(conf, r, "%s does not answer", a->host);
	}
	return rdma_fail(conf, r, "cannot reach %s over RDMA: %s", a->host, err_text(r));
}

/* A neighbour that was just switched on, or whose address is still looked for. */
static bool may_answer_later(int r)
{
	return r == -ETIMEDOUT || r == -EHOSTUNREACH || r == -EAGAIN;
}

int rdma_cm_open(struct rdma_cm *cm, const struct wire_conf *conf, uint64_t deadline)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list;
	int r = getaddrinfo(conf->addr->host, conf->addr->port, &hints, &list);

	*cm = (struct rdma_cm){ 0 };
	if (r)
		return rdma_fail(conf, -EHOSTUNREACH, "no such host \"%s\" (%s)", conf->addr->host, gai_strerror(r));
	if (conf->why)
		conf->why[0] = 0;
	r = -EHOSTUNREACH;
	do {
		for (const struct addrinfo *ai = list; ai && r; ai = ai->ai_next)
			r = try_address(cm, ai, conf, deadline);
	} while (may_answer_later(r) && clock_now() < deadline);
	freeaddrinfo(list);
	if (!r || (conf->why && conf->why[0]))
		return r;
	return explain_resolve(conf, r);
}

int rdma_cm_resolve_route(struct rdma_cm *cm, const struct wire_conf *conf, uint64_t deadline)
{
	struct rdma_news news;
	int r = rdma_resolve_route(cm->id, ms_left(deadline)) ? -errno : await(cm, deadline, &news);

	if (!r && news.event != RDMA_CM_EVENT_ROUTE_RESOLVED)
		r = news.status < 0 ? news.status : -EHOSTUNREACH;
	return r ? explain_resolve(conf, r) : 0;
}

/* ---- connecting ---- */

static int explain_reject(const struct wire_conf *conf, const struct rdma_news *news)
{
	const char *text = rdma_reject_text(news->data, news->len);

	if (news->status == REJECTED_NO_SERVICE || news->status == -ECONNREFUSED)
		return rdma_fail(conf, -ECONNREFUSED, "connection refused (nothing listens on port %s there over RDMA)",
				 conf->addr->port);
	if (text)
		return rdma_fail(conf, -E_CONNECT_REFUSED, "the controller rejected the connection: %s", text);
	return rdma_fail(conf, -E_CONNECT_REFUSED, "the connection was rejected (reason %d%s)", news->status,
			 news->status == REJECTED_CONSUMER ? ", the target's own" : "");
}

static int explain_connect(const struct wire_conf *conf, const struct rdma_news *news)
{
	if (news->event == RDMA_CM_EVENT_REJECTED)
		return explain_reject(conf, news);
	if (news->event == RDMA_CM_EVENT_UNREACHABLE)
		return rdma_fail(conf, -E_TIMEDOUT, "no answer to the connection request");
	return rdma_fail(conf, -E_LOST, "connecting failed: %s (%d)", rdma_event_str(news->event), news->status);
}

int rdma_cm_connect(struct rdma_cm *cm, const struct wire_conf *conf, struct rdma_conn_param *param, uint64_t deadline,
		    uint16_t *crqsize)
{
	struct rdma_news news;
	int r = rdma_connect(cm->id, param) ? -errno : await(cm, deadline, &news);

	if (r == -E_TIMEDOUT)
		return rdma_fail(conf, r, "no answer to the connection request");
	if (r)
		return rdma_fail(conf, r, "connecting failed: %s", err_text(r));
	if (news.event != RDMA_CM_EVENT_ESTABLISHED)
		return explain_connect(conf, &news);
	if (rdma_check_accept(news.data, news.len, crqsize))
		return rdma_fail(conf, -E_BAD_CAPSULE, "what answers there is not NVMe over RDMA (malformed private data)");
	return 0;
}

void rdma_cm_close(struct rdma_cm *cm)
{
	if (cm->id)
		rdma_destroy_id(cm->id);
	if (cm->channel)
		rdma_destroy_event_channel(cm->channel);
	*cm = (struct rdma_cm){ 0 };
}
