/* The block of a replica, and what stands in it before the first step. */
#include <string.h>

#include "paxos/core.h"

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
    r->notes_max = 2 * (size_t)n_cells + RECORD_NOTES_MAX;
    r->notes = layout_take(l, r->notes_max, sizeof(struct note));
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
    r->member = r->identity.status >= IDENTITY_VOTER;
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
    r->fetch_value_bytes = FETCH_VALUE_BYTES;
    r->bid_at_usec = r->commit_at_usec = UINT64_MAX;
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
