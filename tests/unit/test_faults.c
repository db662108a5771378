/* Injected drops: what replaces what, how long it lasts, and that the rate is the rate. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/faults.h"

enum { SEED = 12345, DRAWS = 100000 };

static unsigned count_drops(struct faults *f, enum fault_direction direction, replica_id_t peer, uint64_t now_usec)
{
    unsigned n = 0;

    for (int i = 0; i < DRAWS; i++)
        n += faults_drop(f, direction, peer, now_usec);
    return n;
}

/* Percent, within one: more than six standard deviations. */
static void expect_rate(struct faults *f, enum fault_direction direction, replica_id_t peer, unsigned rate)
{
    unsigned n = count_drops(f, direction, peer, 1);

    assert_in_range(n, rate == 0 ? 0 : rate * DRAWS / 100 - DRAWS / 100,
                    rate == 100 ? DRAWS : rate * DRAWS / 100 + DRAWS / 100);
    if (rate == 0 || rate == 100)
        assert_int_equal(n, rate * DRAWS / 100);
}

static void test_configured_rate_is_out_to_all(void **state)
{
    struct faults *f = faults_new(10, SEED);
    struct fault list[FAULTS_MAX];

    (void)state;
    expect_rate(f, FAULT_OUT, 0, 10);
    expect_rate(f, FAULT_OUT, 254, 10);
    expect_rate(f, FAULT_IN, 0, 0);
    assert_int_equal(faults_list(f, 1, list), 1);
    assert_int_equal(list[0].rate, 10);
    assert_int_equal(list[0].direction, FAULT_OUT);
    assert_int_equal(list[0].peer, REPLICA_ID_NONE);
    assert_true(list[0].until_usec == 0);
    faults_free(f);

    f = faults_new(0, SEED);
    expect_rate(f, FAULT_OUT, 0, 0);
    assert_int_equal(faults_list(f, 1, list), 0);
    faults_free(f);
}

static void test_several_apply_independently(void **state)
{
    struct faults *f = faults_new(50, SEED);

    (void)state;
    assert_int_equal(faults_set(f, 50, FAULT_OUT, 2, 0, 1), 0);
    expect_rate(f, FAULT_OUT, 2, 75);
    expect_rate(f, FAULT_OUT, 1, 50);
    assert_int_equal(faults_set(f, 100, FAULT_IN, 1, 0, 1), 0);
    expect_rate(f, FAULT_IN, 1, 100);
    expect_rate(f, FAULT_IN, 2, 0);
    faults_free(f);
}

static void test_what_replaces_what(void **state)
{
    struct faults *f = faults_new(10, SEED);
    struct fault list[FAULTS_MAX];

    (void)state;
    /* the same direction and peer */
    assert_int_equal(faults_set(f, 20, FAULT_OUT, REPLICA_ID_NONE, 0, 1), 0);
    assert_int_equal(faults_list(f, 1, list), 1);
    assert_int_equal(list[0].rate, 20);
    /* one direction of a fault in both: the other one stays */
    assert_int_equal(faults_set(f, 30, FAULT_BOTH, 1, 0, 1), 0);
    assert_int_equal(faults_set(f, 40, FAULT_IN, 1, 0, 1), 0);
    expect_rate(f, FAULT_IN, 1, 40);
    assert_int_equal(faults_list(f, 1, list), 3);
    assert_int_equal(list[1].direction, FAULT_OUT);
    assert_int_equal(list[1].rate, 30);
    /* both replaces in and out, of that peer only */
    assert_int_equal(faults_set(f, 100, FAULT_BOTH, 1, 0, 1), 0);
    assert_int_equal(faults_list(f, 1, list), 2);
    /* for one peer: what is set for all stays */
    assert_int_equal(faults_set(f, 0, FAULT_BOTH, 1, 0, 1), 0);
    assert_int_equal(faults_list(f, 1, list), 1);
    expect_rate(f, FAULT_OUT, 1, 20);
    /* for all: single ones go, too, in that direction */
    assert_int_equal(faults_set(f, 50, FAULT_BOTH, 7, 0, 1), 0);
    assert_int_equal(faults_set(f, 0, FAULT_OUT, REPLICA_ID_NONE, 0, 1), 0);
    assert_int_equal(faults_list(f, 1, list), 1);
    assert_int_equal(list[0].direction, FAULT_IN);
    assert_int_equal(list[0].peer, 7);
    assert_int_equal(faults_set(f, 0, FAULT_BOTH, REPLICA_ID_NONE, 0, 1), 0);
    assert_int_equal(faults_list(f, 1, list), 0);
    faults_free(f);
}

static void test_a_fault_ends(void **state)
{
    struct faults *f = faults_new(0, SEED);
    struct fault list[FAULTS_MAX];

    (void)state;
    assert_int_equal(faults_set(f, 100, FAULT_OUT, REPLICA_ID_NONE, 2, 500), 0);
    assert_int_equal(faults_list(f, 500, list), 1);
    assert_true(list[0].until_usec == 2000500);
    assert_true(faults_drop(f, FAULT_OUT, 1, 2000499));
    assert_false(faults_drop(f, FAULT_OUT, 1, 2000500));
    assert_int_equal(faults_list(f, 2000500, list), 0);
    /* beyond the clock's range: at its end, not at once */
    assert_int_equal(faults_set(f, 100, FAULT_OUT, REPLICA_ID_NONE, UINT64_MAX, 500), 0);
    assert_true(faults_drop(f, FAULT_OUT, 1, UINT64_MAX - 1));
    assert_int_equal(faults_set(f, 100, FAULT_OUT, REPLICA_ID_NONE, UINT64_MAX / 1000000, UINT64_MAX - 5), 0);
    assert_true(faults_drop(f, FAULT_OUT, 1, UINT64_MAX - 1));
    faults_free(f);
}

static void test_bounds(void **state)
{
    struct faults *f = faults_new(0, SEED);
    struct fault list[FAULTS_MAX];

    (void)state;
    assert_int_equal(faults_set(f, 101, FAULT_OUT, 1, 0, 1), -EINVAL);
    assert_int_equal(faults_set(f, 1, (enum fault_direction)0, 1, 0, 1), -EINVAL);
    assert_int_equal(faults_set(f, 1, (enum fault_direction)4, 1, 0, 1), -EINVAL);
    for (int i = 0; i < FAULTS_MAX; i++)
        assert_int_equal(faults_set(f, 1, FAULT_OUT, (replica_id_t)i, i == 3 ? 1 : 0, 1), 0);
    assert_int_equal(faults_set(f, 1, FAULT_OUT, 200, 0, 1), -ENOSPC);
    assert_int_equal(faults_set(f, 1, FAULT_IN, 5, 0, 1), -ENOSPC);
    assert_int_equal(faults_list(f, 1, list), FAULTS_MAX); /* nothing changed */
    assert_int_equal(faults_set(f, 2, FAULT_OUT, 5, 0, 1), 0);
    assert_int_equal(faults_set(f, 1, FAULT_OUT, 200, 0, 1000001), 0); /* in the room of the one that ended */
    assert_int_equal(faults_set(f, 1, FAULT_OUT, REPLICA_ID_NONE, 0, 1000001), 0);
    assert_int_equal(faults_list(f, 1000001, list), 1);
    faults_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configured_rate_is_out_to_all),
        cmocka_unit_test(test_several_apply_independently),
        cmocka_unit_test(test_what_replaces_what),
        cmocka_unit_test(test_a_fault_ends),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
