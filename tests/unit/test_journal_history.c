/* History at scale: footers in place of reading and of memory, trimming, and a checkpoint from a peer. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/footer.h"
#include "journal/state.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/unit/journal_fixture.h"

#define SEGMENT_1 "segment-0000000000000001"
#define SEGMENT_2 "segment-0000000000000002"

enum { SEGMENT = FIXTURE_SEGMENT_BYTES, VALUE = 3000 };

static int setup(void **state)
{
    fixture_make(state, 41);
    return journal_fixture_open(*state);
}

static void fill(struct fixture *f, slot_t until)
{
    while (f->n_slots < until) {
        slot_t slot = f->n_slots;
        struct note note = {.slot = slot, .type = NOTE_HIDDEN};
        fixture_accept(f, slot, VALUE);
        fixture_commit(f, slot, &note, slot % 3 == 0);
        assert_int_equal(fixture_settle(f), 0);
    }
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    fixture_check_replayed(f);
    fixture_check_kept(f);
}

static size_t count_points_in_memory(const struct fixture *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->journal->index.n_segments; i++)
        n += f->journal->index.segments[i].points != NULL;
    return n;
}

static bool has_footer(const struct fixture *f, const char *name)
{
    struct segment_header h;
    struct footer footer;
    uint32_t version;
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(f->disk, name, &size);

    assert_int_equal(segment_header_decode(bytes, &h, &version), FILE_WHOLE);
    return footer_decode(
        bytes + size - FOOTER_TRAILER_BYTES,
        &(struct index_segment){.number = h.number, .file_bytes = h.size, .limit = h.limit, .first = h.first}, &footer);
}

static uint64_t replayed_segments(const struct fixture *f)
{
    struct journal_stats stats;

    journal_stats(f->journal, &stats);
    return stats.segments_replayed;
}

/* --- footers --- */

static void test_only_the_open_segment_takes_memory(void **state)
{
    struct fixture *f = *state;

    fill(f, 200);
    assert_true(f->journal->index.n_segments > 8);
    assert_int_equal(count_points_in_memory(f), 1);
    fixture_check_kept(f);
    reopen(f);
    assert_int_equal(count_points_in_memory(f), 1);
}

/* Every stretch as small as it gets: the room at the end is enough. */
static void test_the_footer_fits_whatever_the_batches_are(void **state)
{
    struct fixture *f = *state;

    for (uint32_t size = 1; size < 40000; size = size * 2 + 1) {
        uint64_t segments = f->journal->index.n_segments;
        while (f->journal->index.n_segments < segments + 2) {
            fixture_accept(f, f->n_slots, size);
            assert_int_equal(fixture_settle(f), 0);
        }
        assert_int_equal(count_points_in_memory(f), 1);
    }
    fixture_commit(f, f->n_slots - 1, NULL, 0);
    assert_int_equal(fixture_settle(f), 0);
    reopen(f);
}

/* Three ways to lose it; each time the segment tells, and the footer is made again. */
static void test_a_damaged_footer_costs_time_only(void **state)
{
    struct fixture *f = *state;
    struct vfs_memory *whole;
    uint64_t limit = footer_limit(SEGMENT);

    fill(f, 100);
    assert_int_equal(fixture_checkpoint(f, 99, 100, CHECKPOINT_OWN), 0);
    reopen(f);
    assert_int_equal(replayed_segments(f), 1);
    fixture_close(f);
    whole = f->disk;
    for (uint64_t at = limit; at < SEGMENT; at++) {
        f->disk = vfs_memory_clone(whole, at);
        if (at % 3 == 0)
            vfs_memory_flip(f->disk, SEGMENT_2, at, 0x20);
        else
            vfs_memory_zero(f->disk, SEGMENT_2, at % 3 == 1 ? at : limit, at % 3 == 1 ? SEGMENT - at : at + 1 - limit);
        reopen(f);
        assert_int_equal(replayed_segments(f), 1);
        assert_int_equal(fixture_settle(f), 0);
        assert_true(has_footer(f, SEGMENT_2));
        assert_int_equal(count_points_in_memory(f), 1);
        fixture_close(f);
        vfs_memory_free(f->disk);
    }
    f->disk = whole;
}

static void test_a_footer_that_rots_while_open_costs_time_only(void **state)
{
    struct fixture *f = *state;

    fill(f, 100);
    for (uint64_t at = footer_limit(SEGMENT); at < SEGMENT; at += 7) {
        vfs_memory_flip(f->disk, SEGMENT_2, at, 1);
        fixture_check_kept(f);
        /* Other segments' footers push it out of what is kept. */
    }
}

