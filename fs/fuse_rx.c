/* SPDX-License-Identifier: Apache-2.0 */
/* Receiving requests. One readv(2) into {header area, frames}: a WRITE's header is exactly as long as the header area,
 * so that its payload begins at a frame's first byte and is written from where it lies.
 *
 *      read --> WRITE:   frames trimmed to the payload, handed on with the request
 *           --> other:   what is behind the header area is copied behind it, where libfuse wants it
 *
 *  1. Without frames (all pinned) requests are read into ordinary memory; a WRITE is copied into frames as soon as
 *     there are any, and waits in the backlog until then.
 *  2. Without an op, requests that need one wait in the backlog. What needs none (FORGET, ...) never waits.
 *  3. What was read is kept: not every request may be refused (a RELEASE cannot fail). When the heap has no room for one it goes
 *     to the spare letter, and nothing more is read until that is free again. */
#define FUSE_USE_VERSION 314
#include <assert.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/fuse_int.h"

#define BATCH 8u /* requests taken in before what they queued is sent */

static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == FUSE_RX_HEADER, "WRITE's header");

int fuse_rx_init(struct fuse_worker *fw)
{
	struct fuse_rx *rx = &fw->rx;
	uint32_t pages = (uint32_t)(fw->front->max_write / BLOCK_SIZE);

	list_init(&rx->backlog);
	for (rx->nruns = 0; pages; rx->nruns++) {
		rx->pages[rx->nruns] = MIN(pages, RUN_MAX);
		pages -= rx->pages[rx->nruns];
	}
	assert(rx->nruns <= FUSE_RX_RUNS);
	rx->spill_len = FUSE_RX_HEADER + fw->front->max_write;
	/* Mapped, so that only what is used of it becomes memory. */
	rx->spill = mmap(NULL, rx->spill_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rx->spill == MAP_FAILED) {
		rx->spill = NULL;
		return -ENOMEM;
	}
	rx->spare = rx->spare_letter = malloc(sizeof(*rx->spare) + rx->spill_len);
	return rx->spare ? 0 : -ENOMEM;
}

static void drop_given(struct fuse_rx *rx)
{
	for (unsigned i = 0; i < rx->ngiven; i++)
		run_unpin(rx->given[i]);
	rx->ngiven = 0;
}

static void backlog_del(struct fuse_rx *rx, struct fuse_rx_letter *l)
{
	list_del(&l->link);
	rx->backlog_count--;
	rx->backlog_bytes -= l->size;
	if (l == rx->spare_letter)
		rx->spare = l;
	else
		free(l);
}

/* Nobody waits for these any more. */
static void backlog_drop(struct fuse_rx *rx)
{
	list_for_each_safe(l, &rx->backlog)
		backlog_del(rx, list_entry(l, struct fuse_rx_letter, link));
}

void fuse_rx_exit(struct fuse_worker *fw)
{
	struct fuse_rx *rx = &fw->rx;

	if (!rx->spill)
		return;
	backlog_drop(rx);
	for (unsigned i = 0; i < rx->nruns; i++)
		if (rx->runs[i])
			run_unpin(rx->runs[i]);
	free(rx->spare_letter);
	munmap(rx->spill, rx->spill_len);
	rx->spill = NULL;
}

static bool refill(struct fuse_worker *fw)
{
	struct fuse_rx *rx = &fw->rx;

	for (unsigned i = 0; i < rx->nruns; i++) {
		if (!rx->runs[i])
			rx->runs[i] = run_new(fs_cache(fw->front->fs), rx->pages[i]);
		if (!rx->runs[i])
			return false;
	}
	return true;
}

bool fuse_rx_ready(const struct fuse_worker *fw)
{
	return !list_empty(&fw->free_reqs) && !list_empty(&fw->w->free_ops);
}

static bool needs_op(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_DESTROY:
	case FUSE_INIT:
	case FUSE_STATFS:
	case FUSE_IOCTL:
	case FUSE_OPENDIR:
	case FUSE_RELEASEDIR:
		return false;
	default:
		return true;
	}
}

