/* What damage to a copy of a story means, by the rules of journal.h. It is compared with the story, byte by byte: what
 * the journal makes of its checksums does not count here. */
#include "journal/format.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/journal_damage.h"
#include "tests/fuzz/journal_story.h"

static const uint8_t *bytes_of(struct vfs_memory *disk, const char *name, size_t *ret_size)
{
    *ret_size = 0;
    return vfs_memory_bytes(disk, name, ret_size);
}

/* Whether `file` holds what `of` is in the story. */
static bool is_file(const struct story *s, struct vfs_memory *disk, enum journal_file file, enum journal_file of)
{
    size_t own_size, size;
    const uint8_t *own = bytes_of(s->disk, journal_names[of], &own_size);
    const uint8_t *bytes = bytes_of(disk, journal_names[file], &size);
    return (own == NULL) == (bytes == NULL) && own_size == size && (own == NULL || memcmp(own, bytes, size) == 0);
}

static bool has_superblock(const struct story *s, struct vfs_memory *disk)
{
    return is_file(s, disk, SUPERBLOCK_0, SUPERBLOCK_0) || is_file(s, disk, SUPERBLOCK_1, SUPERBLOCK_1);
}

static bool is_batch_same(const struct story *s, struct vfs_memory *disk, const struct story_batch *b)
{
    size_t own_size, size;
    const uint8_t *own = bytes_of(s->disk, b->name, &own_size), *bytes = bytes_of(disk, b->name, &size);
    return bytes != NULL && b->offset + b->size <= size && memcmp(own + b->offset, bytes + b->offset, b->size) == 0;
}

static bool is_zero(const uint8_t *p, size_t size)
{
    while (size > 0 && p[size - 1] == 0)
        size--;
    return size == 0;
}

/* Whether what stands in a batch's place may be the rest of a write: some of it is as it was before. */
static bool may_be_torn(struct vfs_memory *disk, const struct story_batch *b)
{
    size_t size;
    const uint8_t *bytes = bytes_of(disk, b->name, &size);
    if (bytes == NULL || b->offset + b->size > size)
        return true;
    const uint8_t *p = bytes + b->offset;
    if (p[b->size - 1] == 0 || p[BATCH_HEADER_BYTES - 1] == 0 || is_zero(p, BATCH_HEADER_BYTES))
        return true;
    for (size_t at = 0, to; at < b->size; at = to) {
        to = at + (SECTOR_BYTES - (b->offset + at) % SECTOR_BYTES);
        to = to < b->size ? to : b->size;
        if (is_zero(p + at, to - at))
            return true;
    }
    return false;
}

size_t story_sure(const struct story *s, struct vfs_memory *disk)
{
    uint64_t durable = has_superblock(s, disk) ? s->durable : 0;
    size_t sure = 0;
    if (is_file(s, disk, CHECKPOINT, CHECKPOINT) && s->checkpoint_durable > durable)
        durable = s->checkpoint_durable;
    for (size_t i = 0; i < s->n_batches; i++)
        if (is_batch_same(s, disk, &s->batches[i]) && s->batches[i].durable > durable)
            durable = s->batches[i].durable;
    for (size_t i = 0; i < s->n_batches; i++) {
        const struct story_batch *b = &s->batches[i];
        if (b->number <= durable || (i + 1 == s->n_batches && !may_be_torn(disk, b)))
            sure = b->first + b->n;
    }
    return sure;
}

bool story_must_open(const struct story *s, struct vfs_memory *disk)
{
    for (int i = SEGMENT_1; i <= SEGMENT_3; i++) {
        size_t own_size, size;
        const uint8_t *own = bytes_of(s->disk, journal_names[i], &own_size);
        if ((own == NULL) != (bytes_of(disk, journal_names[i], &size) == NULL))
            return false;
    }
    return has_superblock(s, disk) && !is_file(s, disk, SUPERBLOCK_0, SUPERBLOCK_1) &&
           !is_file(s, disk, SUPERBLOCK_1, SUPERBLOCK_0) && is_file(s, disk, CHECKPOINT, CHECKPOINT);
}

