/* Checkpoints: what was appended comes back, replay begins at them, one is given up without harm, and rot in them is
 * made up for or refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/checkpoint.h"
#include "journal/superblock.h"
#include "tests/unit/journal_fixture.h"

enum { PAYLOAD = CHECKPOINT_PAYLOAD_BYTES, SLOTS = 200 };

static int setup(void **state)
{
    return fixture_make(state, 31);
}

/* Slots from n_slots on, committed, over several segments; with notes. */
static void fill(struct fixture *f, slot_t until)
{
    while (f->n_slots < until) {
        slot_t slot = f->n_slots;
        struct note note = {.slot = slot, .type = NOTE_HIDDEN};
        fixture_accept(f, slot, 3000);
        if (slot % 5 == 4)
            fixture_commit(f, slot, &note, slot % 10 == 9);
        assert_int_equal(fixture_settle(f), 0);
    }
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("%s", f->error);
    fixture_check_replayed(f);
}

static void assert_checkpoint(struct fixture *f, slot_t slot, uint64_t size)
{
    struct journal_checkpoint c;

    assert_true(journal_checkpoint_newest(f->journal, &c));
    assert_int_equal(c.slot, slot);
    assert_int_equal(c.size, size);
}

/* Through windows of every kind of size. */
static void assert_served(struct fixture *f, slot_t slot, uint64_t size)
{
    static uint8_t buffer[3 * JOURNAL_CHECKPOINT_PART_BYTES];

    for (uint64_t at = 0; at < size;) {
        size_t wanted = 1 + (size_t)fixture_draw(f, sizeof buffer);
        int64_t n = journal_checkpoint_read(f->journal, slot, at, buffer, wanted);
        assert_int_equal(n, size - at < wanted ? size - at : wanted);
        for (int64_t i = 0; i < n; i++, at++)
            assert_int_equal(buffer[i], fixture_checkpoint_byte(slot, at));
    }
    assert_int_equal(journal_checkpoint_read(f->journal, slot, size, buffer, 10), 0);
    assert_int_equal(journal_checkpoint_read(f->journal, slot, size + 1000000, buffer, 10), 0);
}

static void test_every_size_comes_back(void **state)
{
    static const uint64_t sizes[] = {
        0, 1, 4096, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD, 3 * PAYLOAD + 17, 9 * PAYLOAD - 1};
    struct fixture *f = *state;
    struct journal_stats stats;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 20);
    assert_false(journal_checkpoint_newest(f->journal, &(struct journal_checkpoint){.slot = 0}));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_int_equal(fixture_checkpoint(f, i, sizes[i], CHECKPOINT_OWN), 0);
        assert_checkpoint(f, i, sizes[i]);
        assert_served(f, i, sizes[i]);
        reopen(f);
        assert_int_equal(f->checkpoint_replayed.slot, i);
        assert_int_equal(f->checkpoint_replayed.size, sizes[i]);
        assert_checkpoint(f, i, sizes[i]);
        assert_served(f, i, sizes[i]);
        assert_int_equal(journal_first_kept(f->journal), 0);
        fixture_check_kept(f);
        assert_int_equal(fixture_settle(f), 0);
        journal_stats(f->journal, &stats);
        assert_int_equal(stats.bytes, vfs_memory_used(f->disk));
    }
}

