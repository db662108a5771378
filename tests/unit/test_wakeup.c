/* Another thread wakes the loop: nothing that was sent is missed, however the two run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>

#include "host/wakeup.h"

enum { ROUNDS = 20000 };

struct pair {
    struct wakeup wakeup;
    uint64_t written, seen; /* the first atomic */
};

static void look(void *user)
{
    struct pair *p = user;
    p->seen = __atomic_load_n(&p->written, __ATOMIC_ACQUIRE);
    if (p->seen == ROUNDS)
        uv_close((uv_handle_t *)&p->wakeup.poll, NULL);
}

static void *write_all(void *user)
{
    struct pair *p = user;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        __atomic_store_n(&p->written, i, __ATOMIC_RELEASE);
        wakeup_send(&p->wakeup);
    }
    return NULL;
}

static void the_last_word_is_always_seen(void **state)
{
    struct pair p = {.written = 0};
    uv_loop_t loop;
    pthread_t thread;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(wakeup_init(&p.wakeup, &loop, look, &p), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_all, &p), 0);
    uv_run(&loop, UV_RUN_DEFAULT); /* until it was seen */
    pthread_join(thread, NULL);
    wakeup_done(&p.wakeup);
    assert_int_equal(p.seen, ROUNDS);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void it_sleeps_until_it_is_sent(void **state)
{
    struct pair p = {.written = ROUNDS};
    uv_loop_t loop;
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(wakeup_init(&p.wakeup, &loop, look, &p), 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(p.seen, 0);
    wakeup_send(&p.wakeup);
    uv_run(&loop, UV_RUN_DEFAULT);
    wakeup_done(&p.wakeup);
    assert_int_equal(p.seen, ROUNDS);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_word_is_always_seen),
        cmocka_unit_test(it_sleeps_until_it_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
