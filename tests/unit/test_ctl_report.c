/* What becomes of standard output when it takes nothing: a full disk is a failure however it was flushed, a reader that
 * went away is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/report.h"

static void flush_in_between(void)
{
    fputs("a line\n", stdout);
    report_flush();
    errno = 0;
}

static void leave_to_the_end(void)
{
    fputs("a line\n", stdout);
}

/* Goes out by itself, as from a full buffer: nobody sees the errno, and nothing is left for the end. */
static void go_out_unasked(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    fputs("a line\n", stdout);
    errno = 0;
}

static void write_nothing(void)
{
}

/* The exit status that a process gets whose standard output is `fd`. */
static int status_of(void (*write_some)(void), int fd, int status)
{
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        dup2(fd, STDOUT_FILENO);
        write_some();
        _exit(report_finish(status));
    }
    int ended = -1;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_true(WIFEXITED(ended));
    return WEXITSTATUS(ended);
}

static void (*const ways[])(void) = {flush_in_between, leave_to_the_end, go_out_unasked};
enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static void test_a_full_disk_is_a_failure(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    for (size_t i = 0; i < WAYS; i++) {
        assert_int_equal(status_of(ways[i], full, EXIT_DONE), EXIT_FAILED);
        assert_int_equal(status_of(ways[i], full, EXIT_NO_QUORUM), EXIT_NO_QUORUM);
    }
    assert_int_equal(status_of(write_nothing, full, EXIT_DONE), EXIT_DONE);
    close(full);
}

static void test_a_reader_that_went_away_is_none(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    for (size_t i = 0; i < WAYS; i++)
        assert_int_equal(status_of(ways[i], ends[1], EXIT_DONE), EXIT_DONE);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_full_disk_is_a_failure),
        cmocka_unit_test(test_a_reader_that_went_away_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
