#include "journal/points.h"

#include <errno.h>
#include <stdlib.h>

#include "journal/footer.h"
#include "journal/scan.h"

static void drop(struct points *p)
{
    free(p->items);
    *p = (struct points){.number = 0};
}

void points_done(struct points_cache *c)
{
    for (size_t i = 0; i < POINTS_SEGMENTS_MAX; i++)
        drop(&c->all[i]);
}

/* --- points --- */

static int footer_get(struct segment_file *file, const struct index_segment *s, struct points *ret)
{
    size_t size = (size_t)(s->file_bytes - s->limit);
    uint8_t *bytes;
    struct footer f;
    int error;

    if (size < FOOTER_TRAILER_BYTES)
        return -EBADMSG;
    bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    error = segment_file_read(file, s->number, s->limit, bytes, size);
    if (error == 0 && !footer_decode(bytes + size - FOOTER_TRAILER_BYTES, s, &f))
        error = -EBADMSG;
    if (error == 0) {
        ret->n = f.segment.n_points;
        ret->items = calloc(ret->n, sizeof *ret->items);
        if (ret->items == NULL)
            error = -ENOMEM;
        else if (!footer_points_decode(bytes, &f, ret->items))
            error = -EBADMSG;
    }
    free(bytes);
    return error;
}

/* Where the footer rots, or cannot be read, while the journal is open: from the batches, into the index. The writer
 * makes it again, but not where it cannot be read: a part of a block that the disk does not give cannot be written,
 * either. Where they end before the last one that was known, they rotted, too: zeros look like the end of what was
 * written. */
static int points_rebuild(struct journal *j, uint64_t number, uint64_t last, bool is_readable)
{
    char text[JOURNAL_ERROR_MAX + 1] = "";
    struct index index = {.segments = NULL};
    struct scan *s = calloc(1, sizeof *s);
    struct index_segment *into;
    enum journal_result result;
    uint64_t n_mends;

    if (s == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&j->mutex);
    n_mends = j->n_mends;
    pthread_mutex_unlock(&j->mutex);
    *s = (struct scan){.vfs = j->vfs, .known_last = last, .index = &index, .error = text};
    result = scan_segment(s, number, false);
    scan_done(s);
    free(s);
    if (result == JOURNAL_OK && index.segments[0].last != last)
        result = JOURNAL_DAMAGED;
    pthread_mutex_lock(&j->mutex);
    into = index_get(&j->index, number);
    if (result == JOURNAL_OK && into != NULL && into->points == NULL && n_mends == j->n_mends) {
        into->points = index.segments[0].points;
        into->n_points = index.segments[0].n_points;
        into->points_room = index.segments[0].points_room;
        index.segments[0].points = NULL;
        if (is_readable && number < j->footer_next)
            j->footer_next = number;
    }
    pthread_mutex_unlock(&j->mutex);
    index_done(&index);
    return result == JOURNAL_OK ? 0 : result == JOURNAL_IO ? -EIO : -EBADMSG;
}

int points_get(struct points_cache *c, struct journal *j, struct segment_file *f, const struct index_segment *s,
               const struct points **ret)
{
    struct points *p = &c->all[0];
    int error;

    *ret = NULL;
    for (size_t i = 0; i < POINTS_SEGMENTS_MAX; i++) {
        struct points *q = &c->all[i];
        if (q->number == s->number) {
            q->used_at = ++c->clock;
            *ret = q;
            return 0;
        }
        if (q->used_at < p->used_at)
            p = q;
    }
    drop(p);
    error = footer_get(f, s, p);
    if (error < 0) {
        drop(p);
        return error == -EBADMSG || error == -EIO ? points_rebuild(j, s->number, s->last, error != -EIO) : error;
    }
    p->number = s->number;
    p->used_at = ++c->clock;
    *ret = p;
    return 0;
}
