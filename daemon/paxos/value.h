/* A value: what one slot of the log holds.
 *
 * Its canonical encoding (`bytes`) is what is hashed, journaled and sent; the other fields are read out of it once, by
 * value_parse(). A value never changes once it was proposed. The host allocates values and owns their memory; the core
 * counts references, and hands one whose count fell to zero back in effects.released.
 *
 * Encoding, little-endian: type u8, author_size u8, key_size u8, zero u8, text_size u32, stream u64, n u64, since u64,
 * time_usec u64, then author, key, text. */
#ifndef PAXOS_VALUE_H
#define PAXOS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/ballot.h"
#include "paxos/hash.h"

enum value_type {
    VALUE_NOOP = 1,
    VALUE_MESSAGE = 2,
    VALUE_CONFIG = 3,  /* text is an encoded struct configuration */
    VALUE_BARRIER = 4, /* a leader's first own entry: once chosen, it knows all that was chosen before it led */
    VALUE_TRIM = 5,    /* text is a slot, u64: what stands below it need not be kept                          */
};

enum {
    VALUE_HEADER_SIZE = 40,
    KEY_BYTES_MAX = 64,
    AUTHOR_BYTES_MAX = 134, /* two names of 64 bytes, the second one as "NAME (as NAME)" */
    TRIM_TEXT_SIZE = 8,
};

struct value {
    uint32_t refs;
    uint32_t size;      /* of bytes */
    struct value *next; /* in effects.released */
    uint64_t stream;    /* 0: none */
    uint64_t n;
    slot_t since;
    uint64_t time_usec;
    struct hash128 key_hash;  /* of author, NUL, key                                                        */
    struct hash128 text_hash; /* of text: what another attempt with the same key must have alike            */
    struct hash128 hash;      /* of header, key_hash and text_hash: names this value under a slot and ballot */
    enum value_type type;
    uint32_t text_size;
    uint8_t author_size, key_size;
    const uint8_t *author, *key, *text; /* into bytes, not terminated */
    uint8_t bytes[];
};

struct value_fields {
    enum value_type type;
    uint64_t stream, n;
    slot_t since;
    uint64_t time_usec;
    const void *author, *key, *text;
    uint8_t author_size, key_size;
    uint32_t text_size;
};

/* Size of the encoding, and the encoding itself into `ret`, which has room for it. */
size_t value_encoded_size(const struct value_fields *f);
void value_encode(const struct value_fields *f, uint8_t *ret);

/* Reads v->bytes (v->size of them) into the other fields and computes the hashes; sets refs to 1. `hash_key` is the
 * cluster id. False, and v unusable, where the bytes are not exactly one well-formed encoding: unknown type, sizes that
 * do not add up, author or key over their limit, a NUL in author, key or a message's text, a message without key or
 * text, a no-op or barrier with a body, a trim that is not its slot alone. Whether text is UTF-8 is the business of who
 * takes it from a client. */
bool value_parse(struct value *v, const struct hash128 *hash_key);

/* Another time, the leader's, before the value is proposed: the one change that a value takes. */
void value_set_time(struct value *v, uint64_t time_usec, const struct hash128 *hash_key);

static inline struct value *value_ref(struct value *v)
{
    v->refs++;
    return v;
}

#endif
