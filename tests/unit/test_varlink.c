/* The Varlink codec: what is refused before cJSON sees it, exact integers, calls, framing, and what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paxos/prng.h"
#include "wire/varlink.h"
#include "wire/varlink_scan.h"
#include "wire/varlink_writer.h"

static char reason[VARLINK_REASON_MAX + 1];

static cJSON *parse(const char *text)
{
    reason[0] = 0;
    return varlink_parse(text, strlen(text), reason);
}

static void accepts(const char *text)
{
    cJSON *tree = parse(text);
    if (tree == NULL)
        fail_msg("refused: %s: %s", text, reason);
    cJSON_Delete(tree);
}

static void refuses(const char *text, const char *why)
{
    cJSON *tree = parse(text);
    if (tree != NULL)
        fail_msg("accepted: %s", text);
    if (strcmp(reason, why) != 0)
        fail_msg("%s: refused for \"%s\", not for \"%s\"", text, reason, why);
}

static void test_shape(void **state)
{
    (void)state;
    accepts("{}");
    accepts(" \t\r\n{ } \n");
    accepts("{\"a\":[1,-2.5e+3,true,false,null,\"x\",{},[]]}");
    refuses("", "not a JSON object");
    refuses("[]", "not a JSON object");
    refuses("1", "not a JSON object");
    refuses("\xef\xbb\xbf{}", "not a JSON object");
    refuses("{} {}", "bytes after the object");
    refuses("{}x", "bytes after the object");
    refuses("{", "a string is missing");
    refuses("{\"a\":1", "an object without an end");
    refuses("{\"a\":1,}", "a string is missing");
    refuses("{\"a\" 1}", "a key without a colon");
    refuses("{a:1}", "a string is missing");
    refuses("{\"a\":[1,]}", "not a JSON value");
    refuses("{\"a\":[1 2]}", "an array without an end");
    refuses("{\"a\":}", "not a JSON value");
    refuses("{\"a\":nul}", "not a JSON value");
    refuses("{\"a\":\v1}", "not a JSON value");
    refuses("{\"a\":\"x", "a string without an end");
    assert_null(varlink_parse("{}\0", 3, reason));
    assert_string_equal(reason, "bytes after the object");
}

static void test_numbers_shape(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0", "-0", "10", "1.5", "1e5", "1E-5", "0.0", "-1.25e+10", "9223372036854775808"};
    static const char *const bad[] = {"+1", ".5", "-", "NaN", "Infinity", "-a"};
    static const char *const cut[] = {"01", "1_0", "00", "0x10"};
    char text[128];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(text, sizeof(text), "{\"a\":%s}", good[i]);
        accepts(text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(text, sizeof(text), "{\"a\":%s}", bad[i]);
        refuses(text, "not a JSON value");
    }
    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++) {
        snprintf(text, sizeof(text), "{\"a\":%s}", cut[i]);
        refuses(text, "an object without an end");
    }
    refuses("{\"a\":1.}", "a number without digits after its point");
    refuses("{\"a\":1e}", "a number without digits in its exponent");
    refuses("{\"a\":1e+}", "a number without digits in its exponent");
    char digits[VARLINK_NUMBER_MAX + 2];
    memset(digits, '7', sizeof(digits));
    digits[VARLINK_NUMBER_MAX] = 0;
    snprintf(text, sizeof(text), "{\"a\":%s}", digits);
    accepts(text);
    digits[VARLINK_NUMBER_MAX] = '7';
    digits[VARLINK_NUMBER_MAX + 1] = 0;
    snprintf(text, sizeof(text), "{\"a\":%s}", digits);
    refuses(text, "a number with too many digits");
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"\x7f",         "\xc2\x80",         "\xdf\xbf",
                                       "\xe0\xa0\x80", "\xed\x9f\xbf",     "\xee\x80\x80",
                                       "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x41",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe2\x82",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf0\x9f\x98",
                                      "\xfe",
                                      "\xff"};
    char text[64];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(varlink_utf8_valid(good[i], strlen(good[i])));
        snprintf(text, sizeof(text), "{\"%s\":\"%s\"}", good[i], good[i]);
        accepts(text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(varlink_utf8_valid(bad[i], strlen(bad[i])));
        snprintf(text, sizeof(text), "{\"a\":\"%s\"}", bad[i]);
        refuses(text, "invalid UTF-8");
        snprintf(text, sizeof(text), "{\"%s\":1}", bad[i]);
        refuses(text, "invalid UTF-8");
    }
}

static void test_escapes(void **state)
{
    (void)state;
    cJSON *tree = parse("{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\ud83d\\ude00\"}");
    const char *a = NULL;
    assert_true(varlink_get_string(tree, "a", &a));
    assert_string_equal(a, "\"\\/\b\f\n\r\tA\xc3\xa9\xf0\x9f\x98\x80");
    cJSON_Delete(tree);
    refuses("{\"a\":\"\\u0000\"}", "\\u0000 in a string");
    refuses("{\"a\\u0000\":1}", "\\u0000 in a string");
    refuses("{\"a\":\"\\ud83d\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\ud83dx\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\ud83d\\n\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\ud83d\\ud83d\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\ud83d\\u0041\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\ude00\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\uDFFF\"}", "a lone surrogate in a string");
    refuses("{\"a\":\"\\x41\"}", "an unknown escape in a string");
    refuses("{\"a\":\"\\", "an unknown escape in a string");
    refuses("{\"a\":\"\\u12\"}", "\\u without four hexadecimal digits");
    refuses("{\"a\":\"\\u12g4\"}", "\\u without four hexadecimal digits");
    refuses("{\"a\":\"\n\"}", "a control character in a string");
    refuses("{\"a\":\"\x1f\"}", "a control character in a string");
    assert_null(varlink_parse("{\"a\":\"x\0y\"}", 11, reason));
    assert_string_equal(reason, "a control character in a string");
}

static void test_repeated_keys(void **state)
{
    (void)state;
    accepts("{\"a\":1,\"A\":2,\"b\":{\"a\":1}}");
    refuses("{\"a\":1,\"a\":2}", "a repeated key");
    refuses("{\"a\":1,\"b\":2,\"\\u0061\":2}", "a repeated key");
    refuses("{\"x\":[{\"k\":1,\"k\":1}]}", "a repeated key");
}

static void nested(unsigned depth, char *ret)
{
    char *p = ret;
    p += sprintf(p, "{\"a\":");
    for (unsigned i = 1; i < depth; i++)
        *p++ = '[';
    for (unsigned i = 1; i < depth; i++)
        *p++ = ']';
    sprintf(p, "%s}", depth == 1 ? "0" : "");
}

static void test_limits(void **state)
{
    (void)state;
    char text[128];
    nested(VARLINK_DEPTH_MAX - 1, text);
    accepts(text);
    nested(VARLINK_DEPTH_MAX, text);
    accepts(text);
    nested(VARLINK_DEPTH_MAX + 1, text);
    refuses(text, "nested too deeply");

    size_t size = 4u << 20;
    char *deep = malloc(size);
    memset(deep, '[', size);
    memcpy(deep, "{\"a\":", 5);
    assert_null(varlink_parse(deep, size, reason));
    assert_string_equal(reason, "nested too deeply");

    for (int extra = -1; extra <= 1; extra++) {
        char *p = deep;
        p += sprintf(p, "{");
        for (int i = 0; i < VARLINK_KEYS_MAX + extra; i++)
            p += sprintf(p, "%s\"k%d\":0", i > 0 ? "," : "", i);
        sprintf(p, "}");
        if (extra <= 0)
            accepts(deep);
        else
            refuses(deep, "an object with too many keys");
    }
    /* The object and the array are values too. */
    for (int extra = -1; extra <= 1; extra++) {
        char *p = deep;
        p += sprintf(p, "{\"a\":[0");
        for (int i = 1; i < VARLINK_VALUES_MAX - 2 + extra; i++)
            p += sprintf(p, ",0");
        sprintf(p, "]}");
        if (extra <= 0)
            accepts(deep);
        else
            refuses(deep, "too many values");
    }
    free(deep);
}

