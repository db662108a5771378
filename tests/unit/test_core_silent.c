/* A replica whose votes are lost, for good or until it has learned what they were for: it learns, and neither votes nor
 * counts. One replica by hand, 0 of three. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})
#define E_USEC              (6 * 50 * MSEC)

static struct lone *make(enum identity_status status, slot_t silent_until)
{
    struct lone *l = lone_make(NULL, 3, 0);
    l->identity.status = status;
    l->identity.silent_until = silent_until;
    lone_restart(l);
    lone_forget(l);
    return l;
}

/* All that asks for a vote, by the leader of the other two. */
static void ask_for_votes(struct lone *l, struct ballot b)
{
    slot_t slot = lone_chosen(l) + 1;
    const struct message confirm = {.type = MESSAGE_CONFIRM, .confirm = {.ballot = b, .nonce = 7}};
    lone_prepare(l, 1, b, slot, 0);
    lone_accept(l, 1, b, slot - 1, slot, lone_noop(l));
    lone_receive(l, 1, &confirm);
    lone_durable(l);
}

static uint32_t votes(const struct lone *l)
{
    return lone_count(l, MESSAGE_PROMISE) + lone_count(l, MESSAGE_ACCEPTED) + lone_count(l, MESSAGE_CONFIRMED) +
           lone_count(l, MESSAGE_NACK);
}

/* A message of the peers' log at `slot` that a peer says to be chosen. */
static void tell_chosen(struct lone *l, slot_t slot)
{
    const struct message m = {.type = MESSAGE_CHOSEN, .chosen = {.first_kept = 1}};
    const struct body *body = lone_noop(l);
    lone_receive_values(l, 1, &m, 1, &slot, &body);
    lone_durable(l);
}

static void lead_by_peer(struct lone *l)
{
    l->peers[1].bid = l->peers[1].followed = l->peers[2].followed = BALLOT(5, 1);
    l->peers[1].leading = l->peers[1].happy = l->peers[2].happy = true;
    lone_run(l, 2 * E_USEC);
}

static void a_quarantined_replica_learns_and_never_votes(void **state)
{
    (void)state;
    struct lone *l = make(IDENTITY_QUARANTINED, 0);
    struct replica_status s;
    lead_by_peer(l);
    ask_for_votes(l, BALLOT(5, 1));
    assert_int_equal(votes(l), 0);
    assert_true(lone_last(l, MESSAGE_HEARTBEAT, REPLICA_ID_NONE)->message.heartbeat.silent);
    l->peers[1].commit = 2;
    lone_run(l, E_USEC / 3);
    assert_true(lone_count(l, MESSAGE_FETCH) > 0);
    l->peers[1].commit = 0; /* its chain would be made up */
    tell_chosen(l, 1);
    tell_chosen(l, 2);
    assert_int_equal(lone_chosen(l), 2);
    ask_for_votes(l, BALLOT(6, 1));
    assert_int_equal(votes(l), 0);
    replica_status(l->replica, &s);
    assert_int_equal(s.role, ROLE_LEARNER);
    assert_int_equal(s.n_linked, 2);
    assert_int_equal(s.leader, 1);
    lone_free(l);
}

/* Its peers are there and unhappy: any other replica would bid. */
static void it_never_bids(void **state)
{
    (void)state;
    struct lone *l = make(IDENTITY_QUARANTINED, 0);
    lone_run(l, 20 * E_USEC);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    const struct message m = {.type = MESSAGE_TRANSFER, .transfer = {.ballot = BALLOT(5, 1), .target = 0}};
    lead_by_peer(l);
    lone_receive(l, 1, &m);
    lone_run(l, E_USEC);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_free(l);
}

static void one_that_lost_a_part_votes_once_it_has_learned_all_it_voted_on(void **state)
{
    (void)state;
    struct lone *l = make(IDENTITY_VOTER, 3);
    lead_by_peer(l);
    for (slot_t slot = 1; slot <= 3; slot++) {
        ask_for_votes(l, BALLOT(5, 1));
        assert_int_equal(votes(l), 0);
        assert_int_equal(lone_status(l).silent_until, 3);
        assert_int_equal(lone_status(l).role, ROLE_LEARNER);
        tell_chosen(l, slot);
    }
    ask_for_votes(l, BALLOT(5, 1));
    assert_int_equal(lone_count(l, MESSAGE_PROMISE), 1);
    assert_true(lone_acked(l, BALLOT(5, 1), 4));
    assert_int_equal(lone_count(l, MESSAGE_CONFIRMED), 1);
    assert_int_equal(lone_status(l).silent_until, 0);
    assert_int_equal(lone_status(l).role, ROLE_FOLLOWER);
    lone_run(l, E_USEC);
    assert_false(lone_last(l, MESSAGE_HEARTBEAT, REPLICA_ID_NONE)->message.heartbeat.silent);
    lone_free(l);
}

/* With one peer gone and the other silent there is no majority, whoever is linked. */
static void a_silent_peer_makes_no_majority(void **state)
{
    (void)state;
    for (int votes_not = 0; votes_not < 2; votes_not++) {
        struct lone *l = lone_make(NULL, 3, 0);
        l->peers[1].votes_not = votes_not;
        l->peers[2].silent = true;
        lone_run(l, 10 * E_USEC);
        assert_int_equal(lone_status(l).n_linked, votes_not ? 1 : 2);
        lone_durable(l);
        lone_run(l, E_USEC);
        assert_int_equal(lone_count(l, MESSAGE_PREPARE) > 0, !votes_not);
        lone_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quarantined_replica_learns_and_never_votes),
        cmocka_unit_test(it_never_bids),
        cmocka_unit_test(one_that_lost_a_part_votes_once_it_has_learned_all_it_voted_on),
        cmocka_unit_test(a_silent_peer_makes_no_majority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
