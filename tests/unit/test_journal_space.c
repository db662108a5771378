/* A full disk: nothing that was handed over is lost, the start is not barred, and work goes on when there is room
 * again. Trap 40. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/state.h"
#include "journal/superblock.h"
#include "tests/unit/journal_fixture.h"

enum {
    HEADROOM = FIXTURE_SEGMENT_BYTES / 4,
    FULL_AFTER_MOST = 400,
    BUDGET_STEP = 3000,
    BUDGET_MOST = 8 * FIXTURE_SEGMENT_BYTES,
};

/* Hands over as much as journal_has_space() allows for, in groups of random size. */
static void fill_disk(struct fixture *f)
{
    for (int i = 0; i < FULL_AFTER_MOST; i++) {
        uint32_t left = HEADROOM;
        if (!journal_has_space(f->journal)) {
            /* Full, or only until what was handed over is written, and the next segment is ready. */
            assert_int_equal(fixture_write(f), 0);
            assert_int_equal(fixture_settle(f), 0);
            if (!journal_has_space(f->journal))
                return;
        }
        while (left > 64) {
            uint32_t size = 1 + (uint32_t)fixture_draw(f, left - 60);
            fixture_accept(f, f->n_slots, size);
            left -= size + 48 < left ? size + 48 : left;
        }
        if (fixture_draw(f, 3) == 0)
            assert_int_equal(fixture_write(f), 0);
    }
    fail_msg("the disk does not get full");
}

static void assert_all_back(struct fixture *f)
{
    fixture_close(f);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    assert_int_equal(f->replayed.n, f->appended.n);
    assert_true(told_begins(&f->replayed, &f->appended, f->appended.n));
}

static void run_budget(uint64_t budget, bool hidden)
{
    struct fixture f;
    enum journal_result r;
    size_t before;

    fixture_setup(&f, budget + hidden);
    vfs_memory_set_budget(f.disk, budget);
    vfs_memory_hide_budget(f.disk, hidden);
    r = journal_fixture_open(&f);
    if (r != JOURNAL_OK) {
        assert_int_equal(r, JOURNAL_NO_SPACE);
        assert_non_null(strstr(f.error, "Free some space"));
        vfs_memory_set_budget(f.disk, UINT64_MAX);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_teardown(&f);
        return;
    }
    fill_disk(&f);
    assert_false(journal_has_space(f.journal));
    assert_int_equal(fixture_write(&f), 0); /* the try that comes every second */
    assert_false(journal_has_space(f.journal));
    if (f.n_slots > 0) {
        fixture_commit(&f, f.n_slots - 1, NULL, 0); /* a hint still goes into what is left */
        assert_int_equal(fixture_write(&f), 0);
        fixture_check_read(&f, 0, f.n_slots - 1);
    }

    /* The disk is full at the restart, too, clean or not. */
    assert_all_back(&f);
    assert_false(journal_has_space(f.journal));
    fixture_close(&f);
    vfs_memory_set_mercy(f.disk, MERCY_LOSE_ALL);
    vfs_memory_power_cut(f.disk);
    assert_all_back(&f);

    /* Room comes back while it runs. */
    vfs_memory_set_budget(f.disk, budget + 3 * FIXTURE_SEGMENT_BYTES);
    before = f.appended.n;
    assert_int_equal(fixture_write(&f), 0);
    assert_true(journal_has_space(f.journal));
    fill_disk(&f);
    assert_true(f.appended.n > before);
    assert_false(journal_has_space(f.journal));
    assert_all_back(&f);
    fixture_teardown(&f);
}

static void test_full_at_every_size(void **state)
{
    (void)state;
    for (uint64_t budget = 0; budget < BUDGET_MOST; budget += BUDGET_STEP)
        run_budget(budget, false);
}

/* The file system says that there is room, and has none: a quota, or a race with another program. */
static void test_full_without_warning_at_every_size(void **state)
{
    (void)state;
    for (uint64_t budget = 0; budget < BUDGET_MOST; budget += BUDGET_STEP)
        run_budget(budget, true);
}

