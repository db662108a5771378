/* Seeds of what replicas say to each other: single datagrams, a whole cluster, one core. */
#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paxos/membership.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/messages.h"
#include "wire/datagram_format.h"

/* --- datagrams --- */

enum { ROOM = 512, SEED_DATAGRAMS_BYTES_MAX = 700, MORE_OF_A_TYPE = 5, CONFIGURATION_MEMBERS = 3 };

static size_t total_size(const struct datagrams *d)
{
    size_t size = 0;
    for (size_t i = 0; i < d->n; i++)
        size += d->all[i].size;
    return size;
}

static void put_datagram(const struct datagrams *d, size_t i)
{
    put16((unsigned)d->all[i].size);
    put(d->all[i].bytes, d->all[i].size);
}

static void put_datagrams(const struct datagrams *d)
{
    for (size_t i = 0; i < d->n; i++)
        put_datagram(d, i);
}

static void make_datagrams(const char *name, const struct message *m, uint8_t choices)
{
    struct datagrams *d = datagrams_new();
    datagrams_write(d, m, 1, ROOM);
    seed_begin("datagram", name);
    put8(choices);
    put_datagrams(d);
    seed_end();
    datagrams_free(d);
}

static void put_random_datagrams(struct prng *p, enum message_type type)
{
    for (bool small = false; !small;) {
        struct message m;
        struct datagrams *d = datagrams_new();
        message_random(p, type, ROOM, 3, &m);
        datagrams_write(d, &m, 1, ROOM);
        small = d->n > 0 && total_size(d) <= SEED_DATAGRAMS_BYTES_MAX;
        if (small)
            put_datagrams(d);
        datagrams_free(d);
        message_forget(&m);
    }
}

/* One of each type, small; and some more, so that each flag is set in one of them. */
static void make_random_datagrams(void)
{
    struct prng p;
    prng_seed(&p, 1);
    for (unsigned more = 0; more < 2; more++) {
        for (int i = 0; i < MESSAGE_TYPES; i++) {
            char name[32];
            snprintf(name, sizeof name, more ? "type-%02d-more" : "type-%02d", (int)message_types[i]);
            seed_begin("datagram", name);
            put8(DATAGRAM_MEND_CHECKSUM);
            for (unsigned k = 0; k < (more ? MORE_OF_A_TYPE : 1); k++)
                put_random_datagrams(&p, message_types[i]);
            seed_end();
        }
    }
}

static struct value *make_value(const struct value_fields *f)
{
    static const struct hash128 key = {{1, 2, 3}};
    struct value *v = calloc(1, sizeof *v + value_encoded_size(f));
    if (v == NULL)
        abort();
    v->size = (uint32_t)value_encoded_size(f);
    value_encode(f, v->bytes);
    if (!value_parse(v, &key))
        abort();
    return v;
}

static void make_accept(void)
{
    const struct value_fields f = {.type = VALUE_MESSAGE,
                                   .stream = 5,
                                   .n = 1,
                                   .author = "anna",
                                   .author_size = 4,
                                   .key = "k",
                                   .key_size = 1,
                                   .text = "hello",
                                   .text_size = 5};
    const struct value_fields none = {.type = VALUE_NOOP};
    struct value *v = make_value(&f), *noop = make_value(&none);
    const struct entry entries[] = {{.slot = 3, .value = v}, {.slot = 4, .value = noop}, {.slot = 9, .value = v}};
    const struct message m = {.type = MESSAGE_ACCEPT,
                              .accept = {.ballot = {.round = 2, .gen = 1, .id = 3},
                                         .commit = 2,
                                         .n_entries = sizeof entries / sizeof entries[0],
                                         .entries = entries}};
    make_datagrams("accept", &m, DATAGRAM_MEND_CHECKSUM);
    make_datagrams("accept-mended", &m, DATAGRAM_MEND_HEADER);
    make_datagrams("accept-as-is", &m, 0);

    struct datagrams *d = datagrams_new();
    datagrams_write(d, &m, 1, ROOM);
    d->all[0].bytes[AT_KIND] = DATAGRAM_SEALED;
    seed_begin("datagram", "accept-opened");
    put8(0);
    put_datagrams(d);
    seed_end();
    datagrams_free(d);
    free(v);
    free(noop);
}

