/* The leader's waiting room: messages that wait for their turn on their stream, or for room in the window.
 *
 * A stream's numbers are proposed in order. Datagrams come in any order, so what came early is held. All of this is
 * forgotten with the leadership: the origins send it to the next leader. */
#include <string.h>

#include "paxos/core.h"

static uint32_t stream_bucket(uint64_t stream, uint64_t n)
{
    uint64_t h = (stream ^ (n * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0xff51afd7ed558ccd);
    return (uint32_t)(h >> 32) % INTAKE_MAX;
}

static struct intake_stream *stream_find(const struct replica *r, uint64_t stream)
{
    for (uint32_t i = r->stream_buckets[stream_bucket(stream, 0)]; i != 0; i = r->streams[i - 1].next_hash)
        if (r->streams[i - 1].stream == stream)
            return &r->streams[i - 1];
    return NULL;
}

/* Streams whose numbers are all applied need no entry: the applied state says the same. */
static void streams_sweep(struct replica *r)
{
    for (uint32_t b = 0; b < INTAKE_MAX; b++) {
        uint32_t *link = &r->stream_buckets[b];
        while (*link != 0) {
            uint32_t i = *link;
            struct intake_stream *s = &r->streams[i - 1];
            if (dedup_stream_last(r->dedup, s->stream) < s->last) {
                link = &s->next_hash;
                continue;
            }
            *link = s->next_hash;
            s->stream = 0;
            s->next_hash = r->streams_free;
            r->streams_free = i;
        }
    }
}

static uint64_t stream_last(const struct replica *r, uint64_t stream)
{
    const struct intake_stream *s = stream_find(r, stream);
    uint64_t applied = dedup_stream_last(r->dedup, stream);
    return s != NULL && s->last > applied ? s->last : applied;
}

static bool stream_set(struct replica *r, uint64_t stream, uint64_t last)
{
    struct intake_stream *s = stream_find(r, stream);
    if (s == NULL) {
        if (r->streams_free == 0)
            streams_sweep(r);
        if (r->streams_free == 0)
            return false;
        uint32_t i = r->streams_free, *bucket = &r->stream_buckets[stream_bucket(stream, 0)];
        s = &r->streams[i - 1];
        r->streams_free = s->next_hash;
        s->stream = stream;
        s->next_hash = *bucket;
        *bucket = i;
    }
    s->last = last;
    return true;
}

static uint32_t entry_find(const struct replica *r, uint64_t stream, uint64_t n)
{
    for (uint32_t i = r->intake_buckets[stream_bucket(stream, n)]; i != 0; i = r->intake[i - 1].next_hash)
        if (r->intake[i - 1].value->stream == stream && r->intake[i - 1].value->n == n)
            return i;
    return 0;
}

static void entry_unhash(struct replica *r, uint32_t i)
{
    const struct value *v = r->intake[i - 1].value;
    uint32_t *link = &r->intake_buckets[stream_bucket(v->stream, v->n)];
    while (*link != i)
        link = &r->intake[*link - 1].next_hash;
    *link = r->intake[i - 1].next_hash;
}

static void entry_free(struct replica *r, uint32_t i)
{
    struct intake_entry *e = &r->intake[i - 1];
    entry_unhash(r, i);
    r->n_held -= e->ready ? 0 : 1;
    r->intake_bytes -= e->value->size;
    value_unref(r, e->value);
    *e = (struct intake_entry){.next = r->intake_free};
    r->intake_free = i;
    r->n_intake--;
}

static void entry_make_ready(struct replica *r, uint32_t i)
{
    r->intake[i - 1].ready = true;
    r->n_held--;
    r->intake[i - 1].next = 0;
    if (r->intake_last != 0)
        r->intake[r->intake_last - 1].next = i;
    else
        r->intake_first = i;
    r->intake_last = i;
}

static uint32_t entry_add(struct replica *r, struct value *v, bool local)
{
    uint32_t i = r->intake_free, *bucket = &r->intake_buckets[stream_bucket(v->stream, v->n)];
    struct intake_entry *e = &r->intake[i - 1];
    r->intake_free = e->next;
    *e = (struct intake_entry){.value = value_ref(v), .local = local, .next_hash = *bucket};
    *bucket = i;
    r->intake_bytes += v->size;
    r->n_intake++;
    r->n_held++;
    return i;
}

/* What waits for an earlier number waits for ever where its connection ended. When the room is wanted, all of it goes,
 * as if it had been lost: whoever still waits sends again. */
static void held_drop(struct replica *r)
{
    for (uint32_t i = 1; i <= INTAKE_MAX && r->n_held > 0; i++)
        if (r->intake[i - 1].value != NULL && !r->intake[i - 1].ready)
            entry_free(r, i);
}

void intake_clear(struct replica *r)
{
    for (uint32_t i = 1; i <= INTAKE_MAX && r->n_intake > 0; i++)
        if (r->intake[i - 1].value != NULL)
            entry_free(r, i);
    r->intake_first = r->intake_last = 0;
    memset(r->stream_buckets, 0, INTAKE_MAX * sizeof(*r->stream_buckets));
    for (uint32_t i = 0; i < INTAKE_MAX; i++)
        r->streams[i] = (struct intake_stream){.next_hash = i + 1 == INTAKE_MAX ? 0 : i + 2};
    r->streams_free = 1;
}

/* Whether the number was already queued or proposed here; a retry joins only the very same (stream, n). What finds no
 * room is dropped as if it had been lost: its origin sends it again. */
void intake_add(struct replica *r, struct value *v, bool local)
{
    if (r->n_intake >= INTAKE_MAX / 2 || r->intake_bytes + v->size > INTAKE_BYTES_MAX)
        held_drop(r);
    uint64_t last = stream_last(r, v->stream);
    uint32_t held = entry_find(r, v->stream, v->n); /* it came early; its turn may have come since */
    if (v->stream == 0 || v->n <= last || (held == 0 && r->intake_free == 0) ||
        (held != 0 && r->intake[held - 1].ready) ||
        (held == 0 && !local && r->intake_bytes + v->size > INTAKE_BYTES_MAX))
        return;
    if (v->n > last + 1) {
        if (held == 0 && v->n - last < INTAKE_MAX / 2 && r->n_intake < INTAKE_MAX / 2)
            entry_add(r, v, local);
        return;
    }
    for (uint32_t i = held != 0 ? held : entry_add(r, v, local); i != 0; i = entry_find(r, v->stream, ++last + 1)) {
        if (r->intake[i - 1].ready)
            return;
        if (!stream_set(r, v->stream, last + 1)) {
            if (r->intake[i - 1].value->n == v->n)
                entry_free(r, i);
            return;
        }
        entry_make_ready(r, i);
    }
}

/* Called for each value that is proposed again after phase 1, in slot order: what applying it will do to its stream. */
void intake_proposed(struct replica *r, const struct value *v)
{
    if (v->type == VALUE_MESSAGE && v->stream != 0 && v->n == stream_last(r, v->stream) + 1)
        stream_set(r, v->stream, v->n);
}

/* A number turned out void because one before it is missing: a stream was evicted in between, or an earlier number was
 * lost. Its origin begins again from the last settled number. A number that was settled before says nothing. */
void intake_void(struct replica *r, const struct value *v)
{
    struct intake_stream *s = r->phase == PHASE_LEADING ? stream_find(r, v->stream) : NULL;
    uint64_t last = dedup_stream_last(r->dedup, v->stream);
    if (s != NULL && v->n > last)
        s->last = last;
}

struct value *intake_peek(const struct replica *r)
{
    return r->intake_first == 0 ? NULL : r->intake[r->intake_first - 1].value;
}

bool intake_is_local(const struct replica *r)
{
    return r->intake[r->intake_first - 1].local;
}

void intake_pop(struct replica *r)
{
    uint32_t i = r->intake_first;
    r->intake_first = r->intake[i - 1].next;
    if (r->intake_first == 0)
        r->intake_last = 0;
    entry_free(r, i);
}

/* For a peer that has no link to the leader; once, so that nothing goes in circles. */
static void forward(struct replica *r, uint32_t from, const struct submit *m)
{
    int leader = election_leader(r);
    struct entry *entries = leader < 0 || (uint32_t)leader == from ? NULL : entries_take(r, m->n_entries);
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_entries && entries != NULL; i++)
        if (m->entries[i].value != NULL && m->entries[i].hops < SUBMIT_HOPS_MAX)
            entries[n++] = (struct entry){.hops = (uint8_t)(m->entries[i].hops + 1), .value = m->entries[i].value};
    struct message *out = n == 0 ? NULL : outgoing_push(r, MESSAGE_SUBMIT, member_id(r, (uint32_t)leader), 0);
    if (out != NULL)
        out->submit = (struct submit){.n_entries = n, .entries = entries};
}

void intake_submit(struct replica *r, uint32_t from, const struct submit *m)
{
    if (r->phase != PHASE_LEADING) {
        forward(r, from, m);
        return;
    }
    for (uint32_t i = 0; i < m->n_entries; i++)
        if (m->entries[i].value != NULL && m->entries[i].value->type == VALUE_MESSAGE)
            intake_add(r, m->entries[i].value, false);
}