bool story_must_refuse(const struct story *s, struct vfs_memory *disk)
{
    bool is_missing = false;
    size_t size;
    for (int i = SEGMENT_1; i <= SEGMENT_3; i++) {
        bool is_there = bytes_of(disk, journal_names[i], &size) != NULL;
        if (is_missing && is_there)
            return true;
        is_missing = is_missing || (!is_there && bytes_of(s->disk, journal_names[i], &size) != NULL);
    }
    return false;
}

/* Nothing differs but bytes of batches in [from, until). */
static bool is_same_outside(const struct story *s, struct vfs_memory *disk, size_t from, size_t until)
{
    for (int i = 0; i < JOURNAL_FILES; i++) {
        size_t own_size, size, at = 0;
        const uint8_t *own = bytes_of(s->disk, journal_names[i], &own_size);
        const uint8_t *bytes = bytes_of(disk, journal_names[i], &size);
        if ((own == NULL) != (bytes == NULL) || own_size != size)
            return false;
        for (size_t k = from; own != NULL && k < until; k++) {
            const struct story_batch *b = &s->batches[k];
            if (strcmp(b->name, journal_names[i]) != 0)
                continue;
            if (memcmp(own + at, bytes + at, b->offset - at) != 0)
                return false;
            at = b->offset + b->size;
        }
        if (own != NULL && memcmp(own + at, bytes + at, size - at) != 0)
            return false;
    }
    return true;
}

bool story_is_same(const struct story *s, struct vfs_memory *disk)
{
    return is_same_outside(s, disk, 0, 0);
}

bool story_is_torn(const struct story *s, struct vfs_memory *disk)
{
    const struct story_batch *b = &s->batches[s->n_batches - 1];
    size_t own_size, size, n = b->size;
    const uint8_t *own = bytes_of(s->disk, b->name, &own_size), *bytes = bytes_of(disk, b->name, &size);
    if (b->number <= s->durable || b->number <= s->checkpoint_durable ||
        !is_same_outside(s, disk, s->n_batches - 1, s->n_batches))
        return false;
    while (n > 0 && bytes[b->offset + n - 1] == 0)
        n--;
    return n < b->size && memcmp(own + b->offset, bytes + b->offset, n) == 0;
}

bool story_judge(const struct story *s, struct vfs_memory *disk, bool *ret_lost)
{
    size_t behind = 0, size;
    bool has_vote = false, is_there = false;
    slot_t commit = s->truth.checkpoint.slot, reach = UINT64_MAX;
    if (!is_same_outside(s, disk, 0, s->n_batches))
        return false;
    for (size_t i = 0; i < s->n_batches; i++) {
        const struct story_batch *b = &s->batches[i];
        if (is_batch_same(s, disk, b))
            continue;
        if (is_zero(bytes_of(disk, b->name, &size) + b->offset, BATCH_HEADER_BYTES))
            return false;
        behind = i + 1;
        is_there = true;
    }
    for (size_t i = 0; i < s->n_batches; i++) {
        const struct story_batch *b = &s->batches[i];
        if (!is_batch_same(s, disk, b))
            continue;
        has_vote = has_vote || (i >= behind && b->n == 0); /* the promise that a segment opens with */
        for (size_t k = b->first; k < b->first + b->n; k++) {
            const struct truth_record *r = &s->truth.records[k];
            has_vote = has_vote || (i >= behind && (r->type == RECORD_ACCEPT || r->type == RECORD_PROMISE));
            if (r->type == RECORD_COMMIT && r->slot > commit)
                commit = r->slot;
            if (r->type == RECORD_COMMIT && i >= behind && r->recorded_until < reach)
                reach = r->recorded_until;
        }
    }
    *ret_lost = !has_vote || reach > commit;
    return is_there;
}
