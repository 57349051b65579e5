/* SPDX-License-Identifier: Apache-2.0 */
/* Contents on a simulated device, one rule at a time: sizes, holes, truncation, damage, failing writes, costs. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/err.h"
#include "fs/inode.h"
#include "tests/sim/ops_env.h"

/* ---- contents ---- */

START_TEST(sparse)
{
	uint64_t f = file("f"), far = 1ull << 40;
	static uint8_t zero[8192];

	put(f, far, "end", 3);
	ck_assert_int_eq(attr(f).st_size, (off_t)far + 3);
	ck_assert_int_eq(attr(f).st_blocks, 8);
	expect(f, 12345, zero, 8000);
	expect(f, far - 100, "\0\0\0\0", 4);
	ck_assert_int_eq(sim_read(s, f, far, buf, 100), 3);
	ck_assert_int_eq(sim_lseek(s, f, 0, SEEK_DATA), (int64_t)far);
	ck_assert_int_eq(sim_lseek(s, f, far, SEEK_HOLE), (int64_t)far + 3);
	ck_assert_int_eq(sim_lseek(s, f, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(sim_lseek(s, f, far + 3, SEEK_DATA), -ENXIO);
	put(f, 4096, zero, 1);
	ck_assert_int_eq(sim_lseek(s, f, 0, SEEK_DATA), 4096);
	ck_assert_int_eq(sim_lseek(s, f, 4096, SEEK_HOLE), 8192);
	ck_assert_int_eq(sim_lseek(s, f, 9000, SEEK_DATA), (int64_t)far);
	ck_assert_int_eq(sim_write(s, f, FILE_MAX, "x", 1, 0), -EFBIG);
}
END_TEST

START_TEST(inline_and_back)
{
	uint64_t f = file("f");

	fill(buf, 100000, 3);
	put(f, 0, buf, 100);
	ck_assert_int_eq(attr(f).st_blocks, 0);
	put(f, 100, buf + 100, INLINE_MAX - 100);
	ck_assert_int_eq(attr(f).st_blocks, 0);
	expect(f, 0, buf, INLINE_MAX);
	remount();
	expect(f, 0, buf, INLINE_MAX);
	put(f, INLINE_MAX, buf + INLINE_MAX, 1); /* outgrows it by a byte */
	ck_assert_int_eq(attr(f).st_blocks, 8);
	expect(f, 0, buf, INLINE_MAX + 1);
	resize(f, 0);
	ck_assert_int_eq(attr(f).st_blocks, 0);
	put(f, 0, buf, 50);
	ck_assert_int_eq(attr(f).st_blocks, 0);
	put(f, 3 * 4096 + 7, buf + 12295, 80000); /* its 50 bytes become block 0 */
	memset(buf2, 0, 12295);
	memcpy(buf2, buf, 50);
	memcpy(buf2 + 12295, buf + 12295, 80000);
	expect(f, 0, buf2, 92295);
	remount();
	expect(f, 0, buf2, 92295);
	f = file("g");
	put(f, 10, buf, 20);
	resize(f, 1000);
	resize(f, 10000);
	memset(buf2, 0, 10000);
	memcpy(buf2 + 10, buf, 20);
	expect(f, 0, buf2, 10000);
	ck_assert_int_eq(attr(f).st_blocks, 8);
}
END_TEST

/* What was cut off is zero when the file grows again. */
START_TEST(truncate_zeroes)
{
	static const uint32_t sizes[] = { 1, 100, 2047, 2049, 4095, 4096, 4097, 524287, 524288, 524289, 900001 };

	fill(buf, 1 << 20, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		char name[16];
		uint64_t f;

		snprintf(name, sizeof(name), "t%u", i);
		f = file(name);
		put(f, 0, buf, 1 << 20);
		resize(f, sizes[i]);
		resize(f, 1000000);
		memset(buf2, 0, 1000000);
		memcpy(buf2, buf, sizes[i]);
		expect(f, 0, buf2, 1000000);
		ck_assert_int_eq(attr(f).st_blocks, (long)DIV_UP(sizes[i], 4096) * 8);
		ck_assert_int_eq(sim_unlink(s, 1, name), 0);
	}
}
END_TEST

START_TEST(truncate_many_extents)
{
	uint64_t f = file("f");

	fill(buf, 4096, 5);
	for (unsigned i = 0; i < 700; i++)
		put(f, i * 8192ull, buf, 4096);
	ck_assert_int_eq(attr(f).st_blocks, 700 * 8);
	resize(f, 300 * 8192 + 17);
	ck_assert_int_eq(attr(f).st_blocks, 301 * 8);
	expect(f, 299 * 8192, buf, 4096);
	remount();
	resize(f, 1);
	ck_assert_int_eq(attr(f).st_blocks, 8);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
	remount();
}
END_TEST

/* Cut off by a crash in the middle of its steps: complete after the next mount, and the file usable at once. */
START_TEST(truncate_crash)
{
	uint64_t f = file("f");

	fill(buf, 4096, 5);
	for (unsigned i = 0; i < 700; i++)
		put(f, i * 8192ull, buf, 4096);
	ck_assert_int_eq(sim_fsync(s, f), 0);
	resize(f, 8192);
	ck_assert_int_eq(sim_fsync(s, f), 0);
	sim_crash(s, FATE_NEVER);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_wait_writable(s), 0);
	put(f, 100 * 8192, "x", 1);
	memset(buf2, 0, 8192);
	expect(f, 50 * 8192, buf2, 8192);
	ck_assert_int_eq(attr(f).st_blocks, 16);
}
END_TEST

/* Random writes, reads, truncates and holes against an array of bytes; up to six at once on ranges that overlap or
 * not (overlapping ones are only compared when all have ended, with the later one on top: they keep their order). */
#define MODEL (3u << 20)
static uint8_t model[MODEL];
static uint64_t model_size;

static void model_grow(uint64_t end)
{
	model_size = MAX(model_size, end);
}

static void burst(uint64_t f, struct rng *r)
{
	struct sim_call c[6];
	unsigned n = 1 + (unsigned)rng_below(r, 6);

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = 1 + (uint32_t)rng_below(r, rng_one_in(r, 3) ? 300000 : 9000);
		uint64_t off = rng_below(r, MODEL - len);

		if (rng_one_in(r, 2)) {
			off = ROUND_DOWN(off, 4096);
			len = (uint32_t)MIN(ROUND_UP(len, 4096), MODEL - off);
		}
		fill(buf, len, (unsigned)rng_u64(r));
		ck_assert_int_eq(sim_write_prepare(s, &c[i], f, off, buf, len), 0);
		memcpy(model + off, buf, len);
		model_grow(off + len);
		sim_start(s, &c[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(sim_finish(s, &c[i]), 0);
		ck_assert_uint_eq(c[i].op->result, c[i].op->len);
		sim_end(s, &c[i]);
	}
}

static void cut(uint64_t f, struct rng *r)
{
	uint64_t size = rng_below(r, MODEL);

	resize(f, size);
	if (size < model_size)
		memset(model + size, 0, model_size - size);
	model_size = size;
}

static void punch(uint64_t f, struct rng *r)
{
	uint64_t off = rng_below(r, MODEL - 1), most = MIN(MODEL - off, 200000), len = 1 + rng_below(r, most);
	bool zero = rng_one_in(r, 2);

	ck_assert_int_eq(sim_fallocate(s, f, zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len),
			 0);
	memset(model + off, 0, len);
	if (zero)
		model_grow(off + len);
}

START_TEST(random_content)
{
	struct rng r = { (uint64_t)_i + 100 };
	uint64_t f = file("f");

	memset(model, 0, MODEL);
	model_size = 0;
	for (unsigned i = 0; i < 150; i++) {
		unsigned what = (unsigned)rng_below(&r, 12);

		if (what < 8)
			burst(f, &r);
		else if (what < 9)
			cut(f, &r);
		else if (what < 11)
			punch(f, &r);
		else if (i % 20 == 3)
			remount();
		ck_assert_int_eq(attr(f).st_size, (off_t)model_size);
		for (unsigned k = 0; k < 3 && model_size; k++) {
			uint64_t off = rng_below(&r, model_size), want = 1 + rng_below(&r, 400000);
			uint32_t len = (uint32_t)MIN(want, model_size - off);

			expect(f, off, model + off, len);
		}
	}
	for (uint64_t off = 0; off < model_size; off += 1 << 20)
		expect(f, off, model + off, (uint32_t)MIN(1u << 20, model_size - off));
}
END_TEST

START_TEST(append)
{
	uint64_t f = file("f");

	fill(buf, 30000, 6);
	for (unsigned at = 0; at < 30000; at += 1500)
		ck_assert_int_eq(sim_write(s, f, 0, buf + at, 1500, O_APPEND), 1500);
	expect(f, 0, buf, 30000);
}
END_TEST

/* ---- damage, and what reading and writing cost ---- */

/* With the payload at a page's start, as the receive path has it. */
static void put_aligned(uint64_t ino, uint64_t off, const void *data, uint32_t len)
{
	struct sim_call c;

	for (;;) {
		ck_assert_int_eq(sim_write_prepare(s, &c, ino, off, data, len), 0);
		if (!c.op->scratch[0])
			break;
		sim_end(s, &c);
	}
	sim_start(s, &c);
	ck_assert_int_eq(sim_finish(s, &c), 0);
	sim_end(s, &c);
}

/* Where the device holds these 64 bytes. */
static uint64_t find_on_device(const uint8_t *what)
{
	struct media *m = sim_dev_media(s->dev);

	for (uint64_t at = 0; at < m->bytes; at += 4096)
		if (!memcmp(m->mem + at, what, 64))
			return at / m->lba_size;
	ck_abort_msg("not on the device");
	return 0;
}

/* One bad block in a long extent: only reads that touch it fail, all else of the same extent stays readable. */
START_TEST(bad_block)
{
	uint64_t f = file("f");

	fill(buf, 512 * 1024, 11);
	put(f, 0, buf, 512 * 1024);
	remount();
	media_poke(sim_dev_media(s->dev), find_on_device(buf + 50 * 4096))[100] ^= 4;
	look_up(1, "f");
	log_begin();
	ck_assert_int_eq(err_errno((int)sim_read(s, f, 0, buf2, 512 * 1024)), -EIO);
	expect(f, 0, buf, 50 * 4096);
	expect(f, 51 * 4096, buf + 51 * 4096, 77 * 4096);
	ck_assert_int_eq(sim_read(s, f, 50 * 4096 + 5, buf2, 1), -E_CHECKSUM);
	ck_assert_int_eq(sim_write(s, f, 50 * 4096 + 5, "x", 1, 0), -E_CHECKSUM); /* cannot keep the rest of it */
	ck_assert_int_eq(sim_write(s, f, 50 * 4096, buf + 50 * 4096, 4096, 0), 4096); /* whole, it heals */
	ck_assert(log_end("checksum mismatch in /f at offset 204800 (block "));
	expect(f, 0, buf, 512 * 1024);
}
END_TEST

START_TEST(write_error_elsewhere)
{
	struct sim_fault fault = { .type = FAULT_ERROR, .ops = SIM_OP(NVME_IO_WRITE), .last = UINT64_MAX, .count = 2,
		.per_mille = 1000, .sc = NVME_SC_WRITE_FAULT | NVME_STATUS_DNR };
	uint64_t f = file("f");

	ck_assert_int_eq(sim_checkpoint(s), 0);
	fill(buf, 100000, 12);
	sim_dev_fault(s->dev, &fault);
	log_begin();
	put(f, 0, buf, 65536);
	log_end("");
	ck_assert_uint_ge(sim_dev_fault_hits(s->dev), 1);
	sim_dev_no_faults(s->dev);
	remount();
	expect(f, 0, buf, 65536);
}
END_TEST

/* After three places the caller hears of it, and the old content stands. */
START_TEST(write_error_final)
{
	struct sim_fault fault = { .type = FAULT_ERROR, .ops = SIM_OP(NVME_IO_WRITE), .last = UINT64_MAX, .count = 3,
		.per_mille = 1000, .sc = NVME_SC_WRITE_FAULT | NVME_STATUS_DNR };
	uint64_t f = file("f");

	fill(buf, 100000, 12);
	put(f, 0, buf, 65536);
	ck_assert_int_eq(sim_checkpoint(s), 0);
	sim_dev_fault(s->dev, &fault);
	log_begin();
	ck_assert_int_eq(err_errno((int)sim_write(s, f, 4096, buf, 4096, 0)), -EIO);
	log_end("");
	sim_dev_no_faults(s->dev);
	expect(f, 0, buf, 65536);
	remount();
	expect(f, 0, buf, 65536);
}
END_TEST

static uint64_t sum(size_t offset)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < fs_nworkers(s->fs); i++)
		n += atomic_load((_Atomic uint64_t *)((char *)fs_worker(s->fs, i) + offset));
	return n;
}
#define SUM(field) sum(offsetof(struct worker, field))

