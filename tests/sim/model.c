/* Keys and streams once more, from the text of mpaxos(7) and not from the daemon's code: slow, and easy to believe. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/observer.h"

struct model_key {
    slot_t slot;
    uint64_t digest;
    const uint8_t *author, *key, *text;
    uint32_t author_size, key_size, text_size;
};

struct model_stream {
    uint64_t stream, last;
    slot_t advanced;
};

struct model {
    uint32_t dedup_slots, streams_max;
    struct model_key *keys; /* of all slots, ascending */
    size_t n_keys, keys_capacity;
    struct model_stream *streams;
    uint32_t n_streams;
};

struct model *model_make(uint32_t dedup_slots, uint32_t streams_max)
{
    struct model *m = calloc(1, sizeof(*m));
    if (!m)
        abort();
    m->dedup_slots = dedup_slots;
    m->streams_max = streams_max;
    m->streams = calloc(streams_max, sizeof(*m->streams));
    if (!m->streams)
        abort();
    return m;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    free(m->keys);
    free(m->streams);
    free(m);
}

/* True where this number is the next one. */
static bool advance(struct model *m, slot_t slot, const struct text_view *v)
{
    struct model_stream *oldest = NULL;
    for (uint32_t i = 0; i < m->n_streams; i++) {
        struct model_stream *s = &m->streams[i];
        if (s->stream == v->stream) {
            if (v->n != s->last + 1)
                return false;
            s->last = v->n;
            s->advanced = slot;
            return true;
        }
        if (!oldest || s->advanced < oldest->advanced)
            oldest = s;
    }
    if (v->n != 1)
        return false;
    if (m->n_streams < m->streams_max)
        oldest = &m->streams[m->n_streams++];
    *oldest = (struct model_stream){.stream = v->stream, .last = 1, .advanced = slot};
    return true;
}

static uint64_t digest(const struct text_view *v)
{
    uint64_t d = v->author_size * 257 + v->key_size;
    for (uint32_t i = 0; i < v->author_size; i++)
        d = d * 31 + v->author[i];
    for (uint32_t i = 0; i < v->key_size; i++)
        d = d * 31 + v->key[i];
    return d;
}

static bool is_same_key(const struct model_key *k, const struct text_view *v, uint64_t d)
{
    return k->digest == d && k->author_size == v->author_size && k->key_size == v->key_size &&
           memcmp(k->author, v->author, v->author_size) == 0 && memcmp(k->key, v->key, v->key_size) == 0;
}

bool model_apply(struct model *m, slot_t slot, const struct text_view *v)
{
    if (!v->is_message)
        return false;
    if (v->stream != 0 && !advance(m, slot, v))
        return false;
    slot_t floor = slot > m->dedup_slots ? slot - m->dedup_slots : 0;
    uint64_t d = digest(v);
    for (size_t i = m->n_keys; i > 0 && m->keys[i - 1].slot >= floor; i--) {
        if (is_same_key(&m->keys[i - 1], v, d))
            return false; /* duplicate, or conflict */
    }
    if (v->since < floor)
        return false;
    if (m->n_keys == m->keys_capacity) {
        m->keys_capacity = m->keys_capacity ? 2 * m->keys_capacity : 256;
        m->keys = realloc(m->keys, m->keys_capacity * sizeof(*m->keys));
        if (!m->keys)
            abort();
    }
    m->keys[m->n_keys++] =
        (struct model_key){slot, d, v->author, v->key, v->text, v->author_size, v->key_size, v->text_size};
    return true;
}
