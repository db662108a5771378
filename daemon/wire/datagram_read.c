#include <string.h>

#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "wire/datagram_format.h"

/* --- taking: what is not there reads as zero, and the input is bad from then on --- */

struct input {
    const uint8_t *at, *end;
    bool bad;
};

static void require(struct input *in, bool condition)
{
    if (!condition)
        in->bad = true;
}

static bool is_at_end(const struct input *in)
{
    return in->bad || in->at == in->end;
}

/* NULL where there are not that many. */
static const uint8_t *take(struct input *in, size_t size)
{
    if (in->bad || (size_t)(in->end - in->at) < size) {
        in->bad = true;
        return NULL;
    }
    const uint8_t *p = in->at;
    in->at += size;
    return p;
}

static uint8_t take_u8(struct input *in)
{
    const uint8_t *p = take(in, 1);
    return p == NULL ? 0 : *p;
}

static uint16_t take_u16(struct input *in)
{
    const uint8_t *p = take(in, 2);
    return p == NULL ? 0 : get_u16(p);
}

static uint32_t take_u32(struct input *in)
{
    const uint8_t *p = take(in, 4);
    return p == NULL ? 0 : get_u32(p);
}

static uint64_t take_u64(struct input *in)
{
    const uint8_t *p = take(in, 8);
    return p == NULL ? 0 : get_u64(p);
}

static uint64_t take_number(struct input *in)
{
    const uint64_t v = take_u64(in);
    require(in, v <= DATAGRAM_NUMBER_MAX);
    return v;
}

static struct hash128 take_hash(struct input *in)
{
    struct hash128 h = {{0}};
    const uint8_t *p = take(in, sizeof h.bytes);
    if (p != NULL)
        memcpy(h.bytes, p, sizeof h.bytes);
    return h;
}

static struct ballot take_ballot(struct input *in)
{
    struct ballot b = {.round = take_number(in)};
    b.gen = take_u32(in);
    b.id = take_u8(in);
    require(in, b.id <= REPLICA_ID_MAX || ballot_is_none(b));
    return b;
}

/* `size` bytes and a NUL into `ret`. */
static void take_text(struct input *in, size_t size, char *ret)
{
    const uint8_t *p = take(in, size);
    if (p == NULL)
        return;
    require(in, memchr(p, 0, size) == NULL);
    memcpy(ret, p, size);
    ret[size] = 0;
}

/* --- the datagram --- */

static bool type_is_known(uint8_t type)
{
    return (type >= MESSAGE_HEARTBEAT && type <= MESSAGE_TRANSFER) ||
           (type >= MESSAGE_INFO && type <= MESSAGE_CHECKPOINT_PIECE);
}

static bool is_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static bool checksum_matches(const uint8_t *bytes, size_t size)
{
    static const uint8_t none[4];
    uint32_t sum = crc32c(0, bytes, AT_CHECKSUM);
    sum = crc32c(sum, none, sizeof none);
    sum = crc32c(sum, bytes + AT_LIFE, size - AT_LIFE);
    return sum == get_u32(bytes + AT_CHECKSUM);
}

static bool frames_add_up(const uint8_t *bytes, size_t size)
{
    size_t at = DATAGRAM_HEADER_SIZE;
    while (at < size) {
        if (size - at < FRAME_SIZE || !type_is_known(bytes[at]))
            return false;
        const size_t body = get_u16(bytes + at + 2);
        if (size - at - FRAME_SIZE < body)
            return false;
        at += FRAME_SIZE + body;
    }
    return true;
}

enum datagram_error datagram_header_read(const uint8_t *bytes, size_t size, struct datagram_header *ret)
{
    if (size <= AT_VERSION)
        return DATAGRAM_TRUNCATED;
    if (memcmp(bytes, DATAGRAM_MAGIC, sizeof DATAGRAM_MAGIC) != 0)
        return DATAGRAM_FOREIGN;
    if (bytes[AT_VERSION] != DATAGRAM_VERSION)
        return DATAGRAM_VERSION_UNKNOWN;
    if (size < DATAGRAM_HEADER_SIZE)
        return DATAGRAM_TRUNCATED;
    if (size > DATAGRAM_BYTES_MAX || bytes[AT_KIND] > DATAGRAM_HELLO_ACK || bytes[AT_FROM] > REPLICA_ID_MAX)
        return DATAGRAM_MALFORMED;

    *ret = (struct datagram_header){
        .kind = (enum datagram_kind)bytes[AT_KIND],
        .cluster_name_hash = get_u64(bytes + AT_NAME_HASH),
        .from = bytes[AT_FROM],
        .to = bytes[AT_TO],
        .from_life = get_u64(bytes + AT_LIFE),
        .boot = get_u64(bytes + AT_BOOT),
        .seq = get_u64(bytes + AT_SEQ),
    };
    memcpy(ret->cluster.bytes, bytes + AT_CLUSTER, sizeof ret->cluster.bytes);
    return DATAGRAM_OK;
}