/* One value in several datagrams. */
static void make_cut_body(void)
{
    static char text[700];
    memset(text, 'x', sizeof text);
    const struct value_fields f = {.type = VALUE_MESSAGE, .key = "k", .key_size = 1, .text = text, .text_size = 700};
    struct value *v = make_value(&f);
    const struct message m = {.type = MESSAGE_BODY,
                              .body = {.slot = 8, .ballot = {.round = 2, .gen = 1, .id = 3}, .value = v}};
    make_datagrams("body-cut", &m, DATAGRAM_MEND_CHECKSUM);

    struct datagrams *d = datagrams_new();
    datagrams_write(d, &m, 1, ROOM);
    seed_begin("datagram", "body-last-piece-first");
    put8(DATAGRAM_MEND_CHECKSUM | DATAGRAM_FEW_HASHES);
    for (size_t i = d->n; i-- > 0;) {
        put_datagram(d, i);
        put_datagram(d, i);
    }
    seed_end();
    datagrams_free(d);
    free(v);
}

static void make_slot0(void)
{
    struct configuration c = {.alpha = 64, .dedup_slots = 9, .streams_max = 7, .n_members = CONFIGURATION_MEMBERS};
    uint8_t text[CONFIGURATION_BYTES_MAX];
    for (uint32_t i = 0; i < c.n_members; i++) {
        c.members[i] = (struct member){.life = 7 + i, .gen = 1, .id = (replica_id_t)i, .address_size = 4};
        memcpy(c.members[i].address, "h:60", 4);
    }
    struct value_fields f = {.type = VALUE_CONFIG, .text = text};
    f.text_size = (uint32_t)configuration_encode(&c, text);
    struct value *v = make_value(&f);
    const struct message m = {.type = MESSAGE_STATE,
                              .state = {.nonce = 1, .answer = 2, .status = IDENTITY_STARTING, .slot0 = v}};
    make_datagrams("state-slot0", &m, DATAGRAM_MEND_CHECKSUM);
    free(v);
}

/* --- the cluster --- */

static void acts(const char *name, unsigned shape, size_t n, const uint8_t (*list)[2])
{
    seed_begin("cluster", name);
    put8(1);
    put8(shape);
    put8(0xff);
    put(list, 2 * n);
    seed_end();
}

static void begin_more(const char *name, unsigned seed, unsigned shape, unsigned more)
{
    seed_begin("cluster", name);
    put8(CLUSTER_MORE + seed);
    put8(shape);
    put8(0xff);
    put8(more);
}

static void act(enum cluster_act a, unsigned how)
{
    put8(a);
    put8(how);
}

/* Host 2 is away until nobody keeps what it missed. */
static void make_behind(const char *name, unsigned more)
{
    begin_more(name, 1, 0, CLUSTER_LARGE | CLUSTER_WIDE | more);
    act(ACT_WAIT, 200);
    act(ACT_CRASH, 2);
    for (unsigned i = 0; i < 8; i++) {
        act(ACT_LOAD, 3 * 20 + i % 2);
        act(ACT_WAIT, 255);
    }
    for (unsigned i = 0; i < 2; i++) { /* nothing in memory can serve it any more */
        act(ACT_CRASH, i);
        act(ACT_START, i);
    }
    act(ACT_WAIT, 200);
    act(ACT_START, 2);
    act(ACT_WAIT, 100);
    act(ACT_FLUSH, 3);
    seed_end();
}

