/* A checkpoint as a peer, or a disk, may hand it out: the core's part, and the host's.
 *
 * Input: choices u8 (inputs.h), a seed u8 of how it is cut; then the bytes, or edits of a valid one: op u8, place u16,
 * size u8, and what the op takes. With MEND the hash at the end is made to match afterwards. Checked: a valid one is
 * taken, and only under its own configuration; the verdict does not depend on the cuts; what is taken reads back as the
 * same bytes, both parts; and the log goes on from there. */
#include "host/logread.h"
#include "host/values.h"
#include "paxos/bytes.h"
#include "paxos/checkpoint.h"
#include "paxos/prng.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"

enum {
    SHAPES = 3,
    CONFIGURATIONS = 16,
    MEMBERS_MAX = 7,
    SUM_SIZE = 16,
    SIZE_MOST = 1 << 16,
};

static const uint32_t shape_slots[SHAPES] = {1, 40, 200};
static const slot_t slot_most = UINT64_C(1) << 62;

struct bytes {
    size_t size;
    uint8_t at[SIZE_MOST];
};

/* One that applies, or loads; all that its memory is for is of one size. */
struct core {
    struct replica *replica;
    struct logread *logread;
    struct values values;
};

static struct replica_config config;
static struct bytes valids[CONFIGURATIONS][SHAPES]; /* made once they are asked for */

static void core_make(struct core *k)
{
    void *block = malloc(replica_size(&config));
    fuzz_check(block != NULL);
    values_init(&k->values);
    k->replica = replica_init(block, &config);
    k->logread = logread_new(&k->values);
    fuzz_check(k->logread != NULL);
}

static void core_free(struct core *k)
{
    logread_free(k->logread);
    values_done(&k->values);
    free(k->replica);
}

static void record(struct core *k, enum record_type type, slot_t slot, struct value *v)
{
    struct effects e;
    fuzz_check(replica_restore(k->replica, &(struct record){.type = type, .slot = slot, .value = v}, &e));
    logread_add(k->logread, e.applied, e.n_applied);
    values_release(e.released);
}

static void apply(struct core *k, const struct value_fields *f)
{
    uint8_t encoded[VALUE_HEADER_SIZE + 64];
    slot_t slot = replica_chosen(k->replica) + 1;
    struct value *v;
    fuzz_check(value_encoded_size(f) <= sizeof encoded);
    value_encode(f, encoded);
    fuzz_check(values_copy(&k->values, encoded, (uint32_t)value_encoded_size(f), &config.identity.cluster, &v) == 0);
    record(k, RECORD_CHOSEN, slot, v);
    values_unref(v);
    record(k, RECORD_COMMIT, slot, NULL);
    fuzz_check(replica_chosen(k->replica) == slot);
}

static void apply_message(struct core *k, uint64_t stream, uint64_t n)
{
    char key[24];
    struct value_fields f = {.type = VALUE_MESSAGE, .stream = stream, .n = n, .key = key, .text = "t", .text_size = 1};
    f.since = replica_chosen(k->replica);
    f.time_usec = 1790000000000000;
    f.key_size = (uint8_t)snprintf(key, sizeof key, "%u of %u", (unsigned)n, (unsigned)stream);
    apply(k, &f);
}

/* False: its part for the host is too large. */
static bool write_again(const struct core *k, struct bytes *ret)
{
    uint8_t *host;
    uint32_t host_size;
    void *block = malloc(checkpoint_writer_size(&config));
    fuzz_check(block != NULL);
    ret->size = 0;
    bool fits = logread_checkpoint(k->logread, replica_first_kept(k->replica), &host, &host_size) == 0;
    if (fits) {
        struct checkpoint_writer *w = checkpoint_begin(block, k->replica, host, host_size);
        for (size_t n; !checkpoint_is_written(w); ret->size += n)
            fuzz_check(checkpoint_write(w, k->replica, ret->at + ret->size, SIZE_MOST - ret->size, &n));
        free(host);
    }
    free(block);
    return fits;
}

