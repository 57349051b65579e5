/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on a simulated device, one rule at a time: names, renames, links, attributes, directories. The random
 * comparison with the model is test_model; contents are in test_ops_data. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include "base/clock.h"
#include "tests/sim/ops_env.h"

/* ---- names ---- */

START_TEST(names)
{
	char longest[258];
	struct stat st;

	memset(longest, 'x', 257);
	longest[256] = 0;
	ck_assert_int_eq(sim_mknod(s, 1, longest, S_IFREG, 0, 0, 0, &st), -ENAMETOOLONG);
	longest[255] = 0;
	ck_assert_int_eq(sim_mknod(s, 1, longest, S_IFREG, 0, 0, 0, &st), 0);
	ck_assert_int_eq(sim_lookup(s, 1, longest, &st), 0);
	ck_assert_int_eq(sim_mknod(s, 1, "", S_IFREG, 0, 0, 0, &st), -ENOENT);
	ck_assert_int_eq(sim_mknod(s, 1, "a/b", S_IFREG, 0, 0, 0, &st), -EINVAL);
	ck_assert_int_eq(sim_mknod(s, 1, ".", S_IFREG, 0, 0, 0, &st), -EEXIST);
	ck_assert_int_eq(sim_mkdir(s, 1, "..", 0755, 0, 0, &st), -EEXIST);
	ck_assert_int_eq(sim_lookup(s, 1, "none", &st), -ENOENT);
	ck_assert_int_eq(sim_mknod(s, 1, longest, S_IFREG, 0, 0, 0, &st), -EEXIST);
	ck_assert_int_eq(sim_rmdir(s, 1, longest), -ENOTDIR);
	ck_assert_int_eq(sim_unlink(s, 1, longest), 0);
	ck_assert_int_eq(sim_unlink(s, 1, longest), -ENOENT);
	ck_assert_int_eq(sim_lookup(s, 1, "..", &st), 0);
	ck_assert_uint_eq(st.st_ino, 1);
}
END_TEST

START_TEST(directories)
{
	uint64_t a = dir(1, "a"), b = dir(a, "b");
	struct stat st;

	ck_assert_uint_eq(attr(1).st_nlink, 3);
	ck_assert_uint_eq(attr(a).st_nlink, 3);
	ck_assert_int_eq(sim_rmdir(s, 1, "a"), -ENOTEMPTY);
	ck_assert_int_eq(sim_unlink(s, 1, "a"), -EISDIR);
	ck_assert_int_eq(sim_rmdir(s, a, "."), -EINVAL);
	ck_assert_int_eq(sim_rmdir(s, a, ".."), -ENOTEMPTY);
	ck_assert_int_eq(sim_lookup(s, b, "..", &st), 0);
	ck_assert_uint_eq(st.st_ino, a);
	ck_assert_int_eq(sim_rmdir(s, a, "b"), 0);
	ck_assert_int_eq(sim_rmdir(s, 1, "a"), 0);
	ck_assert_uint_eq(attr(1).st_nlink, 2);
	ck_assert_int_eq(sim_mknod(s, a, "late", S_IFREG, 0, 0, 0, &st), -ENOENT);
}
END_TEST

/* A set-group-ID directory hands its group down, and the bit to directories. */
START_TEST(setgid_directory)
{
	struct stat st, in = { .st_mode = 02755, .st_gid = 77 };
	uint64_t a = dir(1, "a");

	ck_assert_int_eq(sim_setattr(s, a, SET_MODE | SET_GID, &in, NULL), 0);
	ck_assert_int_eq(sim_mknod(s, a, "f", S_IFREG | 0644, 0, 5, 5, &st), 0);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 0644);
	ck_assert_int_eq(sim_mkdir(s, a, "d", 0755, 5, 5, &st), 0);
	ck_assert_uint_eq(st.st_gid, 77);
	ck_assert_uint_eq(st.st_mode, S_IFDIR | 02755);
}
END_TEST

