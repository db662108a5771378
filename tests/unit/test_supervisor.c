/* Script mode's supervisor. It runs /proc/self/exe as a replica, which here is this test program: main() plays the
 * replica that the name of the configuration file asks for. */
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
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "host/log.h"
#include "host/supervisor.h"

enum { REPLICAS = 3, PATIENCE_MS = 10000, OUTPUT_MAX = 65536, FAST = 20, SLOW_STOP_MS = 600 };

static char dir[] = "/tmp/test_supervisor.XXXXXX";
static char output_path[64];

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);

static unsigned speed = 1; /* of the supervisor's clock */

int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
    int error = __real_clock_gettime(id, ret);
    uint64_t nsec = ((uint64_t)ret->tv_sec * 1000000000 + (uint64_t)ret->tv_nsec) * speed;

    ret->tv_sec = (time_t)(nsec / 1000000000);
    ret->tv_nsec = (long)(nsec % 1000000000);
    return error;
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

/* --- the replica --- */

/* Leaves its pid as the last one of this replica, and its start in the output. */
static void leave_traces(const char *id)
{
    char path[96], text[64];
    int fd, n;

    snprintf(path, sizeof path, "%s/pid.%s", getenv("TEST_DIR"), id);
    n = snprintf(text, sizeof text, "%d", (int)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, text, (size_t)n) != n || close(fd) < 0)
        _exit(99);
    n = snprintf(text, sizeof text, "start %s%s\n", id, getenv("STATE_DIRECTORY") ? " inherited" : "");
    if (write(STDERR_FILENO, text, (size_t)n) != n)
        _exit(99);
}

static unsigned stop_ms = SLOW_STOP_MS;

static void stop_slowly(int signal_number)
{
    (void)signal_number;
    sleep_ms(stop_ms);
    _exit(0);
}

/* mpaxosd --dir DIR --key-file FILE -i N -- CONFIG */
static int be_replica(int argc, char **argv)
{
    const char *id = argv[6], *config = argv[8];

    if (argc != 9 || strcmp(argv[1], "--dir") || strcmp(argv[2], "a dir") || strcmp(argv[3], "--key-file") ||
        strcmp(argv[4], "a key") || strcmp(argv[5], "-i") || strcmp(argv[7], "--"))
        return 98;
    stop_ms += (unsigned)atoi(id) * SLOW_STOP_MS / 4; /* after each, the supervisor looks at its clock */
    if (strcmp(config, "stop slowly") == 0)
        signal(SIGTERM, stop_slowly);
    leave_traces(id);
    if (strcmp(config, "refuse all") == 0 || (strcmp(config, "refuse 1") == 0 && strcmp(id, "1") == 0))
        return strcmp(id, "2") == 0 ? EX_CONFIG : EX_DATAERR;
    if (strcmp(config, "fail") == 0)
        return EX_IOERR;
    for (;;)
        pause(); /* until a signal ends it */
}

/* --- what the tests see --- */

static pid_t start_supervisor(const char *config_path)
{
    static struct config c = {.n_replicas = REPLICAS, .heartbeat_ms = HEARTBEAT_MS_MAX};
    pid_t pid;

    unlink(output_path); /* of the test before */
    pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    int fd = open(output_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    setenv("STATE_DIRECTORY", "/of/one/replica", 1);
    for (uint32_t i = 0; i < REPLICAS; i++)
        c.replicas[i].id = (replica_id_t)i;
    log_start(-1);
    _exit(supervisor_run(&c, config_path, "a dir", "a key"));
}

static const char *output(void)
{
    static char text[OUTPUT_MAX + 1];
    int fd = open(output_path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, OUTPUT_MAX);

    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

static unsigned count(const char *what)
{
    unsigned n = 0;

    for (const char *p = output(); (p = strstr(p, what)); p++)
        n++;
    return n;
}

static void await(const char *what, unsigned n)
{
    for (unsigned ms = 0; count(what) < n; ms += 10) {
        if (ms > PATIENCE_MS)
            fail_msg("no %u times \"%s\" in:\n%s", n, what, output());
        sleep_ms(10);
    }
}

static void await_all(void)
{
    await("start 0", 1);
    await("start 1", 1);
    await("start 2", 1);
}

static pid_t pid_of(unsigned id)
{
    char path[96];
    int pid = 0;

    snprintf(path, sizeof path, "%s/pid.%u", dir, id);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    return pid;
}

/* One that nobody reaps counts as gone, too. */
static bool is_gone(pid_t pid)
{
    char path[64], state = 'Z';

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = 'Z';
        fclose(f);
    }
    return state == 'Z' || state == 'X';
}

static void await_gone(pid_t pid)
{
    for (unsigned ms = 0; !is_gone(pid); ms += 10) {
        if (ms > PATIENCE_MS)
            fail_msg("process %d lives on", (int)pid);
        sleep_ms(10);
    }
}

static void expect_exit(pid_t pid, int status)
{
    int how;

    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), status);
}