static bool read_int(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char message[128];
    snprintf(message, sizeof(message), "{\"s\":\"1\\\"2-3\",\"n\":[7,\"8\"],\"a\":%s,\"z\":9}", text);
    cJSON *tree = parse(message);
    assert_non_null(tree);
    bool ok = varlink_get_int(tree, "a", min, max, ret);
    int64_t z = 0;
    assert_true(varlink_get_int(tree, "z", 0, 9, &z));
    assert_int_equal(z, 9);
    cJSON_Delete(tree);
    return ok;
}

/* cJSON keeps doubles: 2^53 + 1 and 1.79e15 would not survive it. */
static void test_exact_integers(void **state)
{
    (void)state;
    static const int64_t values[] = {0,
                                     1,
                                     -1,
                                     INT32_MAX,
                                     (INT64_C(1) << 53) - 1,
                                     INT64_C(1) << 53,
                                     (INT64_C(1) << 53) + 1,
                                     INT64_C(4500000000000001),
                                     INT64_C(1790000000000000),
                                     INT64_C(1763913600123457),
                                     INT64_MAX - 1,
                                     INT64_MAX,
                                     INT64_MIN};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[32];
        int64_t got = 42;
        snprintf(text, sizeof(text), "%" PRId64, values[i]);
        assert_true(read_int(text, INT64_MIN, INT64_MAX, &got));
        assert_true(got == values[i]);

        cJSON *item = varlink_int(values[i]);
        char *printed = cJSON_PrintUnformatted(item);
        assert_string_equal(printed, text);
        assert_true(varlink_int_read(item, INT64_MIN, INT64_MAX, &got));
        assert_true(got == values[i]);
        free(printed);
        cJSON_Delete(item);
    }
    static const char *const bad[] = {
        "9223372036854775808",    "-9223372036854775809", "1.0", "1.5", "1e3", "1E0", "\"5\"", "true", "[]", "{}",
        "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t got = 42;
        assert_false(read_int(bad[i], INT64_MIN, INT64_MAX, &got));
        assert_int_equal(got, 42);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    int64_t v = 42;
    assert_false(read_int("-1", 0, 100, &v));
    assert_false(read_int("101", 0, 100, &v));
    assert_int_equal(v, 42);
    assert_true(read_int("null", 0, 100, &v));
    assert_int_equal(v, 42);
    assert_true(read_int("0", 0, 100, &v));
    assert_int_equal(v, 0);
    assert_true(read_int("100", 0, 100, &v));
    assert_int_equal(v, 100);
    assert_true(read_int("-0", 0, 100, &v));
    assert_int_equal(v, 0);
}

