/* Checkpoints of this replica's own, and trimming.
 *
 * A checkpoint is written beside everything else: a slice of CHECKPOINT_SLICE_BYTES a turn at the most, as the journal
 * takes it. Where the log goes on faster, it would forget the oldest keys before they are written: those wait here, so
 * that a slow disk makes a checkpoint late, and never impossible. It begins after CHECKPOINT_INTERVAL_BYTES of records,
 * so that a restart reads little more than that; and at an orderly stop, once nobody waits for this replica, so that
 * the restart reads next to nothing.
 *
 * A trim is an entry of the log (mpaxos(7), "Compaction"): the leader, whose kept bytes count, has one chosen; what is
 * below its slot then goes on every replica, once this one's chat log file has it and a checkpoint covers it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/notice.h"
#include "paxos/bytes.h"
#include "paxos/invariant.h"

enum {
    RECORD_OVERHEAD_BYTES = 64, /* of a record on the disk, about                                  */
    RETRY_USEC = 5000000,       /* after a checkpoint that was given up: the disk is full           */
    TRIM_REPEAT_USEC = 1000000, /* the leader's: the one before was lost with a leadership, perhaps */
    TRIM_PATIENCE_PART = 4,     /* a linked follower that lags may make us keep such a part more    */
    STOP_PART = 48,             /* so much of the interval is worth a checkpoint at the end         */
};

/* --- writing one --- */

void driver_checkpoint_count(struct driver *d, const struct record *r)
{
    d->checkpoint.bytes += RECORD_OVERHEAD_BYTES + (r->value != NULL ? r->value->size : 0);
}

static uint64_t interval_bytes(const struct driver *d)
{
    return d->options.checkpoint_bytes != 0 ? d->options.checkpoint_bytes : CHECKPOINT_INTERVAL_BYTES;
}

void driver_checkpoint_cover(struct driver *d, slot_t slot)
{
    struct journal_checkpoint newest;
    if (!journal_checkpoint_newest(d->journal, &newest) || newest.slot < slot)
        d->checkpoint.is_wanted = true;
}

static void writer_end(struct own_checkpoint *c)
{
    free(c->pending);
    c->pending = NULL;
    c->pending_room = c->pending_size = c->pending_at = 0;
    c->writer = NULL;
}

void driver_checkpoint_give_up(struct driver *d, uint64_t retry_usec)
{
    struct own_checkpoint *c = &d->checkpoint;
    if (c->writer != NULL)
        journal_checkpoint_cancel(d->journal);
    writer_end(c);
    c->retry_usec = retry_usec;
    d->appended = true;
}

static bool may_begin(const struct driver *d, uint64_t now_usec)
{
    return now_usec >= d->checkpoint.retry_usec && !d->closing && !d->disk_full && !driver_install_is_active(d) &&
           replica_identity(d->replica)->status >= IDENTITY_VOTER;
}

static bool is_due(const struct driver *d, uint64_t now_usec)
{
    const struct own_checkpoint *c = &d->checkpoint;
    return c->writer == NULL && (c->bytes >= interval_bytes(d) || c->is_wanted) && d->space && may_begin(d, now_usec);
}

static void tell_trouble(struct own_checkpoint *c, int error)
{
    c->trouble = error == -EFBIG     ? "more slots are kept than one has room for; lower retain_mb"
                 : error == -ENODATA ? "memory was out for too long to count the messages on; restart this replica"
                                     : "memory is out; free some on this host";
    log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_WARNING,
                "journal: no checkpoint can be written: restarts take longer, and nothing is trimmed: %s", c->trouble);
}

static void begin(struct driver *d, uint64_t now_usec)
{
    struct own_checkpoint *c = &d->checkpoint;
    struct event e = {.type = EVENT_COMMIT, .now_usec = now_usec};
    driver_step(d, &e); /* what is applied is readable after the next start, too */
    slot_t slot = replica_chosen(d->replica), first_kept = replica_first_kept(d->replica);
    c->retry_usec = now_usec + RETRY_USEC;
    if (slot == 0 || logread_committed_slot(d->logread) != slot)
        return;
    if (c->block == NULL)
        c->block = malloc(c->block_size);
    free(c->host);
    c->host = NULL;
    int error = c->block == NULL ? -ENOMEM : logread_checkpoint(d->logread, first_kept, &c->host, &c->host_size);
    if (error < 0) {
        tell_trouble(c, error);
        return;
    }
    c->trouble = "";
    if (journal_checkpoint_begin(d->journal, slot, CHECKPOINT_OWN) < 0)
        return;
    c->writer = checkpoint_begin(c->block, d->replica, c->host, c->host_size);
    c->is_finished = c->is_wanted = false;
    c->bytes = 0;
    driver_checkpoint_keep_ahead(d);
}

/* The next slice, behind what is pending. False: no memory, so the checkpoint is begun anew after RETRY_USEC. */
static bool fill(struct driver *d)
{
    struct own_checkpoint *c = &d->checkpoint;
    size_t room = c->pending_room == 0 ? CHECKPOINT_SLICE_BYTES : 2 * c->pending_room, n;
    if (c->pending_size + CHECKPOINT_SLICE_BYTES > c->pending_room) {
        uint8_t *pending = realloc(c->pending, room);
        if (pending == NULL) {
            driver_checkpoint_give_up(d, driver_now() + RETRY_USEC);
            c->is_wanted = true;
            return false;
        }
        c->pending = pending;
        c->pending_room = room;
    }
    bool is_ahead = checkpoint_write(c->writer, d->replica, c->pending + c->pending_size, CHECKPOINT_SLICE_BYTES, &n);
    invariant(is_ahead, checkpoint_slot(c->writer), replica_chosen(d->replica));
    c->pending_size += n;
    return true;
}

