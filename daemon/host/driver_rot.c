/* What rotted in the journal of this replica: found, told, tried again, and given up at last.
 *
 * A slow pass over the full segments finds what no read comes upon. driver_mend.c gets it from the peers; what did not
 * come is tried again, ever later, and at once when one of them comes back. What none of them has is passed over in the
 * chat log file, where that would hold up a trim or a peer's checkpoint. */
#include <inttypes.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/rot_text.h"

enum {
    AGAIN_USEC = 10000000, /* what could not be mended; then twice as late */
    AGAIN_MOST_USEC = 640000000,
    AWAY_USEC = 30000000,
    SKIP_SLOTS_MAX = 1024,       /* of the chat log file, in a tick                */
    SCRUB_STRETCHES_MAX = 8,     /* in a tick: a very large log takes longer       */
    SCRUB_PAUSE_USEC = 60000000, /* between two passes, and where there is nothing */
};

#define SCRUB_USEC UINT64_C(86400000000) /* a pass */

/* --- looking for it --- */

static void scrub(struct driver *d, uint64_t now_usec)
{
    struct known_rot *known = &d->rot;
    uint64_t pass_usec = d->options.scrub_usec != 0 ? d->options.scrub_usec : SCRUB_USEC;
    struct journal_stats stats;
    if (now_usec < known->scrub_usec)
        return;
    if (known->scrub_bytes == 0) {
        journal_stats(d->journal, &stats);
        known->scrub_bytes = stats.bytes;
        known->scrub_usec = now_usec;
    }
    for (int i = 0; i < SCRUB_STRETCHES_MAX && known->scrub_usec <= now_usec; i++) {
        int64_t n = journal_scrub(d->journal);
        known->scrub_usec += n == 0 ? SCRUB_PAUSE_USEC : pass_usec / (known->scrub_bytes / (uint64_t)n + 1);
        if (n == 0)
            known->scrub_bytes = 0;
    }
    if (known->scrub_usec < now_usec) /* what was not done in time is not made up for */
        known->scrub_usec = now_usec;
}

/* What a checkpoint stands for is in memory, too: another one takes the place of one that rotted. */
static void replace_checkpoint(struct driver *d)
{
    if (!journal_checkpoint_is_damaged(d->journal) || d->checkpoint.writer != NULL || d->checkpoint.is_wanted)
        return;
    d->checkpoint.is_wanted = true;
    log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_WARNING, "journal: the checkpoint is damaged: another one is written");
}

/* --- telling --- */

/* Each segment as it is found, and where nothing comes of it; but not at every attempt. */
static void tell_one(struct known_rot *known, struct journal_rot *k)
{
    char text[ROT_TEXT_MAX + 1];
    const struct journal_rot *before = NULL;
    for (size_t i = 0; i < known->n_rot; i++)
        if (known->rot[i].segment == k->segment)
            before = &known->rot[i];
    if (before != NULL && (k->state == before->state || k->state == JOURNAL_ROT_FOUND ||
                           (k->state == JOURNAL_ROT_MENDING && before->state != JOURNAL_ROT_FOUND))) {
        k->state = before->state;
        return;
    }
    if (before == NULL)
        known->again_wait_usec = AGAIN_USEC;
    if (k->state == JOURNAL_ROT_FOUND)
        return;
    rot_describe(k, text);
    log_limited(LOG_KIND_MEND, LOG_LEVEL_WARNING, "journal: %s", text);
}

static void tell(struct driver *d)
{
    struct known_rot *known = &d->rot;
    struct journal_rot now[JOURNAL_ROT_MAX];
    struct journal_stats stats;
    struct journal_checkpoint newest;
    size_t n = journal_rot(d->journal, now);
    if (n == 0 && known->n_rot == 0)
        return;
    journal_checkpoint_newest(d->journal, &newest);
    for (size_t i = 0; i < n; i++) {
        if (now[i].state == JOURNAL_ROT_OPEN && now[i].covered_by <= newest.slot)
            known->again_usec = 0;
        else if (now[i].state == JOURNAL_ROT_OPEN && now[i].covered_by <= replica_chosen(d->replica))
            driver_checkpoint_cover(d, now[i].covered_by);
        tell_one(known, &now[i]);
    }
    memcpy(known->rot, now, n * sizeof(now[0]));
    known->n_rot = n;
    journal_stats(d->journal, &stats);
    if (stats.segments_mended > known->mended)
        log_line(LOG_LEVEL_NOTICE, "journal: what rotted in %" PRIu64 " segment(s) was fetched again, and is readable",
                 stats.segments_mended - known->mended);
    known->mended = stats.segments_mended;
}

