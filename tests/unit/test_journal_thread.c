/* The journal on a real directory, written by its own thread. Meant for a run under ThreadSanitizer too. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/journal.h"
#include "tests/unit/vfs_memory.h"

enum { SLOTS = 3000, IN_FLIGHT = 64, VALUE_BYTES = 400, CHECKPOINT_BYTES = 700000 };

struct host {
    char dir[64];
    struct vfs *vfs;
    struct journal *journal;
    struct identity identity;
    char error[JOURNAL_ERROR_MAX + 1];
    unsigned n_written; /* atomic */
    int written_error;  /* atomic */
    uint64_t n_replayed, n_read, n_checkpoint_bytes;
};

static int remove_name(void *user, const char *name)
{
    struct host *h = user;
    h->vfs->remove(h->vfs->context, name);
    return 0;
}

static int setup(void **state)
{
    struct host *h = calloc(1, sizeof *h);
    const char *tmp = getenv("TMPDIR");

    snprintf(h->dir, sizeof h->dir, "%s/mpaxos-journal-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(h->dir));
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), 0);
    h->identity = (struct identity){.status = IDENTITY_VOTER, .id = 1, .life = 42};
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct host *h = *state;

    journal_close(h->journal);
    h->vfs->list(h->vfs->context, remove_name, h);
    vfs_posix_close(h->vfs);
    rmdir(h->dir);
    free(h);
    return 0;
}

static void written(void *user, int error)
{
    struct host *h = user;

    __atomic_add_fetch(&h->n_written, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&h->written_error, error, __ATOMIC_RELAXED);
}

static bool check_value(struct record *r, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (bytes[i] != (uint8_t)(r->slot + i))
            return false;
    }
    return size == VALUE_BYTES;
}

static bool replay(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct host *h = user;

    if (r->type == RECORD_ACCEPT) {
        if (h->n_replayed == 0)
            h->n_replayed = r->slot;
        assert_int_equal(r->slot, h->n_replayed++);
        assert_true(check_value(r, bytes, size));
    }
    return true;
}

static bool take_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct host *h = user;

    (void)slot, (void)bytes;
    h->n_checkpoint_bytes += size;
    return true;
}

static bool read_slot(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct host *h = user;

    h->n_read++;
    return check_value(r, bytes, size);
}

static void open_on(struct host *h, const struct vfs *vfs)
{
    struct journal_options o = {.vfs = vfs, .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN, .written = written, .user = h};

    h->n_replayed = 0;
    h->n_checkpoint_bytes = 0;
    if (journal_open(&o, &h->identity,
                     &(struct journal_replay){.checkpoint = take_checkpoint, .each = replay, .user = h}, &h->journal,
                     h->error) != JOURNAL_OK)
        fail_msg("%s", h->error);
}

static struct value *value_of(slot_t slot)
{
    static uint8_t block[sizeof(struct value) + VALUE_BYTES] __attribute__((aligned(16)));
    struct value *v = (struct value *)block;

    v->size = VALUE_BYTES;
    for (uint32_t i = 0; i < VALUE_BYTES; i++)
        v->bytes[i] = (uint8_t)(slot + i);
    return v;
}

