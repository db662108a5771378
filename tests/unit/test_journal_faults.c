/* A disk that cannot be read, and files that are whole but wrong: each is told apart, and nothing is changed. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/format.h"
#include "journal/superblock.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/unit/journal_fixture.h"

#define SEGMENT_1 "segment-0000000000000001"
#define SEGMENT_2 "segment-0000000000000002"

/* Some segments, closed, with a tail that was torn. */
static void setup(struct fixture *f)
{
    fixture_setup(f, 31);
    assert_int_equal(journal_fixture_open(f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 40; slot++) {
        fixture_accept(f, slot, 5000);
        assert_int_equal(fixture_settle(f), 0);
    }
    fixture_close(f);
}

static void assert_refused(struct fixture *f, const char *why)
{
    assert_int_equal(journal_fixture_open(f), JOURNAL_REFUSED);
    if (strstr(f->error, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->error, why);
}

/* --- errors of the system --- */

/* At every operation of a start, alone and with everything after it. A restart of the machine finds all of it. */
static void an_error_at_any_operation_of_a_start_is_told(void **state)
{
    static const unsigned kinds[] = {VFS_MEMORY_READ, VFS_MEMORY_OPEN, VFS_MEMORY_READ | VFS_MEMORY_CHANGES};
    (void)state;
    for (size_t k = 0; k < 2 * sizeof kinds / sizeof kinds[0]; k++) {
        struct fixture f;
        setup(&f);
        for (uint64_t n = 1;; n++) {
            vfs_memory_fail_at(f.disk, kinds[k / 2], n, -EIO, k % 2 == 1);
            enum journal_result r = journal_fixture_open(&f);
            bool failed = vfs_memory_has_failed(f.disk);
            fixture_close(&f);
            vfs_memory_heal(f.disk);
            if (!failed) {
                assert_int_equal(r, JOURNAL_OK);
                assert_true(n > 5);
                break;
            }
            assert_int_equal(r, JOURNAL_IO);
            assert_non_null(strstr(f.error, strerror(EIO)));
            vfs_memory_power_cut(f.disk);
        }
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        assert_int_equal(f.replayed.n, f.appended.n);
        fixture_teardown(&f);
    }
}

static bool take(void *user, struct record *r, const uint8_t *value, uint32_t size)
{
    (void)user, (void)r, (void)value, (void)size;
    return true;
}

static int read_all(struct fixture *f)
{
    return journal_read(f->journal, 0, f->n_slots, SIZE_MAX, SIZE_MAX, take, NULL);
}

static void an_error_while_reading_is_told_and_the_next_try_is_a_new_one(void **state)
{
    static const unsigned kinds[] = {VFS_MEMORY_READ, VFS_MEMORY_OPEN};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct fixture f;
        setup(&f);
        assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
        fixture_commit(&f, f.n_slots - 1, NULL, 0);
        assert_int_equal(fixture_settle(&f), 0);
        vfs_memory_fail_at(f.disk, kinds[k], 1, -EIO, false);
        assert_int_equal(read_all(&f), -EIO);
        assert_int_equal(read_all(&f), (int)f.n_slots);
        fixture_teardown(&f);
    }
}

static void a_file_that_lost_its_end_while_it_runs_is_told(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_commit(&f, f.n_slots - 1, NULL, 0);
    assert_int_equal(fixture_settle(&f), 0);
    assert_true(vfs_memory_truncate(f.disk, SEGMENT_1, SEGMENT_HEADER_BYTES));
    assert_int_equal(read_all(&f), -EBADMSG);
    fixture_teardown(&f);
}

/* --- files that are whole and wrong --- */

static void a_segment_that_is_cut_short_is_damaged(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    assert_true(vfs_memory_truncate(f.disk, SEGMENT_1, SEGMENT_HEADER_BYTES - 1));
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    assert_non_null(strstr(f.error, "the file is cut short"));
    assert_int_equal(f.replayed_identity.status, IDENTITY_QUARANTINED);
    fixture_teardown(&f);
}

/* Changes the first batch of a segment, and seals it anew, so that its checksums are right. */
static void change_batch(struct fixture *f, const char *name, size_t at, uint32_t value, uint32_t more_records)
{
    struct batch_header h;
    size_t size;
    const uint8_t *file = vfs_memory_bytes(f->disk, name, &size);
    assert_true(batch_header_decode(file + SEGMENT_HEADER_BYTES, &h));
    uint8_t *batch = malloc(h.size);
    assert_non_null(batch);
    memcpy(batch, file + SEGMENT_HEADER_BYTES, h.size);
    if (at > 0)
        put_u32(batch + BATCH_HEADER_BYTES + at, value);
    h.n_records += more_records;
    batch_seal(batch, &h);
    assert_true(vfs_memory_poke(f->disk, name, SEGMENT_HEADER_BYTES, batch, h.size));
    free(batch);
}

static void a_record_of_a_later_release_is_refused(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    change_batch(&f, SEGMENT_1, 4, 99, 0);
    assert_refused(&f, "a record that this release does not know");
    fixture_teardown(&f);
}

static void a_batch_with_fewer_records_than_it_tells_is_refused(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    change_batch(&f, SEGMENT_1, 0, 0, 1);
    assert_refused(&f, "as many records as it tells");
    fixture_teardown(&f);
}

static void a_record_that_is_none_is_not_read(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_commit(&f, f.n_slots - 1, NULL, 0);
    assert_int_equal(fixture_settle(&f), 0);
    change_batch(&f, SEGMENT_1, 4, 99, 0);
    assert_int_equal(read_all(&f), -EBADMSG);
    fixture_teardown(&f);
}

static void a_superblock_under_the_others_name_is_refused(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    fixture_close(&f);
    assert_true(vfs_memory_copy(f.disk, "superblock.0", f.disk, "superblock.1"));
    assert_true(vfs_memory_delete(f.disk, "superblock.1"));
    assert_refused(&f, "holds the bytes of the other copy");
    fixture_teardown(&f);
}

/* Both checksums are right, the status is none that there is. */
static void a_superblock_with_an_unknown_status_is_no_whole_copy(void **state)
{
    static const char *const names[] = {"superblock.0", "superblock.1"};
    enum { CRC_AT = 16, COVERED_AT = 20, STATUS_AT = 20 };
    struct fixture f;
    (void)state;
    setup(&f);
    for (int i = 0; i < 2; i++) {
        size_t size;
        uint8_t copy[SUPERBLOCK_BYTES];
        const uint8_t *file = vfs_memory_bytes(f.disk, names[i], &size);
        assert_int_equal(size, SUPERBLOCK_BYTES);
        memcpy(copy, file, sizeof copy);
        copy[STATUS_AT] = 200;
        put_u32(copy + CRC_AT, crc32c(0, copy + COVERED_AT, sizeof copy - COVERED_AT));
        assert_true(vfs_memory_poke(f.disk, names[i], 0, copy, sizeof copy));
    }
    assert_refused(&f, "no whole copy");
    fixture_teardown(&f);
}

/* --- sizes --- */

static void segments_have_at_least_and_at_most_so_many_bytes(void **state)
{
    static const uint64_t asked[] = {1, UINT64_MAX};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct fixture f;
        fixture_setup(&f, 32);
        f.segment_bytes = asked[k];
        vfs_memory_set_budget(f.disk, 4 * JOURNAL_SEGMENT_BYTES_MIN);
        assert_int_equal(journal_fixture_open(&f), k == 0 ? JOURNAL_OK : JOURNAL_NO_SPACE);
        fixture_teardown(&f);
    }
}