/* --- giving it up --- */

/* Members that have not been linked for long, or are behind themselves, count as if they did not have it, but only
 * where a checkpoint waits to be installed: else one that is down would keep this replica behind for ever. */
static uint32_t find_away(const struct driver *d, slot_t slot, uint64_t now_usec)
{
    uint32_t set = 0;
    if (driver_install_obsoletes(d) == 0 || !d->status.quorum)
        return 0;
    for (uint32_t i = 0; i < d->status.n_peers; i++) {
        const struct peer_status *p = &d->status.peers[i];
        int member = driver_find_member(d, p->id);
        if (member >= 0 && (p->linked ? p->chosen < slot : now_usec - d->rot.linked_usec[member] >= AWAY_USEC))
            set |= UINT32_C(1) << member;
    }
    return set;
}

/* All of the run is gone that cannot be read here: it is mended as a whole or not at all. */
void driver_rot_note_gone(struct driver *d, slot_t slot, uint32_t lacking, uint64_t now_usec)
{
    struct known_rot *known = &d->rot;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    struct slot_range r;
    if ((lacking | find_away(d, slot, now_usec)) != (UINT32_C(1) << d->n_members) - 1 ||
        !journal_mend_slots(d->journal, &r.first, &r.last))
        return;
    for (size_t i = 0, n = journal_rot(d->journal, rot); i < n; i++)
        if (rot[i].state == JOURNAL_ROT_MENDING && rot[i].first <= r.first && r.first <= rot[i].last)
            r.first = rot[i].first;
    for (size_t i = 0; i < known->n_gone; i++)
        if (known->gone[i].first <= r.first && r.last <= known->gone[i].last)
            return;
    if (known->n_gone == JOURNAL_ROT_MAX)
        known->n_gone = 0;
    known->gone[known->n_gone++] = r;
}

static bool take_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)record, (void)bytes, (void)size;
    return true;
}

/* Nothing comes of it: what no checkpoint will cover either, since this replica cannot go on but from a peer's. */
static bool is_given_up(const struct driver *d, const struct journal_rot *k)
{
    return k->state == JOURNAL_ROT_STUCK || (k->state == JOURNAL_ROT_OPEN && driver_install_obsoletes(d) != 0 &&
                                             k->covered_by > replica_chosen(d->replica));
}

/* To whom it matters: the flushes' reader. The loop's may still hold in memory what rotted since. */
static bool is_lost(struct driver *d, slot_t slot)
{
    const struct known_rot *known = &d->rot;
    struct journal_rot rot[JOURNAL_ROT_MAX];
    size_t n = journal_rot(d->journal, rot);
    bool given_up = false;
    for (size_t i = 0; i < n; i++)
        given_up |= is_given_up(d, &rot[i]) && slot >= rot[i].first && slot <= rot[i].last;
    for (size_t i = 0; i < known->n_gone; i++)
        given_up |= slot >= known->gone[i].first && slot <= known->gone[i].last;
    return given_up && journal_reader_read(d->flushing.view.reader, slot, slot, 1, 1, take_record, NULL) < 0;
}

void driver_rot_skip(struct driver *d, slot_t until)
{
    slot_t flushed = flushes_flushed(d->flushes), last = flushed;
    if (d->rot.n_rot == 0 || flushes_is_running(d->flushes))
        return;
    while (last < until && last < flushed + SKIP_SLOTS_MAX && is_lost(d, last + 1))
        last++;
    if (last > flushed)
        flushes_skip(d->flushes, last);
}

/* --- on a tick --- */

void driver_rot_tick(struct driver *d, uint64_t now_usec)
{
    struct known_rot *known = &d->rot;
    scrub(d, now_usec);
    replace_checkpoint(d);
    tell(d);
    for (uint32_t i = 0; i < d->status.n_peers; i++) {
        int member = driver_find_member(d, d->status.peers[i].id);
        if (member >= 0 && (d->status.peers[i].linked || known->linked_usec[member] == 0))
            known->linked_usec[member] = now_usec;
    }
    if (known->n_linked < d->status.n_linked) { /* who comes back may have it */
        known->again_wait_usec = AGAIN_USEC;
        known->again_usec = 0;
    }
    known->n_linked = d->status.n_linked;
    if (known->n_rot == 0 || now_usec < known->again_usec)
        return;
    journal_rot_again(d->journal);
    d->dirty = true;
    known->again_usec = now_usec + known->again_wait_usec;
    if (known->again_wait_usec < AGAIN_MOST_USEC)
        known->again_wait_usec *= 2;
}
