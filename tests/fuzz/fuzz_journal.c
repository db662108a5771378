/* A state directory as rot, torn writes, other software and a bad repair may leave it; then recovery, and going on.
 *
 * Input: choices (enum). Without EDIT, files: name u8 (an index), size u16, bytes. With it, edits of a valid journal
 * (two superblocks, two segments or three, a reserve; with KEPT or TRIM a checkpoint): op u8, file u8, place u16, size
 * u8, and what the op takes. With MEND all checksums are made to match afterwards, so that the damage gets behind them.
 * With CORE a replica restores what is read, and refuses what cannot follow. With ACTS their number goes before the
 * edits, and acts follow them (journal_acts.c).
 * Checked: whoever is refused is told why, and nothing was changed; what was opened can be written, read, and opened
 * again after a power cut, with the same records. Without MEND also that all that is told was written
 * (journal_truth.h), that nothing is missing in silence, and that whoever lost votes knows it. */
#include "paxos/crc32c.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_damage.h"
#include "tests/fuzz/journal_session.h"

/* --- opening --- */

/* As the daemon's driver does. */
static bool restore(struct session *s, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct effects e;
    r->value = NULL;
    if (bytes != NULL && r->slot > s->reader.slot &&
        values_copy(&s->values, bytes, size, &story_identity()->cluster, &r->value) < 0)
        return false;
    bool ok = replica_restore(s->replica, r, &e);
    values_release(e.released);
    values_unref(r->value);
    return ok;
}

/* As the daemon's driver does, too. */
static bool restore_checkpoint(struct session *s, slot_t slot, const uint8_t *bytes, size_t size)
{
    const uint8_t *host;
    size_t host_size;
    if (bytes == NULL)
        return s->reader.slot == slot && replica_restore_checkpoint(s->replica, &s->reader);
    if (s->reader.own == NULL)
        checkpoint_load(&s->reader, s->replica);
    return checkpoint_read(&s->reader, bytes, size, &host, &host_size);
}

static bool take_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct session *s = user;
    fuzz_check(slot < UINT64_MAX && (bytes != NULL) == (size > 0));
    told_checkpoint(&s->told, slot, bytes, size);
    return s->replica == NULL || restore_checkpoint(s, slot, bytes, size);
}

static bool take_record(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct session *s = user;
    if (s->replica != NULL && !restore(s, r, bytes, size))
        return false;
    told_record(&s->told, r, bytes, size);
    return true;
}

static void written(void *user, int error)
{
    const struct session *s = user;
    fuzz_check(error == 0 || s->is_faulty);
}

enum journal_result session_open(struct session *s)
{
    static struct identity i;
    const struct journal_options o = {
        .vfs = vfs_memory_vfs(s->disk), .segment_bytes = JOURNAL_SEGMENT_BYTES_MIN, .written = written, .user = s};
    const struct journal_replay replay = {.checkpoint = take_checkpoint, .each = take_record, .user = s};
    s->seq = s->trim_below = 0;
    s->told.n = 0;
    s->told.promised = (struct ballot){.round = 0};
    s->told.identity.status = 0;
    s->told.checkpoint = (struct truth_checkpoint){.slot = 0};
    s->told.is_too_much = false;
    memset(s->error, 'x', sizeof s->error);
    enum journal_result r = journal_read_identity(o.vfs, &i, s->error);
    if (r != JOURNAL_OK)
        return r;
    return journal_open(&o, i.status == 0 ? story_identity() : &i, &replay, &s->journal, s->error);
}

/* --- whatever was written --- */

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
static void serve_checkpoint(const struct session *s)
{
    struct journal_checkpoint c;
    uint8_t bytes[1000];
    uint32_t crc = 0;
    if (!journal_checkpoint_newest(s->journal, &c))
        return;
    fuzz_check(c.slot == s->told.checkpoint.slot && c.size == s->told.checkpoint.size);
    for (uint64_t at = 0; at < c.size; at += sizeof bytes) {
        int64_t n = journal_checkpoint_read(s->journal, c.slot, at, bytes, sizeof bytes);
        fuzz_check(n > 0);
        crc = crc32c(crc, bytes, (size_t)n);
    }
    fuzz_check(crc == s->told.checkpoint.crc);
}

static slot_t next_slot(const struct told *g)
{
    slot_t next = g->checkpoint.slot > 0 ? g->checkpoint.slot + 1 : 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->records[i].type != RECORD_COMMIT && g->records[i].slot >= next)
            next = g->records[i].slot + 1;
    return next;
}

/* Writes more, reads all, and opens it again. What is forged may name batches that come later than itself: whatever
 * comes there is then missing at each start anew, and what was known of it counts as lost again. */
