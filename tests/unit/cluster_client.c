/* Sessions: how a host numbers, submits and renumbers what its clients send, and what it makes of the outcomes. */
#include "tests/unit/cluster_client.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster_check.h"
#include "tests/unit/cluster_client_private.h"

void *list_add(struct list *l)
{
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = realloc(l->items, l->capacity * l->item_size);
        if (!l->items)
            abort();
    }
    return memset((char *)l->items + l->n++ * l->item_size, 0, l->item_size);
}

static void *must_calloc(size_t size)
{
    void *p = calloc(1, size);
    if (!p)
        abort();
    return p;
}

struct clients *clients_get(struct cluster *c)
{
    if (c->clients)
        return c->clients;
    struct clients *k = c->clients = must_calloc(sizeof(*k));
    k->options = clients_defaults();
    k->operations.item_size = sizeof(struct operation *);
    k->sessions.item_size = sizeof(struct session *);
    k->attempts.item_size = sizeof(struct attempt *);
    k->numbers.item_size = sizeof(struct number);
    k->calls.item_size = sizeof(struct call);
    return k;
}

void clients_free(struct cluster *c)
{
    struct clients *k = c->clients;
    if (!k)
        return;
    for (size_t i = 0; i < k->operations.n; i++)
        free(*(struct operation **)list_at(&k->operations, i));
    for (size_t i = 0; i < k->attempts.n; i++)
        free(*(struct attempt **)list_at(&k->attempts, i));
    for (size_t i = 0; i < k->sessions.n; i++) {
        struct session *s = *(struct session **)list_at(&k->sessions, i);
        free((void *)s->attempts);
        free(s);
    }
    for (uint32_t i = 0; i < CLIENTS_MAX; i++)
        free((void *)k->clients[i].retries);
    free(k->operations.items);
    free(k->attempts.items);
    free(k->sessions.items);
    free(k->numbers.items);
    free(k->calls.items);
    free(k);
    c->clients = NULL;
}

/* --- operations and values --- */

struct operation *operation_make(struct cluster *c, uint32_t author)
{
    struct clients *k = clients_get(c);
    struct operation *o = must_calloc(sizeof(*o));
    *(struct operation **)list_add(&k->operations) = o;
    o->id = k->operations.n;
    o->author = author;
    digits_put(o->key, o->id);
    memcpy(o->key + 8, "-key", 4);
    o->text_bytes = (uint32_t)cluster_random(c, 0, 40);
    if (cluster_chance(c, 30))
        o->text_bytes = (uint32_t)cluster_random(c, 0, k->options.text_bytes_max);
    if (o->text_bytes < CLIENT_TEXT_MIN)
        o->text_bytes = CLIENT_TEXT_MIN;
    return o;
}

static struct value *make_value(struct host *h, const struct attempt *a)
{
    const struct operation *o = a->operation;
    uint8_t *text = must_calloc(o->text_bytes);
    memset(text, 'x', o->text_bytes);
    digits_put(text, o->id);
    char author[8] = "author0";
    author[6] = (char)('0' + o->author);
    struct value_fields f = {
        .type = VALUE_MESSAGE,
        .stream = a->stream,
        .n = a->n,
        .since = o->since,
        .time_usec = host_wall_usec(h),
        .author = author,
        .author_size = 7,
        .key = o->key,
        .key_size = CLIENT_KEY_BYTES,
        .text = text,
        .text_size = o->text_bytes,
    };
    size_t size = value_encoded_size(&f);
    uint8_t *bytes = must_calloc(size);
    value_encode(&f, bytes);
    struct value *v =
        host_value(h, &replica_identity(h->replica)->cluster, cluster_body(h->cluster, bytes, (uint32_t)size));
    free(bytes);
    free(text);
    return v;
}

/* --- sessions --- */

struct session *session_open(struct cluster *c, uint32_t host)
{
    struct clients *k = clients_get(c);
    struct session *s = must_calloc(sizeof(*s));
    *(struct session **)list_add(&k->sessions) = s;
    s->id = (uint32_t)k->sessions.n;
    s->host = host;
    s->boot = c->hosts[host].boot;
    s->stream = prng_next(&c->prng) | 1;
    s->next_n = 1;
    return s;
}

