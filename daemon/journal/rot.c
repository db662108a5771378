#include "journal/rot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal/checkpoint_read.h"
#include "journal/reader.h"
#include "journal/state.h"

enum {
    SURVEY_STRETCHES = 16, /* looked at in one call                    */
    RUN_STRETCHES_MAX = 16 /* mended at once; what follows, after them */
};

/* --- what is known --- */

static struct journal_rot *find_known(struct rot *x, uint64_t number)
{
    for (size_t i = 0; i < x->n_known; i++)
        if (x->known[i].segment == number)
            return &x->known[i];
    return NULL;
}

static void forget(struct rot *x, struct journal_rot *known)
{
    x->n_known--;
    memmove(known, known + 1, (size_t)(x->known + x->n_known - known) * sizeof *known);
}

void rot_note(struct journal *j, const struct stretch_place *place)
{
    struct rot *x = &j->rot;
    struct index_segment s = {.number = 0};

    if (place->number == 0 || x->n_known == JOURNAL_ROT_MAX || find_known(x, place->number) != NULL)
        return;
    pthread_mutex_lock(&j->mutex);
    if (index_get(&j->index, place->number) != NULL)
        s = *index_get(&j->index, place->number);
    pthread_mutex_unlock(&j->mutex);
    if (s.number == 0) /* trimmed */
        return;
    x->known[x->n_known++] = (struct journal_rot){.segment = place->number,
                                                  .offset = place->size > 0 ? place->offset : s.limit,
                                                  .first = s.extent.min,
                                                  .last = s.extent.max};
}

/* Another run of it may still be mended once somebody has it. */
static void give_up(struct journal_rot *known)
{
    known->state = known->put_off > 0 ? JOURNAL_ROT_UNSERVED : JOURNAL_ROT_STUCK;
    known->put_off = 0;
}

size_t journal_rot(struct journal *j, struct journal_rot *ret)
{
    memcpy(ret, j->rot.known, j->rot.n_known * sizeof *ret);
    return j->rot.n_known;
}

/* --- walks --- */

static void walk_end(struct walk *w)
{
    free(w->segment.points);
    *w = (struct walk){.segment = {.number = 0}};
}

static int walk_begin(struct journal *j, struct walk *w, uint64_t number)
{
    walk_end(w);
    return reader_points(j->reader, number, &w->segment);
}

static struct stretch_place place_of(const struct walk *w, size_t i)
{
    return (struct stretch_place){
        .number = w->segment.number, .offset = w->segment.points[i].offset, .size = w->segment.points[i].size};
}

static bool is_rot(int error)
{
    return error == -EBADMSG || error == -EIO;
}

/* The segment after `number` that is full; 0: none. */
static uint64_t next_full(struct journal *j, uint64_t number)
{
    const struct index *x = &j->index;
    uint64_t next = 0;

    pthread_mutex_lock(&j->mutex);
    for (size_t i = 0; i + 1 < x->n_segments && next == 0; i++)
        if (x->segments[i].number > number)
            next = x->segments[i].number;
    pthread_mutex_unlock(&j->mutex);
    return next;
}

static void check_header(struct journal *j, const struct index_segment *s)
{
    struct index_segment *rotten;

    if (reader_header_is_whole(j->reader, s))
        return;
    pthread_mutex_lock(&j->mutex);
    rotten = index_get(&j->index, s->number);
    if (rotten != NULL) {
        rotten->header_is_rotten = true;
        if (s->number < j->header_next)
            j->header_next = s->number;
    }
    pthread_mutex_unlock(&j->mutex);
}

static int64_t scrub_checkpoint(struct journal *j)
{
    int64_t n = checkpoint_scrub(j);

    j->rot.is_at_checkpoint = n > 0;
    j->rot.scrubbed_bytes += (uint64_t)n;
    return n;
}

int64_t journal_scrub(struct journal *j)
{
    struct rot *x = &j->rot;
    struct walk *w = &x->pass;
    struct stretch_place place;
    uint64_t first, last;
    int error = 0;

    if (x->is_at_checkpoint)
        return scrub_checkpoint(j);
    if (w->segment.number == 0 || w->at == w->segment.n_points) {
        uint64_t number = next_full(j, w->segment.number);
        walk_end(w);
        if (number == 0)
            return scrub_checkpoint(j);
        reader_forget(j->reader, number);
        error = walk_begin(j, w, number);
        w->segment.number = number;
        if (is_rot(error))
            rot_note(j, &(struct stretch_place){.number = number});
        if (error < 0)
            w->segment.n_points = w->at = 0;
        else
            check_header(j, &w->segment);
        if (w->segment.n_points == 0)
            return 1;
    }
    place = place_of(w, w->at++);
    error = reader_check(j->reader, &place, &first, &last);
    if (is_rot(error))
        rot_note(j, &place);
    x->scrubbed_bytes += place.size;
    return place.size;
}

