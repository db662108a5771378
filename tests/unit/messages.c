#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/messages.h"
#include "wire/datagram.h"

static uint64_t number(struct prng *p)
{
    return prng_next(p) >> (2 + prng_below(p, 62));
}

static struct ballot ballot(struct prng *p)
{
    return (struct ballot){
        .round = 1 + number(p) / 2, .gen = (uint32_t)prng_next(p), .id = (uint8_t)prng_below(p, 255)};
}

static struct hash128 hash(struct prng *p)
{
    const uint64_t words[2] = {prng_next(p), prng_next(p)};
    struct hash128 h;
    memcpy(h.bytes, words, sizeof h.bytes);
    return h;
}

static const struct hash128 hash_key = {{5}};

struct value *value_random(struct prng *p, size_t size)
{
    struct value *v = calloc(1, sizeof *v + size);
    assert_non_null(v);
    v->size = (uint32_t)size;
    for (size_t i = 0; i < size; i++)
        v->bytes[i] = (uint8_t)prng_next(p);
    v->hash = hash_bytes(&hash_key, v->bytes, size);
    return v;
}

static size_t value_size(struct prng *p, size_t room)
{
    switch (prng_below(p, 6)) {
    case 0: /* about what a datagram takes */
        return VALUE_HEADER_SIZE + (room - 250 + prng_below(p, 250)) % (MESSAGES_VALUE_BYTES_MAX - VALUE_HEADER_SIZE);
    case 1:
        return VALUE_HEADER_SIZE + prng_below(p, MESSAGES_VALUE_BYTES_MAX - VALUE_HEADER_SIZE + 1);
    default:
        return VALUE_HEADER_SIZE + prng_below(p, 300);
    }
}

/* Ascending slots. */
static struct entry *entries(struct prng *p, uint32_t n, size_t room)
{
    struct entry *e = calloc(n + 1, sizeof *e);
    assert_non_null(e);
    slot_t slot = number(p) / 2;
    for (uint32_t i = 0; i < n; i++) {
        slot += prng_below(p, 4) == 0 ? prng_below(p, 10000) + 2 : 1;
        e[i] = (struct entry){
            .slot = slot, .hops = (uint8_t)prng_below(p, 3), .value = value_random(p, value_size(p, room))};
    }
    return e;
}

static void text(struct prng *p, size_t size_max, char *ret)
{
    const size_t size = prng_below(p, size_max + 1);
    for (size_t i = 0; i < size; i++)
        ret[i] = (char)(1 + prng_below(p, 255));
    ret[size] = 0;
}

const enum message_type message_types[MESSAGE_TYPES] = {
    MESSAGE_HEARTBEAT,
    MESSAGE_PREPARE,
    MESSAGE_PROMISE,
    MESSAGE_ACCEPT,
    MESSAGE_ACCEPTED,
    MESSAGE_NACK,
    MESSAGE_FETCH,
    MESSAGE_CHOSEN,
    MESSAGE_BODY,
    MESSAGE_SUBMIT,
    MESSAGE_STATE,
    MESSAGE_POSITION,
    MESSAGE_ANSWER,
    MESSAGE_CONFIRM,
    MESSAGE_CONFIRMED,
    MESSAGE_TRANSFER,
    MESSAGE_INFO,
    MESSAGE_FLUSH,
    MESSAGE_FLUSHED,
    MESSAGE_CHECKPOINT_FETCH,
    MESSAGE_CHECKPOINT_PIECE,
};

static void fill_heartbeat(struct prng *p, struct heartbeat *h)
{
    *h = (struct heartbeat){
        .ballot = ballot(p), .followed = ballot(p), .leading = prng_below(p, 2), .happy = prng_below(p, 2)};
    h->silent = prng_below(p, 2);
    h->seq = prng_next(p);
    h->commit = number(p);
    h->chain = hash(p);
    h->space_bytes = (uint32_t)prng_next(p);
    h->n_echoes = (uint32_t)prng_below(p, REPLICAS_MAX + 1);
    for (uint32_t i = 0; i < h->n_echoes; i++)
        h->echoes[i] = (struct echo){.id = (uint8_t)prng_below(p, 255),
                                     .seq = prng_next(p),
                                     .age_usec = (uint32_t)prng_below(p, 4096) << prng_below(p, 16)};
}

