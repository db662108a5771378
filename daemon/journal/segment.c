#include <errno.h>
#include <time.h>

#include <stdlib.h>

#include "journal/footer.h"
#include "journal/state.h"

enum {
    OPENING_BYTES_MAX = SEGMENT_HEADER_BYTES + 2 * BATCH_ALIGN,
    PROMISE_RECORD_BYTES = RECORD_HEADER_BYTES + 16,
    SPARE_PART = 64, /* one of so many of a segment's bytes stays free beside it, for the directory's own blocks */
};

uint64_t monotonic_usec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t segment_capacity(uint64_t size)
{
    return footer_limit(size) - SEGMENT_HEADER_BYTES - batch_size(PROMISE_RECORD_BYTES);
}

static int timed_sync(struct journal *j, struct vfs_file *f, uint64_t *ret_usec)
{
    uint64_t since = monotonic_usec();
    int r = j->vfs->file_sync(j->vfs->context, f);

    *ret_usec = monotonic_usec() - since;
    return r;
}

int reserve_open(const struct vfs *vfs, uint64_t size, struct vfs_file **ret)
{
    int64_t have;
    int r = vfs->file_open(vfs->context, RESERVE_NAME, VFS_APPEND, ret);

    if (r == 0) {
        have = vfs->file_size(vfs->context, *ret);
        if (have >= 0 && (uint64_t)have <= size)
            return 0;
        vfs->file_close(vfs->context, *ret);
        r = have < 0 ? (int)have : vfs->remove(vfs->context, RESERVE_NAME);
        if (r < 0)
            return r;
    } else if (r != -ENOENT) {
        return r;
    }
    return vfs->file_open(vfs->context, RESERVE_NAME, VFS_CREATE | VFS_APPEND, ret);
}

bool reserve_fits(const struct vfs *vfs, struct vfs_file *f, uint64_t size)
{
    int64_t have = vfs->file_size(vfs->context, f);
    int64_t free_bytes = vfs->free_bytes(vfs->context);

    return have < 0 || free_bytes < 0 || (uint64_t)have >= size ||
           (uint64_t)free_bytes >= size - (uint64_t)have + size / SPARE_PART;
}

static int reserve_grow(struct journal *j, uint64_t bytes)
{
    struct reserve *v = &j->reserve;
    int r;

    if (v->file == NULL) {
        r = reserve_open(j->vfs, j->segment_bytes, &v->file);
        if (r < 0) {
            v->file = NULL;
            return r;
        }
        v->size = j->segment_bytes;
        v->done = 0;
    }
    if (bytes > v->size - v->done)
        bytes = v->size - v->done;
    if (bytes == 0)
        return 0;
    if (!reserve_fits(j->vfs, v->file, v->size))
        return -ENOSPC;
    r = j->vfs->file_allocate(j->vfs->context, v->file, v->done, bytes);
    if (r < 0)
        return r;
    /* Synced slice by slice: one sync of it all would hold up the batches that come meanwhile. */
    r = j->vfs->file_sync(j->vfs->context, v->file);
    if (r < 0)
        return r == -ENOSPC ? -EIO : r;
    v->done += bytes;
    return 0;
}

