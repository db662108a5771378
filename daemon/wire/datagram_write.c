#include <string.h>

#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "paxos/invariant.h"
#include "wire/datagram_format.h"

/* Less of a value than this is not worth a piece in what a datagram has left. */
enum { PART_BYTES_MIN = 128 };

_Static_assert(STATE_SIZE + PIECE_SIZE_MAX + PART_BYTES_MIN <= BODY_ROOM_MIN, "an empty datagram takes a part");

/* --- appending: each answers where the next field goes --- */

static uint8_t *append_u8(uint8_t *p, uint8_t v)
{
    *p = v;
    return p + 1;
}

static uint8_t *append_u16(uint8_t *p, uint16_t v)
{
    put_u16(p, v);
    return p + 2;
}

static uint8_t *append_u32(uint8_t *p, uint32_t v)
{
    put_u32(p, v);
    return p + 4;
}

static uint8_t *append_u64(uint8_t *p, uint64_t v)
{
    put_u64(p, v);
    return p + 8;
}

static uint8_t *append_bytes(uint8_t *p, const void *bytes, size_t size)
{
    memcpy(p, bytes, size);
    return p + size;
}

static uint8_t *append_hash(uint8_t *p, const struct hash128 *h)
{
    return append_bytes(p, h->bytes, sizeof h->bytes);
}

static uint8_t *append_ballot(uint8_t *p, struct ballot b)
{
    p = append_u64(p, b.round);
    p = append_u32(p, b.gen);
    return append_u8(p, b.id);
}

/* --- the datagram --- */

void datagram_begin(struct datagram_writer *w, uint8_t *buffer, size_t room, const struct datagram_header *h)
{
    invariant(room >= DATAGRAM_BYTES_MIN && room <= DATAGRAM_BYTES_MAX, room, 0);
    *w = (struct datagram_writer){.bytes = buffer, .size = DATAGRAM_HEADER_SIZE, .room = room};
    memset(buffer, 0, DATAGRAM_HEADER_SIZE);
    memcpy(buffer, DATAGRAM_MAGIC, sizeof DATAGRAM_MAGIC);
    buffer[AT_VERSION] = DATAGRAM_VERSION;
    put_u64(buffer + AT_NAME_HASH, h->cluster_name_hash);
    memcpy(buffer + AT_CLUSTER, h->cluster.bytes, sizeof h->cluster.bytes);
    buffer[AT_FROM] = h->from;
    put_u64(buffer + AT_LIFE, h->from_life);
    put_u64(buffer + AT_BOOT, h->boot);
}

bool datagram_is_empty(const struct datagram_writer *w)
{
    return w->size == DATAGRAM_HEADER_SIZE;
}

void datagram_finish(struct datagram_writer *w, replica_id_t to, uint64_t seq)
{
    w->bytes[AT_TO] = to;
    put_u64(w->bytes + AT_SEQ, seq);
    put_u32(w->bytes + AT_CHECKSUM, 0);
    put_u32(w->bytes + AT_CHECKSUM, crc32c(0, w->bytes, w->size));
}

uint32_t datagram_promise_slots(size_t room)
{
    const size_t n = (room - DATAGRAM_HEADER_SIZE - FRAME_SIZE - PROMISE_SIZE) / PROMISED_SIZE;
    return n < DATAGRAM_PROMISE_SLOTS_MAX ? (uint32_t)n : DATAGRAM_PROMISE_SLOTS_MAX;
}

/* --- messages that go whole --- */

static uint8_t *append_heartbeat(uint8_t *p, const struct heartbeat *h, uint8_t *ret_flags)
{
    invariant(h->n_echoes <= REPLICAS_MAX, h->n_echoes, 0);
    *ret_flags = (uint8_t)((h->leading ? HEARTBEAT_LEADING : 0) | (h->happy ? HEARTBEAT_HAPPY : 0) |
                           (h->silent ? HEARTBEAT_SILENT : 0));
    p = append_ballot(p, h->ballot);
    p = append_ballot(p, h->followed);
    p = append_u64(p, h->seq);
    p = append_u64(p, h->commit);
    p = append_hash(p, &h->chain);
    p = append_u32(p, h->space_bytes);
    p = append_u8(p, (uint8_t)h->n_echoes);
    for (uint32_t i = 0; i < h->n_echoes; i++) {
        p = append_u8(p, h->echoes[i].id);
        p = append_u64(p, h->echoes[i].seq);
        p = append_u16(p, age_pack(h->echoes[i].age_usec));
    }
    return p;
}

