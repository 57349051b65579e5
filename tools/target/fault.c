/* SPDX-License-Identifier: Apache-2.0 */
/* Faults on demand; see fault.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/num.h"
#include "tools/target/fault.h"

/* N, at least 1. */
static int parse_count(const char *text, uint64_t *n)
{
	uint64_t value;

	if (u64_parse(text, UINT64_MAX, &value) || !value)
		return -EINVAL;
	*n = value;
	return 0;
}

/* "N:STATUS", the status in hex. */
static int parse_error_status(struct fault *f, const char *text)
{
	char *colon, *end, count[24];
	unsigned long status;

	if (snprintf(count, sizeof(count), "%s", text) >= (int)sizeof(count))
		return -EINVAL;
	colon = strchr(count, ':');
	if (!colon)
		return -EINVAL;
	*colon = 0;
	status = strtoul(colon + 1, &end, 16);
	if (!colon[1] || *end || !status || status > 0x7fff)
		return -EINVAL;
	f->error_status = (uint16_t)status;
	return parse_count(count, &f->error_every);
}

/* Each --fault adds to those before it; the same one twice: the last counts. */
int fault_parse(struct fault *f, const char *text, char *why, size_t why_len)
{
	const struct { const char *name; uint64_t *value; } counts[] = {
		{ "drop-after=", &f->drop_after }, { "drop-every=", &f->drop_every },
		{ "hang-after=", &f->hang_after }, { "corrupt-data-digest=", &f->corrupt_digest },
		{ "corrupt-data=", &f->corrupt_data },
	};
	uint64_t ms;

	f->any = true;
	for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
		size_t len = strlen(counts[i].name);

		if (!strncmp(text, counts[i].name, len) && !parse_count(text + len, counts[i].value))
			return 0;
	}
	if (!strncmp(text, "error-status=", 13) && !parse_error_status(f, text + 13))
		return 0;
	if (!strncmp(text, "delay-ms=", 9) && !u64_parse(text + 9, 3600000, &ms)) {
		f->delay_ms = (unsigned)ms;
		return 0;
	}
	snprintf(why, why_len, "--fault %s: not a fault (see nvofs-target(1))", text);
	return -EINVAL;
}

/* Counters are of the whole target, not of a queue: which command is hit depends on what the others do. */
static bool every(uint64_t n, _Atomic uint64_t *counter)
{
	return n && (atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1) % n == 0;
}

/* One counter for all rules over commands, so that their numbers can be compared. The delay blocks this queue only. */
enum fault_action fault_command(struct fault *f)
{
	uint64_t n;

	if (!f->any)
		return FAULT_NONE;
	n = atomic_fetch_add_explicit(&f->commands, 1, memory_order_relaxed) + 1;
	if (f->delay_ms)
		nanosleep(&(struct timespec){ f->delay_ms / 1000, f->delay_ms % 1000 * 1000000l }, NULL);
	if (n == f->drop_after || (f->drop_every && n % f->drop_every == 0))
		return FAULT_DROP;
	if (f->hang_after && n > f->hang_after)
		return FAULT_HANG;
	return f->error_every && n % f->error_every == 0 ? FAULT_ERROR : FAULT_NONE;
}

/* Under a good digest: only the file system's own checksums can notice. fault_corrupts_digest is for the wire to
 * notice. */
bool fault_corrupts_data(struct fault *f)
{
	return f->any && every(f->corrupt_data, &f->reads);
}

bool fault_corrupts_digest(struct fault *f)
{
	return f->any && every(f->corrupt_digest, &f->digests);
}
