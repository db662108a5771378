/* Whom the driver names for datagrams that it cannot read. */
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

#include "tests/unit/driver_cluster.h"

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
    const uint16_t stranger = cluster_free_port();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_read_is_told_by_its_address),
        cmocka_unit_test(another_version_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
