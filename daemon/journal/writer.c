#include <errno.h>

#include "journal/mend.h"
#include "journal/state.h"
#include "journal/trim.h"

enum { FREE_INTERVAL_USEC = 1000000 };

static int identity_write(struct journal *j, const struct identity *identity)
{
    j->superblock.identity = *identity;
    j->superblock.durable = j->durable_batch;
    return superblock_write(j->vfs, &j->superblock);
}

/* How many batches from `first` on go into the open segment, up to the next identity. */
static size_t count_fitting(const struct journal *j, const struct group *g, size_t first)
{
    uint64_t left = j->segment.file != NULL ? j->segment.limit - j->segment.offset : 0;
    size_t n = 0;

    while (first + n < g->n_entries && g->entries[first + n].identity == NULL) {
        uint32_t size = batch_size(g->entries[first + n].payload_size);
        if (size > left)
            break;
        left -= size;
        n++;
    }
    return n;
}

/* Goes on where it stopped for want of room: -ENOSPC from segment_begin() changed nothing. */
static int group_write(struct journal *j, struct group *g, bool *ret_stuck)
{
    int r = 0;

    *ret_stuck = false;
    for (size_t n; j->writing_next < g->n_entries && r == 0; j->writing_next += r == 0 ? n : 0) {
        size_t i = j->writing_next;
        n = 1;
        if (g->entries[i].identity != NULL) {
            r = identity_write(j, g->entries[i].identity);
            continue;
        }
        n = count_fitting(j, g, i);
        if (n == 0) {
            r = segment_begin(j);
            *ret_stuck = r == -ENOSPC;
            if (r < 0)
                return r;
            n = count_fitting(j, g, i);
        }
        r = n > 0 ? segment_write(j, g, i, n) : -EFBIG;
    }
    return r;
}

/* Now and then, not at every sync: it is a system call that a report wants, nothing else. */
static void refresh_free_bytes(struct journal *j)
{
    uint64_t now = monotonic_usec();
    int64_t n;

    if (j->free_at_usec != 0 && now - j->free_at_usec < FREE_INTERVAL_USEC)
        return;
    j->free_at_usec = now;
    n = j->vfs->free_bytes(j->vfs->context);
    pthread_mutex_lock(&j->mutex);
    if (n >= 0)
        j->stats.free_bytes = (uint64_t)n;
    pthread_mutex_unlock(&j->mutex);
}

/* Takes what was gathered. The other group's memory is used for what comes next. */
static int group_take(struct journal *j)
{
    int r;

    pthread_mutex_lock(&j->mutex);
    r = j->append_error;
    if (r == 0 && !j->is_writing && j->gather.n_entries > 0) {
        struct group empty = j->writing;
        group_close(&j->gather);
        j->writing = j->gather;
        j->gather = empty;
        j->is_writing = true;
        j->writing_next = 0;
    }
    pthread_mutex_unlock(&j->mutex);
    return r;
}

static void group_stick(struct journal *j, bool is_stuck)
{
    pthread_mutex_lock(&j->mutex);
    j->is_stuck = is_stuck;
    pthread_mutex_unlock(&j->mutex);
}

static void group_finish(struct journal *j)
{
    pthread_mutex_lock(&j->mutex);
    j->durable_seq = j->writing.seq;
    j->stats.records += j->writing.n_records;
    group_clear(&j->writing);
    j->is_writing = false;
    pthread_mutex_unlock(&j->mutex);
    j->written(j->user, 0);
}

/* What it was writing stays as it is: not durable, but readable. */
static int fail(struct journal *j, int error)
{
    pthread_mutex_lock(&j->mutex);
    j->error = error;
    pthread_mutex_unlock(&j->mutex);
    j->written(j->user, error);
    return error;
}

enum chore { CHORE_NONE, CHORE_FOOTER, CHORE_HEADER, CHORE_CHECKPOINT, CHORE_TRIM, CHORE_MEND };

/* One piece of what can wait; zeros for the next segment come first, since nothing goes on without them. */
static int do_chore(struct journal *j, uint64_t group_bytes, bool is_stuck)
{
    enum chore chore;

    /* They keep well ahead of a segment that fills. */
    if (!is_stuck && (j->reserve.file == NULL || j->reserve.done < j->reserve.size)) {
        int r = reserve_prepare(j, group_bytes > RESERVE_SLICE_BYTES / 2 ? 2 * group_bytes : RESERVE_SLICE_BYTES);
        if (r < 0 || j->reserve_state != RESERVE_NO_SPACE)
            return r;
    }
    pthread_mutex_lock(&j->mutex);
    chore = footer_has_work(j)       ? CHORE_FOOTER
            : header_has_work(j)     ? CHORE_HEADER
            : trim_has_work(j)       ? CHORE_TRIM
            : checkpoint_has_work(j) ? CHORE_CHECKPOINT
            : mend_has_work(j)       ? CHORE_MEND
                                     : CHORE_NONE;
    pthread_mutex_unlock(&j->mutex);
    switch (chore) {
    case CHORE_FOOTER:
        return footer_work(j);
    case CHORE_HEADER:
        return header_work(j);
    case CHORE_TRIM:
        return trim_work(j);
    case CHORE_CHECKPOINT:
        return checkpoint_work(j);
    case CHORE_MEND:
        return mend_work(j);
    case CHORE_NONE:
        break;
    }
    return 0;
}

/* So that the host can see what hangs: writes, which wait for the disk by O_DIRECT and where the file system is frozen,
 * syncs, and all that chores do. */
static void watch(struct journal *j, uint64_t since)
{
    __atomic_store_n(&j->busy_since_usec, since, __ATOMIC_RELAXED);
}

static int write_and_work(struct journal *j)
{
    uint64_t bytes;
    bool is_stuck = false;
    int r = group_take(j);

    if (r < 0)
        return fail(j, r);
    bytes = j->writing.framed_bytes;
    if (j->is_writing) {
        r = group_write(j, &j->writing, &is_stuck);
        group_stick(j, is_stuck);
        if (!is_stuck && r < 0)
            return fail(j, r);
        if (!is_stuck) /* else it stays, not durable, readable, and is tried again */
            group_finish(j);
        watch(j, monotonic_usec());
    }
    r = do_chore(j, bytes, is_stuck); /* after the answers went out */
    if (r < 0)
        return fail(j, r);
    refresh_free_bytes(j);
    return 0;
}

int journal_write(struct journal *j)
{
    int r;

    /* Only this thread sets it. Nothing is tried again: the disk may have lost what it says is there (trap 37). */
    if (j->error < 0)
        return j->error;
    watch(j, monotonic_usec());
    r = write_and_work(j);
    watch(j, 0);
    return r;
}
