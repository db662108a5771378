#include "journal/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/points.h"
#include "journal/rot.h"
#include "journal/segment_file.h"
#include "journal/state.h"
#include "journal/stretch.h"

/* Slots whose value, or note, one stretch decides. */
struct run {
    slot_t from, until; /* empty: from == until */
    struct stretch_place place;
};

struct journal_reader {
    struct journal *journal;
    struct segment_file file;
    struct stretches stretches;
    struct stretches checked; /* by reader_check() */
    struct points_cache points;
    struct run values, notes;
    struct stretch_place failed; /* that the last error is about; .number 0: none */
    uint64_t n_mends;            /* the segments are known as of so many          */
    uint8_t *scratch;            /* a value that was found in memory */
    size_t scratch_room;
};

/* A value that was found, and the note beside it (type 0: none). */
struct found {
    const uint8_t *value;
    uint32_t size;
    struct note note;
};

struct journal_reader *journal_reader_new(struct journal *j)
{
    struct journal_reader *r = calloc(1, sizeof *r);

    if (r != NULL) {
        r->journal = j;
        r->file.vfs = j->vfs;
    }
    return r;
}

void journal_reader_free(struct journal_reader *r)
{
    if (r == NULL)
        return;
    stretches_done(&r->stretches);
    stretches_done(&r->checked);
    points_done(&r->points);
    segment_file_done(&r->file);
    free(r->scratch);
    free(r);
}

/* After a segment was replaced: nothing that is kept of it holds any more. True: so it was. */
static bool refresh(struct journal_reader *r)
{
    uint64_t n_mends;

    pthread_mutex_lock(&r->journal->mutex);
    n_mends = r->journal->n_mends;
    pthread_mutex_unlock(&r->journal->mutex);
    if (n_mends == r->n_mends)
        return false;
    r->n_mends = n_mends;
    stretches_done(&r->stretches);
    points_done(&r->points);
    segment_file_done(&r->file);
    r->values = r->notes = (struct run){.from = 0};
    return true;
}

static int stretch_load(struct journal_reader *r, struct stretches *all, const struct stretch_place *place,
                        struct stretch **ret)
{
    int error;

    *ret = stretches_take(all, place);
    if (*ret == NULL)
        return -ENOMEM;
    error = segment_file_read(&r->file, place->number, place->offset, (*ret)->bytes, place->size);
    if (error < 0) {
        stretches_drop(all, *ret);
        return error;
    }
    return stretches_fill(all, *ret);
}

static int stretch_get(struct journal_reader *r, const struct stretch_place *place, struct stretch **ret)
{
    int error = 0;

    *ret = stretches_find(&r->stretches, place);
    if (*ret == NULL)
        error = stretch_load(r, &r->stretches, place, ret);
    if (error < 0)
        r->failed = *place;
    return error;
}

void reader_forget(struct journal_reader *r, uint64_t number)
{
    segment_file_forget(&r->file, number);
}

bool reader_header_is_whole(struct journal_reader *r, const struct index_segment *s)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    uint32_t version;
    int error = segment_file_read(&r->file, s->number, 0, bytes, sizeof bytes);

    if (error < 0)
        return error != -EBADMSG;
    return refresh(r) || (segment_header_decode(bytes, &h, &version) == FILE_WHOLE && h.number == s->number &&
                          h.first == s->first && h.size == s->file_bytes && h.limit == s->limit);
}

int reader_check(struct journal_reader *r, const struct stretch_place *place, uint64_t *ret_first, uint64_t *ret_last)
{
    struct batch_header h;
    struct stretch *s;
    int error;

    refresh(r);
    error = stretch_load(r, &r->checked, place, &s);
    if (error < 0)
        return refresh(r) ? -ENOENT : error;
    batch_header_decode(s->bytes, &h);
    *ret_first = h.number;
    for (uint32_t at = h.size; at < place->size; at += h.size)
        batch_header_decode(s->bytes + at, &h);
    *ret_last = h.number;
    stretches_drop(&r->checked, s);
    return 0;
}

/* --- what was handed over and is not indexed yet --- */

/* It is copied, since the writer gives its memory back. Under the mutex. 1 where it was found. */
static int memory_find_value(struct journal_reader *r, slot_t slot, struct found *ret)
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

/* --- what is indexed --- */

enum kind { OF_VALUE, OF_COMMIT };

