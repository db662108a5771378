/* What must stand in the chat log's files, and behind which calls it is looked at: each message up to the mark once, in
 * the order of the slots, byte for byte, and nothing else, over all files that one log was rotated to. All files are
 * held against the one log that all replicas apply, so any two begin alike. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/chatlog.h"
#include "host/chatlog_file.h"
#include "host/chatlog_mark.h"
#include "host/driver_internal.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

enum { FILES_MAX = 256 };

struct check {
    struct host *host;
    const char *when;
    struct chatlog_mark mark;
    slot_t last; /* every message up to it was found, or may be missing */
};

/* --- lines --- */

static bool may_miss(const struct host *h, slot_t slot)
{
    return slot < h->disk.chat.n_skipped && h->disk.chat.skipped[slot];
}

static void pass_over(struct check *k, slot_t next)
{
    const struct host *h = k->host;
    for (slot_t slot = k->last + 1; slot < next; slot++) {
        if (chat_line(h->cluster, slot) && !may_miss(h, slot))
            cluster_fail(h->cluster, "host %u: after %s its chat log leaves out slot %lu", h->index, k->when, slot);
    }
}

static void check_lines(struct check *k, const uint8_t *bytes, size_t size)
{
    struct cluster *c = k->host->cluster;
    for (size_t at = 0; at < size;) {
        slot_t slot = 0;
        for (size_t i = at; i < size && bytes[i] >= '0' && bytes[i] <= '9'; i++)
            slot = 10 * slot + (slot_t)(bytes[i] - '0');
        const struct chat_line *line = slot <= observer_applied_until(c) ? chat_line(c, slot) : NULL;
        if (slot <= k->last || !line)
            cluster_fail(c, "host %u: after %s its chat log has a line of slot %lu behind slot %lu%s", k->host->index,
                         k->when, slot, k->last, line ? "" : ", where there is no message");
        pass_over(k, slot);
        if (size - at < line->size || memcmp(bytes + at, line->bytes, line->size) != 0)
            cluster_fail(c, "host %u: after %s its chat log's line of slot %lu is not the message", k->host->index,
                         k->when, slot);
        at += line->size;
        k->last = slot;
    }
}

/* Behind the mark: what a flush that was cut off left, or a part of it. */
static void check_cut_off(const struct check *k, const uint8_t *bytes, size_t size)
{
    struct cluster *c = k->host->cluster;
    size_t at = 0;
    for (slot_t slot = k->mark.slot + 1; at < size && slot <= observer_applied_until(c); slot++) {
        if (may_miss(k->host, slot))
            return;
        const struct chat_line *line = chat_line(c, slot);
        for (size_t i = 0; line && i < line->size && at < size; i++, at++) {
            if (bytes[at] != (uint8_t)line->bytes[i] && bytes[at] != 0)
                cluster_fail(c, "host %u: after %s something stands behind its chat log's mark that is not slot %lu",
                             k->host->index, k->when, slot);
        }
    }
}

/* --- files --- */

struct names {
    char items[FILES_MAX][64];
    size_t n;
};

static int take_name(void *user, const char *name)
{
    struct names *n = user;
    if (n->n < FILES_MAX)
        strcpy(n->items[n->n++], name);
    return 0;
}

/* The oldest first; what has no number yet is the last one. */
static int compare_names(const void *a, const void *b)
{
    size_t left = strlen(a), right = strlen(b);
    return left != right ? (left < right) - (left > right) : strcmp(a, b);
}

static void check_files(struct check *k)
{
    struct vfs_memory *logs = k->host->disk.chat.logs;
    const struct vfs *vfs = vfs_memory_vfs(logs);
    struct names names = {.n = 0};
    bool marked = false;
    vfs->list(vfs->context, take_name, &names);
    qsort(names.items, names.n, sizeof(names.items[0]), compare_names);
    for (size_t i = 0; i < names.n; i++) {
        size_t size;
        const uint8_t *bytes = vfs_memory_bytes(logs, names.items[i], &size);
        bool is_marked = k->mark.exists && vfs_memory_inode(logs, names.items[i]) == k->mark.inode;
        if ((is_marked && size < k->mark.length) || (!is_marked && size > 0 && (marked || !k->mark.exists)))
            cluster_fail(k->host->cluster, "host %u: after %s its chat log %s holds %zu bytes, the mark says %lu",
                         k->host->index, k->when, names.items[i], size, is_marked ? k->mark.length : 0);
        check_lines(k, bytes, is_marked ? (size_t)k->mark.length : size);
        if (is_marked)
            check_cut_off(k, bytes + k->mark.length, size - (size_t)k->mark.length);
        marked = marked || is_marked;
    }
    if (k->mark.exists && !marked)
        cluster_fail(k->host->cluster, "host %u: after %s its chat log's mark is of a file that is gone",
                     k->host->index, k->when);
}

