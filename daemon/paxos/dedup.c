#include "paxos/dedup.h"

#include <string.h>

#include "paxos/bytes.h"
#include "paxos/invariant.h"

/* Keys: a ring, the key of `slot` at entry slot % n_keys, and a chain through each bucket. A slot that stores nothing
 * clears its entry, so that the ring always holds the keys of the last n_keys slots and no other. Nothing is unlinked:
 * a chain runs from newer to older slots, so it ends where the next entry
 *   - is not older than the one before it: cleared or taken over, and what was behind it is gone as well (what takes an
 *     entry over stands n_keys above it, what links to it less than that);
 *   - belongs to another bucket: this one's newest entry was taken over.
 * Streams: entries taken in order until the table is full, then always the one whose last advance is oldest. */

static const uint32_t NONE = UINT32_MAX;

static const slot_t SLOT_NONE = UINT64_MAX;

struct key_entry {
    slot_t slot;        /* SLOT_NONE: none */
    uint64_t text_hash; /* the first half */
    struct hash128 key_hash;
};

struct stream_entry {
    uint64_t stream;
    uint64_t last;
    uint32_t newer, older; /* by last advance */
    uint32_t chained;      /* next in the bucket */
};

struct dedup {
    slot_t next; /* one above the last slot applied */
    uint32_t n_keys, key_mask;
    uint32_t streams_max, n_streams, stream_mask;
    uint32_t newest, oldest; /* streams */
    struct key_entry *keys;
    uint32_t *chained_keys; /* next in the bucket, by entry */
    uint32_t *key_heads;    /* newest entry, by bucket */
    struct stream_entry *streams;
    uint32_t *stream_heads;
};

/* Largest power of two that is not above n. */
static uint32_t n_buckets(uint32_t n)
{
    return UINT32_C(1) << (31 - __builtin_clz(n));
}

size_t dedup_size(uint32_t dedup_slots, uint32_t streams_max)
{
    const size_t size = sizeof(struct dedup) + dedup_slots * sizeof(struct key_entry) +
                        streams_max * sizeof(struct stream_entry) +
                        ((size_t)dedup_slots + n_buckets(dedup_slots) + n_buckets(streams_max)) * sizeof(uint32_t);
    return (size + 15) / 16 * 16;
}

static void forget_all(struct dedup *d)
{
    d->n_streams = 0;
    d->newest = d->oldest = NONE;
    memset(d->key_heads, 0xff, ((size_t)d->key_mask + 1) * sizeof *d->key_heads);
    memset(d->stream_heads, 0xff, ((size_t)d->stream_mask + 1) * sizeof *d->stream_heads);
}

struct dedup *dedup_init(void *block, uint32_t dedup_slots, uint32_t streams_max)
{
    invariant(dedup_slots > 0 && streams_max > 0, dedup_slots, streams_max);
    struct dedup *d = block;
    *d = (struct dedup){
        .n_keys = dedup_slots,
        .key_mask = n_buckets(dedup_slots) - 1,
        .streams_max = streams_max,
        .stream_mask = n_buckets(streams_max) - 1,
    };
    /* What is aligned to 8 bytes first. Entries are not touched before they are used: a young log needs no memory. */
    d->keys = (struct key_entry *)(d + 1);
    d->streams = (struct stream_entry *)(d->keys + dedup_slots);
    d->chained_keys = (uint32_t *)(d->streams + streams_max);
    d->key_heads = d->chained_keys + dedup_slots;
    d->stream_heads = d->key_heads + n_buckets(dedup_slots);
    forget_all(d);
    return d;
}

/* --- streams --- */

static uint32_t *stream_head(const struct dedup *d, uint64_t stream)
{
    return &d->stream_heads[(stream * UINT64_C(0x9e3779b97f4a7c15) >> 32) & d->stream_mask];
}

static uint32_t find_stream(const struct dedup *d, uint64_t stream)
{
    uint32_t i = *stream_head(d, stream);
    while (i != NONE && d->streams[i].stream != stream)
        i = d->streams[i].chained;
    return i;
}

static void list_remove(struct dedup *d, uint32_t i)
{
    const struct stream_entry *s = &d->streams[i];
    *(s->newer == NONE ? &d->newest : &d->streams[s->newer].older) = s->older;
    *(s->older == NONE ? &d->oldest : &d->streams[s->older].newer) = s->newer;
}

