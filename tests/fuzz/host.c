#include "tests/fuzz/host.h"

#include "paxos/bytes.h"
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
    *k = (struct kept_record){.type = r->type,
                              .slot = r->slot,
                              .ballot = r->ballot,
                              .n_notes = r->n_notes,
                              .recorded_until = r->recorded_until};
    if (host.n_records > 1)
        k->promised = k[-1].promised;
    if ((r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) && ballot_compare(r->ballot, k->promised) > 0)
        k->promised = r->ballot;
    if (r->n_notes > 0)
        k->notes = fuzz_copy(r->notes, r->n_notes * sizeof *r->notes);
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
        free(k->notes);
    }
}

static const struct entry *find_entry(const struct message *m, const struct piece *p)
{
    const struct entry *entries = m->type == MESSAGE_ACCEPT   ? m->accept.entries
                                  : m->type == MESSAGE_CHOSEN ? m->chosen.entries
                                  : m->type == MESSAGE_SUBMIT ? m->submit.entries
                                                              : &m->body;
    uint32_t n = m->type == MESSAGE_ACCEPT   ? m->accept.n_entries
                 : m->type == MESSAGE_CHOSEN ? m->chosen.n_entries
                 : m->type == MESSAGE_SUBMIT ? m->submit.n_entries
                                             : 1;
    for (uint32_t i = 0; i < n; i++)
        if (hash_equal(&entries[i].value->hash, &p->hash) && (m->type == MESSAGE_SUBMIT || entries[i].slot == p->slot))
            return &entries[i];
    return NULL;
}

static void check_piece(const struct message *m, const struct piece *p)
{
    const struct value *v = NULL;
    if (m->type == MESSAGE_STATE)
        v = m->state.slot0;
    else if (find_entry(m, p) != NULL)
        v = find_entry(m, p)->value;
    fuzz_check(v != NULL && p->total == v->size && memcmp(p->bytes, v->bytes + p->offset, p->size) == 0);
}

/* Without pieces it is written again, and comes to the same bytes. */
static void read_back(const struct message *m, const struct datagram_writer *w)
{
    static struct datagram_message got;
    static uint8_t again[HOST_DATAGRAM_BYTES];
    const struct datagram_header from = {.from = HOST_ID};
    struct datagram_cursor c = {0};
    struct datagram_header h;
    struct datagram_reader r;
    struct datagram_writer second;
    uint32_t n_pieces = 0;
    int n = 0;
    fuzz_check(datagram_open(&r, w->bytes, w->size, &h) == DATAGRAM_OK);
    for (; datagram_next(&r, &h, HOST_VALUE_BYTES_MAX, &got) > 0; n++) {
        fuzz_check(got.message.type == m->type && got.message.from == HOST_ID);
        n_pieces += got.n_pieces;
        for (uint32_t i = 0; i < got.n_pieces; i++)
            check_piece(m, &got.pieces[i]);
    }
    fuzz_check(n > 0 && r.at == r.size);
    if (n_pieces > 0)
        return;
    datagram_begin(&second, again, sizeof again, &from);
    fuzz_check(datagram_put(&second, &got.message, &c));
    datagram_finish(&second, 1, 1);
    fuzz_check(second.size == w->size && memcmp(again, w->bytes, w->size) == 0);
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
        read_back(m, &w);
    }
}

static void note_outgoing(const struct outgoing *o, struct ballot promised)
{
    const struct message *m = &o->message;
    fuzz_check(o->after <= host.seq);
    fuzz_check(o->to == REPLICA_ID_NONE || (o->to != HOST_ID && o->to >= 1 && o->to <= HOST_MEMBERS));
    write_message(m);
    votes_check(o, promised);
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
        if (a->slot <= host.committed && host.log[a->slot].bytes != NULL) {
            fuzz_check(host.log[a->slot].size == a->value->size);
            fuzz_check(memcmp(host.log[a->slot].bytes, a->value->bytes, a->value->size) == 0);
            fuzz_check(host.log[a->slot].visible == a->visible && host.log[a->slot].time_usec == a->time_usec);
        }
        free(host.log[a->slot].bytes);
        host.log[a->slot].bytes = fuzz_copy(a->value->bytes, a->value->size);
        host.log[a->slot].size = a->value->size;
        host.log[a->slot].visible = a->visible;
        host.log[a->slot].time_usec = a->time_usec;
    }
}

