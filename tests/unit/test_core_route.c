/* Where a replica that has no link to the leader sends its clients' messages and questions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})
#define ELECTION_USEC       (6 * 50 * MSEC) /* E */

static struct lone *make(uint32_t me)
{
    struct lone *l = lone_make(NULL, 5, me);
    for (uint32_t i = 0; i < 5; i++)
        l->peers[i].silent = true;
    return l;
}

/* Sends one message, and answers how many times it went to the peer and to others. */
static void submitted(struct lone *l, uint32_t to, uint32_t *ret_there, uint32_t *ret_elsewhere)
{
    *ret_there = *ret_elsewhere = 0;
    lone_run(l, ELECTION_USEC);
    lone_forget(l);
    lone_submit(l, 9, 1, "k", "t");
    lone_run(l, 2 * ELECTION_USEC);
    for (size_t i = 0; i < l->n_sent; i++) {
        if (l->sent[i].packet->message.type != MESSAGE_SUBMIT)
            continue;
        *(l->sent[i].to == to ? ret_there : ret_elsewhere) += 1;
    }
}

static void through_a_peer_that_follows_a_leader_out_of_reach(void **state)
{
    (void)state;
    uint32_t there, elsewhere;
    struct lone *l = make(0);
    l->peers[3] = (struct lone_peer){.followed = BALLOT(2, 4), .happy = true};
    l->peers[1] = (struct lone_peer){.followed = BALLOT(1, 1)};
    submitted(l, 3, &there, &elsewhere);
    assert_true(there > 0);
    assert_int_equal(elsewhere, 0);
    lone_free(l);
}

/* In a chain 1-0-2-4-3 where 4 leads, 0 had bid at the same time, lower: 1 follows it still and is content. To send to
 * 1 is to go in circles. */
static void through_the_one_that_follows_the_highest_ballot(void **state)
{
    (void)state;
    uint32_t there, elsewhere;
    for (uint32_t lower = 1; lower <= 3; lower += 2) {
        struct lone *l = make(0);
        l->peers[lower] = (struct lone_peer){.followed = BALLOT(2, 0), .happy = true};
        l->peers[2] = (struct lone_peer){.followed = BALLOT(2, 4), .happy = true};
        submitted(l, 2, &there, &elsewhere);
        assert_true(there > 0);
        assert_int_equal(elsewhere, 0);
        lone_free(l);
    }
}

/* Its disk is full, and the majority has left it, which 0 cannot see but by 2. */
static void past_a_leader_that_is_not_content(void **state)
{
    (void)state;
    uint32_t there, elsewhere;
    for (uint32_t to = 2; to <= 4; to += 2) {
        struct lone *l = make(0);
        l->peers[4] =
            (struct lone_peer){.bid = BALLOT(2, 4), .followed = BALLOT(2, 4), .leading = true, .happy = to == 4};
        l->peers[2] = (struct lone_peer){.followed = BALLOT(3, 3), .happy = true};
        submitted(l, to, &there, &elsewhere);
        assert_true(there > 0);
        assert_int_equal(elsewhere, 0);
        lone_free(l);
    }
}

/* Able or not: then its clients are served by way of the follower that is content. */
static void a_leader_that_was_left_stops(void **state)
{
    (void)state;
    for (int is_full = 0; is_full <= 1; is_full++) {
        struct lone *l = lone_make(NULL, 5, 4);
        lone_lead(l);
        assert_true(lone_is_leader(l));
        l->peers[0].silent = l->peers[3].silent = true;
        l->peers[2] = (struct lone_peer){.followed = BALLOT(l->ballot.round + 1, 0), .happy = true};
        lone_event(l, (struct event){.type = EVENT_SPACE, .space = !is_full});
        lone_run(l, 4 * ELECTION_USEC);
        assert_false(lone_is_leader(l));
        assert_true(lone_status(l).quorum);
        lone_free(l);
    }
}

/* Not all that wait for each that comes, which is a flood; and all again after half a heartbeat. */
static void each_question_goes_out_once_at_a_time(void **state)
{
    (void)state;
    enum { QUESTIONS = 20 };
    struct lone *l = make(0);
    l->peers[3] = (struct lone_peer){.followed = BALLOT(2, 4), .happy = true};
    lone_run(l, ELECTION_USEC);
    lone_position(l);
    lone_run(l, l->options.heartbeat_usec / 2);
    lone_forget(l);
    for (uint32_t i = 1; i < QUESTIONS; i++) {
        lone_position(l);
        assert_int_equal(lone_count(l, MESSAGE_POSITION), i);
    }
    lone_forget(l);
    lone_run(l, l->options.heartbeat_usec / 2);
    assert_int_equal(lone_count(l, MESSAGE_POSITION), QUESTIONS);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_a_peer_that_follows_a_leader_out_of_reach),
        cmocka_unit_test(through_the_one_that_follows_the_highest_ballot),
        cmocka_unit_test(past_a_leader_that_is_not_content),
        cmocka_unit_test(a_leader_that_was_left_stops),
        cmocka_unit_test(each_question_goes_out_once_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
