#include "journal/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/format.h"
#include "journal/state.h"

enum {
    STRETCHES_MAX = 32,            /* kept, so that slots in any order near each other need no second read */
    STRETCHES_BYTES_MAX = 4 << 20, /* of them all, and one more                                            */
};

/* A value within a stretch. */
struct item {
    slot_t slot;
    uint32_t offset, size;
};

/* A stretch that was read and checked. */
struct stretch {
    uint64_t segment; /* 0: unused */
    uint32_t offset, size;
    uint64_t used_at;
    uint8_t *bytes;
    struct item *items;
    size_t n_items, items_room;
    struct note *notes;
    size_t n_notes, notes_room;
};

struct reader {
    struct journal *journal;
    struct stretch stretches[STRETCHES_MAX];
    size_t bytes;
    uint64_t clock;
    struct vfs_file *file; /* of `segment`, kept open */
    uint64_t segment;
    uint8_t *scratch; /* a value that was found in memory */
    size_t scratch_room;
    struct note notes[RECORD_NOTES_MAX];
};

/* A value that was found, and the note beside it (type 0: none). */
struct found {
    const uint8_t *value;
    uint32_t size;
    struct note note;
};

struct reader *reader_new(struct journal *j)
{
    struct reader *r = calloc(1, sizeof *r);

    if (r != NULL)
        r->journal = j;
    return r;
}

static void stretch_clear(struct reader *r, struct stretch *s)
{
    r->bytes -= s->segment != 0 ? s->size : 0;
    free(s->bytes);
    free(s->items);
    free(s->notes);
    *s = (struct stretch){.segment = 0};
}

void reader_free(struct reader *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < STRETCHES_MAX; i++)
        stretch_clear(r, &r->stretches[i]);
    if (r->file != NULL)
        r->journal->vfs->file_close(r->journal->vfs->context, r->file);
    free(r->scratch);
    free(r);
}

static int stretch_add_record(struct stretch *s, const struct record_view *v)
{
    void *p;

    if (v->value != NULL) {
        p = array_grow(s->items, s->n_items + 1, &s->items_room, sizeof *s->items);
        if (p == NULL)
            return -ENOMEM;
        s->items = p;
        s->items[s->n_items++] =
            (struct item){.slot = v->record.slot, .offset = (uint32_t)(v->value - s->bytes), .size = v->value_size};
    } else if (v->record.n_notes > 0) {
        p = array_grow(s->notes, s->n_notes + v->record.n_notes, &s->notes_room, sizeof *s->notes);
        if (p == NULL)
            return -ENOMEM;
        s->notes = p;
        memcpy(s->notes + s->n_notes, v->record.notes, v->record.n_notes * sizeof *s->notes);
        s->n_notes += v->record.n_notes;
    }
    return 0;
}

/* Every batch is checked against its checksum and its own place before a byte of it is used (trap 39). */
static int stretch_parse(struct reader *r, struct stretch *s)
{
    struct batch_header h;
    struct record_view v;

    for (uint32_t at = 0; at < s->size; at += h.size) {
        const uint8_t *p = s->bytes + at + BATCH_HEADER_BYTES;
        if (s->size - at < BATCH_HEADER_BYTES || !batch_header_decode(s->bytes + at, &h) || h.segment != s->segment ||
            h.offset != s->offset + at || h.size > s->size - at || !batch_is_whole(s->bytes + at, &h))
            return -EBADMSG;
        for (uint32_t left = h.payload_size; left > 0; left -= v.encoded_size) {
            int error;
            if (!record_decode(p, left, r->notes, &v))
                return -EBADMSG;
            error = stretch_add_record(s, &v);
            if (error < 0)
                return error;
            p += v.encoded_size;
        }
    }
    return 0;
}

static int file_use(struct reader *r, uint64_t segment)
{
    const struct vfs *vfs = r->journal->vfs;
    char name[SEGMENT_NAME_BYTES];
    int error;

    if (r->file != NULL && r->segment == segment)
        return 0;
    if (r->file != NULL)
        vfs->file_close(vfs->context, r->file);
    segment_name(segment, name);
    error = vfs->file_open(vfs->context, name, 0, &r->file);
    if (error < 0)
        r->file = NULL;
    r->segment = segment;
    return error;
}

/* An unused one, after the ones that were not used for longest made room. */
static struct stretch *stretch_take(struct reader *r, uint32_t size)
{
    for (;;) {
        struct stretch *unused = NULL, *oldest = NULL;
        for (size_t i = 0; i < STRETCHES_MAX; i++) {
            struct stretch *s = &r->stretches[i];
            if (s->segment == 0)
                unused = s;
            else if (oldest == NULL || s->used_at < oldest->used_at)
                oldest = s;
        }
        if (unused != NULL && (oldest == NULL || r->bytes + size <= STRETCHES_BYTES_MAX))
            return unused;
        stretch_clear(r, oldest);
    }
}

