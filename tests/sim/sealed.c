/* Sealed datagrams: the cluster's keys as they are changed, and what no seal may let happen. The linker puts these
 * around the real ones (--wrap). */
#include <string.h>

#include "host/driver_internal.h"
#include "paxos/bytes.h"
#include "tests/sim/fault.h"
#include "tests/sim/world.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

bool __wrap_seal_datagram(struct seal *s, size_t peer, uint8_t *bytes, size_t size, uint8_t *ret);
bool __real_seal_datagram(struct seal *s, size_t peer, uint8_t *bytes, size_t size, uint8_t *ret);
enum seal_result __wrap_seal_open(struct seal *s, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec,
                                  uint8_t *ret);
enum seal_result __real_seal_open(struct seal *s, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec,
                                  uint8_t *ret);

/* Keeps what is sealed, for the observer. */
bool __wrap_seal_datagram(struct seal *s, size_t peer, uint8_t *bytes, size_t size, uint8_t *ret)
{
    struct host *h = world_host();
    struct sealed_last *last = &h->sealed_last[peer];
    memcpy(h->plain, bytes, size);
    if (!__real_seal_datagram(s, peer, bytes, size, ret)) {
        h->cluster->happened[HAPPENED_UNSEALED]++;
        return false;
    }
    h->plain_size = (uint32_t)size;
    uint64_t seq = get_u64(ret + AT_SEQ);
    if (memcmp(last->salt, ret + AT_SALT, SEAL_NONCE_SIZE) == 0 && seq <= last->seq)
        cluster_fail(h->cluster, "host %u: seals datagram %lu after %lu under one key", h->index, seq, last->seq);
    memcpy(last->salt, ret + AT_SALT, SEAL_NONCE_SIZE);
    last->seq = seq;
    return true;
}

static void check_opened(struct host *h, struct packet *p, const uint8_t *opened)
{
    struct cluster *c = h->cluster;
    if (p->spoiled)
        cluster_fail(c, "host %u: opens a datagram that was spoiled on its way (I8)", h->index);
    if (p->to != h->index || p->to_boot != h->boot)
        cluster_fail(c, "host %u: opens a datagram that was sealed for another process", h->index);
    if (p->opened)
        cluster_fail(c, "host %u: opens a datagram again", h->index);
    if (p->plain_size > 0 && memcmp(opened + DATAGRAM_HEADER_SIZE, p->bytes + p->size + DATAGRAM_HEADER_SIZE,
                                    p->size - DATAGRAM_HEADER_SIZE) != 0)
        cluster_fail(c, "host %u: opens a datagram to something else than was sealed (I8)", h->index);
    p->opened = true;
}

enum seal_result __wrap_seal_open(struct seal *s, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec,
                                  uint8_t *ret)
{
    struct host *h = world_host();
    enum seal_result result = __real_seal_open(s, peer, bytes, size, now_usec, ret);
    uint64_t *happened = h->cluster->happened;
    if (result == SEAL_OPENED || (result == SEAL_EMPTY && bytes[AT_KIND] == DATAGRAM_SEALED))
        check_opened(h, h->incoming, ret);
    if (result == SEAL_EMPTY && bytes[AT_KIND] == DATAGRAM_HELLO)
        h->sealed_last[peer].hello_bytes += (uint32_t)size;
    happened[HAPPENED_SEAL_STALE] += result == SEAL_STALE;
    happened[HAPPENED_SEAL_REPLAYED] += result == SEAL_REPLAYED;
    happened[HAPPENED_SEAL_FORGED] += result == SEAL_FORGED;
    return result;
}

/* A HELLO may be a recording, and its sender anybody: what answers it must not be larger. */
void sealed_sent(struct host *h, size_t peer, const struct packet *p)
{
    uint32_t *allowed = &h->sealed_last[peer].hello_bytes;
    if (p->bytes[AT_KIND] != DATAGRAM_HELLO_ACK)
        return;
    if (p->size > *allowed)
        cluster_fail(h->cluster, "host %u: answers host %u's HELLO by %u bytes, and %u are due (I7)", h->index, p->to,
                     p->size, *allowed);
    *allowed -= p->size;
}

/* --- keys --- */

/* Step by step the key is changed as mpaxosd(8) says: {A}, {A, B}, {B, A}, {B}. */
void sealed_keys(const struct host *h, struct seal_keys *ret)
{
    uint32_t first = h->key_step / 3, phase = h->key_step % 3;
    *ret = (struct seal_keys){.n = phase == 0 ? 1 : 2};
    memset(ret->keys[phase == 2], (int)first + 1, SEAL_KEY_SIZE);
    memset(ret->keys[phase != 2], (int)first + 2, SEAL_KEY_SIZE);
}

void sealed_change(struct host *h)
{
    struct cluster *c = h->cluster;
    struct seal_keys keys;
    for (uint32_t i = 0; i < c->options.n_hosts; i++)
        if (c->hosts[i].key_step < h->key_step)
            return;
    h->key_step++;
    c->happened[HAPPENED_KEYS_CHANGED]++;
    cluster_trace(c, (int)h->index, "keys       step %u", h->key_step);
    sealed_keys(h, &keys);
    world_enter(h);
    if (h->up)
        driver_set_keys(h->driver, &keys);
    host_poke(h);
}

static void change_keys(struct cluster *c, void *user, uint64_t argument)
{
    const struct trouble *t = user;
    struct host *h = &c->hosts[cluster_random(c, 0, c->options.n_hosts - 1)];
    (void)argument;
    if (t->over)
        return;
    sealed_change(h);
    sealed_begin(c, user);
}

void sealed_begin(struct cluster *c, struct trouble *t)
{
    if (c->options.sealed)
        cluster_call_at(c, c->now_usec + cluster_random(c, 1 * MSEC, 300 * MSEC), change_keys, t, 0);
}
