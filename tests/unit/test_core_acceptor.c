/* The acceptor's rules, one replica by hand: what it promises, accepts and tells, and that its disk comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

/* Replica 0 of three; ballots of the others. */
#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})

static struct lone *make(void)
{
    struct lone_options o = lone_defaults();
    o.promise_page_slots = 4;
    struct lone *l = lone_make(&o, 3, 0);
    lone_forget(l);
    return l;
}

static void trap_02_promise_leaves_after_the_disk_has_it(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 1);
    lone_free(l);
}

static void trap_02_accepted_leaves_after_the_disk_has_it(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    assert_false(lone_acked(l, BALLOT(5, 1), 1));
    /* The same once more, while the first is on its way to the disk. */
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    assert_false(lone_acked(l, BALLOT(5, 1), 1));
    lone_durable(l);
    assert_true(lone_acked(l, BALLOT(5, 1), 1));
    lone_free(l);
}

static void trap_03_a_promise_that_may_be_lost_is_not_told_twice(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0); /* "already promised", but not yet on the disk */
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    lone_restart(l); /* power is lost before it was */
    lone_prepare(l, 2, BALLOT(4, 2), 1, 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_NACK), 0);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 1);
    lone_free(l);
}

static void trap_04_accept_raises_the_promise(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_prepare(l, 2, BALLOT(4, 2), 1, 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    const struct packet *nack = lone_first(l, MESSAGE_NACK, 2);
    assert_non_null(nack);
    assert_true(ballot_equal(nack->message.nack.rejected, BALLOT(4, 2)));
    assert_true(ballot_equal(nack->message.nack.promised, BALLOT(5, 1)));
    lone_free(l);
}

static void trap_04_an_accept_record_raises_the_promise_after_a_restart(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    lone_restart(l);
    lone_accept(l, 2, BALLOT(4, 2), 0, 1, lone_text(l, 1, 1, "k", "t"));
    lone_durable(l);
    assert_false(lone_acked(l, BALLOT(4, 2), 1));
    assert_int_equal(lone_count(l, MESSAGE_NACK), 1);
    lone_free(l);
}

static void trap_05_an_accept_above_the_promise_is_accepted(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 2, BALLOT(4, 2), 1, 0);
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l)); /* its PREPARE was lost */
    lone_durable(l);
    assert_true(lone_acked(l, BALLOT(5, 1), 1));
    lone_free(l);
}

static void a_prepare_or_accept_below_the_promise_is_refused(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 2, BALLOT(6, 2), 1, 0);
    lone_durable(l);
    lone_forget(l);
    lone_prepare(l, 1, BALLOT(6, 1), 1, 0); /* the same round: the higher id wins */
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPTED), 0);
    assert_int_equal(lone_count(l, MESSAGE_NACK), 2);
    lone_free(l);
}

static void an_equal_prepare_is_answered_again(void **state)
{
    (void)state;
    struct lone *l = make();
    for (uint32_t i = 1; i <= 3; i++) {
        lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
        lone_durable(l);
        assert_int_equal(lone_count(l, MESSAGE_PROMISE), i);
    }
    lone_free(l);
}

static void trap_12_a_promise_outlives_a_restart(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 2, BALLOT(7, 2), 1, 0);
    lone_durable(l);
    lone_restart(l);
    lone_accept(l, 1, BALLOT(6, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPTED), 0);
    assert_int_equal(lone_count(l, MESSAGE_NACK), 1);
    lone_free(l);
}

