/* SPDX-License-Identifier: Apache-2.0 */
/* Which fabrics this build has. */
#include <stdio.h>
#include "transport/wire.h"

const struct wire_ops *wire_find(enum transport_type type, char *why, size_t why_len)
{
	switch (type) {
	case TRANSPORT_TCP:
		return &wire_tcp;
	case TRANSPORT_INPROC:
		return &wire_inproc;
	case TRANSPORT_RDMA:
#ifdef NVOFS_RDMA
		return &wire_rdma;
#else
		break;
#endif
	}
	snprintf(why, why_len, "this build has no RDMA: libibverbs-dev and librdmacm-dev were not there when it was made");
	return NULL;
}
