/* Connections: what clients submit, how the daemon numbers it, and what they make of the outcomes. */
#include <stdlib.h>
#include <string.h>

#include "host/driver_internal.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/observer.h"
#include "tests/sim/world.h"

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

void *client_calloc(size_t size)
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
    struct clients *k = c->clients = client_calloc(sizeof(*k));
    k->options = clients_defaults();
    k->operations.item_size = sizeof(struct operation *);
    k->connections.item_size = sizeof(struct connection *);
    k->attempts.item_size = sizeof(struct attempt *);
    k->numbers.item_size = sizeof(struct number);
    k->calls.item_size = sizeof(struct call *);
    return k;
}

static void list_free(struct list *l, bool of_pointers)
{
    for (size_t i = 0; of_pointers && i < l->n; i++)
        free(*(void **)list_at(l, i));
    free(l->items);
}

void clients_free(struct cluster *c)
{
    struct clients *k = c->clients;
    if (!k)
        return;
    for (size_t i = 0; i < k->connections.n; i++)
        free((void *)connection_at(k, (uint32_t)i + 1)->attempts);
    for (uint32_t i = 0; i < CLIENTS_MAX; i++)
        free((void *)k->clients[i].retries);
    list_free(&k->operations, true);
    list_free(&k->attempts, true);
    list_free(&k->connections, true);
    list_free(&k->calls, true);
    list_free(&k->numbers, false);
    free(k);
    c->clients = NULL;
}

struct operation *operation_make(struct cluster *c, uint32_t author)
{
    struct clients *k = clients_get(c);
    struct operation *o = client_calloc(sizeof(*o));
    *(struct operation **)list_add(&k->operations) = o;
    o->id = k->operations.n;
    o->author = author;
    digits_put(o->key, o->id);
    memcpy(o->key + 8, "-key", 4);
    o->text_bytes = (uint32_t)cluster_random(c, 0, 40);
    if (cluster_chance(c, k->options.long_permille))
        o->text_bytes = (uint32_t)cluster_random(c, 0, k->options.text_bytes_max);
    if (o->text_bytes < CLIENT_TEXT_MIN)
        o->text_bytes = CLIENT_TEXT_MIN;
    return o;
}

/* --- outcomes --- */

/* A slot that was told to a client holds, visible, what the operation's key stands for. */
static void check_slot(struct host *h, const struct operation *o, enum submit_result result, slot_t slot)
{
    struct cluster *c = h->cluster;
    const struct log_slot *s = observer_slot(c, slot);
    if (!s || !s->applied || !s->visible || slot > h->applied)
        cluster_fail(c, "host %u: result %d of operation %lu names slot %lu, where no message is applied (trap 17)",
                     h->index, (int)result, o->id, slot);
    struct text_view v;
    text_view(s->chosen->bytes, &v);
    bool same_key = v.key_size == CLIENT_KEY_BYTES && memcmp(v.key, o->key, CLIENT_KEY_BYTES) == 0;
    bool same_text = v.text_size == o->text_bytes && digits_get(v.text) == o->id;
    if (!same_key || same_text != (result != SUBMIT_CONFLICT))
        cluster_fail(c, "host %u: result %d of operation %lu, but slot %lu says otherwise (trap 23)", h->index,
                     (int)result, o->id, slot);
}

/* Chosen is the one whose number the slot holds, a duplicate each other one: also who was renumbered meanwhile, where
 * what it sent under its number before came to be stored after all. */
static void check_number(struct host *h, const struct attempt *a, enum submit_result result, slot_t slot)
{
    struct text_view v;
    text_view(observer_slot(h->cluster, slot)->chosen->bytes, &v);
    bool own = v.stream == a->stream && v.n == a->n;
    if (own != (result == SUBMIT_CHOSEN) && !h->cluster->options.liar)
        cluster_fail(h->cluster,
                     "host %u: result %d of operation %lu, number %lu of stream %016lx, but slot %lu holds number %lu "
                     "of stream %016lx (trap 19)",
                     h->index, (int)result, a->operation->id, a->n, a->stream, slot, v.n, v.stream);
}

static void acknowledge(struct host *h, struct attempt *a, enum submit_result result, slot_t slot)
{
    struct cluster *c = h->cluster;
    struct operation *o = a->operation;
    check_slot(h, o, result, slot);
    check_number(h, a, result, slot);
    if (o->state.acked && o->state.slot != slot)
        cluster_fail(c, "operation %lu was acknowledged at slots %lu and %lu (trap 19)", o->id, o->state.slot, slot);
    o->state.acked = true;
    o->state.slot = slot;
    if (slot > c->clients->acked_max)
        c->clients->acked_max = slot;
    if (result == SUBMIT_CHOSEN && ++o->state.n_chosen > 1)
        cluster_fail(c, "operation %lu was chosen twice", o->id);
    o->state.n_duplicates += result == SUBMIT_DUPLICATE;
}

