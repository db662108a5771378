#include "tests/unit/seal_ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>

#include "paxos/bytes.h"
#include "wire/datagram_format.h"

enum { PEERS = 2 };

uint64_t ends_now_usec = 1000000;

static uint64_t processes;

static void draw(void *user, uint8_t *ret, size_t size)
{
    struct end *e = user;
    memset(ret, 0, size);
    put_u64(ret, ++e->drawn);
    put_u64(ret + 8, processes << 8 | e->id);
}

const struct seal_keys ends_key = {.n = 1, .keys = {"the cluster key of these tests."}};
const struct seal_keys ends_other_key = {.n = 1, .keys = {"another key, 32 bytes it is long"}};

/* A process of replica `id`, whose peers are the others of 1, 2, 3, in that order. */
void end_start(struct end *e, replica_id_t id, const struct seal_keys *keys)
{
    replica_id_t peers[PEERS];
    for (replica_id_t i = 1, n = 0; i <= PEERS + 1; i++)
        if (i != id)
            peers[n++] = i;
    struct seal_options o = {.self = id, .peers = peers, .n_peers = PEERS, .draw = draw, .user = e};
    *e = (struct end){.id = id, .drawn = ++processes << 32};
    e->seal = seal_init(malloc(seal_size(PEERS)), &o);
    seal_set_keys(e->seal, keys);
}

void end_stop(struct end *e)
{
    free(e->seal);
    e->seal = NULL;
}

size_t end_index(const struct end *e, replica_id_t peer)
{
    return peer - (peer > e->id ? 2U : 1U);
}

static void begin(const struct end *e, uint8_t *bytes)
{
    const struct datagram_header h = {.from = e->id, .from_life = 7, .boot = 9, .cluster = {{4}}};
    struct datagram_writer w;
    datagram_begin(&w, bytes, DATAGRAM_BYTES_MIN, &h);
}

struct bytes end_seals(struct end *e, replica_id_t to, const char *text)
{
    struct bytes d = {.size = DATAGRAM_HEADER_SIZE + strlen(text)};
    begin(e, d.bytes);
    memcpy(d.bytes + DATAGRAM_HEADER_SIZE, text, strlen(text));
    if (!seal_datagram(e->seal, end_index(e, to), d.bytes, d.size, d.bytes))
        d.size = 0;
    return d;
}

struct bytes end_owes(struct end *e, replica_id_t to)
{
    struct bytes d;
    size_t peer;
    do {
        begin(e, d.bytes);
        d.size = seal_next(e->seal, ends_now_usec, &peer, d.bytes);
    } while (d.size != 0 && peer != end_index(e, to));
    return d;
}

struct bytes end_owes_kind(struct end *e, replica_id_t to, enum datagram_kind kind)
{
    struct bytes d;
    do {
        d = end_owes(e, to);
        assert_int_not_equal(d.size, 0);
    } while (d.bytes[AT_KIND] != kind);
    return d;
}

enum seal_result end_opens(struct end *e, replica_id_t from, const struct bytes *d, const char *text)
{
    uint8_t ret[ENDS_SIZE_MAX];
    enum seal_result r = seal_open(e->seal, end_index(e, from), d->bytes, d->size, ends_now_usec, ret);
    if (r == SEAL_OPENED)
        assert_memory_equal(ret + DATAGRAM_HEADER_SIZE, text, strlen(text));
    return r;
}

void ends_pass(struct end *from, struct end *to, const char *text)
{
    struct bytes d = end_seals(from, to->id, text);
    assert_int_not_equal(d.size, 0);
    assert_int_equal(end_opens(to, from->id, &d, text), SEAL_OPENED);
}

void ends_exchange(struct end *a, struct end *b)
{
    for (bool any = true; any;) {
        any = false;
        for (struct bytes d; (d = end_owes(a, b->id)).size != 0; any = true)
            end_opens(b, a->id, &d, NULL);
        for (struct bytes d; (d = end_owes(b, a->id)).size != 0; any = true)
            end_opens(a, b->id, &d, NULL);
    }
}

void ends_begin(struct end *a, struct end *b)
{
    end_start(a, 1, &ends_key);
    end_start(b, 2, &ends_key);
}

void ends_start(struct end *a, struct end *b)
{
    ends_begin(a, b);
    ends_exchange(a, b);
    ends_pass(a, b, "there");
    ends_pass(b, a, "and back");
}

void ends_stop(struct end *a, struct end *b)
{
    end_stop(a);
    end_stop(b);
}

int ends_set_up(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}
