/* Numbering, refusal, renumbering and closing of local clients' calls, against a core that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/submissions.h"
#include "host/values.h"
#include "paxos/prng.h"

enum { TOLD_MAX = 4096 };

static const struct hash128 key = {{1, 2, 3}};

struct told {
    uint64_t tag;
    enum submit_result result;
    slot_t slot;
};

struct fixture {
    struct values values;
    struct submissions *s;
    uint64_t next_stream;
    size_t n_cancelled, n_told;
    uint64_t cancelled[TOLD_MAX];
    struct told told[TOLD_MAX];
    struct session *close_when_told; /* closed by its own callback */
};

static uint64_t draw(void *user)
{
    struct fixture *f = user;
    return f->next_stream++;
}

static void cancel(void *user, uint64_t cookie)
{
    struct fixture *f = user;
    assert_true(f->n_cancelled < TOLD_MAX);
    f->cancelled[f->n_cancelled++] = cookie;
}

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    struct fixture *f = user;
    assert_true(f->n_told < TOLD_MAX);
    f->told[f->n_told++] = (struct told){.tag = tag, .result = result, .slot = slot};
    if (f->close_when_told != NULL) {
        session_close(f->close_when_told);
        f->close_when_told = NULL;
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    values_init(&f->values);
    struct submissions_options o = {.values = &f->values, .draw = draw, .cancel = cancel, .user = f};
    f->s = submissions_new(&o);
    assert_non_null(f->s);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    submissions_free(f->s);
    assert_ptr_equal(f->values.all.next, &f->values.all); /* nobody forgot a value */
    free(f);
    return 0;
}

static struct submit_request request(const char *text, uint64_t tag)
{
    return (struct submit_request){.author = "ann",
                                   .author_size = 3,
                                   .key = text,
                                   .key_size = strlen(text),
                                   .text = text,
                                   .text_size = strlen(text),
                                   .tag = tag};
}

static void submit(struct session *x, const char *text, uint64_t tag)
{
    struct submit_request q = request(text, tag);
    session_submit(x, &q, 7, 1000, false);
}

static size_t take(struct fixture *f, struct submission *ret, size_t max)
{
    return submissions_take(f->s, &key, 0, ret, max);
}

static void outcome(struct fixture *f, uint64_t cookie, enum outcome_type type, slot_t slot)
{
    struct outcome o = {.cookie = cookie, .type = type, .slot = slot};
    submissions_outcome(f->s, &o, 0);
}

static void numbers_count_from_one_on_each_stream(void **state)
{
    struct fixture *f = *state;
    struct submission taken[8];
    f->next_stream = 0; /* drawn again: 0 is no stream */
    struct session *a = session_open(f->s, settled, f), *b = session_open(f->s, settled, f);
    submit(a, "a1", 1);
    submit(b, "b1", 2);
    submit(a, "a2", 3);
    assert_int_equal(take(f, taken, 8), 3);
    assert_int_equal(take(f, taken + 3, 5), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(taken[i].value->stream, 0);
    assert_int_equal(taken[0].value->n, 1);
    assert_int_equal(taken[1].value->n, 2);
    assert_int_equal(taken[1].value->stream, taken[0].value->stream);
    assert_int_equal(taken[2].value->n, 1);
    assert_int_not_equal(taken[2].value->stream, taken[0].value->stream);
    assert_memory_equal(taken[1].value->text, "a2", 2);
    assert_int_equal(taken[1].value->since, 7);
    assert_int_equal(taken[1].value->time_usec, 1000);
    outcome(f, taken[1].cookie, OUTCOME_CHOSEN, 12);
    outcome(f, taken[0].cookie, OUTCOME_DUPLICATE, 4);
    assert_int_equal(f->n_told, 0); /* not while effects are read */
    assert_true(submissions_settle(f->s));
    assert_false(submissions_settle(f->s));
    assert_int_equal(f->n_told, 2);
    assert_int_equal(f->told[0].tag, 3);
    assert_int_equal(f->told[0].result, SUBMIT_CHOSEN);
    assert_int_equal(f->told[0].slot, 12);
    assert_int_equal(f->told[1].result, SUBMIT_DUPLICATE);
    assert_int_equal(submissions_open(f->s), 1);
}

static void a_refusal_uses_up_no_number(void **state)
{
    struct fixture *f = *state;
    struct submission taken[8];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    for (uint64_t i = 0; i < 4; i++)
        submit(a, "text", i);
    assert_int_equal(take(f, taken, 3), 3); /* the fourth comes in the next event of the turn */
    outcome(f, taken[1].cookie, OUTCOME_OVERLOADED, 0);
    outcome(f, taken[2].cookie, OUTCOME_OVERLOADED, 0);
    assert_int_equal(take(f, taken + 3, 5), 1);
    assert_int_equal(taken[3].value->n, 2);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 2);
    assert_int_equal(f->told[0].result, SUBMIT_OVERLOADED);
    assert_int_equal(f->told[0].tag, 1);
    submit(a, "next", 9);
    assert_int_equal(take(f, taken, 8), 1);
    assert_int_equal(taken[0].value->n, 3);
}

