#include "host/logread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/values.h"
#include "paxos/bytes.h"
#include "paxos/checkpoint.h"

struct logread {
    struct values *values;
    struct logview view; /* its origin: the first slot that was applied */
    struct hash128 cluster;
    uint64_t bytes;           /* of the values in memory                     */
    uint64_t messages, noops; /* in all                                      */
    uint64_t messages_before; /* below what is in memory                     */
    uint64_t *index;          /* [i]: messages below slot (index_first + i) * LOGREAD_INDEX_SLOTS */
    slot_t index_first;
    size_t n_index, index_room;
    bool index_broken; /* memory was out when it had to grow              */
    struct kept kept[LOGVIEW_TAIL_SLOTS];
};

static bool index_grow(struct logread *l, size_t at)
{
    size_t room = 2 * (at + LOGREAD_INDEX_AHEAD);
    uint64_t *index = realloc(l->index, room * sizeof(*index));
    if (index == NULL)
        return false;
    l->index = index;
    l->index_room = room;
    return true;
}

struct logread *logread_new(struct values *values)
{
    struct logread *l = calloc(1, sizeof(*l));
    if (l == NULL || !index_grow(l, 0)) {
        free(l);
        return NULL;
    }
    l->values = values;
    l->view.kept = l->kept;
    return l;
}

/* What is being added, from slot `added` on, is not freed: where the core has let go of it already, whoever called
 * frees it with the rest of what was released. */
static void drop_first(struct logread *l, slot_t added)
{
    struct kept *k = logview_kept(&l->view, l->view.first);
    l->bytes -= k->value->size;
    l->messages_before += k->visible;
    if (l->view.first >= added)
        k->value->refs--;
    else
        values_unref(k->value);
    k->value = NULL;
    l->view.first++;
}

void logread_free(struct logread *l)
{
    if (l == NULL)
        return;
    while (l->view.first < l->view.next)
        drop_first(l, UINT64_MAX);
    free(l->index);
    free(l);
}

void logread_attach(struct logread *l, struct journal *journal, const struct hash128 *cluster)
{
    l->view.journal = journal;
    l->cluster = *cluster;
}

static void index_slot(struct logread *l, slot_t slot)
{
    if (slot % LOGREAD_INDEX_SLOTS != 0 || l->index_broken)
        return;
    size_t at = (size_t)(slot / LOGREAD_INDEX_SLOTS - l->index_first);
    if (at + LOGREAD_INDEX_AHEAD >= l->index_room && !index_grow(l, at) && at >= l->index_room) {
        l->index_broken = true;
        return;
    }
    for (; l->n_index <= at; l->n_index++) /* below the first slot that was applied there is none */
        l->index[l->n_index] = l->n_index == at ? l->messages : 0;
}

void logread_add(struct logread *l, const struct applied *applied, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct applied *a = &applied[i];
        if (l->messages + l->noops == 0)
            l->view.origin = l->view.first = l->view.next = a->slot;
        if (l->view.next - l->view.first == LOGVIEW_TAIL_SLOTS)
            drop_first(l, applied[0].slot);
        index_slot(l, a->slot);
        *logview_kept(&l->view, a->slot) =
            (struct kept){.value = value_ref(a->value), .time_usec = a->time_usec, .visible = a->visible};
        l->bytes += a->value->size;
        l->view.next++;
        if (a->visible)
            l->messages++;
        else
            l->noops++;
        while (l->bytes > LOGREAD_TAIL_BYTES && l->view.next - l->view.first > 1)
            drop_first(l, applied[0].slot);
    }
}

/* --- checkpoints --- */

static size_t index_entries(slot_t slot, slot_t first_kept)
{
    return (size_t)(slot / LOGREAD_INDEX_SLOTS - first_kept / LOGREAD_INDEX_SLOTS + 1);
}

int logread_checkpoint(const struct logread *l, slot_t first_kept, uint8_t **ret, uint32_t *ret_size)
{
    size_t n = index_entries(l->view.next - 1, first_kept);
    size_t size = LOGREAD_CHECKPOINT_HEAD + 8 * n,
           skipped = (size_t)(first_kept / LOGREAD_INDEX_SLOTS - l->index_first);
    if (l->index_broken || size > CHECKPOINT_HOST_BYTES_MAX)
        return l->index_broken ? -ENODATA : -EFBIG;
    uint8_t *bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    put_u64(bytes, l->messages);
    put_u64(bytes + 8, l->noops);
    for (size_t i = 0; i < n; i++) /* the first one stands in no index before there is a second */
        put_u64(bytes + LOGREAD_CHECKPOINT_HEAD + 8 * i, skipped + i < l->n_index ? l->index[skipped + i] : 0);
    *ret = bytes;
    *ret_size = (uint32_t)size;
    return 0;
}

