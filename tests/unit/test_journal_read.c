/* Reading chosen values back: the last record of a slot, its note, wherever they stand, and cheaply. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/index.h"
#include "tests/unit/journal_fixture.h"

static int setup(void **state)
{
    fixture_make(state, 31);
    return journal_fixture_open(*state);
}

struct counted {
    slot_t slots[64];
    size_t n, stop_at;
};

static bool count(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct counted *c = user;

    (void)bytes, (void)size;
    if (c->stop_at > 0 && c->n == c->stop_at)
        return false;
    if (c->n < 64)
        c->slots[c->n] = r->slot;
    c->n++;
    return true;
}

static void test_the_last_record_of_a_slot_counts(void **state)
{
    struct fixture *f = *state;

    for (uint64_t round = 1; round < 6; round++) {
        f->ballot.round = round;
        for (slot_t slot = 0; slot < 20; slot += round) {
            fixture_accept(f, slot, 2000 + (uint32_t)round);
            if (slot % 3 == 0)
                assert_int_equal(fixture_settle(f), 0);
        }
    }
    fixture_choose(f, 4, 77);
    fixture_commit(f, 19, NULL, 0);
    fixture_check_read(f, 0, 19); /* some on disk in several segments, some in memory */
    assert_int_equal(fixture_settle(f), 0);
    fixture_check_read(f, 0, 19);
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_check_read(f, 0, 19);
}

static void test_what_is_not_durable_is_read_too(void **state)
{
    struct fixture *f = *state;
    struct note note = {.slot = 1, .type = NOTE_HIDDEN};

    fixture_accept(f, 0, 10);
    fixture_accept(f, 1, 20);
    fixture_commit(f, 1, &note, 1);
    fixture_check_read(f, 0, 1);
    /* A write that failed leaves it readable: it was handed over. */
    vfs_memory_fail_at(f->disk, VFS_MEMORY_SYNC, 1, -EIO, false);
    assert_int_equal(fixture_write(f), -EIO);
    fixture_check_read(f, 0, 1);
}

static void test_a_note_in_a_later_segment_is_found(void **state)
{
    struct fixture *f = *state;
    struct note notes[2] = {{.slot = 0, .type = NOTE_TIME, .time_usec = 5}, {.slot = 99, .type = NOTE_HIDDEN}};

    for (slot_t slot = 0; slot < 100; slot++) {
        fixture_accept(f, slot, 3000);
        assert_int_equal(fixture_settle(f), 0);
    }
    fixture_commit(f, 99, notes, 2);
    assert_int_equal(fixture_settle(f), 0);
    fixture_check_read(f, 0, 99);
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_check_read(f, 0, 99);
    fixture_check_read(f, 99, 99);
}

static void test_limits_are_kept(void **state)
{
    struct fixture *f = *state;
    struct counted c = {.n = 0};

    for (slot_t slot = 0; slot < 20; slot++)
        fixture_accept(f, slot, 100);
    assert_int_equal(journal_read(f->journal, 0, 19, 100, 100000, count, &c), 0); /* nothing is known to be chosen */
    fixture_commit(f, 9, NULL, 0);
    assert_int_equal(journal_read(f->journal, 0, 19, 100, 100000, count, &c), 10);
    assert_int_equal(journal_read(f->journal, 3, 5, 100, 100000, count, &c), 3);
    assert_int_equal(journal_read(f->journal, 0, 19, 4, 100000, count, &c), 4);
    assert_int_equal(journal_read(f->journal, 0, 19, 100, 250, count, &c), 3);
    assert_int_equal(journal_read(f->journal, 0, 19, 100, 0, count, &c), 1); /* at least one, however large */
    assert_int_equal(journal_read(f->journal, 10, 19, 100, 100, count, &c), 0);
    assert_int_equal(journal_read(f->journal, UINT64_MAX, UINT64_MAX, 100, 100, count, &c), 0);
    assert_int_equal(journal_read(f->journal, 5, 4, 100, 100, count, &c), 0);
    c = (struct counted){.stop_at = 2};
    assert_int_equal(journal_read(f->journal, 0, 19, 100, 100000, count, &c), 2);
    assert_int_equal(c.slots[1], 1);
    assert_int_equal(journal_first_kept(f->journal), 0);
}

static void test_a_slot_without_a_value_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct counted c = {.n = 0};

    fixture_accept(f, 0, 100);
    fixture_accept(f, 2, 100);
    fixture_commit(f, 2, NULL, 0);
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(journal_read(f->journal, 0, 2, 100, 100000, count, &c), 1);
    assert_int_equal(journal_read(f->journal, 1, 2, 100, 100000, count, &c), -EBADMSG);
}

/* In any order, while it grows and over restarts. */
static void test_random_access_to_a_random_log(void **state)
{
    struct fixture *f = *state;

    for (int run = 0; run < 300; run++) {
        fixture_work(f, run % 50 < 5 ? 13000 : 400);
        if (fixture_draw(f, 3) == 0)
            assert_int_equal(fixture_write(f), 0);
        if (f->n_committed > 0) {
            slot_t from = fixture_draw(f, f->n_committed);
            fixture_check_read(f, from, from + fixture_draw(f, f->n_committed - from));
        }
        if (run % 60 == 59) {
            assert_int_equal(fixture_settle(f), 0);
            fixture_close(f);
            assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
            assert_int_equal(f->replayed.n, f->appended.n);
        }
    }
}

/* A long sequential read, slot by slot, reads each stretch and each footer about once. */
static void test_sequential_reading_is_cheap(void **state)
{
    struct fixture *f = *state;
    enum { SLOTS = 20000 };
    struct journal_stats stats;
    struct counted c = {.n = 0};
    uint64_t reads;

    for (slot_t slot = 0; slot < SLOTS; slot++) {
        fixture_accept(f, slot, 100);
        if (slot % 50 == 49) {
            fixture_commit(f, slot, NULL, 0);
            assert_int_equal(fixture_settle(f), 0);
        }
    }
    journal_stats(f->journal, &stats);
    assert_true(stats.segments > 30);
    vfs_memory_count_from_zero(f->disk);
    for (slot_t slot = 0; slot < SLOTS; slot++)
        assert_int_equal(journal_read(f->journal, slot, slot, 1, 1, count, &c), 1);
    reads = vfs_memory_count(f->disk, VFS_MEMORY_READ);
    assert_true(reads <= stats.bytes / INDEX_STRETCH_BYTES + 2 * stats.segments);
}

/* Values that arrive out of order, as a window of slots does: their stretches overlap. */
static void test_overlapping_stretches(void **state)
{
    struct fixture *f = *state;
    enum { WINDOW = 512, SLOTS = 8192 };

    for (slot_t base = 0; base < SLOTS; base += WINDOW) {
        for (slot_t i = 0; i < WINDOW; i++)
            fixture_accept(f, base + i * 77 % WINDOW, 150);
        fixture_commit(f, base + WINDOW - 1, NULL, 0);
        assert_int_equal(fixture_settle(f), 0);
    }
    vfs_memory_count_from_zero(f->disk);
    fixture_check_read(f, 0, SLOTS - 1);
    assert_true(vfs_memory_count(f->disk, VFS_MEMORY_READ) < 1000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_record_of_a_slot_counts),   TEST(test_what_is_not_durable_is_read_too),
        TEST(test_a_note_in_a_later_segment_is_found), TEST(test_limits_are_kept),
        TEST(test_a_slot_without_a_value_is_an_error), TEST(test_random_access_to_a_random_log),
        TEST(test_sequential_reading_is_cheap),        TEST(test_overlapping_stretches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
