/* How mpaxosctl reads its command line: options, numbers, and the table of verbs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/text.h"
#include "ctl/verbs.h"

static const struct option_spec own[] = {
    {"--from", NULL, "S", "", 1},     {"--count", "-n", "COUNT", "", 2}, {"--follow", "-f", NULL, "", 3},
    {"--proball", "-pa", "R", "", 4}, {"--prob", "-p", "N R", "", 5},    {"--form", NULL, "[=pretty|short]", "", 6},
    {NULL, NULL, NULL, NULL, 0},
};

struct parsed {
    struct arguments a;
    int taken;
    char error[OPTIONS_ERROR_MAX + 1];
};

/* Words in one string with blanks between; they live until the next call. */
static void parse(struct parsed *p, const char *line, bool until_operand)
{
    static char copy[256];
    char *words[32];
    int n = 0;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        words[n++] = word;
    assert_true(arguments_init(&p->a, (size_t)n));
    p->error[0] = '\0';
    p->taken = arguments_read(&p->a, own, NULL, n, words, until_operand, p->error);
}

static void check_value(const struct parsed *p, int id, const char *value)
{
    const struct given *g = arguments_find(&p->a, id);
    assert_non_null(g);
    assert_string_equal(g->values[0], value);
}

static void test_options_and_operands_mix(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "a --from 3 b -n5 - -f -- -n c", false);
    assert_int_equal(p.taken, 10);
    check_value(&p, 1, "3");
    check_value(&p, 2, "5");
    assert_non_null(arguments_find(&p.a, 3));
    const char *operands[] = {"a", "b", "-", "-n", "c"};
    assert_int_equal(p.a.n_operands, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(p.a.operands[i], operands[i]);
    arguments_done(&p.a);
}

static void test_last_one_counts(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--from=1 --from 2 -n 7 --count=8", false);
    check_value(&p, 1, "2");
    check_value(&p, 2, "8");
    arguments_done(&p.a);
}

static void test_single_dash_words(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "-pa 10 -p 2 30 -p 1 40", false);
    check_value(&p, 4, "10");
    assert_int_equal(p.a.n_given, 3);
    assert_int_equal(p.a.given[1].id, 5);
    assert_string_equal(p.a.given[1].values[0], "2");
    assert_string_equal(p.a.given[1].values[1], "30");
    arguments_done(&p.a);
}

static void test_value_that_may_be_left_out(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "--form short", false);
    assert_null(arguments_find(&p.a, 6)->values[0]);
    assert_int_equal(p.a.n_operands, 1);
    arguments_done(&p.a);
    parse(&p, "--form=short", false);
    check_value(&p, 6, "short");
    arguments_done(&p.a);
}

static void test_stops_at_the_verb(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "-n 5 verb --nonsense", true);
    assert_int_equal(p.taken, 2);
    arguments_done(&p.a);
}

static void test_wrong_words(void **state)
{
    (void)state;
    const struct {
        const char *line, *error;
    } wrong[] = {
        {"--what", "--what: no such option"},      {"-x", "-x: no such option"},
        {"-n", "-n needs a value: COUNT"},         {"-p 1", "-p needs two values: N R"},
        {"--follow=1", "--follow takes no value"}, {"-fx", "-fx: no such option"},
        {"--fro 1", "--fro: no such option"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct parsed p;
        parse(&p, wrong[i].line, false);
        assert_int_equal(p.taken, -1);
        assert_string_equal(p.error, wrong[i].error);
        arguments_done(&p.a);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t n = 77;
    const char *wrong[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1.0", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(number_read(wrong[i], 0, UINT64_MAX, &n));
    assert_false(number_read("5", 6, 10, &n));
    assert_false(number_read("11", 6, 10, &n));
    assert_int_equal(n, 77);
    assert_true(number_read("18446744073709551615", 0, UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
    assert_true(number_read("007", 0, 10, &n));
    assert_int_equal(n, 7);
}

static void test_seconds(void **state)
{
    (void)state;
    uint64_t msec = 0;
    const char *wrong[] = {"", "0", "-1", "1s", "nan", "inf", "1e3", "0.0001", "3600001", "."};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(seconds_read(wrong[i], &msec));
    assert_true(seconds_read("2.5", &msec));
    assert_int_equal(msec, 2500);
    assert_true(seconds_read(".001", &msec));
    assert_int_equal(msec, 1);
}

/* A verb's options must not shadow a common one, or it would mean two things. */
static void test_verb_table_is_sound(void **state)
{
    (void)state;
    for (const struct verb *v = verbs; v->name; v++) {
        char *words[2], name[64];
        int n = 0, taken = 0;
        snprintf(name, sizeof(name), "%s", v->name);
        for (char *word = strtok(name, " "); word && n < 2; word = strtok(NULL, " "))
            words[n++] = word;
        assert_ptr_equal(verb_find(words, n, &taken), v);
        assert_int_equal(taken, n);
        assert_non_null(v->summary);
        assert_true(v->operands_min <= v->operands_max);
        for (const struct option_spec *o = v->options; o->name; o++)
            for (const struct option_spec *g = global_options; g->name; g++) {
                assert_string_not_equal(o->name, g->name);
                assert_int_not_equal(o->id, g->id);
                if (o->alias && g->alias)
                    assert_string_not_equal(o->alias, g->alias);
            }
    }
    int taken = 0;
    char *unknown[] = {(char[]){"config"}, (char[]){"nonsense"}};
    assert_null(verb_find(unknown, 2, &taken));
    assert_null(verb_find(unknown, 1, &taken));
    assert_null(verb_find(unknown, 0, &taken));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_and_operands_mix),
        cmocka_unit_test(test_last_one_counts),
        cmocka_unit_test(test_single_dash_words),
        cmocka_unit_test(test_value_that_may_be_left_out),
        cmocka_unit_test(test_stops_at_the_verb),
        cmocka_unit_test(test_wrong_words),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_verb_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
