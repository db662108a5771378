/* The learner's rules, one replica by hand: what it takes for chosen, in which order it applies it, and what it tells
 * others that are behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/bytes.h"
#include "paxos/core.h"
#include "tests/unit/lone.h"

enum { TIME_AT = 32 }; /* paxos/value.h */

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})

static struct lone *make(void)
{
    struct lone *l = lone_make(NULL, 3, 0);
    lone_forget(l);
    return l;
}

static void receive_chosen(struct lone *l, uint32_t from, slot_t slot, const struct body *body)
{
    struct message m = {.type = MESSAGE_CHOSEN};
    lone_receive_values(l, from, &m, 1, &slot, &body);
}

static void trap_14_a_commit_does_not_reach_what_stands_under_another_ballot(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *stale = lone_text(l, 7, 1, "k", "stale");
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, stale);
    lone_durable(l);
    lone_accept(l, 2, BALLOT(6, 2), 1, 2, lone_noop(l)); /* another leader: slot 1 is chosen, but not this value */
    lone_durable(l);
    assert_int_equal(lone_chosen(l), 0);
    l->peers[2] = (struct lone_peer){.bid = BALLOT(6, 2), .followed = BALLOT(6, 2), .leading = true, .happy = true};
    l->peers[2].commit = 2;
    l->peers[2].chain.bytes[0] = 1;
    lone_run(l, 200 * MSEC);
    assert_int_equal(lone_chosen(l), 0);
    const struct packet *fetch = lone_first(l, MESSAGE_FETCH, 2);
    assert_non_null(fetch);
    assert_int_equal(fetch->message.fetch.from, 1);
    l->peers[2].silent = true; /* its chain is made up */
    const struct body *right = lone_text(l, 7, 1, "k", "right");
    receive_chosen(l, 2, 1, right);
    assert_int_equal(l->n_applied, 2);
    assert_ptr_equal(l->applied[0].body, right);
    lone_free(l);
}

static void a_commit_reaches_what_was_accepted_under_the_same_ballot(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_text(l, 7, 1, "k", "t"));
    lone_accept(l, 1, BALLOT(5, 1), 0, 2, lone_text(l, 7, 2, "l", "t"));
    assert_int_equal(lone_chosen(l), 0);
    lone_accept(l, 1, BALLOT(5, 1), 1, 0, NULL);
    assert_int_equal(lone_chosen(l), 1);
    /* The commit came first, the value after it. */
    lone_accept(l, 1, BALLOT(5, 1), 3, 0, NULL);
    assert_int_equal(lone_chosen(l), 2);
    lone_accept(l, 1, BALLOT(5, 1), 3, 3, lone_text(l, 7, 3, "m", "t"));
    assert_int_equal(lone_chosen(l), 3);
    lone_free(l);
}

/* Nothing was chosen for long, since nobody sent anything: what shows now, slot 1 being lost, is no hole for 2 E. */
static void trap_16_an_idle_time_does_not_count_for_a_hole(void **state)
{
    (void)state;
    struct lone *l = make();
    for (uint32_t i = 1; i < 3; i++)
        l->peers[i] = (struct lone_peer){.followed = BALLOT(5, 1), .happy = true};
    l->peers[1].bid = BALLOT(5, 1);
    l->peers[1].leading = true;
    lone_run(l, 5 * SECOND);
    lone_accept(l, 1, BALLOT(5, 1), 0, 2, lone_text(l, 7, 2, "k", "t"));
    lone_durable(l);
    lone_run(l, 590 * MSEC);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_run(l, 400 * MSEC); /* over 3 E */
    lone_durable(l);
    assert_int_not_equal(lone_count(l, MESSAGE_PREPARE), 0);
    lone_free(l);
}

static void trap_14_the_heartbeat_of_a_dead_bid_marks_nothing(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, lone_text(l, 7, 1, "k", "t"));
    l->peers[1] = (struct lone_peer){.bid = BALLOT(5, 1), .followed = BALLOT(6, 2), .happy = true, .commit = 1};
    l->peers[1].chain.bytes[0] = 1;
    l->peers[2].silent = true;
    lone_run(l, 300 * MSEC);
    assert_int_equal(lone_chosen(l), 0);
    lone_free(l);
}

