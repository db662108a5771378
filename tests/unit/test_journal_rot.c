/* Torn or rotten: each byte of the last batches, torn off or changed; batches in the wrong place. Traps 38 and 39. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "journal/format.h"
#include "tests/unit/journal_fixture.h"

#define SEGMENT_1 "segment-0000000000000001"
#define SEGMENT_2 "segment-0000000000000002"

enum { GROUPS = 6, BATCHES_MAX = 64 };

struct batches {
    uint64_t offset[BATCHES_MAX];
    uint32_t size[BATCHES_MAX];
    size_t n;
};

static void find_batches(struct vfs_memory *disk, const char *name, struct batches *ret)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(disk, name, &size);
    struct batch_header h;

    ret->n = 0;
    for (uint64_t at = SEGMENT_HEADER_BYTES; at + BATCH_HEADER_BYTES <= size; at += h.size) {
        if (ret->n == BATCHES_MAX || !batch_header_decode(bytes + at, &h))
            break;
        ret->offset[ret->n] = at;
        ret->size[ret->n++] = h.size;
    }
}

/* GROUPS batches of the same size, one a sync, in one segment that was never reopened. */
static void append_groups(struct fixture *f, uint32_t size)
{
    fixture_setup(f, 21);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < GROUPS; slot++) {
        fixture_accept(f, slot, size);
        assert_int_equal(fixture_settle(f), 0);
    }
}

static void setup_groups(struct fixture *f, uint32_t size)
{
    append_groups(f, size);
    fixture_close(f);
}

/* On a copy of the disk; the copy is thrown away. */
struct trial {
    struct fixture *fixture;
    struct vfs_memory *before;
};

static void trial_begin(struct trial *t, struct fixture *f)
{
    *t = (struct trial){.fixture = f, .before = f->disk};
    f->disk = vfs_memory_clone(f->disk, 1);
}

static void trial_end(struct trial *t)
{
    fixture_close(t->fixture);
    vfs_memory_free(t->fixture->disk);
    t->fixture->disk = t->before;
}

/* What comes back after a cut is a beginning of what was appended, and perhaps the promise that was saved. */
static void assert_beginning(const struct fixture *f)
{
    size_t n = f->replayed.n;

    if (n > 0 && f->replayed.items[n - 1].type == RECORD_PROMISE && !told_begins(&f->replayed, &f->appended, n))
        n--;
    assert_true(told_begins(&f->replayed, &f->appended, n));
}

/* Opens it: what stands before the damage comes back and nothing else; where votes are lost, it says so for good. */
static void assert_cut(struct fixture *f, const char *name, uint64_t offset, bool is_lost)
{
    char place[128];
    size_t n;

    snprintf(place, sizeof place, "%s: damaged at offset %llu", name, (unsigned long long)offset);
    if (journal_fixture_open(f) != JOURNAL_OK)
        fail_msg("refused: %s", f->error);
    if (strstr(f->error, place) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->error, place);
    for (int again = 0; again < 2; again++) {
        assert_beginning(f);
        assert_int_equal(f->replayed_identity.status, is_lost ? IDENTITY_QUARANTINED : IDENTITY_VOTER);
        if (!is_lost) {
            assert_true(ballot_equal(f->replayed.promised, f->appended.promised));
            assert_int_equal(f->replayed_identity.silent_until, f->n_slots - 1);
        }
        n = f->replayed.n;
        fixture_close(f);
        assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
        assert_string_equal(f->error, "");
        assert_int_equal(f->replayed.n, n);
    }
}

/* Trap 38, never torn: etcd#5230. */
static void test_a_last_batch_torn_at_any_byte_is_cut(void **state)
{
    static const uint32_t sizes[] = {20, 300, 1500};
    (void)state;

    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct fixture f;
        struct batches b;
        struct trial t;
        struct journal_stats stats;
        setup_groups(&f, sizes[k]);
        find_batches(f.disk, SEGMENT_1, &b);
        for (uint32_t at = 0; at < b.size[b.n - 1]; at++) {
            uint64_t from = b.offset[b.n - 1] + at;
            trial_begin(&t, &f);
            vfs_memory_zero(f.disk, SEGMENT_1, from, FIXTURE_SEGMENT_BYTES - from);
            if (journal_fixture_open(&f) != JOURNAL_OK)
                fail_msg("torn at byte %u: %s", at, f.error);
            assert_int_equal(f.replayed.n, GROUPS - 1);
            assert_true(told_begins(&f.replayed, &f.appended, GROUPS - 1));
            journal_stats(f.journal, &stats);
            assert_true(stats.torn_bytes >= at && stats.torn_bytes < at + BATCH_ALIGN);
            trial_end(&t);
        }
        fixture_teardown(&f);
    }
}

