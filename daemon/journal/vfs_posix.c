#include "journal/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { ZEROS_BYTES = 256 << 10, BOUNCE_BYTES = 256 << 10, BLOCK_BYTES_LEAST = 512 };

struct directory {
    struct vfs vfs;
    int fd;
    int lock_fd;
    size_t direct_block; /* what O_DIRECT wants offsets and sizes to be multiples of; 0: it is not to be had here */
};

struct vfs_file {
    int fd;
    int direct_fd;   /* O_DIRECT, -1: none */
    uint8_t *bounce; /* BOUNCE_BYTES, aligned */
    uint64_t end;    /* of the last append; what stands before it in its block is `tail` */
    uint8_t tail[VFS_BLOCK_BYTES];
};

/* A quota is used up as a disk is: room may come. */
static int last_error(void)
{
    return errno == EDQUOT ? -ENOSPC : -errno;
}

/* Where it cannot be had, appending goes through the page cache, which is slower and nothing else. */
static void open_direct(struct directory *d, const char *name, struct vfs_file *f)
{
    if (d->direct_block == 0)
        return;
    f->bounce = aligned_alloc(VFS_BLOCK_BYTES, BOUNCE_BYTES);
    if (f->bounce != NULL)
        f->direct_fd = openat(d->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_DIRECT);
}

/* Where a file system writes anew what is written over, as btrfs does, zeros that were written ahead keep no room, and
 * this, while it is empty, has the file keep its place. Others have no such flag. */
