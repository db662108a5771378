/* The replica's host: values, disk, time. See the header. */
#include "tests/unit/lone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/lone_private.h"

enum { FETCH_ENTRIES_MAX = 256 };

static void *copy_of(const void *from, size_t size)
{
    void *to = malloc(size);
    assert_non_null(to);
    return memcpy(to, from, size);
}

const struct body *lone_body(struct lone *l, const void *bytes, uint32_t size)
{
    for (struct body *b = l->bodies; b; b = b->next) {
        if (b->size == size && memcmp(b->bytes, bytes, size) == 0)
            return b;
    }
    struct body *b = malloc(sizeof(*b) + size);
    assert_non_null(b);
    *b = (struct body){.next = l->bodies, .size = size};
    memcpy(b->bytes, bytes, size);
    l->bodies = b;
    return b;
}

struct value *lone_value(struct lone *l, const struct hash128 *key, const struct body *b)
{
    struct value *v;
    assert_int_equal(values_copy(&l->values, b->bytes, b->size, key, &v), 0);
    return v;
}

/* --- messages that leave --- */

static const struct entry *find_entries(const struct message *m, uint32_t *ret_n)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        *ret_n = m->accept.n_entries;
        return m->accept.entries;
    case MESSAGE_CHOSEN:
        *ret_n = m->chosen.n_entries;
        return m->chosen.entries;
    case MESSAGE_SUBMIT:
        *ret_n = m->submit.n_entries;
        return m->submit.entries;
    case MESSAGE_BODY:
        *ret_n = 1;
        return &m->body;
    default:
        *ret_n = 0;
        return NULL;
    }
}

void lone_set_entries(struct message *m, const struct entry *entries, uint32_t n)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        m->accept.entries = entries;
        m->accept.n_entries = n;
        break;
    case MESSAGE_CHOSEN:
        m->chosen.entries = entries;
        m->chosen.n_entries = n;
        break;
    case MESSAGE_SUBMIT:
        m->submit.entries = entries;
        m->submit.n_entries = n;
        break;
    case MESSAGE_BODY:
        m->body = entries[0];
        break;
    default:
        break;
    }
}

static struct packet *packet_make(struct lone *l, const struct message *m)
{
    struct packet *p = calloc(1, sizeof(*p));
    uint32_t n;
    const struct entry *from = find_entries(m, &n);
    assert_non_null(p);
    p->message = *m;
    if (n > 0) {
        p->entries = copy_of(from, n * sizeof(*from));
        p->bodies = calloc(n, sizeof(*p->bodies));
        assert_non_null(p->bodies);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(from[i].value && from[i].value->refs > 0);
            p->bodies[i] = lone_body(l, from[i].value->bytes, from[i].value->size);
            p->entries[i].value = NULL;
        }
        lone_set_entries(&p->message, p->entries, n);
    }
    if (m->type == MESSAGE_PROMISE && m->promise.n_entries > 0) {
        p->promised = copy_of(m->promise.entries, m->promise.n_entries * sizeof(*p->promised));
        p->message.promise.entries = p->promised;
    }
    return p;
}

static void packet_free(struct packet *p)
{
    free(p->entries);
    free((void *)p->bodies);
    free(p->promised);
    free(p);
}

static void keep_sent(struct lone *l, struct lone_sent s)
{
    const struct message *m = &s.packet->message;
    if (m->type == MESSAGE_HEARTBEAT) {
        l->beat_seq = m->heartbeat.seq;
        if (m->heartbeat.commit == 0)
            l->chain = m->heartbeat.chain;
    }
    if (l->n_sent == LONE_SENT_MAX)
        lone_forget(l);
    l->sent[l->n_sent++] = s;
}

static void send_durable(struct lone *l)
{
    size_t n = l->n_gated;
    l->n_gated = 0;
    for (size_t i = 0; i < n; i++) {
        if (l->gated[i].after <= l->durable_seq)
            keep_sent(l, l->gated[i]);
        else
            l->gated[l->n_gated++] = l->gated[i];
    }
}

void lone_forget(struct lone *l)
{
    for (size_t i = 0; i < l->n_sent; i++)
        packet_free(l->sent[i].packet);
    l->n_sent = l->n_applied = l->n_outcomes = 0;
}

/* --- what a step asks for --- */