/* Trap 38, always torn. */
static void test_any_byte_of_any_batch_that_rots_is_cut(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    setup_groups(&f, 700);
    find_batches(f.disk, SEGMENT_1, &b);
    assert_int_equal(b.n, GROUPS);
    for (size_t i = 0; i < b.n; i++) {
        for (uint32_t at = 0; at < b.size[i]; at++) {
            trial_begin(&t, &f);
            vfs_memory_flip(f.disk, SEGMENT_1, b.offset[i] + at, 0x10);
            assert_cut(&f, SEGMENT_1, b.offset[i], true);
            trial_end(&t);
        }
    }
    fixture_teardown(&f);
}

/* Every batch holds a vote, all slots are chosen, and a last batch says so: only where the last vote itself rots may a
 * higher promise be lost with it. */
static void test_rot_of_what_is_known_to_be_chosen_loses_no_vote(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    setup_groups(&f, 700);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_commit(&f, GROUPS - 1, NULL, 0);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_close(&f);
    find_batches(f.disk, SEGMENT_1, &b);
    assert_int_equal(b.n, GROUPS + 1);
    for (size_t i = 0; i < b.n; i++) {
        for (uint32_t at = (uint32_t)i % 3; at < b.size[i]; at += 3) {
            trial_begin(&t, &f);
            vfs_memory_flip(f.disk, SEGMENT_1, b.offset[i] + at, 0x10);
            assert_cut(&f, SEGMENT_1, b.offset[i], i >= GROUPS - 1);
            trial_end(&t);
        }
    }
    fixture_teardown(&f);
}

/* One slot above the last COMMIT is voted on, before the damage, in it, or behind it: what may have been in it is told
 * by the COMMIT behind. */
static void test_rot_of_a_vote_that_may_count_is_lost(void **state)
{
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct fixture f;
        struct batches b;
        fixture_setup(&f, 26);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        for (int i = 0; i < 3; i++) {
            fixture_accept(&f, (slot_t)i, 700);
            if (i == when)
                fixture_accept(&f, 7, 700);
            assert_int_equal(fixture_settle(&f), 0);
        }
        fixture_commit(&f, 2, NULL, 0);
        assert_int_equal(fixture_settle(&f), 0);
        if (when == 2) { /* known before that, with what was recorded until then */
            fixture_accept(&f, 8, 700);
            assert_int_equal(fixture_settle(&f), 0);
        }
        fixture_close(&f);
        find_batches(f.disk, SEGMENT_1, &b);
        vfs_memory_flip(f.disk, SEGMENT_1, b.offset[1] + 100, 0x10);
        assert_cut(&f, SEGMENT_1, b.offset[1], true);
        fixture_teardown(&f);
    }
}

/* A vote behind the damage, above what is known to be chosen: it is not lost, and the replica is silent about it. And
 * where the last vote rots too, what stands between two damages says nothing. */
static void test_votes_behind_the_damage(void **state)
{
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        struct fixture f;
        struct batches b;
        setup_groups(&f, 700);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_commit(&f, GROUPS - 1, NULL, 0);
        assert_int_equal(fixture_settle(&f), 0);
        fixture_accept(&f, GROUPS, 700);
        assert_int_equal(fixture_settle(&f), 0);
        fixture_choose(&f, GROUPS + 1, 700); /* no vote */
        assert_int_equal(fixture_settle(&f), 0);
        fixture_close(&f);
        find_batches(f.disk, SEGMENT_1, &b);
        assert_int_equal(b.n, GROUPS + 3);
        vfs_memory_flip(f.disk, SEGMENT_1, b.offset[1] + 100, 0x10);
        if (twice)
            vfs_memory_flip(f.disk, SEGMENT_1, b.offset[GROUPS + 1] + 100, 0x10);
        assert_cut(&f, SEGMENT_1, b.offset[1], twice);
        fixture_teardown(&f);
    }
}

