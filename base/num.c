/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int u64_parse(const char *text, uint64_t max, uint64_t *value)
{
	char *end;
	unsigned long long v;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || *end || v > max)
		return -EINVAL;
	*value = v;
	return 0;
}

int size_parse(const char *text, uint64_t *bytes)
{
	static const char suffixes[] = "KMGTP";
	char digits[24];
	size_t len = strlen(text);
	unsigned shift = 0;
	const char *s;
	uint64_t v;

	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	s = strchr(suffixes, text[len - 1] >= 'a' ? text[len - 1] - 32 : text[len - 1]);
	if (s) {
		shift = 10 * (unsigned)(s - suffixes + 1);
		len--;
	}
	memcpy(digits, text, len);
	digits[len] = 0;
	if (u64_parse(digits, UINT64_MAX >> shift, &v))
		return -EINVAL;
	*bytes = v << shift;
	return 0;
}

const char *size_print(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, len, u && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}