static void append(struct lone *l, const struct effects *e)
{
    for (size_t i = 0; i < e->n_records; i++) {
        const struct record *from = &e->records[i];
        if (l->n_records == l->records_capacity) {
            l->records_capacity = l->records_capacity ? 2 * l->records_capacity : 256;
            l->records = realloc(l->records, l->records_capacity * sizeof(*l->records));
            assert_non_null(l->records);
        }
        struct lone_record *r = &l->records[l->n_records++];
        *r = (struct lone_record){.seq = ++l->seq, .type = from->type, .slot = from->slot, .ballot = from->ballot};
        if (from->type == RECORD_ACCEPT || from->type == RECORD_CHOSEN)
            r->body = lone_body(l, from->value->bytes, from->value->size);
        r->n_notes = from->type == RECORD_COMMIT ? from->n_notes : 0;
        if (r->n_notes > 0)
            r->notes = copy_of(from->notes, r->n_notes * sizeof(*r->notes));
    }
    assert_true(e->n_records == 0 || e->records_seq == l->seq);
}

static void keep_told(struct lone *l, const struct effects *e)
{
    for (size_t i = 0; i < e->n_applied; i++) {
        const struct applied *a = &e->applied[i];
        assert_true(l->n_applied < LONE_APPLIED_MAX);
        l->applied[l->n_applied++] = (struct lone_applied){.slot = a->slot,
                                                           .body = lone_body(l, a->value->bytes, a->value->size),
                                                           .time_usec = a->time_usec,
                                                           .visible = a->visible};
    }
    for (size_t i = 0; i < e->n_outcomes; i++) {
        assert_true(l->n_outcomes < LONE_OUTCOMES_MAX);
        l->outcomes[l->n_outcomes++] = e->outcomes[i];
    }
}

static void carry_out(struct lone *l, const struct effects *e)
{
    append(l, e);
    keep_told(l, e);
    for (size_t i = 0; i < e->n_outgoing; i++) {
        const struct outgoing *o = &e->outgoing[i];
        struct lone_sent s = {.after = o->after, .to = o->to, .packet = packet_make(l, &o->message)};
        assert_true(o->after <= l->seq && l->n_gated < LONE_SENT_MAX);
        if (o->after <= l->durable_seq)
            keep_sent(l, s);
        else
            l->gated[l->n_gated++] = s;
    }
    if (e->install_from != REPLICA_ID_NONE)
        l->install_from = e->install_from;
    if (e->fetch.wanted) {
        l->fetch = e->fetch;
        l->fetch_usec = l->now_usec + 1 * MSEC;
    }
    l->timer_usec = e->wake_usec;
    values_release(e->released);
}

void lone_event(struct lone *l, struct event e)
{
    struct effects effects;
    memset(&effects, 0xe5, sizeof(effects));
    e.now_usec = l->now_usec;
    replica_step(l->replica, &e, &effects);
    carry_out(l, &effects);
}

/* --- disk and time --- */

void lone_durable(struct lone *l)
{
    for (int i = 0; l->n_durable < l->n_records; i++) {
        assert_true(i < 1000);
        l->n_durable = l->n_records;
        l->durable_seq = l->seq;
        send_durable(l);
        lone_event(l, (struct event){.type = EVENT_DURABLE, .durable_seq = l->durable_seq});
    }
}

/* What the journal says of a slot that it knows to be chosen. */
static const struct body *find_chosen(const struct lone *l, slot_t slot)
{
    const struct body *last = NULL;
    for (size_t i = 0; i < l->n_records; i++) {
        const struct lone_record *r = &l->records[i];
        if (r->slot == slot && r->body)
            last = r->body;
        if (r->type == RECORD_COMMIT && r->slot >= slot)
            return last;
    }
    fail_msg("slot %lu is fetched, but no COMMIT record reaches it", (unsigned long)slot);
    return NULL;
}

static void answer_fetch(struct lone *l)
{
    const struct fetch_request f = l->fetch;
    struct entry entries[FETCH_ENTRIES_MAX];
    size_t n = 0, bytes = 0;
    l->fetch_usec = UINT64_MAX;
    for (slot_t s = f.from; s <= f.until && n < FETCH_ENTRIES_MAX; s++) {
        const struct body *b = find_chosen(l, s);
        assert_non_null(b);
        if (n > 0 && bytes + b->size > f.bytes_max)
            break;
        bytes += b->size;
        entries[n++] = (struct entry){.slot = s, .value = lone_value(l, &l->identity.cluster, b)};
    }
    lone_event(l, (struct event){.type = EVENT_FETCHED, .to = f.to, .fetched = entries, .n_fetched = n});
    for (size_t i = 0; i < n; i++)
        values_unref(entries[i].value);
}

