/* SPDX-License-Identifier: Apache-2.0 */
/* A namespace and its lanes on the in-process wire, on one thread under the virtual clock, against a small controller with
 * a volatile cache that the tests can crash, hold back and make fail. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "transport/inproc.h"
#include "transport/ns.h"

#define BLOCKS 64u
#define MDTS_BLOCKS 4u       /* MDTS 2: 16 KiB */
#define QUEUE_SIZE 16
#define HELD_MAX 64
#define NQN "nqn.2026-11.io.nvofs:lane"

struct held {
	struct inproc_queue *q;
	struct slot *s;
};

static struct peer {
	struct inproc_peer peer;
	uint8_t medium[BLOCKS * BLOCK_SIZE], cache[BLOCKS * BLOCK_SIZE];
	bool vwc, down, hold;
	uint32_t cc;
	uint8_t uuid;
	uint16_t sc[8];              /* statuses for the next I/O commands */
	unsigned nsc;
	int wire_error;              /* for the next read */
	struct held held[HELD_MAX];
	unsigned nheld;
	struct inproc_queue *queues[8];
	unsigned nqueues, reads, writes, fua_writes, flushes, zeroes, discards, keep_alives, connects;
	uint64_t last_block;
} peer;

static struct ns *ns;
static struct lane *lane;
static uint8_t *mem;             /* BLOCKS blocks */
static unsigned pending;

/* ---- the controller ---- */

static void fill_ctrl(struct id_ctrl_wire *id)
{
	memset(id, 0, sizeof(*id));
	memset(id->sn, ' ', sizeof(id->sn));
	memcpy(id->mn, "simulated", 9);
	id->mdts = 2;
	id->kas = put16(1);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = put32(1);
	id->oncs = put16(NVME_ONCS_DSM | NVME_ONCS_WRITE_ZEROES);
	id->vwc = peer.vwc;
	id->sgls = put32(NVME_SGLS_SUPPORTED | NVME_SGLS_OFFSET);
	id->ioccsz = put32(4);
	strcpy(id->subnqn, NQN);
}

static uint16_t identify(struct slot *s)
{
	struct id_ns_wire *n = s->mem;
	uint8_t *bytes = s->mem;

	memset(s->mem, 0, s->len);
	if (s->sqe.identify.cns == NVME_CNS_CTRL)
		fill_ctrl(s->mem);
	else if (s->sqe.identify.cns == NVME_CNS_ACTIVE_NS)
		bytes[0] = 1;
	else if (s->sqe.identify.cns == NVME_CNS_NS_DESC)
		memcpy(bytes, (uint8_t[]){ NVME_NIDT_UUID, 16, 0, 0, peer.uuid }, 5);
	else if (s->sqe.identify.cns == NVME_CNS_NS && get32(s->sqe.nsid) == 1) {
		n->nsze = n->ncap = put64(BLOCKS * 8);
		n->lbaf[0].lbads = 9;
	} else {
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	}
	return 0;
}

static uint16_t fabrics(struct slot *s, uint64_t *value)
{
	uint32_t offset = get32(s->sqe.prop.offset);

	if (s->sqe.fctype == NVME_FABRICS_CONNECT)
		*value = 1;
	else if (s->sqe.fctype == NVME_FABRICS_PROPERTY_SET)
		peer.cc = (uint32_t)get64(s->sqe.prop.value);
	else if (offset == NVME_PROP_CAP)
		*value = (QUEUE_SIZE - 1) | 2ull << NVME_CAP_TO_SHIFT | NVME_CAP_CSS_NVM;
	else if (offset == NVME_PROP_CC)
		*value = peer.cc;
	else if (offset == NVME_PROP_CSTS)
		*value = (peer.cc & NVME_CC_EN ? NVME_CSTS_RDY : 0) |
			 (peer.cc & NVME_CC_SHN_MASK ? NVME_CSTS_SHST_COMPLETE : 0);
	return 0;
}

