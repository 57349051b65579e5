/* SPDX-License-Identifier: Apache-2.0 */
/* Listening, and the life of connections; see tcp.h. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/log.h"
#include "base/num.h"
#include "tools/target/tcp.h"

/* "HOST:PORT" or "[HOST]:PORT" into host and port; both writable. */
static int split(char *text, const char **host, const char **port)
{
	char *colon = strrchr(text, ':'), *end;
	uint64_t number;

	if (!colon || u64_parse(colon + 1, 65535, &number))
		return -EINVAL;
	*colon = 0;
	*port = colon + 1;
	*host = text;
	if (*text != '[')
		return *text && !strchr(text, ':') ? 0 : -EINVAL;
	end = strchr(text, ']');
	if (!end || end[1])
		return -EINVAL;
	*end = 0;
	*host = text + 1;
	return 0;
}

/* A listening socket, or -errno. */
static int listen_on(const struct addrinfo *ai)
{
	int one = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	/* A restart takes the port over while old connections are still in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, 128))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* The first address that the name resolves to, and no other. Returns a descriptor. */
static int open_listener(const char *where, char *why, size_t why_len)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *ai;
	const char *host, *port;
	char text[512];
	int fd, err;

	if (snprintf(text, sizeof(text), "%s", where) >= (int)sizeof(text) || split(text, &host, &port)) {
		snprintf(why, why_len, "%s: not ADDRESS:PORT or [ADDRESS]:PORT", where);
		return -EINVAL;
	}
	err = getaddrinfo(host, port, &hints, &ai);
	if (err) {
		snprintf(why, why_len, "%s: %s", where, gai_strerror(err));
		return -EADDRNOTAVAIL;
	}
	fd = listen_on(ai);
	freeaddrinfo(ai);
	if (fd < 0)
		snprintf(why, why_len, "cannot listen on %s: %s", where, strerror(-fd));
	return fd;
}

/* Borrows t until tcp_server_close; conf is copied, its string borrowed. */
int tcp_server_open(struct tcp_server *s, struct target *t, const struct tcp_conf *conf, const char *where, char *why,
		    size_t why_len)
{
	*s = (struct tcp_server){ .target = t, .conf = *conf };
	s->fd = open_listener(where, why, why_len);
	if (s->fd < 0)
		return s->fd;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	list_init(&s->conns);
	return 0;
}

/* Colons in a host are those of IPv6: then it needs brackets. */
const char *tcp_server_address(const struct tcp_server *s, char *buf, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t ss_len = sizeof(ss);
	char host[256] = "?", port[32] = "?";

	if (!getsockname(s->fd, (struct sockaddr *)&ss, &ss_len))
		getnameinfo((struct sockaddr *)&ss, ss_len, host, sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(buf, len, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
	return buf;
}

/* Thread of a connection. Off the list as its last act that touches the server, which may be gone after that. */
static void *run(void *arg)
{
	struct tcp_conn *conn = arg;
	struct tcp_server *s = conn->server;

	tcp_conn_run(conn);
	pthread_mutex_lock(&s->lock);
	list_del(&conn->link);
	close(conn->fd); /* under the lock: nobody shuts down a number that is somebody else's by now */
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	free(conn);
	return NULL;
}

/* By the peer's address; a host of this machine that comes by another address is not seen. */
static bool on_loopback(int fd)
{
	union { struct sockaddr sa; struct sockaddr_in in; struct sockaddr_in6 in6; } peer;
	socklen_t len = sizeof(peer);

	if (getpeername(fd, &peer.sa, &len))
		return false;
	if (peer.sa.sa_family == AF_INET)
		return ntohl(peer.in.sin_addr.s_addr) >> 24 == 127;
	return peer.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&peer.in6.sin6_addr);
}

/* NODELAY: batches are made in user space already. Failing costs speed only. */
static void tune(const struct tcp_server *s, int fd)
{
	const char *congestion = s->conf.congestion;
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!congestion && on_loopback(fd))
		congestion = "reno";
	if (congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)))
		log_debug("congestion control %s: %s", congestion, strerror(errno));
}

/* Threads are detached; the list tells when all are gone. On the list before the thread runs, under the lock, so
 * that its end finds it there. conn is the thread's from here on, if there is one. */
static int start(struct tcp_server *s, struct tcp_conn *conn)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	pthread_mutex_lock(&s->lock);
	list_append(&s->conns, &conn->link);
	err = pthread_create(&conn->thread, &attr, run, conn);
	if (err)
		list_del(&conn->link);
	pthread_mutex_unlock(&s->lock);
	pthread_attr_destroy(&attr);
	return -err;
}

void tcp_server_accept(struct tcp_server *s)
{
	struct tcp_conn *conn;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
			log_warn("accepting a connection: %s", strerror(errno));
		return;
	}
	tune(s, fd);
	conn = calloc(1, sizeof(*conn));
	if (conn) {
		conn->server = s;
		conn->fd = fd;
	}
	if (!conn || start(s, conn)) {
		log_error("no memory or no thread for a connection");
		close(fd);
		free(conn);
	}
}

/* shutdown, not close: the descriptor's number stays the thread's until it closes it itself. */
void tcp_server_close(struct tcp_server *s)
{
	close(s->fd);
	pthread_mutex_lock(&s->lock);
	list_for_each(l, &s->conns)
		shutdown(list_entry(l, struct tcp_conn, link)->fd, SHUT_RDWR);
	while (!list_empty(&s->conns))
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}