static void test_calls_out_of_turn_are_told(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[2 * PAYLOAD];

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 20);
    assert_int_equal(journal_checkpoint_state(f->journal), CHECKPOINT_IDLE);
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, 10), 0);
    journal_checkpoint_finish(f->journal);
    journal_checkpoint_cancel(f->journal);
    assert_int_equal(journal_checkpoint_state(f->journal), CHECKPOINT_IDLE);
    assert_false(journal_is_pending(f->journal));
    assert_int_equal(journal_checkpoint_begin(f->journal, UINT64_MAX, CHECKPOINT_OWN), -EINVAL);
    assert_int_equal(fixture_checkpoint(f, 7, 100, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_checkpoint_begin(f->journal, 7, CHECKPOINT_OWN), -EINVAL);
    assert_int_equal(journal_checkpoint_begin(f->journal, 6, CHECKPOINT_FETCHED), -EINVAL);
    assert_int_equal(journal_checkpoint_begin(f->journal, 8, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_checkpoint_begin(f->journal, 9, CHECKPOINT_OWN), -EBUSY);
    assert_int_equal(journal_checkpoint_state(f->journal), CHECKPOINT_WRITING);

    /* It takes one part, not more, until the writer has been there. */
    assert_false(journal_is_pending(f->journal));
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, sizeof bytes), PAYLOAD);
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, 1), 0);
    assert_true(journal_is_pending(f->journal));
    f->n_written = 0;
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(f->n_written, 1); /* the host is told that there is room */
    assert_false(journal_is_pending(f->journal));
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, 1), 1);
    journal_checkpoint_finish(f->journal);
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, 1), 0);
    assert_int_equal(fixture_settle(f), 0);
    assert_checkpoint(f, 8, PAYLOAD + 1);
    assert_int_equal(journal_checkpoint_read(f->journal, 7, 0, bytes, 10), -ESTALE);
    assert_int_equal(journal_checkpoint_read(f->journal, 9, 0, bytes, 10), -ESTALE);
}

/* Whoever is being sent the old one gets all of it. */
static void test_a_checkpoint_stays_readable_while_it_is_sent(void **state)
{
    struct fixture *f = *state;
    uint8_t byte;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 20);
    assert_int_equal(fixture_checkpoint(f, 3, 3 * PAYLOAD, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_checkpoint_read(f->journal, 3, 0, &byte, 1), 1);
    assert_int_equal(fixture_checkpoint(f, 5, 10, CHECKPOINT_OWN), 0);
    assert_served(f, 3, 3 * PAYLOAD);
    assert_served(f, 5, 10);
    assert_int_equal(journal_checkpoint_read(f->journal, 3, 0, &byte, 1), -ESTALE);
}

/* Recovery reads what is above it, and no more; all the same the whole log can be read. */
static void test_replay_begins_at_the_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct journal_stats stats;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_promise(f, 77);
    fill(f, SLOTS);
    assert_int_equal(fixture_checkpoint(f, SLOTS - 1, 1000, CHECKPOINT_OWN), 0);
    fill(f, SLOTS + 40);
    assert_int_equal(fixture_settle(f), 0);
    reopen(f);
    journal_stats(f->journal, &stats);
    assert_true(stats.segments > 10);
    assert_true(stats.segments_replayed >= 2 && stats.segments_replayed <= 4);
    assert_int_equal(f->replayed.promised.round, 77);
    fixture_check_kept(f);
    fill(f, SLOTS + 80);
    reopen(f);
    fixture_check_kept(f);
}

/* However little is read of each: a service manager gives up a start that says nothing. */
static void test_a_start_tells_of_each_segment_and_part(void **state)
{
    enum { PARTS = 40 };
    struct fixture *f = *state;
    struct journal_stats stats;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 2 * SLOTS);
    assert_int_equal(fixture_checkpoint(f, 2 * SLOTS - 1, PARTS * PAYLOAD, CHECKPOINT_OWN), 0);
    reopen(f);
    journal_stats(f->journal, &stats);
    assert_true(stats.segments > 15 && stats.segments_replayed <= 4);
    assert_in_range(f->n_progress, 2 * stats.segments + 2 * PARTS, 2 * stats.segments + 2 * PARTS + 12);
}

/* A segment with one record above the slot is replayed, however many at or below it others before have. */
static void test_a_stray_record_above_the_checkpoint_comes_back(void **state)
{
    struct fixture *f = *state;
    struct journal_stats stats;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 60);
    fixture_accept(f, 150, 100); /* a window ahead */
    f->n_slots = 60;
    fill(f, 120);
    assert_int_equal(fixture_checkpoint(f, 119, 1000, CHECKPOINT_OWN), 0);
    reopen(f);
    journal_stats(f->journal, &stats);
    assert_true(stats.segments_replayed >= 3 && stats.segments_replayed < stats.segments);
    assert_int_equal(fixture_settle(f), 0);
    journal_trim(f->journal, UINT64_MAX); /* nor does it go */
    assert_int_equal(fixture_settle(f), 0);
    reopen(f);
    assert_true(f->replayed.n > 60);
}

