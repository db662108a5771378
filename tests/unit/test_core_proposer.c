/* The proposer's rules, one replica by hand among peers that a test plays: what phase 1 makes of reports, what counts
 * as chosen, and when it stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cluster_lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})

/* Replica 0 of `n`, as the leader, with its barrier chosen. */
static struct lone *make_leader(uint32_t n)
{
    struct cluster_options o = lone_defaults();
    o.alpha = 8;
    struct lone *l = lone_make(&o, n, 0);
    lone_lead(l);
    return l;
}

static void trap_06_a_promise_of_an_older_ballot_is_not_counted(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message first = *lone_bid(l);
    /* Both its first PREPAREs are answered by a NACK of a higher ballot whose owner then falls silent. */
    struct ballot higher = BALLOT(first.prepare.ballot.round + 1, 1);
    lone_prepare(l, 1, higher, 1, 0);
    lone_durable(l);
    l->peers[1].followed = l->peers[2].followed = higher;
    lone_forget(l);
    struct message second = *lone_bid(l);
    assert_true(ballot_compare(second.prepare.ballot, higher) > 0);
    lone_promise(l, 1, &first, 0, 0, NULL);
    lone_promise(l, 2, &first, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    lone_durable(l);
    assert_false(lone_is_leader(l));
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 0);
    lone_promise(l, 2, &second, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    assert_true(lone_is_leader(l));
    lone_free(l);
}

static void trap_07_a_doubled_promise_counts_once(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 5, 0);
    struct message prepare = *lone_bid(l);
    for (int i = 0; i < 4; i++)
        lone_promise(l, 1, &prepare, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    assert_false(lone_is_leader(l));
    lone_promise(l, 4, &prepare, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    assert_true(lone_is_leader(l));
    lone_free(l);
}

static void trap_07_a_doubled_accepted_counts_once(void **state)
{
    (void)state;
    struct lone *l = make_leader(5);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    for (int i = 0; i < 4; i++)
        lone_accepted(l, 3, l->ballot, slot);
    assert_int_equal(lone_chosen(l), slot - 1);
    assert_null(lone_outcome(l, 1));
    lone_accepted(l, 2, l->ballot, slot);
    assert_int_equal(lone_chosen(l), slot);
    assert_non_null(lone_outcome(l, 1));
    lone_free(l);
}

static void an_accepted_of_another_ballot_is_not_counted(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    lone_accepted(l, 1, BALLOT(l->ballot.round - 1, 0), slot);
    lone_accepted(l, 2, BALLOT(l->ballot.round + 1, 0), slot);
    assert_int_equal(lone_chosen(l), slot - 1);
    lone_free(l);
}

/* The own vote counts only once the own disk has it, and the other two are a majority without it. */
static void trap_02_the_own_vote_waits_for_the_own_disk(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_accepted(l, 1, l->ballot, slot);
    assert_int_equal(lone_chosen(l), slot - 1);
    lone_durable(l);
    assert_int_equal(lone_chosen(l), slot);
    lone_submit(l, 9, 2, "l", "t");
    lone_accepted(l, 1, l->ballot, slot + 1);
    lone_accepted(l, 2, l->ballot, slot + 1);
    assert_int_equal(lone_chosen(l), slot + 1);
    lone_free(l);
}

/* 1. This leader's value stands on two disks of five. 2. A higher ballot, which it cannot see, had another value chosen
 * by the three others... but one of them: that one only fetched it, and still has this leader's promise. 3. It answers
 * this leader's ACCEPT with its chosen prefix. That must not count as a vote for this leader's value. */
static void trap_14_a_chosen_prefix_is_no_vote_for_the_own_value(void **state)
{
    (void)state;
    struct lone *l = make_leader(5);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    lone_accepted(l, 1, l->ballot, slot);
    struct message m = {.type = MESSAGE_ACCEPTED, .accepted = {.ballot = l->ballot, .base = slot + 1, .chosen = slot}};
    lone_receive(l, 2, &m);
    assert_int_equal(lone_chosen(l), slot - 1);
    assert_null(lone_outcome(l, 1));
    /* It asks what was chosen, and steps aside at once when it learns that it is another value. */
    lone_run(l, 100 * MSEC);
    assert_non_null(lone_first(l, MESSAGE_FETCH, 2));
    const struct body *other = lone_noop(l);
    struct message chosen = {.type = MESSAGE_CHOSEN};
    lone_receive_values(l, 2, &chosen, 1, &slot, &other);
    assert_int_equal(lone_chosen(l), slot);
    assert_false(lone_is_leader(l));
    assert_null(lone_outcome(l, 1));
    lone_free(l);
}

struct report {
    uint32_t peer;
    struct ballot ballot;
    const struct body *body;
};

static void report(struct lone *l, const struct message *prepare, const struct report *r)
{
    struct promised_entry e = {.slot = 1, .ballot = r->ballot, .size = r->body->size, .hash = lone_hash(l, r->body)};
    lone_promise(l, r->peer, prepare, 0, 1, &e);
}

static void trap_08_the_value_of_the_highest_ballot_in_every_order(void **state)
{
    (void)state;
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i = 0; i < 6; i++) {
        struct lone *l = lone_make(NULL, 7, 0);
        /* The bid must be above what is reported. */
        for (uint32_t p = 1; p < 7; p++)
            l->peers[p].followed = BALLOT(4, 3);
        struct message prepare = *lone_bid(l);
        struct report reports[3] = {{1, BALLOT(2, 1), lone_text(l, 11, 1, "k", "low")},
                                    {2, BALLOT(4, 3), lone_text(l, 12, 1, "k", "high")},
                                    {3, BALLOT(4, 2), lone_text(l, 13, 1, "k", "middle")}};
        for (int j = 0; j < 3; j++)
            report(l, &prepare, &reports[orders[i][j]]);
        lone_run(l, 60 * MSEC);
        lone_durable(l);
        assert_null(lone_proposed(l, 1)); /* its body is not here yet */
        const struct packet *fetch = lone_first(l, MESSAGE_FETCH, 2);
        assert_non_null(fetch);
        assert_true(fetch->message.fetch.by_hash);
        struct message body = {.type = MESSAGE_BODY, .body = {.slot = 1, .ballot = BALLOT(4, 3)}};
        lone_receive_values(l, 2, &body, 1, NULL, &reports[1].body);
        lone_run(l, 60 * MSEC);
        assert_ptr_equal(lone_proposed(l, 1), reports[1].body);
        lone_free(l);
    }
}

static void a_body_with_another_hash_is_not_proposed(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    l->peers[1].followed = l->peers[2].followed = BALLOT(4, 2);
    struct message prepare = *lone_bid(l);
    struct report r = {1, BALLOT(4, 2), lone_text(l, 11, 1, "k", "right")};
    report(l, &prepare, &r);
    lone_run(l, 60 * MSEC);
    struct message body = {.type = MESSAGE_BODY, .body = {.slot = 1, .ballot = BALLOT(4, 2)}};
    const struct body *wrong = lone_text(l, 11, 1, "k", "wrong");
    lone_receive_values(l, 1, &body, 1, NULL, &wrong);
    lone_run(l, 60 * MSEC);
    assert_null(lone_proposed(l, 1));
    lone_free(l);
}

/* An acceptor with values in slots 1 and 9, in three pages of four; each page is lost in turn. */
static void send_page(struct lone *l, const struct message *prepare, uint32_t page, const struct body *value)
{
    struct promised_entry e = {.ballot = BALLOT(2, 1), .size = value->size, .hash = lone_hash(l, value)};
    struct message m = {.type = MESSAGE_PROMISE,
                        .promise = {.ballot = prepare->prepare.ballot,
                                    .from = 1,
                                    .page = page,
                                    .page_slots = 4,
                                    .last = page == 2,
                                    .entries = &e,
                                    .n_entries = page != 1}};
    e.slot = page == 0 ? 1 : 9;
    lone_receive(l, 1, &m);
}

static void trap_09_no_slot_is_free_before_the_last_page(void **state)
{
    (void)state;
    struct cluster_options o = lone_defaults();
    o.promise_page_slots = 4;
    for (uint32_t lost = 0; lost < 3; lost++) {
        struct lone *l = lone_make(&o, 3, 0);
        l->peers[1].followed = l->peers[2].followed = BALLOT(2, 1);
        struct message prepare = *lone_bid(l);
        const struct body *value = lone_text(l, 11, 1, "k", "t");
        for (uint32_t page = 0; page < 3; page++) {
            if (page != lost)
                send_page(l, &prepare, page, value);
        }
        lone_forget(l);
        lone_run(l, 100 * MSEC);
        lone_durable(l);
        assert_false(lone_is_leader(l));
        assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 0);
        assert_non_null(lone_first(l, MESSAGE_PREPARE, 1)); /* it asks again */
        for (uint32_t page = lost; page < 3; page++)
            send_page(l, &prepare, page, value);
        lone_run(l, 100 * MSEC);
        assert_true(lone_is_leader(l));
        lone_free(l);
    }
}

