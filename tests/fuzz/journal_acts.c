/* A journal at work: faults, rot while it is open, mending, full disks, power cuts and starts, all beside the truth. */
#include <errno.h>

#include "paxos/crc32c.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_session.h"

enum {
    OPEN_SLOTS_MAX = 16,
    RECORDS_SPARE = 64, /* of TRUTH_RECORDS_MAX, for what a last act appends */
    WRITES_MAX = 2000,
    PLENTY = 255,
};

/* --- starts --- */

static size_t durable_records(const struct session *s)
{
    uint64_t durable = journal_durable_seq(s->journal);
    size_t n = 0;
    while (n < s->truth.n && s->truth.records[n].seq <= durable)
        n++;
    return n;
}

static void note_checkpoint(struct session *s)
{
    struct journal_checkpoint c;
    if (!journal_checkpoint_newest(s->journal, &c) || c.slot == s->truth.checkpoint.slot)
        return;
    fuzz_check(c.slot == s->truth.next.slot && c.size == s->truth.next.size);
    s->truth.checkpoint = s->truth.next;
}

/* What was durable is there, or the damage that took it is told, and what that means for votes. */
static void judge(struct session *s, size_t sure, bool was_cut)
{
    size_t end = truth_match(&s->truth, &s->told);
    bool is_told = s->error[0] != '\0' || (was_cut && s->told.identity.status != 0);
    fuzz_check(s->error[0] == '\0' || s->is_damaged);
    fuzz_check(s->told.checkpoint.slot >= s->truth.checkpoint.slot);
    if (!truth_is_whole(&s->truth, &s->told, end, sure)) {
        fuzz_check(s->is_damaged && is_told);
        truth_check_loss(&s->truth, &s->told, end, sure);
    }
    truth_adopt(&s->truth, &s->told, end);
}

/* Whatever the disk was, now it works. */
static void start(struct session *s, size_t sure, bool was_cut)
{
    vfs_memory_heal(s->disk);
    s->is_faulty = false;
    fuzz_check(session_open(s) == JOURNAL_OK);
    judge(s, sure, was_cut);
}

static size_t stop(struct session *s)
{
    size_t sure = durable_records(s);
    note_checkpoint(s);
    journal_close(s->journal);
    s->journal = NULL;
    return sure;
}

static void cut_power(struct session *s, enum vfs_memory_mercy mercy)
{
    size_t sure = stop(s);
    vfs_memory_set_mercy(s->disk, mercy);
    vfs_memory_power_cut(s->disk);
    start(s, sure, false);
}

static void start_cut(struct session *s, unsigned step, bool is_power)
{
    size_t sure = stop(s);
    vfs_memory_heal(s->disk);
    vfs_memory_fail_at(s->disk, VFS_MEMORY_CHANGES, step + 1, -EIO, is_power);
    enum journal_result r = session_open(s);
    if (r == JOURNAL_OK) {
        s->is_faulty = true;
        judge(s, sure, false);
        return;
    }
    fuzz_check(r == JOURNAL_IO && s->error[0] != '\0');
    if (is_power) {
        vfs_memory_set_mercy(s->disk, s->is_tight ? MERCY_WHOLE_SECTORS : MERCY_BY_SEED);
        vfs_memory_power_cut(s->disk);
    }
    start(s, sure, true);
}

/* --- work --- */

bool session_write(struct session *s, unsigned n)
{
    for (unsigned i = 0; i < n && journal_is_pending(s->journal); i++) {
        if (journal_write(s->journal) == 0)
            continue;
        fuzz_check(s->is_faulty && journal_write(s->journal) < 0);
        bool has_failed = vfs_memory_has_failed(s->disk);
        size_t sure = stop(s);
        if (has_failed && s->seq % 2 == 0) {
            vfs_memory_set_mercy(s->disk, MERCY_BY_SEED);
            vfs_memory_power_cut(s->disk);
        }
        start(s, sure, false);
        return false;
    }
    note_checkpoint(s);
    return true;
}

static bool may_append(const struct session *s)
{
    return s->truth.n + RECORDS_SPARE < TRUTH_RECORDS_MAX && journal_has_space(s->journal);
}

static void append(struct session *s, struct truth_record r)
{
    truth_append(&s->truth, s->journal, &r, ++s->seq);
}

static void append_promise(struct session *s)
{
    if (may_append(s))
        append(s, (struct truth_record){.type = RECORD_PROMISE,
                                        .ballot = {.round = s->truth.promised.round + 1, .gen = 1, .id = 3}});
}

