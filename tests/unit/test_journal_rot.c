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
static void setup_groups(struct fixture *f, uint32_t size)
{
    fixture_setup(f, 21);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < GROUPS; slot++) {
        fixture_accept(f, slot, size);
        assert_int_equal(fixture_settle(f), 0);
    }
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

static void assert_refused(struct fixture *f, const char *name, uint64_t offset)
{
    struct vfs_memory *before = vfs_memory_clone(f->disk, 1);
    char place[128];
    size_t size, size_before;
    const uint8_t *bytes, *bytes_before;

    snprintf(place, sizeof place, "%s: damaged at offset %llu", name, (unsigned long long)offset);
    if (journal_fixture_open(f) != JOURNAL_REFUSED)
        fail_msg("opened, although %s", place);
    if (strstr(f->error, place) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->error, place);
    /* Never cut, never mended. */
    bytes = vfs_memory_bytes(f->disk, name, &size);
    bytes_before = vfs_memory_bytes(before, name, &size_before);
    assert_int_equal(size, size_before);
    assert_memory_equal(bytes, bytes_before, size);
    vfs_memory_free(before);
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
static void test_any_byte_of_any_batch_that_rots_is_refused(void **state)
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
            assert_refused(&f, SEGMENT_1, b.offset[i]);
            trial_end(&t);
        }
    }
    fixture_teardown(&f);
}

/* A later batch tells that an earlier one was durable, however torn that one looks. */
static void test_zeros_in_a_batch_before_the_last_are_refused(void **state)
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
            assert_refused(&f, SEGMENT_1, b.offset[i]);
            trial_end(&t);
        }
    }
    fixture_teardown(&f);
}

/* The first group was durable before the file had its name; a restart makes durable all that it found. */
static void test_what_header_or_superblock_call_durable_is_never_cut(void **state)
{
    struct fixture f;
    struct batches b;
    struct trial t;
    (void)state;

    setup_groups(&f, 300);
    find_batches(f.disk, SEGMENT_1, &b);
    trial_begin(&t, &f);
    vfs_memory_zero(f.disk, SEGMENT_1, b.offset[0], FIXTURE_SEGMENT_BYTES - b.offset[0]);
    assert_refused(&f, SEGMENT_1, b.offset[0]);
    trial_end(&t);

    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_close(&f);
    trial_begin(&t, &f);
    vfs_memory_zero(f.disk, SEGMENT_1, b.offset[b.n - 1] + 100, b.size[b.n - 1] - 100);
    assert_refused(&f, SEGMENT_1, b.offset[b.n - 1]);
    trial_end(&t);
    fixture_teardown(&f);
}

static void test_any_byte_of_a_segments_header_that_rots_is_refused(void **state)
{
    struct fixture f;
    struct trial t;
    (void)state;

    setup_groups(&f, 100);
    for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at++) {
        trial_begin(&t, &f);
        vfs_memory_flip(f.disk, SEGMENT_1, at, 0x04);
        assert_refused(&f, SEGMENT_1, 0);
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
            assert_refused(&f, SEGMENT_2, 0); /* a clean end, but too early for what follows */
        else
            assert_refused(&f, SEGMENT_1, b.offset[b.n - 1]);
        trial_end(&t);
    }
    fixture_teardown(&f);
}

/* Trap 39. */
static void test_batches_in_the_wrong_place_are_refused(void **state)
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
    assert_refused(&f, SEGMENT_1, b.offset[3]);
    trial_end(&t);

    /* Written twice: at its place, and over another one. */
    trial_begin(&t, &f);
    batch = malloc(b.size[3]);
    memcpy(batch, vfs_memory_bytes(f.disk, SEGMENT_1, &size) + b.offset[3], b.size[3]);
    assert_true(vfs_memory_poke(f.disk, SEGMENT_1, b.offset[7], batch, b.size[3]));
    assert_refused(&f, SEGMENT_1, b.offset[7]);
    trial_end(&t);

    /* The last batch of the last segment, with one of another segment over it: not torn, whatever it looks like. */
    trial_begin(&t, &f);
    assert_true(vfs_memory_poke(f.disk, SEGMENT_2, b2.offset[b2.n - 1], batch, b.size[3]));
    assert_refused(&f, SEGMENT_2, b2.offset[b2.n - 1]);
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

/* Random damage: never a crash, never wrong records; what opens is a prefix that holds all but the last group. */
static void test_random_damage(void **state)
{
    struct fixture f;
    struct trial t;
    uint64_t opened = 0;
    (void)state;

    fixture_setup(&f, 25);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (int i = 0; i < 40; i++) {
        fixture_work(&f, 2500);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_close(&f);
    for (int i = 0; i < 400; i++) {
        uint64_t from = fixture_draw(&f, FIXTURE_SEGMENT_BYTES - 4096), size = 1 + fixture_draw(&f, 4096);
        const char *name = fixture_draw(&f, 2) == 0 ? SEGMENT_1 : SEGMENT_2;
        trial_begin(&t, &f);
        if (i % 2 == 0)
            vfs_memory_zero(f.disk, name, from, size);
        else
            vfs_memory_flip(f.disk, name, from, (uint8_t)(1 + fixture_draw(&f, 255)));
        if (journal_fixture_open(&f) == JOURNAL_OK) {
            opened++;
            assert_true(told_begins(&f.replayed, &f.appended, f.replayed.n));
        }
        trial_end(&t);
    }
    assert_true(opened < 400);
    fixture_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_last_batch_torn_at_any_byte_is_cut),
        cmocka_unit_test(test_any_byte_of_any_batch_that_rots_is_refused),
        cmocka_unit_test(test_zeros_in_a_batch_before_the_last_are_refused),
        cmocka_unit_test(test_what_header_or_superblock_call_durable_is_never_cut),
        cmocka_unit_test(test_any_byte_of_a_segments_header_that_rots_is_refused),
        cmocka_unit_test(test_a_sealed_segment_has_no_torn_tail),
        cmocka_unit_test(test_batches_in_the_wrong_place_are_refused),
        cmocka_unit_test(test_rot_is_not_read),
        cmocka_unit_test(test_one_rotten_superblock_is_mended),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
