/* SPDX-License-Identifier: Apache-2.0 */
/* make_newer FILE: makes every superblock in a target's file (4096-byte LBAs or not, it is the same) one of a newer format
 * version, with a right checksum. Prints how many; exit code 1 when there was none. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/crc.h"
#include "fs/format.h"

static int make_newer(int fd, off_t at)
{
	struct super_disk s;

	if (pread(fd, &s, sizeof(s), at) != sizeof(s) || get64(s.magic) != SUPER_MAGIC)
		return 0;
	s.version = put32(FORMAT_VERSION + 1);
	s.crc = put32(0);
	s.crc = put32(crc32c(&s, sizeof(s)));
	return pwrite(fd, &s, sizeof(s), at) == sizeof(s);
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1, found = 0;
	off_t data = 0;

	if (fd < 0) {
		fprintf(stderr, "usage: make_newer FILE\n");
		return 2;
	}
	/* only where the sparse file has data */
	while ((data = lseek(fd, data, SEEK_DATA)) >= 0) {
		off_t hole = lseek(fd, data, SEEK_HOLE);

		for (; data < hole; data += 4096)
			found += make_newer(fd, data);
	}
	printf("%d superblocks\n", found);
	return !found;
}
