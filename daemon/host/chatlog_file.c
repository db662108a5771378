#include "host/chatlog_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int chatlog_file_open(const char *path, int flags, mode_t mode)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode);
    if (fd < 0)
        return -errno;
    return fd;
}

void chatlog_file_close(int fd)
{
    close(fd);
}

int chatlog_file_look(int fd, struct chatlog_file_state *ret)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    *ret = (struct chatlog_file_state){
        .inode = st.st_ino, .size = (uint64_t)st.st_size, .is_regular = S_ISREG(st.st_mode)};
    return 0;
}

ssize_t chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t chatlog_file_write(int fd, uint64_t offset, const void *data, size_t size)
{
    ssize_t n;

    do
        n = pwrite(fd, data, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return -EIO;
    return n < 0 ? -errno : n;
}

int chatlog_file_sync(int fd)
{
    return fsync(fd) < 0 ? -errno : 0;
}

int chatlog_file_truncate(int fd, uint64_t size)
{
    return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

uint64_t chatlog_file_inode(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? 0 : st.st_ino;
}

int chatlog_file_rename(const char *from, const char *to)
{
    return rename(from, to) < 0 ? -errno : 0;
}

int chatlog_directory_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0)
        error = -errno;
    close(fd);
    return error;
}

/* 1: this entry is it, 0: it is not. */
static int look_at(DIR *d, const char *directory, const char *name, uint64_t inode, char ret[PATH_MAX])
{
    struct stat st;

    if (fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* gone meanwhile */
    if (!S_ISREG(st.st_mode) || st.st_ino != inode)
        return 0;
    return snprintf(ret, PATH_MAX, "%s/%s", directory, name) < PATH_MAX ? 1 : -ENAMETOOLONG;
}

int chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX])
{
    DIR *d = opendir(directory);
    const struct dirent *e;
    int found = 0;

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    do {
        errno = 0;
        e = readdir(d); // NOLINT(concurrency-mt-unsafe): nobody else has this stream
        if (!e)
            found = -errno;
        else if (strncmp(e->d_name, name_begin, strlen(name_begin)) == 0)
            found = look_at(d, directory, e->d_name, inode, ret);
    } while (e && found == 0);
    closedir(d);
    return found;
}
