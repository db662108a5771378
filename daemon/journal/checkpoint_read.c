#include "journal/checkpoint_read.h"

#include <errno.h>
#include <string.h>

#include "journal/explain.h"
#include "journal/state.h"

static void tell_progress(const struct journal_replay *replay, const struct checkpoint_file *c, uint64_t part)
{
    if (replay->progress != NULL)
        replay->progress(replay->user, part * CHECKPOINT_PAYLOAD_BYTES, c->header.size);
}

/* A damaged part, or a disk that cannot be read: *ret_check tells. */
static enum journal_result check_parts(struct checkpoint_file *c, const struct journal_replay *replay,
                                       enum checkpoint_check *ret_check, char *ret_error)
{
    const uint8_t *bytes;
    uint32_t size;

    for (uint64_t i = 0; checkpoint_part_size(c->header.size, i) > 0; i++) {
        int r = checkpoint_read_part(c, i, &bytes, &size);
        if (r == -EBADMSG) {
            *ret_check = CHECKPOINT_FILE_DAMAGED;
            return JOURNAL_OK;
        }
        if (r < 0)
            return explain_errno(ret_error, r, "read", CHECKPOINT_NAME);
        tell_progress(replay, c, i);
    }
    return JOURNAL_OK;
}

/* Nothing was trimmed: the segments have the whole log. */
static bool log_is_whole(const struct journal *j)
{
    return j->superblock.first_segment == 1 && j->superblock.first_kept == 0;
}

static enum journal_result take(struct journal *j, const struct checkpoint_header *h, char *ret_error)
{
    enum journal_result result = explain_owner(ret_error, &j->superblock.identity, &h->owner, CHECKPOINT_NAME);

    if (result != JOURNAL_OK)
        return result;
    if (h->slot + 1 < j->superblock.first_kept)
        return explain(
            ret_error, JOURNAL_REFUSED,
            "%s: it stands at slot %llu, but the log before slot %llu was trimmed: it is an older one. Put the newer "
            "one back, or see FAILURES in mpaxos(7)",
            CHECKPOINT_NAME, (unsigned long long)h->slot, (unsigned long long)j->superblock.first_kept);
    if (h->first_kept > j->superblock.first_kept)
        j->superblock.first_kept = h->first_kept;
    j->has_checkpoint = true;
    j->checkpoint = (struct journal_checkpoint){.slot = h->slot, .size = h->size};
    j->commit_until = h->slot + 1;
    return JOURNAL_OK;
}

enum journal_result checkpoint_find(struct journal *j, const struct journal_replay *replay, struct checkpoint_file *ret,
                                    char *ret_error)
{
    enum checkpoint_check check;
    enum journal_result result = checkpoint_open(j->vfs, ret, &check, ret_error);

    if (result == JOURNAL_OK && check == CHECKPOINT_FILE_WHOLE)
        result = check_parts(ret, replay, &check, ret_error);
    if (result == JOURNAL_OK && check == CHECKPOINT_FILE_WHOLE)
        result = take(j, &ret->header, ret_error);
    if (result != JOURNAL_OK)
        return result;
    if (check != CHECKPOINT_FILE_WHOLE && !log_is_whole(j))
        return explain(ret_error, JOURNAL_REFUSED,
                       "%s: %s, and what came before slot %llu was trimmed, so that the log alone does not tell the "
                       "state. Nothing was changed. Put the very file back, no older copy, or see FAILURES in "
                       "mpaxos(7)",
                       CHECKPOINT_NAME,
                       check == CHECKPOINT_FILE_DAMAGED ? "the file is damaged" : "the file is missing",
                       (unsigned long long)j->superblock.first_kept);
    j->stats.checkpoint_ignored = check == CHECKPOINT_FILE_DAMAGED;
    j->first_kept = j->superblock.first_kept;
    j->trim_below = j->first_kept;
    return JOURNAL_OK;
}

enum journal_result checkpoint_hand_out(struct checkpoint_file *c, const struct journal_replay *replay, char *ret_error)
{
    const uint8_t *bytes;
    uint32_t size;
    bool taken = replay->checkpoint != NULL;