static void test_getters(void **state)
{
    (void)state;
    cJSON *tree = parse("{\"s\":\"x\",\"b\":true,\"n\":null,\"i\":3}");
    const char *s = NULL;
    bool b = false;
    int64_t i = 0;
    assert_true(varlink_get_string(tree, "s", &s) && strcmp(s, "x") == 0);
    assert_true(varlink_get_bool(tree, "b", &b) && b);
    assert_false(varlink_get_string(tree, "b", &s));
    assert_false(varlink_get_bool(tree, "s", &b));
    assert_false(varlink_get_string(tree, "i", &s));
    assert_false(varlink_get_bool(tree, "i", &b));
    s = NULL;
    b = false;
    assert_true(varlink_get_string(tree, "n", &s) && s == NULL);
    assert_true(varlink_get_bool(tree, "n", &b) && !b);
    assert_true(varlink_get_int(tree, "n", 0, 1, &i));
    assert_true(varlink_get_string(tree, "none", &s) && s == NULL);
    assert_true(varlink_get_string(NULL, "s", &s) && s == NULL);
    assert_true(varlink_has(tree, "s") && !varlink_has(tree, "n") && !varlink_has(tree, "S") &&
                !varlink_has(NULL, "s"));
    static const char *const all[] = {"s", "b", "n", "i", NULL};
    static const char *const some[] = {"s", "b", "i", NULL};
    assert_null(varlink_unknown_key(tree, all));
    assert_string_equal(varlink_unknown_key(tree, some), "n");
    assert_null(varlink_unknown_key(NULL, some));
    cJSON_Delete(tree);
}

static bool call_ok(const char *text)
{
    cJSON *tree = parse(text);
    assert_non_null(tree);
    struct varlink_call call = {0};
    bool ok = varlink_call_read(tree, &call);
    cJSON_Delete(tree);
    return ok;
}

static void test_call_read(void **state)
{
    (void)state;
    cJSON *tree =
        parse("{\"method\":\"a.B\",\"parameters\":{\"x\":1},\"more\":true,\"oneway\":false,\"upgrade\":false}");
    struct varlink_call call;
    assert_true(varlink_call_read(tree, &call));
    assert_string_equal(call.method, "a.B");
    assert_true(call.more && !call.oneway);
    assert_true(varlink_has(call.parameters, "x"));
    cJSON_Delete(tree);

    tree = parse("{\"method\":\"a.B\",\"parameters\":null}");
    assert_true(varlink_call_read(tree, &call));
    assert_null(call.parameters);
    assert_false(call.more || call.oneway);
    cJSON_Delete(tree);

    assert_true(call_ok("{\"method\":\"a.B\"}"));
    assert_false(call_ok("{}"));
    assert_false(call_ok("{\"method\":1}"));
    assert_false(call_ok("{\"method\":null}"));
    assert_false(call_ok("{\"Method\":\"a.B\"}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"parameters\":[]}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"more\":1}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"more\":null}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"oneway\":\"true\"}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"upgrade\":true}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"more\":true,\"oneway\":true}"));
    assert_false(call_ok("{\"method\":\"a.B\",\"id\":1}"));
    assert_false(varlink_call_read(NULL, &call));
}

