/* A configuration read again: what is taken up, what is left alone and named, and that a wrong file changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chatlog_fixture.h"
#include "host/reload.h"

enum { SELF = 1 };

static char path[64];
static struct config running, file;
static struct reload result;

static void write_file(const char *options, const char *own)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f,
            "{ \"f\": 1, \"mode\": \"manual\",%s\n"
            "  \"replica_list\": [\n"
            "    { \"id\": 0, \"ip\": \"127.0.0.1\", \"port\": 6000, \"skip_slot\": [], \"drop_rate\": 0 },\n"
            "    { \"id\": 1, \"ip\": \"127.0.0.1\", \"port\": 6001, %s },\n"
            "    { \"id\": 2, \"ip\": \"127.0.0.1\", \"port\": 6002, \"skip_slot\": [], \"drop_rate\": 0 } ] }\n",
            options, own);
    assert_int_equal(fclose(f), 0);
}

static int begin(void **state)
{
    if (fixture_begin(state) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/c:1:.json", fixture.base); /* a name that looks like an error's */
    return 0;
}

static int end(void **state)
{
    unlink(path);
    return fixture_end(state);
}

/* What runs is the plain file. */
static int start(void **state)
{
    char error[CONFIG_ERROR_MAX + 1];

    if (fixture_empty(state) < 0)
        return -1;
    write_file("", "\"skip_slot\": [2], \"drop_rate\": 10");
    return config_read(path, &running, error);
}

static bool reload(replica_id_t self)
{
    if (!reload_read(path, self, &file, &result))
        return false;
    reload_apply(&running, &file, self, &result);
    return true;
}

static const char *changed(void)
{
    static char text[128];

    return reload_list_changed(&result, text, sizeof text);
}

static void assert_kept(const char *restart, const char *settled)
{
    assert_string_equal(result.kept[RELOAD_RESTART], restart);
    assert_string_equal(result.kept[RELOAD_STOP_ALL], "");
    assert_string_equal(result.kept[RELOAD_SETTLED], settled);
}

static void test_nothing(void **state)
{
    const struct config before = running;

    (void)state;
    assert_true(reload(SELF));
    assert_string_equal(changed(), "");
    assert_kept("", "");
    assert_memory_equal(&running, &before, sizeof running);
}

static void test_what_can_change(void **state)
{
    (void)state;
    write_file("\"log_format\": \"json\", \"flush_interval_s\": 3, \"retain_mb\": 64,",
               "\"skip_slot\": [3], \"drop_rate\": 11");
    assert_true(reload(SELF));
    assert_string_equal(changed(), "drop_rate, skip_slot, log_format, flush_interval_s, retain_mb");
    assert_kept("", "");
    assert_int_equal(config_find(&running, SELF)->drop_rate, 11);
    assert_int_equal(config_find(&running, SELF)->n_skips, 1);
    assert_int_equal(config_find(&running, SELF)->skips[0], 3);
    assert_int_equal(running.log_format, LOG_FORMAT_JSON);
    assert_int_equal(running.flush_interval_s, 3);
    assert_int_equal(running.retain_mb, 64);
    assert_true(reload(SELF)); /* the second time it is in force */
    assert_string_equal(changed(), "");
    write_file("", "\"skip_slot\": [2, 3], \"drop_rate\": 0"); /* back to defaults, one slot more */
    assert_true(reload(SELF));
    assert_string_equal(changed(), "drop_rate, skip_slot, log_format, flush_interval_s, retain_mb");
    assert_int_equal(running.log_format, LOG_FORMAT_FULL);
}

static void test_another_ones_faults_are_not_ours(void **state)
{
    (void)state;
    write_file("", "\"skip_slot\": [9], \"drop_rate\": 50");
    assert_true(reload(0));
    assert_string_equal(changed(), "");
}

static void test_what_cannot_change(void **state)
{
    const struct config before = running;

    (void)state;
    write_file("\"cluster\": \"other\", \"heartbeat_ms\": 60, \"message_bytes_max\": 100, \"datagram_bytes\": 512, "
               "\"dedup_slots\": 5,",
               "\"skip_slot\": [2], \"drop_rate\": 10");
    assert_true(reload(SELF));
    assert_string_equal(changed(), "");
    assert_kept("heartbeat_ms, message_bytes_max, datagram_bytes", "cluster, dedup_slots");
    assert_memory_equal(&running, &before, sizeof running);
}

static void test_members_cannot_change(void **state)
{
    static const char old[] = "\"port\": 6000", new[] = "\"port\": 6099";
    char text[2048], error[CONFIG_ERROR_MAX + 1];
    FILE *f = fopen(path, "r");
    size_t size = fread(text, 1, sizeof text - 1, f);

    (void)state;
    text[size] = '\0';
    fclose(f);
    char *port = strstr(text, old);
    memcpy(port, new, strlen(new));
    assert_int_equal(config_parse(path, text, size, &file, error), 0);
    result = (struct reload){0};
    reload_apply(&running, &file, SELF, &result);
    assert_kept("replica_list (addresses)", "");
    assert_int_equal(running.replicas[0].port, 6000);
    file = running;
    file.replicas[2].id = 7;
    reload_apply(&running, &file, SELF, &result);
    assert_kept("", "replica_list (ids)");
    assert_int_equal(running.replicas[2].id, 2);
}