static uint16_t io_command(struct slot *s)
{
	uint64_t lba = get64(s->sqe.rw.slba), len = (get16(s->sqe.rw.nlb) + 1ull) * 512;
	uint8_t *at = peer.cache + lba * 512;

	peer.last_block = lba / 8;
	switch (s->sqe.opcode) {
	case NVME_IO_READ:
		peer.reads++;
		memcpy(s->mem, at, s->len);
		return len == s->len ? 0 : NVME_SC_INVALID_FIELD;
	case NVME_IO_WRITE:
		peer.writes++;
		memcpy(at, s->mem, s->len);
		break;
	case NVME_IO_WRITE_ZEROES:
		peer.zeroes++;
		memset(at, 0, len);
		break;
	case NVME_IO_DSM:
		peer.discards++;
		return 0;
	case NVME_IO_FLUSH:
		peer.flushes++;
		memcpy(peer.medium, peer.cache, sizeof(peer.medium));
		return 0;
	}
	if (get16(s->sqe.rw.control) & NVME_RW_FUA) {
		peer.fua_writes++;
		memcpy(peer.medium + lba * 512, at, len);
	}
	return 0;
}

static void execute(struct inproc_queue *q, struct slot *s)
{
	uint16_t status = 0;
	uint64_t value = 0;

	if (s->sqe.opcode == NVME_FABRICS)
		status = fabrics(s, &value);
	else if (q->qid && peer.nsc)
		status = peer.sc[--peer.nsc];
	else if (q->qid)
		status = io_command(s);
	else if (s->sqe.opcode == NVME_ADMIN_IDENTIFY)
		status = identify(s);
	else if (s->sqe.opcode == NVME_ADMIN_SET_FEATURES)
		value = 1u << 16 | 1; /* two queues */
	else if (s->sqe.opcode == NVME_ADMIN_KEEP_ALIVE)
		peer.keep_alives++;
	else
		status = NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	if (q->qid && s->sqe.opcode == NVME_IO_READ && peer.wire_error) {
		int code = peer.wire_error;

		peer.wire_error = 0;
		inproc_fail(q, s, code);
		return;
	}
	inproc_complete(q, s, status, value);
}

static int peer_connect(struct inproc_peer *p, struct inproc_queue *q)
{
	if (peer.down)
		return -ECONNREFUSED;
	peer.connects++;
	peer.queues[peer.nqueues++] = q;
	if (!q->qid)
		peer.cc = 0;
	return 0;
}

static void peer_submit(struct inproc_peer *p, struct inproc_queue *q, struct slot *s)
{
	if (!peer.hold || !q->qid || s->sqe.opcode == NVME_FABRICS) {
		execute(q, s);
		return;
	}
	ck_assert_uint_lt(peer.nheld, HELD_MAX);
	peer.held[peer.nheld++] = (struct held){ q, s };
}

static void peer_disconnect(struct inproc_peer *p, struct inproc_queue *q)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < peer.nheld; i++) {
		if (peer.held[i].q != q)
			peer.held[kept++] = peer.held[i];
	}
	peer.nheld = kept;
	for (unsigned i = 0; i < peer.nqueues; i++) {
		if (peer.queues[i] == q)
			peer.queues[i] = peer.queues[--peer.nqueues];
	}
}

/* The held command number i is executed and answered. */
static void let_go(unsigned i)
{
	struct held h = peer.held[i];

	memmove(&peer.held[i], &peer.held[i + 1], (--peer.nheld - i) * sizeof(h));
	execute(h.q, h.s);
}

static void let_all_go(void)
{
	peer.hold = false;
	while (peer.nheld)
		let_go(0);
}

/* All connections break; with the power also the cache goes. */
static void cut(bool power)
{
	for (unsigned i = 0; i < peer.nqueues; i++)
		inproc_break(peer.queues[i]);
	if (power)
		memcpy(peer.cache, peer.medium, sizeof(peer.medium));
}

/* ---- the host ---- */

static struct ns_conf conf(bool vwc)
{
	struct ns_conf c = { .flags = NS_NO_THREAD, .nr_queues = 1 };

