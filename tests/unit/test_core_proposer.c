/* Phase 2, one replica by hand as the leader among peers that a test plays: what counts as chosen, what it proposes
 * when, when it stops, and which reads it answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})

/* Replica 0 of `n`, as the leader, with its barrier chosen. */
static struct lone *make_leader(uint32_t n)
{
    struct lone_options o = lone_defaults();
    o.alpha = 8;
    struct lone *l = lone_make(&o, n, 0);
    lone_lead(l);
    return l;
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

/* How far the ACCEPTs that were sent say that the log is chosen. */
static slot_t told_commit(const struct lone *l)
{
    const struct packet *p = lone_last(l, MESSAGE_ACCEPT, REPLICA_ID_NONE);
    return p != NULL ? p->message.accept.commit : 0;
}

static void a_commit_that_no_peer_waits_for_goes_with_the_next_proposal(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    lone_run(l, 10 * MSEC);
    lone_forget(l);
    lone_submit(l, 9, 1, "k", "t");
    lone_accepted(l, 1, l->ballot, slot);
    lone_accepted(l, 2, l->ballot, slot);
    assert_int_equal(lone_chosen(l), slot);
    assert_int_equal(told_commit(l), slot - 1);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), 1);
    lone_submit(l, 9, 2, "l", "t");
    assert_int_equal(told_commit(l), slot);
    lone_free(l);
}

static void a_commit_that_nothing_follows_is_told_soon(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    lone_submit(l, 9, 1, "k", "t");
    lone_accepted(l, 1, l->ballot, slot);
    lone_accepted(l, 2, l->ballot, slot);
    lone_wait(l, 2 * MSEC);
    assert_int_equal(told_commit(l), slot);
    uint32_t n = lone_count(l, MESSAGE_ACCEPT);
    lone_wait(l, 2 * MSEC);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPT), n); /* once */
    lone_free(l);
}

static void a_commit_that_a_peers_client_waits_for_is_told_at_once(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    slot_t slot = lone_chosen(l) + 1;
    submit_from(l, 1, 9, 1, "k");
    lone_accepted(l, 1, l->ballot, slot);
    lone_accepted(l, 2, l->ballot, slot);
    assert_int_equal(told_commit(l), slot);
    lone_free(l);
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

/* Numbers whose turn never comes, of connections that ended, must not keep later ones out. */
static void early_numbers_of_dead_connections_make_room(void **state)
{
    (void)state;
    enum { BATCH = 256, BATCHES = 40 };
    static const struct body *bodies[BATCH];
    static const slot_t slots[BATCH];
    struct lone *l = make_leader(3);
    struct message m = {.type = MESSAGE_SUBMIT};
    for (uint32_t i = 0; i < BATCHES; i++) {
        for (uint32_t j = 0; j < BATCH; j++)
            bodies[j] = lone_text(l, 1000 + i * BATCH + j, 2, "k", "t");
        lone_receive_values(l, 1, &m, BATCH, slots, bodies);
    }
    submit_from(l, 1, 9, 2, "b");
    submit_from(l, 1, 9, 1, "a");
    assert_int_equal(lone_proposed_max(l), lone_chosen(l) + 2);
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

/* Its commit stood still for long, but nothing waited: the first message after that is no reason to give way. */
static void an_idle_leader_is_not_a_stalled_one(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    for (int i = 0; i < 10; i++) {
        lone_run(l, 1 * SECOND);
        lone_durable(l);
    }
    lone_submit(l, 9, 1, "k", "t");
    lone_durable(l);
    for (int i = 0; i < 29; i++) {
        lone_run(l, 100 * MSEC);
        assert_true(lone_status(l).quorum);
    }
    lone_run(l, 300 * MSEC); /* over 10 E */
    assert_false(lone_status(l).quorum);
    lone_free(l);
}

/* The same for the reads of a leader whose followers' disks hang: it gives way to one who reaches others. */
static void a_leader_that_nobody_confirms_gives_way(void **state)
{
    (void)state;
    struct lone *l = make_leader(3);
    lone_event(l, (struct event){.type = EVENT_CANCEL, .cookie = lone_position(l)});
    lone_run(l, 5 * SECOND);
    lone_durable(l);
    lone_position(l);
    lone_run(l, 2900 * MSEC);
    assert_true(lone_status(l).quorum);
    lone_run(l, 300 * MSEC); /* over 10 E */
    assert_false(lone_status(l).quorum);
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
    struct lone_options o = lone_defaults();
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
    assert_in_range(lone_proposed_max(l), 2, 1 + 8); /* the message stands somewhere */
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_07_a_doubled_accepted_counts_once),
        cmocka_unit_test(an_accepted_of_another_ballot_is_not_counted),
        cmocka_unit_test(an_idle_leader_is_not_a_stalled_one),
        cmocka_unit_test(a_leader_that_nobody_confirms_gives_way),
        cmocka_unit_test(trap_02_the_own_vote_waits_for_the_own_disk),
        cmocka_unit_test(trap_14_a_chosen_prefix_is_no_vote_for_the_own_value),
        cmocka_unit_test(trap_13_a_nack_neither_bids_nor_stops_the_work),
        cmocka_unit_test(a_commit_that_no_peer_waits_for_goes_with_the_next_proposal),
        cmocka_unit_test(a_commit_that_nothing_follows_is_told_soon),
        cmocka_unit_test(a_commit_that_a_peers_client_waits_for_is_told_at_once),
        cmocka_unit_test(a_streams_numbers_are_proposed_in_order),
        cmocka_unit_test(early_numbers_of_dead_connections_make_room),
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
