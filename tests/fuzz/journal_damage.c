#include "tests/fuzz/journal_damage.h"

#include "journal/checkpoint.h"
#include "journal/footer.h"
#include "journal/format.h"
#include "journal/superblock.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"

enum { BATCH_CRC_AT = 48, BATCH_HEADER_CRC_AT = 56 };

const char *const journal_names[JOURNAL_FILES] = {
    "superblock.0", "superblock.1",  "segment-0000000000000001", "segment-0000000000000002", "segment-0000000000000003",
    "reserve",      CHECKPOINT_NAME, CHECKPOINT_NEW_NAME};

static void put_file(struct vfs_memory *disk, const char *name, const void *bytes, size_t size)
{
    const struct vfs *vfs = vfs_memory_vfs(disk);
    struct vfs_file *f;
    if (vfs->file_open(vfs->context, name, VFS_CREATE, &f) < 0)
        return; /* twice in one input */
    fuzz_check(vfs->file_write(vfs->context, f, 0, bytes, size) == 0 && vfs->file_sync(vfs->context, f) == 0);
    fuzz_check(vfs->dir_sync(vfs->context) == 0);
    vfs->file_close(vfs->context, f);
}

void journal_make_files(struct vfs_memory *disk, struct fuzz_input *in)
{
    while (fuzz_left(in) > 0) {
        const char *name = journal_names[fuzz_u8(in) % JOURNAL_FILES];
        size_t size, size_max = fuzz_u16(in);
        const uint8_t *bytes = fuzz_take(in, size_max, &size);
        put_file(disk, name, bytes, size);
    }
}

/* Where the n-th batch of the valid segment begins; 0: there are not so many. */
static uint64_t find_batch(const struct vfs_memory *valid, const char *name, unsigned n)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(valid, name, &size);
    struct batch_header h;
    uint64_t at = SEGMENT_HEADER_BYTES;
    for (; bytes != NULL && at + BATCH_HEADER_BYTES <= size && batch_header_decode(bytes + at, &h); at += h.size) {
        if (n-- == 0)
            return at;
    }
    return 0;
}

static void poke(struct vfs_memory *disk, const char *name, uint64_t at, struct fuzz_input *in, size_t n, bool flip)
{
    size_t size;
    const uint8_t *bytes = fuzz_take(in, n, &size);
    for (size_t i = 0; i < size; i++) {
        if (flip)
            vfs_memory_flip(disk, name, at + i, bytes[i]);
        else
            vfs_memory_poke(disk, name, at + i, &bytes[i], 1);
    }
}

static void misplace(struct vfs_memory *disk, const struct vfs_memory *valid, const char *name, const char *from,
                     unsigned place)
{
    uint64_t at = find_batch(valid, from, place / 256), to = find_batch(valid, name, place % 256);
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(valid, from, &size);
    if (at > 0 && to > 0)
        vfs_memory_poke(disk, name, to, bytes + at, get_u32(bytes + at + 4));
}

void journal_edit(struct vfs_memory *disk, const struct vfs_memory *valid, struct fuzz_input *in, bool is_mended)
{
    enum journal_edit op = (enum journal_edit)(fuzz_u8(in) % EDITS);
    const char *name = journal_names[fuzz_u8(in) % JOURNAL_FILES];
    uint64_t at = fuzz_u16(in);
    size_t n = fuzz_u8(in);
    switch (op) {
    case EDIT_WRITE:
    case EDIT_XOR:
        poke(disk, name, at, in, n, op == EDIT_XOR || !is_mended);
        break;
    case EDIT_ZERO:
        vfs_memory_zero(disk, name, at, n * BATCH_ALIGN);
        break;
    case EDIT_CUT:
        vfs_memory_truncate(disk, name, at);
        break;
    case EDIT_DELETE:
        vfs_memory_delete(disk, name);
        break;
    case EDIT_SWAP:
        vfs_memory_swap(disk, name, at, fuzz_u16(in), n * BATCH_ALIGN);
        break;
    case EDIT_IN_BATCH: /* the place: which one in the low five bits, how far into it above */
        poke(disk, name, find_batch(valid, name, (unsigned)at % 32) + at / 32, in, n % 16, !is_mended);
        break;
    case EDIT_COPY:
        vfs_memory_copy(disk, name, valid, journal_names[n % JOURNAL_FILES]);
        break;
    case EDIT_MISPLACE:
        misplace(disk, valid, name, journal_names[n % JOURNAL_FILES], (unsigned)at);
        break;
    case EDITS:
        break;
    }
}