	memset(&peer, 0, sizeof(peer));
	peer.peer = (struct inproc_peer){ .connect = peer_connect, .submit = peer_submit, .disconnect = peer_disconnect };
	peer.vwc = vwc;
	ns_addr_init(&c.addr);
	c.addr.transport = TRANSPORT_INPROC;
	c.addr.inproc = &peer.peer;
	strcpy(c.addr.host, "peer");
	strcpy(c.addr.nqn, NQN);
	strcpy(c.addr.hostnqn, "nqn.host");
	c.addr.has_hostid = true;
	return c;
}

static void open_conf(const struct ns_conf *c)
{
	char why[256] = "";

	log_to_fd(-1);
	clock_virtual_set(NS_PER_S);
	ck_assert_msg(!ns_open(&ns, c, why, sizeof(why)), "%s", why);
	mem = aligned_alloc(4096, BLOCKS * BLOCK_SIZE);
	memset(mem, 0, BLOCKS * BLOCK_SIZE);
	ck_assert(!ns_add_memory(ns, mem, BLOCKS * BLOCK_SIZE));
	ck_assert(!lane_open(&lane, ns, 0));
	pending = 0;
}

static void open_ns(bool vwc)
{
	struct ns_conf c = conf(vwc);

	open_conf(&c);
}

static void close_ns(void)
{
	lane_close(lane);
	ns_close(ns);
	ck_assert_uint_eq(peer.nqueues, 0);
	free(mem);
	clock_virtual_set(0);
}

struct test_io {
	struct io io;
	int status;
	unsigned done, stable;
};

static void io_done(struct io *io, int status)
{
	struct test_io *t = container_of(io, struct test_io, io);

	ck_assert(!t->stable);
	t->status = status;
	t->done++;
	pending--;
}

static void io_stable(struct io *io)
{
	struct test_io *t = container_of(io, struct test_io, io);

	ck_assert(t->done);
	t->stable++;
}

static void submit(struct test_io *t, enum io_op op, unsigned flags, uint64_t block, uint32_t n)
{
	*t = (struct test_io){ .io = { .op = op, .flags = flags, .block = block, .nblocks = n, .done = io_done,
				       .stable = io_stable } };
	t->io.mem = mem + (block % BLOCKS) * BLOCK_SIZE;
	list_init(&t->io.link);
	pending++;
	lane_submit(lane, &t->io);
}

static int run(enum io_op op, unsigned flags, uint64_t block, uint32_t n)
{
	struct test_io t;

	submit(&t, op, flags, block, n);
	t.io.stable = NULL;
	lane_wait(lane, &pending);
	ck_assert_uint_eq(t.done, 1);
	return t.status;
}

/* Some passes of the loop, without moving time. */
static void spin(void)
{
	for (int i = 0; i < 10; i++) {
		lane_poll(lane);
		ns_control(ns);
	}
}

static void pass_time(uint64_t ns_)
{
	for (uint64_t end = clock_now() + ns_; clock_now() < end; clock_virtual_add(10 * NS_PER_MS))
		spin();
}

static void pattern(uint64_t block, uint32_t n, uint8_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		memset(mem + (block + i) * BLOCK_SIZE, seed + (int)i, BLOCK_SIZE);
}

/* ---- tests ---- */

START_TEST(info)
{
	const struct ns_info *i;

	open_ns(true);
	i = ns_info(ns);
	ck_assert(i->nblocks == BLOCKS && i->lba_size == 512 && i->nsid == 1 && i->vwc && i->can_discard && i->can_zero);
	ck_assert(i->max_io_blocks == MDTS_BLOCKS && i->queue_size == QUEUE_SIZE && i->nr_queues == 1 && i->connected);
	ck_assert_str_eq(i->model, "simulated");
	close_ns();
	ck_assert(peer.cc & NVME_CC_SHN_NORMAL);
}
END_TEST