static void append(struct host *h, slot_t slot)
{
    struct record records[2] = {
        {.type = RECORD_ACCEPT, .slot = slot, .ballot = {.round = 1, .gen = 1, .id = 1}, .value = value_of(slot)},
        {.type = RECORD_COMMIT, .slot = slot}};

    journal_append(h->journal, records, 2, 2 * slot + 2);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* Appends, reads and asks while the thread writes. */
static void test_append_and_read_while_the_thread_writes(void **state)
{
    struct host *h = *state;
    struct journal_thread *t;
    struct journal_stats stats;

    open_on(h, h->vfs);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    for (slot_t slot = 0; slot < SLOTS; slot++) {
        slot_t from = slot > 40 ? slot - (slot * 7919) % 40 : 0;
        append(h, slot);
        journal_thread_kick(t);
        assert_int_equal(journal_read(h->journal, from, slot, 3, SIZE_MAX, read_slot, h),
                         slot - from + 1 < 3 ? slot - from + 1 : 3);
        while (2 * slot + 2 - journal_durable_seq(h->journal) > 2 * IN_FLIGHT || !journal_has_space(h->journal))
            nap();
        journal_thread_busy_since_usec(t);
    }
    journal_thread_stop(t); /* writes the rest */
    assert_int_equal(journal_durable_seq(h->journal), 2 * SLOTS);
    assert_int_equal(__atomic_load_n(&h->written_error, __ATOMIC_RELAXED), 0);
    assert_true(__atomic_load_n(&h->n_written, __ATOMIC_RELAXED) > 0);
    h->n_read = 0;
    assert_int_equal(journal_read(h->journal, 0, SLOTS, SIZE_MAX, SIZE_MAX, read_slot, h), SLOTS);
    journal_stats(h->journal, &stats);
    assert_true(stats.segments > 10);
    assert_true(stats.free_bytes > 0);
    assert_true(stats.sync_max_usec > 0);
    journal_close(h->journal);
    open_on(h, h->vfs);
    assert_int_equal(h->n_replayed, SLOTS);
}

/* As far as it goes now: the host never waits for it. */
static void go_on_with_checkpoint(struct host *h, slot_t applied, uint64_t *left)
{
    static const uint8_t bytes[100000] = {7};
    struct journal_checkpoint newest;

    if (journal_checkpoint_state(h->journal) == CHECKPOINT_IDLE) {
        if (journal_checkpoint_newest(h->journal, &newest)) {
            uint8_t byte = 0;
            assert_int_equal(journal_checkpoint_read(h->journal, newest.slot, newest.size - 1, &byte, 1), 1);
            assert_int_equal(byte, 0);
            journal_trim(h->journal, newest.slot > 300 ? newest.slot - 300 : 0);
        }
        if (journal_checkpoint_begin(h->journal, applied, CHECKPOINT_OWN) == 0)
            *left = CHECKPOINT_BYTES;
    }
    if (*left > 0) {
        size_t size = *left < sizeof bytes ? (size_t)*left : sizeof bytes;
        int64_t taken = journal_checkpoint_append(h->journal, bytes, size);
        assert_true(taken >= 0);
        *left -= (uint64_t)taken;
        if (*left == 0)
            journal_checkpoint_finish(h->journal);
    }
}

/* A third thread, which reads what is kept from its beginning on, again and again. */
struct beside {
    struct journal *journal;
    struct journal_reader *reader;
    pthread_t thread;
    bool is_over; /* atomic */
    uint64_t n_read;
    slot_t next;
};

static bool read_next(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct beside *b = user;

    if (r->slot != b->next++)
        return false;
    b->n_read++;
    return check_value(r, bytes, size);
}

static void *read_beside(void *user)
{
    struct beside *b = user;

    while (!__atomic_load_n(&b->is_over, __ATOMIC_RELAXED)) {
        slot_t from = b->next = journal_first_kept(b->journal);
        int n = 1;
        while (n > 0) {
            slot_t before = b->next;
            n = journal_reader_read(b->reader, before, UINT64_MAX, 100, SIZE_MAX, read_next, b);
            if (n < 0 && (n != -ERANGE || journal_first_kept(b->journal) <= from))
                return "an error";
            if (n > 0 && b->next != before + (slot_t)n)
                return "a value that is none, or of another slot";
        }
    }
    return NULL;
}

static void begin_beside(struct beside *b, struct journal *j)
{
    *b = (struct beside){.journal = j, .reader = journal_reader_new(j)};
    assert_non_null(b->reader);
    assert_int_equal(pthread_create(&b->thread, NULL, read_beside, b), 0);
}

static void end_beside(struct beside *b)
{
    void *wrong;

    __atomic_store_n(&b->is_over, true, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(b->thread, &wrong), 0);
    journal_reader_free(b->reader);
    assert_null(wrong);
    assert_true(b->n_read > SLOTS);
}

/* Checkpoints, footers and trims, while it appends, reads old and new slots, and serves the checkpoint. */
static void test_history_goes_while_the_thread_writes(void **state)
{
    struct host *h = *state;
    struct journal_thread *t;
    struct journal_checkpoint newest;
    struct journal_stats stats;
    struct beside beside;
    uint64_t left = 0;
    slot_t kept;

    open_on(h, h->vfs);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    begin_beside(&beside, h->journal);
    for (slot_t slot = 0; slot < SLOTS; slot++) {
        slot_t from = journal_first_kept(h->journal);
        int n;
        append(h, slot);
        go_on_with_checkpoint(h, slot, &left);
        journal_thread_kick(t);
        n = journal_read(h->journal, from, slot, 3, SIZE_MAX, read_slot, h);
        if (n < 0) /* trimmed under its hands */
            assert_true(n == -ERANGE && journal_first_kept(h->journal) > from);
        while (2 * slot + 2 - journal_durable_seq(h->journal) > 2 * IN_FLIGHT || !journal_has_space(h->journal))
            nap();
    }
    while (!journal_checkpoint_newest(h->journal, &newest) || newest.slot < SLOTS - 1) {
        go_on_with_checkpoint(h, SLOTS - 1, &left);
        journal_thread_kick(t);
        nap();
    }
    go_on_with_checkpoint(h, SLOTS - 1, &left);
    end_beside(&beside);
    journal_thread_stop(t);
    while (journal_is_pending(h->journal))
        assert_int_equal(journal_write(h->journal), 0);
    kept = journal_first_kept(h->journal);
    journal_stats(h->journal, &stats);
    assert_true(kept > 0 && stats.segments_trimmed > 5);
    assert_int_equal(journal_read(h->journal, kept, SLOTS, SIZE_MAX, SIZE_MAX, read_slot, h), SLOTS - kept);
    journal_close(h->journal);
    open_on(h, h->vfs);
    assert_true(h->n_checkpoint_bytes == CHECKPOINT_BYTES);
    assert_int_equal(journal_first_kept(h->journal), kept);
    assert_int_equal(journal_read(h->journal, kept, SLOTS, SIZE_MAX, SIZE_MAX, read_slot, h), SLOTS - kept);
}

static void append_and_wait(struct host *h, struct journal_thread *t, slot_t slot)
{
    append(h, slot);
    journal_thread_kick(t);
    while (2 * slot + 2 - journal_durable_seq(h->journal) > 2 * IN_FLIGHT || !journal_has_space(h->journal))
        nap();
}

static void write_checkpoint(struct host *h, struct journal_thread *t, slot_t slot)
{
    struct journal_checkpoint newest;

    assert_int_equal(journal_checkpoint_begin(h->journal, slot, CHECKPOINT_OWN), 0);
    assert_int_equal(journal_checkpoint_append(h->journal, "state", 5), 5);
    journal_checkpoint_finish(h->journal);
    journal_thread_kick(t);
    while (!journal_checkpoint_newest(h->journal, &newest))
        nap();
}

static void damage_first_segment(const struct host *h)
{
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/segment-0000000000000001", h->dir);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "rot", 3, JOURNAL_SEGMENT_BYTES_MIN / 2), 3);
    close(fd);
}

/* A segment is looked through, and written anew, while it appends, reads and scrubs. */
static void test_mending_goes_while_the_thread_writes(void **state)
{
    struct host *h = *state;
    struct journal_thread *t;
    struct journal_stats stats = {0};
    struct journal_rot rot[JOURNAL_ROT_MAX];
    slot_t slot, first, last;

    open_on(h, h->vfs);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    for (slot = 0; slot < SLOTS; slot++)
        append_and_wait(h, t, slot);
    write_checkpoint(h, t, SLOTS - 1);
    damage_first_segment(h);
    for (; slot < 10 * SLOTS && (stats.segments_mended == 0 || journal_rot(h->journal, rot) > 0); slot++) {
        append_and_wait(h, t, slot);
        journal_scrub(h->journal);
        journal_read(h->journal, slot % SLOTS, slot, 3, SIZE_MAX, read_slot, h);
        journal_rot_work(h->journal);
        if (journal_mend_slots(h->journal, &first, &last))
            assert_int_equal(journal_mend_add(h->journal, first, &(struct note){.slot = first}, value_of(first)), 0);
        journal_thread_kick(t);
        journal_stats(h->journal, &stats);
    }
    assert_int_equal(stats.segments_mended, 1);
    journal_thread_stop(t);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(journal_read(h->journal, 0, slot, SIZE_MAX, SIZE_MAX, read_slot, h), slot);
        journal_close(h->journal);
        open_on(h, h->vfs);
    }
}

