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
    WAIT_MSEC = 1000,     /* the longest single poll                   */
};

struct entry {
    char *text;
    size_t size;
    uint64_t tag;
    int64_t since; /* -1: never sent */
    bool unknown;  /* an attempt was sent whose outcome nobody told */
    char key[SUBMITTER_KEY_MAX + 1];
};

enum state {
    STATE_CLOSED,   /* connects at .resume_usec                */
    STATE_POSITION, /* connected; the position was asked for   */
    STATE_READY,
};

struct submitter {
    struct submitter_options o;
    uint64_t key_prefix, n_keys;
    struct attempt_loss loss;
    struct entry entries[SUBMITTER_WINDOW_MAX]; /* a ring: entries[(base + i) % SUBMITTER_WINDOW_MAX] */
    size_t base, n, n_sent;                     /* entries here, and of those, sent on this connection */
    enum state state;
    struct client client;
    size_t turn; /* which endpoint is next */
    bool ever_connected;
    int64_t since;          /* the highest slot known to be chosen; -1: none */
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

struct submitter *submitter_new(const struct submitter_options *o)
{
    struct submitter *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->o = *o;
    if (o->drop_rate || s->o.window == 0)
        s->o.window = 1;
    s->key_prefix = random_bits();
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

uint64_t submitter_first_unsettled(const struct submitter *s)
{
    return s->entries[s->base].tag;
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
    *e = (struct entry){.text = copy, .size = size, .tag = tag, .since = -1};
    if (s->o.key)
        snprintf(e->key, sizeof(e->key), "%s", s->o.key);
    else
        snprintf(e->key, sizeof(e->key), "%016llx-%llu", (unsigned long long)s->key_prefix,
                 (unsigned long long)s->n_keys++);
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
    if (slot > s->since)
        s->since = slot;
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

/* The connection is gone: what was sent on it may be chosen or not. */
static void connection_lost(struct submitter *s, int error)
{
    for (size_t i = 0; i < s->n_sent; i++)
        entry_at(s, i)->unknown = true;
    endpoint_failure(&s->client.endpoint, error, &s->failure);
    start_over(s, s->n ? 0 : RETRY_MSEC);
}

static int give_up(struct submitter *s)
{
    struct entry *e = entry_at(s, 0);
    if (s->n == 0 || !e->unknown) {
        if (!failure_is_set(&s->failure))
            failure_set(&s->failure, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", NULL,
                        "no replica answered in time. Try: mpaxosctl status");
        return -1;
    }
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "key", e->key);
    cJSON_AddItemToObject(p, "since", varlink_int(e->since));
    struct failure last = s->failure;
    s->failure = (struct failure){0};
    if (last.status == EXIT_OUTCOME_UNKNOWN || !failure_is_set(&last))
        failure_from_error(&s->failure, "no replica answered in time", "org.mpaxos.Replica.Timeout", p);
    else
        failure_set(&s->failure, EXIT_OUTCOME_UNKNOWN, "org.mpaxos.Replica.Timeout", cJSON_Duplicate(p, 1),
                    "the outcome is not known: it may have been chosen. To be sure of it, send the same text again "
                    "with --key %s "
                    "--since %lld. The last attempt ended so: %.600s",
                    e->key, (long long)e->since, last.text);
    cJSON_Delete(p);
    failure_done(&last);
    return -1;
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
            if (s->since < 0) {
                s->state = STATE_POSITION;
                if (client_queue(&s->client, "org.mpaxos.Replica.Position", NULL, false) < 0)
                    connection_lost(s, ENOMEM);
            }
            return true;
        }
    }
    s->resume_usec = monotonic_usec() + RETRY_MSEC * UINT64_C(1000);
    return false;
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

static void take_error(struct submitter *s, const struct reply *r)
{
    char name[ENDPOINT_NAME_MAX];
    endpoint_name(&s->client.endpoint, name);
    struct entry *e = entry_at(s, 0);
    failure_from_error(&s->failure, name, r->error, r->parameters);
    if (!attempt_can_pass(r->error)) {
        /* Definite for this call; but an earlier attempt may have stored it under a key that is forgotten by now. */
        if (e->unknown && !strcmp(r->error, "org.mpaxos.Replica.KeyExpired"))
            s->failure.status = EXIT_OUTCOME_UNKNOWN;
        settle(s, -1, false, &s->failure);
        return;
    }
    /* Which of the later ones were taken before this answer is not known. */
    bool timeout = s->failure.status == EXIT_OUTCOME_UNKNOWN;
    for (size_t i = timeout ? 0 : 1; i < s->n_sent; i++)
        entry_at(s, i)->unknown = true;
    int64_t hint = ATTEMPT_REFUSED_MSEC;
    if (r->parameters)
        varlink_get_int(r->parameters, "retry_ms", 0, RETRY_HINT_MSEC_MAX, &hint);
    start_over(s, timeout ? 0 : (uint64_t)hint);
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
    s->since = slot;
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
    int r = client_exchange(&s->client, timeout_msec, input_fd, ret_input);
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
