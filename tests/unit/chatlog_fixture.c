#include "tests/unit/chatlog_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture fixture;

static const char *text_of(slot_t slot)
{
    static char text[FIXTURE_TEXT_MAX];

    snprintf(text, sizeof text, "message %llu\n\ttab \\ %.*s", (unsigned long long)slot, (int)(slot % 17),
             "xxxxxxxxxxxxxxxxx");
    return text;
}

static struct log_message message_of(slot_t slot)
{
    const char *text = text_of(slot);

    return (struct log_message){.slot = slot,
                                .time_usec = 1769903999123456 + slot,
                                .author = "anna",
                                .author_size = 4,
                                .text = text,
                                .text_size = strlen(text)};
}

bool fixture_is_visible(slot_t slot)
{
    return slot % 3 != 0;
}

int fixture_read(void *user, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next)
{
    const struct history *h = user;
    size_t n = 0, bytes = 0;

    if (h->fail)
        return h->fail;
    if (from < h->first_kept)
        return -ERANGE;
    *ret_next = from;
    for (slot_t s = from; s <= h->chosen && n < n_max && bytes < bytes_max && (h->piece == 0 || n < h->piece); s++) {
        struct log_message m = message_of(s);
        if (s == h->rotten)
            return n > 0 ? (int)n : -EBADMSG;
        if (fixture_is_visible(s)) {
            if (!each(each_user, &m))
                return (int)n;
            n++;
            bytes += m.text_size;
        }
        *ret_next = s + 1;
    }
    return (int)n;
}

uint64_t fixture_count(slot_t from, slot_t until)
{
    uint64_t n = 0;

    for (slot_t s = from; s <= until; s++)
        n += fixture_is_visible(s);
    return n;
}

/* What a file must hold for the slots [from, until]; malloc'd. */
struct line_buffer fixture_lines(enum log_format format, slot_t from, slot_t until)
{
    struct line_buffer b = {0};

    for (slot_t s = from; s <= until; s++) {
        struct log_message m = message_of(s);
        if (fixture_is_visible(s))
            assert_int_equal(chatlog_format(&b, format, &m), 0);
    }
    return b;
}

size_t fixture_read_file(const char *path, char *ret)
{
    int fd = open(path, O_RDONLY);
    ssize_t n;

    if (fd < 0)
        return SIZE_MAX;
    n = read(fd, ret, FIXTURE_FILE_MAX);
    close(fd);
    return n < 0 ? SIZE_MAX : (size_t)n;
}

void fixture_write_file(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600); /* the same inode where it is there */

    assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

void fixture_expect_file(const char *path, enum log_format format, slot_t from, slot_t until)
{
    static char bytes[FIXTURE_FILE_MAX];
    struct line_buffer b = fixture_lines(format, from, until);
    size_t size = fixture_read_file(path, bytes);

    assert_int_equal(size, b.size);
    if (size > 0)
        assert_memory_equal(bytes, b.bytes, size);
    free(b.bytes);
}

int fixture_begin(void **state)
{
    (void)state;
    /* In memory where that can be: thousands of syncs cost too much elsewhere, and no power is cut here. */
    snprintf(fixture.base, sizeof fixture.base, "%s/test_chatlog.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(fixture.base))
        return -1;
    snprintf(fixture.state_dir, sizeof fixture.state_dir, "%s/state", fixture.base);
    snprintf(fixture.log_path, sizeof fixture.log_path, "%s/log/replica_0.log", fixture.base);
    snprintf(fixture.rotated_path, sizeof fixture.rotated_path, "%s/log/replica_0.log.1", fixture.base);
    snprintf(fixture.mark_path, sizeof fixture.mark_path, "%s/state/flushed", fixture.base);
    signal(SIGXFSZ, SIG_IGN);
    return 0;
}

int fixture_empty(void **state)
{
    char command[PATH_MAX];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s/*; mkdir %s/state %s/log", fixture.base, fixture.base, fixture.base);
    fixture.history = (struct history){.chosen = FIXTURE_SLOTS};
    fixture.error[0] = '\0';
    return system(command);
}

int fixture_end(void **state)
{
    char command[PATH_MAX];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", fixture.base);
    return system(command);
}

struct chatlog *fixture_open(enum log_format format)
{
    struct chatlog *c = NULL;

    if (chatlog_open(fixture.state_dir, fixture.log_path, format, &c, fixture.error) < 0)
        fail_msg("%s", fixture.error);
    return c;
}

/* One flush of a process of its own: opens, flushes, closes. */
int fixture_flush(enum log_format format, slot_t upto, slot_t *ret_flushed, uint64_t *ret_messages)
{
    struct chatlog *c = fixture_open(format);
    uint64_t messages = 0;
    int result = chatlog_flush(c, upto, fixture_read, &fixture.history, &messages, fixture.error);

    if (ret_flushed)
        *ret_flushed = chatlog_flushed(c);
    if (ret_messages)
        *ret_messages = messages;
    chatlog_close(c);
    return result;
}

void fixture_flush_ok(enum log_format format, slot_t upto)
{
    slot_t flushed;

    if (fixture_flush(format, upto, &flushed, NULL) < 0)
        fail_msg("%s", fixture.error);
    assert_int_equal(flushed, upto);
}

void fixture_expect_error(const char *format, const char *path)
{
    char expected[2 * CONFIG_ERROR_MAX];

    snprintf(expected, sizeof expected, format, path);
    assert_string_equal(fixture.error, expected);
}

struct snapshot fixture_take(slot_t upto)
{
    struct snapshot s = {.log = malloc(FIXTURE_FILE_MAX), .mark = malloc(FIXTURE_FILE_MAX)};

    fixture_flush_ok(LOG_FORMAT_FULL, upto);
    s.log_size = fixture_read_file(fixture.log_path, s.log);
    s.mark_size = fixture_read_file(fixture.mark_path, s.mark);
    return s;
}

void fixture_drop(struct snapshot *s)
{
    free(s->log);
    free(s->mark);
}

bool fixture_crash_at(size_t limit, slot_t upto)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct rlimit r = {limit, limit}, no_core = {0, 0};
        struct chatlog *c;
        uint64_t messages;
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_CORE, &no_core);
        setrlimit(RLIMIT_FSIZE, &r);
        if (chatlog_open(fixture.state_dir, fixture.log_path, LOG_FORMAT_FULL, &c, fixture.error) < 0 ||
            chatlog_flush(c, upto, fixture_read, &fixture.history, &messages, fixture.error) < 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGXFSZ : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}