/* A reserve that was made for larger segments makes room for one of the right size. */
static void a_larger_reserve_is_replaced(void **state)
{
    struct fixture f;
    size_t size;
    (void)state;
    setup(&f);
    f.segment_bytes = 2 * (uint64_t)FIXTURE_SEGMENT_BYTES;
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    while (vfs_memory_bytes(f.disk, "reserve", &size) == NULL || size <= FIXTURE_SEGMENT_BYTES) {
        fixture_accept(&f, f.n_slots, 100);
        assert_int_equal(fixture_settle(&f), 0);
    }
    fixture_close(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    assert_int_equal(f.replayed.n, f.appended.n);
    fixture_teardown(&f);
}

static void what_no_batch_can_hold_fails_for_good(void **state)
{
    struct fixture f;
    struct value *v = calloc(1, sizeof *v);
    (void)state;
    assert_non_null(v);
    v->size = (UINT32_C(1) << 30) + 1; /* looked at before its bytes are */
    fixture_setup(&f, 33);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    journal_append(f.journal, &(struct record){.type = RECORD_CHOSEN, .slot = 1, .value = v}, 1, 1);
    assert_int_equal(journal_write(f.journal), -EFBIG);
    fixture_teardown(&f);
    free(v);
}

/* What one large group took is given back. */
static void a_large_group_is_written_and_forgotten(void **state)
{
    struct fixture f;
    (void)state;
    fixture_setup(&f, 34);
    f.segment_bytes = 8 << 20;
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    for (slot_t slot = 0; slot < 600; slot++)
        fixture_accept(&f, slot, 10000);
    assert_int_equal(fixture_settle(&f), 0);
    fixture_close(&f);
    assert_int_equal(journal_fixture_open(&f), JOURNAL_OK);
    assert_int_equal(f.replayed.n, f.appended.n);
    fixture_teardown(&f);
}

/* --- the real file system --- */

static const struct vfs *open_real(struct vfs **ret, char *dir)
{
    assert_non_null(mkdtemp(dir));
    assert_int_equal(vfs_posix_open(dir, ret), 0);
    return *ret;
}

static void close_real(struct vfs *v, const char *dir)
{
    v->remove(v->context, "lock");
    vfs_posix_close(v);
    rmdir(dir);
}

static void a_directory_that_cannot_be_used_is_told(void **state)
{
    char dir[] = "/tmp/mpaxos-test.XXXXXX", path[64];
    struct vfs *v = NULL, *other = NULL;
    struct vfs_file *f;
    (void)state;
    open_real(&v, dir);
    assert_int_equal(v->file_open(v->context, "file", VFS_CREATE, &f), 0);
    v->file_close(v->context, f);
    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(vfs_posix_open(path, &other), -ENOTDIR);
    snprintf(path, sizeof path, "%s/none/below", dir);
    assert_int_equal(vfs_posix_open(path, &other), -ENOENT);
    assert_int_equal(v->remove(v->context, "file"), 0);
    close_real(v, dir);
}

static void no_descriptor_left_is_told(void **state)
{
    /* For the directory, for the one above it (closed again), for the lock; then another one holds that. */
    static const int expected[] = {-EMFILE, -EMFILE, -EWOULDBLOCK};
    char dir[] = "/tmp/mpaxos-test.XXXXXX";
    struct rlimit before;
    struct vfs *v = NULL, *other = NULL;
    (void)state;
    open_real(&v, dir);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    for (rlim_t more = 0; more < sizeof expected / sizeof expected[0]; more++) {
        struct rlimit few = {.rlim_cur = (rlim_t)next + more, .rlim_max = before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        int opened = vfs_posix_open(dir, &other), listed = more == 0 ? v->list(v->context, NULL, NULL) : -EMFILE;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(opened, expected[more]);
        assert_int_equal(listed, -EMFILE);
    }
    close_real(v, dir);
}

static void a_file_that_may_not_grow_is_told(void **state)
{
    char dir[] = "/tmp/mpaxos-test.XXXXXX", byte;
    struct rlimit before, none;
    struct vfs *v = NULL;
    struct vfs_file *f;
    (void)state;
    open_real(&v, dir);
    assert_int_equal(v->file_open(v->context, "file", VFS_CREATE, &f), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int written = v->file_write(v->context, f, 0, "x", 1), allocated = v->file_allocate(v->context, f, 0, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(written, -EFBIG);
    assert_int_equal(allocated, -EFBIG);
    assert_int_equal(v->file_read(v->context, f, UINT64_MAX, &byte, 1), -EINVAL);
    v->file_close(v->context, f);
    assert_int_equal(v->remove(v->context, "file"), 0);
    close_real(v, dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_at_any_operation_of_a_start_is_told),
        cmocka_unit_test(an_error_while_reading_is_told_and_the_next_try_is_a_new_one),
        cmocka_unit_test(a_file_that_lost_its_end_while_it_runs_is_told),
        cmocka_unit_test(a_segment_that_is_cut_short_is_damaged),
        cmocka_unit_test(a_record_of_a_later_release_is_refused),
        cmocka_unit_test(a_batch_with_fewer_records_than_it_tells_is_refused),
        cmocka_unit_test(a_record_that_is_none_is_not_read),
        cmocka_unit_test(a_superblock_under_the_others_name_is_refused),
        cmocka_unit_test(a_superblock_with_an_unknown_status_is_no_whole_copy),
        cmocka_unit_test(segments_have_at_least_and_at_most_so_many_bytes),
        cmocka_unit_test(a_larger_reserve_is_replaced),
        cmocka_unit_test(what_no_batch_can_hold_fails_for_good),
        cmocka_unit_test(a_large_group_is_written_and_forgotten),
        cmocka_unit_test(a_directory_that_cannot_be_used_is_told),
        cmocka_unit_test(no_descriptor_left_is_told),
        cmocka_unit_test(a_file_that_may_not_grow_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