static void end_call(struct clients *k, uint64_t cookie)
{
    struct call *call = list_at(&k->calls, cookie - 1);
    call->live = false;
    k->n_live--;
}

static uint64_t begin_call(struct clients *k, uint32_t host, struct attempt *a)
{
    struct call *call = list_add(&k->calls);
    *call = (struct call){.attempt = a, .live = true, .host = host, .acked_before = k->acked_max};
    k->n_live++;
    return k->calls.n;
}

static void end_attempt(struct clients *k, struct attempt *a, enum attempt_status status)
{
    if (a->cookie)
        end_call(k, a->cookie);
    a->cookie = 0;
    a->status = status;
    a->session->n_open--;
    a->operation->state.n_open--;
    if (status == ATTEMPT_UNKNOWN)
        a->operation->state.n_unknown++;
    if (status == ATTEMPT_REFUSED)
        a->operation->state.n_refused++;
}

/* Gives attempts their next numbers, and the core all of them in one event. */
static void submit_attempts(struct cluster *c, struct session *s, struct attempt **attempts, size_t n)
{
    struct host *h = &c->hosts[s->host];
    struct clients *k = c->clients;
    struct submission *list = must_calloc(n * sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        struct attempt *a = attempts[i];
        a->stream = s->stream;
        a->n = s->next_n++;
        a->cookie = begin_call(k, s->host, a);
        *(struct number *)list_add(&k->numbers) = (struct number){a->stream, a->n, a};
        list[i] = (struct submission){.value = make_value(h, a), .cookie = a->cookie};
        cluster_trace(c, (int)h->index, "submit     op %lu stream %016lx n %lu since %lu", a->operation->id, a->stream,
                      a->n, a->operation->since);
    }
    host_step(h, &(struct event){.type = EVENT_SUBMIT, .submissions = list, .n_submissions = n});
    for (size_t i = 0; i < n; i++)
        host_value_release(h, list[i].value);
    free(list);
}

void session_submit(struct cluster *c, struct session *s, struct operation **operations, size_t n)
{
    struct clients *k = c->clients;
    struct attempt *attempts[SUBMIT_BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        struct operation *o = operations[i];
        struct attempt *a = must_calloc(sizeof(*a));
        *(struct attempt **)list_add(&k->attempts) = a;
        *a = (struct attempt){.operation = o, .session = s, .order = s->n_attempts};
        if (!o->has_since) {
            slot_t chosen = replica_chosen(c->hosts[s->host].replica);
            uint64_t back = cluster_chance(c, k->options.old_since_permille)
                                ? cluster_random(c, 0, 2 * (uint64_t)c->options.dedup_slots)
                                : 0;
            o->since = chosen > back ? chosen - back : 0;
            o->has_since = true;
            o->acked_before = k->acked_max;
        }
        o->attempt_usec = c->now_usec;
        o->n_attempts++;
        o->state.n_open++;
        if (s->n_attempts == s->capacity) {
            s->capacity = s->capacity ? 2 * s->capacity : 16;
            s->attempts = realloc((void *)s->attempts, s->capacity * sizeof(struct attempt *));
            if (!s->attempts)
                abort();
        }
        s->attempts[s->n_attempts++] = attempts[i] = a;
        s->n_open++;
    }
    submit_attempts(c, s, attempts, n);
}

static void give_up(struct clients *k, struct session *s)
{
    for (uint32_t i = 0; i < s->n_attempts; i++) {
        if (s->attempts[i]->status == ATTEMPT_OPEN)
            end_attempt(k, s->attempts[i], ATTEMPT_UNKNOWN);
    }
    s->closed = true;
}

void session_close(struct cluster *c, struct session *s)
{
    struct host *h = &c->hosts[s->host];
    uint64_t cookies[SUBMIT_BATCH_MAX * 4];
    size_t n = 0;
    if (s->closed)
        return;
    for (uint32_t i = 0; i < s->n_attempts && n < sizeof(cookies) / sizeof(cookies[0]); i++) {
        if (s->attempts[i]->status == ATTEMPT_OPEN && s->attempts[i]->cookie)
            cookies[n++] = s->attempts[i]->cookie;
    }
    give_up(c->clients, s);
    for (size_t i = 0; i < n; i++) /* from here on the core must be silent about them */
        host_step(h, &(struct event){.type = EVENT_CANCEL, .cookie = cookies[i]});
}

