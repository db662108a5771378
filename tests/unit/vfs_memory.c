#include "tests/unit/vfs_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 4096, NAME_BYTES = 64, KINDS = 8, SECTOR = VFS_MEMORY_SECTOR_BYTES };

enum { SECTOR_DIRTY = 1, SECTOR_WHOLE = 2 };

struct inode {
    struct inode *next; /* of all that ever were: handles and unsynced names may point here */
    uint8_t *cache, *disk, *sectors;
    size_t cache_size, disk_size;
    size_t room; /* of cache and disk, a multiple of SECTOR */
};

struct name {
    char text[NAME_BYTES];
    struct inode *inode;
};

struct directory {
    struct name *names;
    size_t n, room;
};

enum change_type { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE };

struct change {
    enum change_type type;
    char from[NAME_BYTES], to[NAME_BYTES];
    struct inode *inode;
};

struct vfs_memory {
    struct vfs vfs;
    uint64_t random;
    uint64_t epoch; /* power cuts so far */
    struct inode *inodes;
    struct directory now, disk;
    struct change *changes; /* of names, unsynced */
    size_t n_changes, changes_room;
    enum vfs_memory_mercy mercy;
    uint64_t counts[KINDS];
    unsigned fail_kinds;
    uint64_t fail_in;
    int fail_error;
    bool fail_goes_on, is_dead;
    uint64_t budget;
    bool budget_is_hidden;
};

struct vfs_file {
    struct inode *inode;
    uint64_t epoch;
};

static void *check(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static uint64_t draw(struct vfs_memory *m)
{
    uint64_t z = m->random += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* --- names --- */

static struct name *directory_find(const struct directory *d, const char *text)
{
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->names[i].text, text) == 0)
            return &d->names[i];
    }
    return NULL;
}

static void directory_set(struct directory *d, const char *text, struct inode *inode)
{
    struct name *n = directory_find(d, text);

    if (n == NULL) {
        if (d->n == d->room) {
            d->room = d->room > 0 ? 2 * d->room : 16;
            d->names = check(reallocarray(d->names, d->room, sizeof *d->names));
        }
        n = &d->names[d->n++];
        snprintf(n->text, sizeof n->text, "%s", text);
    }
    n->inode = inode;
}

static void directory_drop(struct directory *d, const char *text, const struct inode *inode)
{
    struct name *n = directory_find(d, text);

    if (n != NULL && n->inode == inode)
        *n = d->names[--d->n];
}

static void directory_copy(struct directory *d, const struct directory *from)
{
    d->n = 0;
    for (size_t i = 0; i < from->n; i++)
        directory_set(d, from->names[i].text, from->names[i].inode);
}

static void change_apply(struct directory *d, const struct change *c)
{
    if (c->type != CHANGE_CREATE)
        directory_drop(d, c->from, c->inode);
    if (c->type != CHANGE_REMOVE)
        directory_set(d, c->to, c->inode);
}

static void change_make(struct vfs_memory *m, enum change_type type, const char *from, const char *to,
                        struct inode *inode)
{
    struct change *c;

    if (m->n_changes == m->changes_room) {
        m->changes_room = m->changes_room > 0 ? 2 * m->changes_room : 16;
        m->changes = check(reallocarray(m->changes, m->changes_room, sizeof *m->changes));
    }
    c = &m->changes[m->n_changes++];
    *c = (struct change){.type = type, .inode = inode};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    change_apply(&m->now, c);
}

/* --- inodes --- */

static struct inode *inode_new(struct vfs_memory *m)
{
    struct inode *i = check(calloc(1, sizeof *i));

    i->next = m->inodes;
    m->inodes = i;
    return i;
}

static void inode_reserve(struct inode *i, size_t size)
{
    size_t room = i->room > 0 ? i->room : 8 * SECTOR;

    while (room < size)
        room *= 2;
    if (room == i->room)
        return;
    i->cache = check(realloc(i->cache, room));
    i->disk = check(realloc(i->disk, room));
    i->sectors = check(realloc(i->sectors, room / SECTOR));
    memset(i->cache + i->room, 0, room - i->room);
    memset(i->disk + i->room, 0, room - i->room);
    memset(i->sectors + i->room / SECTOR, 0, (room - i->room) / SECTOR);
    i->room = room;
}

