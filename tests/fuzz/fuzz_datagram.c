/* Datagrams as a stranger may send them: header, messages, pieces, their joining, and the values in them.
 *
 * Input: a byte of choices (enum), then datagrams: size u16, bytes. Checked besides: what is read points into the
 * datagram; what is joined holds its last piece; what can be written reads back as it was. */
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "paxos/membership.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "wire/assembly.h"
#include "wire/datagram_format.h"

enum { PEERS = 2, VALUE_BYTES = 2048, RECEIVER = 7 };

static const struct hash128 key = {{1, 2, 3}};
static struct assembly *assembly;
static struct datagram_message first, second;

/* --- values --- */

static void try_configuration(const struct value *v)
{
    uint8_t again[CONFIGURATION_BYTES_MAX];
    struct configuration c;
    if (!configuration_decode(v->text, v->text_size, &c))
        return;
    fuzz_check(configuration_encode(&c, again) == v->text_size);
    fuzz_check(memcmp(again, v->text, v->text_size) == 0);
}

static void try_value(const uint8_t *bytes, uint32_t size)
{
    struct value *v = malloc(sizeof *v + size);
    uint8_t *again = malloc(size);
    if (v == NULL || again == NULL)
        abort();
    v->size = size;
    memcpy(v->bytes, bytes, size);
    if (value_parse(v, &key)) {
        struct value_fields f = {.type = v->type,
                                 .stream = v->stream,
                                 .n = v->n,
                                 .since = v->since,
                                 .time_usec = v->time_usec,
                                 .author = v->author,
                                 .key = v->key,
                                 .text = v->text,
                                 .author_size = v->author_size,
                                 .key_size = v->key_size,
                                 .text_size = v->text_size};
        fuzz_check(value_encoded_size(&f) == size);
        value_encode(&f, again);
        fuzz_check(memcmp(again, bytes, size) == 0);
        if (v->type == VALUE_CONFIG)
            try_configuration(v);
    }
    free(again);
    free(v);
}

static void try_pieces(const struct datagram_message *m, const uint8_t *begin, const uint8_t *end)
{
    for (uint32_t i = 0; i < m->n_pieces; i++) {
        const struct piece *p = &m->pieces[i];
        fuzz_check(p->bytes >= begin && p->size <= (size_t)(end - p->bytes));
        fuzz_check(p->total <= VALUE_BYTES && p->size >= 1 && p->offset + p->size <= p->total);
        const uint8_t *whole = assembly_add(assembly, m->message.from % PEERS, p);
        if (whole == NULL)
            continue;
        fuzz_check(memcmp(whole + p->offset, p->bytes, p->size) == 0);
        try_value(whole, p->total);
    }
}

/* --- written and read again --- */

static struct entry entries[DATAGRAM_PIECES_MAX];

/* The pieces as a sender's values. False: one of them is not whole. */
static bool make_values(struct datagram_message *m)
{
    for (uint32_t i = 0; i < m->n_pieces; i++)
        if (m->pieces[i].size != m->pieces[i].total)
            return false;
    for (uint32_t i = 0; i < m->n_pieces; i++) {
        const struct piece *p = &m->pieces[i];
        struct value *v = malloc(sizeof *v + p->size);
        if (v == NULL)
            abort();
        v->size = p->size;
        v->hash = p->hash;
        memcpy(v->bytes, p->bytes, p->size);
        entries[i] = (struct entry){.slot = p->slot, .ballot = p->ballot, .hops = p->hops, .value = v};
    }
    switch (m->message.type) {
    case MESSAGE_ACCEPT:
        m->message.accept.entries = entries;
        m->message.accept.n_entries = m->n_pieces;
        break;
    case MESSAGE_CHOSEN:
        m->message.chosen.entries = entries;
        m->message.chosen.n_entries = m->n_pieces;
        break;
    case MESSAGE_SUBMIT:
        m->message.submit.entries = entries;
        m->message.submit.n_entries = m->n_pieces;
        break;
    case MESSAGE_BODY:
        m->message.body = entries[0];
        break;
    case MESSAGE_STATE:
        m->message.state.slot0 = m->n_pieces > 0 ? entries[0].value : NULL;
        break;
    default:
        break;
    }
    return true;
}