static void end_attempt(struct attempt *a, enum attempt_status status)
{
    struct operation *o = a->operation;
    a->status = status;
    a->connection->n_open--;
    o->state.n_open--;
    o->state.n_unknown += status == ATTEMPT_UNKNOWN;
    o->state.n_refused += status == ATTEMPT_REFUSED;
    if (status == ATTEMPT_REFUSED && o->state.n_refused == o->n_attempts)
        o->has_since = false; /* nothing of it was ever there: it begins anew */
}

static void free_number(struct clients *k, const struct attempt *a)
{
    for (size_t i = k->numbers.n; i > 0 && a->n > 0; i--) {
        struct number *number = list_at(&k->numbers, i - 1);
        if (number->stream == a->stream && number->n == a->n && number->attempt == a) {
            number->attempt = NULL;
            return;
        }
    }
}

static void settled(void *user, uint64_t tag, enum submit_result result, slot_t slot)
{
    struct connection *s = user;
    struct cluster *c = s->cluster;
    struct host *h = &c->hosts[s->host];
    struct attempt *a = *(struct attempt **)list_at(&c->clients->attempts, tag - 1);
    struct operation *o = a->operation;
    cluster_trace(c, (int)h->index, "told       result %d slot %lu, op %lu", (int)result, slot, o->id);
    if (a->status != ATTEMPT_OPEN || a->connection != s)
        cluster_fail(c, "host %u: a result of operation %lu for a call that ended", h->index, o->id);
    switch (result) {
    case SUBMIT_CHOSEN:
    case SUBMIT_DUPLICATE:
        acknowledge(h, a, result, slot);
        break;
    case SUBMIT_CONFLICT:
        check_slot(h, o, result, slot);
        o->state.n_conflicts++;
        o->state.n_unknown++; /* once the other's key is forgotten, a datagram that late may still store it */
        if (!o->key_shared)
            cluster_fail(c, "operation %lu conflicts, but its key is its own", o->id);
        break;
    case SUBMIT_EXPIRED:
        o->state.n_expired++;
        if (o->since >= slot)
            cluster_fail(c, "operation %lu expired: since %lu, oldest known slot %lu", o->id, o->since, slot);
        break;
    case SUBMIT_UNKNOWN:
        end_attempt(a, ATTEMPT_UNKNOWN);
        return;
    case SUBMIT_OVERLOADED:
    case SUBMIT_NO_QUORUM:
    case SUBMIT_NOT_STARTED:
    case SUBMIT_NO_SPACE:
        free_number(c->clients, a);
        end_attempt(a, ATTEMPT_REFUSED);
        return;
    }
    end_attempt(a, ATTEMPT_SETTLED);
}

/* --- connections --- */

struct connection *connection_open(struct cluster *c, uint32_t host)
{
    struct clients *k = clients_get(c);
    struct connection *s = client_calloc(sizeof(*s));
    *(struct connection **)list_add(&k->connections) = s;
    s->cluster = c;
    s->id = (uint32_t)k->connections.n;
    s->host = host;
    s->boot = c->hosts[host].boot;
    world_enter(&c->hosts[host]);
    s->session = driver_session_open(c->hosts[host].driver, settled, s);
    return s;
}

static void submit(struct cluster *c, struct connection *s, struct operation *o)
{
    struct clients *k = c->clients;
    struct host *h = &c->hosts[s->host];
    struct attempt *a = client_calloc(sizeof(*a));
    *(struct attempt **)list_add(&k->attempts) = a;
    *a = (struct attempt){.next = o->attempts, .operation = o, .connection = s, .order = s->n_attempts};
    uint64_t tag = k->attempts.n;
    c->happened[HAPPENED_PIPELINED] += s->n_open > 0;
    c->happened[HAPPENED_RETRIED_ELSEWHERE] += o->attempts && o->attempts->connection->host != s->host;
    o->attempts = a;
    if (o->n_attempts++ == 0)
        o->acked_before = k->acked_max;
    o->attempt_usec = c->now_usec;
    o->state.n_open++;
    if (s->n_attempts == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 16;
        s->attempts = realloc((void *)s->attempts, s->capacity * sizeof(struct attempt *));
        if (!s->attempts)
            abort();
    }
    s->attempts[s->n_attempts++] = a;
    s->n_open++;
    if (!o->has_since && cluster_chance(c, k->options.old_since_permille)) {
        uint64_t back = cluster_random(c, 0, 2 * (uint64_t)c->options.dedup_slots);
        o->has_since = true;
        o->since = h->chosen > back ? h->chosen - back : 0;
    }
    uint8_t *text = client_calloc(o->text_bytes);
    char author[CLIENT_AUTHOR_BYTES];
    operation_text(o, text);
    operation_author(o, author);
    struct submit_request q = {
        .author = author,
        .key = (const char *)o->key,
        .text = (const char *)text,
        .author_size = sizeof(author),
        .key_size = CLIENT_KEY_BYTES,
        .text_size = o->text_bytes,
        .has_since = o->has_since,
        .since = o->since,
        .tag = tag,
    };
    o->since = driver_submit(s->session, &q);
    o->has_since = a->status == ATTEMPT_OPEN;
    free(text);
    cluster_trace(c, (int)h->index, "submit     op %lu on connection %u since %lu", o->id, s->id, o->since);
}