/* --- the first run of a segment that rotted --- */

/* The slot of a checkpoint with which no record of the segment, nor of one before it, counts for more than its value;
 * UINT64_MAX: it is still written. */
static slot_t covered_by(struct journal *j, uint64_t number)
{
    const struct index *x = &j->index;
    slot_t slot = 0;

    pthread_mutex_lock(&j->mutex);
    for (size_t i = 0; i < x->n_segments && x->segments[i].number <= number; i++) {
        const struct extent *e = &x->segments[i].extent;
        if (e->min <= e->max && e->max > slot)
            slot = e->max;
        if (e->commit_until > slot + 1)
            slot = e->commit_until - 1;
    }
    if (x->n_segments > 0 && x->segments[x->n_segments - 1].number == number)
        slot = UINT64_MAX;
    pthread_mutex_unlock(&j->mutex);
    return slot;
}

static slot_t notes_before(struct journal *j, const struct walk *w, size_t at)
{
    const struct index_segment *s;
    slot_t from;

    if (at > 0)
        return w->segment.points[at - 1].extent.commit_until;
    pthread_mutex_lock(&j->mutex);
    s = index_get(&j->index, w->segment.number - 1);
    from = s != NULL ? s->extent.commit_until : j->first_kept;
    pthread_mutex_unlock(&j->mutex);
    return from;
}

/* `after`: the first batch behind the run; 0: another damaged stretch. False: the numbers make no sense. */
static bool run_end(struct journal *j, const struct walk *w, struct mend_run *run, uint64_t after)
{
    struct extent extent = extent_none();

    for (size_t i = run->at; i < run->at + run->n; i++)
        extent_add(&extent, &w->segment.points[i].extent);
    run->min = extent.min;
    run->max = extent.max;
    run->note_from = notes_before(j, w, run->at);
    run->note_end = extent.commit_until;
    if (run->note_from == 0 && run->min > 0) /* slot 0 is in the superblock */
        run->note_from = 1;
    run->n_batches = after == 0 ? 1 : after - run->before - 1;
    return after == 0 || (after > run->before + 1 && run->n_batches <= w->segment.limit / BATCH_ALIGN / 2);
}

/* One more stretch. True: the run is whole, or there is none; *ret_after as for run_end(). Which batch goes before a
 * run is known only of one that follows a stretch that is whole. */
static bool survey_step(struct journal *j, const struct journal_rot *k, uint64_t *ret_after, int *ret_error)
{
    struct walk *w = &j->rot.survey;
    struct mend_run *run = &j->rot.run;
    struct stretch_place place;
    uint64_t first, last;

    *ret_after = 0;
    if (w->at == w->segment.n_points) {
        *ret_after = w->segment.last + 1;
        return true;
    }
    place = place_of(w, w->at);
    if (place.offset < k->put_off) {
        w->at++;
        return false;
    }
    *ret_error = reader_check(j->reader, &place, &first, &last);
    if (*ret_error < 0 && !is_rot(*ret_error))
        return true;
    if (*ret_error == 0 && run->n > 0) {
        *ret_after = first;
        return true;
    }
    if (*ret_error == 0) {
        run->before = last;
        j->rot.is_passing = false;
    } else if (!j->rot.is_passing) {
        if (run->n == RUN_STRETCHES_MAX)
            return true;
        if (run->n++ == 0)
            run->at = w->at;
    }
    *ret_error = 0;
    w->at++;
    return false;
}

static void survey_done(struct journal *j, struct journal_rot *k, uint64_t after, int error)
{
    struct walk *w = &j->rot.survey;
    struct mend_run *run = &j->rot.run;
    struct journal_checkpoint newest;

    if (error == 0 && run->n == 0 && k->put_off == 0) {
        forget(&j->rot, k);
    } else if (error < 0 || run->n == 0 || !run_end(j, w, run, after)) {
        give_up(k);
    } else {
        if (k->put_off == 0) {
            k->offset = w->segment.points[run->at].offset;
            k->first = mend_first(run);
            k->last = mend_last(run);
        }
        k->state = JOURNAL_ROT_OPEN;
        k->covered_by = covered_by(j, k->segment);
        if (journal_checkpoint_newest(j, &newest) && newest.slot >= k->covered_by)
            k->state = JOURNAL_ROT_MENDING;
        if (k->state == JOURNAL_ROT_MENDING && mend_begin(j, &w->segment, run) < 0)
            give_up(k);
    }
    walk_end(w);
}

