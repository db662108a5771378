/* The parts of the disk in memory: files with what is cached and what is on the disk, and names in the same way. */
#ifndef TESTS_UNIT_VFS_MEMORY_PRIVATE_H
#define TESTS_UNIT_VFS_MEMORY_PRIVATE_H

#include "tests/unit/vfs_memory.h"

enum { VFS_MEMORY_NAMES_MAX = 4096, VFS_MEMORY_NAME_BYTES = 64, VFS_MEMORY_KINDS = 8 };

struct inode {
    struct inode *next; /* of all: handles and unsynced names may point to one without a name */
    unsigned n_handles;
    unsigned *n_sharers; /* copies that the next three serve as well, until one of them changes; NULL: there are none */
    uint8_t *cache, *disk, *sectors;
    size_t cache_size, disk_size;
    size_t room;     /* of cache and disk, in whole sectors */
    size_t cut_size; /* the least that it was truncated to since it was synced; SIZE_MAX: it was not */
    uint64_t number;
    bool differs;       /* the disk may, from the cache */
    bool has_forgotten; /* and goes on to when it is synced */
};

struct name {
    char text[VFS_MEMORY_NAME_BYTES];
    struct inode *inode;
};

struct directory {
    struct name *names;
    size_t n, room;
};

enum change_type { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE };

struct change {
    enum change_type type;
    char from[VFS_MEMORY_NAME_BYTES], to[VFS_MEMORY_NAME_BYTES];
    struct inode *inode;
};

struct vfs_memory {
    struct vfs vfs;
    uint64_t random;
    uint64_t epoch;    /* power cuts so far */
    uint64_t n_inodes; /* ever made */
    struct inode *inodes;
    struct directory now, disk;
    struct change *changes; /* of names, unsynced */
    size_t n_changes, changes_room;
    enum vfs_memory_mercy mercy;
    uint64_t counts[VFS_MEMORY_KINDS];
    unsigned fail_kinds;
    uint64_t fail_in;
    int fail_error;
    bool fail_goes_on, has_failed, is_dead;
    uint64_t budget;
    bool budget_is_hidden;
    struct vfs_memory_tally tally;
};

/* Aborts on NULL: a test that runs out of memory proves nothing. */
void *vfs_memory_check(void *p);
uint64_t vfs_memory_draw(struct vfs_memory *m);

struct name *directory_find(const struct directory *d, const char *text);
void directory_set(struct directory *d, const char *text, struct inode *inode);
void directory_drop(struct directory *d, const char *text, const struct inode *inode);
void directory_copy(struct directory *d, const struct directory *from);
/* A change to what the cache shows, noted until the next dir_sync(); and the same on a directory after a power cut. */
void change_make(struct vfs_memory *m, enum change_type type, const char *from, const char *to, struct inode *inode);
void change_apply(struct directory *d, const struct change *c);

struct inode *inode_new(struct vfs_memory *m);
struct inode *inode_copy(struct vfs_memory *m, const struct inode *from);
/* To be called before its bytes are changed by others than these functions. */
void inode_own(struct inode *i);
/* `data` NULL: zeros. */
void inode_write(struct inode *i, uint64_t offset, const void *data, size_t size);
void inode_truncate(struct inode *i, size_t size);
void inode_sync(struct inode *i);
/* After a failed sync: nothing reached the disk, and nothing will by another sync. */
void inode_forget(struct inode *i);
/* The cache holds again what the disk does, but for what is written and not synced yet. */
void inode_reload(struct inode *i);
void inode_power_cut(struct vfs_memory *m, struct inode *i);
/* Frees those without name and handle; with no change of a name unsynced. */
void inode_sweep(struct vfs_memory *m);
void inode_free(struct inode *i);

#endif
