/* SPDX-License-Identifier: Apache-2.0 */
/* One check of posix_check is a function that runs with a fresh directory as its working directory and returns; CHECK
 * ends the whole check with a line that names the place. */
#ifndef NVOFS_TESTS_POSIX_CHECK_H
#define NVOFS_TESTS_POSIX_CHECK_H

#include <errno.h>
#include <stddef.h>

struct check {
	const char *name;
	void (*run)(void);
};
extern const struct check file_checks[], name_checks[]; /* both end with a NULL name */

/* Does not return. */
void check_failed(const char *file, int line, const char *what) __attribute__((noreturn));
/* The check cannot run here (not root, ...). Does not return. */
void check_skip(const char *why) __attribute__((noreturn));
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			check_failed(__FILE__, __LINE__, #condition); \
	} while (0)
/* The call fails with exactly this errno. */
#define CHECK_ERR(call, code) CHECK((call) == -1 && errno == (code))

/* Opens (creating) and fails the check where that fails. */
int file_open(const char *name, int flags);
/* Writes all of a pattern that depends on seed and position. */
void file_fill(int fd, size_t from, size_t len, unsigned seed);
/* Whether the file has that pattern there. */
int file_has(int fd, size_t from, size_t len, unsigned seed);

#endif
