/* The pool of values: sizes, and the memory of small ones that it keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/values.h"

enum { VALUES = 5000, KEPT_BYTES_MOST = 1 << 20 };

/* Each may be written whole, whatever of that size was there before. */
static void sizes_of_all_kinds_come_and_go(void **state)
{
    (void)state;
    struct values pool;
    struct value *all[64];
    values_init(&pool);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 64; i++) {
            all[i] = values_new(&pool, 40 * i);
            assert_non_null(all[i]);
            assert_int_equal(all[i]->size, 40 * i);
            memset(all[i]->bytes, (int)i, all[i]->size);
        }
        for (uint32_t i = 0; i < 64; i++) {
            for (uint32_t k = 0; k < all[i]->size; k++)
                assert_int_equal(all[i]->bytes[k], i);
            values_discard(all[i]);
        }
    }
    assert_ptr_equal(pool.all.next, &pool.all);
    values_done(&pool);
}

static void what_is_kept_is_bounded(void **state)
{
    (void)state;
    struct values pool;
    struct value **all = calloc(VALUES, sizeof(struct value *));
    assert_non_null(all);
    values_init(&pool);
    for (uint32_t i = 0; i < VALUES; i++)
        all[i] = values_new(&pool, 500);
    for (uint32_t i = 0; i < VALUES; i++)
        values_discard(all[i]);
    assert_true(pool.kept_bytes <= KEPT_BYTES_MOST);
    size_t kept_bytes = pool.kept_bytes;
    for (uint32_t i = 0; i < VALUES; i++)
        all[i] = values_new(&pool, 500);
    assert_int_equal(pool.kept_bytes, 0);
    for (uint32_t i = 0; i < VALUES; i++)
        values_discard(all[i]);
    assert_int_equal(pool.kept_bytes, kept_bytes);
    values_done(&pool); /* the sanitizer tells what is left */
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_all_kinds_come_and_go),
        cmocka_unit_test(what_is_kept_is_bounded),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
