/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian integers as they lie on the device and on the wire. One-field structs, so that a mix-up
 * with host integers does not compile; alignment 1, so that they can stand anywhere in a packed layout. */
#ifndef NVOFS_BASE_LE_H
#define NVOFS_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint8_t b[2]; } le16;
typedef struct { uint8_t b[4]; } le32;
typedef struct { uint8_t b[8]; } le64;

static inline uint16_t get16(le16 v) { uint16_t x; memcpy(&x, v.b, 2); return le16toh(x); }
static inline uint32_t get32(le32 v) { uint32_t x; memcpy(&x, v.b, 4); return le32toh(x); }
static inline uint64_t get64(le64 v) { uint64_t x; memcpy(&x, v.b, 8); return le64toh(x); }
static inline le16 put16(uint16_t x) { le16 v; x = htole16(x); memcpy(v.b, &x, 2); return v; }
static inline le32 put32(uint32_t x) { le32 v; x = htole32(x); memcpy(v.b, &x, 4); return v; }
static inline le64 put64(uint64_t x) { le64 v; x = htole64(x); memcpy(v.b, &x, 8); return v; }

#endif
