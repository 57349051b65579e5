/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into nvofs_nomem, the daemon whose allocations fail when they are told to: the linker turns its calls of malloc and
 * so on into those below (--wrap). Those of libfuse, json-c and libc itself are left alone: nvofs cannot mend what these do
 * without memory (libfuse, for one, ends the session). A thread that cannot be started counts as memory that there is not.
 *
 * NVOFS_NOMEM names the file through which it is told (nomem.h); without it nothing fails. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tests/tools/nomem.h"

static struct nomem none, *control = &none;

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
char *__real_strdup(const char *);
void *__real_mmap64(void *, size_t, int, int, int, off_t);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_aligned_alloc(size_t, size_t);
char *__wrap_strdup(const char *);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

extern const char __executable_start[];

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("NVOFS_NOMEM");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED : __real_mmap64(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (path && p == MAP_FAILED)
		abort();
	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		control = p;
}

/* The allocation that is being asked for at that place of the program is one that fails. */
static bool fails(const void *place)
{
	uint64_t from = control->from, n, nth;

	if (!from)
		return false;
	n = atomic_fetch_add(&control->seen, 1) + 1;
	if (n < from || n >= from + control->count)
		return false;
	nth = atomic_fetch_add(&control->failed, 1);
	if (nth < NOMEM_PLACES)
		control->place[nth] = (uint64_t)((const char *)place - __executable_start);
	errno = ENOMEM;
	return true;
}

#define FAILS fails(__builtin_return_address(0))

void *__wrap_malloc(size_t n)
{
	return FAILS ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return FAILS ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return FAILS ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return FAILS ? NULL : __real_aligned_alloc(align, n);
}

char *__wrap_strdup(const char *s)
{
	return FAILS ? NULL : __real_strdup(s);
}

void *__wrap_mmap64(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	return FAILS ? MAP_FAILED : __real_mmap64(at, n, prot, flags, fd, off);
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	return FAILS ? EAGAIN : __real_pthread_create(t, attr, run, arg);
}
