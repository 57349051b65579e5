/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe/TCP front of nvofs-target: one connection is one queue is one thread, blocking.
 *
 *  tcp_server.c   listens, starts and ends connections
 *  tcp_stream.c   bytes: a receive buffer with direct receives into place, a batch of things to send
 *  tcp_conn.c     PDUs: connection set-up, capsules, data transfers
 *
 *  1. What was queued to be sent leaves before the thread blocks in a receive: whoever waits for an answer gets it, and
 *     answers to commands that arrived together leave together.
 *  2. Memory in the send batch stays untouched until stream_flush. */
#ifndef NVOFS_TARGET_TCP_H
#define NVOFS_TARGET_TCP_H

#include <sys/socket.h>
#include <sys/uio.h>
#include "tools/target/target.h"
#include "transport/tcp_pdu.h"

struct tcp_conf {
	bool hdr_digest, data_digest;  /* granted if the host asks */
	uint8_t cpda;                  /* alignment that we ask for: 0-based dwords */
	uint32_t max_h2c;              /* MAXH2CDATA, bytes */
	uint32_t r2t_len;              /* bytes asked for by one R2T */
	uint32_t c2h_len;              /* bytes of one C2HData */
	unsigned spin_us;              /* polling before sleeping in a receive */
	const char *congestion;        /* NULL: "reno" on loopback, where pacing only costs, else the system's */
};

/* ---- tcp_stream.c ---- */

#define STREAM_IOVS 256
#define STREAM_SMALL 16384

struct stream {
	int fd;
	uint64_t spin_ns;
	unsigned spin_credit, spin_skipped;
	/* receiving: in[pos..end) is there */
	uint8_t *in;
	uint32_t in_size, pos, end;
	uint32_t room_limit;           /* receive at most so much behind direct data; keeps bulk data out of the buffer */
	/* sending */
	struct iovec iov[STREAM_IOVS];
	unsigned nr_iov;
	uint64_t queued;               /* bytes */
	uint8_t small[STREAM_SMALL];   /* headers, digests, responses */
	uint32_t small_used;
	uint8_t *bulk;                 /* data that have no place of their own */
	uint32_t bulk_size, bulk_used;
};

int stream_init(struct stream *, int fd, uint32_t in_size, uint32_t bulk_size, uint64_t spin_ns);
void stream_exit(struct stream *);
/* Makes n contiguous bytes available at in + pos (n <= in_size). 0, -ECONNRESET at the end of the stream, -errno. */
int stream_need(struct stream *, uint32_t n);
static inline const uint8_t *stream_at(const struct stream *s) { return s->in + s->pos; }
static inline void stream_skip(struct stream *s, uint32_t n) { s->pos += n; }
/* Receives exactly len bytes to dst, or drops them if dst is NULL. */
int stream_take(struct stream *, void *dst, uint32_t len);
/* len bytes that stay valid until the next flush: small ones and bulk ones. May flush; NULL: the connection broke. */
void *stream_small(struct stream *, uint32_t len);
void *stream_bulk(struct stream *, uint32_t len);
/* Queues bytes; at most 8 between two calls of stream_room. */
void stream_send(struct stream *, const void *data, uint32_t len);
/* Room for 8 stream_send and len small bytes without a flush in between. 0 or an error. */
int stream_room(struct stream *, uint32_t len);
int stream_flush(struct stream *);

/* ---- tcp_conn.c ---- */

struct tcp_server;

struct tcp_conn {
	struct list link;              /* under server->lock */
	struct tcp_server *server;
	int fd;
	pthread_t thread;
};

/* The connection's thread from beginning to end; the caller closes fd. */
void tcp_conn_run(struct tcp_conn *);

/* ---- tcp_server.c ---- */

struct tcp_server {
	struct target *target;
	struct tcp_conf conf;
	int fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list conns;
};

/* "ADDRESS:PORT", "[v6]:PORT". 0, or negative (-EINVAL: it is neither) and one line in why. */
int tcp_server_open(struct tcp_server *, struct target *, const struct tcp_conf *, const char *listen, char *why,
		    size_t why_len);
/* The address with the port that was really taken, as on the command line. */
const char *tcp_server_address(const struct tcp_server *, char *buf, size_t len);
/* Takes one connection that waits. */
void tcp_server_accept(struct tcp_server *);
/* Ends all connections and waits for their threads. */
void tcp_server_close(struct tcp_server *);

#endif
