/* SPDX-License-Identifier: Apache-2.0 */
/* Epochs: when may a freed block be used again although readers take no locks across their I/O? When every operation that
 * could have looked it up before it was freed has ended. (Rule 1 of the device format; the idea is Fraser's epoch-based
 * reclamation, 2004.)
 *
 *  1. An op enters the current epoch before it looks anything up, and leaves it when nothing that it looked up is still
 *     being read for it.
 *  2. What was freed is stamped with the epoch in which its checkpoint became durable, then the epoch advances.
 *  3. It is reused when nobody is left in its epoch or an older one. Only four epochs can be occupied: the epoch does
 *     not advance onto a counter that is still in use. */
#ifndef NVOFS_FS_EPOCH_H
#define NVOFS_FS_EPOCH_H

#include <stdatomic.h>
#include <stdint.h>

struct fs;
struct op;

void epoch_enter(struct op *);
void epoch_leave(struct op *);
/* Under the exclusive fs lock. Stamp for what was freed so far; advances if it can. */
uint64_t epoch_stamp(struct fs *);
/* The oldest epoch that somebody may be in: older stamps are free. */
uint64_t epoch_oldest(struct fs *);

#endif
