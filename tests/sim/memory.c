/* What a host holds in memory (mpaxos(7), I7): every value's references, counted once more by whoever may hold one, the
 * core's sums, and every table and queue within its limit. Looked at between two turns of the loop, when nobody holds a
 * value for a moment only. */
#include <stdlib.h>

#include "host/driver_internal.h"
#include "paxos/core.h"
#include "tests/sim/observer.h"

enum { FILES_OPEN_MAX = 9 /* of the journal: its segment, the next one, a checkpoint, readers', and two of a mend */ };

/* As in host/values.c. */
struct pooled {
    struct value_link link;
    struct values *pool;
    size_t class;
    struct value value;
};

struct references {
    const struct value **items; /* one entry a reference */
    size_t n, capacity;
};

static void add(struct references *l, const struct value *v)
{
    if (!v)
        return;
    if (l->n == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 1024;
        l->items = realloc((void *)l->items, l->capacity * sizeof(*l->items));
        if (!l->items)
            abort();
    }
    l->items[l->n++] = v;
}

static int compare(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t) * (const struct value *const *)left, b = (uintptr_t) * (const struct value *const *)right;
    return (a > b) - (a < b);
}

static void demand(const struct host *h, bool holds, const char *what, uint64_t is, uint64_t allowed)
{
    if (!holds)
        cluster_fail(h->cluster, "host %u: %s: %lu, right are %lu (I7)", h->index, what, is, allowed);
}

/* --- the core --- */

static void add_window(struct host *h, const struct replica *r, struct references *l)
{
    uint64_t tail_bytes = 0, flight_bytes = 0, flight_bytes_max = r->config.proposal_bytes_max;
    for (uint32_t i = 0; i < r->window.n_cells; i++) {
        const struct cell *k = &r->window.cells[i];
        add(l, k->value);
        add(l, k->adopted);
        if (!k->value)
            continue;
        if (k->slot <= r->chosen && k->slot >= r->tail_first)
            tail_bytes += k->value->size;
        else if (k->slot > r->chosen && r->phase != PHASE_NONE && ballot_equal(k->ballot, r->bid))
            flight_bytes += k->value->size;
    }
    demand(h, tail_bytes == r->tail_bytes, "bytes of the tail", r->tail_bytes, tail_bytes);
    demand(h, tail_bytes <= TAIL_BYTES_MAX, "bytes of the tail", tail_bytes, TAIL_BYTES_MAX);
    if (r->phase != PHASE_LEADING)
        return;
    demand(h, flight_bytes == r->flight_bytes, "bytes proposed", r->flight_bytes, flight_bytes);
    if (r->barrier_slot != 0 && r->barrier_slot <= r->chosen) /* else phase 1 may have taken over more */
        demand(h, flight_bytes <= flight_bytes_max + h->cluster->options.message_bytes_max + 1024, "bytes proposed",
               flight_bytes, flight_bytes_max);
}

static void add_intake(struct host *h, const struct replica *r, struct references *l)
{
    uint64_t bytes = 0, n_held = 0, n = 0;
    for (uint32_t i = 0; i < INTAKE_MAX && n < r->n_intake; i++) {
        const struct intake_entry *e = &r->intake[i];
        if (!e->value)
            continue;
        add(l, e->value);
        n++;
        n_held += !e->ready;
        bytes += e->value->size;
    }
    demand(h, n == r->n_intake, "messages that wait at the leader", r->n_intake, n);
    demand(h, n_held == r->n_held, "of them early ones", r->n_held, n_held);
    demand(h, bytes == r->intake_bytes, "their bytes", r->intake_bytes, bytes);
    demand(h, n == 0 || r->phase == PHASE_LEADING, "messages that wait where nobody leads", n, 0);
    demand(h, bytes <= INTAKE_BYTES_MAX + (uint64_t)r->config.submissions_max * r->config.message_bytes_max,
           "bytes that wait at the leader", bytes, INTAKE_BYTES_MAX); /* its own clients' have their own limit */
}

static void add_open(struct host *h, const struct replica *r, struct references *l)
{
    uint32_t n = 0, n_positions = 0;
    for (uint32_t i = r->open_first; i != 0 && n <= r->open_max; i = r->open[i - 1].next, n++)
        add(l, r->open[i - 1].value);
    demand(h, n == r->n_open, "open messages", r->n_open, n);
    for (uint32_t i = 0; i < POSITIONS_MAX; i++)
        n_positions += r->positions[i].used;
    demand(h, n_positions == r->n_positions, "open positions", r->n_positions, n_positions);
}

/* --- the driver --- */

static size_t count_references(const struct references *l, const struct value *v)
{
    size_t low = 0, high = l->n, n = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)l->items[middle] < (uintptr_t)v)
            low = middle + 1;
        else
            high = middle;
    }
    while (low + n < l->n && l->items[low + n] == v)
        n++;
    return n;
}

/* Beside the core only the readers' tail, a flush and calls that are not settled hold values; each of them one
 * reference. */
static void check_references(struct host *h, struct references *l)
{
    const struct driver *d = h->driver;
    const struct value *constants[] = {h->replica->noop, h->replica->barrier, h->replica->slot0};
    const struct logview *flushed = &d->flushing.view;
    uint64_t n_others = 0, n_tail = logread_held(d->logread) + (flushed->next - flushed->first);
    size_t n_found = 0, n_calls = submissions_open(d->submissions);
    if (l->n > 0)
        qsort((void *)l->items, l->n, sizeof(*l->items), compare);
    for (const struct value_link *i = d->values.all.next; i != &d->values.all; i = i->next) {
        const struct value *v = &((const struct pooled *)(const void *)i)->value;
        size_t n = count_references(l, v);
        demand(h, v->refs > 0 && v->refs >= n, "references of a value", v->refs, n);
        n_found += n;
        n_others += v->refs - n;
    }
    for (int i = 0; i < 3; i++) { /* in the core's block, and never freed */
        size_t n = count_references(l, constants[i]);
        n_found += n;
        n_others += constants[i]->refs - UINT32_MAX / 2 - n;
    }
    demand(h, n_found == l->n, "references to values that are gone", l->n - n_found, 0);
    demand(h, n_others >= n_tail && n_others <= n_tail + n_calls, "references beside the core's", n_others,
           n_tail + n_calls);
}

void memory_check(struct host *h)
{
    const struct replica *r = h->replica;
    struct references l = {0};
    add_window(h, r, &l);
    add_intake(h, r, &l);
    add_open(h, r, &l);
    add(&l, r->trim);
    check_references(h, &l);
    free((void *)l.items);
    const struct outbox *o = &h->driver->outbox;
    size_t waiting = o->waiting.end - o->waiting.begin, handles = vfs_memory_handles(h->disk.memory);
    demand(h, waiting <= OUTBOX_WAITING_BYTES_MAX, "bytes that wait for the disk", waiting, OUTBOX_WAITING_BYTES_MAX);
    demand(h, o->n_free + o->n_queued <= OUTBOX_BUFFERS, "datagrams", o->n_free + o->n_queued, OUTBOX_BUFFERS);
    demand(h, handles <= FILES_OPEN_MAX, "open files", handles, FILES_OPEN_MAX);
}
