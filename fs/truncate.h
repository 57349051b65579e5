/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a file's size: setattr's and open's (O_TRUNC) inner run function. */
#ifndef NVOFS_FS_TRUNCATE_H
#define NVOFS_FS_TRUNCATE_H

struct op;

/* op->ino to op->off bytes, with op's other setattr arguments in the same transaction. Uses phase and scratch. */
int file_truncate(struct op *);

#endif
