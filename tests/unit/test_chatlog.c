/* The chat log file: its formats, and that every line stands exactly once, whole and in order, wherever a flush is cut
 * off. */
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
#include <unistd.h>

#include "tests/unit/chatlog_fixture.h"

/* --- formats --- */

static void expect_line(enum log_format format, const struct log_message *m, const char *line)
{
    struct line_buffer b = {0};

    assert_int_equal(chatlog_format(&b, format, m), 0);
    assert_int_equal(b.size, strlen(line));
    assert_memory_equal(b.bytes, line, b.size);
    free(b.bytes);
}

static void test_formats(void **state)
{
    static const char text[] = "a\\b\tc\nd\re\0f\x01\x1f\x7f\"\xc3\xa4\xf0\x9f\x98\x80\b\f/";
    const struct log_message m = {.slot = 18204,
                                  .time_usec = 1769903999123456,
                                  .author = "an\tna",
                                  .author_size = 5,
                                  .text = text,
                                  .text_size = sizeof text - 1};
    const struct log_message first = {.slot = 9007199254740993, .author = "", .text = "x", .text_size = 1};
    const struct log_message last = {
        .slot = UINT64_MAX, .time_usec = UINT64_MAX, .author = "", .text = "x", .text_size = 1};

    (void)state;
    expect_line(
        LOG_FORMAT_FULL, &m,
        "18204\t2026-01-31T23:59:59.123456Z\tan\\tna\ta\\\\b\\tc\\nd\\re\\x00f\\x01\\x1f\\x7f\"\xc3\xa4\xf0\x9f\x98\x80"
        "\\x08\\x0c/\n");
    expect_line(LOG_FORMAT_PLAIN, &m, "a\\\\b\\tc\\nd\\re\\x00f\\x01\\x1f\\x7f\"\xc3\xa4\xf0\x9f\x98\x80\\x08\\x0c/\n");
    expect_line(
        LOG_FORMAT_JSON, &m,
        "{\"slot\":18204,\"time_usec\":1769903999123456,\"author\":\"an\\tna\",\"text\":\"a\\\\b\\tc\\nd\\re\\u0000f"
        "\\u0001\\u001f\x7f\\\"\xc3\xa4\xf0\x9f\x98\x80\\b\\f/\"}\n");
    expect_line(LOG_FORMAT_FULL, &first, "9007199254740993\t1970-01-01T00:00:00.000000Z\t\tx\n");
    expect_line(LOG_FORMAT_JSON, &first,
                "{\"slot\":9007199254740993,\"time_usec\":0,\"author\":\"\",\"text\":\"x\"}\n");
    expect_line(LOG_FORMAT_JSON, &last,
                "{\"slot\":18446744073709551615,\"time_usec\":18446744073709551615,\"author\":\"\",\"text\":\"x\"}\n");
}

/* --- the ordinary way --- */

static void test_flushes_go_on(void **state)
{
    struct stat st;
    slot_t flushed;
    uint64_t messages;

    (void)state;
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 0, &flushed, &messages), 0); /* nothing yet: an empty file */
    assert_int_equal(messages, 0);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, 0);
    assert_int_equal(stat(fixture.log_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640 & ~022);
    for (slot_t upto = 1; upto <= FIXTURE_SLOTS; upto += 1 + upto % 5) {
        slot_t before = 0;
        struct chatlog *c = fixture_open(LOG_FORMAT_FULL);
        before = chatlog_flushed(c);
        chatlog_close(c);
        assert_int_equal(fixture_flush(LOG_FORMAT_FULL, upto, &flushed, &messages), 0);
        assert_int_equal(flushed, upto);
        assert_int_equal(messages, fixture_count(before + 1, upto));
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, upto);
        assert_int_equal(fixture_flush(LOG_FORMAT_FULL, upto, &flushed, &messages), 0);
        assert_int_equal(messages, 0);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, upto);
    }
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 3, &flushed, &messages), 0); /* older than what is flushed */
    assert_true(flushed > 3);
}

