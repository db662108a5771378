/* Elections in a simulated cluster: partial connectivity, rejoining, stalled disks and processes, reads across them.
 * The observer checks safety all along; these tests are about progress, and about leaving a working leader alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/clients.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/sim.h"

#define ELECTION_USEC (6 * 50 * MSEC) /* E */

static struct cluster *make(uint32_t n, uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    o.n_hosts = n;
    struct cluster *c = cluster_make(&o);
    cluster_settle(c, 4 * ELECTION_USEC);
    return c;
}

static bool has_leader(struct cluster *c, void *user)
{
    (void)user;
    return cluster_leader(c) != NULL;
}

/* Gives the leadership to a certain host. */
static void lead(struct cluster *c, uint32_t host)
{
    for (int i = 0; i < 10 && cluster_leader(c) != &c->hosts[host]; i++) {
        struct host *leader = cluster_leader(c);
        if (leader)
            host_step(leader, &(struct event){.type = EVENT_TRANSFER, .target = c->hosts[host].id});
        cluster_run(c, 2 * ELECTION_USEC);
    }
    assert_ptr_equal(cluster_leader(c), &c->hosts[host]);
    cluster_settle(c, 4 * ELECTION_USEC);
}

struct wait {
    uint64_t operation;
};

static bool is_acked(struct cluster *c, void *user)
{
    return clients_operation(c, ((struct wait *)user)->operation).acked;
}

/* A message through a host is acknowledged within so long; answers how long it took. Refusals are tried again. */
static uint64_t send_through(struct cluster *c, uint32_t host, uint64_t limit_usec)
{
    uint64_t begin_usec = c->now_usec;
    struct wait w = {clients_send(c, host, 0, NULL)};
    while (!cluster_run_until(c, 20 * MSEC, is_acked, &w)) {
        struct operation_state s = clients_operation(c, w.operation);
        assert_true(c->now_usec - begin_usec < limit_usec);
        if (s.n_open == 0 && !s.acked)
            clients_retry(c, w.operation, host);
    }
    return c->now_usec - begin_usec;
}

static void finish(struct cluster *c)
{
    network_heal(c);
    cluster_settle(c, 10 * SECOND);
    clients_check(c);
    cluster_free(c);
}

static void one_leader_within_4_e(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster *c = make(seed % 2 ? 3 : 5, seed);
        assert_true(observer_leaderships(c) <= 3);
        finish(c);
    }
}

static int compare_u64(const void *a, const void *b)
{
    return (*(const uint64_t *)a > *(const uint64_t *)b) - (*(const uint64_t *)a < *(const uint64_t *)b);
}

static void the_next_message_after_a_leaders_death_within_10_t(void **state)
{
    (void)state;
    enum { RUNS = 41 };
    uint64_t took_usec[RUNS];
    for (uint64_t seed = 0; seed < RUNS; seed++) {
        struct cluster *c = make(3, 100 + seed);
        struct host *leader = cluster_leader(c);
        cluster_run(c, cluster_random(c, 0, 200 * MSEC));
        host_crash(leader, true);
        took_usec[seed] = send_through(c, (leader->index + 1) % 3, 20 * ELECTION_USEC);
        host_start(leader);
        finish(c);
    }
    qsort(took_usec, RUNS, sizeof(took_usec[0]), compare_u64);
    print_message("median %lu ms, longest %lu ms\n", (unsigned long)took_usec[RUNS / 2] / 1000,
                  (unsigned long)took_usec[RUNS - 1] / 1000);
    assert_true(took_usec[RUNS / 2] < 10 * 50 * MSEC);
}

static void cut_all_but(struct cluster *c, uint32_t hub)
{
    for (uint32_t i = 0; i < c->options.n_hosts; i++) {
        for (uint32_t j = 0; j < c->options.n_hosts; j++) {
            if (i != j && i != hub && j != hub)
                c->network.cut[i][j] = true;
        }
    }
}

static void trap_25_quorum_loss_five_linked_only_to_one(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 10; seed++) {
        struct cluster *c = make(5, seed);
        lead(c, 2);
        uint64_t before = observer_leaderships(c);
        cut_all_but(c, 0); /* the leader 2 lives on, linked to 0 only */
        send_through(c, 0, 6 * ELECTION_USEC);
        cluster_run(c, 10 * SECOND);
        for (uint32_t i = 0; i < 5; i++)
            send_through(c, i, 4 * ELECTION_USEC);
        assert_true(observer_leaderships(c) - before <= 2);
        finish(c);
    }
}