START_TEST(splits_and_reads_back)
{
	open_ns(false);
	pattern(3, 10, 1);
	ck_assert_int_eq(run(IO_WRITE, 0, 3, 10), 0);
	ck_assert_uint_eq(peer.writes, 3);
	ck_assert_uint_eq(peer.fua_writes, 0); /* nothing volatile there */
	memset(mem, 0xee, BLOCKS * BLOCK_SIZE);
	ck_assert_int_eq(run(IO_READ, 0, 3, 10), 0);
	ck_assert(mem[3 * BLOCK_SIZE] == 1 && mem[12 * BLOCK_SIZE + 4095] == 10 && mem[13 * BLOCK_SIZE] == 0xee);
	ck_assert_int_eq(run(IO_READ, 0, BLOCKS - 1, 2), -EINVAL);
	ck_assert_int_eq(run(IO_READ, 0, UINT64_MAX, 2), -EINVAL);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	ck_assert_uint_eq(peer.flushes, 0);
	close_ns();
}
END_TEST

START_TEST(completes_out_of_order)
{
	struct test_io t[4];

	open_ns(false);
	peer.hold = true;
	for (unsigned i = 0; i < 4; i++)
		submit(&t[i], IO_READ, 0, i * 4, 4);
	spin();
	ck_assert_uint_eq(peer.nheld, 4);
	ck_assert_uint_eq(lane_inflight(lane), 4);
	for (unsigned i = 4; i-- > 0;) {
		let_go(i);
		spin();
		ck_assert(t[i].done && t[i].stable && pending == i);
	}
	close_ns();
}
END_TEST

START_TEST(keeps_slots_for_the_urgent)
{
	struct test_io t[40], urgent[2];

	open_ns(false);
	peer.hold = true;
	for (unsigned i = 0; i < 40; i++)
		submit(&t[i], IO_READ, 0, i, 1);
	spin();
	ck_assert_uint_eq(peer.nheld, QUEUE_SIZE - 1 - 2);
	submit(&urgent[0], IO_WRITE, IO_URGENT, 50, 1);
	submit(&urgent[1], IO_WRITE, IO_URGENT, 51, 1);
	spin();
	ck_assert_uint_eq(peer.nheld, QUEUE_SIZE - 1);
	ck_assert_uint_eq(peer.held[QUEUE_SIZE - 2].s->block, 51);
	let_all_go();
	lane_wait(lane, &pending);
	close_ns();
}
END_TEST

START_TEST(unflushed_writes_survive_the_target)
{
	struct test_io a, b, f;

	open_ns(true);
	pattern(8, 6, 0x40);
	submit(&a, IO_WRITE, 0, 8, 6);
	pattern(20, 1, 0x50);
	submit(&b, IO_WRITE, 0, 20, 1);
	lane_wait(lane, &pending);
	ck_assert(a.done && !a.stable && b.done && !b.stable);
	ck_assert_uint_eq(ns_unflushed(ns), 7 * BLOCK_SIZE);
	cut(true);
	ck_assert_uint_eq(peer.cache[8 * BLOCK_SIZE], 0);
	submit(&f, IO_FLUSH, 0, 0, 0);
	lane_wait(lane, &pending);
	ck_assert_int_eq(f.status, 0);
	ck_assert(a.stable && b.stable && !ns_unflushed(ns));
	ck_assert(peer.medium[8 * BLOCK_SIZE] == 0x40 && peer.medium[13 * BLOCK_SIZE + 9] == 0x45 &&
		  peer.medium[20 * BLOCK_SIZE] == 0x50);
	ck_assert_uint_eq(ns_info(ns)->reconnects, 1);
	close_ns();
}
END_TEST

START_TEST(flush_covers_only_what_was_complete)
{
	struct test_io a, b, f;

	open_ns(true);
	submit(&a, IO_WRITE, 0, 0, 1);
	lane_wait(lane, &pending);
	peer.hold = true;
	submit(&f, IO_FLUSH, 0, 0, 0);
	submit(&b, IO_WRITE, 0, 1, 1);
	spin();
	ck_assert_uint_eq(peer.nheld, 2);
	let_go(1); /* the write is answered while the flush is on its way */
	spin();
	let_all_go();
	lane_wait(lane, &pending);
	ck_assert(a.stable && b.done && !b.stable);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	lane_poll(lane);
	ck_assert(b.stable);
	close_ns();
}
END_TEST

