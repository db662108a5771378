#include "journal/superblock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "journal/explain.h"
#include "journal/format.h"
#include "paxos/bytes.h"
#include "paxos/crc32c.h"

enum {
    CRC_OFFSET = PROLOGUE_BYTES,
    COVERED_OFFSET = CRC_OFFSET + 4,
    SEQUENCE_OFFSET = 24,
    CONFIGURATION_SIZE_OFFSET = 112,
    CONFIGURATION_OFFSET = 116,
    DAMAGE_OFFSET = SUPERBLOCK_BYTES - 64,
};

_Static_assert(CONFIGURATION_OFFSET + CONFIGURATION_BYTES_MAX <= DAMAGE_OFFSET, "the largest identity fits");

static const char *const names[2] = {"superblock.0", "superblock.1"};

enum copy_state { COPY_MISSING, COPY_DAMAGED, COPY_WHOLE };

static void damage_encode(const struct superblock *s, uint8_t *ret)
{
    put_u64(ret, s->damage.segment);
    put_u64(ret + 8, s->damage.offset);
    put_u64(ret + 16, s->damage.is_cutting);
    put_u64(ret + 24, s->identity.silent_until);
    ballot_encode(s->damage.promised, ret + 32);
    put_u64(ret + 48, s->damage.checkpoint_until);
}

static void damage_decode(const uint8_t *bytes, struct superblock *ret)
{
    ret->damage = (struct damage){.segment = get_u64(bytes),
                                  .offset = get_u64(bytes + 8),
                                  .is_cutting = get_u64(bytes + 16) != 0,
                                  .promised = ballot_decode(bytes + 32),
                                  .checkpoint_until = get_u64(bytes + 48)};
    ret->identity.silent_until = get_u64(bytes + 24);
}

static void encode(const struct superblock *s, uint8_t *ret)
{
    const struct identity *i = &s->identity;
    size_t size = 0;

    memset(ret, 0, SUPERBLOCK_BYTES);
    prologue_encode(MAGIC_SUPERBLOCK, ret);
    ret[20] = (uint8_t)i->status;
    ret[21] = i->id;
    put_u64(ret + SEQUENCE_OFFSET, s->sequence);
    put_u64(ret + 32, i->life);
    memcpy(ret + 40, i->cluster.bytes, sizeof i->cluster.bytes);
    memcpy(ret + 56, i->bootstrap.bytes, sizeof i->bootstrap.bytes);
    put_u64(ret + 72, s->durable);
    put_u64(ret + 80, s->first_segment);
    put_u64(ret + 88, s->first_kept);
    if (i->configuration.n_members > 0)
        size = configuration_encode(&i->configuration, ret + CONFIGURATION_OFFSET);
    put_u32(ret + CONFIGURATION_SIZE_OFFSET, (uint32_t)size);
    damage_encode(s, ret + DAMAGE_OFFSET);
    put_u32(ret + CRC_OFFSET, crc32c(0, ret + COVERED_OFFSET, SUPERBLOCK_BYTES - COVERED_OFFSET));
}

static bool decode(const uint8_t *bytes, struct superblock *ret)
{
    struct identity *i = &ret->identity;
    uint32_t size = get_u32(bytes + CONFIGURATION_SIZE_OFFSET);

    if (get_u32(bytes + CRC_OFFSET) != crc32c(0, bytes + COVERED_OFFSET, SUPERBLOCK_BYTES - COVERED_OFFSET))
        return false;
    if (bytes[20] < IDENTITY_EMPTY || bytes[20] > IDENTITY_QUARANTINED || size > CONFIGURATION_BYTES_MAX)
        return false;
    memset(ret, 0, sizeof *ret);
    i->status = (enum identity_status)bytes[20];
    i->id = bytes[21];
    ret->sequence = get_u64(bytes + SEQUENCE_OFFSET);
    i->life = get_u64(bytes + 32);
    memcpy(i->cluster.bytes, bytes + 40, sizeof i->cluster.bytes);
    memcpy(i->bootstrap.bytes, bytes + 56, sizeof i->bootstrap.bytes);
    ret->durable = get_u64(bytes + 72);
    ret->first_segment = get_u64(bytes + 80);
    ret->first_kept = get_u64(bytes + 88);
    damage_decode(bytes + DAMAGE_OFFSET, ret);
    return size == 0 || configuration_decode(bytes + CONFIGURATION_OFFSET, size, &i->configuration);
}

static enum journal_result read_copy(const struct vfs *vfs, const char *name, uint8_t *bytes, struct superblock *ret,
                                     enum copy_state *ret_state, char *ret_error)
{
    struct vfs_file *f;
    uint32_t version;
    int64_t n;
    int r = vfs->file_open(vfs->context, name, 0, &f);

