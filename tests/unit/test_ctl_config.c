/* config generate: what it writes is what the daemon reads, and nothing is overwritten by surprise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/verbs.h"
#include "host/keyfile.h"

static char dir[] = "/tmp/test_ctl_config_XXXXXX";

/* Runs "config generate" or "config check" as the command line would; words with blanks between. */
static int run_as(enum json_mode json, const char *line)
{
    char copy[512], error[OPTIONS_ERROR_MAX + 1];
    char *words[64];
    int n = 0, taken = 0, status = EXIT_USAGE;
    struct arguments a;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        words[n++] = word;
    struct invocation v = {
        .verb = verb_find(words, n, &taken), .arguments = &a, .place = {.id = -1}, .report = {.json = json}};
    assert_non_null(v.verb);
    assert_true(arguments_init(&a, (size_t)n));
    if (arguments_read(&a, global_options, v.verb->options, n - taken, words + taken, false, error) >= 0)
        status = v.verb->run(&v);
    arguments_done(&a);
    fflush(stdout);
    return status;
}

static int run(const char *line)
{
    return run_as(JSON_OFF, line);
}

static void read_back(const char *name, struct config *ret)
{
    char error[CONFIG_ERROR_MAX + 1];
    if (config_read(name, ret, error) < 0)
        fail_msg("%s", error);
}

static struct config config;

static void test_least_form(void **state)
{
    (void)state;
    assert_int_equal(run("config generate 1"), EXIT_DONE);
    read_back("replica_config.json", &config);
    assert_int_equal(config.f, 1);
    assert_true(config.script);
    assert_int_equal(config.n_replicas, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(config.replicas[i].id, i);
        assert_int_equal(config.replicas[i].port, 6000 + i);
        assert_int_equal(config.replicas[i].drop_rate, 0);
        assert_int_equal(config.replicas[i].n_skips, 0);
        assert_string_equal(config.replicas[i].host, "localhost");
    }
    assert_int_equal(run("config check"), EXIT_DONE);
}

static void test_all_options(void **state)
{
    (void)state;
    assert_int_equal(
        run("config generate 2 -o all.json -m -pa 20 -p 1 30 -p 4 0 -s 2 7 -s 2 9 -s 2 7 -s 0 1 --port 7000"),
        EXIT_DONE);
    read_back("all.json", &config);
    const int drops[] = {20, 30, 20, 20, 0};
    assert_false(config.script);
    assert_int_equal(config.n_replicas, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(config.replicas[i].drop_rate, drops[i]);
        assert_int_equal(config.replicas[i].port, 7000 + i);
    }
    assert_int_equal(config.replicas[2].n_skips, 2);
    assert_int_equal(config.replicas[2].skips[0], 7);
    assert_int_equal(config.replicas[2].skips[1], 9);
    assert_int_equal(config.replicas[0].n_skips, 1);
    assert_int_equal(run("config check all.json"), EXIT_DONE);
}

static void test_long_names_are_the_same(void **state)
{
    (void)state;
    assert_int_equal(run("config generate 1 -o s.json -m -pa 5 -p 0 6 -s 1 2"), EXIT_DONE);
    assert_int_equal(run("config generate 1 --output l.json --manual --proball 5 --prob 0 6 --skip 1 2"), EXIT_DONE);
    assert_int_equal(system("cmp s.json l.json"), 0);
}

static void test_hosts(void **state)
{
    (void)state;
    assert_int_equal(run("config generate 1 -o hosts.json --host 10.0.0.1,fd00::2,c.example"), EXIT_DONE);
    read_back("hosts.json", &config);
    assert_string_equal(config.replicas[0].host, "10.0.0.1");
    assert_string_equal(config.replicas[1].host, "fd00::2");
    assert_string_equal(config.replicas[2].host, "c.example");
    const char *wrong[] = {"a,b", "a,b,c,d", "a,,c", "a,b,", ",a,b", "a,b,c,"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "config generate 1 -o never.json --host %s", wrong[i]);
        assert_int_equal(run(line), EXIT_USAGE);
    }
}