/* The cut dies at each of its steps: the next start ends where it would have ended. */
static void test_a_cut_that_is_cut_off_goes_on(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    bool done = false;
    (void)state;

    fixture_setup(&f, 27);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 60; slot++) {
        fixture_accept(&f, slot, 3000);
        fixture_commit(&f, slot, NULL, 0);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_accept(&f, 60, 3000);
    fixture_commit(&f, 60, NULL, 0);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_close(&f);
    find_batches(f.disk, SEGMENT_1, &b);
    for (int header = 0; header < 2; header++, done = false) {
        uint64_t offset = header ? 0 : b.offset[4];
        for (uint64_t step = 1; !done; step++) {
            trial_begin(&t, &f);
            vfs_memory_flip(f.disk, SEGMENT_1, offset + 20, 0x10);
            vfs_memory_fail_at(f.disk, VFS_MEMORY_CHANGES, step, -EIO, true);
            done = journal_fixture_open(&f) == JOURNAL_OK;
            fixture_close(&f);
            vfs_memory_heal(f.disk);
            vfs_memory_power_cut(f.disk);
            assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
            assert_beginning(&f);
            assert_int_equal(f.replayed_identity.status, IDENTITY_VOTER);
            assert_int_equal(f.replayed_identity.silent_until, 60);
            assert_true(ballot_equal(f.replayed.promised, f.appended.promised));
            fixture_close(&f);
            assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
            assert_string_equal(f.error, "");
            trial_end(&t);
            assert_true(step < 200);
        }
    }
    fixture_teardown(&f);
}

/* A later batch tells that an earlier one was durable, however torn that one looks. */
static void test_zeros_in_a_batch_before_the_last_are_no_tear(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    setup_groups(&f, 1500);
    find_batches(f.disk, SEGMENT_1, &b);
    for (size_t i = 0; i + 1 < b.n; i++) {
        for (uint32_t at = 0; at < b.size[i]; at += 16) {
            trial_begin(&t, &f);
            vfs_memory_zero(f.disk, SEGMENT_1, b.offset[i] + at, b.size[i] - at);
            assert_cut(&f, SEGMENT_1, b.offset[i], true);
            trial_end(&t);
        }
    }
    fixture_teardown(&f);
}

/* The first group was durable before the file had its name; a restart makes durable all that it found. */
static void test_what_header_or_superblock_call_durable_is_no_tear(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    setup_groups(&f, 300);
    find_batches(f.disk, SEGMENT_1, &b);
    trial_begin(&t, &f);
    vfs_memory_zero(f.disk, SEGMENT_1, b.offset[0], FIXTURE_SEGMENT_BYTES - b.offset[0]);
    assert_cut(&f, SEGMENT_1, b.offset[0], true);
    trial_end(&t);

    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_close(&f);
    trial_begin(&t, &f);
    vfs_memory_zero(f.disk, SEGMENT_1, b.offset[b.n - 1] + 100, b.size[b.n - 1] - 100);
    assert_cut(&f, SEGMENT_1, b.offset[b.n - 1], true);
    trial_end(&t);
    fixture_teardown(&f);
}

static void zero_last_batch(struct fixture *f, struct batches *ret)
{
    find_batches(f->disk, SEGMENT_1, ret);
    assert_true(vfs_memory_zero(f->disk, SEGMENT_1, ret->offset[ret->n - 1], ret->size[ret->n - 1]));
}

/* Nothing else tells that the last batch was durable. The numbers of what is given up are given again: of them the next
 * checkpoint tells, the old one does not. */
static void test_what_a_checkpoint_calls_durable_is_no_tear(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    append_groups(&f, 300);
    assert_int_equal(fixture_checkpoint(&f, GROUPS - 1, 100, CHECKPOINT_OWN), 0);
    fixture_close(&f);

    trial_begin(&t, &f);
    zero_last_batch(&f, &b);
    assert_cut(&f, SEGMENT_1, b.offset[b.n - 1], true);
    fixture_promise(&f, 9);
    assert_int_equal(fixture_settle(&f), 0);
    assert_int_equal(fixture_checkpoint(&f, GROUPS, 100, CHECKPOINT_OWN), 0);
    fixture_close(&f);
    zero_last_batch(&f, &b);
    assert_cut(&f, SEGMENT_1, b.offset[b.n - 1], true);
    trial_end(&t);

    trial_begin(&t, &f);
    assert_true(vfs_memory_delete(f.disk, SEGMENT_1));
    assert_int_equal(journal_fixture_open(&f), JOURNAL_REFUSED);
    assert_non_null(strstr(f.error, SEGMENT_1 ": the file is missing"));
    trial_end(&t);
    fixture_teardown(&f);
}