bool logread_checkpoint_is_sound(const uint8_t *bytes, size_t size, slot_t slot, slot_t first_kept)
{
    uint64_t before = 0;
    if (first_kept > slot || size < LOGREAD_CHECKPOINT_HEAD ||
        slot / LOGREAD_INDEX_SLOTS - first_kept / LOGREAD_INDEX_SLOTS >= CHECKPOINT_HOST_BYTES_MAX ||
        size != LOGREAD_CHECKPOINT_HEAD + 8 * index_entries(slot, first_kept))
        return false;
    uint64_t messages = get_u64(bytes), noops = get_u64(bytes + 8);
    if (messages > slot || noops != slot - messages)
        return false;
    for (size_t at = LOGREAD_CHECKPOINT_HEAD; at < size; at += 8) {
        uint64_t count = get_u64(bytes + at);
        if (count < before || count > messages)
            return false;
        before = count;
    }
    return true;
}

int logread_restore(struct logread *l, const uint8_t *bytes, size_t size, slot_t slot, slot_t first_kept)
{
    size_t n = (size - LOGREAD_CHECKPOINT_HEAD) / 8;
    uint64_t *index = malloc((n + LOGREAD_INDEX_AHEAD) * sizeof(*index));
    if (index == NULL)
        return -ENOMEM;
    while (l->view.first < l->view.next)
        drop_first(l, UINT64_MAX);
    for (size_t i = 0; i < n; i++)
        index[i] = get_u64(bytes + LOGREAD_CHECKPOINT_HEAD + 8 * i);
    free(l->index);
    l->index = index;
    l->index_first = first_kept / LOGREAD_INDEX_SLOTS;
    l->n_index = n;
    l->index_room = n + LOGREAD_INDEX_AHEAD;
    l->index_broken = false;
    l->messages = l->messages_before = get_u64(bytes);
    l->noops = get_u64(bytes + 8);
    l->view.origin = 1;
    l->view.first = l->view.next = slot + 1;
    logread_committed(l, slot);
    return 0;
}

slot_t logread_committed_slot(const struct logread *l)
{
    return l->view.has_committed ? l->view.committed : 0;
}

void logread_committed(struct logread *l, slot_t slot)
{
    l->view.committed = slot;
    l->view.has_committed = true;
}

slot_t logread_first_kept(const struct logread *l)
{
    return logview_first_kept(&l->view);
}

size_t logread_held(const struct logread *l)
{
    return (size_t)(l->view.next - l->view.first);
}

uint64_t logread_messages(const struct logread *l)
{
    return l->messages;
}

uint64_t logread_noops(const struct logread *l)
{
    return l->noops;
}

int logread_read(struct logread *l, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next)
{
    return logview_read(&l->view, from, n_max, bytes_max, each, user, ret_next);
}

/* --- for another thread --- */

slot_t logread_hold(struct logread *l, slot_t from, slot_t until, struct logview *ret)
{
    struct kept *kept = ret->kept;
    struct journal_reader *reader = ret->reader;
    slot_t end, last = from - 1;
    *ret = l->view;
    ret->kept = kept;
    ret->reader = reader;
    if (from >= ret->first)
        last = ret->next > from ? ret->next - 1 : last;
    else if (logview_journal_end(ret, from, &end))
        last = end == ret->first - 1 ? ret->next - 1 : end;
    last = last < until ? last : until;
    ret->committed = ret->committed < last ? ret->committed : last;
    ret->first = ret->first > from ? ret->first : from;
    ret->next = ret->next < last + 1 ? ret->next : last + 1;
    ret->next = ret->next > ret->first ? ret->next : ret->first;
    for (slot_t s = ret->first; s < ret->next; s++) {
        *logview_kept(ret, s) = *logview_kept(&l->view, s);
        value_ref(logview_kept(ret, s)->value);
    }
    return last;
}

void logread_release(struct logview *v)
{
    for (; v->first < v->next; v->first++)
        values_unref(logview_kept(v, v->first)->value);
}

struct counting {
    uint64_t left; /* messages to pass over */
    slot_t slot;
    bool found;
};

static bool count_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    struct counting *c = user;
    if (logview_is_hidden(record, bytes, size))
        return true;
    if (c->left == 0) {
        c->slot = record->slot;
        c->found = true;
        return false;
    }
    c->left--;
    return true;
}

/* Passes over c->left messages from *from on, below `end`, as far as one piece goes. False: there is no more. */
static bool count_piece(struct logread *l, slot_t *from, slot_t end, struct counting *c)
{
    slot_t until;
    int n = 0;
    if (*from < end && logview_journal_end(&l->view, *from, &until))
        n = journal_read(l->view.journal, *from, until < end - 1 ? until : end - 1, LOGVIEW_PAGE_SLOTS,
                         LOGVIEW_HIDDEN_BYTES_MAX, count_record, c);
    *from += n > 0 ? (slot_t)n : 0;
    return n > 0 && !c->found;
}