static void trap_10_what_a_promiser_knows_chosen_is_learned_first(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message prepare = *lone_bid(l);
    lone_promise(l, 1, &prepare, 5, 0, NULL); /* its first five slots are chosen, and in no page */
    l->peers[1].commit = 5;
    l->peers[1].chain.bytes[0] = 1;
    lone_run(l, 200 * MSEC);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 0);
    const struct packet *fetch = lone_first(l, MESSAGE_FETCH, 1);
    assert_non_null(fetch);
    assert_int_equal(fetch->message.fetch.from, 1);
    const struct body *values[5];
    slot_t slots[5];
    for (uint32_t i = 0; i < 5; i++) {
        slots[i] = i + 1;
        values[i] = lone_text(l, 7, i + 1, "k", "t");
    }
    l->peers[1].silent = true; /* its chain here is made up */
    struct message chosen = {.type = MESSAGE_CHOSEN};
    lone_receive_values(l, 1, &chosen, 5, slots, values);
    lone_run(l, 60 * MSEC);
    assert_int_equal(lone_chosen(l), 5);
    for (slot_t s = 1; s <= 5; s++)
        assert_null(lone_proposed(l, s));
    assert_non_null(lone_proposed(l, 6));
    lone_free(l);
}

static void trap_10_a_slot_reported_chosen_wins_over_every_ballot(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 5, 0);
    for (uint32_t p = 1; p < 5; p++)
        l->peers[p].followed = BALLOT(9, 2);
    struct message prepare = *lone_bid(l);
    const struct body *chosen = lone_text(l, 11, 1, "k", "chosen"), *other = lone_text(l, 12, 1, "k", "other");
    struct promised_entry a = {.slot = 2, .chosen = true, .size = chosen->size, .hash = lone_hash(l, chosen)};
    struct promised_entry b = {.slot = 2, .ballot = BALLOT(9, 2), .size = other->size, .hash = lone_hash(l, other)};
    lone_promise(l, 1, &prepare, 0, 1, &a);
    lone_promise(l, 2, &prepare, 0, 1, &b);
    lone_run(l, 60 * MSEC);
    lone_durable(l);
    struct message body = {.type = MESSAGE_BODY, .body = {.slot = 2, .ballot = BALLOT(9, 2)}};
    lone_receive_values(l, 2, &body, 1, NULL, &other);
    lone_run(l, 60 * MSEC);
    assert_ptr_not_equal(lone_proposed(l, 2), other);
    body.body.ballot = (struct ballot){0};
    lone_receive_values(l, 1, &body, 1, NULL, &chosen);
    lone_run(l, 60 * MSEC);
    assert_ptr_equal(lone_proposed(l, 2), chosen);
    lone_free(l);
}