static void keep_in_place(int fd)
{
    int flags;

    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static int posix_file_open(void *context, const char *name, int flags, struct vfs_file **ret)
{
    struct directory *d = context;
    int open_flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
    struct vfs_file *f;

    if (flags & VFS_CREATE)
        open_flags |= O_CREAT | O_EXCL;
    f = malloc(sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    f->direct_fd = -1;
    f->bounce = NULL;
    f->end = UINT64_MAX;
    f->fd = openat(d->fd, name, open_flags, 0600);
    if (f->fd < 0) {
        int r = last_error();
        free(f);
        return r;
    }
    if (flags & VFS_CREATE)
        keep_in_place(f->fd);
    if (flags & VFS_APPEND)
        open_direct(d, name, f);
    *ret = f;
    return 0;
}

static void posix_file_close(void *context, struct vfs_file *f)
{
    (void)context;
    close(f->fd);
    if (f->direct_fd >= 0)
        close(f->direct_fd);
    free(f->bounce);
    free(f);
}

static int64_t posix_file_read(void *context, struct vfs_file *f, uint64_t offset, void *buffer, size_t size)
{
    size_t done = 0;
    (void)context;

    while (done < size) {
        ssize_t n = pread(f->fd, (uint8_t *)buffer + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

/* All of it: a kernel lets go only of pieces of its own size that lie within what it is asked for. */
static void posix_file_forget(void *context, struct vfs_file *f)
{
    (void)context;
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int posix_file_write(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size)
{
    size_t done = 0;
    (void)context;

    while (done < size) {
        ssize_t n = pwrite(f->fd, (const uint8_t *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return last_error();
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* One piece by O_DIRECT: whole blocks, which begin with what stands in the first before, and end in zeros. Answers how
 * much of it was written, 0 where these blocks do not do. */
static int64_t append_direct(struct directory *d, struct vfs_file *f, uint64_t offset, const uint8_t *data, size_t size)
{
    size_t block = d->direct_block, head = (size_t)(offset % block), n, whole;
    ssize_t written;

    if (offset != f->end && head > 0) {
        int64_t r = posix_file_read(d, f, offset - head, f->tail, head);
        if (r < 0)
            return r;
        if (r < (int64_t)head)
            return -EIO;
    }
    n = size < BOUNCE_BYTES - head ? size : BOUNCE_BYTES - head;
    whole = (head + n + block - 1) / block * block;
    memcpy(f->bounce, f->tail, head);
    memcpy(f->bounce + head, data, n);
    memset(f->bounce + head + n, 0, whole - head - n);
    do
        written = pwrite(f->direct_fd, f->bounce, whole, (off_t)(offset - head));
    while (written < 0 && errno == EINTR);
    if (written < 0)
        return errno == EINVAL ? 0 : last_error();
    if ((size_t)written < whole) /* the rest goes the other way, which tells what is wrong */
        n = (size_t)written >= block ? (size_t)written / block * block - head : 0;
    memcpy(f->tail, f->bounce + (head + n) / block * block, (head + n) % block);
    f->end = offset + n;
    return (int64_t)n;
}

static int posix_file_append(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size)
{
    struct directory *d = context;
    const uint8_t *p = data;

    while (size > 0 && f->direct_fd >= 0 && d->direct_block > 0) {
        int64_t n = append_direct(d, f, offset, p, size);
        if (n < 0)
            return (int)n;
        if (n == 0) {
            d->direct_block = d->direct_block < VFS_BLOCK_BYTES ? VFS_BLOCK_BYTES : 0;
            f->end = UINT64_MAX;
            continue;
        }
        offset += (uint64_t)n;
        p += n;
        size -= (size_t)n;
    }
    return posix_file_write(context, f, offset, p, size);
}

static int posix_file_sync(void *context, struct vfs_file *f)
{
    (void)context;
    return fdatasync(f->fd) < 0 ? -errno : 0;
}

static int posix_file_allocate(void *context, struct vfs_file *f, uint64_t offset, uint64_t size)
{
    static uint8_t zeros[ZEROS_BYTES];

    while (size > 0) {
        size_t n = size < sizeof zeros ? (size_t)size : sizeof zeros;
        int r = posix_file_write(context, f, offset, zeros, n);
        if (r < 0)
            return r;
        offset += n;
        size -= n;
    }
    return 0;
}

static int64_t posix_file_size(void *context, struct vfs_file *f)
{
    struct stat st;
    (void)context;

    return fstat(f->fd, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int posix_rename(void *context, const char *from, const char *to)
{
    struct directory *d = context;
    return renameat(d->fd, from, d->fd, to) < 0 ? last_error() : 0;
}

static int posix_remove(void *context, const char *name)
{
    struct directory *d = context;
    return unlinkat(d->fd, name, 0) < 0 ? last_error() : 0;
}

static int posix_dir_sync(void *context)
{
    struct directory *d = context;
    return fsync(d->fd) < 0 ? -errno : 0;
}

static int posix_list(void *context, int (*each)(void *user, const char *name), void *user)
{
    struct directory *d = context;
    struct dirent *e;
    DIR *dir;
    int r = 0;
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    dir = fdopendir(fd);
    if (dir == NULL) {
        r = -errno;
        close(fd);
        return r;
    }
    while (r == 0) {
        errno = 0;
        e = readdir(dir); // NOLINT(concurrency-mt-unsafe): nobody else has this stream
        if (e == NULL) {
            r = -errno;
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = each(user, e->d_name);
    }
    closedir(dir);
    return r;
}

static int64_t posix_free_bytes(void *context)
{
    struct directory *d = context;
    struct statvfs st;

    if (fstatvfs(d->fd, &st) < 0)
        return -errno;
    if (st.f_blocks == 0) /* a tmpfs without a limit, or a file system that does not count */
        return -ENOSYS;
    return (int64_t)((uint64_t)st.f_bavail * st.f_frsize);
}

/* The directory's own name must outlive a power cut too. */
static int parent_sync(struct directory *d)
{
    int r;
    int fd = openat(d->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

static int open_locked(struct directory *d, const char *dir)
{
    bool made = mkdir(dir, 0700) == 0;
    int r;

    if (!made && errno != EEXIST)
        return -errno;
    d->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0)
        return -errno;
    /* Who did not make it may be kept from reading the directory above, or finds it on a file system that syncs none
     * (an image's, where this one is mounted): whoever made it made it durable. */
    r = parent_sync(d);
    if (r < 0 && (made || (r != -EACCES && r != -EINVAL)))
        return r;
    d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0)
        return -errno;
    return flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

int vfs_posix_open(const char *dir, struct vfs **ret)
{
    struct directory *d = malloc(sizeof *d);
    int r;

    if (d == NULL)
        return -ENOMEM;
    *d = (struct directory){
        .vfs = {.context = d,
                .file_open = posix_file_open,
                .file_close = posix_file_close,
                .file_read = posix_file_read,
                .file_forget = posix_file_forget,
                .file_write = posix_file_write,
                .file_append = posix_file_append,
                .file_sync = posix_file_sync,
                .file_allocate = posix_file_allocate,
                .file_size = posix_file_size,
                .rename = posix_rename,
                .remove = posix_remove,
                .dir_sync = posix_dir_sync,
                .list = posix_list,
                .free_bytes = posix_free_bytes},
        .fd = -1,
        .lock_fd = -1,
        .direct_block = BLOCK_BYTES_LEAST,
    };
    r = open_locked(d, dir);
    if (r < 0) {
        vfs_posix_close(&d->vfs);
        return r;
    }
    *ret = &d->vfs;
    return 0;
}

void vfs_posix_close(struct vfs *v)
{
    struct directory *d;

    if (v == NULL)
        return;
    d = v->context;
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}
