/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C (Castagnoli, RFC 3720 B.4): the checksum of blocks, nodes and NVMe/TCP digests. Values are final ones
 * (inverted in and out), so crc32c("123456789") = 0xE3069283. */
#ifndef NVOFS_BASE_CRC_H
#define NVOFS_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t len);
/* crc of A||B from crc of A and the bytes of B. crc32c_more(0, ...) == crc32c(...). */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t len);
/* crc of A||B from both checksums and the length of B, without the bytes. */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b);

#endif
