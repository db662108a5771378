#include "journal/footer.h"

#include <string.h>

#include "paxos/bytes.h"
#include "paxos/crc32c.h"

enum {
    NUMBERS_OFFSET = PROLOGUE_BYTES + OWNER_BYTES,
    POINTS_OFFSET = NUMBERS_OFFSET + 48,
    TRAILER_CRC_OFFSET = FOOTER_TRAILER_BYTES - 4,
};

/* Every point but the last of a segment has INDEX_STRETCH_BYTES and more. */
uint64_t footer_limit(uint64_t size)
{
    uint64_t bytes = (size / INDEX_STRETCH_BYTES + 1) * FOOTER_POINT_BYTES + FOOTER_TRAILER_BYTES;

    return size - (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

bool footer_fits(const struct index_segment *s)
{
    return s->n_points * FOOTER_POINT_BYTES + FOOTER_TRAILER_BYTES <= s->file_bytes - s->limit;
}

static void extent_encode(const struct extent *e, uint8_t *ret)
{
    put_u64(ret, e->min);
    put_u64(ret + 8, e->max);
    put_u64(ret + 16, e->commit_until);
}

static struct extent extent_decode(const uint8_t *bytes)
{
    return (struct extent){.min = get_u64(bytes), .max = get_u64(bytes + 8), .commit_until = get_u64(bytes + 16)};
}

static bool extent_equal(const struct extent *a, const struct extent *b)
{
    return a->min == b->min && a->max == b->max && a->commit_until == b->commit_until;
}

static void point_encode(const struct index_point *p, uint8_t *ret)
{
    put_u32(ret, p->offset);
    put_u32(ret + 4, p->size);
    extent_encode(&p->extent, ret + 8);
}

static uint32_t points_crc(const struct index_segment *s)
{
    uint8_t bytes[FOOTER_POINT_BYTES];
    uint32_t crc = 0;

    for (size_t i = 0; i < s->n_points; i++) {
        point_encode(&s->points[i], bytes);
        crc = crc32c(crc, bytes, sizeof bytes);
    }
    return crc;
}

void footer_encode(const struct index_segment *s, const struct owner *owner, uint8_t *ret)
{
    uint8_t *t = ret + (s->file_bytes - s->limit) - FOOTER_TRAILER_BYTES;

    memset(ret, 0, (size_t)(s->file_bytes - s->limit));
    for (size_t i = 0; i < s->n_points; i++)
        point_encode(&s->points[i], ret + i * FOOTER_POINT_BYTES);
    prologue_encode(MAGIC_FOOTER, t);
    owner_encode(owner, t + PROLOGUE_BYTES);
    put_u64(t + NUMBERS_OFFSET, s->number);
    put_u64(t + NUMBERS_OFFSET + 8, s->first);
    put_u64(t + NUMBERS_OFFSET + 16, s->last);
    extent_encode(&s->extent, t + NUMBERS_OFFSET + 24);
    put_u32(t + POINTS_OFFSET, (uint32_t)s->n_points);
    put_u32(t + POINTS_OFFSET + 4, crc32c(0, ret, s->n_points * FOOTER_POINT_BYTES));
    put_u32(t + TRAILER_CRC_OFFSET, crc32c(0, t, TRAILER_CRC_OFFSET));
}

bool footer_decode(const uint8_t *trailer, const struct index_segment *known, struct footer *ret)
{
    struct index_segment *s = &ret->segment;
    uint32_t version;

    if (prologue_check(MAGIC_FOOTER, trailer, &version) != FILE_WHOLE ||
        get_u32(trailer + TRAILER_CRC_OFFSET) != crc32c(0, trailer, TRAILER_CRC_OFFSET))
        return false;
    *ret = (struct footer){.owner = owner_decode(trailer + PROLOGUE_BYTES),
                           .segment = {.number = get_u64(trailer + NUMBERS_OFFSET),
                                       .file_bytes = known->file_bytes,
                                       .limit = known->limit,
                                       .first = get_u64(trailer + NUMBERS_OFFSET + 8),
                                       .last = get_u64(trailer + NUMBERS_OFFSET + 16),
                                       .extent = extent_decode(trailer + NUMBERS_OFFSET + 24),
                                       .n_points = get_u32(trailer + POINTS_OFFSET)},
                           .points_crc = get_u32(trailer + POINTS_OFFSET + 4)};
    return s->number == known->number && s->first == known->first && s->last >= s->first && s->n_points > 0 &&
           footer_fits(s);
}

bool footer_points_decode(const uint8_t *bytes, const struct footer *f, struct index_point *ret)
{
    uint64_t at = SEGMENT_HEADER_BYTES;

    if (crc32c(0, bytes, f->segment.n_points * FOOTER_POINT_BYTES) != f->points_crc)
        return false;
    for (size_t i = 0; i < f->segment.n_points; i++, bytes += FOOTER_POINT_BYTES) {
        ret[i] = (struct index_point){
            .offset = get_u32(bytes), .size = get_u32(bytes + 4), .extent = extent_decode(bytes + 8)};
        /* One after the other, within the segment: nothing beyond it is read. */
        if (ret[i].offset != at || ret[i].size == 0 || ret[i].size > f->segment.limit - at)
            return false;
        at += ret[i].size;
    }
    return true;
}

bool footer_agrees(const struct footer *f, const struct index_segment *s)
{
    return f->segment.last == s->last && extent_equal(&f->segment.extent, &s->extent) &&
           f->segment.n_points == s->n_points && f->points_crc == points_crc(s);
}