/* The first one is the simplest. */
static void configure(unsigned i)
{
    static const uint32_t alphas[] = {16, 4, 64}, dedup_slots[] = {64, 1, 8, 300}, streams[] = {4, 1, 16, 2, 9};
    config = (struct replica_config){.heartbeat_usec = 50000, .submissions_max = 4, .promise_page_slots = 4};
    struct identity *own = &config.identity;
    *own = (struct identity){.status = IDENTITY_VOTER, .life = 5, .cluster = {{7}}};
    own->configuration = (struct configuration){.alpha = alphas[i % 3],
                                                .dedup_slots = dedup_slots[i % 4],
                                                .streams_max = streams[i % 5],
                                                .n_members = 1 + i % MEMBERS_MAX};
    for (uint32_t k = 0; k < own->configuration.n_members; k++) {
        struct member *m = &own->configuration.members[k];
        *m = (struct member){.id = (replica_id_t)(1 + k * (1 + i)), .gen = 1 + i / MEMBERS_MAX, .life = 5 + k};
        m->address_size = (uint8_t)(i == 0 ? 1 : (k * 100 + i) % ADDRESS_BYTES_MAX + 1);
        memset(m->address, (int)('a' + k), m->address_size);
    }
    const struct member *me = &own->configuration.members[i % own->configuration.n_members];
    own->id = me->id;
    own->life = me->life;
}

static void make_valid(struct bytes *valid, uint32_t n_slots)
{
    struct core k;
    core_make(&k);
    for (uint32_t i = 1; i <= n_slots; i++) {
        uint8_t first_kept[TRIM_TEXT_SIZE];
        put_u64(first_kept, i / 2);
        if (i % 50 == 0)
            apply(&k, &(struct value_fields){.type = VALUE_TRIM, .text = first_kept, .text_size = sizeof first_kept});
        else
            apply_message(&k, i % 6, i % 6 == 0 ? 0 : i / 6 + 1);
    }
    fuzz_check(write_again(&k, valid));
    core_free(&k);
}

/* --- the input --- */

static void edit(struct bytes *b, struct fuzz_input *in)
{
    enum checkpoint_edit op = (enum checkpoint_edit)(fuzz_u8(in) % CHECKPOINT_EDITS);
    size_t at = fuzz_u16(in), n = fuzz_u8(in), size;
    const uint8_t *bytes;
    at = at < b->size ? at : b->size;
    switch (op) {
    case CHECKPOINT_EDIT_WRITE:
        bytes = fuzz_take(in, n < b->size - at ? n : b->size - at, &size);
        memcpy(b->at + at, bytes, size);
        break;
    case CHECKPOINT_EDIT_INSERT:
        bytes = fuzz_take(in, n < SIZE_MOST - b->size ? n : SIZE_MOST - b->size, &size);
        memmove(b->at + at + size, b->at + at, b->size - at);
        memcpy(b->at + at, bytes, size);
        b->size += size;
        break;
    case CHECKPOINT_EDIT_REMOVE:
        n = n < b->size - at ? n : b->size - at;
        memmove(b->at + at, b->at + at + n, b->size - at - n);
        b->size -= n;
        break;
    case CHECKPOINT_EDIT_CUT:
        b->size = at;
        break;
    case CHECKPOINT_EDITS:
        break;
    }
}

static void mend(struct bytes *b)
{
    struct hash128 sum = config.identity.cluster;
    if (b->size < SUM_SIZE)
        return;
    const size_t end = b->size - SUM_SIZE;
    for (size_t at = 0, n = CHECKPOINT_BLOCK_BYTES; n == CHECKPOINT_BLOCK_BYTES; at += n) {
        n = end - at < CHECKPOINT_BLOCK_BYTES ? end - at : CHECKPOINT_BLOCK_BYTES;
        sum = hash_bytes(&sum, &b->at[at], n);
    }
    memcpy(&b->at[end], sum.bytes, SUM_SIZE);
}

/* --- reading it --- */

