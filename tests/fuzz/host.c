#include "tests/fuzz/host.h"

#include "tests/fuzz/fuzz.h"

struct host host;
static void *block; /* of always the same size */

/* --- what it does --- */

static void keep_record(const struct record *r)
{
    if (host.n_records == host.room) {
        host.room = host.room > 0 ? 2 * host.room : 256;
        host.records = reallocarray(host.records, host.room, sizeof *host.records);
        fuzz_check(host.records != NULL);
    }
    struct kept_record *k = &host.records[host.n_records++];
    *k = (struct kept_record){.type = r->type, .slot = r->slot, .ballot = r->ballot};
    if (r->value != NULL) {
        k->bytes = fuzz_copy(r->value->bytes, r->value->size);
        k->size = r->value->size;
    }
    if (r->type == RECORD_IDENTITY)
        k->identity = fuzz_copy(r->identity, sizeof *r->identity);
}

static void forget_records(size_t from)
{
    while (host.n_records > from) {
        struct kept_record *k = &host.records[--host.n_records];
        free(k->bytes);
        free(k->identity);
    }
}

static void write_message(const struct message *m)
{
    static uint8_t buffer[HOST_DATAGRAM_BYTES];
    const struct datagram_header h = {.from = HOST_ID};
    struct datagram_cursor c = {0};
    for (bool done = false; !done;) {
        struct datagram_writer w;
        datagram_begin(&w, buffer, sizeof buffer, &h);
        done = datagram_put(&w, m, &c);
        fuzz_check(done || !datagram_is_empty(&w));
        datagram_finish(&w, 1, 1);
    }
}

static void note_outgoing(const struct outgoing *o)
{
    const struct message *m = &o->message;
    fuzz_check(o->after <= host.seq);
    fuzz_check(o->to == REPLICA_ID_NONE || (o->to != HOST_ID && o->to >= 1 && o->to <= HOST_MEMBERS));
    write_message(m);
    if (m->type == MESSAGE_HEARTBEAT)
        host.beat_seq = m->heartbeat.seq;
    if (m->type == MESSAGE_STATE && m->state.nonce != 0)
        host.state_nonce = m->state.nonce;
    if (m->type == MESSAGE_PREPARE) {
        host.bid = m->prepare.ballot;
        host.prepare_from = m->prepare.from;
    }
    if (m->type == MESSAGE_ACCEPT && m->accept.n_entries > 0) {
        host.accept_ballot = m->accept.ballot;
        host.accept_slot = m->accept.entries[0].slot;
    }
}

static void note_applied(const struct effects *e)
{
    for (size_t i = 0; i < e->n_applied; i++) {
        const struct applied *a = &e->applied[i];
        fuzz_check(a->slot == host.applied + 1 || (a->slot == 0 && host.applied == 0));
        host.applied = a->slot;
        if (a->slot >= HOST_LOG_MAX)
            continue;
        free(host.log[a->slot].bytes);
        host.log[a->slot].bytes = fuzz_copy(a->value->bytes, a->value->size);
        host.log[a->slot].size = a->value->size;
    }
}

static void carry_out(const struct effects *e)
{
    fuzz_check(e->n_records == 0 || e->records_seq == host.seq + e->n_records);
    for (size_t i = 0; i < e->n_records; i++)
        keep_record(&e->records[i]);
    host.seq += e->n_records;
    for (size_t i = 0; i < e->n_outgoing; i++)
        note_outgoing(&e->outgoing[i]);
    note_applied(e);
    for (size_t i = 0; i < e->n_outcomes; i++) {
        uint64_t cookie = e->outcomes[i].cookie;
        fuzz_check(cookie >= 1 && cookie <= HOST_CALLS_MAX && host.calls[cookie - 1]);
        host.calls[cookie - 1] = false;
    }
    if (e->fetch.wanted)
        host.fetch = e->fetch;
    host.wake_usec = e->wake_usec;
    values_release(e->released);
}

