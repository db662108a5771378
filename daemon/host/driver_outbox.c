#include "host/driver_outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "paxos/invariant.h"

enum { EVERYBODY = REPLICAS_MAX, NOBODY = REPLICAS_MAX + 1 };

struct waiting_head {
    uint64_t after;
    uint32_t size; /* of the message bytes that follow */
    uint32_t writer;
};

int outbox_init(struct outbox *o, struct peers *peers, struct seal *seal, const replica_id_t *ids, size_t n,
                const struct datagram_header *header, size_t datagram_bytes)
{
    memset(o, 0, sizeof(*o));
    o->peers = peers;
    o->seal = seal;
    o->n_peers = n;
    memcpy(o->ids, ids, n * sizeof(*ids));
    o->header = *header;
    o->room = datagram_bytes;
    o->buffers = malloc((OUTBOX_BUFFERS + 1) * datagram_bytes);
    if (o->buffers == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < OUTBOX_BUFFERS; i++)
        o->free[o->n_free++] = o->buffers + i * datagram_bytes;
    return 0;
}

void outbox_done(struct outbox *o)
{
    free(o->buffers);
    free(o->waiting.bytes);
    memset(o, 0, sizeof(*o));
}

void outbox_set_cluster(struct outbox *o, const struct hash128 *cluster)
{
    o->header.cluster = *cluster;
}

static void send_queued(struct outbox *o)
{
    peers_flush(o->peers);
    while (o->n_queued > 0)
        o->free[o->n_free++] = o->queued[--o->n_queued];
}

/* Of the buffers at most one per writer is not queued, so sending always frees some. */
static uint8_t *take_buffer(struct outbox *o)
{
    if (o->n_free == 0)
        send_queued(o);
    return o->free[--o->n_free];
}

static void queue(struct outbox *o, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec)
{
    peers_queue(o->peers, peer, bytes, bytes + DATAGRAM_HEADER_SIZE, size - DATAGRAM_HEADER_SIZE, now_usec);
}

static void queue_plain(struct outbox *o, struct datagram_writer *w, size_t first, size_t end, uint64_t now_usec)
{
    for (size_t i = first; i < end; i++) {
        datagram_finish(w, o->ids[i], ++o->seqs[i]);
        queue(o, i, w->bytes, w->size, now_usec);
    }
    o->queued[o->n_queued++] = w->bytes;
}

/* The last receiver's in place, the others' each in a buffer of its own. */
static void queue_sealed(struct outbox *o, struct datagram_writer *w, size_t first, size_t end, uint64_t now_usec)
{
    for (size_t i = first; i < end; i++) {
        uint8_t *bytes = i + 1 < end ? take_buffer(o) : w->bytes;
        if (seal_datagram(o->seal, i, w->bytes, w->size, bytes))
            queue(o, i, bytes, w->size, now_usec);
        else
            o->unsealed++;
        o->queued[o->n_queued++] = bytes;
    }
}

static void finish_datagram(struct outbox *o, size_t writer, uint64_t now_usec)
{
    struct datagram_writer *w = &o->writers[writer];
    size_t first = writer == EVERYBODY ? 0 : writer, end = writer == EVERYBODY ? o->n_peers : writer + 1;
    if (datagram_is_empty(w) || first == end)
        o->free[o->n_free++] = w->bytes;
    else if (o->seal != NULL)
        queue_sealed(o, w, first, end, now_usec);
    else
        queue_plain(o, w, first, end, now_usec);
    w->bytes = NULL;
}

static void queue_handshakes(struct outbox *o, uint64_t now_usec)
{
    for (;;) {
        struct datagram_writer w;
        size_t peer;
        datagram_begin(&w, take_buffer(o), o->room, &o->header);
        size_t size = seal_next(o->seal, now_usec, &peer, w.bytes);
        if (size == 0) {
            o->free[o->n_free++] = w.bytes;
            return;
        }
        queue(o, peer, w.bytes, size, now_usec);
        o->queued[o->n_queued++] = w.bytes;
    }
}

void outbox_flush(struct outbox *o, uint64_t now_usec)
{
    if (o->seal != NULL)
        queue_handshakes(o, now_usec);
    for (size_t i = 0; i <= EVERYBODY; i++) {
        if (o->writers[i].bytes != NULL)
            finish_datagram(o, i, now_usec);
    }
    send_queued(o);
}

uint64_t outbox_wake_usec(const struct outbox *o)
{
    return o->seal != NULL ? seal_wake_usec(o->seal) : UINT64_MAX;
}