uint8_t datagram_version(const uint8_t *bytes)
{
    return bytes[AT_VERSION];
}

/* What every kind leaves zero. */
static bool rest_is_zero(const uint8_t *bytes)
{
    return is_zero(bytes + AT_ZERO, AT_NAME_HASH - AT_ZERO) && is_zero(bytes + AT_ZERO2, AT_CHECKSUM - AT_ZERO2);
}

static enum datagram_error open_messages(struct datagram_reader *r, const uint8_t *bytes, size_t size)
{
    if (!rest_is_zero(bytes) || !frames_add_up(bytes, size))
        return DATAGRAM_MALFORMED;
    *r = (struct datagram_reader){.bytes = bytes, .size = size, .at = DATAGRAM_HEADER_SIZE};
    return DATAGRAM_OK;
}

enum datagram_error datagram_open(struct datagram_reader *r, const uint8_t *bytes, size_t size,
                                  struct datagram_header *ret)
{
    struct datagram_header h;
    enum datagram_error error = datagram_header_read(bytes, size, &h);
    if (error != DATAGRAM_OK)
        return error;
    if (h.kind != DATAGRAM_PLAIN)
        return DATAGRAM_MALFORMED;
    if (!checksum_matches(bytes, size))
        return DATAGRAM_CHECKSUM;
    if (bytes[AT_FLAGS] != 0 || !is_zero(bytes + AT_SEAL, DATAGRAM_HEADER_SIZE - AT_SEAL))
        return DATAGRAM_MALFORMED;
    error = open_messages(r, bytes, size);
    if (error == DATAGRAM_OK)
        *ret = h;
    return error;
}

enum datagram_error datagram_open_sealed(struct datagram_reader *r, const uint8_t *bytes, size_t size)
{
    return open_messages(r, bytes, size);
}

/* --- messages that go whole --- */

static void read_heartbeat(struct input *in, uint8_t flags, struct heartbeat *ret)
{
    ret->leading = (flags & HEARTBEAT_LEADING) != 0;
    ret->happy = (flags & HEARTBEAT_HAPPY) != 0;
    ret->silent = (flags & HEARTBEAT_SILENT) != 0;
    ret->ballot = take_ballot(in);
    ret->followed = take_ballot(in);
    ret->seq = take_u64(in);
    ret->commit = take_number(in);
    ret->chain = take_hash(in);
    ret->space_bytes = take_u32(in);
    const uint32_t n = take_u8(in);
    require(in, n <= REPLICAS_MAX);
    for (ret->n_echoes = 0; ret->n_echoes < n && !in->bad; ret->n_echoes++) {
        struct echo *e = &ret->echoes[ret->n_echoes];
        e->id = take_u8(in);
        e->seq = take_u64(in);
        e->age_usec = age_unpack(take_u16(in));
        require(in, e->id <= REPLICA_ID_MAX);
    }
}

static void read_prepare(struct input *in, struct prepare *ret)
{
    ret->ballot = take_ballot(in);
    ret->from = take_number(in);
    ret->page = take_u32(in);
}

static void read_promise(struct input *in, uint8_t flags, struct datagram_message *ret)
{
    struct promise *p = &ret->message.promise;
    p->last = (flags & PROMISE_LAST) != 0;
    p->ballot = take_ballot(in);
    p->from = take_number(in);
    p->page = take_u32(in);
    p->page_slots = take_u32(in);
    p->chosen = take_number(in);
    require(in, p->page_slots >= 1);
    require(in, (uint64_t)p->page * p->page_slots <= DATAGRAM_NUMBER_MAX);
    p->entries = ret->scratch_entries;
    while (!is_at_end(in)) {
        require(in, p->n_entries < DATAGRAM_PIECES_MAX);
        if (in->bad)
            return;
        struct promised_entry *e = &ret->scratch_entries[p->n_entries++];
        e->slot = take_number(in);
        e->ballot = take_ballot(in);
        const uint8_t chosen = take_u8(in);
        require(in, chosen <= 1);
        e->chosen = chosen == 1;
        e->size = take_u32(in);
        e->hash = take_hash(in);
    }
}

static void read_accepted(struct input *in, struct accepted *ret)
{
    ret->ballot = take_ballot(in);
    ret->base = take_number(in);
    ret->chosen = take_number(in);
    ret->space_bytes = take_u32(in);
    while (!is_at_end(in)) {
        require(in, ret->n_words < ACCEPTED_WORDS_MAX);
        if (in->bad)
            return;
        ret->words[ret->n_words++] = take_u64(in);
    }
}