/* ---- payloads ---- */

static uint32_t payload_len(const char *request, size_t size)
{
	const struct fuse_write_in *arg = (const void *)(request + sizeof(struct fuse_in_header));

	return (uint32_t)MIN(size - FUSE_RX_HEADER, arg->size);
}

/* The payload lies in the receive frames: they go with it, but for their unused pages. */
static void give_frames(struct fuse_rx *rx, uint32_t len)
{
	uint32_t pages = (uint32_t)DIV_UP(len, BLOCK_SIZE);

	for (unsigned i = 0; pages; i++) {
		struct run *run = rx->runs[i];

		if (run->npages > pages)
			run_trim(run, pages);
		pages -= run->npages;
		rx->given[rx->ngiven++] = run;
		rx->runs[i] = NULL;
	}
}

/* The payload lies in ordinary memory: copied into frames; false: there are none now. */
static bool give_copy(struct fuse_worker *fw, const char *payload, uint32_t len)
{
	struct fuse_rx *rx = &fw->rx;
	uint32_t pages = (uint32_t)DIV_UP(len, BLOCK_SIZE), done = 0;

	for (unsigned i = 0; pages; i++) {
		struct run *run = run_new(fs_cache(fw->front->fs), MIN(pages, rx->pages[i]));

		if (!run) {
			drop_given(rx);
			return false;
		}
		pages -= run->npages;
		rx->given[rx->ngiven++] = run;
	}
	for (unsigned i = 0; i < rx->ngiven; i++) {
		uint32_t n = (uint32_t)MIN(len - done, rx->given[i]->npages * BLOCK_SIZE);

		memcpy(rx->given[i]->mem, payload + done, n);
		done += n;
	}
	atomic_fetch_add_explicit(&fw->w->copied_written, len, memory_order_relaxed);
	return true;
}

unsigned fuse_rx_take(struct fuse_worker *fw, struct run **runs)
{
	struct fuse_rx *rx = &fw->rx;
	unsigned n = rx->ngiven;

	memcpy(runs, rx->given, n * sizeof(*runs));
	rx->ngiven = 0;
	return n;
}

/* ---- processing ---- */

static void process(struct fuse_worker *fw, char *request, size_t size)
{
	struct fuse_front *f = fw->front;
	struct fuse_buf buf = { .size = size, .mem = request };
	bool init = ((const struct fuse_in_header *)request)->opcode == FUSE_INIT;

	fw->rx.in = request;
	if (init)
		fuse_init_seen(f, request, size);
	fuse_session_process_buf(f->session, &buf);
	drop_given(&fw->rx); /* if libfuse refused the WRITE */
	if (fuse_session_exited(f->session)) {
		fuse_worker_end(f);
	} else if (init && !atomic_exchange(&f->usable, true) && f->conf.ready) {
		f->conf.ready(f->conf.arg);
	}
}

static void keep(struct fuse_worker *fw, size_t size)
{
	struct fuse_rx *rx = &fw->rx;
	struct fuse_rx_letter *l = malloc(sizeof(*l) + size);
	const struct fuse_in_header *in = (const void *)rx->spill;

	if (!l) {
		l = rx->spare;
		assert(l); /* fuse_rx_full */
		rx->spare = NULL;
	}
	if (in->opcode == FUSE_WRITE)
		atomic_fetch_add_explicit(&fw->w->allocs, 1, memory_order_relaxed);
	l->size = size;
	memcpy(l->bytes, rx->spill, size);
	list_append(&rx->backlog, &l->link);
	rx->backlog_count++;
	rx->backlog_bytes += size;
}

/* A request that lies in ordinary memory as a whole: false if it has to wait. */
static bool process_spilled(struct fuse_worker *fw, char *request, size_t size)
{
	uint32_t opcode = ((const struct fuse_in_header *)request)->opcode;

	if (needs_op(opcode) && !fuse_rx_ready(fw))
		return false;
	if (opcode == FUSE_WRITE && size >= FUSE_RX_HEADER &&
	    !give_copy(fw, request + FUSE_RX_HEADER, payload_len(request, size)))
		return false;
	process(fw, request, size);
	return true;
}

