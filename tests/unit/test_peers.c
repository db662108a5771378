/* The replicas' socket: batches out and in, addresses, and what cannot be sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/faults.h"
#include "host/peers.h"
#include "tests/unit/loopback.h"
#include "wire/seal.h"

enum { RECEIVED_MAX = 1024, BODY_MAX = DATAGRAM_BYTES_MAX - DATAGRAM_HEADER_SIZE };

struct fixture {
    uv_loop_t loop;
    struct peers *a, *b;
    size_t n_open, n_received;
    bool refuses;
    size_t sizes[RECEIVED_MAX];
    uint8_t first[RECEIVED_MAX], last[RECEIVED_MAX]; /* byte */
};

int __real_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret);
int __wrap_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret);

/* As /etc/hosts of "host.test" and "alias.test", which are one host, would have it. */
static const struct {
    const char *name, *addresses[4];
} names[] = {
    {"host.test", {"127.0.1.1"}},
    {"alias.test", {"127.0.1.1"}},
    {"other.test", {"192.0.2.2"}},
    {"both.test", {"127.0.1.1", "192.0.2.1"}},
    {"families.test", {"127.0.1.1", "2001:db8::1"}},
    {"stray.localhost", {"192.0.2.2"}},
    {"mixed.localhost", {"127.0.1.1", "192.0.2.2"}},
    {"turned.localhost", {"127.0.1.9", "127.0.1.2", "127.0.1.10"}},
};

/* Names of the test's are numbers to it; that answer is the system's. */
int __wrap_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **ret)
{
    struct addrinfo **next = ret;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, name) != 0 || (hints->ai_flags & AI_NUMERICHOST) != 0)
            continue;
        for (const char *const *a = names[i].addresses; *a != NULL; a++, next = &(*next)->ai_next)
            assert_int_equal(__real_getaddrinfo(*a, port, hints, next), 0);
        return 0;
    }
    return __real_getaddrinfo(name, port, hints, ret);
}

static int waiting; /* in the send buffer */

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    int *ret = va_arg(arguments, int *);
    va_end(arguments);
    if (request != SIOCOUTQ)
        return __real_ioctl(fd, request, ret);
    *ret = waiting;
    return 0;
}

static bool has_own_address = true;

int __real_sendmmsg(int fd, struct mmsghdr *batch, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *batch, unsigned n, int flags);

int __wrap_sendmmsg(int fd, struct mmsghdr *batch, unsigned n, int flags)
{
    if (has_own_address)
        return __real_sendmmsg(fd, batch, n, flags);
    errno = EINVAL;
    return -1;
}

static struct peer_address address_at(replica_id_t id, const char *host, uint16_t port)
{
    struct peer_address a = {.id = id, .port = port};
    strcpy(a.host, host);
    return a;
}

static struct peer_address address(replica_id_t id, const char *host)
{
    return address_at(id, host, loopback_free_port());
}

static bool received(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size)
{
    struct fixture *f = user;
    (void)from;
    assert_true(f->n_received < RECEIVED_MAX);
    f->sizes[f->n_received] = size;
    f->first[f->n_received] = bytes[0];
    f->last[f->n_received++] = bytes[size - 1];
    return !f->refuses;
}

static struct peers *open_peers(struct fixture *f, struct peer_address self, const struct peer_address *others,
                                size_t n, struct faults *faults)
{
    struct peers_options o = {.loop = &f->loop,
                              .self = self,
                              .others = others,
                              .n_others = n,
                              .faults = faults,
                              .received = received,
                              .user = f};
    struct peers *p;
    assert_int_equal(peers_open(&o, &p), 0);
    assert_int_equal(peers_start(p), 0);
    f->n_open++;
    return p;
}

static void open_pair(struct fixture *f, const char *host_a, const char *host_b)
{
    struct peer_address a = address(0, host_a), b = address(1, host_b);
    uv_loop_init(&f->loop);
    f->a = open_peers(f, a, &b, 1, NULL);
    f->b = open_peers(f, b, &a, 1, NULL);
}

static void closed(void *user)
{
    struct fixture *f = user;
    f->n_open--;
}

