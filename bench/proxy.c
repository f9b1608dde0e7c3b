/*
 * What the udp backend is held against: a proxy of the design that flannel's has, one packet at a time.
 *
 *     proxy DEVICE MTU TUN-ADDRESS LOCAL-ADDRESS PORT [SUBNET/LENGTH=PEER-ADDRESS]...
 *
 * A TUN device without offloads on one side, a UDP socket on the other; the payload of each datagram is one raw IPv4
 * packet. One thread polls both and drains both until neither has more; a packet costs a system call on each side. It
 * counts as a router: it takes one off the TTL on each way, and tells a sender when it knows no route. Its device has to
 * be given an address and brought up by others once it has said "ready". Every peer listens on the proxy's own port.
 */

#define _GNU_SOURCE /* SOCK_NONBLOCK */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONGEST 65535 /* Octets of an IPv4 packet. */
#define ICMP_TTL 8

struct route {
    in_addr_t network, mask; /* As they stand in a packet. */
    struct sockaddr_in peer;
};

struct proxy {
    int tun, udp;
    size_t mtu; /* Octets of an inner packet. */
    in_addr_t address;
    struct route *routes;
    size_t count;
};

static void configure(struct proxy *proxy, char **words, int count);
static struct route parse_route(char *word, in_port_t port);
static int open_tun(const char *device);
static int open_udp(const char *address, in_port_t port);
static void work(struct proxy *proxy);
static bool send_one(struct proxy *proxy, uint8_t *packet);
static bool receive_one(struct proxy *proxy, uint8_t *packet);
static const struct sockaddr_in *find_peer(struct proxy *proxy, in_addr_t destination);
static bool take_off_ttl(struct iphdr *header);
static void tell_unreachable(struct proxy *proxy, const uint8_t *offender, size_t length);
static uint16_t checksum(const void *data, size_t length);
static in_addr_t parse_address(const char *word);
static _Noreturn void fail(const char *what);

int main(int count, char **words)
{
    struct proxy proxy = {0};

    if (count < 6) {
        fprintf(stderr, "usage: proxy DEVICE MTU TUN-ADDRESS LOCAL-ADDRESS PORT [SUBNET/LENGTH=PEER-ADDRESS]...\n");
        return 2;
    }
    configure(&proxy, words + 1, count - 1);
    puts("ready");
    fflush(stdout);
    work(&proxy);
}

static void configure(struct proxy *proxy, char **words, int count)
{
    in_port_t port = htons((in_port_t)atoi(words[4]));

    proxy->mtu = (size_t)atoi(words[1]);
    if (proxy->mtu < sizeof(struct iphdr) || proxy->mtu > LONGEST)
        fail("MTU");
    proxy->address = parse_address(words[2]);
    proxy->count = (size_t)count - 5;
    proxy->routes = calloc(proxy->count + 1, sizeof *proxy->routes);
    if (!proxy->routes)
        fail("memory");
    for (size_t i = 0; i < proxy->count; i++)
        proxy->routes[i] = parse_route(words[5 + i], port);
    proxy->tun = open_tun(words[0]);
    proxy->udp = open_udp(words[3], port);
}

static struct route parse_route(char *word, in_port_t port)
{
    char *network = strtok(word, "/"), *length = strtok(NULL, "="), *peer = strtok(NULL, "");
    int bits = length ? atoi(length) : -1;
    struct route route = {.peer = {.sin_family = AF_INET, .sin_port = port}};

    if (!peer || bits < 0 || bits > 32)
        fail("a route is SUBNET/LENGTH=PEER-ADDRESS");
    route.mask = bits ? htonl(~0U << (32 - bits)) : 0;
    route.network = parse_address(network) & route.mask;
    route.peer.sin_addr.s_addr = parse_address(peer);
    return route;
}

static int open_tun(const char *device)
{
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    strncpy(wanted.ifr_name, device, IFNAMSIZ - 1);
    if (tun < 0 || ioctl(tun, TUNSETIFF, &wanted) < 0)
        fail(device);
    return tun;
}

static int open_udp(const char *address, in_port_t port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = parse_address(address)};
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (udp < 0 || bind(udp, (struct sockaddr *)&own, sizeof own) < 0)
        fail(address);
    return udp;
}

static void work(struct proxy *proxy)
{
    struct pollfd waited[] = {{.fd = proxy->tun, .events = POLLIN}, {.fd = proxy->udp, .events = POLLIN}};
    uint8_t packet[LONGEST];

    for (;;) {
        bool sent = true, received = true;

        if (poll(waited, 2, -1) < 0 && errno != EINTR)
            fail("poll");
        while (sent || received) {
            sent = send_one(proxy, packet);
            received = receive_one(proxy, packet);
        }
    }
}

