/* SPDX-License-Identifier: Apache-2.0 */
/* Ending on request. One thread receives the signals; unmounting is another's work, since it waits until the kernel has
 * written its dirty pages through us.
 *
 *   MOUNTING --signal--> exit at once (nothing of ours is on the device)
 *   RUNNING  --signal--> unmount (busy: detach, ends with the last user)  --second signal--> end without the kernel
 *   ENDING   --after a signal, target away for GIVE_UP_S--> fail what is outstanding, so that the process ends */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>
#undef BLOCK_SIZE /* sys/mount.h has one of its own, 1024 */

#include "base/err.h"
#include "base/log.h"
#include "fs/fuse_front.h"
#include "tools/nvofs.h"
#include "transport/ns.h"

#define GIVE_UP_S 10u

extern char **environ;

static struct {
	pthread_mutex_t lock;
	enum nvofs_state state;
	struct fuse_front *front;
	struct ns *ns;
	const char *mountpoint;
	unsigned signals, away; /* received; seconds without target since ENDING */
	sigset_t set;
} sig = { .lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP }; /* fuse_front_abort calls back nvofs_signals_state */

void nvofs_signals_block(void)
{
	sigemptyset(&sig.set);
	sigaddset(&sig.set, SIGTERM);
	sigaddset(&sig.set, SIGINT);
	sigaddset(&sig.set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &sig.set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void nvofs_signals_state(enum nvofs_state state, struct fuse_front *front, struct ns *ns)
{
	pthread_mutex_lock(&sig.lock);
	sig.state = state;
	sig.front = front;
	sig.ns = ns;
	pthread_mutex_unlock(&sig.lock);
}

/* fusermount3 -u [-z], for who may not call umount(2); 0 if it succeeded. */
static int fusermount(bool lazy)
{
	char *const argv[] = { "fusermount3", "-u", "-q", lazy ? "-z" : "--", lazy ? "--" : (char *)sig.mountpoint,
			       lazy ? (char *)sig.mountpoint : NULL, NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;
	int status = -1;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (!posix_spawnp(&pid, "fusermount3", NULL, &attr, argv, environ))
		waitpid(pid, &status, 0);
	posix_spawnattr_destroy(&attr);
	return status;
}

static int unmount(bool lazy)
{
	if (!geteuid())
		return umount2(sig.mountpoint, lazy ? MNT_DETACH : 0);
	return fusermount(lazy);
}

static void *unmount_main(void *arg)
{
	if (!unmount(false))
		return NULL;
	if (!unmount(true))
		log_warn("%s is in use: detached, its last user ends it", sig.mountpoint);
	else
		log_error("%s cannot be unmounted: %s", sig.mountpoint, strerror(errno));
	return NULL;
}

static void end_running(void)
{
	pthread_t thread;

	if (sig.signals == 1 && strncmp(sig.mountpoint, "/dev/fd/", 8)) {
		if (!pthread_create(&thread, NULL, unmount_main, NULL)) {
			pthread_detach(thread);
			return;
		}
	}
	log_warn("ending without the kernel's consent; what it had not written yet is lost");
	fuse_front_abort(sig.front);
}

static void watch_target(void)
{
	if (sig.state != NVOFS_ENDING || !sig.signals || !sig.ns || ns_info(sig.ns)->connected) {
		sig.away = 0;
		return;
	}
	if (++sig.away == GIVE_UP_S) {
		log_error("the target does not come back; giving up what was not written");
		ns_give_up(sig.ns, -E_LOST);
	}
}

static void *signals_main(void *arg)
{
	const struct timespec second = { .tv_sec = 1 };

	for (;;) {
		int got = sigtimedwait(&sig.set, NULL, &second);

		pthread_mutex_lock(&sig.lock);
		if (got > 0) {
			sig.signals++;
			if (sig.state == NVOFS_MOUNTING) {
				log_error("interrupted");
				_exit(EXIT_INTERRUPTED);
			}
			if (sig.state == NVOFS_RUNNING)
				end_running();
		}
		watch_target();
		pthread_mutex_unlock(&sig.lock);
	}
	return NULL;
}

int nvofs_signals_start(const char *mountpoint)
{
	pthread_t thread;
	int err;

	sig.mountpoint = mountpoint;
	err = -pthread_create(&thread, NULL, signals_main, NULL);
	if (!err)
		pthread_detach(thread);
	return err;
}
