/* What goes to the journal: one record with an identity and fields, none forged, no flood, no waiting for it. */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/log.h"
#include "host/notice.h"

enum { RECORD_MAX = 8192 };

static char directory[] = "/tmp/mpaxos-notice-XXXXXX", socket_path[64];
static int journal = -1, saved_stderr, reader;

static uint64_t now_msec = 1000;

uint64_t __wrap_log_now_msec(void);

uint64_t __wrap_log_now_msec(void)
{
    return now_msec;
}

static void open_journal(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
    assert_int_equal(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
}

static void close_journal(void)
{
    close(journal);
    unlink(socket_path);
}

/* Standard error is the journal's stream, as far as one can tell, and ends in `reader`. */
static int begin(void **state)
{
    char stream[64];
    struct stat st;
    int ends[2];

    (void)state;
    if (!mkdtemp(directory) || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    snprintf(socket_path, sizeof socket_path, "%s/journal", directory);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    reader = ends[0];
    if (dup2(ends[1], STDERR_FILENO) < 0 || fstat(STDERR_FILENO, &st) < 0)
        return -1;
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    open_journal();
    log_journal_socket(socket_path);
    log_start(7);
    return 0;
}

static int end(void **state)
{
    (void)state;
    close_journal();
    dup2(saved_stderr, STDERR_FILENO);
    return rmdir(directory);
}

/* The next record; "" where there is none. */
static const char *record(void)
{
    static char bytes[RECORD_MAX + 1];
    ssize_t n = recv(journal, bytes, RECORD_MAX, 0);

    bytes[n < 0 ? 0 : n] = '\0';
    return bytes;
}

static const char *line(void)
{
    static char bytes[RECORD_MAX + 1];
    ssize_t n = read(reader, bytes, RECORD_MAX);

    bytes[n < 0 ? 0 : n] = '\0';
    return bytes;
}

static void test_plain_line(void **state)
{
    (void)state;
    errno = ENOSPC;
    log_line(LOG_LEVEL_WARNING, "careful");
    assert_int_equal(errno, ENOSPC);
    assert_string_equal(record(), "PRIORITY=4\nSYSLOG_IDENTIFIER=mpaxosd@7\nMPAXOS_REPLICA=7\nMESSAGE=careful\n");
    assert_string_equal(line(), "");
}

static void test_fields(void **state)
{
    const struct ballot ballot = {.round = 12, .id = 3};
    const slot_t slot = 0;
    const replica_id_t peer = 4, nobody = REPLICA_ID_NONE;
    char expected[256];

    (void)state;
    notice(NOTICE_LEADER_CHANGED, &(struct notice_about){&ballot, &slot, &peer, "/a b"}, "%s", "it");
    snprintf(expected, sizeof expected,
             "PRIORITY=5\nSYSLOG_IDENTIFIER=mpaxosd@7\nMPAXOS_REPLICA=7\nMESSAGE_ID=%s\nMPAXOS_BALLOT=12.3\n"
             "MPAXOS_SLOT=0\nMPAXOS_PEER=4\nMPAXOS_PATH=/a b\nMESSAGE=it\n",
             notice_id(NOTICE_LEADER_CHANGED));
    assert_string_equal(record(), expected);
    notice(NOTICE_DISK_FULL, &(struct notice_about){&(struct ballot){0}, NULL, &nobody, NULL}, "x");
    snprintf(expected, sizeof expected,
             "PRIORITY=3\nSYSLOG_IDENTIFIER=mpaxosd@7\nMPAXOS_REPLICA=7\nMESSAGE_ID=%s\nMESSAGE=x\n",
             notice_id(NOTICE_DISK_FULL));
    assert_string_equal(record(), expected);
}

static void test_nothing_is_forged(void **state)
{
    char path[4096];

    (void)state;
    notice(NOTICE_TAIL_CUT, &(struct notice_about){.path = "/a\nPRIORITY=0"}, "b\nPRIORITY=0");
    const char *r = record();
    assert_non_null(strstr(r, "\nMESSAGE=b?PRIORITY=0\n"));
    assert_null(strstr(r, "\nPRIORITY=0"));
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = '\0';
    notice(NOTICE_TAIL_CUT, &(struct notice_about){.path = path}, "%s", path);
    r = record();
    assert_non_null(strstr(r, "pp\nMESSAGE=pp"));
    assert_int_equal(r[strlen(r) - 1], '\n');
}

static void test_ids_differ(void **state)
{
    (void)state;
    for (enum notice_kind a = 0; a < NOTICE_KINDS; a++) {
        assert_non_null(notice_id(a));
        assert_int_equal(strspn(notice_id(a), "0123456789abcdef"), 32);
        for (enum notice_kind b = 0; b < a; b++)
            assert_string_not_equal(notice_id(a), notice_id(b));
    }
}

static unsigned count_records(void)
{
    unsigned n = 0;

    while (record()[0])
        n++;
    return n;
}

static void test_flood(void **state)
{
    unsigned told = 0;

    (void)state;
    now_msec += UINT64_C(1000) * NOTICE_BURST; /* whatever was told before */
    for (int i = 0; i < 100; i++) {
        notice(NOTICE_QUORUM_LOST, NULL, "lost");
        told += count_records();
        if (i == 50)
            notice(NOTICE_QUORUM_REGAINED, NULL, "regained"); /* another kind is not held up */
    }
    assert_int_equal(told, NOTICE_BURST + 1);
    now_msec += 999;
    notice(NOTICE_QUORUM_LOST, NULL, "lost");
    assert_string_equal(record(), "");
    now_msec++;
    notice(NOTICE_QUORUM_LOST, NULL, "lost");
    assert_non_null(strstr(record(), "MESSAGE=lost (91 more"));
    notice(NOTICE_QUORUM_LOST, NULL, "lost");
    assert_string_equal(record(), "");
}

static void test_a_journal_that_hangs_or_is_gone(void **state)
{
    unsigned lines = 0;

    (void)state;
    for (int i = 0; i < 5000 && lines == 0; i++) { /* would wait for ever once the queue is full */
        log_line(LOG_LEVEL_INFO, "%d", i);
        lines += line()[0] != '\0';
    }
    assert_int_equal(lines, 1);
    assert_true(count_records() > 0);
    close_journal();
    log_line(LOG_LEVEL_ERROR, "nobody");
    assert_string_equal(line(), "<3>mpaxosd[7]: nobody\n");
    open_journal();
    log_line(LOG_LEVEL_ERROR, "back");
    assert_non_null(strstr(record(), "MESSAGE=back\n"));
}

static void test_no_journal(void **state)
{
    const slot_t slot = 5;

    (void)state;
    unsetenv("JOURNAL_STREAM");
    log_start(7);
    assert_false(log_is_journal());
    notice(NOTICE_FAULTS_LIFTED, &(struct notice_about){.slot = &slot}, "none");
    assert_string_equal(line(), "mpaxosd[7]: none\n");
    assert_string_equal(record(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_line),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_nothing_is_forged),
        cmocka_unit_test(test_ids_differ),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_a_journal_that_hangs_or_is_gone),
        cmocka_unit_test(test_no_journal),
    };
    alarm(60); /* a hang is a failure */
    return cmocka_run_group_tests(tests, begin, end);
}
