#include "paxos/value.h"

#include <string.h>

#include "paxos/bytes.h"

/* Where each field of the header stands. */
enum {
    AT_TYPE = 0,
    AT_AUTHOR_SIZE = 1,
    AT_KEY_SIZE = 2,
    AT_ZERO = 3,
    AT_TEXT_SIZE = 4,
    AT_STREAM = 8,
    AT_N = 16,
    AT_SINCE = 24,
    AT_TIME = 32,
};

size_t value_encoded_size(const struct value_fields *f)
{
    return (size_t)VALUE_HEADER_SIZE + f->author_size + f->key_size + f->text_size;
}

static uint8_t *append(uint8_t *p, const void *bytes, size_t size)
{
    if (size > 0) /* nothing may be copied from a null pointer, not even 0 bytes */
        memcpy(p, bytes, size);
    return p + size;
}

void value_encode(const struct value_fields *f, uint8_t *ret)
{
    ret[AT_TYPE] = (uint8_t)f->type;
    ret[AT_AUTHOR_SIZE] = f->author_size;
    ret[AT_KEY_SIZE] = f->key_size;
    ret[AT_ZERO] = 0;
    put_u32(ret + AT_TEXT_SIZE, f->text_size);
    put_u64(ret + AT_STREAM, f->stream);
    put_u64(ret + AT_N, f->n);
    put_u64(ret + AT_SINCE, f->since);
    put_u64(ret + AT_TIME, f->time_usec);

    uint8_t *p = ret + VALUE_HEADER_SIZE;
    p = append(p, f->author, f->author_size);
    p = append(p, f->key, f->key_size);
    append(p, f->text, f->text_size);
}

static bool has_nul(const uint8_t *bytes, size_t size)
{
    return memchr(bytes, 0, size) != NULL;
}

static bool is_well_formed(const struct value *v)
{
    /* Author and key are joined by a NUL where they are hashed together: with one inside, two pairs could look alike.
     */
    if (has_nul(v->author, v->author_size) || has_nul(v->key, v->key_size))
        return false;
    switch (v->type) {
    case VALUE_MESSAGE:
        return v->key_size > 0 && v->text_size > 0 && !has_nul(v->text, v->text_size);
    case VALUE_CONFIG:
        return true;
    case VALUE_NOOP:
    case VALUE_BARRIER:
        return v->size == VALUE_HEADER_SIZE;
    case VALUE_TRIM:
        return v->size == VALUE_HEADER_SIZE + TRIM_TEXT_SIZE && v->text_size == TRIM_TEXT_SIZE;
    default:
        return false;
    }
}

static struct hash128 hash_author_and_key(const struct value *v, const struct hash128 *hash_key)
{
    uint8_t joined[AUTHOR_BYTES_MAX + 1 + KEY_BYTES_MAX];
    memcpy(joined, v->author, v->author_size);
    joined[v->author_size] = 0;
    memcpy(joined + v->author_size + 1, v->key, v->key_size);
    return hash_bytes(hash_key, joined, (size_t)v->author_size + 1 + v->key_size);
}

/* Of header and hashes, so that a long text is read once. The header has the sizes: no two values look alike. */
static struct hash128 hash_whole(const struct value *v, const struct hash128 *hash_key)
{
    uint8_t joined[VALUE_HEADER_SIZE + sizeof(v->key_hash) + sizeof(v->text_hash)];
    memcpy(joined, v->bytes, VALUE_HEADER_SIZE);
    memcpy(joined + VALUE_HEADER_SIZE, v->key_hash.bytes, sizeof(v->key_hash));
    memcpy(joined + VALUE_HEADER_SIZE + sizeof(v->key_hash), v->text_hash.bytes, sizeof(v->text_hash));
    return hash_bytes(hash_key, joined, sizeof(joined));
}

bool value_parse(struct value *v, const struct hash128 *hash_key)
{
    const uint8_t *bytes = v->bytes;
    if (v->size < VALUE_HEADER_SIZE || bytes[AT_ZERO] != 0)
        return false;
    v->author_size = bytes[AT_AUTHOR_SIZE];
    v->key_size = bytes[AT_KEY_SIZE];
    v->text_size = get_u32(bytes + AT_TEXT_SIZE);
    if (v->author_size > AUTHOR_BYTES_MAX || v->key_size > KEY_BYTES_MAX)
        return false;
    if ((uint64_t)VALUE_HEADER_SIZE + v->author_size + v->key_size + v->text_size != v->size)
        return false;

    v->type = bytes[AT_TYPE];
    v->stream = get_u64(bytes + AT_STREAM);
    v->n = get_u64(bytes + AT_N);
    v->since = get_u64(bytes + AT_SINCE);
    v->time_usec = get_u64(bytes + AT_TIME);
    v->author = bytes + VALUE_HEADER_SIZE;
    v->key = v->author + v->author_size;
    v->text = v->key + v->key_size;
    if (!is_well_formed(v))
        return false;

    v->refs = 1;
    v->next = NULL;
    v->key_hash = hash_author_and_key(v, hash_key);
    v->text_hash = hash_bytes(hash_key, v->text, v->text_size);
    v->hash = hash_whole(v, hash_key);
    return true;
}

void value_set_time(struct value *v, uint64_t time_usec, const struct hash128 *hash_key)
{
    v->time_usec = time_usec;
    put_u64(v->bytes + AT_TIME, time_usec);
    v->hash = hash_whole(v, hash_key);
}