static void trap_17_applied_in_order_whatever_comes_first(void **state)
{
    (void)state;
    static const slot_t orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3}, {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};
    for (int i = 0; i < 6; i++) {
        struct lone *l = make();
        for (int j = 0; j < 3; j++) {
            slot_t s = orders[i][j];
            char key[2] = {(char)('a' + s), 0};
            lone_accept(l, 1, BALLOT(5, 1), 3, s, lone_text(l, 7, s, key, "t"));
        }
        assert_int_equal(lone_chosen(l), 3);
        assert_int_equal(l->n_applied, 3);
        for (slot_t s = 1; s <= 3; s++) {
            assert_int_equal(l->applied[s - 1].slot, s);
            assert_true(l->applied[s - 1].visible);
        }
        lone_free(l);
    }
}

static const struct body *timed(struct lone *l, uint64_t n, const char *key, uint64_t time_usec)
{
    const struct body *b = lone_text(l, 7, n, key, "t");
    uint8_t bytes[128];
    memcpy(bytes, b->bytes, b->size);
    put_u64(bytes + TIME_AT, time_usec);
    return lone_body(l, bytes, b->size);
}

static void trap_30_a_wall_clock_that_goes_back_is_clamped(void **state)
{
    (void)state;
    static const uint64_t times[] = {5000, 9000, 100, 9500, 9400}, clamped[] = {5000, 9000, 9000, 9500, 9500};
    struct lone *l = make();
    for (slot_t s = 1; s <= 5; s++) {
        char key[2] = {(char)('a' + s), 0};
        lone_accept(l, 1, BALLOT(5, 1), s, s, timed(l, s, key, times[s - 1]));
    }
    lone_accept(l, 1, BALLOT(5, 1), 5, 6, lone_noop(l)); /* the COMMIT record goes ahead of it */
    lone_durable(l);
    for (slot_t s = 1; s <= 5; s++)
        assert_int_equal(l->applied[s - 1].time_usec, clamped[s - 1]);
    uint32_t n_notes = 0;
    for (size_t i = 0; i < l->n_records; i++)
        n_notes += l->records[i].n_notes;
    assert_int_equal(n_notes, 2);
    lone_free(l);
}

/* Slots go on to be applied while the journal has no room, up to the end of the window, and their notes wait. */
static void one_commit_record_never_has_more_notes_than_it_may(void **state)
{
    (void)state;
    enum { SLOTS = 2 * RECORD_NOTES_MAX + 100 };
    struct lone_options o = lone_defaults();
    o.alpha = SLOTS;
    struct lone *l = lone_make(&o, 3, 0);
    for (slot_t s = 1; s <= SLOTS; s++) {
        char key[8];
        snprintf(key, sizeof(key), "%lu", (unsigned long)s);
        lone_accept(l, 1, BALLOT(5, 1), 0, s, timed(l, s, key, s == 1 ? 9000 : 100));
    }
    lone_event(l, (struct event){.type = EVENT_SPACE, .space = false});
    l->peers[1] = (struct lone_peer){
        .bid = BALLOT(5, 1), .followed = BALLOT(5, 1), .leading = true, .happy = true, .commit = SLOTS};
    lone_beat(l);
    l->peers[1].silent = true; /* its chain is made up */
    assert_int_equal(lone_chosen(l), SLOTS);
    lone_event(l, (struct event){.type = EVENT_SPACE, .space = true});
    lone_accept(l, 1, BALLOT(5, 1), SLOTS, SLOTS + 1, lone_noop(l));
    lone_durable(l);
    uint32_t n_notes = 0;
    for (size_t i = 0; i < l->n_records; i++) {
        const struct lone_record *r = &l->records[i];
        assert_true(r->n_notes <= RECORD_NOTES_MAX);
        for (uint32_t k = 0; k < r->n_notes; k++)
            assert_true(r->notes[k].slot <= r->slot);
        n_notes += r->n_notes;
    }
    assert_int_equal(n_notes, SLOTS - 1);
    lone_restart(l);
    assert_int_equal(lone_chosen(l), SLOTS);
    lone_free(l);
}

static void a_restart_applies_the_same(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 1, 1, timed(l, 1, "a", 9000));
    lone_accept(l, 1, BALLOT(5, 1), 2, 2, timed(l, 2, "a", 100)); /* a duplicate */
    lone_accept(l, 1, BALLOT(5, 1), 3, 3, timed(l, 3, "b", 200)); /* clamped     */
    lone_accept(l, 1, BALLOT(5, 1), 4, 4, timed(l, 9, "c", 300)); /* void        */
    lone_accept(l, 1, BALLOT(5, 1), 4, 5, lone_noop(l));
    lone_durable(l);
    assert_int_equal(l->n_applied, 4);
    struct lone_applied before[4];
    memcpy(before, l->applied, sizeof(before));
    lone_forget(l);
    lone_restart(l);
    assert_int_equal(lone_chosen(l), 4);
    assert_int_equal(l->n_applied, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(l->applied[i].slot, before[i].slot);
        assert_int_equal(l->applied[i].time_usec, before[i].time_usec);
        assert_ptr_equal(l->applied[i].body, before[i].body);
        assert_true(l->applied[i].visible == before[i].visible);
        assert_true(before[i].visible == (i == 0 || i == 2));
    }
    assert_int_equal(before[2].time_usec, 9000);
    lone_free(l);
}