static void inode_write(struct inode *i, uint64_t offset, const void *data, size_t size)
{
    size_t end = (size_t)offset + size;

    if (size == 0)
        return;
    inode_reserve(i, end);
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

static void inode_sync(struct inode *i)
{
    if (i->room == 0)
        return;
    memcpy(i->disk, i->cache, i->room);
    memset(i->sectors, 0, i->room / SECTOR);
    i->disk_size = i->cache_size;
}

/* A sync that failed: nothing reached the disk, and nothing will by another sync. */
static void inode_forget(struct inode *i)
{
    if (i->room > 0)
        memset(i->sectors, 0, i->room / SECTOR);
}

enum fate { KEPT, LOST, ZEROED };

static enum fate sector_fate(struct vfs_memory *m, uint64_t kept_percent)
{
    if (m->mercy == MERCY_KEEP_ALL)
        return KEPT;
    if (m->mercy == MERCY_LOSE_ALL)
        return LOST;
    if (draw(m) % 100 < kept_percent)
        return KEPT;
    return m->mercy == MERCY_WHOLE_SECTORS || draw(m) % 2 == 0 ? LOST : ZEROED;
}

static void inode_power_cut(struct vfs_memory *m, struct inode *i)
{
    static const uint64_t percents[] = {0, 33, 80, 95, 99};
    uint64_t kept_percent = percents[draw(m) % 5];

    for (size_t s = 0; s < i->room / SECTOR; s++) {
        uint8_t *disk = i->disk + s * SECTOR;
        enum fate fate = sector_fate(m, kept_percent);
        if (!(i->sectors[s] & SECTOR_DIRTY))
            continue;
        if (fate == ZEROED && !(i->sectors[s] & SECTOR_WHOLE))
            fate = LOST;
        if (fate == LOST)
            continue;
        if (fate == KEPT)
            memcpy(disk, i->cache + s * SECTOR, SECTOR);
        else
            memset(disk, 0, SECTOR);
        if ((s + 1) * SECTOR > i->disk_size)
            i->disk_size = (s + 1) * SECTOR < i->cache_size ? (s + 1) * SECTOR : i->cache_size;
    }
    if (i->room == 0)
        return;
    memset(i->disk + i->disk_size, 0, i->room - i->disk_size);
    memcpy(i->cache, i->disk, i->room);
    memset(i->sectors, 0, i->room / SECTOR);
    i->cache_size = i->disk_size;
}

/* --- faults --- */

static int step(struct vfs_memory *m, unsigned kind)
{
    if (m->is_dead)
        return m->fail_error;
    for (int k = 0; k < KINDS; k++) {
        if (kind == 1U << k)
            m->counts[k]++;
    }
    if (m->fail_in == 0 || !(kind & m->fail_kinds) || --m->fail_in > 0)
        return 0;
    m->is_dead = m->fail_goes_on;
    return m->fail_error;
}

uint64_t vfs_memory_count(const struct vfs_memory *m, unsigned kinds)
{
    uint64_t n = 0;

    for (int k = 0; k < KINDS; k++)
        n += kinds & 1U << k ? m->counts[k] : 0;
    return n;
}

void vfs_memory_count_from_zero(struct vfs_memory *m)
{
    memset(m->counts, 0, sizeof m->counts);
}

void vfs_memory_fail_at(struct vfs_memory *m, unsigned kinds, uint64_t n, int error, bool goes_on)
{
    m->fail_kinds = kinds;
    m->fail_in = n;
    m->fail_error = error;
    m->fail_goes_on = goes_on;
}

void vfs_memory_heal(struct vfs_memory *m)
{
    m->fail_in = 0;
    m->is_dead = false;
}

void vfs_memory_set_budget(struct vfs_memory *m, uint64_t bytes)
{
    m->budget = bytes;
}

void vfs_memory_hide_budget(struct vfs_memory *m, bool hidden)
{
    m->budget_is_hidden = hidden;
}

uint64_t vfs_memory_used(const struct vfs_memory *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->now.n; i++)
        sum += m->now.names[i].inode->cache_size;
    return sum;
}

