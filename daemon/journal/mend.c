#include "journal/mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/footer.h"
#include "journal/state.h"

enum {
    MEND_SLICE_BYTES = 512 << 10, /* written between two groups */
    MEND_BYTES_MAX = 16 << 20,    /* of what is put in place of a run */
    EMPTY_BATCH_BYTES = 2 * BATCH_ALIGN,
};

/* --- what was there, from the peers --- */

int mend_begin(struct journal *j, struct index_segment *segment, const struct mend_run *run)
{
    struct mend *m = &j->mend;
    size_t n = segment->n_points;

    pthread_mutex_lock(&j->mutex); /* for .state */
    *m = (struct mend){.segment = *segment, .run = *run, .next = mend_first(run), .size = BATCH_HEADER_BYTES};
    pthread_mutex_unlock(&j->mutex);
    m->points = calloc(n, sizeof *m->points);
    m->batch = array_grow(NULL, EMPTY_BATCH_BYTES, &m->room, 1);
    segment->points = NULL;
    if (m->points == NULL || m->batch == NULL) {
        mend_clear(j);
        return -ENOMEM;
    }
    pthread_mutex_lock(&j->mutex);
    m->state = mend_wants_slots(run) ? MEND_FILLING : MEND_WRITING;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

static int add_record(struct mend *m, const struct record *r)
{
    uint32_t size = record_encoded_size(r);
    void *p;

    if (m->size + size > MEND_BYTES_MAX)
        return -EFBIG;
    /* The marks behind the last one, too. */
    p = array_grow(m->batch, m->size + size + EMPTY_BATCH_BYTES, &m->room, 1);
    if (p == NULL)
        return -ENOMEM;
    m->batch = p;
    record_encode(r, m->batch + m->size);
    m->size += size;
    m->n_records++;
    return 0;
}

/* In the order of a journal that is read from its beginning, should the checkpoint be lost: a COMMIT follows at once,
 * so that no value needs more than the window. What no COMMIT of the run covers may get another value before its own
 * one: then it must not be called chosen yet, and is a vote at no ballot, which is none. */
int mend_add(struct journal *j, slot_t slot, const struct note *note, struct value *value)
{
    struct mend *m = &j->mend;
    const struct mend_run *run = &m->run;
    bool is_committed = slot >= run->note_from && slot < run->note_end;
    struct record chosen = {.type = is_committed ? RECORD_CHOSEN : RECORD_ACCEPT, .slot = slot, .value = value};
    struct record commit = {.type = RECORD_COMMIT, .slot = slot, .notes = note, .n_notes = note->type != 0};
    int r = 0;

    if (slot >= run->min && slot <= run->max)
        r = add_record(m, &chosen);
    if (r == 0 && is_committed)
        r = add_record(m, &commit);
    if (r < 0)
        return r;
    m->next = slot + 1;
    if (slot < mend_last(run))
        return 0;
    pthread_mutex_lock(&j->mutex);
    m->state = MEND_WRITING;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

void mend_clear(struct journal *j)
{
    struct mend *m = &j->mend;

    if (m->from != NULL)
        j->vfs->file_close(j->vfs->context, m->from);
    if (m->to != NULL)
        j->vfs->file_close(j->vfs->context, m->to);
    free(m->segment.points);
    free(m->points);
    free(m->batch);
    pthread_mutex_lock(&j->mutex);
    *m = (struct mend){.state = MEND_IDLE};
    pthread_mutex_unlock(&j->mutex);
}

/* --- the new file --- */

bool mend_has_work(const struct journal *j)
{
    return j->mend.state == MEND_WRITING;
}

/* How far the batches go, and how large the file must be for them and its footer. */
static void lay_out(struct mend *m)
{
    const struct index_segment *s = &m->segment;
    const struct index_point *last = &s->points[s->n_points - 1];
    uint64_t end = SEGMENT_HEADER_BYTES;

    for (const struct index_point *p = s->points; p <= last; p++)
        if ((size_t)(p - s->points) < m->run.at || (size_t)(p - s->points) >= m->run.at + m->run.n)
            end += p->size;
    end += batch_size((uint32_t)(m->size - BATCH_HEADER_BYTES)) + (m->run.n_batches - 1) * EMPTY_BATCH_BYTES;
    m->file_bytes = s->file_bytes;
    m->limit = s->limit;
    while (m->limit < end) {
        m->file_bytes += INDEX_STRETCH_BYTES;
        m->limit = footer_limit(m->file_bytes);
    }
}

static int open_files(struct journal *j, struct mend *m)
{
    const struct vfs *vfs = j->vfs;
    char name[SEGMENT_NAME_BYTES];
    int64_t free_bytes = vfs->free_bytes(vfs->context);
    int r;

    lay_out(m);
    /* What is new goes before. */
    if (free_bytes >= 0 && (uint64_t)free_bytes < m->file_bytes + j->segment_bytes)
        return -ENOSPC;
    segment_name(m->segment.number, name);
    r = vfs->remove(vfs->context, MEND_NAME);
    if (r < 0 && r != -ENOENT)
        return r;
    r = vfs->file_open(vfs->context, name, 0, &m->from);
    if (r < 0) {
        m->from = NULL;
        return r == -ENOENT ? r : -ESTALE;
    }
    r = vfs->file_open(vfs->context, MEND_NAME, VFS_CREATE, &m->to);
    if (r < 0)
        m->to = NULL;
    m->offset = SEGMENT_HEADER_BYTES;
    return r;
}

static int header_write(struct journal *j, struct mend *m)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct index_segment s = m->segment;

    s.file_bytes = m->file_bytes;
    s.limit = m->limit;
    header_encode(j, &s, bytes);
    return j->vfs->file_write(j->vfs->context, m->to, 0, bytes, sizeof bytes);
}

/* The place of whole batches, up to one that is not: the rest is rotten, too, and stays so. */
static void move_batches(const struct mend *m, uint8_t *bytes, const struct index_point *p)
{
    struct batch_header h;

    for (uint32_t at = 0; p->size - at >= BATCH_HEADER_BYTES; at += h.size) {
        if (!batch_header_decode(bytes + at, &h) || h.segment != m->segment.number || h.offset != p->offset + at ||
            h.size > p->size - at || !batch_is_whole(bytes + at, &h))
            return;
        h.offset = m->offset + at;
        batch_seal(bytes + at, &h);
    }
}

static int copy_stretch(struct journal *j, struct mend *m)
{
    const struct index_point *p = &m->segment.points[m->at];
    uint8_t *bytes = malloc(p->size);
    int64_t n;
    int r;

    if (bytes == NULL)
        return -ESTALE;
    n = j->vfs->file_read(j->vfs->context, m->from, p->offset, bytes, p->size);
    if (n < (int64_t)p->size) {
        free(bytes);
        return -ESTALE;
    }
    if (p->offset != m->offset)
        move_batches(m, bytes, p);
    r = j->vfs->file_write(j->vfs->context, m->to, m->offset, bytes, p->size);
    free(bytes);
    m->points[m->n_points] = *p;
    m->points[m->n_points++].offset = (uint32_t)m->offset;
    m->offset += p->size;
    m->at++;
    return r;
}

static int run_write(struct journal *j, struct mend *m)
{
    uint8_t empty[EMPTY_BATCH_BYTES] = {0};
    const struct index_point *last = &m->segment.points[m->run.at + m->run.n - 1];
    struct index_point *p = &m->points[m->n_points++];
    struct batch_header h = {.number = m->run.before,
                             .segment = m->segment.number,
                             .payload_size = (uint32_t)(m->size - BATCH_HEADER_BYTES),
                             .n_records = m->n_records};
    int r = 0;

    *p = (struct index_point){.offset = (uint32_t)m->offset, .extent = {.min = m->run.min, .max = m->run.max}};
    p->extent.commit_until = last->extent.commit_until;
    for (uint64_t i = 0; i < m->run.n_batches && r == 0; i++) {
        uint8_t *bytes = i == 0 ? m->batch : empty;
        h.number++;
        h.offset = m->offset;
        batch_pad(bytes, h.payload_size);
        batch_seal(bytes, &h);
        r = j->vfs->file_write(j->vfs->context, m->to, m->offset, bytes, batch_size(h.payload_size));
        m->offset += batch_size(h.payload_size);
        h.payload_size = h.n_records = 0;
    }
    p->size = (uint32_t)(m->offset - p->offset);
    m->at += m->run.n;
    return r;
}

/* -ENOSPC before the file has its name; or final. */
static int sync_written(struct journal *j, struct mend *m)
{
    int r = j->vfs->file_sync(j->vfs->context, m->to);

    return r == -ENOSPC ? -EIO : r;
}

/* Under the mutex, so that no reader finds the one file where it looks for the other. */
static int put_in_place(struct journal *j, struct mend *m)
{
    struct index_segment *s = index_get(&j->index, m->segment.number);
    char name[SEGMENT_NAME_BYTES];
    int r;

    if (s == NULL)
        return -ENOENT;
    segment_name(s->number, name);
    r = j->vfs->rename(j->vfs->context, MEND_NAME, name);
    if (r < 0)
        return r == -ENOSPC || r == -ENOENT ? -EIO : r;
    index_drop_points(s);
    s->header_is_rotten = false;
    s->file_bytes = m->file_bytes;
    s->limit = m->limit;
    s->points = m->points;
    s->n_points = m->n_points;
    s->points_room = m->segment.n_points;
    m->points = NULL;
    if (s->number < j->footer_next)
        j->footer_next = s->number;
    j->n_mends++;
    return 0;
}

static int publish(struct journal *j, struct mend *m)
{
    int r = j->vfs->file_allocate(j->vfs->context, m->to, m->offset, m->file_bytes - m->offset);

    if (r == 0)
        r = sync_written(j, m);
    if (r < 0)
        return r;
    pthread_mutex_lock(&j->mutex);
    r = put_in_place(j, m);
    pthread_mutex_unlock(&j->mutex);
    if (r < 0)
        return r;
    r = j->vfs->dir_sync(j->vfs->context);
    return r == -ENOSPC ? -EIO : r;
}

/* Up to a slice. *ret_whole: the file has its name. */
static int step(struct journal *j, struct mend *m, bool *ret_whole)
{
    uint64_t until;
    int r = 0;

    if (m->to == NULL) {
        r = open_files(j, m);
        if (r == 0)
            r = header_write(j, m);
    }
    until = m->offset + MEND_SLICE_BYTES;
    while (r == 0 && m->at < m->segment.n_points && m->offset < until)
        r = m->at == m->run.at ? run_write(j, m) : copy_stretch(j, m);
    if (r < 0)
        return r;
    *ret_whole = m->at == m->segment.n_points;
    return *ret_whole ? publish(j, m) : sync_written(j, m);
}

/* Leaves nothing behind. */
static int give_up(struct journal *j, struct mend *m)
{
    int r = 0;

    if (m->from != NULL)
        j->vfs->file_close(j->vfs->context, m->from);
    m->from = NULL;
    if (m->to != NULL) {
        j->vfs->file_close(j->vfs->context, m->to);
        r = j->vfs->remove(j->vfs->context, MEND_NAME);
    }
    m->to = NULL;
    return r == -ENOENT ? 0 : r;
}

int mend_work(struct journal *j)
{
    struct mend *m = &j->mend;
    enum mend_state state = MEND_DONE;
    bool is_whole = false;
    int r = step(j, m, &is_whole);

    if (r == 0 && !is_whole)
        return 0;
    if (r < 0) {
        if (r != -ENOSPC && r != -ESTALE && r != -ENOENT)
            return r;
        state = r == -ENOSPC ? MEND_FULL : r == -ENOENT ? MEND_TRIMMED : MEND_FAILED;
        r = give_up(j, m);
        if (r < 0)
            return r;
    }
    pthread_mutex_lock(&j->mutex);
    m->state = state;
    pthread_mutex_unlock(&j->mutex);
    j->written(j->user, 0);
    return 0;
}
