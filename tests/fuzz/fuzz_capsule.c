/* SPDX-License-Identifier: Apache-2.0 */
/* What an RDMA target answers to a connection request: private data of an acceptance or a rejection, of any length. */
#include <assert.h>
#include <string.h>
#include "base/err.h"
#include "tests/fuzz/fuzz.h"
#include "transport/rdma_capsule.h"

void fuzz_one(const uint8_t *data, size_t len)
{
	uint16_t crqsize = 0;
	const char *text;
	int r = rdma_check_accept(data, len, &crqsize);

	assert(r == 0 || r == -E_BAD_CAPSULE);
	text = rdma_reject_text(data, len);
	assert(!text || strlen(text) > 0);
}

size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	struct rdma_accept_wire accept = { .recfmt = put16(0), .crqsize = put16(32) };
	struct rdma_reject_wire reject = { .recfmt = put16(0), .status = put16((uint16_t)n) };

	if (n > 9)
		return 0;
	memset(buf, 0, 64);
	if (!n)
		memcpy(buf, &accept, sizeof(accept));
	else
		memcpy(buf, &reject, sizeof(reject));
	return n ? sizeof(reject) : sizeof(accept);
}
