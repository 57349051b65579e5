/* SPDX-License-Identifier: Apache-2.0 */
/* The admin commands that need no file of their own: Abort, Asynchronous Event Request, Keep Alive; and the table of
 * all. */
#include "tools/target/target.h"

/* Commands are done in order, so only an event request can still be there to be aborted (base 5.1.1). */
static uint16_t abort_execute(struct queue *q, struct request *r, void *data)
{
	struct ctrl *c = q->ctrl;
	uint16_t cid = get16(r->sqe.abort.cid);

	r->cqe.dw0 = put32(1); /* not aborted */
	for (unsigned i = 0; i < c->nr_aer && !get16(r->sqe.abort.sqid); i++) {
		struct cqe_wire cqe = { .sqhd = put16(q->no_flow ? NVME_SQHD_DISABLED : q->sqhd), .cid = c->aer[i] };

		if (get16(c->aer[i]) != cid)
			continue;
		c->aer[i] = c->aer[--c->nr_aer];
		cqe_set_status(&cqe, NVME_SC_ABORTED);
		q->front->complete(q, &cqe);
		r->cqe.dw0 = put32(0);
		break;
	}
	return 0;
}

/* Held until there is something to tell (which today never happens) or the controller goes. */
static uint16_t aer_begin(struct queue *q, struct request *r)
{
	struct ctrl *c = q->ctrl;

	if (c->nr_aer == TARGET_AER_MAX)
		return NVME_SC_AER_LIMIT | NVME_STATUS_DNR;
	c->aer[c->nr_aer++] = r->sqe.cid;
	r->held = true;
	return 0;
}

/* The timer was restarted when the command came in. */
static uint16_t keep_alive_execute(struct queue *q, struct request *r, void *data)
{
	return 0;
}

const struct command admin_commands[] = {
	{ NVME_ADMIN_GET_LOG, true, log_page_begin, log_page_execute, NVME_CSE_CSUPP },
	{ NVME_ADMIN_IDENTIFY, true, identify_begin, identify_execute, NVME_CSE_CSUPP },
	{ NVME_ADMIN_ABORT, true, NULL, abort_execute, NVME_CSE_CSUPP },
	{ NVME_ADMIN_SET_FEATURES, true, set_features_begin, set_features_execute, NVME_CSE_CSUPP },
	{ NVME_ADMIN_GET_FEATURES, true, get_features_begin, get_features_execute, NVME_CSE_CSUPP },
	{ NVME_ADMIN_AER, true, aer_begin, NULL, NVME_CSE_CSUPP },
	{ NVME_ADMIN_KEEP_ALIVE, true, NULL, keep_alive_execute, NVME_CSE_CSUPP },
	{ 0 },
};