static void list_push(struct dedup *d, uint32_t i)
{
    struct stream_entry *s = &d->streams[i];
    s->newer = NONE;
    s->older = d->newest;
    *(s->older == NONE ? &d->oldest : &d->streams[s->older].newer) = i;
    d->newest = i;
}

static uint32_t evict_oldest_stream(struct dedup *d)
{
    const uint32_t i = d->oldest;
    list_remove(d, i);
    uint32_t *link = stream_head(d, d->streams[i].stream);
    while (*link != i)
        link = &d->streams[*link].chained;
    *link = d->streams[i].chained;
    return i;
}

static void link_stream(struct dedup *d, uint32_t i, uint64_t stream)
{
    uint32_t *head = stream_head(d, stream);
    d->streams[i].stream = stream;
    d->streams[i].chained = *head;
    *head = i;
}

/* False: `n` is not the next on its stream. */
static bool advance_stream(struct dedup *d, uint64_t stream, uint64_t n, uint64_t *ret_evicted)
{
    uint32_t i = find_stream(d, stream);
    const uint64_t last = i == NONE ? 0 : d->streams[i].last;
    if (n != last + 1)
        return false;
    if (i != NONE) {
        list_remove(d, i);
    } else {
        if (d->n_streams < d->streams_max) {
            i = d->n_streams++;
        } else {
            i = evict_oldest_stream(d);
            *ret_evicted = d->streams[i].stream;
        }
        link_stream(d, i, stream);
    }
    d->streams[i].last = n;
    list_push(d, i);
    return true;
}

uint64_t dedup_stream_last(const struct dedup *d, uint64_t stream)
{
    const uint32_t i = find_stream(d, stream);
    return i == NONE ? 0 : d->streams[i].last;
}

/* --- keys --- */

static slot_t floor_at(const struct dedup *d, slot_t slot)
{
    return slot > d->n_keys ? slot - d->n_keys : 0;
}

static uint32_t entry_index(const struct dedup *d, slot_t slot)
{
    return (uint32_t)(slot % d->n_keys);
}

static uint32_t key_bucket(const struct dedup *d, const struct hash128 *key_hash)
{
    return get_u32(key_hash->bytes) & d->key_mask;
}

static const struct key_entry *find_key(const struct dedup *d, const struct hash128 *key_hash)
{
    const uint32_t bucket = key_bucket(d, key_hash);
    slot_t above = SLOT_NONE;
    for (uint32_t i = d->key_heads[bucket]; i != NONE; i = d->chained_keys[i]) {
        const struct key_entry *e = &d->keys[i];
        if (e->slot >= above || key_bucket(d, &e->key_hash) != bucket)
            break;
        if (hash_equal(&e->key_hash, key_hash))
            return e;
        above = e->slot;
    }
    return NULL;
}

void dedup_expect(const struct dedup *d, const struct value *v)
{
    const uint32_t *head = &d->key_heads[key_bucket(d, &v->key_hash)];
    __builtin_prefetch(head, 1);
    __builtin_prefetch(stream_head(d, v->stream));
}

void dedup_expect_next(const struct dedup *d, const struct value *v)
{
    const uint32_t i = d->key_heads[key_bucket(d, &v->key_hash)];
    if (i != NONE)
        __builtin_prefetch(&d->keys[i]);
}

static void insert_key(struct dedup *d, slot_t slot, const struct dedup_key *k)
{
    const uint32_t i = entry_index(d, slot);
    uint32_t *head = &d->key_heads[key_bucket(d, &k->key_hash)];
    d->keys[i] = (struct key_entry){.slot = slot, .text_hash = k->text_hash, .key_hash = k->key_hash};
    d->chained_keys[i] = *head;
    *head = i;
}

/* No key stands at the slots [from, until): what stood at their entries is forgotten. */
static void clear_entries(struct dedup *d, slot_t from, slot_t until)
{
    for (slot_t s = until - from > d->n_keys ? until - d->n_keys : from; s < until; s++)
        d->keys[entry_index(d, s)].slot = SLOT_NONE;
}