struct hit {
    size_t at; /* which point */
    struct index_point point;
};

static bool find_among(const struct index_point *points, size_t n, enum kind kind, slot_t slot, slot_t *bound,
                       struct hit *ret)
{
    bool found = kind == OF_VALUE ? points_find_slot(points, n, slot, &ret->at, bound)
                                  : points_find_commit(points, n, slot, &ret->at);

    if (found)
        ret->point = points[ret->at];
    return found;
}

/* Among the first n_most points of a segment. 1: found; 0: not. */
static int find_point(struct journal_reader *r, uint64_t number, size_t n_most, enum kind kind, slot_t slot,
                      slot_t *bound, struct hit *ret)
{
    struct journal *j = r->journal;
    const struct index_segment *s;
    const struct points *p;
    struct index_segment copy = {.number = 0};
    bool in_file, found = false;
    int error;

    do {
        p = NULL;
        pthread_mutex_lock(&j->mutex);
        s = index_get(&j->index, number);
        in_file = s != NULL && index_in_footer(s);
        if (in_file)
            copy = *s;
        else if (s != NULL)
            found = find_among(s->points, s->n_points < n_most ? s->n_points : n_most, kind, slot, bound, ret);
        pthread_mutex_unlock(&j->mutex);
        error = in_file ? points_get(&r->points, j, &r->file, &copy, &p) : 0;
        if (error < 0) {
            r->failed = (struct stretch_place){.number = number};
            return error;
        }
        if (p != NULL)
            found = find_among(p->items, p->n < n_most ? p->n : n_most, kind, slot, bound, ret);
    } while (in_file && p == NULL);
    return found;
}

static struct index_point *points_copy(const struct index_point *points, size_t n)
{
    struct index_point *copy = calloc(n > 0 ? n : 1, sizeof *copy);

    if (copy != NULL && n > 0)
        memcpy(copy, points, n * sizeof *copy);
    return copy;
}

int reader_points(struct journal_reader *r, uint64_t number, struct index_segment *ret)
{
    struct journal *j = r->journal;
    const struct index_segment *s;
    const struct points *p = NULL;
    bool in_file = true;
    int error = 0;

    refresh(r);
    while (in_file && p == NULL && error == 0) {
        pthread_mutex_lock(&j->mutex);
        s = index_get(&j->index, number);
        in_file = s != NULL && index_in_footer(s);
        if (s == NULL) {
            error = -ENOENT;
        } else {
            *ret = *s;
            ret->points = in_file ? NULL : points_copy(s->points, s->n_points);
        }
        pthread_mutex_unlock(&j->mutex);
        if (in_file)
            error = points_get(&r->points, j, &r->file, ret, &p);
    }
    if (p != NULL) {
        ret->points = points_copy(p->items, p->n);
        ret->n_points = p->n;
    }
    return error == 0 && ret->points == NULL ? -ENOMEM : error;
}

static struct run run_of(slot_t from, slot_t until, uint64_t number, const struct hit *h)
{
    return (struct run){
        .from = from, .until = until, .place = {.number = number, .offset = h->point.offset, .size = h->point.size}};
}

/* In the stretch whose COMMIT records cover the slot. */
static int find_note(struct journal_reader *r, slot_t slot, struct found *ret)
{
    struct journal *j = r->journal;
    struct stretch *s;
    struct hit hit;
    slot_t bound = UINT64_MAX;
    uint64_t number;
    int error;

    if (slot < r->notes.from || slot >= r->notes.until) {
        pthread_mutex_lock(&j->mutex);
        number = index_find_commit(&j->index, slot);
        if (number == 0 && !(j->is_writing && group_find_note(&j->writing, slot, &ret->note)))
            group_find_note(&j->gather, slot, &ret->note);
        pthread_mutex_unlock(&j->mutex);
        if (number == 0)
            return 0;
        error = find_point(r, number, SIZE_MAX, OF_COMMIT, slot, &bound, &hit);
        if (error <= 0)
            return error < 0 ? error : -EBADMSG;
        r->notes = run_of(slot, hit.point.extent.commit_until, number, &hit);
    }
    error = stretch_get(r, &r->notes.place, &s);
    if (error == 0)
        stretch_find_note(s, slot, &ret->note);
    return error;
}

/* The last record for the slot: stretches from the newest back. What is committed there never gets another value, so
 * that the one that was found decides, until `bound`, without looking at newer ones again. */
