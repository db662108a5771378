/* What a power cut would leave of a disk now: a copy is cut and recovered, and compared with what was durable. */
#include "journal/journal.h"
#include "tests/sim/found.h"
#include "tests/sim/world.h"

struct checking {
    struct disk *disk;
    struct finding found;
    bool differs;
};

static bool check_checkpoint(void *user, slot_t slot, const uint8_t *bytes, size_t size)
{
    struct checking *k = user;
    (void)bytes, (void)size;
    k->found.restored = slot;
    return true;
}

static bool check_record(void *user, struct record *r, const uint8_t *bytes, uint32_t size)
{
    struct checking *k = user;
    k->differs = !found_record(k->disk, &k->found, r, bytes, size);
    return !k->differs;
}

static void not_told(void *user, int error)
{
    (void)user, (void)error;
}

void disk_check(struct host *h)
{
    struct disk *d = &h->disk;
    char error[JOURNAL_ERROR_MAX + 1] = "";
    struct checking k = {.disk = d, .found = {.saved = d->saved}};
    struct identity identity;
    struct journal *j;
    const struct journal_replay replay = {.checkpoint = check_checkpoint, .each = check_record, .user = &k};
    if (d->n_rot > 0)
        return;
    world_enter(h);
    struct vfs_memory *m = vfs_memory_clone(d->memory, h->cluster->steps);
    vfs_memory_set_mercy(m, MERCY_LOSE_ALL);
    vfs_memory_power_cut(m);
    vfs_memory_set_budget(m, UINT64_MAX);
    struct journal_options o = {
        .vfs = vfs_memory_vfs(m), .written = not_told, .segment_bytes = h->cluster->options.segment_bytes};
    enum journal_result r = journal_read_identity(o.vfs, &identity, error);
    if (r == JOURNAL_OK && identity.status != 0)
        r = journal_open(&o, &identity, &replay, &j, error);
    if (r != JOURNAL_OK)
        cluster_fail(h->cluster, "host %u: a power cut now would leave a journal that is refused: %s", h->index, error);
    if (identity.status != 0) {
        journal_close(j);
        found_end(d, &k.found, identity.status);
    }
    if (k.found.n < d->n_durable || (identity.status != 0 && identity.status < d->identity.status))
        cluster_fail(h->cluster,
                     "host %u: a power cut now would leave %zu records, %zu were told to be durable (trap 2)", h->index,
                     k.found.n, d->n_durable);
    vfs_memory_free(m);
}