/* A whole one: to a shorter one a byte could be added. */
static void fill_checkpoint_piece(struct prng *p, struct checkpoint_piece *m)
{
    static uint8_t bytes[CHECKPOINT_PIECE_BYTES];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)prng_next(p);
    *m = (struct checkpoint_piece){
        .slot = 1 + number(p) / 2, .offset = number(p) / 2, .size = sizeof(bytes), .bytes = bytes};
    m->total = m->offset + m->size;
}

static void fill_promise(struct prng *p, struct promise *m, size_t room)
{
    *m = (struct promise){
        .ballot = ballot(p), .from = number(p), .page = (uint32_t)prng_below(p, 1000), .last = prng_below(p, 2)};
    m->page_slots = datagram_promise_slots(room);
    m->chosen = number(p);
    m->n_entries = (uint32_t)prng_below(p, m->page_slots + 1);
    struct promised_entry *e = calloc(m->n_entries + 1, sizeof *e);
    assert_non_null(e);
    for (uint32_t i = 0; i < m->n_entries; i++)
        e[i] = (struct promised_entry){.slot = number(p),
                                       .ballot = ballot(p),
                                       .chosen = prng_below(p, 2),
                                       .size = (uint32_t)prng_next(p),
                                       .hash = hash(p)};
    m->entries = e;
}

static void fill_info(struct prng *p, struct info *m)
{
    *m = (struct info){.n_drops = (uint32_t)prng_below(p, INFO_DROPS_MAX + 1)};
    text(p, INFO_VERSION_MAX, m->version);
    for (uint32_t i = 0; i < m->n_drops; i++)
        m->drops[i] = (struct info_drop){.rate = (uint8_t)prng_below(p, 101),
                                         .direction = (uint8_t)prng_below(p, 3),
                                         .peer = (uint8_t)prng_next(p),
                                         .left_ms = (uint32_t)prng_next(p)};
}

static void random_values(struct prng *p, enum message_type type, size_t room, uint32_t entries_max, struct message *m)
{
    switch (type) {
    case MESSAGE_ACCEPT:
        m->accept = (struct accept){
            .ballot = ballot(p), .commit = number(p), .n_entries = (uint32_t)prng_below(p, entries_max + 1)};
        m->accept.entries = entries(p, m->accept.n_entries, room);
        break;
    case MESSAGE_CHOSEN:
        m->chosen = (struct chosen){.n_entries = (uint32_t)prng_below(p, entries_max + 1), .first_kept = number(p)};
        m->chosen.entries = entries(p, m->chosen.n_entries, room);
        break;
    case MESSAGE_BODY:
        m->body = (struct entry){.slot = number(p), .ballot = ballot(p), .value = value_random(p, value_size(p, room))};
        break;
    case MESSAGE_SUBMIT:
        m->submit = (struct submit){.n_entries = (uint32_t)prng_below(p, entries_max + 1)};
        m->submit.entries = entries(p, m->submit.n_entries, room);
        break;
    case MESSAGE_STATE:
        m->state = (struct state){.nonce = prng_next(p),
                                  .answer = prng_next(p),
                                  .status = (enum identity_status)(1 + prng_below(p, 4)),
                                  .cluster = hash(p),
                                  .bootstrap = hash(p)};
        m->state.slot0 = prng_below(p, 2) == 0 ? NULL : value_random(p, value_size(p, room));
        break;
    default:
        break;
    }
}