static void an_evicted_stream_is_renumbered_in_order(void **state)
{
    struct fixture *f = *state;
    struct submission before[4], after[8];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    submit(a, "one", 1);
    submit(a, "two", 2);
    submit(a, "three", 3);
    assert_int_equal(take(f, before, 4), 3);
    outcome(f, before[0].cookie, OUTCOME_CHOSEN, 20);
    submit(a, "four", 4); /* queued behind */
    outcome(f, before[1].cookie, OUTCOME_RENUMBER, 0);
    outcome(f, before[2].cookie, OUTCOME_RENUMBER, 0); /* of the old stream: says nothing new */
    assert_int_equal(take(f, after, 8), 3);
    const char *texts[] = {"two", "three", "four"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(after[i].value->stream, 6);
        assert_int_equal(after[i].value->n, i + 1);
        assert_int_equal(after[i].value->text_size, strlen(texts[i]));
        assert_memory_equal(after[i].value->text, texts[i], strlen(texts[i]));
        assert_memory_equal(after[i].value->key, texts[i], strlen(texts[i]));
        assert_int_equal(after[i].value->since, 7);
    }
    assert_int_not_equal(after[0].cookie, before[1].cookie);
    outcome(f, before[1].cookie, OUTCOME_CHOSEN, 21); /* stale: no call has it */
    assert_int_equal(submissions_open(f->s), 4);
    outcome(f, after[0].cookie, OUTCOME_CHOSEN, 22);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 2);
    assert_int_equal(f->told[1].slot, 22);
}

/* Trap 24: under its first number it may have been stored, and its key forgotten since. */
static void a_renumbered_call_that_expires_is_unknown(void **state)
{
    struct fixture *f = *state;
    struct submission taken[2];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    submit(a, "old", 1);
    submit(a, "new", 2);
    assert_int_equal(take(f, taken, 2), 2);
    outcome(f, taken[1].cookie, OUTCOME_EXPIRED, 30);
    outcome(f, taken[0].cookie, OUTCOME_RENUMBER, 0);
    assert_int_equal(take(f, taken, 2), 1);
    outcome(f, taken[0].cookie, OUTCOME_EXPIRED, 30);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 2);
    assert_int_equal(f->told[0].result, SUBMIT_EXPIRED);
    assert_int_equal(f->told[1].result, SUBMIT_UNKNOWN);
}

/* Trap 24: what was handed over before may still be chosen, so a later refusal must not be told as "certainly not". */
static void a_resubmitted_call_is_never_told_as_refused(void **state)
{
    struct fixture *f = *state;
    struct submission taken[8];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    submit(a, "one", 1);
    submit(a, "two", 2);
    assert_int_equal(take(f, taken, 8), 2);
    outcome(f, taken[0].cookie, OUTCOME_RENUMBER, 0);
    submit(a, "fresh", 3);
    assert_int_equal(take(f, taken, 8), 3);
    for (size_t i = 0; i < 3; i++)
        outcome(f, taken[i].cookie, OUTCOME_NO_QUORUM, 0);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 1); /* the one that never was with the core before */
    assert_int_equal(f->told[0].tag, 3);
    submit(a, "behind", 4);
    assert_false(submissions_retry(f->s, CALL_RETRY_USEC - 1));
    assert_int_equal(take(f, taken, 8), 0);
    assert_true(submissions_retry(f->s, CALL_RETRY_USEC));
    assert_int_equal(take(f, taken, 8), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(taken[i].value->n, i + 1);
    assert_memory_equal(taken[0].value->text, "one", 3);
    assert_memory_equal(taken[2].value->text, "behind", 6);
}

