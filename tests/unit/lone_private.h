/* What lone.c (the replica's host) and lone_peers.c (its peers) share. */
#ifndef TESTS_UNIT_LONE_PRIVATE_H
#define TESTS_UNIT_LONE_PRIVATE_H

#include "tests/unit/lone.h"

static inline uint64_t lone_life(uint32_t member)
{
    return 0x1000 + member;
}

/* A value that the replica may be given; with one reference. */
struct value *lone_value(struct lone *l, const struct hash128 *key, const struct body *b);
void lone_set_entries(struct message *m, const struct entry *entries, uint32_t n);

#endif
