/* What clients are promised, in a simulated cluster: exactly once over retries, order on a connection, skipped slots,
 * refusals that are certain. The fixture checks each outcome against the log; finish() checks the whole history. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "journal/journal.h"
#include "tests/sim/clients.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/sim.h"

#define ELECTION_USEC (6 * 50 * MSEC) /* E */

static struct cluster *make_sized(uint32_t dedup_slots, uint32_t streams_max, uint32_t submissions_max)
{
    struct cluster_options o = cluster_defaults(1);
    o.dedup_slots = dedup_slots;
    o.streams_max = streams_max;
    o.submissions_max = submissions_max;
    struct cluster *c = cluster_make(&o);
    cluster_settle(c, 4 * ELECTION_USEC);
    return c;
}

static struct cluster *make(void)
{
    return make_sized(4096, 256, 1024);
}

static void finish(struct cluster *c)
{
    network_heal(c);
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        if (!c->hosts[i].up)
            host_start(&c->hosts[i]);
    }
    cluster_settle(c, 20 * SECOND);
    clients_check(c);
    cluster_free(c);
}

static uint32_t follower(struct cluster *c)
{
    return (cluster_leader(c)->index + 1) % c->options.n_hosts;
}

static uint64_t settled(struct cluster *c, uint64_t operation)
{
    cluster_settle(c, 10 * SECOND);
    assert_int_equal(clients_operation(c, operation).n_open, 0);
    return operation;
}

static void skip_slot(struct cluster *c, slot_t slot)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        host_step(&c->hosts[i], &(struct event){.type = EVENT_SKIP, .slots = &slot, .n_slots = 1});
}

static enum value_type type_of(const struct cluster *c, slot_t slot)
{
    return (enum value_type)observer_slot(c, slot)->chosen->bytes[0];
}

static void trap_16_a_skipped_slot_becomes_a_noop_while_the_leader_lives(void **state)
{
    (void)state;
    struct cluster *c = make();
    slot_t hole = observer_chosen(c) + 2;
    uint32_t host = follower(c), session;
    skip_slot(c, hole);
    clients_send(c, host, 0, &session);
    for (int i = 0; i < 5; i++)
        clients_send(c, host, session, NULL);
    cluster_settle(c, 10 * ELECTION_USEC);
    assert_int_equal(type_of(c, hole), VALUE_NOOP);
    assert_int_equal(clients_acked(c), 6);
    finish(c);
}

static void trap_16_a_skipped_slot_becomes_a_noop_when_the_leader_dies(void **state)
{
    (void)state;
    struct cluster *c = make();
    struct host *leader = cluster_leader(c);
    slot_t hole = observer_chosen(c) + 2;
    uint32_t host = follower(c), session;
    skip_slot(c, hole);
    clients_send(c, host, 0, &session);
    for (int i = 0; i < 5; i++)
        clients_send(c, host, session, NULL);
    cluster_run(c, 15 * MSEC);
    host_crash(leader, true);
    clients_send(c, host, session, NULL); /* a new command, which must not fall into the hole */
    cluster_run(c, 10 * ELECTION_USEC);
    assert_int_equal(type_of(c, hole), VALUE_NOOP);
    assert_int_equal(clients_acked(c), 7);
    finish(c);
}

static void a_leader_without_followers_fills_its_own_hole(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(1);
    o.n_hosts = 1;
    struct cluster *c = cluster_make(&o);
    cluster_settle(c, 4 * ELECTION_USEC);
    slot_t hole = observer_chosen(c) + 2;
    uint32_t session;
    skip_slot(c, hole);
    clients_send(c, 0, 0, &session);
    clients_send(c, 0, session, NULL);
    clients_send(c, 0, session, NULL);
    cluster_run(c, 20 * ELECTION_USEC);
    assert_int_equal(clients_acked(c), 3);
    assert_int_equal(type_of(c, hole), VALUE_NOOP);
    finish(c);
}

/* The message is chosen, its origin dies before it can say so, and the client tries another replica. */
static void trap_19_a_retry_after_the_origins_death_is_a_duplicate(void **state)
{
    (void)state;
    for (uint64_t wait_usec = 1 * MSEC; wait_usec < 25 * MSEC; wait_usec += 2 * MSEC) {
        struct cluster *c = make();
        uint32_t origin = (uint32_t)(wait_usec / MSEC) % 3;
        uint64_t operation = clients_send(c, origin, 0, NULL);
        cluster_run(c, wait_usec);
        host_crash(&c->hosts[origin], true);
        clients_retry(c, operation, (origin + 1) % 3);
        cluster_run(c, 5 * ELECTION_USEC);
        struct operation_state s = clients_operation(c, operation);
        while (!s.acked) {
            clients_retry(c, operation, (origin + 1) % 3);
            cluster_run(c, 5 * ELECTION_USEC);
            s = clients_operation(c, operation);
        }
        finish(c); /* it stands once */
    }
}