void connection_submit(struct cluster *c, struct connection *s, struct operation **operations, size_t n)
{
    struct host *h = &c->hosts[s->host];
    if (!h->up || s->closed)
        cluster_fail(c, "a client submits on a dead connection");
    world_enter(h);
    for (size_t i = 0; i < n; i++)
        submit(c, s, operations[i]);
    host_poke(h);
}

static void give_up(struct connection *s)
{
    for (uint32_t i = 0; i < s->n_attempts; i++) {
        if (s->attempts[i]->status == ATTEMPT_OPEN)
            end_attempt(s->attempts[i], ATTEMPT_UNKNOWN);
    }
    s->closed = true;
}

/* From here on the daemon must be silent about it. */
void connection_close(struct cluster *c, struct connection *s)
{
    struct host *h = &c->hosts[s->host];
    if (s->closed)
        return;
    c->happened[HAPPENED_GIVEN_UP] += s->n_open;
    give_up(s);
    world_enter(h);
    driver_session_close(s->session);
    host_poke(h);
}

/* --- what the daemon's numbering does with them --- */

static struct attempt *find_attempt(struct host *h, const struct operation *o, uint64_t stream)
{
    struct attempt *found = NULL;
    for (struct attempt *a = o->attempts; a; a = a->next) {
        const struct connection *s = a->connection;
        if (a->status != ATTEMPT_OPEN || s->host != h->index || s->boot != h->boot)
            continue;
        if (s->stream == stream)
            return a;
        if (!found || s->stream == 0)
            found = a;
    }
    return found;
}

void clients_handed_over(struct host *h, const struct submission *list, size_t n)
{
    struct cluster *c = h->cluster;
    struct clients *k = c->clients;
    for (size_t i = 0; i < n && !c->options.liar; i++) {
        struct text_view v;
        text_view(list[i].value->bytes, &v);
        uint64_t id = v.text_size >= CLIENT_TEXT_MIN ? digits_get(v.text) : 0;
        struct attempt *a = id > 0 && id <= k->operations.n ? find_attempt(h, operation_at(k, id), v.stream) : NULL;
        if (!a)
            cluster_fail(c, "host %u hands over operation %lu, which nobody waits for", h->index, id);
        a->connection->stream = a->stream = v.stream;
        a->n = v.n;
        *(struct number *)list_add(&k->numbers) = (struct number){v.stream, v.n, a};
        cluster_trace(c, (int)h->index, "number     op %lu stream %016lx n %lu", id, v.stream, v.n);
    }
}

void clients_outcomes(struct host *h, const struct effects *e)
{
    for (size_t i = 0; i < e->n_outcomes; i++) {
        const struct outcome *o = &e->outcomes[i];
        struct clients *k = clients_get(h->cluster);
        k->n_outcomes[o->type]++;
        cluster_trace(h->cluster, (int)h->index, "outcome    %d slot %lu, cookie %lx", (int)o->type, o->slot,
                      o->cookie);
    }
}

void clients_host_down(struct host *h)
{
    struct clients *k = h->cluster->clients;
    if (!k)
        return;
    for (size_t i = 0; i < k->connections.n; i++) {
        struct connection *s = connection_at(k, (uint32_t)i + 1);
        if (s->host == h->index && !s->closed)
            give_up(s);
    }
    for (size_t i = 0; i < k->calls.n; i++) {
        struct call *call = *(struct call **)list_at(&k->calls, i);
        if (call->live && call->host == h->index) {
            call->live = false;
            k->n_live--;
        }
    }
}

bool operation_is_open_at(const struct operation *o, const struct host *h)
{
    for (const struct attempt *a = o->attempts; a; a = a->next) {
        if (a->status == ATTEMPT_OPEN && a->connection->host == h->index)
            return true;
    }
    return false;
}