static int find_indexed(struct journal_reader *r, slot_t slot, slot_t indexed_until, struct found *ret)
{
    struct journal *j = r->journal;
    slot_t bound = indexed_until;
    uint64_t number = UINT64_MAX;
    size_t n_most = 0;
    struct run run;
    struct stretch *s;
    struct hit hit;

    for (;;) {
        int error;
        if (n_most == 0) {
            pthread_mutex_lock(&j->mutex);
            number = index_find_slot(&j->index, slot, number, &bound);
            pthread_mutex_unlock(&j->mutex);
            n_most = SIZE_MAX;
        }
        error = number == 0 ? -EBADMSG : find_point(r, number, n_most, OF_VALUE, slot, &bound, &hit);
        if (error < 0)
            return error;
        n_most = error == 0 ? 0 : hit.at;
        if (error == 0)
            continue;
        run = run_of(slot, hit.point.extent.max < bound ? hit.point.extent.max + 1 : bound, number, &hit);
        error = stretch_get(r, &run.place, &s);
        if (error < 0)
            return error;
        if (stretch_find_value(s, slot, &ret->value, &ret->size))
            break;
        bound = slot + 1;
    }
    if (slot < indexed_until)
        r->values = run;
    return 0;
}

static int find_value(struct journal_reader *r, slot_t slot, slot_t indexed_until, struct found *ret)
{
    struct journal *j = r->journal;
    struct stretch *s;
    int error;

    if (slot >= indexed_until) {
        pthread_mutex_lock(&j->mutex);
        error = memory_find_value(r, slot, ret);
        pthread_mutex_unlock(&j->mutex);
        if (error != 0)
            return error < 0 ? error : 0;
    }
    if (slot >= r->values.from && slot < r->values.until) {
        error = stretch_get(r, &r->values.place, &s);
        if (error < 0)
            return error;
        if (stretch_find_value(s, slot, &ret->value, &ret->size))
            return 0;
    }
    return find_indexed(r, slot, indexed_until, ret);
}

static int find(struct journal_reader *r, slot_t slot, slot_t indexed_until, struct found *ret)
{
    int error;

    do {
        *ret = (struct found){.value = NULL};
        r->failed = (struct stretch_place){.number = 0};
        /* The note first: finding it may push the value's stretch out of what is kept. */
        error = find_note(r, slot, ret);
        if (error == 0)
            error = find_value(r, slot, indexed_until, ret);
    } while (error < 0 && refresh(r));
    return error;
}

/* As journal_reader_read(), which answers the error only where nothing was read. */
static int read_slots(struct journal_reader *r, slot_t from, slot_t until, size_t n_max, size_t bytes_max,
                      journal_each each, void *user, int *ret_error)
{
    struct journal *j = r->journal;
    size_t bytes = 0;
    int n = 0;
    slot_t commit_until, indexed_until;

    pthread_mutex_lock(&j->mutex);
    commit_until = j->commit_until;
    indexed_until = index_commit_until(&j->index);
    pthread_mutex_unlock(&j->mutex);
    *ret_error = from < journal_first_kept(j) ? -ERANGE : 0;
    refresh(r);
    for (slot_t slot = from;
         *ret_error == 0 && slot <= until && slot < commit_until && (size_t)n < n_max && (n == 0 || bytes < bytes_max);
         slot++) {
        struct found f;
        struct record record = {.type = RECORD_CHOSEN, .slot = slot};
        int error = find(r, slot, indexed_until, &f);
        if (error < 0) {
            *ret_error = slot < journal_first_kept(j) ? -ERANGE : error; /* trimmed meanwhile */
            break;
        }
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

int journal_reader_read(struct journal_reader *r, slot_t from, slot_t until, size_t n_max, size_t bytes_max,
                        journal_each each, void *user)
{
    int error, n = read_slots(r, from, until, n_max, bytes_max, each, user, &error);

    return n > 0 ? n : error;
}

int journal_read(struct journal *j, slot_t from, slot_t until, size_t n_max, size_t bytes_max, journal_each each,
                 void *user)
{
    int error, n = read_slots(j->reader, from, until, n_max, bytes_max, each, user, &error);

    if (error == -EBADMSG || error == -EIO)
        rot_note(j, &j->reader->failed);
    return n > 0 ? n : error;
}
