#include "journal/checkpoint_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/state.h"

bool journal_checkpoint_newest(struct journal *j, struct journal_checkpoint *ret)
{
    bool there;

    pthread_mutex_lock(&j->mutex);
    there = j->has_checkpoint;
    *ret = j->checkpoint;
    pthread_mutex_unlock(&j->mutex);
    return there;
}

enum journal_checkpoint_state journal_checkpoint_state(struct journal *j)
{
    enum journal_checkpoint_state state;

    pthread_mutex_lock(&j->mutex);
    state = j->checkpoint_write.state;
    pthread_mutex_unlock(&j->mutex);
    return state;
}

int journal_checkpoint_begin(struct journal *j, slot_t slot, enum journal_checkpoint_origin origin)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    int r = 0;

    pthread_mutex_lock(&j->mutex);
    if (c->state != CHECKPOINT_IDLE) {
        r = -EBUSY;
    } else if (slot == UINT64_MAX || (j->has_checkpoint && slot < j->checkpoint.slot + !j->checkpoint_is_damaged)) {
        r = -EINVAL;
    } else {
        *c = (struct checkpoint_write){.state = CHECKPOINT_WRITING,
                                       .origin = origin,
                                       .slot = slot,
                                       .after_seq = origin == CHECKPOINT_OWN ? j->appended_seq : 0,
                                       .filling = malloc(JOURNAL_CHECKPOINT_PART_BYTES),
                                       .part = malloc(JOURNAL_CHECKPOINT_PART_BYTES)};
        if (c->filling == NULL || c->part == NULL) {
            checkpoint_write_done(j);
            r = -ENOMEM;
        }
    }
    pthread_mutex_unlock(&j->mutex);
    return r;
}

int64_t journal_checkpoint_append(struct journal *j, const void *bytes, size_t size)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    int64_t r = 0;

    pthread_mutex_lock(&j->mutex);
    if (c->state == CHECKPOINT_FAILED) {
        r = -ENOSPC;
    } else if (c->state == CHECKPOINT_WRITING && !c->is_finishing && !c->is_cancelled) {
        size_t n = CHECKPOINT_PAYLOAD_BYTES - c->filled;
        if (n > size)
            n = size;
        memcpy(c->filling + CHECKPOINT_PART_HEADER_BYTES + c->filled, bytes, n);
        c->filled += (uint32_t)n;
        r = (int64_t)n;
    }
    pthread_mutex_unlock(&j->mutex);
    return r;
}

void journal_checkpoint_finish(struct journal *j)
{
    pthread_mutex_lock(&j->mutex);
    j->checkpoint_write.is_finishing = j->checkpoint_write.state == CHECKPOINT_WRITING;
    pthread_mutex_unlock(&j->mutex);
}

void journal_checkpoint_cancel(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;

    pthread_mutex_lock(&j->mutex);
    c->is_cancelled = c->state != CHECKPOINT_IDLE;
    pthread_mutex_unlock(&j->mutex);
}

void checkpoint_write_done(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;

    if (c->file != NULL)
        j->vfs->file_close(j->vfs->context, c->file);
    free(c->filling);
    free(c->part);
    *c = (struct checkpoint_write){.state = CHECKPOINT_IDLE};
}

bool checkpoint_has_work(const struct journal *j)
{
    const struct checkpoint_write *c = &j->checkpoint_write;

    if (c->is_cancelled)
        return true;
    if (c->state != CHECKPOINT_WRITING)
        return false;
    if (c->filled == CHECKPOINT_PAYLOAD_BYTES)
        return true;
    return c->is_finishing && (c->filled > 0 || j->durable_seq >= c->after_seq);
}

/* What stands there from before never was a checkpoint. */
static int file_make(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    int r;

    if (c->file != NULL)
        return 0;
    r = j->vfs->remove(j->vfs->context, CHECKPOINT_NEW_NAME);
    if (r == 0 || r == -ENOENT)
        r = j->vfs->file_open(j->vfs->context, CHECKPOINT_NEW_NAME, VFS_CREATE, &c->file);
    if (r < 0)
        c->file = NULL;
    return r;
}

