/* Flushes of one replica and of all: slices, peers that repeat, answer or stay silent. The chat log file is real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "host/flushes.h"

enum { SENT_MAX = 64, MS = 1000 };

struct sent {
    replica_id_t to;
    struct message m;
};

struct fixture {
    char dir[32], path[64];
    struct chatlog *chatlog;
    struct flushes *f;
    slot_t chosen;
    size_t text_size; /* of each message, at least */
    int read_error;
    slot_t rotten; /* 0: none */
    uint64_t nonce;
    size_t n_started, n_sent, n_results, n_answers;
    struct chatlog_gap skipped;
    uint64_t now_usec;
    struct sent sent[SENT_MAX];
    struct flush_result results[REPLICAS_MAX];
    char texts[REPLICAS_MAX][512];
};

/* Every slot from 1 on is a message. */
static int read_messages(void *user, slot_t from, size_t n_max, size_t bytes_max,
                         bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next)
{
    static char text[FLUSH_SLICE_BYTES / 40 + 24];
    struct fixture *x = user;
    size_t n = 0;
    (void)bytes_max;
    memset(text, 'x', sizeof(text));
    if (x->read_error != 0)
        return x->read_error;
    if (from == 0)
        from = 1;
    while (n < n_max && from <= x->chosen) {
        if (from == x->rotten) {
            *ret_next = from;
            return n > 0 ? (int)n : -EBADMSG;
        }
        struct log_message m = {.slot = from, .author = "a", .author_size = 1, .text = text};
        size_t size = (size_t)snprintf(text, sizeof(text), "%lu", (unsigned long)from++);
        text[size] = 'x';
        m.text_size = size < x->text_size ? x->text_size : size;
        n++;
        if (!each(each_user, &m))
            break;
    }
    *ret_next = from;
    return (int)n;
}

static slot_t hold(void *user, slot_t from, slot_t upto)
{
    const struct fixture *x = user;
    slot_t last = x->chosen < upto ? x->chosen : upto;
    return last < from ? from - 1 : last;
}

static void start(void *user)
{
    struct fixture *x = user;
    x->n_started++;
}

static void skipped(void *user)
{
    struct fixture *x = user;
    x->skipped = flushes_gap(x->f);
}

/* Begins a slice and has it done, and what came of it told. False: there is none to do. */
static bool work(struct fixture *x, slot_t applied)
{
    size_t before = x->n_started;
    flushes_work(x->f, applied, x->now_usec);
    if (x->n_started == before)
        return false;
    assert_true(flushes_is_running(x->f));
    flushes_run(x->f);
    flushes_finish(x->f);
    return true;
}

static uint64_t draw(void *user)
{
    struct fixture *x = user;
    return ++x->nonce;
}

static void send_message(void *user, replica_id_t to, const struct message *m)
{
    struct fixture *x = user;
    assert_true(x->n_sent < SENT_MAX);
    x->sent[x->n_sent++] = (struct sent){.to = to, .m = *m};
}

static void answer(void *user, const struct flush_result *results, size_t n)
{
    struct fixture *x = user;
    x->n_answers++;
    x->n_results = n;
    for (size_t i = 0; i < n; i++) {
        x->results[i] = results[i];
        snprintf(x->texts[i], sizeof(x->texts[i]), "%s", results[i].text);
    }
}

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof(*x));
    char error[CONFIG_ERROR_MAX + 1];
    replica_id_t others[] = {0, 2};
    assert_non_null(x);
    strcpy(x->dir, "/tmp/mpaxos-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    snprintf(x->path, sizeof(x->path), "%s/log", x->dir);
    assert_int_equal(chatlog_open(x->dir, x->path, LOG_FORMAT_PLAIN, &x->chatlog, error), 0);
    struct flushes_options o = {.chatlog = x->chatlog,
                                .self = 1,
                                .others = others,
                                .n_others = 2,
                                .hold = hold,
                                .start = start,
                                .skipped = skipped,
                                .read = read_messages,
                                .read_user = x,
                                .draw = draw,
                                .send = send_message,
                                .user = x};
    x->f = flushes_new(&o);
    assert_non_null(x->f);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    char command[64];
    flushes_free(x->f);
    chatlog_close(x->chatlog);
    snprintf(command, sizeof(command), "rm -r %s", x->dir);
    assert_int_equal(system(command), 0);
    free(x);
    return 0;
}

static struct message flush_request(replica_id_t from, uint64_t nonce, slot_t upto)
{
    return (struct message){.type = MESSAGE_FLUSH, .from = from, .flush = {.nonce = nonce, .upto = upto}};
}

