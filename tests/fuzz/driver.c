/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_NAME [--corpus FOLDER] [SECONDS [FIRST]]: each file of the folder as it is, then inputs number FIRST, FIRST + 1, ... until
 * the time is over, made from these files and the seeds. An input depends on its number and the corpus only; the name or number of
 * the one that fails is printed by the signal handler, so that `fuzz_NAME --corpus FOLDER 1 NUMBER` runs it again.
 * fuzz_NAME --write FOLDER: the seeds as files. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/num.h"
#include "tests/fuzz/fuzz.h"

#define CORPUS_MAX 256

static uint64_t number;
static struct input { /* of the corpus, in the order of the names */
	const char *name;
	uint8_t *bytes;
	size_t len;
} corpus[CORPUS_MAX];
static unsigned ncorpus;
static const char *volatile running; /* the file that is being run, NULL: input number */

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

static void run_bytes(const uint8_t *bytes, size_t len)
{
	uint8_t *exact = malloc(len ? len : 1); /* of the exact size, so that a sanitizer sees a read behind the end */

	if (!exact)
		exit(1);
	memcpy(exact, bytes, len);
	fuzz_one(exact, len);
	free(exact);
}

static void run_one(void)
{
	static uint8_t buf[FUZZ_MAX];
	uint64_t state = number * 0xd1342543de82ef95ull + 1;
	unsigned seeds = 1, changes = (unsigned)(next(&state) % 12), which;
	size_t len;

	while (fuzz_seed(seeds, buf))
		seeds++;
	which = (unsigned)(next(&state) % (seeds + ncorpus));
	if (which < seeds) {
		len = fuzz_seed(which, buf);
	} else {
		len = corpus[which - seeds].len;
		memcpy(buf, corpus[which - seeds].bytes, len);
	}
	for (unsigned i = 0; i < changes; i++)
		len = mutate(buf, len, &state);
	run_bytes(buf, len);
}

static int die(const char *what)
{
	perror(what);
	exit(1);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

/* The folder must have some: an empty one is a wrong path. */
static void load(const char *folder)
{
	static uint8_t buf[FUZZ_MAX + 1];
	DIR *d = opendir(folder);
	struct dirent *e;

	if (!d || chdir(folder))
		die(folder);
	while ((e = readdir(d)) && ncorpus < CORPUS_MAX) {
		FILE *f = e->d_name[0] == '.' ? NULL : fopen(e->d_name, "r");
		struct input *in = &corpus[ncorpus];

		if (!f)
			continue;
		in->len = fread(buf, 1, sizeof(buf), f);
		fclose(f);
		in->name = strdup(e->d_name);
		in->bytes = malloc(in->len + 1);
		if (in->len > FUZZ_MAX || !in->name || !in->bytes)
			die(e->d_name);
		memcpy(in->bytes, buf, in->len);
		ncorpus++;
	}
	closedir(d);
	if (!ncorpus)
		die(folder);
	qsort(corpus, ncorpus, sizeof(*corpus), by_name);
}

static void run_corpus(void)
{
	for (unsigned i = 0; i < ncorpus; i++) {
		alarm(60);
		running = corpus[i].name;
		run_bytes(corpus[i].bytes, corpus[i].len);
	}
	running = NULL;
}

static int write_seeds(const char *folder)
{
	static uint8_t buf[FUZZ_MAX];
	char name[4096];
	size_t len;

	for (unsigned n = 0; (len = fuzz_seed(n, buf)) || !n; n++) {
		FILE *f;

		snprintf(name, sizeof(name), "%s/seed-%02u", folder, n);
		f = fopen(name, "w");
		if (!f || fwrite(buf, 1, len, f) != len || fclose(f))
			return die(name);
	}
	return 0;
}

static void tell(int signal_number)
{
	char line[300];
	int n = running ? snprintf(line, sizeof(line), "%s of the corpus fails\n", running) :
		snprintf(line, sizeof(line), "input %llu fails\n", (unsigned long long)number);

	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(1);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

int main(int argc, char **argv)
{
	uint64_t first;
	time_t end;

	if (argc > 2 && !strcmp(argv[1], "--write"))
		return write_seeds(argv[2]);
	signal(SIGABRT, tell);
	signal(SIGALRM, tell);
	if (argc > 2 && !strcmp(argv[1], "--corpus")) {
		load(argv[2]);
		argc -= 2;
		argv += 2;
		run_corpus();
	}
	end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	for (number = first; time(NULL) < end; number++) {
		alarm(60);
		run_one();
	}
	printf("%u files, %llu inputs\n", ncorpus, (unsigned long long)(number - first));
	return 0;
}
