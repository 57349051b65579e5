/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP protocol data units (NVMe/TCP Transport Specification 1.1, section 3.6) as bytes: layouts, pure functions
 * that build headers and check received ones. No descriptor, no state; shared by host and target.
 *
 *      CH | PSH | HDGST | PAD | DATA | DDGST
 *      `- HLEN -'        `---- PDO counts up to DATA ----'       PLEN counts all
 *
 *  1. Whatever tcp_pdu_check accepts is consistent: header_len <= data_off, data_off + data_len + ddgst = plen, the
 *     length of the type's header, digest flags as negotiated, alignment as asked for, data at most limits.max_data.
 *  2. Nothing but the header_len bytes is looked at; the data digest is the receiver's business. */
#ifndef NVOFS_TRANSPORT_TCP_PDU_H
#define NVOFS_TRANSPORT_TCP_PDU_H

#include <stdbool.h>
#include "transport/nvme_wire.h"

enum tcp_pdu_type {
	TCP_PDU_IC_REQ = 0x00,
	TCP_PDU_IC_RESP = 0x01,
	TCP_PDU_H2C_TERM = 0x02,
	TCP_PDU_C2H_TERM = 0x03,
	TCP_PDU_CMD = 0x04,
	TCP_PDU_RESP = 0x05,
	TCP_PDU_H2C_DATA = 0x06,
	TCP_PDU_C2H_DATA = 0x07,
	TCP_PDU_R2T = 0x09,
};

#define TCP_PDU_F_HDGST 0x01
#define TCP_PDU_F_DDGST 0x02
#define TCP_PDU_F_LAST 0x04          /* H2CData, C2HData: last PDU of the transfer */
#define TCP_PDU_F_SUCCESS 0x08       /* C2HData with LAST: no response capsule follows, the command succeeded */

#define TCP_PDU_DIGEST_LEN 4
#define TCP_PDU_CH_LEN 8
/* Most bytes before the data: the longest header with its digest, padded to the largest alignment (128). */
#define TCP_PDU_HEADER_MAX 128
#define TCP_PDU_PDA_MAX 31           /* HPDA, CPDA: 0-based count of dwords */
#define TCP_PDU_TERM_DATA_MAX 128
#define TCP_PDU_MAXH2CDATA_MIN 4096
#define TCP_PDU_DIGEST_HDR 0x1       /* ICReq, ICResp: DGST */
#define TCP_PDU_DIGEST_DATA 0x2

/* Fatal error status of a TermReq (figure "FES"). */
enum tcp_pdu_fes {
	TCP_FES_HEADER_FIELD = 0x01, /* FEI: offset of the field in the header */
	TCP_FES_SEQUENCE = 0x02,
	TCP_FES_HEADER_DIGEST = 0x03,/* FEI: the digest received */
	TCP_FES_OUT_OF_RANGE = 0x04,
	TCP_FES_LIMIT = 0x05,        /* to the target: R2T limit; to the host: data transfer limit */
	TCP_FES_UNSUPPORTED = 0x06,
};

struct tcp_ch_wire {
	uint8_t type, flags, hlen, pdo;
	le32 plen;
} NVME_PACKED;
static_assert(sizeof(struct tcp_ch_wire) == TCP_PDU_CH_LEN, "tcp_ch_wire");

struct tcp_ic_wire {                 /* ICReq and ICResp */
	struct tcp_ch_wire ch;
	le16 pfv;
	uint8_t pda;                 /* HPDA of the host; CPDA of the controller */
	uint8_t dgst;
	le32 max;                    /* ICReq: MAXR2T, 0-based; ICResp: MAXH2CDATA, bytes */
	uint8_t reserved[112];
} NVME_PACKED;
static_assert(sizeof(struct tcp_ic_wire) == 128, "tcp_ic_wire");

struct tcp_term_wire {
	struct tcp_ch_wire ch;
	le16 fes;
	le32 fei;
	uint8_t reserved[10];
} NVME_PACKED;
static_assert(sizeof(struct tcp_term_wire) == 24, "tcp_term_wire");

struct tcp_cmd_wire {
	struct tcp_ch_wire ch;
	struct sqe_wire sqe;
} NVME_PACKED;
static_assert(sizeof(struct tcp_cmd_wire) == 72, "tcp_cmd_wire");

struct tcp_resp_wire {
	struct tcp_ch_wire ch;
	struct cqe_wire cqe;
} NVME_PACKED;
static_assert(sizeof(struct tcp_resp_wire) == 24, "tcp_resp_wire");

struct tcp_data_wire {               /* H2CData, C2HData */
	struct tcp_ch_wire ch;
	le16 cccid;
	le16 ttag;                   /* C2HData: reserved */
	le32 datao;                  /* offset of the data in the command's buffer */
	le32 datal;
	uint8_t reserved[4];
} NVME_PACKED;
static_assert(sizeof(struct tcp_data_wire) == 24, "tcp_data_wire");

struct tcp_r2t_wire {
	struct tcp_ch_wire ch;
	le16 cccid;
	le16 ttag;
	le32 r2to;
	le32 r2tl;
	uint8_t reserved[4];
} NVME_PACKED;
static_assert(sizeof(struct tcp_r2t_wire) == 24, "tcp_r2t_wire");

