#include "journal/rewrite.h"

#include <errno.h>
#include <string.h>

#include "journal/explain.h"
#include "paxos/crc32c.h"

enum { PIECE_BYTES = 1 << 20 };

/* The batches again, as they were checked. */
static enum journal_result copy_batches(struct scan *s, struct vfs_file *to)
{
    const struct vfs *vfs = s->vfs;
    uint32_t crc = 0;
    const uint8_t *p;
    int r;

    for (uint64_t at = SEGMENT_HEADER_BYTES; at < s->end;) {
        size_t n = s->end - at < PIECE_BYTES ? (size_t)(s->end - at) : PIECE_BYTES;
        enum journal_result result = scan_bytes(s, at, n, &p);
        if (result != JOURNAL_OK)
            return result;
        crc = crc32c(crc, p, n);
        r = vfs->file_write(vfs->context, to, at, p, n);
        if (r < 0)
            return explain_errno(s->error, r, "rewrite", s->name);
        at += n;
    }
    if (crc != s->end_crc)
        return explain(s->error, JOURNAL_IO, "%s: two reads gave different bytes. Check the disk and the memory",
                       s->name);
    return JOURNAL_OK;
}

/* Into a file of zeros, which gets its name only afterwards: the header may already say that all of it is durable. */
static enum journal_result fill(struct scan *s, struct vfs_file *to)
{
    const struct vfs *vfs = s->vfs;
    struct segment_header h = s->header;
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    enum journal_result result = copy_batches(s, to);
    int r;

    if (result != JOURNAL_OK)
        return result;
    h.durable = s->batch;
    segment_header_encode(&h, bytes);
    r = vfs->file_write(vfs->context, to, 0, bytes, sizeof bytes);
    if (r == 0)
        r = vfs->file_sync(vfs->context, to);
    return r < 0 ? explain_errno(s->error, r, "rewrite", s->name) : JOURNAL_OK;
}

/* The same bytes over themselves, and zeros over what was torn. After a cut the header must not claim any longer what
 * is given up. */
static enum journal_result fill_in_place(struct scan *s)
{
    const struct vfs *vfs = s->vfs;
    enum journal_result result = copy_batches(s, s->file);
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    int r = 0;

    if (result != JOURNAL_OK)
        return result;
    segment_header_encode(&s->header, bytes);
    if (s->is_cut)
        r = vfs->file_write(vfs->context, s->file, 0, bytes, sizeof bytes);
    if (r == 0)
        r = vfs->file_allocate(vfs->context, s->file, s->end, s->header.size - s->end);
    if (r == 0)
        r = vfs->file_sync(vfs->context, s->file);
    return r < 0 ? explain_errno(s->error, r == -ENOSPC ? -EIO : r, "rewrite", s->name) : JOURNAL_OK;
}

/* A "reserve" of the whole size, or -ENOSPC before the first byte of the segment is touched. */
static int make_room(struct scan *s, struct vfs_file **ret)
{
    const struct vfs *vfs = s->vfs;
    int r = reserve_open(vfs, s->header.size, ret);

    if (r < 0)
        return r;
    r = reserve_fits(vfs, *ret, s->header.size) ? vfs->file_allocate(vfs->context, *ret, 0, s->header.size) : -ENOSPC;
    if (r < 0)
        vfs->file_close(vfs->context, *ret);
    return r;
}

static enum journal_result replace(struct scan *s, struct vfs_file *to)
{
    const struct vfs *vfs = s->vfs;
    enum journal_result result = fill(s, to);
    int r;

    if (result != JOURNAL_OK) {
        vfs->file_close(vfs->context, to);
        return result;
    }
    vfs->file_close(vfs->context, s->file);
    s->file = to;
    r = vfs->rename(vfs->context, RESERVE_NAME, s->name);
    if (r == 0)
        r = vfs->dir_sync(vfs->context);
    return r < 0 ? explain_errno(s->error, r == -ENOSPC ? -EIO : r, "put the reserve in place of", s->name)
                 : JOURNAL_OK;
}

enum journal_result rewrite_segment(struct scan *s, struct open_segment *ret)
{
    enum journal_result result;
    struct vfs_file *to;
    int r = make_room(s, &to);

    if (r < 0 && r != -ENOSPC)
        return explain_errno(s->error, r, "allocate", RESERVE_NAME);
    result = r == -ENOSPC ? fill_in_place(s) : replace(s, to);
    if (result != JOURNAL_OK)
        return result;
    *ret = (struct open_segment){.file = s->file,
                                 .number = s->number,
                                 .size = s->header.size,
                                 .limit = s->header.limit,
                                 .offset = s->end,
                                 .first = s->header.first,
                                 .is_named = true};
    s->file = NULL;
    return JOURNAL_OK;
}