static void append_commit(struct session *s, slot_t slot)
{
    struct truth_record r = {.type = RECORD_COMMIT, .slot = slot, .recorded_until = truth_recorded(&s->truth)};
    slot_t commit = truth_commit(&s->truth);
    if (slot <= commit || !may_append(s))
        return;
    if (slot - 1 > commit)
        r.notes[r.n_notes++] = (struct note){.slot = slot - 1, .type = NOTE_HIDDEN};
    r.notes[r.n_notes++] = (struct note){.slot = slot, .type = NOTE_TIME, .time_usec = 1790000000000000 + slot};
    append(s, r);
}

static void append_values(struct session *s, unsigned how)
{
    slot_t next = truth_commit(&s->truth) + 1, first = next;
    if (ballot_is_none(s->truth.promised))
        append_promise(s);
    while (truth_has(&s->truth, next))
        next++;
    for (unsigned i = 0; i <= how % 8 && next < first + OPEN_SLOTS_MAX && may_append(s); i++, next++)
        append(s, (struct truth_record){.type = next % 5 == 3 || how & 0x40 ? RECORD_CHOSEN : RECORD_ACCEPT,
                                        .slot = next,
                                        .ballot = s->truth.promised,
                                        .text_size = 1 + (uint32_t)(next * 613 + how * 37) % TRUTH_TEXT_MAX});
    while (truth_has(&s->truth, next))
        next++;
    if (how & 0x80)
        append_commit(s, next - 1);
}

static void write_checkpoint(struct session *s, unsigned how)
{
    uint8_t bytes[100];
    struct truth_checkpoint c = {.slot = truth_commit(&s->truth)};
    if (journal_checkpoint_state(s->journal) != CHECKPOINT_IDLE) {
        journal_checkpoint_cancel(s->journal);
        return;
    }
    if (c.slot <= s->truth.checkpoint.slot)
        return;
    fuzz_check(journal_checkpoint_begin(s->journal, c.slot, CHECKPOINT_OWN) == 0);
    for (unsigned i = 0; i <= how % 64; i++) {
        memset(bytes, (int)(c.slot + i), sizeof bytes);
        fuzz_check(journal_checkpoint_append(s->journal, bytes, sizeof bytes) == sizeof bytes);
        c.crc = crc32c(c.crc, bytes, sizeof bytes);
        c.size += sizeof bytes;
    }
    s->truth.next = c;
    if (how & 0x80)
        journal_checkpoint_cancel(s->journal);
    else
        journal_checkpoint_finish(s->journal);
}

/* What was asked for before holds on. */
static void trim(struct session *s, slot_t slot)
{
    slot_t before = journal_first_kept(s->journal);
    if (slot > s->trim_below)
        s->trim_below = slot;
    journal_trim(s->journal, slot);
    if (session_write(s, WRITES_MAX)) {
        slot_t kept = journal_first_kept(s->journal);
        fuzz_check(kept >= before && kept <= (s->trim_below > before ? s->trim_below : before));
    }
}

/* Slot 0 is in none of these journals. */
static bool read_all(struct session *s, slot_t skip)
{
    slot_t first = journal_first_kept(s->journal);
    return truth_check_read(&s->truth, s->journal, (first > 0 ? first : 1) + skip, truth_commit(&s->truth));
}

/* What cannot be read for rot is known from then on. */
static void read_some(struct session *s, slot_t skip)
{
    static struct journal_rot rot[JOURNAL_ROT_MAX];
    if (read_all(s, skip) || s->is_faulty)
        return;
    fuzz_check(s->is_damaged && journal_rot(s->journal, rot) > 0);
}

/* --- faults --- */

static void fail(struct session *s, unsigned how)
{
    static const unsigned kinds[] = {VFS_MEMORY_OPEN,   VFS_MEMORY_WRITE,  VFS_MEMORY_SYNC,     VFS_MEMORY_ALLOCATE,
                                     VFS_MEMORY_RENAME, VFS_MEMORY_REMOVE, VFS_MEMORY_DIR_SYNC, VFS_MEMORY_CHANGES};
    vfs_memory_fail_at(s->disk, kinds[how % 8], 1 + how / 8 % 16, -EIO, how & 0x80);
    s->is_faulty = true;
}