static void closing_cancels_what_is_open(void **state)
{
    struct fixture *f = *state;
    struct submission taken[8];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    for (uint64_t i = 0; i < 3; i++)
        submit(a, "text", i);
    assert_int_equal(take(f, taken, 2), 2);
    outcome(f, taken[0].cookie, OUTCOME_CHOSEN, 3); /* not told yet */
    session_close(a);
    assert_int_equal(f->n_cancelled, 1);
    assert_int_equal(f->cancelled[0], taken[1].cookie);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 0);
    assert_int_equal(submissions_open(f->s), 0);
    outcome(f, taken[1].cookie, OUTCOME_CHOSEN, 4);
    assert_int_equal(take(f, taken, 8), 0);
}

static void an_answer_may_close_its_session(void **state)
{
    struct fixture *f = *state;
    struct submission taken[8];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f), *b = session_open(f->s, settled, f);
    submit(a, "a1", 1);
    submit(a, "a2", 2);
    submit(b, "b1", 3);
    assert_int_equal(take(f, taken, 8), 3);
    for (size_t i = 0; i < 3; i++)
        outcome(f, taken[i].cookie, OUTCOME_CHOSEN, 10 + i);
    f->close_when_told = a;
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 2);
    assert_int_equal(f->told[1].tag, 3);
    assert_int_equal(submissions_open(f->s), 0);
}

static void a_full_table_refuses(void **state)
{
    struct fixture *f = *state;
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    for (uint64_t i = 0; i < CALLS_MAX; i++)
        submit(a, "t", i);
    assert_int_equal(f->n_told, 0);
    submit(a, "t", CALLS_MAX);
    assert_int_equal(f->n_told, 1);
    assert_int_equal(f->told[0].tag, CALLS_MAX);
    assert_int_equal(f->told[0].result, SUBMIT_OVERLOADED);
    struct submission taken[1];
    assert_int_equal(take(f, taken, 1), 1);
    outcome(f, taken[0].cookie, OUTCOME_CHOSEN, 1);
    submissions_settle(f->s);
    submit(a, "t", 1);
    assert_int_equal(f->n_told, 2); /* the chosen one: there was room again */
}

static void a_lagging_replica_refuses_without_a_number(void **state)
{
    struct fixture *f = *state;
    struct submission taken[2];
    f->next_stream = 5;
    struct session *a = session_open(f->s, settled, f);
    struct submit_request q = request("text", 1);
    session_submit(a, &q, 0, 0, true);
    submit(a, "taken", 2);
    assert_int_equal(take(f, taken, 2), 1);
    assert_int_equal(taken[0].value->n, 1);
    submissions_settle(f->s);
    assert_int_equal(f->n_told, 1);
    assert_int_equal(f->told[0].result, SUBMIT_OVERLOADED);
}

/* --- a core that refuses, evicts and settles at random --- */

enum { SESSIONS = 4, STEPS = 20000 };

struct core_call {
    struct value *value;
    uint64_t cookie;
};

struct core {
    struct core_call calls[TOLD_MAX];
    size_t n;
    uint64_t streams[64], lasts[64];
    size_t n_streams;
};

static uint64_t *last_of(struct core *c, uint64_t stream)
{
    for (size_t i = 0; i < c->n_streams; i++) {
        if (c->streams[i] == stream)
            return &c->lasts[i];
    }
    return NULL;
}

static void core_drop(struct core *c, size_t at)
{
    values_unref(c->calls[at].value);
    memmove(&c->calls[at], &c->calls[at + 1], (--c->n - at) * sizeof(c->calls[0]));
}

