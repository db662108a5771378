#include "tests/fuzz/says.h"

#include "paxos/bytes.h"
#include "paxos/membership.h"
#include "wire/datagram.h"

enum {
    VALUE_MADE_BYTES_MAX = 1 << 16,
    ROUNDS_LEFT = 1 << 20 /* a member that takes the last one leaves none to others */
};

static const struct hash128 no_key;

slot_t says_slot(struct says *s, struct fuzz_input *in)
{
    static const slot_t odd[] = {0, 1, 2, UINT64_C(1) << 61, DATAGRAM_NUMBER_MAX - 1, DATAGRAM_NUMBER_MAX};
    uint8_t b = fuzz_u8(in);
    if (b >= 0xf0)
        return odd[b % (sizeof odd / sizeof odd[0])];
    b %= 64;
    return s->chosen + b < 24 ? b : s->chosen + b - 24;
}

static struct ballot take_ballot(struct says *s, struct fuzz_input *in)
{
    uint8_t b = fuzz_u8(in);
    const struct configuration *c = &s->configuration;
    struct ballot r = {.round = b / 32 + 1, .gen = 1, .id = c->members[b % c->n_members].id};
    switch (b / 16 % 8) {
    case 0:
        return (struct ballot){0};
    case 1:
        return s->promised;
    case 2:
        return s->bid;
    case 3:
    case 4:
        r.round = s->promised.round + 1;
        break;
    case 5:
        r.round = DATAGRAM_NUMBER_MAX - ROUNDS_LEFT;
        r.gen = b % 2;
        break;
    default:
        break;
    }
    return r;
}

static struct hash128 take_hash(struct fuzz_input *in)
{
    struct hash128 h = {{0}};
    h.bytes[0] = fuzz_u8(in) % 4;
    return h;
}

static struct value *make_value(struct says *s, const struct value_fields *f, const struct hash128 *key)
{
    static uint8_t bytes[VALUE_MADE_BYTES_MAX];
    struct value *v = NULL;
    fuzz_check(value_encoded_size(f) <= sizeof bytes);
    value_encode(f, bytes);
    fuzz_check(values_copy(s->values, bytes, (uint32_t)value_encoded_size(f), key, &v) == 0);
    return v;
}

static void take_message_text(struct says *s, struct fuzz_input *in, uint64_t stream, uint8_t b, struct value_fields *f)
{
    static char text[VALUE_MADE_BYTES_MAX / 2];
    f->stream = stream > 0 ? stream : b / 8 % 4;
    f->n = b / 32;
    f->since = says_slot(s, in);
    f->author = f->key = b & 16 ? "a" : "b";
    f->author_size = f->key_size = 1;
    memset(text, 't', sizeof text);
    f->text = text;
    f->text_size = 1 + b % 3;
    if (s->text_bytes_max > 0 && b % 3 == 2)
        f->text_size = 1 + fuzz_u8(in) * s->text_bytes_max / 256;
}

struct value *says_value(struct says *s, struct fuzz_input *in, uint64_t stream, const struct hash128 *key)
{
    static const enum value_type types[] = {VALUE_NOOP,    VALUE_BARRIER, VALUE_CONFIG,  VALUE_MESSAGE,
                                            VALUE_MESSAGE, VALUE_TRIM,    VALUE_MESSAGE, VALUE_MESSAGE};
    uint8_t configuration[CONFIGURATION_BYTES_MAX], slot[TRIM_TEXT_SIZE], b = fuzz_u8(in);
    struct value_fields f = {.type = stream > 0 ? VALUE_MESSAGE : types[b % 8], .time_usec = b};
    if (f.type == VALUE_CONFIG) {
        struct configuration c = s->configuration;
        c.alpha += b / 64;
        f.text = configuration;
        f.text_size = (uint32_t)configuration_encode(&c, configuration);
    } else if (f.type == VALUE_TRIM) {
        put_u64(slot, says_slot(s, in));
        f.text = slot;
        f.text_size = sizeof slot;
    } else if (f.type == VALUE_MESSAGE) {
        take_message_text(s, in, stream, b, &f);
    }
    return make_value(s, &f, key);
}