START_TEST(links)
{
	uint64_t f = file("f"), d = dir(1, "d");
	struct stat st;
	char target[VALUE_MAX + 1];

	ck_assert_int_eq(sim_link(s, f, d, "g", &st), 0);
	ck_assert_uint_eq(st.st_nlink, 2);
	ck_assert_int_eq(sim_link(s, f, d, "g", &st), -EEXIST);
	ck_assert_int_eq(sim_link(s, d, 1, "h", &st), -EPERM);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
	ck_assert_uint_eq(attr(f).st_nlink, 1);
	memset(target, 't', sizeof(target));
	target[VALUE_MAX] = 0;
	ck_assert_int_eq(sim_symlink(s, 1, "s", target, &st), -ENAMETOOLONG);
	ck_assert_int_eq(sim_symlink(s, 1, "s", "", &st), -ENOENT);
	target[VALUE_MAX - 1] = 0;
	ck_assert_int_eq(sim_symlink(s, 1, "s", target, &st), 0);
	ck_assert_int_eq(st.st_size, VALUE_MAX - 1);
	remount();
	ck_assert_int_eq(sim_readlink(s, st.st_ino, (char *)buf, 8192), 0);
	ck_assert_str_eq((char *)buf, target);
	ck_assert_int_eq(sim_readlink(s, f, (char *)buf, 100), -EINVAL);
}
END_TEST

/* ---- rename: every kind of source onto every kind of target ---- */

enum kind { NONE, FILE_, DIR_, FULL, KINDS }; /* FULL: a directory with an entry */

static uint64_t make_kind(uint64_t parent, const char *name, enum kind k)
{
	struct stat st;

	if (k == NONE)
		return 0;
	if (k == FILE_) {
		ck_assert_int_eq(sim_mknod(s, parent, name, S_IFREG | 0600, 0, 0, 0, &st), 0);
		return st.st_ino;
	}
	st.st_ino = dir(parent, name);
	if (k == FULL)
		dir(st.st_ino, "inside");
	return st.st_ino;
}

static int rename_result(enum kind from, enum kind to, unsigned flags)
{
	if (from == NONE)
		return -ENOENT;
	if (flags == RENAME_EXCHANGE)
		return to == NONE ? -ENOENT : 0;
	if (to == NONE)
		return 0;
	if (flags == RENAME_NOREPLACE)
		return -EEXIST;
	if (from == FILE_)
		return to == FILE_ ? 0 : -EISDIR;
	return to == FILE_ ? -ENOTDIR : to == FULL ? -ENOTEMPTY : 0;
}

