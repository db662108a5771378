#include "journal/journal.h"

#include <stdlib.h>
#include <string.h>

#include "journal/reader.h"
#include "journal/rot.h"
#include "journal/state.h"
#include "journal/trim.h"

enum {
    HEADROOM_SLACK_PART = 8
}; /* frames around the records of the headroom: a part of it, and the largest frame twice */

void journal_append(struct journal *j, const struct record *records, size_t n, uint64_t seq)
{
    int r = 0;

    pthread_mutex_lock(&j->mutex);
    if (j->error == 0 && j->append_error == 0) {
        for (size_t i = 0; i < n && r == 0; i++) {
            r = group_add(&j->gather, &records[i]);
            if (records[i].type == RECORD_COMMIT && records[i].slot + 1 > j->commit_until)
                j->commit_until = records[i].slot + 1;
        }
        j->gather.seq = seq;
        j->appended_seq = seq;
        j->append_error = r;
    }
    pthread_mutex_unlock(&j->mutex);
}

bool journal_is_pending(struct journal *j)
{
    bool pending;

    pthread_mutex_lock(&j->mutex);
    pending = j->error == 0 && (j->append_error != 0 || j->reserve_state == RESERVE_GROWING ||
                                (!j->is_stuck && (j->gather.n_entries > 0 || j->is_writing)) || footer_has_work(j) ||
                                header_has_work(j) || trim_has_work(j) || checkpoint_has_work(j) || mend_has_work(j));
    pthread_mutex_unlock(&j->mutex);
    return pending;
}

uint64_t journal_durable_seq(struct journal *j)
{
    uint64_t seq;

    pthread_mutex_lock(&j->mutex);
    seq = j->durable_seq;
    pthread_mutex_unlock(&j->mutex);
    return seq;
}

/* Batches are not split: at the end of a segment, up to the largest one's size stays unused. */
bool journal_has_space(struct journal *j)
{
    uint64_t headroom = j->segment_bytes / 4 < JOURNAL_HEADROOM_BYTES ? j->segment_bytes / 4 : JOURNAL_HEADROOM_BYTES;
    uint64_t need, waste, room;

    headroom += headroom / HEADROOM_SLACK_PART;
    pthread_mutex_lock(&j->mutex);
    need = group_framed_bytes(&j->gather) + (j->is_writing ? j->writing.framed_bytes : 0) + headroom;
    waste = headroom > j->gather.framed_most ? headroom : j->gather.framed_most;
    if (j->is_writing && j->writing.framed_most > waste)
        waste = j->writing.framed_most;
    room = j->left_bytes;
    if (need > room && j->reserve_state == RESERVE_READY)
        room = (room > waste ? room - waste : 0) + segment_capacity(j->segment_bytes);
    pthread_mutex_unlock(&j->mutex);
    return need <= room;
}

static int compare_usec(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

void journal_stats(struct journal *j, struct journal_stats *ret)
{
    uint32_t usec[SYNC_SAMPLES];
    size_t n;

    pthread_mutex_lock(&j->mutex);
    *ret = j->stats;
    ret->scrubbed_bytes = j->rot.scrubbed_bytes;
    ret->segments_mended = j->rot.mended;
    ret->segments = j->index.n_segments;
    ret->bytes = UINT64_C(2) * SUPERBLOCK_BYTES;
    for (size_t i = 0; i < j->index.n_segments; i++)
        ret->bytes += j->index.segments[i].file_bytes;
    if (j->reserve_state == RESERVE_READY)
        ret->bytes += j->segment_bytes;
    if (j->has_checkpoint)
        ret->bytes += checkpoint_file_bytes(j->checkpoint.size);
    n = j->n_syncs < SYNC_SAMPLES ? (size_t)j->n_syncs : SYNC_SAMPLES;
    memcpy(usec, j->sync_usec, n * sizeof usec[0]);
    pthread_mutex_unlock(&j->mutex);
    if (n == 0)
        return;
    qsort(usec, n, sizeof usec[0], compare_usec);
    ret->sync_p50_usec = usec[(n - 1) / 2];
    ret->sync_p99_usec = usec[(n - 1) * 99 / 100];
    ret->sync_max_usec = usec[n - 1];
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    if (j->segment.file != NULL)
        j->vfs->file_close(j->vfs->context, j->segment.file);
    if (j->reserve.file != NULL)
        j->vfs->file_close(j->vfs->context, j->reserve.file);
    rot_done(j);
    checkpoint_write_done(j);
    checkpoint_close(&j->checkpoint_read);
    checkpoint_close(&j->checkpoint_scrub);
    journal_reader_free(j->reader);
    index_done(&j->index);
    group_done(&j->gather);
    group_done(&j->writing);
    pthread_mutex_destroy(&j->mutex);
    free(j);
}
