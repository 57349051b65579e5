/* SPDX-License-Identifier: Apache-2.0 */
/* The states that a file system may be found in: one model for each operation since the last acknowledged fsync. */
#ifndef NVOFS_TESTS_SIM_HISTORY_H
#define NVOFS_TESTS_SIM_HISTORY_H

#include "tests/sim/model.h"

/* After one operation; or after several that ran at once on different inodes: then each of these may have happened or
 * not. */
struct hstate {
	struct model m;
	bool parallel;
};

struct history {
	struct hstate *states; /* oldest first */
	size_t n, cap;
};

void history_init(struct history *, const struct model *now);
void history_exit(struct history *);
/* One operation later; synced: what was before cannot come back. */
void history_add(struct history *, const struct model *now, bool parallel, bool synced);
/* Index of the state that now is (or lies right before), newest first; -1 after a report on stderr: none of them. */
int64_t history_match(const struct history *, struct model *now);

#endif
