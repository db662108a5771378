/* What one user takes of the control socket, so that nobody is left without by another.
 *
 * What waits is counted per connection whenever it was dealt with: calls after reading, replies after writing. Full
 * queues hold back what would add to them: reading where calls wait, beginning calls where replies do. Calls that are
 * whole leave by being begun, replies by being read; the sweep closes what leaves by neither. */
#include <stdlib.h>

#include "host/control_connection.h"
#include "host/log.h"

static struct account *find(struct control *c, uid_t uid)
{
    struct account *a;
    TAILQ_FOREACH(a, &c->accounts, all)
    {
        if (a->uid == uid)
            return a;
    }
    a = calloc(1, sizeof(*a));
    if (a != NULL) {
        a->uid = uid;
        TAILQ_INSERT_TAIL(&c->accounts, a, all);
    }
    return a;
}

static void drop_unused(struct control *c, struct account *a)
{
    if (a->n_connections > 0)
        return;
    TAILQ_REMOVE(&c->accounts, a, all);
    free(a);
}

bool account_open(struct connection *k)
{
    struct control *c = k->control;
    struct account *a = find(c, k->uid);
    if (a == NULL)
        return false;
    bool has_enough = a->n_connections >= c->connections_max / CONTROL_USER_PART;
    bool is_full = c->n_connections > c->connections_max - c->connections_max / CONTROL_RESERVED_PART;
    if (k->level == ACCESS_ADMINISTRATION || (!has_enough && !is_full)) {
        k->account = a;
        a->n_connections++;
        return true;
    }
    log_limited(LOG_KIND_CONTROL_ACCEPT, LOG_LEVEL_WARNING,
                "control socket: refused a connection of user %u, who has %u; %u are open", (unsigned)k->uid,
                a->n_connections, c->n_connections - 1);
    c->stats.connections_refused++;
    c->stats.refused_of_user += has_enough;
    drop_unused(c, a);
    return false;
}

/* --- what waits --- */

/* Who was held back goes on. */
static void release(struct control *c)
{
    struct connection *k;
    TAILQ_FOREACH(k, &c->connections, all) connection_wake(k);
}

static void add(struct control *c, struct queued *q, enum queue queue, uint64_t before, uint64_t now, uint64_t max)
{
    q->bytes[queue] += now - before;
    if (!q->is_full[queue] && q->bytes[queue] >= max) {
        q->is_full[queue] = true;
        c->stats.queues_full++;
    } else if (q->is_full[queue] && q->bytes[queue] <= max - max / 4) {
        q->is_full[queue] = false;
        release(c);
    }
}

void account_count(struct connection *k, enum queue queue, uint64_t bytes)
{
    struct control *c = k->control;
    const uint64_t before = k->queued[queue];
    if (bytes == before || k->account == NULL || k->level == ACCESS_ADMINISTRATION)
        return;
    k->queued[queue] = bytes;
    add(c, &k->account->queued, queue, before, bytes, c->queued_bytes_max / CONTROL_USER_PART);
    add(c, &c->queued, queue, before, bytes, c->queued_bytes_max);
    c->stats.queued_bytes[queue] = c->queued.bytes[queue];
}

bool account_is_full(const struct connection *k, enum queue queue)
{
    return k->account != NULL && k->level != ACCESS_ADMINISTRATION &&
           (k->account->queued.is_full[queue] || k->control->queued.is_full[queue]);
}

void account_close(struct connection *k)
{
    if (k->account == NULL)
        return;
    account_count(k, QUEUE_IN, 0);
    account_count(k, QUEUE_OUT, 0);
    k->account->n_connections--;
    drop_unused(k->control, k->account);
    k->account = NULL;
}

bool account_may_submit(struct connection *k, size_t text_size)
{
    const struct account *a = k->account;
    if (k->level == ACCESS_ADMINISTRATION ||
        (a->n_submits < CONTROL_USER_CALLS_MAX && a->submit_bytes + text_size <= CONTROL_USER_BYTES_MAX))
        return true;
    k->control->stats.calls_of_user++;
    return false;
}

bool account_begin_question(struct connection *k, enum question question)
{
    static const uint32_t max[] = {
        [QUESTION_POSITION] = CONTROL_POSITIONS_MAX,
        [QUESTION_FLUSH] = CONTROL_FLUSHES_MAX,
    };
    uint32_t *of_user = &k->account->n_questions[question], *of_all = &k->control->n_questions[question];
    if (k->level == ACCESS_ADMINISTRATION)
        return true;
    if (*of_user >= max[question] / CONTROL_USER_PART || *of_all >= max[question])
        return false;
    ++*of_user;
    ++*of_all;
    return true;
}

void account_end_question(struct connection *k, enum question question)
{
    if (k->level == ACCESS_ADMINISTRATION)
        return;
    k->account->n_questions[question]--;
    k->control->n_questions[question]--;
}

bool account_has_turn(const struct connection *k)
{
    const struct account *a = k->account;
    return a->turn != k->control->n_turns || a->spent_nsec < (uint64_t)CONTROL_USER_TURN_USEC * 1000;
}

void account_spend(struct connection *k, uint64_t *since_nsec)
{
    struct account *a = k->account;
    uint64_t now_nsec = uv_hrtime();
    if (a != NULL && a->turn != k->control->n_turns) {
        a->turn = k->control->n_turns;
        a->spent_nsec = 0;
    }
    if (a != NULL) /* it may have been closed by what it did */
        a->spent_nsec += now_nsec - *since_nsec;
    *since_nsec = now_nsec;
}
