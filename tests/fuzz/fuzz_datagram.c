/* Datagrams as a stranger may send them: header, messages, pieces, their joining, and the values in them.
 *
 * Input: a byte of choices (enum), then datagrams: size u16, bytes. Checked besides: what is read points into the
 * datagram; a value is whole when each of its bytes came, not before, and is what came, as a model of the assembly has
 * it; what is written reads back as it was, field by field; a value that is cut into datagrams comes out whole, under
 * its hash. */
#include "paxos/bytes.h"
#include "paxos/crc32c.h"
#include "paxos/membership.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/unit/messages.h"
#include "wire/assembly.h"
#include "wire/datagram_format.h"

enum { PEERS = 2, OWN_PEER = PEERS, ALL_PEERS, VALUE_BYTES = 2048, RECEIVER = 7, HASHES = ASSEMBLY_VALUES_MAX + 3 };

static const struct hash128 key = {{1, 2, 3}};
static struct assembly *assembly;
static struct datagram_message first, second;
static uint8_t choices;

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

/* As a sender writes it whose datagrams are small. */
static void try_cut(struct value *v)
{
    const struct datagram_header h = {.from = 1};
    const struct message m = {.type = MESSAGE_BODY, .body = {.slot = 1, .value = v}};
    static uint8_t bytes[DATAGRAM_BYTES_MIN + UINT8_MAX];
    const size_t room = DATAGRAM_BYTES_MIN + v->hash.bytes[0];
    struct datagram_cursor c = {0};
    const uint8_t *whole = NULL;
    uint32_t there = 0;
    for (bool all = false; !all;) {
        struct datagram_writer w;
        struct datagram_reader r;
        struct datagram_header read;
        datagram_begin(&w, bytes, room, &h);
        all = datagram_put(&w, &m, &c);
        datagram_finish(&w, RECEIVER, 1);
        fuzz_check(w.size <= room && datagram_open(&r, bytes, w.size, &read) == DATAGRAM_OK);
        fuzz_check(datagram_next(&r, &read, VALUE_BYTES, &second) == 1 && r.at == w.size && second.n_pieces == 1);
        const struct piece *p = &second.pieces[0];
        fuzz_check(hash_equal(&p->hash, &v->hash) && p->total == v->size && p->offset == there);
        there += p->size;
        whole = assembly_add(assembly, OWN_PEER, p);
        fuzz_check((whole != NULL) == all);
    }
    fuzz_check(there == v->size && memcmp(whole, v->bytes, v->size) == 0);
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
        try_cut(v);
    }
    free(again);
    free(v);
}

/* --- the assembly, and a model of it --- */

struct expected {
    struct hash128 hash;
    uint32_t total; /* 0: none */
    uint64_t touched;
    uint8_t bytes[VALUE_BYTES];
    bool there[VALUE_BYTES];
};

static struct expected expected[PEERS][ASSEMBLY_VALUES_MAX];
static uint64_t touches;

static void forget_expected(void)
{
    for (size_t peer = 0; peer < PEERS; peer++)
        for (size_t i = 0; i < ASSEMBLY_VALUES_MAX; i++)
            expected[peer][i].total = 0;
}

/* The one of this value, else a free one, else the one touched longest ago. */
static struct expected *expected_of(uint32_t peer, const struct piece *p)
{
    struct expected *all = expected[peer], *found = NULL, *oldest = all;
    for (struct expected *e = all; e < all + ASSEMBLY_VALUES_MAX; e++) {
        if (e->total == 0)
            e->touched = 0;
        else if (hash_equal(&e->hash, &p->hash))
            found = e;
        if (e->touched < oldest->touched)
            oldest = e;
    }
    return found != NULL ? found : oldest;
}

/* Adds the piece; answers the value's bytes where all of them came. */
static const uint8_t *expect_piece(uint32_t peer, const struct piece *p)
{
    if (p->size == p->total)
        return p->bytes;
    struct expected *e = expected_of(peer, p);
    if (e->total != p->total || !hash_equal(&e->hash, &p->hash)) {
        e->hash = p->hash;
        e->total = p->total;
        memset(e->there, 0, sizeof e->there);
    }
    e->touched = ++touches;
    memcpy(e->bytes + p->offset, p->bytes, p->size);
    memset(e->there + p->offset, true, p->size);
    if (memchr(e->there, 0, e->total) != NULL)
        return NULL;
    e->total = 0;
    return e->bytes;
}

static void try_pieces(const struct datagram_message *m, const uint8_t *begin, const uint8_t *end)
{
    const uint32_t peer = m->message.from % PEERS;
    for (uint32_t i = 0; i < m->n_pieces; i++) {
        struct piece p = m->pieces[i];
        fuzz_check(p.bytes >= begin && p.size <= (size_t)(end - p.bytes));
        fuzz_check(p.total <= VALUE_BYTES && p.size >= 1 && p.offset + p.size <= p.total);
        if (choices & DATAGRAM_FEW_HASHES)
            p.hash = (struct hash128){{p.hash.bytes[0] % HASHES}};
        const uint8_t *whole = assembly_add(assembly, peer, &p), *wanted = expect_piece(peer, &p);
        fuzz_check((whole != NULL) == (wanted != NULL));
        if (whole == NULL)
            continue;
        fuzz_check(memcmp(whole, wanted, p.total) == 0);
        try_value(whole, p.total);
    }
}

