/* The chat log file and others who touch it: rotated, moved, truncated, edited; by crashes in between, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/chatlog_fixture.h"

/* --- rotation --- */

static void test_renamed_away(void **state)
{
    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, 20);
    fixture_expect_file(fixture.rotated_path, LOG_FORMAT_FULL, 1, 9);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 10, 20);
    /* logrotate's `create`: an empty file is there already */
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_write_file(fixture.log_path, "", 0);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.rotated_path, LOG_FORMAT_FULL, 10, 20);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 21, FIXTURE_SLOTS);
}

static void test_removed_and_truncated(void **state)
{
    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    assert_int_equal(unlink(fixture.log_path), 0); /* its inode number may come back */
    fixture_flush_ok(LOG_FORMAT_FULL, 20);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 10, 20);
    assert_int_equal(truncate(fixture.log_path, 0), 0); /* copytruncate */
    fixture_flush_ok(LOG_FORMAT_FULL, 30);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 21, 30);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 21, FIXTURE_SLOTS);
}

/* Truncated, then cut off, when the file is shorter or longer again than it was at the last mark. */
static void test_cut_off_after_truncation(void **state)
{
    static char bytes[FIXTURE_FILE_MAX];
    unsigned longer = 0;

    for (size_t limit = 250; limit < 1000; limit += 25) {
        fixture_empty(state);
        fixture_flush_ok(LOG_FORMAT_FULL, 9);
        size_t before = fixture_read_file(fixture.log_path, bytes);
        assert_int_equal(truncate(fixture.log_path, 0), 0);
        assert_true(fixture_crash_at(limit, FIXTURE_SLOTS));
        longer += fixture_read_file(fixture.log_path, bytes) > before;
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 10, FIXTURE_SLOTS);
    }
    assert_in_range(longer, 5, 25);
}

/* Cut off at every byte, then rotated away before the next flush, which may come in slices. */
static void test_cut_off_then_renamed_away(void **state)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);

    (void)state;
    for (size_t cut = before.log_size; cut <= after.log_size; cut++) {
        static char bytes[FIXTURE_FILE_MAX];
        fixture_write_file(fixture.log_path, after.log, cut);
        fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
        assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
        if (cut % 2)
            fixture_write_file(fixture.log_path, "", 0);
        for (slot_t upto = 10; cut % 5 < 3 && upto <= FIXTURE_SLOTS; upto += 5)
            fixture_flush_ok(LOG_FORMAT_FULL, upto);
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        /* together they are the log; the first ends with a whole line, at or behind the cut */
        size_t size = fixture_read_file(fixture.rotated_path, bytes);
        struct line_buffer all = fixture_lines(LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
        assert_true(size >= cut && size <= after.log_size && bytes[size - 1] == '\n');
        size += fixture_read_file(fixture.log_path, bytes + size);
        assert_int_equal(size, all.size);
        assert_memory_equal(bytes, all.bytes, size);
        free(all.bytes);
        unlink(fixture.log_path);
        assert_int_equal(rename(fixture.rotated_path, fixture.log_path), 0); /* the same inode again */
    }
    fixture_drop(&before);
    fixture_drop(&after);
}

/* As if a flush of the slots behind 7 had been cut off at a byte, in the place of some of which NUL may stand. */
static void cut_off(enum log_format format, size_t n_lines, size_t n_nul)
{
    static char torn[FIXTURE_FILE_MAX];
    struct line_buffer lines = fixture_lines(format, 1, 23);

    fixture_flush_ok(format, 7);
    memset(torn, 0, n_lines + n_nul);
    memcpy(torn, lines.bytes, n_lines);
    fixture_write_file(fixture.log_path, torn, n_lines + n_nul);
    free(lines.bytes);
}

/* By a power cut, which left zeros behind the last line's bytes. */
static void test_zeros_in_a_rotated_file(void **state)
{
    struct line_buffer lines = fixture_lines(LOG_FORMAT_FULL, 1, 23);

    (void)state;
    cut_off(LOG_FORMAT_FULL, lines.size - 5, 40000);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.rotated_path, LOG_FORMAT_FULL, 1, 23);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 24, FIXTURE_SLOTS);
    free(lines.bytes);
}

