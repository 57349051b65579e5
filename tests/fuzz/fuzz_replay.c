/* SPDX-License-Identifier: Apache-2.0 */
/* Journal records whose checksums are right and whose transactions are the input, on a file system that was not unmounted,
 * mounted for writing: what replay takes is applied, what it does not refuses the mount. The first byte: how many
 * transactions the records claim (bits 0 and 1), and whether they are two records, each with half of the rest (bit 4). */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/crc.h"
#include "base/log.h"
#include "base/num.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/damage.h"
#include "tests/sim/sim_fs.h"

#define FILES 6
#define FILE_INO (INO_FIRST + 2)

static struct sim *s;
static struct dmg d;

static void must(int r)
{
	if (r < 0)
		abort();
}

/* Once; each input begins with what it left. Files of all kinds, numbers from INO_FIRST on. */
static void prepare(void)
{
	static uint8_t data[70000];
	struct sim_conf conf;
	struct stat st;
	char name[16];

	log_init("fuzz_replay", LOG_L_ERROR);
	if (!getenv("FUZZ_TELL"))
		log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
	sim_conf_init(&conf, 1);
	s = sim_new(&conf);
	s->quiet = true;
	must(sim_format(s));
	must(sim_mount(s));
	must(sim_wait_writable(s));
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		must(sim_mknod(s, INO_ROOT, name, S_IFREG | 0644, 0, 0, 0, &st));
		must((int)sim_write(s, st.st_ino, 0, data, i % 2 ? 100 : sizeof(data), 0));
		must(sim_setxattr(s, st.st_ino, "user.a", data, 20, 0));
	}
	must(sim_mkdir(s, INO_ROOT, "sub", 0755, 0, 0, &st));
	must(sim_checkpoint(s));
	sim_crash(s, FATE_EXECUTED);
	must(dmg_open(&d, sim_dev_media(s->dev), s->conf.dev.bytes));
	media_push(d.m);
}

/* Returns its checksum. */
static uint32_t put_record(uint64_t pos, uint64_t seq, uint32_t prev, unsigned count, const uint8_t *data, size_t len)
{
	const struct super_disk *super = dmg_super(&d);
	struct record_disk *h = dmg_block(&d, get64(super->journal_start) + pos, (unsigned)DIV_UP(sizeof(*h) + len, FS_BLOCK));

	*h = (struct record_disk){ .magic = put32(RECORD_MAGIC), .epoch = super->epoch, .seq = put64(seq), .prev_crc = put32(prev),
		.length = put32((uint32_t)(sizeof(*h) + len)), .count = put32(count), .committed_gen = super->gen };
	memcpy(h->uuid, super->uuid, sizeof(h->uuid));
	memcpy(h + 1, data, len);
	h->crc = put32(crc32c(h, sizeof(*h) + len));
	return get32(h->crc);
}

/* The journal has just been cut, so the records neither wrap nor meet old ones. */
static void put_records(const uint8_t *data, size_t len)
{
	const struct super_disk *super = dmg_super(&d);
	unsigned count = (data[0] & 3) + 1;
	size_t half = data[0] & 16 ? (len - 1) / 2 : len - 1;
	uint64_t pos = get64(super->journal_pos), seq = get64(super->cut_seq) + 1;
	uint32_t crc = put_record(pos, seq, get32(super->prev_crc), count, data + 1, half);

	if (data[0] & 16)
		put_record(pos + DIV_UP(sizeof(struct record_disk) + half, FS_BLOCK), seq + 1, crc, count, data + 1 + half,
			   len - 1 - half);
}

static void use(void)
{
	struct mnode dir = { 0 };
	struct stat st;
	uint8_t buf[5000];

	sim_readdir(s, INO_ROOT, 50, &dir);
	for (size_t i = 0; i < dir.nentries; i++) {
		if (sim_lookup(s, INO_ROOT, dir.entries[i].name, &st))
			continue;
		sim_read(s, st.st_ino, 0, buf, sizeof(buf));
		if (i % 3 == 0)
			sim_unlink(s, INO_ROOT, dir.entries[i].name);
		else
			sim_write(s, st.st_ino, 3000, buf, sizeof(buf), 0);
	}
	free(dir.entries);
	sim_checkpoint(s);
}

void fuzz_one(const uint8_t *data, size_t len)
{
	int r;

	if (!s)
		prepare();
	if (!len)
		return;
	media_restore(d.m);
	put_records(data, len);
	r = sim_mount(s);
	if (getenv("FUZZ_TELL"))
		fprintf(stderr, "mount: %d\n", r);
	if (!r) {
		if (sim_wait_writable(s) == 0)
			use();
		sim_unmount(s);
	}
	if (s->fs)
		sim_crash(s, FATE_NEVER);
}

static size_t put_op(uint8_t *to, uint8_t op, struct key_disk key, const void *value, uint16_t len)
{
	struct txnop_disk o = { .op = op, .key = key, .len = put16(len) };

	memcpy(to, &o, sizeof(o));
	if (len)
		memcpy(to + sizeof(o), value, len);
	return sizeof(o) + len;
}

/* One transaction that is right: of every item type a put and, in the second half, a deletion of the same key. */
size_t fuzz_seed(unsigned n, uint8_t *buf)
{
	static const uint8_t types[] = { ITEM_INODE, ITEM_XATTR, ITEM_INLINE, ITEM_DIRENT, ITEM_EXTENT, ITEM_ORPHAN };
	struct inode_disk inode = { .mode = put32(S_IFREG | 0644), .nlink = put32(1), .size = put64(100) };
	struct { struct dirent_disk e; char name[4]; } entry = { { .ino = put64(FILE_INO), .type = 8, .namelen = 4 }, "name" };
	struct { struct xattr_disk x; char text[8]; } attr = { { .namelen = 6, .len = put16(2) }, "user.bcc" };
	struct { struct extent_disk e; le32 crc; } extent = { { .block = put64(9000), .birth = put64(3), .nblocks = put16(1),
		.stored_blocks = put16(1), .csum_type = CSUM_CRC32C } };
	struct orphan_disk orphan = { 0 };
	const void *values[] = { &inode, &attr, "some text", &entry, &extent, &orphan };
	static const uint16_t lens[] = { sizeof(inode), sizeof(attr), 9, sizeof(entry), sizeof(extent), sizeof(orphan) };
	unsigned t = n % ARRAY_SIZE(types);
	struct key_disk key = { put64(types[t] == ITEM_ORPHAN ? 0 : types[t] == ITEM_DIRENT ? INO_ROOT : FILE_INO), types[t],
		put64(types[t] == ITEM_ORPHAN ? FILE_INO : types[t] == ITEM_DIRENT || types[t] == ITEM_XATTR ? 0x1200 : 0) };
	struct txn_disk txn = { .nops = put32(1), .ino_watermark = put64(100) };
	size_t at = 1 + sizeof(txn);

	if (n >= 2 * ARRAY_SIZE(types))
		return 0;
	at += put_op(buf + at, OP_PUT, key, values[t], lens[t]);
	if (n >= ARRAY_SIZE(types)) {
		at += put_op(buf + at, OP_DEL, key, NULL, 0);
		txn.nops = put32(2);
	}
	txn.length = put32((uint32_t)(at - 1));
	memcpy(buf + 1, &txn, sizeof(txn));
	buf[0] = 0;
	return at;
}
