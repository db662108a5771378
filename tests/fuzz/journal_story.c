#include "tests/fuzz/journal_story.h"

#include "journal/checkpoint.h"
#include "journal/superblock.h"
#include "paxos/crc32c.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_damage.h"

enum { SLOTS = 44, CHECKPOINT_SLICE = 700, CHOICES = JOURNAL_KEPT | JOURNAL_TRIM | JOURNAL_CLOSED | JOURNAL_SURE };

/* --- whose they are --- */

const struct identity *story_identity(void)
{
    static struct identity own;
    if (own.status != 0)
        return &own;
    own = (struct identity){.status = IDENTITY_VOTER, .id = 3, .life = 0x1122334455667788};
    memset(own.cluster.bytes, 0xc1, sizeof own.cluster.bytes);
    own.configuration = (struct configuration){.alpha = 16, .dedup_slots = 64, .streams_max = 8, .n_members = 3};
    for (uint32_t i = 0; i < own.configuration.n_members; i++) {
        struct member *m = &own.configuration.members[i];
        *m = (struct member){.life = own.life + i - 2, .gen = 1, .id = (replica_id_t)(i + 1), .address_size = 4};
        memcpy(m->address, "h:60", 4);
    }
    return &own;
}

struct replica *story_core(const struct replica_config **ret_config)
{
    static void *block; /* of always the same size */
    static struct replica_config config;
    config = (struct replica_config){.identity = *story_identity(),
                                     .heartbeat_usec = 50000,
                                     .message_bytes_max = 16384,
                                     .proposal_bytes_max = 1 << 20,
                                     .submissions_max = 16,
                                     .promise_page_slots = 16,
                                     .space_bytes = 65536,
                                     .seed = 1};
    if (block == NULL)
        block = malloc(replica_size(&config));
    fuzz_check(block != NULL);
    *ret_config = &config;
    return replica_init(block, &config);
}

/* --- making one --- */

struct maker {
    struct story *story;
    struct journal *journal;
    struct replica *replica;
    const struct replica_config *config;
    struct values values;
    uint64_t seq;
};

static void written(void *user, int error)
{
    (void)user;
    fuzz_check(error == 0);
}

static bool skip_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    (void)user, (void)slot, (void)bytes, (void)size;
    return true;
}

static bool skip_record(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)r, (void)bytes, (void)size;
    return true;
}

static void open_journal(struct maker *m)
{
    const struct journal_options o = {
        .vfs = vfs_memory_vfs(m->story->disk), .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN, .written = written};
    const struct journal_replay replay = {.checkpoint = skip_checkpoint, .each = skip_record};
    char error[JOURNAL_ERROR_MAX + 1];
    fuzz_check(journal_open(&o, story_identity(), &replay, &m->journal, error) == JOURNAL_OK);
}

/* Until nothing is pending: the next segment is allocated, too. */
static void settle(struct maker *m)
{
    for (int i = 0; i < 1000 && journal_is_pending(m->journal); i++)
        fuzz_check(journal_write(m->journal) == 0);
    fuzz_check(journal_durable_seq(m->journal) == m->seq);
}

/* The core takes it as at a restart. */
static void append(struct maker *m, struct truth_record r)
{
    struct effects e;
    struct record record = {
        .type = r.type, .slot = r.slot, .notes = r.notes, .n_notes = r.n_notes, .recorded_until = r.recorded_until};
    struct truth *t = &m->story->truth;
    if (r.type != RECORD_PROMISE)
        r.ballot = t->promised;
    truth_append(t, m->journal, &r, ++m->seq);
    t->records[t->n - 1].seq = 0;
    if (r.type == RECORD_ACCEPT || r.type == RECORD_PROMISE)
        record.ballot = r.ballot;
    if (r.type == RECORD_ACCEPT || r.type == RECORD_CHOSEN) {
        struct value *v = truth_value(&r);
        fuzz_check(values_copy(&m->values, v->bytes, v->size, &story_identity()->cluster, &record.value) == 0);
        free(v);
    }
    fuzz_check(replica_restore(m->replica, &record, &e));
    values_release(e.released);
    values_unref(record.value);
}

static void promise(struct maker *m)
{
    append(m, (struct truth_record){.type = RECORD_PROMISE,
                                    .ballot = {.round = m->story->truth.promised.round + 5, .gen = 1, .id = 3}});
}

/* Few different sizes: one batch may stand where another did. */
static void append_value(struct maker *m, enum record_type type, slot_t slot)
{
    append(m,
           (struct truth_record){.type = type, .slot = slot, .text_size = TRUTH_TEXT_MAX - (uint32_t)(slot % 3) * 400});
}

static void commit(struct maker *m, slot_t slot, slot_t recorded_until)
{
    struct truth_record r = {.type = RECORD_COMMIT, .slot = slot, .n_notes = 2, .recorded_until = recorded_until};
    r.notes[0] = (struct note){.slot = slot - 1, .type = NOTE_HIDDEN};
    r.notes[1] = (struct note){.slot = slot, .type = NOTE_TIME, .time_usec = 1790000000000999};
    append(m, r);
    settle(m);
}

/* Slot after slot, every fourth behind a COMMIT; two promises on the way, the one voted under again; and, unless it is
 * closed, a vote ahead of its turn that no COMMIT covers. */