static void test_cut_off_file_waits_for_the_replica(void **state)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);
    slot_t flushed;

    (void)state;
    fixture_write_file(fixture.log_path, after.log, after.log_size - 1);
    fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture.history.chosen = 12;
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 30, &flushed, NULL), -EAGAIN);
    fixture_expect_error(
        "%s holds more than this replica knows as chosen again after its restart; flush again once it has caught up",
        fixture.rotated_path);
    assert_int_equal(access(fixture.log_path, F_OK), -1);
    fixture.history.chosen = FIXTURE_SLOTS;
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.rotated_path, LOG_FORMAT_FULL, 1, 23);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 24, FIXTURE_SLOTS);
    fixture_drop(&before);
    fixture_drop(&after);
}

static void test_moved_to_another_disk(void **state)
{
    static char bytes[FIXTURE_FILE_MAX];

    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    size_t size = fixture_read_file(fixture.log_path, bytes);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_write_file(fixture.log_path, bytes, size);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
}

static void test_another_format(void **state)
{
    struct snapshot before, after;
    static char bytes[FIXTURE_FILE_MAX];

    (void)state;
    before = fixture_take(7);
    after = fixture_take(23);
    fixture_write_file(fixture.log_path, after.log, after.log_size - 3);
    fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
    fixture_flush_ok(LOG_FORMAT_JSON, FIXTURE_SLOTS); /* the line that was cut off is completed as it was begun */
    struct line_buffer full = fixture_lines(LOG_FORMAT_FULL, 1, 23),
                       json = fixture_lines(LOG_FORMAT_JSON, 24, FIXTURE_SLOTS);
    assert_int_equal(fixture_read_file(fixture.log_path, bytes), full.size + json.size);
    assert_memory_equal(bytes, full.bytes, full.size);
    assert_memory_equal(bytes + full.size, json.bytes, json.size);
    free(full.bytes);
    free(json.bytes);
    fixture_drop(&before);
    fixture_drop(&after);
}

/* --- slots that are no longer to be had --- */

static void skip_to(enum log_format format, slot_t slot, int expected)
{
    struct chatlog *c = fixture_open(format);

    assert_int_equal(chatlog_skip(c, slot, fixture.error), expected);
    chatlog_close(c);
}

static void expect_gap(enum log_format format, slot_t last, slot_t first)
{
    static char bytes[FIXTURE_FILE_MAX];
    struct line_buffer before = fixture_lines(format, 1, last), behind = fixture_lines(format, first, FIXTURE_SLOTS);

    assert_int_equal(fixture_read_file(fixture.log_path, bytes), before.size + behind.size);
    assert_memory_equal(bytes, before.bytes, before.size);
    assert_memory_equal(bytes + before.size, behind.bytes, behind.size);
    free(before.bytes);
    free(behind.bytes);
}

/* To before or behind where it was cut off; in a file that was rotated away, or not. */
static void test_cut_off_then_skipped(void **state)
{
    for (enum log_format format = LOG_FORMAT_FULL; format <= LOG_FORMAT_JSON; format++) {
        struct line_buffer lines = fixture_lines(format, 1, 23), whole = fixture_lines(format, 1, 7);
        for (size_t cut = whole.size; cut <= lines.size; cut += 7) {
            slot_t skipped = cut % 2 ? 12 : 30;
            fixture_empty(state);
            cut_off(format, cut, cut % 5 == 0 ? 100 : 0);
            if (cut % 3 == 0)
                assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
            skip_to(format, skipped, 0);
            fixture_expect_file(cut % 3 == 0 ? fixture.rotated_path : fixture.log_path, format, 1, 7);
            fixture_flush_ok(format, FIXTURE_SLOTS);
            if (cut % 3 == 0)
                fixture_expect_file(fixture.log_path, format, skipped + 1, FIXTURE_SLOTS);
            else
                expect_gap(format, 7, skipped + 1);
        }
        free(lines.bytes);
        free(whole.bytes);
    }
}

static struct chatlog_gap read_gap(void)
{
    struct chatlog *c = fixture_open(LOG_FORMAT_FULL);
    struct chatlog_gap gap = chatlog_gap(c);

    chatlog_close(c);
    return gap;
}

static void expect_gap_told(slot_t first, slot_t last)
{
    assert_int_equal(read_gap().first, first);
    assert_int_equal(read_gap().last, last);
}