static void trap_36_a_laggard_gets_chosen_values_only(void **state)
{
    (void)state;
    struct lone *l = make();
    for (slot_t s = 1; s <= 6; s++) {
        char key[2] = {(char)('a' + s), 0};
        lone_accept(l, 1, BALLOT(5, 1), 3, s, lone_text(l, 7, s, key, "t"));
    }
    lone_durable(l);
    struct message m = {.type = MESSAGE_FETCH, .fetch = {.from = 1, .until = 6, .bytes_max = 100000}};
    lone_receive(l, 2, &m);
    lone_run(l, 20 * MSEC);
    const struct packet *p = lone_first(l, MESSAGE_CHOSEN, 2);
    assert_non_null(p);
    assert_int_equal(p->message.chosen.n_entries, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(p->entries[i].slot, i + 1);
    lone_free(l);
}

/* One answer is taken off after it is given: so many as begin within the burst, and again as time goes on. */
static void late_peers_are_served_at_a_rate(void **state)
{
    (void)state;
    enum { VALUES = 8 };
    struct lone *l = make();
    char text[400];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    uint32_t bytes = 0;
    for (slot_t s = 1; s <= VALUES; s++) {
        char key[2] = {(char)('a' + s), 0};
        const struct body *b = lone_text(l, 7, s, key, text);
        lone_accept(l, 1, BALLOT(5, 1), s - 1, s, b);
        bytes += b->size;
    }
    lone_accept(l, 1, BALLOT(5, 1), VALUES, VALUES + 1, lone_noop(l));
    lone_durable(l);
    assert_int_equal(lone_chosen(l), VALUES);
    lone_run(l, 100 * MSEC);
    lone_forget(l);

    const struct message m = {.type = MESSAGE_FETCH, .fetch = {.from = 1, .until = VALUES, .bytes_max = 65536}};
    const uint32_t most = (CATCH_UP_BURST_BYTES + bytes - 1) / bytes;
    uint32_t n = 0;
    for (uint32_t i = 0; i < most + 2; i++) {
        lone_forget(l);
        lone_receive(l, 2, &m);
        n += lone_count(l, MESSAGE_CHOSEN);
        assert_int_equal(n, i < most ? i + 1 : most);
    }
    assert_int_equal(lone_status(l).counters.fetches_put_off, 2);
    lone_forget(l);
    lone_run(l, 10 * MSEC); /* which brings far more than one answer */
    lone_receive(l, 2, &m);
    assert_int_equal(lone_count(l, MESSAGE_CHOSEN), 1);
    lone_free(l);
}

/* Peers 1 and 2 know all slots up to `commit`, and their chains are not looked at. */
static struct lone *make_far_behind(uint32_t space_bytes, slot_t commit)
{
    struct lone_options o = lone_defaults();
    o.space_bytes = space_bytes;
    o.alpha = WINDOW_SLOTS_DEFAULT;
    struct lone *l = lone_make(&o, 3, 0);
    lone_run(l, 100 * MSEC);
    lone_forget(l);
    for (int i = 1; i <= 2; i++)
        l->peers[i].commit = commit;
    while (lone_count(l, MESSAGE_FETCH) == 0)
        lone_run(l, 1 * MSEC);
    return l;
}

/* What was asked for since lone_forget(), of slots that are asked for by nothing else: so many requests, to each peer.
 */
static uint32_t check_ranges(const struct lone *l, uint32_t *ret_to_1, uint32_t *ret_to_2)
{
    uint32_t n[3] = {0};
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct fetch *f = &l->sent[i].packet->message.fetch;
        if (l->sent[i].packet->message.type != MESSAGE_FETCH)
            continue;
        n[l->sent[i].to]++;
        assert_true(f->from <= f->until && f->until <= lone_chosen(l) + (slot_t)2 * WINDOW_SLOTS_DEFAULT);
        for (size_t k = 0; k < i; k++) {
            const struct fetch *g = &l->sent[k].packet->message.fetch;
            if (l->sent[k].packet->message.type == MESSAGE_FETCH)
                assert_true(f->until < g->from || f->from > g->until);
        }
    }
    *ret_to_1 = n[1];
    *ret_to_2 = n[2];
    return n[1] + n[2];
}