static enum dedup_verdict apply_key(struct dedup *d, slot_t slot, const struct value *v, slot_t *ret_slot)
{
    const slot_t floor = floor_at(d, slot);
    const struct key_entry *e = find_key(d, &v->key_hash);
    if (e != NULL) {
        *ret_slot = e->slot;
        return e->text_hash == get_u64(v->text_hash.bytes) ? DEDUP_DUPLICATE : DEDUP_CONFLICT;
    }
    if (v->since < floor) {
        *ret_slot = floor;
        return DEDUP_EXPIRED;
    }
    insert_key(d, slot, &(struct dedup_key){.text_hash = get_u64(v->text_hash.bytes), .key_hash = v->key_hash});
    return DEDUP_STORED;
}

enum dedup_verdict dedup_apply(struct dedup *d, slot_t slot, const struct value *v, slot_t *ret_slot,
                               uint64_t *ret_evicted)
{
    invariant(slot >= d->next && slot != SLOT_NONE, slot, d->next);
    clear_entries(d, d->next, slot);
    d->next = slot + 1;
    *ret_evicted = 0;

    enum dedup_verdict verdict = DEDUP_VOID;
    if (v->stream == 0 || advance_stream(d, v->stream, v->n, ret_evicted))
        verdict = apply_key(d, slot, v, ret_slot);
    /* Only now: the oldest key that is known had the same entry. */
    if (verdict != DEDUP_STORED)
        clear_entries(d, slot, slot + 1);
    return verdict;
}

/* --- the hash of both --- */

struct digest {
    const struct hash128 *key;
    struct hash128 so_far;
};

static void digest_add(struct digest *g, uint64_t a, uint64_t b, const struct hash128 *c)
{
    uint8_t bytes[48];
    memcpy(bytes, g->so_far.bytes, 16);
    put_u64(bytes + 16, a);
    put_u64(bytes + 24, b);
    memcpy(bytes + 32, c->bytes, 16);
    g->so_far = hash_bytes(g->key, bytes, sizeof bytes);
}

struct hash128 dedup_hash(const struct dedup *d, const struct hash128 *key)
{
    static const struct hash128 zero;
    struct digest g = {.key = key};
    for (slot_t s = floor_at(d, d->next); s < d->next; s++) {
        const struct key_entry *e = &d->keys[entry_index(d, s)];
        if (e->slot == s)
            digest_add(&g, e->slot, e->text_hash, &e->key_hash);
    }
    for (uint32_t i = d->oldest; i != NONE; i = d->streams[i].newer)
        digest_add(&g, d->streams[i].stream, d->streams[i].last, &zero);
    return g.so_far;
}

/* --- checkpoints --- */

uint32_t dedup_streams(const struct dedup *d)
{
    return d->n_streams;
}

void dedup_copy_streams(const struct dedup *d, struct dedup_stream *ret)
{
    for (uint32_t i = d->oldest; i != NONE; i = d->streams[i].newer)
        *ret++ = (struct dedup_stream){.stream = d->streams[i].stream, .last = d->streams[i].last};
}

slot_t dedup_keys_from(uint32_t dedup_slots, slot_t applied)
{
    return applied >= dedup_slots ? applied - dedup_slots + 1 : 1; /* slot 0 holds no message */
}

bool dedup_key_at(const struct dedup *d, slot_t slot, struct dedup_key *ret, bool *ret_overtaken)
{
    const struct key_entry *e = &d->keys[entry_index(d, slot)];
    *ret_overtaken = d->next > slot && d->next - slot > d->n_keys;
    if (*ret_overtaken || slot >= d->next || e->slot != slot)
        return false;
    *ret = (struct dedup_key){.text_hash = e->text_hash, .key_hash = e->key_hash};
    return true;
}

void dedup_load(struct dedup *d, slot_t applied)
{
    forget_all(d);
    d->next = dedup_keys_from(d->n_keys, applied);
}

void dedup_load_stream(struct dedup *d, const struct dedup_stream *s)
{
    const uint32_t i = d->n_streams++;
    invariant(i < d->streams_max, i, d->streams_max);
    link_stream(d, i, s->stream);
    d->streams[i].last = s->last;
    list_push(d, i);
}

void dedup_load_key(struct dedup *d, slot_t slot, const struct dedup_key *k)
{
    invariant(slot >= d->next, slot, d->next);
    clear_entries(d, d->next, slot);
    insert_key(d, slot, k);
    d->next = slot + 1;
}

void dedup_load_end(struct dedup *d, slot_t applied)
{
    clear_entries(d, d->next, applied + 1);
    d->next = applied + 1;
}