/* For as long as it stands in the file, or right before it: what is not there is known after a restart, too. */
static void test_gap_is_remembered(void **state)
{
    (void)state;
    expect_gap_told(0, 0);
    fixture_flush_ok(LOG_FORMAT_FULL, 7);
    expect_gap_told(0, 0);
    skip_to(LOG_FORMAT_FULL, 12, 0);
    expect_gap_told(8, 12);
    skip_to(LOG_FORMAT_FULL, 13, 0); /* it grows */
    expect_gap_told(8, 13);
    fixture_flush_ok(LOG_FORMAT_FULL, 20);
    fixture_flush_ok(LOG_FORMAT_JSON, 22);
    expect_gap_told(8, 13);
    skip_to(LOG_FORMAT_FULL, 24, 0);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, 26); /* it stands between the two files */
    expect_gap_told(23, 24);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, 28);
    expect_gap_told(0, 0);
}

/* Nothing of it is taken away that can be seen to be no line of a slot behind the mark. */
static void test_foreign_bytes_are_not_skipped(void **state)
{
    static const char *const full[] = {"note\n", "7\tx\n", "8\tx\n8\tx\n", "8\tx\nnote", "8 x", "\n9\nnote\n"},
                             *const json[] = {"note\n", "8\tx\n", "{\"slot\":7,\n", "{\"slot\":8}\n", "{\"time"};
    static char bytes[FIXTURE_FILE_MAX], again[FIXTURE_FILE_MAX];

    for (size_t i = 0; i < sizeof full / sizeof *full + sizeof json / sizeof *json; i++) {
        bool is_full = i < sizeof full / sizeof *full;
        enum log_format format = is_full ? LOG_FORMAT_FULL : LOG_FORMAT_JSON;
        const char *foreign = is_full ? full[i] : json[i - sizeof full / sizeof *full];
        char expected[2 * CONFIG_ERROR_MAX];
        fixture_empty(state);
        fixture_flush_ok(format, 7);
        size_t size = fixture_read_file(fixture.log_path, bytes), n = strlen(foreign);
        memcpy(bytes + size, foreign, n);
        fixture_write_file(fixture.log_path, bytes, size + n);
        skip_to(format, 12, -EBADMSG);
        snprintf(expected, sizeof expected,
                 "%s holds something behind byte %zu that this replica did not write; move the file to another "
                 "directory, and flush again",
                 fixture.log_path, size);
        assert_string_equal(fixture.error, expected);
        assert_int_equal(fixture_read_file(fixture.log_path, again), size + n);
        assert_memory_equal(bytes, again, size + n);
        assert_int_equal(unlink(fixture.log_path), 0); /* the remedy that the message names */
        skip_to(format, 12, 0);
        fixture_flush_ok(format, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, format, 13, FIXTURE_SLOTS);
    }
}

/* --- other people's bytes --- */

static void test_foreign_bytes_are_never_written_over(void **state)
{
    static char bytes[FIXTURE_FILE_MAX], again[FIXTURE_FILE_MAX];
    char expected[2 * CONFIG_ERROR_MAX];
    slot_t flushed;
    int fd;

    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    size_t size = fixture_read_file(fixture.log_path, bytes);
    memcpy(bytes + size, "note\n", 5);
    fixture_write_file(fixture.log_path, bytes, size + 5);
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, FIXTURE_SLOTS, &flushed, NULL), -EBADMSG);
    snprintf(expected, sizeof expected,
             "%s holds something behind byte %zu that this replica did not write; move the file to another directory, "
             "and flush "
             "again",
             fixture.log_path, size);
    assert_string_equal(fixture.error, expected);
    assert_int_equal(flushed, 9);
    assert_int_equal(fixture_read_file(fixture.log_path, again), size + 5);
    assert_memory_equal(bytes, again, size + 5);

    /* changed, or cut, before the mark */
    for (int cut = 0; cut < 2; cut++) {
        if (cut) {
            assert_int_equal(truncate(fixture.log_path, (off_t)size - 1), 0);
        } else {
            fd = open(fixture.log_path, O_WRONLY);
            assert_true(fd >= 0 && pwrite(fd, "X", 1, (off_t)size - 4) == 1);
            close(fd);
        }
        assert_int_equal(fixture_flush(LOG_FORMAT_FULL, FIXTURE_SLOTS, &flushed, NULL), -EBADMSG);
        snprintf(expected, sizeof expected,
                 "%s is not as the last flush left it (%zu bytes, slot 9); move it away, and flush again: a new file "
                 "then begins "
                 "at the next slot",
                 fixture.log_path, size);
        assert_string_equal(fixture.error, expected);
    }
    /* the remedy that the message names */
    assert_int_equal(unlink(fixture.log_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 10, FIXTURE_SLOTS);
}