static void an_own_flush_works_in_slices(void **state)
{
    struct fixture *x = *state;
    x->chosen = FLUSH_SLICE_SLOTS + FLUSH_SLICE_SLOTS_MAX + 5;
    assert_int_not_equal(flushes_request(x->f, false, x->chosen, 1000, 0, answer, x), 0);
    assert_true(work(x, x->chosen));
    assert_int_equal(flushes_flushed(x->f), FLUSH_SLICE_SLOTS);
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 0);
    assert_true(work(x, x->chosen));
    assert_true(work(x, x->chosen));
    assert_false(work(x, x->chosen));
    assert_int_equal(flushes_next_usec(x->f), 0);
    flushes_tick(x->f, 2);
    assert_int_equal(x->n_answers, 1);
    assert_int_equal(x->n_results, 1);
    assert_int_equal(x->results[0].replica, 1);
    assert_true(x->results[0].ok);
    assert_int_equal(x->results[0].slot, x->chosen);
    assert_int_equal(x->results[0].messages, x->chosen);
    assert_string_equal(x->texts[0], x->path);
    assert_int_equal(flushes_next_usec(x->f), UINT64_MAX);
    assert_false(work(x, x->chosen)); /* nobody waits */
}

static void slices_have_about_so_many_bytes(void **state)
{
    struct fixture *x = *state;
    x->chosen = 50 * (slot_t)FLUSH_SLICE_SLOTS;
    x->text_size = FLUSH_SLICE_BYTES / 40;
    assert_int_not_equal(flushes_request(x->f, false, x->chosen, 1000, 0, answer, x), 0);
    assert_true(work(x, x->chosen));
    slot_t flushed = flushes_flushed(x->f);
    assert_int_equal(flushed, FLUSH_SLICE_SLOTS);
    assert_true(work(x, x->chosen));
    assert_in_range(flushes_flushed(x->f) - flushed, 35, 40);
    flushed = flushes_flushed(x->f);
    x->text_size = 1;
    assert_true(work(x, x->chosen));
    assert_in_range(flushes_flushed(x->f) - flushed, 35, 40);
    assert_true(work(x, x->chosen));
    assert_false(work(x, x->chosen));
    assert_int_equal(flushes_flushed(x->f), x->chosen);
}

static void a_failure_is_told_with_its_reason(void **state)
{
    struct fixture *x = *state;
    x->chosen = 5;
    x->read_error = -EBADMSG;
    flushes_request(x->f, false, 5, 1000, 0, answer, x);
    assert_true(work(x, 5));
    assert_false(work(x, 5));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 1);
    assert_false(x->results[0].ok);
    assert_true(strlen(x->texts[0]) > 0);
    x->read_error = 0;
    flushes_request(x->f, false, 5, 1000, 0, answer, x); /* and nothing is lost by it */
    while (work(x, 5))
        continue;
    flushes_tick(x->f, 2);
    assert_true(x->results[0].ok);
    assert_int_equal(x->results[0].messages, 5);
}

/* But for those whose slots it got to. */
static void a_failure_behind_what_was_asked_for_is_not_told(void **state)
{
    struct fixture *x = *state;
    x->chosen = 9;
    x->rotten = 7;
    flushes_request(x->f, false, 9, 1000, 0, answer, x);
    flushes_request(x->f, false, 5, 1000, 0, answer, x);
    assert_true(work(x, 9));
    assert_int_equal(flushes_flushed(x->f), 6);
    assert_false(work(x, 9));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 2);
    assert_true(x->results[0].ok); /* the second one's */
    assert_string_equal(x->texts[0], x->path);
    flushes_request(x->f, false, 9, 1000, 0, answer, x);
    assert_true(work(x, 9));
    assert_false(work(x, 9));
    flushes_tick(x->f, 2);
    assert_int_equal(x->n_answers, 3);
    assert_false(x->results[0].ok);
}

