/* The journal's disk as it really is: the calls of vfs.h on a directory and its files. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/vfs.h"
#include "paxos/prng.h"

_Static_assert(sizeof(off_t) == 8, "a file of 2 GiB or more is read and written on every system");

struct directory {
    char dir[64];
    struct vfs *vfs;
};

/* What these calls fail with; 0: they do what they do. */
static int names_fail, fsync_fails;

int __real_openat(int fd, const char *path, int flags, mode_t mode);
int __wrap_openat(int fd, const char *path, int flags, mode_t mode);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_unlinkat(int fd, const char *path, int flags);
int __wrap_unlinkat(int fd, const char *path, int flags);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

static bool fails(int error)
{
    errno = error != 0 ? error : errno;
    return error != 0;
}

int __wrap_openat(int fd, const char *path, int flags, mode_t mode)
{
    return (flags & O_CREAT) != 0 && fails(names_fail) ? -1 : __real_openat(fd, path, flags, mode);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fails(names_fail) ? -1 : __real_renameat(from_fd, from, to_fd, to);
}

int __wrap_unlinkat(int fd, const char *path, int flags)
{
    return fails(names_fail) ? -1 : __real_unlinkat(fd, path, flags);
}

int __wrap_fsync(int fd)
{
    return fails(fsync_fails) ? -1 : __real_fsync(fd);
}

static int setup(void **state)
{
    struct directory *h = calloc(1, sizeof *h);
    const char *tmp = getenv("TMPDIR");

    snprintf(h->dir, sizeof h->dir, "%s/mpaxos-vfs-XXXXXX", tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(h->dir));
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), 0);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct directory *h = *state;

    h->vfs->remove(h->vfs->context, "lock");
    vfs_posix_close(h->vfs);
    rmdir(h->dir);
    free(h);
    return 0;
}

static void test_a_second_opener_is_locked_out(void **state)
{
    struct directory *h = *state;
    struct vfs *second = NULL;

    assert_int_equal(vfs_posix_open(h->dir, &second), -EWOULDBLOCK);
    assert_null(second);
    vfs_posix_close(h->vfs);
    assert_int_equal(vfs_posix_open(h->dir, &second), 0);
    vfs_posix_close(second);
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), 0);
}

static void test_the_directory_is_made_private(void **state)
{
    struct directory *h = *state;
    struct vfs *made;
    char path[128];
    struct stat st;

    snprintf(path, sizeof path, "%s/state", h->dir);
    assert_int_equal(vfs_posix_open(path, &made), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(made->remove(made->context, "lock"), 0);
    vfs_posix_close(made);
    rmdir(path);
    snprintf(path, sizeof path, "%s/no/state", h->dir);
    assert_int_equal(vfs_posix_open(path, &made), -ENOENT);
}

/* Of the directory above: on a file system that syncs no directories only who made a name there has to care. */
static void test_a_parent_that_cannot_be_synced(void **state)
{
    struct directory *h = *state;
    struct vfs *v;
    char path[128];

    vfs_posix_close(h->vfs);
    fsync_fails = EINVAL;
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), 0);
    snprintf(path, sizeof path, "%s/state", h->dir);
    assert_int_equal(vfs_posix_open(path, &v), -EINVAL);
    rmdir(path);
    vfs_posix_close(h->vfs);
    fsync_fails = EIO;
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), -EIO);
    fsync_fails = 0;
    assert_int_equal(vfs_posix_open(h->dir, &h->vfs), 0);
}

static void test_a_quota_is_a_full_disk(void **state)
{
    struct directory *h = *state;
    const struct vfs *v = h->vfs;
    struct vfs_file *f;

    names_fail = EDQUOT;
    assert_int_equal(v->file_open(v->context, "a", VFS_CREATE, &f), -ENOSPC);
    assert_int_equal(v->rename(v->context, "a", "b"), -ENOSPC);
    assert_int_equal(v->remove(v->context, "a"), -ENOSPC);
    names_fail = 0;
}

/* Whether a read there would find it in memory. */
static bool is_cached(const struct directory *h, const char *name, off_t offset)
{
    char path[128], byte;
    struct iovec v = {.iov_base = &byte, .iov_len = 1};
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s", h->dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = preadv2(fd, &v, 1, offset, RWF_NOWAIT);
    close(fd);
    return n == 1;
}

static void test_what_is_forgotten_is_read_from_the_disk(void **state)
{
    enum { FILE_BYTES = 1 << 20 };
    struct directory *h = *state;
    const struct vfs *v = h->vfs;
    struct vfs_file *f;
    struct statfs st;
    uint8_t byte;

    assert_int_equal(v->file_open(v->context, "a", VFS_CREATE, &f), 0);
    assert_int_equal(v->file_allocate(v->context, f, 0, FILE_BYTES), 0);
    assert_int_equal(v->file_sync(v->context, f), 0);
    assert_int_equal(statfs(h->dir, &st), 0);
    const bool tells = st.f_type != TMPFS_MAGIC && st.f_type != OVERLAYFS_SUPER_MAGIC;
    assert_true(!tells || is_cached(h, "a", 0));
    v->file_forget(v->context, f);
    assert_false(tells && (is_cached(h, "a", 0) || is_cached(h, "a", FILE_BYTES - 1)));
    assert_int_equal(v->file_read(v->context, f, FILE_BYTES - 1, &byte, 1), 1);
    v->file_close(v->context, f);
    assert_int_equal(v->remove(v->context, "a"), 0);
}

