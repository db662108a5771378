/* Datagrams that the driver does not take, and whom it names for those that it cannot read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/notice.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/unit/driver_cluster.h"
#include "tests/unit/loopback.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

static size_t n_refusals; /* that were told */
static bool leaves_out;

bool __wrap_notice(enum notice_kind kind, const struct notice_about *about, const char *format, ...);

bool __wrap_notice(enum notice_kind kind, const struct notice_about *about, const char *format, ...)
{
    (void)about, (void)format;
    if (kind == NOTICE_REPLICA_REFUSED && !leaves_out)
        n_refusals++;
    return !leaves_out;
}

/* Sends it to replica 0, from this port. */
static void send_from(struct cluster *c, uint16_t port, const void *bytes, size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof(a)), errno);
    a.sin_port = htons(c->config.replicas[0].port);
    assert_int_equal(sendto(fd, bytes, size, 0, (struct sockaddr *)&a, sizeof(a)), size);
    close(fd);
}

static struct driver_status told;

static bool all_has_come(struct cluster *c)
{
    driver_status(c->nodes[0].driver, &told);
    return told.datagrams_dropped[DROP_VERSION] == 3 && told.datagrams_dropped[DROP_TRUNCATED] == 3;
}

/* By address: a member's, if it is one, or all others together, the last of them by name. */
static void what_cannot_be_read_is_told_by_its_address(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    const uint16_t stranger = loopback_free_port();
    char port[16];
    cluster_run_until(c, cluster_is_quorate);
    cluster_stop_node(c, 2);
    for (int i = 0; i < 2; i++) /* replica 1 is heard: of this it is not the sender, or not only of this */
        send_from(c, stranger, "MPXD\3 something of the future", 30);
    send_from(c, c->config.replicas[2].port, "MPXD\3 something of the future", 30);
    send_from(c, c->config.replicas[2].port, "MPXD\2 cut", 10);
    send_from(c, c->config.replicas[2].port, "MP", 2);
    send_from(c, stranger, "MPXD\2 cut", 10);
    cluster_run_until(c, all_has_come);
    snprintf(port, sizeof(port), "port %u", stranger);
    assert_string_equal(told.strangers.text, "1 truncated, 2 of an unknown format version");
    assert_non_null(strstr(told.stranger, "127.0.0.1 port "));
    assert_non_null(strstr(told.stranger, port));
    assert_int_equal(told.replica.peers[1].id, 2);
    assert_string_equal(told.peers[1].dropped.text, "2 truncated, 1 of an unknown format version");
    assert_string_equal(told.peers[0].dropped.text, "");
    assert_false(told.peers[1].refused); /* it was heard a moment ago: somebody else may have sent this */
    cluster_free(c);
}

/* One that is not heard otherwise is refused for its version. */
static void another_version_is_refused_by_name(void **state)
{
    (void)state;
    struct cluster *c = malloc(sizeof(*c));
    assert_non_null(c);
    cluster_make(c);
    assert_int_equal(cluster_start_node(c, 0), 0);
    for (int i = 0; i < 3; i++) {
        send_from(c, c->config.replicas[2].port, "MPXD\3 something of the future", 30);
        send_from(c, c->config.replicas[2].port, "MP", 2);
    }
    cluster_run_until(c, all_has_come);
    assert_true(told.peers[1].refused);
    assert_int_equal(told.peers[1].refusal, REFUSAL_VERSION);
    assert_string_equal(told.peers[1].note,
                        "datagrams from its address, not authenticated, are of format version 3, not 2");
    assert_false(told.peers[0].refused);
    cluster_free(c);
}

static const struct seal_keys one_key = {.n = 1, .keys = {"the cluster key of these tests."}};

