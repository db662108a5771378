#include "paxos/checkpoint.h"

#include <string.h>

#include "paxos/bytes.h"
#include "paxos/core.h"

/* Where each field of the head stands. */
enum {
    AT_VERSION = 0,
    AT_CONFIGURATION_SIZE = 4,
    AT_CLUSTER = 8,
    AT_SLOT = 24,
    AT_CHAIN = 32,
    AT_TIME = 48,
    AT_FIRST_KEPT = 56,
    AT_STREAMS = 64,
    AT_HOST_SIZE = 68,
    HEAD_SIZE = 72,
    STREAM_SIZE = 16,
    KEY_SIZE = 32,
    SUM_SIZE = 16,
    SLOTS_SCANNED_MAX = 65536, /* in one call, where few hold a key */
};

static const slot_t SLOT_MAX = UINT64_C(1) << 62;

/* --- the hash --- */

static void sum_block(struct checkpoint_sum *s)
{
    s->so_far = hash_bytes(&s->so_far, s->block, s->fill);
    s->fill = 0;
}

static void sum_add(struct checkpoint_sum *s, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t n = CHECKPOINT_BLOCK_BYTES - s->fill < size ? CHECKPOINT_BLOCK_BYTES - s->fill : size;
        memcpy(s->block + s->fill, bytes, n);
        s->fill += n;
        bytes += n;
        size -= n;
        if (s->fill == CHECKPOINT_BLOCK_BYTES)
            sum_block(s);
    }
}

/* --- writing --- */

enum part { PART_HEAD, PART_KEYS, PART_HOST, PART_SUM, PART_END };

/* The streams change from slot to slot, so they are copied when it begins; the keys of a slot never do. */
struct checkpoint_writer {
    enum part part;
    slot_t slot, next_key;
    const uint8_t *host;
    size_t host_size, at; /* at: in the head or in the host's part */
    size_t head_size;
    struct checkpoint_sum sum;
    uint8_t head[]; /* with configuration and streams; then room for the streams as they are copied */
};

static size_t head_size_max(const struct configuration *c)
{
    return HEAD_SIZE + CONFIGURATION_BYTES_MAX + (size_t)c->streams_max * STREAM_SIZE;
}

size_t checkpoint_size_max(const struct configuration *c)
{
    return head_size_max(c) + ((size_t)c->dedup_slots + 1) * KEY_SIZE + CHECKPOINT_HOST_BYTES_MAX + SUM_SIZE;
}

static struct dedup_stream *stream_room(struct checkpoint_writer *w, const struct configuration *c)
{
    return (struct dedup_stream *)(void *)((uint8_t *)(w + 1) + (head_size_max(c) + 15) / 16 * 16);
}

size_t checkpoint_writer_size(const struct replica_config *config)
{
    const struct configuration *c = &config->identity.configuration;
    return sizeof(struct checkpoint_writer) + (head_size_max(c) + 15) / 16 * 16 +
           (size_t)c->streams_max * sizeof(struct dedup_stream);
}

struct checkpoint_writer *checkpoint_begin(void *block, const struct replica *r, const uint8_t *host,
                                           uint32_t host_size)
{
    struct checkpoint_writer *w = block;
    struct dedup_stream *streams = stream_room(w, config_at(r));
    uint32_t n_streams = dedup_streams(r->dedup);
    invariant(r->member && r->chosen > 0, r->identity.status, r->chosen);
    *w = (struct checkpoint_writer){.slot = r->chosen,
                                    .next_key = dedup_keys_from(config_at(r)->dedup_slots, r->chosen),
                                    .host = host,
                                    .host_size = host_size,
                                    .sum = {.so_far = r->identity.cluster}};
    uint8_t *p = w->head + HEAD_SIZE;
    size_t size = configuration_encode(config_at(r), p);
    p += size;
    dedup_copy_streams(r->dedup, streams);
    for (uint32_t i = 0; i < n_streams; i++, p += STREAM_SIZE) {
        put_u64(p, streams[i].stream);
        put_u64(p + 8, streams[i].last);
    }
    w->head_size = (size_t)(p - w->head);
    put_u32(w->head + AT_VERSION, CHECKPOINT_VERSION);
    put_u32(w->head + AT_CONFIGURATION_SIZE, (uint32_t)size);
    memcpy(w->head + AT_CLUSTER, r->identity.cluster.bytes, sizeof(r->identity.cluster.bytes));
    put_u64(w->head + AT_SLOT, r->chosen);
    memcpy(w->head + AT_CHAIN, r->chain.bytes, sizeof(r->chain.bytes));
    put_u64(w->head + AT_TIME, r->last_time_usec);
    put_u64(w->head + AT_FIRST_KEPT, r->first_kept);
    put_u32(w->head + AT_STREAMS, n_streams);
    put_u32(w->head + AT_HOST_SIZE, host_size);
    return w;
}

slot_t checkpoint_slot(const struct checkpoint_writer *w)
{
    return w->slot;
}

