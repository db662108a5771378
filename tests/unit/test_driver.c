/* Three drivers on one loop are a cluster: real sockets, real journals, one process. */
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

#include "host/driver_internal.h"
#include "host/reload.h"
#include "tests/unit/driver_cluster.h"

static slot_t find_tail(struct cluster *c, size_t node, uint64_t n)
{
    struct tail_search t = {.n = n};
    slot_t slot;
    while (!driver_tail(c->nodes[node].driver, &t, &slot))
        ;
    return slot;
}

static size_t leader_of(struct cluster *c)
{
    static struct driver_status s;
    for (size_t i = 0; i < REPLICAS; i++) {
        if (c->nodes[i].driver == NULL)
            continue;
        driver_status(c->nodes[i].driver, &s);
        if (s.replica.role == ROLE_LEADER)
            return i;
    }
    return REPLICAS;
}

static uint64_t count_dropped(const struct driver_status *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < DROP_REASONS; i++)
        n += s->datagrams_dropped[i];
    return n;
}

static bool flush_answered;

static void flush_done(void *user, const struct flush_result *results, size_t n)
{
    struct cluster *c = user;
    assert_int_equal(n, REPLICAS);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(results[i].replica, i);
        if (!results[i].ok)
            print_message("%s\n", results[i].text);
        assert_true(results[i].ok == (c->nodes[i].driver != NULL));
        if (results[i].ok)
            assert_string_equal(results[i].text, c->nodes[i].log);
        else
            assert_non_null(strstr(results[i].text, "no answer"));
    }
    flush_answered = true;
}

static bool is_flushed(struct cluster *c)
{
    (void)c;
    return flush_answered;
}

static char *read_file(const char *path, size_t *ret_size)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *ret_size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*ret_size + 1);
    assert_int_equal(fread(bytes, 1, *ret_size, f), *ret_size);
    fclose(f);
    return bytes;
}

static void three_drivers_agree(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver_status s;
    cluster_submit(c, 0, 3000, 100);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), 3000);
    cluster_submit(c, 3000, 3030, 4000); /* and large ones */
    flush_answered = false;
    assert_int_not_equal(driver_flush(c->nodes[1].driver, true, 5000, flush_done, c), 0);
    cluster_run_until(c, is_flushed);
    size_t size, other;
    char *first = read_file(c->nodes[0].log, &size);
    for (size_t i = 1; i < REPLICAS; i++) {
        char *bytes = read_file(c->nodes[i].log, &other);
        assert_int_equal(size, other);
        assert_memory_equal(first, bytes, size);
        free(bytes);
    }
    free(first);
    driver_status(c->nodes[0].driver, &s);
    assert_int_equal(s.messages, 3030);
    assert_int_equal(count_dropped(&s), 0);
    assert_true(s.flushed >= c->goal);
    assert_int_equal(find_tail(c, 0, 1), c->goal);
    assert_int_equal(find_tail(c, 0, 100000), driver_first_kept(c->nodes[0].driver));
    cluster_free(c);
}

/* What a majority chose is taken everywhere: message_bytes_max is changed on one replica after the other. */
static void the_own_limit_does_not_bind_the_others(void **state)
{
    (void)state;
    struct cluster *c = malloc(sizeof(*c));
    assert_non_null(c);
    cluster_make(c);
    for (size_t i = 0; i < REPLICAS; i++) {
        c->config.message_bytes_max = i == 2 ? MESSAGE_BYTES_LEAST : MESSAGE_BYTES_MOST;
        c->config.datagram_bytes = i == 0 ? 1200 : 8192; /* in pieces, and whole */
        assert_int_equal(cluster_start_node(c, i), 0);
    }
    cluster_run_until(c, cluster_is_quorate);
    cluster_submit(c, 0, 30, 4000);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), 30);
    cluster_free(c);
}

static bool is_told_who_differs(struct cluster *c)
{
    struct driver_status s;
    driver_status(c->nodes[0].driver, &s);
    return strstr(s.peers[1].note, "dedup_slots differs from this file's") != NULL;
}

/* The first start waits for one whose file says otherwise, and says for whom. */
static void another_file_is_named(void **state)
{
    (void)state;
    struct driver_status s;
    struct cluster *c = malloc(sizeof(*c));
    assert_non_null(c);
    cluster_make(c);
    for (size_t i = 0; i < REPLICAS; i++) {
        c->config.dedup_slots = i == 2 ? 20000 : 10000;
        assert_int_equal(cluster_start_node(c, i), 0);
    }
    cluster_run_until(c, is_told_who_differs);
    struct reload r = {.kept = {[RELOAD_RESTART] = "heartbeat_ms", [RELOAD_SETTLED] = "dedup_slots"}};
    driver_reload(c->nodes[0].driver, &c->config, &r); /* as that one's: nothing is settled yet */
    driver_status(c->nodes[0].driver, &s);
    assert_string_equal(s.config_warning, "");
    assert_string_equal(s.kept_restart, "heartbeat_ms, dedup_slots");
    assert_string_equal(s.peers[0].note, "");
    cluster_stop_node(c, 2); /* put right, it starts */
    c->config.dedup_slots = 10000;
    assert_int_equal(cluster_start_node(c, 2), 0);
    cluster_run_until(c, cluster_is_quorate);
    assert_false(is_told_who_differs(c));
    cluster_free(c);
}

