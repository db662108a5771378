/* A state directory as rot, torn writes, other software and a bad repair may leave it; then recovery, and going on.
 *
 * Input: choices (enum). Without EDIT, files: name u8 (an index), size u16, bytes. With it, edits of a valid journal
 * (two superblocks, two segments, a reserve; with KEPT or TRIM a checkpoint): op u8, file u8, place u16, size u8, and
 * what the op takes. With MEND all checksums are made to match afterwards, so that the damage gets behind them. With
 * CORE a replica restores what is read, and refuses what cannot follow.
 * Checked besides: whoever is refused is told why, and nothing was changed; what was opened can be written, read, and
 * opened again after a power cut, with the same records. */
#include "host/values.h"
#include "journal/journal.h"
#include "paxos/checkpoint.h"
#include "paxos/crc32c.h"
#include "paxos/replica.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_damage.h"
#include "tests/unit/vfs_memory.h"

enum {
    SLOTS = 44,
    CHECKPOINT_SLICE = 700,
    VALUE_TEXT_MAX = 1800,
};

/* Made once: a voter's journal, without a checkpoint, with one, and trimmed; and its identity. */
enum kind { KIND_PLAIN, KIND_KEPT, KIND_TRIMMED, KINDS };
static struct vfs_memory *valids[KINDS];
static struct identity own;

struct run {
    /* Of what recovery told: all but promises, which are told again wherever a segment opens, and identities. */
    uint64_t n;
    uint32_t crc;
    struct ballot promised;
    slot_t slot_next;
    uint64_t checkpoint_bytes;
    struct replica *replica; /* NULL: without JOURNAL_CORE */
    struct checkpoint_reader reader;
    struct values values;
};

/* --- records --- */

static void note_told(struct run *run, const struct record *r, const uint8_t *bytes, uint32_t size)
{
    const uint64_t head[] = {r->type, r->slot, r->ballot.round, r->ballot.id};
    if (ballot_compare(r->ballot, run->promised) > 0)
        run->promised = r->ballot;
    if (r->type == RECORD_PROMISE || r->type == RECORD_IDENTITY)
        return;
    run->crc = crc32c(run->crc, head, sizeof head);
    if (bytes != NULL)
        run->crc = crc32c(run->crc, bytes, size);
    for (uint32_t i = 0; i < r->n_notes; i++)
        run->crc = crc32c(run->crc, &r->notes[i].slot, sizeof r->notes[i].slot);
    if (bytes != NULL && r->slot >= run->slot_next)
        run->slot_next = r->slot + 1;
    run->n++;
}

/* As the daemon's driver does. */
static bool restore(struct run *run, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct effects e;
    r->value = NULL;
    if (bytes != NULL && r->slot > run->reader.slot &&
        values_copy(&run->values, bytes, size, &own.cluster, &r->value) < 0)
        return false;
    bool ok = replica_restore(run->replica, r, &e);
    values_release(e.released);
    values_unref(r->value);
    return ok;
}

/* As the daemon's driver does, too. */
static bool restore_checkpoint(struct run *run, slot_t slot, const uint8_t *bytes, size_t size)
{
    const uint8_t *host;
    size_t host_size;
    if (bytes == NULL)
        return run->reader.slot == slot && replica_restore_checkpoint(run->replica, &run->reader);
    if (run->reader.own == NULL)
        checkpoint_load(&run->reader, run->replica);
    return checkpoint_read(&run->reader, bytes, size, &host, &host_size);
}

static bool take_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct run *run = user;
    fuzz_check(run->n == 0 && slot < UINT64_MAX && (bytes != NULL) == (size > 0));
    run->crc = crc32c(run->crc, bytes, size);
    run->checkpoint_bytes += size;
    if (slot >= run->slot_next)
        run->slot_next = slot + 1;
    return run->replica == NULL || restore_checkpoint(run, slot, bytes, size);
}

static bool each(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct run *run = user;
    if (run->replica != NULL && !restore(run, r, bytes, size))
        return false;
    note_told(run, r, bytes, size);
    return true;
}

static void append(struct journal *j, struct run *run, uint64_t *seq, struct record r)
{
    struct value *v = r.value;
    journal_append(j, &r, 1, ++*seq);
    fuzz_check(run->replica == NULL || restore(run, &r, v != NULL ? v->bytes : NULL, v != NULL ? v->size : 0));
    r.value = v;
    note_told(run, &r, r.value != NULL ? r.value->bytes : NULL, r.value != NULL ? r.value->size : 0);
}

static struct value *make_value(slot_t slot, uint32_t text_size)
{
    static char text[VALUE_TEXT_MAX];
    char key[24];
    memset(text, 'a' + (int)(slot % 26), sizeof text);
    struct value_fields f = {.type = VALUE_MESSAGE, .stream = 7, .n = slot, .time_usec = 1790000000000000 + slot};
    f.author = "anna";
    f.author_size = 4;
    f.key = key;
    f.key_size = (uint8_t)snprintf(key, sizeof key, "k%llu", (unsigned long long)slot);
    f.text = text;
    f.text_size = text_size;
    struct value *v = calloc(1, sizeof *v + value_encoded_size(&f));
    fuzz_check(v != NULL);
    v->size = (uint32_t)value_encoded_size(&f);
    value_encode(&f, v->bytes);
    return v;
}