static void close_all(struct fixture *f)
{
    if (f->a != NULL)
        peers_close(f->a, closed, f);
    if (f->b != NULL)
        peers_close(f->b, closed, f);
    while (f->n_open > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    peers_free(f->a);
    peers_free(f->b);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* lookups that are over */
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* Until `n` datagrams are here, or 20 s have gone by. */
static void wait_for(struct fixture *f, size_t n)
{
    uv_timer_t timer;
    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, nothing, 10, 10);
    for (uint64_t until = uv_hrtime() + UINT64_C(20000000000); f->n_received < n && uv_hrtime() < until;)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void batches_arrive_whole_and_in_order(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, bodies[200][50];
    open_pair(&f, "127.0.0.1", "localhost");
    for (size_t i = 0; i < 200; i++) { /* more than one system call takes; the header's memory is the same each time */
        memset(bodies[i], (int)i, sizeof(bodies[i]));
        header[0] = (uint8_t)(i + 1);
        peers_queue(f.a, 0, header, bodies[i], 10 + i % 40, 0);
    }
    peers_flush(f.a);
    wait_for(&f, 200);
    assert_int_equal(f.n_received, 200);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(f.sizes[i], DATAGRAM_HEADER_SIZE + 10 + i % 40);
        assert_int_equal(f.first[i], (uint8_t)(i + 1));
        assert_int_equal(f.last[i], (uint8_t)i);
    }
    assert_int_equal(peers_counters(f.a)->sent, 200);
    assert_int_equal(peers_counters(f.b)->received, 200);
    assert_int_equal(peers_counters(f.a)->bytes_sent, peers_counters(f.b)->bytes_received);
    assert_true(peers_receive_bytes(f.a) > 0);
    close_all(&f);
}

static void the_largest_datagram_passes(void **state)
{
    (void)state;
    struct fixture f = {0};
    static uint8_t header[DATAGRAM_HEADER_SIZE], body[BODY_MAX];
    open_pair(&f, "127.0.0.1", "127.0.0.1");
    body[BODY_MAX - 1] = 77;
    peers_queue(f.a, 0, header, body, BODY_MAX, 0);
    peers_flush(f.a);
    wait_for(&f, 1);
    assert_int_equal(f.n_received, 1);
    assert_int_equal(f.sizes[0], DATAGRAM_BYTES_MAX);
    assert_int_equal(f.last[0], 77);
    close_all(&f);
}

static void ipv6_works(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {9}, body[1] = {1};
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&a6, sizeof(a6)) == 0;
    if (fd >= 0)
        close(fd);
    if (!has_ipv6)
        skip();
    open_pair(&f, "::1", "::1");
    peers_queue(f.a, 0, header, body, 1, 0);
    peers_flush(f.a);
    wait_for(&f, 1);
    assert_int_equal(f.n_received, 1);
    close_all(&f);
}

static void injected_drops_are_counted(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, body[1] = {1};
    struct faults *faults = faults_new(100, 1);
    struct peer_address x = address(0, "127.0.0.1"), y = address(1, "127.0.0.1");
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, &y, 1, faults);
    for (int i = 0; i < 5; i++)
        peers_queue(f.a, 0, header, body, 1, 0);
    peers_flush(f.a);
    assert_int_equal(peers_counters(f.a)->dropped_injected, 5);
    assert_int_equal(peers_counters(f.a)->sent, 0);
    close_all(&f);
    faults_free(faults);
}

/* What goes nowhere is a lost datagram: the rest of the batch leaves. */
static void one_bad_peer_stops_no_other(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, body[1] = {1};
    struct peer_address x = address(0, "127.0.0.1");
    struct peer_address others[] = {address_at(1, "240.0.0.1", 1), address(2, "127.0.0.1"), address_at(3, "::1", 7000),
                                    address_at(4, "no..such..name", 7000)};
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, others, 4, NULL);
    f.b = open_peers(&f, others[1], &x, 1, NULL);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 4; i++)
            peers_queue(f.a, i, header, body, 1, 0);
    }
    peers_flush(f.a);
    wait_for(&f, 3);
    assert_int_equal(f.n_received, 3);
    assert_true(peers_counters(f.a)->send_errors >= 6); /* a host without a route to 240/4 counts those too */
    assert_string_equal(peers_note(f.a, 1), "");
    assert_non_null(strstr(peers_note(f.a, 2), "IPv4"));
    assert_string_not_equal(peers_note(f.a, 3), "");
    close_all(&f);
}

/* How many of 60 to each leave, at that time after the first peer was heard. */
static void send_60(struct fixture *f, size_t rest_size, uint64_t after_usec, size_t n[2])
{
    static uint8_t header[DATAGRAM_HEADER_SIZE], body[BODY_MAX];
    const uint64_t now_usec = uv_hrtime() / 1000;
    peers_heard(f->a, 0, now_usec - after_usec);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t before = peers_counters(f->a)->sent;
        for (size_t k = 0; k < 60; k++)
            peers_queue(f->a, i, header, body, rest_size, now_usec);
        peers_flush(f->a);
        n[i] = (size_t)(peers_counters(f->a)->sent - before);
    }
}

