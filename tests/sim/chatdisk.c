/* The system's calls under the chat log (host/chatlog_file.h), in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/chatlog_file.h"
#include "tests/sim/world.h"

static uint64_t draw(struct chat *k, uint64_t min, uint64_t max)
{
    return min + prng_below(&k->random, max - min + 1);
}

static bool chance(struct chat *k, uint32_t percent)
{
    return prng_below(&k->random, 100) < percent;
}

static struct chat *running_chat(void)
{
    return &world_host()->disk.chat;
}

/* --- what may happen in a flush --- */

static void follow_space(struct chat *k, bool full)
{
    struct vfs_memory *both[] = {k->state, k->logs};
    if (k->full == full)
        return;
    k->full = full;
    for (size_t i = 0; i < 2; i++)
        vfs_memory_set_budget(both[i], full ? vfs_memory_used(both[i]) + draw(k, 0, 3000) : UINT64_MAX);
}

/* Before an operation that changes something. */
static int step(struct chat *k, enum vfs_memory_op kind)
{
    follow_space(k, world_host()->disk.full);
    if (k->ended)
        return -EIO;
    if (k->ends_in > 0 && --k->ends_in == 0) {
        k->ended = true;
        return -EIO;
    }
    if (!(k->fail_kinds & kind) || k->fails_in == 0 || --k->fails_in > 0)
        return 0;
    k->failed = true;
    return -EIO;
}

void chat_begin(struct host *h)
{
    static const unsigned kinds[] = {VFS_MEMORY_SYNC, VFS_MEMORY_SYNC, VFS_MEMORY_DIR_SYNC, VFS_MEMORY_CHANGES};
    struct chat *k = &h->disk.chat;
    const struct cluster *c = h->cluster;
    k->ends_in = k->fails_in = 0;
    k->ended = k->failed = false;
    if (c->chat_end_percent > 0 && chance(k, c->chat_end_percent))
        k->ends_in = (uint32_t)draw(k, 1, 14);
    if (c->chat_fail_percent > 0 && chance(k, c->chat_fail_percent)) {
        k->fail_kinds = kinds[draw(k, 0, 3)];
        k->fails_in = (uint32_t)draw(k, 1, 3);
    }
}

bool chat_end(struct host *h)
{
    struct chat *k = &h->disk.chat;
    struct cluster *c = h->cluster;
    bool ended = k->ended;
    c->happened[HAPPENED_CHAT_FAILED] += k->failed;
    k->ends_in = k->fails_in = 0;
    k->ended = k->failed = false;
    if (!ended)
        return false;
    c->happened[HAPPENED_CHAT_ENDED]++;
    cluster_trace(c, (int)h->index, "flush      the host ends in the middle of it");
    if (chance(k, 60))
        host_crash(h, chance(k, 30));
    else
        host_kill(h);
    host_start_later(h, draw(k, 1 * MSEC, 500 * MSEC));
    return true;
}

void chat_rotate(struct host *h)
{
    struct chat *k = &h->disk.chat;
    const struct vfs *vfs = vfs_memory_vfs(k->logs);
    char to[sizeof(CHAT_LOG_NAME) + 16];
    if (!chance(k, 4))
        return;
    snprintf(to, sizeof(to), "%s.%06u", CHAT_LOG_NAME, k->n_rotated);
    if (vfs->rename(vfs->context, CHAT_LOG_NAME, to) < 0)
        return;
    k->n_rotated++;
    k->rotated_loosely = chance(k, 50) || vfs->dir_sync(vfs->context) < 0;
    h->cluster->happened[HAPPENED_CHAT_ROTATED]++;
    cluster_trace(h->cluster, (int)h->index, "rotated    the chat log to %s", to);
}

/* --- the calls --- */

static struct vfs_memory *find_disk(struct chat *k, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash + 1;
    return strncmp(path, CHAT_STATE_DIR "/", sizeof(CHAT_STATE_DIR)) == 0 ? k->state : k->logs;
}