void vfs_memory_set_mercy(struct vfs_memory *m, enum vfs_memory_mercy mercy)
{
    m->mercy = mercy;
}

void vfs_memory_power_cut(struct vfs_memory *m)
{
    for (struct inode *i = m->inodes; i != NULL; i = i->next)
        inode_power_cut(m, i);
    for (size_t k = 0; k < m->n_changes; k++) {
        if (m->mercy == MERCY_KEEP_ALL || (m->mercy != MERCY_LOSE_ALL && draw(m) % 2 == 0))
            change_apply(&m->disk, &m->changes[k]);
    }
    m->n_changes = 0;
    directory_copy(&m->now, &m->disk);
    m->epoch++;
    vfs_memory_heal(m);
}

/* --- the calls --- */

static int memory_file_open(void *context, const char *name, int flags, struct vfs_file **ret)
{
    struct vfs_memory *m = context;
    struct name *n;
    struct inode *inode;
    int r = step(m, VFS_MEMORY_OPEN);

    if (r < 0)
        return r;
    n = directory_find(&m->now, name);
    if (strlen(name) >= NAME_BYTES || m->now.n >= NAMES_MAX)
        return -ENAMETOOLONG;
    if (n == NULL && !(flags & VFS_CREATE))
        return -ENOENT;
    if (n != NULL && (flags & VFS_CREATE))
        return -EEXIST;
    if (n == NULL) {
        inode = inode_new(m);
        change_make(m, CHANGE_CREATE, "", name, inode);
    } else {
        inode = n->inode;
    }
    *ret = check(malloc(sizeof **ret));
    **ret = (struct vfs_file){.inode = inode, .epoch = m->epoch};
    return 0;
}

static void memory_file_close(void *context, struct vfs_file *f)
{
    (void)context;
    free(f);
}

static int64_t memory_file_read(void *context, struct vfs_file *f, uint64_t offset, void *buffer, size_t size)
{
    struct vfs_memory *m = context;
    int r = f->epoch == m->epoch ? step(m, VFS_MEMORY_READ) : -EIO;

    if (r < 0)
        return r;
    if (offset >= f->inode->cache_size)
        return 0;
    if (size > f->inode->cache_size - offset)
        size = f->inode->cache_size - (size_t)offset;
    memcpy(buffer, f->inode->cache + offset, size);
    return (int64_t)size;
}

/* data NULL: zeros */
static int change_bytes(struct vfs_memory *m, struct vfs_file *f, unsigned kind, uint64_t offset, const void *data,
                        size_t size)
{
    uint64_t used = vfs_memory_used(m), room = m->budget > used ? m->budget - used : 0;
    bool was_dead = m->is_dead;
    int r = f->epoch == m->epoch ? step(m, kind) : -EIO;

    if (f->epoch != m->epoch || was_dead)
        return r;
    if (r < 0) {
        inode_write(f->inode, offset, data, (size_t)(draw(m) % (size + 1)));
        return r;
    }
    if (offset + size > f->inode->cache_size && offset + size - f->inode->cache_size > room) {
        size_t most = f->inode->cache_size + (size_t)room;
        if (most > offset)
            inode_write(f->inode, offset, data, most - (size_t)offset);
        return -ENOSPC;
    }
    inode_write(f->inode, offset, data, size);
    return 0;
}

static int memory_file_write(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size)
{
    return change_bytes(context, f, VFS_MEMORY_WRITE, offset, data, size);
}

static int memory_file_allocate(void *context, struct vfs_file *f, uint64_t offset, uint64_t size)
{
    return change_bytes(context, f, VFS_MEMORY_ALLOCATE, offset, NULL, (size_t)size);
}

static int memory_file_sync(void *context, struct vfs_file *f)
{
    struct vfs_memory *m = context;
    int r = f->epoch == m->epoch ? step(m, VFS_MEMORY_SYNC) : -EIO;

    if (r == 0)
        inode_sync(f->inode);
    else if (f->epoch == m->epoch && !m->is_dead)
        inode_forget(f->inode);
    return r;
}

static int64_t memory_file_size(void *context, struct vfs_file *f)
{
    struct vfs_memory *m = context;
    return f->epoch == m->epoch && !m->is_dead ? (int64_t)f->inode->cache_size : -EIO;
}