    for (uint64_t i = 0; taken && checkpoint_part_size(c->header.size, i) > 0; i++) {
        int r = checkpoint_read_part(c, i, &bytes, &size);
        if (r < 0)
            return explain(ret_error, JOURNAL_IO, "%s: two reads gave different bytes. Check the disk and the memory",
                           CHECKPOINT_NAME);
        tell_progress(replay, c, i);
        taken = replay->checkpoint(replay->user, c->header.slot, bytes, size);
    }
    if (taken && replay->checkpoint(replay->user, c->header.slot, NULL, 0))
        return JOURNAL_OK;
    return explain(ret_error, JOURNAL_REFUSED,
                   "%s: it is whole, but this release cannot take what is in it. Use the release that wrote it",
                   CHECKPOINT_NAME);
}

bool journal_checkpoint_is_damaged(struct journal *j)
{
    bool is_damaged;

    pthread_mutex_lock(&j->mutex);
    is_damaged = j->checkpoint_is_damaged;
    pthread_mutex_unlock(&j->mutex);
    return is_damaged;
}

/* What a read of it answered; passes it on. */
static int note(struct journal *j, const struct checkpoint_file *c, int error)
{
    pthread_mutex_lock(&j->mutex);
    if ((error == -EBADMSG || error == -EIO) && j->has_checkpoint && c->serial == j->n_checkpoints)
        j->checkpoint_is_damaged = true;
    pthread_mutex_unlock(&j->mutex);
    return error;
}

static bool is_newest(struct journal *j, const struct checkpoint_file *c)
{
    bool is_newest;

    pthread_mutex_lock(&j->mutex);
    is_newest = c->file != NULL && c->serial == j->n_checkpoints;
    pthread_mutex_unlock(&j->mutex);
    return is_newest;
}

/* 0; -EBADMSG, -EIO; -ESTALE: it is another slot's. */
static int open_at(struct journal *j, struct checkpoint_file *c, slot_t slot)
{
    char error[JOURNAL_ERROR_MAX + 1];
    enum checkpoint_check check;
    uint64_t serial;
    enum journal_result result;

    checkpoint_close(c);
    pthread_mutex_lock(&j->mutex);
    serial = j->n_checkpoints;
    pthread_mutex_unlock(&j->mutex);
    result = checkpoint_open(j->vfs, c, &check, error);
    c->serial = serial;
    if (result != JOURNAL_OK)
        return note(j, c, -EIO);
    if (check != CHECKPOINT_FILE_WHOLE)
        return check == CHECKPOINT_FILE_DAMAGED ? note(j, c, -EBADMSG) : -ESTALE;
    if (c->header.slot == slot)
        return 0;
    checkpoint_close(c);
    return -ESTALE;
}

int64_t checkpoint_scrub(struct journal *j)
{
    struct checkpoint_file *c = &j->checkpoint_scrub;
    struct journal_checkpoint newest;
    const uint8_t *bytes;
    uint32_t size = 0;
    int r = 0;

    if (!journal_checkpoint_newest(j, &newest) || journal_checkpoint_is_damaged(j))
        return 0;
    if (c->file == NULL) {
        j->scrub_part = 0;
        r = open_at(j, c, newest.slot);
        if (r == 0)
            j->vfs->file_forget(j->vfs->context, c->file);
    }
    if (r == 0 && is_newest(j, c))
        size = checkpoint_part_size(c->header.size, j->scrub_part);
    if (size > 0)
        r = note(j, c, checkpoint_read_part(c, j->scrub_part++, &bytes, &size));
    if (r == 0 && size > 0)
        return size;
    checkpoint_close(c);
    return 0;
}

int64_t journal_checkpoint_read(struct journal *j, slot_t slot, uint64_t offset, void *buffer, size_t size)
{
    struct checkpoint_file *c = &j->checkpoint_read;
    size_t done = 0;
    struct journal_checkpoint newest;
    bool is_there = c->file != NULL && c->header.slot == slot;
    int r = 0;

    journal_checkpoint_newest(j, &newest);
    if (!is_there || (slot == newest.slot && !is_newest(j, c)))
        r = open_at(j, c, slot);
    if (r < 0)
        return r;
    while (done < size && offset + done < c->header.size) {
        uint64_t at = offset + done, index = at / CHECKPOINT_PAYLOAD_BYTES;
        uint32_t from = (uint32_t)(at % CHECKPOINT_PAYLOAD_BYTES), part_size;
        const uint8_t *bytes;
        size_t n;
        r = note(j, c, checkpoint_read_part(c, index, &bytes, &part_size));
        if (r < 0) {
            checkpoint_close(c);
            return r;
        }
        n = part_size - from < size - done ? part_size - from : size - done;
        memcpy((uint8_t *)buffer + done, bytes + from, n);
        done += n;
    }
    return (int64_t)done;
}
