/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of one connection; see tcp.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "base/clock.h"
#include "base/num.h"
#include "tools/target/tcp.h"

#define SPIN_CREDIT 3  /* failures in a row until spinning stops */
#define SPIN_PROBE 32  /* then one receive in so many tries it */
#define FLUSH_AT (128 * KiB) /* send when so much is queued, so that the host works while we do */

/* iov and small are not cleared: they are large, and their counts say what is used. bulk is mapped: what is never
 * used costs nothing. Borrows fd. */
int stream_init(struct stream *s, int fd, uint32_t in_size, uint32_t bulk_size, uint64_t spin_ns)
{
	memset(s, 0, offsetof(struct stream, iov));
	s->nr_iov = 0;
	s->queued = 0;
	s->small_used = s->bulk_used = 0;
	s->fd = fd;
	s->spin_ns = spin_ns;
	s->in_size = in_size;
	s->bulk_size = bulk_size;
	s->room_limit = UINT32_MAX;
	s->in = malloc(in_size);
	s->bulk = mmap(NULL, bulk_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->in && s->bulk != MAP_FAILED)
		return 0;
	if (s->bulk == MAP_FAILED)
		s->bulk = NULL;
	stream_exit(s);
	return -ENOMEM;
}

void stream_exit(struct stream *s)
{
	free(s->in);
	if (s->bulk)
		munmap(s->bulk, s->bulk_size);
	s->in = NULL; /* after a failed stream_init the owner comes here once more */
	s->bulk = NULL;
}

/* Polling beats sleeping only while the host runs on another CPU: then data come within the spin. When they do not (the
 * two share a CPU, or the host is idle) spinning only keeps the host from running. So it is done while it pays, and
 * tried again now and then. */
static bool worth_spinning(struct stream *s)
{
	if (!s->spin_ns)
		return false;
	return s->spin_credit || ++s->spin_skipped % SPIN_PROBE == 0;
}

/* Success gives full credit back, each failure takes some. */
static ssize_t spin(struct stream *s, struct msghdr *msg)
{
	uint64_t until = clock_now() + s->spin_ns;

	do {
		ssize_t n = recvmsg(s->fd, msg, MSG_DONTWAIT);

		if (n >= 0 || errno != EAGAIN) {
			s->spin_credit = SPIN_CREDIT;
			return n;
		}
	} while (clock_now() < until);
	if (s->spin_credit)
		s->spin_credit--;
	errno = EAGAIN;
	return -1;
}

static ssize_t receive_spinning(struct stream *s, struct msghdr *msg)
{
	ssize_t n = recvmsg(s->fd, msg, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN && worth_spinning(s))
		n = spin(s, msg);
	return n < 0 && errno == EAGAIN ? recvmsg(s->fd, msg, 0) : n;
}

/* One receive: to dst first, what is left over into the buffer. Returns the bytes that went to dst. */
static ssize_t receive(struct stream *s, void *dst, uint32_t len)
{
	struct iovec iov[2] = { { dst, len }, { s->in + s->end, s->in_size - s->end } };
	struct msghdr msg = { .msg_iov = iov + !len, .msg_iovlen = 2 - !len };
	ssize_t n;
	int err = stream_flush(s);

	if (err)
		return err;
	iov[1].iov_len = MIN(iov[1].iov_len, s->room_limit);
	do {
		n = receive_spinning(s, &msg);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	if (n <= (ssize_t)len)
		return n;
	s->end += (uint32_t)n - len;
	return (ssize_t)len;
}

/* Nobody may hold a pointer from stream_at across stream_need. */
static void compact(struct stream *s)
{
	memmove(s->in, s->in + s->pos, s->end - s->pos);
	s->end -= s->pos;
	s->pos = 0;
}

/* Moves what is there to the front only if it must, or if there is nothing to move. */
int stream_need(struct stream *s, uint32_t n)
{
	while (s->end - s->pos < n) {
		ssize_t got;

		if (s->pos == s->end || s->in_size - s->pos < n)
			compact(s);
		got = receive(s, NULL, 0);
		if (got < 0)
			return (int)got;
	}
	return 0;
}

/* What the buffer holds first, the rest straight into dst, without a copy: bulk data go to their place. Dropped
 * bytes go through the buffer. */
int stream_take(struct stream *s, void *dst, uint32_t len)
{
	while (len) {
		uint32_t n = MIN(len, s->end - s->pos);
		ssize_t got;

		if (n) {
			if (dst)
				memcpy(dst, s->in + s->pos, n);
			s->pos += n;
			got = n;
		} else {
			s->pos = s->end = 0;
			got = receive(s, dst, dst ? len : 0);
			if (got < 0)
				return (int)got;
		}
		if (dst)
			dst = (uint8_t *)dst + got;
		len -= (uint32_t)got;
	}
	return 0;
}

/* Flushing here, not inside stream_send, keeps header, data and digest of one PDU in one batch of iovecs. */
int stream_room(struct stream *s, uint32_t len)
{
	if (s->nr_iov + 8 <= STREAM_IOVS && s->small_used + len <= STREAM_SMALL && s->queued < FLUSH_AT)
		return 0;
	return stream_flush(s);
}

/* len is at most STREAM_SMALL. */
void *stream_small(struct stream *s, uint32_t len)
{
	void *p;

	if (s->small_used + len > STREAM_SMALL && stream_flush(s))
		return NULL;
	p = s->small + s->small_used;
	s->small_used += len;
	return p;
}

/* len is at most bulk_size. Rounded to cache lines. */
void *stream_bulk(struct stream *s, uint32_t len)
{
	void *p;

	if (s->bulk_used + len > s->bulk_size && stream_flush(s))
		return NULL;
	p = s->bulk + s->bulk_used;
	s->bulk_used += ROUND_UP(len, 64);
	return p;
}

/* Neighbours in memory become one iovec. Borrows data until the flush. */
void stream_send(struct stream *s, const void *data, uint32_t len)
{
	struct iovec *last = s->nr_iov ? &s->iov[s->nr_iov - 1] : NULL;

	s->queued += len;
	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += len;
	else
		s->iov[s->nr_iov++] = (struct iovec){ (void *)data, len };
}

/* The socket blocks, so all of it goes or the connection is broken; in either case the batch is empty after. */
int stream_flush(struct stream *s)
{
	struct iovec *iov = s->iov;
	int err = 0;

	while (s->nr_iov) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = s->nr_iov };
		ssize_t n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = -errno;
			break;
		}
		for (; s->nr_iov && (size_t)n >= iov->iov_len; iov++, s->nr_iov--)
			n -= (ssize_t)iov->iov_len;
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	s->nr_iov = 0;
	s->queued = 0;
	s->small_used = s->bulk_used = 0;
	return err;
}