/* Slots 1 to 10 accepted except 3 and 6; pages of 4. */
static void trap_09_every_page_lists_all_that_was_accepted(void **state)
{
    (void)state;
    struct lone *l = make();
    bool seen[11] = {false};
    uint32_t n_last = 0;
    for (slot_t s = 1; s <= 10; s++) {
        if (s != 3 && s != 6)
            lone_accept(l, 1, BALLOT(5, 1), 0, s, lone_noop(l));
    }
    lone_durable(l);
    lone_prepare(l, 2, BALLOT(6, 2), 1, 0);
    lone_durable(l);
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        if (m->type != MESSAGE_PROMISE)
            continue;
        slot_t first = m->promise.from + (slot_t)m->promise.page * m->promise.page_slots;
        n_last += m->promise.last;
        assert_int_equal(m->promise.page_slots, 4);
        assert_true(m->promise.last == (first + 4 > 10));
        for (uint32_t j = 0; j < m->promise.n_entries; j++) {
            const struct promised_entry *e = &m->promise.entries[j];
            assert_true(e->slot >= first && e->slot < first + 4);
            assert_true(ballot_equal(e->ballot, BALLOT(5, 1)));
            assert_false(e->chosen);
            seen[e->slot] = true;
        }
    }
    for (slot_t s = 1; s <= 10; s++)
        assert_true(seen[s] == (s != 3 && s != 6));
    assert_int_equal(n_last, 1);
    lone_free(l);
}

static void trap_10_a_slot_known_chosen_out_of_order_is_reported_so(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *value = lone_text(l, 7, 1, "k", "t");
    struct message chosen = {.type = MESSAGE_CHOSEN};
    slot_t slot = 2;
    lone_receive_values(l, 1, &chosen, 1, &slot, &value);
    lone_prepare(l, 2, BALLOT(6, 2), 1, 0);
    lone_durable(l);
    const struct packet *p = lone_first(l, MESSAGE_PROMISE, 2);
    assert_non_null(p);
    assert_int_equal(p->message.promise.chosen, 0);
    assert_int_equal(p->message.promise.n_entries, 1);
    assert_int_equal(p->message.promise.entries[0].slot, 2);
    assert_true(p->message.promise.entries[0].chosen);
    lone_free(l);
}

static void trap_15_only_the_slots_that_are_here_are_acknowledged(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 8, lone_noop(l));
    lone_durable(l);
    assert_true(lone_acked(l, BALLOT(5, 1), 8));
    for (slot_t s = 1; s <= 20; s++)
        assert_true(s == 8 || !lone_acked(l, BALLOT(5, 1), s));
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        assert_true(m->type != MESSAGE_ACCEPTED || m->accepted.chosen == 0);
    }
    lone_free(l);
}

static void trap_34_a_blank_disk_never_votes(void **state)
{
    (void)state;
    struct lone_options o = lone_defaults();
    o.blank = true;
    struct lone *l = lone_make(&o, 3, 0);
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    struct message confirm = {.type = MESSAGE_CONFIRM, .confirm = {.ballot = BALLOT(5, 1), .nonce = 3}};
    lone_receive(l, 1, &confirm);
    lone_run(l, 5 * SECOND);
    lone_durable(l);
    assert_int_equal(l->n_records, 0);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE) + lone_count(l, MESSAGE_ACCEPTED), 0);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED) + lone_count(l, MESSAGE_HEARTBEAT), 0);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_free(l);
}

static void a_ballot_that_is_not_the_senders_is_ignored(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_prepare(l, 1, BALLOT(5, 2), 1, 0);
    lone_accept(l, 1, BALLOT(5, 0), 0, 1, lone_noop(l));
    lone_accept(l, 1, ((struct ballot){.round = 5, .gen = 2, .id = 1}), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(l->n_records, 0);
    lone_free(l);
}

static void trap_35_another_generations_ballot_gets_no_vote(void **state)
{
    (void)state;
    struct lone *l = make();
    struct ballot b = {.round = 5, .gen = 2, .id = 1};
    lone_prepare(l, 1, b, 1, 0);
    lone_accept(l, 1, b, 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPTED), 0);
    lone_free(l);
}

static void trap_35_datagrams_of_another_life_do_not_count(void **state)
{
    (void)state;
    struct lone *l = make();
    l->peers[1].reborn = true;
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPTED), 0);
    l->peers[1].reborn = false;
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 1);
    lone_free(l);
}