static uint8_t *append_prepare(uint8_t *p, const struct prepare *m)
{
    p = append_ballot(p, m->ballot);
    p = append_u64(p, m->from);
    return append_u32(p, m->page);
}

static uint8_t *append_promise(uint8_t *p, const struct promise *m, uint8_t *ret_flags)
{
    *ret_flags = m->last ? PROMISE_LAST : 0;
    p = append_ballot(p, m->ballot);
    p = append_u64(p, m->from);
    p = append_u32(p, m->page);
    p = append_u32(p, m->page_slots);
    p = append_u64(p, m->chosen);
    for (uint32_t i = 0; i < m->n_entries; i++) {
        const struct promised_entry *e = &m->entries[i];
        p = append_u64(p, e->slot);
        p = append_ballot(p, e->ballot);
        p = append_u8(p, e->chosen);
        p = append_u32(p, e->size);
        p = append_hash(p, &e->hash);
    }
    return p;
}

static uint8_t *append_accepted(uint8_t *p, const struct accepted *m)
{
    invariant(m->n_words <= ACCEPTED_WORDS_MAX, m->n_words, 0);
    p = append_ballot(p, m->ballot);
    p = append_u64(p, m->base);
    p = append_u64(p, m->chosen);
    p = append_u32(p, m->space_bytes);
    for (uint32_t i = 0; i < m->n_words; i++)
        p = append_u64(p, m->words[i]);
    return p;
}

static uint8_t *append_fetch(uint8_t *p, const struct fetch *m, uint8_t *ret_flags)
{
    *ret_flags = m->by_hash ? FETCH_BY_HASH : 0;
    p = append_u64(p, m->from);
    p = append_u64(p, m->until);
    p = append_ballot(p, m->ballot);
    p = append_hash(p, &m->hash);
    return append_u32(p, m->bytes_max);
}

static uint8_t *append_info(uint8_t *p, const struct info *m)
{
    invariant(m->n_drops <= INFO_DROPS_MAX, m->n_drops, 0);
    const size_t size = strnlen(m->version, INFO_VERSION_MAX);
    p = append_u8(p, (uint8_t)size);
    p = append_bytes(p, m->version, size);
    for (uint32_t i = 0; i < m->n_drops; i++) {
        p = append_u8(p, m->drops[i].rate);
        p = append_u8(p, m->drops[i].direction);
        p = append_u8(p, m->drops[i].peer);
        p = append_u32(p, m->drops[i].left_ms);
    }
    return p;
}

static uint8_t *append_flushed(uint8_t *p, const struct flushed *m, uint8_t *ret_flags)
{
    *ret_flags = m->ok ? FLUSHED_OK : 0;
    p = append_u64(p, m->nonce);
    p = append_u64(p, m->slot);
    p = append_u64(p, m->messages);
    return append_bytes(p, m->text, strnlen(m->text, FLUSH_TEXT_MAX));
}

static uint8_t *append_checkpoint_fetch(uint8_t *p, const struct checkpoint_fetch *m)
{
    p = append_u64(p, m->slot);
    p = append_u64(p, m->offset);
    for (uint32_t i = 0; i < CHECKPOINT_WORDS; i++)
        p = append_u64(p, m->missing[i]);
    return p;
}

static uint8_t *append_checkpoint_piece(uint8_t *p, const struct checkpoint_piece *m)
{
    invariant(m->size > 0 && m->size <= CHECKPOINT_PIECE_BYTES, m->size, m->offset);
    p = append_u64(p, m->slot);
    p = append_u64(p, m->total);
    p = append_u64(p, m->offset);
    return append_bytes(p, m->bytes, m->size);
}