static void test_a_cancelled_one_leaves_the_old_one(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[PAYLOAD];
    size_t size;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 20);
    assert_int_equal(fixture_checkpoint(f, 3, 100, CHECKPOINT_OWN), 0);
    for (int parts = 0; parts < 3; parts++) {
        assert_int_equal(journal_checkpoint_begin(f->journal, 9, CHECKPOINT_OWN), 0);
        for (int i = 0; i < parts; i++) {
            assert_int_equal(journal_checkpoint_append(f->journal, bytes, PAYLOAD), PAYLOAD);
            assert_int_equal(fixture_write(f), 0);
        }
        if (parts == 2)
            journal_checkpoint_finish(f->journal);
        journal_checkpoint_cancel(f->journal);
        assert_int_equal(journal_checkpoint_begin(f->journal, 10, CHECKPOINT_OWN), -EBUSY);
        assert_int_equal(fixture_settle(f), 0);
        assert_int_equal(journal_checkpoint_state(f->journal), CHECKPOINT_IDLE);
        assert_null(vfs_memory_bytes(f->disk, CHECKPOINT_NEW_NAME, &size));
        assert_checkpoint(f, 3, 100);
    }
    /* One that a stop cut off is cleared away at the next start. */
    assert_int_equal(journal_checkpoint_begin(f->journal, 9, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_checkpoint_append(f->journal, bytes, PAYLOAD), PAYLOAD);
    assert_int_equal(fixture_write(f), 0);
    assert_non_null(vfs_memory_bytes(f->disk, CHECKPOINT_NEW_NAME, &size));
    reopen(f);
    assert_null(vfs_memory_bytes(f->disk, CHECKPOINT_NEW_NAME, &size));
    assert_checkpoint(f, 3, 100);
}

/* It vouches for the records before it: with them lost, the log would have a hole below it (trap 41). */
static void test_it_does_not_count_before_the_records_are_durable(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 20);
    vfs_memory_set_budget(f->disk, vfs_memory_used(f->disk) + 4096);
    while (journal_has_space(f->journal)) {
        fixture_accept(f, f->n_slots, 3000);
        fixture_write(f);
    }
    for (int i = 0; i < 30; i++) /* beyond what there is room for: it waits */
        fixture_accept(f, f->n_slots, 3000);
    fixture_commit(f, f->n_slots - 1, NULL, 0);
    assert_int_equal(journal_checkpoint_begin(f->journal, f->n_committed - 1, CHECKPOINT_OWN), 0);
    journal_checkpoint_finish(f->journal);
    for (int i = 0; i < 5; i++)
        assert_int_equal(journal_write(f->journal), 0);
    assert_false(journal_is_pending(f->journal));
    assert_int_equal(journal_checkpoint_state(f->journal), CHECKPOINT_WRITING);
    vfs_memory_set_budget(f->disk, UINT64_MAX);
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(fixture_settle(f), 0);
    assert_checkpoint(f, f->n_committed - 1, 0);
    reopen(f);
    fixture_check_kept(f);
}

/* --- a full disk --- */

static void test_a_full_disk_gives_it_up_at_every_size(void **state)
{
    (void)state;
    for (uint64_t budget = 0; budget < 4 * PAYLOAD; budget += 9000) {
        struct fixture f;
        uint64_t used;
        int r;
        fixture_setup(&f, budget);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fill(&f, 30);
        assert_int_equal(fixture_checkpoint(&f, 9, 5000, CHECKPOINT_OWN), 0);
        used = vfs_memory_used(f.disk);
        vfs_memory_set_budget(f.disk, used + budget);
        vfs_memory_hide_budget(f.disk, budget % 2);
        r = fixture_checkpoint(&f, 29, 3 * PAYLOAD, CHECKPOINT_OWN);
        assert_int_equal(r, budget < checkpoint_file_bytes(3 * PAYLOAD) ? -ENOSPC : 0);
        assert_int_equal(fixture_settle(&f), 0);
        if (r < 0)
            assert_int_equal(vfs_memory_used(f.disk), used); /* others may wait for the room */
        assert_checkpoint(&f, r < 0 ? 9 : 29, r < 0 ? 5000 : 3 * PAYLOAD);
        reopen(&f);
        fixture_check_kept(&f);
        vfs_memory_set_budget(f.disk, UINT64_MAX);
        if (r < 0)
            assert_int_equal(fixture_checkpoint(&f, 29, 3 * PAYLOAD, CHECKPOINT_OWN), 0);
        fixture_teardown(&f);
    }
}

