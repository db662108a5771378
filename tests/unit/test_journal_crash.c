/* The journal and power cuts: at every operation, with every mercy of the disk. What was durable is there, in order,
 * and of the rest a prefix. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/journal_fixture.h"
#include "tests/unit/seeds.h"

enum { SEEDS = 12, OPERATIONS_MOST = 2000 };

/* Identities, small and large records, several segments, two restarts. Ends where the disk dies. False: it did. */
static bool run_workload(struct fixture *f)
{
    for (int run = 0; run < 3; run++) {
        if (journal_fixture_open(f) != JOURNAL_OK)
            return false;
        for (int i = 0; i < 12; i++) {
            if (i % 5 == 0)
                fixture_identity(f, IDENTITY_VOTER);
            fixture_work(f, i % 4 == 0 ? 12000 : 600);
            if ((i % 3 == 0 ? fixture_settle(f) : fixture_write(f)) < 0)
                return false;
        }
        if (fixture_settle(f) < 0)
            return false;
        fixture_close(f);
    }
    return true;
}

static void assert_recovered(struct fixture *f)
{
    struct identity *read = calloc(1, sizeof *read);
    uint8_t n;

    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    assert_true(f->replayed.n >= f->n_durable);
    assert_true(told_begins(&f->replayed, &f->appended, f->replayed.n));

    /* Trap 41: an identity durable before the records that it vouches for, or after those that rest on it. */
    assert_int_equal(journal_read_identity(vfs_memory_vfs(f->disk), read, f->error), JOURNAL_OK);
    n = read->bootstrap.bytes[0];
    assert_true(f->replayed.n >= f->identity_at[n]);
    if (n < f->identity.bootstrap.bytes[0])
        assert_true(f->replayed.n <= f->identity_at[n + 1]);
    f->identity = *read;
    free(read);
}

/* Life goes on: what was recovered is the log from now on. */
static void assert_goes_on(struct fixture *f)
{
    fixture_adopt(f);
    if (f->n_committed > 0)
        fixture_check_read(f, 0, f->n_committed - 1);
    for (int i = 0; i < 10; i++) {
        fixture_work(f, 3000);
        assert_int_equal(fixture_write(f), 0);
    }
    assert_int_equal(fixture_settle(f), 0);
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(f->replayed.n, f->appended.n);
    assert_true(told_begins(&f->replayed, &f->appended, f->appended.n));
    if (f->n_committed > 0)
        fixture_check_read(f, 0, f->n_committed - 1);
}

static bool crash_at(uint64_t seed, uint64_t operation, enum vfs_memory_mercy mercy)
{
    struct fixture f;
    bool survived;

    fixture_setup(&f, seed);
    vfs_memory_set_mercy(f.disk, mercy);
    vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, operation, -EIO, true);
    survived = run_workload(&f);
    fixture_close(&f);
    vfs_memory_power_cut(f.disk);
    assert_recovered(&f);
    assert_goes_on(&f);
    fixture_teardown(&f);
    return !survived;
}

/* Traps 2 and 41. */
static void test_power_cut_at_every_operation(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(SEEDS); seed++) {
        for (uint64_t operation = 1; operation < OPERATIONS_MOST; operation++) {
            if (!crash_at(seed, operation,
                          seed % 4 == 1   ? MERCY_LOSE_ALL
                          : seed % 4 == 2 ? MERCY_KEEP_ALL
                                          : MERCY_BY_SEED))
                break;
            assert_true(operation + 1 < OPERATIONS_MOST);
        }
    }
}

/* Recovery itself is cut at every operation, then cut again: it must not lose what the first one had. */
static void test_power_cut_at_every_operation_of_recovery(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(SEEDS); seed++) {
        struct fixture f;
        struct vfs_memory *before;
        uint64_t operation = 1;
        bool done = false;

        fixture_setup(&f, seed);
        vfs_memory_fail_at(f.disk, VFS_MEMORY_SYNC, 20 + seed, -EIO, true);
        assert_false(run_workload(&f));
        fixture_close(&f);
        vfs_memory_power_cut(f.disk);
        before = f.disk;
        for (; !done; operation++) {
            f.disk = vfs_memory_clone(before, seed * 1000 + operation);
            vfs_memory_set_mercy(f.disk, operation % 3 == 0 ? MERCY_LOSE_ALL : MERCY_BY_SEED);
            vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, operation, -EIO, true);
            done = journal_fixture_open(&f) == JOURNAL_OK;
            fixture_close(&f);
            vfs_memory_power_cut(f.disk);
            assert_recovered(&f);
            fixture_close(&f);
            vfs_memory_free(f.disk);
        }
        assert_true(operation > 10);
        f.disk = before;
        fixture_teardown(&f);
    }
}

