#include "paxos/replica.h"

#include <string.h>

#include "paxos/core.h"

/* --- effects of a step --- */

bool records_have_room(const struct replica *r, size_t n)
{
    return r->n_records + n + RECORDS_SPARE <= RECORDS_MAX;
}

struct record *record_push(struct replica *r, enum record_type type)
{
    invariant(r->n_records < RECORDS_MAX, r->n_records, type);
    struct record *record = &r->records[r->n_records++];
    *record = (struct record){.type = type};
    r->seq++;
    if (r->undurable_since_usec == 0)
        r->undurable_since_usec = r->now_usec;
    return record;
}

struct message *outgoing_push(struct replica *r, enum message_type type, replica_id_t to, uint64_t after)
{
    if (r->n_outgoing == OUTGOING_MAX) {
        r->again = true;
        return NULL;
    }
    struct outgoing *o = &r->outgoing[r->n_outgoing++];
    o->after = after <= r->durable_seq ? 0 : after;
    o->to = to;
    memset(&o->message, 0, sizeof(o->message));
    o->message.type = type;
    o->message.from = r->identity.id;
    o->message.from_life = r->identity.life;
    return &o->message;
}

struct entry *entries_take(struct replica *r, size_t n)
{
    if (n > ENTRIES_MAX - r->n_entries) {
        r->again = true;
        return NULL;
    }
    struct entry *e = &r->entries[r->n_entries];
    memset(e, 0, n * sizeof(*e));
    r->n_entries += n;
    return e;
}

void outcome_push(struct replica *r, uint64_t cookie, enum outcome_type type, slot_t slot)
{
    invariant(r->n_outcomes < r->outcomes_max, r->n_outcomes, type);
    r->outcomes[r->n_outcomes++] = (struct outcome){.cookie = cookie, .type = type, .slot = slot};
}

void value_unref(struct replica *r, struct value *v)
{
    if (v == NULL)
        return;
    invariant(v->refs > 0, v->refs, v->size);
    if (--v->refs == 0) {
        v->next = r->released;
        r->released = v;
    }
}

void cell_clear(struct replica *r, struct cell *c)
{
    value_unref(r, c->value);
    value_unref(r, c->adopted);
    memset(c, 0, sizeof(*c));
}

/* The cell for a slot above the chosen prefix; takes the place of a chosen slot at the tail. */
struct cell *cell_take(struct replica *r, slot_t slot)
{
    struct cell *c = window_place(&r->window, slot);
    if (c->slot == slot)
        return c;
    invariant(slot > r->chosen && slot <= r->chosen + r->window.n_cells, slot, r->chosen);
    if (c->slot != 0) {
        invariant(c->slot <= r->chosen, c->slot, r->chosen);
        if (c->slot >= r->tail_first) {
            r->tail_first = c->slot + 1;
            r->tail_bytes -= c->value != NULL ? c->value->size : 0;
        }
        cell_clear(r, c);
    }
    c->slot = slot;
    return c;
}

/* --- layout of the block --- */

struct layout {
    size_t at;
    uint8_t *block; /* NULL: only the size is asked for */
};

static void *layout_take(struct layout *l, size_t n, size_t size)
{
    l->at = (l->at + 63) & ~(size_t)63;
    void *p = l->block == NULL ? NULL : l->block + l->at;
    l->at += n * size;
    return p;
}

static uint32_t power_of_two(uint32_t at_least)
{
    uint32_t n = 1;
    while (n < at_least)
        n <<= 1;
    return n;
}