/* Anything but "full" is final. */
static void test_a_failed_operation_is_final(void **state)
{
    int r = -EIO;
    (void)state;

    for (uint64_t n = 1; r != 0; n++) {
        struct fixture f;
        fixture_setup(&f, n);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fill(&f, 30);
        vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES & ~VFS_MEMORY_REMOVE, n, -EIO, false);
        r = fixture_checkpoint(&f, 29, 2 * PAYLOAD, n % 2 ? CHECKPOINT_OWN : CHECKPOINT_FETCHED);
        assert_true(r == 0 || r == -EIO);
        if (r < 0) {
            vfs_memory_count_from_zero(f.disk);
            assert_int_equal(journal_write(f.journal), -EIO);
            assert_int_equal(vfs_memory_count(f.disk, VFS_MEMORY_CHANGES), 0);
        } else {
            assert_true(n > 9);
        }
        fixture_teardown(&f);
    }
}

/* --- rot --- */

static void damage(struct fixture *f, uint64_t at, bool is_gone)
{
    if (is_gone)
        assert_true(vfs_memory_truncate(f->disk, CHECKPOINT_NAME, at));
    else
        assert_true(vfs_memory_flip(f->disk, CHECKPOINT_NAME, at, 0x40));
}

/* While all segments are there, they tell the same. */
static void assert_made_up_for(struct fixture *f, uint64_t at, bool is_gone)
{
    struct vfs_memory *before = f->disk;
    struct journal_stats stats;

    f->disk = vfs_memory_clone(before, 1);
    damage(f, at, is_gone);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("byte %llu: %s", (unsigned long long)at, f->error);
    assert_false(f->checkpoint_replayed.is_there);
    assert_int_equal(f->replayed.n, f->appended.n);
    assert_true(told_begins(&f->replayed, &f->appended, f->appended.n));
    journal_stats(f->journal, &stats);
    assert_true(stats.checkpoint_ignored);
    assert_false(journal_checkpoint_newest(f->journal, &(struct journal_checkpoint){.slot = 0}));
    fixture_close(f);
    vfs_memory_free(f->disk);
    f->disk = before;
}

static void assert_refused(struct fixture *f, uint64_t at, bool is_gone)
{
    struct vfs_memory *before = f->disk;

    f->disk = vfs_memory_clone(before, 1);
    damage(f, at, is_gone);
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    if (strstr(f->error, "checkpoint: the file is damaged") == NULL)
        fail_msg("byte %llu: %s", (unsigned long long)at, f->error);
    vfs_memory_free(f->disk);
    f->disk = before;
}

static void run_rot(struct fixture *f, void (*check)(struct fixture *f, uint64_t at, bool is_gone))
{
    uint64_t size = checkpoint_file_bytes(PAYLOAD + 300), second = checkpoint_part_place(1);

    for (uint64_t at = 0; at < CHECKPOINT_HEADER_BYTES + CHECKPOINT_PART_HEADER_BYTES + 10; at++)
        check(f, at, false);
    for (uint64_t at = second - 10; at < size; at++)
        check(f, at, false);
    for (uint64_t at = 0; at < size; at += 1 + at / 3)
        check(f, at, true);
    check(f, size - 1, true);
}

static void test_rot_at_any_byte_is_made_up_for_by_the_whole_log(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 10);
    assert_int_equal(fixture_checkpoint(f, 4, PAYLOAD + 300, CHECKPOINT_OWN), 0);
    fixture_close(f);
    run_rot(f, assert_made_up_for);
}

