/* Messages of this replica's own clients: sent to the leader until the log settles them.
 *
 * The outcome is read off this replica's own applied prefix, by (stream, n), so it is the same whatever became of the
 * datagrams, and no answer of the leader is needed. */
#include "paxos/core.h"

enum {
    SUBMIT_RTO_MIN_USEC = 20000,
    SUBMIT_RTO_MAX_USEC = 500000,
    SUBMIT_ENTRIES_MAX = 512, /* of one SUBMIT, and sent again at once */
};

static uint32_t *bucket(const struct replica *r, uint64_t stream, uint64_t n)
{
    uint64_t h = (stream + n) * UINT64_C(0xff51afd7ed558ccd);
    return &r->open_buckets[(uint32_t)(h >> 32) & (r->n_buckets - 1)];
}

static uint32_t *cookie_bucket(const struct replica *r, uint64_t cookie)
{
    return &r->cookie_buckets[(uint32_t)((cookie * UINT64_C(0xff51afd7ed558ccd)) >> 32) & (r->n_buckets - 1)];
}

static uint32_t open_find(const struct replica *r, uint64_t stream, uint64_t n)
{
    uint32_t i = *bucket(r, stream, n);
    while (i != 0 && !(r->open[i - 1].value->stream == stream && r->open[i - 1].value->n == n))
        i = r->open[i - 1].next_hash;
    return i;
}

static void open_add(struct replica *r, const struct submission *s)
{
    uint32_t i = r->open_free, *b = bucket(r, s->value->stream, s->value->n);
    struct open_submission *o = &r->open[i - 1];
    r->open_free = o->next;
    *o = (struct open_submission){
        .value = value_ref(s->value), .cookie = s->cookie, .next_hash = *b, .previous = r->open_last};
    o->next_cookie = *cookie_bucket(r, s->cookie);
    *cookie_bucket(r, s->cookie) = i;
    *b = i;
    if (r->open_last != 0)
        r->open[r->open_last - 1].next = i;
    else
        r->open_first = i;
    r->open_last = i;
    r->n_open++;
}

static void open_remove(struct replica *r, uint32_t i)
{
    struct open_submission *o = &r->open[i - 1];
    uint32_t *link = bucket(r, o->value->stream, o->value->n);
    while (*link != i)
        link = &r->open[*link - 1].next_hash;
    *link = o->next_hash;
    link = cookie_bucket(r, o->cookie);
    while (*link != i)
        link = &r->open[*link - 1].next_cookie;
    *link = o->next_cookie;
    if (o->previous != 0)
        r->open[o->previous - 1].next = o->next;
    else
        r->open_first = o->next;
    if (o->next != 0)
        r->open[o->next - 1].previous = o->previous;
    else
        r->open_last = o->previous;
    value_unref(r, o->value);
    *o = (struct open_submission){.next = r->open_free};
    r->open_free = i;
    r->n_open--;
}

/* Its stream was evicted while nothing was open on it: the number would never get its turn. */
static bool is_evicted(const struct replica *r, const struct value *v)
{
    return v->n > 1 && dedup_stream_last(r->dedup, v->stream) != v->n - 1 && open_find(r, v->stream, v->n - 1) == 0;
}

/* Refused only where nothing of it was journaled or sent, so "certainly not chosen" is true. Within one event a refusal
 * stays one for all that follows. */
void origin_submit(struct replica *r, const struct submission *s, size_t n)
{
    bool silent = !r->quorum && r->now_usec - r->quorum_since_usec > 2 * r->election_usec;
    for (size_t i = 0; i < n; i++) {
        if (!r->member)
            outcome_push(r, s[i].cookie, OUTCOME_NOT_STARTED, 0);
        else if (!r->space)
            outcome_push(r, s[i].cookie, OUTCOME_NO_SPACE, 0);
        else if (silent || r->diverged)
            outcome_push(r, s[i].cookie, OUTCOME_NO_QUORUM, 0);
        else if (r->open_free == 0)
            outcome_push(r, s[i].cookie, OUTCOME_OVERLOADED, 0);
        else if (is_evicted(r, s[i].value))
            outcome_push(r, s[i].cookie, OUTCOME_RENUMBER, 0);
        else
            open_add(r, &s[i]);
    }
}

void origin_cancel(struct replica *r, uint64_t cookie)
{
    uint32_t i = *cookie_bucket(r, cookie);
    while (i != 0 && r->open[i - 1].cookie != cookie)
        i = r->open[i - 1].next_cookie;
    if (i != 0)
        open_remove(r, i);
}

void origin_seen(struct replica *r, const struct value *v)
{
    uint32_t i = r->n_open == 0 || v->stream == 0 ? 0 : open_find(r, v->stream, v->n);
    struct open_submission *o = i == 0 ? NULL : &r->open[i - 1];
    if (o == NULL || o->seen)
        return;
    o->seen = true;
    if (o->sent_usec != 0)
        r->submit_srtt_usec = (7 * r->submit_srtt_usec + (r->now_usec - o->sent_usec)) / 8;
}

