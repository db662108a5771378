/* The journal on a good disk: what was appended comes back, in order, and who may open it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/footer.h"
#include "journal/format.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/unit/journal_fixture.h"

static int setup(void **state)
{
    return fixture_make(state, 1);
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(f->replayed.n, f->appended.n);
    assert_true(told_begins(&f->replayed, &f->appended, f->appended.n));
}

static void test_every_type_of_record_comes_back(void **state)
{
    struct fixture *f = *state;
    struct note notes[] = {{.slot = 0, .type = NOTE_HIDDEN}, {.slot = 2, .time_usec = 123456789, .type = NOTE_TIME}};

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(f->replayed.n, 0);
    fixture_promise(f, 7);
    fixture_accept(f, 0, 40);
    fixture_accept(f, 1, 1);
    fixture_choose(f, 2, 5000);
    fixture_commit(f, 2, notes, 2);
    fixture_commit(f, 2, NULL, 0);
    assert_int_equal(fixture_write(f), 0);
    reopen(f);
    assert_int_equal(f->replayed.items[0].type, RECORD_PROMISE);
    assert_int_equal(f->replayed.items[0].ballot.round, 7);
    assert_int_equal(f->replayed.items[0].ballot.id, 3);
    fixture_check_read(f, 0, 2);
}

static void test_a_full_commit_record_comes_back(void **state)
{
    struct fixture *f = *state;
    struct note notes[RECORD_NOTES_MAX];

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (uint32_t i = 0; i < RECORD_NOTES_MAX; i++) {
        fixture_accept(f, i, 1);
        notes[i] = (struct note){.slot = i, .time_usec = UINT64_MAX - i, .type = NOTE_TIME};
    }
    fixture_commit(f, RECORD_NOTES_MAX - 1, notes, RECORD_NOTES_MAX);
    assert_int_equal(fixture_write(f), 0);
    reopen(f);
    fixture_check_read(f, 0, RECORD_NOTES_MAX - 1);
}

static void test_one_sync_makes_a_whole_group_durable(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_accept(f, 0, 100);
    assert_int_equal(fixture_settle(f), 0);
    vfs_memory_count_from_zero(f->disk);
    for (slot_t slot = 1; slot <= 200; slot++)
        fixture_accept(f, slot, 100);
    assert_true(journal_is_pending(f->journal));
    assert_int_equal(journal_durable_seq(f->journal), 1);
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(journal_durable_seq(f->journal), 201);
    assert_int_equal(vfs_memory_count(f->disk, VFS_MEMORY_SYNC), 1);
    assert_int_equal(vfs_memory_count(f->disk, VFS_MEMORY_WRITE), 1);
    assert_int_equal(vfs_memory_count(f->disk, VFS_MEMORY_CHANGES), 2);
    assert_false(journal_is_pending(f->journal));
    reopen(f);
}

static void test_written_is_called_once_a_group(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(fixture_settle(f), 0);
    assert_int_equal(f->n_written, 0);
    fixture_promise(f, 1);
    fixture_promise(f, 2);
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(f->n_written, 1);
    assert_int_equal(f->written_error, 0);
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(f->n_written, 1);
}

/* Trap 12: promise lost in journal rotation. */
static void test_every_segment_opens_with_the_highest_promise(void **state)
{
    struct fixture *f = *state;
    struct journal_stats stats;
    struct note notes[RECORD_NOTES_MAX];

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_promise(f, 1000); /* never again: only rotation carries it on */
    for (slot_t slot = 0; slot < 300; slot++) {
        f->ballot.round = 1000 + slot; /* an ACCEPT promises too (trap 4) */
        fixture_accept(f, slot, 2000);
        assert_int_equal(fixture_settle(f), 0);
    }
    journal_stats(f->journal, &stats);
    assert_true(stats.segments > 5);
    for (uint64_t number = 2; number <= stats.segments; number++) {
        char name[SEGMENT_NAME_BYTES];
        struct batch_header h;
        struct record_view promise, next;
        const uint8_t *bytes;
        size_t size;
        segment_name(number, name);
        bytes = vfs_memory_bytes(f->disk, name, &size);
        assert_non_null(bytes);
        assert_int_equal(size, FIXTURE_SEGMENT_BYTES);
        bytes += SEGMENT_HEADER_BYTES;
        assert_true(batch_header_decode(bytes, &h) && batch_is_whole(bytes, &h));
        assert_true(record_decode(bytes + BATCH_HEADER_BYTES, h.payload_size, notes, &promise));
        assert_true(batch_header_decode(bytes + h.size, &h));
        assert_true(record_decode(bytes + 128 + BATCH_HEADER_BYTES, h.payload_size, notes, &next));
        assert_int_equal(promise.record.type, RECORD_PROMISE);
        assert_int_equal(next.record.type, RECORD_ACCEPT);
        assert_int_equal(promise.record.ballot.round, next.record.ballot.round - 1);
    }
    reopen(f);
}