static void holes_below_a_reported_slot_become_noops_and_then_a_barrier(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    l->peers[1].followed = l->peers[2].followed = BALLOT(2, 1);
    const struct body *value = lone_text(l, 11, 1, "k", "t");
    lone_accept(l, 1, BALLOT(2, 1), 0, 3, value); /* here, so its body is no question */
    lone_durable(l);
    struct message prepare = *lone_bid(l);
    lone_promise(l, 2, &prepare, 0, 0, NULL);
    lone_run(l, 20 * MSEC);
    assert_int_equal(lone_proposed(l, 1)->bytes[0], VALUE_NOOP);
    assert_int_equal(lone_proposed(l, 2)->bytes[0], VALUE_NOOP);
    assert_ptr_equal(lone_proposed(l, 3), value);
    assert_int_equal(lone_proposed(l, 4)->bytes[0], VALUE_BARRIER);
    assert_int_equal(lone_proposed_max(l), 4);
    lone_free(l);
}

static void trap_13_a_nack_neither_bids_nor_stops_the_work(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    struct message nack = {.type = MESSAGE_NACK, .nack = {.rejected = l->ballot, .promised = BALLOT(50, 2)}};
    lone_receive(l, 2, &nack);
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    lone_run(l, 500 * MSEC);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    assert_true(lone_is_leader(l));
    lone_accepted(l, 1, l->ballot, slot);
    assert_int_equal(lone_chosen(l), slot);
    lone_free(l);
}

