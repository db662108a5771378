/* The replica's peers, played by hand: what comes in, and what went out. See the header. */
#include "tests/unit/lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/lone_private.h"

/* --- values --- */

static const struct body *make_body(struct lone *l, const struct value_fields *f)
{
    uint8_t bytes[4096];
    size_t size = value_encoded_size(f);
    assert_true(size <= sizeof(bytes));
    value_encode(f, bytes);
    return lone_body(l, bytes, (uint32_t)size);
}

const struct body *lone_noop(struct lone *l)
{
    return make_body(l, &(struct value_fields){.type = VALUE_NOOP});
}

const struct body *lone_text(struct lone *l, uint64_t stream, uint64_t n, const char *key, const char *text)
{
    struct value_fields f = {.type = VALUE_MESSAGE,
                             .stream = stream,
                             .n = n,
                             .time_usec = 1000,
                             .author = "a",
                             .author_size = 1,
                             .key = key,
                             .key_size = (uint8_t)strlen(key),
                             .text = text,
                             .text_size = (uint32_t)strlen(text)};
    return make_body(l, &f);
}

struct hash128 lone_hash(const struct lone *l, const struct body *b)
{
    struct value *v = malloc(sizeof(*v) + b->size);
    assert_non_null(v);
    v->size = b->size;
    memcpy(v->bytes, b->bytes, b->size);
    assert_true(value_parse(v, &l->identity.cluster));
    const struct hash128 hash = v->hash;
    free(v);
    return hash;
}

/* --- what comes in --- */

void lone_receive_values(struct lone *l, uint32_t from, const struct message *message, uint32_t n, const slot_t *slots,
                         const struct body *const *bodies)
{
    struct message m = *message;
    struct entry *entries = calloc(n + 1, sizeof(*entries));
    assert_non_null(entries);
    m.from = (replica_id_t)from;
    m.from_life = lone_life(from) ^ l->peers[from].reborn;
    for (uint32_t i = 0; i < n; i++) {
        entries[i] = m.type == MESSAGE_BODY ? m.body : (struct entry){.slot = slots[i], .hops = 1};
        entries[i].value = lone_value(l, &l->identity.cluster, bodies[i]);
    }
    if (n > 0)
        lone_set_entries(&m, entries, n);
    lone_event(l, (struct event){.type = EVENT_MESSAGE, .message = &m});
    for (uint32_t i = 0; i < n; i++)
        values_unref(entries[i].value);
    free(entries);
}

void lone_receive(struct lone *l, uint32_t from, const struct message *m)
{
    lone_receive_values(l, from, m, 0, NULL, NULL);
}

void lone_prepare(struct lone *l, uint32_t from, struct ballot b, slot_t first, uint32_t page)
{
    struct message m = {.type = MESSAGE_PREPARE, .prepare = {.ballot = b, .from = first, .page = page}};
    lone_receive(l, from, &m);
}

void lone_accept(struct lone *l, uint32_t from, struct ballot b, slot_t commit, slot_t slot, const struct body *body)
{
    struct message m = {.type = MESSAGE_ACCEPT, .accept = {.ballot = b, .commit = commit}};
    lone_receive_values(l, from, &m, body ? 1 : 0, &slot, &body);
}

void lone_promise(struct lone *l, uint32_t from, const struct message *prepare, slot_t chosen, uint32_t n,
                  const struct promised_entry *entries)
{
    struct message m = {.type = MESSAGE_PROMISE,
                        .promise = {.ballot = prepare->prepare.ballot,
                                    .from = prepare->prepare.from,
                                    .page_slots = l->options.promise_page_slots,
                                    .last = true,
                                    .chosen = chosen,
                                    .n_entries = n,
                                    .entries = entries}};
    lone_receive(l, from, &m);
}

void lone_accepted(struct lone *l, uint32_t from, struct ballot b, slot_t slot)
{
    struct message m = {.type = MESSAGE_ACCEPTED, .accepted = {.ballot = b, .base = slot, .n_words = 1, .words = {1}}};
    m.accepted.space_bytes = l->options.space_bytes;
    lone_receive(l, from, &m);
}

void lone_submit(struct lone *l, uint64_t stream, uint64_t n, const char *key, const char *text)
{
    struct value *v = lone_value(l, &l->identity.cluster, lone_text(l, stream, n, key, text));
    struct submission s = {.value = v, .cookie = ++l->cookie};
    lone_event(l, (struct event){.type = EVENT_SUBMIT, .submissions = &s, .n_submissions = 1});
    values_unref(v);
}

uint64_t lone_position(struct lone *l)
{
    lone_event(l, (struct event){.type = EVENT_POSITION, .cookie = ++l->cookie});
    return l->cookie;
}

void lone_beat(struct lone *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct lone_peer *p = &l->peers[i];
        if (i == l->me || p->silent)
            continue;
        struct message m = {.type = MESSAGE_HEARTBEAT};
        m.heartbeat = (struct heartbeat){.ballot = p->bid,
                                         .followed = p->followed,
                                         .leading = p->leading,
                                         .happy = p->happy,
                                         .silent = p->votes_not,
                                         .seq = ++p->seq,
                                         .commit = p->commit,
                                         .chain = p->commit ? p->chain : l->chain,
                                         .space_bytes = l->options.space_bytes};
        if (!p->deaf && l->beat_seq > 0) {
            m.heartbeat.n_echoes = 1;
            m.heartbeat.echoes[0] = (struct echo){.id = (replica_id_t)l->me, .seq = l->beat_seq};
        }
        lone_receive(l, i, &m);
    }
}