static uint8_t *append_body(uint8_t *p, const struct message *m, uint8_t *ret_flags)
{
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        return append_heartbeat(p, &m->heartbeat, ret_flags);
    case MESSAGE_PREPARE:
        return append_prepare(p, &m->prepare);
    case MESSAGE_PROMISE:
        return append_promise(p, &m->promise, ret_flags);
    case MESSAGE_ACCEPTED:
        return append_accepted(p, &m->accepted);
    case MESSAGE_NACK:
        p = append_ballot(p, m->nack.rejected);
        return append_ballot(p, m->nack.promised);
    case MESSAGE_FETCH:
        return append_fetch(p, &m->fetch, ret_flags);
    case MESSAGE_POSITION:
        return append_u64(p, m->position.nonce);
    case MESSAGE_ANSWER:
        p = append_u64(p, m->position.nonce);
        return append_u64(p, m->position.slot);
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        p = append_ballot(p, m->confirm.ballot);
        return append_u64(p, m->confirm.nonce);
    case MESSAGE_TRANSFER:
        p = append_ballot(p, m->transfer.ballot);
        return append_u8(p, m->transfer.target);
    case MESSAGE_INFO:
        return append_info(p, &m->info);
    case MESSAGE_FLUSH:
        p = append_u64(p, m->flush.nonce);
        return append_u64(p, m->flush.upto);
    case MESSAGE_FLUSHED:
        return append_flushed(p, &m->flushed, ret_flags);
    case MESSAGE_CHECKPOINT_FETCH:
        return append_checkpoint_fetch(p, &m->checkpoint_fetch);
    case MESSAGE_CHECKPOINT_PIECE:
        return append_checkpoint_piece(p, &m->checkpoint_piece);
    default:
        invariant(m->type == MESSAGE_FLUSHED, m->type, 0); /* no other type can be written */
        return p;
    }
}

static bool put_whole(struct datagram_writer *w, const struct message *m)
{
    /* All but a promise are smaller than this, so that they can be written first and measured then. */
    uint8_t small[BODY_ROOM_MIN];
    uint8_t *frame = w->bytes + w->size, flags = 0;
    const size_t left = w->room - w->size;
    size_t size;
    if (m->type == MESSAGE_PROMISE) {
        invariant(m->promise.n_entries <= DATAGRAM_PIECES_MAX, m->promise.n_entries, 0);
        size = PROMISE_SIZE + (size_t)m->promise.n_entries * PROMISED_SIZE;
        invariant(DATAGRAM_HEADER_SIZE + FRAME_SIZE + size <= w->room, size, w->room);
        if (left < FRAME_SIZE + size)
            return false;
        append_body(frame + FRAME_SIZE, m, &flags);
    } else {
        size = (size_t)(append_body(small, m, &flags) - small);
        if (left < FRAME_SIZE + size)
            return false;
        memcpy(frame + FRAME_SIZE, small, size);
    }
    frame[0] = (uint8_t)m->type;
    frame[1] = flags;
    put_u16(frame + 2, (uint16_t)size);
    w->size += FRAME_SIZE + size;
    return true;
}

/* --- messages that carry values --- */

struct values {
    enum message_type type;
    const struct entry *entries;
    uint32_t n;
    size_t head_size;
    uint32_t pieces_max; /* of one message on the wire */
    struct entry slot0;
};

/* False where the message is none of these. *ret may point into itself: not to be copied. */
static bool list_values(const struct message *m, struct values *ret)
{
    *ret = (struct values){.type = m->type, .pieces_max = DATAGRAM_PIECES_MAX};
    switch (m->type) {
    case MESSAGE_ACCEPT:
        ret->entries = m->accept.entries;
        ret->n = m->accept.n_entries;
        ret->head_size = ACCEPT_SIZE;
        return true;
    case MESSAGE_CHOSEN:
        ret->entries = m->chosen.entries;
        ret->n = m->chosen.n_entries;
        ret->head_size = CHOSEN_SIZE;
        return true;
    case MESSAGE_SUBMIT:
        ret->entries = m->submit.entries;
        ret->n = m->submit.n_entries;
        ret->head_size = SUBMIT_SIZE;
        return true;
    case MESSAGE_BODY:
        ret->entries = &m->body;
        ret->n = 1;
        ret->head_size = BODY_SIZE;
        ret->pieces_max = 1;
        return true;
    case MESSAGE_STATE:
        ret->slot0.value = m->state.slot0;
        ret->entries = &ret->slot0;
        ret->n = m->state.slot0 != NULL;
        ret->head_size = STATE_SIZE;
        ret->pieces_max = 1;
        return true;
    default:
        return false;
    }
}

static uint8_t *append_head(uint8_t *p, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        p = append_ballot(p, m->accept.ballot);
        return append_u64(p, m->accept.commit);
    case MESSAGE_CHOSEN:
        return append_u64(p, m->chosen.first_kept);
    case MESSAGE_BODY:
        return append_ballot(p, m->body.ballot);
    case MESSAGE_STATE:
        p = append_u64(p, m->state.nonce);
        p = append_u64(p, m->state.answer);
        p = append_u8(p, (uint8_t)m->state.status);
        p = append_hash(p, &m->state.cluster);
        return append_hash(p, &m->state.bootstrap);
    default:
        return p;
    }
}