bool checkpoint_is_written(const struct checkpoint_writer *w)
{
    return w->part == PART_END;
}

bool checkpoint_is_ahead(const struct checkpoint_writer *w, const struct replica *r)
{
    return w->part > PART_KEYS || w->next_key + config_at(r)->dedup_slots > r->chosen + r->applied_max;
}

/* Of a part that lies in memory. */
static size_t copy_some(struct checkpoint_writer *w, const uint8_t *from, size_t all, uint8_t *ret, size_t size)
{
    size_t n = all - w->at < size ? all - w->at : size;
    if (n > 0) /* the host's part may be none */
        memcpy(ret, from + w->at, n);
    w->at += n;
    return n;
}

/* False: overtaken. */
static bool write_keys(struct checkpoint_writer *w, const struct replica *r, uint8_t *ret, size_t size, size_t *ret_n)
{
    uint8_t *p = ret;
    slot_t last = w->slot < w->next_key + SLOTS_SCANNED_MAX ? w->slot : w->next_key + SLOTS_SCANNED_MAX;
    for (; w->next_key <= last && (size_t)(p - ret) + KEY_SIZE <= size; w->next_key++) {
        struct dedup_key k;
        bool overtaken;
        if (dedup_key_at(r->dedup, w->next_key, &k, &overtaken)) {
            put_u64(p, w->next_key);
            put_u64(p + 8, k.text_hash);
            memcpy(p + 16, k.key_hash.bytes, sizeof(k.key_hash.bytes));
            p += KEY_SIZE;
        } else if (overtaken) {
            return false;
        }
    }
    if (w->next_key > w->slot && (size_t)(p - ret) + KEY_SIZE <= size) {
        memset(p, 0xff, KEY_SIZE);
        p += KEY_SIZE;
        w->part = PART_HOST;
        w->at = 0;
    }
    *ret_n = (size_t)(p - ret);
    return true;
}

bool checkpoint_write(struct checkpoint_writer *w, const struct replica *r, uint8_t *ret, size_t size, size_t *ret_n)
{
    invariant(size >= CHECKPOINT_PART_BYTES_MIN, size, w->slot);
    *ret_n = 0;
    if (w->part == PART_HEAD) {
        *ret_n = copy_some(w, w->head, w->head_size, ret, size);
        w->part = w->at == w->head_size ? PART_KEYS : PART_HEAD;
    } else if (w->part == PART_KEYS) {
        if (!write_keys(w, r, ret, size, ret_n))
            return false;
    } else if (w->part == PART_HOST && w->at < w->host_size) {
        *ret_n = copy_some(w, w->host, w->host_size, ret, size);
    } else if (w->part == PART_HOST) {
        sum_block(&w->sum);
        memcpy(ret, w->sum.so_far.bytes, SUM_SIZE);
        *ret_n = SUM_SIZE;
        w->part = PART_END;
        return true;
    }
    sum_add(&w->sum, ret, *ret_n);
    return true;
}

/* --- reading --- */

static void stage_begin(struct checkpoint_reader *c, enum checkpoint_stage stage, size_t unit_size)
{
    c->stage = stage;
    c->unit_size = unit_size;
    c->unit_fill = 0;
}

void checkpoint_check(struct checkpoint_reader *c, const struct identity *own)
{
    memset(c, 0, sizeof(*c));
    c->own = own;
    c->sum.so_far = own->cluster;
    stage_begin(c, CHECKPOINT_HEAD, HEAD_SIZE);
}

void checkpoint_load(struct checkpoint_reader *c, struct replica *r)
{
    checkpoint_check(c, &r->identity);
    c->dedup = r->dedup;
}

/* After a stage: those behind it that are empty are passed over. */
static void stage_next(struct checkpoint_reader *c)
{
    if (c->stage == CHECKPOINT_CONFIGURATION)
        stage_begin(c, CHECKPOINT_STREAMS, STREAM_SIZE);
    if (c->stage == CHECKPOINT_STREAMS && c->n_left == 0)
        stage_begin(c, CHECKPOINT_KEYS, KEY_SIZE);
}

static bool take_head(struct checkpoint_reader *c)
{
    const struct configuration *own = &c->own->configuration;
    const uint8_t *p = c->unit;
    uint32_t configuration_size = get_u32(p + AT_CONFIGURATION_SIZE);
    c->slot = get_u64(p + AT_SLOT);
    memcpy(c->chain.bytes, p + AT_CHAIN, sizeof(c->chain.bytes));
    c->last_time_usec = get_u64(p + AT_TIME);
    c->first_kept = get_u64(p + AT_FIRST_KEPT);
    c->n_left = get_u32(p + AT_STREAMS);
    c->host_size = get_u32(p + AT_HOST_SIZE);
    if (get_u32(p + AT_VERSION) != CHECKPOINT_VERSION || configuration_size == 0 ||
        configuration_size > CONFIGURATION_BYTES_MAX || hash_is_zero(&c->own->cluster) ||
        memcmp(p + AT_CLUSTER, c->own->cluster.bytes, sizeof(c->own->cluster.bytes)) != 0 || c->slot == 0 ||
        c->slot > SLOT_MAX || c->first_kept > c->slot || c->n_left > own->streams_max ||
        c->host_size > CHECKPOINT_HOST_BYTES_MAX)
        return false;
    if (c->dedup != NULL)
        dedup_load(c->dedup, c->slot);
    c->last_key = dedup_keys_from(own->dedup_slots, c->slot) - 1;
    stage_begin(c, CHECKPOINT_CONFIGURATION, configuration_size);
    return true;
}