void message_random(struct prng *p, enum message_type type, size_t room, uint32_t entries_max, struct message *m)
{
    *m = (struct message){.type = type};
    switch (type) {
    case MESSAGE_HEARTBEAT:
        fill_heartbeat(p, &m->heartbeat);
        break;
    case MESSAGE_PREPARE:
        m->prepare = (struct prepare){.ballot = ballot(p), .from = number(p), .page = (uint32_t)prng_next(p)};
        break;
    case MESSAGE_PROMISE:
        fill_promise(p, &m->promise, room);
        break;
    case MESSAGE_ACCEPTED:
        m->accepted = (struct accepted){.ballot = ballot(p),
                                        .base = number(p),
                                        .n_words = (uint32_t)prng_below(p, ACCEPTED_WORDS_MAX + 1),
                                        .chosen = number(p),
                                        .space_bytes = (uint32_t)prng_next(p)};
        for (uint32_t i = 0; i < m->accepted.n_words; i++)
            m->accepted.words[i] = prng_next(p);
        break;
    case MESSAGE_NACK:
        m->nack = (struct nack){.rejected = ballot(p), .promised = ballot(p)};
        break;
    case MESSAGE_FETCH:
        m->fetch = (struct fetch){.by_hash = prng_below(p, 2),
                                  .from = number(p),
                                  .until = prng_next(p),
                                  .ballot = ballot(p),
                                  .hash = hash(p),
                                  .bytes_max = (uint32_t)prng_next(p)};
        break;
    case MESSAGE_POSITION:
        m->position = (struct position){.nonce = prng_next(p)};
        break;
    case MESSAGE_ANSWER:
        m->position = (struct position){.nonce = prng_next(p), .slot = number(p)};
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        m->confirm = (struct confirm){.ballot = ballot(p), .nonce = prng_next(p)};
        break;
    case MESSAGE_TRANSFER:
        m->transfer = (struct transfer){.ballot = ballot(p), .target = (uint8_t)prng_next(p)};
        break;
    case MESSAGE_INFO:
        fill_info(p, &m->info);
        break;
    case MESSAGE_FLUSH:
        m->flush = (struct flush){.nonce = prng_next(p), .upto = prng_next(p)};
        break;
    case MESSAGE_FLUSHED:
        m->flushed = (struct flushed){
            .nonce = prng_next(p), .ok = prng_below(p, 2), .slot = number(p), .messages = prng_next(p)};
        text(p, FLUSH_TEXT_MAX, m->flushed.text);
        break;
    case MESSAGE_CHECKPOINT_FETCH:
        m->checkpoint_fetch = (struct checkpoint_fetch){.slot = number(p), .offset = number(p)};
        for (uint32_t i = 0; i < CHECKPOINT_WORDS; i++)
            m->checkpoint_fetch.missing[i] = prng_next(p);
        break;
    case MESSAGE_CHECKPOINT_PIECE:
        fill_checkpoint_piece(p, &m->checkpoint_piece);
        break;
    default:
        random_values(p, type, room, entries_max, m);
    }
}

const struct entry *message_entries(const struct message *m, struct entry *scratch, uint32_t *ret_n)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        *ret_n = m->accept.n_entries;
        return m->accept.entries;
    case MESSAGE_CHOSEN:
        *ret_n = m->chosen.n_entries;
        return m->chosen.entries;
    case MESSAGE_SUBMIT:
        *ret_n = m->submit.n_entries;
        return m->submit.entries;
    case MESSAGE_BODY:
        *ret_n = 1;
        return &m->body;
    case MESSAGE_STATE:
        *ret_n = m->state.slot0 != NULL;
        *scratch = (struct entry){.value = m->state.slot0};
        return scratch;
    default:
        *ret_n = 0;
        return NULL;
    }
}

void message_forget(struct message *m)
{
    struct entry scratch;
    uint32_t n;
    const struct entry *e = message_entries(m, &scratch, &n);
    for (uint32_t i = 0; i < n; i++)
        free(e[i].value);
    if (m->type == MESSAGE_ACCEPT || m->type == MESSAGE_CHOSEN || m->type == MESSAGE_SUBMIT)
        free((void *)(uintptr_t)e);
    if (m->type == MESSAGE_PROMISE)
        free((void *)(uintptr_t)m->promise.entries);
}