static void read_fetch(struct input *in, uint8_t flags, struct fetch *ret)
{
    ret->by_hash = (flags & FETCH_BY_HASH) != 0;
    ret->from = take_number(in);
    ret->until = take_u64(in);
    ret->ballot = take_ballot(in);
    ret->hash = take_hash(in);
    ret->bytes_max = take_u32(in);
}

static void read_info(struct input *in, struct info *ret)
{
    const size_t size = take_u8(in);
    require(in, size <= INFO_VERSION_MAX);
    take_text(in, size, ret->version);
    while (!is_at_end(in)) {
        require(in, ret->n_drops < INFO_DROPS_MAX);
        if (in->bad)
            return;
        struct info_drop *d = &ret->drops[ret->n_drops++];
        d->rate = take_u8(in);
        d->direction = take_u8(in);
        d->peer = take_u8(in);
        d->left_ms = take_u32(in);
        require(in, d->rate <= 100);
    }
}

static void read_flushed(struct input *in, uint8_t flags, struct flushed *ret)
{
    ret->ok = (flags & FLUSHED_OK) != 0;
    ret->nonce = take_u64(in);
    ret->slot = take_number(in);
    ret->messages = take_u64(in);
    const size_t size = (size_t)(in->end - in->at);
    require(in, size <= FLUSH_TEXT_MAX);
    take_text(in, size, ret->text);
}

static void read_checkpoint_fetch(struct input *in, struct checkpoint_fetch *ret)
{
    ret->slot = take_number(in);
    ret->offset = take_number(in);
    for (uint32_t i = 0; i < CHECKPOINT_WORDS; i++)
        ret->missing[i] = take_u64(in);
}

static void read_checkpoint_piece(struct input *in, struct checkpoint_piece *ret)
{
    ret->slot = take_number(in);
    ret->total = take_number(in);
    ret->offset = take_number(in);
    const size_t size = (size_t)(in->end - in->at);
    require(in, ret->slot > 0 && size > 0 && size <= CHECKPOINT_PIECE_BYTES);
    require(in, size <= ret->total && ret->offset <= ret->total - size);
    ret->size = (uint32_t)size;
    ret->bytes = take(in, size);
}

/* --- messages that carry values --- */

/* `before`: the piece before it in this message, or NULL. */
static void read_piece(struct input *in, enum message_type type, uint32_t value_bytes_max, const struct piece *before,
                       struct piece *ret)
{
    const uint8_t flags = take_u8(in);
    const bool has_slot = (flags & PIECE_SLOT) != 0, is_part = (flags & PIECE_PART) != 0;
    require(in, (flags & ~(PIECE_PART | PIECE_SLOT)) == 0);
    *ret = (struct piece){0};
    if (has_slot) {
        require(in, type_has_slots(type));
        ret->slot = take_number(in);
        require(in, type != MESSAGE_ACCEPT || before == NULL || ret->slot > before->slot);
    } else if (type_has_slots(type)) {
        require(in, before != NULL && before->slot < DATAGRAM_NUMBER_MAX);
        ret->slot = before == NULL ? 0 : before->slot + 1;
    }
    if (type == MESSAGE_SUBMIT)
        ret->hops = take_u8(in);
    ret->hash = take_hash(in);
    if (is_part) {
        ret->total = take_u32(in);
        ret->offset = take_u32(in);
    }
    ret->size = take_u16(in);
    if (!is_part)
        ret->total = ret->size;
    require(in, ret->total >= VALUE_HEADER_SIZE && ret->total <= value_bytes_max);
    require(in, ret->size >= 1 && ret->size <= ret->total && ret->offset <= ret->total - ret->size);
    ret->bytes = take(in, ret->size);
}

static void read_pieces(struct input *in, uint32_t n_max, uint32_t value_bytes_max, struct datagram_message *ret)
{
    while (!is_at_end(in)) {
        require(in, ret->n_pieces < n_max);
        if (in->bad)
            return;
        struct piece *p = &ret->pieces[ret->n_pieces];
        read_piece(in, ret->message.type, value_bytes_max, ret->n_pieces == 0 ? NULL : p - 1, p);
        ret->n_pieces++;
    }
}

static void read_body(struct input *in, uint32_t value_bytes_max, struct datagram_message *ret)
{
    ret->message.body.ballot = take_ballot(in);
    read_pieces(in, 1, value_bytes_max, ret);
    require(in, ret->n_pieces == 1);
    if (in->bad)
        return;
    ret->message.body.slot = ret->pieces[0].slot;
    ret->pieces[0].ballot = ret->message.body.ballot;
}

static void read_state(struct input *in, uint32_t value_bytes_max, struct datagram_message *ret)
{
    struct state *s = &ret->message.state;
    s->nonce = take_u64(in);
    s->answer = take_u64(in);
    const uint8_t status = take_u8(in);
    require(in, status >= IDENTITY_EMPTY && status <= IDENTITY_QUARANTINED);
    s->status = (enum identity_status)status;
    s->cluster = take_hash(in);
    s->bootstrap = take_hash(in);
    read_pieces(in, 1, value_bytes_max, ret);
}

