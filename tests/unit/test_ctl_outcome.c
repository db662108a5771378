/* What is said of messages that were not settled, or refused: chosen, not chosen, or not known, each only where it is
 * so; and how a user goes on from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/submission.h"
#include "tests/unit/fake_replicas.h"

/* What a user is told of one message. */
static void assert_gave_up(const struct submitter *s, enum exit_status status, const char *error, const char *part)
{
    struct failure f = {0};
    submission_gave_up(s, &f);
    assert_int_equal(f.status, status);
    assert_string_equal(f.error, error);
    assert_non_null(strstr(f.text, part));
    failure_done(&f);
}

static void test_gives_up_with_the_reason(void **state)
{
    (void)state;
    const struct place first = {.id = 0, .dir = fake_dir}, nowhere = {.id = 7, .dir = fake_dir};
    fake_start(5, 0, -1);
    fake.mute_first = true;
    fake_go();
    struct submitter *s = submitter_begin(&first, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    /* never got as far as sending it */
    assert_gave_up(s, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", "no replica answered");
    submitter_free(s);
    fake_stop();

    /* nobody listens there any more */
    s = submitter_begin(&first, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_gave_up(s, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", "");
    submitter_free(s);

    s = submitter_begin(&nowhere, 1, 0, 300);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_gave_up(s, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", "");
    submitter_free(s);
}

static void test_unknown_is_not_failed(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    for (unsigned window = 1; window <= 4; window += 3) {
        fake_start(7, 100, -1);
        fake_go();
        struct submitter *s = submitter_begin(&place, window, 0, 400);
        assert_true(submitter_add(s, "x", 1, 0));
        assert_int_equal(submitter_drain(s), -1);
        assert_gave_up(s, EXIT_OUTCOME_UNKNOWN, "org.mpaxos.Replica.Timeout", "--since 9");
        assert_int_equal(submitter_rest(s).first, 0);
        submitter_free(s);
        fake_stop();
        assert_true(fake.n_log <= 1);
    }
}

/* "Not chosen" was said of another attempt than the one that is under way. */
static void test_a_refusal_does_not_tell_of_the_next_attempt(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    const enum fate fates[] = {FATE_NO_QUORUM, FATE_SILENT};
    fake_script(fates, 2);
    fake_go();
    struct submitter *s = submitter_begin(&place, 1, 0, 600);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_gave_up(s, EXIT_OUTCOME_UNKNOWN, "org.mpaxos.Replica.Timeout", "no replica answered in time");
    submitter_free(s);
    fake_stop();
    assert_int_equal(fake.n_log, 1);

    /* and where it is the last one's it is exact */
    fake_script(fates, 1);
    fake_go();
    s = submitter_begin(&place, 1, 0, 600);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    assert_gave_up(s, EXIT_NO_QUORUM, "org.mpaxos.Replica.NoQuorum", "nothing was chosen");
    submitter_free(s);
    fake_stop();
    assert_int_equal(fake.n_log, 0);
}

/* One replica stores the text, and the next one refuses it for a reason that the first had not. */
static void test_a_refusal_does_not_tell_of_the_attempt_before(void **state)
{
    (void)state;
    const struct place place = {.id = -1, .dir = fake_dir};
    const enum fate lost[][2] = {{FATE_CLOSE_AFTER, FATE_TOO_LARGE},
                                 {FATE_TIMEOUT_STORED, FATE_TOO_LARGE},
                                 {FATE_TOO_LARGE, FATE_TOO_LARGE},
                                 {FATE_NO_QUORUM, FATE_TOO_LARGE},
                                 {FATE_CLOSE_BEFORE, FATE_CONFLICT}};
    const enum exit_status expected[] = {EXIT_OUTCOME_UNKNOWN, EXIT_OUTCOME_UNKNOWN, EXIT_FAILED, EXIT_FAILED,
                                         EXIT_FAILED};
    for (size_t i = 0; i < sizeof(lost) / sizeof(lost[0]); i++) {
        fake_script(lost[i], 2);
        fake_go();
        struct submitter *s = submitter_begin(&place, 1, 0, 5000);
        assert_true(submitter_add(s, "x", 1, 0));
        assert_int_equal(submitter_drain(s), 0);
        submitter_free(s);
        fake_stop();
        assert_int_equal(history.n, 1);
        assert_int_equal(history.refused, expected[i]);
        assert_int_equal(fake.n_log, expected[i] == EXIT_OUTCOME_UNKNOWN);
    }
}

static void test_whoever_closes_every_connection_is_asked_with_pauses(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    const enum fate fates[] = {FATE_CLOSE_BEFORE};
    fake_script(fates, 1);
    fake_go();
    struct submitter *s = submitter_begin(&place, 1, 0, 500);
    assert_true(submitter_add(s, "x", 1, 0));
    assert_int_equal(submitter_drain(s), -1);
    submitter_free(s);
    fake_stop();
    assert_in_range(fake.n_connections, 3, 8); /* one every 100 ms, and one at once */
}

/* Lines 5 to 12 of 12 stand, but nobody said so. */
static void test_goes_on_after_a_stop_without_sending_twice(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    /* with the first one's patience no Submit is sent twice */
    const enum fate fates[] = {
        FATE_STORE,  FATE_STORE,  FATE_STORE,  FATE_STORE,  FATE_SILENT, FATE_SILENT, FATE_SILENT,
        FATE_SILENT, FATE_SILENT, FATE_SILENT, FATE_SILENT, FATE_SILENT, FATE_STORE,
    };
    char prefix[SUBMITTER_KEY_PREFIX_MAX + 1], text[FAKE_TEXT_MAX];
    struct failure f = {0};
    bool ignored;
    fake_script(fates, sizeof(fates) / sizeof(fates[0]));
    fake_go();
    struct submitter *s = submitter_begin(&place, 8, 0, 300);
    for (uint64_t i = 0; i < 12;) {
        int size = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        if (submitter_add(s, text, (size_t)size, i))
            i++;
        else
            assert_int_equal(submitter_work(s, -1, &ignored), 0);
    }
    assert_int_equal(submitter_drain(s), -1);
    struct submitter_rest rest = submitter_rest(s);
    assert_int_equal(rest.first, 4);
    assert_true(rest.unknown);
    assert_int_equal(rest.unknown_first, 4);
    assert_int_equal(rest.unknown_last, 11);
    size_t n = strlen(rest.key) - 1;
    assert_string_equal(rest.key + n, "4");
    snprintf(prefix, sizeof(prefix), "%.*s", (int)n, rest.key);
    submission_lines_gave_up(s, false, &f);
    assert_int_equal(f.status, EXIT_OUTCOME_UNKNOWN);
    assert_non_null(strstr(f.text, "line 4: the last attempt ended so: no replica answered in time"));
    assert_non_null(strstr(f.text, "Lines 4 to 11 may be chosen"));
    snprintf(text, sizeof(text), "%lld -", (long long)rest.since);
    assert_non_null(strstr(f.text, text));
    failure_done(&f);

    struct submitter *next = submitter_begin_named(&place, 8, 0, 5000, prefix, rest.since);
    for (uint64_t i = rest.first; i < 12; i++) {
        history.n = i;
        int size = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);
        assert_true(submitter_add(next, text, (size_t)size, i));
    }
    history.n = rest.first;
    assert_int_equal(submitter_drain(next), 0);
    submitter_free(next);
    submitter_free(s);
    fake_stop();
    assert_int_equal(fake.n_log, 12);
    for (size_t i = 0; i < 12; i++) {
        snprintf(text, sizeof(text), "message %zu", i);
        assert_string_equal(fake.log[i].text, text);
        if (i >= 4)
            assert_int_equal(history.slots[i], (int64_t)i + FIRST_SLOT);
    }
}

/* The first of a window was certainly not chosen; of the others nobody knows. */
static void test_lines_tell_which_of_them_are_unknown(void **state)
{
    (void)state;
    const struct place place = {.id = 0, .dir = fake_dir};
    const enum fate fates[] = {FATE_NO_QUORUM};
    struct failure f = {0};
    fake_script(fates, 1);
    struct submitter *s = submitter_begin(&place, 3, 0, 700);
    for (uint64_t i = 7; i < 10; i++)
        assert_true(submitter_add(s, "x", 1, i));
    fake_go();
    assert_int_equal(submitter_drain(s), -1);
    submission_lines_gave_up(s, false, &f);
    assert_int_equal(f.status, EXIT_OUTCOME_UNKNOWN);
    assert_string_equal(f.error, "org.mpaxos.Replica.Timeout");
    assert_non_null(strstr(f.text, "line 7: replica 0: no quorum"));
    assert_non_null(strstr(f.text, "Lines 8 to 9 may be chosen"));
    failure_done(&f);
    submitter_free(s);
    fake_stop();

    fake_script(fates, 1);
    s = submitter_begin(&place, 3, 0, 500);
    assert_true(submitter_add(s, "x", 1, 7));
    fake_go();
    assert_int_equal(submitter_drain(s), -1);
    submission_lines_gave_up(s, false, &f);
    assert_int_equal(f.status, EXIT_NO_QUORUM);
    assert_non_null(strstr(f.text, "From that line on nothing was chosen"));
    assert_non_null(strstr(f.text, "tail -n +7 FILE | mpaxosctl send -"));
    failure_done(&f);
    submitter_free(s);
    fake_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gives_up_with_the_reason),
        cmocka_unit_test(test_unknown_is_not_failed),
        cmocka_unit_test(test_a_refusal_does_not_tell_of_the_next_attempt),
        cmocka_unit_test(test_a_refusal_does_not_tell_of_the_attempt_before),
        cmocka_unit_test(test_whoever_closes_every_connection_is_asked_with_pauses),
        cmocka_unit_test(test_goes_on_after_a_stop_without_sending_twice),
        cmocka_unit_test(test_lines_tell_which_of_them_are_unknown),
    };
    return cmocka_run_group_tests(tests, fake_enter, fake_leave);
}