static void test_any_byte_of_a_segments_header_that_rots(void **state)
{
    struct fixture f;
    struct trial t;
    (void)state;

    setup_groups(&f, 100);
    for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at++) {
        trial_begin(&t, &f);
        vfs_memory_flip(f.disk, SEGMENT_1, at, 0x04);
        assert_cut(&f, SEGMENT_1, 0, true);
        trial_end(&t);
    }
    fixture_teardown(&f);
}

/* In a sealed segment nothing is ever torn, not even at its end. */
static void test_a_sealed_segment_has_no_torn_tail(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    fixture_setup(&f, 22);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 30; slot++) {
        fixture_accept(&f, slot, 3000);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_close(&f);
    find_batches(f.disk, SEGMENT_1, &b);
    for (uint32_t at = 0; at < b.size[b.n - 1]; at += 7) {
        uint64_t from = b.offset[b.n - 1] + at;
        trial_begin(&t, &f);
        vfs_memory_zero(f.disk, SEGMENT_1, from, FIXTURE_SEGMENT_BYTES - from);
        if (at == 0)
            assert_cut(&f, SEGMENT_2, 0, true); /* a clean end, but too early for what follows */
        else
            assert_cut(&f, SEGMENT_1, b.offset[b.n - 1], true);
        trial_end(&t);
    }
    fixture_teardown(&f);
}

/* Trap 39. */
static void test_batches_in_the_wrong_place(void **state)
{
    struct fixture f;
    struct batches b, b2;
    struct trial t;
    uint8_t *batch;
    size_t size;
    (void)state;

    fixture_setup(&f, 23);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 40; slot++) {
        fixture_accept(&f, slot, 3000);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_close(&f);
    find_batches(f.disk, SEGMENT_1, &b);
    find_batches(f.disk, SEGMENT_2, &b2);
    assert_int_equal(b.size[3], b.size[7]);

    trial_begin(&t, &f);
    assert_true(vfs_memory_swap(f.disk, SEGMENT_1, b.offset[3], b.offset[7], b.size[3]));
    assert_cut(&f, SEGMENT_1, b.offset[3], true);
    trial_end(&t);

    /* Written twice: at its place, and over another one. */
    trial_begin(&t, &f);
    batch = malloc(b.size[3]);
    memcpy(batch, vfs_memory_bytes(f.disk, SEGMENT_1, &size) + b.offset[3], b.size[3]);
    assert_true(vfs_memory_poke(f.disk, SEGMENT_1, b.offset[7], batch, b.size[3]));
    assert_cut(&f, SEGMENT_1, b.offset[7], true);
    trial_end(&t);

    /* The last batch of the last segment, with one of another segment over it: not torn, whatever it looks like. */
    trial_begin(&t, &f);
    assert_true(vfs_memory_poke(f.disk, SEGMENT_2, b2.offset[b2.n - 1], batch, b.size[3]));
    assert_cut(&f, SEGMENT_2, b2.offset[b2.n - 1], true);
    trial_end(&t);
    free(batch);
    fixture_teardown(&f);
}

static bool ignore(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)r, (void)bytes, (void)size;
    return true;
}

/* Trap 39, while it runs: rot and misplaced batches are not handed out. */
static void test_rot_is_not_read(void **state)
{
    struct fixture f;
    struct batches b;
    (void)state;

    setup_groups(&f, 3000);
    find_batches(f.disk, SEGMENT_1, &b);
    for (int kind = 0; kind < 3; kind++) {
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_commit(&f, GROUPS - 1, NULL, 0);
        if (kind == 0)
            vfs_memory_flip(f.disk, SEGMENT_1, b.offset[2] + 1000, 1);
        else if (kind == 1)
            vfs_memory_swap(f.disk, SEGMENT_1, b.offset[2], b.offset[3], b.size[2]);
        else
            vfs_memory_zero(f.disk, SEGMENT_1, b.offset[2], b.size[2]);
        assert_int_equal(journal_read(f.journal, 2, 2, 1, 1, ignore, NULL), -EBADMSG);
        if (kind == 0)
            vfs_memory_flip(f.disk, SEGMENT_1, b.offset[2] + 1000, 1);
        else if (kind == 1)
            vfs_memory_swap(f.disk, SEGMENT_1, b.offset[2], b.offset[3], b.size[2]);
        fixture_close(&f);
        f.n_committed = 0;
    }
    fixture_teardown(&f);
}