static void append_value(struct journal *j, struct run *run, uint64_t *seq, enum record_type type, slot_t slot)
{
    struct value *v = make_value(slot, VALUE_TEXT_MAX - (uint32_t)(slot * 37 % 900));
    struct record r = {.type = type, .slot = slot, .value = v};
    if (type == RECORD_ACCEPT)
        r.ballot = run->promised;
    append(j, run, seq, r);
    free(v);
}

/* Until nothing is pending: the next segment is allocated, too. */
static void settle(struct journal *j, uint64_t seq)
{
    for (int i = 0; i < 1000 && journal_is_pending(j); i++)
        fuzz_check(journal_write(j) == 0);
    fuzz_check(journal_durable_seq(j) == seq);
}

/* --- the valid one --- */

static void make_identity(void)
{
    own = (struct identity){.status = IDENTITY_VOTER, .id = 3, .life = 0x1122334455667788};
    memset(own.cluster.bytes, 0xc1, sizeof own.cluster.bytes);
    own.configuration = (struct configuration){.alpha = 16, .dedup_slots = 64, .streams_max = 8, .n_members = 3};
    for (uint32_t i = 0; i < own.configuration.n_members; i++) {
        struct member *m = &own.configuration.members[i];
        *m = (struct member){.life = own.life + i - 2, .gen = 1, .id = (replica_id_t)(i + 1), .address_size = 4};
        memcpy(m->address, "h:60", 4);
    }
}

static void written(void *user, int error)
{
    (void)user;
    fuzz_check(error == 0);
}

static enum journal_result open_journal(struct vfs_memory *disk, struct run *run, struct journal **ret, char *error)
{
    static struct identity i;
    const struct journal_options o = {
        .vfs = vfs_memory_vfs(disk), .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN, .written = written};
    enum journal_result r = journal_read_identity(o.vfs, &i, error);
    if (r != JOURNAL_OK)
        return r;
    if (i.status == 0)
        i = own;
    return journal_open(&o, &i, &(struct journal_replay){.checkpoint = take_checkpoint, .each = each, .user = run}, ret,
                        error);
}

