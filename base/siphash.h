/* SPDX-License-Identifier: Apache-2.0 */
/* SipHash-2-4 (Aumasson, Bernstein 2012): the keyed hash of directory entries, so that nobody can choose names that
 * collide. */
#ifndef NVOFS_BASE_SIPHASH_H
#define NVOFS_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash24(const uint8_t key[16], const void *data, size_t len);

#endif