/* What could not be read once is not taken for rot for good. */
static void fail_read(struct session *s, unsigned how)
{
    if (s->is_faulty)
        return;
    vfs_memory_fail_at(s->disk, VFS_MEMORY_READ, 1 + how % 16, -EIO, false);
    read_all(s, 0);
    session_scrub(s, how / 16);
    vfs_memory_heal(s->disk);
}

static void make_room(struct session *s, unsigned how)
{
    s->is_tight = how != PLENTY;
    vfs_memory_set_budget(s->disk, how == PLENTY ? UINT64_MAX : vfs_memory_used(s->disk) + (uint64_t)how * 4096);
    vfs_memory_hide_budget(s->disk, how & 1 && how != PLENTY);
    journal_write(s->journal); /* as the journal's thread does now and then */
    note_checkpoint(s);
}

/* --- all of it --- */

static void act_on_disk(struct session *s, enum journal_act act, unsigned how)
{
    switch (act) {
    case JOURNAL_FAIL:
        fail(s, how);
        break;
    case JOURNAL_FAIL_READ:
        fail_read(s, how);
        break;
    case JOURNAL_ROOM:
        if (!s->is_faulty)
            make_room(s, how);
        break;
    case JOURNAL_POWER_CUT:
        cut_power(s, (enum vfs_memory_mercy)(how % (MERCY_KEEP_ALL + 1)));
        break;
    case JOURNAL_START:
        start(s, stop(s), false);
        break;
    case JOURNAL_START_CUT:
        start_cut(s, how % 64, how & 0x80);
        break;
    default:
        break;
    }
}

static void act_once(struct session *s, enum journal_act act, struct fuzz_input *in)
{
    unsigned how;
    switch (act) {
    case JOURNAL_APPEND_VALUES:
        append_values(s, fuzz_u8(in));
        break;
    case JOURNAL_APPEND_PROMISE:
        append_promise(s);
        break;
    case JOURNAL_WRITE:
        session_write(s, 1 + fuzz_u8(in));
        break;
    case JOURNAL_READ:
        read_some(s, fuzz_u8(in));
        break;
    case JOURNAL_SPOIL:
    case JOURNAL_BLANK:
    case JOURNAL_EXCHANGE:
        session_spoil(s, act, in);
        break;
    case JOURNAL_SCRUB:
        session_scrub(s, 1 + fuzz_u8(in));
        break;
    case JOURNAL_REPAIR:
        how = fuzz_u8(in);
        if (how & 4)
            journal_rot_again(s->journal);
        if (session_repair(s, how) && how & 8 && !s->is_faulty && session_scrub_all(s) && session_write(s, WRITES_MAX))
            s->is_damaged = false;
        break;
    case JOURNAL_CHECKPOINT:
        write_checkpoint(s, fuzz_u8(in));
        break;
    case JOURNAL_TRIM_AT:
        trim(s, fuzz_u8(in));
        break;
    default:
        act_on_disk(s, act, fuzz_u8(in));
        break;
    }
}

/* The disk works, and a peer has everything: what can be mended is, and then all can be read. */
static void settle(struct session *s)
{
    static struct journal_rot rot[JOURNAL_ROT_MAX];
    vfs_memory_heal(s->disk);
    vfs_memory_set_budget(s->disk, UINT64_MAX);
    s->is_faulty = s->is_faulty || vfs_memory_has_failed(s->disk);
    journal_write(s->journal);
    session_scrub_all(s);
    journal_rot_again(s->journal);
    fuzz_check(session_repair(s, 0) || s->is_faulty);
    size_t n = journal_rot(s->journal, rot);
    for (size_t i = 0; i < n; i++)
        fuzz_check(rot[i].state == JOURNAL_ROT_OPEN || rot[i].state == JOURNAL_ROT_STUCK);
    if (n == 0)
        s->is_damaged = false;
}

void session_act(struct session *s, struct fuzz_input *in)
{
    while (fuzz_left(in) > 0)
        act_once(s, (enum journal_act)(fuzz_u8(in) % JOURNAL_ACTS_ALL), in);
    start(s, stop(s), false);
    settle(s);
    append_promise(s);
    append_values(s, 0x81);
    fuzz_check(session_write(s, WRITES_MAX) && durable_records(s) == s->truth.n);
    fuzz_check(read_all(s, 0) || s->is_damaged);
    cut_power(s, MERCY_LOSE_ALL);
    fuzz_check(read_all(s, 0) || s->is_damaged);
}
