#include "journal/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/explain.h"
#include "journal/footer.h"
#include "paxos/crc32c.h"

enum { WINDOW_BYTES = 1 << 20 };

static enum journal_result damaged(struct scan *s, uint64_t offset, const char *what)
{
    return explain(s->error, JOURNAL_DAMAGED, "%s: damaged at offset %llu, where batch %llu belongs: %s", s->name,
                   (unsigned long long)offset, (unsigned long long)(s->batch + 1), what);
}

/* Written so, and no rot: nothing of it may be guessed about. */
static enum journal_result refuse(struct scan *s, uint64_t offset, const char *what)
{
    return explain(s->error, JOURNAL_REFUSED,
                   "%s: at offset %llu, batch %llu: %s. Nothing was changed. Use the release that wrote it, or restore "
                   "the state directory if something else wrote into it",
                   s->name, (unsigned long long)offset, (unsigned long long)(s->batch + 1), what);
}

static enum journal_result fail_read(struct scan *s, int error)
{
    explain_errno(s->error, error, "read", s->name);
    return JOURNAL_IO; /* reading takes no space */
}

enum journal_result scan_bytes(struct scan *s, uint64_t offset, size_t size, const uint8_t **ret)
{
    uint64_t limit = s->header.limit; /* what stands behind the batches may be unreadable */
    size_t window = offset < limit && limit - offset < WINDOW_BYTES ? (size_t)(limit - offset) : WINDOW_BYTES;
    size_t wanted = size > window ? size : window;
    int64_t n;
    uint8_t *p;

    if (offset < s->window_offset || offset + size > s->window_offset + s->window_size) {
        p = array_grow(s->window, wanted, &s->window_room, 1);
        if (p == NULL)
            return fail_read(s, -ENOMEM);
        s->window = p;
        s->window_size = 0;
        n = s->vfs->file_read(s->vfs->context, s->file, offset, p, wanted);
        if (n < 0)
            return fail_read(s, (int)n);
        if ((uint64_t)n < size)
            return fail_read(s, -EIO);
        s->window_offset = offset;
        s->window_size = (size_t)n;
        if (s->progress != NULL)
            s->progress(s->user, s->bytes_done + offset, s->bytes_all);
    }
    *ret = s->window + (offset - s->window_offset);
    return JOURNAL_OK;
}

void scan_done(struct scan *s)
{
    if (s->file != NULL)
        s->vfs->file_close(s->vfs->context, s->file);
    s->file = NULL;
    free(s->window);
    s->window = NULL;
    s->window_room = 0;
    s->window_size = 0;
}

