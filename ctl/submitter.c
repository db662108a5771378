#include "ctl/submitter.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/attempt.h"
#include "ctl/client.h"
#include "ctl/text.h"

enum {
    RETRY_MSEC = 100, /* between rounds over replicas none of which can be reached */
    RETRY_HINT_MSEC_MAX = 2000,
    POSITION_MSEC = 1000, /* a replica that lives answers this at once */
    IDLE_MSEC = 1000,     /* after that, a new message gets a new position: see needs_position() */
    WAIT_MSEC = 1000,     /* the longest single poll                   */
};

struct entry {
    char *text;
    size_t size;
    uint64_t tag;
    int64_t since; /* -1: never sent */
    bool unknown;  /* an attempt was sent whose outcome nobody told */
    int64_t slot;  /* once it is settled                            */
    char key[SUBMITTER_KEY_MAX + 1];
};

enum state {
    STATE_CLOSED,   /* connects at .resume_usec                */
    STATE_POSITION, /* connected; the position was asked for   */
    STATE_READY,
};

struct submitter {
    struct submitter_options o;
    char key_prefix[SUBMITTER_KEY_PREFIX_MAX + 1];
    struct attempt_loss loss;
    struct entry entries[SUBMITTER_WINDOW_MAX]; /* a ring: entries[(base + i) % SUBMITTER_WINDOW_MAX] */
    size_t base, n, n_sent;                     /* entries here, and of those, sent on this connection */
    enum state state;
    struct client client;
    size_t turn; /* which endpoint is next */
    bool ever_connected;
    bool in_vain;           /* an attempt was lost since a message settled */
    int64_t since;          /* the highest slot known to be chosen; -1: none */
    uint64_t since_usec;    /* when that was learnt                          */
    int64_t last_slot;      /* of the last settled message; -1: none */
    uint64_t resume_usec;   /* nothing is sent before                     */
    uint64_t progress_usec; /* when the last message settled; or the start */
    uint64_t heard_usec;    /* when this connection last brought anything, or had nothing to bring */
    struct failure failure;
};

static struct entry *entry_at(struct submitter *s, size_t i)
{
    return &s->entries[(s->base + i) % SUBMITTER_WINDOW_MAX];
}

static void raise_since(struct submitter *s, int64_t slot)
{
    if (slot > s->since)
        s->since = slot;
    s->since_usec = monotonic_usec();
}

struct submitter *submitter_new(const struct submitter_options *o)
{
    struct submitter *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = *o;
    if (o->drop_rate || s->o.window == 0)
        s->o.window = 1;
    if (o->key_prefix)
        snprintf(s->key_prefix, sizeof(s->key_prefix), "%s", o->key_prefix);
    else
        snprintf(s->key_prefix, sizeof(s->key_prefix), "%016llx-", (unsigned long long)random_bits());
    s->loss = attempt_loss_new(o->drop_rate);
    s->client = CLIENT_NONE;
    s->since = o->since;
    s->last_slot = -1;
    s->progress_usec = monotonic_usec();
    return s;
}

void submitter_free(struct submitter *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        free(entry_at(s, i)->text);
    client_close(&s->client);
    failure_done(&s->failure);
    free(s);
}

bool submitter_has_room(const struct submitter *s)
{
    return s->n < s->o.window;
}

bool submitter_is_idle(const struct submitter *s)
{
    return s->n == 0;
}

const struct failure *submitter_failure(const struct submitter *s)
{
    return &s->failure;
}

struct submitter_rest submitter_rest(const struct submitter *s)
{
    const struct entry *first = &s->entries[s->base];
    struct submitter_rest rest = {
        .first = first->tag, .key = first->key, .since = first->since < 0 ? s->since : first->since};
    for (size_t i = 0; i < s->n; i++) {
        const struct entry *e = &s->entries[(s->base + i) % SUBMITTER_WINDOW_MAX];
        if (!e->unknown)
            continue;
        if (!rest.unknown)
            rest.unknown_first = e->tag;
        rest.unknown_last = e->tag;
        rest.unknown = true;
    }
    return rest;
}

