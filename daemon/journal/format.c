#include "journal/format.h"

#include <stdio.h>
#include <string.h>

#include "journal/journal.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"

enum {
    MAGIC_BYTES = 8,
    BATCH_MAGIC = 0x42785053,
    BATCH_CRC_OFFSET = 56,
    NOTE_BYTES = 24,
    ACCEPT_FIXED_BYTES = 8 + BALLOT_BYTES,
    CHOSEN_FIXED_BYTES = 8,
    COMMIT_FIXED_BYTES = 16,
};

void prologue_encode(const char *magic, uint8_t *ret)
{
    memcpy(ret, magic, MAGIC_BYTES);
    put_u32(ret + 8, JOURNAL_VERSION);
    put_u32(ret + 12, crc32c(0, ret, 12));
}

enum file_check prologue_check(const char *magic, const uint8_t *bytes, uint32_t *ret_version)
{
    if (memcmp(bytes, magic, MAGIC_BYTES) != 0 || get_u32(bytes + 12) != crc32c(0, bytes, 12))
        return FILE_DAMAGED;
    *ret_version = get_u32(bytes + 8);
    return *ret_version >= JOURNAL_VERSION_OLDEST && *ret_version <= JOURNAL_VERSION ? FILE_WHOLE
                                                                                     : FILE_VERSION_UNKNOWN;
}

struct owner owner_of(const struct identity *i)
{
    return (struct owner){.cluster = i->cluster, .id = i->id, .life = i->life};
}

void owner_encode(const struct owner *o, uint8_t *ret)
{
    memset(ret, 0, OWNER_BYTES);
    memcpy(ret, o->cluster.bytes, sizeof o->cluster.bytes);
    ret[16] = o->id;
    put_u64(ret + 24, o->life);
}

struct owner owner_decode(const uint8_t *bytes)
{
    struct owner o = {.id = bytes[16], .life = get_u64(bytes + 24)};

    memcpy(o.cluster.bytes, bytes, sizeof o.cluster.bytes);
    return o;
}

bool owner_equal(const struct owner *a, const struct owner *b)
{
    return a->id == b->id && a->life == b->life && hash_equal(&a->cluster, &b->cluster);
}

void segment_header_encode(const struct segment_header *h, uint8_t *ret)
{
    memset(ret, 0, SEGMENT_HEADER_BYTES);
    prologue_encode(MAGIC_SEGMENT, ret);
    owner_encode(&h->owner, ret + PROLOGUE_BYTES);
    put_u64(ret + 48, h->number);
    put_u64(ret + 56, h->size);
    put_u64(ret + 64, h->first);
    put_u64(ret + 72, h->durable);
    put_u64(ret + 80, h->limit);
    put_u32(ret + SEGMENT_HEADER_BYTES - 4, crc32c(0, ret, SEGMENT_HEADER_BYTES - 4));
}

enum file_check segment_header_decode(const uint8_t *bytes, struct segment_header *ret, uint32_t *ret_version)
{
    enum file_check check = prologue_check(MAGIC_SEGMENT, bytes, ret_version);

    if (check != FILE_WHOLE)
        return check;
    if (get_u32(bytes + SEGMENT_HEADER_BYTES - 4) != crc32c(0, bytes, SEGMENT_HEADER_BYTES - 4))
        return FILE_DAMAGED;
    ret->owner = owner_decode(bytes + PROLOGUE_BYTES);
    ret->number = get_u64(bytes + 48);
    ret->size = get_u64(bytes + 56);
    ret->first = get_u64(bytes + 64);
    ret->durable = get_u64(bytes + 72);
    ret->limit = get_u64(bytes + 80);
    if (ret->limit == 0)
        ret->limit = ret->size;
    return ret->limit >= SEGMENT_HEADER_BYTES && ret->limit <= ret->size ? FILE_WHOLE : FILE_DAMAGED;
}

void segment_name(uint64_t number, char ret[SEGMENT_NAME_BYTES])
{
    snprintf(ret, SEGMENT_NAME_BYTES, "segment-%016llx", (unsigned long long)number);
}

