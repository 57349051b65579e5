/* SPDX-License-Identifier: Apache-2.0 */
/* posix_check: names: links, renames, directories and their cookies, special files, modes, extended attributes. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "tests/tools/posix_check.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static void put(const char *name, const char *text)
{
	int fd = file_open(name, O_WRONLY | O_CREAT | O_TRUNC);

	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}

static int holds(const char *name, const char *text)
{
	char buf[64] = { 0 };
	int fd = open(name, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n >= 0 && strcmp(buf, text) == 0;
}

static ino_t ino(const char *name)
{
	struct stat st;

	CHECK(lstat(name, &st) == 0);
	return st.st_ino;
}

static nlink_t links(const char *name)
{
	struct stat st;

	CHECK(lstat(name, &st) == 0);
	return st.st_nlink;
}

static void hard_links(void)
{
	ino_t a;

	put("a", "same");
	a = ino("a");
	CHECK(mkdir("d", 0755) == 0 && link("a", "d/b") == 0 && ino("d/b") == a && links("a") == 2);
	CHECK_ERR(link("a", "d/b"), EEXIST);
	CHECK_ERR(link("d", "e"), EPERM);
	put("d/b", "new");
	CHECK(holds("a", "new"));
	CHECK(rename("a", "d/b") == 0 && links("a") == 2 && links("d/b") == 2); /* same file: nothing happens */
	CHECK(unlink("a") == 0 && links("d/b") == 1 && holds("d/b", "new"));
}

static void renames(void)
{
	int fd;

	put("a", "A");
	put("b", "B");
	fd = file_open("b", O_RDONLY);
	CHECK(rename("a", "b") == 0 && holds("b", "A") && access("a", F_OK) == -1);
	CHECK(links("b") == 1);
	{
		struct stat st;
		char c;

		CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0 && read(fd, &c, 1) == 1 && c == 'B');
	}
	CHECK(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0 && mkdir("full", 0755) == 0);
	put("full/x", "X");
	CHECK_ERR(rename("d", "d/e/f"), EINVAL);
	CHECK_ERR(rename("b", "d"), EISDIR);
	CHECK_ERR(rename("d", "b"), ENOTDIR);
	CHECK(rename("d", "full") == -1 && (errno == ENOTEMPTY || errno == EEXIST));
	CHECK_ERR(rename("missing", "b"), ENOENT);
	CHECK(rename("d/e", "e") == 0 && links("d") == 2 && rename("full", "d") == 0 && holds("d/x", "X"));
	CHECK(rename("d", "e/d") == 0 && links("e") == 3 && chdir("e/d") == 0 && ino("..") == ino("../../e"));
}

static void rename_flags(void)
{
	ino_t a;

	put("a", "A");
	put("b", "B");
	a = ino("a");
	if (renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE) == -1 && errno == EINVAL)
		check_skip("no rename flags here");
	CHECK_ERR(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
	CHECK(holds("b", "B"));
	CHECK(renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE) == 0 && ino("c") == a);
	CHECK(renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE) == 0);
	CHECK(holds("c", "B") && holds("b", "A") && ino("b") == a);
	CHECK_ERR(renameat2(AT_FDCWD, "c", AT_FDCWD, "missing", RENAME_EXCHANGE), ENOENT);
	CHECK(mkdir("d", 0755) == 0 && mkdir("d/sub", 0755) == 0);
	CHECK(renameat2(AT_FDCWD, "d/sub", AT_FDCWD, "b", RENAME_EXCHANGE) == 0);
	CHECK(holds("d/sub", "A") && links("d") == 2 && links("b") == 2);
	CHECK_ERR(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", 64), EINVAL);
}

