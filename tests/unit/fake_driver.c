#include "tests/unit/fake_driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/faults.h"

struct session {
    struct driver *driver;
    void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot);
    void *user;
};

static void fill_config(struct config *c)
{
    *c = (struct config){.f = 1, .script = true, .heartbeat_ms = 50, .message_bytes_max = 1000, .n_replicas = 3};
    strcpy(c->cluster, "lobby");
    for (unsigned i = 0; i < 3; i++) {
        c->replicas[i] = (struct config_replica){.id = (replica_id_t)i, .port = (uint16_t)(6000 + i)};
        strcpy(c->replicas[i].host, "localhost");
    }
}

struct driver *fake_driver_new(void)
{
    struct driver *d = calloc(1, sizeof(*d));
    uint64_t now = uv_hrtime() / 1000;
    fill_config(&d->config);
    d->faults = faults_new(0, 1);
    d->result = SUBMIT_CHOSEN;
    d->status = (struct driver_status){
        .config = &d->config,
        .config_warning = "",
        .has_space = true,
        .replica = {.identity = IDENTITY_VOTER,
                    .role = ROLE_FOLLOWER,
                    .ballot = {.round = 7, .gen = 1, .id = 2},
                    .leader = 2,
                    .leader_since_usec = now,
                    .quorum = true,
                    .n_linked = 3,
                    .n_needed = 2,
                    .quorum_since_usec = now,
                    .n_peers = 2},
    };
    for (unsigned i = 0; i < 2; i++) {
        d->status.replica.peers[i] = (struct peer_status){
            .id = (replica_id_t)(2 * i), .linked = true, .leading = i == 1, .heard_usec = now, .rtt_usec = 300};
        snprintf(d->status.peers[i].address, sizeof(d->status.peers[i].address), "127.0.0.1:600%u", 2 * i);
        strcpy(d->status.peers[i].version, "9.9");
    }
    return d;
}

void fake_driver_free(struct driver *d)
{
    for (size_t i = 0; i < d->n_log; i++)
        free(d->log[i].text);
    free(d->log);
    faults_free(d->faults);
    free(d);
}

static void append(struct driver *d, const struct fake_message *m, const char *text)
{
    if ((d->n_log & (d->n_log + 1)) == 0)
        d->log = realloc(d->log, 2 * (d->n_log + 1) * sizeof(*d->log));
    struct fake_message *copy = &d->log[d->n_log++];
    *copy = *m;
    copy->text = malloc(m->text_size);
    memcpy(copy->text, text, m->text_size);
    d->status.replica.chosen = m->slot;
}

void fake_append(struct driver *d, const char *author, const char *text, size_t text_size, unsigned gap)
{
    struct fake_message m = {.slot = d->status.replica.chosen + 1 + gap, .text_size = text_size};
    snprintf(m.author, sizeof(m.author), "%s", author);
    append(d, &m, text);
}

void fake_moved(struct driver *d)
{
    if (d->moved != NULL)
        d->moved(d->moved_user, d->status.replica.chosen);
}

struct session *driver_session_open(struct driver *d,
                                    void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot),
                                    void *user)
{
    struct session *s = malloc(sizeof(*s));
    *s = (struct session){.driver = d, .settled = settled, .user = user};
    d->n_sessions++;
    return s;
}

void driver_session_close(struct session *s)
{
    struct driver *d = s->driver;
    size_t n = 0;
    for (size_t i = 0; i < d->n_open; i++)
        if (d->open[i].session != s)
            d->open[n++] = d->open[i];
    d->n_open = n;
    d->n_sessions--;
    free(s);
}

slot_t driver_submit(struct session *s, const struct submit_request *q)
{
    struct driver *d = s->driver;
    slot_t since = q->has_since ? q->since : d->status.replica.chosen;
    d->last = *q;
    d->n_submits++;
    if (!d->hold && (d->result == SUBMIT_CHOSEN)) {
        struct fake_message m = {.slot = d->status.replica.chosen + 1, .text_size = q->text_size};
        memcpy(m.author, q->author, q->author_size);
        memcpy(m.key, q->key, q->key_size);
        append(d, &m, q->text);
    }
    if (d->hold)
        d->open[d->n_open++] = (struct fake_open){.session = s, .tag = q->tag};
    else
        s->settled(s->user, q->tag, d->result, d->status.replica.chosen);
    return since;
}

void fake_settle(struct driver *d, size_t i, enum submit_result result, slot_t slot)
{
    struct fake_open o = d->open[i];
    d->n_open--;
    memmove(d->open + i, d->open + i + 1, (d->n_open - i) * sizeof(o));
    o.session->settled(o.session->user, o.tag, result, slot);
}

