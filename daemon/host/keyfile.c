#include "host/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/secret.h"

enum { FILE_BYTES_MAX = 4096, PATH_SHOWN_MAX = 400 };

#define WANTED "write one or two lines of 64 hexadecimal digits, as mpaxosctl keygen does"

static int complain(char *ret_error, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int complain(char *ret_error, const char *path, const char *format, ...)
{
    int used = snprintf(ret_error, KEYFILE_ERROR_MAX + 1, "%.*s: ", PATH_SHOWN_MAX, path);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret_error + used, (size_t)(KEYFILE_ERROR_MAX + 1 - used), format, arguments);
    va_end(arguments);
    return -1;
}

/* --- the text --- */

static bool read_line(const char *line, size_t size, uint8_t ret[SEAL_KEY_SIZE])
{
    size_t n;

    return size == KEYFILE_LINE_SIZE - 1 && sodium_hex2bin(ret, SEAL_KEY_SIZE, line, size, NULL, &n, NULL) == 0 &&
           n == SEAL_KEY_SIZE;
}

uint32_t keyfile_parse(const char *bytes, size_t size, struct seal_keys *ret, const char **ret_error)
{
    uint32_t line = 0;

    *ret_error = WANTED;
    ret->n = 0;
    while (size > 0) {
        const char *end = memchr(bytes, '\n', size);
        size_t length = end ? (size_t)(end - bytes) : size, taken = end ? length + 1 : length;
        line++;
        if (ret->n == SEAL_KEYS_MAX) {
            *ret_error = "there are more than two keys; leave the oldest out";
            return line;
        }
        if (!read_line(bytes, length, ret->keys[ret->n]))
            return line;
        ret->n++;
        bytes += taken;
        size -= taken;
    }
    if (ret->n == 2 && sodium_memcmp(ret->keys[0], ret->keys[1], SEAL_KEY_SIZE) == 0) {
        *ret_error = "both keys are the same; leave one out";
        return line;
    }
    return ret->n == 0 ? 1 : 0;
}

void keyfile_line(const uint8_t key[SEAL_KEY_SIZE], char ret[KEYFILE_LINE_SIZE])
{
    sodium_bin2hex(ret, KEYFILE_LINE_SIZE, key, SEAL_KEY_SIZE);
}

bool keyfile_equal(const struct seal_keys *a, const struct seal_keys *b)
{
    return a->n == b->n && sodium_memcmp(a->keys, b->keys, a->n * sizeof a->keys[0]) == 0;
}

/* --- the file --- */

static int check_owner(const char *path, int fd, char *ret_error)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return complain(ret_error, path, "cannot be looked at: %s; name another file", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return complain(ret_error, path, "is no regular file; name the file of the cluster key");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return complain(ret_error, path,
                        "belongs to the user %u, who could change it; give it to the daemon's own user: chown %u",
                        st.st_uid, geteuid());
    if ((st.st_mode & 077) != 0)
        return complain(ret_error, path,
                        "may be read or written by others than its owner (mode %04o); make a new key if any of them "
                        "did, and then: chmod 0400",
                        st.st_mode & 07777);
    return 0;
}

static int read_keys(const char *path, int fd, char *bytes, struct seal_keys *ret, char *ret_error)
{
    const char *wrong;
    ssize_t size;
    uint32_t line;

    do
        size = read(fd, bytes, FILE_BYTES_MAX); /* a whole one is far smaller */
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return complain(ret_error, path, "cannot be read: %s; look at the kernel's log", strerror(errno));
    line = keyfile_parse(bytes, (size_t)size, ret, &wrong);
    return line == 0 ? 0 : complain(ret_error, path, "line %u is no cluster key; %s", line, wrong);
}

static int read_file(const char *path, int fd, struct seal_keys **ret, char *ret_error)
{
    struct seal_keys *keys = secret_new(sizeof *keys);
    char *bytes = keys ? secret_new(FILE_BYTES_MAX) : NULL;
    int result;

    if (!bytes)
        result = complain(ret_error, path, "out of memory for the cluster key");
    else
        result = read_keys(path, fd, bytes, keys, ret_error);
    sodium_free(bytes);
    if (result == 0)
        *ret = keys;
    else
        sodium_free(keys);
    return result;
}

/* --- without one --- */

static int check_loopback(const char *path, const struct config *c, char *ret_error)
{
    const struct config_replica *r = c->replicas;

    if (config_is_loopback(c))
        return 0;
    while (config_host_is_loopback(r->host))
        r++;
    snprintf(ret_error, KEYFILE_ERROR_MAX + 1,
             "there is no cluster key%s%.*s, and replica %u's address, %s, is not a loopback one: whoever can send to "
             "these ports could forge votes. Make one key, once, with mpaxosctl keygen, and put it on every host: "
             "install -m 0400 -o mpaxosd -g mpaxosd cluster.key /etc/mpaxosd/cluster.key; by hand, name it with "
             "--key-file",
             path ? " in " : "", PATH_SHOWN_MAX, path ? path : "", r->id, r->host);
    return -1;
}

int keyfile_load(const char *path, const struct config *c, struct seal_keys **ret, char *ret_error)
{
    int fd, result;

    *ret = NULL;
    if (!path)
        return check_loopback(path, c, ret_error);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return check_loopback(path, c, ret_error);
    if (fd < 0)
        return complain(ret_error, path, "cannot be read: %s; give it to the daemon's user: chown mpaxosd, chmod 0400",
                        strerror(errno));
    result = check_owner(path, fd, ret_error);
    if (result == 0)
        result = read_file(path, fd, ret, ret_error);
    close(fd);
    return result;
}