static void test_one_process_flushes_often(void **state)
{
    struct chatlog *c = fixture_open(LOG_FORMAT_PLAIN);
    uint64_t messages;

    (void)state;
    fixture.history.piece = 2;
    for (slot_t upto = 1; upto <= FIXTURE_SLOTS; upto++) {
        assert_int_equal(chatlog_flush(c, upto, fixture_read, &fixture.history, &messages, fixture.error), 0);
        assert_int_equal(messages, fixture_is_visible(upto));
        assert_int_equal(chatlog_flushed(c), upto);
    }
    assert_string_equal(chatlog_path(c), fixture.log_path);
    chatlog_close(c);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_PLAIN, 1, FIXTURE_SLOTS);
}

static void test_less_is_chosen_than_asked_for(void **state)
{
    slot_t flushed;

    (void)state;
    fixture.history.chosen = 10;
    assert_int_equal(fixture_flush(LOG_FORMAT_PLAIN, 20, &flushed, NULL), 0);
    assert_int_equal(flushed, 10);
    fixture.history.chosen = FIXTURE_SLOTS;
    fixture_flush_ok(LOG_FORMAT_PLAIN, 20);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_PLAIN, 1, 20);
}

/* --- crashes --- */

/* The mark of the flush before, and the file cut at every byte of the flush that the crash cut off. */
static void test_cut_at_every_byte(void **state)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);
    uint64_t messages;
    slot_t flushed;

    (void)state;
    for (size_t cut = before.log_size; cut <= after.log_size; cut++) {
        fixture_write_file(fixture.log_path, after.log, cut);
        fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
        fixture.history.piece = cut % 4;
        /* what is asked for may be less than the crash had asked for, the same, or more */
        slot_t upto = cut % 3 == 0 ? 15 : cut % 3 == 1 ? 23 : FIXTURE_SLOTS;
        if (fixture_flush(LOG_FORMAT_FULL, upto, &flushed, &messages) < 0)
            fail_msg("cut at %zu: %s", cut, fixture.error);
        assert_int_equal(flushed, upto);
        assert_int_equal(messages, fixture_count(8, upto));
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    }
    fixture_drop(&before);
    fixture_drop(&after);
}

/* Of what a flush wrote before the power went some is lost: the file is as long as it was, with zeros there. */
static void test_zeros_where_power_was_cut(void **state)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);
    static char bytes[FIXTURE_FILE_MAX];
    slot_t flushed;

    (void)state;
    for (size_t first = before.log_size; first < after.log_size; first += 3) {
        size_t n = first % 64 + 1 < after.log_size - first ? first % 64 + 1 : after.log_size - first;
        memcpy(bytes, after.log, after.log_size);
        memset(bytes + first, 0, n);
        fixture_write_file(fixture.log_path, bytes, after.log_size);
        fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
        if (fixture_flush(LOG_FORMAT_FULL, 15, &flushed, NULL) < 0)
            fail_msg("zeros at %zu: %s", first, fixture.error);
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    }
    fixture_drop(&before);
    fixture_drop(&after);
}

/* Further than what is flushed next, and than all that was to be written, for what anybody knows. */
static void test_zeros_behind_the_lines(void **state)
{
    static char torn[FIXTURE_FILE_MAX];
    struct snapshot before = fixture_take(7), after = fixture_take(23);
    struct line_buffer until_15 = fixture_lines(LOG_FORMAT_FULL, 1, 15);

    (void)state;
    for (size_t cut = before.log_size; cut <= until_15.size; cut++) {
        for (size_t i = 0; i < after.log_size + 40000; i++)
            torn[i] = i < cut ? after.log[i] : '\0';
        fixture_write_file(fixture.log_path, torn, after.log_size + (cut % 2 ? 40000 : 0));
        fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
        fixture_flush_ok(LOG_FORMAT_FULL, 15);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, 15);
    }
    free(until_15.bytes);
    fixture_drop(&before);
    fixture_drop(&after);
}