static void read_values(struct input *in, uint32_t value_bytes_max, struct datagram_message *ret)
{
    struct message *m = &ret->message;
    switch (m->type) {
    case MESSAGE_ACCEPT:
        m->accept.ballot = take_ballot(in);
        m->accept.commit = take_number(in);
        read_pieces(in, DATAGRAM_PIECES_MAX, value_bytes_max, ret);
        break;
    case MESSAGE_CHOSEN:
        m->chosen.first_kept = take_number(in);
        read_pieces(in, DATAGRAM_PIECES_MAX, value_bytes_max, ret);
        break;
    case MESSAGE_BODY:
        read_body(in, value_bytes_max, ret);
        break;
    case MESSAGE_SUBMIT:
        read_pieces(in, DATAGRAM_PIECES_MAX, value_bytes_max, ret);
        break;
    case MESSAGE_STATE:
        read_state(in, value_bytes_max, ret);
        break;
    default:
        in->bad = true;
    }
}

/* --- any --- */

static uint8_t flags_allowed(enum message_type type)
{
    switch (type) {
    case MESSAGE_HEARTBEAT:
        return HEARTBEAT_LEADING | HEARTBEAT_HAPPY | HEARTBEAT_SILENT;
    case MESSAGE_PROMISE:
        return PROMISE_LAST;
    case MESSAGE_FETCH:
        return FETCH_BY_HASH;
    case MESSAGE_FLUSHED:
        return FLUSHED_OK;
    default:
        return 0;
    }
}

static void read_message(struct input *in, uint8_t flags, uint32_t value_bytes_max, struct datagram_message *ret)
{
    struct message *m = &ret->message;
    require(in, (flags & ~flags_allowed(m->type)) == 0);
    switch (m->type) {
    case MESSAGE_HEARTBEAT:
        read_heartbeat(in, flags, &m->heartbeat);
        break;
    case MESSAGE_PREPARE:
        read_prepare(in, &m->prepare);
        break;
    case MESSAGE_PROMISE:
        read_promise(in, flags, ret);
        break;
    case MESSAGE_ACCEPTED:
        read_accepted(in, &m->accepted);
        break;
    case MESSAGE_NACK:
        m->nack.rejected = take_ballot(in);
        m->nack.promised = take_ballot(in);
        break;
    case MESSAGE_FETCH:
        read_fetch(in, flags, &m->fetch);
        break;
    case MESSAGE_POSITION:
        m->position.nonce = take_u64(in);
        break;
    case MESSAGE_ANSWER:
        m->position.nonce = take_u64(in);
        m->position.slot = take_number(in);
        break;
    case MESSAGE_CONFIRM:
    case MESSAGE_CONFIRMED:
        m->confirm.ballot = take_ballot(in);
        m->confirm.nonce = take_u64(in);
        break;
    case MESSAGE_TRANSFER:
        m->transfer.ballot = take_ballot(in);
        m->transfer.target = take_u8(in);
        break;
    case MESSAGE_INFO:
        read_info(in, &m->info);
        break;
    case MESSAGE_FLUSH:
        m->flush.nonce = take_u64(in);
        m->flush.upto = take_u64(in);
        break;
    case MESSAGE_FLUSHED:
        read_flushed(in, flags, &m->flushed);
        break;
    case MESSAGE_CHECKPOINT_FETCH:
        read_checkpoint_fetch(in, &m->checkpoint_fetch);
        break;
    case MESSAGE_CHECKPOINT_PIECE:
        read_checkpoint_piece(in, &m->checkpoint_piece);
        break;
    default:
        read_values(in, value_bytes_max, ret);
    }
}

int datagram_next(struct datagram_reader *r, const struct datagram_header *h, uint32_t value_bytes_max,
                  struct datagram_message *ret)
{
    if (r->at == r->size)
        return 0;
    const uint8_t *frame = r->bytes + r->at;
    const size_t left = r->size - r->at, size = left < FRAME_SIZE ? 0 : get_u16(frame + 2);
    if (left < FRAME_SIZE + size || !type_is_known(frame[0]))
        return DATAGRAM_MALFORMED;

    struct input in = {.at = frame + FRAME_SIZE, .end = frame + FRAME_SIZE + size};
    memset(&ret->message, 0, sizeof ret->message);
    ret->message.type = frame[0];
    ret->message.from = h->from;
    ret->message.from_life = h->from_life;
    ret->n_pieces = 0;
    read_message(&in, frame[1], value_bytes_max, ret);
    if (in.bad || in.at != in.end)
        return DATAGRAM_MALFORMED;
    r->at += FRAME_SIZE + size;
    return 1;
}
