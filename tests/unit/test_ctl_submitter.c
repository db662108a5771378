/* Sending in order, exactly once, through replicas that fail in every way that leaves the outcome open (traps 19 and
 * 24). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "tests/unit/fake_replicas.h"

static void send_all(struct submitter *s, uint64_t n)
{
    for (uint64_t i = 0; i < n;) {
        char text[FAKE_TEXT_MAX];
        bool ignored;
        int size = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        if (submitter_add(s, text, (size_t)size, i))
            i++;
        else
            assert_int_equal(submitter_work(s, -1, &ignored), 0);
    }
    if (submitter_drain(s) < 0)
        fail_msg("%s", submitter_failure(s)->text);
}

static void check_log(uint64_t n)
{
    assert_int_equal(history.n, n);
    assert_int_equal(fake.n_log, n);
    for (uint64_t i = 0; i < n; i++) {
        char text[FAKE_TEXT_MAX];
        snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        assert_string_equal(fake.log[i].text, text);
        assert_int_equal(history.slots[i], (int64_t)i + FIRST_SLOT);
    }
}

static void test_in_order_and_once_whatever_fails(void **state)
{
    (void)state;
    const struct place place = {.id = -1, .dir = fake_dir};
    const unsigned windows[] = {1, 2, 16, SUBMITTER_WINDOW_MAX};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        fake_start(seed, seed % 3 == 0 ? 0 : 10, -1);
        fake_go();
        struct submitter *s = submitter_begin(&place, windows[seed % 4], 0, 20000);
        send_all(s, 400);
        submitter_free(s);
        fake_stop();
        check_log(400);
        assert_int_equal(history.n_out_of_order, 0);
    }
}

static void test_losing_own_requests_and_answers(void **state)
{
    (void)state;
    const struct place place = {.id = 1, .dir = fake_dir};
    fake_start(99, 5, -1);
    fake_go();
    struct submitter *s = submitter_begin(&place, SUBMITTER_WINDOW_MAX, 30, 20000);
    send_all(s, 40);
    submitter_free(s);
    fake_stop();
    check_log(40);
    assert_true(fake.n_submits > 40);
}

/* Refused for certain while later ones on the same connection are taken: order breaks, and must not break silently. */
static void test_a_refusal_in_between_is_noticed(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    fake_start(1, 0, 3);
    struct submitter *s = submitter_begin(&place, 8, 0, 5000);
    for (uint64_t i = 0; i < 8; i++)
        assert_true(submitter_add(s, "x", 1, i));
    assert_false(submitter_add(s, "x", 1, 8));
    fake_go();
    assert_int_equal(submitter_drain(s), 0);
    submitter_free(s);
    fake_stop();
    assert_int_equal(history.n, 8);
    assert_int_equal(fake.n_log, 8);
    assert_true(history.n_out_of_order > 0);
}

static void test_goes_on_with_another_when_one_is_mute(void **state)
{
    (void)state;
    const struct place place = {.id = -1, .dir = fake_dir};
    fake_start(1, 0, -1);
    fake.mute_first = true;
    fake_go();
    struct submitter *s = submitter_begin(&place, 1, 0, 5000);
    send_all(s, 3);
    submitter_free(s);
    fake_stop();
    check_log(3);
}

/* What was known before is forgotten by then, where others send enough. */
static void test_a_message_after_a_pause_has_a_new_since(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    fake_start(1, 0, -1);
    fake_go();
    struct submitter *s = submitter_begin(&place, 8, 0, 5000);
    for (uint64_t i = 0; i < 3; i++) {
        for (int half = 0; i == 2 && half < 2; half++)
            usleep(600000);
        assert_true(submitter_add(s, "x", 1, i));
        assert_int_equal(submitter_drain(s), 0);
    }
    submitter_free(s);
    fake_stop();
    assert_int_equal(fake.log[0].since, FIRST_SLOT - 1);
    assert_int_equal(fake.log[1].since, FIRST_SLOT);
    assert_int_equal(fake.log[2].since, FIRST_SLOT + 999);
}

/* A message that an earlier process may have sent stands above a `since` that is older than its whole window. */
static void test_named_messages_have_an_old_since(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    fake_start(1, 0, -1);
    fake_go();
    struct submitter *s = submitter_begin_named(&place, 1, 0, 5000, "letter-", 3);
    send_all(s, 400);
    submitter_free(s);
    fake_stop();
    assert_string_equal(fake.log[399].key, "letter-399");
    for (int64_t i = 0; i < 400; i++)
        assert_int_equal(fake.log[i].since, i < SUBMITTER_WINDOW_MAX ? 3 : history.slots[i - SUBMITTER_WINDOW_MAX]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_and_once_whatever_fails),
        cmocka_unit_test(test_losing_own_requests_and_answers),
        cmocka_unit_test(test_a_refusal_in_between_is_noticed),
        cmocka_unit_test(test_goes_on_with_another_when_one_is_mute),
        cmocka_unit_test(test_a_message_after_a_pause_has_a_new_since),
        cmocka_unit_test(test_named_messages_have_an_old_since),
    };
    return cmocka_run_group_tests(tests, fake_enter, fake_leave);
}
