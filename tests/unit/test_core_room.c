/* A journal without room: a moment of it, since a load may outrun what is allocated ahead, leaves the leader alone; a
 * full disk makes another lead. One replica by hand, 0 of three. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/lone.h"

#define BALLOT(round_, id_) ((struct ballot){.round = (round_), .gen = 1, .id = (id_)})
#define E_USEC              (6 * 50 * MSEC)

static void set_space(struct lone *l, bool space)
{
    lone_event(l, (struct event){.type = EVENT_SPACE, .space = space});
}

static struct lone *make_leader(void)
{
    struct lone *l = lone_make(NULL, 3, 0);
    lone_lead(l);
    l->peers[1].followed = l->peers[2].followed = l->ballot;
    l->peers[1].happy = l->peers[2].happy = true;
    lone_run(l, E_USEC);
    lone_forget(l);
    return l;
}

/* Whether every heartbeat since lone_forget() said so. */
static bool was_always_happy(const struct lone *l)
{
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        if (m->type == MESSAGE_HEARTBEAT && !m->heartbeat.happy)
            return false;
    }
    return true;
}

static void a_leader_stays_content_without_room_for_a_moment(void **state)
{
    (void)state;
    struct lone *l = make_leader();
    for (int again = 0; again < 5; again++) {
        set_space(l, false);
        lone_run(l, E_USEC - 50 * MSEC);
        set_space(l, true);
        lone_run(l, 50 * MSEC);
    }
    assert_true(lone_count(l, MESSAGE_HEARTBEAT) > 10);
    assert_true(was_always_happy(l));
    assert_true(lone_is_leader(l));
    lone_free(l);
}

static void a_leader_on_a_full_disk_is_not_content(void **state)
{
    (void)state;
    struct lone *l = make_leader();
    set_space(l, false);
    lone_run(l, E_USEC + 100 * MSEC);
    assert_false(lone_last(l, MESSAGE_HEARTBEAT, REPLICA_ID_NONE)->message.heartbeat.happy);
    lone_free(l);
}

static void who_has_no_room_does_not_bid(void **state)
{
    (void)state;
    struct lone *l = lone_make(NULL, 3, 0);
    l->peers[1].bid = l->peers[1].followed = l->peers[2].followed = BALLOT(5, 1);
    l->peers[1].leading = l->peers[1].happy = l->peers[2].happy = true;
    lone_run(l, E_USEC);
    l->peers[1].happy = l->peers[2].happy = false;
    set_space(l, false);
    size_t before = l->n_records;
    lone_run(l, 4 * E_USEC);
    assert_int_equal(l->n_records, before);
    set_space(l, true);
    lone_run(l, E_USEC);
    assert_true(l->n_records > before);
    assert_int_equal(l->records[l->n_records - 1].type, RECORD_PROMISE);
    lone_free(l);
}

static bool says_silent(const struct lone *l)
{
    return lone_last(l, MESSAGE_HEARTBEAT, REPLICA_ID_NONE)->message.heartbeat.silent;
}

static void who_has_no_room_for_long_counts_for_no_majority(void **state)
{
    (void)state;
    struct lone *l = make_leader();
    lone_durable(l);
    set_space(l, false);
    lone_run(l, 10 * E_USEC - 50 * MSEC);
    assert_false(says_silent(l));
    lone_run(l, 150 * MSEC);
    assert_true(says_silent(l));
    set_space(l, true);
    lone_run(l, 100 * MSEC);
    assert_false(says_silent(l));
    lone_free(l);
}

enum { ALPHA = 256, CELLS = 2 * ALPHA };

/* The same message again and again: every slot but the first is told by a note. */
static const struct body *again(struct lone *l, slot_t slot)
{
    return lone_text(l, 7, slot, "k", "t");
}

static void receive_chosen(struct lone *l, slot_t from, slot_t until)
{
    struct message m = {.type = MESSAGE_CHOSEN};
    slot_t slots[CELLS];
    const struct body *bodies[CELLS];
    uint32_t n = 0;
    for (slot_t s = from; s <= until; s++, n++) {
        slots[n] = s;
        bodies[n] = again(l, s);
    }
    lone_receive_values(l, 1, &m, n, slots, bodies);
}

/* As many as can gather: a window's that was applied without room, and the next one's in the step in which there is
 * room again. */
static void notes_that_gather_without_room_are_all_told(void **state)
{
    (void)state;
    struct lone_options o = lone_defaults();
    o.alpha = ALPHA;
    struct lone *l = lone_make(&o, 3, 0);
    for (slot_t s = ALPHA + 1; s <= CELLS; s++)
        lone_accept(l, 1, BALLOT(5, 1), 0, s, again(l, s));
    receive_chosen(l, 1, ALPHA);
    set_space(l, false);
    l->peers[1].bid = l->peers[1].followed = BALLOT(5, 1);
    l->peers[1].leading = l->peers[1].happy = true;
    l->peers[1].commit = CELLS + 1;
    lone_beat(l);
    assert_int_equal(lone_chosen(l), CELLS);
    set_space(l, true);
    receive_chosen(l, CELLS + 1, 2 * CELLS);
    assert_int_equal(lone_chosen(l), 2 * CELLS);
    lone_run(l, 100 * MSEC);
    slot_t told = 1;
    for (size_t i = 0; i < l->n_records; i++)
        for (uint32_t k = 0; k < l->records[i].n_notes; k++)
            assert_int_equal(l->records[i].notes[k].slot, ++told);
    assert_int_equal(told, 2 * CELLS);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_stays_content_without_room_for_a_moment),
        cmocka_unit_test(a_leader_on_a_full_disk_is_not_content),
        cmocka_unit_test(who_has_no_room_does_not_bid),
        cmocka_unit_test(who_has_no_room_for_long_counts_for_no_majority),
        cmocka_unit_test(notes_that_gather_without_room_are_all_told),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