static void test_killed_at_every_byte(void **state)
{
    unsigned crashes = 0;

    for (size_t limit = 0; limit < 900; limit += limit < 300 ? 1 : 7) {
        fixture_empty(state);
        if (limit % 2)
            fixture_flush_ok(LOG_FORMAT_FULL, 4);
        for (slot_t upto = 20; upto <= FIXTURE_SLOTS; upto += 20) /* again and again at the same place */
            crashes += fixture_crash_at(limit, upto);
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    }
    assert_true(crashes > 100);
}

/* After a crash the replica may know less as chosen than what was flushed already: the hint was not synced. */
static void test_less_is_chosen_after_the_crash(void **state)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);
    slot_t flushed;

    (void)state;
    fixture_write_file(fixture.log_path, after.log, after.log_size);
    fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
    fixture.history.chosen = 12;
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 12, &flushed, NULL), 0);
    assert_int_equal(flushed, 12);
    fixture.history.chosen = FIXTURE_SLOTS;
    fixture_flush_ok(LOG_FORMAT_FULL, 30);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, 30);
    fixture_drop(&before);
    fixture_drop(&after);
}

/* --- full disks --- */

static void test_full_disk(void **state)
{
    struct rlimit old;
    struct chatlog *c;
    uint64_t messages;
    static char bytes[FIXTURE_FILE_MAX];

    (void)state;
    getrlimit(RLIMIT_FSIZE, &old);
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    c = fixture_open(LOG_FORMAT_FULL);
    size_t before = fixture_read_file(fixture.log_path, bytes);
    for (rlim_t room = 0; room < 200; room++) {
        struct rlimit r = {before + room, old.rlim_max};
        setrlimit(RLIMIT_FSIZE, &r);
        int result = chatlog_flush(c, FIXTURE_SLOTS, fixture_read, &fixture.history, &messages, fixture.error);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(result, -EFBIG);
        fixture_expect_error(
            "%s cannot be written: File too large; raise the limit of a file's size, or rotate it, and flush again",
            fixture.log_path);
        assert_int_equal(chatlog_flushed(c), 9);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, 9); /* so that it may be rotated away to make room */
    }
    assert_int_equal(chatlog_flush(c, FIXTURE_SLOTS, fixture_read, &fixture.history, &messages, fixture.error), 0);
    assert_int_equal(messages, fixture_count(10, FIXTURE_SLOTS));
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    chatlog_close(c);
}

/* The mark's own file system is full: what was synced is compared and counted by the next flush. */
static void test_mark_cannot_be_written(void **state)
{
    char temporary[PATH_MAX + 8];
    struct chatlog *c;
    uint64_t messages;

    (void)state;
    fixture_flush_ok(LOG_FORMAT_FULL, 9);
    c = fixture_open(LOG_FORMAT_FULL);
    snprintf(temporary, sizeof temporary, "%s.tmp", fixture.mark_path);
    assert_int_equal(mkdir(temporary, 0700), 0);
    assert_int_equal(chatlog_flush(c, 20, fixture_read, &fixture.history, &messages, fixture.error), -EISDIR);
    fixture_expect_error("%s cannot be written: Is a directory; make it writable, and flush again", fixture.mark_path);
    assert_int_equal(chatlog_flushed(c), 9);
    assert_int_equal(rmdir(temporary), 0);
    assert_int_equal(chatlog_flush(c, FIXTURE_SLOTS, fixture_read, &fixture.history, &messages, fixture.error), 0);
    assert_int_equal(messages, fixture_count(10, FIXTURE_SLOTS));
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    chatlog_close(c);
}

/* --- other failures --- */