static void renumber(struct cluster *c, void *user, uint64_t argument)
{
    (void)argument;
    struct session *s = user;
    struct host *h = &c->hosts[s->host];
    if (s->closed || !h->up || h->boot != s->boot)
        return;
    struct attempt *attempts[SUBMIT_BATCH_MAX];
    s->stream = prng_next(&c->prng) | 1;
    s->next_n = 1;
    s->renumber = false;
    for (uint32_t i = 0; i < s->n_attempts;) {
        size_t n = 0;
        for (; i < s->n_attempts && n < SUBMIT_BATCH_MAX; i++) {
            if (s->attempts[i]->status == ATTEMPT_OPEN && s->attempts[i]->cookie == 0)
                attempts[n++] = s->attempts[i];
        }
        if (n > 0)
            submit_attempts(c, s, attempts, n);
    }
}

/* --- outcomes --- */

/* A slot that was told to a client holds, visible, what the operation's key stands for. */
static void check_slot(struct host *h, const struct operation *o, const struct outcome *u)
{
    struct cluster *c = h->cluster;
    const struct log_slot *s = observer_slot(c, u->slot);
    if (!s || !s->applied || !s->visible || u->slot > h->applied)
        cluster_fail(c, "host %u: outcome %d of operation %lu names slot %lu, where no message is applied", h->index,
                     (int)u->type, o->id, u->slot);
    struct log_message v;
    log_message_read(s->chosen, &v);
    bool same_key = v.key_size == CLIENT_KEY_BYTES && memcmp(v.key, o->key, CLIENT_KEY_BYTES) == 0;
    bool same_text = v.text_size == o->text_bytes && digits_get(v.text) == o->id;
    if (!same_key || same_text != (u->type != OUTCOME_CONFLICT))
        cluster_fail(c, "host %u: outcome %d of operation %lu, but slot %lu says otherwise (trap 23)", h->index,
                     (int)u->type, o->id, u->slot);
}

static void acknowledge(struct host *h, struct operation *o, const struct outcome *u)
{
    struct cluster *c = h->cluster;
    check_slot(h, o, u);
    if (o->state.acked && o->state.slot != u->slot)
        cluster_fail(c, "operation %lu was acknowledged at slots %lu and %lu (trap 19)", o->id, o->state.slot, u->slot);
    o->state.acked = true;
    o->state.slot = u->slot;
    if (u->slot > c->clients->acked_max)
        c->clients->acked_max = u->slot;
    if (u->type == OUTCOME_CHOSEN && ++o->state.n_chosen > 1)
        cluster_fail(c, "operation %lu was chosen twice", o->id);
    o->state.n_duplicates += u->type == OUTCOME_DUPLICATE;
}

static void refuse(struct host *h, struct attempt *a)
{
    struct session *s = a->session;
    if (a->n < s->next_n)
        s->next_n = a->n;
    struct list *numbers = &h->cluster->clients->numbers;
    for (size_t i = numbers->n; i > 0; i--) {
        struct number *number = list_at(numbers, i - 1);
        if (number->stream == a->stream && number->n == a->n && number->attempt == a) {
            number->attempt = NULL; /* the number is free again */
            break;
        }
    }
    /* What was sent under the number before may have been stored. */
    a->operation->state.n_unknown += a->renumbered;
    end_attempt(h->cluster->clients, a, ATTEMPT_REFUSED);
}