static bool backlog_pump(struct fuse_worker *fw)
{
	bool any = false;

	list_for_each_safe(link, &fw->rx.backlog) {
		struct fuse_rx_letter *l = list_entry(link, struct fuse_rx_letter, link);

		if (!fuse_rx_ready(fw))
			break;
		if (!process_spilled(fw, l->bytes, l->size))
			continue; /* a WRITE without frames; others need none */
		backlog_del(&fw->rx, l);
		any = true;
	}
	return any;
}

/* What readv brought into the frames and is no payload goes behind the header. */
static void gather_spill(struct fuse_rx *rx, size_t size)
{
	size_t at = FUSE_RX_HEADER;

	for (unsigned i = 0; at < size; i++) {
		size_t n = MIN(size - at, (size_t)rx->pages[i] * BLOCK_SIZE);

		memcpy(rx->spill + at, rx->runs[i]->mem, n);
		at += n;
	}
}

static ssize_t read_request(struct fuse_worker *fw, bool frames)
{
	struct fuse_rx *rx = &fw->rx;
	struct iovec iov[1 + FUSE_RX_RUNS] = { { .iov_base = rx->spill } };
	unsigned n = 1;
	ssize_t got;

	iov[0].iov_len = frames ? FUSE_RX_HEADER : rx->spill_len;
	for (unsigned i = 0; frames && i < rx->nruns; i++)
		iov[n++] = (struct iovec){ .iov_base = rx->runs[i]->mem, .iov_len = (size_t)rx->pages[i] * BLOCK_SIZE };
	got = readv(fw->front->fd, iov, (int)n);
	if (got < 0 && errno == EAGAIN)
		fw->fuse_event = false;
	else if (got < 0 && errno == ENODEV)
		fuse_worker_end(fw->front);
	else if (got < 0 && errno != EAGAIN && errno != EINTR && errno != ENOENT)
		log_error("reading from FUSE: %s", strerror(errno));
	return got;
}

/* One request; false: there is none. */
static bool receive(struct fuse_worker *fw)
{
	struct fuse_rx *rx = &fw->rx;
	const struct fuse_in_header *in = (const void *)rx->spill;
	bool frames = fuse_rx_ready(fw) && refill(fw);
	ssize_t got = read_request(fw, frames);

	if (got < 0)
		return errno == ENOENT; /* interrupted before it was read: there may be more */
	if ((size_t)got < sizeof(*in)) {
		log_error("a request of %zd bytes from FUSE", got);
		return false;
	}
	if (!frames) {
		atomic_fetch_add_explicit(&fw->spilled, 1, memory_order_relaxed);
		if (!process_spilled(fw, rx->spill, (size_t)got))
			keep(fw, (size_t)got);
		return true;
	}
	if (in->opcode == FUSE_WRITE && (size_t)got >= FUSE_RX_HEADER)
		give_frames(rx, payload_len(rx->spill, (size_t)got));
	else
		gather_spill(rx, (size_t)got);
	process(fw, rx->spill, (size_t)got);
	return true;
}

bool fuse_rx_full(const struct fuse_worker *fw)
{
	const struct fuse_rx *rx = &fw->rx;

	return !rx->spare || rx->backlog_count >= FUSE_BACKLOG_MAX || rx->backlog_bytes >= FUSE_BACKLOG_BYTES;
}

bool fuse_rx_pump(struct fuse_worker *fw)
{
	struct fuse_front *f = fw->front;
	struct fuse_rx *rx = &fw->rx;
	bool any;

	if (atomic_load_explicit(&f->ending, memory_order_relaxed)) {
		backlog_drop(rx);
		return false;
	}
	any = backlog_pump(fw);
	for (unsigned i = 0; i < BATCH; i++) {
		if (fuse_rx_full(fw) || !receive(fw))
			break;
		any = true;
	}
	return any;
}