int reserve_prepare(struct journal *j, uint64_t bytes)
{
    enum reserve_state state;
    int r = reserve_grow(j, bytes);

    if (r < 0 && r != -ENOSPC)
        return r;
    if (r == -ENOSPC)
        state = RESERVE_NO_SPACE;
    else
        state = j->reserve.done == j->reserve.size ? RESERVE_READY : RESERVE_GROWING;
    pthread_mutex_lock(&j->mutex);
    j->reserve_state = state;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

int segment_begin(struct journal *j)
{
    struct reserve *v = &j->reserve;
    int r;

    if (v->file == NULL || v->done < v->size) {
        r = reserve_prepare(j, j->segment_bytes);
        if (r < 0)
            return r;
        if (v->file == NULL || v->done < v->size)
            return -ENOSPC;
    }
    if (j->segment.file != NULL)
        j->vfs->file_close(j->vfs->context, j->segment.file);
    j->segment = (struct open_segment){.file = v->file,
                                       .number = j->segment.number + 1,
                                       .size = v->size,
                                       .limit = footer_limit(v->size),
                                       .offset = SEGMENT_HEADER_BYTES,
                                       .first = j->batch + 1};
    if (!ballot_is_none(j->promised))
        j->segment.offset += batch_size(PROMISE_RECORD_BYTES);
    *v = (struct reserve){.file = NULL};
    pthread_mutex_lock(&j->mutex);
    j->reserve_state = RESERVE_GROWING;
    j->left_bytes = j->segment.limit - j->segment.offset;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

/* The header, and the batch that repeats the promise: recovery may then forget the segments before (trap 12). They
 * become durable together with the n batches after them, before the file gets its name. */
static int opening_write(struct journal *j, size_t n)
{
    uint8_t bytes[OPENING_BYTES_MAX];
    uint8_t *batch = bytes + SEGMENT_HEADER_BYTES;
    const struct open_segment *s = &j->segment;
    bool has_promise = s->offset > SEGMENT_HEADER_BYTES;
    struct record promise = {.type = RECORD_PROMISE, .ballot = j->promised};
    struct segment_header h = {.owner = owner_of(&j->superblock.identity),
                               .number = s->number,
                               .size = s->size,
                               .first = s->first,
                               .durable = j->batch + has_promise + n,
                               .limit = s->limit};

    segment_header_encode(&h, bytes);
    if (has_promise) {
        struct batch_header b = {.number = ++j->batch,
                                 .segment = s->number,
                                 .offset = SEGMENT_HEADER_BYTES,
                                 .durable = j->durable_batch,
                                 .payload_size = PROMISE_RECORD_BYTES,
                                 .n_records = 1};
        record_encode(&promise, batch + BATCH_HEADER_BYTES);
        batch_pad(batch, b.payload_size);
        batch_seal(batch, &b);
    }
    return j->vfs->file_write(j->vfs->context, s->file, 0, bytes, (size_t)s->offset);
}

/* Both steps must be durable before anything that the file holds counts. */
static int segment_publish(struct journal *j)
{
    char name[SEGMENT_NAME_BYTES];
    int r;

    segment_name(j->segment.number, name);
    r = j->vfs->rename(j->vfs->context, RESERVE_NAME, name);
    if (r == 0)
        r = j->vfs->dir_sync(j->vfs->context);
    return r;
}

static int index_run(struct journal *j, const struct group *g, size_t first, size_t n, bool is_new, uint64_t offset)
{
    struct extent none = extent_none();
    int r = 0;

    if (is_new) {
        struct index_segment s = {.number = j->segment.number,
                                  .file_bytes = j->segment.size,
                                  .limit = j->segment.limit,
                                  .first = j->segment.first};
        r = index_add_segment(&j->index, &s);
        if (r == 0 && offset > SEGMENT_HEADER_BYTES)
            r = index_add_batch(&j->index, SEGMENT_HEADER_BYTES, (uint32_t)(offset - SEGMENT_HEADER_BYTES), &none);
    }
    for (size_t i = first; i < first + n && r == 0; i++) {
        uint32_t size = batch_size(g->entries[i].payload_size);
        r = index_add_batch(&j->index, (uint32_t)offset, size, &g->entries[i].extent);
        offset += size;
    }
    return r;
}

int segment_write(struct journal *j, struct group *g, size_t first, size_t n)
{
    struct open_segment *s = &j->segment;
    bool is_new = !s->is_named;
    uint64_t from = s->offset, usec = 0;
    uint8_t *bytes = g->bytes + g->entries[first].start;
    int r = is_new ? opening_write(j, n) : 0;

    for (size_t i = first; i < first + n; i++) {
        const struct group_entry *e = &g->entries[i];
        struct batch_header h = {.number = ++j->batch,
                                 .segment = s->number,
                                 .offset = s->offset,
                                 .durable = j->durable_batch,
                                 .payload_size = e->payload_size,
                                 .n_records = e->n_records};
        batch_seal(g->bytes + e->start, &h);
        s->offset += batch_size(e->payload_size);
        if (ballot_compare(e->promised, j->promised) > 0)
            j->promised = e->promised;
    }
    if (r == 0)
        r = j->vfs->file_append(j->vfs->context, s->file, from, bytes, (size_t)(s->offset - from));
    if (r == 0)
        r = timed_sync(j, s->file, &usec);
    if (r == 0 && is_new)
        r = segment_publish(j);
    if (r < 0)
        return r;
    s->is_named = true;
    j->durable_batch = j->batch;

    pthread_mutex_lock(&j->mutex);
    r = index_run(j, g, first, n, is_new, from);
    j->left_bytes = s->limit - s->offset;
    g->framed_bytes -= (size_t)(s->offset - from);
    j->sync_usec[j->n_syncs++ % SYNC_SAMPLES] = usec < UINT32_MAX ? (uint32_t)usec : UINT32_MAX;
    j->stats.syncs++;
    j->stats.batches += n;
    j->stats.bytes_written += s->offset - from;
    pthread_mutex_unlock(&j->mutex);
    return r;
}

bool footer_has_work(struct journal *j)
{
    const struct index *x = &j->index;
    const struct index_segment *s;

    if (x->n_segments > 0 && j->footer_next < x->segments[0].number)
        j->footer_next = x->segments[0].number;
    /* Not of the last one: until another follows, it may be read as one that has none. */
    while ((s = index_get(x, j->footer_next)) != NULL && s < &x->segments[x->n_segments - 1]) {
        if (s->points != NULL && footer_fits(s))
            return true;
        j->footer_next++;
    }
    return false;
}

bool header_has_work(struct journal *j)
{
    const struct index *x = &j->index;
    const struct index_segment *s;

    if (x->n_segments > 0 && j->header_next < x->segments[0].number)
        j->header_next = x->segments[0].number;
    while ((s = index_get(x, j->header_next)) != NULL) {
        if (s->header_is_rotten)
            return true;
        j->header_next++;
    }
    return false;
}

void header_encode(struct journal *j, const struct index_segment *s, uint8_t *ret)
{
    const struct segment_header h = {.owner = owner_of(&j->superblock.identity),
                                     .number = s->number,
                                     .size = s->file_bytes,
                                     .first = s->first,
                                     .durable = s->last,
                                     .limit = s->limit};

    segment_header_encode(&h, ret);
}

/* In a full segment, in place. */
static int write_again(struct journal *j, uint64_t number, uint64_t offset, const uint8_t *bytes, size_t size)
{
    char name[SEGMENT_NAME_BYTES];
    struct vfs_file *f;
    int r;

    segment_name(number, name);
    r = j->vfs->file_open(j->vfs->context, name, 0, &f);
    if (r < 0)
        return r;
    r = j->vfs->file_write(j->vfs->context, f, offset, bytes, size);
    if (r == 0)
        r = j->vfs->file_sync(j->vfs->context, f);
    j->vfs->file_close(j->vfs->context, f);
    return r;
}

int header_work(struct journal *j)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct index_segment s;
    int r;

    pthread_mutex_lock(&j->mutex);
    s = *index_get(&j->index, j->header_next);
    pthread_mutex_unlock(&j->mutex);
    header_encode(j, &s, bytes);
    r = write_again(j, s.number, 0, bytes, sizeof bytes);
    if (r < 0)
        return r;
    pthread_mutex_lock(&j->mutex);
    index_get(&j->index, s.number)->header_is_rotten = false;
    pthread_mutex_unlock(&j->mutex);
    return 0;
}

static int footer_write(struct journal *j, const struct index_segment *s)
{
    struct owner owner = owner_of(&j->superblock.identity);
    size_t size = (size_t)(s->file_bytes - s->limit);
    uint8_t *bytes = malloc(size);
    int r;

    if (bytes == NULL)
        return -ENOMEM;
    footer_encode(s, &owner, bytes);
    r = write_again(j, s->number, s->limit, bytes, size);
    free(bytes);
    return r;
}

/* A full segment does not change any more, and only this thread drops it. */
int footer_work(struct journal *j)
{
    struct index_segment s;
    int r;

    pthread_mutex_lock(&j->mutex);
    s = *index_get(&j->index, j->footer_next);
    pthread_mutex_unlock(&j->mutex);
    r = footer_write(j, &s);
    if (r < 0)
        return r;
    pthread_mutex_lock(&j->mutex);
    index_drop_points(index_get(&j->index, s.number));
    pthread_mutex_unlock(&j->mutex);
    return 0;
}