START_TEST(costs)
{
	struct stat st;
	uint64_t f, reads;

	ck_assert_int_eq(sim_mknod(s, 1, "f", S_IFREG, 0, 0, 0, &st), 0);
	f = st.st_ino;
	ck_assert_int_eq(sim_open_file(s, f, O_RDWR), 0);
	fill(buf, 1 << 20, 13);
	put_aligned(f, 0, buf, 1 << 20);
	put_aligned(f, 8192, buf, 65536);
	expect(f, 8192, buf, 65536);
	ck_assert_uint_eq(SUM(copied_written), 0);
	ck_assert_uint_eq(SUM(copied_read), 0);
	ck_assert_uint_eq(SUM(allocs), 0);
	put(f, 100, buf, 5000);
	ck_assert_uint_eq(SUM(copied_written), 5000);
	ck_assert_int_eq(sim_release(s, f), 0);
	remount();
	ck_assert_int_eq(sim_open_file(s, f, O_RDWR), 0);
	expect(f, 300 * 1024, buf + 300 * 1024, 1); /* the nodes come into memory; random: nothing ahead */
	sim_run_for(s, NS_PER_S * 3 / 2); /* between two heartbeats, which read too */
	s->conf.dev.mdts = 0;
	reads = sim_dev_stats(s->dev)->reads;
	ck_assert_int_eq(sim_read(s, f, 400 * 1024, buf2, 65536), 65536);
	ck_assert_uint_eq(sim_dev_stats(s->dev)->reads, reads + 1); /* one extent: one Read */
	ck_assert_int_eq(sim_read(s, f, 400 * 1024, buf2, 65536), 65536);
	ck_assert_uint_eq(sim_dev_stats(s->dev)->reads, reads + 1);
	ck_assert_mem_eq(buf2, buf + 400 * 1024, 65536);
}
END_TEST