static void test_a_workload_comes_back_over_many_restarts(void **state)
{
    struct fixture *f = *state;

    for (int run = 0; run < 12; run++) {
        if (run == 0)
            assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
        for (int i = 0; i < 60; i++) {
            fixture_work(f, run % 3 == 0 ? 14000 : 900);
            if (fixture_draw(f, 2) == 0)
                assert_int_equal(fixture_write(f), 0);
        }
        assert_int_equal(fixture_settle(f), 0);
        reopen(f);
        if (f->n_committed > 0)
            fixture_check_read(f, 0, f->n_committed - 1);
    }
}

static void test_a_group_of_many_segments_is_split(void **state)
{
    struct fixture *f = *state;
    struct journal_stats stats;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 100; slot++)
        fixture_accept(f, slot, 9000);
    fixture_accept(f, 100, 60000); /* a batch of its own, almost a segment */
    fixture_commit(f, 100, NULL, 0);
    assert_int_equal(fixture_write(f), 0);
    journal_stats(f->journal, &stats);
    assert_true(stats.segments > 14);
    fixture_check_read(f, 0, 100);
    reopen(f);
    fixture_check_read(f, 0, 100);
}

static void test_a_record_larger_than_a_segment_fails_for_good(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_accept(f, 0, 70000);
    assert_int_equal(journal_write(f->journal), -EFBIG);
    assert_int_equal(f->written_error, -EFBIG);
    assert_int_equal(journal_write(f->journal), -EFBIG);
    assert_int_equal(f->n_written, 1);
}

static void test_identity_stands_between_records(void **state)
{
    struct fixture *f = *state;
    struct identity *read = calloc(1, sizeof *read);

    f->identity.status = IDENTITY_EMPTY;
    memset(&f->identity.cluster, 0, sizeof f->identity.cluster);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    memset(f->identity.cluster.bytes, 0x77, sizeof f->identity.cluster.bytes);
    f->identity.configuration = (struct configuration){.alpha = 8, .dedup_slots = 9, .streams_max = 10, .n_members = 1};
    f->identity.configuration.members[0] =
        (struct member){.id = 3, .gen = 1, .life = f->identity.life, .address_size = 3, .address = "a:1"};
    fixture_identity(f, IDENTITY_STARTING);
    fixture_identity(f, IDENTITY_VOTER);
    fixture_accept(f, 0, 10);
    fixture_identity(f, IDENTITY_QUARANTINED);
    fixture_accept(f, 1, 10);
    assert_int_equal(fixture_write(f), 0);
    assert_int_equal(journal_read_identity(vfs_memory_vfs(f->disk), read, f->error), JOURNAL_OK);
    assert_int_equal(read->status, IDENTITY_QUARANTINED);
    assert_int_equal(read->id, 3);
    assert_true(read->life == f->identity.life);
    assert_true(hash_equal(&read->cluster, &f->identity.cluster));
    assert_int_equal(read->configuration.n_members, 1);
    assert_int_equal(read->configuration.members[0].address_size, 3);
    free(read);
    reopen(f);
}

static void test_no_state_is_told_from_state(void **state)
{
    struct fixture *f = *state;
    struct identity *read = calloc(1, sizeof *read);

    assert_int_equal(journal_read_identity(vfs_memory_vfs(f->disk), read, f->error), JOURNAL_OK);
    assert_int_equal(read->status, 0);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    assert_int_equal(journal_read_identity(vfs_memory_vfs(f->disk), read, f->error), JOURNAL_OK);
    assert_int_equal(read->status, IDENTITY_VOTER);
    free(read);
}

static void fill_a_little(struct fixture *f)
{
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    fixture_accept(f, 0, 100);
    fixture_accept(f, 1, 100);
    assert_int_equal(fixture_settle(f), 0);
    fixture_close(f);
}