static void settle(struct replica *r, uint32_t i, slot_t slot, enum dedup_verdict verdict, slot_t other)
{
    struct open_submission *o = &r->open[i - 1];
    uint64_t cookie = o->cookie;
    open_remove(r, i);
    switch (verdict) {
    case DEDUP_STORED:
        outcome_push(r, cookie, OUTCOME_CHOSEN, slot);
        break;
    case DEDUP_DUPLICATE:
        outcome_push(r, cookie, OUTCOME_DUPLICATE, other);
        break;
    case DEDUP_CONFLICT:
        outcome_push(r, cookie, OUTCOME_CONFLICT, other);
        break;
    case DEDUP_EXPIRED:
        outcome_push(r, cookie, OUTCOME_EXPIRED, other);
        break;
    case DEDUP_VOID:
        break;
    }
}

void origin_settle(struct replica *r, slot_t slot, const struct value *v, enum dedup_verdict verdict, slot_t other)
{
    uint32_t i = r->n_open == 0 || v->stream == 0 ? 0 : open_find(r, v->stream, v->n);
    if (i == 0)
        return;
    if (verdict != DEDUP_VOID) {
        settle(r, i, slot, verdict, other);
        return;
    }
    r->open[i - 1].sent_usec = 0; /* nothing became of it: at once again */
    r->open[i - 1].seen = false;
    r->submit_at_usec = r->now_usec;
}

void origin_evicted(struct replica *r, uint64_t stream)
{
    for (uint32_t i = r->open_first, next; r->n_open > 0 && i != 0; i = next) {
        next = r->open[i - 1].next;
        if (r->open[i - 1].value->stream == stream) {
            uint64_t cookie = r->open[i - 1].cookie;
            open_remove(r, i);
            outcome_push(r, cookie, OUTCOME_RENUMBER, 0);
        }
    }
}

/* What settled them is not known here: submitted again, each finds what became of it by its key. */
void origin_renumber(struct replica *r)
{
    while (r->n_open > 0) {
        outcome_push(r, r->open[r->open_first - 1].cookie, OUTCOME_RENUMBER, 0);
        open_remove(r, r->open_first);
    }
}

static uint64_t submit_rto(const struct replica *r)
{
    uint64_t rto = 4 * r->submit_srtt_usec;
    if (rto < SUBMIT_RTO_MIN_USEC)
        return SUBMIT_RTO_MIN_USEC;
    return rto > SUBMIT_RTO_MAX_USEC ? SUBMIT_RTO_MAX_USEC : rto;
}

static bool is_due(const struct replica *r, const struct open_submission *o)
{
    return o->sent_usec == 0 || r->now_usec - o->sent_usec >= (o->seen ? 4 : 1) * submit_rto(r);
}

static void send_due(struct replica *r, uint32_t leader, uint32_t first)
{
    struct entry *entries = entries_take(r, SUBMIT_ENTRIES_MAX);
    uint32_t n = 0;
    uint64_t bytes = 0;
    if (entries == NULL)
        return;
    for (uint32_t i = first; i != 0; i = r->open[i - 1].next) {
        struct open_submission *o = &r->open[i - 1];
        if (!is_due(r, o))
            continue;
        if (n == SUBMIT_ENTRIES_MAX || bytes > RESEND_BYTES_MAX) {
            r->again = n == SUBMIT_ENTRIES_MAX;
            break;
        }
        entries[n++] = (struct entry){.hops = 1, .value = o->value};
        bytes += o->value->size;
        o->sent_usec = r->now_usec;
    }
    struct message *m = n == 0 ? NULL : outgoing_push(r, MESSAGE_SUBMIT, member_id(r, leader), 0);
    if (m != NULL)
        m->submit = (struct submit){.n_entries = n, .entries = entries};
    r->counters.submits_forwarded += n;
}

static void take_in(struct replica *r, uint32_t first)
{
    for (uint32_t i = first; i != 0; i = r->open[i - 1].next) {
        struct open_submission *o = &r->open[i - 1];
        if (!is_due(r, o))
            continue;
        o->sent_usec = r->now_usec;
        intake_add(r, o->value, true);
    }
}

/* Looks at what is open when something new is there or due; a new leader gets everything from the start. */
void origin_pump(struct replica *r)
{
    int leader = election_route(r);
    if (leader < 0 || r->n_open == 0)
        return;
    struct ballot b = election_route_ballot(r, leader);
    if (ballot_is_none(b))
        return;
    if (!ballot_equal(b, r->origin_ballot)) {
        r->origin_ballot = b;
        for (uint32_t i = r->open_first; i != 0; i = r->open[i - 1].next) {
            r->open[i - 1].sent_usec = 0;
            r->open[i - 1].seen = false;
        }
        r->submit_at_usec = 0;
    }
    uint32_t first = r->open_first;
    if (r->submit_at_usec > r->now_usec) { /* only what is new: it stands at the end */
        for (first = 0; r->open[(first == 0 ? r->open_last : r->open[first - 1].previous) - 1].sent_usec == 0;) {
            first = first == 0 ? r->open_last : r->open[first - 1].previous;
            if (r->open[first - 1].previous == 0)
                break;
        }
    } else {
        r->submit_at_usec = r->now_usec + submit_rto(r) / 2;
    }
    if (first == 0)
        return;
    if ((uint32_t)leader == r->me)
        take_in(r, first);
    else
        send_due(r, (uint32_t)leader, first);
}

uint64_t origin_timer(struct replica *r)
{
    if (r->n_open == 0 || election_route(r) < 0)
        return UINT64_MAX;
    return r->submit_at_usec > r->now_usec ? r->submit_at_usec : r->now_usec + SUBMIT_RTO_MIN_USEC;
}