static void test_rot_at_any_byte_is_refused_where_the_log_was_trimmed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 50);
    assert_int_equal(fixture_checkpoint(f, 44, PAYLOAD + 300, CHECKPOINT_OWN), 0);
    journal_trim(f->journal, 20);
    assert_int_equal(fixture_settle(f), 0);
    assert_true(journal_first_kept(f->journal) > 0);
    fixture_close(f);
    run_rot(f, assert_refused);
    assert_true(vfs_memory_delete(f->disk, CHECKPOINT_NAME));
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "checkpoint: the file is missing"));
}

static void test_rot_is_not_served(void **state)
{
    struct fixture *f = *state;
    uint8_t byte;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 10);
    assert_int_equal(fixture_checkpoint(f, 4, 2 * PAYLOAD, CHECKPOINT_OWN), 0);
    vfs_memory_flip(f->disk, CHECKPOINT_NAME, checkpoint_part_place(1) + 1000, 1);
    assert_int_equal(journal_checkpoint_read(f->journal, 4, PAYLOAD - 1, &byte, 1), 1);
    assert_int_equal(journal_checkpoint_read(f->journal, 4, PAYLOAD, &byte, 1), -EBADMSG);
}

static void test_parts_of_another_checkpoint_are_noticed(void **state)
{
    struct fixture *f = *state;
    struct vfs_memory *older;
    uint8_t *part = malloc(JOURNAL_CHECKPOINT_PART_BYTES);
    size_t size;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 10);
    assert_int_equal(fixture_checkpoint(f, 3, 3 * PAYLOAD, CHECKPOINT_OWN), 0);
    older = vfs_memory_clone(f->disk, 1);
    assert_int_equal(fixture_checkpoint(f, 4, 3 * PAYLOAD, CHECKPOINT_OWN), 0);
    fixture_close(f);
    memcpy(part, vfs_memory_bytes(older, CHECKPOINT_NAME, &size) + checkpoint_part_place(1),
           JOURNAL_CHECKPOINT_PART_BYTES);
    vfs_memory_poke(f->disk, CHECKPOINT_NAME, checkpoint_part_place(1), part, JOURNAL_CHECKPOINT_PART_BYTES);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_false(f->checkpoint_replayed.is_there);
    free(part);
    vfs_memory_free(older);
}

static void test_files_that_do_not_belong_together_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture other;
    struct vfs_memory *older;

    /* Another replica's. */
    fixture_setup(&other, 2);
    other.identity.life++;
    assert_int_equal(journal_fixture_open(&other), JOURNAL_OK);
    fill(&other, 10);
    assert_int_equal(fixture_checkpoint(&other, 4, 100, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 50);
    assert_int_equal(fixture_checkpoint(f, 9, 100, CHECKPOINT_OWN), 0);
    older = vfs_memory_clone(f->disk, 1);
    fixture_close(f);
    vfs_memory_copy(f->disk, CHECKPOINT_NAME, other.disk, CHECKPOINT_NAME);
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "checkpoint: belongs to replica 3"));

    /* An old one of this replica, from a backup. */
    vfs_memory_copy(f->disk, CHECKPOINT_NAME, older, CHECKPOINT_NAME);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(fixture_checkpoint(f, 44, 100, CHECKPOINT_OWN), 0);
    journal_trim(f->journal, 40);
    assert_int_equal(fixture_settle(f), 0);
    fixture_close(f);
    vfs_memory_copy(f->disk, CHECKPOINT_NAME, older, CHECKPOINT_NAME);
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "it is an older one"));

    /* Alone. */
    vfs_memory_free(f->disk);
    f->disk = vfs_memory_new(1);
    vfs_memory_copy(f->disk, CHECKPOINT_NAME, older, CHECKPOINT_NAME);
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "a checkpoint is there"));
    vfs_memory_free(older);
    fixture_teardown(&other);
}

static void test_a_state_that_the_core_cannot_take_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 10);
    assert_int_equal(fixture_checkpoint(f, 4, 100, CHECKPOINT_OWN), 0);
    fixture_close(f);
    f->refuse_replay = true;
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "cannot take what is in it"));
}

/* Rot in the segments beside a checkpoint, below or above its slot: the checkpoint stays, what is given up is told
 * once, and the journal goes on. */
