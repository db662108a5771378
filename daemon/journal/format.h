/* The bytes of a segment, little-endian. Pure; nothing is trusted that was read.
 *
 * Every file opens with a prologue that never changes with the version: magic (8 bytes), version u32, CRC-32C u32 of
 * the 12 bytes before. A version is unknown only where that CRC holds; else the file is damaged.
 *
 * A segment: prologue; owner: cluster 16 bytes, replica id u8, 7 zero, life u64; segment number u64; size u64; first
 * batch u64; durable u64 (the last batch that was synced before the file got its name); limit u64 (batches end there,
 * and the footer has what follows; 0, as version 1 has it: the size, and there is no footer); zeros; CRC u32 of it all,
 * SEGMENT_HEADER_BYTES together. Then batches, then zeros, from the limit on the footer (footer.h).
 *
 * A batch begins at a multiple of BATCH_ALIGN, so that its header lies in one sector: magic u32, size u32 (of it all),
 * number u64, segment u64, offset u64, durable u64 (the highest batch that was known to be durable when this one was
 * written), payload size u32, records u32, payload CRC u32 (of all after the header), zero u32, header CRC u32 (of the
 * 56 bytes before), mark u32. Then records, then BATCH_MARK bytes, at least one, up to the next multiple: what was torn
 * off its end, in a file of zeros, shows.
 *
 * A record: body size u32, type u8, 3 zero, body. PROMISE: ballot. ACCEPT: slot u64, ballot, value. CHOSEN: slot u64,
 * value. COMMIT: slot u64, n_notes u32, one more than recorded_until lies above the slot u32 (0: not told), then per
 * note: slot u64, time u64, type u8, 7 zero. A ballot: round u64, gen u32, id u8, 3 zero. */
#ifndef JOURNAL_FORMAT_H
#define JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/record.h"

enum {
    PROLOGUE_BYTES = 16,
    OWNER_BYTES = 32,
    SECTOR_BYTES = 512,
    SEGMENT_HEADER_BYTES = 512,
    BATCH_ALIGN = 64,
    BATCH_HEADER_BYTES = 64,
    BATCH_MARK = 0xa5,
    BATCH_BYTES_TARGET =
        16 << 10, /* of payload: a reader checks whole batches; one larger record is a batch of its own */
    RECORD_HEADER_BYTES = 8,
};

/* --- every file --- */

enum file_check { FILE_WHOLE, FILE_DAMAGED, FILE_VERSION_UNKNOWN };

#define MAGIC_SEGMENT    "mpxsegmt"
#define MAGIC_SUPERBLOCK "mpxsuper"

void prologue_encode(const char *magic, uint8_t *ret);
enum file_check prologue_check(const char *magic, const uint8_t *bytes, uint32_t *ret_version);

/* Whose file it is: behind the prologue, and the same in all files. */
struct owner {
    struct hash128 cluster;
    replica_id_t id;
    uint64_t life;
};

struct owner owner_of(const struct identity *i);
void owner_encode(const struct owner *o, uint8_t *ret);
struct owner owner_decode(const uint8_t *bytes);
bool owner_equal(const struct owner *a, const struct owner *b);

/* --- segments --- */

enum { SEGMENT_NAME_BYTES = 32 };

struct segment_header {
    struct owner owner;
    uint64_t number;
    uint64_t size;
    uint64_t first;
    uint64_t durable;
    uint64_t limit; /* of the batches */
};

void segment_header_encode(const struct segment_header *h, uint8_t *ret);
enum file_check segment_header_decode(const uint8_t *bytes, struct segment_header *ret, uint32_t *ret_version);

void segment_name(uint64_t number, char ret[SEGMENT_NAME_BYTES]);
/* False where it is not exactly the name that segment_name() gives a number. */
bool segment_name_parse(const char *name, uint64_t *ret);

/* --- batches --- */

struct batch_header {
    uint32_t size;
    uint64_t number;
    uint64_t segment;
    uint64_t offset;
    uint64_t durable;
    uint32_t payload_size;
    uint32_t n_records;
};

/* Size of a batch with such a payload: header and marks too. */
static inline uint32_t batch_size(uint32_t payload_size)
{
    return (BATCH_HEADER_BYTES + payload_size + 1 + BATCH_ALIGN - 1) / BATCH_ALIGN * BATCH_ALIGN;
}

/* Writes the marks after the payload; `batch` has room for batch_size(). */
void batch_pad(uint8_t *batch, uint32_t payload_size);
/* Writes the header before a padded payload, with both checksums; .size follows from .payload_size. */
void batch_seal(uint8_t *batch, const struct batch_header *h);
/* Whether these BATCH_HEADER_BYTES are a whole header, of whatever batch. */
bool batch_header_decode(const uint8_t *bytes, struct batch_header *ret);
/* Whether the payload and marks behind a whole header are whole too. */
bool batch_is_whole(const uint8_t *batch, const struct batch_header *h);

/* --- records --- */

enum { BALLOT_BYTES = 16 };

void ballot_encode(struct ballot b, uint8_t *ret);
struct ballot ballot_decode(const uint8_t *bytes);

struct record_view {
    struct record record;
    const uint8_t *value; /* borrowed from the bytes that were read */
    uint32_t value_size;
    uint32_t encoded_size;
};

/* Not for RECORD_IDENTITY. */
uint32_t record_encoded_size(const struct record *r);
void record_encode(const struct record *r, uint8_t *ret);
/* `notes` has room for RECORD_NOTES_MAX. False where the bytes do not begin with a well-formed record. */
bool record_decode(const uint8_t *bytes, size_t size, struct note *notes, struct record_view *ret);

#endif
