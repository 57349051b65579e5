/* SPDX-License-Identifier: Apache-2.0 */
/* nvofsctl scrub: has the daemon verify everything, step by step, at the pace that was asked for; collects what it found. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "fs/ctl.h"
#include "fs/format.h"
#include "tools/json.h"
#include "tools/nvofsctl.h"

struct pace {
	double begin, told;
	uint64_t bytes_s;          /* 0: as fast as it goes */
	uint64_t expected;         /* bytes in use when it began */
	bool tty;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t bytes_of(const struct ctl_scrub *c)
{
	return (c->data_blocks + c->node_blocks) * FS_BLOCK;
}

static void tell(struct pace *p, const struct ctl_scrub *c)
{
	char done[32], all[32];

	if (!p->tty || (now() < p->told + 1 && !c->done))
		return;
	p->told = now();
	fprintf(stderr, "\rscrub: %s of about %s, %" PRIu64 " bad %s", size_print(bytes_of(c), done, sizeof(done)),
		size_print(p->expected, all, sizeof(all)), c->found, c->done ? "\n" : "");
}

/* Sleeps until as much may have been read as was. */
static void keep_pace(const struct pace *p, const struct ctl_scrub *c)
{
	double ahead = p->bytes_s ? p->begin + (double)bytes_of(c) / (double)p->bytes_s - now() : 0;
	struct timespec ts = { .tv_sec = (time_t)ahead, .tv_nsec = (long)((ahead - (double)(time_t)ahead) * 1e9) };

	if (ahead > 0)
		nanosleep(&ts, NULL);
}

static void collect(struct json *array, const struct ctl_scrub *c)
{
	for (uint32_t i = 0; i < MIN(c->nbad, SCRUB_BAD); i++) {
		const struct ctl_scrub_bad *bad = &c->bad[i];
		struct json *j = json_append(array);

		json_add_text(j, "what", bad->ino ? "data" : "node");
		json_add_text(j, "path", bad->path);
		json_add_number(j, "inode", bad->ino);
		json_add_number(j, "offset", bad->offset);
		json_add_number(j, "block", bad->block);
		json_add_text(j, "error", bad->error);
	}
}

int scrub_run(const char *mountpoint, uint64_t mb_s, struct json **out, uint64_t *found)
{
	static struct ctl_scrub c;
	struct pace p = { .begin = now(), .bytes_s = mb_s * 1000000, .tty = isatty(STDERR_FILENO) };
	int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = fd < 0 ? errno : 0;
	struct statvfs st = { 0 };
	struct json *array;

	if (err)
		return err;
	if (!fstatvfs(fd, &st))
		p.expected = (st.f_blocks - st.f_bfree) * st.f_frsize;
	*out = json_new();
	array = json_add_array(*out, "bad");
	while (!err && !c.done) {
		c.nbad = 0;
		err = ioctl(fd, CTL_SCRUB, &c) ? errno : 0;
		if (err == EINTR || err == ENOMEM) { /* page frames come back */
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
			err = err == EINTR || now() < p.begin + 3600 ? 0 : err;
			continue;
		}
		collect(array, &c);
		tell(&p, &c);
		keep_pace(&p, &c);
	}
	close(fd);
	json_add_number(*out, "data_bytes", c.data_blocks * FS_BLOCK);
	json_add_number(*out, "node_bytes", c.node_blocks * FS_BLOCK);
	json_add_number(*out, "found", c.found);
	json_add_number(*out, "milliseconds", (uint64_t)((now() - p.begin) * 1000));
	*found = c.found;
	return err;
}