START_TEST(rewrites_in_order)
{
	struct test_io a, b;

	open_ns(true);
	pattern(5, 1, 1);
	submit(&a, IO_WRITE, 0, 5, 1);
	lane_wait(lane, &pending);
	submit(&b, IO_WRITE, 0, 5, 1); /* the same place; the caller must not change memory of a: b has its own */
	b.io.mem = mem + 30 * BLOCK_SIZE;
	pattern(30, 1, 2);
	lane_wait(lane, &pending);
	cut(true);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	ck_assert_uint_eq(peer.medium[5 * BLOCK_SIZE], 2);
	close_ns();
}
END_TEST

START_TEST(fua_is_durable_at_once)
{
	struct test_io t;

	open_ns(true);
	pattern(2, 1, 9);
	submit(&t, IO_WRITE, IO_FUA, 2, 1);
	lane_wait(lane, &pending);
	ck_assert(t.stable && peer.fua_writes == 1 && peer.medium[2 * BLOCK_SIZE] == 9);
	ck_assert_int_eq(run(IO_WRITE, 0, 2, 1), 0); /* nobody to tell when it is stable: FUA */
	ck_assert_uint_eq(peer.fua_writes, 2);
	close_ns();
}
END_TEST

START_TEST(in_doubt_is_issued_again)
{
	struct test_io w, r, f, d, z;

	open_ns(true);
	peer.hold = true;
	pattern(10, 1, 7);
	submit(&w, IO_WRITE, 0, 10, 1);
	submit(&r, IO_READ, 0, 0, 4);
	submit(&f, IO_FLUSH, 0, 0, 0);
	submit(&d, IO_DISCARD, 0, 40, 4);
	submit(&z, IO_ZERO, 0, 44, 4);
	spin();
	ck_assert_uint_eq(peer.nheld, 5);
	cut(true);
	spin();
	let_all_go();
	lane_wait(lane, &pending);
	ck_assert(!w.status && !r.status && !f.status && !d.status && !z.status);
	ck_assert_uint_eq(peer.cache[10 * BLOCK_SIZE], 7);
	ck_assert_uint_eq(atomic_load(&lane_stats(lane)->reissued), 5);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	close_ns();
}
END_TEST

/* W1 is in doubt, W1 again succeeds; another write to that place must wait until the old association is dead. */
START_TEST(other_bytes_wait_for_the_dead)
{
	struct test_io w, other, far, r;
	uint64_t lost;

	open_ns(false);
	peer.hold = true;
	pattern(10, 4, 7);
	submit(&w, IO_WRITE, 0, 10, 4);
	spin();
	lost = clock_now();
	cut(false);
	spin();
	let_all_go();
	lane_wait(lane, &pending);
	pattern(12, 1, 0x33);
	submit(&other, IO_WRITE, 0, 12, 1);
	submit(&far, IO_WRITE, 0, 14, 1);
	pass_time(NS_PER_S);
	ck_assert(far.done && !other.done);
	submit(&r, IO_READ, 0, 13, 1);
	spin();
	ck_assert(r.done && !r.status); /* readers do not wait */
	ck_assert_uint_ne(lane_timeout(lane), UINT64_MAX);
	pass_time((ns_info(ns)->dead_ms - 1500) * NS_PER_MS);
	ck_assert(!other.done);
	lane_wait(lane, &pending);
	ck_assert_uint_ge(clock_now() - lost, ns_info(ns)->dead_ms * NS_PER_MS);
	ck_assert_uint_eq(peer.cache[12 * BLOCK_SIZE], 0x33);
	close_ns();
}
END_TEST

START_TEST(target_stays_away)
{
	struct test_io r;

	open_ns(false);
	peer.down = true;
	cut(false);
	submit(&r, IO_READ, 0, 0, 1);
	pass_time(20 * NS_PER_S);
	ck_assert(!r.done && !ns_info(ns)->connected);
	peer.down = false;
	lane_wait(lane, &pending);
	ck_assert_int_eq(r.status, 0);
	ck_assert(ns_info(ns)->connected);
	close_ns();
}
END_TEST

