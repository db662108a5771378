#include "host/flushes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/flush_slice.h"

struct result {
    bool done, ok;
    slot_t slot;
    uint64_t messages;
    char text[CONFIG_ERROR_MAX + 1];
};

/* What waits for this replica's own file: until the mark reaches `upto`. */
struct waiter {
    slot_t upto;
    slot_t flushed_before;   /* f->flushed when it began */
    uint64_t written_before; /* f->written               */
};

struct request {     /* of an own client */
    uint64_t cookie; /* 0: free */
    bool all;
    uint64_t nonce, timeout_ms, until_usec, repeat_usec;
    struct waiter waiter;
    void (*answer)(void *user, const struct flush_result *results, size_t n);
    void *user;
    struct result own, others[REPLICAS_MAX]; /* others: as f->others */
};

struct remote { /* of a peer */
    bool used, answered;
    replica_id_t from;
    uint64_t order; /* the oldest answered one makes room */
    struct waiter waiter;
    struct flushed reply; /* its nonce names the request */
};

struct flushes {
    struct flushes_options options;
    replica_id_t others[REPLICAS_MAX];
    uint64_t next_cookie, next_order;
    uint64_t written; /* messages, by all flushes of this process */
    struct request *requests[FLUSHES_MAX];
    struct remote remotes[FLUSH_REMOTES_MAX];
    slot_t slice_slots;
    slot_t flushed;
    struct chatlog_gap gap;
    slot_t required; /* 0: nothing */
    slot_t skip_to;
    enum log_format format;
    bool is_ended; /* slice.result is to be told */
    bool got_on;   /* by it: what it wrote holds, whatever else failed */
    struct flush_slice slice;
    unsigned required_wait;
    char trouble[CONFIG_ERROR_MAX + 1];
};

struct flushes *flushes_new(const struct flushes_options *o)
{
    if (o->n_others > REPLICAS_MAX)
        return NULL;
    struct flushes *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->options = *o;
    memcpy(f->others, o->others, o->n_others * sizeof(*o->others));
    f->options.others = f->others;
    f->slice_slots = FLUSH_SLICE_SLOTS;
    f->flushed = chatlog_flushed(o->chatlog);
    f->gap = chatlog_gap(o->chatlog);
    f->format = o->format;
    return f;
}

void flushes_free(struct flushes *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < FLUSHES_MAX; i++)
        free(f->requests[i]);
    free(f);
}

void flushes_require(struct flushes *f, slot_t upto)
{
    if (upto > f->required)
        f->required = upto;
    if (f->required_wait > 0)
        f->required_wait--;
}

void flushes_skip(struct flushes *f, slot_t slot)
{
    if (slot > f->skip_to)
        f->skip_to = slot;
}

void flushes_set_format(struct flushes *f, enum log_format format)
{
    f->format = format;
}

const char *flushes_trouble(const struct flushes *f)
{
    return f->trouble;
}

slot_t flushes_flushed(const struct flushes *f)
{
    return f->flushed;
}

struct chatlog_gap flushes_gap(const struct flushes *f)
{
    return f->gap;
}

bool flushes_is_running(const struct flushes *f)
{
    return f->slice.is_running;
}

static bool is_required(const struct flushes *f, slot_t applied)
{
    return f->required > f->flushed && f->required <= applied && f->required_wait == 0;
}

static struct waiter begin_wait(const struct flushes *f, slot_t upto)
{
    return (struct waiter){.upto = upto, .flushed_before = f->flushed, .written_before = f->written};
}

uint64_t flushes_request(struct flushes *f, bool all, slot_t upto, uint64_t timeout_ms, uint64_t now_usec,
                         void (*answer)(void *user, const struct flush_result *results, size_t n), void *user)
{
    size_t at = 0;
    while (at < FLUSHES_MAX && f->requests[at] != NULL)
        at++;
    struct request *q = at < FLUSHES_MAX ? calloc(1, sizeof(*q)) : NULL;
    if (q == NULL)
        return 0;
    q->cookie = ++f->next_cookie;
    q->all = all;
    q->nonce = f->options.draw(f->options.user);
    q->timeout_ms = timeout_ms;
    q->until_usec = now_usec + timeout_ms * 1000;
    q->repeat_usec = now_usec;
    q->waiter = begin_wait(f, upto);
    q->answer = answer;
    q->user = user;
    f->requests[at] = q;
    return q->cookie;
}

void flushes_cancel(struct flushes *f, uint64_t cookie)
{
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        if (f->requests[i] != NULL && f->requests[i]->cookie == cookie) {
            free(f->requests[i]);
            f->requests[i] = NULL;
        }
    }
}

static void send_reply(struct flushes *f, const struct remote *r)
{
    struct message m = {.type = MESSAGE_FLUSHED, .flushed = r->reply};
    f->options.send(f->options.user, r->from, &m);
}

/* Whether `a` makes room rather than `b`: a free one, then the oldest answered one, then the oldest, whose peer asks
 * again. */