static void peers_that_are_not_heard_leave_room_for_others(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct peer_address x = address(0, "127.0.0.1"), y[] = {address(1, "127.0.0.1"), address(2, "127.0.0.1")};
    size_t n[2];
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, y, 2, NULL);
    waiting = 0;
    send_60(&f, 100, 0, n);
    assert_true(n[0] == 60 && n[1] == 60);
    send_60(&f, 60000, 0, n); /* it is not the batch that fills the buffer, either */
    assert_true(n[0] == 60 && n[1] < 60);
    waiting = INT32_MAX / 2;
    send_60(&f, 100, PEERS_SILENCE_USEC - 1000000, n);
    assert_true(n[0] == 60 && n[1] == 0);
    send_60(&f, 100, PEERS_SILENCE_USEC + 1, n);
    assert_true(n[0] == 0 && n[1] == 0);
    send_60(&f, SEAL_HELLO_SIZE - DATAGRAM_HEADER_SIZE, PEERS_SILENCE_USEC + 1, n); /* by which they are heard again */
    assert_true(n[0] == 60 && n[1] == 60);
    close_all(&f);
}

/* How many of 700 that wait are read before the loop does something else. */
static size_t read_at_once(struct fixture *f)
{
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, body[1] = {0};
    f->n_received = 0;
    for (size_t i = 0; i < 700; i++)
        peers_queue(f->a, 0, header, body, 1, 0);
    peers_flush(f->a);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    const size_t n = f->n_received;
    wait_for(f, 700);
    assert_int_equal(f->n_received, 700);
    return n;
}

static void a_turn_is_limited_and_what_is_refused_counts_less(void **state)
{
    (void)state;
    struct fixture f = {0};
    open_pair(&f, "127.0.0.1", "127.0.0.1");
    assert_int_equal(read_at_once(&f), PEERS_RECEIVE_TAKEN);
    f.refuses = true;
    assert_int_equal(read_at_once(&f), PEERS_RECEIVE_ROUNDS * PEERS_RECEIVE_BATCH);
    close_all(&f);
}

static void what_the_buffer_has_no_room_for_is_counted(void **state)
{
    (void)state;
    struct fixture f = {0};
    static uint8_t header[DATAGRAM_HEADER_SIZE], body[BODY_MAX];
    open_pair(&f, "127.0.0.1", "127.0.0.1");
    assert_int_equal(peers_overrun(f.b), 0);
    for (size_t i = 0; i < 1000; i++) { /* far more than its buffer takes */
        peers_queue(f.a, 0, header, body, BODY_MAX, 0);
        peers_flush(f.a);
    }
    const uint64_t sent = peers_counters(f.a)->sent;
    assert_true(peers_overrun(f.b) > 0);
    wait_for(&f, sent - peers_overrun(f.b));
    assert_int_equal(f.n_received + peers_overrun(f.b), sent);
    close_all(&f);
}

static void a_port_in_use_is_refused(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct peer_address x = address(0, "127.0.0.1");
    struct peers_options o = {.loop = &f.loop, .self = x, .received = received, .user = &f};
    struct peers *p = NULL;
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, NULL, 0, NULL);
    assert_int_equal(peers_open(&o, &p), -EADDRINUSE);
    strcpy(o.self.host, "192.0.2.1"); /* of nobody: RFC 5737 */
    assert_int_equal(peers_open(&o, &p), -EADDRNOTAVAIL);
    assert_null(p);
    close_all(&f);
}

static int try_names(const char *self, const char *other)
{
    struct peer_address others[] = {address(1, "localhost"), address(2, other)};
    uv_loop_t loop;
    struct peers_options o = {
        .loop = &loop, .self = address(0, self), .others = others, .n_others = 2, .received = received};
    struct peers *p = NULL;
    int error = peers_open(&o, &p);
    assert_true((error == 0) == (p != NULL));
    peers_free(p);
    return error;
}

/* Where others are elsewhere, nobody would be heard from there. */
static void an_own_name_that_means_the_loopback_is_refused(void **state)
{
    (void)state;
    assert_int_equal(try_names("host.test", "192.0.2.2"), -EADDRNOTAVAIL);
    assert_int_equal(try_names("host.test", "other.test"), -EADDRNOTAVAIL);
    assert_int_equal(try_names("host.test", "both.test"), -EADDRNOTAVAIL);
    assert_int_equal(try_names("host.test", "host.test"), 0);
    assert_int_equal(try_names("host.test", "alias.test"), 0);
    assert_int_equal(try_names("host.test", "127.0.0.1"), 0);
    assert_int_equal(try_names("host.test", "no..such..name"), 0); /* not known yet */
    assert_int_equal(try_names("localhost", "192.0.2.2"), 0);      /* as it was asked for */
}

