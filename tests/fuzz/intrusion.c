#include "tests/fuzz/intrusion.h"

#include "host/driver_internal.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "tests/fuzz/fuzz.h"
#include "wire/datagram_format.h"

enum {
    DATAGRAMS_MAX = 3000,
    LAST = 8, /* datagrams that can come again */
    VALUE_BYTES_MOST = 1 << 16,
    FIRST_SEQ = 1 << 20,
    STRANGER_ID = 77,
};

static struct {
    struct heard heard[INTRUSION_HOSTS];
    struct packet *last[LAST];
    uint64_t n_last, n_sent, seq;
    void (*asked)(struct host *asker, struct host *peer, slot_t slot);
    uint8_t change; /* 0: nothing */
    bool muted;
} world;

static void hear(struct host *from, struct host *to, const struct packet *p)
{
    struct heard *h = &world.heard[from->index];
    static struct datagram_message m;
    struct datagram_reader reader;
    struct datagram_header header;
    if (packet_open(p, &reader, &header) != DATAGRAM_OK)
        return;
    while (datagram_next(&reader, &header, VALUE_BYTES_MOST, &m) > 0) {
        const struct message *k = &m.message;
        if (k->type == MESSAGE_HEARTBEAT)
            h->beat_seq = k->heartbeat.seq;
        if (k->type == MESSAGE_PREPARE)
            h->bid = k->prepare.ballot;
        if (k->type == MESSAGE_STATE && k->state.nonce != 0)
            h->state_nonce = k->state.nonce;
        if (k->type == MESSAGE_CHECKPOINT_FETCH)
            world.asked(from, to, k->checkpoint_fetch.slot);
    }
}

static struct packet *copy_packet(const struct packet *p)
{
    size_t size = sizeof *p + p->size + p->plain_size;
    struct packet *q = fuzz_copy(p, size);
    q->refs = 1;
    q->opened = false;
    return q;
}

static void keep_last(struct packet *p)
{
    struct packet **at = &world.last[world.n_last++ % LAST];
    if (*at != NULL)
        packet_release(*at);
    *at = p;
    p->refs++;
}

/* So that it is said by a member, and garbage: in the datagram of an honest one it must be seen at once. */
static void mend_checksum(struct packet *p)
{
    if (p->size < DATAGRAM_HEADER_SIZE)
        return;
    put_u32(p->bytes + AT_CHECKSUM, 0);
    put_u32(p->bytes + AT_CHECKSUM, crc32c(0, p->bytes, p->size));
}

static void put_in(struct cluster *c, struct packet *p, uint32_t to)
{
    world.n_sent++;
    cluster_push(c, (struct sim_event){.at_usec = c->now_usec, .type = SIM_DELIVER, .host = to, .packet = p});
}

static void change(struct cluster *c, uint32_t to, const struct packet *p)
{
    struct packet *q = copy_packet(p);
    size_t at = (size_t)world.change * 7 % q->size;
    q->bytes[at] ^= (uint8_t)(1 | world.change);
    q->spoiled = true;
    q->plain_size = 0;
    if (c->options.liar && p->from == INTRUSION_LIAR)
        mend_checksum(q);
    world.change = 0;
    put_in(c, q, to);
}

static bool filter(struct cluster *c, uint32_t from, uint32_t to, const struct packet *p)
{
    if (p->spoiled) /* the input's own */
        return false;
    hear(&c->hosts[from], &c->hosts[to], p);
    keep_last((struct packet *)(uintptr_t)p);
    if (c->options.liar && world.muted && (from == INTRUSION_LIAR || to == INTRUSION_LIAR))
        return true;
    if (world.change == 0 || world.n_sent >= DATAGRAMS_MAX)
        return false;
    change(c, to, p);
    return true;
}

void intrusion_again(struct cluster *c, uint8_t which)
{
    struct packet *p = world.last[which % LAST];
    if (p == NULL || world.n_sent >= DATAGRAMS_MAX)
        return;
    p->refs++;
    put_in(c, p, p->to);
}

static void spoil_header(struct datagram_header *h, struct host *to, enum driver_guard guard)
{
    if (guard == GUARD_LIFE)
        h->from_life ^= 2;
    if (guard == GUARD_CLUSTER || guard == GUARD_ID)
        h->cluster.bytes[1] ^= 1;
    if (guard == GUARD_CLUSTER)
        h->cluster_name_hash ^= 1;
    if (guard == GUARD_STRANGER)
        h->from = STRANGER_ID;
    if (guard == GUARD_OWN)
        h->from = to->id;
}

static void send_datagram(struct cluster *c, uint32_t from, struct host *to, struct datagram_writer *w,
                          enum driver_guard guard)
{
    struct packet *p = malloc(sizeof *p + w->room);
    if (p == NULL)
        abort();
    datagram_finish(w, guard == GUARD_RECEIVER ? to->id + 1 : to->id, ++world.seq);
    *p = (struct packet){.refs = 1, .from = from, .to = to->index, .size = (uint32_t)w->size, .spoiled = true};
    memcpy(p->bytes, w->bytes, w->size);
    if (guard == GUARD_CHECKSUM)
        p->bytes[AT_CHECKSUM] ^= 1;
    if (guard == GUARD_CUT)
        p->size -= 1 + p->size / 3;
    put_in(c, p, to->index);
}

void intrusion_say(struct cluster *c, uint32_t from, struct host *to, const struct message *m, enum driver_guard guard)
{
    static uint8_t buffer[DATAGRAM_BYTES_MAX];
    const struct host *speaker = &c->hosts[from];
    struct datagram_header h = {.cluster_name_hash = to->driver->cluster_name_hash,
                                .cluster = replica_identity(to->replica)->cluster,
                                .from = speaker->id,
                                .from_life = m->from_life,
                                .boot = 1};
    struct datagram_cursor cursor = {0};
    spoil_header(&h, to, guard);
    for (bool done = false; !done && world.n_sent < DATAGRAMS_MAX;) {
        struct datagram_writer w;
        datagram_begin(&w, buffer, c->options.datagram_bytes, &h);
        done = datagram_put(&w, m, &cursor);
        send_datagram(c, from, to, &w, guard);
    }
}

void intrusion_change(uint8_t bits)
{
    world.change = bits;
}

void intrusion_mute(void)
{
    world.muted = !world.muted;
}

const struct heard *intrusion_heard(const struct host *h)
{
    return &world.heard[h->index];
}

void intrusion_begin(struct cluster *c, void (*asked)(struct host *asker, struct host *peer, slot_t slot))
{
    memset(&world, 0, sizeof world);
    world.seq = FIRST_SEQ;
    world.asked = asked;
    c->network.filter = filter;
}

void intrusion_end(struct cluster *c)
{
    c->network.filter = NULL;
    for (uint32_t i = 0; i < LAST; i++) {
        if (world.last[i] != NULL)
            packet_release(world.last[i]);
    }
}
