/* SPDX-License-Identifier: Apache-2.0 */
/* The host's TCP wire against a scripted controller on loopback: shapes of PDUs that a good one may send, and everything
 * that a bad one may. The script runs in a thread; the wire is polled by the test. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/num.h"
#include "transport/ns.h"
#include "transport/tcp_pdu.h"
#include "transport/wire.h"

#define LEN 65536u
#define SLOTS 16

typedef void (*script_fn)(void);

static struct {
	int listener, fd;
	pthread_t thread;
	script_fn script;
	bool hdgst, ddgst;
	uint32_t maxh2c;
	struct tcp_pdu_conf conf;
} peer;

static struct wire *wire;
static struct slot slots[SLOTS];
static uint8_t *mem, source[LEN];
static struct lane_stats stats;
static char why[256];

/* ---- the controller's side; runs in the thread, so it must not use ck_assert ---- */

static bool get(void *bytes, size_t len)
{
	return recv(peer.fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

static void put(const void *bytes, size_t len)
{
	(void)!send(peer.fd, bytes, len, MSG_NOSIGNAL);
}

static void put_digest(uint32_t crc)
{
	le32 d = put32(crc);

	put(&d, 4);
}

static bool shake_hands(void)
{
	uint8_t dgst = (uint8_t)((peer.hdgst ? TCP_PDU_DIGEST_HDR : 0) | (peer.ddgst ? TCP_PDU_DIGEST_DATA : 0));
	union tcp_pdu_wire pdu;

	if (!get(&pdu, 128) || pdu.ch.type != TCP_PDU_IC_REQ)
		return false;
	put(&pdu, tcp_pdu_build_ic_resp(&pdu, 0, dgst, peer.maxh2c));
	peer.conf = (struct tcp_pdu_conf){ peer.hdgst, peer.ddgst, 0 };
	return true;
}

/* A capsule with what it carries; the data go to data. */
static uint32_t get_command(struct sqe_wire *sqe, void *data)
{
	struct tcp_cmd_wire cmd;
	uint32_t len;
	uint8_t digest[4];

	memset(sqe, 0, sizeof(*sqe));
	if (!get(&cmd, sizeof(cmd)) || (peer.hdgst && !get(digest, 4)))
		return 0;
	len = get32(cmd.ch.plen) - (uint32_t)sizeof(cmd) - (peer.hdgst ? 4 : 0);
	if (len && peer.ddgst)
		len -= 4;
	if (len && (!get(data, len) || (peer.ddgst && !get(digest, 4))))
		return 0;
	*sqe = cmd.sqe;
	return len;
}

static void put_data(uint16_t cid, uint32_t offset, uint32_t len, uint8_t flags)
{
	union tcp_pdu_wire pdu;

	put(&pdu, tcp_pdu_build_c2h_data(&pdu, &peer.conf, cid, offset, len, flags));
	put(source + offset, len);
	if (peer.ddgst)
		put_digest(crc32c(source + offset, len));
}

static void put_response(uint16_t cid, uint16_t status)
{
	struct cqe_wire cqe = { .cid = put16(cid) };
	union tcp_pdu_wire pdu;

	cqe_set_status(&cqe, status);
	put(&pdu, tcp_pdu_build_resp(&pdu, &peer.conf, &cqe));
}

static void put_r2t(uint16_t cid, uint32_t offset, uint32_t len)
{
	union tcp_pdu_wire pdu;

	put(&pdu, tcp_pdu_build_r2t(&pdu, &peer.conf, cid, 99, offset, len));
}

/* One H2CData PDU into data at its own offset; its length. */
static uint32_t get_data(uint8_t *data, bool *last)
{
	struct tcp_data_wire d;
	uint8_t digest[4];

	if (!get(&d, sizeof(d)) || (peer.hdgst && !get(digest, 4)) || get16(d.ttag) != 99)
		return 0;
	*last = d.ch.flags & TCP_PDU_F_LAST;
	if (!get(data + get32(d.datao), get32(d.datal)) || (peer.ddgst && !get(digest, 4)))
		return 0;
	if (peer.ddgst && memcmp(digest, put32(crc32c(data + get32(d.datao), get32(d.datal))).b, 4))
		return 0;
	return get32(d.datal);
}

static void *peer_main(void *arg)
{
	int one = 1;

	peer.fd = accept(peer.listener, NULL, NULL);
	setsockopt(peer.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (peer.fd >= 0 && shake_hands())
		peer.script();
	if (peer.fd >= 0) {
		char rest[256];

		shutdown(peer.fd, SHUT_WR);
		while (recv(peer.fd, rest, sizeof(rest), 0) > 0)
			;
		close(peer.fd);
	}
	return NULL;
}

/* ---- the host's side ---- */

static int dial(script_fn script, struct wire_limits *limits)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	struct ns_addr addr;
	struct wire_conf conf = { .addr = &addr, .hdr_digest = peer.hdgst, .data_digest = peer.ddgst, .connect_ms = 5000,
				  .why = why, .why_len = sizeof(why) };

	peer.script = script;
	peer.maxh2c = peer.maxh2c ? peer.maxh2c : 16384;
	peer.listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert(!bind(peer.listener, (struct sockaddr *)&sa, len) && !listen(peer.listener, 1));
	ck_assert(!getsockname(peer.listener, (struct sockaddr *)&sa, &len));
	pthread_create(&peer.thread, NULL, peer_main, NULL);
	ns_addr_init(&addr);
	strcpy(addr.host, "127.0.0.1");
	snprintf(addr.port, sizeof(addr.port), "%u", ntohs(sa.sin_port));
	wire = NULL;
	return wire_tcp.connect(&wire, NULL, &stats, 1, SLOTS - 1, &conf, limits);
}

static void start(script_fn script)
{
	struct wire_limits limits;

	log_to_fd(-1);
	memset(&stats, 0, sizeof(stats));
	for (unsigned i = 0; i < LEN; i++)
		source[i] = (uint8_t)(i * 7 + i / 251);
	mem = aligned_alloc(4096, SLOTS * LEN);
	memset(mem, 0xee, SLOTS * LEN);
	ck_assert_msg(!dial(script, &limits), "%s", why);
	limits.incapsule = 4096;
	wire_tcp.set_limits(wire, &limits);
}

static void finish(void)
{
	if (wire)
		wire_tcp.free(wire);
	pthread_join(peer.thread, NULL);
	close(peer.listener);
	free(mem);
	memset(&peer, 0, sizeof(peer));
}

static struct slot *command(unsigned cid, enum slot_dir dir, uint32_t len)
{
	struct slot *s = &slots[cid];

	memset(s, 0, sizeof(*s));
	s->sqe.opcode = dir == SLOT_TO_CTRL ? NVME_IO_WRITE : dir == SLOT_TO_HOST ? NVME_IO_READ : NVME_IO_FLUSH;
	s->sqe.cid = put16((uint16_t)cid);
	s->dir = dir;
	s->len = len;
	s->mem = dir == SLOT_TO_CTRL ? source : mem + cid * LEN;
	return s;
}

static void send_one(struct slot *s)
{
	ck_assert_int_eq(wire_tcp.send(wire, &s, 1), 1);
}

/* The next finished slot, or the code with which the wire died. */
static struct slot *next(int *code)
{
	uint64_t end = clock_now() + 10 * NS_PER_S;
	struct slot *s = NULL;
	int n = 0;

	while (!n && clock_now() < end) {
		n = wire_tcp.poll(wire, &s, 1);
		if (!n)
			usleep(100);
	}
	*code = n < 0 ? n : n ? 0 : -ETIMEDOUT;
	return n > 0 ? s : NULL;
}

static void expect_done(struct slot *s)
{
	int code;

	ck_assert_ptr_eq(next(&code), s);
	ck_assert_int_eq(s->status, 0);
	ck_assert_uint_eq(cqe_status(&s->cqe), 0);
}

static void expect_dead(int code)
{
	int got;

	ck_assert_ptr_null(next(&got));
	ck_assert_msg(got == code, "%s, not %s", err_name(got), err_name(code));
	wire_tcp.stop(wire);
	wire_tcp.stop(wire); /* idempotent */
}

/* ---- good controllers ---- */

static void script_reads(void)
{
	struct sqe_wire sqe;

	get_command(&sqe, NULL); /* in one PDU, no response capsule */
	put_data(get16(sqe.cid), 0, LEN, TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS);
	get_command(&sqe, NULL); /* in pieces, with one */
	for (uint32_t at = 0; at < LEN; at += LEN / 4)
		put_data(get16(sqe.cid), at, LEN / 4, at + LEN / 4 == LEN ? TCP_PDU_F_LAST : 0);
	put_response(get16(sqe.cid), 0);
	get_command(&sqe, NULL); /* nothing but a response */
	put_response(get16(sqe.cid), 0);
}

START_TEST(reads)
{
	peer.hdgst = _i & 1;
	peer.ddgst = _i & 2;
	start(script_reads);
	for (unsigned i = 0; i < 2; i++) {
		send_one(command(i, SLOT_TO_HOST, LEN));
		expect_done(&slots[i]);
		ck_assert(!memcmp(mem + i * LEN, source, LEN));
	}
	send_one(command(2, SLOT_NONE, 0));
	expect_done(&slots[2]);
	ck_assert_uint_eq(atomic_load(&stats.copied_read), 0); /* large reads: nothing but headers in the staging */
	finish();
}
END_TEST

static void script_interleaved(void)
{
	struct sqe_wire a, b;

	get_command(&a, NULL);
	get_command(&b, NULL);
	for (uint32_t at = 0; at < LEN; at += 8192) {
		put_data(get16(b.cid), at, 8192, at + 8192 == LEN ? TCP_PDU_F_LAST : 0);
		put_data(get16(a.cid), at, 8192, at + 8192 == LEN ? TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS : 0);
	}
	put_response(get16(b.cid), 0);
}

START_TEST(interleaved_commands)
{
	peer.ddgst = true;
	start(script_interleaved);
	send_one(command(0, SLOT_TO_HOST, LEN));
	send_one(command(1, SLOT_TO_HOST, LEN));
	expect_done(&slots[0]);
	expect_done(&slots[1]);
	ck_assert(!memcmp(mem, source, LEN) && !memcmp(mem + LEN, source, LEN));
	finish();
}
END_TEST

/* Byte by byte: every state of the receiver is left and entered with as little as possible. */
static void script_dribble(void)
{
	static uint8_t bytes[3 * 128 + 8192];
	struct sqe_wire sqe;
	union tcp_pdu_wire pdu;
	struct cqe_wire cqe = { 0 };
	size_t at = 0;

	get_command(&sqe, NULL);
	at = tcp_pdu_build_c2h_data(&pdu, &peer.conf, get16(sqe.cid), 0, 512, TCP_PDU_F_LAST);
	memcpy(bytes, &pdu, at);
	memcpy(bytes + at, source, 512);
	memcpy(bytes + at + 512, put32(crc32c(source, 512)).b, 4);
	at += 516;
	cqe.cid = sqe.cid;
	{
		unsigned n = tcp_pdu_build_resp(&pdu, &peer.conf, &cqe);

		memcpy(bytes + at, &pdu, n);
		at += n;
	}
	for (size_t i = 0; i < at; i++) {
		put(bytes + i, 1);
		usleep(20);
	}
}

START_TEST(byte_by_byte)
{
	peer.hdgst = peer.ddgst = true;
	start(script_dribble);
	send_one(command(3, SLOT_TO_HOST, 512));
	expect_done(&slots[3]);
	ck_assert(!memcmp(mem + 3 * LEN, source, 512) && mem[3 * LEN + 512] == 0xee);
	finish();
}
END_TEST

static uint8_t received[LEN];

static void script_writes(void)
{
	struct sqe_wire sqe;
	bool last = false;

	if (get_command(&sqe, received) != 4096 || memcmp(received, source, 4096)) /* in the capsule */
		return;
	put_response(get16(sqe.cid), 0);
	if (get_command(&sqe, received))
		return;
	memset(received, 0, sizeof(received));
	for (uint32_t at = 0; at < LEN; at += LEN / 2) { /* two grants, each of two PDUs (MAXH2CDATA) */
		put_r2t(get16(sqe.cid), at, LEN / 2);
		if (get_data(received, &last) != 16384 || last || get_data(received, &last) != 16384 || !last)
			return;
	}
	put_response(get16(sqe.cid), memcmp(received, source, LEN) ? NVME_SC_INTERNAL : 0);
}

START_TEST(writes)
{
	peer.hdgst = _i & 1;
	peer.ddgst = _i & 2;
	start(script_writes);
	send_one(command(0, SLOT_TO_CTRL, 4096));
	expect_done(&slots[0]);
	send_one(command(1, SLOT_TO_CTRL, LEN));
	expect_done(&slots[1]);
	finish();
}
END_TEST

static void script_early_error(void)
{
	struct sqe_wire sqe;
	bool last;

	get_command(&sqe, NULL);
	put_r2t(get16(sqe.cid), 0, LEN / 2);
	get_data(received, &last);
	get_data(received, &last);
	put_response(get16(sqe.cid), NVME_SC_WRITE_FAULT);
	get_command(&sqe, NULL);
	put_data(get16(sqe.cid), 0, 4096, TCP_PDU_F_LAST);
	put_response(get16(sqe.cid), NVME_SC_READ_ERROR | NVME_STATUS_DNR);
}

START_TEST(errors_in_the_middle)
{
	int code;

	start(script_early_error);
	send_one(command(0, SLOT_TO_CTRL, LEN));
	ck_assert_ptr_eq(next(&code), &slots[0]);
	ck_assert_uint_eq(cqe_status(&slots[0].cqe), NVME_SC_WRITE_FAULT);
	send_one(command(1, SLOT_TO_HOST, LEN));
	ck_assert_ptr_eq(next(&code), &slots[1]);
	ck_assert_uint_eq(NVME_STATUS_CODE(cqe_status(&slots[1].cqe)), NVME_SC_READ_ERROR);
	finish();
}
END_TEST

static void script_bad_data_digest(void)
{
	struct sqe_wire sqe;
	union tcp_pdu_wire pdu;

	for (unsigned i = 0; i < 2; i++) {
		get_command(&sqe, NULL);
		put(&pdu, tcp_pdu_build_c2h_data(&pdu, &peer.conf, get16(sqe.cid), 0, 8192,
						 TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS));
		put(source, 8192);
		put_digest(crc32c(source, 8192) ^ (i ? 0 : 1));
	}
}

START_TEST(a_bad_data_digest_fails_its_command_only)
{
	int code;

	peer.ddgst = true;
	start(script_bad_data_digest);
	send_one(command(0, SLOT_TO_HOST, 8192));
	ck_assert_ptr_eq(next(&code), &slots[0]);
	ck_assert_int_eq(slots[0].status, -E_DATA_DIGEST);
	send_one(command(0, SLOT_TO_HOST, 8192));
	expect_done(&slots[0]);
	finish();
}
END_TEST

/* ---- any order, any shape, any pieces ---- */

#define ROUNDS 300
#define STREAM_MAX (SLOTS * (LEN + 1024))

static struct stream {
	uint8_t bytes[STREAM_MAX];
	size_t len;
	uint64_t random;
	bool mutate;
} stream;

static uint64_t roll(uint64_t below)
{
	stream.random ^= stream.random << 13;
	stream.random ^= stream.random >> 7;
	stream.random ^= stream.random << 17;
	return stream.random % below;
}

static void append(const void *bytes, size_t len)
{
	memcpy(stream.bytes + stream.len, bytes, len);
	stream.len += len;
}

static void append_data(uint16_t cid, uint32_t offset, uint32_t len, uint8_t flags)
{
	union tcp_pdu_wire pdu;
	le32 crc = put32(crc32c(source + offset, len));

	append(&pdu, tcp_pdu_build_c2h_data(&pdu, &peer.conf, cid, offset, len, flags));
	append(source + offset, len);
	if (peer.ddgst)
		append(&crc, 4);
}

static void append_response(uint16_t cid)
{
	struct cqe_wire cqe = { .cid = put16(cid) };
	union tcp_pdu_wire pdu;

	append(&pdu, tcp_pdu_build_resp(&pdu, &peer.conf, &cqe));
}

/* Answers to n reads: whole one by one, or pieces of all of them mixed. */
static void append_answers(const struct sqe_wire *sqes, unsigned n, unsigned style)
{
	uint32_t moved[SLOTS] = { 0 };
	unsigned left = n;

	while (left) {
		unsigned i = style == 0 ? n - left : (unsigned)roll(n);
		uint32_t len = get32(sqes[i].sgl.len), piece = style == 2 ? (uint32_t)(1 + roll(len / 4)) * 4 : len;
		uint16_t cid = get16(sqes[i].cid);
		bool respond = roll(3) == 0, last;

		if (moved[i] == len)
			continue;
		piece = MIN(piece, len - moved[i]);
		last = moved[i] + piece == len;
		append_data(cid, moved[i], piece, last ? TCP_PDU_F_LAST | (respond ? 0 : TCP_PDU_F_SUCCESS) : 0);
		moved[i] += piece;
		left -= last;
		if (last && respond)
			append_response(cid);
	}
}

static void put_in_pieces(void)
{
	for (size_t at = 0, n; at < stream.len; at += n) {
		n = roll(4) ? 1 + roll(9000) : stream.len;
		n = MIN(n, stream.len - at);
		put(stream.bytes + at, n);
		if (!roll(8))
			usleep(50);
	}
}

static void script_random(void)
{
	struct sqe_wire sqes[SLOTS];

	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n = 1;

		if (!get_command(&sqes[0], NULL) && !get32(sqes[0].sgl.len))
			return;
		while (n < get16(sqes[0].rw.lbat)) /* the host tells how many */
			get_command(&sqes[n++], NULL);
		stream.len = 0;
		append_answers(sqes, n, (unsigned)(round % 3));
		if (stream.mutate && !roll(20)) {
			stream.bytes[roll(stream.len)] ^= (uint8_t)(1 + roll(255));
			if (roll(2))
				stream.bytes[roll(MIN(stream.len, 64ull))] ^= (uint8_t)(1 << roll(8));
		}
		put_in_pieces();
	}
}

static struct slot *batch[SLOTS];

static unsigned send_batch(uint64_t *random)
{
	unsigned n = 1 + (unsigned)(*random % SLOTS);
	bool large = (*random >> 8) % 4 == 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t len;

		*random = *random * 6364136223846793005ull + 1442695040888963407ull;
		len = (uint32_t)(1 + (*random >> 33) % (large ? 64 : 16)) * 512;
		batch[i] = command((unsigned)(i + *random) % SLOTS, SLOT_TO_HOST, len);
		for (unsigned j = 0; j < i; j++) {
			if (batch[j] == batch[i])
				return i; /* met one that is in use: the batch is what is there */
		}
		memset(batch[i]->mem, 0xee, LEN);
	}
	return n;
}