static void layout_replica(struct layout *l, const struct replica_config *config, struct replica *r)
{
    const struct configuration *c = &config->identity.configuration;
    uint32_t n_cells = power_of_two(2 * c->alpha);
    r->window.n_cells = n_cells;
    r->window.cells = layout_take(l, n_cells, sizeof(struct cell));
    r->records = layout_take(l, RECORDS_MAX, sizeof(struct record));
    r->outgoing = layout_take(l, OUTGOING_MAX, sizeof(struct outgoing));
    r->entries = layout_take(l, ENTRIES_MAX, sizeof(struct entry));
    r->reports = layout_take(l, REPORTS_MAX, sizeof(struct promised_entry));
    r->applied_max = n_cells;
    r->applied = layout_take(l, n_cells, sizeof(struct applied));
    r->outcomes_max = (size_t)config->submissions_max + POSITIONS_MAX + SUBMIT_BATCH_MAX;
    r->outcomes = layout_take(l, r->outcomes_max, sizeof(struct outcome));
    r->notes = layout_take(l, n_cells + RECORD_NOTES_MAX, sizeof(struct note));
    r->sent = layout_take(l, (size_t)n_cells * c->n_members, sizeof(uint32_t));
    r->intake = layout_take(l, INTAKE_MAX, sizeof(struct intake_entry));
    r->streams = layout_take(l, INTAKE_MAX, sizeof(struct intake_stream));
    r->intake_buckets = layout_take(l, INTAKE_MAX, sizeof(uint32_t));
    r->stream_buckets = layout_take(l, INTAKE_MAX, sizeof(uint32_t));
    r->open_max = config->submissions_max;
    r->n_buckets = power_of_two(config->submissions_max);
    r->open = layout_take(l, config->submissions_max, sizeof(struct open_submission));
    r->open_buckets = layout_take(l, r->n_buckets, sizeof(uint32_t));
    r->cookie_buckets = layout_take(l, r->n_buckets, sizeof(uint32_t));
    r->positions = layout_take(l, POSITIONS_MAX, sizeof(struct open_position));
    r->noop = layout_take(l, 1, sizeof(struct value) + VALUE_HEADER_SIZE);
    r->barrier = layout_take(l, 1, sizeof(struct value) + VALUE_HEADER_SIZE);
    r->slot0 = layout_take(l, 1, sizeof(struct value) + VALUE_HEADER_SIZE + CONFIGURATION_BYTES_MAX);
    r->dedup = layout_take(l, 1, dedup_size(c->dedup_slots, c->streams_max));
}

size_t replica_size(const struct replica_config *config)
{
    struct layout l = {0};
    struct replica r;
    layout_take(&l, 1, sizeof(struct replica));
    layout_replica(&l, config, &r);
    return l.at;
}

/* --- start --- */

static void constant_value(struct value *v, enum value_type type, const uint8_t *text, uint32_t text_size,
                           const struct hash128 *key)
{
    struct value_fields f = {.type = type, .text = text, .text_size = text_size};
    v->size = (uint32_t)value_encoded_size(&f);
    value_encode(&f, v->bytes);
    bool ok = value_parse(v, key);
    invariant(ok, type, text_size);
    v->refs = UINT32_MAX / 2; /* the block's own: never released */
}

/* Takes the identity's slot 0 as the log's first entry. Its hash uses no key, since those who copy it have none yet. */
void identity_install(struct replica *r)
{
    uint8_t text[CONFIGURATION_BYTES_MAX];
    const struct hash128 *key = &r->identity.cluster;
    uint32_t size = (uint32_t)configuration_encode(config_at(r), text);
    constant_value(r->slot0, VALUE_CONFIG, text, size, &r->zero);
    constant_value(r->noop, VALUE_NOOP, NULL, 0, key);
    constant_value(r->barrier, VALUE_BARRIER, NULL, 0, key);
    r->chain = hash_bytes(key, r->slot0->hash.bytes, sizeof(r->slot0->hash.bytes));
    r->voter = r->identity.status == IDENTITY_VOTER;
}