/* Configurations live in the log, and its first one is the only one yet. */
static bool take_configuration(struct checkpoint_reader *c)
{
    uint8_t own[CONFIGURATION_BYTES_MAX];
    size_t size = configuration_encode(&c->own->configuration, own);
    if (size != c->unit_size || memcmp(own, c->unit, size) != 0)
        return false;
    stage_next(c);
    return true;
}

static bool take_stream(struct checkpoint_reader *c)
{
    struct dedup_stream s = {.stream = get_u64(c->unit), .last = get_u64(c->unit + 8)};
    if (s.stream == 0 || s.last == 0)
        return false;
    if (c->dedup != NULL)
        dedup_load_stream(c->dedup, &s);
    c->n_left--;
    c->unit_fill = 0;
    stage_next(c);
    return true;
}

static bool keys_end(struct checkpoint_reader *c)
{
    for (size_t i = 0; i < KEY_SIZE; i++)
        if (c->unit[i] != 0xff)
            return false;
    if (c->dedup != NULL)
        dedup_load_end(c->dedup, c->slot);
    c->n_left = c->host_size;
    stage_begin(c, c->host_size > 0 ? CHECKPOINT_HOST : CHECKPOINT_SUM, SUM_SIZE);
    return true;
}

static bool take_key(struct checkpoint_reader *c)
{
    slot_t slot = get_u64(c->unit);
    struct dedup_key k = {.text_hash = get_u64(c->unit + 8)};
    memcpy(k.key_hash.bytes, c->unit + 16, sizeof(k.key_hash.bytes));
    if (slot == UINT64_MAX)
        return keys_end(c);
    if (slot <= c->last_key || slot > c->slot)
        return false;
    if (c->dedup != NULL)
        dedup_load_key(c->dedup, slot, &k);
    c->last_key = slot;
    c->unit_fill = 0;
    return true;
}

static bool take_sum(struct checkpoint_reader *c)
{
    sum_block(&c->sum);
    c->stage = CHECKPOINT_WHOLE;
    return memcmp(c->unit, c->sum.so_far.bytes, SUM_SIZE) == 0;
}

static bool take_unit(struct checkpoint_reader *c)
{
    if (c->stage != CHECKPOINT_SUM)
        sum_add(&c->sum, c->unit, c->unit_size);
    switch (c->stage) {
    case CHECKPOINT_HEAD:
        return take_head(c);
    case CHECKPOINT_CONFIGURATION:
        return take_configuration(c);
    case CHECKPOINT_STREAMS:
        return take_stream(c);
    case CHECKPOINT_KEYS:
        return take_key(c);
    case CHECKPOINT_SUM:
        return take_sum(c);
    case CHECKPOINT_HOST:
    case CHECKPOINT_WHOLE:
    case CHECKPOINT_BAD:
        break;
    }
    return false;
}

static size_t take_host(struct checkpoint_reader *c, const uint8_t *bytes, size_t size)
{
    size_t n = size < c->n_left ? size : c->n_left;
    sum_add(&c->sum, bytes, n);
    c->n_left -= (uint32_t)n;
    if (c->n_left == 0)
        stage_begin(c, CHECKPOINT_SUM, SUM_SIZE);
    return n;
}

bool checkpoint_read(struct checkpoint_reader *c, const uint8_t *bytes, size_t size, const uint8_t **ret_host,
                     size_t *ret_host_size)
{
    *ret_host = NULL;
    *ret_host_size = 0;
    while (size > 0 && c->stage != CHECKPOINT_BAD) {
        size_t n;
        if (c->stage == CHECKPOINT_HOST) {
            n = take_host(c, bytes, size);
            *ret_host = bytes;
            *ret_host_size = n;
        } else if (c->stage == CHECKPOINT_WHOLE) { /* nothing follows */
            n = size;
            c->stage = CHECKPOINT_BAD;
        } else {
            n = c->unit_size - c->unit_fill < size ? c->unit_size - c->unit_fill : size;
            memcpy(c->unit + c->unit_fill, bytes, n);
            c->unit_fill += n;
            if (c->unit_fill == c->unit_size && !take_unit(c))
                c->stage = CHECKPOINT_BAD;
        }
        bytes += n;
        size -= n;
    }
    return c->stage != CHECKPOINT_BAD;
}