static int stretch_load(struct reader *r, struct stretch *s, const struct index_place *place)
{
    const struct vfs *vfs = r->journal->vfs;
    int64_t n;
    int error = file_use(r, place->number);

    if (error < 0)
        return error;
    s->bytes = malloc(place->size);
    if (s->bytes == NULL)
        return -ENOMEM;
    n = vfs->file_read(vfs->context, r->file, place->offset, s->bytes, place->size);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n < place->size)
        return -EBADMSG;
    s->segment = place->number;
    s->offset = place->offset;
    s->size = place->size;
    r->bytes += s->size;
    return stretch_parse(r, s);
}

static int stretch_get(struct reader *r, const struct index_place *place, struct stretch **ret)
{
    struct stretch *s;
    int error;

    for (size_t i = 0; i < STRETCHES_MAX; i++) {
        s = &r->stretches[i];
        if (s->segment != place->number || s->offset != place->offset)
            continue;
        if (s->size == place->size) {
            s->used_at = ++r->clock;
            *ret = s;
            return 0;
        }
        stretch_clear(r, s); /* the last stretch of the journal, which has grown */
        break;
    }
    s = stretch_take(r, place->size);
    error = stretch_load(r, s, place);
    if (error < 0) {
        stretch_clear(r, s);
        return error;
    }
    s->used_at = ++r->clock;
    *ret = s;
    return 0;
}

static bool stretch_find_value(const struct stretch *s, slot_t slot, struct found *ret)
{
    for (size_t i = s->n_items; i > 0; i--) {
        if (s->items[i - 1].slot == slot) {
            ret->value = s->bytes + s->items[i - 1].offset;
            ret->size = s->items[i - 1].size;
            return true;
        }
    }
    return false;
}

/* A COMMIT that covers slots again (its notes were lost, or the records were replayed) leaves the first one's notes in
 * force. */
static void stretch_find_note(const struct stretch *s, slot_t slot, struct found *ret)
{
    for (size_t i = 0; i < s->n_notes; i++) {
        if (s->notes[i].slot == slot) {
            ret->note = s->notes[i];
            return;
        }
    }
}

/* What was handed over but is not indexed yet is copied, since the writer gives its memory back. Under the mutex. 1
 * where it was found. */
static int memory_find_value(struct reader *r, slot_t slot, struct found *ret)
{
    struct journal *j = r->journal;
    const uint8_t *value;
    uint32_t size;
    void *p;

    if (!group_find_value(&j->gather, slot, &value, &size) &&
        !(j->is_writing && group_find_value(&j->writing, slot, &value, &size)))
        return 0;
    p = array_grow(r->scratch, size, &r->scratch_room, 1);
    if (p == NULL)
        return -ENOMEM;
    r->scratch = p;
    memcpy(r->scratch, value, size);
    ret->value = r->scratch;
    ret->size = size;
    return 1;
}

static int find_note(struct reader *r, slot_t slot, struct found *ret)
{
    struct journal *j = r->journal;
    struct index_place place;
    struct stretch *s;
    bool indexed;
    int error;

    pthread_mutex_lock(&j->mutex);
    indexed = index_find_commit(&j->index, slot, &place);
    if (!indexed && !(j->is_writing && group_find_note(&j->writing, slot, &ret->note)))
        group_find_note(&j->gather, slot, &ret->note);
    pthread_mutex_unlock(&j->mutex);
    if (!indexed)
        return 0;
    error = stretch_get(r, &place, &s);
    if (error == 0)
        stretch_find_note(s, slot, ret);
    return error;
}

/* The last record for the slot: memory first, then stretches from the newest back. */
static int find_value(struct reader *r, slot_t slot, struct found *ret)
{
    struct journal *j = r->journal;
    struct index_place place;
    struct stretch *s;
    int error;

    for (bool again = false;; again = true) {
        bool there;
        pthread_mutex_lock(&j->mutex);
        error = again ? 0 : memory_find_value(r, slot, ret);
        there = error == 0 && index_find_slot(&j->index, slot, again, &place);
        pthread_mutex_unlock(&j->mutex);
        if (error != 0)
            return error < 0 ? error : 0;
        if (!there)
            return -EBADMSG;
        error = stretch_get(r, &place, &s);
        if (error < 0)
            return error;
        if (stretch_find_value(s, slot, ret))
            return 0;
    }
}

int journal_read(struct journal *j, slot_t from, slot_t until, size_t n_max, size_t bytes_max, journal_each each,
                 void *user)
{
    size_t bytes = 0;
    int n = 0;
    slot_t commit_until;

    pthread_mutex_lock(&j->mutex);
    commit_until = j->commit_until;
    pthread_mutex_unlock(&j->mutex);
    if (from < j->first_kept)
        return -ERANGE;
    for (slot_t slot = from; slot <= until && slot < commit_until && (size_t)n < n_max && (n == 0 || bytes < bytes_max);
         slot++) {
        struct found f = {.value = NULL};
        struct record record = {.type = RECORD_CHOSEN, .slot = slot};
        /* The note first: finding it may push the value's stretch out of what is kept. */
        int error = find_note(j->reader, slot, &f);
        if (error == 0)
            error = find_value(j->reader, slot, &f);
        if (error < 0)
            return n > 0 ? n : error;
        if (f.note.type != 0) {
            record.notes = &f.note;
            record.n_notes = 1;
        }
        if (!each(user, &record, f.value, f.size))
            break;
        bytes += f.size;
        n++;
    }
    return n;
}
