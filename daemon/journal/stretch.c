#include "journal/stretch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"

void stretches_drop(struct stretches *all, struct stretch *s)
{
    if (s->place.number != 0)
        all->bytes -= s->place.size;
    if (all->last == s)
        all->last = NULL;
    free(s->bytes);
    free(s->items);
    free(s->notes);
    *s = (struct stretch){.place = {.number = 0}};
}

void stretches_done(struct stretches *all)
{
    for (size_t i = 0; i < STRETCHES_MAX; i++)
        stretches_drop(all, &all->all[i]);
}

static bool is_at(const struct stretch *s, const struct stretch_place *place)
{
    return s->place.number == place->number && s->place.offset == place->offset;
}

struct stretch *stretches_find(struct stretches *all, const struct stretch_place *place)
{
    struct stretch *s = all->last;

    for (size_t i = 0; i < STRETCHES_MAX && (s == NULL || !is_at(s, place)); i++)
        s = &all->all[i];
    if (!is_at(s, place))
        return NULL;
    if (s->place.size < place->size) { /* the last stretch of the journal, which has grown */
        stretches_drop(all, s);
        return NULL;
    }
    s->used_at = ++all->clock;
    all->last = s;
    return s;
}

static struct stretch *find_oldest(struct stretches *all, bool used_only)
{
    struct stretch *oldest = NULL;

    for (size_t i = 0; i < STRETCHES_MAX; i++) {
        struct stretch *s = &all->all[i];
        if (!(used_only && s->place.number == 0) && (oldest == NULL || s->used_at < oldest->used_at))
            oldest = s;
    }
    return oldest;
}

struct stretch *stretches_take(struct stretches *all, const struct stretch_place *place)
{
    struct stretch *s = find_oldest(all, false);

    stretches_drop(all, s);
    while (all->bytes > 0 && all->bytes + place->size > STRETCHES_BYTES_MAX)
        stretches_drop(all, find_oldest(all, true));
    s->bytes = malloc(place->size);
    if (s->bytes == NULL)
        return NULL;
    s->place = *place;
    s->used_at = ++all->clock;
    all->bytes += place->size;
    return s;
}

static int add_value(struct stretch *s, const struct record_view *v)
{
    void *p = array_grow(s->items, s->n_items + 1, &s->items_room, sizeof *s->items);

    if (p == NULL)
        return -ENOMEM;
    s->items = p;
    if (s->n_items > 0 && s->items[s->n_items - 1].slot >= v->record.slot)
        s->items_ascend = false;
    s->items[s->n_items++] =
        (struct stretch_item){.slot = v->record.slot, .offset = (uint32_t)(v->value - s->bytes), .size = v->value_size};
    return 0;
}

static int add_notes(struct stretch *s, const struct record *r)
{
    void *p = array_grow(s->notes, s->n_notes + r->n_notes, &s->notes_room, sizeof *s->notes);

    if (p == NULL)
        return -ENOMEM;
    s->notes = p;
    for (uint32_t i = 0; i < r->n_notes; i++) {
        if (s->n_notes > 0 && s->notes[s->n_notes - 1].slot >= r->notes[i].slot)
            s->notes_ascend = false;
        s->notes[s->n_notes++] = r->notes[i];
    }
    return 0;
}

static int add_record(struct stretch *s, const struct record_view *v)
{
    if (v->value != NULL)
        return add_value(s, v);
    return v->record.n_notes > 0 ? add_notes(s, &v->record) : 0;
}

/* Every batch is checked against its checksum and its own place before a byte of it is used (trap 39). */
static int parse(struct stretches *all, struct stretch *s)
{
    struct batch_header h;
    struct record_view v;
    uint32_t size = s->place.size;

    for (uint32_t at = 0; at < size; at += h.size) {
        const uint8_t *p = s->bytes + at + BATCH_HEADER_BYTES;
        if (size - at < BATCH_HEADER_BYTES || !batch_header_decode(s->bytes + at, &h) || h.segment != s->place.number ||
            h.offset != s->place.offset + at || h.size > size - at || !batch_is_whole(s->bytes + at, &h))
            return -EBADMSG;
        for (uint32_t left = h.payload_size; left > 0; left -= v.encoded_size) {
            int error;
            if (!record_decode(p, left, all->notes, &v))
                return -EBADMSG;
            error = add_record(s, &v);
            if (error < 0)
                return error;
            p += v.encoded_size;
        }
    }
    return 0;
}

int stretches_fill(struct stretches *all, struct stretch *s)
{
    int error;

    s->items_ascend = true;
    s->notes_ascend = true;
    error = parse(all, s);
    if (error < 0)
        stretches_drop(all, s);
    else
        all->last = s;
    return error;
}

static int compare_item(const void *key, const void *item)
{
    const slot_t *slot = key;
    const struct stretch_item *i = item;
    return (*slot > i->slot) - (*slot < i->slot);
}

bool stretch_find_value(const struct stretch *s, slot_t slot, const uint8_t **ret_value, uint32_t *ret_size)
{
    const struct stretch_item *found = NULL;

    if (s->items_ascend) {
        if (s->n_items > 0)
            found = bsearch(&slot, s->items, s->n_items, sizeof s->items[0], compare_item);
    } else {
        for (size_t i = s->n_items; i > 0 && found == NULL; i--)
            found = s->items[i - 1].slot == slot ? &s->items[i - 1] : NULL;
    }
    if (found == NULL)
        return false;
    *ret_value = s->bytes + found->offset;
    *ret_size = found->size;
    return true;
}

static int compare_note(const void *key, const void *note)
{
    const slot_t *slot = key;
    const struct note *n = note;
    return (*slot > n->slot) - (*slot < n->slot);
}

bool stretch_find_note(const struct stretch *s, slot_t slot, struct note *ret)
{
    const struct note *found = NULL;

    if (s->notes_ascend) {
        if (s->n_notes > 0)
            found = bsearch(&slot, s->notes, s->n_notes, sizeof s->notes[0], compare_note);
    } else {
        for (size_t i = 0; i < s->n_notes && found == NULL; i++)
            found = s->notes[i].slot == slot ? &s->notes[i] : NULL;
    }
    if (found != NULL)
        *ret = *found;
    return found != NULL;
}