/* Full segments of host 0 rot, and are mended; keys are changed. */
static void make_rotten(unsigned seed)
{
    char name[32];
    snprintf(name, sizeof name, "rotten-%u", seed);
    begin_more(name, seed, 0x80, CLUSTER_SEALED | CLUSTER_SCRUB | CLUSTER_ROT_SEALED | CLUSTER_LARGE | CLUSTER_WIDE);
    act(ACT_WAIT, 200);
    for (unsigned i = 0; i < 6; i++) {
        act(ACT_LOAD, 3 * 25 + i % 3);
        act(ACT_WAIT, 200);
        act(ACT_KEYS, i);
    }
    act(ACT_ROT, 0);
    act(ACT_CRASH, 0);
    act(ACT_START, 0);
    act(ACT_WAIT, 100);
    act(ACT_FLUSH, 0);
    act(ACT_READ, 0);
    act(ACT_WAIT, 255);
    seed_end();
}

static void make_seven(void)
{
    begin_more("seven", 1, 8, CLUSTER_SEVEN | CLUSTER_SEALED | CLUSTER_LARGE);
    act(ACT_DIFFER, 3);
    act(ACT_WAIT, 100);
    act(ACT_KILL, 3); /* its file is right only in the end */
    for (unsigned i = 0; i < 7; i++) {
        act(ACT_DROP, 8 * 5 + i);
        act(ACT_LOAD, 7 * 6 + i);
        act(ACT_KEYS, i);
        act(ACT_WAIT, 60);
        act(ACT_CUT, 8 * i);
    }
    act(ACT_ISOLATE, 6);
    act(ACT_SUBMIT, 30);
    act(ACT_WAIT, 200);
    seed_end();
}

#define ACTS(name, shape, ...)                                                                                         \
    do {                                                                                                               \
        static const uint8_t list[][2] = {__VA_ARGS__};                                                                \
        acts(name, shape, sizeof list / sizeof list[0], list);                                                         \
    } while (0)

/* Shapes: 0 three voters, 8 three blank disks, 1 five voters, 3 one. */
static void make_cluster_acts(void)
{
    ACTS("calm", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 9}, {ACT_WAIT, 20}, {ACT_POSITION, 1}, {ACT_WAIT, 20});
    ACTS("one", 3, {ACT_WAIT, 200}, {ACT_SUBMIT, 9}, {ACT_CRASH, 128}, {ACT_START, 0}, {ACT_SUBMIT, 3});
    ACTS("blank", 8, {ACT_RUN, 30}, {ACT_CRASH, 1}, {ACT_WAIT, 20}, {ACT_START, 1}, {ACT_WAIT, 200}, {ACT_WIPE, 2});
    ACTS("leader-crash", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 21}, {ACT_RUN, 9}, {ACT_CRASH, 0}, {ACT_CRASH, 129},
         {ACT_CRASH, 2}, {ACT_START, 0}, {ACT_START, 1}, {ACT_WAIT, 150}, {ACT_RETRY, 2}, {ACT_START, 2});
    ACTS("cut", 1, {ACT_WAIT, 200}, {ACT_SUBMIT, 5}, {ACT_ISOLATE, 4}, {ACT_CUT, 11}, {ACT_WAIT, 200}, {ACT_SUBMIT, 4},
         {ACT_SUBMIT, 0}, {ACT_WAIT, 100}, {ACT_HEAL, 0}, {ACT_CONFLICT, 3}, {ACT_WAIT, 50});
    ACTS("late", 0, {ACT_WAIT, 200}, {ACT_SUBMIT, 2}, {ACT_DELAY, 30}, {ACT_DOUBLE, 60}, {ACT_LOSE, 3}, {ACT_DEAFEN, 5},
         {ACT_SUBMIT, 1}, {ACT_WAIT, 100}, {ACT_DEAFEN, 5}, {ACT_PAUSE, 40}, {ACT_WAIT, 100});
    ACTS("disk", 0, {ACT_WAIT, 200}, {ACT_STALL, 99}, {ACT_SPACE, 1}, {ACT_SUBMIT, 2}, {ACT_WAIT, 90}, {ACT_CRASH, 130},
         {ACT_SPACE, 1}, {ACT_START, 2}, {ACT_WALL, 9}, {ACT_SUBMIT, 11}, {ACT_CLOSE, 1});
    ACTS("operator", 0, {ACT_WAIT, 200}, {ACT_SKIP, 60}, {ACT_SUBMIT, 30}, {ACT_TRANSFER, 1}, {ACT_WEATHER, 0x4f},
         {ACT_SUBMIT, 31}, {ACT_WAIT, 200}, {ACT_SUBMIT, 32});
    ACTS("process", 1, {ACT_WAIT, 200}, {ACT_SUBMIT, 20}, {ACT_KILL, 130}, {ACT_STOP, 0}, {ACT_CLOG, 7},
         {ACT_SUBMIT, 21}, {ACT_WAIT, 100}, {ACT_START, 0}, {ACT_FLUSH, 8}, {ACT_READ, 1}, {ACT_WAIT, 100},
         {ACT_WEATHER, 0x0f});
    ACTS("bad-disk", 1, {ACT_WAIT, 200}, {ACT_SLOW, 41}, {ACT_SUBMIT, 35}, {ACT_ROT, 3}, {ACT_FAIL, 2},
         {ACT_SUBMIT, 36}, {ACT_WAIT, 100}, {ACT_CRASH, 3}, {ACT_START, 3}, {ACT_START, 2}, {ACT_READ, 4},
         {ACT_FLUSH, 5}, {ACT_WAIT, 50});
}