static void test_a_footer_that_cannot_be_read_costs_time_only(void **state)
{
    struct fixture *f = *state;

    fill(f, 100);
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(fixture_settle(f), 0);
    vfs_memory_fail_at(f->disk, VFS_MEMORY_READ, 1, -EIO, false);
    fixture_check_kept(f);
    assert_true(vfs_memory_has_failed(f->disk));
}

/* Headers and footers: a part of a block that the disk does not give cannot be written, either. */
static void test_what_cannot_be_read_is_not_written_again(void **state)
{
    struct fixture *f = *state;

    fill(f, 100);
    for (uint64_t n = 1; n < 20; n++) {
        vfs_memory_fail_at(f->disk, VFS_MEMORY_READ, n, -EIO, false);
        while (journal_scrub(f->journal) > 0)
            ;
        vfs_memory_heal(f->disk);
        assert_false(journal_is_pending(f->journal));
    }
}

static void test_a_header_that_rots_while_open_is_written_again(void **state)
{
    struct fixture *f = *state;

    fill(f, 100);
    for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at += 31) {
        vfs_memory_flip(f->disk, SEGMENT_1, at, 1);
        vfs_memory_flip(f->disk, SEGMENT_2, at, 1);
        while (journal_scrub(f->journal) > 0)
            ;
        assert_true(journal_is_pending(f->journal));
        assert_int_equal(fixture_settle(f), 0);
        reopen(f);
        assert_string_equal(f->error, "");
    }
}

static bool ignore(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)record, (void)bytes, (void)size;
    return true;
}

/* Without the footer the batches tell; where they are zeros from some sector on, that is rot, and not their end. */
static void test_zeros_in_place_of_batches_are_rot(void **state)
{
    struct fixture *f = *state;
    uint64_t sectors[] = {SEGMENT / 2, SEGMENT_HEADER_BYTES};

    fill(f, 100);
    for (size_t i = 0; i < 2; i++) {
        unsigned n_rotten = 0;
        vfs_memory_zero(f->disk, SEGMENT_2, sectors[i], SEGMENT - sectors[i]);
        alarm(20);
        for (slot_t slot = 0; slot < 100; slot++) {
            int n = journal_read(f->journal, slot, slot, 1, 1, ignore, NULL);
            n_rotten += n == -EBADMSG;
            assert_true(n == 1 || n == -EBADMSG);
        }
        alarm(0);
        assert_true(n_rotten > i);
    }
}

/* Derived, and never trusted beyond that: one that lies, checksums and all, does not hide records. */
static void test_another_segments_footer_is_not_taken(void **state)
{
    struct fixture *f = *state;
    uint64_t limit = footer_limit(SEGMENT);
    uint8_t footer[4096];
    size_t size;

    fill(f, 100);
    assert_int_equal(fixture_checkpoint(f, 99, 100, CHECKPOINT_OWN), 0);
    memcpy(footer, vfs_memory_bytes(f->disk, SEGMENT_1, &size) + limit, SEGMENT - limit);
    vfs_memory_poke(f->disk, SEGMENT_2, limit, footer, SEGMENT - limit);
    assert_false(has_footer(f, SEGMENT_2));
    fixture_check_kept(f);
    reopen(f);
}

static void test_a_full_segment_without_its_successor_is_refused(void **state)
{
    struct fixture *f = *state;
    char name[SEGMENT_NAME_BYTES];

    fill(f, 100);
    segment_name(f->journal->index.n_segments, name);
    fixture_close(f);
    assert_true(vfs_memory_delete(f->disk, name));
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "it is full, and the segment after it is missing"));
}

/* --- version 1 --- */

static void make_version_1(struct fixture *f, const char *name)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    size_t size;

    memcpy(bytes, vfs_memory_bytes(f->disk, name, &size), sizeof bytes);
    put_u32(bytes + 8, 1);
    put_u32(bytes + 12, crc32c(0, bytes, 12));
    put_u64(bytes + 80, 0);
    put_u32(bytes + SEGMENT_HEADER_BYTES - 4, crc32c(0, bytes, SEGMENT_HEADER_BYTES - 4));
    vfs_memory_poke(f->disk, name, 0, bytes, sizeof bytes);
}

