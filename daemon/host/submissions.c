#include "host/submissions.h"

#include <stdlib.h>
#include <string.h>

#include "host/values.h"

enum call_state { CALL_FREE, CALL_QUEUED, CALL_OPEN, CALL_SETTLED };

struct call {
    struct session *session;      /* NULL: closed while this waited to be told */
    struct call *previous, *next; /* the session's, in order                   */
    struct call *link;            /* in the list of settled or of free calls   */
    struct value *value;          /* unparsed until it is first handed over    */
    uint64_t tag, order, n;
    slot_t slot;
    uint32_t generation; /* in the cookie: new at each handing over   */
    enum call_state state;
    enum submit_result result;
    bool attempted; /* handed over before, under another cookie  */
};

struct session {
    struct submissions *owner;
    struct session *previous, *next; /* of all                                       */
    struct session *link;            /* in the list of those with something to take  */
    void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot);
    void *user;
    uint64_t stream, next_n, next_order;
    struct call *first, *last;
    struct call *queued; /* the first one not handed over                */
    uint64_t retry_usec; /* not before; 0: at once                       */
    bool ready;          /* in the list                                  */
};

struct submissions {
    struct submissions_options options;
    struct session *sessions;
    struct session *ready_first, *ready_last;
    struct call *settled_first, *settled_last;
    struct call *free;
    uint32_t n_used; /* of the table: above it no call was ever used */
    size_t n_open;
    size_t n_waiting; /* sessions with a retry_usec */
    struct call calls[CALLS_MAX];
};

struct submissions *submissions_new(const struct submissions_options *o)
{
    struct submissions *s = calloc(1, sizeof(*s)); /* pages that no call uses are never touched */
    if (s != NULL)
        s->options = *o;
    return s;
}

static struct call *call_new(struct submissions *s)
{
    struct call *c = s->free;
    if (c != NULL)
        s->free = c->link;
    else if (s->n_used < CALLS_MAX)
        c = &s->calls[s->n_used++];
    else
        return NULL;
    uint32_t generation = c->generation;
    memset(c, 0, sizeof(*c));
    c->generation = generation;
    s->n_open++;
    return c;
}

static void call_free(struct submissions *s, struct call *c)
{
    values_unref(c->value);
    c->value = NULL;
    c->session = NULL;
    c->state = CALL_FREE;
    c->link = s->free;
    s->free = c;
    s->n_open--;
}

/* Bit 63 stays 0: cookies of positions have it. */
static uint64_t call_cookie(const struct submissions *s, const struct call *c)
{
    return (uint64_t)c->generation << 32 | (uint64_t)(c - s->calls + 1);
}

static void call_next_generation(struct call *c)
{
    c->generation = (c->generation + 1) & INT32_MAX;
}

static struct call *find_call(struct submissions *s, uint64_t cookie)
{
    uint64_t index = (cookie & UINT32_MAX) - 1;
    if (index >= s->n_used)
        return NULL;
    struct call *c = &s->calls[index];
    return c->state == CALL_OPEN && c->generation == cookie >> 32 ? c : NULL;
}

static void settle_call(struct submissions *s, struct call *c, enum submit_result result, slot_t slot)
{
    values_unref(c->value);
    c->value = NULL;
    c->state = CALL_SETTLED;
    c->result = result;
    c->slot = slot;
    c->link = NULL;
    if (s->settled_last != NULL)
        s->settled_last->link = c;
    else
        s->settled_first = c;
    s->settled_last = c;
}

/* The next call of the session that is not handed over: refused ones may stand between. */
static struct call *next_queued(const struct call *c)
{
    struct call *i = c->next;
    while (i != NULL && i->state != CALL_QUEUED)
        i = i->next;
    return i;
}

static void unlink_call(struct session *x, struct call *c)
{
    if (x->queued == c)
        x->queued = next_queued(c);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        x->first = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    else
        x->last = c->previous;
    c->previous = c->next = NULL;
}

static void make_ready(struct session *x)
{
    if (x->ready || x->queued == NULL || x->retry_usec != 0)
        return;
    struct submissions *s = x->owner;
    x->ready = true;
    x->link = NULL;
    if (s->ready_last != NULL)
        s->ready_last->link = x;
    else
        s->ready_first = x;
    s->ready_last = x;
}

static void make_unready(struct session *x)
{
    struct submissions *s = x->owner;
    struct session *before = NULL;
    if (!x->ready)
        return;
    for (struct session *i = s->ready_first; i != x; i = i->link)
        before = i;
    if (before != NULL)
        before->link = x->link;
    else
        s->ready_first = x->link;
    if (s->ready_last == x)
        s->ready_last = before;
    x->ready = false;
}

