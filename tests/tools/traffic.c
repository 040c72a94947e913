/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "traffic.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVERY_US     (TRAFFIC_PING_MS * 1000)
#define PINGS_MAX    20000
#define CLIENTS_MAX  8
#define FIRST_MS     20000u
#define STRAGGLER_US 1000000

struct Traffic {
	gint stop, stop_ping;
	GThread *server, *pinger;
	int listener, icmp, rarp;
	struct sockaddr_in guest;
	gint measuring;
	gint64 last_echo_us;
	TrafficReport report;
	guint8 answers[PINGS_MAX];
};

/* ------------------------------------------------------------------------ echo */

static void note_echo(Traffic *traffic)
{
	gint64 now_us = g_get_monotonic_time();

	if (g_atomic_int_get(&traffic->measuring) && traffic->last_echo_us)
		traffic->report.silent_ms = MAX(traffic->report.silent_ms,
						(double)(now_us - traffic->last_echo_us) / 1000);
	traffic->last_echo_us = now_us;
}

static gboolean echo(Traffic *traffic, int fd)
{
	char data[65536];
	ssize_t got = recv(fd, data, sizeof(data), 0);

	for (ssize_t done = 0; done < got;) {
		ssize_t sent = send(fd, data + done, (size_t)(got - done), MSG_NOSIGNAL);

		if (sent <= 0)
			return FALSE;
		done += sent;
	}
	note_echo(traffic);
	traffic->report.echoed_bytes += got > 0 ? (guint64)got : 0;
	return got > 0;
}

static gpointer serve(gpointer opaque)
{
	Traffic *traffic = opaque;
	struct pollfd fds[1 + CLIENTS_MAX] = {{.fd = traffic->listener, .events = POLLIN}};
	nfds_t count = 1;

	while (!g_atomic_int_get(&traffic->stop)) {
		if (poll(fds, count, 100) <= 0)
			continue;
		for (nfds_t i = count - 1; i > 0; i--) {
			if (!fds[i].revents || echo(traffic, fds[i].fd))
				continue;
			close(fds[i].fd);
			fds[i] = fds[--count];
		}
		if (fds[0].revents && count <= CLIENTS_MAX) {
			fds[count] = (struct pollfd){.events = POLLIN};
			fds[count].fd = accept4(traffic->listener, NULL, NULL, SOCK_CLOEXEC);
			if (fds[count].fd >= 0) {
				count++;
				traffic->report.connections +=
					g_atomic_int_get(&traffic->measuring);
			}
		}
	}
	while (count > 1)
		close(fds[--count].fd);
	return NULL;
}

/* ------------------------------------------------------------------------ ping */

