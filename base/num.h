/* SPDX-License-Identifier: Apache-2.0 */
/* Small arithmetic that everything uses: alignment, minima, checked sums, sizes written by people. */
#ifndef NVOFS_BASE_NUM_H
#define NVOFS_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define DIV_UP(n, d) (((n) + (d) - 1) / (d))
#define ROUND_UP(n, d) (DIV_UP(n, d) * (d))
#define ROUND_DOWN(n, d) ((n) / (d) * (d))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))

#define KiB 1024ull
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define TiB (1024 * GiB)

/* A range [start, start+len) that fits below limit, without wrapping. */
static inline bool range_fits(uint64_t start, uint64_t len, uint64_t limit)
{
	return len <= limit && start <= limit - len;
}

/* Smallest order with (1 << order) >= n; n > 0. */
static inline unsigned order_up(uint32_t n)
{
	return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

/* "64M", "1.5G" is refused, "4096", "2T": bytes with a binary suffix. 0 or -EINVAL. */
int size_parse(const char *text, uint64_t *bytes);
/* "1.5 GiB" into buf; returns buf. */
const char *size_print(uint64_t bytes, char *buf, size_t len);
/* A whole unsigned decimal number and nothing else, at most max. 0 or -EINVAL. */
int u64_parse(const char *text, uint64_t max, uint64_t *value);

#endif
