/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/num.h"
#include "base/siphash.h"
#include "base/uuid.h"

#define UUID_NQN "nqn.2014-08.org.nvmexpress:uuid:"

/* First line of root+path without white space at its end; false if there is none. */
static bool read_line(const char *root, const char *path, char *line, size_t len)
{
	char full[512];
	ssize_t n;
	int fd;

	snprintf(full, sizeof(full), "%s%s", root, path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, len - 1);
	close(fd);
	line[MAX(n, 0)] = 0;
	line[strcspn(line, " \t\r\n")] = 0;
	return line[0];
}

/* A UUID made of text: the same text gives the same one. Two fixed keys, one a half; marked as version 8 (RFC 9562). */
static void uuid_of(const char *text, uint8_t uuid[16])
{
	static const uint8_t key[2][16] = { "nvofs host id A", "nvofs host id B" };

	for (int i = 0; i < 2; i++) {
		uint64_t half = siphash24(key[i], text, strlen(text));

		for (int j = 0; j < 8; j++)
			uuid[8 * i + j] = (uint8_t)(half >> (56 - 8 * j));
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static void machine_uuid(const char *root, uint8_t uuid[16])
{
	static const char *const sources[] = { "/etc/machine-id", "/var/lib/dbus/machine-id",
					       "/sys/class/dmi/id/product_uuid", "/proc/sys/kernel/hostname" };
	char line[256] = "";

	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
		if (read_line(root, sources[i], line, sizeof(line)))
			break;
	}
	uuid_of(line, uuid);
}

/* An NQN of the UUID form carries its identifier; any other one is hashed. */
static void hostid_of_nqn(const char *nqn, uint8_t hostid[16])
{
	if (strncmp(nqn, UUID_NQN, strlen(UUID_NQN)) || uuid_parse(nqn + strlen(UUID_NQN), hostid))
		uuid_of(nqn, hostid);
}

static int file_nqn(const char *root, char *nqn, char *why, size_t why_len)
{
	char line[512];

	nqn[0] = 0;
	if (!read_line(root, "/etc/nvme/hostnqn", line, sizeof(line)))
		return 0;
	if (strncmp(line, "nqn.", 4) || strlen(line) >= NQN_MAX) {
		snprintf(why, why_len, "/etc/nvme/hostnqn holds no NQN");
		return -EINVAL;
	}
	strcpy(nqn, line);
	return 0;
}

static int file_id(const char *root, uint8_t hostid[16], bool *there, char *why, size_t why_len)
{
	char line[512];

	*there = read_line(root, "/etc/nvme/hostid", line, sizeof(line));
	if (!*there || !uuid_parse(line, hostid))
		return 0;
	snprintf(why, why_len, "/etc/nvme/hostid holds no UUID");
	return -EINVAL;
}

int identity_fill(struct ns_addr *a, const char *root, char *why, size_t why_len)
{
	char nqn[NQN_MAX], text[UUID_TEXT];
	uint8_t id[16];
	bool there;
	int r;

	if (a->hostnqn[0] && a->has_hostid)
		return 0;
	r = file_nqn(root, nqn, why, why_len);
	if (!r)
		r = file_id(root, id, &there, why, why_len);
	if (r)
		return r;
	if (!nqn[0] && there)
		snprintf(nqn, sizeof(nqn), UUID_NQN "%s", uuid_print(id, text));
	if (!nqn[0]) {
		machine_uuid(root, id);
		snprintf(nqn, sizeof(nqn), UUID_NQN "%s", uuid_print(id, text));
	}
	if (!a->hostnqn[0])
		strcpy(a->hostnqn, nqn);
	if (a->has_hostid)
		return 0;
	/* The file's identifier belongs to the file's NQN only. */
	if (there && !strcmp(a->hostnqn, nqn))
		memcpy(a->hostid, id, 16);
	else
		hostid_of_nqn(a->hostnqn, a->hostid);
	a->has_hostid = true;
	return 0;
}
