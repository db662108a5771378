/* The first start: blank disks become voters together or not at all, and a blank one among voters never votes (trap
 * 34). The observer ends the program at the first vote of a life that is in no configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/clients.h"
#include "tests/sim/fault.h"
#include "tests/sim/observer.h"
#include "tests/sim/sim.h"
#include "tests/unit/seeds.h"

static struct cluster *make(uint32_t n, uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    o.n_hosts = n;
    o.blank = true;
    return cluster_make(&o);
}

static uint32_t count(const struct cluster *c, enum identity_status status)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        n += c->hosts[i].disk.identity.status == status;
    return n;
}

static void check_works(struct cluster *c, uint32_t host)
{
    cluster_settle(c, 10 * SECOND);
    uint64_t operation = clients_send(c, host, 0, NULL);
    cluster_settle(c, 10 * SECOND);
    assert_true(clients_operation(c, operation).acked);
    clients_check(c);
    cluster_free(c);
}

static void trap_34_all_blank_replicas_start_by_themselves(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 3, 5, 7};
    for (int i = 0; i < 4; i++) {
        struct cluster *c = make(sizes[i], (uint64_t)i + 1);
        cluster_run(c, 2 * SECOND);
        assert_int_equal(count(c, IDENTITY_VOTER), sizes[i]);
        for (uint32_t j = 1; j < sizes[i]; j++)
            assert_true(hash_equal(&c->hosts[j].disk.identity.cluster, &c->hosts[0].disk.identity.cluster));
        check_works(c, sizes[i] - 1);
    }
}

static void trap_34_all_blank_with_loss_and_crashes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(40); seed++) {
        struct cluster *c = make(seed % 2 ? 3 : 5, seed);
        struct weather w = network_calm();
        w.loss_permille = w.duplicate_permille = 300;
        network_weather(c, &w);
        for (int i = 0; i < 30; i++) {
            struct host *h = &c->hosts[cluster_random(c, 0, c->options.n_hosts - 1)];
            cluster_run(c, cluster_random(c, 0, 15 * MSEC));
            host_crash(h, cluster_chance(c, 500));
            cluster_run(c, cluster_random(c, 0, 15 * MSEC));
            host_start(h);
        }
        network_heal(c);
        cluster_run(c, 2 * SECOND);
        assert_int_equal(count(c, IDENTITY_VOTER), c->options.n_hosts);
        check_works(c, 0);
    }
}

static void trap_34_nobody_starts_while_one_is_missing(void **state)
{
    (void)state;
    for (uint32_t missing = 0; missing < 3; missing++) {
        struct cluster *c = make(3, 5 + missing);
        host_crash(&c->hosts[missing], true);
        cluster_run(c, 20 * SECOND);
        assert_int_equal(count(c, IDENTITY_EMPTY), 3);
        host_start(&c->hosts[missing]);
        cluster_run(c, 2 * SECOND);
        assert_int_equal(count(c, IDENTITY_VOTER), 3);
        check_works(c, missing);
    }
}

static void bootstrap(struct cluster *c, uint32_t host)
{
    host_step(&c->hosts[host], &(struct event){.type = EVENT_BOOTSTRAP});
    cluster_run(c, 3 * SECOND);
}

static void trap_34_bootstrap_with_a_majority(void **state)
{
    (void)state;
    struct cluster *c = make(3, 8);
    host_crash(&c->hosts[0], true);
    cluster_run(c, 1 * SECOND);
    bootstrap(c, 2);
    assert_int_equal(count(c, IDENTITY_VOTER), 2);
    c->hosts[0].wiped = true; /* it stands in slot 0 without a life: it stays blank until it is admitted */
    host_start(&c->hosts[0]);
    cluster_run(c, 5 * SECOND);
    assert_int_equal(c->hosts[0].disk.identity.status, IDENTITY_EMPTY);
    check_works(c, 1);
}

static void trap_34_bootstrap_without_a_majority_is_refused(void **state)
{
    (void)state;
    struct cluster *c = make(5, 9);
    for (uint32_t i = 0; i < 3; i++)
        host_crash(&c->hosts[i], true);
    cluster_run(c, 1 * SECOND);
    bootstrap(c, 4);
    assert_int_equal(count(c, IDENTITY_EMPTY), 5);
    cluster_free(c);
}

/* Two of three were blank when they last heard each other; what each may found with the third would bar the other. */
static void trap_34_bootstrap_counts_nobody_who_is_out_of_reach(void **state)
{
    (void)state;
    struct cluster *c = make(3, 16);
    host_crash(&c->hosts[1], true);
    cluster_run(c, 1 * SECOND);
    network_link(c, 0, 2, false);
    cluster_run(c, 1 * SECOND);
    bootstrap(c, 2);
    assert_int_equal(count(c, IDENTITY_EMPTY), 3);
    host_start(&c->hosts[1]);
    cluster_run(c, 2 * SECOND);
    network_heal(c);
    cluster_run(c, 2 * SECOND);
    assert_int_equal(count(c, IDENTITY_VOTER), 3);
    check_works(c, 2);
}

static void trap_34_bootstrap_is_refused_where_somebody_is_a_voter(void **state)
{
    (void)state;
    struct cluster *c = make(5, 10);
    cluster_run(c, 2 * SECOND);
    for (uint32_t i = 0; i < 3; i++) {
        host_wipe(&c->hosts[i]); /* an operator's disaster: a majority of blank disks */
        host_start(&c->hosts[i]);
    }
    cluster_run(c, 1 * SECOND);
    bootstrap(c, 0);
    assert_int_equal(count(c, IDENTITY_EMPTY), 3);
    assert_int_equal(count(c, IDENTITY_VOTER), 2);
    cluster_free(c);
}