static void test_a_wrong_file_changes_nothing(void **state)
{
    const struct config before = running;

    (void)state;
    write_file("\"log_format\": \"jsn\",", "\"skip_slot\": [3], \"drop_rate\": 11");
    assert_false(reload(SELF));
    assert_true(result.failed);
    assert_string_equal(result.path, path);
    assert_int_equal(result.line, 1);
    assert_string_equal(result.reason, "log_format: is \"jsn\"; write \"full\", \"plain\" or \"json\"");
    write_file("", "\"skip_slot\": [3], \"drop_rate\": 101");
    assert_false(reload(SELF));
    assert_int_equal(result.line, 4);
    assert_memory_equal(&running, &before, sizeof running);
}

static void test_no_file(void **state)
{
    (void)state;
    unlink(path);
    assert_false(reload(SELF));
    assert_non_null(strstr(result.reason, "No such file"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(reload(SELF)); /* would wait for a writer for ever */
    assert_int_equal(result.line, 0);
    assert_string_equal(result.reason, "JSON: it is no regular file; put one there");
    unlink(path);
}

static void test_this_replica_is_gone_from_it(void **state)
{
    (void)state;
    assert_false(reload(9));
    assert_int_equal(result.line, 0);
    assert_non_null(strstr(result.reason, "this replica, 9, is not in it"));
}

/* --- another log_format between two flushes, and after one that was cut off --- */

static void flush_ok(struct chatlog *c, slot_t upto)
{
    uint64_t messages;

    fixture.history.chosen = upto;
    if (chatlog_flush(c, upto, fixture_read, &fixture.history, &messages, fixture.error) != 0)
        fail_msg("%s", fixture.error);
}

static void expect_both_formats(slot_t first, slot_t last)
{
    struct line_buffer a = fixture_lines(LOG_FORMAT_FULL, 1, first);
    struct line_buffer b = fixture_lines(LOG_FORMAT_JSON, first + 1, last);
    char *text = malloc(FIXTURE_FILE_MAX);
    size_t size = fixture_read_file(fixture.log_path, text);

    assert_int_equal(size, a.size + b.size);
    assert_memory_equal(text, a.bytes, a.size);
    assert_memory_equal(text + a.size, b.bytes, b.size);
    free(a.bytes);
    free(b.bytes);
    free(text);
}

static void test_format_changes_between_flushes(void **state)
{
    struct chatlog *c = fixture_open(LOG_FORMAT_FULL);

    (void)state;
    flush_ok(c, 10);
    chatlog_set_format(c, LOG_FORMAT_JSON);
    flush_ok(c, 20);
    chatlog_close(c);
    expect_both_formats(10, 20);
}

/* Whatever piece of the old flush stands behind the mark is completed in the old format: no line twice, none torn. */
static void test_format_changes_after_a_cut(void **state)
{
    struct line_buffer whole = fixture_lines(LOG_FORMAT_FULL, 1, 20);
    struct snapshot s = fixture_take(10);
    char *text = malloc(FIXTURE_FILE_MAX);

    (void)state;
    for (size_t size = s.log_size; size <= whole.size; size++) {
        fixture_write_file(fixture.mark_path, s.mark, s.mark_size);
        fixture_write_file(fixture.log_path, whole.bytes, size);
        struct chatlog *c = fixture_open(LOG_FORMAT_FULL);
        chatlog_set_format(c, LOG_FORMAT_JSON);
        flush_ok(c, 20);
        chatlog_close(c);
        size_t now = fixture_read_file(fixture.log_path, text);
        slot_t cut = 10; /* the last slot in the old format: the one whose line the cut was in */
        while (true) {
            struct line_buffer old = fixture_lines(LOG_FORMAT_FULL, 1, cut);
            bool reached = old.size >= size;
            free(old.bytes);
            if (reached)
                break;
            cut++;
        }
        expect_both_formats(cut, 20);
        assert_true(now >= size);
    }
    free(text);
    free(whole.bytes);
    fixture_drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing, start),
        cmocka_unit_test_setup(test_what_can_change, start),
        cmocka_unit_test_setup(test_another_ones_faults_are_not_ours, start),
        cmocka_unit_test_setup(test_what_cannot_change, start),
        cmocka_unit_test_setup(test_members_cannot_change, start),
        cmocka_unit_test_setup(test_a_wrong_file_changes_nothing, start),
        cmocka_unit_test_setup(test_no_file, start),
        cmocka_unit_test_setup(test_this_replica_is_gone_from_it, start),
        cmocka_unit_test_setup(test_format_changes_between_flushes, start),
        cmocka_unit_test_setup(test_format_changes_after_a_cut, start),
    };
    alarm(60); /* a hang is a failure */
    return cmocka_run_group_tests(tests, begin, end);
}