static void trap_26_constrained_election_the_only_able_one_has_an_old_log(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 10; seed++) {
        struct cluster *c = make(5, seed);
        lead(c, 4);
        network_isolate(c, 0, true);
        cluster_run(c, ELECTION_USEC);
        for (int i = 0; i < 20; i++)
            send_through(c, 4, 4 * ELECTION_USEC);
        network_isolate(c, 0, false);
        cut_all_but(c, 0);
        host_crash(&c->hosts[4], true);
        uint64_t before = observer_leaderships(c);
        send_through(c, 0, 8 * ELECTION_USEC);
        assert_ptr_equal(cluster_leader(c), &c->hosts[0]);
        cluster_run(c, 5 * SECOND);
        assert_true(observer_leaderships(c) - before <= 2);
        host_start(&c->hosts[4]);
        finish(c);
    }
}

static void trap_13_chained_rivals_leave_the_leader_alone(void **state)
{
    (void)state;
    for (uint32_t leader = 0; leader < 3; leader++) {
        struct cluster *c = make(3, 7 + leader);
        lead(c, leader);
        uint64_t before = observer_leaderships(c);
        network_link(c, 1, 2, false); /* 1 - 0 - 2 */
        for (int i = 0; i < 20; i++) {
            cluster_run(c, 500 * MSEC);
            send_through(c, (uint32_t)i % 3, 4 * ELECTION_USEC);
        }
        assert_int_equal(observer_leaderships(c), before);
        finish(c);
    }
}

static void trap_27_a_rejoining_higher_id_does_not_preempt(void **state)
{
    (void)state;
    struct cluster *c = make(3, 3);
    lead(c, 0);
    uint64_t before = observer_leaderships(c);
    for (int i = 0; i < 10; i++) {
        network_isolate(c, 2, true);
        cluster_run(c, 1 * SECOND);
        send_through(c, 1, 4 * ELECTION_USEC);
        network_isolate(c, 2, false);
        cluster_run(c, 1 * SECOND);
        send_through(c, 2, 4 * ELECTION_USEC);
    }
    for (int i = 0; i < 10; i++) {
        host_crash(&c->hosts[2], true);
        cluster_run(c, 200 * MSEC);
        host_start(&c->hosts[2]);
        cluster_run(c, 500 * MSEC);
    }
    assert_int_equal(observer_leaderships(c), before);
    assert_ptr_equal(cluster_leader(c), &c->hosts[0]);
    finish(c);
}

static void trap_27_one_way_cuts_do_not_flap_the_leader(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < 3; from++) {
        for (uint32_t to = 0; to < 3; to++) {
            struct cluster *c = make(3, 20 + 3 * from + to);
            lead(c, 1);
            uint64_t before = observer_leaderships(c);
            if (from != to)
                c->network.cut[from][to] = true;
            cluster_run(c, 5 * SECOND);
            for (uint32_t i = 0; i < 3; i++)
                send_through(c, i, 6 * ELECTION_USEC);
            assert_true(observer_leaderships(c) - before <= 1);
            finish(c);
        }
    }
}

static void thirty_percent_loss_leaves_the_leader_alone(void **state)
{
    (void)state;
    struct cluster *c = make(3, 5);
    struct weather w = network_calm();
    w.loss_permille = 300;
    network_weather(c, &w);
    uint64_t before = observer_leaderships(c);
    for (int i = 0; i < 100; i++)
        send_through(c, (uint32_t)i % 3, 20 * ELECTION_USEC); /* a retransmission may wait for a second */
    cluster_run(c, 30 * SECOND);
    assert_true(observer_leaderships(c) - before <= 1);
    finish(c);
}

static void trap_18_a_read_right_after_the_election(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct cluster *c = make(3, seed);
        struct host *old = cluster_leader(c);
        uint32_t other = (old->index + 1) % 3;
        send_through(c, other, 4 * ELECTION_USEC);
        host_crash(old, true);
        assert_true(cluster_run_until(c, 10 * ELECTION_USEC, has_leader, NULL));
        struct host *new = cluster_leader(c);
        uint64_t read = clients_position(c, new->index); /* the fixture compares it with what was acknowledged */
        slot_t slot = 0;
        cluster_run(c, 4 * ELECTION_USEC);
        assert_true(clients_position_answer(c, read, &slot));
        host_start(old);
        finish(c);
    }
}

static void trap_28_no_stale_read_at_a_leader_that_was_stopped(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster *c = make(3, seed);
        struct host *old = cluster_leader(c);
        uint32_t other = (old->index + 1) % 3;
        send_through(c, old->index, 4 * ELECTION_USEC);
        uint64_t early = clients_position(c, old->index);
        old->paused_until_usec = c->now_usec + 3 * SECOND;
        for (int i = 0; i < 5; i++)
            send_through(c, other, 10 * ELECTION_USEC);
        cluster_run(c, 3 * SECOND);
        cluster_run(c, old->paused_until_usec > c->now_usec ? old->paused_until_usec - c->now_usec : 0);
        /* It wakes up and believes that it leads; what it was asked before it slept must not answer this one. */
        uint64_t late = clients_position(c, old->index);
        slot_t slot = 0;
        cluster_run(c, 4 * ELECTION_USEC);
        assert_true(clients_position_answer(c, early, &slot));
        assert_true(clients_position_answer(c, late, &slot));
        finish(c);
    }
}

