/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of the tests of operations. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "tests/sim/ops_env.h"

struct sim *s;
uint8_t buf[2 * MiB], buf2[2 * MiB];

void env_setup(void)
{
	struct sim_conf c;

	log_init("test_ops", LOG_L_ERROR);
	sim_conf_init(&c, 7);
	c.workers = 2;
	s = sim_new(&c);
	ck_assert_int_eq(sim_format(s), 0);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_wait_writable(s), 0);
}

void env_teardown(void)
{
	if (s->fs) {
		ck_assert_int_eq(sim_unmount(s), 0);
		ck_assert_int_eq(sim_check(s), 0);
	}
	sim_free(s);
}

static FILE *log_file;

void log_begin(void)
{
	log_file = tmpfile();
	ck_assert(log_file);
	log_to_fd(fileno(log_file));
}

bool log_end(const char *text)
{
	char line[600];
	bool found = false;

	log_to_fd(2);
	rewind(log_file);
	while (fgets(line, sizeof(line), log_file))
		found |= strstr(line, text) != NULL;
	fclose(log_file);
	return found;
}

void remount(void)
{
	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_int_eq(sim_check(s), 0);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_wait_writable(s), 0);
}

uint64_t file(const char *name)
{
	struct stat st;

	ck_assert_int_eq(sim_mknod(s, INO_ROOT, name, S_IFREG | 0644, 0, 0, 0, &st), 0);
	return st.st_ino;
}

uint64_t dir(uint64_t parent, const char *name)
{
	struct stat st;

	ck_assert_int_eq(sim_mkdir(s, parent, name, 0755, 0, 0, &st), 0);
	return st.st_ino;
}

void fill(uint8_t *p, size_t n, unsigned seed)
{
	struct rng r = { seed };

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rng_u64(&r);
}

struct stat attr(uint64_t ino)
{
	struct stat st;

	ck_assert_int_eq(sim_getattr(s, ino, &st), 0);
	return st;
}

void put(uint64_t ino, uint64_t off, const void *data, uint32_t len)
{
	ck_assert_int_eq(sim_write(s, ino, off, data, len, 0), len);
}

void expect(uint64_t ino, uint64_t off, const void *data, uint32_t len)
{
	static uint8_t got[1 * MiB];
	int64_t n = sim_read(s, ino, off, got, len);

	ck_assert_msg(n == len, "read %lld of %u at %llu, size %lld", (long long)n, len, (unsigned long long)off, (long long)attr(ino).st_size);
	for (uint32_t i = 0; memcmp(got, data, len) && i < len; i++)
		if (got[i] != ((const uint8_t *)data)[i])
			ck_abort_msg("byte %u of %u at %llu differs", i, len, (unsigned long long)off);
}

void resize(uint64_t ino, uint64_t size)
{
	struct stat in = { .st_size = (off_t)size };

	ck_assert_int_eq(sim_setattr(s, ino, SET_SIZE, &in, NULL), 0);
}

void look_up(uint64_t parent, const char *name)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_lookup);
	c.op->ino = parent;
	c.op->name = name;
	sim_start(s, &c);
	ck_assert_int_eq(sim_finish(s, &c), 0);
	sim_end(s, &c);
}

uint64_t inodes(void)
{
	struct fs_info i;

	fs_info(s->fs, &i);
	return i.inodes;
}