/* What was cut stays cut when new batches take its place: nothing of it shows behind them. */
static void assert_cut_for_good(struct fixture *f)
{
    struct record promise = {.type = RECORD_PROMISE, .ballot = {.round = 1 << 30, .gen = 1, .id = 3}};
    size_t n = f->replayed.n;

    journal_append(f->journal, &promise, 1, 1);
    assert_int_equal(journal_write(f->journal), 0);
    fixture_close(f);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    assert_int_equal(f->replayed.n, n + 1);
    assert_int_equal(f->replayed.promised.round, 1 << 30);
}

/* A crash between the reserve's first batches and its name; then the last segment is rewritten into that reserve. */
static void test_a_reserve_that_was_written_to_is_clean_again(void **state)
{
    struct fixture f;
    (void)state;

    fixture_setup(&f, 17);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_accept(&f, 0, 10000);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_accept(&f, 1, 60000); /* into the reserve, although the first segment is almost empty */
    vfs_memory_fail_at(f.disk, VFS_MEMORY_RENAME, 1, -EIO, true);
    assert_int_equal(fixture_write(&f), -EIO);
    fixture_close(&f);
    vfs_memory_set_mercy(f.disk, MERCY_KEEP_ALL);
    vfs_memory_power_cut(f.disk);
    assert_recovered(&f);
    assert_int_equal(f.replayed.n, 1);
    assert_cut_for_good(&f);
    fixture_teardown(&f);
}

/* On a full disk the last segment is rewritten in place: cut at every operation, with sectors that are written or not.
 */
static void test_power_cut_at_every_operation_of_recovery_on_a_full_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(4 * SEEDS); seed++) {
        struct fixture f;
        struct vfs_memory *before;
        bool done = false;

        fixture_setup(&f, seed);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        vfs_memory_set_budget(f.disk, vfs_memory_used(f.disk) + 1000);
        for (int i = 0; i < 3; i++) {
            fixture_work(&f, 3000);
            assert_int_equal(fixture_write(&f), 0);
        }
        fixture_work(&f, 3000);
        fixture_work(&f, 3000);
        vfs_memory_fail_at(f.disk, VFS_MEMORY_SYNC, 1, -EIO, true);
        fixture_write(&f);
        fixture_close(&f);
        vfs_memory_set_mercy(f.disk, MERCY_WHOLE_SECTORS);
        vfs_memory_power_cut(f.disk);
        before = f.disk;
        for (uint64_t operation = 1; !done; operation++) {
            f.disk = vfs_memory_clone(before, seed * 1000 + operation);
            vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, operation, -EIO, true);
            done = journal_fixture_open(&f) == JOURNAL_OK;
            fixture_close(&f);
            vfs_memory_power_cut(f.disk);
            assert_recovered(&f);
            assert_cut_for_good(&f);
            fixture_close(&f);
            vfs_memory_free(f.disk);
        }
        f.disk = before;
        fixture_teardown(&f);
    }
}

/* Trap 38, one half: whatever subset of the last group's sectors reached the disk, the start is not barred. */
static void test_every_mix_of_sectors_of_the_last_group(void **state)
{
    struct fixture f;
    size_t prefixes = 0, last = SIZE_MAX;
    (void)state;

    fixture_setup(&f, 7);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 5; slot++)
        fixture_accept(&f, slot, 700);
    assert_int_equal(fixture_settle(&f), 0);
    for (slot_t slot = 5; slot < 9; slot++)
        fixture_accept(&f, slot, 9000); /* a batch each, all in one group */
    vfs_memory_fail_at(f.disk, VFS_MEMORY_SYNC, 1, -EIO, true);
    assert_int_equal(fixture_write(&f), -EIO);
    fixture_close(&f);
    struct vfs_memory *before = f.disk;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        f.disk = vfs_memory_clone(before, seed);
        vfs_memory_power_cut(f.disk);
        assert_recovered(&f);
        prefixes += f.replayed.n != last;
        last = f.replayed.n;
        fixture_close(&f);
        vfs_memory_free(f.disk);
    }
    assert_true(prefixes > 1);
    f.disk = before;
    fixture_teardown(&f);
}

/* Trap 3: what was recovered from the page cache only, after a kill or a failed sync, and then answered "already
 * promised". */
