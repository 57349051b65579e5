/* SPDX-License-Identifier: Apache-2.0 */
/* A request of the kernel from its handler to its reply: taking an op, keeping names, answering. */
#define FUSE_USE_VERSION 314
#include <assert.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fs/fuse_int.h"

/* The worker whose thread this is: libfuse calls handlers on the thread that gave it the request. */
__thread struct fuse_worker *fuse_self;

/* unique is taken from the bytes as they came, since libfuse does not show it to handlers. */
static struct freq *req_take(fuse_req_t req, struct op *op)
{
	struct fuse_worker *fw = fuse_self;
	struct freq *q = list_entry(list_pop(&fw->free_reqs), struct freq, link);
	const struct fuse_in_header *in = fw->rx.in;

	q->req = req;
	q->op = op;
	q->unique = in->unique;
	op->owner = q;
	fw->inuse++;
	return q;
}

/* The receiver only passes requests on while there are free ones; ENOMEM is for what slips through. The op starts
 * with the caller's identity, which new files get. */
struct freq *freq_new(fuse_req_t req)
{
	struct fuse_worker *fw = fuse_self;
	struct op *op = list_empty(&fw->free_reqs) ? NULL : op_new(fw->w);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->uid = ctx->uid;
	op->gid = ctx->gid;
	return req_take(req, op);
}

/* false: answered with ENAMETOOLONG, q is gone. */
bool freq_name(struct freq *q, char *to, const char *name)
{
	size_t len = strlen(name);

	if (len > NAME_BYTES) {
		freq_fail(q, -ENAMETOOLONG);
		return false;
	}
	memcpy(to, name, len + 1);
	return true;
}

/* The kernel will not send a RELEASE for an open that it never heard of: so it is done here, as an operation of its
 * own, whose end nobody is told of. */
void freq_give_back_open(struct freq *q, uint64_t ino)
{
	struct op *op = freq_next_op(q);

	fuse_writers_closed(&q->fw->front->writers, ino, q->open_flags);
	op->ino = ino;
	q->req = NULL;
	freq_start(q, fs_release, NULL);
}

/* The answer was given before the operation ended: what it took is given back. */
static void finish_abandoned(struct freq *q, int status)
{
	const struct op *op = q->op;

	if (!status && op->run == fs_lookup)
		fs_forget(q->fw->front->fs, op->attr.st_ino, 1);
	if (q->dir)
		fuse_dir_abandon(q);
	if (status || op->run != fs_open) {
		freq_end(q);
		return;
	}
	fuse_writers_opened(&q->fw->front->writers, op->ino, q->open_flags);
	freq_give_back_open(q, op->ino);
}

/* Every operation of a request ends here; q->req is NULL if freq_interrupts has answered meanwhile. */
static void freq_finish(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (q->req)
		q->finish(op, status);
	else
		finish_abandoned(q, status);
}

/* EINTR for something that is then done all the same would be a lie; of these nobody can see that they were. */
static bool changes_nothing(const struct freq *q)
{
	int (*run)(struct op *) = q->op->run;

	return run == fs_read || run == fs_getattr || run == fs_lookup || run == fs_readdir || run == fs_readlink ||
	       run == fs_getxattr || run == fs_listxattr || run == fs_lseek || run == fs_fsync ||
	       (run == fs_open && !(q->open_flags & O_TRUNC));
}

/* Called while the target is away. Only the answer is early: the operation goes on and ends in finish_abandoned. */
void freq_interrupts(struct fuse_worker *fw)
{
	for (unsigned i = 0; i < WORKER_OPS; i++) {
		struct freq *q = &fw->reqs[i];

		if (!q->op || !q->op->run || !q->req || q->creating || !changes_nothing(q) ||
		    !fuse_req_interrupted(q->req))
			continue;
		fuse_reply_err(q->req, EINTR);
		q->req = NULL;
	}
}

/* May finish, and free q, before it returns: nobody touches q after. */
void freq_start(struct freq *q, int (*run)(struct op *), void (*finish)(struct op *, int))
{
	q->finish = finish;
	q->op->run = run;
	q->op->finish = freq_finish;
	op_start(q->op);
}

/* For requests that are several operations (create: mknod, then open). All state of the first is gone. */
struct op *freq_next_op(struct freq *q)
{
	struct op *op;

	op_free(q->op);
	op = op_new(q->fw->w);
	assert(op); /* the one just given back, at least */
	op->owner = q;
	q->op = op;
	return op;
}

void freq_end(struct freq *q)
{
	struct fuse_worker *fw = q->fw;

	free(q->data);
	q->data = NULL;
	q->dir = NULL;
	q->creating = false;
	op_free(q->op);
	q->op = NULL;
	q->req = NULL;
	list_push(&fw->free_reqs, &q->link);
	fw->inuse--;
}

/* Also answers with success if status is 0, for replies without a body. */
void freq_fail(struct freq *q, int status)
{
	fuse_reply_err(q->req, -err_errno(status));
	freq_end(q);
}

void freq_done_status(struct op *op, int status)
{
	freq_fail(op->owner, status);
}

/* Time-outs may be long: nobody else changes what this mount shows. */
void freq_done_attr(struct op *op, int status)
{
	struct freq *q = op->owner;

	if (status) {
		freq_fail(q, status);
		return;
	}
	fuse_reply_attr(q->req, &op->attr, q->fw->front->conf.attr_timeout);
	freq_end(q);
}

/* The look-up was counted by the operation, before the reply: a FORGET cannot come first. */
void freq_done_entry(struct op *op, int status)
{
	struct freq *q = op->owner;
	struct fuse_front *f = q->fw->front;
	struct fuse_entry_param e = { .attr = op->attr, .attr_timeout = f->conf.attr_timeout,
				      .entry_timeout = f->conf.entry_timeout };

	if (status) {
		freq_fail(q, status);
		return;
	}
	e.ino = op->attr.st_ino;
	/* The kernel did not get it (the caller was interrupted): it will never forget it either. */
	if (fuse_reply_entry(q->req, &e))
		fs_forget(f->fs, op->attr.st_ino, 1);
	freq_end(q);
}
