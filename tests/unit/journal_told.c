#include <stdlib.h>

#include "tests/unit/journal_fixture.h"
#include "tests/unit/vfs_memory_private.h"

void told_list_clear(struct told_list *l)
{
    free(l->items);
    *l = (struct told_list){.items = NULL};
}

void told_list_add(struct told_list *l, const struct told *t)
{
    if (t->type == RECORD_PROMISE && ballot_compare(t->ballot, l->promised) <= 0)
        return;
    if (ballot_compare(t->ballot, l->promised) > 0)
        l->promised = t->ballot;
    if (l->n == l->room) {
        l->room = l->room > 0 ? 2 * l->room : 64;
        l->items = vfs_memory_check(reallocarray(l->items, l->room, sizeof *l->items));
    }
    l->items[l->n++] = *t;
}

bool told_equal(const struct told *a, const struct told *b)
{
    return a->type == b->type && a->slot == b->slot && ballot_equal(a->ballot, b->ballot) && a->size == b->size &&
           a->crc == b->crc;
}

bool told_begins(const struct told_list *a, const struct told_list *b, size_t n)
{
    if (a->n < n || b->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!told_equal(&a->items[i], &b->items[i]))
            return false;
    }
    return true;
}