/* 0: it has pieces that are not whole, or does not fit into one datagram. */
static size_t write_again(struct datagram_message *m, const struct datagram_header *h, uint8_t *buffer)
{
    struct datagram_writer w;
    struct datagram_cursor c = {0};
    if (!make_values(m))
        return 0;
    datagram_begin(&w, buffer, DATAGRAM_BYTES_MAX, h);
    bool all = datagram_put(&w, &m->message, &c);
    for (uint32_t i = 0; i < m->n_pieces; i++)
        free(entries[i].value);
    datagram_finish(&w, RECEIVER, 1);
    return all ? w.size : 0;
}

static void try_round_trip(const struct datagram_header *h)
{
    static uint8_t one[DATAGRAM_BYTES_MAX], two[DATAGRAM_BYTES_MAX];
    struct datagram_reader r;
    struct datagram_header read;
    uint32_t n_pieces = first.n_pieces;
    size_t size = write_again(&first, h, one);
    if (size == 0)
        return;
    fuzz_check(datagram_open(&r, one, size, &read) == DATAGRAM_OK);
    fuzz_check(read.from == h->from && read.to == RECEIVER && read.from_life == h->from_life);
    if (datagram_next(&r, &read, VALUE_BYTES, &second) == 0) {
        fuzz_check(n_pieces == 0); /* an empty list needs no message */
        return;
    }
    fuzz_check(r.at == size && second.n_pieces == n_pieces && second.message.type == first.message.type);
    fuzz_check(write_again(&second, h, two) == size && memcmp(one, two, size) == 0);
}

/* --- */

static void mend(uint8_t *bytes, size_t size, uint8_t choices)
{
    if (size < DATAGRAM_HEADER_SIZE)
        return;
    if (choices & DATAGRAM_MEND_HEADER) {
        memcpy(bytes, DATAGRAM_MAGIC, sizeof DATAGRAM_MAGIC);
        bytes[AT_VERSION] = DATAGRAM_VERSION;
        memset(bytes + AT_KIND, 0, AT_NAME_HASH - AT_KIND);
        memset(bytes + AT_ZERO2, 0, AT_CHECKSUM - AT_ZERO2);
        memset(bytes + AT_SEAL, 0, DATAGRAM_HEADER_SIZE - AT_SEAL);
    }
    put_u32(bytes + AT_CHECKSUM, 0);
    put_u32(bytes + AT_CHECKSUM, crc32c(0, bytes, size));
}

static void try_datagram(const uint8_t *bytes, size_t size)
{
    struct datagram_reader r;
    struct datagram_header h;
    int result;
    if (datagram_open(&r, bytes, size, &h) != DATAGRAM_OK)
        return;
    fuzz_check(h.from <= REPLICA_ID_MAX);
    while ((result = datagram_next(&r, &h, VALUE_BYTES, &first)) > 0) {
        try_pieces(&first, bytes, bytes + size);
        try_round_trip(&h);
    }
    fuzz_check(result == 0 ? r.at == size : datagram_next(&r, &h, VALUE_BYTES, &first) == result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, data + size};
    uint8_t choices = fuzz_u8(&in);
    void *block = malloc(assembly_size(PEERS, VALUE_BYTES));
    if (block == NULL)
        abort();
    assembly = assembly_init(block, PEERS, VALUE_BYTES);
    while (fuzz_left(&in) > 0) {
        size_t n, n_max = fuzz_u16(&in);
        uint8_t *bytes;
        const uint8_t *from = fuzz_take(&in, n_max, &n);
        bytes = fuzz_copy(from, n);
        if (choices & (DATAGRAM_MEND_CHECKSUM | DATAGRAM_MEND_HEADER))
            mend(bytes, n, choices);
        try_datagram(bytes, n);
        free(bytes);
    }
    free(block);
    return 0;
}
