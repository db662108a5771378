/* Phase 1, one replica by hand among peers that a test plays: which promises count, and what it makes of their reports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})

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

/* Not at its next tick: `status` would say meanwhile that nobody leads. */
static void one_that_begins_to_lead_has_a_quorum_at_once(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message prepare = *lone_bid(l);
    assert_false(lone_status(l).quorum);
    lone_promise(l, 1, &prepare, 0, 0, NULL);
    assert_true(lone_is_leader(l));
    assert_true(lone_status(l).quorum);
    lone_free(l);
}

/* While its disk hangs, nothing is held back but the first one. */
static void a_bidder_with_a_hanging_disk_does_not_pile_up_prepares(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    lone_run(l, 2 * SECOND);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 2);
    lone_free(l);
}

static void trap_13_a_nack_costs_one_promise_and_nothing_else(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 5, 0);
    struct message prepare = *lone_bid(l);
    struct ballot b = prepare.prepare.ballot;
    lone_promise(l, 1, &prepare, 0, 0, NULL);
    struct message nack = {.type = MESSAGE_NACK, .nack = {.rejected = b, .promised = BALLOT(b.round + 9, 3)}};
    lone_receive(l, 1, &nack);
    lone_receive(l, 3, &nack);
    lone_promise(l, 2, &prepare, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    assert_false(lone_is_leader(l)); /* itself and one more: the first one's promise is gone */
    lone_promise(l, 4, &prepare, 0, 0, NULL);
    lone_run(l, 10 * MSEC);
    assert_true(lone_is_leader(l));
    assert_true(ballot_equal(lone_last(l, MESSAGE_ACCEPT, REPLICA_ID_NONE)->message.accept.ballot, b));
    lone_free(l);
}

static bool is_content(const struct lone *l)
{
    return lone_last(l, MESSAGE_HEARTBEAT, REPLICA_ID_NONE)->message.heartbeat.happy;
}

/* One page takes long over a bad link, all of them longer than a bidder waits for promises that do not come. */
static void a_bidder_whose_pages_come_slowly_goes_on(void **state)
{
    (void)state;
    const uint64_t election_usec = 6 * 50 * MSEC;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message prepare = *lone_bid(l);
    struct message m = {.type = MESSAGE_PROMISE};
    m.promise.ballot = prepare.prepare.ballot;
    m.promise.from = prepare.prepare.from;
    m.promise.page_slots = l->options.promise_page_slots;
    l->peers[1].followed = l->peers[2].followed = prepare.prepare.ballot;
    for (m.promise.page = 0; m.promise.page < 6; m.promise.page++) {
        lone_receive(l, 1, &m);
        lone_run(l, 8 * election_usec);
        assert_true(is_content(l));
    }
    lone_receive(l, 1, &m);
    lone_run(l, 11 * election_usec);
    assert_false(is_content(l));
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

/* Who reported it is gone, and nobody else is there to lead: another phase 1 asks those that are. */
static void one_that_waits_for_a_body_in_vain_bids_again(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    struct message prepare = *lone_bid(l);
    struct report r = {1, BALLOT(4, 2), lone_text(l, 11, 1, "k", "t")};
    report(l, &prepare, &r);
    l->peers[1].bid = l->peers[2].bid = (struct ballot){0};
    for (int i = 1; i <= 2; i++) {
        l->peers[i].followed = prepare.prepare.ballot;
        l->peers[i].happy = true;
    }
    lone_forget(l);
    lone_run(l, 200 * MSEC);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    assert_true(lone_count(l, MESSAGE_FETCH) > 0);
    for (int i = 0; i < 100 && lone_count(l, MESSAGE_PREPARE) == 0; i++) {
        lone_run(l, 100 * MSEC);
        lone_durable(l);
    }
    const struct packet *again = lone_last(l, MESSAGE_PREPARE, REPLICA_ID_NONE);
    assert_non_null(again);
    assert_true(ballot_compare(again->message.prepare.ballot, prepare.prepare.ballot) > 0);
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
    struct lone_options o = lone_defaults();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_06_a_promise_of_an_older_ballot_is_not_counted),
        cmocka_unit_test(trap_07_a_doubled_promise_counts_once),
        cmocka_unit_test(one_that_begins_to_lead_has_a_quorum_at_once),
        cmocka_unit_test(a_bidder_with_a_hanging_disk_does_not_pile_up_prepares),
        cmocka_unit_test(trap_13_a_nack_costs_one_promise_and_nothing_else),
        cmocka_unit_test(a_bidder_whose_pages_come_slowly_goes_on),
        cmocka_unit_test(trap_08_the_value_of_the_highest_ballot_in_every_order),
        cmocka_unit_test(a_body_with_another_hash_is_not_proposed),
        cmocka_unit_test(one_that_waits_for_a_body_in_vain_bids_again),
        cmocka_unit_test(trap_09_no_slot_is_free_before_the_last_page),
        cmocka_unit_test(trap_10_what_a_promiser_knows_chosen_is_learned_first),
        cmocka_unit_test(trap_10_a_slot_reported_chosen_wins_over_every_ballot),
        cmocka_unit_test(holes_below_a_reported_slot_become_noops_and_then_a_barrier),
    };
    return cmocka_run_group_tests_name("core phase 1", tests, NULL, NULL);
}