static void test_what_was_recovered_is_durable(void **state)
{
    (void)state;
    for (int failed_sync = 0; failed_sync < 2; failed_sync++) {
        struct fixture f;
        fixture_setup(&f, 11);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_accept(&f, 0, 100);
        assert_int_equal(fixture_settle(&f), 0);
        fixture_promise(&f, 99);
        /* Written, and either killed before the sync, or the sync fails: pages are clean, and the disk lacks them. */
        vfs_memory_fail_at(f.disk, VFS_MEMORY_SYNC, 1, -EIO, !failed_sync);
        assert_int_equal(fixture_write(&f), -EIO);
        fixture_close(&f);
        vfs_memory_heal(f.disk);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        assert_int_equal(f.replayed.n, 2);
        assert_int_equal(f.replayed.promised.round, 99);
        fixture_close(&f);
        vfs_memory_set_mercy(f.disk, MERCY_LOSE_ALL);
        vfs_memory_power_cut(f.disk);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        assert_int_equal(f.replayed.n, 2);
        assert_int_equal(f.replayed.promised.round, 99);
        fixture_teardown(&f);
    }
}

/* The same for the identity: a superblock that only the cache has. */
static void test_a_recovered_identity_is_durable(void **state)
{
    struct fixture f;
    struct identity *read = calloc(1, sizeof *read);
    (void)state;

    fixture_setup(&f, 12);
    f.identity.status = IDENTITY_STARTING;
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_identity(&f, IDENTITY_VOTER);
    vfs_memory_fail_at(f.disk, VFS_MEMORY_SYNC, 1, -EIO, false);
    assert_int_equal(fixture_write(&f), -EIO);
    fixture_close(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    assert_int_equal(journal_read_identity(vfs_memory_vfs(f.disk), read, f.error), JOURNAL_OK);
    assert_int_equal(read->status, IDENTITY_VOTER);
    fixture_close(&f);
    vfs_memory_set_mercy(f.disk, MERCY_LOSE_ALL);
    vfs_memory_power_cut(f.disk);
    assert_int_equal(journal_read_identity(vfs_memory_vfs(f.disk), read, f.error), JOURNAL_OK);
    assert_int_equal(read->status, IDENTITY_VOTER);
    free(read);
    fixture_teardown(&f);
}

/* Trap 37: a sync that failed once and would succeed if it were tried again. */
static void test_a_failed_write_or_sync_is_final(void **state)
{
    static const unsigned kinds[] = {VFS_MEMORY_SYNC, VFS_MEMORY_WRITE};
    (void)state;

    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct fixture f;
        uint64_t seq;
        fixture_setup(&f, 13);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_accept(&f, 0, 100);
        assert_int_equal(fixture_settle(&f), 0);
        seq = f.seq;
        fixture_accept(&f, 1, 100);
        vfs_memory_fail_at(f.disk, kinds[k], 1, -EIO, false);
        f.n_written = 0;
        assert_int_equal(fixture_write(&f), -EIO);
        assert_int_equal(f.n_written, 1);
        assert_int_equal(f.written_error, -EIO);
        vfs_memory_count_from_zero(f.disk);
        fixture_accept(&f, 2, 100);
        for (int i = 0; i < 3; i++)
            assert_int_equal(fixture_write(&f), -EIO);
        assert_int_equal(vfs_memory_count(f.disk, VFS_MEMORY_CHANGES), 0);
        assert_int_equal(journal_durable_seq(f.journal), seq);
        assert_false(journal_is_pending(f.journal));
        fixture_close(&f);
        vfs_memory_power_cut(f.disk);
        assert_recovered(&f);
        fixture_teardown(&f);
    }
}

/* And of a rotation's directory sync, and of the reserve's own. */
static void test_any_failed_operation_is_final(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct fixture f;
        int r = 0;
        fixture_setup(&f, 14);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, n, -EIO, false);
        for (slot_t slot = 0; slot < 40 && r == 0; slot++) {
            fixture_accept(&f, slot, 5000);
            r = fixture_settle(&f);
        }
        if (r == 0) {
            fixture_teardown(&f);
            assert_true(n > 40);
            return;
        }
        vfs_memory_count_from_zero(f.disk);
        assert_int_equal(fixture_write(&f), -EIO);
        assert_int_equal(vfs_memory_count(f.disk, VFS_MEMORY_CHANGES), 0);
        fixture_close(&f);
        vfs_memory_power_cut(f.disk);
        assert_recovered(&f);
        fixture_teardown(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut_at_every_operation),
        cmocka_unit_test(test_power_cut_at_every_operation_of_recovery),
        cmocka_unit_test(test_power_cut_at_every_operation_of_recovery_on_a_full_disk),
        cmocka_unit_test(test_a_reserve_that_was_written_to_is_clean_again),
        cmocka_unit_test(test_every_mix_of_sectors_of_the_last_group),
        cmocka_unit_test(test_what_was_recovered_is_durable),
        cmocka_unit_test(test_a_recovered_identity_is_durable),
        cmocka_unit_test(test_a_failed_write_or_sync_is_final),
        cmocka_unit_test(test_any_failed_operation_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