/* Sequential appends of single blocks make one extent as long as nothing comes between. */
START_TEST(extents_merge)
{
	uint64_t f = file("f"), reads;

	fill(buf, 64 * 4096, 14);
	for (unsigned i = 0; i < 64; i++)
		put(f, i * 4096, buf + i * 4096, 4096);
	remount();
	ck_assert_int_eq(sim_read(s, f, 63 * 4096, buf2, 1), 1);
	reads = sim_dev_stats(s->dev)->reads;
	ck_assert_int_eq(sim_read(s, f, 10 * 4096, buf2, 30 * 4096), 30 * 4096);
	ck_assert_uint_eq(sim_dev_stats(s->dev)->reads, reads + 1);
}
END_TEST

START_TEST(full)
{
	uint64_t f = file("f"), n = 0;
	struct fs_info i;
	int64_t r;

	fill(buf, 1 << 20, 15);
	while ((r = sim_write(s, f, n << 20, buf, 1 << 20, 0)) == 1 << 20)
		n++;
	ck_assert_int_eq(err_errno((int)r), -ENOSPC);
	ck_assert_uint_gt(n, 40);
	expect(f, (n - 1) << 20, buf, 1 << 20);
	ck_assert_int_eq(attr(f).st_size, (off_t)(n << 20));
	resize(f, 1 << 20);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
	sim_run_for(s, 60 * NS_PER_S);
	f = file("g");
	for (uint64_t k = 0; k < n - 2; k++)
		put(f, k << 20, buf, 1 << 20);
	fs_info(s->fs, &i);
	ck_assert(!i.frozen);
}
END_TEST

