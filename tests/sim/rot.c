/* Rot: bits, sectors and places of files that change by themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/world.h"

struct names {
    char items[64][64];
    size_t n;
};

static int take_name(void *user, const char *name)
{
    struct names *n = user;
    if (n->n < 64)
        snprintf(n->items[n->n++], sizeof(n->items[0]), "%s", name);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* In the last batches: a bit that leaves no byte zero, since zeros there are what a write leaves that was cut off. */
static void rot_tail(struct host *h, const char *name)
{
    struct vfs_memory *m = h->disk.memory;
    size_t size = 0;
    const uint8_t *bytes = vfs_memory_bytes(m, name, &size);
    while (size > 0 && bytes[size - 1] == 0)
        size--;
    if (size < 1024)
        return;
    size_t at = size - 1 - cluster_random(h->cluster, 16, 600);
    uint8_t mask = (uint8_t)(1 << cluster_random(h->cluster, 0, 7));
    h->cluster->happened[HAPPENED_TAIL_FLIPPED]++;
    vfs_memory_flip(m, name, at, bytes[at] == mask ? (uint8_t)(mask ^ 0xff) : mask);
    cluster_trace(h->cluster, (int)h->index, "rot        %s at %zu, near its end", name, at);
}

/* Anywhere a bit; whole sectors only where a later segment tells that they were written: at the end of the last one,
 * zeros are what a write leaves that was cut off. */
void disk_rot(struct host *h)
{
    struct cluster *c = h->cluster;
    struct vfs_memory *m = h->disk.memory;
    const struct vfs *vfs = vfs_memory_vfs(m);
    struct names names = {.n = 0};
    size_t size = 0, n_segments = 0, first_segment = 0;
    vfs->list(vfs->context, take_name, &names);
    qsort(names.items, names.n, sizeof(names.items[0]), compare_names);
    for (size_t i = 0; i < names.n; i++)
        if (strncmp(names.items[i], "segment-", 8) == 0 && n_segments++ == 0)
            first_segment = i;
    if (names.n == 0)
        return;
    const char *name = names.items[cluster_random(c, 0, names.n - 1)];
    if (n_segments > 1 && cluster_chance(c, c->options.rot_sealed_permille))
        name = names.items[first_segment + cluster_random(c, 0, n_segments - 2)];
    vfs_memory_bytes(m, name, &size);
    if (size == 0)
        return;
    h->disk.n_rot++;
    if (n_segments > 0 && cluster_chance(c, 300)) {
        size_t last = names.n;
        while (strncmp(names.items[last - 1], "segment-", 8) != 0)
            last--;
        rot_tail(h, names.items[last - 1]);
        return;
    }
    uint64_t at = cluster_random(c, 0, size - 1), sector = at / 512 * 512, kind = cluster_random(c, 0, 2);
    bool sealed = strncmp(name, "segment-", 8) == 0 && strcmp(name, names.items[names.n - 3]) < 0 && n_segments > 1;
    if (!sealed || sector + 512 > size)
        kind = 0;
    c->happened[kind == 0 ? HAPPENED_FLIPPED : kind == 1 ? HAPPENED_ZEROED : HAPPENED_MISDIRECTED]++;
    if (kind == 0)
        vfs_memory_flip(m, name, at, (uint8_t)(1 << cluster_random(c, 0, 7)));
    else if (kind == 1)
        vfs_memory_zero(m, name, sector, 512);
    else
        vfs_memory_swap(m, name, sector, cluster_random(c, 0, size / 512 - 1) * 512, 512);
    cluster_trace(c, (int)h->index, "rot        %s at %lu, kind %lu", name, at, kind);
}