static void symlinks(void)
{
	char text[4096], back[4096];
	struct stat st;

	CHECK(symlink("nowhere", "l") == 0 && readlink("l", back, sizeof(back)) == 7 && memcmp(back, "nowhere", 7) == 0);
	CHECK(lstat("l", &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 7);
	memset(text, 'x', sizeof(text));
	text[4095] = 0;
	CHECK(symlink(text, "long") == 0 && readlink("long", back, sizeof(back)) == 4095 && memcmp(text, back, 4095) == 0);
	CHECK_ERR(symlink("a", "l"), EEXIST);
	put("f", "F");
	CHECK(symlink("../symlinks/f", "up") == 0 && holds("up", "F"));
	CHECK(symlink("loop", "loop") == 0);
	CHECK_ERR(open("loop", O_RDONLY), ELOOP);
}

static void long_names(void)
{
	char name[257], path[600];

	memset(name, 'n', 256);
	name[256] = 0;
	CHECK_ERR(open(name, O_WRONLY | O_CREAT, 0644), ENAMETOOLONG);
	name[255] = 0;
	put(name, "long");
	CHECK(holds(name, "long") && mkdir("\xff\x01 \n", 0755) == 0);
	snprintf(path, sizeof(path), "\xff\x01 \n/%s", name);
	CHECK(rename(name, path) == 0 && holds(path, "long"));
}

static void special_files(void)
{
	struct stat st;

	CHECK(mkfifo("p", 0600) == 0 && stat("p", &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & 0777) == 0600);
	CHECK(mknod("s", S_IFSOCK | 0644, 0) == 0 && stat("s", &st) == 0 && S_ISSOCK(st.st_mode));
	CHECK(mknod("r", S_IFREG | 0640, 0) == 0 && stat("r", &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0);
	if (geteuid() != 0)
		return;
	CHECK(mknod("c", S_IFCHR | 0600, makedev(1, 3)) == 0 && stat("c", &st) == 0);
	CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	CHECK(mknod("b", S_IFBLK | 0600, makedev(259, 123456)) == 0 && stat("b", &st) == 0);
	CHECK(S_ISBLK(st.st_mode) && st.st_rdev == makedev(259, 123456));
}

static void modes(void)
{
	struct stat st;

	put("f", "x");
	CHECK(chmod("f", 06755) == 0 && stat("f", &st) == 0 && (st.st_mode & 07777) == 06755);
	CHECK(mkdir("d", 01777) == 0 && chmod("d", 03775) == 0 && stat("d", &st) == 0 && (st.st_mode & 07777) == 03775);
	if (geteuid() != 0)
		return;
	CHECK(chown("f", 12345, 54321) == 0 && stat("f", &st) == 0 && st.st_uid == 12345 && st.st_gid == 54321);
	CHECK((st.st_mode & 06000) == 0); /* a change of owner takes the set-id bits of an executable away */
	CHECK(symlink("f", "l") == 0 && lchown("l", 7, 8) == 0 && lstat("l", &st) == 0 && st.st_uid == 7);
	CHECK(chown("d", (uid_t)-1, 54321) == 0); /* set-group-id directories hand their group on */
	CHECK(chmod("d", 02775) == 0 && mkdir("d/e", 0755) == 0 && stat("d/e", &st) == 0);
	CHECK(st.st_gid == 54321 && (st.st_mode & S_ISGID));
}

static void permissions(void)
{
	if (geteuid() != 0)
		check_skip("only root can become somebody else");
	put("secret", "s");
	CHECK(chmod("secret", 0600) == 0 && mkdir("closed", 0700) == 0);
	put("closed/f", "f");
	CHECK(chmod(".", 0755) == 0 && mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0);
	put("sticky/mine", "m");
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHECK_ERR(open("secret", O_RDONLY), EACCES);
	CHECK_ERR(open("closed/f", O_RDONLY), EACCES);
	CHECK_ERR(open("new", O_WRONLY | O_CREAT, 0644), EACCES);
	CHECK_ERR(unlink("sticky/mine"), EPERM);
	CHECK_ERR(chmod("secret", 0666), EPERM);
	put("sticky/yours", "y");
	CHECK(unlink("sticky/yours") == 0);
}

static void attributes(void)
{
	static char big[20000], back[65536];
	ssize_t n;

	put("f", "x");
	if (setxattr("f", "user.small", "value", 5, 0) == -1 && errno == ENOTSUP)
		check_skip("no user attributes here");
	CHECK(getxattr("f", "user.small", back, sizeof(back)) == 5 && memcmp(back, "value", 5) == 0);
	CHECK(getxattr("f", "user.small", NULL, 0) == 5);
	CHECK_ERR(getxattr("f", "user.small", back, 2), ERANGE);
	CHECK_ERR(getxattr("f", "user.none", back, 2), ENODATA);
	CHECK_ERR(setxattr("f", "user.small", "v", 1, XATTR_CREATE), EEXIST);
	CHECK_ERR(setxattr("f", "user.none", "v", 1, XATTR_REPLACE), ENODATA);
	CHECK(setxattr("f", "user.small", "", 0, XATTR_REPLACE) == 0 && getxattr("f", "user.small", back, 9) == 0);
	memset(big, 'b', sizeof(big));
	CHECK(setxattr("f", "user.medium", big, 1500, 0) == 0 && getxattr("f", "user.medium", back, sizeof(back)) == 1500);
	n = listxattr("f", back, sizeof(back));
	CHECK(n >= 23 && memmem(back, (size_t)n, "user.small", 11) && memmem(back, (size_t)n, "user.medium", 12));
	CHECK(removexattr("f", "user.small") == 0);
	CHECK_ERR(removexattr("f", "user.small"), ENODATA);
	CHECK(mkdir("d", 0755) == 0 && setxattr("d", "user.on-directory", "1", 1, 0) == 0);
	CHECK(rename("f", "d/f") == 0 && getxattr("d/f", "user.medium", back, sizeof(back)) == 1500);
}

/* Large values are nice to have: ext4 refuses them, too. */
static void big_attributes(void)
{
	static char big[65536], back[65536];

	put("f", "x");
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31 >> 3);
	if (setxattr("f", "user.big", big, 16000, 0) == -1)
		check_skip("no values of 16000 bytes here");
	CHECK(getxattr("f", "user.big", back, sizeof(back)) == 16000 && memcmp(big, back, 16000) == 0);
	CHECK(setxattr("f", "user.big", big + 1, 60, 0) == 0 && getxattr("f", "user.big", back, sizeof(back)) == 60);
	CHECK(memcmp(big + 1, back, 60) == 0 && removexattr("f", "user.big") == 0);
}

enum { MANY = 5000 };
static unsigned char seen[MANY];

static int number_of(const char *name)
{
	int n = -1;

	return sscanf(name, "entry-%d-", &n) == 1 && n >= 0 && n < MANY ? n : -1;
}

static void make_many(void)
{
	char name[64];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "entry-%d-%.*s", i, i % 40, "........................................");
		CHECK(mknod(name, S_IFREG | 0644, 0) == 0);
	}
}