/* Only single free blocks are left: a request becomes many extents, still without a copy. */
START_TEST(fragmented)
{
	uint64_t a = file("a"), b = file("b"), c = file("c"), n = 0;
	int64_t r = 0;

	fill(buf, 1 << 20, 16);
	for (unsigned i = 0; i < 3000; i++) {
		put(a, i * 4096ull, buf, 4096);
		put(b, i * 4096ull, buf, 4096);
	}
	for (uint32_t len = 1 << 20; len >= 4096; len /= 4)
		while ((r = sim_write(s, c, n, buf, len, 0)) == len)
			n += len;
	ck_assert_int_eq(err_errno((int)r), -ENOSPC);
	ck_assert_int_eq(sim_unlink(s, 1, "b"), 0);
	sim_run_for(s, 60 * NS_PER_S);
	n = SUM(copied_written);
	fill(buf, 1 << 20, 17);
	c = file("d");
	put_aligned(c, 0, buf, 1 << 20);
	put_aligned(c, 1 << 20, buf, 1 << 20);
	ck_assert_uint_eq(SUM(copied_written), n);
	expect(c, 0, buf, 1 << 20);
	remount();
	expect(c, 0, buf, 1 << 20);
	expect(c, 1 << 20, buf, 1 << 20);
	put(c, 5000, buf, 900000); /* replaces more extents than one transaction takes */
	expect(c, 5000, buf, 900000);
}
END_TEST