static bool is_dispensable(const struct remote *a, const struct remote *b)
{
    if (a->used != b->used)
        return b->used;
    if (a->answered != b->answered)
        return a->answered;
    return a->order < b->order;
}

static void take_flush(struct flushes *f, replica_id_t from, const struct flush *q)
{
    struct remote *room = NULL;
    for (size_t i = 0; i < FLUSH_REMOTES_MAX; i++) {
        struct remote *r = &f->remotes[i];
        if (r->used && r->from == from && r->reply.nonce == q->nonce) {
            if (r->answered)
                send_reply(f, r);
            return;
        }
        if (room == NULL || is_dispensable(r, room))
            room = r;
    }
    *room = (struct remote){.used = true, .from = from, .order = ++f->next_order, .waiter = begin_wait(f, q->upto)};
    room->reply.nonce = q->nonce;
}

static void take_flushed(struct flushes *f, replica_id_t from, const struct flushed *a)
{
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        struct request *q = f->requests[i];
        for (size_t k = 0; q != NULL && q->all && q->nonce == a->nonce && k < f->options.n_others; k++) {
            struct result *r = &q->others[k];
            if (f->others[k] != from || r->done)
                continue;
            r->done = true;
            r->ok = a->ok;
            r->slot = a->slot;
            r->messages = a->messages;
            snprintf(r->text, sizeof(r->text), "%s", a->text);
        }
    }
}

void flushes_message(struct flushes *f, const struct message *m)
{
    if (m->type == MESSAGE_FLUSH)
        take_flush(f, m->from, &m->flush);
    else if (m->type == MESSAGE_FLUSHED)
        take_flushed(f, m->from, &m->flushed);
}

/* A waiter's result, once there is one: its slots are flushed, or were passed over, or flushing failed (`error`)
 * although they could be. What failed behind them is not its own, but for a slice that did not get anywhere: then the
 * file is not in order. */
static bool finish_wait(const struct flushes *f, const struct waiter *w, slot_t applied, const char *error,
                        struct result *ret)
{
    bool reached = f->flushed >= w->upto && (error == NULL || f->got_on);
    if (!reached && (error == NULL || w->upto > applied))
        return false;
    bool lacks = reached && f->gap.last > w->flushed_before && f->gap.first <= w->upto;
    const char *path = chatlog_path(f->options.chatlog);
    ret->done = true;
    ret->ok = reached && !lacks;
    ret->slot = f->flushed;
    ret->messages = f->written - w->written_before;
    if (lacks)
        snprintf(ret->text, sizeof(ret->text),
                 "slots %llu to %llu are not to be had any more, and are missing in %.300s; take another replica's "
                 "file where the whole log is wanted",
                 (unsigned long long)f->gap.first, (unsigned long long)f->gap.last, path);
    else
        snprintf(ret->text, sizeof(ret->text), "%s", reached ? path : error);
    return true;
}

static void finish_all(struct flushes *f, slot_t applied, const char *error)
{
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        struct request *q = f->requests[i];
        if (q != NULL && !q->own.done)
            finish_wait(f, &q->waiter, applied, error, &q->own);
    }
    for (size_t i = 0; i < FLUSH_REMOTES_MAX; i++) {
        struct remote *r = &f->remotes[i];
        struct result result;
        if (!r->used || r->answered || !finish_wait(f, &r->waiter, applied, error, &result))
            continue;
        r->answered = true;
        r->reply.ok = result.ok;
        r->reply.slot = result.slot;
        r->reply.messages = result.messages;
        snprintf(r->reply.text, sizeof(r->reply.text), "%.*s", FLUSH_TEXT_MAX, result.text);
        send_reply(f, r);
    }
}

/* The furthest slot that anybody waits for and that is applied. */
static bool find_target(const struct flushes *f, slot_t applied, slot_t *ret)
{
    bool found = is_required(f, applied);
    *ret = found ? f->required : 0;
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        const struct request *q = f->requests[i];
        if (q != NULL && !q->own.done && q->waiter.upto <= applied) {
            found = true;
            if (q->waiter.upto > *ret)
                *ret = q->waiter.upto;
        }
    }
    for (size_t i = 0; i < FLUSH_REMOTES_MAX; i++) {
        const struct remote *r = &f->remotes[i];
        if (r->used && !r->answered && r->waiter.upto <= applied) {
            found = true;
            if (r->waiter.upto > *ret)
                *ret = r->waiter.upto;
        }
    }
    return found;
}

/* --- slices --- */

void flushes_run(struct flushes *f)
{
    flush_slice_run(&f->slice, f->options.chatlog, f->options.read, f->options.read_user);
}

bool flushes_finish(struct flushes *f)
{
    const struct flush_slice *s = &f->slice;
    slot_t before = s->skipped_from > 0 ? s->skip_to : f->flushed;
    f->slice.is_running = false;
    f->flushed = s->flushed;
    f->gap = s->gap;
    f->written += s->messages;
    f->got_on = s->flushed > before;
    if (f->got_on)
        f->slice_slots = flush_slice_slots(s->flushed - before, s->bytes);
    if (s->skipped_from > 0)
        f->options.skipped(f->options.user);
    f->trouble[0] = 0;
    if (s->result < 0 && (f->required > f->flushed || s->skip_to > f->flushed)) {
        f->required_wait = FLUSH_REQUIRE_CALLS;
        memcpy(f->trouble, s->error, sizeof(f->trouble));
    }
    f->is_ended = true;
    return s->result == 0;
}

