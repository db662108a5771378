/* What the driver says and does about what is not on the disk yet, or never will be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static const char *_Atomic failing; /* directory; NULL: none */

int __wrap_fdatasync(int fd)
{
    const char *dir = failing;
    char link[32], path[128] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (dir == NULL || readlink(link, path, sizeof(path) - 1) < 0 || strncmp(path, dir, strlen(dir)) != 0)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_last_write_that_fails_is_no_orderly_end),
    };
    return cmocka_run_group_tests_name("driver and disk", tests, NULL, NULL);
}
