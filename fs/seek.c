/* SPDX-License-Identifier: Apache-2.0 */
/* SEEK_DATA and SEEK_HOLE. Inline data is data; the end of the file is a hole. */
#include <unistd.h>
#include "fs/extent.h"
#include "fs/inode.h"
#include "fs/ops.h"
#include "fs/store.h"

/* First block >= fb that lies in written data; end if none. */
static int next_data(struct op *op, uint64_t fb, uint64_t end, uint64_t *at)
{
	struct extent_iter it;
	struct extent e;
	int r;

	*at = end;
	for (r = extent_first(&it, op, op->ino, fb, end, &e); !r; r = extent_next(&it, &e)) {
		if (e.unwritten)
			continue;
		*at = MAX(fb, e.start);
		return 0;
	}
	return r == -ENOENT ? 0 : r;
}

static int next_hole(struct op *op, uint64_t fb, uint64_t end, uint64_t *at)
{
	struct extent_iter it;
	struct extent e;
	int r;

	for (r = extent_first(&it, op, op->ino, fb, end, &e); !r; r = extent_next(&it, &e)) {
		if (e.start > fb || e.unwritten)
			break;
		fb = extent_end(&e);
	}
	*at = MIN(fb, end);
	return r == -ENOENT ? 0 : r;
}

/* A block is data or a hole as a whole; within one, offsets count as they are. */
static int seek_locked(struct op *op)
{
	struct file_view v;
	uint64_t size, end, at;
	int r = file_view_locked(op, &v);

	if (r)
		return r;
	size = inode_size(&v.inode);
	end = DIV_UP(size, FS_BLOCK);
	if (op->off >= size)
		return -ENXIO;
	if (v.is_inline)
		at = op->flags == SEEK_DATA ? 0 : end;
	else if (op->flags == SEEK_DATA)
		r = next_data(op, op->off / FS_BLOCK, end, &at);
	else
		r = next_hole(op, op->off / FS_BLOCK, end, &at);
	if (r)
		return r;
	if (op->flags == SEEK_DATA && at == end)
		return -ENXIO;
	op->result = MIN(MAX(op->off, at * FS_BLOCK), size);
	return 0;
}

int fs_lseek(struct op *op)
{
	struct fs *fs = op->worker->fs;
	int r;

	if (op->flags != SEEK_DATA && op->flags != SEEK_HOLE)
		return -EINVAL;
	fs_lock_shared(fs);
	r = seek_locked(op);
	fs_unlock(fs);
	return r;
}