struct replica *replica_init(void *block, const struct replica_config *config)
{
    struct layout l = {.block = block};
    memset(block, 0, replica_size(config));
    struct replica *r = layout_take(&l, 1, sizeof(struct replica));
    layout_replica(&l, config, r);
    r->config = *config;
    r->identity = config->identity;
    const struct configuration *c = config_at(r);
    int me = configuration_find(c, r->identity.id);
    invariant(me >= 0, r->identity.id, c->n_members);
    invariant(config->promise_page_slots > 0 && config->promise_page_slots <= REPORTS_MAX / PROMISE_BURST,
              config->promise_page_slots, 0);
    invariant(r->window.n_cells <= CELLS_MAX, r->window.n_cells, c->alpha);
    r->me = (uint32_t)me;
    r->now_usec = config->now_usec;
    r->election_usec = (uint64_t)ELECTION_HEARTBEATS * config->heartbeat_usec;
    r->space = true;
    prng_seed(&r->prng, config->seed);
    dedup_init(r->dedup, c->dedup_slots, c->streams_max);
    r->tail_first = 1;
    r->bid_at_usec = UINT64_MAX;
    for (uint32_t i = 0; i < c->n_members; i++) {
        r->peers[i].rto_usec = 2 * (uint64_t)config->heartbeat_usec;
        r->peers[i].rto_at_usec = UINT64_MAX;
    }
    for (uint32_t i = 0; i < INTAKE_MAX; i++)
        r->intake[i].next = r->streams[i].next_hash = i + 1 == INTAKE_MAX ? 0 : i + 2;
    r->intake_free = r->streams_free = 1;
    for (uint32_t i = 0; i < r->open_max; i++)
        r->open[i].next = i + 1 == r->open_max ? 0 : i + 2;
    r->open_free = 1;
    r->transfer_target = REPLICA_ID_NONE;
    r->origin_leader = REPLICA_ID_NONE;
    r->submit_srtt_usec = config->heartbeat_usec / 2;
    identity_install(r);
    return r;
}

/* --- steps --- */

static void step_begin(struct replica *r, uint64_t now_usec)
{
    if (now_usec > r->now_usec)
        r->now_usec = now_usec;
    r->n_records = r->n_outgoing = r->n_entries = r->n_reports = r->n_applied = r->n_outcomes = 0;
    r->fetch_wanted = (struct fetch_request){0};
    r->released = NULL;
    r->again = false;
    if (r->notes_told > 0) {
        r->n_notes -= r->notes_told;
        memmove(r->notes, r->notes + r->notes_told, r->n_notes * sizeof(*r->notes));
        r->notes_told = 0;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* What is due, in the order in which one thing makes the next possible. */
static uint64_t step_timers(struct replica *r)
{
    uint64_t wake = start_timer(r);
    if (!r->voter)
        return wake;
    wake = earlier(wake, election_timer(r));
    wake = earlier(wake, phase1_timer(r));
    wake = earlier(wake, proposer_timer(r));
    wake = earlier(wake, learner_timer(r));
    wake = earlier(wake, origin_timer(r));
    return earlier(wake, confirm_timer(r));
}

static void step_pumps(struct replica *r)
{
    if (!r->voter)
        return;
    phase1_pump(r);
    origin_pump(r);
    proposer_pump(r);
    confirm_pump(r);
}

static void step_end(struct replica *r, struct effects *ret)
{
    step_pumps(r);
    uint64_t wake = step_timers(r);
    step_pumps(r);
    *ret = (struct effects){
        .records = r->records,
        .n_records = r->n_records,
        .records_seq = r->seq,
        .outgoing = r->outgoing,
        .n_outgoing = r->n_outgoing,
        .applied = r->applied,
        .n_applied = r->n_applied,
        .outcomes = r->outcomes,
        .n_outcomes = r->n_outcomes,
        .fetch = r->fetch_wanted,
        .released = r->released,
        .wake_usec = r->again ? r->now_usec : wake,
    };
}

static bool life_is_current(const struct replica *r, uint32_t from, const struct message *m)
{
    return m->from_life == config_at(r)->members[from].life;
}

static void step_vote_message(struct replica *r, uint32_t from, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_PREPARE:
        acceptor_prepare(r, from, &m->prepare);
        break;
    case MESSAGE_PROMISE:
        proposer_promise(r, from, &m->promise);
        break;
    case MESSAGE_ACCEPT:
        acceptor_accept(r, from, &m->accept);
        break;
    case MESSAGE_ACCEPTED:
        proposer_accepted(r, from, &m->accepted);
        break;
    case MESSAGE_NACK:
        proposer_nack(r, from, &m->nack);
        break;
    case MESSAGE_BODY:
        proposer_body(r, from, &m->body);
        break;
    case MESSAGE_HEARTBEAT:
        election_heartbeat(r, from, &m->heartbeat);
        break;
    default:
        r->counters.ignored_messages++;
    }
}

static void step_message(struct replica *r, const struct message *m)
{
    int from = configuration_find(config_at(r), m->from);
    if (from < 0 || (uint32_t)from == r->me) {
        r->counters.ignored_messages++;
        return;
    }
    uint32_t f = (uint32_t)from;
    if (m->type == MESSAGE_STATE) {
        start_state(r, f, m->from_life, &m->state);
        return;
    }
    if (!r->voter || !life_is_current(r, f, m)) {
        r->counters.ignored_messages++;
        return;
    }
    switch (m->type) {
    case MESSAGE_FETCH:
        learner_fetch(r, f, &m->fetch);
        break;
    case MESSAGE_CHOSEN:
        learner_chosen(r, f, &m->chosen);
        break;
    case MESSAGE_SUBMIT:
        intake_submit(r, f, &m->submit);
        break;
    case MESSAGE_POSITION:
        confirm_asked(r, f, &m->position);
        break;
    case MESSAGE_ANSWER:
        confirm_answered(r, f, &m->position);
        break;
    case MESSAGE_CONFIRM:
        confirm_confirm(r, f, &m->confirm);
        break;
    case MESSAGE_CONFIRMED:
        confirm_confirmed(r, f, &m->confirm);
        break;
    case MESSAGE_TRANSFER:
        election_transfer(r, f, &m->transfer);
        break;
    default:
        step_vote_message(r, f, m);
    }
}

static void step_durable(struct replica *r, uint64_t seq)
{
    invariant(seq <= r->seq, seq, r->seq);
    if (seq <= r->durable_seq)
        return;
    r->durable_seq = seq;
    r->undurable_since_usec = seq == r->seq ? 0 : r->now_usec;
    if (!r->voter)
        return;
    acceptor_send_acks(r);
    proposer_durable(r);
}

static void step_skip(struct replica *r, const slot_t *slots, size_t n)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < r->n_skips; k++)
        if (r->skips[k] > r->chosen)
            r->skips[kept++] = r->skips[k];
    r->n_skips = kept;
    for (size_t i = 0; i < n && r->n_skips < SKIPS_MAX; i++) {
        bool known = slots[i] <= r->chosen;
        for (uint32_t k = 0; k < r->n_skips; k++)
            known = known || r->skips[k] == slots[i];
        if (!known)
            r->skips[r->n_skips++] = slots[i];
    }
}