START_TEST(random_shapes)
{
	uint64_t random = (uint64_t)_i * 1234567 + 99;

	peer.hdgst = _i & 1;
	peer.ddgst = _i & 2;
	stream.random = random;
	start(script_random);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n = send_batch(&random);

		batch[0]->sqe.rw.lbat = put16((uint16_t)n);
		ck_assert_int_eq(wire_tcp.send(wire, batch, n), (int)n);
		for (unsigned i = 0; i < n; i++) {
			int code;
			struct slot *s = next(&code);

			ck_assert_msg(s && !s->status, "round %u: %s", round, err_name(code));
			ck_assert(!memcmp(s->mem, source, s->len) && ((uint8_t *)s->mem)[s->len] == 0xee);
		}
	}
	finish();
}
END_TEST

/* Bytes flipped on the way: commands may fail, the connection may end, memory outside the slots stays. */
START_TEST(random_damage)
{
	uint64_t random = (uint64_t)_i * 7654321 + 5;
	bool dead = false;

	peer.hdgst = _i & 1;
	peer.ddgst = _i & 2;
	stream.random = random;
	stream.mutate = true;
	start(script_random);
	for (unsigned round = 0; round < ROUNDS && !dead; round++) {
		unsigned n = send_batch(&random);
		struct slot *s;
		int code = 0;

		batch[0]->sqe.rw.lbat = put16((uint16_t)n);
		if (wire_tcp.send(wire, batch, n) < 0)
			break;
		for (uint64_t end = clock_now() + NS_PER_S / 4; n && !dead;) {
			code = wire_tcp.poll(wire, &s, 1);
			dead = code < 0 || clock_now() > end; /* a length that grew waits for ever */
			n -= code > 0;
			if (code > 0 && peer.ddgst && !s->status)
				ck_assert(!memcmp(s->mem, source, s->len));
		}
	}
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert_uint_eq(mem[i * LEN + LEN - 1], 0xee);
	finish();
	stream.mutate = false;
}
END_TEST

