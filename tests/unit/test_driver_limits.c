/* The driver's tables at their limits, and what it does not take on; real drivers, whose loop stands still there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

static unsigned n_answered, n_wanted;

static void answered(void *user, slot_t slot)
{
    (void)user;
    (void)slot;
    n_answered++;
}

static bool all_are_answered(struct cluster *c)
{
    (void)c;
    return n_answered == n_wanted;
}

static void open_positions_are_limited(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver *d = c->nodes[0].driver;
    uint64_t first = driver_position(d, answered, NULL);
    assert_int_not_equal(first, 0);
    for (int i = 1; i < POSITIONS_MAX; i++)
        assert_int_not_equal(driver_position(d, answered, NULL), 0);
    assert_int_equal(driver_position(d, answered, NULL), 0);
    driver_position_cancel(d, first);
    driver_position_cancel(d, first);
    assert_int_not_equal(driver_position(d, answered, NULL), 0);
    assert_int_equal(driver_position(d, answered, NULL), 0);
    n_wanted = POSITIONS_MAX;
    cluster_run_until(c, all_are_answered);
    assert_int_not_equal(driver_position(d, answered, NULL), 0);
    n_wanted++;
    cluster_run_until(c, all_are_answered);
    cluster_free(c);
}

static void want(struct driver *d, slot_t until)
{
    struct effects e = {.fetch = {.wanted = true, .to = 1, .from = 1, .until = until, .bytes_max = 1},
                        .install_from = REPLICA_ID_NONE,
                        .wake_usec = d->wake_usec};
    driver_carry_out(d, &e, driver_now());
}

static bool none_waits(struct cluster *c)
{
    return c->nodes[0].driver->n_fetches == 0;
}

/* What late peers ask for. */
static void old_slots_that_are_asked_for_are_limited(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver *d = c->nodes[0].driver;
    cluster_submit(c, 0, 10, 20);
    cluster_run_until(c, none_waits);
    for (slot_t i = 1; i < FETCHES_QUEUED_MAX; i++)
        want(d, i);
    assert_int_equal(d->n_fetches, FETCHES_QUEUED_MAX - 1);
    want(d, FETCHES_QUEUED_MAX);
    assert_int_equal(d->n_fetches, FETCHES_QUEUED_MAX);
    want(d, FETCHES_QUEUED_MAX + 1);
    assert_int_equal(d->n_fetches, FETCHES_QUEUED_MAX);
    for (uint32_t i = 0; i < FETCHES_QUEUED_MAX; i++)
        assert_int_equal(d->fetches[(d->fetches_first + i) % FETCHES_QUEUED_MAX].until, i + 1);
    cluster_run_until(c, none_waits);
    want(d, 1);
    assert_int_equal(d->n_fetches, 1);
    cluster_run_until(c, none_waits);
    cluster_free(c);
}

static enum submit_result results[2];

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    (void)user;
    (void)slot;
    results[tag] = result;
    n_answered++;
}

/* Far behind, its own prefix as `since` may be older than the keys that are known. */
static void far_behind_no_since_is_made_up(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct driver *d = c->nodes[0].driver;
    struct session *s = driver_session_open(d, settled, NULL);
    struct submit_request q = {.author = "a", .key = "k", .text = "t", .author_size = 1, .key_size = 1, .text_size = 1};
    n_answered = 0;
    n_wanted = 2;
    d->status.lagging = true;
    driver_submit(s, &q);
    q.has_since = true;
    q.tag = 1;
    driver_submit(s, &q);
    cluster_run_until(c, all_are_answered);
    assert_int_equal(results[0], SUBMIT_OVERLOADED);
    assert_int_equal(results[1], SUBMIT_CHOSEN);
    driver_session_close(s);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_positions_are_limited),
        cmocka_unit_test(old_slots_that_are_asked_for_are_limited),
        cmocka_unit_test(far_behind_no_since_is_made_up),
    };
    return cmocka_run_group_tests_name("driver limits", tests, NULL, NULL);
}
