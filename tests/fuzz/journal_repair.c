/* Rot while a journal is open, and a peer that has what stood there. */
#include <errno.h>

#include "journal/format.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_session.h"

enum { REPAIR_STEPS_MAX = 20000, SEGMENTS_MAX = 64, STRETCHES_MAX = 20000 };

/* A segment that is full; NULL: there is none of this number. */
static const char *full_segment(const struct session *s, unsigned number)
{
    static char name[SEGMENT_NAME_BYTES];
    char next[SEGMENT_NAME_BYTES];
    size_t size;
    segment_name(number % SEGMENTS_MAX, name);
    segment_name(number % SEGMENTS_MAX + 1, next);
    return vfs_memory_bytes(s->disk, name, &size) != NULL && vfs_memory_bytes(s->disk, next, &size) != NULL ? name
                                                                                                            : NULL;
}

static uint64_t batch_at(const struct session *s, const char *name, unsigned n, uint32_t *ret_size)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(s->disk, name, &size);
    struct batch_header h;
    for (uint64_t at = SEGMENT_HEADER_BYTES; at + BATCH_HEADER_BYTES <= size; at += h.size) {
        if (!batch_header_decode(bytes + at, &h))
            break;
        *ret_size = h.size;
        if (n-- == 0)
            return at;
    }
    return 0;
}

static void exchange(struct session *s, const char *name, unsigned a, unsigned b)
{
    uint32_t a_size = 0, b_size = 0;
    uint64_t at_a = batch_at(s, name, a, &a_size), at_b = batch_at(s, name, b, &b_size);
    if (at_a == 0 || at_b == 0 || at_a == at_b)
        return;
    vfs_memory_swap(s->disk, name, at_a, at_b, a_size < b_size ? a_size : b_size);
    s->is_damaged = true;
}

void session_spoil(struct session *s, enum journal_act act, struct fuzz_input *in)
{
    const char *name = full_segment(s, fuzz_u8(in));
    unsigned place = fuzz_u16(in), how = act == JOURNAL_EXCHANGE ? 0 : fuzz_u8(in);
    if (name == NULL)
        return;
    if (act == JOURNAL_EXCHANGE)
        exchange(s, name, place % 256, place / 256);
    else if (act == JOURNAL_BLANK)
        s->is_damaged |= vfs_memory_zero(s->disk, name, place, (uint64_t)how * BATCH_ALIGN);
    else
        s->is_damaged |= vfs_memory_flip(s->disk, name, place, (uint8_t)how);
}

void session_scrub(struct session *s, unsigned n)
{
    while (n-- > 0 && journal_scrub(s->journal) > 0)
        ;
}

/* What the cluster chose, as a peer has it. */
static struct value *peer_value(const struct session *s, slot_t slot, struct note *ret_note)
{
    const struct truth_record any = {.type = RECORD_CHOSEN, .slot = slot, .text_size = 5};
    const struct truth_record *r = truth_chosen(&s->truth, slot, ret_note);
    if (r == NULL)
        r = truth_chosen(&s->story->truth, slot, ret_note);
    return truth_value(r != NULL ? r : &any);
}

/* Another log's is not taken, as far as it can be told. */
static void offer_wrong(struct session *s, slot_t slot)
{
    struct note note;
    const struct truth_record *r = truth_chosen(&s->truth, slot, &note);
    if (r == NULL || slot < journal_first_kept(s->journal) || !truth_check_read(&s->truth, s->journal, slot, slot))
        return;
    struct truth_record other = *r;
    other.text_size = r->text_size % TRUTH_TEXT_MAX + 1;
    struct value *v = truth_value(&other);
    fuzz_check(journal_mend_add(s->journal, slot, &note, v) == -EINVAL);
    free(v);
}

/* `how`: 1: nobody has some slots; 2: a wrong one comes, too. False: as session_write(). */
bool session_repair(struct session *s, unsigned how)
{
    static struct journal_rot rot[JOURNAL_ROT_MAX];
    slot_t first, last;
    for (int i = 0; i < REPAIR_STEPS_MAX; i++) {
        bool more = journal_rot_work(s->journal);
        if (how & 8 && journal_rot(s->journal, rot) == 0)
            return true;
        if (journal_mend_slots(s->journal, &first, &last)) {
            struct note note;
            fuzz_check(first <= last);
            if (how & 1 && first % 8 == how / 32) {
                journal_mend_put_off(s->journal);
                continue;
            }
            if (how & 2)
                offer_wrong(s, first);
            struct value *v = peer_value(s, first, &note);
            fuzz_check(journal_mend_add(s->journal, first, &note, v) == 0);
            s->truth.is_mended = true;
            free(v);
            continue;
        }
        if (more)
            continue;
        if (!journal_is_pending(s->journal))
            return true;
        if (!session_write(s, 1))
            return false;
    }
    fuzz_check(!"repair comes to an end");
    return true;
}

bool session_scrub_all(struct session *s)
{
    static struct journal_rot rot[JOURNAL_ROT_MAX];
    for (int pass = 0; pass < 2; pass++) /* the first may begin in the middle */
        session_scrub(s, STRETCHES_MAX);
    return journal_rot(s->journal, rot) == 0;
}
