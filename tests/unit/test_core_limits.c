/* The core at its limits: tables that fill up, and input that nothing can be made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/core.h"
#include "tests/unit/lone.h"

enum { STREAMS = 17000, TEXT_BYTES = 4000, TAIL_BYTES = 4 << 20 };

/* Alone, it leads by itself: what is durable is chosen. */
static struct lone *make_alone(void)
{
    struct lone_options o = lone_defaults();
    o.alpha = 4096;
    o.streams_max = STREAMS_DEFAULT;
    o.dedup_slots = STREAMS_DEFAULT;
    struct lone *l = lone_make(&o, 1, 0);
    for (int i = 0; i < 100 && (!lone_is_leader(l) || lone_chosen(l) == 0); i++) {
        lone_wait(l, 50 * MSEC);
        lone_durable(l);
    }
    assert_true(lone_is_leader(l));
    return l;
}

/* More connections than the leader's table of streams has room for, one after the other. */
static void settled_streams_make_room_for_others(void **state)
{
    (void)state;
    struct lone *l = make_alone();
    slot_t before = lone_chosen(l);
    for (uint64_t i = 1; i <= STREAMS; i++) {
        char key[16];
        snprintf(key, sizeof key, "%llu", (unsigned long long)i);
        lone_submit(l, 1000 + i, 1, key, "t");
        lone_durable(l);
        lone_forget(l);
    }
    assert_int_equal(lone_chosen(l), before + STREAMS);
    lone_free(l);
}

/* What is chosen is kept for late peers, but not without end. */
static void the_tail_of_chosen_values_is_bounded(void **state)
{
    static char text[TEXT_BYTES + 1];
    (void)state;
    struct lone *l = make_alone();
    memset(text, 'x', TEXT_BYTES);
    for (uint64_t i = 1; i <= 2 * TAIL_BYTES / TEXT_BYTES; i++) {
        char key[16];
        snprintf(key, sizeof key, "%llu", (unsigned long long)i);
        lone_submit(l, 7, i, key, text);
        lone_durable(l);
        lone_forget(l);
    }
    uint32_t n = 0;
    for (const struct value_link *v = l->values.all.next; v != &l->values.all; v = v->next)
        n++;
    assert_in_range(n, TAIL_BYTES / TEXT_BYTES / 2, TAIL_BYTES / TEXT_BYTES + 4);
    lone_free(l);
}

static void open_positions_are_bounded(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    uint64_t first = lone_position(l);
    for (int i = 1; i < POSITIONS_MAX; i++)
        assert_null(lone_outcome(l, lone_position(l)));
    assert_null(lone_outcome(l, first));
    uint64_t last = lone_position(l);
    assert_int_equal(lone_outcome(l, last)->type, OUTCOME_OVERLOADED);
    lone_event(l, (struct event){.type = EVENT_CANCEL, .cookie = first});
    assert_null(lone_outcome(l, lone_position(l)));
    lone_free(l);
}

static void ask(struct lone *l, uint64_t nonce)
{
    struct message m = {.type = MESSAGE_POSITION, .position = {.nonce = nonce}};
    lone_receive(l, 1, &m);
}

static void questions_of_peers_are_bounded_and_forgotten(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    lone_lead(l);
    for (uint64_t nonce = 1; nonce < POSITIONS_MAX; nonce++)
        ask(l, nonce);
    assert_int_equal(l->replica->n_positions, POSITIONS_MAX - 1);
    ask(l, POSITIONS_MAX);
    ask(l, POSITIONS_MAX + 1);
    ask(l, 1);
    assert_int_equal(l->replica->n_positions, POSITIONS_MAX);
    assert_int_equal(lone_outcome(l, lone_position(l))->type, OUTCOME_OVERLOADED);
    lone_run(l, 19 * l->options.heartbeat_usec);
    assert_int_equal(l->replica->n_positions, POSITIONS_MAX);
    ask(l, 1);
    lone_run(l, 2 * l->options.heartbeat_usec);
    assert_int_equal(l->replica->n_positions, 1);
    assert_null(lone_outcome(l, lone_position(l)));
    lone_free(l);
}

static void a_slot_far_beyond_the_window_is_not_accepted(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct ballot b = {.round = 5, .gen = 1, .id = 1};
    static const slot_t slots[] = {1000000, UINT64_MAX};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        lone_accept(l, 1, b, 0, slots[i], lone_noop(l));
        lone_durable(l);
        assert_false(lone_acked(l, b, slots[i]));
    }
    lone_free(l);
}

