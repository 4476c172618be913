/*
 * The reference: what recvmmsg and sendmmsg cost, and nothing else.
 *
 * One thread, one UDP socket, batches of 64. Each datagram is answered with as
 * many bytes as the options name for its action, of which only the first eight
 * (action and transaction ID, so that the load generator can match replies) are
 * written. No tracker can answer the same datagrams for less processor time;
 * how far above it a tracker lies is its own cost.
 *
 *   reference -p PORT [-6] [-i] [-c BYTES] [-a BYTES] [-s BYTES]
 *
 * -6 listens on [::] instead of 0.0.0.0, -i asks for PKTINFO and sends it back
 * (a reply that leaves from the address it was sent to), -c, -a and -s are the
 * sizes of a reply to connect, announce and scrape.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, REQUEST = 2048, REPLY = 2048, CONTROL = 64, BUFFER = 4 << 20 };

static uint8_t request[BATCH][REQUEST];
static uint8_t reply[BATCH][REPLY];
static uint8_t control[BATCH][CONTROL] __attribute__((aligned(8)));
static struct sockaddr_in6 peer[BATCH];
static struct iovec in_vec[BATCH], out_vec[BATCH];
static struct mmsghdr in[BATCH], out[BATCH];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int size_option(const char *text)
{
	int n = atoi(text);
	if (n < 8 || n > REPLY) {
		fprintf(stderr, "reference: a reply has 8 to %d bytes\n", REPLY);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	int port = 0, v6 = 0, pktinfo = 0, opt, on = 1, buffer = BUFFER;
	size_t size[3] = {16, 320, 68}; /* by action: connect, announce, scrape */

	while ((opt = getopt(argc, argv, "p:6ic:a:s:")) != -1) {
		switch (opt) {
		case 'p': port = atoi(optarg); break;
		case '6': v6 = 1; break;
		case 'i': pktinfo = 1; break;
		case 'c': size[0] = size_option(optarg); break;
		case 'a': size[1] = size_option(optarg); break;
		case 's': size[2] = size_option(optarg); break;
		default: return 2;
		}
	}

	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	if (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on))
		fail("IPV6_V6ONLY");
	if (pktinfo && (v6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on)
			   : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)))
		fail("PKTINFO");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	if (bind(fd, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, v6 ? sizeof a6 : sizeof a4))
		fail("bind");

	for (int i = 0; i < BATCH; i++) {
		in_vec[i] = (struct iovec){request[i], REQUEST};
		out_vec[i] = (struct iovec){reply[i], 0};
		in[i].msg_hdr.msg_name = out[i].msg_hdr.msg_name = &peer[i];
		in[i].msg_hdr.msg_iov = &in_vec[i];
		out[i].msg_hdr.msg_iov = &out_vec[i];
		in[i].msg_hdr.msg_iovlen = out[i].msg_hdr.msg_iovlen = 1;
		in[i].msg_hdr.msg_control = out[i].msg_hdr.msg_control = pktinfo ? control[i] : NULL;
	}

	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			in[i].msg_hdr.msg_namelen = sizeof peer[i];
			in[i].msg_hdr.msg_controllen = pktinfo ? CONTROL : 0;
		}
		int n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			fail("recvmmsg");
		}
		int m = 0; /* replies; a datagram too short to be a request gets none */
		for (int i = 0; i < n; i++) {
			if (in[i].msg_len < 16)
				continue;
			unsigned action = request[i][11];
			memcpy(reply[i], request[i] + 8, 8);
			out_vec[i].iov_len = size[action < 3 ? action : 0];
			out[m].msg_hdr.msg_iov = &out_vec[i];
			out[m].msg_hdr.msg_name = &peer[i];
			out[m].msg_hdr.msg_namelen = in[i].msg_hdr.msg_namelen;
			out[m].msg_hdr.msg_control = in[i].msg_hdr.msg_controllen ? control[i] : NULL;
			out[m].msg_hdr.msg_controllen = in[i].msg_hdr.msg_controllen;
			/* The interface index would bind the reply to lo; the kernel picks the route. */
			if (pktinfo && !v6)
				((struct in_pktinfo *)CMSG_DATA((struct cmsghdr *)control[i]))->ipi_ifindex = 0;
			m++;
		}
		for (int sent = 0; sent < m;) {
			int k = sendmmsg(fd, out + sent, m - sent, 0);
			if (k < 0 && errno != EINTR)
				k = 1; /* the kernel refused this one; the rest still goes */
			if (k > 0)
				sent += k;
		}
	}
}
