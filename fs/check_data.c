/* SPDX-License-Identifier: Apache-2.0 */
/* Data blocks: read in batches that fill the wire, each block's CRC32C compared, bytes past the end of a file zero. */
#include <string.h>
#include "base/crc.h"
#include "fs/check_impl.h"

/* A finding for a range of file blocks. */
static void say_blocks(struct check *c, const struct data_req *q, const struct check_read *r, unsigned first,
		       unsigned n)
{
	c->rep->data_errors++;
	check_say(c, q->ino, "data at offset %llu (%u block%s at device block %llu): checksum mismatch",
		  (unsigned long long)((q->offset + first) * FS_BLOCK), n, n > 1 ? "s" : "",
		  (unsigned long long)(r->block + first));
}

static void crcs_compare(struct check *c, const struct data_req *q, const struct check_read *r)
{
	const uint8_t *p = r->buf;
	const uint32_t *crc = c->crcs + (p - c->data) / FS_BLOCK;
	unsigned bad = 0;

	for (unsigned i = 0; i < r->nblocks; i++) {
		if (crc32c(p + i * FS_BLOCK, FS_BLOCK) != crc[i]) {
			bad++;
			continue;
		}
		if (bad)
			say_blocks(c, q, r, i - bad, bad);
		bad = 0;
	}
	if (bad)
		say_blocks(c, q, r, r->nblocks - bad, bad);
}

static void tail_check(struct check *c, const struct data_req *q, const struct check_read *r)
{
	const uint8_t *last = (const uint8_t *)r->buf + (r->nblocks - 1) * FS_BLOCK;

	for (unsigned i = q->tail; q->tail && i < FS_BLOCK; i++) {
		if (!last[i])
			continue;
		c->rep->data_errors++;
		check_say(c, q->ino,
			  "data at offset %llu: bytes beyond the end of the file are not zero (device block %llu)",
			  (unsigned long long)((q->offset + r->nblocks - 1) * FS_BLOCK + i),
			  (unsigned long long)(r->block + r->nblocks - 1));
		return;
	}
}

void check_data_flush(struct check *c)
{
	if (c->nreads && !check_stop(c)) {
		c->conf->source.read(c->conf->source.arg, c->reads, c->nreads);
		for (unsigned i = 0; i < c->nreads; i++) {
			const struct check_read *r = &c->reads[i];

			c->rep->checked_blocks += r->nblocks;
			if (r->status) {
				c->rep->read_errors++;
				c->rep->data_errors++;
				check_say(c, c->reqs[i].ino,
					  "data at offset %llu (%u blocks at device block %llu) cannot be "
					  "read: %s",
					  (unsigned long long)(c->reqs[i].offset * FS_BLOCK), r->nblocks,
					  (unsigned long long)r->block, err_text(r->status));
				continue;
			}
			crcs_compare(c, &c->reqs[i], r);
			tail_check(c, &c->reqs[i], r);
		}
		check_tick(c);
	}
	c->nreads = 0;
	c->data_used = 0;
}

void check_data_add(struct check *c, uint64_t offset, const struct extent_disk *d, const uint8_t *crcs)
{
	unsigned n = get16(d->stored_blocks);
	const struct check_object *o = &c->obj;
	struct data_req *q;

	if (c->conf->skip_data || d->flags & EXTENT_UNWRITTEN)
		return;
	if (c->data_used + n > DATA_BATCH)
		check_data_flush(c);
	q = &c->reqs[c->nreads];
	*q = (struct data_req){ .ino = o->ino, .offset = offset };
	if (o->has_inode && (offset + n - 1) == o->size / FS_BLOCK)
		q->tail = (uint32_t)(o->size % FS_BLOCK);
	c->reads[c->nreads++] = (struct check_read){ .block = get64(d->block), .nblocks = n,
		.buf = c->data + (size_t)c->data_used * FS_BLOCK };
	for (unsigned i = 0; i < n; i++) {
		le32 v;

		memcpy(&v, crcs + i * 4, 4);
		c->crcs[c->data_used + i] = get32(v);
	}
	c->data_used += n;
}
