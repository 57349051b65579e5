/* SPDX-License-Identifier: Apache-2.0 */
/* Building and checking NVMe/TCP PDU headers; see tcp_pdu.h for the invariants. */
#include "transport/tcp_pdu.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/num.h"

/* What the specification fixes for each type: header length, the way it travels, whether data may follow. */
static const struct pdu_kind {
	uint8_t hlen;
	uint8_t dirs;   /* bit per enum tcp_pdu_dir */
	uint8_t flags;  /* allowed */
	bool data, setup, digests;
} kinds[] = {
	[TCP_PDU_IC_REQ] = { 128, 1 << TCP_PDU_TO_CTRL, 0, .setup = true },
	[TCP_PDU_IC_RESP] = { 128, 1 << TCP_PDU_TO_HOST, 0, .setup = true },
	[TCP_PDU_H2C_TERM] = { 24, 1 << TCP_PDU_TO_CTRL, 0, .data = true },
	[TCP_PDU_C2H_TERM] = { 24, 1 << TCP_PDU_TO_HOST, 0, .data = true },
	[TCP_PDU_CMD] = { 72, 1 << TCP_PDU_TO_CTRL, 0, .data = true, .digests = true },
	[TCP_PDU_RESP] = { 24, 1 << TCP_PDU_TO_HOST, 0, .digests = true },
	[TCP_PDU_H2C_DATA] = { 24, 1 << TCP_PDU_TO_CTRL, TCP_PDU_F_LAST, .data = true, .digests = true },
	[TCP_PDU_C2H_DATA] = { 24, 1 << TCP_PDU_TO_HOST, TCP_PDU_F_LAST | TCP_PDU_F_SUCCESS, .data = true,
			       .digests = true },
	[TCP_PDU_R2T] = { 24, 1 << TCP_PDU_TO_HOST, 0, .digests = true },
};

static int bad(struct tcp_pdu *pdu, uint16_t fes, uint32_t fei)
{
	pdu->fes = fes;
	pdu->fei = fei;
	return fes == TCP_FES_HEADER_DIGEST ? -E_HEADER_DIGEST : -E_BAD_PDU;
}

#define BAD_FIELD(pdu, type, field) bad(pdu, TCP_FES_HEADER_FIELD, offsetof(type, field))

/* Data digests are sent exactly with data, header digests always, once they are negotiated (section 3.3.1). A peer that
 * sets DDGSTF on a PDU without data is let through: there is no digest then. */
static int check_flags(const struct tcp_pdu_limits *lim, const struct pdu_kind *kind, struct tcp_pdu *pdu)
{
	uint8_t allowed = kind->flags;

	if (kind->digests)
		allowed |= (lim->hdgst ? TCP_PDU_F_HDGST : 0) | (lim->ddgst ? TCP_PDU_F_DDGST : 0);
	if (pdu->flags & ~allowed)
		return BAD_FIELD(pdu, struct tcp_ch_wire, flags);
	pdu->hdgst = kind->digests && lim->hdgst;
	if (pdu->hdgst && !(pdu->flags & TCP_PDU_F_HDGST))
		return BAD_FIELD(pdu, struct tcp_ch_wire, flags);
	if ((pdu->flags & TCP_PDU_F_SUCCESS) && !(pdu->flags & TCP_PDU_F_LAST))
		return BAD_FIELD(pdu, struct tcp_ch_wire, flags);
	return 0;
}

int tcp_pdu_check_common(const struct tcp_pdu_limits *lim, const uint8_t *bytes, struct tcp_pdu *pdu)
{
	const struct tcp_ch_wire *ch = (const struct tcp_ch_wire *)bytes;
	const struct pdu_kind *kind;
	int err;

	*pdu = (struct tcp_pdu){ .type = ch->type, .flags = ch->flags, .plen = get32(ch->plen) };
	if (ch->type >= ARRAY_SIZE(kinds) || !(kinds[ch->type].dirs & 1 << lim->dir))
		return BAD_FIELD(pdu, struct tcp_ch_wire, type);
	kind = &kinds[ch->type];
	if (kind->setup == lim->connected && ch->type != TCP_PDU_H2C_TERM && ch->type != TCP_PDU_C2H_TERM)
		return bad(pdu, TCP_FES_SEQUENCE, 0);
	if (ch->hlen != kind->hlen)
		return BAD_FIELD(pdu, struct tcp_ch_wire, hlen);
	err = check_flags(lim, kind, pdu);
	if (err)
		return err;
	pdu->header_len = (uint8_t)(kind->hlen + (pdu->hdgst ? TCP_PDU_DIGEST_LEN : 0));
	pdu->data_off = pdu->header_len;
	if (pdu->plen < pdu->header_len || (!kind->data && pdu->plen != pdu->header_len))
		return BAD_FIELD(pdu, struct tcp_ch_wire, plen);
	return 0;
}