/* ---- bad controllers: each script gets a read of LEN with CID 0, and a write with CID 1 before it ---- */

static void bad_unknown_cid(void) { put_data(2, 0, 4096, 0); }
static void bad_huge_cid(void) { put_data(0xffff, 0, 4096, 0); }
static void bad_offset(void) { put_data(0, 4096, 4096, 0); }
static void bad_offset_again(void) { put_data(0, 0, 4096, 0); put_data(0, 0, 4096, 0); }
static void bad_direction(void) { put_data(1, 0, 4096, 0); }
static void bad_success_short(void) { put_data(0, 0, 4096, TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS); }
static void bad_response_short(void) { put_data(0, 0, 4096, TCP_PDU_F_LAST); put_response(0, 0); }
static void bad_response_cid(void) { put_response(3, 0); }
static void bad_response_write(void) { put_response(1, 0); }
static void bad_r2t_read(void) { put_r2t(0, 0, 4096); }
static void bad_r2t_offset(void) { put_r2t(1, 4096, 4096); }
static void bad_r2t_long(void) { put_r2t(1, 0, LEN + 4); }
static void bad_r2t_zero(void) { put_r2t(1, 0, 0); }
static void bad_r2t_cid(void) { put_r2t(200, 0, 4096); }
static void bad_r2t_huge(void) { put_r2t(1, 0, 0xffffffff); }
static void bad_type(void) { put("\x08\0\x18\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24); }
static void bad_hlen(void) { put("\x05\0\xff\0\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24); }
static void bad_plen(void) { put("\x07\0\x18\x18\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24); }
static void bad_zeros(void) { static const uint8_t zeros[4096]; put(zeros, sizeof(zeros)); }
static void bad_ones(void) { static uint8_t ones[4096]; memset(ones, 255, sizeof(ones)); put(ones, sizeof(ones)); }
static void bad_ic_again(void) { union tcp_pdu_wire p; put(&p, tcp_pdu_build_ic_resp(&p, 0, 0, 4096)); }
static void bad_beyond(void) { put_data(0, 0, LEN / 2, 0); put_data(0, LEN / 2, LEN / 2, 0); put_data(0, 0, 4, 0); }

static const script_fn bad[] = {
	bad_unknown_cid, bad_huge_cid, bad_offset, bad_offset_again, bad_direction, bad_success_short, bad_response_short,
	bad_response_cid, bad_response_write, bad_r2t_read, bad_r2t_offset, bad_r2t_long, bad_r2t_zero, bad_r2t_cid,
	bad_r2t_huge, bad_type, bad_hlen, bad_plen, bad_zeros, bad_ones, bad_ic_again, bad_beyond,
};
static script_fn evil;

static void script_evil(void)
{
	struct sqe_wire sqe;

	get_command(&sqe, NULL);
	get_command(&sqe, NULL);
	evil();
}

START_TEST(hostile_bytes_end_the_connection)
{
	evil = bad[_i];
	start(script_evil);
	send_one(command(1, SLOT_TO_CTRL, LEN));
	send_one(command(0, SLOT_TO_HOST, LEN));
	expect_dead(-E_BAD_PDU);
	ck_assert_int_lt(wire_tcp.send(wire, &(struct slot *){ command(2, SLOT_NONE, 0) }, 1), 0);
	finish();
}
END_TEST

static void script_bad_header_digest(void)
{
	struct sqe_wire sqe;
	struct cqe_wire cqe = { 0 };
	union tcp_pdu_wire pdu;
	unsigned n;

	get_command(&sqe, NULL);
	n = tcp_pdu_build_resp(&pdu, &peer.conf, &cqe);
	pdu.bytes[20] ^= 1;
	put(&pdu, n);
}

START_TEST(a_bad_header_digest_ends_the_connection)
{
	peer.hdgst = true;
	start(script_bad_header_digest);
	send_one(command(0, SLOT_NONE, 0));
	expect_dead(-E_HEADER_DIGEST);
	finish();
}
END_TEST

static void script_cut(void)
{
	struct sqe_wire sqe;
	union tcp_pdu_wire pdu;

	get_command(&sqe, NULL);
	put(&pdu, tcp_pdu_build_c2h_data(&pdu, &peer.conf, get16(sqe.cid), 0, LEN, TCP_PDU_F_LAST));
	put(source, LEN / 2);
}

START_TEST(cut_in_the_middle)
{
	start(script_cut);
	send_one(command(0, SLOT_TO_HOST, LEN));
	expect_dead(-E_LOST);
	finish();
}
END_TEST

static void script_term(void)
{
	uint8_t out[24 + TCP_PDU_TERM_DATA_MAX];
	struct sqe_wire sqe;

	get_command(&sqe, NULL);
	put(out, tcp_pdu_build_term(out, TCP_PDU_TO_HOST, TCP_FES_SEQUENCE, 0, &sqe, sizeof(sqe)));
}

START_TEST(term_request)
{
	start(script_term);
	send_one(command(0, SLOT_NONE, 0));
	expect_dead(-E_LOST);
	finish();
}
END_TEST

/* What was answered before the end is answered. */
static void script_answer_and_die(void)
{
	struct sqe_wire sqe;

	get_command(&sqe, NULL);
	put_response(get16(sqe.cid), 0);
	bad_ones();
}

START_TEST(answers_before_the_end_count)
{
	start(script_answer_and_die);
	send_one(command(0, SLOT_NONE, 0));
	expect_done(&slots[0]);
	expect_dead(-E_BAD_PDU);
	finish();
}
END_TEST

static void script_nothing(void)
{
}

START_TEST(a_bad_icresp_is_not_nvme)
{
	struct wire_limits limits;
	struct tcp_pdu_conf none = { 0 };

	log_to_fd(-1);
	peer.conf = none;
	peer.maxh2c = 4100 + 1; /* not a multiple of 4 */
	ck_assert_int_eq(dial(script_nothing, &limits), -E_BAD_PDU);
	ck_assert_ptr_nonnull(strstr(why, "NVMe/TCP"));
	finish();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tcp_host");
	TCase *t = tcase_create("tcp_host"), *x = tcase_create("random");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, reads, 0, 4);
	tcase_add_test(t, interleaved_commands);
	tcase_add_test(t, byte_by_byte);
	tcase_add_loop_test(t, writes, 0, 4);
	tcase_add_test(t, errors_in_the_middle);
	tcase_add_test(t, a_bad_data_digest_fails_its_command_only);
	tcase_add_loop_test(t, hostile_bytes_end_the_connection, 0, (int)ARRAY_SIZE(bad));
	tcase_add_test(t, a_bad_header_digest_ends_the_connection);
	tcase_add_test(t, cut_in_the_middle);
	tcase_add_test(t, term_request);
	tcase_add_test(t, answers_before_the_end_count);
	tcase_add_test(t, a_bad_icresp_is_not_nvme);
	suite_add_tcase(s, t);
	tcase_set_timeout(x, 60);
	tcase_add_loop_test(x, random_shapes, 0, 8);
	tcase_add_loop_test(x, random_damage, 0, 24);
	suite_add_tcase(s, x);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
