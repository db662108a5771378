#include "tests/unit/vfs_memory_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = VFS_MEMORY_SECTOR_BYTES };

enum { SECTOR_DIRTY = 1, SECTOR_WHOLE = 2 };

void *vfs_memory_check(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

uint64_t vfs_memory_draw(struct vfs_memory *m)
{
    uint64_t z = m->random += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* --- names --- */

struct name *directory_find(const struct directory *d, const char *text)
{
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->names[i].text, text) == 0)
            return &d->names[i];
    }
    return NULL;
}

void directory_set(struct directory *d, const char *text, struct inode *inode)
{
    struct name *n = directory_find(d, text);

    if (n == NULL) {
        if (d->n == d->room) {
            d->room = d->room > 0 ? 2 * d->room : 16;
            d->names = vfs_memory_check(reallocarray(d->names, d->room, sizeof *d->names));
        }
        n = &d->names[d->n++];
        snprintf(n->text, sizeof n->text, "%s", text);
    }
    n->inode = inode;
}

void directory_drop(struct directory *d, const char *text, const struct inode *inode)
{
    struct name *n = directory_find(d, text);

    if (n != NULL && n->inode == inode)
        *n = d->names[--d->n];
}

void directory_copy(struct directory *d, const struct directory *from)
{
    d->n = 0;
    for (size_t i = 0; i < from->n; i++)
        directory_set(d, from->names[i].text, from->names[i].inode);
}

void change_apply(struct directory *d, const struct change *c)
{
    if (c->type != CHANGE_CREATE)
        directory_drop(d, c->from, c->inode);
    if (c->type != CHANGE_REMOVE)
        directory_set(d, c->to, c->inode);
}

void change_make(struct vfs_memory *m, enum change_type type, const char *from, const char *to, struct inode *inode)
{
    struct change *c;

    if (m->n_changes == m->changes_room) {
        m->changes_room = m->changes_room > 0 ? 2 * m->changes_room : 16;
        m->changes = vfs_memory_check(reallocarray(m->changes, m->changes_room, sizeof *m->changes));
    }
    c = &m->changes[m->n_changes++];
    *c = (struct change){.type = type, .inode = inode};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    change_apply(&m->now, c);
}

/* --- inodes --- */

struct inode *inode_new(struct vfs_memory *m)
{
    struct inode *i = vfs_memory_check(calloc(1, sizeof *i));

    i->next = m->inodes;
    m->inodes = i;
    i->number = ++m->n_inodes;
    i->cut_size = SIZE_MAX;
    return i;
}

static void *copy_of(const void *bytes, size_t size)
{
    return memcpy(vfs_memory_check(malloc(size)), bytes, size);
}

void inode_own(struct inode *i)
{
    if (i->n_sharers == NULL || *i->n_sharers == 1)
        return;
    --*i->n_sharers;
    i->n_sharers = copy_of(&(unsigned){1}, sizeof *i->n_sharers);
    i->cache = copy_of(i->cache, i->room);
    i->disk = copy_of(i->disk, i->room);
    i->sectors = copy_of(i->sectors, i->room / SECTOR);
}

static void inode_reserve(struct inode *i, size_t size)
{
    size_t room = i->room > 0 ? i->room : 8 * SECTOR;

    while (room < size)
        room *= 2;
    inode_own(i);
    if (room == i->room)
        return;
    if (i->n_sharers == NULL)
        i->n_sharers = copy_of(&(unsigned){1}, sizeof *i->n_sharers);
    i->cache = vfs_memory_check(realloc(i->cache, room));
    i->disk = vfs_memory_check(realloc(i->disk, room));
    i->sectors = vfs_memory_check(realloc(i->sectors, room / SECTOR));
    memset(i->cache + i->room, 0, room - i->room);
    memset(i->disk + i->room, 0, room - i->room);
    memset(i->sectors + i->room / SECTOR, 0, (room - i->room) / SECTOR);
    i->room = room;
}

void inode_write(struct inode *i, uint64_t offset, const void *data, size_t size)
{
    size_t end = (size_t)offset + size;

    if (size == 0)
        return;
    inode_reserve(i, end);
    i->differs = true;
    if (data != NULL)
        memcpy(i->cache + offset, data, size);
    else
        memset(i->cache + offset, 0, size);
    if (end > i->cache_size)
        i->cache_size = end;
    for (size_t s = (size_t)offset / SECTOR; s <= (end - 1) / SECTOR; s++) {
        bool whole = offset <= s * SECTOR && end >= (s + 1) * SECTOR;
        i->sectors[s] = (uint8_t)(i->sectors[s] | SECTOR_DIRTY | (whole ? SECTOR_WHOLE : 0));
    }
}

void inode_truncate(struct inode *i, size_t size)
{
    if (size >= i->cache_size)
        return;
    inode_own(i);
    i->differs = true;
    memset(i->cache + size, 0, i->cache_size - size);
    for (size_t s = (size + SECTOR - 1) / SECTOR; s < i->room / SECTOR; s++)
        i->sectors[s] = 0;
    i->cache_size = size;
    if (size < i->cut_size)
        i->cut_size = size;
}