/* What is asked for while a slice is written waits for it, and what has not come to an end is told. */
static void one_slice_is_written_at_a_time(void **state)
{
    struct fixture *x = *state;
    x->chosen = 5;
    flushes_request(x->f, false, 5, 60000, 0, answer, x);
    flushes_work(x->f, 5, 1);
    assert_int_equal(x->n_started, 1);
    x->chosen = 7;
    flushes_request(x->f, false, 7, 60000, 0, answer, x);
    flushes_work(x->f, 7, FLUSH_SLOW_USEC);
    assert_string_equal(flushes_trouble(x->f), "");
    flushes_run(x->f);
    assert_int_equal(flushes_flushed(x->f), 0); /* the other thread knows, this one does not yet */
    flushes_work(x->f, 7, FLUSH_SLOW_USEC + 1);
    assert_int_equal(x->n_started, 1);
    assert_non_null(strstr(flushes_trouble(x->f), x->path));
    flushes_tick(x->f, 2);
    assert_int_equal(x->n_answers, 0);
    assert_true(flushes_finish(x->f));
    assert_string_equal(flushes_trouble(x->f), "");
    assert_int_equal(flushes_flushed(x->f), 5);
    assert_true(work(x, 7));
    flushes_tick(x->f, 3);
    assert_int_equal(x->n_answers, 1);
    assert_false(work(x, 7));
    flushes_tick(x->f, 4);
    assert_int_equal(x->n_answers, 2);
    assert_int_equal(x->results[0].messages, 7);
}

/* The journal has no COMMIT of it yet: it is begun once there is one. */
static void what_cannot_be_read_yet_is_waited_for(void **state)
{
    struct fixture *x = *state;
    x->chosen = 0;
    flushes_request(x->f, false, 5, 1000, 0, answer, x);
    assert_false(work(x, 5));
    x->chosen = 3;
    assert_true(work(x, 5));
    assert_int_equal(flushes_flushed(x->f), 3);
    assert_false(work(x, 5));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 0);
    x->chosen = 5;
    assert_true(work(x, 5));
    assert_false(work(x, 5));
    flushes_tick(x->f, 2);
    assert_int_equal(x->n_answers, 1);
}

/* What is not to be had is passed over, also where a slice failed on it meanwhile: who asked for it is told, who asks
 * from then on is not. */
static void what_is_not_to_be_had_is_passed_over(void **state)
{
    struct fixture *x = *state;
    char text[CONFIG_ERROR_MAX];
    x->chosen = 9;
    flushes_request(x->f, false, 9, 1000, 0, answer, x);
    flushes_work(x->f, 9, 0);
    x->read_error = -ERANGE;
    flushes_run(x->f);
    x->read_error = 0;
    flushes_skip(x->f, 4);
    flushes_skip(x->f, 3);
    assert_false(flushes_finish(x->f));
    assert_int_equal(x->skipped.last, 0);
    assert_true(work(x, 9));
    assert_int_equal(x->skipped.first, 1);
    assert_int_equal(x->skipped.last, 4);
    assert_false(work(x, 9));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 1);
    assert_false(x->results[0].ok);
    assert_int_equal(x->results[0].messages, 5);
    snprintf(text, sizeof(text),
             "slots 1 to 4 are not to be had any more, and are missing in %s; take another replica's file where the "
             "whole log is wanted",
             x->path);
    assert_string_equal(x->texts[0], text);
    flushes_request(x->f, false, 9, 1000, 0, answer, x);
    assert_true(work(x, 9));
    assert_false(work(x, 9));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 2);
    assert_true(x->results[0].ok);
    flushes_skip(x->f, 12); /* nobody waits, and it is done nevertheless */
    assert_true(work(x, 9));
    assert_int_equal(x->skipped.first, 10);
    assert_int_equal(flushes_flushed(x->f), 12);
    assert_false(work(x, 9));
}

/* It is told, and tried again now and then, not at once and for ever. */
static void a_skip_that_fails_is_tried_again(void **state)
{
    struct fixture *x = *state;
    char away[40];
    snprintf(away, sizeof(away), "%s.away", x->dir);
    x->chosen = 9;
    x->now_usec = 10;
    flushes_request(x->f, false, 9, 60000, 0, answer, x);
    flushes_skip(x->f, 4);
    assert_int_equal(rename(x->dir, away), 0);
    assert_true(work(x, 9));
    assert_int_equal(flushes_flushed(x->f), 0);
    assert_true(strlen(flushes_trouble(x->f)) > 0);
    assert_false(work(x, 9));
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, 1);
    assert_false(x->results[0].ok);
    assert_int_equal(rename(away, x->dir), 0);
    x->now_usec += FLUSH_SKIP_AGAIN_USEC - 1;
    assert_false(work(x, 9));
    x->now_usec++;
    assert_true(work(x, 9));
    assert_int_equal(x->skipped.last, 4);
    assert_string_equal(flushes_trouble(x->f), "");
    assert_false(work(x, 9));
}