bool segment_name_parse(const char *name, uint64_t *ret)
{
    unsigned long long number;
    char again[SEGMENT_NAME_BYTES];

    // NOLINTNEXTLINE(cert-err34-c): what was read is printed again, and compared
    if (sscanf(name, "segment-%16llx", &number) != 1)
        return false;
    segment_name(number, again);
    if (strcmp(name, again) != 0)
        return false;
    *ret = number;
    return true;
}

void batch_pad(uint8_t *batch, uint32_t payload_size)
{
    uint32_t used = BATCH_HEADER_BYTES + payload_size;
    memset(batch + used, BATCH_MARK, batch_size(payload_size) - used);
}

void batch_seal(uint8_t *batch, const struct batch_header *h)
{
    uint32_t size = batch_size(h->payload_size);

    put_u32(batch, BATCH_MAGIC);
    put_u32(batch + 4, size);
    put_u64(batch + 8, h->number);
    put_u64(batch + 16, h->segment);
    put_u64(batch + 24, h->offset);
    put_u64(batch + 32, h->durable);
    put_u32(batch + 40, h->payload_size);
    put_u32(batch + 44, h->n_records);
    put_u32(batch + 48, crc32c(0, batch + BATCH_HEADER_BYTES, size - BATCH_HEADER_BYTES));
    put_u32(batch + 52, 0);
    put_u32(batch + BATCH_CRC_OFFSET, crc32c(0, batch, BATCH_CRC_OFFSET));
    memset(batch + BATCH_CRC_OFFSET + 4, BATCH_MARK, 4);
}

bool batch_header_decode(const uint8_t *bytes, struct batch_header *ret)
{
    static const uint8_t mark[4] = {BATCH_MARK, BATCH_MARK, BATCH_MARK, BATCH_MARK};

    if (get_u32(bytes) != BATCH_MAGIC || memcmp(bytes + BATCH_CRC_OFFSET + 4, mark, sizeof mark) != 0 ||
        get_u32(bytes + BATCH_CRC_OFFSET) != crc32c(0, bytes, BATCH_CRC_OFFSET))
        return false;
    ret->size = get_u32(bytes + 4);
    ret->number = get_u64(bytes + 8);
    ret->segment = get_u64(bytes + 16);
    ret->offset = get_u64(bytes + 24);
    ret->durable = get_u64(bytes + 32);
    ret->payload_size = get_u32(bytes + 40);
    ret->n_records = get_u32(bytes + 44);
    /* Also keeps batch_size() from wrapping. */
    return ret->payload_size < ret->size && ret->size == batch_size(ret->payload_size);
}

bool batch_is_whole(const uint8_t *batch, const struct batch_header *h)
{
    return get_u32(batch + 48) == crc32c(0, batch + BATCH_HEADER_BYTES, h->size - BATCH_HEADER_BYTES);
}

void ballot_encode(struct ballot b, uint8_t *ret)
{
    put_u64(ret, b.round);
    put_u32(ret + 8, b.gen);
    put_u32(ret + 12, b.id);
}

struct ballot ballot_decode(const uint8_t *bytes)
{
    return (struct ballot){.round = get_u64(bytes), .gen = get_u32(bytes + 8), .id = bytes[12]};
}

static uint32_t body_size(const struct record *r)
{
    switch (r->type) {
    case RECORD_PROMISE:
        return BALLOT_BYTES;
    case RECORD_ACCEPT:
        return ACCEPT_FIXED_BYTES + r->value->size;
    case RECORD_CHOSEN:
        return CHOSEN_FIXED_BYTES + r->value->size;
    case RECORD_COMMIT:
        return COMMIT_FIXED_BYTES + NOTE_BYTES * r->n_notes;
    case RECORD_IDENTITY:
        break;
    }
    return 0;
}

uint32_t record_encoded_size(const struct record *r)
{
    return RECORD_HEADER_BYTES + body_size(r);
}

