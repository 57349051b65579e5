/* SPDX-License-Identifier: Apache-2.0 */
/* From a capsule to its command and back to a completion: dispatch, SGL checks, submission queue head. */
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "tools/target/target.h"

/* Until Connect a queue may be an admin queue, so its capsules may have as much data as those. */
void queue_init(struct queue *q, struct target *t, const struct queue_front *front)
{
	*q = (struct queue){ .target = t, .front = front, .incapsule = TARGET_ADMIN_INCAPSULE };
}

void queue_exit(struct queue *q)
{
	ctrl_leave(q);
}

/* Any PDU of any queue restarts the keep-alive timer: more patient than a Keep Alive every KATO would be. */
void queue_seen(struct queue *q)
{
	if (q->ctrl)
		atomic_store_explicit(&q->ctrl->seen, clock_now(), memory_order_relaxed);
}

/* SQHD is where the queue stands now, not where it stood when the command came: later ones may have been taken off
 * since. */
static void finish(struct queue *q, struct request *r, uint16_t status)
{
	r->done = true;
	r->cqe.cid = r->sqe.cid;
	cqe_set_status(&r->cqe, status);
	r->cqe.sqhd = put16(q->no_flow ? NVME_SQHD_DISABLED : q->sqhd);
	if (status && r->sqe.opcode != NVME_FABRICS)
		log_debug("queue %u: opcode %02x of cid %u: status %04x", q->qid, r->sqe.opcode, get16(r->sqe.cid),
			  status);
}

/* Tables end with an entry without functions. */
static const struct command *find(const struct command *table, uint8_t opcode)
{
	for (; table->begin || table->execute; table++)
		if (table->opcode == opcode)
			return table;
	return NULL;
}

/* What may come when (base 6.3): Connect first and once; only Fabrics commands until the controller is ready. */
static uint16_t choose(struct queue *q, struct request *r)
{
	const struct command *table = q->qid ? io_commands : admin_commands;

	if (r->sqe.opcode == NVME_FABRICS) {
		if (!q->ctrl != (r->sqe.fctype == NVME_FABRICS_CONNECT))
			return NVME_SC_SEQUENCE | NVME_STATUS_DNR;
		r->command = find(fabrics_commands, r->sqe.fctype);
		return r->command ? 0 : NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
	if (!q->ctrl || !ctrl_ready(q->ctrl))
		return NVME_SC_SEQUENCE | NVME_STATUS_DNR;
	r->command = find(table, r->sqe.opcode);
	if (!r->command || (q->ctrl->discovery && !r->command->discovery))
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	return r->sqe.flags & NVME_SQE_FUSE_MASK ? INVALID_FIELD : 0;
}

/* The caller's r has only sqe and capsule_len: all else is cleared here. */
void request_begin(struct queue *q, struct request *r)
{
	uint16_t status;

	*r = (struct request){ .sqe = r->sqe, .capsule_len = r->capsule_len };
	if (q->size) /* taken off the submission queue, whenever it will be done */
		q->sqhd = (uint16_t)((q->sqhd + 1) % q->size);
	status = choose(q, r);
	if (!status && r->command->begin)
		status = r->command->begin(q, r);
	if (status)
		finish(q, r, status);
}

void request_execute(struct queue *q, struct request *r, void *data)
{
	finish(q, r, r->command->execute ? r->command->execute(q, r, data) : 0);
}

void request_fail(struct queue *q, struct request *r, uint16_t status)
{
	finish(q, r, status);
}

/* One descriptor, in the SQE: data in the capsule at an offset, or by the transport. Each way of being wrong has
 * its own status, which a host's author will be glad of. Bits 7:6 of the flags (PSDT) must say SGL. */
uint16_t request_wants(struct request *r, enum request_dir dir, uint32_t len)
{
	const struct sgl_wire *sgl = &r->sqe.sgl;
	uint32_t sgl_len = get32(sgl->len);

	if ((r->sqe.flags & ~NVME_SQE_FUSE_MASK) != NVME_SQE_PSDT_SGL)
		return INVALID_FIELD;
	if (sgl->id == NVME_SGL_ID_INCAPSULE) {
		if (dir != REQUEST_TO_CTRL)
			return NVME_SC_SGL_TYPE | NVME_STATUS_DNR;
		if (!range_fits(get64(sgl->addr), sgl_len, r->capsule_len))
			return NVME_SC_SGL_OFFSET | NVME_STATUS_DNR;
		r->in_capsule = true;
		r->capsule_off = (uint32_t)get64(sgl->addr);
	} else if (sgl->id != NVME_SGL_ID_TRANSPORT) {
		return NVME_SC_SGL_TYPE | NVME_STATUS_DNR;
	}
	if (sgl_len != len)
		return NVME_SC_SGL_DATA_LEN | NVME_STATUS_DNR;
	r->dir = dir;
	r->len = len;
	return 0;
}
