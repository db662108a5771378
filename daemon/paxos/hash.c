#include "paxos/hash.h"

#include <string.h>

struct state {
    uint64_t v0, v1, v2, v3;
};

/* One load instead of a loop over bytes: a value is hashed for every message. */
static inline uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void store_u64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof v);
}

static inline uint64_t rotate(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static inline void mix(struct state *s, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static inline void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s, 2);
    s->v0 ^= word;
}

struct hash128 hash_bytes(const struct hash128 *key, const void *data, size_t size)
{
    const uint64_t k0 = load_u64(key->bytes), k1 = load_u64(key->bytes + 8);
    /* 0xee tells the variant with 128 bits from the one with 64. */
    struct state s = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *p = data;
    const size_t rest = size % 8;
    for (size_t i = size / 8; i > 0; i--, p += 8)
        absorb(&s, load_u64(p));

    uint64_t last = (uint64_t)size << 56;
    for (size_t i = 0; i < rest; i++)
        last |= (uint64_t)p[i] << (8 * i);
    absorb(&s, last);

    struct hash128 h = {{0}};
    s.v2 ^= 0xee;
    mix(&s, 4);
    store_u64(h.bytes, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
    s.v1 ^= 0xdd;
    mix(&s, 4);
    store_u64(h.bytes + 8, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
    return h;
}

bool hash_equal(const struct hash128 *a, const struct hash128 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool hash_is_zero(const struct hash128 *h)
{
    static const struct hash128 zero;
    return hash_equal(h, &zero);
}
