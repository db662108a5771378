#include "paxos/membership.h"

#include <string.h>

#include "paxos/bytes.h"

enum { HEAD_SIZE = 16, MEMBER_SIZE = 14 };

_Static_assert((int)CONFIGURATION_BYTES_MAX == HEAD_SIZE + REPLICAS_MAX * (MEMBER_SIZE + ADDRESS_BYTES_MAX),
               "the header's sum is the size of what is written here");

size_t configuration_encode(const struct configuration *c, uint8_t *ret)
{
    put_u16(ret, CONFIGURATION_VERSION);
    put_u16(ret + 2, (uint16_t)c->n_members);
    put_u32(ret + 4, c->alpha);
    put_u32(ret + 8, c->dedup_slots);
    put_u32(ret + 12, c->streams_max);

    uint8_t *p = ret + HEAD_SIZE;
    for (uint32_t i = 0; i < c->n_members; i++) {
        const struct member *m = &c->members[i];
        p[0] = m->id;
        p[1] = m->address_size;
        put_u32(p + 2, m->gen);
        put_u64(p + 6, m->life);
        memcpy(p + MEMBER_SIZE, m->address, m->address_size);
        p += MEMBER_SIZE + m->address_size;
    }
    return (size_t)(p - ret);
}

/* Size of the member at `p`, of which `size` bytes are left; 0 where it is none. */
static size_t decode_member(const uint8_t *p, size_t size, struct member *ret)
{
    if (size < MEMBER_SIZE || size - MEMBER_SIZE < p[1])
        return 0;
    ret->id = p[0];
    ret->address_size = p[1];
    ret->gen = get_u32(p + 2);
    ret->life = get_u64(p + 6);
    memcpy(ret->address, p + MEMBER_SIZE, ret->address_size);
    if (ret->id > REPLICA_ID_MAX || ret->gen == 0 || ret->address_size == 0)
        return 0;
    for (uint32_t i = 0; i < ret->address_size; i++) {
        if (ret->address[i] == 0)
            return 0;
    }
    return (size_t)MEMBER_SIZE + ret->address_size;
}

bool configuration_decode(const uint8_t *bytes, size_t size, struct configuration *ret)
{
    if (size < HEAD_SIZE || get_u16(bytes) != CONFIGURATION_VERSION)
        return false;
    struct configuration c = {
        .n_members = get_u16(bytes + 2),
        .alpha = get_u32(bytes + 4),
        .dedup_slots = get_u32(bytes + 8),
        .streams_max = get_u32(bytes + 12),
    };
    if (c.n_members == 0 || c.n_members > REPLICAS_MAX)
        return false;
    if (c.alpha == 0 || c.dedup_slots == 0 || c.streams_max == 0)
        return false;

    size_t at = HEAD_SIZE;
    for (uint32_t i = 0; i < c.n_members; i++) {
        const size_t taken = decode_member(bytes + at, size - at, &c.members[i]);
        if (taken == 0 || (i > 0 && c.members[i].id <= c.members[i - 1].id))
            return false;
        at += taken;
    }
    if (at != size)
        return false;
    *ret = c;
    return true;
}

int configuration_find(const struct configuration *c, replica_id_t id)
{
    for (uint32_t i = 0; i < c->n_members; i++) {
        if (c->members[i].id == id)
            return (int)i;
    }
    return -1;
}

bool configuration_is_majority(const struct configuration *c, uint32_t set)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_members; i++)
        n += set >> i & 1;
    return 2 * n > c->n_members;
}