static void trap_20_one_key_through_all_replicas_at_once_is_stored_once(void **state)
{
    (void)state;
    struct cluster *c = make();
    uint64_t operation = clients_send(c, 0, 0, NULL);
    clients_retry(c, operation, 1);
    clients_retry(c, operation, 2);
    settled(c, operation);
    struct operation_state s = clients_operation(c, operation);
    assert_int_equal(s.n_chosen, 1);
    assert_int_equal(s.n_duplicates, 2);
    finish(c);
}

static void trap_20_two_leaders_with_the_same_key_in_two_slots(void **state)
{
    (void)state;
    struct cluster *c = make();
    struct host *old = cluster_leader(c);
    uint32_t other = follower(c);
    network_isolate(c, old->index, true);
    uint64_t operation = clients_send(c, old->index, 0, NULL); /* proposed by the old leader, which nobody hears */
    cluster_run(c, 5 * ELECTION_USEC);
    clients_retry(c, operation, other);
    cluster_run(c, 2 * ELECTION_USEC);
    network_isolate(c, old->index, false);
    settled(c, operation);
    assert_true(clients_operation(c, operation).acked);
    finish(c);
}

static void trap_21_a_late_replay_of_a_forgotten_key_is_expired(void **state)
{
    (void)state;
    struct cluster *c = make_sized(8, 256, 1024);
    uint64_t operation = settled(c, clients_send(c, 0, 0, NULL));
    for (int i = 0; i < 20; i++)
        settled(c, clients_send(c, 0, 0, NULL));
    clients_retry(c, operation, 1);
    settled(c, operation);
    assert_int_equal(clients_operation(c, operation).n_expired, 1);
    finish(c); /* stored once */
}

static void trap_23_the_same_key_with_another_text_is_a_conflict(void **state)
{
    (void)state;
    struct cluster *c = make();
    uint64_t operation = settled(c, clients_send(c, 0, 0, NULL));
    uint64_t conflict = settled(c, clients_conflict(c, operation, 1));
    assert_int_equal(clients_operation(c, conflict).n_conflicts, 1);
    assert_false(clients_operation(c, conflict).acked);
    finish(c);
}

static void trap_24_a_call_without_an_answer_is_unknown(void **state)
{
    (void)state;
    struct cluster *c = make();
    uint64_t operations[40];
    for (int i = 0; i < 40; i++) {
        uint32_t session, host = (uint32_t)i % 3;
        operations[i] = clients_send(c, host, 0, &session);
        cluster_run(c, (uint64_t)i * 500);
        clients_close(c, session); /* from here on silence, and at most once in the log */
    }
    cluster_settle(c, 10 * SECOND);
    for (int i = 0; i < 40; i++)
        assert_int_equal(clients_operation(c, operations[i]).n_open, 0);
    finish(c);
}

static void the_order_on_a_connection_holds_while_leaders_die(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(2);
    o.n_hosts = 5;
    o.datagram_bytes = 512; /* so that parts of a message are lost */
    struct cluster *c = cluster_make(&o);
    cluster_settle(c, 4 * ELECTION_USEC);
    uint32_t session, n = 1;
    struct weather w = network_calm();
    w.loss_permille = 200;
    network_weather(c, &w);
    clients_send(c, 0, 0, &session);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 50; i++, n++) {
            clients_send(c, 0, session, NULL);
            cluster_run(c, 1 * MSEC);
        }
        struct host *leader = cluster_leader(c);
        if (leader && leader->index != 0) {
            host_crash(leader, true);
            cluster_run(c, 5 * ELECTION_USEC);
            host_start(leader);
        }
    }
    cluster_settle(c, 20 * SECOND);
    assert_int_equal(clients_acked(c), n);
    finish(c);
}

/* Three connections take turns with two streams remembered: each finds its stream evicted while nothing was open on it.
 */
static void an_idle_connection_whose_stream_was_evicted_goes_on(void **state)
{
    (void)state;
    struct cluster *c = make_sized(4096, 2, 1024);
    uint32_t sessions[3];
    for (uint32_t i = 0; i < 3; i++)
        settled(c, clients_send(c, i, 0, &sessions[i]));
    for (int round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 3; i++)
            settled(c, clients_send(c, i, sessions[i], NULL));
    }
    assert_int_equal(clients_acked(c), 18);
    finish(c);
}

