/* The end of a full segment: which slots it holds, and where in it, so that neither start nor reading needs the rest.
 *
 * From the segment's limit on: per point offset u32, size u32, min u64, max u64, commit_until u64; zeros; and the last
 * FOOTER_TRAILER_BYTES of the file: prologue; owner; segment number u64; first and last batch u64; min, max and
 * commit_until u64 of it all; points u32; CRC u32 of the points; zeros; CRC u32 of the trailer before it.
 *
 * It is derived from the batches, and written after all of them were durable and the next segment stood: damage to it
 * loses time, never data. */
#ifndef JOURNAL_FOOTER_H
#define JOURNAL_FOOTER_H

#include "journal/format.h"
#include "journal/index.h"

enum { FOOTER_TRAILER_BYTES = 128, FOOTER_POINT_BYTES = 32 };

#define MAGIC_FOOTER "mpxfootr"

/* Where the batches of a segment of `size` bytes end, so that its footer always fits. */
uint64_t footer_limit(uint64_t size);

/* Whether there is room for it: version 1 left none. */
bool footer_fits(const struct index_segment *s);

/* All from the limit to the end of the file: file_bytes - limit bytes. */
void footer_encode(const struct index_segment *s, const struct owner *owner, uint8_t *ret);

struct footer {
    struct owner owner;
    struct index_segment segment; /* .points NULL, .n_points as many as it has */
    uint32_t points_crc;
};

/* The trailer alone, for the segment of which number, sizes and first batch are known. False: there is none, or it does
 * not belong there. */
bool footer_decode(const uint8_t *trailer, const struct index_segment *known, struct footer *ret);

/* The bytes at the limit; `ret` has room for the footer's points. False: they do not match. */
bool footer_points_decode(const uint8_t *bytes, const struct footer *f, struct index_point *ret);

/* Whether it tells what was found in the segment itself. */
bool footer_agrees(const struct footer *f, const struct index_segment *s);

#endif