static void trap_34_a_wiped_disk_among_voters_never_votes(void **state)
{
    (void)state;
    for (uint32_t wiped = 0; wiped < 3; wiped++) {
        struct cluster *c = make(3, 11 + wiped);
        cluster_run(c, 2 * SECOND);
        host_wipe(&c->hosts[wiped]);
        host_start(&c->hosts[wiped]);
        cluster_run(c, 5 * SECOND);
        assert_int_equal(c->hosts[wiped].disk.identity.status, IDENTITY_EMPTY);
        assert_int_equal(c->hosts[wiped].disk.n_records, 0);
        uint64_t operation = clients_send(c, (wiped + 1) % 3, 0, NULL);
        cluster_run(c, 1 * SECOND);
        assert_true(clients_operation(c, operation).acked);
        /* With one voter left beside it nothing can be chosen any more. */
        host_crash(&c->hosts[(wiped + 1) % 3], true);
        cluster_run(c, 5 * SECOND);
        slot_t chosen = observer_chosen(c);
        clients_send(c, (wiped + 2) % 3, 0, NULL);
        cluster_run(c, 5 * SECOND);
        assert_int_equal(observer_chosen(c), chosen);
        host_start(&c->hosts[(wiped + 1) % 3]);
        check_works(c, (wiped + 1) % 3);
    }
}

/* Wiped at any moment of the start: whatever comes of the others, the blank one never becomes a voter of the old
 * cluster. */
static void trap_34_wiped_in_every_phase_of_the_start(void **state)
{
    (void)state;
    for (uint64_t after_usec = 0; after_usec < 60 * MSEC; after_usec += 2 * MSEC) {
        struct cluster *c = make(3, 100 + after_usec);
        uint32_t wiped = (uint32_t)(after_usec / (2 * MSEC)) % 3;
        cluster_run(c, after_usec);
        host_wipe(&c->hosts[wiped]);
        host_start(&c->hosts[wiped]);
        cluster_run(c, 5 * SECOND);
        /* Wiped while nobody knew it yet, it starts with the others; later it stays blank. */
        assert_true(c->hosts[wiped].disk.identity.status == IDENTITY_EMPTY || count(c, IDENTITY_VOTER) == 3);
        cluster_free(c);
    }
}

/* Between the first voter and the last, one loses its disk: the voter's word is enough for the other. */
static void a_voter_vouches_for_all_that_are_starting(void **state)
{
    (void)state;
    uint32_t found = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster *c = make(3, seed);
        struct weather w = network_calm();
        w.loss_permille = 500;
        network_weather(c, &w);
        while (count(c, IDENTITY_VOTER) == 0)
            cluster_run(c, MSEC);
        if (count(c, IDENTITY_VOTER) == 1 && count(c, IDENTITY_STARTING) == 2) {
            struct host *h = c->hosts;
            while (h->disk.identity.status != IDENTITY_STARTING)
                h++;
            host_crash(h, false);
            host_wipe(h);
            host_start(h);
            network_heal(c);
            cluster_run(c, 2 * SECOND);
            assert_int_equal(count(c, IDENTITY_VOTER), 2);
            assert_int_equal(count(c, IDENTITY_EMPTY), 1);
            found++;
        }
        cluster_free(c);
    }
    assert_true(found > 0);
}

static void another_bootstrap_file_keeps_a_replica_out(void **state)
{
    (void)state;
    struct cluster *c = make(3, 14);
    c->hosts[1].config_differs = true;
    host_wipe(&c->hosts[1]); /* so that it looks into the file */
    host_start(&c->hosts[1]);
    cluster_run(c, 10 * SECOND);
    assert_int_equal(count(c, IDENTITY_EMPTY), 3);
    struct replica_status s;
    replica_status(c->hosts[0].replica, &s);
    assert_true(s.peers[0].differs && !s.peers[1].differs);
    replica_status(c->hosts[1].replica, &s);
    assert_true(s.peers[0].differs && s.peers[1].differs);
    cluster_free(c);
}

static void before_the_start_everything_is_refused(void **state)
{
    (void)state;
    struct cluster *c = make(3, 15);
    host_crash(&c->hosts[2], true);
    uint64_t operation = clients_send(c, 0, 0, NULL);
    cluster_run(c, 1 * MSEC);
    assert_int_equal(clients_operation(c, operation).n_refused, 1);
    uint64_t read = clients_position(c, 0);
    slot_t slot;
    assert_false(clients_position_answer(c, read, &slot));
    assert_true(clients_are_idle(c, UINT32_MAX));
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_34_all_blank_replicas_start_by_themselves),
        cmocka_unit_test(trap_34_all_blank_with_loss_and_crashes),
        cmocka_unit_test(trap_34_nobody_starts_while_one_is_missing),
        cmocka_unit_test(trap_34_bootstrap_with_a_majority),
        cmocka_unit_test(trap_34_bootstrap_without_a_majority_is_refused),
        cmocka_unit_test(trap_34_bootstrap_counts_nobody_who_is_out_of_reach),
        cmocka_unit_test(trap_34_bootstrap_is_refused_where_somebody_is_a_voter),
        cmocka_unit_test(trap_34_a_wiped_disk_among_voters_never_votes),
        cmocka_unit_test(trap_34_wiped_in_every_phase_of_the_start),
        cmocka_unit_test(a_voter_vouches_for_all_that_are_starting),
        cmocka_unit_test(another_bootstrap_file_keeps_a_replica_out),
        cmocka_unit_test(before_the_start_everything_is_refused),
    };
    return cmocka_run_group_tests_name("start", tests, NULL, NULL);
}
