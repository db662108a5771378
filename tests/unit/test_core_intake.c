/* The leader's waiting room at its limits: what finds no room is dropped as if it had been lost, nothing grows, and it
 * goes on once there is room. One replica by hand, 0 of three, with a window of a few slots that its peers keep full.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/core.h"
#include "tests/unit/lone.h"

enum { ALPHA = 8, HALF = INTAKE_MAX / 2, TEXT_BYTES = 15000, OTHER = 1000 /* a stream that no loop names */ };

static struct value *make_value(struct lone *l, uint64_t stream, uint64_t n, uint32_t text_size)
{
    static char text[2 * TEXT_BYTES], key[2 * 20 + 2];
    memset(text, 'x', sizeof text);
    snprintf(key, sizeof key, "%llu.%llu", (unsigned long long)stream, (unsigned long long)n);
    struct value_fields f = {.type = VALUE_MESSAGE,
                             .stream = stream,
                             .n = n,
                             .time_usec = 1000,
                             .author = "a",
                             .author_size = 1,
                             .key = key,
                             .key_size = (uint8_t)strlen(key),
                             .text = text,
                             .text_size = text_size};
    struct value *v = values_new(&l->values, (uint32_t)value_encoded_size(&f));
    assert_non_null(v);
    value_encode(&f, v->bytes);
    assert_true(value_parse(v, &l->identity.cluster));
    return v;
}

/* From a client of peer 1; the text's size. */
static void receive_sized(struct lone *l, uint64_t stream, uint64_t n, uint32_t text_size)
{
    struct entry e = {.hops = 1, .value = make_value(l, stream, n, text_size)};
    struct message m = {.type = MESSAGE_SUBMIT, .from = 1, .from_life = l->identity.configuration.members[1].life};
    m.submit = (struct submit){.n_entries = 1, .entries = &e};
    lone_event(l, (struct event){.type = EVENT_MESSAGE, .message = &m});
    values_unref(e.value);
}

static void receive(struct lone *l, uint64_t stream, uint64_t n)
{
    receive_sized(l, stream, n, 1);
}

static size_t count_values(const struct lone *l)
{
    size_t n = 0;
    for (const struct value_link *v = l->values.all.next; v != &l->values.all; v = v->next)
        n++;
    return n;
}

/* It leads, and the numbers 1 to ALPHA of stream 1 fill the window. */
static struct lone *make_full_window(void)
{
    struct lone_options o = lone_defaults();
    o.alpha = ALPHA;
    o.streams_max = STREAMS_DEFAULT;
    struct lone *l = lone_make(&o, 3, 0);
    lone_lead(l);
    for (uint64_t n = 1; n <= ALPHA; n++)
        receive(l, 1, n);
    assert_int_equal(l->replica->n_intake, 0);
    assert_int_equal(l->replica->next_slot, lone_chosen(l) + ALPHA + 1);
    return l;
}

/* Peer 1 accepts what is proposed, so often. */
static void choose(struct lone *l, slot_t n)
{
    for (slot_t until = lone_chosen(l) + n; lone_chosen(l) < until;) {
        lone_durable(l);
        lone_accepted(l, 1, l->ballot, lone_chosen(l) + 1);
    }
    lone_forget(l);
}

static void choose_all(struct lone *l)
{
    while (lone_chosen(l) + 1 < l->replica->next_slot)
        choose(l, 1);
    assert_int_equal(l->replica->n_intake, 0);
    assert_int_equal(l->replica->intake_bytes, 0);
}

static uint64_t applied_last(const struct lone *l, uint64_t stream)
{
    return dedup_stream_last(l->replica->dedup, stream);
}

static void messages_that_wait_are_limited(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    const struct replica *r = l->replica;
    uint64_t n = ALPHA;
    while (n < ALPHA + INTAKE_MAX - 1)
        receive(l, 1, ++n);
    assert_int_equal(r->n_intake, INTAKE_MAX - 1);
    receive(l, 1, ++n);
    assert_int_equal(r->n_intake, INTAKE_MAX);
    size_t values = count_values(l);
    receive(l, 1, n + 1);
    receive(l, OTHER, 1);
    assert_int_equal(r->n_intake, INTAKE_MAX);
    assert_int_equal(count_values(l), values);

    choose(l, 2);
    receive(l, 1, n + 2); /* no gap is made of what was dropped */
    receive(l, OTHER, 1);
    receive(l, 1, n + 1);
    assert_int_equal(r->n_intake, INTAKE_MAX);
    receive(l, 1, n + 1);
    assert_int_equal(r->n_held, 0);
    assert_int_equal(applied_last(l, 1), 2);
    choose_all(l);
    assert_int_equal(applied_last(l, 1), n + 1);
    assert_int_equal(applied_last(l, OTHER), 1);
    lone_free(l);
}

static void early_ones_go_when_the_room_is_wanted(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    const struct replica *r = l->replica;
    for (uint64_t stream = 2; stream < 2 + HALF - 1; stream++)
        receive(l, stream, 2);
    assert_int_equal(r->n_held, HALF - 1);
    size_t values = count_values(l);
    receive(l, 2 + HALF, 2);
    assert_int_equal(r->n_held, HALF);
    receive(l, 3 + HALF, 2);
    assert_int_equal(r->n_held, 1);
    assert_int_equal(r->n_intake, 1);
    assert_int_equal(count_values(l), values - HALF + 2);
    receive(l, 2, 1); /* its second number was dropped: it does not follow */
    receive(l, 3 + HALF, 1);
    choose_all(l);
    assert_int_equal(applied_last(l, 2), 1);
    assert_int_equal(applied_last(l, 3 + HALF), 2);
    receive(l, 2, 2);
    choose_all(l);
    assert_int_equal(applied_last(l, 2), 2);
    lone_free(l);
}