static void cut_disk(struct inode *i)
{
    if (i->cut_size < i->disk_size) {
        memset(i->disk + i->cut_size, 0, i->disk_size - i->cut_size);
        i->disk_size = i->cut_size;
    }
    i->cut_size = SIZE_MAX;
}

void inode_sync(struct inode *i)
{
    if (!i->differs)
        return;
    inode_own(i);
    cut_disk(i);
    for (size_t s = 0; s < i->room / SECTOR; s++) /* what a failed sync forgot stays forgotten */
        if (i->sectors[s] & SECTOR_DIRTY)
            memcpy(i->disk + s * SECTOR, i->cache + s * SECTOR, SECTOR);
    memset(i->sectors, 0, i->room / SECTOR);
    i->disk_size = i->cache_size;
    i->differs = i->has_forgotten;
}

void inode_forget(struct inode *i)
{
    if (!i->differs)
        return;
    inode_own(i);
    memset(i->sectors, 0, i->room / SECTOR);
    i->has_forgotten = true;
}

void inode_reload(struct inode *i)
{
    if (!i->has_forgotten)
        return;
    inode_own(i);
    for (size_t s = 0; s < i->room / SECTOR; s++)
        if (!(i->sectors[s] & SECTOR_DIRTY))
            memcpy(i->cache + s * SECTOR, i->disk + s * SECTOR, SECTOR);
    i->has_forgotten = false;
}

enum fate { KEPT, LOST, ZEROED };

static enum fate sector_fate(struct vfs_memory *m, uint64_t kept_percent)
{
    if (m->mercy == MERCY_KEEP_ALL)
        return KEPT;
    if (m->mercy == MERCY_LOSE_ALL)
        return LOST;
    if (vfs_memory_draw(m) % 100 < kept_percent)
        return KEPT;
    return m->mercy == MERCY_WHOLE_SECTORS || vfs_memory_draw(m) % 2 == 0 ? LOST : ZEROED;
}

void inode_power_cut(struct vfs_memory *m, struct inode *i)
{
    static const uint64_t percents[] = {0, 33, 80, 95, 99};
    uint64_t kept_percent = percents[vfs_memory_draw(m) % 5];

    if (i->differs)
        inode_own(i);
    if (i->cut_size < i->disk_size && (m->mercy == MERCY_KEEP_ALL || vfs_memory_draw(m) % 2 == 0))
        cut_disk(i);
    i->cut_size = SIZE_MAX;
    for (size_t s = 0; s < i->room / SECTOR; s++) {
        uint8_t *disk = i->disk + s * SECTOR;
        enum fate fate = sector_fate(m, kept_percent);
        if (!(i->sectors[s] & SECTOR_DIRTY))
            continue;
        if (fate == ZEROED && !(i->sectors[s] & SECTOR_WHOLE))
            fate = LOST;
        m->tally.sectors_lost += fate == LOST;
        m->tally.sectors_zeroed += fate == ZEROED;
        if (fate == LOST)
            continue;
        if (fate == KEPT)
            memcpy(disk, i->cache + s * SECTOR, SECTOR);
        else
            memset(disk, 0, SECTOR);
        if ((s + 1) * SECTOR > i->disk_size)
            i->disk_size = (s + 1) * SECTOR < i->cache_size ? (s + 1) * SECTOR : i->cache_size;
    }
    if (!i->differs)
        return;
    memset(i->disk + i->disk_size, 0, i->room - i->disk_size);
    memcpy(i->cache, i->disk, i->room);
    memset(i->sectors, 0, i->room / SECTOR);
    i->cache_size = i->disk_size;
    i->differs = i->has_forgotten = false;
}

struct inode *inode_copy(struct vfs_memory *m, const struct inode *from)
{
    struct inode *i = inode_new(m), *next = i->next;

    *i = *from;
    i->next = next;
    i->n_handles = 0;
    if (i->n_sharers != NULL)
        ++*i->n_sharers;
    return i;
}

void inode_free(struct inode *i)
{
    if (i->n_sharers != NULL && --*i->n_sharers == 0) {
        free(i->n_sharers);
        free(i->cache);
        free(i->disk);
        free(i->sectors);
    }
    free(i);
}

static bool has_name(const struct directory *d, const struct inode *inode)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->names[i].inode == inode)
            return true;
    }
    return false;
}

void inode_sweep(struct vfs_memory *m)
{
    for (struct inode **p = &m->inodes; *p != NULL;) {
        struct inode *i = *p;
        if (i->n_handles > 0 || has_name(&m->now, i) || has_name(&m->disk, i)) {
            p = &i->next;
            continue;
        }
        *p = i->next;
        inode_free(i);
    }
}

const struct vfs_memory_tally *vfs_memory_tally(const struct vfs_memory *m)
{
    return &m->tally;
}

size_t vfs_memory_handles(const struct vfs_memory *m)
{
    size_t n = 0;
    for (const struct inode *i = m->inodes; i != NULL; i = i->next)
        n += i->n_handles;
    return n;
}