/* A new name is never on the disk before a rename that came earlier: file systems keep the order of names. */
static void keep_order(struct chat *k, struct vfs_memory *m)
{
    const struct vfs *vfs = vfs_memory_vfs(m);
    if (m == k->logs && k->rotated_loosely)
        vfs->dir_sync(vfs->context);
    k->rotated_loosely = k->rotated_loosely && m != k->logs;
}

int chatlog_file_open(const char *path, int flags, mode_t mode)
{
    struct chat *k = running_chat();
    const char *name;
    struct vfs_memory *m = find_disk(k, path, &name);
    const struct vfs *vfs = vfs_memory_vfs(m);
    bool is_new = vfs_memory_inode(m, name) == 0;
    int fd = 0;
    (void)mode;
    if (is_new && !(flags & O_CREAT))
        return -ENOENT;
    int error = is_new || (flags & O_TRUNC) ? step(k, VFS_MEMORY_OPEN) : 0;
    while (fd < CHAT_OPEN_MAX && k->files[fd].file)
        fd++;
    if (error < 0 || k->ended || fd == CHAT_OPEN_MAX)
        return error < 0 ? error : -EMFILE;
    if (is_new)
        keep_order(k, m);
    error = vfs->file_open(vfs->context, name, is_new ? VFS_CREATE : 0, &k->files[fd].file);
    if (error < 0)
        return error;
    k->files[fd].memory = m;
    k->files[fd].inode = vfs_memory_inode(m, name);
    if (flags & O_TRUNC)
        vfs_memory_file_truncate(m, k->files[fd].file, 0);
    return fd;
}

void chatlog_file_close(int fd)
{
    struct chat_file *f = &running_chat()->files[fd];
    const struct vfs *vfs = vfs_memory_vfs(f->memory);
    vfs->file_close(vfs->context, f->file);
    *f = (struct chat_file){.file = NULL};
}

int chatlog_file_look(int fd, struct chatlog_file_state *ret)
{
    const struct chat_file *f = &running_chat()->files[fd];
    const struct vfs *vfs = vfs_memory_vfs(f->memory);
    *ret = (struct chatlog_file_state){
        .inode = f->inode, .size = (uint64_t)vfs->file_size(vfs->context, f->file), .is_regular = true};
    return 0;
}

ssize_t chatlog_file_read(int fd, uint64_t offset, void *buffer, size_t size)
{
    const struct chat_file *f = &running_chat()->files[fd];
    const struct vfs *vfs = vfs_memory_vfs(f->memory);
    return running_chat()->ended ? -EIO : (ssize_t)vfs->file_read(vfs->context, f->file, offset, buffer, size);
}

/* Less than all now and then, as where a signal comes; a part at least of what fails. */
ssize_t chatlog_file_write(int fd, uint64_t offset, const void *data, size_t size)
{
    struct chat *k = running_chat();
    const struct chat_file *f = &k->files[fd];
    const struct vfs *vfs = vfs_memory_vfs(f->memory);
    bool had_ended = k->ended;
    int failed = step(k, VFS_MEMORY_WRITE);
    if (had_ended)
        return -EIO;
    size_t n = failed < 0 ? draw(k, 0, size) : chance(k, 20) ? draw(k, 1, size) : size;
    int error = vfs->file_write(vfs->context, f->file, offset, data, n);
    if (failed < 0)
        return failed;
    if (error == -ENOSPC) {
        uint64_t end = (uint64_t)vfs->file_size(vfs->context, f->file);
        return end > offset ? (ssize_t)(end - offset) : -ENOSPC;
    }
    return error < 0 ? error : (ssize_t)n;
}

int chatlog_file_sync(int fd)
{
    struct chat *k = running_chat();
    const struct chat_file *f = &k->files[fd];
    const struct vfs *vfs = vfs_memory_vfs(f->memory);
    int error = step(k, VFS_MEMORY_SYNC);
    if (k->ended)
        return error;
    if (error < 0)
        vfs_memory_fail_at(f->memory, VFS_MEMORY_SYNC, 1, error, false);
    return vfs->file_sync(vfs->context, f->file);
}