/* Of a piece that is a whole value, without the value. */
static size_t piece_overhead(enum message_type type, bool has_slot)
{
    return (size_t)1 + (has_slot ? 8 : 0) + (type == MESSAGE_SUBMIT ? 1 : 0) + HASH_SIZE + 2;
}

/* How much of the value at the cursor goes into this datagram: *ret_whole, or a part; 0: nothing. */
static size_t piece_size(const struct datagram_writer *w, const struct values *list, const struct datagram_cursor *c,
                         bool has_slot, bool *ret_whole)
{
    const size_t rest = list->entries[c->entry].value->size - c->offset, left = w->room - w->size;
    *ret_whole = c->offset == 0 && piece_overhead(list->type, has_slot) + rest <= left;
    if (*ret_whole)
        return rest;
    const size_t left_if_empty = w->room - DATAGRAM_HEADER_SIZE - FRAME_SIZE - list->head_size;
    if (c->offset == 0 && piece_overhead(list->type, type_has_slots(list->type)) + rest <= left_if_empty)
        return 0; /* the next datagram takes it whole */
    const size_t overhead = piece_overhead(list->type, has_slot) + 8;
    if (left < overhead + (rest < PART_BYTES_MIN ? rest : PART_BYTES_MIN))
        return 0;
    return rest < left - overhead ? rest : left - overhead;
}

/* Appends the entry at the cursor, or a part of it, and moves the cursor; false where nothing was appended. `follows`:
 * its slot is the one after that of the piece before. */
static bool put_piece(struct datagram_writer *w, const struct values *list, struct datagram_cursor *c, bool follows)
{
    const struct entry *e = &list->entries[c->entry];
    const struct value *v = e->value;
    invariant(v != NULL && c->offset < v->size, c->entry, c->offset);
    const bool has_slot = type_has_slots(list->type) && !follows;
    bool whole;
    const size_t size = piece_size(w, list, c, has_slot, &whole);
    if (size == 0)
        return false;

    uint8_t *p = w->bytes + w->size;
    p = append_u8(p, (uint8_t)((whole ? 0 : PIECE_PART) | (has_slot ? PIECE_SLOT : 0)));
    if (has_slot)
        p = append_u64(p, e->slot);
    if (list->type == MESSAGE_SUBMIT)
        p = append_u8(p, e->hops);
    p = append_hash(p, &v->hash);
    if (!whole) {
        p = append_u32(p, v->size);
        p = append_u32(p, c->offset);
    }
    p = append_u16(p, (uint16_t)size);
    p = append_bytes(p, v->bytes + c->offset, size);
    w->size = (size_t)(p - w->bytes);

    c->offset += (uint32_t)size;
    if (c->offset == v->size)
        *c = (struct datagram_cursor){.entry = c->entry + 1};
    return true;
}

/* Appends one message with as many of its pieces as fit; false where not even one did. */
static bool put_some(struct datagram_writer *w, const struct message *m, const struct values *list,
                     struct datagram_cursor *c)
{
    const size_t start = w->size;
    if (w->room - start < FRAME_SIZE + list->head_size)
        return false;
    uint8_t *frame = w->bytes + start;
    w->size = (size_t)(append_head(frame + FRAME_SIZE, m) - w->bytes);

    uint32_t n = 0;
    slot_t before = 0;
    while (n < list->pieces_max && c->entry < list->n) {
        const slot_t slot = list->entries[c->entry].slot;
        invariant(list->type != MESSAGE_ACCEPT || n == 0 || slot > before, slot, before);
        if (!put_piece(w, list, c, n > 0 && slot == before + 1))
            break;
        n++;
        if (c->offset != 0) /* the datagram is full */
            break;
        before = slot;
    }
    if (n == 0 && list->n > 0) {
        w->size = start;
        return false;
    }
    frame[0] = (uint8_t)m->type;
    frame[1] = 0;
    put_u16(frame + 2, (uint16_t)(w->size - start - FRAME_SIZE));
    return true;
}

bool datagram_put(struct datagram_writer *w, const struct message *m, struct datagram_cursor *c)
{
    struct values list;
    if (!list_values(m, &list))
        return put_whole(w, m);
    do {
        if (!put_some(w, m, &list, c))
            return false;
    } while (c->entry < list.n);
    return true;
}