    *ret_state = COPY_MISSING;
    if (r == -ENOENT)
        return JOURNAL_OK;
    if (r < 0)
        return explain_errno(ret_error, r, "open", name);
    n = vfs->file_read(vfs->context, f, 0, bytes, SUPERBLOCK_BYTES);
    vfs->file_close(vfs->context, f);
    if (n < 0)
        return explain_errno(ret_error, (int)n, "read", name);
    *ret_state = COPY_DAMAGED;
    if (n < PROLOGUE_BYTES)
        return JOURNAL_OK;
    switch (prologue_check(MAGIC_SUPERBLOCK, bytes, &version)) {
    case FILE_VERSION_UNKNOWN:
        return explain_version(ret_error, name, version);
    case FILE_DAMAGED:
        return JOURNAL_OK;
    case FILE_WHOLE:
        break;
    }
    if (n == SUPERBLOCK_BYTES && decode(bytes, ret))
        *ret_state = COPY_WHOLE;
    return JOURNAL_OK;
}

static enum journal_result choose_copy(const struct superblock *copies, const enum copy_state *states,
                                       struct superblock *ret, char *ret_error)
{
    int newest = -1;

    for (int i = 0; i < 2; i++) {
        if (states[i] == COPY_WHOLE && (newest < 0 || copies[i].sequence > copies[newest].sequence))
            newest = i;
    }
    if (newest >= 0) {
        *ret = copies[newest];
        /* The next write must go to the other file, whatever the numbers say. */
        if (ret->sequence % 2 != (uint64_t)newest)
            return explain(
                ret_error, JOURNAL_REFUSED,
                "%s: holds the bytes of the other copy: it was moved or written over. Put the very file back, no "
                "older copy, or see FAILURES in mpaxos(7)",
                names[newest]);
        /* A copy is written only after the other one is durable: that one is, unless it was torn or rots. */
        ret->newest_first = states[1 - newest] != COPY_DAMAGED;
        return JOURNAL_OK;
    }
    memset(ret, 0, sizeof *ret);
    if (states[1] == COPY_MISSING)
        return JOURNAL_OK;
    return explain(
        ret_error, JOURNAL_REFUSED,
        "superblock.0, superblock.1: no whole copy of this replica's identity is left. Its votes cannot be trusted: "
        "put the very files back, or see FAILURES in mpaxos(7)");
}

enum journal_result superblock_read(const struct vfs *vfs, struct superblock *ret, char *ret_error)
{
    struct superblock *copies = calloc(2, sizeof *copies);
    uint8_t *bytes = malloc(SUPERBLOCK_BYTES);
    enum copy_state states[2];
    enum journal_result r = JOURNAL_OK;

    if (copies == NULL || bytes == NULL) {
        free(bytes);
        free(copies);
        return explain_errno(ret_error, -ENOMEM, "read", names[0]);
    }
    for (int i = 0; i < 2 && r == JOURNAL_OK; i++)
        r = read_copy(vfs, names[i], bytes, &copies[i], &states[i], ret_error);
    if (r == JOURNAL_OK)
        r = choose_copy(copies, states, ret, ret_error);
    free(bytes);
    free(copies);
    return r;
}

static int write_copy(const struct vfs *vfs, const char *name, const uint8_t *bytes)
{
    struct vfs_file *f;
    int r = vfs->file_open(vfs->context, name, 0, &f);

    if (r == -ENOENT)
        r = vfs->file_open(vfs->context, name, VFS_CREATE, &f);
    if (r < 0)
        return r;
    r = vfs->file_write(vfs->context, f, 0, bytes, SUPERBLOCK_BYTES);
    if (r == 0)
        r = vfs->file_sync(vfs->context, f);
    vfs->file_close(vfs->context, f);
    /* Even where the name stood already: whoever made it may have died before his own dir_sync. */
    if (r == 0)
        r = vfs->dir_sync(vfs->context);
    return r;
}

int superblock_write(const struct vfs *vfs, struct superblock *s)
{
    uint8_t *bytes = malloc(SUPERBLOCK_BYTES);
    int r = 0;

    if (bytes == NULL)
        return -ENOMEM;
    if (s->sequence == 0 || s->newest_first)
        s->sequence++;
    s->newest_first = false;
    for (int i = 0; i < 2 && r == 0; i++) {
        s->sequence++;
        encode(s, bytes);
        r = write_copy(vfs, names[s->sequence % 2], bytes);
    }
    free(bytes);
    return r;
}

enum journal_result journal_read_identity(const struct vfs *vfs, struct identity *ret, char *ret_error)
{
    struct superblock *s = calloc(1, sizeof *s);
    enum journal_result r;

    if (s == NULL)
        return explain_errno(ret_error, -ENOMEM, "read", names[0]);
    r = superblock_read(vfs, s, ret_error);
    if (r == JOURNAL_OK)
        *ret = s->identity;
    free(s);
    return r;
}
