#include "tests/unit/vfs_memory_private.h"

#include <stdlib.h>
#include <string.h>

bool vfs_memory_poke(struct vfs_memory *m, const char *name, uint64_t offset, const void *bytes, size_t size)
{
    struct name *n = directory_find(&m->now, name);

    if (n == NULL || offset + size > n->inode->cache_size)
        return false;
    inode_own(n->inode);
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
    uint8_t *zeros = vfs_memory_check(calloc(1, (size_t)size + 1));
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
    bytes = vfs_memory_check(malloc(2 * (size_t)size + 1));
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
    inode_own(n->inode);
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
    return n->inode->cache != NULL ? n->inode->cache : (const uint8_t *)""; /* empty, and there */
}
