#include "host/local.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/config.h"

enum { ANY_PORT = 9 }; /* nothing is sent there */

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr *b)
{
    if (a->ss_family != b->sa_family)
        return false;
    if (b->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

/* To itself, and only to itself, a host sends from the address that it sends to. -1: there is no way there, so that it
 * may be one that this host does not have yet. */
static int is_own(const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_storage from = {0};
    socklen_t from_size = sizeof from;
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), own = 0;

    if (fd < 0)
        return 0;
    if (connect(fd, address, size) == 0)
        own = getsockname(fd, (struct sockaddr *)&from, &from_size) == 0 && same_address(&from, address);
    else if (errno == ENETUNREACH)
        own = -1;
    close(fd);
    return own;
}

bool address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
}

static void set_port(struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = htons(ANY_PORT);
    else
        ((struct sockaddr_in6 *)address)->sin6_port = htons(ANY_PORT);
}

int host_is_local(const char *host, const char **ret_reason)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *list = NULL;
    int error, answer = -1;

    if (config_host_is_loopback(host)) /* also where nothing looks names up */
        return 1;
    error = getaddrinfo(host, NULL, &hints, &list);
    if (error != 0) {
        *ret_reason = gai_strerror(error);
        return -1;
    }
    *ret_reason = strerror(ENETUNREACH);
    for (const struct addrinfo *i = list; i && answer <= 0; i = i->ai_next) {
        if (i->ai_family != AF_INET && i->ai_family != AF_INET6)
            continue;
        set_port(i->ai_addr);
        /* What it sends to another loopback address, it sends from 127.0.0.1. */
        int own = address_is_loopback(i->ai_addr) ? 1 : is_own(i->ai_addr, i->ai_addrlen);
        if (own > answer)
            answer = own;
    }
    freeaddrinfo(list);
    return answer;
}