static size_t find_writer(const struct outbox *o, replica_id_t to)
{
    if (to == REPLICA_ID_NONE)
        return EVERYBODY;
    for (size_t i = 0; i < o->n_peers; i++) {
        if (o->ids[i] == to)
            return i;
    }
    return NOBODY;
}

static void put_now(struct outbox *o, size_t writer, const struct message *m, uint64_t now_usec)
{
    struct datagram_writer *w = &o->writers[writer];
    struct datagram_cursor c = {0};
    for (;;) {
        if (w->bytes == NULL)
            datagram_begin(w, take_buffer(o), o->room, &o->header);
        bool was_empty = datagram_is_empty(w);
        struct datagram_cursor before = c;
        if (datagram_put(w, m, &c))
            return;
        if (was_empty && before.entry == c.entry && before.offset == c.offset) { /* it fits no datagram: lost */
            o->lost++;
            return;
        }
        finish_datagram(o, writer, now_usec);
    }
}

static bool waiting_reserve(struct outbox_waiting *q, size_t size)
{
    if (q->begin == q->end)
        q->begin = q->end = 0;
    if (q->end - q->begin + size > OUTBOX_WAITING_BYTES_MAX)
        return false;
    if (q->end + size <= q->room)
        return true;
    if (q->begin > q->room / 2) {
        memmove(q->bytes, q->bytes + q->begin, q->end - q->begin);
        q->end -= q->begin;
        q->begin = 0;
        if (q->end + size <= q->room)
            return true;
    }
    size_t room = 2 * q->room + size + 4096;
    uint8_t *bytes = realloc(q->bytes, room);
    if (bytes == NULL)
        return false;
    q->bytes = bytes;
    q->room = room;
    return true;
}

static void waiting_add(struct outbox *o, uint64_t after, size_t writer, const uint8_t *bytes, size_t size)
{
    struct outbox_waiting *q = &o->waiting;
    if (!waiting_reserve(q, sizeof(struct waiting_head) + size)) {
        o->lost++;
        return;
    }
    if (q->begin == q->end || after > q->last_after)
        q->last_after = after;
    struct waiting_head head = {.after = q->last_after, .size = (uint32_t)size, .writer = (uint32_t)writer};
    memcpy(q->bytes + q->end, &head, sizeof(head));
    memcpy(q->bytes + q->end + sizeof(head), bytes, size);
    q->end += sizeof(head) + size;
}

static void put_later(struct outbox *o, uint64_t after, size_t writer, const struct message *m)
{
    struct datagram_cursor c = {0};
    uint8_t *buffer = o->buffers + OUTBOX_BUFFERS * o->room;
    bool done;
    do {
        struct datagram_writer *w = &o->scratch;
        datagram_begin(w, buffer, o->room, &o->header);
        done = datagram_put(w, m, &c);
        if (datagram_is_empty(w)) {
            o->lost++;
            return;
        }
        waiting_add(o, after, writer, w->bytes + DATAGRAM_HEADER_SIZE, w->size - DATAGRAM_HEADER_SIZE);
    } while (!done);
}

void outbox_put(struct outbox *o, uint64_t after, replica_id_t to, const struct message *m, uint64_t now_usec)
{
    size_t writer = find_writer(o, to);
    if (writer == NOBODY)
        return;
    if (after <= o->durable_seq)
        put_now(o, writer, m, now_usec);
    else
        put_later(o, after, writer, m);
}

/* Messages stand one after the other behind a datagram's header, so encoded ones can be appended as they are. */
static void put_bytes(struct outbox *o, size_t writer, const uint8_t *bytes, size_t size, uint64_t now_usec)
{
    struct datagram_writer *w = &o->writers[writer];
    if (w->bytes != NULL && w->size + size > w->room)
        finish_datagram(o, writer, now_usec);
    if (w->bytes == NULL)
        datagram_begin(w, take_buffer(o), o->room, &o->header);
    invariant(w->bytes != NULL && size <= w->room - w->size, size, w->size);
    memcpy(w->bytes + w->size, bytes, size);
    w->size += size;
}

void outbox_durable(struct outbox *o, uint64_t seq, uint64_t now_usec)
{
    struct outbox_waiting *q = &o->waiting;
    if (seq > o->durable_seq)
        o->durable_seq = seq;
    while (q->begin < q->end) {
        struct waiting_head head;
        memcpy(&head, q->bytes + q->begin, sizeof(head));
        if (head.after > o->durable_seq)
            break;
        put_bytes(o, head.writer, q->bytes + q->begin + sizeof(head), head.size, now_usec);
        q->begin += sizeof(head) + head.size;
    }
}