static void tell_slow(struct flushes *f, uint64_t now_usec)
{
    if (now_usec - f->slice.since_usec >= FLUSH_SLOW_USEC)
        snprintf(f->trouble, sizeof(f->trouble),
                 "%.300s is being written for more than %d s: its disk is slow, or hangs",
                 chatlog_path(f->options.chatlog), FLUSH_SLOW_USEC / 1000000);
}

void flushes_work(struct flushes *f, slot_t applied, uint64_t now_usec)
{
    slot_t target;
    if (f->slice.is_running) {
        tell_slow(f, now_usec);
        return;
    }
    bool skips = f->skip_to > f->flushed, skip_failed = f->slice.result < 0 && f->slice.skip_to > f->flushed;
    if (f->is_ended &&
        (f->slice.result == 0 || !skips || skip_failed)) /* else what failed is about to be passed over */
        finish_all(f, applied, f->slice.result < 0 ? f->slice.error : NULL);
    f->is_ended = false;
    if (skip_failed && now_usec - f->slice.since_usec < FLUSH_SKIP_AGAIN_USEC)
        return;
    if (!find_target(f, applied, &target) && !skips)
        return;
    slot_t done = skips ? f->skip_to : f->flushed;
    slot_t upto = target > done && target - done > f->slice_slots ? done + f->slice_slots : target;
    slot_t held = f->options.hold(f->options.user, done + 1, upto);
    if (upto > done && held <= done && !skips) /* soon */
        return;
    f->slice = (struct flush_slice){.is_running = true,
                                    .since_usec = now_usec,
                                    .skip_to = skips ? f->skip_to : 0,
                                    .upto = upto > held ? held : upto};
    chatlog_set_format(f->options.chatlog, f->format);
    f->options.start(f->options.user);
}

static bool is_complete(const struct flushes *f, const struct request *q)
{
    bool complete = q->own.done;
    for (size_t k = 0; q->all && k < f->options.n_others; k++)
        complete = complete && q->others[k].done;
    return complete;
}

static void ask_peers(struct flushes *f, struct request *q, uint64_t now_usec)
{
    struct message m = {.type = MESSAGE_FLUSH, .flush = {.nonce = q->nonce, .upto = q->waiter.upto}};
    q->repeat_usec = now_usec + FLUSH_REPEAT_USEC;
    for (size_t k = 0; k < f->options.n_others; k++) {
        if (!q->others[k].done)
            f->options.send(f->options.user, f->others[k], &m);
    }
}

static struct flush_result tell(const struct request *q, replica_id_t id, const struct result *r, char *text,
                                size_t size)
{
    if (!r->done)
        snprintf(text, size, "no answer within %llu ms: %s Try: mpaxosctl -i %u status",
                 (unsigned long long)q->timeout_ms, r == &q->own ? "the file is still being written." : "is it up?",
                 id);
    return (struct flush_result){.replica = id,
                                 .ok = r->done && r->ok,
                                 .slot = r->slot,
                                 .messages = r->messages,
                                 .text = r->done ? r->text : text};
}

/* All results, by id. */
static void answer_request(struct flushes *f, struct request *q)
{
    struct flush_result results[REPLICAS_MAX + 1];
    char texts[REPLICAS_MAX + 1][128];
    size_t n = 0, k = 0, n_others = q->all ? f->options.n_others : 0;
    bool own_told = false;
    while (k < n_others || !own_told) {
        if (!own_told && (k == n_others || f->options.self < f->others[k])) {
            results[n] = tell(q, f->options.self, &q->own, texts[n], sizeof(texts[n]));
            own_told = true;
        } else {
            results[n] = tell(q, f->others[k], &q->others[k], texts[n], sizeof(texts[n]));
            k++;
        }
        n++;
    }
    q->answer(q->user, results, n);
    free(q);
}

void flushes_tick(struct flushes *f, uint64_t now_usec)
{
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        struct request *q = f->requests[i];
        if (q == NULL)
            continue;
        if (is_complete(f, q) || now_usec >= q->until_usec) {
            f->requests[i] = NULL;
            answer_request(f, q);
        } else if (q->all && now_usec >= q->repeat_usec) {
            ask_peers(f, q, now_usec);
        }
    }
}

uint64_t flushes_next_usec(const struct flushes *f)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < FLUSHES_MAX; i++) {
        const struct request *q = f->requests[i];
        if (q == NULL)
            continue;
        if (is_complete(f, q))
            return 0;
        if (q->until_usec < next)
            next = q->until_usec;
        if (q->all && q->repeat_usec < next)
            next = q->repeat_usec;
    }
    return next;
}