static uint32_t take_entries(struct says *s, struct fuzz_input *in, bool ascending)
{
    uint32_t n = fuzz_u8(in) % (SAYS_ENTRIES_MAX + 1);
    for (uint32_t i = 0; i < n; i++) {
        slot_t slot = says_slot(s, in);
        if (ascending && i > 0 && slot <= s->entries[i - 1].slot)
            slot = s->entries[i - 1].slot + 1;
        s->entries[i] = (struct entry){.slot = slot, .hops = (uint8_t)(slot % 4)};
        s->entries[i].value = says_value(s, in, 0, &s->cluster);
    }
    return n;
}

static void take_promise(struct says *s, struct fuzz_input *in, struct promise *p)
{
    *p = (struct promise){.ballot = take_ballot(s, in), .from = says_slot(s, in), .page = fuzz_u8(in) % 4};
    uint8_t b = fuzz_u8(in);
    p->page_slots = b % 2 ? s->promise_slots : b;
    p->page_slots += p->page_slots == 0;
    p->last = b & 2;
    p->chosen = says_slot(s, in);
    p->n_entries = fuzz_u8(in) % (SAYS_ENTRIES_MAX + 1);
    p->entries = s->promised_entries;
    for (uint32_t i = 0; i < p->n_entries; i++) {
        s->promised_entries[i] = (struct promised_entry){.slot = says_slot(s, in), .ballot = take_ballot(s, in)};
        b = fuzz_u8(in);
        s->promised_entries[i].chosen = b % 2;
        s->promised_entries[i].size = b;
        s->promised_entries[i].hash = take_hash(in);
    }
}

static void take_heartbeat(struct says *s, struct fuzz_input *in, struct heartbeat *h)
{
    *h = (struct heartbeat){.ballot = take_ballot(s, in), .followed = take_ballot(s, in), .commit = says_slot(s, in)};
    uint8_t b = fuzz_u8(in);
    h->leading = b & 1;
    h->happy = b & 2;
    h->seq = b & 4 ? b : ++s->seq;
    h->chain = take_hash(in);
    h->space_bytes = b & 8 ? 0 : UINT32_MAX;
    h->n_echoes = b >> 4 & 7;
    h->silent = b >> 7;
    for (uint32_t i = 0; i < h->n_echoes; i++) {
        b = fuzz_u8(in);
        h->echoes[i] = (struct echo){.id = b % 8, .seq = b & 8 ? s->beat_seq : b, .age_usec = (uint32_t)b << 12};
    }
}

static void take_state(struct says *s, struct fuzz_input *in, struct message *m)
{
    struct state *t = &m->state;
    uint8_t b = fuzz_u8(in);
    *t = (struct state){.nonce = b & 1, .answer = b & 2 ? s->state_nonce : b & 1};
    t->status = (enum identity_status)(IDENTITY_EMPTY + b / 4 % 4);
    t->cluster = b & 16 ? s->cluster : take_hash(in);
    t->bootstrap = b & 32 ? take_hash(in) : s->bootstrap;
    if (b & 64)
        m->from_life = b;
    if (b & 128)
        t->slot0 = says_value(s, in, 0, &no_key); /* which brings the cluster's id */
}

static void take_info(struct fuzz_input *in, struct info *i)
{
    *i = (struct info){.n_drops = fuzz_u8(in) % (INFO_DROPS_MAX + 1)};
    memset(i->version, 'v', fuzz_u8(in) % (INFO_VERSION_MAX + 1));
    for (uint32_t k = 0; k < i->n_drops; k++) {
        uint8_t b = fuzz_u8(in);
        i->drops[k] = (struct info_drop){.rate = b % 101, .direction = b % 3, .peer = b & 4 ? REPLICA_ID_NONE : b % 8};
        i->drops[k].left_ms = UINT32_MAX * (b >> 7);
    }
}

