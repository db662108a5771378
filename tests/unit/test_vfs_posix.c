/* The journal's disk as it really is: the calls of vfs.h on a directory and its files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal/vfs.h"
#include "paxos/prng.h"

struct directory {
    char dir[64];
    struct vfs *vfs;
};

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
        TEST(test_appending_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
