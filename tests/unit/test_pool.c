/* The pool of threads is made, or it is said why not; the process does not end by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <uv.h>

#include "host/pool.h"

int __real_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *user);
int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *user);

static int n_allowed, n_made;

int __wrap_uv_thread_create(uv_thread_t *thread, uv_thread_cb entry, void *user)
{
    if (n_made == n_allowed)
        return UV_EAGAIN;
    n_made++;
    return __real_uv_thread_create(thread, entry, user);
}

static void too_few_threads_are_an_error(void **state)
{
    (void)state;
    for (n_allowed = 0; n_allowed <= POOL_THREADS; n_allowed++) {
        n_made = 0;
        assert_int_equal(pool_start(), UV_EAGAIN);
        assert_int_equal(n_made, n_allowed);
    }
    n_made = 0;
    assert_int_equal(pool_start(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_few_threads_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