static void one_loss_and_a_restart_lose_nothing(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    cluster_submit(c, 0, 1000, 300);
    size_t leader = leader_of(c);
    assert_true(leader < REPLICAS);
    driver_stop(c->nodes[leader].driver);
    while (c->nodes[leader].stopped < 0)
        uv_run(&c->loop, UV_RUN_ONCE);
    cluster_free_node(&c->nodes[leader]);
    cluster_run_until(c, cluster_is_quorate);
    cluster_submit(c, 1000, 2000, 300);
    flush_answered = false;
    assert_int_not_equal(driver_flush(c->nodes[(leader + 1) % REPLICAS].driver, true, 3000, flush_done, c), 0);
    cluster_run_until(c, is_flushed);
    struct driver_status s;
    strcpy(c->config.cluster, "renamed"); /* in its file only: the log's word counts */
    assert_int_equal(cluster_start_node(c, leader), 0);
    cluster_run_until(c, cluster_is_at_goal); /* it catches up */
    driver_status(c->nodes[leader].driver, &s);
    assert_non_null(strstr(s.config_warning, "cluster"));
    struct reload r = {.kept = {[RELOAD_SETTLED] = "replica_list (ids)"}}; /* the log's word is told */
    struct config file = c->config;
    file.replicas[2].id = 7;
    driver_reload(c->nodes[leader].driver, &file, &r);
    driver_status(c->nodes[leader].driver, &s);
    assert_non_null(strstr(s.config_warning, "list of replicas is not that of the first start (ids 0, 1, 2), which"));
    assert_string_equal(s.kept_restart, "");
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), 2000);
    cluster_stop_all(c);
    for (size_t i = 0; i < REPLICAS; i++) /* and all at once, from their disks */
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, cluster_is_at_goal); /* what the disks know to be chosen may lag behind */
    for (size_t i = 0; i < REPLICAS; i++) {
        assert_int_equal(cluster_read_all(c, i), 2000);
        assert_int_equal(find_tail(c, i, 1), c->goal);
    }
    cluster_free(c);
}

static void never_started(void *user, int exit_status)
{
    (void)user;
    fail_msg("it stops, with %d", exit_status);
}

static bool has_checkpoint(const struct cluster *c, size_t i)
{
    char path[sizeof(c->nodes[i].state) + 16];
    snprintf(path, sizeof(path), "%s/checkpoint", c->nodes[i].state);
    return access(path, F_OK) == 0;
}

/* It has a MiB and more of records, less than what makes one otherwise. A machine so busy that it takes too long goes
 * without. */
static void a_stop_leaves_a_checkpoint(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    cluster_submit(c, 0, 1500, 1000);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_false(has_checkpoint(c, i));
    const uint64_t began_usec = driver_now();
    cluster_stop_all(c);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_true(has_checkpoint(c, i) || driver_now() - began_usec >= CHECKPOINT_STOP_USEC);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    cluster_run_until(c, cluster_is_at_goal);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), 1500);
    cluster_free(c);
}

static void a_directory_in_use_or_of_another_is_refused(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver *second = NULL;
    struct node *n = &c->nodes[0];
    struct driver_options o = {.loop = &c->loop,
                               .config = &c->config,
                               .id = 0,
                               .state_dir = n->state,
                               .log_path = n->log,
                               .version = "test",
                               .stopped = never_started,
                               .user = n};
    assert_int_equal(driver_start(&o, &second), 1);
    cluster_stop_all(c);
    o.id = 1;
    assert_int_equal(driver_start(&o, &second), 65);
    o.id = 0;
    o.state_dir = "/proc/nothing";
    assert_int_equal(driver_start(&o, &second), 1);
    assert_null(second);
    cluster_free(c);
}

/* Whatever comes in on the socket, the driver counts it and goes on. */
static void garbage_is_counted(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver_status before, after;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(c->config.replicas[0].port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    uint8_t bytes[600];
    driver_status(c->nodes[0].driver, &before);
    for (size_t i = 0; i < 50; i++) {
        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)(i * 31 + k * 7);
        if (i % 2 == 0)
            memcpy(bytes, "MPXD\2", 5);
        sendto(fd, bytes, i * 12, 0, (struct sockaddr *)&a, sizeof(a));
        uv_run(&c->loop, UV_RUN_NOWAIT);
    }
    close(fd);
    cluster_submit(c, 0, 100, 50);
    driver_status(c->nodes[0].driver, &after);
    assert_int_equal(count_dropped(&after) - count_dropped(&before), 50);
    cluster_free(c);
}