static void early_ones_take_at_most_half(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    const struct replica *r = l->replica;
    uint64_t n = ALPHA;
    while (n < ALPHA + HALF - 1)
        receive(l, 1, ++n);
    receive(l, OTHER, 2);
    assert_int_equal(r->n_held, 1);
    assert_int_equal(r->n_intake, HALF);
    receive(l, 1, ++n);
    assert_int_equal(r->n_held, 0);
    assert_int_equal(r->n_intake, HALF);
    receive(l, OTHER, 2);
    assert_int_equal(r->n_intake, HALF);
    receive(l, OTHER, 1);
    assert_int_equal(r->n_intake, HALF + 1);
    choose(l, 2);
    receive(l, OTHER, 2);
    assert_int_equal(r->n_intake, HALF);
    choose_all(l);
    assert_int_equal(applied_last(l, OTHER), 2);
    lone_free(l);
}

static void what_is_too_early_is_not_held(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    receive(l, 1, ALPHA + HALF);
    receive(l, 1, UINT64_MAX);
    assert_int_equal(l->replica->n_held, 0);
    receive(l, 1, ALPHA + HALF - 1);
    assert_int_equal(l->replica->n_held, 1);
    lone_free(l);
}

/* The bytes that are left of the limit, as the text's size of the last message that fits. */
static uint32_t fill_bytes(struct lone *l, uint64_t *n)
{
    const struct replica *r = l->replica;
    struct value *v = make_value(l, OTHER, 1, 1);
    uint64_t least = v->size;
    values_unref(v);
    while (INTAKE_BYTES_MAX - r->intake_bytes > 2 * TEXT_BYTES - 1000)
        receive_sized(l, 1, ++*n, TEXT_BYTES);
    return (uint32_t)(INTAKE_BYTES_MAX - r->intake_bytes - least + 1);
}

static void bytes_that_wait_are_limited(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    const struct replica *r = l->replica;
    uint64_t n = ALPHA;
    uint32_t fits = fill_bytes(l, &n);
    uint32_t before = r->n_intake;
    receive(l, OTHER + 1, 2);
    assert_int_equal(r->n_held, 1);
    receive_sized(l, OTHER, 1, fits + 1); /* takes the early one's room in vain */
    assert_int_equal(r->n_held, 0);
    assert_int_equal(r->n_intake, before);
    receive_sized(l, OTHER, 1, fits - 1);
    assert_int_equal(r->n_intake, before + 1);
    assert_int_equal(r->intake_bytes, INTAKE_BYTES_MAX - 1);
    receive(l, 1, n + 1);
    assert_int_equal(r->n_intake, before + 1);

    lone_submit(l, OTHER + 2, 1, "k", "t"); /* an own client's has its limit elsewhere */
    assert_int_equal(r->n_intake, before + 2);
    assert_true(r->intake_bytes > INTAKE_BYTES_MAX);
    choose(l, 2);
    receive(l, 1, n + 1);
    choose_all(l);
    assert_int_equal(applied_last(l, 1), n + 1);
    assert_int_equal(applied_last(l, OTHER), 1);
    assert_int_equal(applied_last(l, OTHER + 2), 1);
    lone_free(l);
}

static void bytes_are_filled_to_the_last(void **state)
{
    (void)state;
    struct lone *l = make_full_window();
    uint64_t n = ALPHA;
    uint32_t fits = fill_bytes(l, &n);
    receive_sized(l, OTHER, 1, fits);
    assert_int_equal(l->replica->intake_bytes, INTAKE_BYTES_MAX);
    lone_free(l);
}

/* Each with a number that is not settled yet: nothing of the table may go. */
static void streams_that_are_not_settled_are_limited(void **state)
{
    (void)state;
    struct lone *l = make_full_window(); /* stream 1 is one of them */
    const struct replica *r = l->replica;
    uint64_t stream = 1;
    while (stream < INTAKE_MAX - 1)
        receive(l, ++stream, 1);
    assert_int_equal(r->n_intake, INTAKE_MAX - 2);
    receive(l, ++stream, 1);
    assert_int_equal(r->n_intake, INTAKE_MAX - 1);
    size_t values = count_values(l);
    receive(l, ++stream, 1);
    assert_int_equal(r->n_intake, INTAKE_MAX - 1);
    assert_int_equal(r->n_held, 0);
    assert_int_equal(count_values(l), values);
    choose(l, ALPHA); /* settles stream 1, which makes room for it */
    receive(l, stream, 1);
    receive(l, stream + 1, 1);
    assert_int_equal(r->n_intake, INTAKE_MAX - ALPHA);
    choose_all(l);
    assert_int_equal(applied_last(l, stream), 1);
    assert_int_equal(applied_last(l, stream + 1), 0);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_that_wait_are_limited),
        cmocka_unit_test(early_ones_go_when_the_room_is_wanted),
        cmocka_unit_test(early_ones_take_at_most_half),
        cmocka_unit_test(what_is_too_early_is_not_held),
        cmocka_unit_test(bytes_that_wait_are_limited),
        cmocka_unit_test(bytes_are_filled_to_the_last),
        cmocka_unit_test(streams_that_are_not_settled_are_limited),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