/* All of always the same size. */
static const struct replica_config *make_core(struct run *run)
{
    static void *block;
    static struct replica_config config;
    config = (struct replica_config){.identity = own,
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
    values_init(&run->values);
    run->replica = replica_init(block, &config);
    return &config;
}

static void write_checkpoint(struct journal *j, const struct run *run, const struct replica_config *config,
                             uint64_t seq)
{
    uint8_t bytes[CHECKPOINT_SLICE];
    void *block = malloc(checkpoint_writer_size(config));
    fuzz_check(block != NULL);
    struct checkpoint_writer *w = checkpoint_begin(block, run->replica, NULL, 0);
    fuzz_check(journal_checkpoint_begin(j, checkpoint_slot(w), CHECKPOINT_OWN) == 0);
    for (size_t n; !checkpoint_is_written(w);) {
        fuzz_check(checkpoint_write(w, run->replica, bytes, sizeof bytes, &n));
        fuzz_check(journal_checkpoint_append(j, bytes, n) == (int64_t)n);
    }
    journal_checkpoint_finish(j);
    settle(j, seq);
    free(block);
}

static struct vfs_memory *make_valid(enum kind kind)
{
    struct vfs_memory *disk = vfs_memory_new(1);
    struct run run = {.n = 0};
    char error[JOURNAL_ERROR_MAX + 1];
    struct journal *j;
    uint64_t seq = 0;
    slot_t last = kind == KIND_PLAIN ? SLOTS : 2 * SLOTS;
    const struct replica_config *config = make_core(&run);
    fuzz_check(open_journal(disk, &run, &j, error) == JOURNAL_OK);
    append(j, &run, &seq, (struct record){.type = RECORD_PROMISE, .ballot = {.round = 5, .gen = 1, .id = 3}});
    for (slot_t slot = 1; slot <= last; slot++) {
        append_value(j, &run, &seq, slot % 7 == 3 ? RECORD_CHOSEN : RECORD_ACCEPT, slot);
        if (slot % 4 == 0 && slot < last) {
            const struct note notes[] = {{.slot = slot - 2, .type = NOTE_HIDDEN},
                                         {.slot = slot - 1, .type = NOTE_TIME, .time_usec = 1790000000000999}};
            append(j, &run, &seq,
                   (struct record){.type = RECORD_COMMIT, .slot = slot - 1, .notes = notes, .n_notes = 2});
            settle(j, seq);
        }
    }
    settle(j, seq);
    if (kind != KIND_PLAIN)
        write_checkpoint(j, &run, config, seq);
    if (kind == KIND_TRIMMED) {
        journal_trim(j, UINT64_MAX);
        settle(j, seq);
        fuzz_check(journal_first_kept(j) > 1);
    }
    journal_close(j);
    values_done(&run.values);
    return disk;
}

/* --- recovery --- */

static uint32_t sum_files(struct vfs_memory *disk)
{
    uint32_t crc = 0;
    for (int i = 0; i < JOURNAL_FILES; i++) {
        size_t size = 0;
        const uint8_t *bytes = vfs_memory_bytes(disk, journal_names[i], &size);
        crc = crc32c(crc, &size, sizeof size);
        if (bytes != NULL)
            crc = crc32c(crc, bytes, size);
    }
    return crc;
}

static void check_error(const char *error)
{
    size_t size = strnlen(error, JOURNAL_ERROR_MAX + 1);
    fuzz_check(size > 0 && size <= JOURNAL_ERROR_MAX && strchr(error, '\n') == NULL);
}

static bool count(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    (void)bytes;
    fuzz_check(r->type == RECORD_CHOSEN && size > 0 && r->n_notes <= 1);
    ++*(int *)user;
    return true;
}

/* What was handed out at start is what a peer gets. */
static void serve_checkpoint(struct journal *j, const struct run *run)
{
    struct journal_checkpoint c;
    uint8_t bytes[1000];
    if (!journal_checkpoint_newest(j, &c))
        return;
    fuzz_check(c.size == run->checkpoint_bytes);
    for (uint64_t at = 0; at < c.size; at += sizeof bytes)
        fuzz_check(journal_checkpoint_read(j, c.slot, at, bytes, sizeof bytes) > 0);
}

/* Writes more, reads all, and opens it again. */
static void go_on(struct vfs_memory *disk, struct journal *j, struct run *run)
{
    struct run again = {.n = 0};
    char error[JOURNAL_ERROR_MAX + 1];
    uint64_t seq = 0;
    int n = 0, read;
    struct ballot higher = {.round = run->promised.round + (run->promised.round < UINT64_MAX), .gen = 1, .id = 3};
    append(j, run, &seq, (struct record){.type = RECORD_PROMISE, .ballot = higher});
    append_value(j, run, &seq, RECORD_ACCEPT, run->slot_next);
    settle(j, seq);
    read = journal_read(j, journal_first_kept(j), UINT64_MAX, SIZE_MAX, SIZE_MAX, count, &n);
    fuzz_check(read < 0 || read == n);
    serve_checkpoint(j, run);
    journal_close(j);

    vfs_memory_set_mercy(disk, MERCY_LOSE_ALL);
    vfs_memory_power_cut(disk);
    enum journal_result r = open_journal(disk, &again, &j, error);
    if (r != JOURNAL_OK)
        fprintf(stderr, "%s\n", error);
    fuzz_check(r == JOURNAL_OK);
    fuzz_check(again.n == run->n && again.crc == run->crc && ballot_equal(again.promised, run->promised));
    fuzz_check(again.checkpoint_bytes == run->checkpoint_bytes);
    journal_close(j);
}

static void recover(struct vfs_memory *disk, struct run *run, bool is_valid)
{
    char error[JOURNAL_ERROR_MAX + 1];
    uint32_t before = sum_files(disk);
    struct journal *j;
    memset(error, 'x', sizeof error);
    enum journal_result r = open_journal(disk, run, &j, error);
    run->replica = NULL; /* restored */
    if (r == JOURNAL_OK) {
        go_on(disk, j, run);
    } else {
        fuzz_check(r == JOURNAL_REFUSED && !is_valid); /* the disk itself works, and has room */
        check_error(error);
        fuzz_check(sum_files(disk) == before);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.n = 0};
    struct fuzz_input in = {data, data + size};
    uint8_t choices = fuzz_u8(&in);
    enum kind kind = choices & JOURNAL_TRIM ? KIND_TRIMMED : choices & JOURNAL_KEPT ? KIND_KEPT : KIND_PLAIN;
    if (valids[kind] == NULL) {
        make_identity();
        valids[kind] = make_valid(kind);
    }
    bool is_valid = choices & JOURNAL_EDIT && fuzz_left(&in) == 0;
    struct vfs_memory *disk = choices & JOURNAL_EDIT ? vfs_memory_clone(valids[kind], 1) : vfs_memory_new(1);
    while (choices & JOURNAL_EDIT && fuzz_left(&in) > 0)
        journal_edit(disk, valids[kind], &in);
    journal_make_files(disk, &in);
    if (choices & JOURNAL_MEND)
        journal_mend(disk);
    if (choices & JOURNAL_CORE)
        make_core(&run);
    recover(disk, &run, is_valid);
    if (choices & JOURNAL_CORE)
        values_done(&run.values);
    vfs_memory_free(disk);
    return 0;
}
