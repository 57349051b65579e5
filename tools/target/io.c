/* SPDX-License-Identifier: Apache-2.0 */
/* The NVM command set: Read, Write, Flush, Write Zeroes, Compare, Dataset Management. */
#include "base/log.h"
#include "base/num.h"
#include "tools/target/target.h"

/* A held request never gets its completion: the host has to notice by itself. */
static uint16_t inject(struct queue *q, struct request *r)
{
	switch (fault_command(&q->target->fault)) {
	case FAULT_DROP:
		log_info("fault: all connections are closed");
		target_drop_all(q->target);
		return NVME_SC_ABORTED_SQ_DELETION;
	case FAULT_HANG:
		r->held = true;
		return 0;
	case FAULT_ERROR:
		return q->target->fault.error_status;
	default:
		return 0;
	}
}

/* Finds the namespace; faults strike here, before anything is done. A fault's status goes before a wrong NSID's, so
 * that its numbers come out as asked for. */
static uint16_t start(struct queue *q, struct request *r)
{
	uint16_t status = q->target->fault.any ? inject(q, r) : 0;

	r->ns = target_find_ns(q->target, get32(r->sqe.nsid));
	if (!status && !r->ns)
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	return status;
}

/* [slba, slba + n) as bytes. range_fits cannot overflow, and nblocks was a size in bytes once, so the shifts cannot
 * either. */
static uint16_t range(struct queue *q, struct request *r, uint64_t slba, uint64_t n, uint64_t *offset, uint64_t *len)
{
	if (!range_fits(slba, n, r->ns->nblocks))
		return NVME_SC_LBA_RANGE | NVME_STATUS_DNR;
	*offset = slba << q->target->lba_shift;
	*len = n << q->target->lba_shift;
	return 0;
}

/* Everything that can be refused is, before data move (target.h, invariant 2). */
static uint16_t rw_begin(struct queue *q, struct request *r, enum request_dir dir)
{
	uint64_t n = get16(r->sqe.rw.nlb) + 1ull, len;
	uint16_t status = start(q, r);

	if (status)
		return status;
	if (n << q->target->lba_shift > q->target->conf.mdts)
		return INVALID_FIELD;
	status = range(q, r, get64(r->sqe.rw.slba), n, &r->offset, &len);
	if (status)
		return status;
	/* Without a volatile write cache, or with it switched off, all writes are durable when done. */
	r->durable = (get16(r->sqe.rw.control) & NVME_RW_FUA) ||
		     !atomic_load_explicit(&q->ctrl->write_cache, memory_order_relaxed);
	r->place = backing_place(&r->ns->backing, r->offset);
	return request_wants(r, dir, (uint32_t)len);
}

