/* What the clients saw, against the log that all replicas ended with (mpaxos(7), guarantees). */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/clients_private.h"
#include "tests/sim/observer.h"

/* Where an operation's text stands in the final log. */
struct found {
    slot_t slot;
    uint32_t times;
};

static int compare_numbers(const void *left, const void *right)
{
    const struct number *a = left, *b = right;
    if (a->stream != b->stream)
        return a->stream < b->stream ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

/* Messages of one connection stand in the order in which they were sent on it, over all its streams. */
static void check_order(struct cluster *c, const struct number *numbers, size_t n_numbers, slot_t slot,
                        const struct text_view *v, uint32_t *next)
{
    struct number wanted = {.stream = v->stream, .n = v->n};
    const struct number *n = bsearch(&wanted, numbers, n_numbers, sizeof(*numbers), compare_numbers);
    if (!n)
        cluster_fail(c, "slot %lu: stream %016lx n %lu was never handed out, or refused", slot, v->stream, v->n);
    uint32_t *last = &next[n->attempt->connection->id - 1];
    if (n->attempt->order + 1 <= *last)
        cluster_fail(c, "slot %lu: operation %lu was sent as number %u of its connection, and stands behind number %u",
                     slot, n->attempt->operation->id, n->attempt->order, *last - 1);
    *last = n->attempt->order + 1;
    if (digits_get(v->text) != n->attempt->operation->id)
        cluster_fail(c, "slot %lu: the text of operation %lu under a number of operation %lu", slot,
                     digits_get(v->text), n->attempt->operation->id);
}

/* Byte for byte what its client submitted, but for what the driver adds. */
static bool is_operation(const struct text_view *v, const struct operation *o, uint8_t *text)
{
    char author[CLIENT_AUTHOR_BYTES];
    operation_author(o, author);
    operation_text(o, text);
    return v->text_size == o->text_bytes && memcmp(v->text, text, v->text_size) == 0 &&
           v->author_size == sizeof(author) && memcmp(v->author, author, sizeof(author)) == 0 &&
           v->key_size == CLIENT_KEY_BYTES && memcmp(v->key, o->key, v->key_size) == 0;
}

static void read_log(struct cluster *c, struct found *found)
{
    struct clients *k = c->clients;
    struct number *numbers = malloc((k->numbers.n + 1) * sizeof(*numbers));
    uint32_t *next = calloc(k->connections.n + 1, sizeof(*next));
    uint8_t *text = malloc(MESSAGE_BYTES_MOST);
    if (!numbers || !next || !text)
        abort();
    size_t n = 0;
    for (size_t i = 0; i < k->numbers.n; i++) {
        const struct number *number = list_at(&k->numbers, i);
        if (number->attempt)
            numbers[n++] = *number;
    }
    qsort(numbers, n, sizeof(*numbers), compare_numbers);
    for (slot_t slot = 1; slot <= observer_applied_until(c); slot++) {
        const struct log_slot *s = observer_slot(c, slot);
        struct text_view v;
        text_view(s->chosen->bytes, &v);
        if (!v.is_message)
            continue;
        uint64_t id = v.text_size >= CLIENT_TEXT_MIN ? digits_get(v.text) : 0;
        if (id == 0 || id > k->operations.n)
            cluster_fail(c, "slot %lu holds a message that nobody sent", slot);
        const struct operation *o = operation_at(k, id);
        if (!is_operation(&v, o, text))
            cluster_fail(c, "slot %lu holds operation %lu, but not byte for byte", slot, id);
        if (!s->visible)
            continue;
        if (!o->key_shared) /* else a conflict may have held it up until the other's key was forgotten */
            check_order(c, numbers, n, slot, &v, next);
        found[id - 1].slot = slot;
        found[id - 1].times++;
    }
    free(numbers);
    free(next);
    free(text);
}

static void check_operation(struct cluster *c, const struct operation *o, const struct found *f)
{
    if (f->times > 1)
        cluster_fail(c, "operation %lu stands %u times in the log (traps 19, 21)", o->id, f->times);
    if (o->state.acked && (f->times == 0 || f->slot != o->state.slot))
        cluster_fail(c, "operation %lu was acknowledged at slot %lu and stands at %lu", o->id, o->state.slot, f->slot);
    if (f->times > 0 && !o->state.acked && o->state.n_unknown + o->state.n_open == 0)
        cluster_fail(c, "operation %lu stands at slot %lu, but each attempt was refused for certain", o->id, f->slot);
    if (f->times > 0 && f->slot <= o->acked_before)
        cluster_fail(c, "operation %lu stands at slot %lu, but slot %lu was acknowledged before it was sent", o->id,
                     f->slot, o->acked_before);
}

void clients_check(struct cluster *c)
{
    struct clients *k = c->clients;
    if (!k)
        return;
    struct found *found = calloc(k->operations.n + 1, sizeof(*found));
    if (!found)
        abort();
    read_log(c, found);
    for (size_t i = 0; i < k->operations.n; i++)
        check_operation(c, operation_at(k, i + 1), &found[i]);
    free(found);
}