static int count_name(void *user, const char *name)
{
    (void)name;
    return ++*(int *)user == 2 ? 77 : 0;
}

static void test_calls_on_a_real_file(void **state)
{
    struct directory *h = *state;
    const struct vfs *v = h->vfs;
    struct vfs_file *f, *g;
    uint8_t bytes[16];
    int n = 0;

    assert_int_equal(v->file_open(v->context, "a", 0, &f), -ENOENT);
    assert_int_equal(v->file_open(v->context, "a", VFS_CREATE, &f), 0);
    assert_int_equal(v->file_open(v->context, "a", VFS_CREATE, &g), -EEXIST);
    assert_int_equal(v->file_allocate(v->context, f, 0, 1000000), 0);
    assert_int_equal(v->file_size(v->context, f), 1000000);
    assert_int_equal(v->file_write(v->context, f, 999995, "hello world", 11), 0);
    assert_int_equal(v->file_sync(v->context, f), 0);
    assert_int_equal(v->file_read(v->context, f, 999990, bytes, 16), 16);
    assert_memory_equal(bytes, "\0\0\0\0\0hello world", 16);
    assert_int_equal(v->file_read(v->context, f, 1000000, bytes, 16), 6);
    assert_int_equal(v->file_read(v->context, f, 2000000, bytes, 16), 0);
    v->file_close(v->context, f);
    assert_int_equal(v->rename(v->context, "a", "b"), 0);
    assert_int_equal(v->dir_sync(v->context), 0);
    assert_int_equal(v->list(v->context, count_name, &n), 77);
    assert_true(v->free_bytes(v->context) > 0);
    assert_int_equal(v->remove(v->context, "b"), 0);
    assert_int_equal(v->remove(v->context, "b"), -ENOENT);
}

/* Appends of every odd size, some behind a write of another kind, some by a second handle: what stands before stays. */
static void append_everywhere(const struct vfs *v)
{
    enum { FILE_BYTES = 4 << 20, PIECE_BYTES_MAX = 300000, APPENDS = 200 };
    uint8_t *wanted = calloc(1, FILE_BYTES), *found = calloc(1, FILE_BYTES);
    struct vfs_file *f;
    struct prng random;
    size_t at = 0;

    assert_true(wanted != NULL && found != NULL);
    prng_seed(&random, 5);
    assert_int_equal(v->file_open(v->context, "a", VFS_CREATE | VFS_APPEND, &f), 0);
    assert_int_equal(v->file_allocate(v->context, f, 0, FILE_BYTES), 0);
    for (int i = 0; i < APPENDS; i++) {
        size_t most = prng_below(&random, 10) == 0 ? PIECE_BYTES_MAX : 3000;
        size_t size = 1 + (size_t)prng_below(&random, most);
        if (at + size > FILE_BYTES)
            break;
        for (size_t k = 0; k < size; k++)
            wanted[at + k] = (uint8_t)prng_next(&random) | 1;
        if (prng_below(&random, 8) == 0) {
            assert_int_equal(v->file_write(v->context, f, at, wanted + at, size), 0);
        } else {
            assert_int_equal(v->file_append(v->context, f, at, wanted + at, size), 0);
        }
        at += size;
        if (prng_below(&random, 20) == 0) {
            v->file_close(v->context, f);
            assert_int_equal(v->file_open(v->context, "a", VFS_APPEND, &f), 0);
        }
        assert_int_equal(v->file_read(v->context, f, 0, found, FILE_BYTES), FILE_BYTES);
        assert_memory_equal(found, wanted, FILE_BYTES);
    }
    assert_int_equal(v->file_sync(v->context, f), 0);
    assert_int_equal(v->file_size(v->context, f), FILE_BYTES);
    v->file_close(v->context, f);
    assert_int_equal(v->remove(v->context, "a"), 0);
    free(wanted);
    free(found);
}

static void test_what_is_appended_stands_behind_what_was(void **state)
{
    struct directory *h = *state;
    append_everywhere(h->vfs);
}

/* Without O_DIRECT, on file systems that do not have it. */
static void test_appending_in_memory(void **state)
{
    char path[] = "/dev/shm/mpaxos-test-XXXXXX";
    struct vfs *v;

    (void)state;
    if (mkdtemp(path) == NULL)
        skip();
    assert_int_equal(vfs_posix_open(path, &v), 0);
    append_everywhere(v);
    assert_int_equal(v->remove(v->context, "lock"), 0);
    vfs_posix_close(v);
    rmdir(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_second_opener_is_locked_out), TEST(test_the_directory_is_made_private),
        TEST(test_calls_on_a_real_file),          TEST(test_what_is_appended_stands_behind_what_was),
        TEST(test_appending_in_memory),           TEST(test_a_parent_that_cannot_be_synced),
        TEST(test_a_quota_is_a_full_disk),        TEST(test_what_is_forgotten_is_read_from_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