/* Its batches go to the end of the file, and there is no footer. */
static void test_version_1_is_read_and_gone_on_with(void **state)
{
    struct fixture *f = *state;
    struct batch_header h;
    const uint8_t *bytes;
    uint64_t end = SEGMENT_HEADER_BYTES;
    size_t size;

    fill(f, 10);
    fixture_close(f);
    make_version_1(f, SEGMENT_1);
    reopen(f);
    fill(f, 19);
    while (f->journal->index.n_segments < 2) {
        fixture_accept(f, f->n_slots, 100);
        fixture_commit(f, f->n_slots - 1, NULL, 0);
        assert_int_equal(fixture_settle(f), 0);
    }
    bytes = vfs_memory_bytes(f->disk, SEGMENT_1, &size);
    while (end + BATCH_HEADER_BYTES <= size && batch_header_decode(bytes + end, &h))
        end += h.size;
    assert_true(end > footer_limit(SEGMENT));
    fill(f, f->n_slots + 60);
    fixture_close(f);
    make_version_1(f, SEGMENT_1);
    reopen(f);
    assert_int_equal(fixture_checkpoint(f, f->n_slots - 10, 100, CHECKPOINT_OWN), 0);
    reopen(f);
    journal_trim(f->journal, 40);
    assert_int_equal(fixture_settle(f), 0);
    assert_null(vfs_memory_bytes(f->disk, SEGMENT_1, &size));
    reopen(f);
}

/* --- trimming --- */

static void test_nothing_goes_that_is_still_needed(void **state)
{
    struct fixture *f = *state;
    size_t size;

    fill(f, 200);
    journal_trim(f->journal, UINT64_MAX);
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(journal_first_kept(f->journal), 0); /* there is no checkpoint */
    assert_int_equal(fixture_checkpoint(f, 99, 100, CHECKPOINT_OWN), 0);
    assert_int_equal(fixture_settle(f), 0);
    assert_true(journal_first_kept(f->journal) > 60 && journal_first_kept(f->journal) <= 100);
    assert_null(vfs_memory_bytes(f->disk, SEGMENT_1, &size));
    reopen(f);
    assert_int_equal(fixture_checkpoint(f, 199, 100, CHECKPOINT_OWN), 0);
    journal_trim(f->journal, 150);
    assert_int_equal(fixture_settle(f), 0);
    assert_true(journal_first_kept(f->journal) > 110 && journal_first_kept(f->journal) <= 150);
    journal_trim(f->journal, 120); /* never back */
    reopen(f);
    assert_true(journal_first_kept(f->journal) > 110);
    journal_trim(f->journal, UINT64_MAX);
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(f->journal->index.n_segments, 1); /* the open one stays */
    reopen(f);
}

/* What was asked for holds on for what fills later. */
static void test_trimming_keeps_up(void **state)
{
    struct fixture *f = *state;
    struct journal_stats stats;

    journal_trim(f->journal, UINT64_MAX);
    for (slot_t until = 50; until <= 1000; until += 50) {
        fill(f, until);
        assert_int_equal(fixture_checkpoint(f, until - 1, 500, CHECKPOINT_OWN), 0);
        assert_int_equal(fixture_settle(f), 0);
        assert_true(f->journal->index.n_segments <= 2);
    }
    journal_stats(f->journal, &stats);
    assert_int_equal(stats.bytes, vfs_memory_used(f->disk));
    assert_true(stats.bytes < 4 * SEGMENT + 100000);
    assert_true(stats.segments_trimmed > 40);
    reopen(f);
}

static void test_how_much_to_trim_for_so_many_bytes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_trim_slot(f->journal, 0), 0);
    fill(f, 200);
    assert_int_equal(journal_trim_slot(f->journal, UINT64_MAX), 0);
    assert_int_equal(journal_trim_slot(f->journal, 0), 200);
    for (uint64_t segments = 1; segments < 9; segments++) {
        slot_t slot = journal_trim_slot(f->journal, segments * SEGMENT + SEGMENT / 2);
        assert_int_equal(slot, journal_trim_slot(f->journal, segments * SEGMENT));
        assert_true(slot < 200 - (segments - 1) * 18 && slot >= 200 - segments * 22);
    }
    assert_int_equal(fixture_checkpoint(f, 199, 100, CHECKPOINT_OWN), 0);
    journal_trim(f->journal, journal_trim_slot(f->journal, 3 * SEGMENT));
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(f->journal->index.n_segments, 3);
    assert_int_equal(journal_trim_slot(f->journal, UINT64_MAX), journal_first_kept(f->journal));
    fixture_check_kept(f);
}

