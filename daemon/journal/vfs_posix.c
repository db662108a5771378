#include "journal/vfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { ZEROS_BYTES = 256 << 10 };

struct directory {
    struct vfs vfs;
    int fd;
    int lock_fd;
};

struct vfs_file {
    int fd;
};

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
    f->fd = openat(d->fd, name, open_flags, 0600);
    if (f->fd < 0) {
        int r = -errno;
        free(f);
        return r;
    }
    *ret = f;
    return 0;
}

static void posix_file_close(void *context, struct vfs_file *f)
{
    (void)context;
    close(f->fd);
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

static int posix_file_write(void *context, struct vfs_file *f, uint64_t offset, const void *data, size_t size)
{
    size_t done = 0;
    (void)context;

    while (done < size) {
        ssize_t n = pwrite(f->fd, (const uint8_t *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EDQUOT ? -ENOSPC : -errno;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
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
    return renameat(d->fd, from, d->fd, to) < 0 ? -errno : 0;
}

static int posix_remove(void *context, const char *name)
{
    struct directory *d = context;
    return unlinkat(d->fd, name, 0) < 0 ? -errno : 0;
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
    /* Who did not make it may be kept from reading the directory above, and then made it durable himself. */
    r = parent_sync(d);
    if (r < 0 && (made || r != -EACCES))
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
                .file_write = posix_file_write,
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
