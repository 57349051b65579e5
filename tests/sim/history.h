/* SPDX-License-Identifier: Apache-2.0 */
/* The states that a file system may be found in: one model for each operation since the last acknowledged fsync. */
#ifndef NVOFS_TESTS_SIM_HISTORY_H
#define NVOFS_TESTS_SIM_HISTORY_H

#include "tests/sim/model.h"

struct history {
	struct model *states;  /* oldest first */
	size_t n, cap;
};

void history_init(struct history *, const struct model *now);
void history_exit(struct history *);
/* One operation later; synced: what was before cannot come back. */
void history_add(struct history *, const struct model *now, bool synced);
/* It is the state at index: neither an older nor a newer one. */
void history_keep(struct history *, size_t index);
/* Index of the state that now is, newest first; -1 after a report on stderr: none of them. */
int64_t history_match(struct history *, struct model *now);

#endif