void lone_wait(struct lone *l, uint64_t usec)
{
    uint64_t end_usec = l->now_usec + usec, next_usec;
    for (;;) {
        next_usec = l->timer_usec < l->fetch_usec ? l->timer_usec : l->fetch_usec;
        if (next_usec > end_usec)
            break;
        if (next_usec > l->now_usec)
            l->now_usec = next_usec;
        if (l->fetch_usec == next_usec) {
            answer_fetch(l);
        } else {
            l->timer_usec = UINT64_MAX;
            lone_event(l, (struct event){.type = EVENT_TIMER});
        }
    }
    l->now_usec = end_usec;
}

/* --- life --- */

static void restore(struct lone *l)
{
    for (size_t i = 0; i < l->n_records; i++) {
        const struct lone_record *d = &l->records[i];
        struct record r = {
            .type = d->type, .slot = d->slot, .ballot = d->ballot, .notes = d->notes, .n_notes = d->n_notes};
        struct effects e = {.n_applied = 0};
        r.value = d->body ? lone_value(l, &l->identity.cluster, d->body) : NULL;
        assert_true(replica_restore(l->replica, &r, &e));
        keep_told(l, &e);
        values_unref(r.value);
        values_release(e.released);
    }
}

static void start(struct lone *l)
{
    const struct lone_options *o = &l->options;
    struct replica_config config = {
        .identity = l->identity,
        .heartbeat_usec = (uint32_t)o->heartbeat_usec,
        .message_bytes_max = o->message_bytes_max,
        .proposal_bytes_max = o->proposal_bytes_max,
        .submissions_max = o->submissions_max,
        .promise_page_slots = o->promise_page_slots,
        .space_bytes = o->space_bytes,
        .seed = ++l->boot,
        .now_usec = l->now_usec,
    };
    struct effects e;
    size_t size = replica_size(&config);
    l->seq = l->durable_seq = 0;
    l->timer_usec = l->fetch_usec = UINT64_MAX;
    l->install_from = REPLICA_ID_NONE;
    l->block = malloc(size);
    assert_non_null(l->block);
    memset(l->block, 0xa5, size); /* nothing may be read that init did not write */
    l->replica = replica_init(l->block, &config);
    restore(l);
    memset(&e, 0xe5, sizeof(e));
    replica_start(l->replica, l->now_usec, &e);
    carry_out(l, &e);
}

static void stop(struct lone *l)
{
    for (size_t i = 0; i < l->n_gated; i++)
        packet_free(l->gated[i].packet);
    l->n_gated = 0;
    lone_forget(l);
    values_done(&l->values);
    free(l->block);
}

void lone_restart(struct lone *l)
{
    stop(l);
    while (l->n_records > l->n_durable)
        free(l->records[--l->n_records].notes);
    start(l);
}

struct lone_options lone_defaults(void)
{
    return (struct lone_options){
        .heartbeat_usec = 50 * MSEC,
        .alpha = 64,
        .dedup_slots = 256,
        .streams_max = 256,
        .submissions_max = 1024,
        .promise_page_slots = 128,
        .proposal_bytes_max = 4 << 20,
        .message_bytes_max = 16384,
        .space_bytes = 1 << 20,
    };
}

struct lone *lone_make(const struct lone_options *options, uint32_t n, uint32_t me)
{
    struct lone *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    l->options = options ? *options : lone_defaults();
    l->n = n;
    l->me = me;
    l->now_usec = 1000 * SECOND;
    values_init(&l->values);
    struct configuration *f = &l->identity.configuration;
    l->identity.id = (replica_id_t)me;
    l->identity.life = lone_life(me);
    l->identity.status = l->options.blank ? IDENTITY_EMPTY : IDENTITY_VOTER;
    if (!l->options.blank)
        memset(l->identity.cluster.bytes, 0x77, sizeof(l->identity.cluster.bytes));
    memset(l->identity.bootstrap.bytes, 0x42, sizeof(l->identity.bootstrap.bytes));
    f->alpha = l->options.alpha;
    f->dedup_slots = l->options.dedup_slots;
    f->streams_max = l->options.streams_max;
    f->n_members = n;
    for (uint32_t i = 0; i < n; i++) {
        struct member *m = &f->members[i];
        m->life = l->options.blank ? 0 : lone_life(i);
        m->gen = 1;
        m->id = (replica_id_t)i;
        memcpy(m->address, "host:6000", 9);
        m->address[8] = (char)('0' + i);
        m->address_size = 9;
    }
    start(l);
    return l;
}

void lone_free(struct lone *l)
{
    stop(l);
    while (l->n_records > 0)
        free(l->records[--l->n_records].notes);
    free(l->records);
    while (l->bodies) {
        struct body *b = l->bodies;
        l->bodies = b->next;
        free(b);
    }
    free(l);
}