static void go_on(struct session *s, bool is_forged)
{
    static struct told before;
    int n = 0, read;
    struct ballot higher = {.round = s->told.promised.round + (s->told.promised.round < UINT64_MAX), .gen = 1, .id = 3};
    const struct truth_record of = {.slot = next_slot(&s->told), .ballot = higher, .text_size = 900};
    struct value *v = truth_value(&of);
    const struct record records[] = {{.type = RECORD_PROMISE, .ballot = higher},
                                     {.type = RECORD_ACCEPT, .slot = of.slot, .ballot = higher, .value = v}};
    journal_append(s->journal, records, 2, 2);
    for (int i = 0; i < 2; i++)
        told_record(&s->told, &records[i], i == 1 ? v->bytes : NULL, i == 1 ? v->size : 0);
    free(v);
    for (int i = 0; i < 1000 && journal_is_pending(s->journal); i++)
        fuzz_check(journal_write(s->journal) == 0);
    fuzz_check(journal_durable_seq(s->journal) == 2);
    read = journal_read(s->journal, journal_first_kept(s->journal), UINT64_MAX, SIZE_MAX, SIZE_MAX, count, &n);
    fuzz_check(read < 0 || read == n);
    serve_checkpoint(s);
    journal_close(s->journal);
    before = s->told;

    vfs_memory_set_mercy(s->disk, MERCY_LOSE_ALL);
    vfs_memory_power_cut(s->disk);
    enum journal_result r = session_open(s);
    if (r != JOURNAL_OK)
        fprintf(stderr, "%s\n", s->error);
    fuzz_check(r == JOURNAL_OK);
    fuzz_check(s->told.n == before.n && ballot_equal(s->told.promised, before.promised));
    for (size_t i = 0; i < before.n; i++)
        fuzz_check(s->told.records[i].crc == before.records[i].crc &&
                   s->told.records[i].slot == before.records[i].slot &&
                   s->told.records[i].type == before.records[i].type &&
                   ballot_equal(s->told.records[i].ballot, before.records[i].ballot));
    fuzz_check(memcmp(&s->told.checkpoint, &before.checkpoint, sizeof before.checkpoint) == 0);
    fuzz_check(s->told.identity.status == before.identity.status &&
               (before.identity.status == 0 || s->told.identity.silent_until == before.identity.silent_until ||
                (is_forged && s->told.identity.silent_until > before.identity.silent_until)));
}

/* --- against the truth --- */

/* What damage to a copy of the story means. */
struct verdict {
    size_t sure;
    bool must_open, must_refuse, is_same, is_torn, is_judged, is_lost;
};

static struct verdict judge(const struct story *story, struct vfs_memory *disk)
{
    struct verdict v = {.sure = story_sure(story, disk),
                        .must_open = story_must_open(story, disk),
                        .must_refuse = story_must_refuse(story, disk),
                        .is_same = story_is_same(story, disk),
                        .is_torn = story_is_torn(story, disk)};
    v.is_judged = story_judge(story, disk, &v.is_lost);
    return v;
}

static void check_refused(const struct session *s, const struct verdict *v)
{
    if (v->must_open)
        fprintf(stderr, "%s\n", s->error);
    fuzz_check(!v->must_open);
}

static void check_opened(struct session *s, const struct verdict *v)
{
    const struct identity *i = &s->told.identity;
    size_t end = truth_match(&s->truth, &s->told);
    bool is_cut = s->error[0] != '\0';
    fuzz_check(!v->must_refuse && (!v->must_open || s->told.checkpoint.slot == s->truth.checkpoint.slot));
    fuzz_check(is_cut == (i->status != 0));
    if (v->is_same || v->is_torn)
        fuzz_check(!is_cut && truth_is_whole(&s->truth, &s->told, end, v->sure));
    if (!truth_is_whole(&s->truth, &s->told, end, v->sure))
        fuzz_check(is_cut);
    if (is_cut) {
        truth_check_loss(&s->truth, &s->told, end, v->sure);
        if (v->is_judged)
            fuzz_check(i->status == (v->is_lost ? IDENTITY_QUARANTINED : IDENTITY_VOTER));
    }
    truth_adopt(&s->truth, &s->told, end);
}

/* --- an input --- */

static void recover(struct session *s, unsigned choices, struct fuzz_input *acts)
{
    bool is_true = choices & JOURNAL_EDIT && !(choices & JOURNAL_MEND);
    uint32_t before = sum_files(s->disk);
    struct verdict v = {.sure = 0};
    if (is_true)
        v = judge(s->story, s->disk);
    enum journal_result r = session_open(s);
    s->replica = NULL; /* restored */
    if (r != JOURNAL_OK) {
        fuzz_check(r == JOURNAL_REFUSED); /* the disk itself works, and has room */
        check_error(s->error);
        fuzz_check(sum_files(s->disk) == before);
        if (is_true)
            check_refused(s, &v);
        return;
    }
    if (s->error[0] != '\0')
        check_error(s->error);
    if (is_true)
        check_opened(s, &v);
    s->is_damaged = !v.is_same;
    if (is_true && choices & JOURNAL_ACTS)
        session_act(s, acts);
    else
        go_on(s, choices & JOURNAL_MEND);
    journal_close(s->journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session s;
    struct fuzz_input in = {data, data + size};
    const struct replica_config *config;
    unsigned choices = fuzz_u8(&in);
    unsigned edits = choices & JOURNAL_ACTS ? fuzz_u8(&in) : UINT32_MAX;
    s.story = story_get(choices);
    s.truth = s.story->truth;
    s.disk = choices & JOURNAL_EDIT ? vfs_memory_clone(s.story->disk, 1) : vfs_memory_new(1);
    s.journal = NULL;
    s.is_faulty = s.is_tight = false;
    for (unsigned i = 0; choices & JOURNAL_EDIT && i < edits && fuzz_left(&in) > 0; i++)
        journal_edit(s.disk, s.story->disk, &in, choices & JOURNAL_MEND);
    if (!(choices & JOURNAL_EDIT))
        journal_make_files(s.disk, &in);
    if (choices & JOURNAL_MEND)
        journal_mend(s.disk);
    values_init(&s.values);
    s.reader = (struct checkpoint_reader){.slot = 0};
    s.replica = choices & JOURNAL_CORE ? story_core(&config) : NULL;
    recover(&s, choices, &in);
    values_done(&s.values);
    vfs_memory_free(s.disk);
    return 0;
}