static void test_wrong_usage_writes_nothing(void **state)
{
    (void)state;
    const char *wrong[] = {"x",        "-1",       "16",         "1 -pa 101",      "1 -p 3 10", "1 -p 0 101",
                           "1 -s 3 1", "1 -s 0 x", "1 --port 0", "1 --port 65534", "1 -p 0",    "1 --port x"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char line[128];
        snprintf(line, sizeof(line), "config generate %s -o never.json", wrong[i]);
        assert_int_equal(run(line), EXIT_USAGE);
        assert_int_equal(access("never.json", F_OK), -1);
    }
}

static void test_keeps_a_file_that_is_there(void **state)
{
    (void)state;
    struct stat before, after;
    assert_int_equal(run("config generate 0 -o there.json"), EXIT_DONE);
    assert_int_equal(stat("there.json", &before), 0);
    assert_int_equal(run("config generate 2 -o there.json"), EXIT_FAILED);
    assert_int_equal(stat("there.json", &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(run("config generate 2 -o there.json --force"), EXIT_DONE);
    read_back("there.json", &config);
    assert_int_equal(config.n_replicas, 5);
}

static void test_names_the_file_as_json(void **state)
{
    (void)state;
    char out[64] = "";
    fflush(stdout);
    int saved = dup(1), file = open("out", O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1);
    int status = run_as(JSON_SHORT, "config generate 0 -o a\"b\\c.json");
    dup2(saved, 1);
    assert_int_equal(status, EXIT_DONE);
    assert_int_equal(pread(file, out, sizeof(out) - 1, 0), strlen("{\"path\":\"a\\\"b\\\\c.json\"}\n"));
    assert_string_equal(out, "{\"path\":\"a\\\"b\\\\c.json\"}\n");
    close(saved);
    close(file);
}

/* A file over its limit of size is the same as a full disk: nothing is left of it. */
static void test_a_file_that_is_not_whole_does_not_stay(void **state)
{
    (void)state;
    const struct rlimit none = {.rlim_cur = 10, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int generated = run("config generate 0 -o cut.json"), made = run("keygen cut.key");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(generated, EXIT_FAILED);
    assert_int_equal(made, EXIT_FAILED);
    assert_int_equal(access("cut.json", F_OK), -1);
    assert_int_equal(access("cut.key", F_OK), -1);
}

static void test_largest(void **state)
{
    (void)state;
    assert_int_equal(run("config generate 15 -o largest.json"), EXIT_DONE);
    read_back("largest.json", &config);
    assert_int_equal(config.n_replicas, 31);
}

static void test_check_refuses(void **state)
{
    (void)state;
    assert_int_equal(run("config check missing.json"), EXIT_CONFIG);
    FILE *f = fopen("broken.json", "w");
    assert_non_null(f);
    fputs("{ \"f\": 1, \"mode\": \"script\",\n \"replica_list\": [] }\n", f);
    fclose(f);
    assert_int_equal(run("config check broken.json"), EXIT_CONFIG);
}

/* A key that the daemon takes as it is, a new one each time, and never in the place of another. */
static void test_keygen(void **state)
{
    (void)state;
    struct seal_keys *first, *second;
    char error[KEYFILE_ERROR_MAX + 1];
    struct stat st;
    mode_t mask = umask(0);
    assert_int_equal(run("keygen"), EXIT_DONE);
    umask(mask);
    assert_int_equal(stat("cluster.key", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keyfile_load("cluster.key", &config, &first, error), 0);
    assert_int_equal(first->n, 1);
    assert_int_equal(run("keygen cluster.key"), EXIT_FAILED);
    assert_int_equal(run("keygen other.key"), EXIT_DONE);
    assert_int_equal(keyfile_load("other.key", &config, &second, error), 0);
    assert_false(keyfile_equal(first, second));
    sodium_free(second);
    assert_int_equal(keyfile_load("cluster.key", &config, &second, error), 0);
    assert_true(keyfile_equal(first, second));
    sodium_free(first);
    sodium_free(second);
    assert_int_equal(run("keygen no/such/place"), EXIT_FAILED);
}

static int enter(void **state)
{
    (void)state;
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return chdir("/") == 0 ? system(command) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_form),
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_long_names_are_the_same),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_wrong_usage_writes_nothing),
        cmocka_unit_test(test_keeps_a_file_that_is_there),
        cmocka_unit_test(test_names_the_file_as_json),
        cmocka_unit_test(test_a_file_that_is_not_whole_does_not_stay),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_check_refuses),
        cmocka_unit_test(test_keygen),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
