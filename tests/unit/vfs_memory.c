#include "tests/unit/vfs_memory_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vfs_file {
    struct inode *inode;
    uint64_t epoch;
};

/* --- faults --- */

static int step(struct vfs_memory *m, unsigned kind)
{
    if (m->is_dead)
        return m->fail_error;
    for (int k = 0; k < VFS_MEMORY_KINDS; k++) {
        if (kind == 1U << k)
            m->counts[k]++;
    }
    if (m->fail_in == 0 || !(kind & m->fail_kinds) || --m->fail_in > 0)
        return 0;
    m->has_failed = true;
    m->is_dead = m->fail_goes_on;
    m->tally.n_failed += !m->fail_goes_on;
    return m->fail_error;
}

uint64_t vfs_memory_count(const struct vfs_memory *m, unsigned kinds)
{
    uint64_t n = 0;

    for (int k = 0; k < VFS_MEMORY_KINDS; k++)
        n += (kinds & 1U << k) != 0 ? m->counts[k] : 0;
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
    m->has_failed = false;
}

void vfs_memory_heal(struct vfs_memory *m)
{
    m->fail_in = 0;
    m->has_failed = m->is_dead = false;
}

bool vfs_memory_has_failed(const struct vfs_memory *m)
{
    return m->has_failed;
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
        if (m->mercy == MERCY_KEEP_ALL || (m->mercy != MERCY_LOSE_ALL && vfs_memory_draw(m) % 2 == 0))
            change_apply(&m->disk, &m->changes[k]);
        else
            m->tally.names_lost++;
    }
    m->n_changes = 0;
    directory_copy(&m->now, &m->disk);
    inode_sweep(m);
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
    if (strlen(name) >= VFS_MEMORY_NAME_BYTES || m->now.n >= VFS_MEMORY_NAMES_MAX)
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
    *ret = vfs_memory_check(malloc(sizeof **ret));
    **ret = (struct vfs_file){.inode = inode, .epoch = m->epoch};
    inode->n_handles++;
    return 0;
}

static void memory_file_close(void *context, struct vfs_file *f)
{
    (void)context;
    f->inode->n_handles--;
    free(f);
}

static void memory_file_forget(void *context, struct vfs_file *f)
{
    struct vfs_memory *m = context;
    if (f->epoch == m->epoch && !m->is_dead)
        inode_reload(f->inode);
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
        inode_write(f->inode, offset, data, (size_t)(vfs_memory_draw(m) % (size + 1)));
        return r;
    }
    if (offset + size > f->inode->cache_size && offset + size - f->inode->cache_size > room) {
        size_t most = f->inode->cache_size + (size_t)room;
        if (most > offset)
            inode_write(f->inode, offset, data, most - (size_t)offset);
        m->tally.n_full++;
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

int vfs_memory_file_truncate(struct vfs_memory *m, struct vfs_file *f, uint64_t size)
{
    if (f->epoch != m->epoch || m->is_dead)
        return -EIO;
    inode_truncate(f->inode, (size_t)size);
    return 0;
}

uint64_t vfs_memory_inode(const struct vfs_memory *m, const char *name)
{
    const struct name *n = directory_find(&m->now, name);
    return n != NULL ? n->inode->number : 0;
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
    struct vfs_memory *m = vfs_memory_check(malloc(sizeof *m));

    *m = (struct vfs_memory){
        .vfs = {.context = m,
                .file_open = memory_file_open,
                .file_close = memory_file_close,
                .file_read = memory_file_read,
                .file_forget = memory_file_forget,
                .file_write = memory_file_write,
                .file_append = memory_file_write,
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
        inode_free(i);
    }
    free(m->now.names);
    free(m->disk.names);
    free(m->changes);
    free(m);
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
    twins = vfs_memory_check(calloc(n + 1, sizeof(struct inode *)));
    n = 0;
    for (struct inode *i = m->inodes; i != NULL; i = i->next)
        twins[n++] = inode_copy(c, i);
    for (size_t i = 0; i < m->now.n; i++)
        directory_set(&c->now, m->now.names[i].text, twin_of(m, twins, m->now.names[i].inode));
    for (size_t i = 0; i < m->disk.n; i++)
        directory_set(&c->disk, m->disk.names[i].text, twin_of(m, twins, m->disk.names[i].inode));
    c->changes = vfs_memory_check(calloc(m->n_changes + 1, sizeof *c->changes));
    c->changes_room = m->n_changes + 1;
    c->n_changes = m->n_changes;
    for (size_t i = 0; i < m->n_changes; i++) {
        c->changes[i] = m->changes[i];
        c->changes[i].inode = twin_of(m, twins, m->changes[i].inode);
    }
    free(twins);
    c->n_inodes = m->n_inodes;
    c->mercy = m->mercy;
    c->budget = m->budget;
    c->budget_is_hidden = m->budget_is_hidden;
    return c;
}
