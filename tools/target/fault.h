/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on demand, for tests of hosts: each is a rule "every N-th" or "after N" over one counter. Off unless asked
 * for; then the cost is one load a command. */
#ifndef NVOFS_TARGET_FAULT_H
#define NVOFS_TARGET_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault {
	bool any;
	uint64_t drop_after;          /* I/O commands until all connections are closed, once */
	uint64_t drop_every;          /* the same again and again */
	uint64_t hang_after;          /* I/O commands after which none is answered any more */
	uint64_t corrupt_digest;      /* every N-th C2HData with a digest */
	uint64_t corrupt_data;        /* every N-th Read: one bit, before the digest is computed */
	uint64_t error_every;         /* every N-th I/O command fails with error_status */
	uint16_t error_status;
	unsigned delay_ms;            /* before each I/O command */
	_Atomic uint64_t commands, reads, digests;
};

/* "drop-after=N", "drop-every=N", "hang-after=N", "corrupt-data-digest=N", "corrupt-data=N", "error-status=N:SC" (SC in
 * hex: status code type and code, DNR 4000), "delay-ms=N". 0 or -EINVAL and one line in why. */
int fault_parse(struct fault *, const char *text, char *why, size_t why_len);

enum fault_action { FAULT_NONE, FAULT_DROP, FAULT_HANG, FAULT_ERROR };
/* Once per I/O command, before it is looked at; sleeps if a delay is asked for. */
enum fault_action fault_command(struct fault *);
bool fault_corrupts_data(struct fault *);
bool fault_corrupts_digest(struct fault *);

#endif
