/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a discovery controller what there is (base 5.1.12.3.1, log page 70h). */
#ifndef NVOFS_TRANSPORT_DISCOVERY_H
#define NVOFS_TRANSPORT_DISCOVERY_H

#include "transport/addr.h"

struct discovery_entry {
	const char *transport;       /* "tcp", "rdma", ... */
	const char *family;          /* "ipv4", "ipv6", ... */
	const char *subtype;         /* "nvme subsystem", "referral", "current discovery subsystem" */
	uint16_t portid, cntlid, asqsz;
	char traddr[257], trsvcid[33], subnqn[257];
	bool needs_tls;
};

/* Connects, reads the whole page (again if it changed meanwhile), and calls each() for every entry while it returns 0. 0,
 * what each() returned, or a negative code with one line in why. addr from ns_addr_parse with discovery = true. */
int discover(const struct ns_addr *, int (*each)(void *arg, const struct discovery_entry *), void *arg, char *why,
	     size_t why_len);

#endif