static void set_retry(struct session *x, uint64_t usec)
{
    struct submissions *s = x->owner;
    if (x->retry_usec == 0 && usec != 0)
        s->n_waiting++;
    if (x->retry_usec != 0 && usec == 0)
        s->n_waiting--;
    x->retry_usec = usec;
}

static uint64_t draw_stream(struct submissions *s)
{
    uint64_t stream;
    do
        stream = s->options.draw(s->options.user);
    while (stream == 0);
    return stream;
}

struct session *session_open(struct submissions *s,
                             void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot), void *user)
{
    struct session *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    x->owner = s;
    x->settled = settled;
    x->user = user;
    x->stream = draw_stream(s);
    x->next_n = 1;
    x->next = s->sessions;
    if (s->sessions != NULL)
        s->sessions->previous = x;
    s->sessions = x;
    return x;
}

static void forget_session(struct session *x, bool cancel)
{
    struct submissions *s = x->owner;
    make_unready(x);
    set_retry(x, 0);
    while (x->first != NULL) {
        struct call *c = x->first;
        unlink_call(x, c);
        if (c->state == CALL_SETTLED) { /* submissions_settle() frees it */
            c->session = NULL;
            continue;
        }
        if (c->state == CALL_OPEN && cancel)
            s->options.cancel(s->options.user, call_cookie(s, c));
        call_free(s, c);
    }
    if (x->previous != NULL)
        x->previous->next = x->next;
    else
        s->sessions = x->next;
    if (x->next != NULL)
        x->next->previous = x->previous;
    free(x);
}

void session_close(struct session *session)
{
    forget_session(session, true);
}

void submissions_free(struct submissions *s)
{
    if (s == NULL)
        return;
    for (struct session *x = s->sessions, *next; x != NULL; x = next) {
        next = x->next;
        forget_session(x, false);
    }
    free(s);
}

static struct value *encode_request(struct values *values, const struct submit_request *q, slot_t since,
                                    uint64_t time_usec)
{
    struct value_fields f = {
        .type = VALUE_MESSAGE,
        .since = since,
        .time_usec = time_usec,
        .author = q->author,
        .key = q->key,
        .text = q->text,
        .author_size = (uint8_t)q->author_size,
        .key_size = (uint8_t)q->key_size,
        .text_size = (uint32_t)q->text_size,
    };
    struct value *v = values_new(values, (uint32_t)value_encoded_size(&f));
    if (v == NULL)
        return NULL;
    value_encode(&f, v->bytes);
    v->refs = 1;
    return v;
}

void session_submit(struct session *session, const struct submit_request *q, slot_t since, uint64_t time_usec,
                    bool refuse)
{
    struct submissions *s = session->owner;
    struct call *c = call_new(s);
    if (c == NULL) { /* nowhere to keep it: the one case that is told at once */
        session->settled(session->user, q->tag, SUBMIT_OVERLOADED, 0);
        return;
    }
    c->session = session;
    c->tag = q->tag;
    c->order = session->next_order++;
    c->previous = session->last;
    if (session->last != NULL)
        session->last->next = c;
    else
        session->first = c;
    session->last = c;
    c->value = refuse ? NULL : encode_request(s->options.values, q, since, time_usec);
    if (c->value == NULL) {
        settle_call(s, c, SUBMIT_OVERLOADED, 0);
        return;
    }
    c->state = CALL_QUEUED;
    if (session->queued == NULL)
        session->queued = c;
    make_ready(session);
}

/* The value under its new number. One that the core has seen is left as it is: a value never changes after it was
 * parsed. */
static bool number_call(struct submissions *s, struct call *c, uint64_t stream, uint64_t n,
                        const struct hash128 *hash_key)
{
    struct value *v = c->value;
    if (c->attempted) {
        v = values_new(s->options.values, c->value->size);
        if (v == NULL)
            return false;
        memcpy(v->bytes, c->value->bytes, v->size);
    }
    values_set_number(v->bytes, stream, n);
    if (!value_parse(v, hash_key)) {
        if (v != c->value)
            values_discard(v);
        return false;
    }
    if (v != c->value) {
        values_unref(c->value);
        c->value = v;
    }
    return true;
}

/* The calls of one session, as many as fit. */
static size_t take_session(struct session *x, const struct hash128 *hash_key, uint64_t now_usec, struct submission *ret,
                           size_t max)
{
    struct submissions *s = x->owner;
    size_t n = 0;
    while (n < max && x->queued != NULL) {
        struct call *c = x->queued;
        if (!number_call(s, c, x->stream, x->next_n, hash_key)) {
            if (c->attempted) {
                set_retry(x, now_usec + CALL_RETRY_USEC);
                return n;
            }
            x->queued = next_queued(c);
            settle_call(s, c, SUBMIT_OVERLOADED, 0);
            continue;
        }
        c->n = x->next_n++;
        c->state = CALL_OPEN;
        call_next_generation(c);
        x->queued = next_queued(c);
        ret[n++] = (struct submission){.value = c->value, .cookie = call_cookie(s, c)};
    }
    return n;
}