bool submitter_add(struct submitter *s, const char *text, size_t size, uint64_t tag)
{
    if (!submitter_has_room(s))
        return false;
    char *copy = malloc(size + 1);
    if (!copy)
        return false;
    memcpy(copy, text, size);
    if (s->n == 0)
        s->progress_usec = s->heard_usec = monotonic_usec();
    struct entry *e = entry_at(s, s->n++);
    /* Under a prefix that was given it may have been sent before, by another process, with a whole window of others. So
     * its `since` is at the most where a message stands that is older than all of those. */
    if (s->o.key_prefix)
        raise_since(s, e->slot);
    *e = (struct entry){.text = copy, .size = size, .tag = tag, .since = s->o.key_prefix ? s->since : -1};
    if (s->o.key)
        snprintf(e->key, sizeof(e->key), "%s", s->o.key);
    else
        snprintf(e->key, sizeof(e->key), "%s%llu", s->key_prefix, (unsigned long long)tag);
    return true;
}

static void settle(struct submitter *s, int64_t slot, bool duplicate, const struct failure *failure)
{
    struct entry *e = entry_at(s, 0);
    struct settled settled = {
        .tag = e->tag,
        .slot = slot,
        .key = e->key,
        .duplicate = duplicate,
        .retried = e->unknown,
        .out_of_order = slot >= 0 && slot <= s->last_slot,
        .failure = failure,
    };
    if (slot > s->last_slot)
        s->last_slot = slot;
    if (!s->o.key_prefix)
        raise_since(s, slot);
    e->slot = slot;
    s->in_vain = false;
    s->progress_usec = monotonic_usec();
    s->o.settled(s->o.user, &settled);
    free(e->text);
    e->text = NULL;
    s->base = (s->base + 1) % SUBMITTER_WINDOW_MAX;
    s->n--;
    s->n_sent--;
    failure_done(&s->failure);
}

/* Everything starts over on the next connection, no sooner than after `pause_msec`. */
static void start_over(struct submitter *s, uint64_t pause_msec)
{
    client_close(&s->client);
    s->state = STATE_CLOSED;
    s->n_sent = 0;
    s->turn++;
    s->resume_usec = monotonic_usec() + pause_msec * 1000;
}

/* Once, another one may do better at once; whoever loses every attempt at once must not be asked without a pause. */
static void start_over_after_loss(struct submitter *s)
{
    bool at_once = s->n > 0 && !s->in_vain;
    s->in_vain = true;
    start_over(s, at_once ? 0 : RETRY_MSEC);
}

/* What was sent on this connection, from the i-th message on, may be chosen or not. */
static void leave_unknown(struct submitter *s, size_t i)
{
    for (; i < s->n_sent; i++)
        entry_at(s, i)->unknown = true;
}

static void connection_lost(struct submitter *s, int error)
{
    leave_unknown(s, 0);
    endpoint_failure(&s->client.endpoint, error, &s->failure);
    start_over_after_loss(s);
}

static int give_up(struct submitter *s)
{
    /* The failure of the attempt before says nothing of the one that is under way. */
    if (s->n_sent > 0)
        failure_done(&s->failure);
    leave_unknown(s, 0);
    if (!failure_is_set(&s->failure))
        failure_set(&s->failure, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", NULL,
                    "no replica answered in time. Try: mpaxosctl status");
    return -1;
}

void submitter_stop(struct submitter *s)
{
    leave_unknown(s, 0);
    failure_set(&s->failure, EXIT_FAILED, "org.mpaxos.Control.Interrupted", NULL, "it was interrupted");
}

/* Connects to the next endpoint that takes it. False: none did; the failure says why, and the pause has begun. */
static bool connect_next(struct submitter *s)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    size_t n;
    if (endpoints_find(s->o.place, endpoints, &n, &s->failure) == 0) {
        for (size_t i = 0; i < n; i++) {
            const struct endpoint *e = &endpoints[(s->turn + i) % n];
            int r = client_connect(&s->client, e);
            if (r < 0) {
                endpoint_failure(e, -r, &s->failure);
                continue;
            }
            s->turn = (s->turn + i) % n;
            s->ever_connected = true;
            s->heard_usec = monotonic_usec();
            s->state = STATE_READY;
            return true;
        }
    }
    s->resume_usec = monotonic_usec() + RETRY_MSEC * UINT64_C(1000);
    return false;
}

/* While a prompt or a pipe is idle, others' messages push what the replicas remember of keys past the last slot that
 * was known here: with that as `since`, no new message would ever be taken. */
static bool needs_position(const struct submitter *s, uint64_t now)
{
    bool is_new = s->n > 0 && s->n_sent == 0 && s->entries[s->base].since < 0;
    return s->since < 0 || (s->o.since < 0 && is_new && now - s->since_usec > IDLE_MSEC * UINT64_C(1000));
}