/* One group lies full of small holes, another is empty: data goes where it stays in one piece, though its file is here. */
START_TEST(strewn)
{
	struct sim_conf c = s->conf;
	uint64_t a, b, writes;

	ck_assert_int_eq(sim_unmount(s), 0);
	sim_free(s);
	c.dev.bytes = 3ull * GROUP_BLOCKS * FS_BLOCK;
	s = sim_new(&c);
	ck_assert_int_eq(sim_format(s), 0);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_wait_writable(s), 0);
	a = file("a");
	b = file("b");
	fill(buf, 1 << 20, 18);
	for (uint64_t off = 0; off < GROUP_BLOCKS * 2048ull; off += 32768) {
		put_aligned(a, off, buf, 32768);
		put_aligned(b, off, buf, 32768);
	}
	ck_assert_int_eq(sim_unlink(s, 1, "b"), 0);
	sim_run_for(s, 60 * NS_PER_S);
	writes = sim_dev_stats(s->dev)->writes;
	put_aligned(a, 32768, buf, 1 << 20);
	ck_assert_uint_lt(sim_dev_stats(s->dev)->writes - writes, 16); /* in the holes: 32 */
	expect(a, 32768, buf, 1 << 20);
	expect(a, 0, buf, 32768);
}
END_TEST

/* Read-ahead that nobody waits for is under way at unmount; _i: and the target is gone for a long time. */
START_TEST(unmount_ahead)
{
	uint64_t f = file("f"), begin, off = 0;

	fill(buf, 1 << 20, 18);
	put(f, 0, buf, 1 << 20);
	put(f, 1 << 20, buf, 1 << 20);
	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_int_eq(sim_mount_ro(s, false), 0);
	ck_assert_int_eq(sim_open_file(s, f, O_RDONLY), 0); /* its streams stay known */
	for (; lane_idle(fs_worker(s->fs, 0)->lane) && lane_idle(fs_worker(s->fs, 1)->lane); off += 16384) {
		ck_assert_uint_lt(off, 1 << 20);
		expect(f, off, buf + off, 16384);
	}
	begin = clock_now();
	if (_i)
		sim_dev_lose(s->dev, FATE_NEVER, 3600 * NS_PER_S);
	ck_assert_int_eq(sim_unmount(s), 0);
	ck_assert_uint_lt(clock_now() - begin, 10 * NS_PER_S);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ops_data");
	TCase *t = tcase_create("ops_data");
	SRunner *r = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, env_setup, env_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, sparse);
	tcase_add_test(t, inline_and_back);
	tcase_add_test(t, truncate_zeroes);
	tcase_add_test(t, truncate_many_extents);
	tcase_add_test(t, truncate_crash);
	tcase_add_loop_test(t, random_content, 0, 6);
	tcase_add_test(t, append);
	tcase_add_test(t, bad_block);
	tcase_add_test(t, write_error_elsewhere);
	tcase_add_test(t, write_error_final);
	tcase_add_test(t, costs);
	tcase_add_test(t, extents_merge);
	tcase_add_test(t, full);
	tcase_add_test(t, fragmented);
	tcase_add_test(t, strewn);
	tcase_add_loop_test(t, unmount_ahead, 0, 2);
	suite_add_tcase(suite, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