START_TEST(silent_target_is_lost)
{
	unsigned before;

	open_ns(false);
	pass_time(20 * NS_PER_S);
	ck_assert_uint_ge(peer.keep_alives, 6); /* every KATO/2 */
	ck_assert_uint_le(peer.keep_alives, 9);
	before = peer.connects;
	clock_virtual_add(60 * NS_PER_S); /* as if suspended: end the association before using it */
	spin();
	pass_time(3 * NS_PER_S);
	ck_assert_uint_gt(peer.connects, before);
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), 0);
	close_ns();
}
END_TEST

START_TEST(a_forgotten_command_ends_the_association)
{
	struct test_io r;
	uint64_t start;

	open_ns(false);
	peer.hold = true;
	submit(&r, IO_READ, 0, 0, 1);
	spin();
	start = clock_now();
	pass_time(25 * NS_PER_S);
	ck_assert(!r.done && ns_info(ns)->reconnects == 0 && peer.nheld == 1);
	peer.hold = false;
	lane_wait(lane, &pending);
	ck_assert_int_eq(r.status, 0);
	ck_assert_uint_eq(ns_info(ns)->reconnects, 1);
	ck_assert_uint_le(clock_now() - start, 41 * NS_PER_S);
	close_ns();
}
END_TEST

START_TEST(another_namespace_is_refused)
{
	struct test_io w;

	open_ns(true);
	submit(&w, IO_WRITE, 0, 1, 1);
	lane_wait(lane, &pending);
	peer.uuid = 0x77;
	cut(true);
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), -E_ID_CHANGED);
	ck_assert(w.stable && peer.cache[BLOCK_SIZE] == 0 && peer.writes == 1);
	close_ns();
}
END_TEST

static int reclaims, reclaim_result;
static uint8_t reclaim_saw;

static int reclaim(void *arg, struct ns *n)
{
	uint8_t block[BLOCK_SIZE];

	reclaims++;
	ck_assert_int_eq(ns_read_sync(n, 6, 1, block), 0);
	reclaim_saw = block[0];
	return reclaim_result;
}

START_TEST(reclaim_comes_before_writing)
{
	struct ns_conf c = conf(true);
	struct test_io w;

	c.reclaim = reclaim;
	reclaims = reclaim_result = 0;
	open_conf(&c);
	pattern(6, 1, 5);
	submit(&w, IO_WRITE, 0, 6, 1);
	lane_wait(lane, &pending);
	cut(true);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	ck_assert(reclaims == 1 && reclaim_saw == 0 && peer.medium[6 * BLOCK_SIZE] == 5);
	reclaim_result = -E_NOT_OURS;
	peer.writes = 0;
	submit(&w, IO_WRITE, 0, 7, 1);
	lane_wait(lane, &pending);
	cut(true);
	ck_assert_int_eq(run(IO_WRITE, 0, 8, 1), -E_NOT_OURS);
	ck_assert(reclaims == 2 && peer.writes == 1 && w.stable);
	close_ns();
}
END_TEST

START_TEST(statuses)
{
	open_ns(false);
	peer.sc[0] = peer.sc[1] = NVME_SC_INTERNAL;
	peer.nsc = 2;
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), 0); /* tried again */
	peer.sc[0] = NVME_SC_READ_ERROR | NVME_STATUS_DNR;
	peer.nsc = 1;
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), -E_MEDIA);
	for (unsigned i = 0; i < 8; i++)
		peer.sc[i] = NVME_SC_ANA_INACCESSIBLE;
	peer.nsc = 8;
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), 0); /* waits for as long as it takes */
	for (unsigned i = 0; i < 8; i++)
		peer.sc[i] = NVME_SC_INTERNAL;
	peer.nsc = 8;
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), -E_NVME_STATUS);
	peer.nsc = 0;
	peer.wire_error = -E_DATA_DIGEST;
	ck_assert_int_eq(run(IO_READ, 0, 0, 1), 0);
	close_ns();
}
END_TEST

START_TEST(a_failed_piece_ends_the_io)
{
	struct test_io t;

	open_ns(false);
	peer.hold = true;
	submit(&t, IO_READ, 0, 0, 60);
	spin();
	ck_assert_uint_eq(peer.nheld, QUEUE_SIZE - 1 - 2);
	peer.sc[0] = NVME_SC_READ_ERROR | NVME_STATUS_DNR;
	peer.nsc = 1;
	let_go(5);
	spin();
	ck_assert(!t.done && peer.nheld == QUEUE_SIZE - 1 - 3); /* nothing new, but the rest is awaited */
	let_all_go();
	lane_wait(lane, &pending);
	ck_assert_int_eq(t.status, -E_MEDIA);
	ck_assert_uint_eq(t.done, 1);
	close_ns();
}
END_TEST

