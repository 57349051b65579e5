/* SPDX-License-Identifier: Apache-2.0 */
/* The edges of a mount's life: unmounting while things are on their way, two mounts at once, memory that comes back late.
 * Each was a hang, an assertion or worse. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "cache/cache.h"
#include "tests/sim/sim_fs.h"
#include "transport/ns.h"

#define FILE_BYTES (1 * MiB)

static uint8_t data[FILE_BYTES], back[FILE_BYTES];

static struct sim *start(uint64_t seed, uint64_t *ino)
{
	struct sim_conf conf;
	struct stat st;
	struct sim *s;

	sim_conf_init(&conf, seed);
	s = sim_new(&conf);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 4096);
	ck_assert_int_eq(sim_format(s), 0);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_mknod(s, INO_ROOT, "file", S_IFREG | 0644, 0, 0, 0, &st), 0);
	*ino = st.st_ino;
	ck_assert_int_eq(sim_write(s, *ino, 0, data, sizeof(data), 0), sizeof(data));
	ck_assert_int_eq(sim_fsync(s, *ino), 0);
	return s;
}

static void read_back(struct sim *s, uint64_t ino)
{
	memset(back, 0, sizeof(back));
	ck_assert_int_eq(sim_read(s, ino, 0, back, sizeof(back)), sizeof(back));
	ck_assert_mem_eq(back, data, sizeof(data));
}

START_TEST(read_ahead_under_way)
{
	uint64_t ino;
	struct sim *s = start(1, &ino);

	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_int_eq(sim_mount_ro(s, false), 0);
	ck_assert_int_eq(sim_read(s, ino, 0, back, 65536), 65536);
	ck_assert_int_eq(sim_read(s, ino, 65536, back, 65536), 65536);
	ck_assert_int_eq(sim_unmount(s), 0);
	sim_free(s);
}
END_TEST

/* At every step of becoming the writer. */
START_TEST(while_claiming)
{
	uint64_t ino;
	struct sim *s = start(2, &ino);
	struct fs_info info = { .claimed = false };

	for (unsigned steps = 0; !info.claimed; steps++) {
		sim_crash(s, FATE_ANY);
		ck_assert_int_eq(sim_mount(s), 0);
		do {
			fs_info(s->fs, &info);
			if (info.wait_ns && !sim_step(s))
				sim_pass(s);
		} while (info.wait_ns);
		for (unsigned i = 0; i < steps; i++)
			if (!sim_step(s))
				sim_pass(s);
		fs_info(s->fs, &info);
		ck_assert_int_eq(sim_unmount(s), 0);
		ck_assert_int_eq(sim_mount(s), 0);
		ck_assert_int_eq(sim_wait_writable(s), 0);
		read_back(s, ino);
	}
	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_int_eq(sim_check_replayed(s), 0);
	sim_free(s);
}
END_TEST

/* The journal cannot be written: the unmount says so, whatever else is in flight. */
START_TEST(frozen)
{
	struct sim_fault f = { .type = FAULT_ERROR, .ops = SIM_OP(NVME_IO_WRITE), .first = JOURNAL_START,
			       .last = JOURNAL_START + 1023, .count = UINT64_MAX, .per_mille = 1000,
			       .sc = NVME_SC_INTERNAL | NVME_STATUS_DNR };
	uint64_t ino;
	struct sim *s = start(3, &ino);
	struct sim_call c[4];
	struct stat st;
	char name[8];

	sim_dev_fault(s->dev, &f);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		if (sim_mknod(s, INO_ROOT, name, S_IFREG | 0644, 0, 0, 0, &st))
			break;
	}
	ck_assert_int_ne(sim_fsync(s, ino), 0);
	for (unsigned i = 0; i < 4; i++) { /* read-ahead */
		sim_call_init(s, &c[i], fs_read);
		c[i].op->ino = ino;
		c[i].op->off = i * 65536;
		c[i].op->len = 65536;
		sim_start(s, &c[i]);
		sim_finish(s, &c[i]);
		sim_end(s, &c[i]);
	}
	ck_assert_int_ne(sim_unmount(s), 0);
	sim_dev_no_faults(s->dev);
	ck_assert_int_eq(sim_mount(s), 0);
	read_back(s, ino);
	ck_assert_int_eq(sim_unmount(s), 0);
	sim_free(s);
}
END_TEST