/* Trap 40: a full disk is tried again about once a second, and work goes on without a restart. */
static void test_the_thread_finds_space_again(void **state)
{
    struct host *h = *state;
    struct vfs_memory *disk = vfs_memory_new(1);
    struct journal_thread *t;
    int naps = 0;

    open_on(h, vfs_memory_vfs(disk));
    vfs_memory_set_budget(disk, vfs_memory_used(disk));
    for (slot_t slot = 0; journal_has_space(h->journal); slot++) {
        append(h, slot);
        assert_int_equal(journal_write(h->journal), 0);
    }
    vfs_memory_set_budget(disk, UINT64_MAX);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    while (!journal_has_space(h->journal) && naps++ < 50000)
        nap();
    assert_true(journal_has_space(h->journal));
    journal_thread_stop(t);
    journal_close(h->journal);
    h->journal = NULL;
    vfs_memory_free(disk);
}

/* Trap 37, with the thread: it ends, and says so once. */
static void test_the_thread_ends_with_the_first_failure(void **state)
{
    struct host *h = *state;
    struct vfs_memory *disk = vfs_memory_new(1);
    struct journal_thread *t;

    open_on(h, vfs_memory_vfs(disk));
    vfs_memory_fail_at(disk, VFS_MEMORY_SYNC, 1, -EIO, false);
    append(h, 0);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    journal_thread_kick(t);
    for (int i = 0; i < 50000 && __atomic_load_n(&h->n_written, __ATOMIC_RELAXED) == 0; i++)
        nap();
    append(h, 1);
    journal_thread_kick(t);
    journal_thread_stop(t);
    assert_int_equal(h->n_written, 1);
    assert_int_equal(h->written_error, -EIO);
    assert_int_equal(journal_durable_seq(h->journal), 0);
    journal_close(h->journal);
    h->journal = NULL;
    vfs_memory_free(disk);
}

