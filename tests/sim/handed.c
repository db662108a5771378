#include "tests/sim/handed.h"

#include <stdlib.h>

struct handed {
    uint64_t cookie;
    uint64_t stream, n; /* 0: a position */
};

static void add(struct host *h, struct handed item)
{
    struct handed_list *l = &h->handed;
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = realloc(l->items, l->capacity * sizeof(*l->items));
        if (!l->items)
            abort();
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->items[i].cookie == item.cookie)
            cluster_fail(h->cluster, "host %u: cookie %lx is handed over twice", h->index, item.cookie);
    }
    l->items[l->n++] = item;
}

static bool take(struct host *h, uint64_t cookie, struct handed *ret)
{
    struct handed_list *l = &h->handed;
    for (size_t i = 0; i < l->n; i++) {
        if (l->items[i].cookie != cookie)
            continue;
        *ret = l->items[i];
        l->items[i] = l->items[--l->n];
        return true;
    }
    return false;
}

void handed_event(struct host *h, const struct event *e)
{
    struct handed gone;
    for (size_t i = 0; e->type == EVENT_SUBMIT && i < e->n_submissions; i++) {
        const struct submission *s = &e->submissions[i];
        add(h, (struct handed){.cookie = s->cookie, .stream = s->value->stream, .n = s->value->n});
    }
    if (e->type == EVENT_POSITION)
        add(h, (struct handed){.cookie = e->cookie});
    if (e->type == EVENT_CANCEL)
        take(h, e->cookie, &gone);
}

static bool is_refusal(enum outcome_type type)
{
    return type == OUTCOME_OVERLOADED || type == OUTCOME_NO_QUORUM || type == OUTCOME_NOT_STARTED ||
           type == OUTCOME_NO_SPACE;
}

void handed_outcomes(struct host *h, const struct effects *e)
{
    struct handed gone[SUBMIT_BATCH_MAX];
    size_t n = 0;
    for (size_t i = 0; i < e->n_outcomes; i++) {
        const struct outcome *o = &e->outcomes[i];
        struct handed item;
        if (!take(h, o->cookie, &item))
            cluster_fail(h->cluster, "host %u: outcome %d of cookie %lx, which is not open", h->index, (int)o->type,
                         o->cookie);
        if (item.stream == 0 || !(is_refusal(o->type) || o->type == OUTCOME_RENUMBER))
            continue;
        if (o->type == OUTCOME_RENUMBER)
            item.n = 0;
        if (n < SUBMIT_BATCH_MAX)
            gone[n++] = item;
    }
    for (size_t i = 0; n > 0 && i < h->handed.n; i++) {
        for (size_t j = 0; j < n; j++) {
            if (h->handed.items[i].stream == gone[j].stream && h->handed.items[i].n > gone[j].n)
                cluster_fail(h->cluster, "host %u: stream %016lx: number %lu is gone, %lu behind it is not", h->index,
                             gone[j].stream, gone[j].n, h->handed.items[i].n);
        }
    }
}

void handed_forget(struct host *h)
{
    h->handed.n = 0;
}