static void ask_position(struct submitter *s, uint64_t now)
{
    s->state = STATE_POSITION;
    s->heard_usec = now;
    if (client_queue(&s->client, "org.mpaxos.Replica.Position", NULL, false) < 0)
        connection_lost(s, ENOMEM);
}

static bool queue_submit(struct submitter *s, struct entry *e, uint64_t attempt_msec)
{
    struct buffer b = {0};
    buffer_add_text(&b, "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":{\"text\":");
    buffer_add_json(&b, e->text, e->size);
    if (s->o.author) {
        buffer_add_text(&b, ",\"author\":");
        buffer_add_json(&b, s->o.author, strlen(s->o.author));
    }
    buffer_add_text(&b, ",\"key\":");
    buffer_add_json(&b, e->key, strlen(e->key));
    if (e->since < 0)
        e->since = s->since;
    buffer_addf(&b, ",\"since\":%lld,\"timeout_ms\":%llu}}", (long long)e->since, (unsigned long long)attempt_msec);
    bool ok = !b.failed && client_queue_bytes(&s->client, b.bytes, b.size + 1) == 0;
    buffer_done(&b);
    return ok;
}

static uint64_t deadline(const struct submitter *s)
{
    return s->progress_usec + s->o.timeout_msec * 1000;
}

/* What one attempt may take: a part of a total timeout, so that another replica gets its chance within it. */
static uint64_t attempt_msec(const struct submitter *s)
{
    uint64_t part = s->o.timeout_msec / 2 + 1;
    return part < ATTEMPT_MSEC ? part : ATTEMPT_MSEC;
}

static void send_more(struct submitter *s, uint64_t now)
{
    while (s->n_sent < s->n && now >= s->resume_usec) {
        if (attempt_is_lost(&s->loss)) {
            s->resume_usec = now + ATTEMPT_LOST_MSEC * UINT64_C(1000);
            return;
        }
        if (s->n_sent == 0)
            s->heard_usec = now;
        if (!queue_submit(s, entry_at(s, s->n_sent), attempt_msec(s))) {
            connection_lost(s, ENOMEM);
            return;
        }
        s->n_sent++;
    }
}

/* Refused for good, after an attempt that nobody answered: that one may have been taken, by a replica that had not this
 * reason, or under a key that is forgotten by now. Not under a key that another text has. */
static bool may_still_be_chosen(const struct entry *e, const char *error)
{
    return e->unknown && strcmp(error, "org.mpaxos.Replica.KeyConflict") != 0;
}

static void refuse_unknown(struct submitter *s)
{
    const struct entry *e = entry_at(s, 0);
    struct failure refusal = s->failure;
    s->failure = (struct failure){0};
    failure_set_unknown(&s->failure, e->key, e->since,
                        "the outcome is not known: an attempt before the last was not answered, and may have been "
                        "chosen. Look for it before you send it again: mpaxosctl log --from %lld. The last one was "
                        "refused: %.600s",
                        (long long)e->since + 1, refusal.text);
    failure_done(&refusal);
}

static void take_error(struct submitter *s, const struct reply *r)
{
    char name[ENDPOINT_NAME_MAX];
    endpoint_name(&s->client.endpoint, name);
    failure_from_error(&s->failure, name, r->error, r->parameters);
    if (!attempt_can_pass(r->error)) {
        if (may_still_be_chosen(entry_at(s, 0), r->error))
            refuse_unknown(s);
        settle(s, -1, false, &s->failure);
        return;
    }
    /* Which of the later ones were taken before this answer is not known. */
    bool timeout = s->failure.status == EXIT_OUTCOME_UNKNOWN;
    leave_unknown(s, timeout ? 0 : 1);
    if (timeout) {
        start_over_after_loss(s);
        return;
    }
    int64_t hint = ATTEMPT_REFUSED_MSEC;
    if (r->parameters)
        varlink_get_int(r->parameters, "retry_ms", 0, RETRY_HINT_MSEC_MAX, &hint);
    start_over(s, (uint64_t)hint);
}

static void take_submit_reply(struct submitter *s, const struct reply *r)
{
    int64_t slot = -1;
    bool duplicate = false;
    if (s->n_sent == 0) {
        connection_lost(s, EBADMSG); /* an answer that nobody asked for */
        return;
    }
    if (r->error) {
        take_error(s, r);
        return;
    }
    if (!r->parameters || !varlink_get_int(r->parameters, "slot", 0, INT64_MAX, &slot) || slot < 0 ||
        !varlink_get_bool(r->parameters, "duplicate", &duplicate)) {
        connection_lost(s, EBADMSG);
        return;
    }
    if (attempt_is_lost(&s->loss)) {
        s->n_sent = 0; /* the window is one: the same message goes again, once it is missed */
        entry_at(s, 0)->unknown = true;
        s->resume_usec = monotonic_usec() + ATTEMPT_LOST_MSEC * UINT64_C(1000);
        return;
    }
    settle(s, slot, duplicate, NULL);
}

static void take_position(struct submitter *s, const struct reply *r)
{
    char name[ENDPOINT_NAME_MAX];
    endpoint_name(&s->client.endpoint, name);
    if (r->error) {
        failure_from_error(&s->failure, name, r->error, r->parameters);
        start_over(s, ATTEMPT_REFUSED_MSEC);
        return;
    }
    int64_t slot = -1;
    if (!r->parameters || !varlink_get_int(r->parameters, "slot", 0, INT64_MAX, &slot) || slot < 0) {
        connection_lost(s, EBADMSG);
        return;
    }
    raise_since(s, slot);
    s->state = STATE_READY;
}

static void take_replies(struct submitter *s)
{
    while (s->state != STATE_CLOSED) {
        struct reply r = {0};
        int got = client_next(&s->client, &r);
        if (got < 0)
            connection_lost(s, -got);
        if (got <= 0)
            return;
        s->heard_usec = monotonic_usec();
        if (s->state == STATE_POSITION)
            take_position(s, &r);
        else
            take_submit_reply(s, &r);
        reply_done(&r);
    }
}

static int until_msec(uint64_t now, uint64_t then)
{
    if (then <= now)
        return 0;
    uint64_t msec = (then - now + 999) / 1000;
    return msec > WAIT_MSEC ? WAIT_MSEC : (int)msec;
}

/* When this connection counts as dead, if nothing comes. */
static uint64_t silent_until(const struct submitter *s)
{
    uint64_t patience_msec = s->state == STATE_POSITION ? POSITION_MSEC : attempt_msec(s) + ATTEMPT_SILENCE_MSEC;
    return s->heard_usec + patience_msec * 1000;
}

static bool owes_answer(const struct submitter *s)
{
    return s->state == STATE_POSITION || s->n_sent > 0;
}

static void exchange(struct submitter *s, uint64_t now, int input_fd, bool *ret_input)
{
    int timeout_msec = WAIT_MSEC;
    if (owes_answer(s))
        timeout_msec = until_msec(now, silent_until(s) < deadline(s) ? silent_until(s) : deadline(s));
    else if (s->n > 0)
        timeout_msec = until_msec(now, s->resume_usec);
    struct pollfd input = {.fd = input_fd, .events = POLLIN};
    int r = client_exchange(&s->client, timeout_msec, &input);
    *ret_input = input.revents != 0;
    /* What came before the end of the connection still counts. */
    take_replies(s);
    if (s->state == STATE_CLOSED)
        return;
    if (r < 0)
        connection_lost(s, -r);
    else if (owes_answer(s) && monotonic_usec() >= silent_until(s))
        connection_lost(s, ETIMEDOUT);
}

static void wait_closed(uint64_t now, uint64_t until, int input_fd, bool *ret_input)
{
    struct pollfd fd = {.fd = input_fd, .events = POLLIN};
    if (poll(&fd, 1, until_msec(now, until)) > 0)
        *ret_input = true;
}

int submitter_work(struct submitter *s, int input_fd, bool *ret_input)
{
    uint64_t now = monotonic_usec();
    *ret_input = false;
    if (!submitter_has_room(s))
        input_fd = -1;
    if (s->n > 0 && now >= deadline(s))
        return give_up(s);
    if (s->state == STATE_CLOSED) {
        uint64_t until = s->n == 0                      ? now + WAIT_MSEC * UINT64_C(1000)
                         : s->resume_usec < deadline(s) ? s->resume_usec
                                                        : deadline(s);
        if (s->n == 0 || now < s->resume_usec) {
            wait_closed(now, until, input_fd, ret_input);
            return 0;
        }
        if (!connect_next(s))
            return s->ever_connected ? 0 : give_up(s);
    }
    if (s->state == STATE_READY && needs_position(s, now))
        ask_position(s, now);
    if (s->state == STATE_READY)
        send_more(s, now);
    if (s->state != STATE_CLOSED)
        exchange(s, now, input_fd, ret_input);
    return 0;
}

int submitter_drain(struct submitter *s)
{
    bool ignored = false;
    while (!submitter_is_idle(s))
        if (submitter_work(s, -1, &ignored) < 0)
            return -1;
    return 0;
}
