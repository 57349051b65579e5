/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP headers from a peer that means harm: the first two bytes choose what was negotiated, the rest is the stream. What
 * is accepted keeps the promises at the head of transport/tcp_pdu.h. */
#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "base/num.h"
#include "tests/fuzz/fuzz.h"
#include "transport/tcp_pdu.h"

static struct tcp_pdu_limits limits_of(const uint8_t *bytes)
{
	return (struct tcp_pdu_limits){
		.dir = bytes[0] & 1 ? TCP_PDU_TO_HOST : TCP_PDU_TO_CTRL,
		.connected = bytes[0] & 2,
		.hdgst = bytes[0] & 4,
		.ddgst = bytes[0] & 8,
		.pda = bytes[1] & TCP_PDU_PDA_MAX,
		.max_incapsule = bytes[0] & 16 ? 8192 : 0,
		.max_data = bytes[0] & 32 ? UINT32_MAX : 131072,
	};
}

static void promises(const struct tcp_pdu_limits *limits, const struct tcp_pdu *pdu)
{
	uint64_t digest = pdu->ddgst ? TCP_PDU_DIGEST_LEN : 0;

	assert(pdu->header_len >= TCP_PDU_CH_LEN && pdu->header_len <= TCP_PDU_HEADER_MAX + TCP_PDU_DIGEST_LEN);
	assert(pdu->data_off >= pdu->header_len);
	assert(pdu->data_off + (uint64_t)pdu->data_len + digest == pdu->plen);
	if (pdu->type == TCP_PDU_CMD)
		assert(pdu->data_len <= limits->max_incapsule);
	if (pdu->type == TCP_PDU_H2C_DATA || pdu->type == TCP_PDU_C2H_DATA)
		assert(pdu->data_len <= limits->max_data);
	if (pdu->type != TCP_PDU_IC_REQ && pdu->type != TCP_PDU_IC_RESP)
		assert(limits->connected || pdu->type == TCP_PDU_H2C_TERM || pdu->type == TCP_PDU_C2H_TERM);
}

void fuzz_one(const uint8_t *data, size_t len)
{
	struct tcp_pdu_limits limits;
	struct tcp_pdu pdu = { 0 };
	int r;

	if (len < 2 + TCP_PDU_CH_LEN)
		return;
	limits = limits_of(data);
	r = tcp_pdu_check(&limits, data + 2, len - 2, &pdu);
	assert(r == 0 || r == -EAGAIN || r == -E_BAD_PDU || r == -E_HEADER_DIGEST);
	if (r == -EAGAIN)
		assert(pdu.header_len > len - 2);
	if (r == -E_BAD_PDU)
		assert(pdu.fes && strlen(tcp_pdu_fes_text(pdu.fes)) > 0);
	if (r)
		return;
	promises(&limits, &pdu);
	if (pdu.type == TCP_PDU_IC_REQ || pdu.type == TCP_PDU_IC_RESP)
		tcp_pdu_check_ic((const struct tcp_ic_wire *)(data + 2), &pdu);
}

size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	struct tcp_pdu_conf conf = { .hdgst = n & 1, .ddgst = n & 1, .pda = 0 };
	union tcp_pdu_wire *p = (union tcp_pdu_wire *)(buf + 2);
	struct sqe_wire sqe = { 0 };
	struct cqe_wire cqe = { 0 };
	bool to_host = false;
	unsigned len;

	memset(buf, 0, 512);
	switch (n / 2) {
	case 0: len = tcp_pdu_build_ic_req(p, 0, 3, 0); break;
	case 1: len = tcp_pdu_build_ic_resp(p, 0, 3, 131072); to_host = true; break;
	case 2: len = tcp_pdu_build_cmd(p, &conf, &sqe, 4096); break;
	case 3: len = tcp_pdu_build_resp(p, &conf, &cqe); to_host = true; break;
	case 4: len = tcp_pdu_build_r2t(p, &conf, 1, 2, 8192, 4096); to_host = true; break;
	case 5: len = tcp_pdu_build_h2c_data(p, &conf, 1, 2, 8192, 4096, true); break;
	case 6: len = tcp_pdu_build_c2h_data(p, &conf, 1, 0, 4096, TCP_PDU_F_LAST); to_host = true; break;
	case 7: len = tcp_pdu_build_term(buf + 2, TCP_PDU_TO_HOST, TCP_FES_SEQUENCE, 0, NULL, 0); to_host = true; break;
	default: return 0;
	}
	buf[0] = (uint8_t)((to_host ? 1 : 0) | (n / 2 > 1 ? 2 : 0) | (n & 1 ? 12 : 0) | 16);
	return 2 + len;
}
