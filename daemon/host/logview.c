#include "host/logview.h"

#include <errno.h>

#include "host/values.h"

/* Slot 0 is the configuration, and may stand elsewhere than in the journal. */
slot_t logview_first_kept(const struct logview *v)
{
    slot_t first = v->journal != NULL ? journal_first_kept(v->journal) : 0;
    return first <= 1 ? 0 : first;
}

bool logview_journal_end(const struct logview *v, slot_t from, slot_t *ret_until)
{
    if (v->journal == NULL || !v->has_committed || from > v->committed || from >= v->first)
        return false;
    *ret_until = v->committed < v->first - 1 ? v->committed : v->first - 1;
    return true;
}

bool logview_is_hidden(const struct record *record, const uint8_t *bytes, uint32_t size)
{
    return size < VALUE_HEADER_SIZE || bytes[0] != VALUE_MESSAGE ||
           (record->n_notes > 0 && record->notes[0].type == NOTE_HIDDEN);
}

struct reading {
    const struct logview *view;
    bool (*each)(void *user, const struct log_message *m);
    void *user;
    size_t n, n_max, bytes, bytes_max, n_hidden, bytes_hidden;
    slot_t next;
    bool full; /* or `each` wants no more, or enough was passed over */
    int error;
};

static bool reading_hand_over(struct reading *r, const struct log_message *m)
{
    size_t size = m->author_size + m->text_size;
    if (r->n > 0 && r->bytes + size > r->bytes_max) {
        r->full = true;
        return false;
    }
    r->n++;
    r->bytes += size;
    r->next = m->slot + 1;
    if (!r->each(r->user, m) || r->n == r->n_max)
        r->full = true;
    return true;
}

static bool read_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    struct reading *r = user;
    struct log_message m = {.slot = record->slot};
    if (r->full)
        return false;
    if (logview_is_hidden(record, bytes, size)) {
        r->next = record->slot + 1;
        r->bytes_hidden += size;
        r->full = ++r->n_hidden == LOGVIEW_HIDDEN_SLOTS_MAX || r->bytes_hidden >= LOGVIEW_HIDDEN_BYTES_MAX;
        return !r->full;
    }
    if (!values_view(bytes, size, &m)) {
        r->error = -EBADMSG;
        return false;
    }
    if (record->n_notes > 0 && record->notes[0].type == NOTE_TIME)
        m.time_usec = record->notes[0].time_usec;
    return reading_hand_over(r, &m) && !r->full;
}

/* From the journal, until the slots in memory begin. */
static int read_journal(struct reading *r)
{
    const struct logview *v = r->view;
    slot_t until;
    while (!r->full && logview_journal_end(v, r->next, &until)) {
        slot_t from = r->next;
        int n = v->reader != NULL
                    ? journal_reader_read(v->reader, from, until, LOGVIEW_PAGE_SLOTS, r->bytes_max, read_record, r)
                    : journal_read(v->journal, from, until, LOGVIEW_PAGE_SLOTS, r->bytes_max, read_record, r);
        if (r->error < 0)
            return r->error;
        if (n < 0 && !r->full)
            return n;
        if (r->next == from)
            break;
    }
    return 0;
}

int logview_read(const struct logview *view, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next)
{
    struct reading r = {.view = view, .each = each, .user = user, .n_max = n_max, .bytes_max = bytes_max, .next = from};
    if (from < logview_first_kept(view))
        return -ERANGE;
    r.full = n_max == 0;
    if (r.next < view->origin)
        r.next = view->origin;
    int error = read_journal(&r);
    if (error < 0 && r.n == 0) {
        *ret_next = r.next;
        return error;
    }
    while (!r.full && r.next >= view->first && r.next < view->next) {
        const struct kept *k = logview_kept(view, r.next);
        const struct value *v = k->value;
        struct log_message m = {
            .slot = r.next,
            .time_usec = k->time_usec,
            .author = (const char *)v->author,
            .text = (const char *)v->text,
            .author_size = v->author_size,
            .text_size = v->text_size,
        };
        if (!k->visible)
            r.next++;
        else if (!reading_hand_over(&r, &m))
            break;
    }
    *ret_next = r.next;
    return (int)r.n;
}