/* A failed allocation at each place is no failure of the journal; anything but "full" is. */
static void test_only_a_full_disk_is_no_failure(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 10; n++) {
        for (int full = 0; full < 2; full++) {
            struct fixture f;
            int r = 0;
            fixture_setup(&f, n);
            assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
            vfs_memory_fail_at(f.disk, VFS_MEMORY_ALLOCATE, n, full ? -ENOSPC : -EIO, false);
            for (slot_t slot = 0; slot < 200 && r == 0; slot++) {
                fixture_accept(&f, slot, 4000);
                r = fixture_write(&f);
            }
            assert_int_equal(r, full ? 0 : -EIO);
            fixture_teardown(&f);
        }
    }
}

/* The reserve does not take what others could use, as long as it cannot be finished. */
static void test_an_unfinished_reserve_takes_nothing(void **state)
{
    struct fixture f;
    (void)state;

    fixture_setup(&f, 5);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_accept(&f, 0, 100);
    vfs_memory_set_budget(f.disk, vfs_memory_used(f.disk) + FIXTURE_SEGMENT_BYTES / 2);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fixture_write(&f), 0);
    assert_true(vfs_memory_used(f.disk) <= FIXTURE_SEGMENT_BYTES + 2 * SUPERBLOCK_BYTES);
    fixture_teardown(&f);
}

/* The caller stops at false. What it had handed over by then, and did not fit, waits for room, and is lost with a power
 * cut like anything that is not durable. */
static void test_more_than_there_is_room_for_waits(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct fixture f;
        fixture_setup(&f, 6);
        vfs_memory_set_budget(f.disk, 3 * FIXTURE_SEGMENT_BYTES);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        for (slot_t slot = 0; slot < 500; slot++) {
            fixture_accept(&f, slot, 1000);
            assert_int_equal(journal_write(f.journal), 0);
        }
        uint64_t durable = journal_durable_seq(f.journal);
        assert_false(journal_is_pending(f.journal));
        assert_true(durable > 0 && durable < 500);
        if (again) {
            vfs_memory_set_budget(f.disk, UINT64_MAX);
            for (int i = 0; i < 500 && (i == 0 || journal_is_pending(f.journal)); i++)
                assert_int_equal(journal_write(f.journal), 0);
            durable = journal_durable_seq(f.journal);
            assert_int_equal(durable, 500);
        }
        fixture_close(&f);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        assert_true(f.replayed.n >= durable && (again || f.replayed.n < 500));
        fixture_teardown(&f);
    }
}

/* A disk of one reserve that grows. */
struct tight {
    int64_t have, free_bytes;
};

static int64_t tight_size(void *context, struct vfs_file *f)
{
    (void)f;
    return ((struct tight *)context)->have;
}

static int64_t tight_free_bytes(void *context)
{
    return ((struct tight *)context)->free_bytes;
}

/* The rename that makes it a segment may take a block of the directory: the reserve must not have taken the last. */
static void test_a_reserve_leaves_room_for_its_name(void **state)
{
    enum { SIZE = 16 << 20, DIRECTORY_BLOCKS = 128 << 10 };
    struct tight disk = {.have = 1 << 20};
    const struct vfs vfs = {.context = &disk, .file_size = tight_size, .free_bytes = tight_free_bytes};

    (void)state;
    disk.free_bytes = SIZE - disk.have + DIRECTORY_BLOCKS;
    assert_false(reserve_fits(&vfs, NULL, SIZE));
    disk.free_bytes *= 2;
    assert_true(reserve_fits(&vfs, NULL, SIZE));
    disk.free_bytes = -ENOSYS;
    assert_true(reserve_fits(&vfs, NULL, SIZE));
    disk = (struct tight){.have = SIZE};
    assert_true(reserve_fits(&vfs, NULL, SIZE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_reserve_leaves_room_for_its_name),
        cmocka_unit_test(test_full_at_every_size),
        cmocka_unit_test(test_full_without_warning_at_every_size),
        cmocka_unit_test(test_only_a_full_disk_is_no_failure),
        cmocka_unit_test(test_an_unfinished_reserve_takes_nothing),
        cmocka_unit_test(test_more_than_there_is_room_for_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