static guint16 checksum(const void *data, gsize length)
{
	const guint16 *words = data;
	guint32 sum = 0;

	for (gsize i = 0; i < length / 2; i++)
		sum += words[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (guint16)~sum;
}

static void send_ping(Traffic *traffic, guint number)
{
	struct icmphdr header = {.type = ICMP_ECHO};

	header.un.echo.id = htons((guint16)getpid());
	header.un.echo.sequence = htons((guint16)number);
	header.checksum = checksum(&header, sizeof(header));
	sendto(traffic->icmp, &header, sizeof(header), 0, (struct sockaddr *)&traffic->guest,
	       sizeof(traffic->guest));
}

/* The number of a ping whose answer has come, or -1. */
static int take_answer(Traffic *traffic)
{
	char data[2048];
	ssize_t got = recv(traffic->icmp, data, sizeof(data), MSG_DONTWAIT);
	const struct iphdr *ip = (void *)data;
	const struct icmphdr *header = (void *)(data + ip->ihl * 4);

	if (got < (ssize_t)(ip->ihl * 4 + sizeof(*header)) || header->type != ICMP_ECHOREPLY ||
	    ntohs(header->un.echo.id) != (guint16)getpid() ||
	    ip->saddr != traffic->guest.sin_addr.s_addr)
		return -1;
	return ntohs(header->un.echo.sequence);
}

/* Answers that come until @end_us. */
static void collect(Traffic *traffic, gint64 end_us, gint64 *last_us)
{
	for (;;) {
		gint64 now_us = g_get_monotonic_time();
		struct pollfd pollfd = {.fd = traffic->icmp, .events = POLLIN};
		int number;

		if (now_us >= end_us ||
		    poll(&pollfd, 1, (int)((end_us - now_us + 999) / 1000)) <= 0)
			return;
		number = take_answer(traffic);
		if (number < 0 || number >= PINGS_MAX)
			continue;
		now_us = g_get_monotonic_time();
		if (traffic->answers[number]++)
			traffic->report.twice++;
		if (*last_us)
			traffic->report.longest_ms =
				MAX(traffic->report.longest_ms, (double)(now_us - *last_us) / 1000);
		*last_us = now_us;
	}
}

static gpointer ping(gpointer opaque)
{
	Traffic *traffic = opaque;
	gint64 next_us = g_get_monotonic_time(), last_us = 0, none_us = 0;
	guint sent = 0;

	while (!g_atomic_int_get(&traffic->stop_ping) && sent < PINGS_MAX) {
		send_ping(traffic, sent++);
		next_us = MAX(next_us + EVERY_US, g_get_monotonic_time());
		collect(traffic, next_us, &last_us);
	}
	collect(traffic, g_get_monotonic_time() + STRAGGLER_US, last_us ? &none_us : &last_us);
	traffic->report.sent = sent;
	for (guint i = 0; i < sent; i++)
		traffic->report.lost += !traffic->answers[i];
	return NULL;
}

/* --------------------------------------------------------------------- begin, end */

static void end(gpointer opaque)
{
	Traffic *traffic = opaque;

	g_atomic_int_set(&traffic->stop, 1);
	g_atomic_int_set(&traffic->stop_ping, 1);
	g_thread_join(traffic->server);
	if (traffic->pinger)
		g_thread_join(traffic->pinger);
	close(traffic->listener);
	close(traffic->icmp);
	close(traffic->rarp);
	g_free(traffic);
}

Traffic *traffic_serve(LmTest *test, const char *address, int port)
{
	Traffic *traffic = g_new0(Traffic, 1);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((guint16)port)};
	int one = 1;

	inet_pton(AF_INET, address, &at.sin_addr);
	traffic->icmp = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	traffic->rarp =
		socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_RARP));
	traffic->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(traffic->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(traffic->listener, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	assert_true(traffic->icmp >= 0);
	assert_int_equal(bind(traffic->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(traffic->listener, CLIENTS_MAX), 0);
	traffic->server = g_thread_new("echo", serve, traffic);
	lm_test_cleanup_later(test, end, traffic);
	return traffic;
}

static gboolean answers(void *opaque)
{
	Traffic *traffic = opaque;

	send_ping(traffic, PINGS_MAX);
	g_usleep(EVERY_US);
	return take_answer(traffic) >= 0;
}

static gboolean has_echoed(void *opaque)
{
	const Traffic *traffic = opaque;

	return traffic->report.echoed_bytes > 0;
}

void traffic_begin(Traffic *traffic)
{
	assert_true(lm_wait_until(has_echoed, traffic, FIRST_MS));
	g_atomic_int_set(&traffic->measuring, 1);
	g_usleep(500000); /* what comes before counts as well as what comes after */
}

void traffic_ping(Traffic *traffic, const char *address)
{
	traffic->guest.sin_family = AF_INET;
	inet_pton(AF_INET, address, &traffic->guest.sin_addr);
	assert_true(lm_wait_until(answers, traffic, FIRST_MS));
	traffic->pinger = g_thread_new("ping", ping, traffic);
	traffic_begin(traffic);
}

TrafficReport traffic_stop(Traffic *traffic)
{
	g_usleep(1000000);
	g_atomic_int_set(&traffic->stop_ping, 1);
	g_atomic_int_set(&traffic->measuring, 0);
	if (traffic->pinger)
		g_thread_join(traffic->pinger);
	traffic->pinger = NULL;
	while (recv(traffic->rarp, &(char){0}, 1, 0) >= 0)
		traffic->report.announcements++;
	return traffic->report;
}

void traffic_note(const char *about, const TrafficReport *report)
{
	lm_test_note("%s: %u pings, %u lost, %u twice; longest time without an answer %.1f ms; "
		     "%u announcements; %u new connections, %" G_GUINT64_FORMAT
		     " KiB echoed, at most %.1f ms apart",
		     about, report->sent, report->lost, report->twice, report->longest_ms,
		     report->announcements, report->connections, report->echoed_bytes >> 10,
		     report->silent_ms);
}
