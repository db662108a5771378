/* The seam between the chat log and the disk: the system's calls, which the simulator replaces at link time
 * (tests/sim/chatdisk.c) with torn and lost writes, a full disk and failed syncs.
 *
 * Contract, as POSIX promises it: written bytes and a truncated end survive a power cut only after chatlog_file_sync()
 * answered 0; a created or renamed name only after chatlog_directory_sync() did. Every call answers 0 or more, or a
 * negative errno; a signal cuts none of them off. */
#ifndef HOST_CHATLOG_FILE_H
#define HOST_CHATLOG_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct chatlog_file_state {
    uint64_t inode, size;
    bool is_regular;
};

/* A descriptor; `flags` as open() has them. Waits for no other end of a FIFO. */
int chatlog_file_open(const char *path, int flags, mode_t mode);
void chatlog_file_close(int fd);
int chatlog_file_look(int fd, struct chatlog_file_state *ret);
/* Whole, but for the end of the file: answers what there is. */
ssize_t chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size);
/* Answers how much it wrote, which may be less than all, and is more than nothing. */
ssize_t chatlog_file_write(int fd, uint64_t offset, const void *data, size_t size);
int chatlog_file_sync(int fd);
int chatlog_file_truncate(int fd, uint64_t size);

uint64_t chatlog_file_inode(const char *path); /* 0: there is none */
/* Replaces `to` where it exists, at once: after a power cut it is the one file or the other. */
int chatlog_file_rename(const char *from, const char *to);
/* Makes names in a directory durable. */
int chatlog_directory_sync(const char *path);
/* The path of the regular file in a directory that has this inode and a name that begins so: 1; 0: there is none. */
int chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX]);

#endif
