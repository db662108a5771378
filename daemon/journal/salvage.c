#include "journal/salvage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/explain.h"
#include "journal/footer.h"

enum { PIECE_BYTES = 1 << 20 };

/* What stands whole behind the last damage. */
struct evidence {
    uint64_t last;    /* batch number */
    uint64_t durable; /* the highest that is said to have been durable */
    bool has_vote;    /* a promise or vote stands there */
    bool has_reach;
    slot_t reach; /* with it: no record before it is of a higher slot */
    bool garbage; /* something else follows */
    /* Of all that is whole. */
    struct ballot promised;
    slot_t recorded_until, commit_until;
};

static void forget(struct evidence *e)
{
    e->has_vote = e->has_reach = false;
}

static void take_record(struct evidence *e, const struct record_view *v)
{
    const struct record *r = &v->record;

    if ((r->type == RECORD_PROMISE || r->type == RECORD_ACCEPT) &&
        !ballot_is_none(r->ballot)) { /* else it was mended */
        e->has_vote = true;
        if (ballot_compare(r->ballot, e->promised) > 0)
            e->promised = r->ballot;
    }
    if (v->value != NULL && r->slot > e->recorded_until)
        e->recorded_until = r->slot;
    if (r->type != RECORD_COMMIT)
        return;
    if (r->slot + 1 > e->commit_until)
        e->commit_until = r->slot + 1;
    if (r->recorded_until > 0 && (!e->has_reach || r->recorded_until < e->reach)) {
        e->has_reach = true;
        e->reach = r->recorded_until;
    }
}

static void take_batch(struct scan *t, struct evidence *e, const uint8_t *batch, const struct batch_header *h)
{
    const uint8_t *p = batch + BATCH_HEADER_BYTES;
    struct record_view v;

    if (h->number != e->last + 1)
        forget(e);
    for (uint32_t left = h->payload_size; left > 0; left -= v.encoded_size, p += v.encoded_size) {
        if (!record_decode(p, left, t->notes, &v)) {
            forget(e);
            break;
        }
        take_record(e, &v);
    }
    e->last = h->number;
    e->garbage = false;
    if (h->durable > e->durable)
        e->durable = h->durable;
}

/* All whole batches from `at` on that belong there. */
static enum journal_result look_at_batches(struct scan *t, struct evidence *e, uint64_t at)
{
    struct batch_header h;
    const uint8_t *p;

    for (uint64_t step; at + BATCH_HEADER_BYTES <= t->header.limit; at += step) {
        enum journal_result r = scan_bytes(t, at, BATCH_HEADER_BYTES, &p);
        if (r != JOURNAL_OK)
            return r;
        step = BATCH_ALIGN;
        if (scan_is_zero(p, BATCH_HEADER_BYTES))
            continue;
        e->garbage = true;
        if (!batch_header_decode(p, &h) || h.segment != t->number || h.offset != at || h.number <= e->last ||
            h.size > t->header.limit - at)
            continue;
        r = scan_bytes(t, at, h.size, &p);
        if (r != JOURNAL_OK)
            return r;
        if (!batch_is_whole(p, &h))
            continue;
        take_batch(t, e, p, &h);
        step = h.size;
    }
    return JOURNAL_OK;
}

/* A header that is damaged tells nothing; one that is another replica's ends it all. */
static enum journal_result look_at_header(struct scan *t, struct evidence *e, uint64_t size)
{
    struct segment_header h;
    const uint8_t *p;
    uint32_t version;
    enum journal_result r;

    t->header.limit = size;
    if (size < SEGMENT_HEADER_BYTES)
        return JOURNAL_OK;
    r = scan_bytes(t, 0, SEGMENT_HEADER_BYTES, &p);
    if (r != JOURNAL_OK || segment_header_decode(p, &h, &version) != FILE_WHOLE)
        return r;
    if (h.durable > e->durable)
        e->durable = h.durable;
    if (h.limit < size)
        t->header.limit = h.limit;
    return explain_owner(t->error, t->own, &h.owner, t->name);
}

