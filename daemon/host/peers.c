#include "host/peers.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/faults.h"
#include "host/local.h"
#include "host/log.h"
#include "wire/seal.h"

enum {
    RECEIVE_BUFFER_SIZE = 64 << 10,
    SILENT_SHARE = 8,      /* of how many parts of the send buffer peers that are not heard may fill one */
    OVERHEAD_BYTES = 1024, /* besides twice its size, the system counts less for a datagram              */
};
/* Of log_limited(): 18 to 21 are the driver's. */
enum { LOG_KIND_LOOKUP = 16, LOG_KIND_SEND = 17, LOG_KIND_RECEIVE = 22 };

static const char cut_off[] = "it cannot be reached from this replica's own address";

struct lookup {
    uv_getaddrinfo_t request;
    struct peers *peers; /* NULL: closed meanwhile */
    size_t peer;
};

struct address {
    struct peer_address name;
    struct sockaddr_storage socket;
    socklen_t socket_size; /* 0: not known yet */
    bool is_numeric;
    struct lookup *lookup; /* under way */
    uint64_t lookup_usec;  /* the next one */
    uint64_t heard_usec;
    char note[160];
};

struct peers {
    struct peers_options options;
    int fd, family;
    uv_poll_t poll;
    void (*closed)(void *user);
    void *closed_user;
    uint32_t receive_bytes, send_bytes;
    struct peers_counters counters;

    unsigned n_batch;
    uint64_t batch_silent_bytes; /* of the buffer, for those to peers that are not heard */
    struct mmsghdr batch[PEERS_SEND_BATCH];
    struct iovec parts[PEERS_SEND_BATCH][2];
    size_t batch_peer[PEERS_SEND_BATCH];
    uint8_t headers[PEERS_SEND_BATCH][DATAGRAM_HEADER_SIZE];

    struct mmsghdr in[PEERS_RECEIVE_BATCH];
    struct iovec in_parts[PEERS_RECEIVE_BATCH];
    struct sockaddr_storage in_from[PEERS_RECEIVE_BATCH];
    uint8_t *in_buffers;

    size_t n;
    struct address addresses[REPLICAS_MAX];
};

static bool are_loopback(const struct addrinfo *list)
{
    while (list != NULL && address_is_loopback(list->ai_addr))
        list = list->ai_next;
    return list == NULL;
}

/* Of two addresses of one family. */
static bool is_lower(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)a)->sin_addr, &((const struct sockaddr_in *)b)->sin_addr,
                      sizeof(struct in_addr)) < 0;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) < 0;
}

/* The address of a wanted family. Others' before a loopback one, which /etc/hosts may give a host's own name; of
 * AF_UNSPEC IPv4 before IPv6; then the lowest, since DNS turns their order at each answer: so all replicas choose
 * alike, and each time. */
static const struct addrinfo *choose_address(const struct addrinfo *list, int family)
{
    const struct addrinfo *best = NULL;
    int best_rank = 0;
    for (const struct addrinfo *i = list; i != NULL; i = i->ai_next) {
        bool is_ipv6 = i->ai_family == AF_INET6;
        if (i->ai_addrlen > sizeof(struct sockaddr_storage) || (!is_ipv6 && i->ai_family != AF_INET) ||
            (family != AF_UNSPEC && i->ai_family != family))
            continue;
        int rank = 2 * address_is_loopback(i->ai_addr) + is_ipv6;
        if (best == NULL || rank < best_rank || (rank == best_rank && is_lower(i->ai_addr, best->ai_addr))) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

static int look_up_now(const struct peer_address *a, int flags, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = flags | AI_NUMERICSERV};
    char port[8];
    snprintf(port, sizeof(port), "%u", a->port);
    int error = getaddrinfo(a->host, port, &hints, ret);
    /* RFC 6761, section 6.3: the names of the loopback mean it, whether a resolver does not know them or has another
     * address for them, to which datagrams would go without a key. */
    if (!config_host_is_loopback(a->host) || (error == 0 && are_loopback(*ret)))
        return error;
    if (error == 0)
        freeaddrinfo(*ret);
    return getaddrinfo("127.0.0.1", port, &hints, ret);
}

static void set_address(struct peers *p, struct address *a, const struct addrinfo *list)
{
    const struct addrinfo *i = choose_address(list, p->family);
    if (i == NULL) {
        snprintf(a->note, sizeof(a->note), "its address is not %s, as this replica's own is",
                 p->family == AF_INET ? "IPv4" : "IPv6");
        log_limited(LOG_KIND_LOOKUP, LOG_LEVEL_WARNING, "replica %u (%s): %s; give all replicas addresses of one kind",
                    a->name.id, a->name.host, a->note);
        return;
    }
    memcpy(&a->socket, i->ai_addr, i->ai_addrlen);
    a->socket_size = i->ai_addrlen;
    a->note[0] = 0;
}

static void note_failed_lookup(struct address *a, const char *reason)
{
    snprintf(a->note, sizeof(a->note), "its name cannot be looked up: %s", reason);
    log_limited(LOG_KIND_LOOKUP, LOG_LEVEL_WARNING,
                "replica %u: the name %s cannot be looked up: %s; it is tried again every second. Check it in the "
                "configuration, or DNS",
                a->name.id, a->name.host, reason);
}

static void looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *l = (struct lookup *)request;
    struct peers *p = l->peers;
    if (p != NULL) {
        struct address *a = &p->addresses[l->peer];
        uint64_t now_usec = uv_hrtime() / 1000;
        a->lookup = NULL;
        a->lookup_usec = now_usec + (status == 0 ? PEERS_LOOKUP_USEC : PEERS_LOOKUP_SOON_USEC);
        if (status == 0)
            set_address(p, a, list);
        else if (a->socket_size == 0) /* else the last answer serves on */
            note_failed_lookup(a, uv_strerror(status));
    }
    uv_freeaddrinfo(list);
    free(l);
}

