/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing a controller up, as a table of steps that leave off where one fails; ctrl_close undoes what was reached. Also
 * the Connect of I/O queues, which needs what the steps learned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "transport/ctrl.h"

/* Commands in flight on an I/O queue where the user says nothing; as Linux does. */
#define DEFAULT_ENTRIES 128
/* Bytes; what a controller offers beyond that is not used. */
#define INCAPSULE_MAX 65536u

/* Never 0, which could mean "no limit" further down. */
static uint32_t attempt_ms(const struct ctrl *c)
{
	uint64_t now = clock_now();

	if (!c->deadline)
		return c->addr->connect_tmo * 1000;
	return now >= c->deadline ? 1 : (uint32_t)DIV_UP(c->deadline - now, NS_PER_MS);
}

/* The wire takes the queue's size 0-based. cntlid goes into RDMA's private data; FFFFh for the admin queue. */
static int connect_wire(struct ctrl *c, struct wire **wire, uint16_t qid, uint16_t entries, struct lane_stats *stats,
			struct wire_limits *limits)
{
	struct wire_conf conf = { .addr = c->addr, .cntlid = c->cntlid, .hdr_digest = c->addr->hdr_digest,
				  .data_digest = c->addr->data_digest, .connect_ms = attempt_ms(c),
				  .user_timeout_ms = c->addr->keep_alive_tmo * 1000, .why = c->why, .why_len = c->why_len };

	return c->ops->connect(wire, c->domain, stats, qid, (uint16_t)(entries - 1), &conf, limits);
}

/* The limits are not kept: of all commands on the admin queue only Connect sends data. */
static int step_wire(struct ctrl *c)
{
	struct wire_limits limits;

	return connect_wire(c, &c->admin, 0, CTRL_ADMIN_ENTRIES, NULL, &limits);
}

/* A status in words, for a step that names itself. */
static int said(struct ctrl *c, int r, const char *what)
{
	char text[64];

	if (r == -E_NVME_STATUS)
		return ctrl_fail(c, r, "%s failed: %s", what, status_print(c->last_status, text, sizeof(text)));
	return r ? ctrl_fail(c, r, "%s failed: %s", what, err_text(r)) : 0;
}

/* Connect succeeded, yet every command but authentication's would be refused (base 6.3, AUTHREQ). */
static int check_authreq(struct ctrl *c, const struct cqe_wire *cqe)
{
	if (!(get16(cqe->connect.authreq) & (NVME_AUTHREQ_ATR | NVME_AUTHREQ_ASCR)))
		return 0;
	return ctrl_fail(c, -EACCES, "the target asks for authentication, which this build does not have");
}

/* Allocates the controller (dynamic model: CNTLID FFFFh asks for any) and starts its keep-alive timer, which is why
 * the time of sending counts from here. */
static int step_connect(struct ctrl *c)
{
	const struct cqe_wire *cqe = &c->slots[CTRL_CID_EXEC].cqe;
	int r;

	c->kato_ms = c->addr->keep_alive_tmo * 1000;
	fabrics_build_connect(ctrl_sqe(c), 0, CTRL_ADMIN_ENTRIES, c->kato_ms);
	fabrics_build_connect_data((struct connect_data_wire *)c->page->bytes, c->addr, NVME_CNTLID_DYNAMIC);
	r = ctrl_exec(c, SLOT_TO_CTRL, sizeof(struct connect_data_wire));
	if (r == -E_NVME_STATUS)
		return fabrics_connect_refused(cqe, c->addr, c->why, c->why_len);
	if (r)
		return said(c, r, "Connect");
	c->cntlid = get16(cqe->connect.cntlid);
	c->keep_alive_sent = clock_now();
	return check_authreq(c, cqe);
}

/* *value is only good with 0. */
static int get_property(struct ctrl *c, enum nvme_property property, uint64_t *value)
{
	int r;

	fabrics_build_property_get(ctrl_sqe(c), property);
	r = ctrl_exec(c, SLOT_NONE, 0);
	*value = get64(c->slots[CTRL_CID_EXEC].cqe.value);
	return said(c, r, "Property Get");
}

static int set_cc(struct ctrl *c, uint32_t cc)
{
	fabrics_build_property_set(ctrl_sqe(c), NVME_PROP_CC, cc);
	return said(c, ctrl_exec(c, SLOT_NONE, 0), "Property Set");
}