static enum journal_result look_at_segment(struct scan *t, struct evidence *e, uint64_t number, uint64_t from)
{
    const struct vfs *vfs = t->vfs;
    enum journal_result result;
    int64_t size;
    int r;

    t->number = number;
    t->window_size = 0;
    segment_name(number, t->name);
    r = vfs->file_open(vfs->context, t->name, 0, &t->file);
    if (r < 0) {
        t->file = NULL;
        return explain_errno(t->error, r, "open", t->name);
    }
    size = vfs->file_size(vfs->context, t->file);
    if (size < 0)
        return explain_errno(t->error, (int)size, "read", t->name);
    result = look_at_header(t, e, (uint64_t)size);
    if (result == JOURNAL_OK)
        result = look_at_batches(t, e, from);
    vfs->file_close(vfs->context, t->file);
    t->file = NULL;
    return result;
}

static enum journal_result look(const struct scan *s, const uint64_t *numbers, size_t n, struct evidence *ret)
{
    struct scan *t = calloc(1, sizeof *t);
    enum journal_result r = JOURNAL_OK;
    struct evidence e = {.last = s->batch, .durable = s->durable};

    if (t == NULL)
        return explain_errno(s->error, -ENOMEM, "read", s->name);
    t->vfs = s->vfs;
    t->own = s->own;
    t->error = s->error;
    for (size_t i = 0; i < n && r == JOURNAL_OK; i++) {
        e.garbage = false; /* in a segment that another follows, a gap of the numbers tells as well */
        r = look_at_segment(t, &e, numbers[i], i == 0 ? s->end : SEGMENT_HEADER_BYTES);
    }
    scan_done(t);
    free(t);
    if (e.garbage || e.durable > e.last)
        forget(&e);
    *ret = e;
    return r;
}

static slot_t recorded_before(const struct index *x)
{
    slot_t until = 0;

    for (size_t i = 0; i < x->n_segments; i++) {
        const struct extent *e = &x->segments[i].extent;
        if (e->min <= e->max && e->max > until)
            until = e->max;
    }
    return until;
}

/* Judges, and has the superblock say so. */
static enum journal_result declare(struct journal *j, struct scan *s, const struct evidence *e, const char *place)
{
    struct superblock *b = &j->superblock;
    slot_t until = recorded_before(&j->index), commit_until = s->commit_until;
    bool is_lost;
    int r;

    if (j->commit_until > commit_until) /* the checkpoint's */
        commit_until = j->commit_until;
    if (e->commit_until > commit_until)
        commit_until = e->commit_until;
    is_lost = !e->has_vote || !e->has_reach || e->reach >= commit_until;
    if (e->recorded_until > until)
        until = e->recorded_until;
    if (e->has_reach && e->reach > until)
        until = e->reach;
    if (is_lost && b->identity.status == IDENTITY_VOTER)
        b->identity.status = IDENTITY_QUARANTINED;
    if (until > b->identity.silent_until)
        b->identity.silent_until = until;
    if (ballot_compare(s->promised, b->damage.promised) > 0)
        b->damage.promised = s->promised;
    if (ballot_compare(e->promised, b->damage.promised) > 0)
        b->damage.promised = e->promised;
    b->damage.segment = s->number;
    b->damage.offset = s->end;
    b->damage.is_cutting = true;
    b->durable = s->batch;
    r = superblock_write(j->vfs, b);
    if (r < 0)
        return explain_errno(s->error, r, "write", "superblock");
    return explain(s->error, JOURNAL_OK,
                   is_lost
                       ? "%s. Votes of this replica are lost with it: it is quarantined from now on"
                       : "%s. No vote was lost with it: this replica votes again once it has fetched from its peers "
                         "what was there, up to slot %" PRIu64,
                   place, until);
}

static void rotten_name(uint64_t number, char ret[SEGMENT_NAME_BYTES])
{
    snprintf(ret, SEGMENT_NAME_BYTES, "rotten-%016" PRIx64, number);
}