/* 0: refused. */
static uint64_t ask(struct driver *d, struct fake_question q)
{
    if (d->refuse_answers || d->n_questions == FAKE_QUESTIONS_MAX)
        return 0;
    q.cookie = ++d->cookie;
    d->questions[d->n_questions++] = q;
    if (!d->hold_answers)
        fake_answer(d);
    return q.cookie;
}

static void cancel(struct driver *d, uint64_t cookie)
{
    for (size_t i = 0; i < d->n_questions; i++) {
        if (d->questions[i].cookie != cookie)
            continue;
        d->n_questions--;
        memmove(d->questions + i, d->questions + i + 1, (d->n_questions - i) * sizeof(*d->questions));
        d->n_cancelled++;
        return;
    }
}

uint64_t driver_position(struct driver *d, void (*answer)(void *user, slot_t slot), void *user)
{
    return ask(d, (struct fake_question){.position = answer, .user = user});
}

void driver_position_cancel(struct driver *d, uint64_t cookie)
{
    cancel(d, cookie);
}

uint64_t driver_flush(struct driver *d, bool all, uint64_t timeout_ms,
                      void (*answer)(void *user, const struct flush_result *results, size_t n), void *user)
{
    (void)timeout_ms;
    return ask(d, (struct fake_question){.flush = answer, .all = all, .user = user});
}

void driver_flush_cancel(struct driver *d, uint64_t cookie)
{
    cancel(d, cookie);
}

void fake_answer(struct driver *d)
{
    const struct flush_result results[] = {
        {.replica = 1, .ok = true, .slot = d->status.replica.chosen, .messages = d->n_log, .text = "/log/1"},
        {.replica = 2, .ok = false, .text = "unreachable"},
    };
    while (d->n_questions > 0) {
        const struct fake_question q = d->questions[--d->n_questions];
        if (q.position != NULL)
            q.position(q.user, d->status.replica.chosen);
        else if (d->flush_fails)
            q.flush(q.user, &results[1], 1);
        else
            q.flush(q.user, results, q.all ? 2 : 1);
    }
}

int driver_read(struct driver *d, slot_t from, size_t n_max, size_t bytes_max,
                bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next)
{
    size_t n = 0, bytes = 0;
    d->n_reads++;
    *ret_next = from;
    if (d->read_error != 0)
        return d->read_error;
    if (from < d->first_kept)
        return -ERANGE;
    for (size_t i = 0; i < d->n_log; i++) {
        const struct fake_message *m = &d->log[i];
        if (m->slot < from)
            continue;
        if (d->read_slots_max > 0 && m->slot - from >= d->read_slots_max) {
            *ret_next = from + d->read_slots_max;
            return (int)n;
        }
        if (n == n_max || (n > 0 && bytes + m->text_size > bytes_max)) {
            *ret_next = m->slot;
            return (int)n;
        }
        const struct log_message out = {.slot = m->slot,
                                        .time_usec = UINT64_C(1790000000000001) + m->slot,
                                        .author = m->author,
                                        .author_size = strlen(m->author),
                                        .text = m->text,
                                        .text_size = m->text_size};
        n++;
        bytes += m->text_size;
        *ret_next = m->slot + 1;
        if (!each(user, &out))
            return (int)n;
    }
    *ret_next = d->status.replica.chosen + 1;
    return (int)n;
}

/* Found at the second call only. */
bool driver_tail(struct driver *d, struct tail_search *t, slot_t *ret)
{
    bool found = t->begun;
    t->begun = true;
    if (found)
        *ret = t->n < d->n_log ? d->log[d->n_log - t->n].slot : d->first_kept;
    return found;
}

slot_t driver_first_kept(struct driver *d)
{
    return d->first_kept;
}

void driver_watch(struct driver *d, void (*moved)(void *user, slot_t chosen), void (*told)(void *user), void *user)
{
    (void)told; /* what is answered here is written in the next turn */
    d->moved = moved;
    d->moved_user = user;
}

int driver_bootstrap(struct driver *d, void (*answer)(void *user, slot_t slot), void *user, uint64_t *ret_cookie)
{
    d->n_bootstraps++;
    if (d->bootstrap_error != 0)
        return d->bootstrap_error;
    *ret_cookie = driver_position(d, answer, user);
    return *ret_cookie != 0 ? 0 : -EBUSY;
}

void driver_skip(struct driver *d, const slot_t *slots, size_t n)
{
    for (size_t i = 0; i < n && d->status.replica.n_skips < SKIPS_MAX; i++)
        d->status.replica.skips[d->status.replica.n_skips++] = slots[i];
}

int driver_transfer(struct driver *d, replica_id_t target)
{
    (void)d;
    (void)target;
    return -ENOTSUP;
}

void driver_status(struct driver *d, struct driver_status *ret)
{
    *ret = d->status;
    ret->first_kept = d->first_kept;
    ret->messages = d->n_log;
}

struct faults *driver_faults(struct driver *d)
{
    return d->faults;
}