static void commit_encode(const struct record *r, uint8_t *ret)
{
    put_u64(ret, r->slot);
    put_u32(ret + 8, r->n_notes);
    put_u32(ret + 12, r->recorded_until >= r->slot ? (uint32_t)(r->recorded_until - r->slot + 1) : 0);
    ret += COMMIT_FIXED_BYTES;
    for (uint32_t i = 0; i < r->n_notes; i++, ret += NOTE_BYTES) {
        put_u64(ret, r->notes[i].slot);
        put_u64(ret + 8, r->notes[i].time_usec);
        put_u64(ret + 16, (uint64_t)r->notes[i].type);
    }
}

void record_encode(const struct record *r, uint8_t *ret)
{
    uint8_t *body = ret + RECORD_HEADER_BYTES;

    put_u32(ret, body_size(r));
    put_u32(ret + 4, (uint32_t)r->type);
    switch (r->type) {
    case RECORD_PROMISE:
        ballot_encode(r->ballot, body);
        break;
    case RECORD_ACCEPT:
        put_u64(body, r->slot);
        ballot_encode(r->ballot, body + 8);
        memcpy(body + ACCEPT_FIXED_BYTES, r->value->bytes, r->value->size);
        break;
    case RECORD_CHOSEN:
        put_u64(body, r->slot);
        memcpy(body + CHOSEN_FIXED_BYTES, r->value->bytes, r->value->size);
        break;
    case RECORD_COMMIT:
        commit_encode(r, body);
        break;
    case RECORD_IDENTITY:
        break;
    }
}

static bool commit_decode(const uint8_t *body, uint32_t size, struct note *notes, struct record *ret)
{
    uint32_t n = get_u32(body + 8);

    if (n > RECORD_NOTES_MAX || size != COMMIT_FIXED_BYTES + NOTE_BYTES * n)
        return false;
    ret->slot = get_u64(body);
    ret->recorded_until = get_u32(body + 12) > 0 ? ret->slot + get_u32(body + 12) - 1 : 0;
    ret->notes = notes;
    ret->n_notes = n;
    body += COMMIT_FIXED_BYTES;
    for (uint32_t i = 0; i < n; i++, body += NOTE_BYTES) {
        uint64_t type = get_u64(body + 16);
        if (type != NOTE_HIDDEN && type != NOTE_TIME)
            return false;
        notes[i] = (struct note){.slot = get_u64(body),
                                 .time_usec = get_u64(body + 8),
                                 .type = type == NOTE_HIDDEN ? NOTE_HIDDEN : NOTE_TIME};
    }
    return true;
}

bool record_decode(const uint8_t *bytes, size_t size, struct note *notes, struct record_view *ret)
{
    struct record_view v = {.value = NULL};
    const uint8_t *body = bytes + RECORD_HEADER_BYTES;
    uint32_t n, fixed = 0;

    if (size < RECORD_HEADER_BYTES)
        return false;
    n = get_u32(bytes);
    if (n > size - RECORD_HEADER_BYTES)
        return false;
    switch (get_u32(bytes + 4)) {
    case RECORD_PROMISE:
        if (n != BALLOT_BYTES)
            return false;
        v.record = (struct record){.type = RECORD_PROMISE, .ballot = ballot_decode(body)};
        break;
    case RECORD_ACCEPT:
        fixed = ACCEPT_FIXED_BYTES;
        if (n <= fixed)
            return false;
        v.record = (struct record){.type = RECORD_ACCEPT, .slot = get_u64(body), .ballot = ballot_decode(body + 8)};
        break;
    case RECORD_CHOSEN:
        fixed = CHOSEN_FIXED_BYTES;
        if (n <= fixed)
            return false;
        v.record = (struct record){.type = RECORD_CHOSEN, .slot = get_u64(body)};
        break;
    case RECORD_COMMIT:
        v.record.type = RECORD_COMMIT;
        if (n < COMMIT_FIXED_BYTES || !commit_decode(body, n, notes, &v.record))
            return false;
        break;
    default:
        return false;
    }
    if (fixed > 0) {
        v.value = body + fixed;
        v.value_size = n - fixed;
    }
    v.encoded_size = RECORD_HEADER_BYTES + n;
    *ret = v;
    return true;
}