static int memory_rename(void *context, const char *from, const char *to)
{
    struct vfs_memory *m = context;
    struct name *n;
    int r = step(m, VFS_MEMORY_RENAME);

    if (r < 0)
        return r;
    n = directory_find(&m->now, from);
    if (n == NULL)
        return -ENOENT;
    change_make(m, CHANGE_RENAME, from, to, n->inode);
    return 0;
}

static int memory_remove(void *context, const char *name)
{
    struct vfs_memory *m = context;
    struct name *n;
    int r = step(m, VFS_MEMORY_REMOVE);

    if (r < 0)
        return r;
    n = directory_find(&m->now, name);
    if (n == NULL)
        return -ENOENT;
    change_make(m, CHANGE_REMOVE, name, "", n->inode);
    return 0;
}

static int memory_dir_sync(void *context)
{
    struct vfs_memory *m = context;
    int r = step(m, VFS_MEMORY_DIR_SYNC);

    if (r < 0)
        return r;
    directory_copy(&m->disk, &m->now);
    m->n_changes = 0;
    return 0;
}

static int memory_list(void *context, int (*each)(void *user, const char *name), void *user)
{
    struct vfs_memory *m = context;
    int r = m->is_dead ? m->fail_error : 0;

    for (size_t i = 0; i < m->now.n && r == 0; i++)
        r = each(user, m->now.names[i].text);
    return r;
}

static int64_t memory_free_bytes(void *context)
{
    struct vfs_memory *m = context;
    uint64_t used = vfs_memory_used(m);

    if (m->budget_is_hidden || m->budget == UINT64_MAX)
        return INT64_MAX;
    return m->budget > used ? (int64_t)(m->budget - used) : 0;
}

/* --- life --- */

struct vfs_memory *vfs_memory_new(uint64_t seed)
{
    struct vfs_memory *m = check(malloc(sizeof *m));

    *m = (struct vfs_memory){
        .vfs = {.context = m,
                .file_open = memory_file_open,
                .file_close = memory_file_close,
                .file_read = memory_file_read,
                .file_write = memory_file_write,
                .file_sync = memory_file_sync,
                .file_allocate = memory_file_allocate,
                .file_size = memory_file_size,
                .rename = memory_rename,
                .remove = memory_remove,
                .dir_sync = memory_dir_sync,
                .list = memory_list,
                .free_bytes = memory_free_bytes},
        .random = seed,
        .budget = UINT64_MAX,
    };
    return m;
}

const struct vfs *vfs_memory_vfs(struct vfs_memory *m)
{
    return &m->vfs;
}

void vfs_memory_free(struct vfs_memory *m)
{
    if (m == NULL)
        return;
    for (struct inode *i = m->inodes, *next; i != NULL; i = next) {
        next = i->next;
        free(i->cache);
        free(i->disk);
        free(i->sectors);
        free(i);
    }
    free(m->now.names);
    free(m->disk.names);
    free(m->changes);
    free(m);
}

static struct inode *inode_copy(struct vfs_memory *m, const struct inode *from)
{
    struct inode *i = inode_new(m);

    if (from->room > 0) {
        inode_reserve(i, from->room);
        memcpy(i->cache, from->cache, from->room);
        memcpy(i->disk, from->disk, from->room);
        memcpy(i->sectors, from->sectors, from->room / SECTOR);
    }
    i->cache_size = from->cache_size;
    i->disk_size = from->disk_size;
    return i;
}

static struct inode *twin_of(const struct vfs_memory *m, struct inode **twins, const struct inode *inode)
{
    size_t k = 0;

    for (struct inode *i = m->inodes; i != inode; i = i->next)
        k++;
    return twins[k];
}

struct vfs_memory *vfs_memory_clone(const struct vfs_memory *m, uint64_t seed)
{
    struct vfs_memory *c = vfs_memory_new(seed);
    struct inode **twins;
    size_t n = 0;