static void core_submit(struct fixture *f, struct core *c, struct prng *p)
{
    struct submission batch[16];
    size_t n = submissions_take(f->s, &key, 1, batch, 1 + prng_below(p, 16));
    bool refuse = false;
    for (size_t i = 0; i < n; i++) {
        refuse = refuse || prng_below(p, 20) == 0; /* stays one for all that follows in the event */
        if (refuse) {
            outcome(f, batch[i].cookie, OUTCOME_OVERLOADED, 0);
            continue;
        }
        for (size_t k = 0; k < c->n; k++) /* a number stands once */
            assert_false(c->calls[k].value->stream == batch[i].value->stream &&
                         c->calls[k].value->n == batch[i].value->n);
        c->calls[c->n++] = (struct core_call){.value = value_ref(batch[i].value), .cookie = batch[i].cookie};
    }
}

static void core_evict(struct fixture *f, struct core *c, uint64_t stream)
{
    for (size_t i = 0; i < c->n;) {
        if (c->calls[i].value->stream != stream) {
            i++;
            continue;
        }
        outcome(f, c->calls[i].cookie, OUTCOME_RENUMBER, 0);
        core_drop(c, i);
    }
}

/* Settles the first call of some stream, whose number must be the next. */
static uint64_t core_settle(struct fixture *f, struct core *c, struct prng *p)
{
    if (c->n == 0)
        return 0;
    size_t at = prng_below(p, c->n);
    uint64_t stream = c->calls[at].value->stream;
    for (at = 0; c->calls[at].value->stream != stream; at++)
        ;
    struct value *v = c->calls[at].value;
    uint64_t *last = last_of(c, stream);
    if (last == NULL) {
        if (c->n_streams == 64)
            c->n_streams = 0; /* those with something open have settled or come again from 1 below */
        c->streams[c->n_streams] = stream;
        c->lasts[c->n_streams] = v->n - 1;
        last = &c->lasts[c->n_streams++];
    }
    assert_int_equal(v->n, *last + 1);
    (*last)++;
    uint64_t order = strtoull((const char *)v->text, NULL, 10);
    outcome(f, c->calls[at].cookie, OUTCOME_CHOSEN, 1);
    core_drop(c, at);
    return order;
}

static void random_cores_keep_each_sessions_order(void **state)
{
    struct fixture *f = *state;
    struct session *sessions[SESSIONS];
    struct core *c = calloc(1, sizeof(*c));
    struct prng p;
    uint64_t orders[SESSIONS] = {0}, settled_orders[SESSIONS] = {0}, n_submitted = 0, n_settled = 0;
    assert_non_null(c);
    prng_seed(&p, 42);
    f->next_stream = 1;
    for (size_t i = 0; i < SESSIONS; i++)
        sessions[i] = session_open(f->s, settled, f);
    for (uint64_t step = 0; step < STEPS || submissions_open(f->s) > 0; step++) {
        uint64_t what = prng_below(&p, 10);
        if (step < STEPS && what < 4 && submissions_open(f->s) < 200) {
            size_t i = prng_below(&p, SESSIONS);
            char text[32];
            snprintf(text, sizeof(text), "%lu %zu ", (unsigned long)(++orders[i] * SESSIONS + i), i);
            submit(sessions[i], text, i);
            n_submitted++;
        } else if (what < 6) {
            core_submit(f, c, &p);
        } else if (what < 9) {
            uint64_t order = core_settle(f, c, &p);
            if (order > 0) {
                assert_true(order / SESSIONS > settled_orders[order % SESSIONS]);
                settled_orders[order % SESSIONS] = order / SESSIONS;
                n_settled++;
            }
        } else if (c->n > 0 && prng_below(&p, 8) == 0) {
            core_evict(f, c, c->calls[prng_below(&p, c->n)].value->stream);
        }
        f->n_told = 0;
        submissions_settle(f->s);
        submissions_retry(f->s, UINT64_MAX);
        assert_true(step < 100 * (uint64_t)STEPS);
    }
    assert_int_equal(c->n, 0);
    assert_true(n_settled > n_submitted / 4);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_count_from_one_on_each_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_uses_up_no_number, setup, teardown),
        cmocka_unit_test_setup_teardown(an_evicted_stream_is_renumbered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_renumbered_call_that_expires_is_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resubmitted_call_is_never_told_as_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_cancels_what_is_open, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_may_close_its_session, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lagging_replica_refuses_without_a_number, setup, teardown),
        cmocka_unit_test_setup_teardown(random_cores_keep_each_sessions_order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
