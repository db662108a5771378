/* The bytes of "checkpoint", little-endian, and reading them.
 *
 * A header: prologue; owner; slot u64; first_kept u64 (what is below was obsolete with it; 0: nothing was); size u64
 * (of all that was appended); durable u64 (the last batch that was durable when the header was written; 0: not told, as
 * in those of before); zeros; CRC u32 of it all, CHECKPOINT_HEADER_BYTES together. Then parts, each
 * JOURNAL_CHECKPOINT_PART_BYTES but the last: size u32 (of its bytes), zero u32, slot u64, index u64 (from 0 on), zero
 * u32, CRC u32 (of the 28 bytes before and of its bytes), its bytes. The header is written last, and the file gets its
 * name once all of it is durable. */
#ifndef JOURNAL_CHECKPOINT_H
#define JOURNAL_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "journal/format.h"
#include "journal/journal.h"

enum {
    CHECKPOINT_HEADER_BYTES = 512,
    CHECKPOINT_PART_HEADER_BYTES = 32,
    CHECKPOINT_PAYLOAD_BYTES = JOURNAL_CHECKPOINT_PART_BYTES - CHECKPOINT_PART_HEADER_BYTES,
};

#define MAGIC_CHECKPOINT    "mpxcheck"
#define CHECKPOINT_NAME     "checkpoint"
#define CHECKPOINT_NEW_NAME "checkpoint.new"

struct checkpoint_header {
    struct owner owner;
    slot_t slot, first_kept;
    uint64_t size, durable;
};

void checkpoint_header_encode(const struct checkpoint_header *h, uint8_t *ret);
enum file_check checkpoint_header_decode(const uint8_t *bytes, struct checkpoint_header *ret, uint32_t *ret_version);

/* Where a part begins in the file. */
uint64_t checkpoint_part_place(uint64_t index);
/* Of the whole file. */
uint64_t checkpoint_file_bytes(uint64_t size);
/* How many bytes that part holds; 0 at the end. */
uint32_t checkpoint_part_size(uint64_t size, uint64_t index);

/* Writes the header before a part's bytes. */
void checkpoint_part_seal(uint8_t *part, slot_t slot, uint64_t index, uint32_t size);

enum checkpoint_check { CHECKPOINT_FILE_MISSING, CHECKPOINT_FILE_DAMAGED, CHECKPOINT_FILE_WHOLE };

/* A file that was opened and whose header was good. */
struct checkpoint_file {
    const struct vfs *vfs;
    struct vfs_file *file; /* NULL: none */
    struct checkpoint_header header;
    uint8_t *part;   /* JOURNAL_CHECKPOINT_PART_BYTES */
    uint64_t index;  /* of the part in there; UINT64_MAX: none */
    uint64_t serial; /* journal.n_checkpoints as it was opened */
};

/* Reads the header; the file is open where that is WHOLE. Anything but JOURNAL_OK: an unknown version, or a disk that
 * cannot be read. */
enum journal_result checkpoint_open(const struct vfs *vfs, struct checkpoint_file *ret,
                                    enum checkpoint_check *ret_check, char *ret_error);
/* The bytes of one part, checked; borrowed until the next call. 0, -EBADMSG, or the disk's error. */
int checkpoint_read_part(struct checkpoint_file *c, uint64_t index, const uint8_t **ret, uint32_t *ret_size);
void checkpoint_close(struct checkpoint_file *c);

#endif