static const struct seal_keys one_key = {.n = 1, .keys = {"the cluster key of these tests."}};
static const struct seal_keys other_key = {.n = 1, .keys = {"another key, 32 bytes it is lon"}};
static const struct seal_keys both_keys = {
    .n = 2, .keys = {"another key, 32 bytes it is lon", "the cluster key of these tests."}};
static struct driver_status sealed;

static bool each_refuses_the_other(struct cluster *c)
{
    driver_status(c->nodes[0].driver, &sealed);
    bool refused = sealed.peers[1].refusal == REFUSAL_KEY && strstr(sealed.peers[1].note, "wrong cluster key") != NULL;
    driver_status(c->nodes[2].driver, &sealed);
    return refused && sealed.peers[0].refused && sealed.peers[0].refusal == REFUSAL_KEY;
}

static bool all_seal_anew(struct cluster *c)
{
    driver_status(c->nodes[0].driver, &sealed);
    for (size_t i = 0; i < REPLICAS - 1; i++)
        if (sealed.peers[i].seal.n_keys != 2 || strcmp(sealed.peers[i].seal.keys[0], sealed.seal.keys[0]) != 0)
            return false;
    return true;
}

static const struct driver_peer *peer_1(struct cluster *c)
{
    static struct driver_status s;
    driver_status(c->nodes[0].driver, &s);
    assert_int_equal(s.replica.peers[0].id, 1);
    return &s.peers[0];
}

/* Its last word is not what holds now. */
static void what_a_silent_peer_drops_ends_in_time(void **state)
{
    (void)state;
    const struct info info = {
        .n_drops = 2,
        .drops = {{.rate = 10, .peer = REPLICA_ID_NONE, .left_ms = 400}, {.rate = 20, .peer = REPLICA_ID_NONE}}};
    struct cluster *c = cluster_start(NULL);
    cluster_stop_node(c, 1);
    uint64_t end_usec = driver_now() + 400000;
    driver_take_info(c->nodes[0].driver, (size_t)driver_find_member(c->nodes[0].driver, 1), &info);
    for (const struct driver_peer *p; (p = peer_1(c))->n_drops == 2; uv_run(&c->loop, UV_RUN_ONCE))
        assert_in_range(driver_now() + p->drops[0].left_ms * 1000, end_usec - 1000, end_usec + 200000);
    assert_in_range(driver_now(), end_usec - 1000, UINT64_MAX);
    assert_int_equal(peer_1(c)->n_drops, 1);
    assert_int_equal(peer_1(c)->drops[0].rate, 20);
    assert_int_equal(peer_1(c)->drops[0].left_ms, 0);
    cluster_free(c);
}

static void restart_node(struct cluster *c, size_t i, const struct seal_keys *keys)
{
    cluster_stop_node(c, i);
    c->keys = keys;
    assert_int_equal(cluster_start_node(c, i), 0);
}

/* Sealed, the same holds; another key is named on both sides; and keys change under way. */
static void sealed_drivers_agree(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(&one_key);
    cluster_submit(c, 0, 1000, 100);
    restart_node(c, 2, &other_key);
    cluster_run_until(c, each_refuses_the_other);
    restart_node(c, 2, &one_key);
    cluster_run_until(c, cluster_is_quorate);
    cluster_submit(c, 1000, 1500, 100);
    for (size_t i = 0; i < REPLICAS; i++)
        driver_set_keys(c->nodes[i].driver, &both_keys);
    cluster_submit(c, 1500, 2000, 100);
    cluster_run_until(c, all_seal_anew);
    for (size_t i = 0; i < REPLICAS; i++)
        driver_set_keys(c->nodes[i].driver, &other_key);
    cluster_submit(c, 2000, 2500, 100);
    for (size_t i = 0; i < REPLICAS; i++)
        assert_int_equal(cluster_read_all(c, i), 2500);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_drivers_agree),
        cmocka_unit_test(another_file_is_named),
        cmocka_unit_test(the_own_limit_does_not_bind_the_others),
        cmocka_unit_test(one_loss_and_a_restart_lose_nothing),
        cmocka_unit_test(a_stop_leaves_a_checkpoint),
        cmocka_unit_test(a_directory_in_use_or_of_another_is_refused),
        cmocka_unit_test(garbage_is_counted),
        cmocka_unit_test(what_a_silent_peer_drops_ends_in_time),
        cmocka_unit_test(sealed_drivers_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
