/* Flushes of the chat log, on a thread of libuv's: what it is handed, and what becomes of it. */
#include <inttypes.h>
#include <stdlib.h>

#include "host/driver_internal.h"
#include "host/log.h"
#include "host/notice.h"

static slot_t hold(void *user, slot_t from, slot_t upto)
{
    struct driver *d = user;
    return logread_hold(d->logread, from, upto, &d->flushing.view);
}

static int read_held(void *user, slot_t from, size_t n_max, size_t bytes_max,
                     bool (*each)(void *user, const struct log_message *m), void *each_user, slot_t *ret_next)
{
    const struct flushing *f = user;
    return logview_read(&f->view, from, n_max, bytes_max, each, each_user, ret_next);
}

/* libuv's lock orders what the two threads see; so does this, for ThreadSanitizer, which must not look at libuv's. */
static void hand_over(struct flushing *f)
{
    __atomic_store_n(&f->turn, f->turn + 1, __ATOMIC_RELEASE);
}

static void take_over(struct flushing *f)
{
    __atomic_load_n(&f->turn, __ATOMIC_ACQUIRE);
}

static void run(uv_work_t *work)
{
    struct flushing *f = (struct flushing *)work;
    take_over(f);
    flushes_run(f->flushes);
    hand_over(f);
}

static bool take_nothing(void *user, const struct log_message *m)
{
    (void)user, (void)m;
    return false;
}

static void ran(uv_work_t *work, int status)
{
    struct flushing *f = (struct flushing *)work;
    take_over(f);
    struct driver *d = f->driver;
    slot_t next;
    (void)status; /* nobody cancels it */
    logread_release(&d->flushing.view);
    if (!flushes_finish(d->flushes)) /* what rotted is noted where this thread reads it */
        logread_read(d->logread, flushes_flushed(d->flushes) + 1, 1, 1, take_nothing, NULL, &next);
    d->dirty = true;
}

static void start(void *user)
{
    struct driver *d = user;
    hand_over(&d->flushing);
    uv_queue_work(d->options.loop, &d->flushing.work, run, ran);
}

static void skipped(void *user)
{
    struct driver *d = user;
    struct chatlog_gap gap = flushes_gap(d->flushes);
    notice(NOTICE_LOG_GAP, &(struct notice_about){.slot = &gap.last, .path = chatlog_path(d->chatlog)},
           "slots %" PRIu64 " to %" PRIu64
           " are not to be had any more, and will be missing in %s; the other replicas' "
           "files may have them",
           gap.first, gap.last, chatlog_path(d->chatlog));
}

static void send_message(void *user, replica_id_t to, const struct message *m)
{
    driver_send(user, to, m);
}

static uint64_t draw(void *user)
{
    (void)user;
    return driver_random();
}

bool driver_flush_init(struct driver *d)
{
    replica_id_t ids[REPLICAS_MAX];
    for (size_t i = 0; i < d->n_members; i++)
        ids[i] = d->members[i].address.id;
    struct flushes_options o = {.chatlog = d->chatlog,
                                .format = d->config->log_format,
                                .self = d->options.id,
                                .others = ids,
                                .n_others = d->n_members,
                                .hold = hold,
                                .read = read_held,
                                .read_user = &d->flushing,
                                .start = start,
                                .skipped = skipped,
                                .draw = draw,
                                .send = send_message,
                                .user = d};
    struct logview *v = &d->flushing.view;
    d->flushes = flushes_new(&o);
    d->flushing.flushes = d->flushes;
    struct chatlog_gap gap = chatlog_gap(d->chatlog);
    if (gap.last > 0)
        log_line(LOG_LEVEL_WARNING,
                 "slots %" PRIu64 " to %" PRIu64 " are missing in %s; the other replicas' files may have them",
                 gap.first, gap.last, chatlog_path(d->chatlog));
    d->flushing.driver = d;
    v->reader = journal_reader_new(d->journal);
    v->kept = calloc(LOGVIEW_TAIL_SLOTS, sizeof(*v->kept));
    return d->flushes != NULL && v->reader != NULL && v->kept != NULL;
}

void driver_flush_free(struct driver *d)
{
    journal_reader_free(d->flushing.view.reader);
    free(d->flushing.view.kept);
    flushes_free(d->flushes);
    chatlog_close(d->chatlog);
}

void driver_skip_flush(struct driver *d)
{
    slot_t first = logread_first_kept(d->logread);
    if (first > 0)
        flushes_skip(d->flushes, first - 1);
    d->dirty = true;
}

uint64_t driver_flush(struct driver *d, bool all, uint64_t timeout_ms,
                      void (*answer)(void *user, const struct flush_result *results, size_t n), void *user)
{
    d->dirty = true;
    return flushes_request(d->flushes, all, replica_chosen(d->replica), timeout_ms, driver_now(), answer, user);
}

void driver_flush_cancel(struct driver *d, uint64_t cookie)
{
    flushes_cancel(d->flushes, cookie);
}
