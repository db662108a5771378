#include "journal/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/array.h"

enum { PAYLOAD_BYTES_MOST = 1 << 30 };

static int reserve_bytes(struct group *g, size_t more)
{
    uint8_t *p;

    p = array_grow(g->bytes, g->size + more, &g->room, 1);
    if (p == NULL)
        return -ENOMEM;
    g->bytes = p;
    return 0;
}

static int entry_add(struct group *g, struct group_entry **ret)
{
    struct group_entry *p = array_grow(g->entries, g->n_entries + 1, &g->entries_room, sizeof *p);

    if (p == NULL)
        return -ENOMEM;
    g->entries = p;
    *ret = &g->entries[g->n_entries++];
    **ret = (struct group_entry){.start = g->size, .extent = extent_none()};
    return 0;
}

static int add_identity(struct group *g, const struct identity *identity)
{
    struct group_entry *e;
    struct identity *copy = malloc(sizeof *copy);
    int r;

    if (copy == NULL)
        return -ENOMEM;
    group_close(g);
    r = entry_add(g, &e);
    if (r < 0) {
        free(copy);
        return r;
    }
    *copy = *identity;
    e->identity = copy;
    return 0;
}

static void describe(struct group_entry *e, const struct record *r)
{
    switch (r->type) {
    case RECORD_ACCEPT:
        extent_add_slot(&e->extent, r->slot);
        break;
    case RECORD_CHOSEN:
        extent_add_slot(&e->extent, r->slot);
        return;
    case RECORD_COMMIT:
        if (r->slot + 1 > e->extent.commit_until)
            e->extent.commit_until = r->slot + 1;
        return;
    case RECORD_PROMISE:
    case RECORD_IDENTITY:
        break;
    }
    if (ballot_compare(r->ballot, e->promised) > 0)
        e->promised = r->ballot;
}

int group_add(struct group *g, const struct record *r)
{
    struct group_entry *e;
    uint32_t size;
    int error;

    if (r->type == RECORD_IDENTITY)
        return add_identity(g, r->identity);
    if (r->value != NULL && r->value->size > PAYLOAD_BYTES_MOST)
        return -EFBIG;
    size = record_encoded_size(r);
    if (batch_size(size) > g->batch_bytes_most)
        return -EFBIG;
    if (g->is_open && g->entries[g->n_entries - 1].payload_size + size > BATCH_BYTES_TARGET)
        group_close(g);
    /* The header's hole, the record, and the marks that group_close() writes behind it. */
    error = reserve_bytes(g, BATCH_HEADER_BYTES + size + 2 * BATCH_ALIGN);
    if (error < 0)
        return error;
    if (!g->is_open) {
        error = entry_add(g, &e);
        if (error < 0)
            return error;
        g->size += BATCH_HEADER_BYTES;
        g->is_open = true;
    }
    e = &g->entries[g->n_entries - 1];
    record_encode(r, g->bytes + g->size);
    g->size += size;
    g->n_records++;
    e->payload_size += size;
    e->n_records++;
    describe(e, r);
    return 0;
}

void group_close(struct group *g)
{
    struct group_entry *e;
    uint32_t framed;

    if (!g->is_open)
        return;
    e = &g->entries[g->n_entries - 1];
    framed = batch_size(e->payload_size);
    batch_pad(g->bytes + e->start, e->payload_size);
    g->size = e->start + framed;
    g->framed_bytes += framed;
    if (framed > g->framed_most)
        g->framed_most = framed;
    g->is_open = false;
}

void group_clear(struct group *g)
{
    for (size_t i = 0; i < g->n_entries; i++)
        free(g->entries[i].identity);
    if (g->room > GROUP_KEEP_BYTES) {
        free(g->bytes);
        g->bytes = NULL;
        g->room = 0;
    }
    g->size = 0;
    g->n_entries = 0;
    g->is_open = false;
    g->framed_bytes = 0;
    g->framed_most = 0;
    g->n_records = 0;
}

void group_done(struct group *g)
{
    group_clear(g);
    free(g->bytes);
    free(g->entries);
    *g = (struct group){.bytes = NULL};
}

size_t group_framed_bytes(const struct group *g)
{
    return g->framed_bytes + (g->is_open ? batch_size(g->entries[g->n_entries - 1].payload_size) : 0);
}

bool group_find_value(const struct group *g, slot_t slot, const uint8_t **ret_value, uint32_t *ret_size)
{
    struct note notes[RECORD_NOTES_MAX];
    struct record_view v;
    bool found = false;

    for (size_t i = g->n_entries; i > 0 && !found; i--) {
        const struct group_entry *e = &g->entries[i - 1];
        const uint8_t *p = g->bytes + e->start + BATCH_HEADER_BYTES;
        if (e->identity != NULL || !extent_has(&e->extent, slot))
            continue;
        for (uint32_t left = e->payload_size; left > 0 && record_decode(p, left, notes, &v); left -= v.encoded_size) {
            if (v.value != NULL && v.record.slot == slot) {
                *ret_value = v.value;
                *ret_size = v.value_size;
                found = true;
            }
            p += v.encoded_size;
        }
    }
    return found;
}

bool group_find_note(const struct group *g, slot_t slot, struct note *ret_note)
{
    struct note notes[RECORD_NOTES_MAX];
    struct record_view v;

    for (size_t i = 0; i < g->n_entries; i++) {
        const struct group_entry *e = &g->entries[i];
        const uint8_t *p = g->bytes + e->start + BATCH_HEADER_BYTES;
        if (e->identity != NULL || e->extent.commit_until <= slot)
            continue;
        for (uint32_t left = e->payload_size; left > 0 && record_decode(p, left, notes, &v); left -= v.encoded_size) {
            p += v.encoded_size;
            if (v.record.type != RECORD_COMMIT || v.record.slot < slot)
                continue;
            *ret_note = (struct note){.slot = slot};
            for (uint32_t k = 0; k < v.record.n_notes; k++) {
                if (notes[k].slot == slot)
                    *ret_note = notes[k];
            }
            return true;
        }
    }
    return false;
}