/* Whether it is whole; `most` 0: in one piece. */
static bool read_cut(struct checkpoint_reader *c, const struct bytes *b, struct prng *cuts, uint64_t most,
                     struct bytes *ret_host)
{
    bool ok = true;
    ret_host->size = 0;
    for (size_t at = 0, n; ok && at < b->size; at += n) {
        const uint8_t *host;
        size_t host_size;
        n = most == 0 ? b->size : 1 + prng_below(cuts, most);
        n = n < b->size - at ? n : b->size - at;
        uint8_t *part = fuzz_copy(b->at + at, n);
        ok = checkpoint_read(c, part, n, &host, &host_size);
        if (ok && host_size > 0) {
            fuzz_check(host >= part && host + host_size <= part + n);
            memcpy(ret_host->at + ret_host->size, host, host_size);
            ret_host->size += host_size;
        }
        free(part);
    }
    fuzz_check(!ok || ret_host->size <= c->host_size);
    return ok && c->stage == CHECKPOINT_WHOLE;
}

static void go_on(struct core *k, slot_t slot)
{
    static struct bytes later, host;
    struct checkpoint_reader c;
    struct prng cuts;
    apply_message(k, 3, 1);
    apply_message(k, 77, 1);
    prng_seed(&cuts, 1);
    if (slot > slot_most - 2 || !write_again(k, &later))
        return;
    checkpoint_check(&c, &config.identity);
    fuzz_check(read_cut(&c, &later, &cuts, 0, &host) && c.slot == slot + 2);
    fuzz_check(logread_checkpoint_is_sound(host.at, host.size, c.slot, c.first_kept));
}

/* A start loads it without having looked it through. */
static void load(const struct bytes *b, struct prng *cuts, bool is_whole)
{
    static struct bytes again, host;
    struct checkpoint_reader c;
    struct core k;
    core_make(&k);
    checkpoint_load(&c, k.replica);
    fuzz_check(read_cut(&c, b, cuts, 500, &host) == is_whole);
    fuzz_check(!is_whole || host.size == c.host_size);
    fuzz_check(replica_restore_checkpoint(k.replica, &c) == is_whole);
    fuzz_check(replica_chosen(k.replica) == (is_whole ? c.slot : 0));
    if (is_whole && logread_checkpoint_is_sound(host.at, host.size, c.slot, c.first_kept)) {
        fuzz_check(logread_restore(k.logread, host.at, host.size, c.slot, c.first_kept) == 0);
        fuzz_check(write_again(&k, &again));
        fuzz_check(again.size == b->size && memcmp(again.at, b->at, b->size) == 0);
        go_on(&k, c.slot);
    }
    core_free(&k);
}

/* Nor by a replica with other members, or other sizes of its tables. */
static void refuse_elsewhere(unsigned i, const struct bytes *valid, struct prng *cuts)
{
    static struct bytes host;
    struct checkpoint_reader c;
    for (unsigned k = 0; k < CONFIGURATIONS; k++) {
        configure(k);
        checkpoint_check(&c, &config.identity);
        fuzz_check(read_cut(&c, valid, cuts, 0, &host) == (k == i));
    }
    configure(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bytes b, host;
    struct fuzz_input in = {data, data + size};
    struct checkpoint_reader c, pieces;
    struct prng cuts;
    uint8_t choices = fuzz_u8(&in);
    unsigned shape = choices / CHECKPOINT_SHAPE % CHECKPOINT_SHAPES % SHAPES;
    unsigned i = choices / CHECKPOINT_CONFIGURED % CONFIGURATIONS;
    struct bytes *valid = &valids[i][shape];
    configure(i);
    if (valid->size == 0)
        make_valid(valid, shape_slots[shape]);
    prng_seed(&cuts, fuzz_u8(&in));
    bool is_valid = choices & CHECKPOINT_EDIT && fuzz_left(&in) == 0;
    b.size = 0;
    if (choices & CHECKPOINT_EDIT) {
        b = *valid;
        while (fuzz_left(&in) > 0)
            edit(&b, &in);
    } else {
        const uint8_t *bytes = fuzz_take(&in, SIZE_MOST, &b.size);
        memcpy(b.at, bytes, b.size);
    }
    if (choices & CHECKPOINT_MEND)
        mend(&b);
    checkpoint_check(&c, &config.identity);
    checkpoint_check(&pieces, &config.identity);
    bool whole = read_cut(&c, &b, &cuts, 0, &host);
    fuzz_check(read_cut(&pieces, &b, &cuts, 80, &host) == whole && (whole || !is_valid));
    load(&b, &cuts, whole);
    if (is_valid)
        refuse_elsewhere(i, &b, &cuts);
    return 0;
}