/* --- checksums --- */

static void put_crc(struct vfs_memory *disk, const char *name, uint64_t at, uint32_t crc)
{
    uint8_t bytes[4];
    put_u32(bytes, crc);
    vfs_memory_poke(disk, name, at, bytes, sizeof bytes);
}

static void mend_superblock(struct vfs_memory *disk, const char *name)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(disk, name, &size);
    if (bytes != NULL && size == SUPERBLOCK_BYTES)
        put_crc(disk, name, PROLOGUE_BYTES, crc32c(0, bytes + PROLOGUE_BYTES + 4, size - PROLOGUE_BYTES - 4));
}

static void mend_footer(struct vfs_memory *disk, const char *name)
{
    enum { N_POINTS_AT = 96, POINTS_CRC_AT = 100, CRC_AT = FOOTER_TRAILER_BYTES - 4 };
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(disk, name, &size);
    uint64_t limit = get_u64(bytes + 80), at = size - FOOTER_TRAILER_BYTES, n;
    if (limit < SEGMENT_HEADER_BYTES || limit > at || get_u64(bytes + at) == 0)
        return;
    n = get_u32(bytes + at + N_POINTS_AT);
    if (n * FOOTER_POINT_BYTES <= at - limit)
        put_crc(disk, name, at + POINTS_CRC_AT, crc32c(0, bytes + limit, n * FOOTER_POINT_BYTES));
    put_crc(disk, name, at + CRC_AT, crc32c(0, bytes + at, CRC_AT));
}

static void mend_checkpoint(struct vfs_memory *disk, const char *name)
{
    enum { SLOT_AT = 48, SIZE_AT = 64 };
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(disk, name, &size);
    if (bytes == NULL || size < CHECKPOINT_HEADER_BYTES)
        return;
    put_crc(disk, name, CHECKPOINT_HEADER_BYTES - 4, crc32c(0, bytes, CHECKPOINT_HEADER_BYTES - 4));
    slot_t slot = get_u64(bytes + SLOT_AT);
    uint64_t payload = get_u64(bytes + SIZE_AT);
    if (payload > size || checkpoint_file_bytes(payload) != size)
        return;
    for (uint64_t i = 0; checkpoint_part_size(payload, i) > 0; i++) {
        static uint8_t part[JOURNAL_CHECKPOINT_PART_BYTES];
        uint32_t n = checkpoint_part_size(payload, i);
        memcpy(part, bytes + checkpoint_part_place(i), CHECKPOINT_PART_HEADER_BYTES + n);
        checkpoint_part_seal(part, slot, i, n);
        vfs_memory_poke(disk, name, checkpoint_part_place(i), part, CHECKPOINT_PART_HEADER_BYTES);
    }
}

static void mend_segment(struct vfs_memory *disk, const char *name)
{
    size_t size;
    const uint8_t *bytes = vfs_memory_bytes(disk, name, &size);
    if (bytes == NULL || size < SEGMENT_HEADER_BYTES)
        return;
    put_crc(disk, name, SEGMENT_HEADER_BYTES - 4, crc32c(0, bytes, SEGMENT_HEADER_BYTES - 4));
    for (uint64_t at = SEGMENT_HEADER_BYTES; at + BATCH_HEADER_BYTES <= size;) {
        uint32_t n = get_u32(bytes + at + 4);
        if (get_u32(bytes + at) == 0) {
            at += BATCH_ALIGN;
            continue;
        }
        bool fits = n >= 2 * BATCH_ALIGN && n % BATCH_ALIGN == 0 && n <= size - at;
        if (fits)
            put_crc(disk, name, at + BATCH_CRC_AT, crc32c(0, bytes + at + BATCH_HEADER_BYTES, n - BATCH_HEADER_BYTES));
        put_crc(disk, name, at + BATCH_HEADER_CRC_AT, crc32c(0, bytes + at, BATCH_HEADER_CRC_AT));
        at += fits ? n : BATCH_ALIGN;
    }
    mend_footer(disk, name);
}

void journal_mend(struct vfs_memory *disk)
{
    for (int i = 0; i < JOURNAL_FILES; i++) {
        if (i <= SUPERBLOCK_1)
            mend_superblock(disk, journal_names[i]);
        else if (i >= CHECKPOINT)
            mend_checkpoint(disk, journal_names[i]);
        else
            mend_segment(disk, journal_names[i]);
    }
}