static void one_that_is_far_behind_asks_for_many_ranges_at_once(void **state)
{
    (void)state;
    struct lone *l = make_far_behind(1 << 20, 100000);
    uint32_t to_1, to_2;
    assert_int_equal(check_ranges(l, &to_1, &to_2), 1); /* an answer first */
    replica_id_t to = to_1 > 0 ? 1 : 2;
    const struct fetch first = lone_first(l, MESSAGE_FETCH, to)->message.fetch;
    assert_int_equal(first.from, 1);
    assert_int_equal(first.bytes_max, FETCH_BYTES_MAX);
    receive_chosen(l, to, first.from, lone_noop(l));
    assert_int_equal(check_ranges(l, &to_1, &to_2), FETCHES_MAX);
    assert_true(to_1 > 0 && to_2 > 0);
    lone_forget(l);
    for (slot_t s = first.from + 1; s <= first.until; s++)
        receive_chosen(l, to, s, lone_noop(l));
    assert_int_equal(lone_chosen(l), first.until);
    assert_int_equal(check_ranges(l, &to_1, &to_2), 1); /* in the place of the one that was answered */
    lone_free(l);
}

/* All that is under way fits into the receive buffer of each peer: what does not is lost. */
static void what_is_asked_for_at_once_fits_the_receive_buffer(void **state)
{
    (void)state;
    enum { SPACE_BYTES = 40 << 10 };
    struct lone *l = make_far_behind(SPACE_BYTES, 100000);
    uint32_t to_1, to_2;
    replica_id_t to = lone_first(l, MESSAGE_FETCH, 1) != NULL ? 1 : 2;
    receive_chosen(l, to, 1, lone_noop(l));
    assert_int_equal(check_ranges(l, &to_1, &to_2), 4);
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        if (m->type == MESSAGE_FETCH)
            assert_int_equal(m->fetch.bytes_max, SPACE_BYTES / 2);
    }
    assert_int_equal(to_1, 2);
    assert_int_equal(to_2, 2);
    lone_free(l);
}

static void what_does_not_come_is_asked_for_again(void **state)
{
    (void)state;
    struct lone *l = make_far_behind(1 << 20, 5000);
    replica_id_t to = lone_first(l, MESSAGE_FETCH, 1) != NULL ? 1 : 2;
    const struct fetch first = lone_first(l, MESSAGE_FETCH, to)->message.fetch;
    receive_chosen(l, to, 2, lone_noop(l)); /* the first slot is lost, and so is all that is asked for now */
    assert_int_equal(lone_chosen(l), 0);
    lone_forget(l);
    lone_run(l, 20 * MSEC);
    const struct packet *again = lone_first(l, MESSAGE_FETCH, REPLICA_ID_NONE);
    assert_non_null(again);
    assert_int_equal(again->message.fetch.from, 1);
    assert_int_equal(again->message.fetch.until, 1);
    receive_chosen(l, again == lone_first(l, MESSAGE_FETCH, 1) ? 1 : 2, 1, lone_noop(l));
    assert_int_equal(lone_chosen(l), 2);
    const struct fetch rest = lone_last(l, MESSAGE_FETCH, REPLICA_ID_NONE)->message.fetch;
    assert_int_equal(rest.from, 3);
    assert_int_equal(rest.until, first.until);
    lone_free(l);
}

static void a_body_is_answered_by_its_hash_only(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *value = lone_text(l, 7, 1, "k", "t"), *other = lone_text(l, 7, 1, "k", "u");
    lone_accept(l, 1, BALLOT(5, 1), 0, 1, value);
    lone_durable(l);
    struct message m = {.type = MESSAGE_FETCH, .fetch = {.by_hash = true, .from = 1, .until = 1, .bytes_max = 100000}};
    m.fetch.ballot = BALLOT(5, 1);
    m.fetch.hash = lone_hash(l, other);
    lone_receive(l, 2, &m);
    assert_null(lone_first(l, MESSAGE_BODY, 2));
    m.fetch.hash = lone_hash(l, value);
    lone_receive(l, 2, &m);
    const struct packet *p = lone_first(l, MESSAGE_BODY, 2);
    assert_non_null(p);
    assert_ptr_equal(p->bodies[0], value);
    lone_free(l);
}