static int step_properties(struct ctrl *c)
{
	return get_property(c, NVME_PROP_CAP, &c->cap);
}

/* RDY as wanted within CAP.TO and what is left of the attempt. */
static int wait_ready(struct ctrl *c, bool ready)
{
	uint64_t csts = 0, limit = clock_now() + MAX(NVME_CAP_TO(c->cap), 1u) * 500 * NS_PER_MS;

	for (unsigned pause = 1;; pause = MIN(pause * 2, 50u)) {
		int r = get_property(c, NVME_PROP_CSTS, &csts);

		if (r)
			return r;
		/* While disabling a fatal status is no obstacle: disabling is what clears it. */
		if (csts & NVME_CSTS_CFS && ready)
			return ctrl_fail(c, -EIO, "the controller has a fatal status (CSTS.CFS)");
		if (!(csts & NVME_CSTS_RDY) == !ready)
			return 0;
		if (clock_now() >= MIN(limit, c->deadline))
			return ctrl_fail(c, -E_TIMEDOUT, "the controller does not become %s", ready ? "ready" : "idle");
		clock_sleep(pause * NS_PER_MS);
	}
}

/* A new association's controller is disabled already; one that the target kept (static model) may not be. */
static int step_disable(struct ctrl *c)
{
	uint64_t cc;
	int r = get_property(c, NVME_PROP_CC, &cc);

	if (r || !(cc & NVME_CC_EN))
		return r;
	r = set_cc(c, (uint32_t)cc & ~NVME_CC_EN);
	return r ? r : wait_ready(c, false);
}

/* Entry sizes are powers of two: 64 bytes a SQE, 16 a CQE. MPS = MPSMIN makes MDTS and WZSL, which count in MPSMIN,
 * mean pages of one size. From here on the controller needs a shutdown. */
static int step_enable(struct ctrl *c)
{
	uint32_t cc = NVME_CC_EN | 6u << NVME_CC_IOSQES_SHIFT | 4u << NVME_CC_IOCQES_SHIFT |
		      NVME_CAP_MPSMIN(c->cap) << NVME_CC_MPS_SHIFT;
	int r = set_cc(c, cc);

	if (!r)
		r = wait_ready(c, true);
	c->alive = !r;
	return r;
}

/* Fixed-width text, padded with spaces. It goes to logs and status: whatever is not printable becomes a space. */
static void copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = 0;
	for (size_t i = 0; i < len; i++) {
		if (to[i] < ' ' || to[i] > '~')
			to[i] = ' ';
	}
	while (len && to[len - 1] == ' ')
		to[--len] = 0;
}

/* 2^shift pages of the smallest size, or limit if that is less or shift is 0 (which means no limit). */
static uint32_t pages_to_bytes(const struct ctrl *c, uint8_t shift, uint32_t limit)
{
	unsigned bits = shift + 12 + NVME_CAP_MPSMIN(c->cap);

	return !shift || bits > 31 ? limit : MIN(1u << bits, limit);
}

/* IOCCSZ is in 16 bytes and counts the SQE's 64. In-capsule data is only used where the SGL may hold an offset
 * (SGLS bit 20) and where data follows the SQE at once (ICDOFF 0): nothing else is laid out by the wires. MQES is
 * 0-based. MAXCMD bounds commands outstanding, and a queue of n entries holds n - 1; at least 2 entries, or nothing
 * could be sent. */
static void learn_limits(struct ctrl *c, const struct id_ctrl_wire *id)
{
	uint32_t ioccsz = get32(id->ioccsz), maxcmd = get16(id->maxcmd), entries;

	c->max_io = pages_to_bytes(c, id->mdts, CTRL_MAX_IO);
	if (get32(id->sgls) & NVME_SGLS_OFFSET && ioccsz > 4 && !get16(id->icdoff))
		c->incapsule = MIN(ioccsz > INCAPSULE_MAX / 16 ? INCAPSULE_MAX : ioccsz * 16 - 64, INCAPSULE_MAX);
	entries = MIN(c->addr->queue_size ? c->addr->queue_size : DEFAULT_ENTRIES, NVME_CAP_MQES(c->cap) + 1u);
	if (maxcmd && maxcmd + 1 < entries)
		entries = maxcmd + 1;
	c->entries = (uint16_t)MAX(entries, 2u);
}