/* One copy of the superblock may rot without harm, and without an older identity coming back. */
static void test_one_rotten_superblock_is_mended(void **state)
{
    static const char *const names[] = {"superblock.0", "superblock.1"};
    struct fixture f;
    struct trial t;
    struct identity *read = calloc(1, sizeof *read);
    (void)state;

    fixture_setup(&f, 24);
    f.identity.status = IDENTITY_STARTING;
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_identity(&f, IDENTITY_VOTER);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_close(&f);
    for (int k = 0; k < 2; k++) {
        for (uint64_t at = 0; at < 200; at++) {
            trial_begin(&t, &f);
            vfs_memory_flip(f.disk, names[k], at, 0x08);
            assert_int_equal(journal_read_identity(vfs_memory_vfs(f.disk), read, f.error), JOURNAL_OK);
            assert_int_equal(read->status, IDENTITY_VOTER);
            assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
            fixture_close(&f);
            vfs_memory_flip(f.disk, names[1 - k], at, 0x08); /* the other one, after the first was mended */
            assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
            trial_end(&t);
        }
    }
    vfs_memory_flip(f.disk, names[0], 30, 1);
    vfs_memory_flip(f.disk, names[1], 30, 1);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_REFUSED);
    assert_non_null(strstr(f.error, "no whole copy"));
    free(read);
    fixture_teardown(&f);
}

/* Random damage: never a crash, never wrong records; what comes back is a beginning. */
static void test_random_damage(void **state)
{
    struct fixture f;
    struct trial t;
    unsigned kept = 0;
    uint64_t n_segments = 0;
    size_t size;
    (void)state;

    fixture_setup(&f, 25);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (int i = 0; i < 40; i++) {
        fixture_work(&f, 2500);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_commit(&f, f.n_slots - 1, NULL, 0);
    fixture_promise(&f, f.ballot.round + 1);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_close(&f);
    for (char name[SEGMENT_NAME_BYTES]; segment_name(n_segments + 1, name), vfs_memory_bytes(f.disk, name, &size);)
        n_segments++;
    for (int i = 0; i < 400; i++) {
        bool late = i % 4 == 0; /* about the last vote */
        uint64_t from = fixture_draw(&f, late ? 4096 : FIXTURE_SEGMENT_BYTES - 4096);
        char name[SEGMENT_NAME_BYTES];
        segment_name(late ? n_segments : 1 + fixture_draw(&f, n_segments), name);
        trial_begin(&t, &f);
        if (i % 2 == 0)
            vfs_memory_zero(f.disk, name, from, 1 + fixture_draw(&f, 4096));
        else
            vfs_memory_flip(f.disk, name, from, (uint8_t)(1 + fixture_draw(&f, 255)));
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        assert_beginning(&f);
        kept += f.replayed_identity.status == IDENTITY_VOTER;
        trial_end(&t);
    }
    assert_true(kept > 100 && kept < 400);
    fixture_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_last_batch_torn_at_any_byte_is_cut),
        cmocka_unit_test(test_any_byte_of_any_batch_that_rots_is_cut),
        cmocka_unit_test(test_rot_of_what_is_known_to_be_chosen_loses_no_vote),
        cmocka_unit_test(test_rot_of_a_vote_that_may_count_is_lost),
        cmocka_unit_test(test_votes_behind_the_damage),
        cmocka_unit_test(test_a_cut_that_is_cut_off_goes_on),
        cmocka_unit_test(test_zeros_in_a_batch_before_the_last_are_no_tear),
        cmocka_unit_test(test_what_header_or_superblock_call_durable_is_no_tear),
        cmocka_unit_test(test_what_a_checkpoint_calls_durable_is_no_tear),
        cmocka_unit_test(test_any_byte_of_a_segments_header_that_rots),
        cmocka_unit_test(test_a_sealed_segment_has_no_torn_tail),
        cmocka_unit_test(test_batches_in_the_wrong_place),
        cmocka_unit_test(test_rot_is_not_read),
        cmocka_unit_test(test_one_rotten_superblock_is_mended),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
