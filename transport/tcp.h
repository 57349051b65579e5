/* SPDX-License-Identifier: Apache-2.0 */
/* NVMe/TCP: one connection is one queue. Private to the tcp_*.c files.
 *
 * A slot on a connection, and what moves it:
 *
 *   send: CAPSULE queued --(tcp_push: all of it handed to the kernel)--> WAITING
 *   WAITING --R2T--> DATA queued --(all PDUs of the R2T sent)--> WAITING
 *   WAITING --C2HData with SUCCESS, or response--> done list --> returned by poll
 *   DATA --response--> responded; to the done list when the PDU that is being sent has left
 *
 *  1. slots[cid] is set from send until the slot is put on the done list; a PDU for any other CID is a violation.
 *  2. A slot has at most one PDU on the send queue (MAXR2T is 1); its header lives in tx[cid].
 *  3. Data of a command move strictly in order: DATAO and R2TO must equal what has moved so far.
 *  4. Whatever arrives that breaks the rules ends the connection; nothing is trusted before it was checked. */
#ifndef NVOFS_TRANSPORT_TCP_H
#define NVOFS_TRANSPORT_TCP_H

#include <sys/types.h>
#include "base/num.h"
#include "transport/tcp_pdu.h"
#include "transport/wire.h"

#define TCP_STAGING (32 * KiB)
#define TCP_ADMIN_INCAPSULE 8192u /* always allowed on the admin queue and for Connect (TCP transport 3.3.2.2.1) */
#define TCP_SMALL 16384u          /* reads up to this may go through the staging: a system call costs more */

/* slot->flags */
#define TCP_RESPONDED 1u
#define TCP_LARGE 2u              /* counted in tcp_conn.large */
#define TCP_INCAPSULE 4u
#define TCP_GUESSABLE 8u          /* on the list of small reads */

#define TCP_GUESSES 7u            /* reads whose data one system call may bring */
#define TCP_FRAME_MAX 64u         /* bytes between the data of two reads: digest, response, header */
#define TCP_NO_CID 0xffffu

enum tcp_tx_kind { TX_IDLE, TX_CAPSULE, TX_DATA };

struct tcp_tx {
	union tcp_pdu_wire pdu;
	le32 ddgst;
	enum tcp_tx_kind kind;
	uint16_t ttag;
	uint16_t tail_len;        /* digest behind the data */
	uint32_t head_len, data_off, data_len;
	uint32_t sent;            /* bytes of head, data and tail that the kernel has */
	uint32_t r2t_left;        /* granted and not in this PDU */
	uint16_t older, younger;  /* small reads in the order in which they were sent; TCP_NO_CID ends */
};

enum tcp_rx_state { RX_HEADER, RX_PAD, RX_DATA, RX_DIGEST };

struct tcp_conn {
	struct wire wire;
	int fd;                   /* -1 after stop */
	int dead;                 /* 0, or why nothing moves any more */
	uint16_t qid, nslots;
	struct tcp_pdu_limits expect;
	struct tcp_pdu_conf conf;
	uint32_t maxh2c, incapsule;
	struct lane_stats *stats;
	struct slot **slots;
	struct slot *done, **done_tail;

	struct tcp_tx *tx;
	struct slot *txq, **txq_tail;

	enum tcp_rx_state rx_state;
	struct tcp_pdu rx_pdu;
	struct slot *rx_slot;     /* RX_PAD to RX_DIGEST */
	uint32_t rx_left;         /* of the current state */
	uint32_t rx_pos, rx_end;  /* unread bytes of the staging */
	unsigned large;           /* reads above TCP_SMALL outstanding */
	uint8_t *staging;

	unsigned outstanding, small; /* commands; those on the list of small reads */
	uint16_t oldest, youngest;
	bool responds;            /* the controller sends a response after the data */
	unsigned guess_pause, guess_penalty; /* receives without guessing; how many after the next wrong guess */
	uint8_t frames[TCP_GUESSES + 1][TCP_FRAME_MAX];
};

static inline struct tcp_conn *tcp_conn(const struct wire *w) { return container_of(w, struct tcp_conn, wire); }

/* tcp_send.c */
int tcp_send(struct wire *, struct slot *const *, unsigned n);
/* Hands the kernel what it takes. 0, or < 0: dead. */
int tcp_push(struct tcp_conn *);
/* Grants len more bytes of a slot's data; queues the first PDU. */
void tcp_send_granted(struct tcp_conn *, struct slot *, uint16_t ttag, uint32_t len);
/* Best effort before the connection is given up. */
void tcp_send_term(struct tcp_conn *, const struct tcp_pdu *, const void *header, size_t len);
/* The slot has its answer and nothing of it is being sent. */
void tcp_finish(struct tcp_conn *, struct slot *);

/* tcp_recv.c */
int tcp_poll(struct wire *, struct slot **done, unsigned max);
/* One step on the bytes in the staging; touches a slot's memory in RX_DATA only. 0: go on, -EAGAIN: more bytes are
 * needed, else dead. */
int tcp_parse_step(struct tcp_conn *);
int tcp_parse(struct tcp_conn *); /* all of them; 0 or dead */
/* n more bytes of payload are in the memory of the slot that is being received. */
void tcp_data_arrived(struct tcp_conn *, uint32_t n);

/* tcp_guess.c: receiving small reads straight into their memory before their headers were seen */
void tcp_guess_sent(struct tcp_conn *, struct slot *);
void tcp_guess_finished(struct tcp_conn *, struct slot *);
bool tcp_guess_possible(struct tcp_conn *);
/* As fill() in tcp_recv.c: bytes received, 0, or dead; parses what came. */
ssize_t tcp_guess_fill(struct tcp_conn *, bool *full);

#endif
