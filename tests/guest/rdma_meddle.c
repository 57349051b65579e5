/* SPDX-License-Identifier: Apache-2.0 */
/* A preloaded library (LD_PRELOAD) between nvofs and the verbs, for rdma-data.sh. It knows neither's insides: it sees what is
 * posted to a queue pair and what is read from and written to /dev/fuse, and writes down where payload lay at both ends.
 *
 *      /dev/fuse --readv--> page: FUSE --posted in a Write--> counted        page: a Read's SGL --> writev --> counted
 *
 * MEDDLE names a folder. Files that the test makes there, looked for every 20 ms:
 *   report    replaced by counts: one line of NAME=BYTES
 *   error     every queue pair is put into the error state, once
 *   hold      as long as it is there, no receives are posted (the target finds none: RNR)
 *   swallow   the next response to an I/O command never arrives, once
 * MEDDLE_RETRIES: retry count of connections made from now on, with the shortest time-out, so that a cut exhausts them.
 *
 *  1. A page is what was last said of it; pages are 4096 bytes, as nvofs's frames.
 *  2. Everything is under one lock: this is slow, and a test. */
#include <dlfcn.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGES (1u << 20)             /* slots of the table; far more than the pages of any test */
#define HELD 512u
#define QPS 64u
#define OUR_RECV (1ull << 32)

enum page { UNKNOWN, FROM_FUSE, BY_TARGET };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
	uint64_t page;
	uint8_t what;
} table[PAGES];
static uint64_t reply_by_target, reply_else, write_from_fuse, write_else, swallowed, held;
static struct ibv_qp *qps[QPS];
static struct ibv_recv_wr kept[HELD];
static struct ibv_qp *kept_qp[HELD];
static unsigned nkept;
static bool holding, swallowing;
static uint32_t io_qp;               /* number of the queue pair that carried the last Read */
static int (*real_send)(struct ibv_qp *, struct ibv_send_wr *, struct ibv_send_wr **);
static int (*real_recv)(struct ibv_qp *, struct ibv_recv_wr *, struct ibv_recv_wr **);
static int (*real_poll)(struct ibv_cq *, int, struct ibv_wc *);

/* ---- pages ---- */

static uint8_t *page_of(uint64_t page)
{
	unsigned i = (unsigned)(page * 0x9e3779b97f4a7c15ull >> 40) % PAGES;

	while (table[i].page && table[i].page != page)
		i = (i + 1) % PAGES;
	table[i].page = page;
	return &table[i].what;
}

static void mark(uint64_t addr, uint64_t len, enum page what)
{
	for (uint64_t p = addr >> 12; len && p <= (addr + len - 1) >> 12; p++)
		*page_of(p) = (uint8_t)what;
}

/* How many of the bytes lie in pages of that kind. */
static uint64_t bytes_of(uint64_t addr, uint64_t len, enum page what)
{
	uint64_t n = 0;

	while (len) {
		uint64_t part = 4096 - (addr & 4095);

		part = part < len ? part : len;
		n += *page_of(addr >> 12) == what ? part : 0;
		addr += part;
		len -= part;
	}
	return n;
}

/* ---- the verbs' side ---- */

/* An SQE: opcode, and the descriptor at byte 24 (address, 24 bits of length; its kind in the last byte). */
static void saw_command(struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	const uint8_t *sqe = (const void *)(uintptr_t)wr->sg_list[0].addr;
	uint64_t addr, len = sqe[32] | sqe[33] << 8 | (uint64_t)sqe[34] << 16, fuse;

	memcpy(&addr, sqe + 24, 8);
	if (wr->num_sge == 2) { /* in the capsule */
		addr = wr->sg_list[1].addr;
		len = wr->sg_list[1].length;
	}
	if (sqe[0] == 2) {
		io_qp = qp->qp_num;
		mark(addr, len, BY_TARGET);
	} else if (sqe[0] == 1) {
		fuse = bytes_of(addr, len, FROM_FUSE);
		write_from_fuse += fuse;
		write_else += len - fuse;
	}
}

static int my_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	pthread_mutex_lock(&lock);
	for (const struct ibv_send_wr *i = wr; i; i = i->next)
		saw_command(qp, i);
	pthread_mutex_unlock(&lock);
	return real_send(qp, wr, bad);
}

static int my_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	pthread_mutex_lock(&lock);
	for (; holding && wr && nkept < HELD; wr = wr->next) {
		kept[nkept] = *wr;
		kept_qp[nkept++] = qp;
		held++;
	}
	pthread_mutex_unlock(&lock);
	return wr ? real_recv(qp, wr, bad) : 0;
}

static int my_poll(struct ibv_cq *cq, int max, struct ibv_wc *wcs)
{
	int n = real_poll(cq, max, wcs);

	pthread_mutex_lock(&lock);
	for (int i = 0; swallowing && i < n; i++) {
		if (wcs[i].status != IBV_WC_SUCCESS || !(wcs[i].wr_id & OUR_RECV) || wcs[i].qp_num != io_qp)
			continue;
		memmove(&wcs[i], &wcs[i + 1], (size_t)(n - i - 1) * sizeof(*wcs));
		n--;
		swallowing = false;
		swallowed++;
	}
	pthread_mutex_unlock(&lock);
	return n;
}

