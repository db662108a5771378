/* Rot: bits, sectors and places of files that change by themselves; and batches that were written elsewhere, of which
 * nobody is told. What nothing can show is left out: a write that is lost while it is the last one leaves a disk as if
 * it had never been asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal/footer.h"
#include "journal/format.h"
#include "journal/index.h"
#include "tests/sim/world.h"

enum { NAMES_MAX = 256, BATCHES_MAX = 1024 };

struct names {
    char items[NAMES_MAX][64];
    size_t n;
};

static int take_name(void *user, const char *name)
{
    struct names *n = user;
    if (n->n < NAMES_MAX)
        snprintf(n->items[n->n++], sizeof(n->items[0]), "%s", name);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list_names(const struct host *h, struct names *ret)
{
    const struct vfs *vfs = vfs_memory_vfs(h->disk.memory);
    ret->n = 0;
    vfs->list(vfs->context, take_name, ret);
    qsort(ret->items, ret->n, sizeof(ret->items[0]), compare_names);
}

/* Those that begin so: they stand together. */
static size_t find_names(const struct names *names, const char *prefix, size_t *ret_n)
{
    size_t first = 0, n = 0, size = strlen(prefix);
    while (first < names->n && strncmp(names->items[first], prefix, size) != 0)
        first++;
    while (first + n < names->n && strncmp(names->items[first + n], prefix, size) == 0)
        n++;
    *ret_n = n;
    return first;
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

/* --- writes that land elsewhere --- */

struct batches {
    struct batch_header items[BATCHES_MAX];
    size_t n;
    uint64_t end; /* behind the last one */
};

static void read_batches(const struct vfs_memory *m, const char *name, struct batches *ret)
{
    struct batch_header h;
    size_t size = 0;
    const uint8_t *bytes = vfs_memory_bytes(m, name, &size);
    ret->n = 0;
    ret->end = SEGMENT_HEADER_BYTES;
    while (ret->n < BATCHES_MAX && ret->end + BATCH_HEADER_BYTES <= size && batch_header_decode(bytes + ret->end, &h) &&
           h.offset == ret->end && h.size <= size - ret->end && batch_is_whole(bytes + ret->end, &h)) {
        ret->items[ret->n++] = h;
        ret->end += h.size;
    }
}

struct place {
    const char *name;
    uint64_t offset;
    enum happened kind;
};

/* Where it came to stand: over another batch from its beginning, behind the last one, over a superblock, in a
 * checkpoint, or at any sector of a closed segment. */
static bool choose_place(struct cluster *c, const struct vfs_memory *m, const struct names *names, struct place *ret)
{
    static const char *const prefixes[] = {"segment-", "segment-", "superblock.", "checkpoint", "segment-"};
    uint64_t kind = cluster_random(c, 0, 6);
    kind = kind > 4 ? 4 : kind; /* often there is none */
    size_t n, size = 0, first = find_names(names, prefixes[kind], &n);
    struct batches b;
    ret->kind = (enum happened)(HAPPENED_OVER_BATCH + kind);
    n -= ret->kind == HAPPENED_IN_CLOSED && n > 0;
    if (n == 0)
        return false;
    size_t which = ret->kind == HAPPENED_BEHIND_LAST ? n - 1 : cluster_random(c, 0, n - 1);
    ret->name = names->items[first + which];
    ret->offset = 0;
    vfs_memory_bytes(m, ret->name, &size);
    if (ret->kind == HAPPENED_IN_CLOSED || ret->kind == HAPPENED_IN_CHECKPOINT)
        ret->offset = cluster_random(c, 0, size / 512) * 512;
    if (ret->kind != HAPPENED_OVER_BATCH && ret->kind != HAPPENED_BEHIND_LAST)
        return true;
    read_batches(m, ret->name, &b);
    ret->offset = b.end;
    if (ret->kind == HAPPENED_OVER_BATCH && b.n > 0)
        ret->offset = b.items[cluster_random(c, 0, b.n - 1)].offset;
    return true;
}

/* A whole batch of a closed segment, which leaves zeros where it should be. In the last one zeros are what a write
 * leaves that was cut off, once the later batch that calls it durable is damaged, too. */
static bool misdirect(struct host *h, const struct names *names)
{
    struct cluster *c = h->cluster;
    struct vfs_memory *m = h->disk.memory;
    size_t n_segments, size = 0, first_segment = find_names(names, "segment-", &n_segments);
    if (n_segments < 2)
        return false;
    const char *name = names->items[first_segment + cluster_random(c, 0, n_segments - 2)];
    struct batches b;
    struct place to;
    read_batches(m, name, &b);
    if (b.n == 0 || !choose_place(c, m, names, &to))
        return false;
    const struct batch_header *k = &b.items[cluster_random(c, 0, b.n - 1)];
    if (strcmp(name, to.name) == 0 && k->offset == to.offset)
        return false;
    uint8_t *bytes = malloc(k->size);
    if (!bytes)
        abort();
    memcpy(bytes, vfs_memory_bytes(m, name, &size) + k->offset, k->size);
    vfs_memory_zero(m, name, k->offset, k->size);
    vfs_memory_bytes(m, to.name, &size);
    if (to.offset < size)
        vfs_memory_poke(m, to.name, to.offset, bytes, k->size < size - to.offset ? k->size : size - to.offset);
    free(bytes);
    c->happened[to.kind]++;
    c->happened[HAPPENED_MISDIRECTED]++;
    cluster_trace(c, (int)h->index, "rot        batch %lu of %s at %lu written to %s at %lu", k->number, name,
                  k->offset, to.name, to.offset);
    return true;
}

/* --- rot of which another replica keeps a good copy --- */

enum { STRIPE_SLOTS = 128 };

/* What was written so near to a batch that it is read, and lost, with it. */
struct near {
    uint64_t from, until; /* offsets */
    slot_t min, max;      /* values, and what COMMIT records tell of */
    slot_t commit;        /* the last one so far */
};

static void add_slots(struct near *n, bool is_near, slot_t first, slot_t last)
{
    if (!is_near)
        return;
    n->min = first < n->min ? first : n->min;
    n->max = last > n->max ? last : n->max;
}

static void look_at_batch(const uint8_t *batch, const struct batch_header *b, struct near *n)
{
    struct note notes[RECORD_NOTES_MAX];
    struct record_view v;
    bool is_near = b->offset < n->until && b->offset + b->size > n->from;
    size_t at = BATCH_HEADER_BYTES, end = BATCH_HEADER_BYTES + b->payload_size;
    for (uint32_t i = 0; i < b->n_records && record_decode(batch + at, end - at, notes, &v); i++) {
        slot_t slot = v.record.slot;
        if (v.record.type == RECORD_ACCEPT || v.record.type == RECORD_CHOSEN)
            add_slots(n, is_near, slot, slot);
        if (v.record.type == RECORD_COMMIT) {
            add_slots(n, is_near, n->commit + 1, slot);
            n->commit = slot;
        }
        at += v.encoded_size;
    }
}

/* Slots go in stripes, each of which is kept by another host: there it never rots. */
static bool is_free_to_rot(const struct host *h, const struct near *n)
{
    for (slot_t stripe = n->min / STRIPE_SLOTS; n->min <= n->max && stripe <= n->max / STRIPE_SLOTS; stripe++)
        if (stripe % h->cluster->options.n_hosts == h->index)
            return false;
    return true;
}

void disk_rot_kept(struct host *h)
{
    struct cluster *c = h->cluster;
    struct vfs_memory *m = h->disk.memory;
    struct names names;
    list_names(h, &names);
    size_t n_segments, size, first = find_names(&names, "segment-", &n_segments);
    if (n_segments < 2)
        return;
    size_t which = first + cluster_random(c, 0, n_segments - 2);
    uint64_t draw = cluster_random(c, 0, BATCHES_MAX), place = cluster_random(c, 0, UINT32_MAX);
    struct near near = {.min = UINT64_MAX};
    struct batches b = {.n = 0};
    const struct batch_header *k = NULL;
    for (size_t i = first; i <= which; i++) {
        const uint8_t *bytes = vfs_memory_bytes(m, names.items[i], &size);
        read_batches(m, names.items[i], &b);
        if (i == which && b.n > 0) {
            k = &b.items[draw % b.n];
            near.from = k->offset - (k->offset < INDEX_STRETCH_BYTES ? k->offset : INDEX_STRETCH_BYTES);
            near.until = k->offset + k->size + INDEX_STRETCH_BYTES;
        }
        for (size_t j = 0; j < b.n; j++)
            look_at_batch(bytes + b.items[j].offset, &b.items[j], &near);
    }
    if (!k || !is_free_to_rot(h, &near))
        return;
    bool is_lost = cluster_chance(c, 300);
    h->disk.n_rot++;
    c->happened[is_lost ? HAPPENED_ZEROED : HAPPENED_FLIPPED]++;
    if (is_lost)
        vfs_memory_zero(m, names.items[which], k->offset, k->size);
    else
        vfs_memory_flip(m, names.items[which], k->offset + place % k->size, (uint8_t)(1 << place % 8));
    cluster_trace(c, (int)h->index, "rot        %s at %lu, slots %lu to %lu are kept elsewhere", names.items[which],
                  k->offset + place % k->size, near.min, near.max);
}

/* In each full segment, between its last batch and its footer. */
void disk_rot_unused(struct host *h)
{
    struct vfs_memory *m = h->disk.memory;
    struct names names;
    list_names(h, &names);
    size_t n_segments, size, first = find_names(&names, "segment-", &n_segments);
    for (size_t i = first; i + 1 < first + n_segments; i++) {
        struct batches b;
        vfs_memory_bytes(m, names.items[i], &size);
        read_batches(m, names.items[i], &b);
        if (b.end < footer_limit(size))
            vfs_memory_flip(m, names.items[i], b.end + h->cluster->steps % (footer_limit(size) - b.end), 0x6f);
    }
}

/* --- rot --- */

/* Anywhere a bit; whole sectors only where a later segment tells that they were written: at the end of the last one,
 * zeros are what a write leaves that was cut off. */
void disk_rot(struct host *h)
{
    struct cluster *c = h->cluster;
    struct vfs_memory *m = h->disk.memory;
    struct names names;
    size_t size = 0;
    list_names(h, &names);
    size_t n_segments, first_segment = find_names(&names, "segment-", &n_segments);
    if (names.n == 0)
        return;
    const char *name = names.items[cluster_random(c, 0, names.n - 1)];
    if (n_segments > 1 && cluster_chance(c, c->options.rot_sealed_permille))
        name = names.items[first_segment + cluster_random(c, 0, n_segments - 2)];
    vfs_memory_bytes(m, name, &size);
    if (size == 0)
        return;
    h->disk.n_rot++;
    if (cluster_chance(c, 500) && misdirect(h, &names))
        return;
    if (n_segments > 0 && cluster_chance(c, 300)) {
        rot_tail(h, names.items[first_segment + n_segments - 1]);
        return;
    }
    uint64_t at = cluster_random(c, 0, size - 1), sector = at / 512 * 512, kind = cluster_random(c, 0, 2);
    bool sealed = strncmp(name, "segment-", 8) == 0 && strcmp(name, names.items[names.n - 3]) < 0 && n_segments > 1;
    if (!sealed || sector + 512 > size)
        kind = 0;
    c->happened[kind == 0 ? HAPPENED_FLIPPED : kind == 1 ? HAPPENED_ZEROED : HAPPENED_SWAPPED]++;
    if (kind == 0)
        vfs_memory_flip(m, name, at, (uint8_t)(1 << cluster_random(c, 0, 7)));
    else if (kind == 1)
        vfs_memory_zero(m, name, sector, 512);
    else
        vfs_memory_swap(m, name, sector, cluster_random(c, 0, size / 512 - 1) * 512, 512);
    cluster_trace(c, (int)h->index, "rot        %s at %lu, kind %lu", name, at, kind);
}