static void append_slots(struct maker *m, slot_t last, bool is_closed)
{
    slot_t ahead = 0;
    for (slot_t slot = 1; slot <= last; slot++) {
        append_value(m, slot % 7 == 3 ? RECORD_CHOSEN : RECORD_ACCEPT, slot);
        if (slot == last / 3 || slot == 2 * last / 3) {
            promise(m);
            if (slot % 7 != 3)
                append_value(m, RECORD_ACCEPT, slot);
        }
        if (!is_closed && slot + 7 == last) {
            ahead = last + 3;
            append_value(m, RECORD_ACCEPT, ahead);
        }
        if (slot % 4 == 0 && slot < last)
            commit(m, slot - 1, ahead > 0 ? ahead : slot);
        else if (slot % 4 == 2)
            settle(m);
    }
    settle(m);
}

/* All is chosen, and the last promise raised: it stands alone, and behind it what tells of no vote. */
static void append_end(struct maker *m, slot_t last)
{
    commit(m, last, last);
    promise(m);
    settle(m);
    append_value(m, RECORD_CHOSEN, last + 1);
    settle(m);
    append(m, (struct truth_record){.type = RECORD_COMMIT, .slot = last + 1, .recorded_until = last + 1});
    settle(m);
}

static void write_checkpoint(struct maker *m)
{
    uint8_t bytes[CHECKPOINT_SLICE];
    void *block = malloc(checkpoint_writer_size(m->config));
    fuzz_check(block != NULL);
    struct checkpoint_writer *w = checkpoint_begin(block, m->replica, NULL, 0);
    struct truth_checkpoint *c = &m->story->truth.checkpoint;
    c->slot = checkpoint_slot(w);
    fuzz_check(journal_checkpoint_begin(m->journal, c->slot, CHECKPOINT_OWN) == 0);
    for (size_t n; !checkpoint_is_written(w);) {
        fuzz_check(checkpoint_write(w, m->replica, bytes, sizeof bytes, &n));
        fuzz_check(journal_checkpoint_append(m->journal, bytes, n) == (int64_t)n);
        c->size += n;
        c->crc = crc32c(c->crc, bytes, n);
    }
    journal_checkpoint_finish(m->journal);
    settle(m);
    free(block);
}

/* --- where its records stand --- */

static size_t count_records(const uint8_t *batch, const struct batch_header *h)
{
    static struct note notes[RECORD_NOTES_MAX];
    const uint8_t *p = batch + BATCH_HEADER_BYTES;
    struct record_view v;
    size_t n = 0;
    for (uint32_t left = h->payload_size; left > 0; left -= v.encoded_size, p += v.encoded_size) {
        fuzz_check(record_decode(p, left, notes, &v));
        n++;
    }
    return n;
}

/* From the end on: what was trimmed is missing at the beginning. */
static void place_records(struct story *s)
{
    size_t at = s->truth.n;
    for (size_t i = s->n_batches; i > 0; i--) {
        fuzz_check(s->batches[i - 1].n <= at);
        at -= s->batches[i - 1].n;
        s->batches[i - 1].first = at;
    }
}

static void find_batches(struct story *s)
{
    for (int i = SEGMENT_1; i <= SEGMENT_3; i++) {
        struct batch_header h;
        size_t size;
        const uint8_t *bytes = vfs_memory_bytes(s->disk, journal_names[i], &size);
        for (uint64_t at = SEGMENT_HEADER_BYTES; bytes != NULL && at + BATCH_HEADER_BYTES <= size; at += h.size) {
            if (!batch_header_decode(bytes + at, &h))
                break;
            bool opens = i != SEGMENT_1 && at == SEGMENT_HEADER_BYTES; /* with the promise of those before */
            fuzz_check(s->n_batches < STORY_BATCHES_MAX);
            s->batches[s->n_batches++] = (struct story_batch){.name = journal_names[i],
                                                              .offset = at,
                                                              .number = h.number,
                                                              .durable = h.durable,
                                                              .size = h.size,
                                                              .n = opens ? 0 : count_records(bytes + at, &h)};
        }
    }
    place_records(s);
}

static void note_durable(struct story *s)
{
    static struct superblock b;
    char error[JOURNAL_ERROR_MAX + 1];
    fuzz_check(superblock_read(vfs_memory_vfs(s->disk), &b, error) == JOURNAL_OK);
    s->durable = b.durable;

    struct checkpoint_header h;
    uint32_t version;
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(s->disk, CHECKPOINT_NAME, &size);
    if (bytes == NULL)
        return;
    fuzz_check(checkpoint_header_decode(bytes, &h, &version) == FILE_WHOLE && h.durable > 0);
    s->checkpoint_durable = h.durable;
}

static void make(struct story *s, unsigned choices)
{
    bool has_checkpoint = choices & (JOURNAL_KEPT | JOURNAL_TRIM), is_closed = choices & JOURNAL_CLOSED;
    slot_t last = has_checkpoint ? 2 * SLOTS : SLOTS;
    struct maker m = {.story = s};
    s->disk = vfs_memory_new(1);
    values_init(&m.values);
    m.replica = story_core(&m.config);
    open_journal(&m);
    promise(&m);
    append_slots(&m, last, is_closed);
    if (is_closed)
        append_end(&m, last);
    if (has_checkpoint)
        write_checkpoint(&m);
    if (choices & JOURNAL_TRIM) {
        journal_trim(m.journal, UINT64_MAX);
        settle(&m);
        fuzz_check(journal_first_kept(m.journal) > 1);
    }
    journal_close(m.journal);
    if (choices & JOURNAL_SURE) { /* a start makes durable all that it finds */
        open_journal(&m);
        journal_close(m.journal);
    }
    values_done(&m.values);
    find_batches(s);
    note_durable(s);
}

const struct story *story_get(unsigned choices)
{
    static struct story *made[CHOICES + 1];
    choices &= CHOICES;
    if (made[choices] == NULL) {
        made[choices] = calloc(1, sizeof **made);
        fuzz_check(made[choices] != NULL);
        make(made[choices], choices);
    }
    return made[choices];
}