/* KAS 0: no keep-alive, so nothing is sent and no silence counts as death. CRDT 1 to 3 are in 100 ms; CRD 0 means
 * none. CQT is in milliseconds (base 9.6). */
static void learn_features(struct ctrl *c, const struct id_ctrl_wire *id)
{
	c->vwc = id->vwc & NVME_VWC_PRESENT;
	c->can_discard = get16(id->oncs) & NVME_ONCS_DSM;
	c->can_zero = get16(id->oncs) & NVME_ONCS_WRITE_ZEROES;
	c->traffic_based = get32(id->ctratt) & NVME_CTRATT_TBKAS;
	c->cqt_ms = get16(id->cqt);
	c->nn = get32(id->nn);
	c->oaes = get32(id->oaes) & NVME_OAES_NS_ATTR;
	if (!get16(id->kas))
		c->kato_ms = 0;
	for (int i = 0; i < 3; i++)
		c->crdt_ms[i + 1] = get16(id->crdt[i]) * 100u;
	copy_text(c->model, id->mn, sizeof(id->mn));
	copy_text(c->serial, id->sn, sizeof(id->sn));
	copy_text(c->firmware, id->fr, sizeof(id->fr));
}

/* A discovery controller may be reached by the well-known NQN and answer with one of its own: not compared then. */
static int check_identity(struct ctrl *c, const struct id_ctrl_wire *id)
{
	if (strncmp(id->subnqn, c->addr->nqn, sizeof(id->subnqn)) && !c->discovery)
		return ctrl_fail(c, -E_BAD_NQN, "the controller says it belongs to another subsystem");
	if (id->cntrltype == NVME_CNTRLTYPE_DISCOVERY && !c->discovery)
		return ctrl_fail(c, -E_BAD_NQN, "that is a discovery controller, which has no namespaces");
	return 0;
}

/* Whoever answers is judged before anything is learned from it. */
static int step_identify(struct ctrl *c)
{
	const struct id_ctrl_wire *id = (const struct id_ctrl_wire *)c->page->bytes;
	int r = said(c, ctrl_identify(c, NVME_CNS_CTRL, 0, 0), "Identify controller");

	if (!r)
		r = check_identity(c, id);
	if (r)
		return r;
	learn_limits(c, id);
	learn_features(c, id);
	return 0;
}

/* Limits of Write Zeroes and Deallocate; a controller that does not know the page has none to tell. */
static int step_identify_nvm(struct ctrl *c)
{
	const struct id_ctrl_nvm_wire *id = (const struct id_ctrl_nvm_wire *)c->page->bytes;
	int r;

	c->max_zero = c->max_io;
	if (c->discovery || !(c->can_zero || c->can_discard))
		return 0;
	r = ctrl_identify(c, NVME_CNS_CSI_CTRL, 0, NVME_CSI_NVM);
	if (r == -E_NVME_STATUS)
		return 0;
	if (r)
		return said(c, r, "Identify controller (NVM)");
	c->max_zero = pages_to_bytes(c, id->wzsl, id->wzsl ? CTRL_MAX_IO * 16 : c->max_io);
	c->max_discard = get32(id->dmrsl);
	return 0;
}

/* Only changes of namespace attributes are asked for: the one event that something is done about. */
static int step_events(struct ctrl *c)
{
	if (c->discovery || !c->oaes)
		return 0;
	admin_build_set_feature(ctrl_sqe(c), NVME_FEAT_AER_CONFIG, c->oaes);
	return said(c, ctrl_exec(c, SLOT_NONE, 0), "Set Features (asynchronous events)");
}

/* Both counts are 0-based; fewer than wanted is normal. */
static int step_queues(struct ctrl *c)
{
	uint32_t n = c->wanted - 1, granted;
	int r;

	if (!c->wanted)
		return 0;
	admin_build_set_feature(ctrl_sqe(c), NVME_FEAT_NUM_QUEUES, n | n << 16);
	r = said(c, ctrl_exec(c, SLOT_NONE, 0), "Set Features (Number of Queues)");
	if (r)
		return r;
	granted = get32(c->slots[CTRL_CID_EXEC].cqe.dw0);
	c->nr_queues = (uint16_t)MIN(c->wanted, MIN(granted & 0xffff, granted >> 16) + 1);
	return 0;
}