static void trap_28_a_confirmation_needs_the_promise_on_disk(void **state)
{
    (void)state;
    struct lone *l = make();
    struct message confirm = {.type = MESSAGE_CONFIRM, .confirm = {.ballot = BALLOT(5, 1), .nonce = 3}};
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_receive(l, 1, &confirm);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 1);
    lone_prepare(l, 2, BALLOT(6, 2), 1, 0);
    lone_forget(l);
    lone_receive(l, 1, &confirm); /* it was deposed */
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 0);
    lone_free(l);
}

/* An idle leader sends no ACCEPT that would make up for a lost PREPARE. */
static void a_confirm_above_the_promise_raises_it_on_disk_first(void **state)
{
    (void)state;
    struct lone *l = make();
    struct message confirm = {.type = MESSAGE_CONFIRM, .confirm = {.ballot = BALLOT(5, 1), .nonce = 3}};
    lone_receive(l, 1, &confirm);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 1);
    lone_restart(l);
    lone_prepare(l, 2, BALLOT(4, 2), 1, 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 0);
    assert_int_equal(lone_count(l, MESSAGE_NACK), 1);
    lone_free(l);
}

static void a_full_disk_takes_no_vote(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_event(l, (struct event){.type = EVENT_SPACE, .space = false});
    lone_prepare(l, 1, BALLOT(5, 1), 1, 0);
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(l->n_records, 0);
    assert_int_equal(lone_count(l, MESSAGE_PROMISE) + lone_count(l, MESSAGE_ACCEPTED), 0);
    lone_event(l, (struct event){.type = EVENT_SPACE, .space = true});
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_noop(l));
    lone_durable(l);
    assert_true(lone_acked(l, BALLOT(5, 1), 1));
    lone_free(l);
}

static void a_slot_of_the_chosen_prefix_is_left_untouched(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *value = lone_text(l, 7, 1, "k", "t");
    lone_accept(l, 1, BALLOT(5, 1), 1, 1, value);
    lone_durable(l);
    assert_int_equal(lone_chosen(l), 1);
    size_t n = l->n_records;
    lone_forget(l);
    lone_accept(l, 2, BALLOT(6, 2), 0, 1, value);
    lone_durable(l);
    for (size_t i = n; i < l->n_records; i++)
        assert_true(l->records[i].type != RECORD_ACCEPT);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_02_promise_leaves_after_the_disk_has_it),
        cmocka_unit_test(trap_02_accepted_leaves_after_the_disk_has_it),
        cmocka_unit_test(trap_03_a_promise_that_may_be_lost_is_not_told_twice),
        cmocka_unit_test(trap_04_accept_raises_the_promise),
        cmocka_unit_test(trap_04_an_accept_record_raises_the_promise_after_a_restart),
        cmocka_unit_test(trap_05_an_accept_above_the_promise_is_accepted),
        cmocka_unit_test(a_prepare_or_accept_below_the_promise_is_refused),
        cmocka_unit_test(an_equal_prepare_is_answered_again),
        cmocka_unit_test(trap_12_a_promise_outlives_a_restart),
        cmocka_unit_test(trap_09_every_page_lists_all_that_was_accepted),
        cmocka_unit_test(trap_10_a_slot_known_chosen_out_of_order_is_reported_so),
        cmocka_unit_test(trap_15_only_the_slots_that_are_here_are_acknowledged),
        cmocka_unit_test(trap_34_a_blank_disk_never_votes),
        cmocka_unit_test(trap_35_another_generations_ballot_gets_no_vote),
        cmocka_unit_test(trap_35_datagrams_of_another_life_do_not_count),
        cmocka_unit_test(a_ballot_that_is_not_the_senders_is_ignored),
        cmocka_unit_test(trap_28_a_confirmation_needs_the_promise_on_disk),
        cmocka_unit_test(a_confirm_above_the_promise_raises_it_on_disk_first),
        cmocka_unit_test(a_full_disk_takes_no_vote),
        cmocka_unit_test(a_slot_of_the_chosen_prefix_is_left_untouched),
    };
    return cmocka_run_group_tests_name("core acceptor", tests, NULL, NULL);
}