static void test_what_cannot_be_opened_or_read(void **state)
{
    slot_t flushed;
    char directory[PATH_MAX];

    (void)state;
    assert_int_equal(mkdir(fixture.log_path, 0755), 0);
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 9, &flushed, NULL), -EISDIR);
    fixture_expect_error("%s cannot be opened: Is a directory; let the daemon's user read and write it, and flush "
                         "again",
                         fixture.log_path);
    assert_int_equal(rmdir(fixture.log_path), 0);
    assert_int_equal(mkfifo(fixture.log_path, 0600), 0);
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 9, &flushed, NULL), -EINVAL);
    fixture_expect_error("%s is no regular file; move it away, and flush again", fixture.log_path);
    assert_int_equal(unlink(fixture.log_path), 0);
    snprintf(directory, sizeof directory, "%s/log", fixture.base);
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 9, &flushed, NULL), -ENOENT);
    fixture_expect_error("%s cannot be opened: No such file or directory; make its directory, and flush again",
                         fixture.log_path);
    assert_int_equal(mkdir(directory, 0755), 0);

    fixture.history.fail = -EIO;
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 9, &flushed, NULL), -EIO);
    assert_string_equal(fixture.error,
                        "slots from 1 on cannot be read from the journal: Input/output error; see the daemon's log");
    fixture.history.fail = 0;
    fixture.history.first_kept = 5;
    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, 9, &flushed, NULL), -ERANGE);
    fixture_expect_error(
        "slot 1 and some after it are no longer kept, and were never flushed to %s; take the log file of "
        "another replica",
        fixture.log_path);
    fixture.history.first_kept = 0;
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
}

/* So that whoever gives it up can go on behind it. */
static void test_what_stands_before_rot_is_flushed(void **state)
{
    char expected[128];
    slot_t flushed;
    uint64_t messages;

    for (slot_t rotten = 1; rotten <= FIXTURE_SLOTS; rotten++) {
        fixture_empty(state);
        fixture.history.piece = rotten % 2;
        fixture.history.rotten = rotten;
        assert_int_equal(fixture_flush(LOG_FORMAT_FULL, FIXTURE_SLOTS, &flushed, &messages), -EBADMSG);
        snprintf(expected, sizeof expected,
                 "slots from %d on cannot be read from the journal: Bad message; see the "
                 "daemon's log",
                 (int)rotten);
        assert_string_equal(fixture.error, expected);
        assert_int_equal(flushed, rotten - 1);
        assert_int_equal(messages, fixture_count(1, rotten - 1));
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, rotten - 1);
        fixture_flush_ok(LOG_FORMAT_FULL, rotten - 1);
        fixture.history.rotten = 0;
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 1, FIXTURE_SLOTS);
    }
}

/* More than one piece of the bounded memory. */
static void test_large(void **state)
{
    struct line_buffer all;
    char *bytes;
    struct stat st;

    (void)state;
    fixture.history.chosen = 30000;
    bytes = malloc(8 << 20);
    fixture_flush_ok(LOG_FORMAT_JSON, 30000);
    all = fixture_lines(LOG_FORMAT_JSON, 1, 30000);
    assert_int_equal(stat(fixture.log_path, &st), 0);
    assert_int_equal(st.st_size, all.size);
    int fd = open(fixture.log_path, O_RDONLY);
    assert_true(all.size < 8 << 20 && read(fd, bytes, all.size) == (ssize_t)all.size);
    assert_memory_equal(bytes, all.bytes, all.size);
    close(fd);
    free(all.bytes);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_formats, fixture_empty),
        cmocka_unit_test_setup(test_flushes_go_on, fixture_empty),
        cmocka_unit_test_setup(test_one_process_flushes_often, fixture_empty),
        cmocka_unit_test_setup(test_less_is_chosen_than_asked_for, fixture_empty),
        cmocka_unit_test_setup(test_cut_at_every_byte, fixture_empty),
        cmocka_unit_test_setup(test_zeros_where_power_was_cut, fixture_empty),
        cmocka_unit_test_setup(test_zeros_behind_the_lines, fixture_empty),
        cmocka_unit_test_setup(test_killed_at_every_byte, fixture_empty),
        cmocka_unit_test_setup(test_less_is_chosen_after_the_crash, fixture_empty),
        cmocka_unit_test_setup(test_full_disk, fixture_empty),
        cmocka_unit_test_setup(test_mark_cannot_be_written, fixture_empty),
        cmocka_unit_test_setup(test_what_cannot_be_opened_or_read, fixture_empty),
        cmocka_unit_test_setup(test_what_stands_before_rot_is_flushed, fixture_empty),
        cmocka_unit_test_setup(test_large, fixture_empty),
    };
    return cmocka_run_group_tests(tests, fixture_begin, fixture_end);
}