/* Where the data are and how many. */
static int check_layout(const struct tcp_pdu_limits *lim, const struct tcp_ch_wire *ch, struct tcp_pdu *pdu)
{
	uint32_t tail = lim->ddgst ? TCP_PDU_DIGEST_LEN : 0;

	if (pdu->plen == pdu->header_len) /* no data: PDO is reserved then */
		return 0;
	if (lim->ddgst && !(ch->flags & TCP_PDU_F_DDGST))
		return BAD_FIELD(pdu, struct tcp_ch_wire, flags);
	if (ch->pdo < pdu->header_len || ch->pdo % ((lim->pda + 1) * 4))
		return BAD_FIELD(pdu, struct tcp_ch_wire, pdo);
	if (pdu->plen <= ch->pdo + tail)
		return BAD_FIELD(pdu, struct tcp_ch_wire, plen);
	pdu->data_off = ch->pdo;
	pdu->data_len = pdu->plen - ch->pdo - tail;
	pdu->ddgst = lim->ddgst;
	return 0;
}

static int check_term(struct tcp_pdu *pdu)
{
	if (pdu->plen > (uint32_t)pdu->header_len + TCP_PDU_TERM_DATA_MAX)
		return BAD_FIELD(pdu, struct tcp_ch_wire, plen);
	pdu->data_len = pdu->plen - pdu->header_len;
	return 0;
}

static int check_data(const struct tcp_pdu_limits *lim, const struct tcp_data_wire *wire, struct tcp_pdu *pdu)
{
	if (!pdu->data_len || get32(wire->datal) != pdu->data_len)
		return BAD_FIELD(pdu, struct tcp_data_wire, datal);
	if (pdu->data_len > lim->max_data)
		return bad(pdu, pdu->type == TCP_PDU_H2C_DATA ? TCP_FES_OUT_OF_RANGE : TCP_FES_LIMIT, 0);
	if (get32(wire->datao) > UINT32_MAX - pdu->data_len)
		return BAD_FIELD(pdu, struct tcp_data_wire, datao);
	return 0;
}

static int check_header_digest(const uint8_t *bytes, struct tcp_pdu *pdu)
{
	unsigned hlen = pdu->header_len - TCP_PDU_DIGEST_LEN;
	le32 got;

	memcpy(&got, bytes + hlen, sizeof(got));
	if (get32(got) != crc32c(bytes, hlen))
		return bad(pdu, TCP_FES_HEADER_DIGEST, get32(got));
	return 0;
}

int tcp_pdu_check(const struct tcp_pdu_limits *lim, const uint8_t *bytes, size_t len, struct tcp_pdu *pdu)
{
	const union tcp_pdu_wire *wire = (const union tcp_pdu_wire *)bytes;
	int err;

	if (len < TCP_PDU_CH_LEN)
		return -EAGAIN;
	err = tcp_pdu_check_common(lim, bytes, pdu);
	if (err)
		return err;
	if (len < pdu->header_len)
		return -EAGAIN;
	err = pdu->hdgst ? check_header_digest(bytes, pdu) : 0;
	if (err)
		return err;
	if (pdu->type == TCP_PDU_H2C_TERM || pdu->type == TCP_PDU_C2H_TERM)
		return check_term(pdu);
	err = check_layout(lim, &wire->ch, pdu);
	if (err)
		return err;
	if (pdu->type == TCP_PDU_H2C_DATA || pdu->type == TCP_PDU_C2H_DATA)
		return check_data(lim, &wire->data, pdu);
	if (pdu->type == TCP_PDU_CMD && pdu->data_len > lim->max_incapsule)
		return bad(pdu, TCP_FES_OUT_OF_RANGE, 0);
	return 0;
}

int tcp_pdu_check_ic(const struct tcp_ic_wire *wire, struct tcp_pdu *pdu)
{
	if (get16(wire->pfv))
		return bad(pdu, TCP_FES_UNSUPPORTED, offsetof(struct tcp_ic_wire, pfv));
	if (wire->pda > TCP_PDU_PDA_MAX)
		return BAD_FIELD(pdu, struct tcp_ic_wire, pda);
	if (wire->dgst & ~(TCP_PDU_DIGEST_HDR | TCP_PDU_DIGEST_DATA))
		return BAD_FIELD(pdu, struct tcp_ic_wire, dgst);
	if (wire->ch.type == TCP_PDU_IC_RESP &&
	    (get32(wire->max) < TCP_PDU_MAXH2CDATA_MIN || get32(wire->max) % 4))
		return BAD_FIELD(pdu, struct tcp_ic_wire, max);
	return 0;
}

const char *tcp_pdu_fes_text(uint16_t fes)
{
	static const char *const text[] = {
		[TCP_FES_HEADER_FIELD] = "invalid PDU header field",
		[TCP_FES_SEQUENCE] = "PDU sequence error",
		[TCP_FES_HEADER_DIGEST] = "header digest error",
		[TCP_FES_OUT_OF_RANGE] = "data transfer out of range",
		[TCP_FES_LIMIT] = "data transfer or R2T limit exceeded",
		[TCP_FES_UNSUPPORTED] = "unsupported parameter",
	};

	return fes < ARRAY_SIZE(text) && text[fes] ? text[fes] : "unknown fatal error";
}

