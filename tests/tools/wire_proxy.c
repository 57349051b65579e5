/* SPDX-License-Identifier: Apache-2.0 */
/* wire_proxy PORT: a TCP proxy on loopback in front of 127.0.0.1:PORT; prints "listening on 127.0.0.1:N". SIGUSR1 arms
 * it to flip one bit of the next bulk data towards the client, SIGUSR2 towards the server; it prints "flipped" when it
 * did. SIGSTOP makes it a network that swallows everything; ending it cuts all connections. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* BULK: what is longer than any header with a small command's data, so that the flip hits data and not a header. */
enum { MAX_FDS = 128, CHUNK = 65536, BULK = 3000 };

static volatile sig_atomic_t flip_to_client, flip_to_server;
/* fds[0] listens; then pairs: fds[odd] is a client's connection, fds[odd + 1] the server's end of it. */
static struct pollfd fds[MAX_FDS];
static unsigned nr_fds;

static void arm(int signal_number)
{
	if (signal_number == SIGUSR1)
		flip_to_client = 1;
	else
		flip_to_server = 1;
}

static struct sockaddr_in loopback(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static int listen_anywhere(void)
{
	struct sockaddr_in a = loopback(0);
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&a, &len)) {
		perror("wire_proxy");
		exit(1);
	}
	printf("listening on 127.0.0.1:%u\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void add_pair(unsigned port)
{
	struct sockaddr_in a = loopback(port);
	int client = accept(fds[0].fd, NULL, NULL), server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (client < 0)
		return;
	if (server < 0 || nr_fds + 2 > MAX_FDS || connect(server, (struct sockaddr *)&a, sizeof(a))) {
		close(client);
		close(server);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fds[nr_fds++] = (struct pollfd){ .fd = client, .events = POLLIN };
	fds[nr_fds++] = (struct pollfd){ .fd = server, .events = POLLIN };
}

static void flip(char *buf, ssize_t n, volatile sig_atomic_t *armed)
{
	if (!*armed || n < BULK)
		return;
	buf[n / 2] ^= 0x10;
	*armed = 0;
	printf("flipped\n");
	fflush(stdout);
}

/* Moves what there is from one end to the other; returns 0 when the pair is at its end. */
static int move(unsigned from)
{
	static char buf[CHUNK];
	unsigned to = from % 2 ? from + 1 : from - 1;
	ssize_t n = read(fds[from].fd, buf, sizeof(buf)), done = 0;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	flip(buf, n, from % 2 ? &flip_to_server : &flip_to_client);
	while (done < n) {
		ssize_t w = send(fds[to].fd, buf + done, (size_t)(n - done), MSG_NOSIGNAL);

		if (w < 0 && errno != EINTR)
			return 0;
		done += w > 0 ? w : 0;
	}
	return 1;
}

static void drop_pair(unsigned one)
{
	unsigned first = one % 2 ? one : one - 1;

	close(fds[first].fd);
	close(fds[first + 1].fd);
	fds[first + 1] = fds[nr_fds - 1];
	fds[first] = fds[nr_fds - 2];
	nr_fds -= 2;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = arm };

	if (argc != 2) {
		fprintf(stderr, "usage: wire_proxy PORT\n");
		return 2;
	}
	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGUSR2, &act, NULL);
	fds[nr_fds++] = (struct pollfd){ .fd = listen_anywhere(), .events = POLLIN };
	for (;;) {
		if (poll(fds, nr_fds, -1) < 0)
			continue;
		for (unsigned i = nr_fds - 1; i > 0; i--)
			if (i < nr_fds && fds[i].revents && !move(i))
				drop_pair(i);
		if (fds[0].revents)
			add_pair((unsigned)atoi(argv[1]));
	}
}
