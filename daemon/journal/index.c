#include "journal/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

int index_add_segment(struct index *x, const struct index_segment *s)
{
    struct index_segment *added;
    slot_t commit_until = index_commit_until(x);
    void *p = array_grow(x->segments, x->n_segments + 1, &x->segments_room, sizeof *x->segments);

    if (p == NULL)
        return -ENOMEM;
    x->segments = p;
    added = &x->segments[x->n_segments++];
    *added = *s;
    if (s->n_points == 0) {
        added->extent = extent_none();
        added->extent.commit_until = commit_until;
        added->last = s->first - 1;
    }
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
    s->last++;
    return 0;
}

void index_drop_points(struct index_segment *s)
{
    free(s->points);
    s->points = NULL;
    s->points_room = 0;
}

void index_drop_first(struct index *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        index_drop_points(&x->segments[i]);
    if (n > 0)
        memmove(x->segments, x->segments + n, (x->n_segments - n) * sizeof *x->segments);
    x->n_segments -= n;
}

void index_drop_last(struct index *x)
{
    index_drop_points(&x->segments[--x->n_segments]);
}

void index_done(struct index *x)
{
    index_drop_first(x, x->n_segments);
    free(x->segments);
    *x = (struct index){.segments = NULL};
}

struct index_segment *index_get(const struct index *x, uint64_t number)
{
    if (x->n_segments == 0 || number < x->segments[0].number || number - x->segments[0].number >= x->n_segments)
        return NULL;
    return &x->segments[number - x->segments[0].number];
}

slot_t index_commit_until(const struct index *x)
{
    return x->n_segments > 0 ? x->segments[x->n_segments - 1].extent.commit_until : 0;
}

/* One that lies above where `slot` was found, and does not hold it. */
static void lower_bound(const struct extent *e, slot_t slot, slot_t *bound)
{
    if (e->min <= e->max && e->min > slot && e->min < *bound)
        *bound = e->min;
}

uint64_t index_find_slot(const struct index *x, slot_t slot, uint64_t number, slot_t *bound)
{
    for (size_t i = x->n_segments; i > 0; i--) {
        const struct index_segment *s = &x->segments[i - 1];
        if (s->number >= number)
            continue;
        if (extent_has(&s->extent, slot))
            return s->number;
        lower_bound(&s->extent, slot, bound);
    }
    return 0;
}

bool points_find_slot(const struct index_point *points, size_t n, slot_t slot, size_t *ret, slot_t *bound)
{
    for (; n > 0; n--) {
        if (extent_has(&points[n - 1].extent, slot)) {
            *ret = n - 1;
            return true;
        }
        lower_bound(&points[n - 1].extent, slot, bound);
    }
    return false;
}

/* commit_until never decreases along the journal. */
uint64_t index_find_commit(const struct index *x, slot_t slot)
{
    size_t low = 0, high = x->n_segments;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->segments[middle].extent.commit_until > slot)
            high = middle;
        else
            low = middle + 1;
    }
    return low < x->n_segments ? x->segments[low].number : 0;
}

bool points_find_commit(const struct index_point *points, size_t n, slot_t slot, size_t *ret)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points[middle].extent.commit_until > slot)
            high = middle;
        else
            low = middle + 1;
    }
    *ret = low;
    return low < n;
}