void lone_run(struct lone *l, uint64_t usec)
{
    uint64_t end_usec = l->now_usec + usec, beat_usec = l->options.heartbeat_usec;
    while (l->now_usec < end_usec) {
        uint64_t left_usec = end_usec - l->now_usec;
        lone_wait(l, left_usec < beat_usec ? left_usec : beat_usec);
        lone_beat(l);
    }
}

/* --- what goes out --- */

static bool is_wanted(const struct lone_sent *s, enum message_type type, replica_id_t to)
{
    return s->packet->message.type == type && (to == REPLICA_ID_NONE || s->to == to || s->to == REPLICA_ID_NONE);
}

const struct packet *lone_first(const struct lone *l, enum message_type type, replica_id_t to)
{
    for (size_t i = 0; i < l->n_sent; i++) {
        if (is_wanted(&l->sent[i], type, to))
            return l->sent[i].packet;
    }
    return NULL;
}

const struct packet *lone_last(const struct lone *l, enum message_type type, replica_id_t to)
{
    for (size_t i = l->n_sent; i > 0; i--) {
        if (is_wanted(&l->sent[i - 1], type, to))
            return l->sent[i - 1].packet;
    }
    return NULL;
}

uint32_t lone_count(const struct lone *l, enum message_type type)
{
    uint32_t n = 0;
    for (size_t i = 0; i < l->n_sent; i++)
        n += l->sent[i].packet->message.type == type;
    return n;
}

const struct body *lone_proposed(const struct lone *l, slot_t slot)
{
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct packet *p = l->sent[i].packet;
        for (uint32_t j = 0; p->message.type == MESSAGE_ACCEPT && j < p->message.accept.n_entries; j++) {
            if (p->entries[j].slot == slot)
                return p->bodies[j];
        }
    }
    return NULL;
}

slot_t lone_proposed_max(const struct lone *l)
{
    slot_t max = 0;
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct packet *p = l->sent[i].packet;
        for (uint32_t j = 0; p->message.type == MESSAGE_ACCEPT && j < p->message.accept.n_entries; j++)
            max = p->entries[j].slot > max ? p->entries[j].slot : max;
    }
    return max;
}

bool lone_acked(const struct lone *l, struct ballot b, slot_t slot)
{
    for (size_t i = 0; i < l->n_sent; i++) {
        const struct message *m = &l->sent[i].packet->message;
        if (m->type != MESSAGE_ACCEPTED || !ballot_equal(m->accepted.ballot, b) || slot < m->accepted.base)
            continue;
        uint64_t bit = slot - m->accepted.base;
        if (bit < 64 * (uint64_t)m->accepted.n_words && (m->accepted.words[bit / 64] >> (bit % 64) & 1))
            return true;
    }
    return false;
}

const struct outcome *lone_outcome(const struct lone *l, uint64_t cookie)
{
    for (size_t i = 0; i < l->n_outcomes; i++) {
        if (l->outcomes[i].cookie == cookie)
            return &l->outcomes[i];
    }
    return NULL;
}

struct replica_status lone_status(const struct lone *l)
{
    struct replica_status s;
    replica_status(l->replica, &s);
    return s;
}

bool lone_is_leader(const struct lone *l)
{
    return lone_status(l).role == ROLE_LEADER;
}

slot_t lone_chosen(const struct lone *l)
{
    return replica_chosen(l->replica);
}

const struct message *lone_bid(struct lone *l)
{
    for (int i = 0; i < 100; i++) {
        lone_run(l, l->options.heartbeat_usec);
        lone_durable(l);
        const struct packet *p = lone_last(l, MESSAGE_PREPARE, REPLICA_ID_NONE);
        if (p)
            return &p->message;
    }
    fail_msg("the replica does not bid");
    return NULL;
}

void lone_lead(struct lone *l)
{
    struct message prepare = *lone_bid(l);
    l->ballot = prepare.prepare.ballot;
    for (uint32_t i = 0; i < l->n; i++) {
        if (i == l->me)
            continue;
        l->peers[i].followed = l->ballot;
        lone_promise(l, i, &prepare, 0, 0, NULL);
    }
    lone_run(l, 1 * MSEC);
    slot_t barrier = lone_proposed_max(l);
    assert_true(barrier > 0);
    lone_durable(l);
    for (uint32_t i = 0; i < l->n; i++) {
        if (i != l->me)
            lone_accepted(l, i, l->ballot, barrier);
    }
    lone_durable(l);
    assert_int_equal(lone_chosen(l), barrier);
    assert_true(lone_is_leader(l));
    for (uint32_t i = 0; i < l->n; i++)
        l->peers[i].happy = true;
    lone_run(l, 2 * l->options.heartbeat_usec);
    lone_forget(l);
}
