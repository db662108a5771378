/* Who is at the other end of a control connection, what they may do, and under which name they write.
 *
 * The kernel is asked once, when the connection is accepted, and tells what the client was when it connected: its user,
 * its group, its other groups. Never its process, whose number may be another's by then.
 *
 * An author that is not the caller's own name is kept as "USER (as AUTHOR)": in the log itself, so that it looks the
 * same everywhere. No user's name holds " (as ", and none consists of digits, which stand for a user without a name: so
 * nobody writes, nor takes another's keys, as somebody else. Root and the daemon's own user, who could change the
 * daemon itself, are taken at their word. Source: unix(7); mpaxos(7), "Security". */
#ifndef HOST_ACCESS_H
#define HOST_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "paxos/value.h"

enum access_level {
    ACCESS_NONE,
    ACCESS_EVERYDAY,       /* a member of the socket's group             */
    ACCESS_ADMINISTRATION, /* root, or the daemon's own effective user   */
};

enum { NAME_BYTES_MAX = KEY_BYTES_MAX };

/* Of whoever connected to this end; `group` is the socket's. 0, or a negative errno. */
int access_of_peer(int fd, gid_t group, uid_t *ret_uid, enum access_level *ret_level);

/* 1 to NAME_BYTES_MAX bytes without control characters. */
bool name_is_valid(const char *s);

/* The user's name, or the number where there is no name that can be shown; terminated. Asks the system's databases. 0,
 * or a negative errno where they may well have a name, but do not tell now. */
int user_name(uid_t uid, char ret[NAME_BYTES_MAX + 1]);

/* What stands in the log as author of who is called `user` and asked for `asked` (NULL: nothing); terminated. Answers
 * its size. */
size_t author_name(const char *user, enum access_level level, const char *asked, char ret[AUTHOR_BYTES_MAX + 1]);

#endif