/* Behind what was found right before, in the same file. */
static void check_new(struct check *k)
{
    const struct chat *t = &k->host->disk.chat;
    char path[PATH_MAX];
    size_t size = 0;
    if (!chatlog_directory_find("logs", CHAT_LOG_NAME, k->mark.inode, path))
        cluster_fail(k->host->cluster, "host %u: after %s its chat log's mark is of a file that is gone",
                     k->host->index, k->when);
    const uint8_t *bytes = vfs_memory_bytes(t->logs, strrchr(path, '/') + 1, &size);
    if (size < k->mark.length)
        cluster_fail(k->host->cluster, "host %u: after %s its chat log holds %zu bytes, the mark says %lu",
                     k->host->index, k->when, size, k->mark.length);
    k->last = t->checked_slot;
    check_lines(k, bytes + t->checked_length, (size_t)(k->mark.length - t->checked_length));
    check_cut_off(k, bytes + k->mark.length, size - (size_t)k->mark.length);
}

static void check(struct host *h, const char *when, bool all)
{
    struct check k = {.host = h, .when = when};
    if (h->cluster->options.liar) /* there is no log that all agree on */
        return;
    struct chat *t = &h->disk.chat;
    char error[CONFIG_ERROR_MAX + 1];
    if (chatlog_mark_read(CHAT_STATE_DIR, &k.mark, error) < 0)
        cluster_fail(h->cluster, "host %u: after %s: %s", h->index, when, error);
    k.mark.exists = k.mark.inode > 0; /* else all that it says is what was skipped before the first flush */
    if (k.mark.slot < h->disk.flushed)
        cluster_fail(h->cluster, "host %u: after %s slot %lu is flushed, and slot %lu was told to be", h->index, when,
                     k.mark.slot, h->disk.flushed);
    if (all || !k.mark.exists || k.mark.inode != t->checked_inode || k.mark.length < t->checked_length ||
        k.mark.slot < t->checked_slot)
        check_files(&k);
    else
        check_new(&k);
    pass_over(&k, k.mark.slot + 1);
    t->checked_inode = k.mark.inode;
    t->checked_length = k.mark.length;
    t->checked_slot = k.mark.slot;
}

void chat_check(struct host *h, const char *when)
{
    struct host *before = world_host();
    world_enter(h);
    check(h, when, true);
    world_enter(before);
}

/* What would be there if power went now. */
static void check_durable(struct host *h)
{
    const struct chat now = h->disk.chat;
    struct chat *k = &h->disk.chat;
    enum vfs_memory_mercy mercy = prng_below(&k->random, 2) == 0 ? MERCY_LOSE_ALL : MERCY_BY_SEED;
    k->state = vfs_memory_clone(now.state, prng_next(&k->random));
    k->logs = vfs_memory_clone(now.logs, prng_next(&k->random));
    vfs_memory_set_mercy(k->state, mercy);
    vfs_memory_set_mercy(k->logs, mercy);
    vfs_memory_power_cut(k->state);
    vfs_memory_power_cut(k->logs);
    check(h, "a flush and a power cut", false);
    vfs_memory_free(k->state);
    vfs_memory_free(k->logs);
    k->state = now.state;
    k->logs = now.logs;
}

void chat_check_complete(struct cluster *c, const slot_t *until)
{
    for (uint32_t i = 0; i < c->options.n_hosts && !c->options.liar; i++) {
        struct host *h = &c->hosts[i];
        if (!host_is_usable(h) || h->wiped || h->refused || h->disk.n_rot > 0 || h->driver->stopping)
            continue;
        chat_check(h, "the last flush");
        if (h->disk.flushed < until[i])
            cluster_fail(c, "host %u: of a cluster at rest slot %lu is not flushed, but %lu", h->index, until[i],
                         h->disk.flushed);
    }
}

