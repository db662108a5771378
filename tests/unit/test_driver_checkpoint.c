/* A checkpoint beside the log, which goes on while the journal takes none of it: real files, real datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

enum { KEYS = 10000 /* of driver_cluster.c */, AT_ONCE = 1000, TEXT_BYTES = 20, PENDING_BYTES_MAX = 1 << 20 };

static const struct journal *held; /* takes no checkpoint's bytes */
static struct journal_checkpoint newest;
static slot_t wanted;

int64_t __real_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size);
int64_t __wrap_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size);

int64_t __wrap_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size)
{
    return j == held ? 0 : __real_journal_checkpoint_append(j, bytes, size);
}

static struct driver *first(struct cluster *c)
{
    return c->nodes[0].driver;
}

static bool has_begun(struct cluster *c)
{
    return first(c)->checkpoint.writer != NULL;
}

static bool has_ended(struct cluster *c)
{
    return !has_begun(c);
}

static void submit(struct cluster *c, uint64_t from, uint64_t until)
{
    for (; from < until; from += AT_ONCE)
        cluster_submit(c, from, from + AT_ONCE, TEXT_BYTES);
}

/* The table of keys is full, so that each message takes one away that the checkpoint has: they wait in memory. */
static void the_log_never_overtakes_it(void **state)
{
    (void)state;
    struct cluster *c = cluster_start(NULL);
    submit(c, 0, KEYS);
    held = first(c)->journal;
    first(c)->checkpoint.is_wanted = true;
    cluster_run_until(c, has_begun);
    wanted = checkpoint_slot(first(c)->checkpoint.writer);
    submit(c, KEYS, 3 * KEYS);
    assert_true(has_begun(c));
    assert_in_range(first(c)->checkpoint.pending_size, KEYS * 32, PENDING_BYTES_MAX);
    held = NULL;
    cluster_run_until(c, has_ended);
    assert_true(journal_checkpoint_newest(first(c)->journal, &newest));
    assert_int_equal(newest.slot, wanted);
    assert_null(first(c)->checkpoint.pending);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_log_never_overtakes_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