static void test_call_written(void **state)
{
    (void)state;
    size_t size = 0;
    char *bytes = varlink_call("a.B", NULL, false, false, &size);
    assert_string_equal(bytes, "{\"method\":\"a.B\",\"parameters\":{}}");
    assert_int_equal(size, strlen(bytes) + 1);
    free(bytes);
    cJSON *parameters = cJSON_CreateObject();
    cJSON_AddItemToObject(parameters, "t", varlink_int(INT64_C(1790000000000001)));
    bytes = varlink_call("a.B", parameters, true, false, &size);
    assert_string_equal(bytes, "{\"method\":\"a.B\",\"parameters\":{\"t\":1790000000000001},\"more\":true}");
    free(bytes);
    bytes = varlink_call("a.B", NULL, false, true, &size);
    assert_string_equal(bytes, "{\"method\":\"a.B\",\"parameters\":{},\"oneway\":true}");
    free(bytes);
}

static void expect_next(struct varlink_framer *f, const char *text)
{
    const char *message;
    size_t size;
    assert_true(varlink_framer_next(f, &message, &size));
    assert_int_equal(size, strlen(text));
    assert_memory_equal(message, text, size);
}

static void test_framer(void **state)
{
    (void)state;
    struct varlink_framer f;
    const char *message;
    size_t size;
    varlink_framer_init(&f, 8);
    assert_false(varlink_framer_next(&f, &message, &size));
    assert_int_equal(varlink_framer_add(&f, "ab\0cd\0e", 7), 0);
    expect_next(&f, "ab");
    assert_int_equal(varlink_framer_add(&f, "f", 1), 0);
    expect_next(&f, "cd");
    assert_false(varlink_framer_next(&f, &message, &size));
    assert_int_equal(varlink_framer_add(&f, "\0\0", 2), 0);
    expect_next(&f, "ef");
    expect_next(&f, "");
    assert_false(varlink_framer_next(&f, &message, &size));
    assert_int_equal(varlink_framer_add(&f, "", 0), 0);

    /* One byte at a time, at the limit. */
    for (const char *p = "12345678"; *p != 0; p++) {
        assert_int_equal(varlink_framer_add(&f, p, 1), 0);
        assert_false(varlink_framer_next(&f, &message, &size));
    }
    assert_int_equal(varlink_framer_add(&f, "9", 1), -EMSGSIZE);
    assert_int_equal(varlink_framer_add(&f, "\0", 1), 0);
    expect_next(&f, "12345678");
    /* In one piece, with its NUL, and behind another. */
    assert_int_equal(varlink_framer_add(&f, "1234567\0", 8), 0);
    assert_int_equal(varlink_framer_add(&f, "12345678\0", 9), 0);
    assert_int_equal(varlink_framer_add(&f, "123456789\0", 10), -EMSGSIZE);
    assert_int_equal(varlink_framer_add(&f,
                                        "x\0"
                                        "123456789",
                                        11),
                     -EMSGSIZE);
    expect_next(&f, "1234567");
    expect_next(&f, "12345678");
    varlink_framer_done(&f);
}

/* What is kept is bounded by the limit, whatever comes without a NUL; a large buffer is given back. */
static void test_framer_memory(void **state)
{
    (void)state;
    struct varlink_framer f;
    static char chunk[65536];
    const char *message;
    size_t size;
    memset(chunk, 'x', sizeof(chunk));
    varlink_framer_init(&f, 100000);
    int r = 0;
    for (int i = 0; i < 1600 && r == 0; i++)
        r = varlink_framer_add(&f, chunk, sizeof(chunk));
    assert_int_equal(r, -EMSGSIZE);
    assert_true(f.capacity <= 131072);
    assert_int_equal(varlink_framer_add(&f, "\0", 1), 0);
    assert_true(varlink_framer_next(&f, &message, &size));
    assert_int_equal(size, sizeof(chunk));
    assert_int_equal(varlink_framer_add(&f, "y", 1), 0);
    varlink_framer_fit(&f);
    assert_in_range(f.capacity, 1, 1024);
    assert_int_equal(varlink_framer_add(&f, "\0", 1), 0);
    expect_next(&f, "y");
    assert_int_equal(varlink_framer_add(&f, chunk, sizeof(chunk)) + varlink_framer_add(&f, "", 1), 0);
    assert_true(varlink_framer_next(&f, &message, &size) && !varlink_framer_next(&f, &message, &size));
    assert_int_equal(f.capacity, 0);
    varlink_framer_done(&f);
}

