/* What the driver says and does about what is not on the disk yet, or never will be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static const char *_Atomic failing, *_Atomic held_up; /* directories; NULL: none */

static bool is_in(const char *dir, int fd)
{
    char link[32], path[128] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return dir != NULL && readlink(link, path, sizeof(path) - 1) > 0 && strncmp(path, dir, strlen(dir)) == 0;
}

int __wrap_fdatasync(int fd)
{
    while (is_in(held_up, fd))
        usleep(1000);
    if (!is_in(failing, fd))
        return __real_fdatasync(fd);
    errno = EIO;
    return -1;
}

static void never_settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    (void)user, (void)tag, (void)result, (void)slot;
}

static struct node *leader_of(struct cluster *c)
{
    struct replica_status s;
    for (size_t i = 0; i < REPLICAS; i++) {
        replica_status(c->nodes[i].driver->replica, &s);
        if (s.role == ROLE_LEADER)
            return &c->nodes[i];
    }
    fail_msg("nobody leads");
    return NULL;
}

static bool has_stopped(struct cluster *c)
{
    for (size_t i = 0; i < REPLICAS; i++)
        if (c->nodes[i].stopped >= 0)
            return true;
    return false;
}

/* Between the write and the end the loop does not run. */
static void a_last_write_that_fails_is_no_orderly_end(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    struct submit_request q = {.author = "a", .key = "k", .text = "t", .author_size = 1, .key_size = 1, .text_size = 1};
    cluster_submit(c, 0, 10, 20);
    struct node *n = leader_of(c);
    struct session *s = driver_session_open(n->driver, never_settled, NULL);
    driver_submit(s, &q);
    failing = n->state;
    driver_turn(n->driver);
    driver_finish_stop(n->driver);
    failing = NULL;
    driver_session_close(s);
    cluster_run_until(c, has_stopped);
    assert_int_equal(n->stopped, EXIT_DISK);
    cluster_free_node(n);
    cluster_free(c);
}

static unsigned n_answered;
static uint64_t cookie;

static void answered(void *user, slot_t slot)
{
    (void)user;
    assert_int_equal(slot, 0);
    n_answered++;
}

static bool is_answered(struct cluster *c)
{
    (void)c;
    return n_answered > 0;
}

/* Once it has heard of another one, which are two of three. */
static bool begins(struct cluster *c)
{
    int r = driver_bootstrap(c->nodes[0].driver, answered, NULL, &cookie);
    assert_true(r == 0 || r == -EBUSY);
    return r == 0;
}

static bool has_begun(struct cluster *c)
{
    return replica_identity(c->nodes[0].driver->replica)->status == IDENTITY_VOTER;
}

/* While the journal of the one that is asked cannot be synced. */
static struct cluster *bootstrap(void)
{
    struct cluster *c = malloc(sizeof(*c));
    uint64_t unused;
    assert_non_null(c);
    cluster_make(c);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(cluster_start_node(c, i), 0);
    n_answered = 0;
    held_up = c->nodes[0].state;
    cluster_run_until(c, begins);
    assert_int_equal(driver_bootstrap(c->nodes[0].driver, answered, NULL, &unused), -EEXIST);
    for (uint64_t until = driver_now() + 200000; driver_now() < until;)
        uv_run(&c->loop, UV_RUN_ONCE);
    assert_int_equal(n_answered, 0);
    return c;
}

static void a_bootstrap_is_answered_from_the_disk(void **state)
{
    (void)state;
    struct cluster *c = bootstrap();
    held_up = NULL;
    cluster_run_until(c, is_answered);
    cluster_run_until(c, has_begun);
    assert_int_equal(n_answered, 1);
    driver_position_cancel(c->nodes[0].driver, cookie); /* of nothing any more */
    assert_int_equal(c->nodes[0].driver->n_positions_free, POSITIONS_MAX);
    cluster_free(c);
}

static void nobody_is_told_whose_client_is_gone(void **state)
{
    (void)state;
    struct cluster *c = bootstrap();
    driver_position_cancel(c->nodes[0].driver, cookie);
    held_up = NULL;
    cluster_run_until(c, has_begun);
    assert_int_equal(n_answered, 0);
    assert_int_equal(c->nodes[0].driver->n_positions_free, POSITIONS_MAX);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_last_write_that_fails_is_no_orderly_end),
        cmocka_unit_test(a_bootstrap_is_answered_from_the_disk),
        cmocka_unit_test(nobody_is_told_whose_client_is_gone),
    };
    return cmocka_run_group_tests_name("driver and disk", tests, NULL, NULL);
}