static void start_lookup(struct peers *p, size_t peer, uint64_t now_usec)
{
    struct address *a = &p->addresses[peer];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    struct lookup *l = malloc(sizeof(*l));
    a->lookup_usec = now_usec + PEERS_LOOKUP_SOON_USEC;
    if (l == NULL)
        return;
    l->peers = p;
    l->peer = peer;
    snprintf(port, sizeof(port), "%u", a->name.port);
    if (uv_getaddrinfo(p->options.loop, &l->request, looked_up, a->name.host, port, &hints) < 0) {
        free(l);
        return;
    }
    a->lookup = l;
}

void peers_tick(struct peers *p, uint64_t now_usec)
{
    for (size_t i = 0; i < p->n; i++) {
        struct address *a = &p->addresses[i];
        if (!a->is_numeric && a->lookup == NULL && now_usec >= a->lookup_usec)
            start_lookup(p, i, now_usec);
    }
}

/* Numbers, and names of the loopback, are known at once; other names are asked for by the loop. */
static void add_address(struct peers *p, const struct peer_address *name, uint64_t now_usec)
{
    size_t peer = p->n++;
    struct address *a = &p->addresses[peer];
    struct addrinfo *list;
    bool is_local = config_host_is_loopback(name->host);
    a->name = *name;
    int error = look_up_now(name, is_local ? 0 : AI_NUMERICHOST, &list);
    if (error == 0) {
        a->is_numeric = true;
        set_address(p, a, list);
        freeaddrinfo(list);
    } else if (is_local) {
        note_failed_lookup(a, gai_strerror(error));
        a->lookup_usec = now_usec + PEERS_LOOKUP_SOON_USEC;
    } else {
        snprintf(a->note, sizeof(a->note), "its name is being looked up");
    }
}

static uint32_t raise_buffer(int fd, int force, int option)
{
    int bytes = PEERS_SOCKET_BYTES, got = 0;
    socklen_t size = sizeof(got);
    if (setsockopt(fd, SOL_SOCKET, force, &bytes, sizeof(bytes)) < 0)
        setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof(bytes));
    getsockopt(fd, SOL_SOCKET, option, &got, &size);
    return got < 0 ? 0 : (uint32_t)got;
}

static const char *bind_remedy(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another process has this port: stop it, or change \"port\" in the configuration";
    case EADDRNOTAVAIL:
        return "this address is not one of this host: is this the right replica (-i), and is \"ip\" right in the "
               "configuration?";
    case EACCES:
        return "ports below 1024 need a privilege: choose a higher \"port\" in the configuration";
    default:
        return "check \"ip\" and \"port\" in the configuration";
    }
}

/* Looked up at once; a name that is not known yet may be one more of this host's. */
static bool is_elsewhere(const struct peer_address *a)
{
    struct addrinfo *list;
    if (config_host_is_loopback(a->host) || look_up_now(a, 0, &list) != 0)
        return false;
    const struct addrinfo *i = choose_address(list, AF_UNSPEC);
    bool elsewhere = i != NULL && !address_is_loopback(i->ai_addr);
    freeaddrinfo(list);
    return elsewhere;
}

