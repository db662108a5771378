/* The driver's end: leadership is handed over, the journal finishes, the loop lets go. */
#include <sodium.h>
#include <stdlib.h>

#include "host/driver_internal.h"
#include "host/log.h"

static void part_closed(struct driver *d)
{
    if (--d->n_handles == 0)
        d->options.stopped(d->options.user, d->exit_status);
}

static void handle_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void peers_closed(void *user)
{
    part_closed(user);
}

void driver_finish_stop(struct driver *d)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&d->prepare, (uv_handle_t *)&d->check, (uv_handle_t *)&d->idle,
                              (uv_handle_t *)&d->timer,   (uv_handle_t *)&d->tick,  (uv_handle_t *)&d->written.poll};
    d->closing = true;
    outbox_flush(&d->outbox, driver_now());
    journal_thread_stop(d->thread);
    if (driver_write_failed(d)) /* of the last group: the loop does not look any more */
        d->exit_status = EXIT_DISK;
    d->thread = NULL;
    d->n_handles = 1;
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
        handles[i]->data = d;
        d->n_handles++;
        uv_close(handles[i], handle_closed);
    }
    peers_close(d->peers, peers_closed, d);
}

void driver_stop(struct driver *d)
{
    struct replica_status status;
    if (d->stopping)
        return;
    uint64_t now_usec = driver_now();
    replica_status(d->replica, &status);
    d->stopping = true;
    d->dirty = true;
    d->stop_usec = now_usec;
    if (status.role != ROLE_LEADER || d->n_members == 0)
        return;
    d->stop_usec = now_usec + (uint64_t)STOP_HEARTBEATS * d->config->heartbeat_ms * 1000;
    log_line(LOG_LEVEL_INFO, "stopping: leadership is handed over first");
    struct event e = {.type = EVENT_TRANSFER, .now_usec = now_usec, .target = REPLICA_ID_NONE};
    driver_step(d, &e);
}

void driver_free(struct driver *d)
{
    if (d == NULL)
        return;
    driver_install_free(d);
    driver_mend_free(d);
    driver_checkpoint_free(d);
    submissions_free(d->submissions);
    driver_flush_free(d);
    logread_free(d->logread);
    outbox_done(&d->outbox);
    peers_free(d->peers);
    sodium_free(d->seal);
    free(d->opened);
    if (d->journal != NULL)
        journal_close(d->journal);
    if (d->vfs != NULL)
        vfs_posix_close(d->vfs);
    if (d->started)
        wakeup_done(&d->written);
    free(d->incoming);
    free(d->assembly_block);
    free(d->block);
    values_done(&d->values);
    free(d);
}
