#include "wire/assembly.h"

#include <string.h>

#include "paxos/invariant.h"

/* A value under way: its bytes, and a bit for each byte that is there. */
struct partial {
    struct hash128 hash;
    uint32_t total; /* 0: free */
    uint32_t n_there;
    uint64_t touched;
};

struct assembly {
    uint32_t n_peers, value_bytes_max;
    uint64_t touches, driven_out;
    size_t bits_size, value_size; /* of one partial's memory */
    struct partial *partials;     /* ASSEMBLY_VALUES_MAX a peer */
    uint8_t *memory;              /* of each partial: bits, then bytes */
};

static size_t round_up(size_t size)
{
    return (size + 15) / 16 * 16;
}

static size_t partials_size(uint32_t n_peers)
{
    return round_up((size_t)n_peers * ASSEMBLY_VALUES_MAX * sizeof(struct partial));
}

static size_t bits_size(uint32_t value_bytes_max)
{
    return round_up(((size_t)value_bytes_max + 7) / 8);
}

size_t assembly_size(uint32_t n_peers, uint32_t value_bytes_max)
{
    return round_up(sizeof(struct assembly)) + partials_size(n_peers) +
           (size_t)n_peers * ASSEMBLY_VALUES_MAX * (bits_size(value_bytes_max) + round_up(value_bytes_max));
}

struct assembly *assembly_init(void *block, uint32_t n_peers, uint32_t value_bytes_max)
{
    struct assembly *a = block;
    uint8_t *after = (uint8_t *)block + round_up(sizeof *a);
    *a = (struct assembly){
        .n_peers = n_peers,
        .value_bytes_max = value_bytes_max,
        .bits_size = bits_size(value_bytes_max),
        .value_size = round_up(value_bytes_max),
        .partials = (struct partial *)after,
        .memory = after + partials_size(n_peers),
    };
    memset(a->partials, 0, partials_size(n_peers));
    return a;
}

static uint8_t *bits_of(const struct assembly *a, const struct partial *v)
{
    return a->memory + (size_t)(v - a->partials) * (a->bits_size + a->value_size);
}

/* The partial of this value, or the one that it may have: a free one, else the one touched longest ago. */
static struct partial *find(const struct assembly *a, uint32_t peer, const struct hash128 *hash)
{
    struct partial *own = a->partials + (size_t)peer * ASSEMBLY_VALUES_MAX, *oldest = own;
    for (struct partial *v = own; v < own + ASSEMBLY_VALUES_MAX; v++) {
        if (v->total != 0 && hash_equal(&v->hash, hash))
            return v;
        if (v->touched < oldest->touched)
            oldest = v;
    }
    return oldest;
}

static void start(struct assembly *a, struct partial *v, const struct piece *p)
{
    a->driven_out += v->total != 0;
    *v = (struct partial){.hash = p->hash, .total = p->total};
    memset(bits_of(a, v), 0, ((size_t)p->total + 7) / 8);
}

/* Whether these 64 bits are all clear; sets them if so. */
static bool mark_word(uint8_t *bits)
{
    uint64_t word;
    memcpy(&word, bits, sizeof word);
    if (word != 0)
        return false;
    memset(bits, 0xff, sizeof word);
    return true;
}

/* Sets the bits [from, until) and answers how many of them were clear. */
static uint32_t mark(uint8_t *bits, uint32_t from, uint32_t until)
{
    uint32_t n = 0;
    while (from < until) {
        if (from % 64 == 0 && until - from >= 64 && mark_word(bits + from / 8)) { /* nearly always */
            n += 64;
            from += 64;
            continue;
        }
        const uint32_t first = from % 8, left = until - from;
        const uint32_t width = left < 8 - first ? left : 8 - first;
        const uint32_t mask = ((UINT32_C(1) << width) - 1) << first;
        n += (uint32_t)__builtin_popcount(mask & ~(uint32_t)bits[from / 8]);
        bits[from / 8] = (uint8_t)(bits[from / 8] | mask);
        from += width;
    }
    return n;
}

const uint8_t *assembly_add(struct assembly *a, uint32_t peer, const struct piece *p)
{
    invariant(peer < a->n_peers, peer, a->n_peers);
    if (p->total == 0 || p->total > a->value_bytes_max || p->size > p->total || p->offset > p->total - p->size)
        return NULL;
    if (p->size == p->total)
        return p->bytes;

    struct partial *v = find(a, peer, &p->hash);
    if (v->total != p->total || !hash_equal(&v->hash, &p->hash))
        start(a, v, p);
    v->touched = ++a->touches;
    uint8_t *bits = bits_of(a, v), *bytes = bits + a->bits_size;
    memcpy(bytes + p->offset, p->bytes, p->size);
    v->n_there += mark(bits, p->offset, p->offset + p->size);
    if (v->n_there < v->total)
        return NULL;
    *v = (struct partial){0}; /* free: what comes later overwrites it */
    return bytes;
}

void assembly_stats(const struct assembly *a, struct assembly_stats *ret)
{
    *ret = (struct assembly_stats){.driven_out = a->driven_out};
    for (const struct partial *v = a->partials; v < a->partials + (size_t)a->n_peers * ASSEMBLY_VALUES_MAX; v++) {
        ret->values += v->total != 0;
        ret->bytes += v->total;
    }
}
