/* What goes to standard error: prefixes, no forged lines, no floods, no waiting for a reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/log.h"

enum { PIPE_BYTES = 65536 };

static int saved_stderr, reader;

/* Standard error is a pipe from here on, whose other end is `reader`. */
static int begin(void **state)
{
    int ends[2];

    (void)state;
    if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
        return -1;
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    reader = ends[0];
    return dup2(ends[1], STDERR_FILENO) < 0 || close(ends[1]) < 0 ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    return reader < 0 ? 0 : close(reader);
}

static const char *written(void)
{
    static char text[PIPE_BYTES + 1];
    ssize_t n = read(reader, text, PIPE_BYTES);

    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static void test_prefix(void **state)
{
    (void)state;
    log_line(LOG_LEVEL_INFO, "before %s", "log_start");
    assert_string_equal(written(), "mpaxosd: before log_start\n");
    log_start(254);
    log_line(LOG_LEVEL_ERROR, "one %d", 1);
    assert_string_equal(written(), "mpaxosd[254]: one 1\n");
    log_start(-1);
    log_line(LOG_LEVEL_ERROR, "two");
    assert_string_equal(written(), "mpaxosd: two\n");
}

static void test_journal_stream(void **state)
{
    char stream[64];
    struct stat st;

    (void)state;
    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_start(0);
    log_line(LOG_LEVEL_WARNING, "careful");
    assert_string_equal(written(), "<4>mpaxosd[0]: careful\n");
    /* inherited, but standard error was redirected since */
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + 1);
    setenv("JOURNAL_STREAM", stream, 1);
    log_start(0);
    log_line(LOG_LEVEL_WARNING, "careful");
    assert_string_equal(written(), "mpaxosd[0]: careful\n");
    unsetenv("JOURNAL_STREAM");
}

static void test_no_forged_lines(void **state)
{
    (void)state;
    log_start(1);
    log_line(LOG_LEVEL_INFO, "from \"%s\"", "x\nmpaxosd[1]: forged\r\t\x1b[2J\x7f\xc3\xa4");
    assert_string_equal(written(), "mpaxosd[1]: from \"x?mpaxosd[1]: forged???[2J?\xc3\xa4\"\n");
}

static void test_long_line(void **state)
{
    char *text = malloc(100001);
    const char *line;

    (void)state;
    memset(text, 'x', 100000);
    text[100000] = '\0';
    log_start(1);
    errno = ENOSPC;
    log_line(LOG_LEVEL_INFO, "%s", text);
    assert_int_equal(errno, ENOSPC);
    line = written();
    assert_in_range(strlen(line), 1000, 2048);
    assert_int_equal(line[strlen(line) - 1], '\n');
    free(text);
}

static void test_limited(void **state)
{
    struct timespec more_than_a_second = {.tv_sec = 1, .tv_nsec = 50000000};

    (void)state;
    log_start(1);
    for (int i = 0; i < 1000; i++) {
        log_limited(3, LOG_LEVEL_INFO, "flood %d", i);
        if (i == 500)
            log_limited(4, LOG_LEVEL_INFO, "other");
    }
    assert_string_equal(written(), "mpaxosd[1]: flood 0\nmpaxosd[1]: other\n");
    assert_int_equal(log_left_out(), 999);
    nanosleep(&more_than_a_second, NULL);
    log_limited(3, LOG_LEVEL_INFO, "flood");
    log_limited(4, LOG_LEVEL_INFO, "other");
    assert_string_equal(written(), "mpaxosd[1]: flood (999 more like it left out)\nmpaxosd[1]: other\n");
    log_limited(LOG_KINDS_MAX + 7, LOG_LEVEL_INFO, "any number is fine");
    assert_string_equal(written(), "mpaxosd[1]: any number is fine\n");
}

static void test_nobody_reads(void **state)
{
    char fill[4096] = {0};

    (void)state;
    log_start(1);
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
    while (write(STDERR_FILENO, fill, sizeof fill) > 0)
        ;
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
    for (int i = 0; i < 10; i++)
        log_line(LOG_LEVEL_INFO, "lost"); /* would hang here */
    while (read(reader, fill, sizeof fill) > 0)
        ;
    log_line(LOG_LEVEL_INFO, "heard");
    assert_string_equal(written(), "mpaxosd[1]: heard\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prefix, begin, end),
        cmocka_unit_test_setup_teardown(test_journal_stream, begin, end),
        cmocka_unit_test_setup_teardown(test_no_forged_lines, begin, end),
        cmocka_unit_test_setup_teardown(test_long_line, begin, end),
        cmocka_unit_test_setup_teardown(test_limited, begin, end),
        cmocka_unit_test_setup_teardown(test_nobody_reads, begin, end),
    };
    alarm(60); /* a hang is a failure */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