/* True: more can be done at once. */
static bool survey_work(struct journal *j)
{
    struct rot *x = &j->rot;
    struct journal_rot *k = NULL;
    uint64_t after = 0;
    int error = 0;
    bool done = false;

    for (size_t i = 0; i < x->n_known && k == NULL; i++)
        if (x->known[i].state == JOURNAL_ROT_FOUND)
            k = &x->known[i];
    if (k == NULL)
        return false;
    if (x->survey.segment.number != k->segment) {
        error = walk_begin(j, &x->survey, k->segment);
        x->run = (struct mend_run){.before = x->survey.segment.first - 1};
        x->is_passing = k->put_off > 0;
    }
    for (int i = 0; i < SURVEY_STRETCHES && error == 0 && !done; i++)
        done = survey_step(j, k, &after, &error);
    if (error == -ENOENT) { /* trimmed */
        walk_end(&x->survey);
        forget(x, k);
    } else if (done || error < 0) {
        survey_done(j, k, after, error);
    }
    return true;
}

/* --- mending it --- */

static enum mend_state mend_state(struct journal *j)
{
    enum mend_state state;

    pthread_mutex_lock(&j->mutex);
    state = j->mend.state;
    pthread_mutex_unlock(&j->mutex);
    return state;
}

bool journal_rot_work(struct journal *j)
{
    struct journal_rot *k;
    enum mend_state state = mend_state(j);

    if (state == MEND_FILLING || state == MEND_WRITING)
        return false;
    if (state == MEND_IDLE)
        return survey_work(j);
    k = find_known(&j->rot, j->mend.segment.number);
    if (j->rot.pass.segment.number == j->mend.segment.number) /* its points are those of the old file */
        j->rot.pass.at = j->rot.pass.segment.n_points;
    mend_clear(j);
    if (k != NULL && (state == MEND_DONE || state == MEND_TRIMMED))
        k->state = JOURNAL_ROT_FOUND; /* perhaps there is more */
    else if (k != NULL && state == MEND_FULL)
        k->state = JOURNAL_ROT_FULL;
    else if (k != NULL)
        give_up(k);
    j->rot.mended += state == MEND_DONE;
    return true;
}

void journal_rot_again(struct journal *j)
{
    for (struct journal_rot *k = j->rot.known; k < j->rot.known + j->rot.n_known; k++) {
        if (k->state == JOURNAL_ROT_MENDING)
            continue;
        if (k->state != JOURNAL_ROT_FOUND)
            k->put_off = 0;
        k->state = JOURNAL_ROT_FOUND;
    }
    walk_end(&j->rot.survey);
}

bool journal_mend_slots(struct journal *j, slot_t *ret_first, slot_t *ret_last)
{
    if (mend_state(j) != MEND_FILLING)
        return false;
    *ret_first = j->mend.next;
    *ret_last = mend_last(&j->mend.run);
    return true;
}

struct comparing {
    const struct note *note;
    const struct value *value;
    bool differs;
};

static bool compare(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    struct comparing *k = user;
    const struct note none = {.slot = 0}, *note = record->n_notes > 0 ? record->notes : &none;

    k->differs = size != k->value->size || memcmp(bytes, k->value->bytes, size) != 0 || note->type != k->note->type ||
                 (note->type == NOTE_TIME && note->time_usec != k->note->time_usec);
    return true;
}

int journal_mend_add(struct journal *j, slot_t slot, const struct note *note, struct value *value)
{
    struct journal_rot *known = find_known(&j->rot, j->mend.segment.number);
    struct comparing k = {.note = note, .value = value};
    int r;

    if (known == NULL || mend_state(j) != MEND_FILLING || slot != j->mend.next)
        return -EINVAL;
    if (slot >= journal_first_kept(j))
        journal_read(j, slot, slot, 1, 1, compare, &k);
    if (k.differs)
        return -EINVAL;
    r = mend_add(j, slot, note, value);
    if (r < 0) {
        mend_clear(j);
        give_up(known);
    }
    return r;
}

void journal_mend_put_off(struct journal *j)
{
    struct journal_rot *known = find_known(&j->rot, j->mend.segment.number);
    const struct mend_run *run = &j->mend.run;

    if (known == NULL || mend_state(j) != MEND_FILLING)
        return;
    known->put_off = j->mend.segment.points[run->at + run->n - 1].offset + 1;
    known->state = JOURNAL_ROT_FOUND;
    mend_clear(j);
}

void rot_done(struct journal *j)
{
    walk_end(&j->rot.pass);
    walk_end(&j->rot.survey);
    mend_clear(j);
}