/* Leaves nothing behind: the space may be what others wait for. */
static int file_drop(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    int r;

    if (c->file == NULL)
        return 0;
    j->vfs->file_close(j->vfs->context, c->file);
    c->file = NULL;
    r = j->vfs->remove(j->vfs->context, CHECKPOINT_NEW_NAME);
    return r == -ENOENT ? 0 : r;
}

static int sync_written(struct journal *j)
{
    int r = j->vfs->file_sync(j->vfs->context, j->checkpoint_write.file);

    return r == -ENOSPC ? -EIO : r;
}

static int part_write(struct journal *j, uint32_t size)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    int r = file_make(j);

    if (r < 0)
        return r;
    checkpoint_part_seal(c->part, c->slot, c->n_parts, size);
    r = j->vfs->file_write(j->vfs->context, c->file, checkpoint_part_place(c->n_parts), c->part,
                           CHECKPOINT_PART_HEADER_BYTES + size);
    c->n_parts++;
    c->size += size;
    /* Part by part: one sync of it all would hold up the batches that come meanwhile. */
    return r < 0 ? r : sync_written(j);
}

/* -ENOSPC only before the file has its name. */
static int publish(struct journal *j, const struct checkpoint_header *h)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    uint8_t bytes[CHECKPOINT_HEADER_BYTES];
    int r = file_make(j);

    if (r < 0)
        return r;
    checkpoint_header_encode(h, bytes);
    r = j->vfs->file_write(j->vfs->context, c->file, 0, bytes, sizeof bytes);
    if (r < 0)
        return r;
    r = sync_written(j);
    if (r == 0)
        r = j->vfs->rename(j->vfs->context, CHECKPOINT_NEW_NAME, CHECKPOINT_NAME);
    if (r == 0)
        r = j->vfs->dir_sync(j->vfs->context);
    /* Before anything rests on it: without it, what is below would be taken for the whole log. */
    if (r == 0 && h->first_kept > j->superblock.first_kept) {
        j->superblock.first_kept = h->first_kept;
        j->superblock.durable = j->durable_batch;
        r = superblock_write(j->vfs, &j->superblock);
    }
    return r == -ENOSPC ? -EIO : r;
}

static int finish(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    struct checkpoint_header h = {
        .owner = owner_of(&j->superblock.identity), .slot = c->slot, .size = c->size, .durable = j->durable_batch};
    int r;

    if (c->origin == CHECKPOINT_FETCHED)
        h.first_kept = h.slot + 1;
    r = publish(j, &h);
    if (r < 0)
        return r;
    pthread_mutex_lock(&j->mutex);
    j->has_checkpoint = true;
    j->checkpoint = (struct journal_checkpoint){.slot = h.slot, .size = h.size};
    j->checkpoint_is_damaged = false;
    j->n_checkpoints++;
    if (h.first_kept > j->first_kept)
        j->first_kept = h.first_kept;
    if (h.first_kept > j->trim_below)
        j->trim_below = h.first_kept;
    if (h.slot + 1 > j->commit_until)
        j->commit_until = h.slot + 1;
    checkpoint_write_done(j);
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

static int cancel(struct journal *j)
{
    int r = file_drop(j);

    pthread_mutex_lock(&j->mutex);
    checkpoint_write_done(j);
    pthread_mutex_unlock(&j->mutex);
    return r;
}

static int give_up(struct journal *j)
{
    int r = file_drop(j);

    pthread_mutex_lock(&j->mutex);
    j->checkpoint_write.state = CHECKPOINT_FAILED;
    pthread_mutex_unlock(&j->mutex);
    return r;
}

int checkpoint_work(struct journal *j)
{
    struct checkpoint_write *c = &j->checkpoint_write;
    uint32_t size = 0;
    bool is_cancelled;
    int r;

    pthread_mutex_lock(&j->mutex);
    is_cancelled = c->is_cancelled;
    if (!is_cancelled && c->filled > 0) {
        uint8_t *full = c->filling;
        c->filling = c->part;
        c->part = full;
        size = c->filled;
        c->filled = 0;
    }
    pthread_mutex_unlock(&j->mutex);
    if (is_cancelled)
        r = cancel(j);
    else
        r = size > 0 ? part_write(j, size) : finish(j);
    if (r == -ENOSPC)
        r = give_up(j);
    if (r == 0)
        j->written(j->user, 0);
    return r;
}