/* A disk that hangs, in the write too, as it does by O_DIRECT, until that was seen. */
static const struct vfs *below;
static bool is_hanging, is_seen; /* atomic */

static void hang(void)
{
    __atomic_store_n(&is_hanging, true, __ATOMIC_RELAXED);
    for (int naps = 0; naps < 50000 && !__atomic_load_n(&is_seen, __ATOMIC_RELAXED); naps++)
        nap();
}

static int hang_in_append(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size)
{
    hang();
    return below->file_append(context, f, offset, data, size);
}

static int hang_in_rename_of_checkpoint(void *context, const char *from, const char *to)
{
    if (strcmp(to, "checkpoint") == 0)
        hang();
    return below->rename(context, from, to);
}

static void see_it_hang(struct journal_thread *t)
{
    for (int naps = 0; naps < 20000 && !__atomic_load_n(&is_hanging, __ATOMIC_RELAXED); naps++)
        nap();
    assert_true(__atomic_load_n(&is_hanging, __ATOMIC_RELAXED));
    assert_true(journal_thread_busy_since_usec(t) > 0);
    __atomic_store_n(&is_seen, true, __ATOMIC_RELAXED);
}

/* In the append of a record, or in the chore of a checkpoint. */
static void hang_and_see(struct host *h, bool with_checkpoint)
{
    struct vfs_memory *disk = vfs_memory_new(1);
    struct vfs hanging = *vfs_memory_vfs(disk);
    struct journal_thread *t;
    struct journal_checkpoint newest;

    below = vfs_memory_vfs(disk);
    if (with_checkpoint)
        hanging.rename = hang_in_rename_of_checkpoint;
    else
        hanging.file_append = hang_in_append;
    is_hanging = is_seen = false;
    open_on(h, &hanging);
    append(h, 0);
    assert_int_equal(journal_thread_start(h->journal, &t), 0);
    if (with_checkpoint) {
        assert_int_equal(journal_checkpoint_begin(h->journal, 0, CHECKPOINT_OWN), 0);
        assert_int_equal(journal_checkpoint_append(h->journal, "state", 5), 5);
        journal_checkpoint_finish(h->journal);
    }
    journal_thread_kick(t);
    see_it_hang(t);
    journal_thread_stop(t);
    assert_int_equal(journal_durable_seq(h->journal), 2);
    assert_int_equal(journal_checkpoint_newest(h->journal, &newest), with_checkpoint);
    journal_close(h->journal);
    h->journal = NULL;
    vfs_memory_free(disk);
}

static void test_what_hangs_is_seen(void **state)
{
    hang_and_see(*state, false);
}

static void test_what_can_wait_and_hangs_is_seen(void **state)
{
    hang_and_see(*state, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_append_and_read_while_the_thread_writes), TEST(test_the_thread_finds_space_again),
        TEST(test_history_goes_while_the_thread_writes),    TEST(test_mending_goes_while_the_thread_writes),
        TEST(test_the_thread_ends_with_the_first_failure),  TEST(test_what_hangs_is_seen),
        TEST(test_what_can_wait_and_hangs_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