static void written_is(struct varlink_writer *w, const char *text)
{
    assert_false(w->failed);
    varlink_write_bytes(w, "", 1);
    assert_string_equal(w->bytes, text);
    free(w->bytes);
    *w = (struct varlink_writer){0};
}

static void test_writer(void **state)
{
    (void)state;
    struct varlink_writer w = {0};
    varlink_write_open(&w, NULL, '{');
    varlink_write_int(&w, "i", INT64_MIN);
    varlink_write_uint(&w, "u", UINT64_MAX);
    varlink_write_bool(&w, "b", false);
    varlink_write_open(&w, "a", '[');
    varlink_write_int(&w, NULL, 1);
    varlink_write_string(&w, NULL, "x");
    varlink_write_open(&w, NULL, '{');
    varlink_write_close(&w, '}');
    varlink_write_open(&w, NULL, '[');
    varlink_write_close(&w, ']');
    varlink_write_close(&w, ']');
    varlink_write_string(&w, "s", "");
    varlink_write_close(&w, '}');
    written_is(&w,
               "{\"i\":-9223372036854775808,\"u\":9223372036854775807,\"b\":false,\"a\":[1,\"x\",{},[]],\"s\":\"\"}");
}

static void test_writer_strings(void **state)
{
    (void)state;
    struct varlink_writer w = {0};
    varlink_write_text(&w, NULL, "\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9[\0]", 16);
    written_is(&w, "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9[\\u0000]\"");
    varlink_write_string(&w, NULL, "a\xff\xc2z\xed\xa0\x80");
    written_is(&w, "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    /* A bracket at a string's end is no open place. */
    varlink_write_open(&w, NULL, '[');
    varlink_write_string(&w, NULL, "[");
    varlink_write_string(&w, NULL, ":");
    varlink_write_close(&w, ']');
    written_is(&w, "[\"[\",\":\"]");
}

/* Random bytes, and texts with a few bytes changed: whatever the scan lets pass, cJSON reads too, every number keeps
 * its own text, and strings come back as they were when they are written again. */
static void test_random(void **state)
{
    (void)state;
    static const char seed_text[] =
        "{\"method\":\"a.B\",\"parameters\":{\"text\":\"h\\u00e9\\ud83d\\ude00\\n\",\"since\":"
        "-12,\"x\":[1.5e3,true,null,{}]},\"more\":false}";
    struct prng prng;
    prng_seed(&prng, 20240607);
    unsigned n_accepted = 0;
    for (int i = 0; i < 200000; i++) {
        char text[sizeof(seed_text)];
        size_t size = sizeof(text) - 1;
        memcpy(text, seed_text, sizeof(text));
        for (uint64_t n = prng_below(&prng, 3) + 1; n > 0; n--) {
            static const char likely[] = "{}[]\",:0e.-\\u \xc3\x80";
            uint64_t c = prng_next(&prng) >> 20;
            text[prng_below(&prng, size)] = c % 4 == 0 ? (char)(c >> 8) : likely[(c >> 8) % (sizeof(likely) - 1)];
        }
        if (prng_below(&prng, 8) == 0)
            size = prng_below(&prng, size);
        char *copy = malloc(size);
        if (size > 0)
            memcpy(copy, text, size);
        const char *why = NULL;
        bool scanned = varlink_scan(copy, size, &why);
        cJSON *tree = varlink_parse(copy, size, reason);
        assert_true(scanned || (tree == NULL && why != NULL));
        assert_true(!scanned || tree != NULL || strcmp(reason, "a repeated key") == 0);
        n_accepted += tree != NULL;
        char *printed = tree != NULL ? cJSON_PrintUnformatted(tree) : NULL;
        if (printed != NULL) {
            cJSON *again = varlink_parse(printed, strlen(printed), reason);
            assert_true(cJSON_Compare(tree, again, true));
            cJSON_Delete(again);
        }
        free(printed);
        cJSON_Delete(tree);
        free(copy);
    }
    assert_true(n_accepted > 1000);
}

static void test_interface_texts(void **state)
{
    (void)state;
    assert_non_null(strstr(varlink_interface_text("org.mpaxos.Replica"), "\ninterface org.mpaxos.Replica\n"));
    assert_non_null(strstr(varlink_interface_text("org.varlink.service"), "\ninterface org.varlink.service\n"));
    assert_null(varlink_interface_text("org.mpaxos"));
    assert_null(varlink_interface_text(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_numbers_shape),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_repeated_keys),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_exact_integers),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_call_read),
        cmocka_unit_test(test_call_written),
        cmocka_unit_test(test_framer),
        cmocka_unit_test(test_framer_memory),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_strings),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_interface_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