/* What the core sees. */
static void take_core_fields(struct says *s, struct fuzz_input *in, struct message *m)
{
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        take_heartbeat(s, in, &m->heartbeat);
        break;
    case MESSAGE_PREPARE:
        m->prepare = (struct prepare){.ballot = take_ballot(s, in), .from = says_slot(s, in), .page = fuzz_u8(in)};
        if (m->prepare.page > 0xf0)
            m->prepare.page = UINT32_MAX - m->prepare.page % 4;
        break;
    case MESSAGE_PROMISE:
        take_promise(s, in, &m->promise);
        break;
    case MESSAGE_ACCEPT:
        m->accept = (struct accept){.ballot = take_ballot(s, in), .commit = says_slot(s, in), .entries = s->entries};
        m->accept.n_entries = take_entries(s, in, true);
        break;
    case MESSAGE_ACCEPTED:
        m->accepted =
            (struct accepted){.ballot = take_ballot(s, in), .base = says_slot(s, in), .chosen = says_slot(s, in)};
        m->accepted.n_words = fuzz_u8(in) % (ACCEPTED_WORDS_MAX + 1);
        memset(m->accepted.words, fuzz_u8(in), sizeof m->accepted.words);
        m->accepted.space_bytes = fuzz_u8(in) * 256u;
        break;
    case MESSAGE_NACK:
        m->nack = (struct nack){.rejected = take_ballot(s, in), .promised = take_ballot(s, in)};
        break;
    case MESSAGE_FETCH:
        m->fetch = (struct fetch){.from = says_slot(s, in), .until = says_slot(s, in), .ballot = take_ballot(s, in)};
        m->fetch.by_hash = fuzz_u8(in) % 2;
        m->fetch.hash = take_hash(in);
        m->fetch.bytes_max = fuzz_u8(in) * 64u;
        break;
    case MESSAGE_CHOSEN:
        m->chosen = (struct chosen){.first_kept = says_slot(s, in), .entries = s->entries};
        m->chosen.n_entries = take_entries(s, in, false);
        break;
    case MESSAGE_SUBMIT:
        m->submit = (struct submit){.entries = s->entries, .n_entries = take_entries(s, in, false)};
        break;
    case MESSAGE_POSITION:
    case MESSAGE_ANSWER:
        m->position = (struct position){.nonce = fuzz_u8(in), .slot = says_slot(s, in)};
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        m->confirm = (struct confirm){.ballot = take_ballot(s, in), .nonce = fuzz_u8(in)};
        break;
    case MESSAGE_BODY:
        m->body = (struct entry){.slot = says_slot(s, in), .ballot = take_ballot(s, in)};
        m->body.value = says_value(s, in, 0, &s->cluster);
        break;
    case MESSAGE_STATE:
        take_state(s, in, m);
        break;
    case MESSAGE_TRANSFER:
        m->transfer = (struct transfer){.ballot = take_ballot(s, in), .target = fuzz_u8(in) % 4};
        break;
    default:
        break;
    }
}

void says_fields(struct says *s, struct fuzz_input *in, struct message *m)
{
    switch (m->type) {
    case MESSAGE_INFO:
        take_info(in, &m->info);
        break;
    case MESSAGE_FLUSH:
        m->flush = (struct flush){.nonce = fuzz_u8(in), .upto = says_slot(s, in)};
        break;
    case MESSAGE_FLUSHED:
        m->flushed = (struct flushed){.nonce = fuzz_u8(in), .ok = fuzz_u8(in) % 2, .slot = says_slot(s, in)};
        memset(m->flushed.text, 'f', fuzz_u8(in));
        break;
    case MESSAGE_CHECKPOINT_FETCH:
        m->checkpoint_fetch = (struct checkpoint_fetch){.slot = says_slot(s, in)};
        m->checkpoint_fetch.slot |= fuzz_u8(in) % 2 ? CHECKPOINT_HISTORY : 0;
        m->checkpoint_fetch.offset = fuzz_u8(in) * (uint64_t)CHECKPOINT_PIECE_BYTES * fuzz_u8(in);
        memset(m->checkpoint_fetch.missing, fuzz_u8(in), sizeof m->checkpoint_fetch.missing);
        break;
    default:
        take_core_fields(s, in, m);
        break;
    }
}

static void forget(const struct entry *entries, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        values_unref(entries[i].value);
}

void says_forget(const struct message *m)
{
    if (m->type == MESSAGE_ACCEPT)
        forget(m->accept.entries, m->accept.n_entries);
    if (m->type == MESSAGE_CHOSEN)
        forget(m->chosen.entries, m->chosen.n_entries);
    if (m->type == MESSAGE_SUBMIT)
        forget(m->submit.entries, m->submit.n_entries);
    if (m->type == MESSAGE_BODY)
        values_unref(m->body.value);
    if (m->type == MESSAGE_STATE)
        values_unref(m->state.slot0);
}