void replica_step(struct replica *r, const struct event *e, struct effects *ret)
{
    step_begin(r, e->now_usec);
    switch (e->type) {
    case EVENT_MESSAGE:
        step_message(r, e->message);
        break;
    case EVENT_DURABLE:
        step_durable(r, e->durable_seq);
        break;
    case EVENT_TIMER:
        break;
    case EVENT_SUBMIT:
        origin_submit(r, e->submissions, e->n_submissions);
        break;
    case EVENT_CANCEL:
        origin_cancel(r, e->cookie);
        confirm_cancel(r, e->cookie);
        break;
    case EVENT_FETCHED:
        learner_fetched(r, e);
        break;
    case EVENT_POSITION:
        confirm_position(r, e->cookie);
        break;
    case EVENT_SKIP:
        step_skip(r, e->slots, e->n_slots);
        break;
    case EVENT_BOOTSTRAP:
        start_bootstrap(r);
        break;
    case EVENT_TRANSFER:
        election_hand_over(r, e->target);
        break;
    case EVENT_SPACE:
        r->space = e->space;
        break;
    }
    step_end(r, ret);
}

void replica_start(struct replica *r, uint64_t now_usec, struct effects *ret)
{
    step_begin(r, now_usec);
    r->durable_seq = r->seq;
    r->undurable_since_usec = 0;
    r->followed = r->promised;
    r->known_commit = r->chosen;
    r->beat_at_usec = r->tick_at_usec = r->state_at_usec = r->now_usec;
    r->commit_moved_usec = r->quorum_since_usec = r->now_usec;
    r->beat_seq = r->now_usec; /* above those of the last run on this machine */
    r->state_nonce = r->position_nonce = prng_next(&r->prng) | 1;
    step_end(r, ret);
}
