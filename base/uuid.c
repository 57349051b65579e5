/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t fixed; /* state of the sequence; 0: the kernel's source */

void random_fixed(uint64_t seed)
{
	fixed = seed;
}

/* splitmix64 (Steele, Lea, Flood 2014); never leaves fixed at 0 */
static uint8_t fixed_byte(void)
{
	uint64_t x = fixed += 0x9e3779b97f4a7c15ull;

	if (!fixed)
		fixed = 1;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return (uint8_t)(x >> 32);
}

void random_bytes(void *buf, size_t len)
{
	if (fixed) {
		for (size_t i = 0; i < len; i++)
			((uint8_t *)buf)[i] = fixed_byte();
		return;
	}
	for (char *p = buf; len > 0;) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

void uuid_random(uint8_t uuid[16])
{
	random_bytes(uuid, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

const char *uuid_print(const uint8_t u[16], char text[UUID_TEXT])
{
	char *p = text;

	for (int i = 0; i < 16; i++)
		{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += snprintf(p, 3, "%02x", u[i]);
	}
	return text;
}

int uuid_parse(const char *text, uint8_t uuid[16])
{
	if (strlen(text) != UUID_TEXT - 1)
		return -EINVAL;
	for (int i = 0; i < 16; i++) {
		char hex[3];

		if (i == 4 || i == 6 || i == 8 || i == 10) {
			if (*text++ != '-')
				return -EINVAL;
		}
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
			return -EINVAL;
		memcpy(hex, text, 2);
		hex[2] = 0;
		uuid[i] = (uint8_t)strtoul(hex, NULL, 16);
		text += 2;
	}
	return 0;
}