static void assert_refused(struct fixture *f, const char *part)
{
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    if (strstr(f->error, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->error, part);
}

/* Tried on a copy, since it changes the disk. */
static void assert_cut(struct fixture *f, const char *part)
{
    struct vfs_memory *before = vfs_memory_clone(f->disk, 1);

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    if (strstr(f->error, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->error, part);
    fixture_close(f);
    vfs_memory_free(f->disk);
    f->disk = before;
}

static void set_version(struct fixture *f, const char *name, uint32_t version)
{
    uint8_t prologue[PROLOGUE_BYTES];
    size_t size;

    memcpy(prologue, vfs_memory_bytes(f->disk, name, &size), sizeof prologue);
    put_u32(prologue + 8, version);
    put_u32(prologue + 12, crc32c(0, prologue, 12));
    assert_true(vfs_memory_poke(f->disk, name, 0, prologue, sizeof prologue));
}

static void test_unknown_versions_are_refused(void **state)
{
    struct fixture *f = *state;

    fill_a_little(f);
    set_version(f, "segment-0000000000000001", 9);
    assert_refused(f, "segment-0000000000000001: written in format version 9");
    set_version(f, "segment-0000000000000001", JOURNAL_VERSION);
    set_version(f, "superblock.1", JOURNAL_VERSION + 1);
    assert_refused(f, "superblock.1: written in format version 3");
    set_version(f, "superblock.1", JOURNAL_VERSION_OLDEST - 1);
    assert_refused(f, "superblock.1: written in format version 0");
    set_version(f, "superblock.1", JOURNAL_VERSION);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
}

static void test_another_replicas_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture other;

    fill_a_little(f);
    fixture_setup(&other, 2);
    other.identity.id = 4;
    fill_a_little(&other);
    vfs_memory_copy(f->disk, "segment-0000000000000001", other.disk, "segment-0000000000000001");
    assert_refused(f, "belongs to replica 4");
    fixture_teardown(&other);

    fixture_setup(&other, 2);
    other.identity.cluster.bytes[0] = 0xee;
    fill_a_little(&other);
    vfs_memory_copy(f->disk, "segment-0000000000000001", other.disk, "segment-0000000000000001");
    assert_refused(f, "of cluster eec1c1c1");
    fixture_teardown(&other);

    fixture_setup(&other, 2);
    other.identity.life++;
    fill_a_little(&other);
    vfs_memory_copy(f->disk, "segment-0000000000000001", other.disk, "segment-0000000000000001");
    assert_refused(f, "life 1122334455667789");
    fixture_teardown(&other);
}

static void test_opening_as_another_replica_is_refused(void **state)
{
    struct fixture *f = *state;
    struct journal_options o = {.vfs = vfs_memory_vfs(f->disk), .segment_bytes = f->segment_bytes};
    struct identity asked = f->identity;

    fill_a_little(f);
    asked.id = 9;
    assert_int_equal(journal_open(&o, &asked, &(struct journal_replay){.each = NULL}, &f->journal, f->error),
                     JOURNAL_REFUSED);
    assert_non_null(strstr(f->error, "belongs to replica 3"));
}

static void test_missing_files_are_refused(void **state)
{
    struct fixture *f = *state;
    struct vfs_memory *whole;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 100; slot++) {
        fixture_accept(f, slot, 4000);
        assert_int_equal(fixture_settle(f), 0);
    }
    fixture_close(f);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK); /* so that the superblock has seen it all */
    fixture_close(f);
    whole = vfs_memory_clone(f->disk, 1);

    assert_true(vfs_memory_delete(f->disk, "segment-0000000000000001"));
    assert_refused(f, "segment-0000000000000001: the file is missing");
    vfs_memory_copy(f->disk, "segment-0000000000000001", whole, "segment-0000000000000001");
    assert_true(vfs_memory_delete(f->disk, "segment-0000000000000003"));
    assert_refused(f, "segment-0000000000000003: the file is missing");
    vfs_memory_copy(f->disk, "segment-0000000000000003", whole, "segment-0000000000000002");
    assert_cut(f, "segment-0000000000000003: damaged at offset 0");
    vfs_memory_copy(f->disk, "segment-0000000000000003", whole, "segment-0000000000000003");
    assert_true(vfs_memory_delete(f->disk, "segment-0000000000000007"));
    assert_cut(f, "segment-0000000000000006: damaged");
    vfs_memory_copy(f->disk, "segment-0000000000000007", whole, "segment-0000000000000007");
    assert_true(vfs_memory_truncate(f->disk, "segment-0000000000000002", 20000));
    assert_cut(f, "segment-0000000000000002: damaged at offset 0");
    vfs_memory_copy(f->disk, "segment-0000000000000002", whole, "segment-0000000000000002");
    assert_true(vfs_memory_delete(f->disk, "superblock.0") && vfs_memory_delete(f->disk, "superblock.1"));
    assert_refused(f, "both are missing");
    vfs_memory_free(whole);
}

