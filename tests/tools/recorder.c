/* SPDX-License-Identifier: Apache-2.0 */
/* recorder write DIRECTORY LOG: appends numbered records to DIRECTORY/records for ever, and with every eighth also makes a
 * file of its own; only after fsync the number is written to LOG, which lies on another file system. Ends with 0
 * when the file system under it goes away.
 * recorder check DIRECTORY LOG: everything that LOG acknowledges is there, whole and right; more may be there. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No divisor or multiple of a block, so that records share blocks and straddle them. */
enum { RECORD = 3001, FILE_EVERY = 8 };

static void fill(unsigned char *record, uint32_t number)
{
	memcpy(record, &number, sizeof(number));
	for (unsigned i = sizeof(number); i < RECORD; i++)
		record[i] = (unsigned char)((i * 131 + number * 7919) >> 3);
}

static int gone(const char *what, uint32_t number)
{
	fprintf(stderr, "recorder: %s of record %u: %s\n", what, number, strerror(errno));
	return errno == ENOTCONN || errno == ECONNABORTED || errno == EIO || errno == ENOENT ? 0 : 1;
}

static bool write_file(int dir, uint32_t number, const unsigned char *record)
{
	char name[32];
	int fd;
	bool good;

	snprintf(name, sizeof(name), "file-%u", number);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return false;
	good = write(fd, record, RECORD) == RECORD && fsync(fd) == 0;
	close(fd);
	return good;
}

static int record_all(int dir, int log)
{
	unsigned char record[RECORD];
	int fd = openat(dir, "records", O_WRONLY | O_CREAT, 0644);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (end < 0)
		return gone("opening", 0);
	/* what the last run left unacknowledged may be torn: start at a whole record */
	for (uint32_t number = (uint32_t)(end / RECORD);; number++) {
		fill(record, number);
		if (pwrite(fd, record, RECORD, (off_t)number * RECORD) != RECORD)
			return gone("writing", number);
		if (fsync(fd))
			return gone("fsync", number);
		if (number % FILE_EVERY == 0 && !write_file(dir, number, record))
			return gone("making the file", number);
		if (write(log, &number, sizeof(number)) != sizeof(number))
			return 1;
	}
}

static bool file_right(int dir, const char *name, uint32_t number, off_t at)
{
	unsigned char want[RECORD], got[RECORD];
	int fd = openat(dir, name, O_RDONLY);
	bool good;

	fill(want, number);
	good = fd >= 0 && pread(fd, got, RECORD, at) == RECORD && memcmp(want, got, RECORD) == 0;
	if (!good)
		printf("record %u in %s is not there, or wrong\n", number, name);
	if (fd >= 0)
		close(fd);
	return good;
}

static int check_all(int dir, int log)
{
	uint32_t number, count = 0;
	char name[32];

	while (read(log, &number, sizeof(number)) == sizeof(number)) {
		if (!file_right(dir, "records", number, (off_t)number * RECORD))
			return 1;
		snprintf(name, sizeof(name), "file-%u", number);
		if (number % FILE_EVERY == 0 && !file_right(dir, name, number, 0))
			return 1;
		count++;
	}
	printf("%u acknowledged records are there\n", count);
	return count == 0;
}

int main(int argc, char **argv)
{
	bool check = argc == 4 && strcmp(argv[1], "check") == 0;
	int dir, log;

	if (argc != 4 || (!check && strcmp(argv[1], "write") != 0)) {
		fprintf(stderr, "usage: recorder write|check DIRECTORY LOG\n");
		return 2;
	}
	dir = open(argv[2], O_RDONLY | O_DIRECTORY);
	log = open(argv[3], check ? O_RDONLY : O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (dir < 0 || log < 0) {
		perror(dir < 0 ? argv[2] : argv[3]);
		return 2;
	}
	return check ? check_all(dir, log) : record_all(dir, log);
}