void driver_checkpoint_keep_ahead(struct driver *d)
{
    struct own_checkpoint *c = &d->checkpoint;
    while (c->writer != NULL && !checkpoint_is_ahead(c->writer, d->replica) && fill(d)) {
    }
}

/* Hands the next bytes over. True: there is room for more at once. */
static bool append(struct driver *d)
{
    struct own_checkpoint *c = &d->checkpoint;
    if (c->pending_at == c->pending_size) {
        c->pending_at = c->pending_size = 0;
        if (!fill(d))
            return false;
    }
    int64_t taken = journal_checkpoint_append(d->journal, c->pending + c->pending_at, c->pending_size - c->pending_at);
    if (taken < 0)
        return false; /* driver_checkpoint_work() sees why */
    c->pending_at += (size_t)taken;
    if (c->pending_at == c->pending_size && checkpoint_is_written(c->writer)) {
        journal_checkpoint_finish(d->journal);
        c->is_finished = true;
    }
    d->appended = true;
    return taken > 0 && !c->is_finished;
}

bool driver_checkpoint_work(struct driver *d, uint64_t now_usec)
{
    struct own_checkpoint *c = &d->checkpoint;
    if (is_due(d, now_usec))
        begin(d, now_usec);
    if (c->writer == NULL)
        return false;
    enum journal_checkpoint_state state = journal_checkpoint_state(d->journal);
    if (state == CHECKPOINT_FAILED) {
        log_limited(LOG_KIND_CHECKPOINT, LOG_LEVEL_WARNING,
                    "journal: no room for a checkpoint: restarts take longer, and nothing is trimmed; free some space");
        driver_checkpoint_give_up(d, now_usec + RETRY_USEC);
        c->is_wanted = true;
        return false;
    }
    if (!c->is_finished)
        return append(d);
    if (state == CHECKPOINT_IDLE) {
        writer_end(c);
        c->retry_usec = 0;
        c->done_usec = now_usec;
    }
    return false;
}

bool driver_checkpoint_is_last(struct driver *d, uint64_t now_usec)
{
    struct own_checkpoint *c = &d->checkpoint;
    if (c->stop_usec == 0) {
        c->stop_usec = now_usec + CHECKPOINT_STOP_USEC;
        c->is_wanted = c->is_wanted || c->bytes >= interval_bytes(d) / STOP_PART;
        d->dirty = true;
    }
    bool is_under_way = c->writer != NULL || (c->is_wanted && may_begin(d, now_usec));
    return !is_under_way || now_usec >= c->stop_usec;
}

void driver_checkpoint_free(struct driver *d)
{
    free(d->checkpoint.block);
    free(d->checkpoint.pending);
    free(d->checkpoint.host);
}

/* --- trimming --- */

/* What may go here, as far as the log says so. */
static void carry_out_trims(struct driver *d)
{
    struct own_checkpoint *c = &d->checkpoint;
    slot_t first_kept = replica_first_kept(d->replica);
    slot_t obsolete = driver_install_obsoletes(d);
    slot_t until = obsolete + 1 > first_kept ? obsolete : first_kept - 1;
    if (first_kept > c->trimmed || obsolete > 0) {
        flushes_require(d->flushes, until);
        driver_rot_skip(d, until);
    }
    slot_t flushed = flushes_flushed(d->flushes);
    slot_t may_go = first_kept > flushed + 1 ? flushed + 1 : first_kept; /* under load all is never flushed */
    if (may_go <= c->trimmed)
        return;
    c->trimmed = may_go;
    journal_trim(d->journal, may_go);
    d->appended = true;
    driver_checkpoint_cover(d, first_kept - 1);
}

/* Followers that lag, but are there, get what they miss out of what is kept, for as long as that is not too much. */
static slot_t slowest_linked(const struct driver *d)
{
    const struct replica_status *s = &d->status;
    slot_t slowest = s->chosen;
    for (uint32_t i = 0; i < s->n_peers; i++)
        if (s->peers[i].linked && s->peers[i].chosen < slowest)
            slowest = s->peers[i].chosen;
    return slowest;
}

static void propose_trim(struct driver *d, uint64_t now_usec)
{
    struct own_checkpoint *c = &d->checkpoint;
    uint64_t retain = d->options.retain_bytes != 0 ? d->options.retain_bytes : d->config->retain_mb << 20;
    if (d->status.role != ROLE_LEADER || now_usec < c->trim_usec)
        return;
    slot_t first = journal_trim_slot(d->journal, retain);
    slot_t anyway = journal_trim_slot(d->journal, retain + retain / TRIM_PATIENCE_PART);
    slot_t slowest = slowest_linked(d);
    if (first > slowest + 1)
        first = slowest + 1;
    if (first < anyway)
        first = anyway;
    if (first > d->status.chosen)
        first = d->status.chosen;
    if (first <= 1 || first <= replica_first_kept(d->replica))
        return;
    uint8_t text[TRIM_TEXT_SIZE], bytes[VALUE_HEADER_SIZE + TRIM_TEXT_SIZE];
    struct value_fields f = {.type = VALUE_TRIM, .text = text, .text_size = sizeof(text)};
    struct value *v;
    put_u64(text, first);
    value_encode(&f, bytes);
    if (values_copy(&d->values, bytes, sizeof(bytes), &replica_identity(d->replica)->cluster, &v) < 0)
        return;
    struct event e = {.type = EVENT_TRIM, .now_usec = now_usec, .trim = v};
    driver_step(d, &e);
    values_unref(v);
    c->trim_usec = now_usec + TRIM_REPEAT_USEC;
}

void driver_trim_tick(struct driver *d, uint64_t now_usec)
{
    propose_trim(d, now_usec);
    carry_out_trims(d);
}