static void submit_from(struct lone *l, uint32_t from, uint64_t stream, uint64_t n, const char *key)
{
    struct message m = {.type = MESSAGE_SUBMIT};
    const struct body *body = lone_text(l, stream, n, key, "t");
    slot_t none = 0;
    lone_receive_values(l, from, &m, 1, &none, &body);
    lone_run(l, 1 * MSEC);
}

static void a_streams_numbers_are_proposed_in_order(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t base = lone_chosen(l);
    submit_from(l, 1, 9, 3, "c");
    submit_from(l, 1, 9, 2, "b");
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 0);
    submit_from(l, 1, 9, 1, "a");
    submit_from(l, 1, 9, 2, "b"); /* a retry joins the pending one */
    assert_int_equal(lone_proposed_max(l), base + 3);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(lone_proposed(l, base + i)->bytes[16], i); /* its n */
    lone_free(l);
}

/* 1. Number 3 of a stream arrives while 1 and 2 are still being learned by phase 1. 2. They are proposed again. 3. Its
 * retry must not be taken for one that is on its way already. */
static void a_number_that_came_during_phase_1_gets_its_turn(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    l->peers[1].followed = l->peers[2].followed = BALLOT(2, 1);
    const struct body *bodies[2] = {lone_text(l, 9, 1, "a", "t"), lone_text(l, 9, 2, "b", "t")};
    struct message prepare = *lone_bid(l);
    struct promised_entry e[2];
    for (uint32_t i = 0; i < 2; i++)
        e[i] = (struct promised_entry){
            .slot = i + 1, .ballot = BALLOT(2, 1), .size = bodies[i]->size, .hash = lone_hash(l, bodies[i])};
    lone_promise(l, 1, &prepare, 0, 2, e);
    lone_run(l, 1 * MSEC);
    assert_true(lone_is_leader(l));
    submit_from(l, 1, 9, 3, "c");
    for (uint32_t i = 0; i < 2; i++) {
        struct message body = {.type = MESSAGE_BODY, .body = {.slot = i + 1, .ballot = BALLOT(2, 1)}};
        lone_receive_values(l, 1, &body, 1, NULL, &bodies[i]);
    }
    lone_run(l, 60 * MSEC);
    lone_durable(l);
    for (slot_t s = 1; s <= 3; s++)
        lone_accepted(l, 1, prepare.prepare.ballot, s);
    assert_int_equal(lone_chosen(l), 3); /* both, and the barrier */
    submit_from(l, 1, 9, 3, "c");
    assert_non_null(lone_proposed(l, 4));
    lone_free(l);
}

static void confirm(struct lone *l, uint32_t from, uint64_t nonce)
{
    struct message m = {.type = MESSAGE_CONFIRMED, .confirm = {.ballot = l->ballot, .nonce = nonce}};
    lone_receive(l, from, &m);
}