/* --- the calls --- */

int __real_chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret,
                        char *ret_error);
int __real_chatlog_skip(struct chatlog *c, slot_t slot, char *ret_error);
int __real_chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                         char *ret_error);
int __wrap_chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret,
                        char *ret_error);
int __wrap_chatlog_skip(struct chatlog *c, slot_t slot, char *ret_error);
int __wrap_chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                         char *ret_error);

int __wrap_chatlog_open(const char *state_dir, const char *log_path, enum log_format format, struct chatlog **ret,
                        char *ret_error)
{
    struct host *h = world_host();
    int error = __real_chatlog_open(state_dir, log_path, format, ret, ret_error);
    if (error < 0)
        cluster_fail(h->cluster, "host %u: its chat log is refused: %s", h->index, ret_error);
    check(h, "a start", true);
    h->disk.flushed = chatlog_flushed(*ret);
    return 0;
}

static bool take_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    (void)user, (void)record, (void)bytes, (void)size;
    return true;
}

/* What rotted, whatever a reader still holds in memory. */
static bool is_lost(const struct host *h, slot_t slot)
{
    if (h->disk.n_rot == 0)
        return false;
    struct journal_reader *r = journal_reader_new(h->journal);
    bool lost = journal_reader_read(r, slot, slot, 1, 1, take_record, NULL) < 0;
    journal_reader_free(r);
    return lost;
}

static void note_skipped(struct chat *k, slot_t first, slot_t last)
{
    if (last >= k->n_skipped) {
        size_t n = (size_t)last + 256;
        k->skipped = realloc(k->skipped, n);
        if (!k->skipped)
            abort();
        memset(k->skipped + k->n_skipped, 0, n - k->n_skipped);
        k->n_skipped = n;
    }
    memset(k->skipped + first, 1, (size_t)(last - first + 1));
}

int __wrap_chatlog_skip(struct chatlog *c, slot_t slot, char *ret_error)
{
    struct host *h = world_host();
    bool lost = true;
    for (slot_t s = h->disk.flushed + 1; s <= slot; s++)
        lost = lost && is_lost(h, s);
    if (slot <= h->disk.flushed || (slot > h->disk.fetched && slot > h->disk.lost_until && !lost))
        cluster_fail(h->cluster, "host %u: slots %lu to %lu are trimmed before they were flushed", h->index,
                     h->disk.flushed + 1, slot);
    note_skipped(&h->disk.chat, h->disk.flushed + 1, slot);
    int error = __real_chatlog_skip(c, slot, ret_error);
    if (error < 0 || h->disk.chat.ended)
        return error;
    cluster_trace(h->cluster, (int)h->index, "gap        slots %lu to %lu are not flushed", h->disk.flushed + 1, slot);
    h->disk.flushed = slot;
    h->cluster->happened[HAPPENED_GAP]++;
    check_durable(h);
    return 0;
}

int __wrap_chatlog_flush(struct chatlog *c, slot_t upto, chatlog_read read, void *user, uint64_t *ret_messages,
                         char *ret_error)
{
    struct host *h = world_host();
    const struct chat *k = &h->disk.chat;
    int error = __real_chatlog_flush(c, upto, read, user, ret_messages, ret_error);
    if (k->files[0].file)
        cluster_fail(h->cluster, "host %u: a file stays open after a flush (I7)", h->index);
    if (k->ended)
        return error;
    cluster_trace(h->cluster, (int)h->index, "flush      up to %lu: %lu messages, %s", upto, *ret_messages,
                  error < 0 ? ret_error : "ok");
    bool is_passed_over = error == -ERANGE && h->disk.flushed < h->disk.fetched; /* next: a peer's checkpoint has it */
    if (error == -ERANGE && !is_passed_over)
        cluster_fail(h->cluster, "host %u: slot %lu is trimmed before it was flushed", h->index,
                     chatlog_flushed(c) + 1);
    if (error < 0 && error != -EAGAIN && !is_passed_over && !k->failed && !k->full && h->disk.n_rot == 0 &&
        !h->disk.failing)
        cluster_fail(h->cluster, "host %u: a flush fails by itself: %s", h->index, ret_error);
    h->disk.flushed = chatlog_flushed(c);
    check(h, "a flush", false);
    check_durable(h);
    return error;
}