static void test_rot_in_segments_leaves_the_checkpoint(void **state)
{
    struct fixture *f = *state;
    char name[SEGMENT_NAME_BYTES];
    uint64_t n_segments = 0;
    unsigned n_damaged = 0;
    size_t size;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, SLOTS / 2);
    assert_int_equal(fixture_checkpoint(f, SLOTS / 2 - 1, 1000, CHECKPOINT_OWN), 0);
    fill(f, SLOTS);
    fixture_close(f);
    while (segment_name(n_segments + 1, name), vfs_memory_bytes(f->disk, name, &size) != NULL)
        n_segments++;
    for (int i = 0; i < 200; i++) {
        struct vfs_memory *before = f->disk;
        uint64_t at = fixture_draw(f, FIXTURE_SEGMENT_BYTES - 512);
        f->disk = vfs_memory_clone(before, 1);
        segment_name(1 + fixture_draw(f, n_segments), name);
        if (i % 2 == 0)
            vfs_memory_flip(f->disk, name, at, 0x10);
        else
            vfs_memory_zero(f->disk, name, at, 512);
        for (int again = 0; again < 2; again++) {
            if (journal_fixture_open(f) != JOURNAL_OK)
                fail_msg("%s", f->error);
            n_damaged += f->error[0] != '\0';
            assert_true(again == 0 || f->error[0] == '\0');
            assert_int_equal(f->checkpoint_replayed.slot, SLOTS / 2 - 1);
            fixture_promise(f, 100 + (uint64_t)again);
            assert_int_equal(fixture_settle(f), 0);
            fixture_close(f);
        }
        vfs_memory_free(f->disk);
        f->disk = before;
        f->ballot.round = 1;
    }
    assert_in_range(n_damaged, 50, 190);
}

/* Header and parts, found by the scrub or by a peer's read: another one at the same slot takes its place. */
static void test_one_that_rots_while_open_is_replaced(void **state)
{
    enum { SIZE = 2 * PAYLOAD + 100 };
    static uint8_t bytes[SIZE];
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fill(f, 50);
    assert_int_equal(fixture_checkpoint(f, 49, SIZE, CHECKPOINT_OWN), 0);
    for (uint64_t at = 0; at < checkpoint_file_bytes(SIZE); at += 9973) {
        assert_int_equal(journal_checkpoint_begin(f->journal, 49, CHECKPOINT_OWN), -EINVAL);
        vfs_memory_flip(f->disk, CHECKPOINT_NAME, at, 4);
        if (at % 2 == 0 || journal_checkpoint_read(f->journal, 49, 0, bytes, SIZE) > 0)
            while (journal_scrub(f->journal) > 0)
                ;
        assert_true(journal_checkpoint_is_damaged(f->journal));
        assert_int_equal(fixture_checkpoint(f, 49, SIZE, CHECKPOINT_OWN), 0);
        assert_false(journal_checkpoint_is_damaged(f->journal));
        assert_served(f, 49, SIZE);
    }
    reopen(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(test_every_size_comes_back),
        TEST(test_calls_out_of_turn_are_told),
        TEST(test_a_checkpoint_stays_readable_while_it_is_sent),
        TEST(test_replay_begins_at_the_checkpoint),
        TEST(test_a_start_tells_of_each_segment_and_part),
        TEST(test_a_stray_record_above_the_checkpoint_comes_back),
        TEST(test_a_cancelled_one_leaves_the_old_one),
        TEST(test_it_does_not_count_before_the_records_are_durable),
        cmocka_unit_test(test_a_full_disk_gives_it_up_at_every_size),
        cmocka_unit_test(test_a_failed_operation_is_final),
        TEST(test_rot_at_any_byte_is_made_up_for_by_the_whole_log),
        TEST(test_rot_at_any_byte_is_refused_where_the_log_was_trimmed),
        TEST(test_rot_is_not_served),
        TEST(test_rot_in_segments_leaves_the_checkpoint),
        TEST(test_parts_of_another_checkpoint_are_noticed),
        TEST(test_files_that_do_not_belong_together_are_refused),
        TEST(test_a_state_that_the_core_cannot_take_is_refused),
        TEST(test_one_that_rots_while_open_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