/* Blocks of 512 bytes, which is what the SMART log's data units are made of, whatever the LBA size. */
static void count(_Atomic uint64_t *commands, _Atomic uint64_t *blocks, struct request *r)
{
	atomic_fetch_add_explicit(commands, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(blocks, r->len >> 9, memory_order_relaxed);
}

/* A Read that is to be spoiled goes through a buffer, so that what is stored stays good. */
static uint16_t read_begin(struct queue *q, struct request *r)
{
	uint16_t status = rw_begin(q, r, REQUEST_TO_HOST);

	if (!status && fault_corrupts_data(&q->target->fault)) {
		r->corrupt = true;
		r->place = NULL;
	}
	return status;
}

/* With a place the front sends from there: nothing is to be done. */
static uint16_t read_execute(struct queue *q, struct request *r, void *data)
{
	int err = r->place ? 0 : backing_read(&r->ns->backing, r->offset, data, r->len);

	if (r->corrupt)
		((uint8_t *)data)[r->len / 3] ^= 0x10;
	count(&q->target->reads, &q->target->blocks_read, r);
	return target_status(err, false);
}

static uint16_t write_begin(struct queue *q, struct request *r)
{
	return rw_begin(q, r, REQUEST_TO_CTRL);
}

/* data may be the place itself: then the bytes are there already, and only flushing is left. */
static uint16_t write_execute(struct queue *q, struct request *r, void *data)
{
	count(&q->target->writes, &q->target->blocks_written, r);
	return target_status(backing_write(&r->ns->backing, r->offset, data, r->len, r->durable), true);
}

/* An LBA at a time. Not atomic against a Write at the same time: fused commands are not offered. */
static uint16_t compare_execute(struct queue *q, struct request *r, void *data)
{
	uint8_t block[4096];
	int err = 0;

	for (uint32_t done = 0; done < r->len && !err; done += q->target->conf.lba_size) {
		err = backing_read(&r->ns->backing, r->offset + done, block, q->target->conf.lba_size);
		if (!err && memcmp(block, (uint8_t *)data + done, q->target->conf.lba_size))
			return NVME_SC_COMPARE_FAILED | NVME_STATUS_DNR;
	}
	return target_status(err, false);
}

/* Compare needs its data in a buffer of its own. */
static uint16_t compare_begin(struct queue *q, struct request *r)
{
	uint16_t status = rw_begin(q, r, REQUEST_TO_CTRL);

	r->place = NULL;
	return status;
}

/* NSID FFFFFFFFh flushes all (r->ns stays NULL), as Identify says (VWC, bits 2:1). */
static uint16_t flush_begin(struct queue *q, struct request *r)
{
	if (get32(r->sqe.nsid) == NVME_NSID_ALL)
		return q->target->fault.any ? inject(q, r) : 0;
	return start(q, r);
}

static uint16_t flush_execute(struct queue *q, struct request *r, void *data)
{
	int err = 0;

	for (unsigned i = 0; i < q->target->nr_ns && !err; i++)
		if (!r->ns || r->ns == &q->target->ns[i])
			err = backing_flush(&q->target->ns[i].backing);
	return target_status(err, true);
}

/* No data, and no limit but NLB's own: MDTS does not count here. */
static uint16_t zeroes_begin(struct queue *q, struct request *r)
{
	uint64_t len;
	uint16_t status = start(q, r);

	return status ? status
		      : range(q, r, get64(r->sqe.rw.slba), get16(r->sqe.rw.nlb) + 1ull, &r->offset, &len);
}

static uint16_t zeroes_execute(struct queue *q, struct request *r, void *data)
{
	uint64_t len = (get16(r->sqe.rw.nlb) + 1ull) << q->target->lba_shift;
	bool durable = (get16(r->sqe.rw.control) & NVME_RW_FUA) || !q->ctrl->write_cache;

	return target_status(backing_zero(&r->ns->backing, r->offset, len, durable), true);
}

/* NR is 0-based and at most 256. Whatever the attributes say, the ranges are data from the host. */
static uint16_t dsm_begin(struct queue *q, struct request *r)
{
	uint32_t nr = (get32(r->sqe.dsm.nr) & 0xff) + 1;
	uint32_t len = nr * (uint32_t)sizeof(struct dsm_range_wire), sgl_len = get32(r->sqe.sgl.len);
	uint16_t status = start(q, r);

	/* Linux always sends room for 256 ranges. */
	if (sgl_len > len && sgl_len <= NVME_DSM_RANGES_MAX * sizeof(struct dsm_range_wire))
		len = sgl_len;
	return status ? status : request_wants(r, REQUEST_TO_CTRL, len);
}

/* All ranges are checked before the first is touched. */
static uint16_t dsm_execute(struct queue *q, struct request *r, void *data)
{
	const struct dsm_range_wire *ranges = data;
	unsigned nr = (get32(r->sqe.dsm.nr) & 0xff) + 1;
	uint64_t offset, len;
	uint16_t status = 0;

	for (unsigned i = 0; i < nr && !status; i++)
		status = range(q, r, get64(ranges[i].slba), get32(ranges[i].nlb), &offset, &len);
	if (status || !(get32(r->sqe.dsm.attributes) & NVME_DSM_AD))
		return status;
	for (unsigned i = 0; i < nr && !status; i++) {
		range(q, r, get64(ranges[i].slba), get32(ranges[i].nlb), &offset, &len);
		status = target_status(backing_zero(&r->ns->backing, offset, len, !q->ctrl->write_cache), true);
	}
	return status;
}

const struct command io_commands[] = {
	{ NVME_IO_READ, false, read_begin, read_execute, NVME_CSE_CSUPP },
	{ NVME_IO_WRITE, false, write_begin, write_execute, NVME_CSE_CSUPP | NVME_CSE_LBCC },
	{ NVME_IO_FLUSH, false, flush_begin, flush_execute, NVME_CSE_CSUPP },
	{ NVME_IO_WRITE_ZEROES, false, zeroes_begin, zeroes_execute, NVME_CSE_CSUPP | NVME_CSE_LBCC },
	{ NVME_IO_DSM, false, dsm_begin, dsm_execute, NVME_CSE_CSUPP | NVME_CSE_LBCC },
	{ NVME_IO_COMPARE, false, compare_begin, compare_execute, NVME_CSE_CSUPP },
	{ 0 },
};