/* A state directory that is new, beside a chat log file that is not. */
static void test_file_without_mark(void **state)
{
    slot_t flushed;

    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 20);
    assert_int_equal(unlink(fixture.mark_path), 0);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS); /* it is the same history: gone on with */
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    assert_int_equal(unlink(fixture.mark_path), 0);
    fixture_write_file(fixture.log_path, "somebody's\n", 11);
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, FIXTURE_SLOTS, &flushed, NULL), -EBADMSG);
    fixture_expect_error("%s holds something behind byte 0 that this replica did not write; move the file to another "
                         "directory, and flush "
                         "again",
                         fixture.log_path);
}

static void damage_mark(void)
{
    struct snapshot s = fixture_take(20);
    struct chatlog *c;

    for (size_t i = 0; i < s.mark_size; i++) {
        s.mark[i] = (char)(s.mark[i] ^ 1);
        fixture_write_file(fixture.mark_path, s.mark, s.mark_size);
        assert_int_equal(chatlog_open(fixture.state_dir, fixture.log_path, LOG_FORMAT_FULL, &c, fixture.error),
                         -EBADMSG);
        s.mark[i] = (char)(s.mark[i] ^ 1);
        fixture_write_file(fixture.mark_path, s.mark, i);
        assert_int_equal(chatlog_open(fixture.state_dir, fixture.log_path, LOG_FORMAT_FULL, &c, fixture.error),
                         -EBADMSG);
    }
    fixture_expect_error(
        "%s is damaged, so nobody knows what was flushed; move it and the chat log file away: the next flush "
        "then begins "
        "with the oldest message kept",
        fixture.mark_path);
    fixture_write_file(fixture.mark_path, s.mark, s.mark_size);
    fixture_drop(&s);
}

static void test_damaged_mark(void **state)
{
    (void)state;
    damage_mark();
    fixture_empty(state);
    skip_to(LOG_FORMAT_FULL, 7, 0);
    damage_mark();
    expect_gap_told(1, 7);
}

/* As it is written where there is no gap, and was before there were any. */
static void test_mark_of_version_1(void **state)
{
    struct snapshot s = fixture_take(20);

    (void)state;
    assert_memory_equal(s.mark, "mpaxos chat log mark 1\nslot 20\n", 31);
    fixture_drop(&s);
    skip_to(LOG_FORMAT_FULL, 22, 0);
    s = fixture_take(24);
    assert_memory_equal(s.mark, "mpaxos chat log mark 2\nslot 24\n", 31);
    fixture_drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_renamed_away, fixture_empty),
        cmocka_unit_test_setup(test_removed_and_truncated, fixture_empty),
        cmocka_unit_test_setup(test_cut_off_after_truncation, fixture_empty),
        cmocka_unit_test_setup(test_cut_off_then_renamed_away, fixture_empty),
        cmocka_unit_test_setup(test_zeros_in_a_rotated_file, fixture_empty),
        cmocka_unit_test_setup(test_cut_off_file_waits_for_the_replica, fixture_empty),
        cmocka_unit_test_setup(test_moved_to_another_disk, fixture_empty),
        cmocka_unit_test_setup(test_another_format, fixture_empty),
        cmocka_unit_test_setup(test_cut_off_then_skipped, fixture_empty),
        cmocka_unit_test_setup(test_gap_is_remembered, fixture_empty),
        cmocka_unit_test_setup(test_foreign_bytes_are_not_skipped, fixture_empty),
        cmocka_unit_test_setup(test_foreign_bytes_are_never_written_over, fixture_empty),
        cmocka_unit_test_setup(test_file_without_mark, fixture_empty),
        cmocka_unit_test_setup(test_damaged_mark, fixture_empty),
        cmocka_unit_test_setup(test_mark_of_version_1, fixture_empty),
    };
    return cmocka_run_group_tests(tests, fixture_begin, fixture_end);
}
