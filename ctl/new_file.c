#include "ctl/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int new_file_fail(const struct invocation *v, const char *path, const char *reason, const char *advice)
{
    struct failure f = {0};
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "path", path);
    cJSON_AddStringToObject(p, "reason", reason);
    failure_set(&f, EXIT_FAILED, "org.mpaxos.Control.NotWritten", p, "%s: %s. %s", path, reason, advice);
    report_failure(&v->report, &f);
    failure_done(&f);
    return EXIT_FAILED;
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            bytes += n;
            size -= (size_t)n;
        }
    }
    return fsync(fd) < 0 && errno != EINVAL ? -errno : 0; /* EINVAL: a pipe or the like */
}

int new_file_write(const struct invocation *v, const struct new_file *f, const char *bytes, size_t size)
{
    int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC | (f->over ? O_TRUNC : O_EXCL), f->mode);
    if (fd < 0 && errno == EEXIST)
        return new_file_fail(v, f->path, "the file is there already", f->if_there);
    if (fd < 0)
        return new_file_fail(v, f->path, strerror(errno), f->if_not_to_be_opened);
    int error = write_all(fd, bytes, size);
    close(fd);
    if (error == 0)
        return EXIT_DONE;
    if (f->over)
        return new_file_fail(v, f->path, strerror(-error), "The file is not whole");
    unlink(f->path);
    return new_file_fail(v, f->path, strerror(-error), "There is no such file now");
}
