/* Percentiles of the load's latencies, against a sorted copy of what went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/histogram.h"
#include "paxos/prng.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct histogram *histogram_new(void)
{
    struct histogram *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    return h;
}

static void test_empty_is_zero(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    assert_int_equal(histogram_percentile(h, 50), 0);
    free(h);
}

static void test_small_values_are_exact(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    for (uint64_t i = 1; i <= 50; i++)
        histogram_add(h, i);
    assert_int_equal(histogram_percentile(h, 0), 1);
    assert_int_equal(histogram_percentile(h, 50), 25);
    assert_int_equal(histogram_percentile(h, 99), 50);
    assert_int_equal(histogram_percentile(h, 100), 50);
    assert_int_equal(h->min, 1);
    free(h);
}

static void test_extremes_have_a_bucket(void **state)
{
    (void)state;
    struct histogram *h = histogram_new();
    histogram_add(h, 0);
    histogram_add(h, UINT64_MAX);
    assert_true(histogram_percentile(h, 50) == 0);
    assert_true(histogram_percentile(h, 100) == UINT64_MAX);
    free(h);
}

static void test_percentiles_are_within_one_in_64(void **state)
{
    (void)state;
    enum { N = 20000 };
    const double percents[] = {1, 10, 50, 90, 95, 99, 99.9, 100};
    static uint64_t values[N];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct histogram *h = histogram_new();
        struct prng p;
        prng_seed(&p, seed);
        for (size_t i = 0; i < N; i++) {
            values[i] = prng_next(&p) >> (prng_next(&p) % 64);
            histogram_add(h, values[i]);
        }
        qsort(values, N, sizeof(values[0]), compare);
        for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
            double rank = percents[i] / 100 * N;
            size_t at = (size_t)rank;
            at = (double)at < rank || at == 0 ? at : at - 1;
            uint64_t exact = values[at], got = histogram_percentile(h, percents[i]);
            if (got < exact || got - exact > exact / 64)
                fail_msg("seed %llu, percentile %g: %llu, exactly %llu", (unsigned long long)seed, percents[i],
                         (unsigned long long)got, (unsigned long long)exact);
        }
        free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_is_zero),
        cmocka_unit_test(test_small_values_are_exact),
        cmocka_unit_test(test_extremes_have_a_bucket),
        cmocka_unit_test(test_percentiles_are_within_one_in_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