/* From replica 2's address to replica 0, under a key that it does not have. */
static void send_under(struct cluster *c, uint8_t key)
{
    static const struct datagram_header h = {.from = 2};
    uint8_t bytes[DATAGRAM_BYTES_MIN];
    struct datagram_writer w;
    datagram_begin(&w, bytes, sizeof(bytes), &h);
    bytes[AT_KIND] = DATAGRAM_SEALED;
    bytes[AT_KEY] = key;
    send_from(c, c->config.replicas[2].port, bytes, w.size);
}

static uint64_t n_wanted;

static bool so_many_keys_were_wrong(struct cluster *c)
{
    driver_status(c->nodes[0].driver, &told);
    return told.datagrams_dropped[DROP_KEY] == n_wanted;
}

static bool it_is_told(struct cluster *c)
{
    n_wanted++;
    send_under(c, 1);
    return n_refusals > 0;
}

static bool it_is_told_again(struct cluster *c)
{
    (void)c;
    return n_refusals == 2;
}

/* A refusal that is left out is told later; then one of each kind, whatever it says of one datagram or another. */
static void a_refusal_is_told_once(void **state)
{
    (void)state;
    struct cluster *c = malloc(sizeof(*c));
    assert_non_null(c);
    cluster_make(c);
    c->keys = &one_key;
    assert_int_equal(cluster_start_node(c, 0), 0);
    n_refusals = 0;
    leaves_out = true;
    n_wanted = 1;
    send_under(c, 1);
    cluster_run_until(c, so_many_keys_were_wrong);
    assert_true(told.peers[1].refused);
    leaves_out = false;
    cluster_run_until(c, it_is_told);
    for (uint8_t i = 0; i < 20; i++, n_wanted++)
        send_under(c, i % 2);
    cluster_run_until(c, so_many_keys_were_wrong);
    assert_int_equal(n_refusals, 1);
    assert_string_equal(told.peers[1].note, "wrong cluster key (01000000)");
    send_from(c, c->config.replicas[2].port, "MPXD\3 something of the future", 30);
    cluster_run_until(c, it_is_told_again);
    cluster_free(c);
}

/* --- datagrams that can be read, and are no member's --- */

static void finish(uint8_t *bytes, size_t size)
{
    put_u32(bytes + AT_CHECKSUM, 0);
    put_u32(bytes + AT_CHECKSUM, crc32c(0, bytes, size));
}

/* What replica 1 counted before and after it got this from replica 0's address; and what it says of replica 0. */
static struct driver_status before, after;

static bool one_more_has_come(struct cluster *c)
{
    driver_status(c->nodes[1].driver, &after);
    for (size_t i = 0; i < DROP_REASONS; i++) {
        if (after.datagrams_dropped[i] > before.datagrams_dropped[i])
            return true;
    }
    return false;
}

static void drops_for(struct cluster *c, int fd, uint8_t *bytes, size_t size, enum drop_reason reason)
{
    const struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(c->config.replicas[1].port)};
    finish(bytes, size);
    driver_status(c->nodes[1].driver, &before);
    assert_int_equal(sendto(fd, bytes, size, 0, (const struct sockaddr *)&a, sizeof(a)), size);
    cluster_run_until(c, one_more_has_come);
    assert_int_equal(after.datagrams_dropped[reason], before.datagrams_dropped[reason] + 1);
}

/* A datagram that replica 0 sent to replica 2, which is gone: for another one, of another cluster, by name or by id, or
 * of another life, replica 1 does not take it. */
