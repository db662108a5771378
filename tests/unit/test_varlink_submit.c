/* The short way of reading a Submit takes what programs print, and says the same as the long way, whatever it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "paxos/prng.h"
#include "tests/unit/submit_compare.h"

#define HEAD "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":"

enum { ROUNDS = 200000, BYTES_MAX = 512 };

static bool takes(const char *text)
{
    bool plain;
    if (!submit_is_same(text, strlen(text), &plain))
        fail_msg("read in another way: %s", text);
    return plain;
}

static void what_programs_print_is_plain(void **state)
{
    (void)state;
    assert_true(takes(HEAD "{\"text\":\"hello\"}}"));
    assert_true(takes(HEAD "{\"text\":\"h\xc3\xa4llo \xf0\x9f\x98\x80 and more\",\"author\":\"ada\",\"key\":\"k\"}}"));
    assert_true(takes(HEAD "{\"key\":\"k\",\"since\":0,\"timeout_ms\":5000,\"text\":\"1234567812345678\"}}"));
    assert_true(takes(HEAD "{\"since\":123456789012345678,\"text\":\"t\"}}"));
    assert_true(takes("{\"method\": \"org.mpaxos.Replica.Submit\", \"parameters\": {\"text\": \"a\", \"since\": 7}}"));
    assert_true(takes(HEAD "{\"text\":\"\"}}")); /* what is wrong with a value is not said here */
}

static void anything_else_is_parsed(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        HEAD "{}}",
        HEAD "{\"text\":\"a\"}} ",
        HEAD "{\"text\":\"a\"}",
        HEAD "{\"text\":\"a\",}}",
        HEAD "{\"text\":\"a\",\"text\":\"b\"}}",
        HEAD "{\"since\":1,\"since\":2,\"text\":\"a\"}}",
        HEAD "{\"text\":\"a\\n\"}}",
        HEAD "{\"text\":\"a\tb\"}}",
        HEAD "{\"text\":\"12345678\x01\"}}",
        HEAD "{\"text\":\"1234567\x1f\"}}",
        HEAD "{\"text\":\"\xff\"}}",
        HEAD "{\"text\":\"1234567\xc3\"}}",
        HEAD "{\"text\":\"\xed\xa0\x80\"}}",
        HEAD "{\"text\":\"a\",\"since\":01}}",
        HEAD "{\"text\":\"a\",\"since\":-1}}",
        HEAD "{\"text\":\"a\",\"since\":1.0}}",
        HEAD "{\"text\":\"a\",\"since\":1e3}}",
        HEAD "{\"text\":\"a\",\"since\":9223372036854775808}}",
        HEAD "{\"text\":\"a\",\"since\":1234567890123456789}}",
        HEAD "{\"text\":\"a\",\"since\":null}}",
        HEAD "{\"text\":null}}",
        HEAD "{\"text\":7}}",
        HEAD "{\"text\":\"a\",\"colour\":\"red\"}}",
        HEAD "{\"text\":\"a\"},\"oneway\":true}",
        "{\"method\":\"org.mpaxos.Replica.Submits\",\"parameters\":{\"text\":\"a\"}}",
        "{\"parameters\":{\"text\":\"a\"},\"method\":\"org.mpaxos.Replica.Submit\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (takes(texts[i]))
            fail_msg("plain: %s", texts[i]);
    }
}

/* One or a few bytes changed, dropped or doubled. */
static size_t spoil(struct prng *random, char *bytes, size_t size)
{
    static const char likely[] = "\"\\{}[]:,0123456789eE+-. \t\n\x01\x1f\x7f\x80\xc3\xa4\xed\xa0\xff/untf";
    for (uint64_t n = prng_below(random, 3); n > 0 && size > 0; n--) {
        size_t at = (size_t)prng_below(random, size);
        switch (prng_below(random, 4)) {
        case 0:
            memmove(bytes + at, bytes + at + 1, --size - at);
            break;
        case 1:
            memmove(bytes + at + 1, bytes + at, size++ - at);
            break;
        case 2:
            bytes[at] = (char)prng_next(random);
            break;
        default:
            bytes[at] = likely[prng_below(random, sizeof(likely) - 1)];
        }
    }
    return size;
}

static size_t draw_call(struct prng *random, char *ret)
{
    static const char *const parts[] = {"\"text\":\"some text that is longer\"",
                                        "\"text\": \"\xc3\xa4\"",
                                        "\"author\":\"ada\"",
                                        "\"key\":\"k1\"",
                                        "\"since\":17",
                                        "\"timeout_ms\": 250",
                                        "\"text\":\"t\"",
                                        "\"colour\":1"};
    size_t n = (size_t)snprintf(ret, BYTES_MAX, HEAD "{");
    uint64_t n_parts = prng_below(random, 5);
    for (uint64_t i = 0; i < n_parts; i++)
        n += (size_t)snprintf(ret + n, BYTES_MAX - n, "%s%s", i > 0 ? "," : "", parts[prng_below(random, 8)]);
    return n + (size_t)snprintf(ret + n, BYTES_MAX - n, "}}");
}

static void both_ways_say_the_same(void **state)
{
    struct prng random;
    unsigned n_plain = 0;
    (void)state;
    prng_seed(&random, 7);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char bytes[BYTES_MAX + 8];
        bool plain;
        size_t size = spoil(&random, bytes, draw_call(&random, bytes));
        char *exact = malloc(size + 1); /* a sanitizer sees what is read beyond the end */
        assert_non_null(exact);
        memcpy(exact, bytes, size);
        if (!submit_is_same(exact, size, &plain))
            fail_msg("read in another way in round %u: %.*s", i, (int)size, exact);
        n_plain += plain;
        free(exact);
    }
    assert_in_range(n_plain, ROUNDS / 20, ROUNDS - ROUNDS / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_programs_print_is_plain),
        cmocka_unit_test(anything_else_is_parsed),
        cmocka_unit_test(both_ways_say_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
