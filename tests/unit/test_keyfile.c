/* The file of the cluster key: what is taken, what is refused and why, who may do without, and what a reload does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/reload.h"

#define KEY   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define OTHER "FF0102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"

static char path[] = "/tmp/test_keyfile_XXXXXX", error[KEYFILE_ERROR_MAX + 1];
static struct config config = {.f = 1, .n_replicas = 3};

static void write_key(const char *text, mode_t mode)
{
    int fd;
    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_return_code(fchmod(fd, mode), errno);
    close(fd);
}

static int begin(void **state)
{
    (void)state;
    int fd = sodium_init() >= 0 ? mkstemp(path) : -1;
    return fd >= 0 ? close(fd) : -1;
}

static int end(void **state)
{
    (void)state;
    return unlink(path);
}

static int loopback(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        config.replicas[i].id = (replica_id_t)i;
        strcpy(config.replicas[i].host, "127.0.0.1");
    }
    return 0;
}

static void refuses(const char *why, const char *remedy)
{
    struct seal_keys *keys;
    error[0] = 0;
    assert_int_equal(keyfile_load(path, &config, &keys, error), -1);
    assert_null(keys);
    if (strstr(error, why) == NULL || strstr(error, remedy) == NULL || strstr(error, path) == NULL)
        fail_msg("%s", error);
    assert_null(strstr(error, "0001020304")); /* no key, nor a part of one */
}

static void test_keys(void **state)
{
    (void)state;
    struct seal_keys *keys;
    char line[KEYFILE_LINE_SIZE];
    write_key(KEY "\n" OTHER "\n", 0400);
    assert_int_equal(keyfile_load(path, &config, &keys, error), 0);
    assert_int_equal(keys->n, 2);
    keyfile_line(keys->keys[0], line);
    assert_string_equal(line, KEY);
    assert_int_equal(keys->keys[1][0], 0xff);
    sodium_free(keys);
    write_key(KEY, 0600); /* no line feed at the end */
    assert_int_equal(keyfile_load(path, &config, &keys, error), 0);
    assert_int_equal(keys->n, 1);
    sodium_free(keys);
}

static void test_wrong_text(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "\n",
                                        " " KEY "\n",
                                        KEY " \n",
                                        KEY "\r\n",
                                        KEY "00\n",
                                        "0" KEY "\n",
                                        KEY "\n\n",
                                        "# a remark\n" KEY "\n",
                                        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1\n",
                                        "00010203:4050607:8090a0b:c0d0e0f10111213141516171:191a1b1c1d1e1f\n",
                                        KEY "\nx"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        write_key(wrong[i], 0400);
        refuses("is no cluster key", "mpaxosctl keygen");
    }
    write_key(KEY "\nshort\n", 0400);
    refuses("line 2", "64 hexadecimal");
    write_key(KEY "\n" OTHER "\n" KEY "\n", 0400);
    refuses("line 3", "more than two");
    write_key(KEY "\n" KEY "\n", 0400);
    refuses("line 2", "leave one out");
}

static void test_who_may_touch_it(void **state)
{
    (void)state;
    struct seal_keys *keys;
    for (mode_t mode = 0; mode < 0100; mode++) {
        write_key(KEY "\n", 0400 | mode);
        if (mode != 0)
            refuses("others than its owner", "chmod 0400");
    }
    if (geteuid() != 0)
        skip();
    write_key(KEY "\n", 0400);
    assert_return_code(chown(path, 12345, 0), errno);
    refuses("belongs to the user 12345", "chown 0");
    /* root's own is anybody's, who can read it */
    assert_return_code(chown(path, 0, 0), errno);
    assert_return_code(seteuid(12345), errno);
    refuses("cannot be read", "chown mpaxosd");
    assert_return_code(seteuid(0), errno);
    assert_return_code(chown(path, 12345, 0), errno);
    assert_return_code(seteuid(12345), errno);
    int result = keyfile_load(path, &config, &keys, error);
    assert_return_code(seteuid(0), errno);
    assert_int_equal(result, 0);
    sodium_free(keys);
}