/* A full disk that a trim makes room on. */
static void test_trimming_makes_room(void **state)
{
    struct fixture *f = *state;
    size_t size;

    fill(f, 50);
    assert_int_equal(fixture_checkpoint(f, 49, 100, CHECKPOINT_OWN), 0);
    vfs_memory_set_budget(f->disk, vfs_memory_used(f->disk));
    while (journal_has_space(f->journal)) {
        fixture_accept(f, f->n_slots, VALUE);
        assert_int_equal(fixture_write(f), 0);
    }
    for (int i = 0; i < 10; i++) /* and what waits for room */
        fixture_accept(f, f->n_slots, VALUE);
    assert_int_equal(journal_write(f->journal), 0);
    journal_trim(f->journal, 40);
    assert_true(journal_is_pending(f->journal));
    while (journal_is_pending(f->journal))
        assert_int_equal(journal_write(f->journal), 0);
    assert_null(vfs_memory_bytes(f->disk, SEGMENT_1, &size));
    assert_int_equal(fixture_write(f), 0); /* the try that comes every second */
    assert_int_equal(fixture_settle(f), 0);
    assert_true(journal_has_space(f->journal));
    reopen(f);
}

/* --- a checkpoint from a peer --- */

static void test_a_fetched_checkpoint_makes_what_is_below_it_obsolete(void **state)
{
    struct fixture *f = *state;
    size_t size;

    fixture_promise(f, 55);
    fill(f, 100);
    fixture_accept(f, 5000, 10); /* accepted above it: a vote that must stay */
    f->n_slots = 100;
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(fixture_fetch(f, 3999, 1000), 0);
    assert_int_equal(journal_first_kept(f->journal), 4000);
    assert_int_equal(fixture_settle(f), 0);
    assert_null(vfs_memory_bytes(f->disk, SEGMENT_1, &size));
    fixture_check_kept(f);
    reopen(f);
    assert_int_equal(journal_first_kept(f->journal), 4000);
    assert_int_equal(f->replayed.promised.round, 55);
    assert_int_equal(f->replayed.items[f->replayed.n - 1].slot, 5000);
    f->n_slots = 4000;
    fill(f, 4100);
    reopen(f);
    assert_int_equal(fixture_checkpoint(f, 4099, 100, CHECKPOINT_OWN), 0);
    reopen(f);
    assert_int_equal(journal_first_kept(f->journal), 4000);
}

/* A replica that begins with nothing but it. */
static void test_a_fetched_checkpoint_on_a_blank_disk(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_fetch(f, 99, 1000), 0);
    reopen(f);
    assert_int_equal(f->replayed.n, 0);
    fill(f, 150);
    reopen(f);
    assert_int_equal(journal_first_kept(f->journal), 100);
}

/* Once it counts, the segments do not tell the log any more, although all of them are there. */
static void test_rot_in_a_fetched_checkpoint_is_refused(void **state)
{
    struct fixture *f = *state;

    fixture_accept(f, 0, 10);
    assert_int_equal(fixture_fetch(f, 99, 1000), 0);
    fill(f, 110);
    fixture_close(f);
    vfs_memory_flip(f->disk, "checkpoint", 600, 1);
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "before slot 100 was trimmed"));
}

/* What is cut out below a checkpoint is not fetched again, so it does not count as kept. */
static void test_damage_below_a_checkpoint_ends_what_is_kept(void **state)
{
    struct fixture *f = *state;

    fill(f, 100);
    assert_int_equal(fixture_checkpoint(f, 99, 100, CHECKPOINT_OWN), 0);
    fixture_close(f);
    vfs_memory_flip(f->disk, SEGMENT_2, 5000, 1);
    vfs_memory_flip(f->disk, SEGMENT_2, SEGMENT - 1, 1);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(f->checkpoint_replayed.slot, 99);
    assert_int_equal(journal_first_kept(f->journal), 100);
    fixture_check_kept(f);
    fill(f, 150);
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(journal_first_kept(f->journal), 100);
    fixture_check_kept(f);
}

/* In the segment where both ends meet: what stands above the checkpoint and before the damage comes back. */
static void test_damage_above_a_checkpoint_takes_nothing_before_it(void **state)
{
    struct fixture *f = *state;
    slot_t highest = 0;

    fill(f, 100);
    assert_int_equal(fixture_checkpoint(f, 22, 100, CHECKPOINT_OWN), 0);
    fixture_close(f);
    vfs_memory_flip(f->disk, SEGMENT_2, 55000, 1);
    vfs_memory_flip(f->disk, SEGMENT_2, SEGMENT - 1, 1);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (size_t i = 0; i < f->replayed.n; i++) {
        if (f->replayed.items[i].slot > highest)
            highest = f->replayed.items[i].slot;
    }
    assert_true(highest > 30 && highest < 40);
    assert_int_equal(journal_first_kept(f->journal), 0);
    f->n_committed = highest;
    fixture_check_kept(f);
}

