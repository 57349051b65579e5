/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_NAME [SECONDS [FIRST]]: inputs number FIRST, FIRST + 1, ... until the time is over. An input depends on its number only;
 * the number of the one that fails is printed by the signal handler, so that `fuzz_NAME 1 NUMBER` runs it again. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/num.h"
#include "tests/fuzz/fuzz.h"

static uint64_t number;

static uint64_t next(uint64_t *state) /* SplitMix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static const uint8_t interesting[] = { 0, 1, 2, 3, 4, 7, 8, 0x0f, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff };

static size_t mutate(uint8_t *buf, size_t len, uint64_t *state)
{
	size_t at = len ? next(state) % len : 0;

	switch (next(state) % 6) {
	case 0:
		buf[at] ^= (uint8_t)(1u << next(state) % 8);
		break;
	case 1:
		buf[at] = interesting[next(state) % sizeof(interesting)];
		break;
	case 2:
		buf[at] = (uint8_t)next(state);
		break;
	case 3: /* take some out */
		if (len > 1) {
			size_t n = 1 + next(state) % MIN(len - at, 8u);

			memmove(buf + at, buf + at + n, len - at - n);
			len -= n;
		}
		break;
	case 4: /* put some in */
		if (len + 8 <= FUZZ_MAX) {
			size_t n = 1 + next(state) % 8;

			memmove(buf + at + n, buf + at, len - at);
			for (size_t i = 0; i < n; i++)
				buf[at + i] = (uint8_t)next(state);
			len += n;
		}
		break;
	case 5: /* the same again elsewhere */
		if (len) {
			size_t n = 1 + next(state) % 16, to;

			n = MIN(n, len - at);
			to = next(state) % (len - n + 1);
			memmove(buf + to, buf + at, n);
		}
		break;
	}
	return len;
}

static void run_one(void)
{
	static uint8_t buf[FUZZ_MAX];
	uint64_t state = number * 0xd1342543de82ef95ull + 1;
	unsigned seeds = 1, changes = (unsigned)(next(&state) % 12);
	uint8_t *exact;
	size_t len;

	while (fuzz_seed(seeds, buf))
		seeds++;
	len = fuzz_seed((unsigned)(next(&state) % seeds), buf);
	for (unsigned i = 0; i < changes; i++)
		len = mutate(buf, len, &state);
	exact = malloc(len ? len : 1); /* of the exact size, so that a sanitizer sees a read behind the end */
	if (!exact)
		exit(1);
	memcpy(exact, buf, len);
	fuzz_one(exact, len);
	free(exact);
}

static void tell(int signal_number)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "input %llu fails\n", (unsigned long long)number);

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	signal(SIGABRT, tell);
	signal(SIGALRM, tell);
	for (number = first; time(NULL) < end; number++) {
		alarm(60);
		run_one();
	}
	printf("%llu inputs\n", (unsigned long long)(number - first));
	return 0;
}