static void peers_are_asked_until_they_answer(void **state)
{
    struct fixture *x = *state;
    x->chosen = 3;
    flushes_request(x->f, true, 3, 1000, 0, answer, x);
    while (work(x, 3))
        continue;
    flushes_tick(x->f, 0);
    assert_int_equal(x->n_sent, 2);
    assert_int_equal(x->sent[0].m.type, MESSAGE_FLUSH);
    assert_int_equal(x->sent[0].m.flush.upto, 3);
    uint64_t nonce = x->sent[0].m.flush.nonce;
    struct message wrong = {.type = MESSAGE_FLUSHED, .from = 0, .flushed = {.nonce = nonce + 1, .ok = true}};
    flushes_message(x->f, &wrong);
    struct message right = {.type = MESSAGE_FLUSHED,
                            .from = 2,
                            .flushed = {.nonce = nonce, .ok = true, .slot = 3, .messages = 2, .text = "/there"}};
    flushes_message(x->f, &right);
    flushes_message(x->f, &right); /* trap 7: twice is once */
    flushes_tick(x->f, FLUSH_REPEAT_USEC - 1);
    assert_int_equal(x->n_sent, 2);
    flushes_tick(x->f, FLUSH_REPEAT_USEC);
    assert_int_equal(x->n_sent, 3);
    assert_int_equal(x->sent[2].to, 0); /* the silent one only */
    assert_int_equal(x->n_answers, 0);
    flushes_tick(x->f, 1000 * MS);
    assert_int_equal(x->n_answers, 1);
    assert_int_equal(x->n_results, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(x->results[i].replica, i);
    assert_false(x->results[0].ok);
    assert_non_null(strstr(x->texts[0], "no answer within 1000 ms"));
    assert_true(x->results[1].ok && x->results[2].ok);
    assert_string_equal(x->texts[2], "/there");
    assert_int_equal(x->results[2].messages, 2);
}

static void a_peers_request_waits_and_is_answered_alike_each_time(void **state)
{
    struct fixture *x = *state;
    struct message m = flush_request(2, 77, 10);
    x->chosen = 5;
    flushes_message(x->f, &m);
    assert_false(work(x, x->chosen)); /* not applied yet */
    assert_int_equal(x->n_sent, 0);
    x->chosen = 20;
    flushes_message(x->f, &m); /* asked again meanwhile */
    while (work(x, x->chosen))
        continue;
    assert_int_equal(x->n_sent, 1);
    assert_int_equal(x->sent[0].to, 2);
    assert_int_equal(x->sent[0].m.type, MESSAGE_FLUSHED);
    assert_int_equal(x->sent[0].m.flushed.nonce, 77);
    assert_true(x->sent[0].m.flushed.ok);
    assert_int_equal(x->sent[0].m.flushed.slot, 10); /* exactly as far as asked, so that all files are alike */
    assert_int_equal(x->sent[0].m.flushed.messages, 10);
    x->chosen = 30;
    flushes_message(x->f, &m); /* the answer was lost */
    assert_int_equal(x->n_sent, 2);
    assert_memory_equal(&x->sent[1].m.flushed, &x->sent[0].m.flushed, sizeof(struct flushed));
    assert_false(work(x, x->chosen));
}

static void both_tables_are_bounded(void **state)
{
    struct fixture *x = *state;
    uint64_t first = 0;
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        uint64_t cookie = flushes_request(x->f, false, 5, 1000, 0, answer, x);
        assert_int_not_equal(cookie, 0);
        if (i == 0)
            first = cookie;
    }
    assert_int_equal(flushes_request(x->f, false, 5, 1000, 0, answer, x), 0);
    flushes_cancel(x->f, first);
    assert_int_not_equal(flushes_request(x->f, false, 5, 1000, 0, answer, x), 0);
    for (uint64_t nonce = 1; nonce <= FLUSH_REMOTES_MAX + 1; nonce++) { /* the oldest made room */
        struct message m = flush_request(0, nonce, 5);
        flushes_message(x->f, &m);
    }
    x->chosen = 5;
    while (work(x, 5))
        continue;
    assert_int_equal(x->n_sent, FLUSH_REMOTES_MAX);
    for (size_t i = 0; i < x->n_sent; i++)
        assert_int_not_equal(x->sent[i].m.flushed.nonce, 1);
    flushes_tick(x->f, 1);
    assert_int_equal(x->n_answers, FLUSHES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_own_flush_works_in_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(slices_have_about_so_many_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_told_with_its_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_behind_what_was_asked_for_is_not_told, setup, teardown),
        cmocka_unit_test_setup_teardown(one_slice_is_written_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_yet_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_to_be_had_is_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_skip_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(peers_are_asked_until_they_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peers_request_waits_and_is_answered_alike_each_time, setup, teardown),
        cmocka_unit_test_setup_teardown(both_tables_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
