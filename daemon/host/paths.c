#include "host/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool join(char ret[PATH_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool join(char ret[PATH_MAX], const char *format, ...)
{
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(ret, PATH_MAX, format, arguments);
    va_end(arguments);
    return n >= 0 && n < PATH_MAX;
}

/* The first of the directories that systemd names in this variable, or NULL: it separates several by colons. */
static const char *systemd_directory(const char *variable, char ret[PATH_MAX])
{
    const char *value = getenv(variable);

    if (!value || !*value || !join(ret, "%.*s", (int)strcspn(value, ":"), value))
        return NULL;
    return ret;
}

int paths_find(const char *dir, replica_id_t id, struct paths *ret, char *ret_error)
{
    char state[PATH_MAX], run[PATH_MAX], logs[PATH_MAX], here[PATH_MAX], *directory = getenv("MPAXOS_DIR");
    const char *of_state = NULL, *of_run = NULL, *of_logs = NULL;
    struct sockaddr_un address;
    bool fits;

    if (!dir && directory && *directory)
        dir = directory;
    if (!dir) {
        of_state = systemd_directory("STATE_DIRECTORY", state);
        of_run = systemd_directory("RUNTIME_DIRECTORY", run);
        of_logs = systemd_directory("LOGS_DIRECTORY", logs);
        dir = ".";
    } else if (!*dir) {
        snprintf(ret_error, PATHS_ERROR_MAX + 1, "--dir is empty; name a directory, \".\" for the current one");
        return -EINVAL;
    }
    if (!getcwd(here, sizeof here)) {
        int error = errno;
        snprintf(ret_error, PATHS_ERROR_MAX + 1, "the current directory cannot be found: %s; start from another one",
                 strerror(error));
        return -error;
    }
    fits = of_state ? join(ret->state, "%s", of_state) : join(ret->state, "%s/state/%u", dir, id);
    fits = fits && (of_run ? join(ret->socket, "%s/control", of_run) : join(ret->socket, "%s/run/%u/control", dir, id));
    if (of_logs)
        fits = fits && join(ret->log, "%s/replica_%u.log", of_logs, id);
    else if (dir[0] == '/')
        fits = fits && join(ret->log, "%s/log/replica_%u.log", dir, id);
    else
        fits = fits && join(ret->log, "%s/%s%slog/replica_%u.log", strcmp(here, "/") ? here : "",
                            strcmp(dir, ".") ? dir : "", strcmp(dir, ".") ? "/" : "", id);
    if (fits && strlen(ret->socket) < sizeof address.sun_path)
        return 0;
    snprintf(ret_error, PATHS_ERROR_MAX + 1,
             "the path of the control socket, %.250s, is longer than the %zu bytes that a Unix socket may have; choose "
             "a shorter "
             "--dir, or a relative one",
             fits ? ret->socket : dir, sizeof address.sun_path - 1);
    return -ENAMETOOLONG;
}

static int complain(const char *path, const char *what, int error, char *ret_error)
{
    const char *remedy = error == ENOSPC || error == EDQUOT ? "free some space there"
                         : error == EROFS || error == EIO
                             ? "look at the kernel's log, or choose another directory by --dir"
                         : error == ENOTDIR || error == EEXIST
                             ? "move away what is there and is no directory, or choose another directory by --dir"
                             : "give it to the daemon's user, or choose another directory by --dir";

    snprintf(ret_error, PATHS_ERROR_MAX + 1, "the directory %.300s cannot be %s: %s; %s", path, what, strerror(error),
             remedy);
    return -error;
}

/* Every directory that `path` (cut at its last slash) lies in. */
static int make_parents(const char *path, char *ret_error)
{
    char directory[PATH_MAX];
    struct stat st;

    if (!strchr(path, '/'))
        return 0;
    memcpy(directory, path, strlen(path) + 1);
    *strrchr(directory, '/') = '\0';
    for (char *p = directory + 1;; p++) {
        char c = *p;
        if (directory[0] == '\0')
            return 0;
        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        if (mkdir(directory, 0755) < 0 && errno != EEXIST)
            return complain(directory, "made", errno, ret_error);
        if (c == '\0')
            break;
        *p = c;
    }
    if (stat(directory, &st) < 0)
        return complain(directory, "used", errno, ret_error);
    if (!S_ISDIR(st.st_mode))
        return complain(directory, "used", ENOTDIR, ret_error);
    if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) < 0)
        return complain(directory, "written", errno, ret_error);
    return 0;
}

int paths_make(const struct paths *p, char *ret_error)
{
    struct stat st;
    int error = 0;

    /* Under systemd the state directory is there, and the one that it lies in is not the daemon's to write. */
    if (stat(p->state, &st) < 0)
        error = make_parents(p->state, ret_error);
    else if (!S_ISDIR(st.st_mode))
        error = complain(p->state, "used", ENOTDIR, ret_error);
    else if (faccessat(AT_FDCWD, p->state, W_OK | X_OK, AT_EACCESS) < 0)
        error = complain(p->state, "written", errno, ret_error);
    if (error == 0)
        error = make_parents(p->socket, ret_error);
    if (error == 0)
        error = make_parents(p->log, ret_error);
    return error;
}
