#include "journal/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/explain.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"

enum { NUMBERS_OFFSET = PROLOGUE_BYTES + OWNER_BYTES, PART_CRC_OFFSET = CHECKPOINT_PART_HEADER_BYTES - 4 };

void checkpoint_header_encode(const struct checkpoint_header *h, uint8_t *ret)
{
    memset(ret, 0, CHECKPOINT_HEADER_BYTES);
    prologue_encode(MAGIC_CHECKPOINT, ret);
    owner_encode(&h->owner, ret + PROLOGUE_BYTES);
    put_u64(ret + NUMBERS_OFFSET, h->slot);
    put_u64(ret + NUMBERS_OFFSET + 8, h->first_kept);
    put_u64(ret + NUMBERS_OFFSET + 16, h->size);
    put_u64(ret + NUMBERS_OFFSET + 24, h->durable);
    put_u32(ret + CHECKPOINT_HEADER_BYTES - 4, crc32c(0, ret, CHECKPOINT_HEADER_BYTES - 4));
}

enum file_check checkpoint_header_decode(const uint8_t *bytes, struct checkpoint_header *ret, uint32_t *ret_version)
{
    enum file_check check = prologue_check(MAGIC_CHECKPOINT, bytes, ret_version);

    if (check != FILE_WHOLE)
        return check;
    if (get_u32(bytes + CHECKPOINT_HEADER_BYTES - 4) != crc32c(0, bytes, CHECKPOINT_HEADER_BYTES - 4))
        return FILE_DAMAGED;
    *ret = (struct checkpoint_header){.owner = owner_decode(bytes + PROLOGUE_BYTES),
                                      .slot = get_u64(bytes + NUMBERS_OFFSET),
                                      .first_kept = get_u64(bytes + NUMBERS_OFFSET + 8),
                                      .size = get_u64(bytes + NUMBERS_OFFSET + 16),
                                      .durable = get_u64(bytes + NUMBERS_OFFSET + 24)};
    /* Counting from the slot on never wraps, nor does the size of the file. */
    return ret->slot < UINT64_MAX && ret->first_kept <= ret->slot + 1 && ret->size <= INT64_MAX / 2 ? FILE_WHOLE
                                                                                                    : FILE_DAMAGED;
}

uint64_t checkpoint_part_place(uint64_t index)
{
    return CHECKPOINT_HEADER_BYTES + index * JOURNAL_CHECKPOINT_PART_BYTES;
}

uint64_t checkpoint_file_bytes(uint64_t size)
{
    uint64_t n_parts = (size + CHECKPOINT_PAYLOAD_BYTES - 1) / CHECKPOINT_PAYLOAD_BYTES;

    return CHECKPOINT_HEADER_BYTES + n_parts * CHECKPOINT_PART_HEADER_BYTES + size;
}

uint32_t checkpoint_part_size(uint64_t size, uint64_t index)
{
    uint64_t before = index * CHECKPOINT_PAYLOAD_BYTES;

    if (before >= size)
        return 0;
    return size - before < CHECKPOINT_PAYLOAD_BYTES ? (uint32_t)(size - before) : CHECKPOINT_PAYLOAD_BYTES;
}

static uint32_t part_crc(const uint8_t *part, uint32_t size)
{
    return crc32c(crc32c(0, part, PART_CRC_OFFSET), part + CHECKPOINT_PART_HEADER_BYTES, size);
}

void checkpoint_part_seal(uint8_t *part, slot_t slot, uint64_t index, uint32_t size)
{
    memset(part, 0, CHECKPOINT_PART_HEADER_BYTES);
    put_u32(part, size);
    put_u64(part + 8, slot);
    put_u64(part + 16, index);
    put_u32(part + PART_CRC_OFFSET, part_crc(part, size));
}

static enum journal_result read_header(struct checkpoint_file *c, enum checkpoint_check *ret_check, char *ret_error)
{
    uint8_t bytes[CHECKPOINT_HEADER_BYTES];
    uint32_t version;
    int64_t size = c->vfs->file_size(c->vfs->context, c->file);
    int64_t n = size < 0 ? size : c->vfs->file_read(c->vfs->context, c->file, 0, bytes, sizeof bytes);

    if (n < 0)
        return explain_errno(ret_error, (int)n, "read", CHECKPOINT_NAME);
    if (n < CHECKPOINT_HEADER_BYTES)
        return JOURNAL_OK;
    switch (checkpoint_header_decode(bytes, &c->header, &version)) {
    case FILE_VERSION_UNKNOWN:
        return explain_version(ret_error, CHECKPOINT_NAME, version);
    case FILE_DAMAGED:
        return JOURNAL_OK;
    case FILE_WHOLE:
        break;
    }
    if ((uint64_t)size == checkpoint_file_bytes(c->header.size))
        *ret_check = CHECKPOINT_FILE_WHOLE;
    return JOURNAL_OK;
}

enum journal_result checkpoint_open(const struct vfs *vfs, struct checkpoint_file *ret,
                                    enum checkpoint_check *ret_check, char *ret_error)
{
    enum journal_result result;
    int r;

    *ret = (struct checkpoint_file){.vfs = vfs, .index = UINT64_MAX};
    *ret_check = CHECKPOINT_FILE_MISSING;
    r = vfs->file_open(vfs->context, CHECKPOINT_NAME, 0, &ret->file);
    if (r < 0) {
        ret->file = NULL;
        return r == -ENOENT ? JOURNAL_OK : explain_errno(ret_error, r, "open", CHECKPOINT_NAME);
    }
    *ret_check = CHECKPOINT_FILE_DAMAGED;
    result = read_header(ret, ret_check, ret_error);
    if (result == JOURNAL_OK && *ret_check == CHECKPOINT_FILE_WHOLE) {
        ret->part = malloc(JOURNAL_CHECKPOINT_PART_BYTES);
        if (ret->part == NULL)
            result = explain_errno(ret_error, -ENOMEM, "read", CHECKPOINT_NAME);
    }
    if (result != JOURNAL_OK || *ret_check != CHECKPOINT_FILE_WHOLE)
        checkpoint_close(ret);
    return result;
}

int checkpoint_read_part(struct checkpoint_file *c, uint64_t index, const uint8_t **ret, uint32_t *ret_size)
{
    uint32_t size = checkpoint_part_size(c->header.size, index);
    size_t wanted = CHECKPOINT_PART_HEADER_BYTES + size;
    int64_t n;

    if (c->index != index) {
        c->index = UINT64_MAX;
        n = c->vfs->file_read(c->vfs->context, c->file, checkpoint_part_place(index), c->part, wanted);
        if (n < 0)
            return (int)n;
        if ((uint64_t)n < wanted || get_u32(c->part) != size || get_u64(c->part + 8) != c->header.slot ||
            get_u64(c->part + 16) != index || get_u32(c->part + PART_CRC_OFFSET) != part_crc(c->part, size))
            return -EBADMSG;
        c->index = index;
    }
    *ret = c->part + CHECKPOINT_PART_HEADER_BYTES;
    *ret_size = size;
    return 0;
}

void checkpoint_close(struct checkpoint_file *c)
{
    if (c->file != NULL)
        c->vfs->file_close(c->vfs->context, c->file);
    free(c->part);
    *c = (struct checkpoint_file){.vfs = c->vfs};
}
