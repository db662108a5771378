/* A run of bytes that a peer sends in pieces: a chunk of a checkpoint, or of a page of the log.
 *
 * The one that lacks it asks for those pieces only that did not come, so that one datagram lost costs one datagram. */
#include <string.h>

#include "host/driver_internal.h"

static size_t min_size(uint64_t left, size_t size_max)
{
    return left < size_max ? (size_t)left : size_max;
}

size_t driver_chunk_size(const struct chunk *c)
{
    return min_size(c->total - c->offset, CHECKPOINT_CHUNK_BYTES);
}

void driver_chunk_begin(struct chunk *c, uint64_t total, uint64_t offset, uint64_t ask_usec)
{
    c->total = total;
    c->offset = offset;
    c->ask_usec = ask_usec;
    memset(c->missing, 0, sizeof(c->missing));
    for (size_t i = 0; i * CHECKPOINT_PIECE_BYTES < driver_chunk_size(c); i++)
        c->missing[i / 64] |= UINT64_C(1) << (i % 64);
}

bool driver_chunk_next(struct chunk *c, uint64_t ask_usec)
{
    uint64_t end = c->offset + driver_chunk_size(c);
    if (end < c->total)
        driver_chunk_begin(c, c->total, end, ask_usec);
    return end < c->total;
}

bool driver_chunk_is_whole(const struct chunk *c)
{
    uint64_t any = 0;
    for (size_t i = 0; i < CHECKPOINT_WORDS; i++)
        any |= c->missing[i];
    return any == 0;
}

void driver_chunk_ask(struct driver *d, struct chunk *c, replica_id_t from, slot_t slot, uint64_t now_usec)
{
    struct message m = {.type = MESSAGE_CHECKPOINT_FETCH, .checkpoint_fetch = {.slot = slot, .offset = c->offset}};
    if (now_usec < c->ask_usec)
        return;
    memcpy(m.checkpoint_fetch.missing, c->missing, sizeof(c->missing));
    driver_send(d, from, &m);
    c->ask_usec = now_usec + CHUNK_ASK_USEC;
}

void driver_chunk_take(struct driver *d, struct chunk *c, const struct checkpoint_piece *p, uint8_t *ret)
{
    uint64_t at = p->offset - c->offset, i = at / CHECKPOINT_PIECE_BYTES;
    size_t size = driver_chunk_size(c);
    if (p->offset < c->offset || at >= size || at % CHECKPOINT_PIECE_BYTES != 0 ||
        p->size != min_size(size - at, CHECKPOINT_PIECE_BYTES))
        return;
    memcpy(ret + at, p->bytes, p->size);
    c->missing[i / 64] &= ~(UINT64_C(1) << (i % 64));
    c->heard_usec = driver_now();
    d->dirty = true;
}

void driver_chunk_send(struct driver *d, replica_id_t to, const struct checkpoint_fetch *q, uint64_t total,
                       const uint8_t *bytes, uint64_t size)
{
    struct message m = {.type = MESSAGE_CHECKPOINT_PIECE, .checkpoint_piece = {.slot = q->slot, .total = total}};
    struct checkpoint_piece *p = &m.checkpoint_piece;
    size = min_size(size, CHECKPOINT_CHUNK_BYTES);
    for (size_t at = 0, i = 0; at < size; at += CHECKPOINT_PIECE_BYTES, i++) {
        if ((q->missing[i / 64] >> (i % 64) & 1) == 0)
            continue;
        p->offset = q->offset + at;
        p->size = (uint32_t)min_size(size - at, CHECKPOINT_PIECE_BYTES);
        p->bytes = bytes + at;
        driver_send(d, to, &m);
    }
}