/* A copy of the damaged segment for whoever wants to look, where there is room. */
static int keep_copy(struct scan *s, uint64_t size)
{
    const struct vfs *vfs = s->vfs;
    char name[SEGMENT_NAME_BYTES];
    struct vfs_file *to;
    const uint8_t *p;
    int r;

    rotten_name(s->number, name);
    if (vfs->free_bytes(vfs->context) < (int64_t)(2 * size))
        return 0;
    r = vfs->file_open(vfs->context, name, VFS_CREATE, &to);
    if (r < 0)
        return r == -EEXIST || r == -ENOSPC ? 0 : r;
    for (uint64_t at = 0; at < size && r == 0; at += PIECE_BYTES) {
        size_t n = size - at < PIECE_BYTES ? (size_t)(size - at) : PIECE_BYTES;
        if (scan_bytes(s, at, n, &p) != JOURNAL_OK)
            r = -EIO;
        if (r == 0)
            r = vfs->file_write(vfs->context, to, at, p, n);
    }
    vfs->file_close(vfs->context, to);
    return r == -ENOSPC ? vfs->remove(vfs->context, name) : r;
}

static int put_aside(struct scan *s, const uint64_t *numbers, size_t n)
{
    const struct vfs *vfs = s->vfs;
    char from[SEGMENT_NAME_BYTES], to[SEGMENT_NAME_BYTES];
    int64_t size = vfs->file_size(vfs->context, s->file);
    int r = size < 0 ? (int)size : keep_copy(s, (uint64_t)size);

    for (size_t i = n; i > 1 && r == 0; i--) { /* from the end and one by one, so that no gap comes up */
        segment_name(numbers[i - 1], from);
        rotten_name(numbers[i - 1], to);
        r = vfs->rename(vfs->context, from, to);
        if (r == 0)
            r = vfs->dir_sync(vfs->context);
    }
    return r;
}

/* Where the damage is to the segment's own header, or the file's size, it begins anew. */
static enum journal_result mend_header(struct journal *j, struct scan *s)
{
    struct index_segment added;

    if (index_get(s->index, s->number) != NULL) {
        s->header.durable = s->batch;
        return JOURNAL_OK;
    }
    s->header = (struct segment_header){.owner = owner_of(s->own),
                                        .number = s->number,
                                        .size = j->segment_bytes,
                                        .first = s->batch + 1,
                                        .durable = s->batch,
                                        .limit = footer_limit(j->segment_bytes)};
    added = (struct index_segment){
        .number = s->number, .file_bytes = s->header.size, .limit = s->header.limit, .first = s->header.first};
    return index_add_segment(s->index, &added) < 0 ? explain_errno(s->error, -ENOMEM, "index", s->name) : JOURNAL_OK;
}

enum journal_result salvage_run(struct journal *j, struct scan *s, const uint64_t *numbers, size_t n)
{
    enum journal_result result = JOURNAL_OK;
    char place[JOURNAL_ERROR_MAX + 1], said[JOURNAL_ERROR_MAX + 1];
    struct evidence e = {.last = 0};
    int r;

    memcpy(place, s->error, sizeof place);
    if (s->own->status < IDENTITY_VOTER || s->own->configuration.n_members == 1)
        return explain(
            s->error, JOURNAL_REFUSED,
            "%s. No other replica has what stood there, so nothing was changed: keep a copy, and restore the "
            "state directory's own bytes",
            place);
    if (j->has_checkpoint) /* the numbers of what is given up are given again */
        j->superblock.damage.checkpoint_until = j->checkpoint.slot + 1;
    if (!scan_is_cut_here(s)) {
        result = look(s, numbers, n, &e);
        if (result == JOURNAL_OK)
            result = declare(j, s, &e, place);
    }
    if (result != JOURNAL_OK)
        return result;
    memcpy(said, s->error, sizeof said);
    r = put_aside(s, numbers, n);
    if (r < 0)
        return explain_errno(s->error, r, "put aside", s->name);
    s->is_cut = true;
    s->durable = s->batch;
    memcpy(s->error, said, sizeof said); /* reading for the copy may have written there */
    return mend_header(j, s);
}