static void test_restarts_and_stops(void **state)
{
    char expected[128];
    pid_t supervisor = start_supervisor("run"), old, others[2];

    (void)state;
    await_all();
    assert_int_equal(count("inherited"), 0);
    others[0] = pid_of(0);
    others[1] = pid_of(2);
    old = pid_of(1);
    kill(old, SIGKILL);
    await("start 1", 2);
    snprintf(expected, sizeof expected, "mpaxosd: replica 1 (pid %d) was killed by signal 9; starting it again\n",
             (int)old);
    assert_int_equal(count(expected), 1);
    assert_int_equal(count("start 0"), 1);
    assert_int_equal(pid_of(0), others[0]);
    kill(supervisor, SIGTERM);
    kill(supervisor, SIGINT); /* a second wish changes nothing */
    expect_exit(supervisor, 0);
    for (unsigned id = 0; id < REPLICAS; id++)
        assert_true(is_gone(pid_of(id)));
    assert_int_equal(count("starting it again"), 1);
    assert_int_equal(pid_of(2), others[1]);
}

static void test_children_die_with_their_parent(void **state)
{
    pid_t supervisor = start_supervisor("run");
    int status;

    (void)state;
    await_all();
    kill(pid_of(2), SIGSTOP); /* not even this one is left behind */
    kill(supervisor, SIGKILL);
    assert_int_equal(waitpid(supervisor, &status, 0), supervisor);
    for (unsigned id = 0; id < REPLICAS; id++)
        await_gone(pid_of(id));
}

static void test_all_are_refused(void **state)
{
    (void)state;
    expect_exit(start_supervisor("refuse all"), EX_DATAERR); /* the first one's */
    assert_int_equal(count("start 0"), 1);
    assert_int_equal(count("start 1"), 1);
    assert_int_equal(count("start 2"), 1);
    assert_int_equal(count("ended with status 65 and is not started again; its message says why"), 2);
    assert_int_equal(count("ended with status 78 and is not started again; its message says why"), 1);
    assert_int_equal(count("mpaxosd: no replica is left that could be started; stopping"), 1);
}

static void test_one_is_refused(void **state)
{
    pid_t supervisor = start_supervisor("refuse 1");

    (void)state;
    await("is not started again", 1);
    await_all();
    kill(pid_of(0), SIGKILL);
    await("start 0", 2);
    kill(supervisor, SIGTERM);
    expect_exit(supervisor, 0);
    assert_int_equal(count("start 1"), 1);
}

/* It is not over after the ten seconds that it may take without one. */
static void test_a_hand_over_is_waited_for(void **state)
{
    (void)state;
    speed = FAST;
    pid_t supervisor = start_supervisor("stop slowly");
    speed = 1;
    await_all();
    kill(supervisor, SIGTERM);
    expect_exit(supervisor, 0);
    assert_int_equal(count("killing them"), 0);
}

/* 100 ms, 200, 400, ...: in one second at most four starts, however fast the machine is. */
static void test_those_who_die_young_wait_longer(void **state)
{
    pid_t supervisor = start_supervisor("fail");
    unsigned starts;

    (void)state;
    sleep_ms(1000);
    starts = count("start 0");
    kill(supervisor, SIGTERM);
    expect_exit(supervisor, 0);
    assert_in_range(starts, 2, 4);
    assert_true(count("ended with status 74; starting it again in 0.2 s") > 0);
}

static int begin(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(output_path, sizeof output_path, "%s/output", dir);
    return setenv("TEST_DIR", dir, 1);
}

static int end(void **state)
{
    char command[PATH_MAX];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restarts_and_stops),        cmocka_unit_test(test_children_die_with_their_parent),
        cmocka_unit_test(test_all_are_refused),           cmocka_unit_test(test_one_is_refused),
        cmocka_unit_test(test_a_hand_over_is_waited_for), cmocka_unit_test(test_those_who_die_young_wait_longer),
    };
    if (argc > 1)
        return be_replica(argc, argv);
    return cmocka_run_group_tests(tests, begin, end);
}