void host_step(struct event e)
{
    struct effects effects;
    e.now_usec = host.now_usec;
    replica_step(host.replica, &e, &effects);
    carry_out(&effects);
}

/* --- its life --- */

static void make_identity(bool blank)
{
    struct identity *i = &host.identity;
    *i = (struct identity){
        .status = blank ? IDENTITY_EMPTY : IDENTITY_VOTER, .id = HOST_ID, .life = HOST_LIFE + HOST_ID};
    memset(i->bootstrap.bytes, 0xb0, sizeof i->bootstrap.bytes);
    if (!blank)
        memset(i->cluster.bytes, 0xc1, sizeof i->cluster.bytes);
    i->configuration =
        (struct configuration){.alpha = HOST_ALPHA, .dedup_slots = 8, .streams_max = 2, .n_members = HOST_MEMBERS};
    for (uint32_t n = 0; n < HOST_MEMBERS; n++) {
        struct member *m = &i->configuration.members[n];
        *m = (struct member){
            .life = blank ? 0 : HOST_LIFE + 1 + n, .gen = 1, .id = (replica_id_t)(n + 1), .address_size = 4};
        memcpy(m->address, "h:60", 4);
    }
}

static void restore_record(const struct kept_record *k)
{
    struct record r = {.type = k->type, .slot = k->slot, .ballot = k->ballot};
    struct effects e;
    if (k->type == RECORD_IDENTITY)
        return;
    if (k->bytes != NULL)
        fuzz_check(values_copy(&host.values, k->bytes, k->size, &host.identity.cluster, &r.value) == 0);
    fuzz_check(replica_restore(host.replica, &r, &e));
    note_applied(&e);
    values_release(e.released);
    values_unref(r.value);
}

static void start(void)
{
    const struct replica_config config = {.identity = host.identity,
                                          .heartbeat_usec = 50000,
                                          .message_bytes_max = 1024,
                                          .proposal_bytes_max = 4096,
                                          .submissions_max = 16,
                                          .promise_page_slots = datagram_promise_slots(HOST_DATAGRAM_BYTES),
                                          .space_bytes = 65536,
                                          .seed = 1,
                                          .now_usec = host.now_usec};
    struct effects e;
    if (block == NULL)
        block = malloc(replica_size(&config));
    fuzz_check(block != NULL);
    values_init(&host.values);
    host.replica = replica_init(block, &config);
    host.seq = host.applied = 0;
    host.fetch.wanted = false;
    memset(host.calls, 0, sizeof host.calls);
    for (size_t i = 0; i < host.n_records; i++)
        restore_record(&host.records[i]);
    replica_start(host.replica, host.now_usec, &e);
    carry_out(&e);
}

void host_make_durable(void)
{
    for (; host.n_durable < host.n_records; host.n_durable++) {
        const struct kept_record *k = &host.records[host.n_durable];
        if (k->type == RECORD_IDENTITY)
            host.identity = *k->identity;
    }
}

static void stop(bool lose)
{
    if (lose)
        forget_records(host.n_durable);
    host_make_durable();
    values_done(&host.values);
}

void host_restart(bool lose)
{
    stop(lose);
    start();
}

void host_begin(bool blank)
{
    memset(&host, 0, sizeof host);
    host.now_usec = 1000000;
    make_identity(blank);
    start();
}

void host_end(void)
{
    stop(true);
    forget_records(0);
    free(host.records);
    for (size_t i = 0; i < HOST_LOG_MAX; i++)
        free(host.log[i].bytes);
}

struct value *host_value(const struct value_fields *f, const struct hash128 *key)
{
    uint8_t *bytes = malloc(value_encoded_size(f));
    struct value *v = NULL;
    fuzz_check(bytes != NULL);
    value_encode(f, bytes);
    fuzz_check(values_copy(&host.values, bytes, (uint32_t)value_encoded_size(f), key, &v) == 0);
    free(bytes);
    return v;
}