/* What the values do not tell of the slots since the last COMMIT. */
static void check_notes(const struct record *r)
{
    uint32_t at = 0;
    for (slot_t slot = host.noted + 1; slot <= r->slot && slot < HOST_LOG_MAX; slot++) {
        const struct note *n = at < r->n_notes && r->notes[at].slot == slot ? &r->notes[at++] : NULL;
        const uint8_t *bytes = host.log[slot].bytes;
        fuzz_check(slot <= host.applied && bytes != NULL);
        bool hidden = n != NULL && n->type == NOTE_HIDDEN;
        uint64_t time_usec = n != NULL && n->type == NOTE_TIME ? n->time_usec : get_u64(bytes + 32);
        if (bytes[0] == VALUE_MESSAGE)
            fuzz_check(hidden != host.log[slot].visible && (hidden || time_usec == host.log[slot].time_usec));
    }
    fuzz_check(at == r->n_notes || r->slot >= HOST_LOG_MAX);
    host.noted = r->slot;
}

static void carry_out(const struct effects *e, struct ballot promised)
{
    fuzz_check(e->n_records == 0 || e->records_seq == host.seq + e->n_records);
    for (size_t i = 0; i < e->n_records; i++)
        keep_record(&e->records[i]);
    host.seq += e->n_records;
    for (size_t i = 0; i < e->n_outgoing; i++)
        note_outgoing(&e->outgoing[i], promised);
    note_applied(e);
    for (size_t i = 0; i < e->n_records; i++)
        if (e->records[i].type == RECORD_COMMIT)
            check_notes(&e->records[i]);
    votes_watch();
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
    if (e.type == EVENT_INSTALL)
        host.applied = host.noted = host.committed = e.checkpoint->slot;
    carry_out(&effects, host.promised);
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
    struct record r = {.type = k->type,
                       .slot = k->slot,
                       .ballot = k->ballot,
                       .notes = k->notes,
                       .n_notes = k->n_notes,
                       .recorded_until = k->recorded_until};
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

static void restore_checkpoint(void)
{
    struct checkpoint_reader c;
    if (host.checkpoint == NULL)
        return;
    fuzz_check(checkpoint_load_into(host.replica, host.checkpoint, host.checkpoint_size, &c));
    fuzz_check(replica_restore_checkpoint(host.replica, &c));
    host.applied = c.slot;
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
    host.seq = host.applied = host.noted = 0;
    host.boot = host.n_records;
    host.promised = host.n_records > 0 ? host.records[host.n_records - 1].promised : (struct ballot){0};
    host.fetch.wanted = false;
    memset(host.calls, 0, sizeof host.calls);
    restore_checkpoint();
    for (size_t i = 0; i < host.n_records; i++)
        restore_record(&host.records[i]);
    fuzz_check(host.applied >= host.committed);
    host.noted = host.applied;
    replica_start(host.replica, host.now_usec, &e);
    carry_out(&e, host.promised);
}

void host_make_durable(void)
{
    for (; host.n_durable < host.n_records; host.n_durable++) {
        const struct kept_record *k = &host.records[host.n_durable];
        if (k->type == RECORD_IDENTITY)
            host.identity = *k->identity;
        if (k->type == RECORD_COMMIT && k->slot > host.committed)
            host.committed = k->slot;
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
    free(host.proposed);
    free(host.checkpoint);
    for (size_t i = 0; i < HOST_LOG_MAX; i++)
        free(host.log[i].bytes);
}

void host_install(uint8_t how)
{
    struct checkpoint_reader c;
    if (replica_identity(host.replica)->status != IDENTITY_VOTER || host.applied > HOST_LOG_MAX)
        return;
    host_make_durable(); /* as the journal does, before it begins a checkpoint */
    free(host.checkpoint);
    checkpoint_make(host.applied + 1 + how / 2 % 64, how % 2, &host.checkpoint, &host.checkpoint_size);
    fuzz_check(checkpoint_load_into(host.replica, host.checkpoint, host.checkpoint_size, &c));
    host_step((struct event){.type = EVENT_INSTALL, .checkpoint = &c});
}