static void trap_28_an_older_confirmation_answers_no_later_read(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    uint64_t first = lone_position(l);
    uint64_t nonce = lone_first(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce;
    confirm(l, 1, nonce);
    assert_non_null(lone_outcome(l, first));
    lone_forget(l);
    uint64_t second = lone_position(l);
    assert_true(lone_first(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce != nonce);
    confirm(l, 1, nonce); /* late, or doubled */
    confirm(l, 2, nonce);
    assert_null(lone_outcome(l, second));
    confirm(l, 2, lone_first(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce);
    assert_non_null(lone_outcome(l, second));
    lone_free(l);
}

static void trap_28_a_read_that_comes_during_a_round_waits_for_the_next(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    uint64_t first = lone_position(l), nonce = lone_first(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce;
    uint64_t second = lone_position(l);
    confirm(l, 1, nonce);
    assert_non_null(lone_outcome(l, first));
    assert_null(lone_outcome(l, second));
    lone_run(l, 1 * MSEC);
    confirm(l, 1, lone_last(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce);
    assert_non_null(lone_outcome(l, second));
    lone_free(l);
}

static void trap_18_no_read_before_the_barrier_is_chosen(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message prepare = *lone_bid(l);
    l->ballot = prepare.prepare.ballot;
    lone_promise(l, 1, &prepare, 0, 0, NULL);
    lone_run(l, 1 * MSEC);
    assert_true(lone_is_leader(l));
    uint64_t read = lone_position(l);
    lone_run(l, 100 * MSEC);
    const struct packet *p = lone_last(l, MESSAGE_CONFIRM, 1);
    if (p)
        confirm(l, 1, p->message.confirm.nonce);
    lone_durable(l);
    assert_null(lone_outcome(l, read));
    lone_accepted(l, 1, l->ballot, 1);
    lone_run(l, 100 * MSEC);
    confirm(l, 1, lone_last(l, MESSAGE_CONFIRM, 1)->message.confirm.nonce);
    assert_non_null(lone_outcome(l, read));
    assert_int_equal(lone_outcome(l, read)->slot, 1);
    lone_free(l);
}

static void a_higher_promise_of_its_own_acceptor_stops_a_leader_at_once(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    lone_submit(l, 9, 1, "k", "t");
    lone_forget(l);
    lone_prepare(l, 2, BALLOT(l->ballot.round + 1, 2), lone_chosen(l) + 1, 0);
    assert_false(lone_is_leader(l));
    lone_submit(l, 9, 2, "l", "t");
    lone_durable(l);
    lone_accepted(l, 1, l->ballot, 2);
    lone_accepted(l, 2, l->ballot, 2);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 0);
    assert_int_equal(lone_chosen(l), 1);
    lone_free(l);
}

static void trap_32_no_proposal_beyond_alpha(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t base = lone_chosen(l);
    for (uint32_t i = 1; i <= 50; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%u", i);
        lone_submit(l, 9, i, key, "t");
    }
    lone_durable(l);
    lone_run(l, 1 * SECOND);
    assert_int_equal(lone_proposed_max(l), base + 8);
    for (slot_t s = base + 2; s <= base + 8; s++)
        lone_accepted(l, 1, l->ballot, s);
    assert_int_equal(lone_proposed_max(l), base + 8); /* the lowest is still open */
    lone_accepted(l, 1, l->ballot, base + 1);
    lone_run(l, 1 * MSEC);
    assert_int_equal(lone_chosen(l), base + 8);
    assert_int_equal(lone_proposed_max(l), base + 16);
    lone_free(l);
}

static void trap_17_nothing_is_applied_before_the_prefix_is_chosen(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t base = lone_chosen(l);
    lone_submit(l, 9, 1, "k", "t");
    lone_submit(l, 9, 2, "l", "t");
    lone_durable(l);
    lone_accepted(l, 1, l->ballot, base + 2);
    assert_int_equal(l->n_applied, 0);
    assert_int_equal(l->n_outcomes, 0);
    lone_accepted(l, 1, l->ballot, base + 1);
    assert_int_equal(l->n_applied, 2);
    assert_int_equal(l->applied[0].slot, base + 1);
    assert_int_equal(l->applied[1].slot, base + 2);
    assert_int_equal(l->outcomes[0].cookie, 1);
    assert_int_equal(l->outcomes[1].cookie, 2);
    lone_free(l);
}

static void a_lost_accept_is_sent_again_to_who_lacks_it(void **state)
{
    (void)state;
    struct lone *l = make_leader(5);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    lone_accepted(l, 1, l->ballot, slot);
    lone_forget(l);
    lone_run(l, 2 * SECOND);
    bool again[5] = {false};
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        if (m->type == MESSAGE_ACCEPT && m->accept.n_entries > 0 && l->sent[i].to < 5)
            again[l->sent[i].to] = true;
    }
    assert_true(again[2] && again[3] && again[4]);
    assert_false(again[1]);
    lone_free(l);
}

static void trap_16_a_skipped_slot_stays_without_a_proposal(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t base = lone_chosen(l), slots[] = {base + 2, base + 3};
    lone_event(l, (struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = 2});
    for (uint32_t i = 1; i <= 4; i++)
        lone_submit(l, 9, i, (char[]){(char)('a' + i), 0}, "t");
    lone_durable(l);
    lone_run(l, 1 * MSEC);
    assert_non_null(lone_proposed(l, base + 1));
    assert_null(lone_proposed(l, base + 2));
    assert_null(lone_proposed(l, base + 3));
    assert_non_null(lone_proposed(l, base + 4));
    assert_int_equal(lone_proposed_max(l), base + 6);
    lone_free(l);
}

static void trap_16_skips_never_exhaust_alpha_nor_take_the_barrier(void **state)
{
    (void)state;
    struct cluster_options o = lone_defaults();
    o.alpha = 8;
    struct lone *l = lone_make(&o, 3, 0);
    slot_t slots[SKIPS_MAX];
    for (slot_t i = 0; i < SKIPS_MAX; i++)
        slots[i] = i + 1;
    lone_event(l, (struct event){.type = EVENT_SKIP, .slots = slots, .n_slots = SKIPS_MAX});
    lone_lead(l); /* its barrier is chosen, at slot 1 */
    assert_int_equal(lone_chosen(l), 1);
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    lone_run(l, 1 * MSEC);
    assert_in_range(lone_proposed_max(l), 1, 1 + 8);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_06_a_promise_of_an_older_ballot_is_not_counted),
        cmocka_unit_test(trap_07_a_doubled_promise_counts_once),
        cmocka_unit_test(trap_07_a_doubled_accepted_counts_once),
        cmocka_unit_test(an_accepted_of_another_ballot_is_not_counted),
        cmocka_unit_test(trap_02_the_own_vote_waits_for_the_own_disk),
        cmocka_unit_test(trap_14_a_chosen_prefix_is_no_vote_for_the_own_value),
        cmocka_unit_test(trap_08_the_value_of_the_highest_ballot_in_every_order),
        cmocka_unit_test(a_body_with_another_hash_is_not_proposed),
        cmocka_unit_test(trap_09_no_slot_is_free_before_the_last_page),
        cmocka_unit_test(trap_10_what_a_promiser_knows_chosen_is_learned_first),
        cmocka_unit_test(trap_10_a_slot_reported_chosen_wins_over_every_ballot),
        cmocka_unit_test(holes_below_a_reported_slot_become_noops_and_then_a_barrier),
        cmocka_unit_test(trap_13_a_nack_neither_bids_nor_stops_the_work),
        cmocka_unit_test(a_streams_numbers_are_proposed_in_order),
        cmocka_unit_test(a_number_that_came_during_phase_1_gets_its_turn),
        cmocka_unit_test(trap_28_an_older_confirmation_answers_no_later_read),
        cmocka_unit_test(trap_28_a_read_that_comes_during_a_round_waits_for_the_next),
        cmocka_unit_test(trap_18_no_read_before_the_barrier_is_chosen),
        cmocka_unit_test(a_higher_promise_of_its_own_acceptor_stops_a_leader_at_once),
        cmocka_unit_test(trap_32_no_proposal_beyond_alpha),
        cmocka_unit_test(trap_17_nothing_is_applied_before_the_prefix_is_chosen),
        cmocka_unit_test(a_lost_accept_is_sent_again_to_who_lacks_it),
        cmocka_unit_test(trap_16_a_skipped_slot_stays_without_a_proposal),
        cmocka_unit_test(trap_16_skips_never_exhaust_alpha_nor_take_the_barrier),
    };
    return cmocka_run_group_tests_name("core proposer", tests, NULL, NULL);
}
