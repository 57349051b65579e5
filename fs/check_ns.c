/* SPDX-License-Identifier: Apache-2.0 */
/* A source for the checker on a namespace: all ranges of a batch in flight at once on one lane. Where not so much memory may be
 * locked for RDMA they are read one after the other, by the namespace's own small buffer. */
#include <stdlib.h>
#include <sys/mman.h>
#include "base/err.h"
#include "fs/check.h"
#include "transport/ns.h"

#define IOS 64u                 /* handed to the lane at once; it queues what the target does not take */

struct check_io {
	struct io io;
	struct check_read *read;
	struct check_ns *owner;
};

struct check_ns {
	struct ns *ns;
	struct lane *lane;
	void *mem;
	bool unregistered;
	unsigned pending;
	struct check_io ios[IOS];
};

int check_ns_new(struct check_ns **out, struct ns *ns)
{
	struct check_ns *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	*out = NULL;
	if (!s)
		return r;
	s->ns = ns;
	s->mem = mmap(NULL, CHECK_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->mem == MAP_FAILED)
		goto out_free;
	r = ns_add_memory(ns, s->mem, CHECK_MEM);
	s->unregistered = r == -E_MEMLOCK;
	if (r && !s->unregistered)
		goto out_unmap;
	*out = s;
	return 0;
out_unmap:
	munmap(s->mem, CHECK_MEM);
out_free:
	free(s);
	return r;
}

int check_ns_start(struct check_ns *s)
{
	return lane_open(&s->lane, s->ns, 0);
}

void check_ns_stop(struct check_ns *s)
{
	lane_close(s->lane);
	s->lane = NULL;
}

void *check_ns_memory(struct check_ns *s)
{
	return s->mem;
}

void check_ns_free(struct check_ns *s)
{
	if (!s)
		return;
	munmap(s->mem, CHECK_MEM);
	free(s);
}

static void io_done(struct io *io, int status)
{
	struct check_io *x = container_of(io, struct check_io, io);

	x->read->status = status;
	x->owner->pending--;
}

static void source_read(void *arg, struct check_read *reads, unsigned n)
{
	struct check_ns *s = arg;

	for (unsigned i = 0; s->unregistered && i < n; i++)
		reads[i].status = ns_read_sync(s->ns, reads[i].block, reads[i].nblocks, reads[i].buf);
	for (unsigned at = s->unregistered ? n : 0; at < n;) {
		for (unsigned i = 0; i < IOS && at < n; i++, at++) {
			struct check_io *x = &s->ios[i];

			*x = (struct check_io){ .read = &reads[at], .owner = s };
			x->io = (struct io){ .op = IO_READ, .block = reads[at].block, .nblocks = reads[at].nblocks,
				.mem = reads[at].buf, .done = io_done };
			s->pending++;
			lane_submit(s->lane, &x->io);
		}
		lane_wait(s->lane, &s->pending);
	}
}

struct check_source check_ns_source(struct check_ns *s)
{
	return (struct check_source){ .read = source_read, .arg = s, .nblocks = ns_info(s->ns)->nblocks };
}