static void what_is_no_members_is_not_taken(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(c->config.replicas[2].port)};
    uint8_t taken[9000] = {0}, bad[9000];
    ssize_t size = -1;
    cluster_stop_node(c, 2);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof(a)), errno);
    while (size < 0 || taken[AT_FROM] != 0) {
        uv_run(&c->loop, UV_RUN_ONCE);
        size = recv(fd, taken, sizeof(taken), 0);
    }
    drops_for(c, fd, memcpy(bad, taken, (size_t)size), (size_t)size, DROP_UNKNOWN_PEER); /* it is for replica 2 */
    taken[AT_TO] = 1;
    memcpy(bad, taken, (size_t)size);
    bad[AT_FROM] = 7; /* and this one from nobody */
    drops_for(c, fd, bad, (size_t)size, DROP_UNKNOWN_PEER);
    memcpy(bad, taken, (size_t)size);
    bad[AT_CLUSTER] ^= 1;
    drops_for(c, fd, bad, (size_t)size, DROP_FOREIGN);
    assert_non_null(strstr(after.peers[0].note, "of another cluster"));
    bad[AT_NAME_HASH] ^= 1;
    drops_for(c, fd, bad, (size_t)size, DROP_FOREIGN);
    assert_non_null(strstr(after.peers[0].note, "names another cluster"));
    memcpy(bad, taken, (size_t)size);
    bad[AT_LIFE] ^= 1;
    drops_for(c, fd, bad, (size_t)size, DROP_FOREIGN);
    assert_non_null(strstr(after.peers[0].note, "its disk is blank or another one"));
    close(fd);
    cluster_free(c);
}

/* Whoever has no key may name whom he likes. */
static void what_is_plain_is_not_taken_where_there_is_a_key(void **state)
{
    (void)state;
    static const struct seal_keys key = {.n = 1, .keys = {"the cluster key of these tests."}};
    static const struct datagram_header h = {.from = 0};
    struct cluster *c = cluster_start(&key);
    uint8_t bytes[DATAGRAM_BYTES_MIN];
    struct datagram_writer w;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    datagram_begin(&w, bytes, sizeof(bytes), &h);
    bytes[AT_TO] = 1;
    drops_for(c, fd, bytes, w.size, DROP_KEY);
    close(fd);
    cluster_free(c);
}

static const struct seal_keys both_keys = {
    .n = 2, .keys = {"the key that is to be given up.", "the cluster key of these tests."}};

static bool is_refused_for_its_key(struct cluster *c, size_t at, replica_id_t id)
{
    driver_status(c->nodes[at].driver, &told);
    for (uint32_t i = 0; i < told.replica.n_peers; i++)
        if (told.replica.peers[i].id == id)
            return told.peers[i].refused && told.peers[i].refusal == REFUSAL_KEY;
    return false;
}

static bool replica_1_refuses_replica_0(struct cluster *c)
{
    return is_refused_for_its_key(c, 1, 0);
}

/* Replica 1 gave the first key up before the others did: they go on to seal under it, and only their handshakes under
 * the second one are taken. Replica 2 did not take up the second one, and has what it needs. */
static void who_seals_under_a_key_that_was_given_up_is_named(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(&both_keys);
    struct seal_keys first = {.n = 1}, second = {.n = 1};
    char wanted[64], name[SEAL_NAME_SIZE];
    uint8_t id[SEAL_ID_SIZE];
    memcpy(first.keys[0], both_keys.keys[0], SEAL_KEY_SIZE);
    memcpy(second.keys[0], both_keys.keys[1], SEAL_KEY_SIZE);
    seal_key_id(both_keys.keys[0], id);
    seal_key_name(id, name);
    snprintf(wanted, sizeof(wanted), "wrong cluster key (%s)", name);
    driver_set_keys(c->nodes[2].driver, &first);
    driver_set_keys(c->nodes[1].driver, &second);
    cluster_run_until(c, replica_1_refuses_replica_0);
    assert_string_equal(told.peers[0].note, wanted);
    assert_false(is_refused_for_its_key(c, 2, 0));
    driver_set_keys(c->nodes[0].driver, &second);
    driver_set_keys(c->nodes[2].driver, &second);
    cluster_run_until(c, cluster_is_quorate);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_read_is_told_by_its_address),
        cmocka_unit_test(another_version_is_refused_by_name),
        cmocka_unit_test(a_refusal_is_told_once),
        cmocka_unit_test(what_is_no_members_is_not_taken),
        cmocka_unit_test(what_is_plain_is_not_taken_where_there_is_a_key),
        cmocka_unit_test(who_seals_under_a_key_that_was_given_up_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
