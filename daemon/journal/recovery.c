#include "journal/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/explain.h"
#include "journal/reader.h"
#include "journal/rewrite.h"

struct numbers {
    uint64_t *items;
    size_t n, room;
};

static int collect(void *user, const char *name)
{
    struct numbers *all = user;
    uint64_t number;
    void *p;

    if (!segment_name_parse(name, &number))
        return 0;
    p = array_grow(all->items, all->n + 1, &all->room, sizeof *all->items);
    if (p == NULL)
        return -ENOMEM;
    all->items = p;
    all->items[all->n++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* No gap, from the first one on that the superblock names. */
static enum journal_result list_segments(struct journal *j, struct numbers *ret, char *ret_error)
{
    uint64_t expected = j->superblock.first_segment;
    char name[SEGMENT_NAME_BYTES];
    int r = j->vfs->list(j->vfs->context, collect, ret);

    if (r < 0)
        return explain_errno(ret_error, r, "list", "state directory");
    if (ret->n > 0)
        qsort(ret->items, ret->n, sizeof ret->items[0], compare_numbers);
    for (size_t i = 0; i < ret->n && ret->items[i] == expected; i++)
        expected++;
    if (ret->n > 0 && j->superblock.sequence == 0)
        return explain(
            ret_error, JOURNAL_REFUSED,
            "superblock.0, superblock.1: both are missing, but segments are there. Put them back, or replace this "
            "replica (mpaxos(7))");
    if (expected - j->superblock.first_segment < ret->n || (ret->n == 0 && j->superblock.durable > 0)) {
        segment_name(expected, name);
        return explain(
            ret_error, JOURNAL_REFUSED,
            "%s: the file is missing. This replica's votes may be lost: put the file back, or replace this replica "
            "(mpaxos(7))",
            name);
    }
    return JOURNAL_OK;
}

static int file_bytes(struct journal *j, uint64_t number, uint64_t *sum)
{
    char name[SEGMENT_NAME_BYTES];
    struct vfs_file *f;
    int64_t size;
    int r;

    segment_name(number, name);
    r = j->vfs->file_open(j->vfs->context, name, 0, &f);
    if (r < 0)
        return r;
    size = j->vfs->file_size(j->vfs->context, f);
    j->vfs->file_close(j->vfs->context, f);
    *sum += size > 0 ? (uint64_t)size : 0;
    return size < 0 ? (int)size : 0;
}

static enum journal_result replay_all(struct scan *s, const struct numbers *all)
{
    struct journal *j = s->journal;
    enum journal_result result = JOURNAL_OK;

    for (size_t i = 0; i < all->n; i++) {
        int r = file_bytes(j, all->items[i], &s->bytes_all);
        if (r < 0)
            return explain_errno(s->error, r, "read the size of", "segment");
    }
    for (size_t i = 0; i < all->n && result == JOURNAL_OK; i++)
        result = scan_segment(s, all->items[i], i + 1 == all->n);
    if (result != JOURNAL_OK || all->n == 0)
        return result;
    j->stats.torn_bytes = s->torn_bytes;
    result = rewrite_segment(s);
    if (result != JOURNAL_OK)
        return result;
    j->left_bytes = j->segment.size - j->segment.offset;
    j->batch = s->batch;
    j->durable_batch = s->batch;
    if (s->replay->progress != NULL)
        s->replay->progress(s->replay->user, s->bytes_all, s->bytes_all);
    return JOURNAL_OK;
}

enum journal_result recovery_run(struct journal *j, const struct journal_replay *replay, char *ret_error)
{
    struct numbers all = {.items = NULL};
    struct scan *s = calloc(1, sizeof *s);
    enum journal_result result;

    if (s == NULL)
        return explain_errno(ret_error, -ENOMEM, "read", "state directory");
    *s = (struct scan){.journal = j, .replay = replay, .error = ret_error, .durable = j->superblock.durable};
    j->segment.number = j->superblock.first_segment - 1;
    result = list_segments(j, &all, ret_error);
    if (result == JOURNAL_OK)
        result = replay_all(s, &all);
    scan_done(s);
    free(s);
    free(all.items);
    return result;
}

static enum journal_result check_identity(const struct journal *j, const struct identity *asked, char *ret_error)
{
    const struct identity *i = &j->superblock.identity;

    if (i->id == asked->id && i->life == asked->life && hash_equal(&i->cluster, &asked->cluster))
        return JOURNAL_OK;
    return explain(
        ret_error, JOURNAL_REFUSED,
        "superblock: the state directory belongs to replica %u, life %016llx, and this is replica %u, life %016llx. "
        "Give each replica its own directory",
        i->id, (unsigned long long)i->life, asked->id, (unsigned long long)asked->life);
}

/* A first start writes the identity before anything else; any other one after everything was found good, both copies
 * anew, since the page cache may show a change that the disk lacks. */
static enum journal_result identity_rewrite(struct journal *j, char *ret_error)
{
    int r;

    j->superblock.durable = j->durable_batch;
    r = superblock_write(j->vfs, &j->superblock);
    return r < 0 ? explain_errno(ret_error, r, "write", "superblock") : JOURNAL_OK;
}

/* Without a first segment there is nothing to start with; with one, a full disk is told by journal_has_space(). */
static enum journal_result prepare_space(struct journal *j, char *ret_error)
{
    int64_t free_bytes;
    int r = 0;

    if (!journal_has_space(j))
        r = reserve_prepare(j, j->segment_bytes);
    if (r == 0 && j->segment.file == NULL && j->reserve_state != RESERVE_READY)
        r = -ENOSPC;
    if (r < 0)
        return explain_errno(ret_error, r, "allocate", RESERVE_NAME);
    free_bytes = j->vfs->free_bytes(j->vfs->context);
    j->stats.free_bytes = free_bytes > 0 ? (uint64_t)free_bytes : 0;
    return JOURNAL_OK;
}

static enum journal_result fill(struct journal *j, const struct identity *identity, const struct journal_replay *replay,
                                char *ret_error)
{
    bool is_fresh;
    enum journal_result result = superblock_read(j->vfs, &j->superblock, ret_error);

    if (result != JOURNAL_OK)
        return result;
    is_fresh = j->superblock.identity.status == 0;
    if (is_fresh)
        j->superblock = (struct superblock){.identity = *identity, .first_segment = 1};
    result = is_fresh ? JOURNAL_OK : check_identity(j, identity, ret_error);
    if (result == JOURNAL_OK)
        result = recovery_run(j, replay, ret_error);
    if (result == JOURNAL_OK)
        result = identity_rewrite(j, ret_error);
    if (result == JOURNAL_OK)
        result = prepare_space(j, ret_error);
    j->first_kept = j->superblock.first_kept;
    return result;
}

static struct journal *allocate(const struct journal_options *o)
{
    uint64_t bytes = o->segment_bytes != 0 ? o->segment_bytes : JOURNAL_SEGMENT_BYTES_DEFAULT;
    struct journal *j = calloc(1, sizeof *j);

    if (j == NULL)
        return NULL;
    if (bytes < JOURNAL_SEGMENT_BYTES_MIN)
        bytes = JOURNAL_SEGMENT_BYTES_MIN;
    if (bytes > JOURNAL_SEGMENT_BYTES_MOST)
        bytes = JOURNAL_SEGMENT_BYTES_MOST;
    *j = (struct journal){.vfs = o->vfs,
                          .segment_bytes = bytes / SECTOR_BYTES * SECTOR_BYTES,
                          .written = o->written,
                          .user = o->user,
                          .reserve_state = RESERVE_GROWING};
    j->gather.batch_bytes_most = (uint32_t)segment_capacity(j->segment_bytes);
    j->writing.batch_bytes_most = j->gather.batch_bytes_most;
    j->reader = reader_new(j);
    if (j->reader == NULL) {
        free(j);
        return NULL;
    }
    pthread_mutex_init(&j->mutex, NULL);
    return j;
}

enum journal_result journal_open(const struct journal_options *o, const struct identity *identity,
                                 const struct journal_replay *replay, struct journal **ret, char *ret_error)
{
    struct journal *j = allocate(o);
    enum journal_result result;

    if (j == NULL)
        return explain_errno(ret_error, -ENOMEM, "open", "journal");
    result = fill(j, identity, replay, ret_error);
    if (result != JOURNAL_OK) {
        journal_close(j);
        return result;
    }
    *ret = j;
    return JOURNAL_OK;
}