size_t submissions_take(struct submissions *s, const struct hash128 *hash_key, uint64_t now_usec,
                        struct submission *ret, size_t max)
{
    size_t n = 0;
    while (n < max && s->ready_first != NULL) {
        struct session *x = s->ready_first;
        n += take_session(x, hash_key, now_usec, ret + n, max - n);
        if (x->queued != NULL && x->retry_usec == 0)
            break; /* full: it stays the first */
        make_unready(x);
    }
    return n;
}

/* The first call not handed over, after `c` became one again. */
static void requeue_call(struct call *c)
{
    struct session *x = c->session;
    c->state = CALL_QUEUED;
    c->attempted = true;
    if (x->queued == NULL || x->queued->order > c->order)
        x->queued = c;
}

/* Everything open goes again on a new stream. Later outcomes that say the same carry cookies of the old one. */
static void renumber(struct session *x)
{
    x->stream = draw_stream(x->owner);
    x->next_n = 1;
    for (struct call *c = x->first; c != NULL; c = c->next) {
        if (c->state == CALL_OPEN)
            requeue_call(c);
    }
    make_ready(x);
}

/* The core did not take it: its number, and those after it on the stream, which it then refused too, are free again. */
static void refuse_call(struct submissions *s, struct call *c, enum submit_result result, uint64_t now_usec)
{
    struct session *x = c->session;
    if (c->n < x->next_n)
        x->next_n = c->n;
    if (!c->attempted) {
        settle_call(s, c, result, 0);
        return;
    }
    make_unready(x);
    set_retry(x, now_usec + CALL_RETRY_USEC);
    requeue_call(c);
}

void submissions_outcome(struct submissions *s, const struct outcome *o, uint64_t now_usec)
{
    struct call *c = find_call(s, o->cookie);
    if (c == NULL)
        return;
    switch (o->type) {
    case OUTCOME_CHOSEN:
        settle_call(s, c, SUBMIT_CHOSEN, o->slot);
        break;
    case OUTCOME_DUPLICATE:
        settle_call(s, c, SUBMIT_DUPLICATE, o->slot);
        break;
    case OUTCOME_CONFLICT:
        settle_call(s, c, SUBMIT_CONFLICT, o->slot);
        break;
    case OUTCOME_EXPIRED:
        /* What was sent under the number before may have been stored, and its key forgotten since. */
        settle_call(s, c, c->attempted ? SUBMIT_UNKNOWN : SUBMIT_EXPIRED, o->slot);
        break;
    case OUTCOME_RENUMBER:
        renumber(c->session);
        break;
    case OUTCOME_OVERLOADED:
        refuse_call(s, c, SUBMIT_OVERLOADED, now_usec);
        break;
    case OUTCOME_NO_QUORUM:
        refuse_call(s, c, SUBMIT_NO_QUORUM, now_usec);
        break;
    case OUTCOME_NOT_STARTED:
        refuse_call(s, c, SUBMIT_NOT_STARTED, now_usec);
        break;
    case OUTCOME_NO_SPACE:
        refuse_call(s, c, SUBMIT_NO_SPACE, now_usec);
        break;
    case OUTCOME_POSITION:
        break;
    }
}

bool submissions_retry(struct submissions *s, uint64_t now_usec)
{
    if (s->n_waiting != 0) {
        for (struct session *x = s->sessions; x != NULL; x = x->next) {
            if (x->retry_usec != 0 && x->retry_usec <= now_usec) {
                set_retry(x, 0);
                make_ready(x);
            }
        }
    }
    return s->ready_first != NULL;
}

bool submissions_settle(struct submissions *s)
{
    bool any = s->settled_first != NULL;
    while (s->settled_first != NULL) {
        struct call *c = s->settled_first;
        s->settled_first = c->link;
        if (s->settled_first == NULL)
            s->settled_last = NULL;
        struct session *x = c->session;
        uint64_t tag = c->tag;
        enum submit_result result = c->result;
        slot_t slot = c->slot;
        if (x != NULL)
            unlink_call(x, c);
        call_free(s, c);
        if (x != NULL)
            x->settled(x->user, tag, result, slot); /* may close the session, and submit more */
    }
    return any;
}

size_t submissions_open(const struct submissions *s)
{
    return s->n_open;
}

void *session_host(const struct session *session)
{
    return session->owner->options.user;
}
