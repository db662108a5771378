#include "journal/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"
#include "journal/checkpoint_read.h"
#include "journal/explain.h"
#include "journal/reader.h"
#include "journal/rewrite.h"
#include "journal/salvage.h"

/* The state directory's files. */
struct files {
    uint64_t *segments;
    size_t n, room;
    size_t first; /* those before were trimmed */
    bool has_checkpoint, has_new_checkpoint, has_new_segment;
};

static int collect(void *user, const char *name)
{
    struct files *all = user;
    uint64_t number;
    void *p;

    if (strcmp(name, CHECKPOINT_NAME) == 0)
        all->has_checkpoint = true;
    if (strcmp(name, CHECKPOINT_NEW_NAME) == 0)
        all->has_new_checkpoint = true;
    if (strcmp(name, MEND_NAME) == 0)
        all->has_new_segment = true;
    if (!segment_name_parse(name, &number))
        return 0;
    p = array_grow(all->segments, all->n + 1, &all->room, sizeof *all->segments);
    if (p == NULL)
        return -ENOMEM;
    all->segments = p;
    all->segments[all->n++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int list_files(struct journal *j, struct files *ret)
{
    int r = j->vfs->list(j->vfs->context, collect, ret);

    if (ret->n > 0)
        qsort(ret->segments, ret->n, sizeof ret->segments[0], compare_numbers);
    while (ret->first < ret->n && ret->segments[ret->first] < j->superblock.first_segment)
        ret->first++;
    return r;
}

static enum journal_result miss_segment(uint64_t number, char *ret_error)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(number, name);
    return explain(
        ret_error, JOURNAL_REFUSED,
        "%s: the file is missing. This replica's votes may be lost: put the very file back, or see FAILURES in "
        "mpaxos(7)",
        name);
}

/* No gap, from the first one on that the superblock names. */
static enum journal_result check_files(struct journal *j, const struct files *all, char *ret_error)
{
    uint64_t expected = j->superblock.first_segment;
    size_t i;

    if ((all->n > 0 || all->has_checkpoint) && j->superblock.sequence == 0)
        return explain(ret_error, JOURNAL_REFUSED,
                       "superblock.0, superblock.1: both are missing, but %s there. Put them back, or see FAILURES in "
                       "mpaxos(7)",
                       all->n > 0 ? "segments are" : "a checkpoint is");
    for (i = all->first; i < all->n && all->segments[i] == expected; i++)
        expected++;
    return i < all->n ? miss_segment(expected, ret_error) : JOURNAL_OK;
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

static void tell_progress(const struct scan *s)
{
    if (s->progress != NULL)
        s->progress(s->user, s->bytes_done, s->bytes_all);
}

/* From the oldest on, the segments with nothing above `slot`: by their footers, or, where one is not whole, by what is
 * in it. *ret: the first that is read. */
static enum journal_result skip_segments(struct scan *s, const struct files *all, slot_t slot, size_t *ret)
{
    enum journal_result result = JOURNAL_OK;
    size_t i;

    for (i = all->first; i + 1 < all->n; i++) {
        uint64_t bytes_done = s->bytes_done, batch = s->batch;
        bool there;
        tell_progress(s);
        result = scan_footer(s, all->segments[i], &there);
        if (result == JOURNAL_OK && !there)
            result = scan_segment(s, all->segments[i], false);
        if (result != JOURNAL_OK && result != JOURNAL_DAMAGED)
            break;
        if (result == JOURNAL_DAMAGED || !extent_ends_by(&index_get(s->index, all->segments[i])->extent, slot)) {
            if (index_get(s->index, all->segments[i]) != NULL)
                index_drop_last(s->index);
            s->bytes_done = bytes_done;
            s->batch = batch;
            result = JOURNAL_OK; /* where it is damaged, that is found again when it is read */
            break;
        }
    }
    *ret = i;
    return result;
}

/* Slots that the checkpoint stands for and the damage took are not fetched again: what can be read begins behind them.
 */
static void forget_before_checkpoint(struct journal *j, const struct scan *s)
{
    slot_t slot = j->checkpoint.slot;

    if (s->is_cut && j->has_checkpoint && index_commit_until(&j->index) <= slot && j->first_kept <= slot)
        j->superblock.first_kept = j->first_kept = j->trim_below = slot + 1;
}

/* What it was written after is no torn tail, unless that was given up since. */
static void heed_checkpoint(struct scan *s, const struct journal *j, const struct checkpoint_header *h)
{
    if (j->has_checkpoint && h->slot >= j->superblock.damage.checkpoint_until && h->durable > s->durable)
        s->durable = h->durable;
}

/* Before the last one is rewritten, nothing changes on disk. */
static enum journal_result read_segments(struct journal *j, struct scan *s, const struct journal_replay *replay,
                                         struct checkpoint_file *checkpoint, const struct files *all)
{
    enum journal_result result = JOURNAL_OK;
    size_t from = all->first;

    heed_checkpoint(s, j, &checkpoint->header);
    if (all->first == all->n && s->durable > 0)
        return miss_segment(j->superblock.first_segment, s->error);
    for (size_t i = all->first; i < all->n; i++) {
        int r = file_bytes(j, all->segments[i], &s->bytes_all);
        if (r < 0)
            return explain_errno(s->error, r, "read the size of", "segment");
        tell_progress(s);
    }
    if (j->has_checkpoint) {
        result = skip_segments(s, all, j->checkpoint.slot, &from);
        if (result == JOURNAL_OK)
            result = checkpoint_hand_out(checkpoint, replay, s->error);
    }
    s->replay = replay;
    s->promised = (struct ballot){.round = 0}; /* every segment opens with the highest of those before */
    for (size_t i = from; i < all->n && result == JOURNAL_OK && !s->is_cut; i++) {
        result = scan_segment(s, all->segments[i], i + 1 == all->n);
        if (result == JOURNAL_OK)
            result = scan_compare_footer(s, i + 1 == all->n);
        if (result == JOURNAL_DAMAGED)
            result = salvage_run(j, s, all->segments + i, all->n - i);
    }
    if (result != JOURNAL_OK || from == all->n)
        return result;
    j->stats.torn_bytes = s->torn_bytes;
    j->stats.segments_replayed = all->n - from;
    result = rewrite_segment(s, &j->segment);
    if (result != JOURNAL_OK)
        return result;
    forget_before_checkpoint(j, s);
    j->left_bytes = j->segment.limit - j->segment.offset;
    j->batch = s->batch;
    j->durable_batch = s->batch;
    j->promised = s->promised;
    if (s->commit_until > j->commit_until)
        j->commit_until = s->commit_until;
    if (s->progress != NULL)
        s->progress(s->user, s->bytes_all, s->bytes_all);
    return JOURNAL_OK;
}

enum journal_result recovery_run(struct journal *j, const struct journal_replay *replay, char *ret_error)
{
    struct files all = {.segments = NULL};
    struct checkpoint_file checkpoint = {.file = NULL};
    struct scan *s = calloc(1, sizeof *s);
    enum journal_result result;
    int r;

    if (s == NULL)
        return explain_errno(ret_error, -ENOMEM, "read", "state directory");
    *s = (struct scan){.vfs = j->vfs,
                       .own = &j->superblock.identity,
                       .damage = &j->superblock.damage,
                       .index = &j->index,
                       .progress = replay->progress,
                       .user = replay->user,
                       .error = ret_error,
                       .durable = j->superblock.durable};
    j->segment.number = j->superblock.first_segment - 1;
    r = list_files(j, &all);
    result = r < 0 ? explain_errno(ret_error, r, "list", "state directory") : check_files(j, &all, ret_error);
    if (result == JOURNAL_OK)
        result = checkpoint_find(j, replay, &checkpoint, ret_error);
    if (result == JOURNAL_OK)
        result = read_segments(j, s, replay, &checkpoint, &all);
    checkpoint_close(&checkpoint);
    scan_done(s);
    free(s);
    free(all.segments);
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

/* What was promised in a part that was given up, and what the replica has been since. */
static enum journal_result tell_damage(struct journal *j, const struct journal_replay *replay, char *ret_error)
{
    const struct damage *d = &j->superblock.damage;
    struct record promise = {.type = RECORD_PROMISE, .ballot = d->promised};
    struct record identity = {.type = RECORD_IDENTITY, .identity = &j->superblock.identity};

    if (d->segment == 0)
        return JOURNAL_OK;
    if (ballot_compare(d->promised, j->promised) > 0)
        j->promised = d->promised;
    if (!replay->each(replay->user, &promise, NULL, 0) || !replay->each(replay->user, &identity, NULL, 0))
        return explain(ret_error, JOURNAL_REFUSED,
                       "superblock: this release does not know what it says of damage. Use the release that wrote it");
    return JOURNAL_OK;
}

/* A first start writes the identity before anything else; any other one after everything was found good, both copies
 * anew, since the page cache may show a change that the disk lacks. */
static enum journal_result identity_rewrite(struct journal *j, char *ret_error)
{
    int r;

    j->superblock.durable = j->durable_batch;
    j->superblock.damage.is_cutting = false;
    r = superblock_write(j->vfs, &j->superblock);
    return r < 0 ? explain_errno(ret_error, r, "write", "superblock") : JOURNAL_OK;
}

/* What a trim, a checkpoint or a mend that was cut off left behind. Only now: the superblock may have told of the trim
 * from the page cache alone. */
static enum journal_result clean_up(struct journal *j, char *ret_error)
{
    struct files all = {.segments = NULL};
    char name[SEGMENT_NAME_BYTES] = CHECKPOINT_NEW_NAME;
    int r = list_files(j, &all);

    if (r == 0 && all.has_new_checkpoint)
        r = j->vfs->remove(j->vfs->context, name);
    if (r == 0 && all.has_new_segment) {
        snprintf(name, sizeof name, "%s", MEND_NAME);
        r = j->vfs->remove(j->vfs->context, name);
    }
    for (size_t i = 0; i < all.first && r == 0; i++) {
        segment_name(all.segments[i], name);
        r = j->vfs->remove(j->vfs->context, name);
    }
    if (r == 0 && (all.first > 0 || all.has_new_checkpoint || all.has_new_segment))
        r = j->vfs->dir_sync(j->vfs->context);
    free(all.segments);
    return r < 0 ? explain_errno(ret_error, r, "remove", name) : JOURNAL_OK;
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
        result = tell_damage(j, replay, ret_error);
    if (result == JOURNAL_OK)
        result = identity_rewrite(j, ret_error);
    if (result == JOURNAL_OK)
        result = clean_up(j, ret_error);
    if (result == JOURNAL_OK)
        result = prepare_space(j, ret_error);
    j->stats.damaged_segment = j->superblock.damage.segment;
    j->stats.damaged_offset = j->superblock.damage.offset;
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
    j->reader = journal_reader_new(j);
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

    ret_error[0] = '\0';
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