START_TEST(rename_matrix)
{
	static const unsigned flags[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	uint64_t a = dir(1, "a"), b = dir(1, "b"), src, dst;
	struct stat st;
	char from[20], to[20];
	unsigned n = 0;

	for (unsigned f = 0; f < 3; f++) {
		for (unsigned k = 0; k < KINDS * KINDS * 2; k++) {
			enum kind kf = k % KINDS, kt = k / KINDS % KINDS;
			uint64_t other = k / KINDS / KINDS ? b : a;
			int r;

			snprintf(from, sizeof(from), "from%u", n);
			snprintf(to, sizeof(to), "to%u", n++);
			src = make_kind(a, from, kf);
			dst = make_kind(other, to, kt);
			r = sim_rename(s, a, from, other, to, flags[f]);
			ck_assert_int_eq(r, rename_result(kf, kt, flags[f]));
			ck_assert_int_eq(sim_lookup(s, other, to, &st), r && !dst ? -ENOENT : 0);
			if (!r)
				ck_assert_uint_eq(st.st_ino, src);
			else if (dst)
				ck_assert_uint_eq(st.st_ino, dst);
			r = !r && flags[f] != RENAME_EXCHANGE ? -ENOENT : src ? 0 : -ENOENT;
			ck_assert_int_eq(sim_lookup(s, a, from, &st), r);
		}
	}
	remount(); /* the checker counts links, entries, parents */
}
END_TEST

START_TEST(rename_special)
{
	uint64_t a = dir(1, "a"), b = dir(a, "b"), f = file("f");
	struct stat st;

	dir(b, "c");
	ck_assert_int_eq(sim_rename(s, 1, "a", b, "x", 0), -EINVAL);
	ck_assert_int_eq(sim_rename(s, 1, "a", a, "x", 0), -EINVAL);
	ck_assert_int_eq(sim_rename(s, b, "c", 1, "a", RENAME_EXCHANGE), -EINVAL);
	ck_assert_int_eq(sim_rename(s, 1, "a", 1, "a", 0), 0);
	ck_assert_int_eq(sim_link(s, f, 1, "g", &st), 0);
	ck_assert_int_eq(sim_rename(s, 1, "f", 1, "g", 0), 0); /* POSIX: both stay */
	ck_assert_uint_eq(attr(f).st_nlink, 2);
	ck_assert_int_eq(sim_rename(s, 1, "f", 1, "h", RENAME_WHITEOUT), -EINVAL);
	ck_assert_int_eq(sim_rename(s, 1, ".", 1, "h", 0), -EBUSY);
	ck_assert_int_eq(sim_rename(s, a, "b", 1, "b", 0), 0);
	ck_assert_int_eq(sim_lookup(s, b, "..", &st), 0);
	ck_assert_uint_eq(st.st_ino, 1);
	ck_assert_uint_eq(attr(a).st_nlink, 2);
}
END_TEST

/* ---- life after unlink ---- */

START_TEST(unlink_open)
{
	uint64_t f = file("f"), before = inodes();
	struct stat st;

	fill(buf, 300000, 1);
	ck_assert_int_eq(sim_open_file(s, f, O_RDWR), 0);
	put(f, 0, buf, 300000);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
	sim_run_for(s, 10 * NS_PER_S);
	expect(f, 0, buf, 300000);
	put(f, 5000, buf + 9, 70000);
	expect(f, 5000, buf + 9, 70000);
	ck_assert_int_eq(sim_link(s, f, 1, "again", &st), -ENOENT);
	ck_assert_uint_eq(attr(f).st_nlink, 0);
	ck_assert_int_eq(sim_release(s, f), 0);
	sim_run_for(s, 10 * NS_PER_S);
	ck_assert_int_eq(sim_getattr(s, f, &st), -ENOENT);
	ck_assert_uint_eq(inodes(), before - 1);
}
END_TEST

/* A crash while it was open: reaped after the next mount. */
START_TEST(unlink_crash)
{
	uint64_t f = file("f"), before = inodes();
	struct stat st;

	fill(buf, 1 << 20, 2);
	put(f, 0, buf, 1 << 20);
	ck_assert_int_eq(sim_open_file(s, f, O_RDWR), 0);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
	ck_assert_int_eq(sim_fsync(s, 1), 0);
	sim_crash(s, FATE_NEVER);
	ck_assert_int_eq(sim_mount(s), 0);
	ck_assert_int_eq(sim_wait_writable(s), 0);
	sim_run_for(s, 30 * NS_PER_S);
	ck_assert_int_eq(sim_getattr(s, f, &st), -ENOENT);
	ck_assert_uint_eq(inodes(), before - 1);
}
END_TEST

/* ---- attributes ---- */

START_TEST(kill_priv)
{
	struct stat st, in = { .st_mode = 06755 };
	uint64_t f = file("f");
	struct sim_call c;

	ck_assert_int_eq(sim_setattr(s, f, SET_MODE, &in, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 06755);
	put(f, 0, "x", 1);
	ck_assert_uint_eq(attr(f).st_mode, S_IFREG | 06755); /* the kernel did not ask for it */
	ck_assert_int_eq(sim_write_prepare(s, &c, f, 0, "y", 1), 0);
	c.op->valid = SET_KILL_PRIV;
	sim_start(s, &c);
	ck_assert_int_eq(sim_finish(s, &c), 0);
	sim_end(s, &c);
	ck_assert_uint_eq(attr(f).st_mode, S_IFREG | 0755);
	in.st_mode = 06745; /* a group that may not execute: mandatory locking, kept */
	ck_assert_int_eq(sim_setattr(s, f, SET_MODE, &in, &st), 0);
	in.st_uid = 5;
	ck_assert_int_eq(sim_setattr(s, f, SET_UID | SET_KILL_PRIV, &in, &st), 0);
	ck_assert_uint_eq(st.st_mode, S_IFREG | 02745);
	ck_assert_uint_eq(st.st_uid, 5);
}
END_TEST

START_TEST(open_truncates)
{
	uint64_t f = file("f");

	fill(buf, 100000, 9);
	put(f, 0, buf, 100000);
	ck_assert_int_eq(sim_open_file(s, f, O_RDWR | O_TRUNC), 0);
	ck_assert_int_eq(attr(f).st_size, 0);
	ck_assert_int_eq(attr(f).st_blocks, 0);
	ck_assert_int_eq(sim_release(s, f), 0);
	ck_assert_int_eq(sim_open_file(s, 99999, O_RDONLY), -ENOENT);
}
END_TEST

START_TEST(xattrs)
{
	uint64_t f = file("f");
	char name[300];

	fill(buf, 5000, 8);
	ck_assert_int_eq(sim_getxattr(s, f, "user.a", buf2, 100), -ENODATA);
	ck_assert_int_eq(sim_setxattr(s, f, "user.a", buf, 1000, 0), 0);
	ck_assert_int_eq(sim_setxattr(s, f, "user.a", buf, 1, XATTR_CREATE), -EEXIST);
	ck_assert_int_eq(sim_setxattr(s, f, "user.b", buf, 1, XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(sim_setxattr(s, f, "security.x", buf, 0, XATTR_CREATE), 0);
	ck_assert_int_eq(sim_getxattr(s, f, "user.a", buf2, 999), -ERANGE);
	ck_assert_int_eq(sim_getxattr(s, f, "user.a", NULL, 0), 1000);
	ck_assert_int_eq(sim_getxattr(s, f, "user.a", buf2, 2000), 1000);
	ck_assert_mem_eq(buf, buf2, 1000);
	ck_assert_int_eq(sim_getxattr(s, f, "security.x", buf2, 2000), 0);
	ck_assert_int_eq(sim_setxattr(s, f, "user.a", buf, VALUE_MAX - 4 - 6, 0), 0);
	ck_assert_int_eq(sim_setxattr(s, f, "user.a", buf, VALUE_MAX - 4 - 5, 0), -ENOSPC);
	ck_assert_int_eq(sim_listxattr(s, f, NULL, 0), 7 + 11);
	ck_assert_int_eq(sim_listxattr(s, f, (char *)buf2, 17), -ERANGE);
	ck_assert_int_eq(sim_listxattr(s, f, (char *)buf2, 18), 18);
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	ck_assert_int_eq(sim_setxattr(s, f, name, buf, 1, 0), -ERANGE);
	remount();
	ck_assert_int_eq(sim_getxattr(s, f, "user.a", buf2, 5000), VALUE_MAX - 10);
	ck_assert_mem_eq(buf, buf2, VALUE_MAX - 10);
	ck_assert_int_eq(sim_removexattr(s, f, "user.a"), 0);
	ck_assert_int_eq(sim_removexattr(s, f, "user.a"), -ENODATA);
	ck_assert_int_eq(sim_unlink(s, 1, "f"), 0);
}
END_TEST

/* ---- readdir ---- */

#define MANY 5000u
static uint8_t seen[MANY * 2 + 1];
static unsigned emitted, stop_after, got[MANY];
static uint64_t cookie;

static int emit(struct op *op, const char *name, size_t len, uint64_t ino, unsigned dtype, const struct stat *st, uint64_t next)
{
	char text[20];
	unsigned i;

	if (emitted == stop_after)
		return 1;
	ck_assert_uint_gt(next, cookie);
	cookie = next;
	got[emitted++] = MANY * 2;
	if (name[0] == '.')
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)len, name);
	ck_assert_int_eq(sscanf(text, "e%u", &i), 1);
	got[emitted - 1] = i;
	ck_assert(!(op->flags & 1) || (st && st->st_ino == ino && S_ISREG(st->st_mode)));
	return 0;
}

static void reset(struct op *op)
{
	cookie = op->off;
	emitted = 0;
}

/* One call; false at the end. */
static bool list(uint64_t d, unsigned flags)
{
	struct sim_call c;

	sim_call_init(s, &c, fs_readdir);
	c.op->ino = d;
	c.op->off = cookie;
	c.op->flags = flags;
	c.op->emit = emit;
	c.op->reset = reset;
	sim_start(s, &c);
	ck_assert_int_eq(sim_finish(s, &c), 0);
	sim_end(s, &c);
	for (unsigned i = 0; i < emitted; i++)
		seen[got[i]]++;
	return emitted > 0;
}

/* Entries that stay are seen exactly once while others come and go between the calls. */
START_TEST(readdir_cookies)
{
	uint64_t d = dir(1, "d");
	unsigned next = MANY, gone = 0;
	char name[20];
	struct stat st;

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "e%u", i);
		ck_assert_int_eq(sim_mknod(s, d, name, S_IFREG | 0644, 0, 0, 0, &st), 0);
	}
	remount();
	memset(seen, 0, sizeof(seen));
	cookie = 0;
	stop_after = 100;
	while (list(d, (unsigned)_i)) {
		snprintf(name, sizeof(name), "e%u", next++);
		ck_assert_int_eq(sim_mknod(s, d, name, S_IFREG, 0, 0, 0, &st), 0);
		snprintf(name, sizeof(name), "e%u", gone);
		gone += 2; /* the even ones go */
		ck_assert_int_eq(sim_unlink(s, d, name), 0);
	}
	for (unsigned i = 1; i < MANY; i += 2)
		ck_assert_msg(seen[i] == 1, "e%u was seen %u times", i, seen[i]);
	for (unsigned i = 0; i < MANY * 2; i++)
		ck_assert(seen[i] <= 1);
	ck_assert_uint_eq(gone, 2 * (next - MANY));
}
END_TEST