START_TEST(giving_up_fails_everything)
{
	struct test_io t[3];

	open_ns(true);
	submit(&t[0], IO_WRITE, 0, 0, 1);
	lane_wait(lane, &pending);
	peer.hold = true;
	submit(&t[1], IO_WRITE, 0, 1, 1);
	spin();
	submit(&t[2], IO_READ, 0, 2, 1);
	ns_give_up(ns, -E_NOT_OURS);
	lane_wait(lane, &pending);
	ck_assert(t[0].stable && t[1].status == -E_NOT_OURS && t[1].stable && t[2].status == -E_NOT_OURS);
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), -E_NOT_OURS);
	ck_assert_int_eq(ns_read_sync(ns, 0, 1, mem), -E_NOT_OURS);
	close_ns();
}
END_TEST

START_TEST(synchronous_calls)
{
	uint8_t *buf = malloc(BLOCKS * BLOCK_SIZE);

	open_ns(true);
	memset(buf, 0x21, BLOCKS * BLOCK_SIZE);
	ck_assert_int_eq(ns_write_sync(ns, 1, 40, buf, 0), 0);
	memset(buf, 0, BLOCKS * BLOCK_SIZE);
	cut(true);
	ck_assert_int_eq(ns_read_sync(ns, 0, BLOCKS, buf), 0);
	ck_assert(!buf[0] && buf[BLOCK_SIZE] == 0x21 && buf[40 * BLOCK_SIZE + 4095] == 0x21 && !buf[41 * BLOCK_SIZE]);
	ck_assert_int_eq(ns_flush_sync(ns), 0);
	ck_assert_int_eq(ns_read_sync(ns, BLOCKS, 1, buf), -EINVAL);
	close_ns();
	free(buf);
}
END_TEST

START_TEST(a_lane_may_close_before_the_flush)
{
	struct test_io w;

	open_ns(true);
	pattern(4, 1, 6);
	submit(&w, IO_WRITE, 0, 4, 1);
	lane_wait(lane, &pending);
	lane_close(lane);
	ck_assert(!w.stable && ns_unflushed(ns) == BLOCK_SIZE);
	cut(true);
	for (int i = 0; i < 5; i++)
		ns_control(ns);
	ck_assert_uint_eq(peer.cache[4 * BLOCK_SIZE], 6);
	ck_assert(!lane_open(&lane, ns, 0));
	ck_assert_int_eq(run(IO_FLUSH, 0, 0, 0), 0);
	ns_control(ns);
	ck_assert(w.stable);
	close_ns();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lane");
	TCase *t = tcase_create("lane");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, info);
	tcase_add_test(t, splits_and_reads_back);
	tcase_add_test(t, completes_out_of_order);
	tcase_add_test(t, keeps_slots_for_the_urgent);
	tcase_add_test(t, unflushed_writes_survive_the_target);
	tcase_add_test(t, flush_covers_only_what_was_complete);
	tcase_add_test(t, rewrites_in_order);
	tcase_add_test(t, fua_is_durable_at_once);
	tcase_add_test(t, in_doubt_is_issued_again);
	tcase_add_test(t, other_bytes_wait_for_the_dead);
	tcase_add_test(t, target_stays_away);
	tcase_add_test(t, silent_target_is_lost);
	tcase_add_test(t, a_forgotten_command_ends_the_association);
	tcase_add_test(t, another_namespace_is_refused);
	tcase_add_test(t, reclaim_comes_before_writing);
	tcase_add_test(t, statuses);
	tcase_add_test(t, a_failed_piece_ends_the_io);
	tcase_add_test(t, giving_up_fails_everything);
	tcase_add_test(t, synchronous_calls);
	tcase_add_test(t, a_lane_may_close_before_the_flush);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
