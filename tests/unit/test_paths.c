/* Where a replica's files are, and what is said where they cannot be. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/paths.h"

static char base[] = "/tmp/test_paths.XXXXXX";
static struct paths paths;
static char error[PATHS_ERROR_MAX + 1];

static int enter(void **state)
{
    (void)state;
    return mkdtemp(base) && chdir(base) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    char command[PATH_MAX];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", base);
    return chdir("/") == 0 ? system(command) : -1;
}

static int clear(void **state)
{
    (void)state;
    unsetenv("MPAXOS_DIR");
    unsetenv("STATE_DIRECTORY");
    unsetenv("RUNTIME_DIRECTORY");
    unsetenv("LOGS_DIRECTORY");
    memset(error, 0, sizeof error);
    return 0;
}

static void expect(const char *state, const char *socket, const char *log)
{
    assert_string_equal(paths.state, state);
    assert_string_equal(paths.socket, socket);
    assert_string_equal(paths.log, log);
}

static const char *under_base(const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s%s", base, name);
    return path;
}

static void test_option(void **state)
{
    (void)state;
    setenv("MPAXOS_DIR", "/not/this", 1);
    setenv("STATE_DIRECTORY", "/nor/this", 1);
    assert_int_equal(paths_find("/x/y", 7, &paths, error), 0);
    expect("/x/y/state/7", "/x/y/run/7/control", "/x/y/log/replica_7.log");
    assert_int_equal(paths_find("d", 0, &paths, error), 0);
    expect("d/state/0", "d/run/0/control", under_base("/d/log/replica_0.log"));
    assert_int_equal(paths_find("", 0, &paths, error), -EINVAL);
    assert_string_equal(error, "--dir is empty; name a directory, \".\" for the current one");
}

static void test_environment(void **state)
{
    (void)state;
    setenv("STATE_DIRECTORY", "/nor/this", 1);
    setenv("MPAXOS_DIR", "/e", 1);
    assert_int_equal(paths_find(NULL, 254, &paths, error), 0);
    expect("/e/state/254", "/e/run/254/control", "/e/log/replica_254.log");
}

static void test_systemd(void **state)
{
    (void)state;
    setenv("STATE_DIRECTORY", "/var/lib/mpaxosd/1", 1);
    setenv("RUNTIME_DIRECTORY", "/run/mpaxosd/1:/run/other", 1);
    setenv("LOGS_DIRECTORY", "/var/log/mpaxosd", 1);
    setenv("MPAXOS_DIR", "", 1);
    assert_int_equal(paths_find(NULL, 1, &paths, error), 0);
    expect("/var/lib/mpaxosd/1", "/run/mpaxosd/1/control", "/var/log/mpaxosd/replica_1.log");
    unsetenv("LOGS_DIRECTORY");
    assert_int_equal(paths_find(NULL, 1, &paths, error), 0);
    expect("/var/lib/mpaxosd/1", "/run/mpaxosd/1/control", under_base("/log/replica_1.log"));
}

static void test_current_directory(void **state)
{
    (void)state;
    assert_int_equal(paths_find(NULL, 3, &paths, error), 0);
    expect("./state/3", "./run/3/control", under_base("/log/replica_3.log"));
}

static void test_too_long_for_a_socket(void **state)
{
    char dir[200], expected[PATHS_ERROR_MAX + 1];

    (void)state;
    memset(dir, 'd', sizeof dir);
    dir[107 - strlen("/run/1/control")] = '\0';
    assert_int_equal(paths_find(dir, 1, &paths, error), 0);
    assert_int_equal(paths_find(dir, 10, &paths, error), -ENAMETOOLONG);
    snprintf(
        expected, sizeof expected,
        "the path of the control socket, %s/run/10/control, is longer than the 107 bytes that a Unix socket may have; "
        "choose a shorter --dir, or a relative one",
        dir);
    assert_string_equal(error, expected);
}

static void test_make(void **state)
{
    struct stat st;

    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(paths_find("a/b", 2, &paths, error), 0);
        assert_int_equal(paths_make(&paths, error), 0);
        assert_int_equal(stat("a/b/state", &st), 0);
        assert_int_equal(stat("a/b/state/2", &st), -1); /* the journal makes it */
        assert_int_equal(stat("a/b/run/2", &st), 0);
        assert_int_equal(stat("a/b/log", &st), 0);
    }
    setenv("STATE_DIRECTORY", "alone", 1); /* no slash in it */
    assert_int_equal(paths_find(NULL, 2, &paths, error), 0);
    assert_int_equal(paths_make(&paths, error), 0);
}

static void test_what_cannot_be_made(void **state)
{
    FILE *file = fopen("file", "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    assert_int_equal(paths_find("file", 2, &paths, error), 0);
    assert_int_equal(paths_make(&paths, error), -ENOTDIR);
    assert_string_equal(error,
                        "the directory file/state cannot be made: Not a directory; move away what is there and is no "
                        "directory, or choose another directory by --dir");
    assert_int_equal(mkdir("c", 0755), 0);
    assert_int_equal(rename("file", "c/log"), 0);
    assert_int_equal(paths_find("c", 2, &paths, error), 0);
    assert_int_equal(paths_make(&paths, error), -ENOTDIR);
    assert_true(strstr(error, "c/log cannot be used: Not a directory;"));
    assert_int_equal(paths_find("/proc", 2, &paths, error), 0);
    assert_int_equal(paths_make(&paths, error), -ENOENT);
    assert_true(strstr(error, "the directory /proc/state cannot be made: No such file or directory;"));
}

/* As somebody else than root, whom no mode stops. */
static void test_unwritable(void **state)
{
    uid_t user = geteuid();

    (void)state;
    assert_int_equal(mkdir("e", 0755), 0);
    assert_int_equal(mkdir("e/state", 0555), 0);
    assert_int_equal(chmod(base, 0755), 0);
    if (user == 0)
        assert_int_equal(seteuid(65534), 0);
    assert_int_equal(paths_find("e", 2, &paths, error), 0);
    int result = paths_make(&paths, error);
    if (user == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(result, -EACCES);
    assert_string_equal(error,
                        "the directory e/state cannot be written: Permission denied; give it to the daemon's user, or "
                        "choose another directory by --dir");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_option, clear),
        cmocka_unit_test_setup(test_environment, clear),
        cmocka_unit_test_setup(test_systemd, clear),
        cmocka_unit_test_setup(test_current_directory, clear),
        cmocka_unit_test_setup(test_too_long_for_a_socket, clear),
        cmocka_unit_test_setup(test_make, clear),
        cmocka_unit_test_setup(test_what_cannot_be_made, clear),
        cmocka_unit_test_setup(test_unwritable, clear),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