    for (struct inode *i = m->inodes; i != NULL; i = i->next)
        n++;
    twins = check(calloc(n + 1, sizeof(struct inode *)));
    n = 0;
    for (struct inode *i = m->inodes; i != NULL; i = i->next)
        twins[n++] = inode_copy(c, i);
    for (size_t i = 0; i < m->now.n; i++)
        directory_set(&c->now, m->now.names[i].text, twin_of(m, twins, m->now.names[i].inode));
    for (size_t i = 0; i < m->disk.n; i++)
        directory_set(&c->disk, m->disk.names[i].text, twin_of(m, twins, m->disk.names[i].inode));
    c->changes = check(calloc(m->n_changes + 1, sizeof *c->changes));
    c->changes_room = m->n_changes + 1;
    c->n_changes = m->n_changes;
    for (size_t i = 0; i < m->n_changes; i++) {
        c->changes[i] = m->changes[i];
        c->changes[i].inode = twin_of(m, twins, m->changes[i].inode);
    }
    free(twins);
    c->mercy = m->mercy;
    c->budget = m->budget;
    c->budget_is_hidden = m->budget_is_hidden;
    return c;
}

/* --- rot --- */

bool vfs_memory_poke(struct vfs_memory *m, const char *name, uint64_t offset, const void *bytes, size_t size)
{
    struct name *n = directory_find(&m->now, name);

    if (n == NULL || offset + size > n->inode->cache_size)
        return false;
    memcpy(n->inode->cache + offset, bytes, size);
    memcpy(n->inode->disk + offset, bytes, size);
    return true;
}

bool vfs_memory_flip(struct vfs_memory *m, const char *name, uint64_t offset, uint8_t mask)
{
    struct name *n = directory_find(&m->now, name);
    uint8_t byte;

    if (n == NULL || offset >= n->inode->cache_size)
        return false;
    byte = n->inode->cache[offset] ^ mask;
    return vfs_memory_poke(m, name, offset, &byte, 1);
}

bool vfs_memory_zero(struct vfs_memory *m, const char *name, uint64_t offset, uint64_t size)
{
    uint8_t *zeros = check(calloc(1, (size_t)size + 1));
    bool ok = vfs_memory_poke(m, name, offset, zeros, (size_t)size);

    free(zeros);
    return ok;
}

bool vfs_memory_swap(struct vfs_memory *m, const char *name, uint64_t a, uint64_t b, uint64_t size)
{
    struct name *n = directory_find(&m->now, name);
    uint8_t *bytes;

    if (n == NULL || a + size > n->inode->cache_size || b + size > n->inode->cache_size)
        return false;
    bytes = check(malloc(2 * (size_t)size + 1));
    memcpy(bytes, n->inode->cache + a, (size_t)size);
    memcpy(bytes + size, n->inode->cache + b, (size_t)size);
    vfs_memory_poke(m, name, b, bytes, (size_t)size);
    vfs_memory_poke(m, name, a, bytes + size, (size_t)size);
    free(bytes);
    return true;
}

bool vfs_memory_truncate(struct vfs_memory *m, const char *name, uint64_t size)
{
    struct name *n = directory_find(&m->now, name);

    if (n == NULL || size > n->inode->cache_size)
        return false;
    memset(n->inode->cache + size, 0, n->inode->room - (size_t)size);
    memset(n->inode->disk + size, 0, n->inode->room - (size_t)size);
    n->inode->cache_size = (size_t)size;
    n->inode->disk_size = (size_t)size;
    return true;
}

bool vfs_memory_delete(struct vfs_memory *m, const char *name)
{
    struct name *n = directory_find(&m->now, name);

    if (n == NULL)
        return false;
    directory_drop(&m->disk, name, n->inode);
    directory_drop(&m->now, name, n->inode);
    return true;
}

bool vfs_memory_copy(struct vfs_memory *m, const char *name, const struct vfs_memory *from, const char *from_name)
{
    struct name *n = directory_find(&from->now, from_name);
    struct inode *i;

    if (n == NULL)
        return false;
    i = inode_copy(m, n->inode);
    directory_set(&m->now, name, i);
    directory_set(&m->disk, name, i);
    return true;
}

const uint8_t *vfs_memory_bytes(const struct vfs_memory *m, const char *name, size_t *ret_size)
{
    struct name *n = directory_find(&m->now, name);

    if (n == NULL)
        return NULL;
    *ret_size = n->inode->cache_size;
    return n->inode->cache;
}