bool scan_is_zero(const uint8_t *p, size_t size)
{
    return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

static enum journal_result open_file(struct scan *s)
{
    const struct vfs *vfs = s->vfs;
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header h;
    uint32_t version;
    int64_t size, n;
    enum journal_result result;
    int r = vfs->file_open(vfs->context, s->name, 0, &s->file);

    if (r < 0) {
        s->file = NULL;
        return explain_errno(s->error, r, "open", s->name);
    }
    size = vfs->file_size(vfs->context, s->file);
    n = size < 0 ? size : vfs->file_read(vfs->context, s->file, 0, bytes, sizeof bytes);
    if (n < 0)
        return fail_read(s, (int)n);
    if (n < SEGMENT_HEADER_BYTES)
        return damaged(s, 0, "the file is cut short");
    switch (segment_header_decode(bytes, &h, &version)) {
    case FILE_VERSION_UNKNOWN:
        return explain_version(s->error, s->name, version);
    case FILE_DAMAGED:
        return damaged(s, 0, "the file's header does not match its checksum");
    case FILE_WHOLE:
        break;
    }
    result = s->own != NULL ? explain_owner(s->error, s->own, &h.owner, s->name) : JOURNAL_OK;
    if (result != JOURNAL_OK)
        return result;
    if (h.number != s->number)
        return damaged(s, 0, "the file is another segment's");
    if (h.size != (uint64_t)size)
        return damaged(s, 0, "the file has not the size that its header tells");
    if (s->index->n_segments == 0)
        s->batch = h.first - 1;
    if (h.first != s->batch + 1)
        return damaged(s, 0, "batches between the segment before and this one are missing");
    s->header = h;
    if (h.durable > s->durable)
        s->durable = h.durable;
    return JOURNAL_OK;
}

static enum journal_result replay_batch(struct scan *s, const uint8_t *batch, const struct batch_header *h)
{
    struct extent extent = extent_none();
    const uint8_t *p = batch + BATCH_HEADER_BYTES;
    struct record_view v;
    uint32_t n = 0;

    for (uint32_t left = h->payload_size; left > 0; left -= v.encoded_size, p += v.encoded_size) {
        if (!record_decode(p, left, s->notes, &v))
            return refuse(s, h->offset, "it holds a record that this release does not know");
        if (v.value != NULL)
            extent_add_slot(&extent, v.record.slot);
        if (v.record.type == RECORD_COMMIT && v.record.slot + 1 > extent.commit_until)
            extent.commit_until = v.record.slot + 1;
        if (ballot_compare(v.record.ballot, s->promised) > 0)
            s->promised = v.record.ballot;
        if (s->replay != NULL && !s->replay->each(s->replay->user, &v.record, v.value, v.value_size))
            return refuse(s, h->offset, "a record in it cannot follow those before it");
        n++;
    }
    if (n != h->n_records)
        return refuse(s, h->offset, "it does not hold as many records as it tells");
    if (extent.commit_until > s->commit_until)
        s->commit_until = extent.commit_until;
    if (index_add_batch(s->index, (uint32_t)h->offset, h->size, &extent) < 0)
        return explain_errno(s->error, -ENOMEM, "index", s->name);
    return JOURNAL_OK;
}

/* Whether what a write left undone shows: its sectors were zeros before, so that one which did not reach the disk still
 * is, and where it ended in the middle of one, its last byte is missing. A batch of 64 KiB without both was written
 * whole and changed afterwards. */
static bool shows_tear(const uint8_t *p, uint64_t offset, size_t size)
{
    size_t to;

    if (p[size - 1] == 0)
        return true;
    for (size_t at = 0; at < size; at = to) {
        to = at + (SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
        if (to > size)
            to = size;
        if (scan_is_zero(p + at, to - at))
            return true;
    }
    return false;
}

/* Looks through what follows a bad batch: whether a later one says that this one was durable, and where the last byte
 * is. */
static enum journal_result scan_rest(struct scan *s, uint64_t *ret_durable, uint64_t *ret_last)
{
    struct batch_header h;
    const uint8_t *p;

    *ret_durable = 0;
    *ret_last = s->end;
    for (uint64_t at = s->end; at + BATCH_HEADER_BYTES <= s->header.limit; at += BATCH_ALIGN) {
        enum journal_result r = scan_bytes(s, at, BATCH_HEADER_BYTES, &p);
        if (r != JOURNAL_OK)
            return r;
        if (scan_is_zero(p, BATCH_ALIGN))
            continue;
        *ret_last = at + BATCH_ALIGN;
        if (at > s->end && batch_header_decode(p, &h) && h.segment == s->number && h.offset == at &&
            h.durable > *ret_durable)
            *ret_durable = h.durable;
    }
    return JOURNAL_OK;
}

/* Where no whole batch follows at s->end; `bad` says why, NULL where zeros are there, as after the last one. */
static enum journal_result end_segment(struct scan *s, const char *bad, bool torn, bool is_last)
{
    uint64_t durable, last;
    enum journal_result r;

    if (!is_last && bad != NULL)
        return damaged(s, s->end, bad);
    r = scan_rest(s, &durable, &last);
    if (r != JOURNAL_OK)
        return r;
    if (!is_last) /* what follows would be read again once the zeros are made up for */
        return last > s->end ? damaged(s, s->end, "zeros are there, and more batches behind them") : JOURNAL_OK;
    if (durable > s->durable)
        s->durable = durable;
    if (s->durable > s->batch)
        return damaged(s, s->end, bad != NULL ? bad : "it was durable and is gone");
    if (last > s->end && bad != NULL && !torn)
        return damaged(s, s->end, bad);
    s->torn_bytes = last - s->end;
    return JOURNAL_OK;
}

bool scan_is_cut_here(const struct scan *s)
{
    const struct damage *d = s->damage;

    return d != NULL && d->is_cutting && d->segment == s->number && d->offset == s->end;
}

/* One batch at s->end. *ret_more is false where the segment ends there. */
static enum journal_result scan_batch(struct scan *s, bool is_last, bool *ret_more)
{
    struct batch_header h;
    const uint8_t *p;
    enum journal_result r;

    *ret_more = false;
    if (scan_is_cut_here(s))
        return damaged(s, s->end, "what follows was given up");
    if (s->batch == s->last) /* whatever stands behind it */
        return JOURNAL_OK;
    if (s->header.limit - s->end < BATCH_HEADER_BYTES)
        return end_segment(s, NULL, false, is_last);
    r = scan_bytes(s, s->end, BATCH_HEADER_BYTES, &p);
    if (r != JOURNAL_OK)
        return r;
    if (scan_is_zero(p, BATCH_HEADER_BYTES))
        return end_segment(s, NULL, false, is_last);
    if (!batch_header_decode(p, &h))
        return end_segment(s, "its header does not match its checksum", p[BATCH_HEADER_BYTES - 1] == 0, is_last);
    if (h.segment != s->number || h.offset != s->end || h.number != s->batch + 1 || h.size > s->header.limit - s->end)
        return damaged(s, s->end, "another batch was written there");
    r = scan_bytes(s, s->end, h.size, &p);
    if (r != JOURNAL_OK)
        return r;
    if (!batch_is_whole(p, &h))
        return end_segment(s, "it does not match its checksum", shows_tear(p, s->end, h.size), is_last);
    r = replay_batch(s, p, &h);
    if (r != JOURNAL_OK)
        return r;
    s->end_crc = crc32c(s->end_crc, p, h.size);
    s->end += h.size;
    s->batch = h.number;
    if (h.durable > s->durable)
        s->durable = h.durable;
    *ret_more = true;
    return JOURNAL_OK;
}

static enum journal_result begin(struct scan *s, uint64_t number)
{
    if (s->file != NULL)
        s->vfs->file_close(s->vfs->context, s->file);
    s->file = NULL;
    s->number = number;
    segment_name(number, s->name);
    s->window_offset = 0;
    s->window_size = 0;
    s->end = SEGMENT_HEADER_BYTES;
    s->end_crc = 0;
    s->torn_bytes = 0;
    return open_file(s);
}

static struct index_segment describe(const struct scan *s)
{
    return (struct index_segment){
        .number = s->number, .file_bytes = s->header.size, .limit = s->header.limit, .first = s->header.first};
}

/* What the end of the file holds, if that is a footer. */
static enum journal_result read_footer(struct scan *s, struct footer *ret, bool *ret_there)
{
    const struct index_segment known = describe(s);
    uint8_t trailer[FOOTER_TRAILER_BYTES];
    int64_t n = sizeof trailer;

    *ret_there = s->header.size - s->header.limit >= sizeof trailer;
    if (*ret_there)
        n = s->vfs->file_read(s->vfs->context, s->file, s->header.size - sizeof trailer, trailer, sizeof trailer);
    if (n < 0)
        return fail_read(s, (int)n);
    *ret_there = *ret_there && footer_decode(trailer, &known, ret) && owner_equal(&ret->owner, &s->header.owner);
    return JOURNAL_OK;
}

enum journal_result scan_footer(struct scan *s, uint64_t number, bool *ret_there)
{
    struct footer f;
    enum journal_result r = begin(s, number);

    if (r == JOURNAL_OK)
        r = read_footer(s, &f, ret_there);
    if (r != JOURNAL_OK || !*ret_there)
        return r;
    if (index_add_segment(s->index, &f.segment) < 0)
        return explain_errno(s->error, -ENOMEM, "index", s->name);
    s->batch = f.segment.last;
    s->bytes_done += s->header.size;
    return JOURNAL_OK;
}

enum journal_result scan_compare_footer(struct scan *s, bool is_last)
{
    struct index_segment *added = index_get(s->index, s->number);
    struct footer f;
    bool there;
    enum journal_result r = read_footer(s, &f, &there);

    if (r != JOURNAL_OK || !there)
        return r;
    if (is_last)
        return refuse(s, s->header.size - FOOTER_TRAILER_BYTES, "it is full, and the segment after it is missing");
    if (f.segment.last > s->batch)
        return damaged(s, s->end, "the segment's footer tells of more batches than there are");
    if (footer_agrees(&f, added))
        index_drop_points(added);
    return JOURNAL_OK;
}

static enum journal_result find_last(struct scan *s, bool is_last)
{
    struct footer f;
    bool there;
    enum journal_result r;

    s->last = s->known_last > 0 ? s->known_last : UINT64_MAX;
    if (s->known_last > 0 || is_last)
        return JOURNAL_OK;
    r = read_footer(s, &f, &there);
    if (r == JOURNAL_OK && there)
        s->last = f.segment.last;
    return r;
}

enum journal_result scan_segment(struct scan *s, uint64_t number, bool is_last)
{
    struct index_segment added;
    bool more = true;
    enum journal_result r = begin(s, number);

    if (r != JOURNAL_OK)
        return r;
    added = describe(s);
    if (index_add_segment(s->index, &added) < 0)
        return explain_errno(s->error, -ENOMEM, "index", s->name);
    r = find_last(s, is_last);
    while (r == JOURNAL_OK && more)
        r = scan_batch(s, is_last, &more);
    s->bytes_done += s->header.size;
    return r;
}