/* ---- what the test asks for ---- */

static bool asked(const char *name, bool once_only)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("MEDDLE"), name);
	return once_only ? !unlink(path) : !access(path, F_OK);
}

static void report(void)
{
	char part[512], path[512];
	FILE *f;

	snprintf(part, sizeof(part), "%s/part", getenv("MEDDLE"));
	snprintf(path, sizeof(path), "%s/counts", getenv("MEDDLE"));
	f = fopen(part, "w");
	if (!f)
		return;
	fprintf(f, "reply_by_target=%llu reply_else=%llu write_from_fuse=%llu write_else=%llu swallowed=%llu held=%llu\n",
		(unsigned long long)reply_by_target, (unsigned long long)reply_else, (unsigned long long)write_from_fuse,
		(unsigned long long)write_else, (unsigned long long)swallowed, (unsigned long long)held);
	fclose(f);
	rename(part, path);
}

static void post_kept(void)
{
	struct ibv_recv_wr *bad;

	for (unsigned i = 0; i < nkept; i++) {
		kept[i].next = NULL;
		real_recv(kept_qp[i], &kept[i], &bad);
	}
	nkept = 0;
}

static void break_all(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

	for (unsigned i = 0; i < QPS; i++)
		if (qps[i])
			ibv_modify_qp(qps[i], &attr, IBV_QP_STATE);
}

static void *watch(void *arg)
{
	for (;; usleep(20000)) {
		pthread_mutex_lock(&lock);
		holding = asked("hold", false);
		if (!holding)
			post_kept();
		if (asked("swallow", true))
			swallowing = true;
		if (asked("error", true))
			break_all();
		if (asked("report", true))
			report();
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void begin(void)
{
	pthread_t thread;

	if (getenv("MEDDLE") && !pthread_create(&thread, NULL, watch, NULL))
		pthread_detach(thread);
}

/* ---- connections ---- */

static void take_over(struct ibv_context *verbs)
{
	if (verbs->ops.post_send == my_send)
		return;
	real_send = verbs->ops.post_send;
	real_recv = verbs->ops.post_recv;
	real_poll = verbs->ops.poll_cq;
	verbs->ops.post_send = my_send;
	verbs->ops.post_recv = my_recv;
	verbs->ops.poll_cq = my_poll;
}

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	int (*real)(struct rdma_cm_id *, struct ibv_pd *, struct ibv_qp_init_attr *) = dlsym(RTLD_NEXT, "rdma_create_qp");
	int r = real(id, pd, attr);

	pthread_once(&once, begin);
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; !r && i < QPS; i++) {
		if (qps[i])
			continue;
		qps[i] = id->qp;
		break;
	}
	if (!r)
		take_over(id->verbs);
	pthread_mutex_unlock(&lock);
	return r;
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	void (*real)(struct rdma_cm_id *) = dlsym(RTLD_NEXT, "rdma_destroy_qp");
	unsigned n = 0;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < QPS; i++)
		if (qps[i] == id->qp)
			qps[i] = NULL;
	for (unsigned i = 0; i < nkept; i++) {
		kept[n] = kept[i];
		kept_qp[n] = kept_qp[i];
		n += kept_qp[i] != id->qp;
	}
	nkept = n;
	pthread_mutex_unlock(&lock);
	real(id);
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *param)
{
	int (*real)(struct rdma_cm_id *, struct rdma_conn_param *) = dlsym(RTLD_NEXT, "rdma_connect");
	uint8_t timeout = 12; /* 4.096 us * 2^12 = 17 ms */

	if (getenv("MEDDLE_RETRIES")) {
		param->retry_count = (uint8_t)atoi(getenv("MEDDLE_RETRIES"));
		rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof(timeout));
	}
	return real(id, param);
}

/* ---- the side of /dev/fuse: vectors of more than a header ---- */

static bool is_fuse(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode) && st.st_rdev == (10 << 8 | 229);
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "readv");
	ssize_t got = real(fd, iov, n), left = got;

	if (got <= 0 || n < 2 || !is_fuse(fd))
		return got;
	left -= (ssize_t)iov[0].iov_len;
	pthread_mutex_lock(&lock);
	for (int i = 1; i < n && left > 0; i++) {
		size_t part = (size_t)left < iov[i].iov_len ? (size_t)left : iov[i].iov_len;

		mark((uintptr_t)iov[i].iov_base, part, FROM_FUSE);
		left -= (ssize_t)part;
	}
	pthread_mutex_unlock(&lock);
	return got;
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");

	pthread_mutex_lock(&lock);
	for (int i = 1; i < n && is_fuse(fd); i++) {
		uint64_t target = bytes_of((uintptr_t)iov[i].iov_base, iov[i].iov_len, BY_TARGET);

		if (iov[i].iov_len < 4096) /* replies to other requests */
			continue;
		reply_by_target += target;
		reply_else += iov[i].iov_len - target;
	}
	pthread_mutex_unlock(&lock);
	return real(fd, iov, n);
}