static void test_no_regular_file(void **state)
{
    (void)state;
    unlink(path);
    assert_return_code(mkfifo(path, 0400), errno);
    refuses("no regular file", "cluster key");
    unlink(path);
    assert_return_code(mkdir(path, 0700), errno);
    refuses("no regular file", "cluster key");
    assert_return_code(rmdir(path), errno);
    write_key(KEY "\n", 0400);
}

/* Only where every address is a loopback one. */
static void test_without_one(void **state)
{
    (void)state;
    struct seal_keys *keys;
    unlink(path);
    assert_int_equal(keyfile_load(path, &config, &keys, error), 0);
    assert_null(keys);
    assert_int_equal(keyfile_load(NULL, &config, &keys, error), 0);
    strcpy(config.replicas[1].host, "192.0.2.1");
    refuses("replica 1's address, 192.0.2.1", "mpaxosctl keygen");
    refuses("no cluster key", "install -m 0400 -o mpaxosd -g mpaxosd");
    assert_int_equal(keyfile_load(NULL, &config, &keys, error), -1);
    assert_non_null(strstr(error, "--key-file"));
    write_key(KEY "\n", 0400);
    assert_int_equal(keyfile_load(path, &config, &keys, error), 0);
    sodium_free(keys);
}

static void test_reload(void **state)
{
    (void)state;
    struct seal_keys *running, *file;
    struct reload r = {0};
    char text[64];
    write_key(KEY "\n", 0400);
    assert_int_equal(keyfile_load(path, &config, &running, error), 0);
    assert_true(reload_read_keys(path, &config, running, &file, &r));
    assert_false(reload_apply_keys(&running, file, &r));
    assert_string_equal(reload_list_changed(&r, text, sizeof text), "");
    write_key(OTHER "\n" KEY "\n", 0400);
    assert_true(reload_read_keys(path, &config, running, &file, &r));
    assert_true(reload_apply_keys(&running, file, &r));
    assert_string_equal(reload_list_changed(&r, text, sizeof text), "keys");
    assert_int_equal(running->n, 2);
    assert_int_equal(running->keys[0][0], 0xff);
    write_key(KEY "\n" OTHER "\n", 0400); /* the order counts */
    r = (struct reload){0};
    assert_true(reload_read_keys(path, &config, running, &file, &r));
    assert_true(reload_apply_keys(&running, file, &r));

    write_key(KEY "\n" OTHER "\n", 0440);
    assert_false(reload_read_keys(path, &config, running, &file, &r));
    assert_true(r.failed);
    assert_string_equal(r.path, path);
    assert_true(strncmp(r.reason, "may be read", 11) == 0);
    unlink(path);
    assert_false(reload_read_keys(path, &config, running, &file, &r));
    assert_non_null(strstr(r.reason, "not there any more"));
    assert_int_equal(running->n, 2);
    sodium_free(running);

    running = NULL; /* started without: a stop of all takes it up */
    assert_true(reload_read_keys(path, &config, running, &file, &r));
    assert_false(reload_apply_keys(&running, file, &r));
    assert_string_equal(r.kept[RELOAD_STOP_ALL], "");
    write_key(KEY "\n", 0400);
    assert_true(reload_read_keys(path, &config, running, &file, &r));
    assert_false(reload_apply_keys(&running, file, &r));
    assert_null(running);
    assert_string_equal(r.kept[RELOAD_STOP_ALL], "cluster key");
    assert_string_equal(r.kept[RELOAD_RESTART], "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_keys, loopback),
        cmocka_unit_test_setup(test_wrong_text, loopback),
        cmocka_unit_test_setup(test_who_may_touch_it, loopback),
        cmocka_unit_test_setup(test_no_regular_file, loopback),
        cmocka_unit_test_setup(test_without_one, loopback),
        cmocka_unit_test_setup(test_reload, loopback),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