/* --- written and read again --- */

static struct entry entries[DATAGRAM_PIECES_MAX];

/* The message with its pieces as a sender's values. False: one of them is not whole. */
static bool make_values(const struct datagram_message *m, struct message *ret)
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
    *ret = m->message;
    switch (ret->type) {
    case MESSAGE_ACCEPT:
        ret->accept.entries = entries;
        ret->accept.n_entries = m->n_pieces;
        break;
    case MESSAGE_CHOSEN:
        ret->chosen.entries = entries;
        ret->chosen.n_entries = m->n_pieces;
        break;
    case MESSAGE_SUBMIT:
        ret->submit.entries = entries;
        ret->submit.n_entries = m->n_pieces;
        break;
    case MESSAGE_BODY:
        ret->body = entries[0];
        break;
    case MESSAGE_STATE:
        ret->state.slot0 = m->n_pieces > 0 ? entries[0].value : NULL;
        break;
    default:
        break;
    }
    return true;
}

/* 0: it has pieces that are not whole. What came in one datagram fits into one. */
static size_t write_again(const struct datagram_message *m, const struct datagram_header *h, uint8_t *buffer)
{
    struct datagram_writer w;
    struct datagram_cursor c = {0};
    struct message whole;
    if (!make_values(m, &whole))
        return 0;
    datagram_begin(&w, buffer, DATAGRAM_BYTES_MAX, h);
    fuzz_check(datagram_put(&w, &whole, &c));
    for (uint32_t i = 0; i < m->n_pieces; i++)
        free(entries[i].value);
    datagram_finish(&w, RECEIVER, 1);
    return w.size;
}

static bool is_same_header(const struct datagram_header *a, const struct datagram_header *b)
{
    return a->cluster_name_hash == b->cluster_name_hash && hash_equal(&a->cluster, &b->cluster) && a->from == b->from &&
           a->from_life == b->from_life && a->boot == b->boot;
}

static void expect_same_pieces(void)
{
    fuzz_check(second.n_pieces == first.n_pieces);
    for (uint32_t i = 0; i < first.n_pieces; i++) {
        const struct piece *a = &first.pieces[i], *b = &second.pieces[i];
        fuzz_check(a->slot == b->slot && ballot_equal(a->ballot, b->ballot) && a->hops == b->hops);
        fuzz_check(hash_equal(&a->hash, &b->hash) && a->total == b->total && a->offset == b->offset);
        fuzz_check(a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0);
    }
}

static void try_round_trip(const struct datagram_header *h)
{
    static uint8_t one[DATAGRAM_BYTES_MAX], two[DATAGRAM_BYTES_MAX];
    struct datagram_reader r;
    struct datagram_header read;
    const enum message_type type = first.message.type;
    size_t size = write_again(&first, h, one);
    if (size == 0)
        return;
    fuzz_check(datagram_open(&r, one, size, &read) == DATAGRAM_OK);
    fuzz_check(is_same_header(&read, h) && read.to == RECEIVER && read.seq == 1);
    if (datagram_next(&r, &read, VALUE_BYTES, &second) == 0) {
        /* an empty list needs no message */
        fuzz_check(first.n_pieces == 0);
        fuzz_check(type == MESSAGE_ACCEPT || type == MESSAGE_CHOSEN || type == MESSAGE_SUBMIT);
        return;
    }
    fuzz_check(r.at == size);
    fuzz_check(second.message.from == first.message.from && second.message.from_life == first.message.from_life);
    message_expect_same(&first.message, &second.message);
    expect_same_pieces();
    fuzz_check(write_again(&second, h, two) == size && memcmp(one, two, size) == 0);
}

/* --- */

static void mend(uint8_t *bytes, size_t size)
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
    struct datagram_reader r, plain;
    struct datagram_header h, plain_h;
    int result;
    const bool is_plain = datagram_open(&plain, bytes, size, &plain_h) == DATAGRAM_OK;
    if (datagram_header_read(bytes, size, &h) != DATAGRAM_OK || datagram_open_sealed(&r, bytes, size) != DATAGRAM_OK) {
        fuzz_check(!is_plain);
        return;
    }
    if (is_plain) {
        fuzz_check(h.kind == DATAGRAM_PLAIN && is_same_header(&plain_h, &h) && plain_h.to == h.to);
        fuzz_check(plain_h.seq == h.seq && plain.bytes == r.bytes && plain.size == r.size && plain.at == r.at);
    } else if (h.kind == DATAGRAM_PLAIN) {
        return;
    }
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
    void *block = malloc(assembly_size(ALL_PEERS, VALUE_BYTES));
    if (block == NULL)
        abort();
    assembly = assembly_init(block, ALL_PEERS, VALUE_BYTES);
    forget_expected();
    choices = fuzz_u8(&in);
    while (fuzz_left(&in) > 0) {
        size_t n, n_max = fuzz_u16(&in);
        uint8_t *bytes;
        const uint8_t *from = fuzz_take(&in, n_max, &n);
        bytes = fuzz_copy(from, n);
        if (choices & (DATAGRAM_MEND_CHECKSUM | DATAGRAM_MEND_HEADER))
            mend(bytes, n);
        try_datagram(bytes, n);
        free(bytes);
    }
    free(block);
    return 0;
}