/* One packet from the TUN device to its peer; false when there was none. */
static bool send_one(struct proxy *proxy, uint8_t *packet)
{
    ssize_t length = read(proxy->tun, packet, proxy->mtu);
    struct iphdr *header = (struct iphdr *)packet;
    const struct sockaddr_in *peer;

    if (length < 0)
        return false;
    if ((size_t)length < sizeof *header || header->version != 4)
        return true;
    peer = find_peer(proxy, header->daddr);
    if (!peer)
        tell_unreachable(proxy, packet, (size_t)length);
    else if (take_off_ttl(header)) /* What the socket does not take is lost, as on any link. */
        (void)!sendto(proxy->udp, packet, (size_t)length, 0, (const struct sockaddr *)peer, sizeof *peer);
    return true;
}

/* One packet from a peer to the TUN device; false when there was none. */
static bool receive_one(struct proxy *proxy, uint8_t *packet)
{
    ssize_t length = recv(proxy->udp, packet, proxy->mtu, 0);
    struct iphdr *header = (struct iphdr *)packet;

    if (length < 0)
        return errno == ECONNREFUSED; /* An ICMP error that came back is news, too, and no end. */
    if ((size_t)length >= sizeof *header && header->version == 4 && take_off_ttl(header))
        (void)!write(proxy->tun, packet, (size_t)length);
    return true;
}

/* The peer that has the destination. It moves to the front: the next packet is likely to go there as well. */
static const struct sockaddr_in *find_peer(struct proxy *proxy, in_addr_t destination)
{
    for (size_t i = 0; i < proxy->count; i++) {
        struct route found = proxy->routes[i];

        if ((destination & found.mask) != found.network)
            continue;
        if (i > 0) {
            memmove(proxy->routes + 1, proxy->routes, i * sizeof found);
            proxy->routes[0] = found;
        }
        return &proxy->routes[0].peer;
    }
    return NULL;
}

/* Takes one off the TTL, and out of the checksum (RFC 1624, equation 3); false when nothing is left. */
static bool take_off_ttl(struct iphdr *header)
{
    uint16_t before, after;
    uint32_t sum;

    if (header->ttl <= 1)
        return false;
    memcpy(&before, &header->ttl, sizeof before);
    header->ttl--;
    memcpy(&after, &header->ttl, sizeof after);
    sum = (uint16_t)~header->check + (uint32_t)(uint16_t)~before + after;
    sum = (sum & 0xffff) + (sum >> 16);
    header->check = (uint16_t) ~(sum + (sum >> 16));
    return true;
}

/* Network unreachable (RFC 792) to the sender, unless it sent ICMP itself or a later fragment (RFC 1122, 3.2.2). */
static void tell_unreachable(struct proxy *proxy, const uint8_t *offender, size_t length)
{
    const struct iphdr *from = (const struct iphdr *)offender;
    size_t quoted = from->ihl * 4U + 8;
    struct {
        struct iphdr ip;
        struct icmphdr icmp;
        uint8_t quote[15 * 4 + 8];
    } news = {0};

    if (from->protocol == IPPROTO_ICMP || (ntohs(from->frag_off) & IP_OFFMASK))
        return;
    quoted = quoted < length ? quoted : length;
    news.ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = ICMP_TTL, .protocol = IPPROTO_ICMP};
    news.ip.saddr = proxy->address;
    news.ip.daddr = from->saddr;
    news.ip.tot_len = htons((uint16_t)(sizeof news.ip + sizeof news.icmp + quoted));
    news.ip.check = checksum(&news.ip, sizeof news.ip);
    news.icmp.type = ICMP_DEST_UNREACH;
    news.icmp.code = ICMP_NET_UNREACH;
    memcpy(news.quote, offender, quoted);
    news.icmp.checksum = checksum(&news.icmp, sizeof news.icmp + quoted);
    (void)!write(proxy->tun, &news, sizeof news.ip + sizeof news.icmp + quoted);
}

/* Of the Internet (RFC 1071), as it stands in a packet. */
static uint16_t checksum(const void *data, size_t length)
{
    const uint8_t *octets = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < length; i++)
        sum += (uint32_t)octets[i] << (i % 2 ? 0 : 8);
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t) ~(sum + (sum >> 16)));
}

static in_addr_t parse_address(const char *word)
{
    struct in_addr address;

    if (inet_pton(AF_INET, word, &address) != 1)
        fail(word);
    return address.s_addr;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
    exit(1);
}
