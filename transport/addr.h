/* SPDX-License-Identifier: Apache-2.0 */
/* Names of namespaces: nvme+tcp://HOST[:PORT]/NQN[?nsid=N&key=value...] and nvme-cli's comma-separated keys.
 * Pure parsing; nothing is resolved or connected here. */
#ifndef NVOFS_TRANSPORT_ADDR_H
#define NVOFS_TRANSPORT_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NQN_MAX 224 /* with the final 0 */

enum transport_type { TRANSPORT_TCP, TRANSPORT_RDMA, TRANSPORT_INPROC };

struct ns_addr {
	enum transport_type transport;
	char host[256];          /* name, IPv4, IPv6 without brackets */
	char port[8];            /* decimal; "4420" or "8009" (discovery) by default */
	char nqn[NQN_MAX];       /* subsystem */
	uint32_t nsid;           /* 0: the only one, or the one with this uuid/nguid */
	bool has_uuid, has_nguid;
	uint8_t uuid[16], nguid[16];
	char hostnqn[NQN_MAX];   /* empty: from the host's identity (transport/identity.h) */
	bool has_hostid;
	uint8_t hostid[16];
	char host_traddr[256], host_iface[16];
	bool hdr_digest, data_digest;
	unsigned nr_io_queues;   /* 0: as many as workers */
	unsigned queue_size;     /* 0: default */
	unsigned keep_alive_tmo; /* seconds; default 5 */
	unsigned reconnect_delay;/* seconds; default 1 */
	unsigned quiesce_time;   /* seconds; default 0 */
	unsigned connect_tmo;    /* seconds for one connection attempt; default 5 */
	void *inproc;            /* TRANSPORT_INPROC: the peer (tests) */
};

/* The defaults alone. */
void ns_addr_init(struct ns_addr *);
/* 0, or -EINVAL and one line in why that names the wrong part. An address without NQN is accepted only with
 * discovery = true (then nqn is the discovery NQN and the port defaults to 8009). */
int ns_addr_parse(struct ns_addr *, const char *text, bool discovery, char *why, size_t why_len);
/* The short form without options, for messages: "nvme+tcp://host:4420/nqn...?nsid=1". Returns buf. */
const char *ns_addr_print(const struct ns_addr *, char *buf, size_t len);

#endif
