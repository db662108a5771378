/* The chat log file where the system's calls fail: what could not be looked at is never taken for gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/chatlog_file.h"
#include "tests/unit/chatlog_fixture.h"

/* What a call on the rotated file, or the search for it, fails with; 0: it does what it does. */
static struct {
    int find, open_to_write, open, read;
} failing;
/* The chat log file where it was synced since the mark was replaced last, and what that was when it was; 0: not. */
static uint64_t synced_inode, synced_before_mark;

int __real_chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX]);
int __wrap_chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX]);
int __real_chatlog_file_open(const char *path, int flags, mode_t mode);
int __wrap_chatlog_file_open(const char *path, int flags, mode_t mode);
ssize_t __real_chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size);
ssize_t __wrap_chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size);
int __real_chatlog_file_sync(int fd);
int __wrap_chatlog_file_sync(int fd);
int __real_chatlog_file_rename(const char *from, const char *to);
int __wrap_chatlog_file_rename(const char *from, const char *to);

int __wrap_chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX])
{
    return failing.find != 0 ? failing.find : __real_chatlog_directory_find(directory, name_begin, inode, ret);
}

int __wrap_chatlog_file_open(const char *path, int flags, mode_t mode)
{
    bool is_rotated = strcmp(path, fixture.rotated_path) == 0;

    if (is_rotated && failing.open != 0)
        return failing.open;
    if (is_rotated && failing.open_to_write != 0 && (flags & O_ACCMODE) != O_RDONLY)
        return failing.open_to_write;
    return __real_chatlog_file_open(path, flags, mode);
}

ssize_t __wrap_chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size)
{
    struct chatlog_file_state now;

    if (failing.read != 0 && chatlog_file_look(fd, &now) == 0 && now.inode == chatlog_file_inode(fixture.rotated_path))
        return failing.read;
    return __real_chatlog_file_read(fd, offset, buffer, size);
}

int __wrap_chatlog_file_sync(int fd)
{
    struct chatlog_file_state now;
    int error = __real_chatlog_file_sync(fd);

    if (error == 0 && chatlog_file_look(fd, &now) == 0 && now.inode == chatlog_file_inode(fixture.log_path))
        synced_inode = now.inode;
    return error;
}

int __wrap_chatlog_file_rename(const char *from, const char *to)
{
    synced_before_mark = synced_inode;
    synced_inode = 0;
    return __real_chatlog_file_rename(from, to);
}

static int begin(void **state)
{
    memset(&failing, 0, sizeof failing);
    synced_inode = synced_before_mark = 0;
    return fixture_empty(state);
}

/* As if a flush of the slots behind 7 had been cut off 5 bytes before the end of 23's line, and the file rotated. */
static void cut_off_and_rotate(void)
{
    struct snapshot before = fixture_take(7), after = fixture_take(23);

    fixture_write_file(fixture.log_path, after.log, after.log_size - 5);
    fixture_write_file(fixture.mark_path, before.mark, before.mark_size);
    assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
    fixture_drop(&before);
    fixture_drop(&after);
}

static void expect_failure(int error, const char *format, const char *path)
{
    slot_t flushed;
    struct chatlog *c;

    assert_int_equal(fixture_flush(LOG_FORMAT_FULL, FIXTURE_SLOTS, &flushed, NULL), error);
    fixture_expect_error(format, path);
    assert_int_equal(flushed, 7);
    assert_int_equal(access(fixture.log_path, F_OK), -1); /* no line went elsewhere */
    c = fixture_open(LOG_FORMAT_FULL);
    assert_int_equal(chatlog_skip(c, 12, fixture.error), error);
    assert_int_equal(chatlog_flushed(c), 7);
    chatlog_close(c);
}

static void expect_completed(void)
{
    memset(&failing, 0, sizeof failing);
    fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
    fixture_expect_file(fixture.rotated_path, LOG_FORMAT_FULL, 1, 23);
    fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 24, FIXTURE_SLOTS);
}

