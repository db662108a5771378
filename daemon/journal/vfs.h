/* The seam between the journal and the disk: what the simulator replaces, with latency, torn and lost writes, rot, a
 * full disk and failed syncs. Paths are relative to the directory that vfs_posix_open() was given.
 *
 * Contract, as POSIX promises it: written bytes survive a power cut only after file_sync() answered 0; a created,
 * renamed or removed name only after dir_sync() answered 0. Every call answers 0 or more, or a negative errno. A failed
 * file_sync or dir_sync must never be followed by another try (Rebello et al., ATC 2020): the caller ends the process.
 */
#ifndef JOURNAL_VFS_H
#define JOURNAL_VFS_H

#include <stddef.h>
#include <stdint.h>

struct vfs_file;

struct vfs {
    void *context;
    /* flags: VFS_CREATE: must not exist; without it: must exist. VFS_APPEND: file_append() will be called. */
    int (*file_open)(void *context, const char *name, int flags, struct vfs_file **ret);
    void (*file_close)(void *context, struct vfs_file *f);
    /* Whole or error: never short, except a read at the end of the file, which answers what there is. */
    int64_t (*file_read)(void *context, struct vfs_file *f, uint64_t offset, void *buffer, size_t size);
    /* The next reads ask the disk, not memory, for what was durable before. */
    void (*file_forget)(void *context, struct vfs_file *f);
    int (*file_write)(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size);
    /* The same, where only zeros follow, up to the next multiple of VFS_BLOCK_BYTES at least, and nobody else writes:
     * that may go past the page cache. For a file that was opened with VFS_APPEND. */
    int (*file_append)(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size);
    int (*file_sync)(void *context, struct vfs_file *f); /* fdatasync */
    /* Writes zeros, growing the file where it ends before: once this and a file_sync() answered 0, writes there never
     * meet a full disk, nor change metadata. -ENOSPC may leave a part of them written. */
    int (*file_allocate)(void *context, struct vfs_file *f, uint64_t offset, uint64_t size);
    int64_t (*file_size)(void *context, struct vfs_file *f);
    /* Replaces `to` where it exists, at once: after a power cut it is the one file or the other. */
    int (*rename)(void *context, const char *from, const char *to);
    int (*remove)(void *context, const char *name);
    int (*dir_sync)(void *context);
    /* Calls `each` for every name in the directory, in any order, until it answers non-zero, which is passed on. */
    int (*list)(void *context, int (*each)(void *user, const char *name), void *user);
    int64_t (*free_bytes)(void *context);
};

enum { VFS_CREATE = 1, VFS_APPEND = 2, VFS_BLOCK_BYTES = 4096 };

/* The real one. `dir` is created (mode 0700, parents not) where it is missing, and locked (flock on "lock") against a
 * second daemon: -EWOULDBLOCK where one holds it. */
int vfs_posix_open(const char *dir, struct vfs **ret);
void vfs_posix_close(struct vfs *v);

#endif
