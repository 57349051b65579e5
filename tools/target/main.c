/* SPDX-License-Identifier: Apache-2.0 */
/* nvofs-target: an NVMe/TCP target for trying and testing. The main thread accepts connections, watches keep-alive
 * timers and waits for SIGTERM or SIGINT; each connection has a thread of its own. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/log.h"
#include "tools/target/options.h"

/* All threads inherit the mask, so the signals arrive here only. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Until a signal comes. */
static void serve(struct tcp_server *s, int signals)
{
	struct pollfd fds[2] = { { s->fd, POLLIN, 0 }, { signals, POLLIN, 0 } };

	while (!(fds[1].revents & POLLIN)) {
		int wait = target_tick(s->target);

		/* A controller that comes while we sleep is looked at within a second. */
		if (poll(fds, 2, wait < 0 ? 1000 : wait) < 0 && errno != EINTR)
			break;
		if (fds[0].revents & POLLIN)
			tcp_server_accept(s);
	}
}

/* Scripts wait for this line: with port 0 it is the only way to learn the port. */
static int announce(const struct tcp_server *s)
{
	char address[320];

	printf("listening on %s\n", tcp_server_address(s, address, sizeof(address)));
	return fflush(stdout) ? -errno : 0;
}

/* -EINVAL only comes from what the user wrote on the command line. */
static int fail(int err, const char *why)
{
	log_error("%s", why);
	return err == -EINVAL ? EXIT_USAGE : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static struct target target;
	struct tcp_server server;
	struct options o;
	char why[512] = "no memory";
	int code, signals, err;

	if (options_parse(&o, argc, argv, &code))
		return code;
	log_init("nvofs-target", o.quiet ? LOG_L_ERROR : o.verbose ? LOG_L_DEBUG : LOG_L_WARN);
	signals = open_signals();
	if (signals < 0)
		return fail(-errno, "signalfd failed");
	err = target_init(&target, &o.target, o.backings, o.nr_backings, why, sizeof(why));
	if (err)
		return fail(err, why);
	target.fault = o.fault;
	err = tcp_server_open(&server, &target, &o.tcp, o.listen, why, sizeof(why));
	if (err) {
		code = fail(err, why);
		goto out_target;
	}
	code = EXIT_FAILURE;
	if (!announce(&server)) {
		serve(&server, signals);
		code = EXIT_SUCCESS;
	}
	tcp_server_close(&server);
out_target:
	target_exit(&target);
	return code;
}
