/* Texts in and out: UTF-8, JSON strings, escapes, lines, and the words for times and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "ctl/lines.h"
#include "ctl/report.h"
#include "ctl/text.h"
#include "wire/varlink.h"

static void test_utf8(void **state)
{
    (void)state;
    const char *good[] = {
        "", "a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf4\x8f\xbf\xbf"};
    const char *bad[] = {
        "\x80",         "\xc3",         "\xc0\x80", "\xc1\xbf",         "\xe0\x80\x80",     "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xff",         "\xe2\x82", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xc3\x28",     "a\xe2\x28\xa1"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(text_is_utf8(good[i], strlen(good[i]), false));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(text_is_utf8(bad[i], strlen(bad[i]), false));
    assert_false(text_is_utf8("a\0b", 3, false));
    assert_true(text_is_utf8("a\0b", 3, true));
    assert_int_equal(text_columns("a\xc3\xa4\xe2\x82\xac"), 3);
}

/* What we write as a JSON string, the daemon's own parser reads back. */
static void test_json_round_trip(void **state)
{
    (void)state;
    char all[300], reason[VARLINK_REASON_MAX + 1];
    size_t n = 0;
    for (int c = 1; c < 128; c++)
        all[n++] = (char)c;
    memcpy(all + n, "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0\xc3\xa4\xf0\x9f\x98\x80", 15);
    struct buffer b = {0};
    buffer_add_text(&b, "{\"text\":");
    buffer_add_json(&b, all, strlen(all));
    buffer_add_text(&b, "}");
    assert_false(b.failed);
    for (size_t i = 0; i < b.size; i++)
        assert_true((unsigned char)b.bytes[i] >= 0x20 && b.bytes[i] != 0x7f && !text_is_c1(b.bytes + i));
    cJSON *tree = varlink_parse(b.bytes, b.size, reason);
    assert_non_null(tree);
    const char *back = NULL;
    assert_true(varlink_get_string(tree, "text", &back));
    assert_string_equal(back, all);
    cJSON_Delete(tree);
    buffer_done(&b);
}

/* Numbers above 2^53 keep every digit on their way through: a double would not. */
static void test_json_keeps_digits(void **state)
{
    (void)state;
    const char *texts[] = {"{\"a\":9007199254740993,\"b\":[1795456069263972,-1],\"c\":{\"d\":true,\"e\":\"x\\n\"}}",
                           "{}", "{\"l\":[]}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char reason[VARLINK_REASON_MAX + 1];
        struct buffer b = {0};
        cJSON *tree = varlink_parse(texts[i], strlen(texts[i]), reason);
        assert_non_null(tree);
        json_add(&b, tree, false);
        assert_string_equal(b.bytes, texts[i]);
        buffer_done(&b);
        cJSON_Delete(tree);
    }
}

static void test_control_characters(void **state)
{
    (void)state;
    const char text[] = "a\\b\tc\nd\re\x1b[m\x7f\xc3\xa4\xc2\x9b\xc2\xa0\xc2\x80";
    const char *expected[] = {"a\\\\b\\tc\\nd\\re\\x1b[m\\x7f\xc3\xa4\xc2\x9b\xc2\xa0\xc2\x80",
                              "a\\\\b\\tc\\nd\\re\\x1b[m\\x7f\xc3\xa4\\xc2\\x9b\xc2\xa0\\xc2\\x80"};
    for (int terminal = 0; terminal <= 1; terminal++) {
        char out[128] = "";
        FILE *f = fmemopen(out, sizeof(out), "w");
        assert_non_null(f);
        text_print(f, text, terminal);
        fclose(f);
        assert_string_equal(out, expected[terminal]);
    }
}

