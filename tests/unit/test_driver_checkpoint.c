/* A checkpoint beside the log, which goes on while the journal takes none of it: real files, real datagrams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "host/driver_internal.h"
#include "tests/unit/driver_cluster.h"

enum { KEYS = 10000 /* of driver_cluster.c */, AT_ONCE = 1000, TEXT_BYTES = 20, PENDING_BYTES_MAX = 1 << 20 };

static const struct journal *held; /* takes no checkpoint's bytes */
static struct journal_checkpoint newest;
static slot_t wanted;
static int unready; /* why the log's readers have no part of a checkpoint; 0: they have */
static struct driver_status status;

int64_t __real_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size);
int64_t __wrap_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size);

int64_t __wrap_journal_checkpoint_append(struct journal *j, const void *bytes, size_t size)
{
    return j == held ? 0 : __real_journal_checkpoint_append(j, bytes, size);
}

int __real_logread_checkpoint(const struct logread *l, slot_t first_kept, uint8_t **ret, uint32_t *ret_size);
int __wrap_logread_checkpoint(const struct logread *l, slot_t first_kept, uint8_t **ret, uint32_t *ret_size);

int __wrap_logread_checkpoint(const struct logread *l, slot_t first_kept, uint8_t **ret, uint32_t *ret_size)
{
    return unready != 0 ? unready : __real_logread_checkpoint(l, first_kept, ret, ret_size);
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

static bool is_in_trouble(struct cluster *c)
{
    driver_status(first(c), &status);
    return status.checkpoint_trouble != NULL && status.checkpoint_trouble[0] != 0;
}

static bool is_written(struct cluster *c)
{
    return !is_in_trouble(c) && status.checkpoint > 0;
}

/* Told for as long as it lasts, and tried again. */
static void what_prevents_one_is_told(void **state)
{
    (void)state;
    static const int errors[] = {-EFBIG, -ENODATA, -ENOMEM};
    static const char *const remedies[] = {"lower retain_mb", "restart this replica", "free some on this host"};
    struct cluster *c = cluster_start(NULL);
    for (size_t i = 0; i < 3; i++) {
        cluster_submit(c, i, i + 1, TEXT_BYTES);
        unready = errors[i];
        first(c)->checkpoint.is_wanted = true;
        first(c)->checkpoint.retry_usec = 0;
        cluster_run_until(c, is_in_trouble);
        const char *remedy = strstr(status.checkpoint_trouble, "; ");
        assert_string_equal(remedy + 2, remedies[i]);
        assert_int_equal(status.checkpoint, 0);
        first(c)->checkpoint.trouble = "";
    }
    cluster_run_until(c, is_in_trouble);
    unready = 0;
    cluster_run_until(c, is_written);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_log_never_overtakes_it),
                                       cmocka_unit_test(what_prevents_one_is_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
