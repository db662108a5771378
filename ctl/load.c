/* The load as a whole: its clients are begun, looked at in turn, and ended. */
#include "ctl/load.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/load_client.h"

enum { TICK_MSEC = 5, PROGRESS_TICKS = 40 };

bool load_may_start(const struct load *l, uint64_t now, uint64_t *ret_due_usec)
{
    *ret_due_usec = now;
    if (l->o->rate == 0)
        return true;
    double due = (double)l->start_usec + (double)l->n_started * 1e6 / (double)l->o->rate;
    *ret_due_usec = (uint64_t)due;
    return (double)now >= due;
}

void load_end(struct load *l)
{
    if (l->over)
        return;
    l->over = true;
    l->result->usec = monotonic_usec() - l->start_usec;
    uv_close((uv_handle_t *)&l->timer, NULL);
    for (uint32_t i = 0; i < l->o->n_clients; i++)
        load_client_close(l->clients[i]);
}

void load_fail(struct load *l)
{
    l->failed = true;
    load_end(l);
}

static void load_tick(uv_timer_t *timer)
{
    struct load *l = timer->data;
    uint64_t now = monotonic_usec();
    uint32_t n = l->o->n_clients;
    if (now - l->progress_usec > l->o->timeout_msec * 1000) {
        if (!failure_is_set(l->failure))
            failure_set(l->failure, EXIT_OUTCOME_UNKNOWN, "org.mpaxos.Replica.Timeout", NULL,
                        "nothing was chosen. Try: mpaxosctl status");
        if (l->failure->status == EXIT_NO_DAEMON)
            l->failure->status = EXIT_OUTCOME_UNKNOWN;
        load_fail(l);
        return;
    }
    for (uint32_t i = 0; i < n && !l->over; i++)
        load_client_look(l->clients[(l->turn + i) % n], now);
    if (++l->turn >= n)
        l->turn = 0;
    if (l->o->progress && ++l->ticks % PROGRESS_TICKS == 0)
        l->o->progress(l->o->user, l->result->n_chosen, now - l->start_usec);
}

static bool load_init(struct load *l)
{
    const struct load_options *o = l->o;
    l->clients = calloc(o->n_clients, sizeof(struct load_client *));
    l->result->slots = malloc(l->n_total * sizeof(*l->result->slots));
    if (!l->clients || !l->result->slots)
        return false;
    memset(l->result->slots, 0xff, l->n_total * sizeof(*l->result->slots));
    for (uint32_t i = 0; i < o->n_clients; i++) {
        l->clients[i] = load_client_new(l, i);
        if (!l->clients[i])
            return false;
    }
    return true;
}

static void load_done(struct load *l)
{
    for (uint32_t i = 0; l->clients && i < l->o->n_clients && l->clients[i]; i++)
        load_client_free(l->clients[i]);
    free(l->clients);
    buffer_done(&l->out);
    free(l);
}

int load_run(const struct load_options *o, struct load_result *ret, struct failure *f)
{
    *ret = (struct load_result){0};
    struct load *l = calloc(1, sizeof(*l));
    if (l) {
        l->o = o;
        l->result = ret;
        l->failure = f;
        l->n_total = (uint64_t)o->n_clients * o->n_messages;
        l->loss = attempt_loss_new(o->drop_rate);
    }
    if (!l || !load_init(l) || uv_loop_init(&l->loop) < 0) {
        if (l)
            load_done(l);
        failure_set(f, EXIT_FAILED, "org.mpaxos.Control.OutOfMemory", NULL,
                    "out of memory for so many clients and messages");
        return -1;
    }
    uv_timer_init(&l->loop, &l->timer);
    l->timer.data = l;
    l->start_usec = l->progress_usec = monotonic_usec();
    uv_timer_start(&l->timer, load_tick, 0, TICK_MSEC);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    uv_loop_close(&l->loop);
    int r = l->failed ? -1 : 0;
    load_done(l);
    if (r == 0)
        failure_done(f); /* of what passed meanwhile */
    return r;
}

void load_result_done(struct load_result *r)
{
    free(r->slots);
    *r = (struct load_result){0};
}
