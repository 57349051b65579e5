/* SPDX-License-Identifier: Apache-2.0 */
/* A volatile write cache at the target keeps our written pages pinned until a Flush (ns.h, rule 2). When they fill too
 * much of the arena, one Flush in the background gives them back. */
#ifndef NVOFS_FS_PRESSURE_H
#define NVOFS_FS_PRESSURE_H

#include "fs/op.h"

/* Any lock. starved: page frames ran out; else only when a quarter of the arena is pinned. */
void pressure_check(struct worker *, bool starved);

#endif