union tcp_pdu_wire {
	struct tcp_ch_wire ch;
	struct tcp_ic_wire ic;
	struct tcp_term_wire term;
	struct tcp_cmd_wire cmd;
	struct tcp_resp_wire resp;
	struct tcp_data_wire data;
	struct tcp_r2t_wire r2t;
	uint8_t bytes[TCP_PDU_HEADER_MAX];
};
static_assert(sizeof(union tcp_pdu_wire) == TCP_PDU_HEADER_MAX, "tcp_pdu_wire");

/* ---- receiving ---- */

enum tcp_pdu_dir { TCP_PDU_TO_CTRL, TCP_PDU_TO_HOST };

/* What may arrive now. */
struct tcp_pdu_limits {
	enum tcp_pdu_dir dir;
	bool connected;              /* ICReq and ICResp are done; before that nothing but them (or a TermReq) is expected */
	bool hdgst, ddgst;           /* as negotiated; not for ICReq, ICResp, TermReq */
	uint8_t pda;                 /* alignment that the receiver asked for (HPDA, CPDA) */
	uint32_t max_incapsule;      /* CapsuleCmd: bytes of data */
	uint32_t max_data;           /* H2CData: MAXH2CDATA; C2HData: any bound of the receiver, or UINT32_MAX */
};

struct tcp_pdu {
	uint8_t type, flags;
	bool hdgst, ddgst;           /* present in this PDU */
	uint8_t header_len;          /* HLEN and header digest: bytes to read before tcp_pdu_check */
	uint8_t data_off;            /* from the PDU's start; header_len if there are no data */
	uint32_t data_len;           /* without the digest */
	uint32_t plen;
	uint16_t fes;                /* after an error: for the TermReq */
	uint32_t fei;
};

/* From the first TCP_PDU_CH_LEN bytes: fills pdu->type, header_len, plen, so that the caller knows how much to read.
 * 0, or -E_BAD_PDU with pdu->fes and fei. */
int tcp_pdu_check_common(const struct tcp_pdu_limits *, const uint8_t *bytes, struct tcp_pdu *pdu);
/* From all header_len bytes: everything in struct tcp_pdu. 0, -E_BAD_PDU or -E_HEADER_DIGEST with fes and fei. Calls
 * tcp_pdu_check_common itself; -EAGAIN if len is less than header_len (set if len >= TCP_PDU_CH_LEN). */
int tcp_pdu_check(const struct tcp_pdu_limits *, const uint8_t *bytes, size_t len, struct tcp_pdu *pdu);

/* ICReq and ICResp after tcp_pdu_check: 0, or -E_BAD_PDU with fes and fei (PFV, PDA, DGST, MAXH2CDATA out of range). */
int tcp_pdu_check_ic(const struct tcp_ic_wire *, struct tcp_pdu *pdu);
/* The sentence for a fatal error status. */
const char *tcp_pdu_fes_text(uint16_t fes);

/* ---- sending: each fills a header with its digest and padding, and returns the bytes up to the data ---- */

struct tcp_pdu_conf {
	bool hdgst, ddgst;
	uint8_t pda;                 /* alignment that the peer asked for */
};

unsigned tcp_pdu_build_ic_req(union tcp_pdu_wire *, uint8_t hpda, uint8_t dgst, uint32_t maxr2t);
unsigned tcp_pdu_build_ic_resp(union tcp_pdu_wire *, uint8_t cpda, uint8_t dgst, uint32_t maxh2cdata);
/* The sqe is copied; data_len bytes of in-capsule data follow (and the data digest if there are any). */
unsigned tcp_pdu_build_cmd(union tcp_pdu_wire *, const struct tcp_pdu_conf *, const struct sqe_wire *,
			   uint32_t data_len);
unsigned tcp_pdu_build_resp(union tcp_pdu_wire *, const struct tcp_pdu_conf *, const struct cqe_wire *);
unsigned tcp_pdu_build_r2t(union tcp_pdu_wire *, const struct tcp_pdu_conf *, uint16_t cid, uint16_t ttag,
			   uint32_t offset, uint32_t len);
unsigned tcp_pdu_build_h2c_data(union tcp_pdu_wire *, const struct tcp_pdu_conf *, uint16_t cid, uint16_t ttag,
				uint32_t offset, uint32_t len, bool last);
/* flags: TCP_PDU_F_LAST, TCP_PDU_F_SUCCESS. */
unsigned tcp_pdu_build_c2h_data(union tcp_pdu_wire *, const struct tcp_pdu_conf *, uint16_t cid, uint32_t offset,
				uint32_t len, uint8_t flags);
/* A whole TermReq with the offending header (may be NULL) behind it, at most 24 + 128 bytes in out. */
unsigned tcp_pdu_build_term(uint8_t out[24 + TCP_PDU_TERM_DATA_MAX], enum tcp_pdu_dir, uint16_t fes, uint32_t fei,
			    const void *header, size_t header_len);

#endif