/* Which here is nobody's: RFC 5737 and 3849. */
static void another_address_goes_before_a_loopback_one(void **state)
{
    (void)state;
    assert_int_equal(try_names("both.test", "host.test"), -EADDRNOTAVAIL);
    assert_int_not_equal(try_names("families.test", "host.test"), 0);
}

static struct sockaddr_storage socket_at(const char *host, uint16_t port)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, host, &v4->sin_addr), 1);
    return a;
}

/* Own and others', whichever the resolver names first. */
static void of_equal_addresses_the_lowest_is_chosen(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct peer_address x = address(0, "turned.localhost"), y = address(1, "turned.localhost");
    struct sockaddr_storage own = socket_at("127.0.1.2", x.port), others = socket_at("127.0.1.2", y.port);
    uint8_t byte = 1;
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, &y, 1, NULL);
    assert_true(peers_is_from(f.a, 0, &others));
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(sendto(fd, &byte, 1, 0, (struct sockaddr *)&own, sizeof(struct sockaddr_in)), 1);
    close(fd);
    wait_for(&f, 1);
    assert_int_equal(f.n_received, 1);
    close_all(&f);
}

/* Or datagrams would leave without a key. */
static void loopback_names_mean_the_loopback_whatever_the_resolver_says(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct peer_address x = address(0, "stray.localhost");
    struct peer_address y[] = {address_at(1, "stray.localhost", 7001), address_at(2, "mixed.localhost", 7002)};
    struct sockaddr_storage at[] = {socket_at("127.0.0.1", 7001), socket_at("127.0.0.1", 7002)};
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, y, 2, NULL);
    assert_true(peers_is_from(f.a, 0, &at[0]));
    assert_true(peers_is_from(f.a, 1, &at[1]));
    close_all(&f);
}

/* No address has a port 0. */
static void what_cannot_be_sent_from_here_is_told(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, body[1] = {1};
    struct peer_address x = address(0, "127.0.0.1"), y = address_at(1, "127.0.0.1", 0);
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, &y, 1, NULL);
    assert_string_equal(peers_note(f.a, 0), "");
    peers_queue(f.a, 0, header, body, 1, 0);
    peers_flush(f.a);
    assert_int_equal(peers_counters(f.a)->send_errors, 1);
    assert_string_equal(peers_note(f.a, 0), "it cannot be reached from this replica's own address");
    close_all(&f);
}

static void what_can_be_sent_again_is_not_told_any_more(void **state)
{
    (void)state;
    struct fixture f = {0};
    uint8_t header[DATAGRAM_HEADER_SIZE] = {0}, body[1] = {1};
    struct peer_address x = address(0, "127.0.0.1");
    struct peer_address y[] = {address(1, "127.0.0.1"), address_at(2, "::1", 7000)};
    uv_loop_init(&f.loop);
    f.a = open_peers(&f, x, y, 2, NULL);
    for (size_t i = 0; i < 2; i++) {
        has_own_address = i == 1;
        peers_queue(f.a, 0, header, body, 1, 0);
        peers_flush(f.a);
        assert_true((peers_note(f.a, 0)[0] == 0) == has_own_address);
    }
    assert_non_null(strstr(peers_note(f.a, 1), "IPv4")); /* it is another matter */
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_arrive_whole_and_in_order),
        cmocka_unit_test(the_largest_datagram_passes),
        cmocka_unit_test(ipv6_works),
        cmocka_unit_test(injected_drops_are_counted),
        cmocka_unit_test(one_bad_peer_stops_no_other),
        cmocka_unit_test(peers_that_are_not_heard_leave_room_for_others),
        cmocka_unit_test(a_turn_is_limited_and_what_is_refused_counts_less),
        cmocka_unit_test(what_the_buffer_has_no_room_for_is_counted),
        cmocka_unit_test(a_port_in_use_is_refused),
        cmocka_unit_test(an_own_name_that_means_the_loopback_is_refused),
        cmocka_unit_test(another_address_goes_before_a_loopback_one),
        cmocka_unit_test(of_equal_addresses_the_lowest_is_chosen),
        cmocka_unit_test(loopback_names_mean_the_loopback_whatever_the_resolver_says),
        cmocka_unit_test(what_cannot_be_sent_from_here_is_told),
        cmocka_unit_test(what_can_be_sent_again_is_not_told_any_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
