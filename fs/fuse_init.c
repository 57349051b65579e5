/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake with the kernel (FUSE_INIT): what is switched on and why.
 *
 * libfuse 3.14 does not know HANDLE_KILLPRIV_V2 (without it the kernel asks for security.capability at every write) nor
 * DIRECT_IO_ALLOW_MMAP, nor an open's PARALLEL_DIRECT_WRITES; so its reply is changed on its way out, as far as the
 * kernel offers them. */
#define FUSE_USE_VERSION 314
#include <assert.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/uio.h>

#include "base/log.h"
#include "fs/fuse_int.h"

#define KERNEL_HANDLE_KILLPRIV (1ull << 19)
#define KERNEL_HANDLE_KILLPRIV_V2 (1ull << 28)
#define KERNEL_INIT_EXT (1ull << 30)
#define KERNEL_DIRECT_IO_ALLOW_MMAP (1ull << 36)

/* libfuse sets all that it knows of these; the rest it would refuse. */
static void want(struct fuse_conn_info *c, unsigned flag, bool on)
{
	if (on && (c->capable & flag))
		c->want |= flag;
	else
		c->want &= ~flag;
}

static void on_init(void *userdata, struct fuse_conn_info *c)
{
	struct fuse_front *f = userdata;

	want(c, FUSE_CAP_ASYNC_READ, true);
	want(c, FUSE_CAP_ASYNC_DIO, true);
	want(c, FUSE_CAP_PARALLEL_DIROPS, true);
	want(c, FUSE_CAP_READDIRPLUS, true);
	want(c, FUSE_CAP_READDIRPLUS_AUTO, true);
	want(c, FUSE_CAP_ATOMIC_O_TRUNC, true);
	want(c, FUSE_CAP_CACHE_SYMLINKS, true);
	want(c, FUSE_CAP_IOCTL_DIR, true);
	want(c, FUSE_CAP_WRITEBACK_CACHE, f->conf.writeback && !f->conf.readonly && !f->conf.direct_io);
	/* All changes come through this kernel, so its caches are right by themselves. */
	want(c, FUSE_CAP_AUTO_INVAL_DATA, false);
	want(c, FUSE_CAP_HANDLE_KILLPRIV, false);
	/* The payload is read straight into the arena; splicing costs half (measured). */
	want(c, FUSE_CAP_SPLICE_READ, false);
	want(c, FUSE_CAP_SPLICE_WRITE, false);
	want(c, FUSE_CAP_SPLICE_MOVE, false);
	/* Locks are the kernel's own business: there is one client. */
	want(c, FUSE_CAP_POSIX_LOCKS, false);
	want(c, FUSE_CAP_FLOCK_LOCKS, false);
	c->max_write = (unsigned)f->max_write;
	c->max_background = 64;
	c->congestion_threshold = 48;
	c->time_gran = 1;
}

void fuse_init_ops(struct fuse_lowlevel_ops *ops)
{
	ops->init = on_init;
}

void fuse_init_seen(struct fuse_front *f, const void *request, size_t size)
{
	const struct fuse_in_header *in = request;
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (in->opcode != FUSE_INIT || size < sizeof(*in) + 16)
		return;
	f->init_unique = in->unique;
	f->init_flags = init->flags;
	/* flags2 follows the first four fields since protocol 7.36. */
	if ((init->flags & KERNEL_INIT_EXT) && size >= sizeof(*in) + 20)
		f->init_flags |= (uint64_t)init->flags2 << 32;
}

static void patch(struct fuse_front *f, struct fuse_init_out *out)
{
	uint64_t add = 0;

	if (f->init_flags & KERNEL_HANDLE_KILLPRIV_V2)
		add |= KERNEL_HANDLE_KILLPRIV_V2;
	if ((f->init_flags & KERNEL_INIT_EXT) && (f->init_flags & KERNEL_DIRECT_IO_ALLOW_MMAP)) {
		add |= KERNEL_INIT_EXT | KERNEL_DIRECT_IO_ALLOW_MMAP;
		f->direct_mmap = true;
	}
	out->flags &= ~(uint32_t)KERNEL_HANDLE_KILLPRIV;
	out->flags |= (uint32_t)add;
	out->flags2 |= (uint32_t)(add >> 32);
	log_debug("FUSE %u.%u, flags %#llx of %#llx, max_write %u", out->major, out->minor,
		  (unsigned long long)out->flags | (unsigned long long)out->flags2 << 32,
		  (unsigned long long)f->init_flags, out->max_write);
}

/* The reply to OPEN ends with fuse_open_out, and so does CREATE's. */
static void patch_open(struct fuse_worker *fw, const struct iovec *body)
{
	struct fuse_open_out *out = (void *)((char *)body->iov_base + body->iov_len - sizeof(*out));

	out->open_flags |= fw->open_extra;
	fw->open_extra = 0;
}

ssize_t fuse_init_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_front *f = userdata;
	const struct fuse_out_header *head = iov[0].iov_base;
	ssize_t n;

	if (f->init_unique && head->unique == f->init_unique) {
		f->init_unique = 0;
		if (!head->error && count == 2 && iov[1].iov_len >= sizeof(struct fuse_init_out))
			patch(f, iov[1].iov_base);
	}
	if (fuse_self && fuse_self->open_extra && !head->error && count == 2)
		patch_open(fuse_self, &iov[1]);
	n = writev(fd, iov, count);
	/* libfuse prints every failure but ENOENT (interrupted) while the session runs. */
	if (n < 0 && errno == ENODEV) {
		fuse_session_exit(f->session);
		errno = ENODEV;
	}
	return n;
}
