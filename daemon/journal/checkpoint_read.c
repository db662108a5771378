#include "journal/checkpoint_read.h"

#include <errno.h>
#include <string.h>

#include "journal/explain.h"
#include "journal/state.h"

/* A damaged part, or a disk that cannot be read: *ret_check tells. */
static enum journal_result check_parts(struct checkpoint_file *c, enum checkpoint_check *ret_check, char *ret_error)
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

enum journal_result checkpoint_find(struct journal *j, struct checkpoint_file *ret, char *ret_error)
{
    enum checkpoint_check check;
    enum journal_result result = checkpoint_open(j->vfs, ret, &check, ret_error);

    if (result == JOURNAL_OK && check == CHECKPOINT_FILE_WHOLE)
        result = check_parts(ret, &check, ret_error);
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
        taken = replay->checkpoint(replay->user, c->header.slot, bytes, size);
    }
    if (taken && replay->checkpoint(replay->user, c->header.slot, NULL, 0))
        return JOURNAL_OK;
    return explain(ret_error, JOURNAL_REFUSED,
                   "%s: it is whole, but this release cannot take what is in it. Use the release that wrote it",
                   CHECKPOINT_NAME);
}

int64_t journal_checkpoint_read(struct journal *j, slot_t slot, uint64_t offset, void *buffer, size_t size)
{
    struct checkpoint_file *c = &j->checkpoint_read;
    char error[JOURNAL_ERROR_MAX + 1];
    enum checkpoint_check check;
    size_t done = 0;

    if (c->file == NULL || c->header.slot != slot) {
        checkpoint_close(c);
        if (checkpoint_open(j->vfs, c, &check, error) != JOURNAL_OK)
            return -EIO;
        if (check != CHECKPOINT_FILE_WHOLE)
            return check == CHECKPOINT_FILE_DAMAGED ? -EBADMSG : -ESTALE;
        if (c->header.slot != slot) {
            checkpoint_close(c);
            return -ESTALE;
        }
    }
    while (done < size && offset + done < c->header.size) {
        uint64_t at = offset + done, index = at / CHECKPOINT_PAYLOAD_BYTES;
        uint32_t from = (uint32_t)(at % CHECKPOINT_PAYLOAD_BYTES), part_size;
        const uint8_t *bytes;
        int r = checkpoint_read_part(c, index, &bytes, &part_size);
        size_t n;
        if (r < 0)
            return r;
        n = part_size - from < size - done ? part_size - from : size - done;
        memcpy((uint8_t *)buffer + done, bytes + from, n);
        done += n;
    }
    return (int64_t)done;
}