/* One reader alone, and for a while not one page to be had: neither an error nor for ever. */
START_TEST(no_frames)
{
	struct run *runs[4096];
	unsigned n = 0;
	uint64_t ino;
	struct sim *s = start(4, &ino);
	struct sim_call c;

	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_int_eq(sim_mount_ro(s, false), 0);
	while (n < 4096 && (runs[n] = run_new(s->cache, 1)))
		n++;
	sim_call_init(s, &c, fs_read);
	c.op->ino = ino;
	c.op->len = 65536;
	sim_start(s, &c);
	sim_run_for(s, NS_PER_S);
	ck_assert(!c.done);
	while (n)
		run_unpin(runs[--n]);
	sim_run_for(s, 3 * NS_PER_S);
	ck_assert(c.done);
	ck_assert_int_eq(c.status, 0);
	sim_end(s, &c);
	ck_assert_int_eq(sim_unmount(s), 0);
	sim_free(s);
}
END_TEST

/* ---- a second mount comes while the first one is about to end ---- */

static struct sim *first;
static uint64_t end_at;
static unsigned nfiles;

static void pass(void *arg, uint64_t ns)
{
	struct sim *second = arg;
	uint64_t now = clock_now(), next;
	struct stat st;
	char name[16];

	if (sim_dev_run(second->dev))
		return;
	if (first && end_at && now >= end_at) {
		end_at = 0;
		/* Two checkpoints, so that what the first superblock named is not there any more. */
		for (unsigned k = 0; k < 3; k++) {
			for (unsigned i = 0; i < 300; i++) {
				snprintf(name, sizeof(name), "late%u", nfiles++);
				ck_assert_int_eq(sim_mknod(first, INO_ROOT, name, S_IFREG | 0644, 0, 0, 0, &st), 0);
			}
			ck_assert_int_eq(sim_checkpoint(first), 0);
		}
		ck_assert_int_eq(sim_unmount(first), 0);
		return;
	}
	next = MIN(now + MIN(ns, NS_PER_S / 100), sim_dev_next(second->dev));
	if (first && first->ns)
		ns_control(first->ns);
	if (first && first->fs && end_at) {
		fs_tick(first->fs);
		sim_step(first);
	}
	now = clock_now();
	clock_virtual_add(next > now ? next - now : 1000);
}

START_TEST(holder_ends_meanwhile)
{
	uint64_t ino;
	struct stat st;
	struct sim *s = start(5, &ino), *second = sim_join(s);
	char name[16];

	first = s;
	nfiles = 0;
	end_at = clock_now() + NS_PER_S;
	clock_virtual_idle(pass, second);
	ck_assert_int_eq(sim_mount(second), 0);
	ck_assert_int_eq(end_at, 0);
	ck_assert_int_eq(sim_wait_writable(second), 0);
	first = NULL;
	read_back(second, ino);
	ck_assert_uint_gt(nfiles, 0);
	for (unsigned i = 0; i < nfiles; i++) {
		snprintf(name, sizeof(name), "late%u", i);
		ck_assert_int_eq(sim_lookup(second, INO_ROOT, name, &st), 0);
	}
	ck_assert_int_eq(sim_unmount(second), 0);
	clock_virtual_idle(sim_idle, s);
	sim_free(second);
	ck_assert_int_eq(sim_check_replayed(s), 0);
	sim_free(s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mount");
	TCase *t = tcase_create("mount");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 100);
	tcase_add_test(t, read_ahead_under_way);
	tcase_add_test(t, while_claiming);
	tcase_add_test(t, frozen);
	tcase_add_test(t, no_frames);
	tcase_add_test(t, holder_ends_meanwhile);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