/* Common header, digest, padding. The type's own fields are filled in already. data_len 0: nothing follows. */
static unsigned finish(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, uint8_t type, uint8_t flags,
		       uint32_t data_len)
{
	unsigned hlen = kinds[type].hlen, len = hlen;
	uint8_t *bytes = (uint8_t *)wire;
	uint32_t tail = 0;

	if (conf->hdgst) {
		flags |= TCP_PDU_F_HDGST;
		len += TCP_PDU_DIGEST_LEN;
	}
	if (data_len) {
		len = ROUND_UP(len, (conf->pda + 1u) * 4);
		if (conf->ddgst) {
			flags |= TCP_PDU_F_DDGST;
			tail = TCP_PDU_DIGEST_LEN;
		}
	}
	wire->ch = (struct tcp_ch_wire){ type, flags, (uint8_t)hlen, data_len ? (uint8_t)len : 0,
					 put32(len + data_len + tail) };
	memset(bytes + hlen, 0, len - hlen);
	if (conf->hdgst) {
		le32 crc = put32(crc32c(bytes, hlen));

		memcpy(bytes + hlen, &crc, sizeof(crc));
	}
	return len;
}

static unsigned build_ic(union tcp_pdu_wire *wire, uint8_t type, uint8_t pda, uint8_t dgst, uint32_t max)
{
	static const struct tcp_pdu_conf plain;

	wire->ic = (struct tcp_ic_wire){ .pda = pda, .dgst = dgst, .max = put32(max) };
	return finish(wire, &plain, type, 0, 0);
}

unsigned tcp_pdu_build_ic_req(union tcp_pdu_wire *wire, uint8_t hpda, uint8_t dgst, uint32_t maxr2t)
{
	return build_ic(wire, TCP_PDU_IC_REQ, hpda, dgst, maxr2t);
}

unsigned tcp_pdu_build_ic_resp(union tcp_pdu_wire *wire, uint8_t cpda, uint8_t dgst, uint32_t maxh2cdata)
{
	return build_ic(wire, TCP_PDU_IC_RESP, cpda, dgst, maxh2cdata);
}

unsigned tcp_pdu_build_cmd(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, const struct sqe_wire *sqe,
			   uint32_t data_len)
{
	wire->cmd.sqe = *sqe;
	return finish(wire, conf, TCP_PDU_CMD, 0, data_len);
}

unsigned tcp_pdu_build_resp(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, const struct cqe_wire *cqe)
{
	wire->resp.cqe = *cqe;
	return finish(wire, conf, TCP_PDU_RESP, 0, 0);
}

unsigned tcp_pdu_build_r2t(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, uint16_t cid, uint16_t ttag,
			   uint32_t offset, uint32_t len)
{
	wire->r2t = (struct tcp_r2t_wire){ .cccid = put16(cid), .ttag = put16(ttag), .r2to = put32(offset),
					   .r2tl = put32(len) };
	return finish(wire, conf, TCP_PDU_R2T, 0, 0);
}

unsigned tcp_pdu_build_h2c_data(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, uint16_t cid,
				uint16_t ttag, uint32_t offset, uint32_t len, bool last)
{
	wire->data = (struct tcp_data_wire){ .cccid = put16(cid), .ttag = put16(ttag), .datao = put32(offset),
					     .datal = put32(len) };
	return finish(wire, conf, TCP_PDU_H2C_DATA, last ? TCP_PDU_F_LAST : 0, len);
}

unsigned tcp_pdu_build_c2h_data(union tcp_pdu_wire *wire, const struct tcp_pdu_conf *conf, uint16_t cid,
				uint32_t offset, uint32_t len, uint8_t flags)
{
	wire->data = (struct tcp_data_wire){ .cccid = put16(cid), .datao = put32(offset), .datal = put32(len) };
	return finish(wire, conf, TCP_PDU_C2H_DATA, flags, len);
}

unsigned tcp_pdu_build_term(uint8_t out[24 + TCP_PDU_TERM_DATA_MAX], enum tcp_pdu_dir dir, uint16_t fes, uint32_t fei,
			    const void *header, size_t header_len)
{
	uint8_t type = dir == TCP_PDU_TO_CTRL ? TCP_PDU_H2C_TERM : TCP_PDU_C2H_TERM;
	unsigned len = header ? (unsigned)MIN(header_len, (size_t)TCP_PDU_TERM_DATA_MAX) : 0;
	struct tcp_term_wire term = { .ch = { type, 0, sizeof(term), 0, put32((uint32_t)sizeof(term) + len) },
				      .fes = put16(fes), .fei = put32(fei) };

	memcpy(out, &term, sizeof(term));
	if (len)
		memcpy(out + sizeof(term), header, len);
	return (unsigned)sizeof(term) + len;
}