static void test_times_and_sizes(void **state)
{
    (void)state;
    char time[TEXT_TIME_MAX], text[TEXT_SHORT_MAX];
    time_format(INT64_C(1769903999123456), false, time);
    assert_string_equal(time, "2026-01-31T23:59:59.123456Z");
    time_format(INT64_C(1769903999999999), true, time);
    assert_string_equal(time, "2026-01-31 23:59:59");
    time_format(-1, false, time);
    assert_string_equal(time, "-");
    time_format(INT64_MAX, false, time); /* any number may come from a daemon */
    const struct {
        int64_t n;
        const char *text;
    } durations[] = {{300, "0.3ms"},
                     {12000, "12ms"},
                     {4100000, "4.1s"},
                     {42000000, "42s"},
                     {600000000, "10min"},
                     {7200000000, "2h"},
                     {INT64_C(864000000000), "10d"}};
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        duration_format(durations[i].n, text);
        assert_string_equal(text, durations[i].text);
    }
    const struct {
        int64_t n;
        const char *text;
    } sizes[] = {{0, "0 B"}, {1023, "1023 B"}, {1992294, "1.9 MiB"}, {INT64_C(44023414784), "41 GiB"}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_format(sizes[i].n, text);
        assert_string_equal(text, sizes[i].text);
    }
}

/* Feeds bytes through a pipe in pieces of `step`, and gathers the lines as LINE[LINE]..., "!" for one that is too long.
 */
static void read_lines(const char *bytes, size_t size, size_t step, struct buffer *ret, uint64_t *ret_number)
{
    int ends[2];
    struct lines l;
    size_t at = 0;
    assert_int_equal(pipe(ends), 0);
    lines_init(&l, ends[0]);
    for (;;) {
        const char *line;
        size_t n;
        enum line_result r = lines_next(&l, &line, &n);
        if (r == LINE_READY) {
            buffer_add_text(ret, "[");
            buffer_add(ret, line ? line : "", n);
            buffer_add_text(ret, "]");
        } else if (r == LINE_TOO_LONG) {
            buffer_add_text(ret, "!");
        } else if (l.ended) {
            break;
        } else {
            size_t some = size - at < step ? size - at : step;
            if (some > 0)
                assert_int_equal(write(ends[1], bytes + at, some), (ssize_t)some);
            else if (ends[1] >= 0) {
                close(ends[1]);
                ends[1] = -1;
            }
            at += some;
            assert_int_equal(lines_read(&l), 0);
        }
    }
    *ret_number = l.number;
    lines_done(&l);
    close(ends[0]);
}

static void test_lines(void **state)
{
    (void)state;
    const struct {
        const char *in, *out;
        uint64_t n;
    } cases[] = {{"", "", 0},
                 {"\n", "[]", 1},
                 {"a\nb\n", "[a][b]", 2},
                 {"a\nb", "[a][b]", 2},
                 {"a\n\n\nb\n", "[a][][][b]", 4},
                 {"a", "[a]", 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t step = 1; step < 9; step++) {
            struct buffer b = {0};
            uint64_t n;
            read_lines(cases[i].in, strlen(cases[i].in), step, &b, &n);
            assert_string_equal(b.bytes ? b.bytes : "", cases[i].out);
            assert_int_equal(n, cases[i].n);
            buffer_done(&b);
        }
}

static void test_line_without_end_is_bounded(void **state)
{
    (void)state;
    enum { SIZE = 5 * LINE_BYTES_MAX };
    char *bytes = malloc(SIZE);
    struct buffer b = {0};
    uint64_t n;
    assert_non_null(bytes);
    memset(bytes, 'x', SIZE);
    bytes[0] = '\n';
    bytes[SIZE - 3] = '\n';
    read_lines(bytes, SIZE, 60000, &b, &n);
    assert_string_equal(b.bytes, "[]![xx]");
    assert_int_equal(n, 3);
    buffer_done(&b);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test(test_json_keeps_digits),
        cmocka_unit_test(test_control_characters),
        cmocka_unit_test(test_times_and_sizes),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_line_without_end_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
