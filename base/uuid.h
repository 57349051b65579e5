/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs (RFC 9562) as 16 bytes in text order. */
#ifndef NVOFS_BASE_UUID_H
#define NVOFS_BASE_UUID_H

#include <stddef.h>
#include <stdint.h>

#define UUID_TEXT 37 /* with the final 0 */

/* Fills buf from the kernel's random source; aborts if there is none (nothing could be safe then). */
void random_bytes(void *buf, size_t len);
/* Tests: from here on random_bytes is a sequence that seed determines; 0 gives the kernel's back. One thread only. */
void random_fixed(uint64_t seed);
void uuid_random(uint8_t uuid[16]);
const char *uuid_print(const uint8_t uuid[16], char text[UUID_TEXT]);
/* 0 or -EINVAL. */
int uuid_parse(const char *text, uint8_t uuid[16]);

#endif