static void trap_28_a_cut_off_leader_answers_no_read(void **state)
{
    (void)state;
    struct cluster *c = make(3, 4);
    struct host *old = cluster_leader(c);
    uint32_t other = (old->index + 1) % 3;
    network_isolate(c, old->index, true);
    uint64_t read = clients_position(c, old->index);
    send_through(c, other, 10 * ELECTION_USEC);
    slot_t slot = 0;
    cluster_run(c, 3 * SECOND);
    assert_false(clients_position_answer(c, read, &slot));
    network_isolate(c, old->index, false);
    cluster_run(c, 4 * ELECTION_USEC);
    assert_true(clients_position_answer(c, read, &slot));
    finish(c);
}

static void trap_29_a_leader_with_a_stalled_disk_steps_aside(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *c = make(3, seed);
        struct host *old = cluster_leader(c);
        uint32_t other = (old->index + 1) % 3;
        old->stalled_until_usec = c->now_usec + 5 * SECOND;
        uint64_t longest_usec = 0, begin_usec = c->now_usec;
        while (c->now_usec - begin_usec < 4900 * MSEC) {
            uint64_t took_usec = send_through(c, other, 20 * ELECTION_USEC);
            longest_usec = took_usec > longest_usec ? took_usec : longest_usec;
        }
        assert_false(host_is_leader(old));
        assert_true(longest_usec < 10 * ELECTION_USEC);
        finish(c);
    }
}

static void trap_29_a_stalled_follower_changes_nothing(void **state)
{
    (void)state;
    struct cluster *c = make(3, 9);
    struct host *leader = cluster_leader(c);
    uint64_t before = observer_leaderships(c);
    c->hosts[(leader->index + 1) % 3].stalled_until_usec = c->now_usec + 5 * SECOND;
    for (int i = 0; i < 50; i++) {
        send_through(c, leader->index, ELECTION_USEC);
        cluster_run(c, 100 * MSEC);
    }
    assert_int_equal(observer_leaderships(c), before);
    finish(c);
}

static void trap_30_a_wall_clock_that_jumps_elects_nobody(void **state)
{
    (void)state;
    struct cluster *c = make(3, 11);
    uint64_t before = observer_leaderships(c);
    for (int i = 0; i < 50; i++) {
        for (uint32_t h = 0; h < 3; h++)
            c->hosts[h].wall_offset_usec = (int64_t)cluster_random(c, 0, 7200 * SECOND) - 3600 * (int64_t)SECOND;
        send_through(c, (uint32_t)i % 3, 4 * ELECTION_USEC);
        cluster_run(c, 100 * MSEC);
    }
    assert_int_equal(observer_leaderships(c), before);
    finish(c);
}

static void transfer_moves_the_leadership_without_a_gap(void **state)
{
    (void)state;
    struct cluster *c = make(3, 12);
    for (uint32_t i = 0; i < 9; i++) {
        struct host *old = cluster_leader(c);
        uint32_t target = (old->index + 1 + i % 2) % 3;
        uint64_t before = observer_leaderships(c);
        host_step(old, &(struct event){.type = EVENT_TRANSFER, .target = c->hosts[target].id});
        assert_true(send_through(c, (uint32_t)i % 3, ELECTION_USEC) < ELECTION_USEC / 2);
        cluster_settle(c, 4 * ELECTION_USEC);
        assert_ptr_equal(cluster_leader(c), &c->hosts[target]);
        assert_int_equal(observer_leaderships(c), before + 1);
        cluster_run(c, 2 * ELECTION_USEC);
    }
    finish(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_within_4_e),
        cmocka_unit_test(the_next_message_after_a_leaders_death_within_10_t),
        cmocka_unit_test(trap_25_quorum_loss_five_linked_only_to_one),
        cmocka_unit_test(trap_26_constrained_election_the_only_able_one_has_an_old_log),
        cmocka_unit_test(trap_13_chained_rivals_leave_the_leader_alone),
        cmocka_unit_test(trap_27_a_rejoining_higher_id_does_not_preempt),
        cmocka_unit_test(trap_27_one_way_cuts_do_not_flap_the_leader),
        cmocka_unit_test(thirty_percent_loss_leaves_the_leader_alone),
        cmocka_unit_test(trap_18_a_read_right_after_the_election),
        cmocka_unit_test(trap_28_no_stale_read_at_a_leader_that_was_stopped),
        cmocka_unit_test(trap_28_a_cut_off_leader_answers_no_read),
        cmocka_unit_test(trap_29_a_leader_with_a_stalled_disk_steps_aside),
        cmocka_unit_test(trap_29_a_stalled_follower_changes_nothing),
        cmocka_unit_test(trap_30_a_wall_clock_that_jumps_elects_nobody),
        cmocka_unit_test(transfer_moves_the_leadership_without_a_gap),
    };
    return cmocka_run_group_tests_name("election", tests, NULL, NULL);
}
