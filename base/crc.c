/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"

#include <isa-l/crc.h>

#define POLY 0x82f63b78u /* Castagnoli, reflected */

uint32_t crc32c_more(uint32_t crc, const void *data, size_t len)
{
	crc = ~crc;
	while (len > 0) { /* ISA-L takes an int */
		int n = len > (1u << 30) ? 1 << 30 : (int)len;

		crc = crc32_iscsi((unsigned char *)(uintptr_t)data, n, crc);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
	return ~crc;
}

uint32_t crc32c(const void *data, size_t len)
{
	return crc32c_more(0, data, len);
}

/* a * b modulo the polynomial, in the reflected representation (bit 31 is x^0). */
static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t m = 1u << 31; m; m >>= 1) {
		if (a & m)
			product ^= b;
		b = b & 1 ? b >> 1 ^ POLY : b >> 1;
	}
	return product;
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t len_b)
{
	uint32_t shift = 1u << 31; /* x^0 */
	uint32_t square = 1u << 23; /* x^8: one byte */

	for (; len_b; len_b >>= 1) {
		if (len_b & 1)
			shift = multiply(square, shift);
		square = multiply(square, square);
	}
	return multiply(shift, a) ^ b;
}
