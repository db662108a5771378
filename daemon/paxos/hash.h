/* SipHash-2-4 with a 128-bit result, keyed with the cluster id.
 *
 * Names values, keys and the chosen prefix. Clients do not know the cluster id, so they cannot make two texts collide.
 * It stands here and not in a library because the core may link nothing; a unit test compares it with libsodium's.
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012). */
#ifndef PAXOS_HASH_H
#define PAXOS_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash128 {
    uint8_t bytes[16];
};

/* The 16 bytes of `key` are the SipHash key, in its byte order; the result is in SipHash's byte order. */
struct hash128 hash_bytes(const struct hash128 *key, const void *data, size_t size);

bool hash_equal(const struct hash128 *a, const struct hash128 *b);
bool hash_is_zero(const struct hash128 *h);

#endif