static void busy_connections_whose_streams_evict_each_other_keep_their_order(void **state)
{
    (void)state;
    struct cluster *c = make_sized(4096, 1, 1024);
    uint32_t sessions[3];
    for (uint32_t i = 0; i < 3; i++)
        clients_send(c, i, 0, &sessions[i]);
    for (int round = 0; round < 20; round++) {
        cluster_settle(c, 20 * SECOND);
        for (uint32_t i = 0; i < 3; i++) {
            clients_send(c, i, sessions[i], NULL);
            clients_send(c, i, sessions[i], NULL);
        }
    }
    cluster_settle(c, 20 * SECOND);
    assert_int_equal(clients_acked(c), 123);
    finish(c);
}

static void without_a_quorum_a_message_is_refused_for_certain(void **state)
{
    (void)state;
    struct cluster *c = make();
    uint32_t host = follower(c);
    for (uint32_t i = 0; i < 3; i++)
        network_isolate(c, i, true);
    cluster_run(c, 6 * ELECTION_USEC);
    uint64_t operation = clients_send(c, host, 0, NULL);
    cluster_run(c, 1 * MSEC);
    assert_int_equal(clients_operation(c, operation).n_refused, 1);
    cluster_run(c, 2 * ELECTION_USEC);
    finish(c); /* it stands nowhere */
}

static void too_many_open_messages_are_refused_and_use_up_no_number(void **state)
{
    (void)state;
    struct cluster *c = make_sized(4096, 256, 8);
    uint32_t session, host = follower(c), n_refused = 0;
    uint64_t first = clients_send(c, host, 0, &session);
    for (int i = 1; i < 20; i++)
        clients_send(c, host, session, NULL);
    cluster_run(c, 1 * MSEC);
    for (uint64_t i = first; i < first + 20; i++)
        n_refused += clients_operation(c, i).n_refused;
    assert_int_equal(n_refused, 12);
    cluster_settle(c, 10 * SECOND);
    settled(c, clients_send(c, host, session, NULL)); /* the next number is free */
    assert_int_equal(clients_acked(c), 9);
    finish(c);
}

static bool knows_of_full_disk(struct cluster *c, void *user)
{
    (void)c;
    return !((const struct host *)user)->told_space;
}

static void a_full_disk_refuses_and_loses_nothing(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(3);
    o.segment_bytes = JOURNAL_SEGMENT_BYTES_MIN;
    struct cluster *c = cluster_make(&o);
    cluster_settle(c, 4 * ELECTION_USEC);
    struct host *h = &c->hosts[follower(c)];
    uint64_t n = 0;
    trouble_set_space(c, h->index, false);
    for (; !cluster_run_until(c, 20 * MSEC, knows_of_full_disk, h); n++)
        clients_send(c, cluster_leader(c)->index, 0, NULL);
    cluster_run(c, 2 * SECOND); /* what is only slow to get space waits */
    uint64_t refused = clients_send(c, h->index, 0, NULL);
    clients_send(c, cluster_leader(c)->index, 0, NULL);
    cluster_run(c, 1 * SECOND);
    assert_int_equal(clients_operation(c, refused).n_refused, 1);
    assert_int_equal(clients_acked(c), n + 1);
    trouble_set_space(c, h->index, true);
    cluster_run(c, 2 * SECOND);
    settled(c, clients_send(c, h->index, 0, NULL));
    assert_int_equal(clients_acked(c), n + 2);
    finish(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_16_a_skipped_slot_becomes_a_noop_while_the_leader_lives),
        cmocka_unit_test(trap_16_a_skipped_slot_becomes_a_noop_when_the_leader_dies),
        cmocka_unit_test(a_leader_without_followers_fills_its_own_hole),
        cmocka_unit_test(trap_19_a_retry_after_the_origins_death_is_a_duplicate),
        cmocka_unit_test(trap_20_one_key_through_all_replicas_at_once_is_stored_once),
        cmocka_unit_test(trap_20_two_leaders_with_the_same_key_in_two_slots),
        cmocka_unit_test(trap_21_a_late_replay_of_a_forgotten_key_is_expired),
        cmocka_unit_test(trap_23_the_same_key_with_another_text_is_a_conflict),
        cmocka_unit_test(trap_24_a_call_without_an_answer_is_unknown),
        cmocka_unit_test(the_order_on_a_connection_holds_while_leaders_die),
        cmocka_unit_test(an_idle_connection_whose_stream_was_evicted_goes_on),
        cmocka_unit_test(busy_connections_whose_streams_evict_each_other_keep_their_order),
        cmocka_unit_test(without_a_quorum_a_message_is_refused_for_certain),
        cmocka_unit_test(too_many_open_messages_are_refused_and_use_up_no_number),
        cmocka_unit_test(a_full_disk_refuses_and_loses_nothing),
    };
    return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
