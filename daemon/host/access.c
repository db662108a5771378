#include "host/access.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/varlink.h"

enum { USER_RECORD_MAX = 4096 };

#define AUTHOR_FORMAT "%s (as %s)"

_Static_assert(AUTHOR_BYTES_MAX == 2 * (size_t)NAME_BYTES_MAX + sizeof(AUTHOR_FORMAT) - 5, "both names fit");

/* The groups beside the own one; their number is known only to the kernel. */
static int is_in_group(int fd, gid_t group, bool *ret)
{
    gid_t *groups = NULL;
    socklen_t size = 0;
    // cppcheck-suppress nullPointer ; it asks for the size alone
    int r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 ? -errno : 0;
    if (r == -ERANGE) {
        groups = malloc(size);
        if (groups == NULL)
            return -ENOMEM;
        r = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0 ? -errno : 0;
    }
    for (size_t i = 0; r == 0 && groups != NULL && i < size / sizeof(*groups); i++)
        *ret = *ret || groups[i] == group;
    free(groups);
    return r;
}

int access_of_peer(int fd, gid_t group, uid_t *ret_uid, enum access_level *ret_level)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    bool is_member = peer.gid == group;
    int r = is_member ? 0 : is_in_group(fd, group, &is_member);
    if (r < 0)
        return r;
    *ret_uid = peer.uid;
    *ret_level = is_member ? ACCESS_EVERYDAY : ACCESS_NONE;
    if (peer.uid == 0 || peer.uid == geteuid())
        *ret_level = ACCESS_ADMINISTRATION;
    return 0;
}

bool name_is_valid(const char *s)
{
    size_t size = strlen(s);
    if (size == 0 || size > NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return true;
}

static bool may_pass(int error)
{
    return error == EINTR || error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN;
}

int user_name(uid_t uid, char ret[NAME_BYTES_MAX + 1])
{
    struct passwd record, *found = NULL;
    char buffer[USER_RECORD_MAX];
    int error = getpwuid_r(uid, &record, buffer, sizeof(buffer), &found);
    if (may_pass(error))
        return -error;
    const char *name = error == 0 && found != NULL ? record.pw_name : "";
    if (name_is_valid(name) && strstr(name, " (as ") == NULL && strspn(name, "0123456789") < strlen(name) &&
        varlink_utf8_valid(name, strlen(name)))
        memcpy(ret, name, strlen(name) + 1);
    else
        snprintf(ret, NAME_BYTES_MAX + 1, "%u", (unsigned)uid);
    return 0;
}

size_t author_name(const char *user, enum access_level level, const char *asked, char ret[AUTHOR_BYTES_MAX + 1])
{
    const char *only = asked == NULL || strcmp(asked, user) == 0 ? user : level == ACCESS_ADMINISTRATION ? asked : NULL;
    if (only != NULL) { /* of each message: without printf */
        size_t size = strlen(only);
        memcpy(ret, only, size + 1);
        return size;
    }
    return (size_t)snprintf(ret, AUTHOR_BYTES_MAX + 1, AUTHOR_FORMAT, user, asked);
}