/* Where the nth batch of the first segment begins, or the last one; *ret_end: where it ends. */
static uint64_t find_batch(const struct fixture *f, size_t n, uint64_t *ret_end)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(f->disk, SEGMENT_1, &size);
    struct batch_header h;
    uint64_t at = SEGMENT_HEADER_BYTES, begin = at;

    for (size_t i = 0; i <= n && batch_header_decode(bytes + at, &h); i++, at += h.size)
        begin = at;
    *ret_end = at;
    return begin;
}

/* Zeros look like the end of a segment. What stands behind them is given up, and must not stand there any more: made up
 * for, they would have it read again, before what was written in its place. */
static void test_nothing_stands_behind_zeros_where_it_was_cut(void **state)
{
    struct fixture *f = *state;
    char place[64];
    size_t size;

    fill(f, 60);
    fixture_close(f);
    struct vfs_memory *before = f->disk;
    for (int trial = 0; trial < 5; trial++) { /* the first, the last and one between; the segment's footer, too */
        static const size_t batches[] = {0, 5, SIZE_MAX, 0, 5};
        uint64_t end, at = find_batch(f, batches[trial], &end);
        f->disk = vfs_memory_clone(before, 1);
        vfs_memory_zero(f->disk, SEGMENT_1, at, end - at);
        if (trial > 2)
            vfs_memory_flip(f->disk, SEGMENT_1, SEGMENT - 1, 1);
        assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
        snprintf(place, sizeof place, "%s: damaged at offset %" PRIu64, SEGMENT_1, at);
        assert_non_null(strstr(f->error, place));
        const uint8_t *bytes = vfs_memory_bytes(f->disk, SEGMENT_1, &size);
        for (uint64_t i = at; i < size; i++)
            assert_int_equal(bytes[i], 0);
        assert_null(vfs_memory_bytes(f->disk, SEGMENT_2, &size));
        fixture_close(f);
        vfs_memory_free(f->disk);
        f->disk = before;
    }
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
}

/* Nothing is left of it but its header, so that it ends where it begins: nobody looks for its footer for ever. */
static void test_a_full_segment_without_batches(void **state)
{
    struct fixture *f = *state;

    fill(f, 60);
    fixture_close(f);
    vfs_memory_zero(f->disk, SEGMENT_1, SEGMENT_HEADER_BYTES, SEGMENT - SEGMENT_HEADER_BYTES);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_non_null(strstr(f->error, SEGMENT_2 ": damaged at offset 0"));
    alarm(20);
    while (journal_scrub(f->journal) > 0)
        ;
    alarm(0);
    fixture_adopt(f);
    fill(f, 20);
    fixture_check_kept(f);
    reopen(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(test_only_the_open_segment_takes_memory),
        TEST(test_the_footer_fits_whatever_the_batches_are),
        TEST(test_a_damaged_footer_costs_time_only),
        TEST(test_a_footer_that_rots_while_open_costs_time_only),
        TEST(test_a_footer_that_cannot_be_read_costs_time_only),
        TEST(test_what_cannot_be_read_is_not_written_again),
        TEST(test_a_header_that_rots_while_open_is_written_again),
        TEST(test_zeros_in_place_of_batches_are_rot),
        TEST(test_another_segments_footer_is_not_taken),
        TEST(test_a_full_segment_without_its_successor_is_refused),
        TEST(test_version_1_is_read_and_gone_on_with),
        TEST(test_nothing_goes_that_is_still_needed),
        TEST(test_trimming_keeps_up),
        TEST(test_how_much_to_trim_for_so_many_bytes),
        TEST(test_trimming_makes_room),
        TEST(test_a_fetched_checkpoint_makes_what_is_below_it_obsolete),
        TEST(test_a_fetched_checkpoint_on_a_blank_disk),
        TEST(test_rot_in_a_fetched_checkpoint_is_refused),
        TEST(test_damage_below_a_checkpoint_ends_what_is_kept),
        TEST(test_damage_above_a_checkpoint_takes_nothing_before_it),
        TEST(test_nothing_stands_behind_zeros_where_it_was_cut),
        TEST(test_a_full_segment_without_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