static void test_rotated_file_cannot_be_looked_for(void **state)
{
    char directory[sizeof fixture.log_path], path[PATH_MAX];

    (void)state;
    cut_off_and_rotate();
    snprintf(directory, sizeof directory, "%s/log", fixture.base);
    failing.find = -EMFILE;
    expect_failure(-EMFILE,
                   "%s cannot be searched: Too many open files; raise the limit of open files, and flush again",
                   directory);
    failing.find = -ENOMEM;
    expect_failure(-ENOMEM, "%s cannot be searched: Cannot allocate memory; free some memory, and flush again",
                   directory);
    expect_completed();
    assert_int_equal(__real_chatlog_directory_find(fixture.mark_path, "x", 1, path), -ENOTDIR);
    assert_int_equal(__real_chatlog_directory_find("/nowhere", "x", 1, path), 0);
}

static void test_rotated_file_cannot_be_opened_or_read(void **state)
{
    (void)state;
    cut_off_and_rotate();
    failing.open = -EACCES;
    expect_failure(-EACCES,
                   "%s cannot be opened: Permission denied; let the daemon's user read and write it, and flush again",
                   fixture.rotated_path);
    failing.open = 0;
    failing.open_to_write = -EACCES;
    expect_failure(-EACCES,
                   "%s cannot be opened: Permission denied; let the daemon's user read and write it, and flush again",
                   fixture.rotated_path);
    failing.open_to_write = 0;
    failing.read = -EIO;
    expect_failure(-EIO, "%s cannot be read: Input/output error; look at the kernel's log, and flush again",
                   fixture.rotated_path);
    expect_completed();
}

/* An archive may be one to read only, where nothing was cut off in it; so may a stranger's that has its inode number.
 */
static void test_rotated_file_need_not_be_written(void **state)
{
    for (int is_strange = 0; is_strange < 2; is_strange++) {
        begin(state);
        fixture_flush_ok(LOG_FORMAT_FULL, 7);
        if (is_strange)
            fixture_write_file(fixture.log_path,
                               "somebody's, and longer than the seven lines that stood here before, "
                               "since it goes on and on and on and on and on and on and on\n",
                               127);
        assert_int_equal(rename(fixture.log_path, fixture.rotated_path), 0);
        failing.open_to_write = -EACCES;
        fixture_flush_ok(LOG_FORMAT_FULL, FIXTURE_SLOTS);
        fixture_expect_file(fixture.log_path, LOG_FORMAT_FULL, 8, FIXTURE_SLOTS);
    }
}

/* What a failed flush took back, in one format, must not come again behind a mark that says another one. */
static void test_synced_before_another_format(void **state)
{
    static const slot_t befores[] = {0, 7}; /* 0: the file is empty */

    for (size_t i = 0; i < 2; i++) {
        begin(state);
        if (befores[i] > 0)
            fixture_flush_ok(LOG_FORMAT_FULL, befores[i]);
        struct chatlog *c = fixture_open(LOG_FORMAT_FULL);
        uint64_t messages = 0;
        fixture.history.fail = -EIO;
        if (befores[i] == 0) /* the mark is the file's, and no byte is in it */
            assert_int_equal(chatlog_flush(c, FIXTURE_SLOTS, fixture_read, &fixture.history, &messages, fixture.error),
                             -EIO);
        synced_before_mark = 0;
        chatlog_set_format(c, LOG_FORMAT_JSON);
        assert_int_equal(chatlog_flush(c, FIXTURE_SLOTS, fixture_read, &fixture.history, &messages, fixture.error),
                         -EIO);
        assert_int_equal(synced_before_mark, chatlog_file_inode(fixture.log_path));
        chatlog_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_rotated_file_cannot_be_looked_for, begin),
        cmocka_unit_test_setup(test_rotated_file_cannot_be_opened_or_read, begin),
        cmocka_unit_test_setup(test_rotated_file_need_not_be_written, begin),
        cmocka_unit_test_setup(test_synced_before_another_format, begin),
    };
    return cmocka_run_group_tests(tests, fixture_begin, fixture_end);
}
