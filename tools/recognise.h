/* SPDX-License-Identifier: Apache-2.0 */
/* What lies on a namespace that somebody wants to format: file systems, RAID and volume members, partition tables, by
 * libblkid. */
#ifndef NVOFS_TOOLS_RECOGNISE_H
#define NVOFS_TOOLS_RECOGNISE_H

#include <stddef.h>
#include "base/num.h"
#include "transport/ns.h"

#define RECOGNISE_HEAD (8 * MiB / BLOCK_SIZE) /* blocks looked at from the start */

/* 0: nothing known is there; 1: something is, *what has its description ("ext4 file system labelled 'x'"); negative:
 * it could not be read or judged, *what says why. A read error is never "nothing". */
int recognise(struct ns *, char *what, size_t len);

#endif