/* A stretch of slots below those in memory, and how many messages stand before its begin and its end. */
struct stretch {
    slot_t begin, end;
    uint64_t before, after;
    bool before_is_known;
};

/* The one that holds the message with `ordinal` messages before it. */
static struct stretch find_stretch(const struct logread *l, uint64_t ordinal, slot_t kept)
{
    size_t low = 0, high = l->n_index;
    while (low + 1 < high) { /* index[low] <= ordinal */
        size_t middle = low + (high - low) / 2;
        if (l->index[middle] <= ordinal)
            low = middle;
        else
            high = middle;
    }
    slot_t begin = (l->index_first + low) * LOGREAD_INDEX_SLOTS;
    if (l->n_index > 0 && l->index[low] > ordinal) /* kept here, although the log needs it no longer */
        return (struct stretch){.begin = kept, .end = begin, .after = l->index[low]};
    bool last =
        low + 1 >= l->n_index || begin + LOGREAD_INDEX_SLOTS > l->view.first; /* the journal may lack the rest */
    return (struct stretch){.begin = begin < kept ? kept : begin,
                            .end = last ? l->view.first : begin + LOGREAD_INDEX_SLOTS,
                            .before = l->n_index > 0 ? l->index[low] : 0,
                            .after = last ? l->messages_before : l->index[low + 1],
                            .before_is_known = begin >= kept};
}

static void begin_search(struct logread *l, struct tail_search *t)
{
    struct stretch s = find_stretch(l, t->ordinal, logread_first_kept(l));
    t->begin = t->at = s.begin < l->view.origin ? l->view.origin : s.begin;
    t->end = s.end;
    t->stop = l->view.first;
    t->after = s.after;
    t->searches = s.before_is_known;
    t->left = t->ordinal - s.before;
}

static bool search_journal(struct logread *l, struct tail_search *t, slot_t *ret)
{
    struct counting all = {.left = UINT64_MAX - t->passed}, c = {.left = t->left};
    if (!t->searches) {
        bool more = count_piece(l, &t->at, t->end, &all);
        t->passed = UINT64_MAX - all.left;
        if (more)
            return false;
        uint64_t before = t->after - t->passed;
        *ret = t->begin;
        if (t->ordinal < before) /* no longer kept */
            return true;
        t->left = t->ordinal - before;
        t->at = t->begin;
        t->searches = true;
        return false;
    }
    bool more = count_piece(l, &t->at, t->stop, &c);
    t->left = c.left;
    *ret = c.found ? c.slot : t->stop;
    return !more;
}

bool logread_tail(struct logread *l, struct tail_search *t, slot_t *ret)
{
    if (t->begun)
        return search_journal(l, t, ret);
    t->begun = true;
    *ret = t->n == 0 ? l->view.next : logread_first_kept(l);
    if (t->n == 0 || t->n >= l->messages)
        return true;
    t->ordinal = l->messages - t->n;
    *ret = l->view.first;
    if (t->ordinal < l->messages_before) {
        if (!l->index_broken)
            begin_search(l, t);
        return l->index_broken;
    }
    for (uint64_t left = t->ordinal - l->messages_before; *ret < l->view.next; (*ret)++) {
        if (logview_kept(&l->view, *ret)->visible && left-- == 0)
            break;
    }
    return true;
}

struct fetching {
    struct logread *l;
    struct entry *ret;
    size_t n, bytes, bytes_max;
    slot_t next;
    int error;
};

static bool fetch_record(void *user, struct record *record, const uint8_t *bytes, uint32_t size)
{
    struct fetching *f = user;
    struct value *v;
    if (record->slot != f->next || (f->n > 0 && f->bytes + size > f->bytes_max))
        return false;
    f->error = values_copy(f->l->values, bytes, size, &f->l->cluster, &v);
    if (f->error < 0)
        return false;
    f->ret[f->n++] = (struct entry){.slot = record->slot, .value = v};
    f->next++;
    f->bytes += size;
    return true;
}

int logread_fetch(struct logread *l, slot_t from, slot_t until, size_t n_max, size_t bytes_max, struct entry *ret)
{
    struct fetching f = {.l = l, .ret = ret, .next = from, .bytes_max = bytes_max};
    slot_t end;
    if (n_max == 0)
        return 0;
    if (logview_journal_end(&l->view, from, &end)) {
        int n = journal_read(l->view.journal, from, end < until ? end : until, n_max, bytes_max, fetch_record, &f);
        return f.n > 0 ? (int)f.n : f.error < 0 ? f.error : n < 0 ? n : 0;
    }
    while (f.n < n_max && f.next >= l->view.first && f.next < l->view.next && f.next <= until) {
        struct value *v = logview_kept(&l->view, f.next)->value;
        if (f.n > 0 && f.bytes + v->size > bytes_max)
            break;
        f.bytes += v->size;
        ret[f.n++] = (struct entry){.slot = f.next++, .value = value_ref(v)};
    }
    return (int)f.n;
}