/* The footer tells which batch was the last one: what rots in the room behind it takes nothing with it. */
static void test_rot_behind_the_last_batch_is_nobodys(void **state)
{
    struct fixture *f = *state;
    struct batch_header h;
    uint64_t end = SEGMENT_HEADER_BYTES, limit = footer_limit(FIXTURE_SEGMENT_BYTES);
    size_t size;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 60; slot++) {
        fixture_accept(f, slot, 3000);
        fixture_commit(f, slot, NULL, 0);
        assert_int_equal(fixture_settle(f), 0);
    }
    fixture_close(f);
    while (batch_header_decode(vfs_memory_bytes(f->disk, "segment-0000000000000001", &size) + end, &h))
        end += h.size;
    assert_true(end > limit / 2 && limit - end > 3 * (uint64_t)BATCH_HEADER_BYTES);
    for (uint64_t at = end; at < limit; at += (limit - end) / 3) {
        assert_true(vfs_memory_flip(f->disk, "segment-0000000000000001", at, 0x6f));
        assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
        assert_string_equal(f->error, "");
        reopen(f);
        fixture_check_read(f, 0, 59);
        fixture_close(f);
    }
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    vfs_memory_flip(f->disk, "segment-0000000000000001", FIXTURE_SEGMENT_BYTES - 1, 1); /* the footer, too */
    fixture_check_read(f, 0, 59);
}

static void test_a_record_that_cannot_follow_is_refused(void **state)
{
    struct fixture *f = *state;

    fill_a_little(f);
    f->refuse_replay = true;
    assert_refused(f, "a record in it cannot follow");
}

static void test_an_old_reserve_of_another_size_is_no_obstacle(void **state)
{
    struct fixture *f = *state;

    f->segment_bytes = 4 * FIXTURE_SEGMENT_BYTES;
    fill_a_little(f);
    f->segment_bytes = FIXTURE_SEGMENT_BYTES;
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 2; slot < 200; slot++) {
        fixture_accept(f, slot, 4000);
        assert_int_equal(fixture_settle(f), 0);
    }
    f->segment_bytes = 2 * FIXTURE_SEGMENT_BYTES;
    reopen(f);
    for (slot_t slot = 200; slot < 400; slot++) {
        fixture_accept(f, slot, 4000);
        assert_int_equal(fixture_settle(f), 0);
    }
    reopen(f);
}

static void test_statistics_add_up(void **state)
{
    struct fixture *f = *state;
    struct journal_stats s;

    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    journal_stats(f->journal, &s);
    assert_int_equal(s.sync_max_usec, 0);
    for (slot_t slot = 0; slot < 50; slot++) {
        fixture_accept(f, slot, 4000);
        assert_int_equal(fixture_settle(f), 0);
    }
    journal_stats(f->journal, &s);
    assert_int_equal(s.records, 50);
    assert_int_equal(s.syncs, 50);
    assert_int_equal(s.segments, 4);
    assert_int_equal(s.bytes, vfs_memory_used(f->disk));
    assert_true(s.bytes_written > 50 * 4000);
    assert_true(s.sync_p50_usec <= s.sync_p99_usec && s.sync_p99_usec <= s.sync_max_usec);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_free)
    const struct CMUnitTest tests[] = {
        TEST(test_every_type_of_record_comes_back),
        TEST(test_a_full_commit_record_comes_back),
        TEST(test_one_sync_makes_a_whole_group_durable),
        TEST(test_written_is_called_once_a_group),
        TEST(test_every_segment_opens_with_the_highest_promise),
        TEST(test_a_workload_comes_back_over_many_restarts),
        TEST(test_a_group_of_many_segments_is_split),
        TEST(test_a_record_larger_than_a_segment_fails_for_good),
        TEST(test_identity_stands_between_records),
        TEST(test_no_state_is_told_from_state),
        TEST(test_unknown_versions_are_refused),
        TEST(test_another_replicas_files_are_refused),
        TEST(test_opening_as_another_replica_is_refused),
        TEST(test_missing_files_are_refused),
        TEST(test_rot_behind_the_last_batch_is_nobodys),
        TEST(test_a_record_that_cannot_follow_is_refused),
        TEST(test_an_old_reserve_of_another_size_is_no_obstacle),
        TEST(test_statistics_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
