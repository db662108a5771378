#include "journal/trim.h"

#include <errno.h>

#include "journal/state.h"

/* A few at a time, so that no group waits for the file system to free many large files. */
enum { TRIM_FILES_AT_ONCE = 4 };

/* How many segments may go, from the first one on, and which slot is the first one kept then. Never the last one. */
static size_t count_trimmable(const struct journal *j, slot_t *ret_first_kept)
{
    const struct index *x = &j->index;
    size_t n = 0;

    *ret_first_kept = j->first_kept;
    while (j->has_checkpoint && n + 1 < x->n_segments && n < TRIM_FILES_AT_ONCE) {
        const struct extent *e = &x->segments[n].extent;
        if (!extent_ends_by(e, j->checkpoint.slot) || (e->min <= e->max && e->max >= j->trim_below))
            break;
        if (e->min <= e->max && e->max >= *ret_first_kept)
            *ret_first_kept = e->max + 1;
        n++;
    }
    return n;
}

bool trim_has_work(const struct journal *j)
{
    slot_t first_kept;

    return count_trimmable(j, &first_kept) > 0;
}

static int remove_segment(const struct vfs *vfs, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];
    int r;

    segment_name(number, name);
    r = vfs->remove(vfs->context, name);
    return r == -ENOENT ? 0 : r;
}

int trim_work(struct journal *j)
{
    slot_t first_kept;
    uint64_t number = j->superblock.first_segment;
    size_t n;
    int r;

    pthread_mutex_lock(&j->mutex);
    n = count_trimmable(j, &first_kept);
    pthread_mutex_unlock(&j->mutex);
    /* First what is gone, then the files: recovery takes none of them for missing, nor reads one of them again. */
    j->superblock.first_segment += n;
    j->superblock.first_kept = first_kept;
    j->superblock.durable = j->durable_batch;
    r = superblock_write(j->vfs, &j->superblock);
    if (r < 0)
        return r;
    pthread_mutex_lock(&j->mutex);
    j->first_kept = first_kept;
    index_drop_first(&j->index, n);
    j->stats.segments_trimmed += n;
    pthread_mutex_unlock(&j->mutex);
    for (size_t i = 0; i < n && r == 0; i++)
        r = remove_segment(j->vfs, number + i);
    if (r == 0)
        r = j->vfs->dir_sync(j->vfs->context);
    if (r == 0)
        j->written(j->user, 0);
    return r;
}

void journal_trim(struct journal *j, slot_t first_kept)
{
    pthread_mutex_lock(&j->mutex);
    if (first_kept > j->trim_below)
        j->trim_below = first_kept;
    pthread_mutex_unlock(&j->mutex);
}

slot_t journal_first_kept(struct journal *j)
{
    slot_t slot;

    pthread_mutex_lock(&j->mutex);
    slot = j->first_kept;
    pthread_mutex_unlock(&j->mutex);
    return slot;
}

slot_t journal_trim_slot(struct journal *j, uint64_t bytes)
{
    const struct index *x = &j->index;
    slot_t slot;
    size_t n;

    pthread_mutex_lock(&j->mutex);
    slot = j->first_kept;
    for (n = x->n_segments; n > 0 && x->segments[n - 1].file_bytes <= bytes; n--)
        bytes -= x->segments[n - 1].file_bytes;
    for (; n > 0; n--) {
        const struct extent *e = &x->segments[n - 1].extent;
        if (e->min <= e->max && e->max >= slot)
            slot = e->max + 1;
    }
    pthread_mutex_unlock(&j->mutex);
    return slot;
}