/* --- one core --- */

static void replica(enum replica_act a, int argument)
{
    put8(a);
    if (argument >= 0)
        put8((unsigned)argument);
}

/* With proper peers. */
static void put_time(unsigned beats)
{
    for (unsigned i = 0; i < beats; i++) {
        replica(REPLICA_WAIT, 10);
        replica(REPLICA_BEAT, 0);
    }
}

/* It bids within a second, and leads. */
static void put_election(void)
{
    put_time(16);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_PROMISE, 1);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_ACK, 1);
    put_time(2);
}

static void message(enum message_type type, const uint8_t *fields, size_t size)
{
    put8(REPLICA_MESSAGE + type - MESSAGE_HEARTBEAT);
    put(fields, size);
}

/* Blank disks, of which an operator lets a majority start. */
static void make_bootstrap(void)
{
    static const uint8_t one_is_empty[] = {1, 0x02, 0}, one_starts[] = {1, 0x16}, three_starts[] = {0, 0x16};
    seed_begin("replica", "bootstrap");
    put8(1);
    replica(REPLICA_WAIT, 10);
    message(MESSAGE_STATE, one_is_empty, sizeof one_is_empty);
    replica(REPLICA_BOOTSTRAP, -1);
    replica(REPLICA_DURABLE, -1);
    message(MESSAGE_STATE, one_starts, sizeof one_starts);
    message(MESSAGE_STATE, three_starts, sizeof three_starts);
    replica(REPLICA_DURABLE, -1);
    put_election();
    seed_end();
}

/* A late PREPARE, below the promise. */
static void make_old_prepare(void)
{
    static const uint8_t high[] = {1, 0x51, 1, 0}, low[] = {1, 0x60, 1, 0};
    seed_begin("replica", "old-prepare");
    put8(0);
    message(MESSAGE_PREPARE, high, sizeof high);
    replica(REPLICA_DURABLE, -1);
    message(MESSAGE_PREPARE, low, sizeof low);
    replica(REPLICA_DURABLE, -1);
    seed_end();
}