static void who_is_no_member_and_what_is_no_message_is_ignored(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct ballot b = {.round = 5, .gen = 1, .id = 1};
    struct message m = {.type = MESSAGE_PREPARE, .from = 9, .prepare = {.ballot = b, .from = 1}};
    lone_event(l, (struct event){.type = EVENT_MESSAGE, .message = &m});
    struct message unknown = {.type = (enum message_type)99};
    lone_receive(l, 1, &unknown);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    assert_int_equal(l->n_records, 0);
    lone_free(l);
}

/* Above it there is none: nobody can bid, and nothing overflows. */
static void the_highest_round_is_not_passed(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    l->peers[1].followed = (struct ballot){.round = UINT64_MAX, .gen = 1, .id = 2};
    lone_forget(l);
    lone_run(l, 5 * SECOND);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_free(l);
}

static void a_record_that_cannot_follow_is_not_restored(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct effects e;
    struct value *v = l->boot != 0 ? values_new(&l->values, VALUE_HEADER_SIZE) : NULL;
    assert_non_null(v);
    value_encode(&(struct value_fields){.type = VALUE_NOOP}, v->bytes);
    assert_true(value_parse(v, &l->identity.cluster));
    struct record far = {.type = RECORD_ACCEPT, .slot = 1000000, .value = v};
    struct record without = {.type = RECORD_CHOSEN, .slot = 1};
    struct record gap = {.type = RECORD_COMMIT, .slot = 1}, beyond = {.type = RECORD_COMMIT, .slot = 1000000};
    assert_false(replica_restore(l->replica, &far, &e));
    assert_false(replica_restore(l->replica, &without, &e));
    assert_false(replica_restore(l->replica, &gap, &e));
    assert_false(replica_restore(l->replica, &beyond, &e));
    struct record right = {.type = RECORD_CHOSEN, .slot = 1, .value = v};
    assert_true(replica_restore(l->replica, &right, &e));
    assert_true(replica_restore(l->replica, &right, &e)); /* the same once more */
    values_unref(v);
    lone_free(l);
}

/* A leader of three with a small window, with so many chosen slots. */
static struct lone *make_long(slot_t n)
{
    struct lone_options o = lone_defaults();
    o.alpha = 8;
    struct lone *l = lone_make(&o, 3, 0);
    lone_lead(l);
    for (uint64_t i = 1; lone_chosen(l) < n; i++) {
        lone_submit(l, 7, i, (char[]){(char)('A' + i % 26), (char)('A' + i / 26), 0}, "t");
        lone_durable(l);
        lone_accepted(l, 1, l->ballot, lone_chosen(l) + 1);
    }
    lone_durable(l);
    lone_forget(l);
    return l;
}

static void fetch(struct lone *l, slot_t from, slot_t until)
{
    struct message m = {.type = MESSAGE_FETCH, .fetch = {.from = from, .until = until, .bytes_max = UINT32_MAX}};
    l->fetch = (struct fetch_request){0};
    lone_receive(l, 2, &m);
}

static void what_left_the_window_is_fetched_from_the_journal(void **state)
{
    (void)state;
    struct lone *l = make_long(40);
    fetch(l, 1, UINT64_MAX);
    assert_int_equal(lone_count(l, MESSAGE_CHOSEN), 0);
    assert_true(l->fetch.wanted);
    assert_int_equal(l->fetch.to, 2);
    assert_int_equal(l->fetch.from, 1);
    assert_in_range(l->fetch.until, 40 - 16 - 1, 40);
    fetch(l, 40, UINT64_MAX);
    assert_int_equal(lone_count(l, MESSAGE_CHOSEN), 1);
    lone_free(l);
}

static void a_fetch_of_nothing_is_not_answered(void **state)
{
    (void)state;
    struct lone *l = make_long(10);
    fetch(l, 0, 5);
    fetch(l, 9, 8);
    fetch(l, 1000, UINT64_MAX);
    assert_int_equal(lone_count(l, MESSAGE_CHOSEN), 0);
    assert_false(l->fetch.wanted);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settled_streams_make_room_for_others),
        cmocka_unit_test(the_tail_of_chosen_values_is_bounded),
        cmocka_unit_test(open_positions_are_bounded),
        cmocka_unit_test(questions_of_peers_are_bounded_and_forgotten),
        cmocka_unit_test(a_slot_far_beyond_the_window_is_not_accepted),
        cmocka_unit_test(who_is_no_member_and_what_is_no_message_is_ignored),
        cmocka_unit_test(the_highest_round_is_not_passed),
        cmocka_unit_test(a_record_that_cannot_follow_is_not_restored),
        cmocka_unit_test(what_left_the_window_is_fetched_from_the_journal),
        cmocka_unit_test(a_fetch_of_nothing_is_not_answered),
    };
    return cmocka_run_group_tests_name("core limits", tests, NULL, NULL);
}