int chatlog_file_truncate(int fd, uint64_t size)
{
    struct chat *k = running_chat();
    const struct chat_file *f = &k->files[fd];
    int error = step(k, VFS_MEMORY_ALLOCATE);
    return error < 0 ? error : vfs_memory_file_truncate(f->memory, f->file, size);
}

uint64_t chatlog_file_inode(const char *path)
{
    const char *name;
    const struct vfs_memory *m = find_disk(running_chat(), path, &name);
    return vfs_memory_inode(m, name);
}

int chatlog_file_rename(const char *from, const char *to)
{
    struct chat *k = running_chat();
    const char *from_name, *to_name;
    const struct vfs *vfs = vfs_memory_vfs(find_disk(k, from, &from_name));
    find_disk(k, to, &to_name);
    int error = step(k, VFS_MEMORY_RENAME);
    return error < 0 ? error : vfs->rename(vfs->context, from_name, to_name);
}

int chatlog_directory_sync(const char *path)
{
    struct chat *k = running_chat();
    const struct vfs *vfs = vfs_memory_vfs(strcmp(path, CHAT_STATE_DIR) == 0 ? k->state : k->logs);
    int error = step(k, VFS_MEMORY_DIR_SYNC);
    return error < 0 ? error : vfs->dir_sync(vfs->context);
}

struct search {
    struct vfs_memory *logs;
    const char *directory, *name_begin;
    uint64_t inode;
    char *ret;
};

static int look_at(void *user, const char *name)
{
    const struct search *s = user;
    if (strncmp(name, s->name_begin, strlen(s->name_begin)) != 0 || vfs_memory_inode(s->logs, name) != s->inode)
        return 0;
    snprintf(s->ret, PATH_MAX, "%s/%s", s->directory, name);
    return 1;
}

int chatlog_directory_find(const char *directory, const char *name_begin, uint64_t inode, char ret[PATH_MAX])
{
    struct search s = {
        .logs = running_chat()->logs, .directory = directory, .name_begin = name_begin, .inode = inode, .ret = ret};
    const struct vfs *vfs = vfs_memory_vfs(s.logs);
    return vfs->list(vfs->context, look_at, &s) > 0;
}

/* --- life --- */

void chat_make(struct host *h)
{
    struct chat *k = &h->disk.chat;
    prng_seed(&k->random, h->cluster->options.seed * UINT64_C(0x9fb21c651e98df25) + 8 * h->boot + h->index);
    prng_next(&k->random);
    k->state = vfs_memory_new(prng_next(&k->random));
    k->logs = vfs_memory_new(prng_next(&k->random));
}

void chat_free(struct chat *k)
{
    vfs_memory_free(k->state);
    vfs_memory_free(k->logs);
    free(k->skipped);
}

void chat_power_cut(struct host *h, bool cut_all)
{
    static const enum vfs_memory_mercy mercies[] = {MERCY_BY_SEED, MERCY_BY_SEED, MERCY_LOSE_ALL, MERCY_KEEP_ALL};
    struct chat *k = &h->disk.chat;
    enum vfs_memory_mercy mercy = cut_all ? MERCY_LOSE_ALL : mercies[draw(k, 0, 3)];
    vfs_memory_set_mercy(k->state, mercy);
    vfs_memory_set_mercy(k->logs, mercy);
    vfs_memory_power_cut(k->state);
    vfs_memory_power_cut(k->logs);
    k->rotated_loosely = false;
    chat_check(h, "a power cut");
}

void chat_tally(const struct host *h)
{
    const struct chat *k = &h->disk.chat;
    const struct vfs_memory_tally *state = vfs_memory_tally(k->state), *logs = vfs_memory_tally(k->logs);
    uint64_t *n = h->cluster->happened;
    n[HAPPENED_CHAT_LOST] += logs->sectors_lost + logs->sectors_zeroed + state->sectors_lost + state->sectors_zeroed +
                             logs->names_lost + state->names_lost;
    n[HAPPENED_CHAT_FULL] += logs->n_full + state->n_full;
}
