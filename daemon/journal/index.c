#include "journal/index.h"

#include <errno.h>
#include <stdlib.h>

#include "journal/array.h"

void extent_add_slot(struct extent *e, slot_t slot)
{
    if (slot < e->min)
        e->min = slot;
    if (slot > e->max)
        e->max = slot;
}

void extent_add(struct extent *e, const struct extent *other)
{
    if (other->min <= other->max) {
        extent_add_slot(e, other->min);
        extent_add_slot(e, other->max);
    }
    if (other->commit_until > e->commit_until)
        e->commit_until = other->commit_until;
}

int index_add_segment(struct index *x, uint64_t number, uint64_t file_bytes)
{
    struct extent extent = extent_none();
    void *p = array_grow(x->segments, x->n_segments + 1, &x->segments_room, sizeof *x->segments);

    if (p == NULL)
        return -ENOMEM;
    x->segments = p;
    if (x->n_segments > 0)
        extent.commit_until = x->segments[x->n_segments - 1].extent.commit_until;
    x->segments[x->n_segments++] = (struct index_segment){.number = number, .file_bytes = file_bytes, .extent = extent};
    return 0;
}

int index_add_batch(struct index *x, uint32_t offset, uint32_t size, const struct extent *extent)
{
    struct index_segment *s = &x->segments[x->n_segments - 1];
    struct index_point *last = s->n_points > 0 ? &s->points[s->n_points - 1] : NULL;

    extent_add(&s->extent, extent);
    if (last == NULL || last->size >= INDEX_STRETCH_BYTES) {
        void *p = array_grow(s->points, s->n_points + 1, &s->points_room, sizeof *s->points);
        if (p == NULL)
            return -ENOMEM;
        s->points = p;
        last = &s->points[s->n_points++];
        *last = (struct index_point){.offset = offset, .extent = extent_none()};
    }
    last->size += size;
    extent_add(&last->extent, extent);
    last->extent.commit_until = s->extent.commit_until;
    return 0;
}

void index_done(struct index *x)
{
    for (size_t i = 0; i < x->n_segments; i++)
        free(x->segments[i].points);
    free(x->segments);
    *x = (struct index){.segments = NULL};
}

static void place_set(const struct index *x, size_t segment, size_t point, struct index_place *ret)
{
    const struct index_segment *s = &x->segments[segment];

    *ret = (struct index_place){.segment = segment,
                                .point = point,
                                .number = s->number,
                                .offset = s->points[point].offset,
                                .size = s->points[point].size};
}

bool index_find_slot(const struct index *x, slot_t slot, bool again, struct index_place *place)
{
    size_t from = again ? place->segment + 1 : x->n_segments;

    for (size_t i = from; i > 0; i--) {
        const struct index_segment *s = &x->segments[i - 1];
        size_t n = again && i == from ? place->point : s->n_points;

        if (!extent_has(&s->extent, slot))
            continue;
        for (; n > 0; n--) {
            if (extent_has(&s->points[n - 1].extent, slot)) {
                place_set(x, i - 1, n - 1, place);
                return true;
            }
        }
    }
    return false;
}

bool index_find_commit(const struct index *x, slot_t slot, struct index_place *ret)
{
    size_t low = 0, high = x->n_segments;
    const struct index_segment *s;

    /* commit_until never decreases along the journal: halve segments, then points. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->segments[middle].extent.commit_until > slot)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == x->n_segments)
        return false;
    s = &x->segments[low];
    *ret = (struct index_place){.segment = low};
    for (low = 0, high = s->n_points; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (s->points[middle].extent.commit_until > slot)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == s->n_points)
        return false;
    place_set(x, ret->segment, low, ret);
    return true;
}