static void a_log_that_differs_stops_the_votes(void **state)
{
    (void)state;
    struct lone *l = make();
    lone_accept(l, 1, BALLOT(5, 1), 1, 1, lone_noop(l));
    lone_durable(l);
    lone_run(l, 100 * MSEC); /* equal so far: nobody else has slot 1 */
    l->peers[1].commit = 1;
    l->peers[1].chain.bytes[0] = 0x5a;
    lone_beat(l);
    assert_true(lone_status(l).diverged);
    lone_forget(l);
    lone_accept(l, 1, BALLOT(5, 1), 1, 2, lone_noop(l));
    lone_prepare(l, 2, BALLOT(6, 2), 2, 0);
    lone_durable(l);
    assert_int_equal(lone_count(l, MESSAGE_ACCEPTED) + lone_count(l, MESSAGE_PROMISE), 0);
    lone_free(l);
}

/* Each FETCH since lone_forget(); the last one says whom it asked. */
static uint32_t refuse_fetches(struct lone *l, replica_id_t *ret_asked)
{
    const struct message m = {.type = MESSAGE_CHOSEN, .chosen = {.first_kept = 2}};
    uint32_t n = 0;
    for (replica_id_t i = 1; i <= 2; i++) {
        if (lone_first(l, MESSAGE_FETCH, i) == NULL)
            continue;
        lone_forget(l);
        lone_receive(l, i, &m);
        *ret_asked = i;
        n++;
    }
    return n;
}

/* Nobody can read slot 1: rot is no better than a trim, but it may be mended. */
static void what_no_peer_has_is_had_by_a_checkpoint_unless_one_has_it_again(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *values[] = {lone_text(l, 7, 1, "k", "t"), lone_noop(l)};
    const slot_t slots[] = {1, 2};
    const struct message m = {.type = MESSAGE_CHOSEN};
    replica_id_t asked = REPLICA_ID_NONE;
    uint32_t n = 0;
    l->peers[1].commit = l->peers[2].commit = 3; /* their chains are made up */
    for (uint32_t i = 0; i < 20 && n < 2; i++, n += refuse_fetches(l, &asked)) {
        assert_int_equal(l->install_from, REPLICA_ID_NONE);
        lone_run(l, 10 * MSEC);
    }
    assert_true(n == 2 && (l->install_from == 1 || l->install_from == 2));
    for (uint32_t i = 0; i < 60 && n < 5; i++, n += refuse_fetches(l, &asked))
        lone_run(l, 10 * MSEC);
    assert_int_equal(n, 5);
    assert_int_equal(lone_chosen(l), 0);
    lone_receive_values(l, asked, &m, 2, slots, values);
    assert_int_equal(lone_chosen(l), 2);
    lone_free(l);
}

static void what_was_learned_is_recorded_as_chosen_and_restored(void **state)
{
    (void)state;
    struct lone *l = make();
    const struct body *value = lone_text(l, 7, 1, "k", "t");
    receive_chosen(l, 1, 1, value);
    assert_int_equal(lone_chosen(l), 1);
    receive_chosen(l, 1, 3, lone_noop(l)); /* out of order */
    lone_durable(l);
    lone_restart(l);
    receive_chosen(l, 1, 2, lone_noop(l));
    assert_int_equal(lone_chosen(l), 3);
    lone_durable(l);
    lone_restart(l);
    assert_int_equal(lone_chosen(l), 3); /* although no COMMIT tells */
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_14_a_commit_does_not_reach_what_stands_under_another_ballot),
        cmocka_unit_test(a_commit_reaches_what_was_accepted_under_the_same_ballot),
        cmocka_unit_test(trap_16_an_idle_time_does_not_count_for_a_hole),
        cmocka_unit_test(trap_14_the_heartbeat_of_a_dead_bid_marks_nothing),
        cmocka_unit_test(trap_17_applied_in_order_whatever_comes_first),
        cmocka_unit_test(trap_30_a_wall_clock_that_goes_back_is_clamped),
        cmocka_unit_test(one_commit_record_never_has_more_notes_than_it_may),
        cmocka_unit_test(a_restart_applies_the_same),
        cmocka_unit_test(trap_36_a_laggard_gets_chosen_values_only),
        cmocka_unit_test(late_peers_are_served_at_a_rate),
        cmocka_unit_test(one_that_is_far_behind_asks_for_many_ranges_at_once),
        cmocka_unit_test(what_is_asked_for_at_once_fits_the_receive_buffer),
        cmocka_unit_test(what_does_not_come_is_asked_for_again),
        cmocka_unit_test(a_body_is_answered_by_its_hash_only),
        cmocka_unit_test(a_log_that_differs_stops_the_votes),
        cmocka_unit_test(what_no_peer_has_is_had_by_a_checkpoint_unless_one_has_it_again),
        cmocka_unit_test(what_was_learned_is_recorded_as_chosen_and_restored),
    };
    return cmocka_run_group_tests_name("core learner", tests, NULL, NULL);
}
