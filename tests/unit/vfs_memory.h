/* A disk in memory for tests and the simulator, which does its worst by a seed.
 *
 * What was written stays in a cache until file_sync(), names until dir_sync(). What a failed sync forgot can be read
 * until file_forget(). A power cut keeps, of each file, every synced byte; each unsynced sector (512 bytes) on its own
 * is kept, lost (as it was synced last), or, where all of it was written since, zeroed. Each unsynced change of a name
 * is kept or lost on its own too. One thread only. Handles survive a power cut as dead ones: every call on them fails;
 * close them as usual. */
#ifndef TESTS_UNIT_VFS_MEMORY_H
#define TESTS_UNIT_VFS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/vfs.h"

enum { VFS_MEMORY_SECTOR_BYTES = 512 };

struct vfs_memory;

/* Aborts where memory runs out. */
struct vfs_memory *vfs_memory_new(uint64_t seed);
void vfs_memory_free(struct vfs_memory *m);
const struct vfs *vfs_memory_vfs(struct vfs_memory *m);
/* A second disk with the same files, synced and not, and the same luck; no faults, no handles. */
struct vfs_memory *vfs_memory_clone(const struct vfs_memory *m, uint64_t seed);

/* What befell it. */
struct vfs_memory_tally {
    uint64_t sectors_lost, sectors_zeroed, names_lost; /* by power cuts */
    uint64_t n_full, n_failed;                         /* calls         */
};
const struct vfs_memory_tally *vfs_memory_tally(const struct vfs_memory *m);
/* Beyond the seam, for what has another one. A truncated end is as unsynced as written bytes are: a power cut keeps the
 * one size or the other. The number stays with a file that is renamed; 0: no such file. */
int vfs_memory_file_truncate(struct vfs_memory *m, struct vfs_file *f, uint64_t size);
uint64_t vfs_memory_inode(const struct vfs_memory *m, const char *name);
/* Files that are open. */
size_t vfs_memory_handles(const struct vfs_memory *m);

/* --- power --- */

void vfs_memory_power_cut(struct vfs_memory *m);

enum vfs_memory_mercy {
    MERCY_BY_SEED,       /* each sector and name by the seed */
    MERCY_WHOLE_SECTORS, /* the same, but none is zeroed    */
    MERCY_LOSE_ALL,      /* nothing unsynced survives        */
    MERCY_KEEP_ALL,      /* everything does: as after a kill */
};
void vfs_memory_set_mercy(struct vfs_memory *m, enum vfs_memory_mercy mercy);

/* --- faults --- */

enum vfs_memory_op {
    VFS_MEMORY_OPEN = 1 << 0,
    VFS_MEMORY_READ = 1 << 1,
    VFS_MEMORY_WRITE = 1 << 2,
    VFS_MEMORY_SYNC = 1 << 3, /* of a file */
    VFS_MEMORY_ALLOCATE = 1 << 4,
    VFS_MEMORY_RENAME = 1 << 5,
    VFS_MEMORY_REMOVE = 1 << 6,
    VFS_MEMORY_DIR_SYNC = 1 << 7,
    VFS_MEMORY_CHANGES = VFS_MEMORY_OPEN | VFS_MEMORY_WRITE | VFS_MEMORY_SYNC | VFS_MEMORY_ALLOCATE |
                         VFS_MEMORY_RENAME | VFS_MEMORY_REMOVE | VFS_MEMORY_DIR_SYNC,
};

/* Operations of these kinds since the disk was made, or since vfs_memory_count_from_zero(). */
uint64_t vfs_memory_count(const struct vfs_memory *m, unsigned kinds);
void vfs_memory_count_from_zero(struct vfs_memory *m);

/* The n-th operation from now (1: the next) of these kinds fails with `error` (negative). `goes_on`: so does every one
 * after it, of any kind, until the power cut: the machine is dead. A failed write has written a part, by the seed; a
 * failed sync has synced nothing, and marks all as clean, as ext4 does: what it did not write is lost at a power cut,
 * whatever later syncs say. */
void vfs_memory_fail_at(struct vfs_memory *m, unsigned kinds, uint64_t n, int error, bool goes_on);
void vfs_memory_heal(struct vfs_memory *m);
/* Whether the one that was asked for has come, since it was asked for and up to vfs_memory_heal(). */
bool vfs_memory_has_failed(const struct vfs_memory *m);

/* Bytes of all files together from which on growing answers -ENOSPC; UINT64_MAX: none. */
void vfs_memory_set_budget(struct vfs_memory *m, uint64_t bytes);
/* free_bytes() answers "plenty" whatever the budget is, so that only writing finds out. */
void vfs_memory_hide_budget(struct vfs_memory *m, bool hidden);
uint64_t vfs_memory_used(const struct vfs_memory *m);

/* --- rot: changes what is on the disk and in the cache alike. False: no such file or place. --- */

bool vfs_memory_flip(struct vfs_memory *m, const char *name, uint64_t offset, uint8_t mask);
bool vfs_memory_poke(struct vfs_memory *m, const char *name, uint64_t offset, const void *bytes, size_t size);
bool vfs_memory_zero(struct vfs_memory *m, const char *name, uint64_t offset, uint64_t size);
bool vfs_memory_swap(struct vfs_memory *m, const char *name, uint64_t a, uint64_t b, uint64_t size);
bool vfs_memory_truncate(struct vfs_memory *m, const char *name, uint64_t size);
bool vfs_memory_delete(struct vfs_memory *m, const char *name);
/* Puts a copy of another disk's file under this name here, in place of what stood there. */
bool vfs_memory_copy(struct vfs_memory *m, const char *name, const struct vfs_memory *from, const char *from_name);

/* Borrowed until the next change; NULL: no such file. */
const uint8_t *vfs_memory_bytes(const struct vfs_memory *m, const char *name, size_t *ret_size);

#endif