/* A leader that trims, and goes on from a peer's checkpoint over restarts. */
static void make_installed(void)
{
    enum { INSTALL = REPLICA_LATER, TRIM, COMMIT };
    seed_begin("replica", "installed");
    put8(0);
    put_election();
    for (int i = 0; i < 3; i++) {
        replica(REPLICA_SUBMIT, 0);
        put16(0x28 + 0x20 * (unsigned)i);
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_ACK, i % 2);
        put8(TRIM);
        put8(2);
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_ACK, i % 2);
        put8(COMMIT);
        replica(REPLICA_RESTART, i % 2);
        put8(INSTALL);
        put8(5 + (unsigned)i);
        replica(REPLICA_RESTART, 1);
        put_election();
    }
    seed_end();
}

/* A follower of more slots than its window holds, who is asked for the first ones. */
static void make_old_slots(void)
{
    static const uint8_t fetch[] = {1, 0xf1, 20, 0, 0, 0, 255};
    seed_begin("replica", "old-slots");
    put8(0);
    for (unsigned slot = 1; slot <= 30; slot++) {
        /* As take_slot() reads them: near the chosen prefix, or small. */
        unsigned chosen = slot > 2 ? slot - 2 : 0, as_read = chosen + slot < 24 ? slot : 26;
        const uint8_t accept[] = {1, 0x60, (uint8_t)(chosen + slot - 1 < 24 ? slot - 1 : 25), 1, (uint8_t)as_read,
                                  0}; /* a no-op */
        message(MESSAGE_ACCEPT, accept, sizeof accept);
        replica(REPLICA_DURABLE, -1);
    }
    message(MESSAGE_FETCH, fetch, sizeof fetch);
    replica(REPLICA_FETCHED, -1);
    replica(REPLICA_RESTART, 0);
    seed_end();
}

static void make_replica_acts(void)
{
    seed_begin("replica", "leader");
    put8(0);
    put_election();
    for (int i = 0; i < 4; i++) {
        replica(REPLICA_SUBMIT, 0);
        put16(0x28 + 0x20 * (unsigned)i);
        replica(REPLICA_POSITION, -1);
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_ACK, i % 2);
        replica(REPLICA_WAIT, 4);
    }
    replica(REPLICA_TRANSFER, 1);
    replica(REPLICA_WAIT, 60);
    replica(REPLICA_RESTART, 1);
    seed_end();

    seed_begin("replica", "skipper");
    put8(0);
    put_election();
    replica(REPLICA_SKIP, 26);
    put8(27);
    replica(REPLICA_SUBMIT, 0);
    put16(0x28);
    replica(REPLICA_SPACE, 0);
    replica(REPLICA_CANCEL, 0);
    replica(REPLICA_DURABLE, -1);
    replica(REPLICA_ACK, 0);
    seed_end();

    /* Message types that anybody may send, with fields that are mostly zero. */
    for (unsigned type = MESSAGE_HEARTBEAT; type <= MESSAGE_TRANSFER; type++) {
        char name[32];
        snprintf(name, sizeof name, "type-%02u", type);
        seed_begin("replica", name);
        put8(type == MESSAGE_STATE);
        replica(REPLICA_WAIT, 10);
        replica(REPLICA_BEAT, 7);
        for (unsigned i = 0; i < 3; i++) {
            static const uint8_t fields[] = {1, 0x60, 25, 0x30, 25, 1, 0x21, 26, 7, 0, 1, 0, 0, 0, 0, 0};
            message(type, fields, sizeof fields);
        }
        replica(REPLICA_DURABLE, -1);
        replica(REPLICA_FETCHED, -1);
        seed_end();
    }
}

void make_peer_seeds(void)
{
    make_random_datagrams();
    make_accept();
    make_cut_body();
    make_slot0();
    make_cluster_acts();
    make_behind("behind", 0);
    make_behind("behind-sealed", CLUSTER_SEALED);
    for (unsigned seed = 0; seed < 4; seed++)
        make_rotten(seed);
    make_seven();
    make_replica_acts();
    make_bootstrap();
    make_old_slots();
    make_old_prepare();
    make_installed();
}