/* From a loopback address nothing gets to another host: a name that means one, as Debian's /etc/hosts has it of the
 * host's own, must not cut this replica off in silence. Where all names mean this host, it is as good as any. */
static int check_reach(const struct peers_options *o, const struct addrinfo *own)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (config_host_is_loopback(o->self.host) || !address_is_loopback(own->ai_addr))
        return 0;
    for (size_t i = 0; i < o->n_others; i++) {
        const struct peer_address *other = &o->others[i];
        if (strcmp(other->host, o->self.host) == 0 || !is_elsewhere(other))
            continue;
        getnameinfo(own->ai_addr, own->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
        log_line(LOG_LEVEL_ERROR,
                 "own name %s is %s, a loopback address, from which replica %u (%s) cannot be reached: correct "
                 "/etc/hosts, where the name must stand if nss-myhostname made it that, or write this host's address "
                 "as \"ip\" of replica %u in the configuration",
                 o->self.host, text, other->id, other->host, o->self.id);
        return -EADDRNOTAVAIL;
    }
    return 0;
}

static int bind_to(struct peers *p, const struct addrinfo *own)
{
    const struct peer_address *self = &p->options.self;
    int result = own == NULL ? -EAFNOSUPPORT : 0;
    if (own != NULL) {
        p->family = own->ai_family;
        p->fd = socket(p->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (p->fd < 0 || bind(p->fd, own->ai_addr, own->ai_addrlen) < 0)
            result = -errno;
    }
    if (result < 0)
        log_line(LOG_LEVEL_ERROR, "UDP %s port %u: cannot be bound: %s; %s", self->host, self->port, strerror(-result),
                 bind_remedy(-result));
    return result;
}

static int bind_socket(struct peers *p, const struct peers_options *o)
{
    struct addrinfo *list;
    int error = look_up_now(&o->self, 0, &list);
    if (error != 0) {
        log_line(LOG_LEVEL_ERROR, "own address %s: %s; check \"ip\" of replica %u in the configuration, or DNS",
                 o->self.host, gai_strerror(error), o->self.id);
        return -EADDRNOTAVAIL;
    }
    const struct addrinfo *own = choose_address(list, AF_UNSPEC);
    int result = own != NULL ? check_reach(o, own) : 0;
    if (result == 0)
        result = bind_to(p, own);
    freeaddrinfo(list);
    return result;
}

/* Datagrams go whole or not at all: one lost fragment would lose all of them. Not by _DO, which goes by what ICMP says
 * of the way: anybody can forge that it takes 552 bytes, and the system would believe it for ten minutes. */
static void forbid_fragments(const struct peers *p)
{
    int v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;
    if (p->family == AF_INET)
        setsockopt(p->fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof(v4));
    else
        setsockopt(p->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof(v6));
}

static void prepare_buffers(struct peers *p)
{
    for (size_t i = 0; i < PEERS_RECEIVE_BATCH; i++) {
        p->in_parts[i] =
            (struct iovec){.iov_base = p->in_buffers + i * RECEIVE_BUFFER_SIZE, .iov_len = RECEIVE_BUFFER_SIZE};
        p->in[i].msg_hdr = (struct msghdr){.msg_name = &p->in_from[i],
                                           .msg_namelen = sizeof(p->in_from[i]),
                                           .msg_iov = &p->in_parts[i],
                                           .msg_iovlen = 1};
    }
    for (size_t i = 0; i < PEERS_SEND_BATCH; i++) {
        p->parts[i][0] = (struct iovec){.iov_base = p->headers[i], .iov_len = DATAGRAM_HEADER_SIZE};
        p->batch[i].msg_hdr = (struct msghdr){.msg_iov = p->parts[i], .msg_iovlen = 2};
    }
}

int peers_open(const struct peers_options *o, struct peers **ret)
{
    if (o->n_others > REPLICAS_MAX)
        return -EINVAL;
    struct peers *p = calloc(1, sizeof(*p));
    if (p != NULL)
        p->in_buffers = malloc((size_t)PEERS_RECEIVE_BATCH * RECEIVE_BUFFER_SIZE);
    if (p == NULL || p->in_buffers == NULL) {
        free(p);
        log_line(LOG_LEVEL_ERROR, "out of memory for the replicas' socket");
        return -ENOMEM;
    }
    p->options = *o;
    p->options.others = NULL;
    p->fd = -1;
    int error = bind_socket(p, o);
    if (error < 0) {
        peers_free(p);
        return error;
    }
    forbid_fragments(p);
    p->receive_bytes = raise_buffer(p->fd, SO_RCVBUFFORCE, SO_RCVBUF);
    p->send_bytes = raise_buffer(p->fd, SO_SNDBUFFORCE, SO_SNDBUF);
    prepare_buffers(p);
    for (size_t i = 0; i < o->n_others; i++)
        add_address(p, &o->others[i], uv_hrtime() / 1000);
    *ret = p;
    return 0;
}

/* What is refused is dropped fast, and a flood of it must not keep a peer's datagrams waiting until the buffer is full.
 * Then the journal, the peers and the clients get their turn, and the loop comes back. */
static void readable(uv_poll_t *poll, int status, int events)
{
    struct peers *p = poll->data;
    unsigned taken = 0;
    (void)events;
    if (status < 0)
        p->counters.receive_errors++;
    for (int round = 0; round < PEERS_RECEIVE_ROUNDS && taken < PEERS_RECEIVE_TAKEN; round++) {
        int n = recvmmsg(p->fd, p->in, PEERS_RECEIVE_BATCH, MSG_DONTWAIT, NULL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            p->counters.receive_errors++; /* an ICMP answer to something that was sent */
        for (int i = 0; i < n; i++) {
            p->counters.received++;
            p->counters.bytes_received += p->in[i].msg_len;
            taken += p->options.received(p->options.user, &p->in_from[i], p->in_parts[i].iov_base, p->in[i].msg_len);
        }
        if (n < PEERS_RECEIVE_BATCH)
            break;
    }
    if (status < 0) { /* libuv has stopped watching for it; recvmmsg() took the error away */
        log_limited(LOG_KIND_RECEIVE, LOG_LEVEL_WARNING,
                    "the replicas' socket had an error, as when an administrator closes it (ss -K); it is read again");
        uv_poll_start(poll, UV_READABLE, readable);
    }
}

int peers_start(struct peers *p)
{
    int error = uv_poll_init(p->options.loop, &p->poll, p->fd);
    if (error < 0)
        return error;
    p->poll.data = p;
    peers_tick(p, uv_hrtime() / 1000);
    return uv_poll_start(&p->poll, UV_READABLE, readable);
}

void peers_heard(struct peers *p, size_t peer, uint64_t now_usec)
{
    p->addresses[peer].heard_usec = now_usec;
}

/* 1. A host of this network loses its power, and soon the system does not know its link address any more. 2. What is
 * sent there it keeps while it asks for that, some 200 kB for three seconds, again and again, and counts it as this
 * socket's. 3. A few such hosts fill the buffer, and nothing leaves for those that live. Handshakes are few and small,
 * and through them a peer is heard again. */
static bool is_left_out(struct peers *p, const struct address *a, size_t rest_size, uint64_t now_usec)
{
    int waiting = 0;
    if (now_usec < a->heard_usec + PEERS_SILENCE_USEC || rest_size <= SEAL_HELLO_SIZE - DATAGRAM_HEADER_SIZE ||
        ioctl(p->fd, SIOCOUTQ, &waiting) < 0)
        return false;
    p->batch_silent_bytes += 2 * (DATAGRAM_HEADER_SIZE + rest_size) + OVERHEAD_BYTES;
    return (uint64_t)waiting + p->batch_silent_bytes > p->send_bytes / SILENT_SHARE;
}

void peers_queue(struct peers *p, size_t peer, const uint8_t header[DATAGRAM_HEADER_SIZE], const uint8_t *rest,
                 size_t rest_size, uint64_t now_usec)
{
    struct address *a = &p->addresses[peer];
    if (p->options.faults != NULL && faults_drop(p->options.faults, FAULT_OUT, a->name.id, now_usec)) {
        p->counters.dropped_injected++;
        return;
    }
    if (p->n_batch == PEERS_SEND_BATCH)
        peers_flush(p);
    if (a->socket_size == 0 || is_left_out(p, a, rest_size, now_usec)) {
        p->counters.send_errors++;
        return;
    }
    unsigned i = p->n_batch++;
    memcpy(p->headers[i], header, DATAGRAM_HEADER_SIZE);
    p->parts[i][1] = (struct iovec){.iov_base = (void *)rest, .iov_len = rest_size};
    p->batch[i].msg_hdr.msg_name = &a->socket;
    p->batch[i].msg_hdr.msg_namelen = a->socket_size;
    p->batch_peer[i] = peer;
}

/* One datagram that the system did not take. */
static void note_send_error(struct peers *p, unsigned i, int error)
{
    struct address *a = &p->addresses[p->batch_peer[i]];
    p->counters.send_errors++;
    if (error == EMSGSIZE)
        log_limited(LOG_KIND_SEND, LOG_LEVEL_WARNING,
                    "a datagram of %zu bytes is too large for the interface towards replica %u (%s); set "
                    "\"datagram_bytes\" lower, 1200 fits anywhere",
                    DATAGRAM_HEADER_SIZE + p->parts[i][1].iov_len, a->name.id, a->name.host);
    if (error == EINVAL) {
        memcpy(a->note, cut_off, sizeof(cut_off));
        log_limited(LOG_KIND_SEND, LOG_LEVEL_WARNING,
                    "replica %u (%s): %s, %s; where that is a loopback address, correct /etc/hosts, or \"ip\" in the "
                    "configuration",
                    a->name.id, a->name.host, a->note, p->options.self.host);
    }
    if (error != EHOSTUNREACH && error != ENETUNREACH && error != EINVAL)
        return;
    uint64_t soon_usec = uv_hrtime() / 1000 + PEERS_LOOKUP_SOON_USEC;
    if (a->lookup_usec > soon_usec)
        a->lookup_usec = soon_usec;
}

static void note_sent(struct peers *p, unsigned i)
{
    struct address *a = &p->addresses[p->batch_peer[i]];
    p->counters.sent++;
    p->counters.bytes_sent += p->batch[i].msg_len;
    if (strcmp(a->note, cut_off) == 0) /* the own address may have been gone for a moment */
        a->note[0] = 0;
}

void peers_flush(struct peers *p)
{
    unsigned at = 0;
    while (at < p->n_batch) {
        int n = sendmmsg(p->fd, p->batch + at, p->n_batch - at, MSG_DONTWAIT);
        for (int i = 0; i < n; i++)
            note_sent(p, at + (unsigned)i);
        if (n > 0) {
            at += (unsigned)n;
        } else if (errno == EAGAIN || errno == ENOBUFS) { /* full: the rest is lost, as on a full wire */
            p->counters.send_errors += p->n_batch - at;
            break;
        } else if (errno != EINTR) {
            note_send_error(p, at++, errno);
        }
    }
    p->n_batch = 0;
    p->batch_silent_bytes = 0;
}

uint32_t peers_receive_bytes(const struct peers *p)
{
    return p->receive_bytes;
}

const struct peers_counters *peers_counters(const struct peers *p)
{
    return &p->counters;
}

uint32_t peers_overrun(const struct peers *p)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(info);
    return getsockopt(p->fd, SOL_SOCKET, SO_MEMINFO, info, &size) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}

bool peers_is_from(const struct peers *p, size_t peer, const struct sockaddr_storage *from)
{
    const struct address *a = &p->addresses[peer];
    if (a->socket_size == 0 || a->socket.ss_family != from->ss_family)
        return false;
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *x = (const struct sockaddr_in *)&a->socket, *y = (const struct sockaddr_in *)from;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const struct sockaddr_in6 *)&a->socket, *y = (const struct sockaddr_in6 *)from;
    return x->sin6_port == y->sin6_port && IN6_ARE_ADDR_EQUAL(&x->sin6_addr, &y->sin6_addr);
}

const char *peers_note(const struct peers *p, size_t peer)
{
    return p->addresses[peer].note;
}

static void poll_closed(uv_handle_t *handle)
{
    struct peers *p = handle->data;
    p->closed(p->closed_user);
}

void peers_close(struct peers *p, void (*closed)(void *user), void *user)
{
    p->closed = closed;
    p->closed_user = user;
    for (size_t i = 0; i < p->n; i++) { /* a lookup that runs cannot be stopped: it finds nobody waiting */
        if (p->addresses[i].lookup != NULL) {
            p->addresses[i].lookup->peers = NULL;
            uv_cancel((uv_req_t *)&p->addresses[i].lookup->request);
        }
    }
    uv_poll_stop(&p->poll);
    uv_close((uv_handle_t *)&p->poll, poll_closed);
}

void peers_free(struct peers *p)
{
    if (p == NULL)
        return;
    if (p->fd >= 0)
        close(p->fd);
    free(p->in_buffers);
    free(p);
}