/* ---- names for messages ---- */

START_TEST(paths)
{
	uint64_t a = dir(1, "a"), b = dir(a, "b"), f;
	struct stat st;
	char text[200];

	ck_assert_int_eq(sim_mknod(s, b, "f", S_IFREG, 0, 0, 0, &st), 0);
	f = st.st_ino;
	ck_assert_str_eq(fs_path(s->fs, 1, text, sizeof(text)), "/");
	snprintf(text, sizeof(text), "x");
	ck_assert_str_eq(fs_path(s->fs, 4711, text, sizeof(text)), "inode 4711");
	look_up(1, "a");
	look_up(a, "b");
	look_up(b, "f");
	ck_assert_str_eq(fs_path(s->fs, f, text, sizeof(text)), "/a/b/f");
	ck_assert_str_eq(fs_path(s->fs, f, text, 5), "inod");
	ck_assert_int_eq(sim_rename(s, a, "b", 1, "moved", 0), 0);
	ck_assert_str_eq(fs_path(s->fs, f, text, sizeof(text)), "/moved/f");
	ck_assert_int_eq(sim_unlink(s, b, "f"), 0);
	snprintf((char *)buf, 100, "inode %llu", (unsigned long long)f);
	ck_assert_str_eq(fs_path(s->fs, f, text, sizeof(text)), (char *)buf);
	fs_forget(s->fs, f, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ops");
	TCase *t = tcase_create("ops");
	SRunner *r = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(t, env_setup, env_teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, names);
	tcase_add_test(t, directories);
	tcase_add_test(t, setgid_directory);
	tcase_add_test(t, links);
	tcase_add_test(t, rename_matrix);
	tcase_add_test(t, rename_special);
	tcase_add_test(t, unlink_open);
	tcase_add_test(t, unlink_crash);
	tcase_add_test(t, kill_priv);
	tcase_add_test(t, open_truncates);
	tcase_add_test(t, xattrs);
	tcase_add_loop_test(t, readdir_cookies, 0, 2);
	tcase_add_test(t, paths);
	suite_add_tcase(suite, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