static const struct {
	const char *name;
	int (*action)(struct ctrl *);
} steps[] = { /* undone by ctrl_close: shutdown once enabled, then the connection */
	{ "transport", step_wire },
	{ "Connect", step_connect },
	{ "properties", step_properties },
	{ "disable", step_disable },
	{ "enable", step_enable }, /* alive from here on */
	{ "Identify controller", step_identify },
	{ "Identify controller (NVM)", step_identify_nvm },
	{ "events", step_events },
	{ "queues", step_queues },
};

/* Page-aligned, for lent is registered alone: what a target may write to must not share a page with what is parsed.
 * Two keys, one for each direction; none where the fabric has no registration. */
static int map_page(struct ctrl *c)
{
	int r;

	c->page = aligned_alloc(4096, ROUND_UP(sizeof(*c->page), 4096));
	if (!c->page)
		return ctrl_fail(c, -ENOMEM, "out of memory");
	memset(c->page, 0, sizeof(*c->page));
	if (!c->ops->map)
		return 0;
	r = c->ops->map(c->domain, c->page->lent, sizeof(c->page->lent), WIRE_REMOTE_WRITE, &c->page->key);
	if (!r)
		r = c->ops->map(c->domain, c->page->lent, sizeof(c->page->lent), WIRE_REMOTE_READ, &c->page->source);
	return r ? ctrl_fail(c, r, "cannot register memory: %s", err_text(r)) : 0;
}

/* One deadline for all steps, of connect-tmo. It stays set: whoever uses the controller after it sets another or 0. */
int ctrl_open(struct ctrl **ctrl, const struct ctrl_conf *conf)
{
	struct ctrl *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct ctrl){ .ops = conf->ops, .domain = conf->domain, .addr = conf->addr, .why = conf->why,
			    .why_len = conf->why_len, .wanted = conf->nr_queues, .discovery = conf->discovery,
			    .cntlid = NVME_CNTLID_DYNAMIC };
	c->deadline = clock_now() + c->addr->connect_tmo * NS_PER_S;
	r = map_page(c);
	for (c->reached = 0; !r && c->reached < ARRAY_SIZE(steps); c->reached++) {
		log_debug("controller: %s", steps[c->reached].name);
		r = steps[c->reached].action(c);
	}
	if (r) {
		ctrl_close(c, true);
		return r;
	}
	*ctrl = c;
	return 0;
}

/* Connect on the queue's own wire, with a slot of its own: the admin queue's may be in use. */
static int exec_connect(struct ctrl *c, struct wire *w, uint16_t qid)
{
	uint64_t deadline = c->deadline ? c->deadline : clock_now() + c->addr->connect_tmo * NS_PER_S;
	struct slot slot = { .dir = SLOT_TO_CTRL, .len = sizeof(struct connect_data_wire), .mem = c->page->lent,
			     .key = &c->page->source }, *s = &slot;
	int r;

	fabrics_build_connect(&slot.sqe, qid, c->entries, 0);
	fabrics_build_connect_data((struct connect_data_wire *)c->page->lent, c->addr, c->cntlid);
	r = c->ops->send(w, &s, 1);
	if (r != 1)
		return ctrl_fail(c, r < 0 ? r : -E_LOST, "Connect of queue %u failed", qid);
	do {
		r = c->ops->poll(w, &s, 1);
		if (!r)
			r = wire_wait(w, deadline);
		else if (r > 0)
			break;
	} while (!r);
	if (r < 0) {
		c->ops->stop(w); /* the slot is on our stack */
		return ctrl_fail(c, r, "Connect of queue %u failed: %s", qid, err_text(r));
	}
	if (cqe_status(&slot.cqe))
		return fabrics_connect_refused(&slot.cqe, c->addr, c->why, c->why_len);
	return check_authreq(c, &slot.cqe);
}

/* *wire is the caller's with 0 only. How much data fits into a capsule was learned on the admin queue (IOCCSZ), so
 * the wire is told after its Connect. */
int ctrl_connect_io(struct ctrl *c, struct wire **wire, uint16_t qid, struct lane_stats *stats)
{
	struct wire_limits limits;
	int r = connect_wire(c, wire, qid, c->entries, stats, &limits);

	if (r)
		return r;
	r = exec_connect(c, *wire, qid);
	if (r) {
		c->ops->stop(*wire);
		c->ops->free(*wire);
		*wire = NULL;
		return r;
	}
	limits.incapsule = c->incapsule;
	c->ops->set_limits(*wire, &limits);
	return 0;
}