static void settle_attempt(struct host *h, struct attempt *a, const struct outcome *u)
{
    struct clients *k = h->cluster->clients;
    struct operation *o = a->operation;
    switch (u->type) {
    case OUTCOME_CHOSEN:
    case OUTCOME_DUPLICATE:
        acknowledge(h, o, u);
        break;
    case OUTCOME_CONFLICT:
        check_slot(h, o, u);
        o->state.n_conflicts++;
        if (!o->key_shared)
            cluster_fail(h->cluster, "operation %lu conflicts, but its key is its own", o->id);
        break;
    case OUTCOME_EXPIRED:
        o->state.n_expired++;
        /* What was sent under the number before may have been stored, and its key forgotten since. */
        o->state.n_unknown += a->renumbered;
        if (o->since >= u->slot)
            cluster_fail(h->cluster, "operation %lu expired: since %lu, oldest known slot %lu", o->id, o->since,
                         u->slot);
        break;
    case OUTCOME_RENUMBER:
        end_call(k, a->cookie);
        a->cookie = 0;
        if (!a->session->renumber)
            cluster_call_at(h->cluster, h->cluster->now_usec + cluster_random(h->cluster, 0, 2000), renumber,
                            a->session, 0);
        a->session->renumber = a->renumbered = true;
        return;
    default:
        refuse(h, a);
        return;
    }
    end_attempt(k, a, ATTEMPT_SETTLED);
}

static void answer_position(struct host *h, struct call *call, const struct outcome *u)
{
    struct cluster *c = h->cluster;
    if (u->type != OUTCOME_POSITION)
        return;
    if (u->slot < call->acked_before)
        cluster_fail(c, "host %u: position %lu, but slot %lu was acknowledged before it was asked for (traps 18, 28)",
                     h->index, u->slot, call->acked_before);
    if (u->slot > observer_chosen(c) || u->slot > h->applied)
        cluster_fail(c, "host %u: position %lu, applied are %lu, chosen %lu", h->index, u->slot, h->applied,
                     observer_chosen(c));
    call->answered = true;
    call->slot = u->slot;
}

void clients_outcome(struct host *h, const struct outcome *o)
{
    struct cluster *c = h->cluster;
    struct clients *k = c->clients;
    if (!k || o->cookie == 0 || o->cookie > k->calls.n)
        cluster_fail(c, "host %u: outcome %d for cookie %lu, which nobody has", h->index, (int)o->type, o->cookie);
    struct call *call = list_at(&k->calls, o->cookie - 1);
    if (!call->live || call->host != h->index)
        cluster_fail(c, "host %u: outcome %d for a call that ended (cookie %lu)", h->index, (int)o->type, o->cookie);
    cluster_trace(c, (int)h->index, "outcome    %d slot %lu, op %lu", (int)o->type, o->slot,
                  call->attempt ? call->attempt->operation->id : 0);
    k->n_outcomes[o->type]++;
    k->check_due |= o->type >= OUTCOME_RENUMBER && o->type != OUTCOME_POSITION;
    if (call->attempt) {
        settle_attempt(h, call->attempt, o);
        return;
    }
    answer_position(h, call, o);
    end_call(k, o->cookie);
}

/* Numbers that were refused must be the last ones of their stream, else those behind them never get their turn; and a
 * stream is renumbered as a whole. */
void clients_outcomes_done(struct host *h)
{
    struct clients *k = h->cluster->clients;
    if (!k || !k->check_due)
        return;
    k->check_due = false;
    for (size_t i = 0; i < k->sessions.n; i++) {
        struct session *s = *(struct session **)list_at(&k->sessions, i);
        if (s->host != h->index || s->closed || s->n_open == 0)
            continue;
        for (uint32_t j = s->n_attempts; j > 0 && s->attempts[j - 1]->status != ATTEMPT_SETTLED; j--) {
            const struct attempt *a = s->attempts[j - 1];
            if (a->status != ATTEMPT_OPEN || a->cookie == 0)
                continue;
            if (s->renumber)
                cluster_fail(h->cluster, "host %u: a stream was renumbered, but operation %lu on it was not", h->index,
                             a->operation->id);
            if (a->n >= s->next_n)
                cluster_fail(h->cluster, "host %u: operation %lu was refused, one behind it on its stream was taken",
                             h->index, a->operation->id);
        }
    }
}

void clients_host_down(struct host *h)
{
    struct clients *k = h->cluster->clients;
    if (!k)
        return;
    for (size_t i = 0; i < k->sessions.n; i++) {
        struct session *s = *(struct session **)list_at(&k->sessions, i);
        if (s->host == h->index && !s->closed)
            give_up(k, s);
    }
    for (size_t i = 0; i < k->calls.n; i++) {
        struct call *call = list_at(&k->calls, i);
        if (call->live && call->host == h->index)
            end_call(k, i + 1);
    }
}