/* Every entry exactly once, while others are removed and added meanwhile, and again from a remembered cookie. */
static void directories(void)
{
	DIR *dir;
	struct dirent *e;
	long half = -1;
	unsigned count = 0;
	char after_half[256] = "";

	make_many();
	CHECK((dir = opendir(".")) != NULL);
	while ((e = readdir(dir))) {
		int n = number_of(e->d_name);

		if (n < 0)
			continue;
		CHECK(e->d_type == DT_REG && !seen[n] && e->d_ino == ino(e->d_name));
		seen[n] = 1;
		if (++count == MANY / 2)
			half = telldir(dir);
		else if (count == MANY / 2 + 1)
			snprintf(after_half, sizeof(after_half), "%s", e->d_name);
		if (n % 7 == 0 && count < MANY / 2)
			CHECK(unlink(e->d_name) == 0);
		if (n % 11 == 0) {
			char name[32];

			snprintf(name, sizeof(name), "new-%d", n);
			put(name, "");
		}
	}
	CHECK(count == MANY);
	seekdir(dir, half);
	CHECK((e = readdir(dir)) != NULL);
	while (number_of(e->d_name) < 0) /* files made meanwhile may lie between */
		CHECK((e = readdir(dir)) != NULL);
	CHECK(strcmp(e->d_name, after_half) == 0);
	closedir(dir);
}

static void remove_directories(void)
{
	struct stat st;
	int fd;

	CHECK(mkdir("d", 0755) == 0);
	CHECK_ERR(mkdir("d", 0755), EEXIST);
	put("d/f", "");
	CHECK_ERR(rmdir("d"), ENOTEMPTY);
	CHECK_ERR(unlink("d"), EISDIR);
	CHECK_ERR(rmdir("d/f"), ENOTDIR);
	CHECK(unlink("d/f") == 0);
	fd = file_open("d", O_RDONLY | O_DIRECTORY);
	CHECK(rmdir("d") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0);
	CHECK_ERR(openat(fd, "f", O_WRONLY | O_CREAT, 0644), ENOENT);
	CHECK_ERR(rmdir("d"), ENOENT);
	fd = file_open(".", O_RDONLY | O_DIRECTORY);
	CHECK(fsync(fd) == 0);
}

const struct check name_checks[] = {
	{ "hard_links", hard_links },
	{ "renames", renames },
	{ "rename_flags", rename_flags },
	{ "symlinks", symlinks },
	{ "long_names", long_names },
	{ "special_files", special_files },
	{ "modes", modes },
	{ "permissions", permissions },
	{ "attributes", attributes },
	{ "big_attributes", big_attributes },
	{ "directories", directories },
	{ "remove_directories", remove_directories },
	{ NULL, NULL },
};
