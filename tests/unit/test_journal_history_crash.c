/* Power cuts while checkpoints are written, fetched and given up, footers made and segments trimmed: at every
 * operation, with every mercy of the disk. What was durable is there; a checkpoint is the old one or the new one, as a
 * whole; and all that is said to be kept can be read. Traps 22, 41 and 42. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/checkpoint.h"
#include "tests/unit/journal_fixture.h"
#include "tests/unit/seeds.h"

enum { SEEDS = 5, STEPS = 40, OPERATIONS_MOST = 4000 };

static bool work(struct fixture *f, uint32_t size_max)
{
    fixture_work(f, size_max);
    return (fixture_draw(f, 3) == 0 ? fixture_settle(f) : fixture_write(f)) == 0;
}

static uint64_t draw_size(struct fixture *f)
{
    return fixture_draw(f, 6) == 0 ? CHECKPOINT_PAYLOAD_BYTES + fixture_draw(f, 2000) : fixture_draw(f, 2000);
}

static bool checkpoint(struct fixture *f)
{
    slot_t slot = f->n_committed > 0 ? f->n_committed - 1 : 0;

    if (f->n_committed == 0 || (f->checkpoint.is_there && slot <= f->checkpoint.slot))
        return true;
    return fixture_checkpoint(f, slot, draw_size(f), CHECKPOINT_OWN) == 0;
}

static bool give_up(struct fixture *f)
{
    uint8_t bytes[100] = {0};

    if (journal_checkpoint_begin(f->journal, f->n_slots + 1000, CHECKPOINT_FETCHED) < 0)
        return true;
    journal_checkpoint_append(f->journal, bytes, sizeof bytes);
    journal_checkpoint_finish(f->journal);
    journal_checkpoint_cancel(f->journal);
    return fixture_settle(f) == 0;
}

/* Ends where the disk dies. False: it did. */
static bool run_workload(struct fixture *f)
{
    for (int run = 0; run < 2; run++) {
        if (journal_fixture_open(f) != JOURNAL_OK)
            return false;
        for (int i = 0; i < STEPS; i++) {
            bool alive;
            switch (fixture_draw(f, 12)) {
            case 0:
                alive = checkpoint(f);
                break;
            case 1:
                alive = fixture_fetch(f, f->n_slots + fixture_draw(f, 20), draw_size(f)) == 0;
                break;
            case 2:
                journal_trim(f->journal, fixture_draw(f, f->n_committed + 1));
                alive = fixture_settle(f) == 0;
                break;
            case 3:
                alive = give_up(f);
                break;
            default:
                alive = work(f, i % 4 == 0 ? 20000 : 3000);
                break;
            }
            if (!alive)
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
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    fixture_check_replayed(f);
}

/* What was recovered is the log from now on. */
static void assert_goes_on(struct fixture *f)
{
    fixture_adopt(f);
    fixture_check_kept(f);
    for (int i = 0; i < 6; i++)
        assert_true(work(f, 3000));
    assert_int_equal(fixture_settle(f), 0);
    assert_true(checkpoint(f));
    journal_trim(f->journal, f->n_committed);
    assert_int_equal(fixture_settle(f), 0);
    fixture_check_kept(f);
    fixture_close(f);
    assert_recovered(f);
    fixture_check_kept(f);
}

static enum vfs_memory_mercy mercy_of(uint64_t seed)
{
    return seed % 4 == 1 ? MERCY_LOSE_ALL : seed % 4 == 2 ? MERCY_KEEP_ALL : MERCY_BY_SEED;
}

static bool crash_at(uint64_t seed, uint64_t operation)
{
    struct fixture f;
    bool survived;

    fixture_setup(&f, seed);
    vfs_memory_set_mercy(f.disk, mercy_of(seed));
    vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, operation, -EIO, true);
    survived = run_workload(&f);
    fixture_close(&f);
    vfs_memory_power_cut(f.disk);
    assert_recovered(&f);
    assert_goes_on(&f);
    fixture_teardown(&f);
    return !survived;
}

static void test_power_cut_at_every_operation(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(SEEDS); seed++) {
        uint64_t operation = 1;
        while (operation < OPERATIONS_MOST && crash_at(seed, operation))
            operation++;
        assert_true(operation > 50 && operation < OPERATIONS_MOST);
    }
}

enum end { END_BY_KILL, END_BY_ERROR, END_BY_POWER_CUT, ENDS };

/* Killed, or its disk answered one error: what the page cache shows is not all on the disk; or the power was cut, and
 * things are torn. The start after that is cut at every operation, and what it showed must come back. */
static void cut_recovery(uint64_t seed, uint64_t ended_at, enum end end)
{
    struct fixture f;
    struct vfs_memory *before;
    bool done = false;

    fixture_setup(&f, seed);
    vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, ended_at, -EIO, end != END_BY_ERROR);
    run_workload(&f);
    fixture_close(&f);
    vfs_memory_heal(f.disk);
    if (end == END_BY_POWER_CUT)
        vfs_memory_power_cut(f.disk);
    before = f.disk;
    for (uint64_t operation = 1; !done; operation++) {
        f.disk = vfs_memory_clone(before, seed * 1000 + operation);
        vfs_memory_set_mercy(f.disk, mercy_of(operation));
        vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, operation, -EIO, true);
        done = journal_fixture_open(&f) == JOURNAL_OK;
        if (done)
            f.checkpoint = f.checkpoint_replayed;
        fixture_close(&f);
        vfs_memory_power_cut(f.disk);
        assert_recovered(&f);
        fixture_close(&f);
        vfs_memory_free(f.disk);
    }
    f.disk = before;
    fixture_teardown(&f);
}

static void test_power_cut_at_every_operation_of_recovery(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds_part(SEEDS); seed++) {
        for (uint64_t at = 1 + seed; at < 150; at += 4)
            cut_recovery(seed, at, (enum end)(at / 4 % ENDS));
    }
}

/* A full disk, at every size, is no crash: what can be done is done, and the rest waits. */
static void test_a_full_disk_at_every_size(void **state)
{
    (void)state;
    for (uint64_t budget = 0; budget < 16 * FIXTURE_SEGMENT_BYTES; budget += 7000) {
        struct fixture f;
        fixture_setup(&f, budget);
        vfs_memory_set_budget(f.disk, budget);
        vfs_memory_hide_budget(f.disk, budget % 2);
        if (journal_fixture_open(&f) != JOURNAL_OK) {
            fixture_teardown(&f);
            continue;
        }
        for (int i = 0; i < 60 && journal_has_space(f.journal); i++) {
            int r;
            fixture_work(&f, 2000);
            assert_int_equal(fixture_settle(&f), 0);
            if (i % 8 != 7 || f.n_committed == 0 || (f.checkpoint.is_there && f.checkpoint.slot + 1 >= f.n_committed))
                continue;
            r = fixture_checkpoint(&f, f.n_committed - 1, draw_size(&f), CHECKPOINT_OWN);
            assert_true(r == 0 || r == -ENOSPC);
            journal_trim(f.journal, f.n_committed / 2);
            assert_int_equal(fixture_settle(&f), 0);
        }
        fixture_check_kept(&f);
        fixture_close(&f);
        assert_recovered(&f);
        fixture_check_kept(&f);
        fixture_teardown(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut_at_every_operation),
        cmocka_unit_test(test_power_cut_at_every_operation_of_recovery),
        cmocka_unit_test(test_a_full_disk_at_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
