/* Catching up: a replica that misses chosen slots pulls them from any linked peer, and serves others in turn. */
#include "paxos/core.h"

enum {
    GAP_HEARTBEATS_PART = 10, /* wait T / 10 for what may only be late */
    USEC_PER_SEC = 1000000,
    FETCH_WAIT_USEC = 50000,
    FETCH_QUIET_USEC = 10000, /* after a part of the answer, for the next               */
    VALUE_BYTES_SHIFT = 5,    /* each counts 1 in 32 for what a value is taken for      */
};

static bool is_missing(const struct replica *r)
{
    return r->known_commit > r->chosen;
}

static bool is_chosen(const struct replica *r, slot_t slot)
{
    const struct cell *c = window_find(&r->window, slot);
    return slot <= r->chosen || (c != NULL && c->chosen);
}

/* Accepted, the leader's commit is likely to mark it. */
static bool is_accepted(const struct replica *r, slot_t slot)
{
    const struct cell *c = window_find(&r->window, slot);
    return c != NULL && c->value != NULL;
}

/* It keeps nothing that is missing here. */
static bool has_trimmed(const struct replica *r, uint32_t member)
{
    return r->peers[member].first_kept > r->chosen + 1;
}

/* All answers of a peer that are under way fit into what the receive buffer takes from it. */
static uint32_t answer_bytes(const struct replica *r)
{
    return r->config.space_bytes / 2 < FETCH_BYTES_MAX ? r->config.space_bytes / 2 : FETCH_BYTES_MAX;
}

static bool may_ask(const struct replica *r, uint32_t member)
{
    uint64_t bytes = answer_bytes(r);
    for (uint32_t i = 0; i < r->n_fetches; i++)
        if (r->fetches[i].peer == member)
            bytes += answer_bytes(r);
    return bytes <= r->config.space_bytes && peer_is_linked(r, member);
}

/* A random linked peer that knows this slot; another than the last one where there is a choice. Where all have trimmed
 * what is missing, one of those. */
static int choose_peer(struct replica *r, slot_t slot)
{
    uint32_t n = config_at(r)->n_members, start = (uint32_t)prng_below(&r->prng, n);
    int found = -1;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = (start + k) % n;
        if (i == r->me || r->peers[i].chosen < slot || !may_ask(r, i))
            continue;
        if (i != r->fetch_peer && !has_trimmed(r, i))
            return (int)i;
        if (found < 0 || has_trimmed(r, (uint32_t)found))
            found = (int)i;
    }
    return found;
}

/* As many slots as one answer is likely to bring, up to what is here or asked for. */
static slot_t last_of_range(const struct replica *r, slot_t from, slot_t known)
{
    slot_t n = answer_bytes(r) / r->fetch_value_bytes, until = from, last = r->chosen + r->window.n_cells;
    if (last > known)
        last = known;
    for (uint32_t i = 0; i < r->n_fetches; i++)
        if (r->fetches[i].from > from && r->fetches[i].from <= last)
            last = r->fetches[i].from - 1;
    if (n > FETCH_SLOTS_MAX)
        n = FETCH_SLOTS_MAX;
    while (until + 1 < from + n && until < last && !is_chosen(r, until + 1))
        until++;
    return until;
}

static void send_fetch(struct replica *r, slot_t from, uint32_t to)
{
    struct message *m = outgoing_push(r, MESSAGE_FETCH, member_id(r, to), 0);
    slot_t until = last_of_range(r, from, r->peers[to].chosen);
    struct fetching *f = &r->fetches[r->n_fetches++];
    *f = (struct fetching){.from = from, .until = until, .peer = to};
    f->until_usec = r->now_usec + FETCH_WAIT_USEC + 2 * r->peers[to].link_rtt_usec;
    r->fetch_peer = to;
    if (m == NULL)
        return; /* as good as lost */
    m->fetch = (struct fetch){.from = f->from, .until = f->until, .bytes_max = answer_bytes(r)};
    r->counters.fetches++;
}

/* Forgets what came, and what is overdue, which is asked for again first. True: something was overdue. */
static bool drop_fetches(struct replica *r)
{
    uint32_t kept = 0;
    bool overdue = false;
    for (uint32_t i = 0; i < r->n_fetches; i++) {
        struct fetching f = r->fetches[i];
        while (f.from <= f.until && is_chosen(r, f.from))
            f.from++;
        if (f.from > f.until)
            continue;
        if (f.until_usec > r->now_usec) {
            r->fetches[kept++] = f;
            continue;
        }
        overdue = true;
        if (r->fetch_next > f.from)
            r->fetch_next = f.from;
    }
    r->n_fetches = kept;
    return overdue;
}

/* The request that asks for this slot; NULL: none. */
static struct fetching *find_fetching(struct replica *r, slot_t slot)
{
    for (uint32_t i = 0; i < r->n_fetches; i++)
        if (r->fetches[i].from <= slot && slot <= r->fetches[i].until)
            return &r->fetches[i];
    return NULL;
}

/* The next slot that is neither here nor asked for. What was accepted is left to the leader's commit, unless it holds
 * up the prefix. */
static slot_t find_next(struct replica *r)
{
    slot_t s = r->fetch_next > r->chosen && r->n_fetches > 0 ? r->fetch_next : r->chosen + 1;
    const slot_t end = r->chosen + r->window.n_cells;
    for (;;) {
        const struct fetching *f = find_fetching(r, s);
        if (f != NULL)
            s = f->until + 1;
        else if (s <= end && (is_chosen(r, s) || (s > r->chosen + 1 && is_accepted(r, s))))
            s++;
        else
            break;
    }
    r->fetch_next = s;
    return s;
}

/* False: there is nothing more to ask for, or nobody. */
static bool ask(struct replica *r)
{
    slot_t from = find_next(r);
    if (from > r->known_commit || from > r->chosen + r->window.n_cells || !r->space)
        return false;
    int to = choose_peer(r, from);
    if (to >= 0 && has_trimmed(r, (uint32_t)to)) {
        if (r->n_fetches == 0) {
            r->install_from = member_id(r, (uint32_t)to);
            r->peers[to].first_kept = 0; /* what it only could not read, it may get back: it is asked again */
        }
        to = -1;
    }
    if (to >= 0)
        send_fetch(r, from, (uint32_t)to);
    return to >= 0;
}

uint64_t learner_timer(struct replica *r)
{
    if (!is_missing(r)) {
        r->gap_since_usec = r->fetch_at_usec = 0;
        r->n_fetches = 0;
        r->fetch_deep = false;
        return UINT64_MAX;
    }
    if (r->gap_since_usec == 0)
        r->gap_since_usec = r->now_usec;
    bool overdue = drop_fetches(r);
    if (r->n_fetches == 0) {
        uint64_t at = r->gap_since_usec + r->config.heartbeat_usec / GAP_HEARTBEATS_PART;
        if (r->fetch_at_usec > r->now_usec)
            return r->fetch_at_usec;
        if (!overdue && r->fetch_at_usec == 0 && (!r->fetch_deep || is_accepted(r, r->chosen + 1)) && at > r->now_usec)
            return at;
        r->fetch_deep = r->fetch_deep && !overdue;
    }
    while (r->n_fetches < (r->fetch_deep ? FETCHES_MAX : 1) && ask(r)) {
    }
    r->fetch_at_usec = r->n_fetches == 0 ? r->now_usec + r->config.heartbeat_usec : 0;
    uint64_t wake = r->n_fetches == 0 ? r->fetch_at_usec : UINT64_MAX;
    for (uint32_t i = 0; i < r->n_fetches; i++)
        if (r->fetches[i].until_usec < wake)
            wake = r->fetches[i].until_usec;
    return wake;
}

static void send_body(struct replica *r, uint32_t to, const struct fetch *f)
{
    const struct cell *c = window_find(&r->window, f->from);
    struct value *v = c == NULL ? NULL : c->value;
    if (v == NULL || !hash_equal(&v->hash, &f->hash))
        return;
    struct message *m = outgoing_push(r, MESSAGE_BODY, member_id(r, to), r->seq);
    if (m != NULL)
        m->body = (struct entry){.slot = f->from, .ballot = f->ballot, .value = v};
}

static void send_chosen(struct replica *r, replica_id_t to, const struct entry *entries, uint32_t n, slot_t first_kept)
{
    for (uint32_t i = 0; i < n; i++)
        r->catch_up_bytes -= entries[i].value->size;
    struct message *m = outgoing_push(r, MESSAGE_CHOSEN, to, 0);
    if (m != NULL)
        m->chosen = (struct chosen){.n_entries = n, .entries = entries, .first_kept = first_kept};
}

static void send_tail(struct replica *r, uint32_t to, slot_t from, slot_t until, uint32_t bytes_max)
{
    struct entry *entries = entries_take(r, (size_t)(until - from + 1));
    uint32_t n = 0;
    uint64_t bytes = 0;
    if (entries == NULL)
        return;
    for (slot_t s = from; s <= until; s++) {
        const struct cell *c = window_find(&r->window, s);
        if (c == NULL || (n > 0 && bytes + c->value->size > bytes_max))
            break;
        bytes += c->value->size;
        entries[n++] = (struct entry){.slot = s, .value = c->value};
    }
    if (n > 0)
        send_chosen(r, member_id(r, to), entries, n, 1);
}

/* What is over the rate is as good as lost: the peer asks again, here or elsewhere. */
static bool may_serve(struct replica *r)
{
    uint64_t elapsed_usec = r->now_usec - r->catch_up_usec;
    if (elapsed_usec > USEC_PER_SEC)
        elapsed_usec = USEC_PER_SEC;
    r->catch_up_bytes += (int64_t)(elapsed_usec * CATCH_UP_BYTES_PER_SEC / USEC_PER_SEC);
    if (r->catch_up_bytes > CATCH_UP_BURST_BYTES)
        r->catch_up_bytes = CATCH_UP_BURST_BYTES;
    r->catch_up_usec = r->now_usec;
    if (r->catch_up_bytes > 0)
        return true;
    r->counters.fetches_put_off++;
    return false;
}

void learner_fetch(struct replica *r, uint32_t from, const struct fetch *f)
{
    if (f->by_hash) {
        send_body(r, from, f);
        return;
    }
    if (!may_serve(r))
        return;
    slot_t until = f->until < r->chosen ? f->until : r->chosen;
    uint32_t bytes_max = f->bytes_max < FETCH_BYTES_MAX ? f->bytes_max : FETCH_BYTES_MAX;
    if (f->from == 0 || f->from > until)
        return;
    if (until > f->from + FETCH_SLOTS_MAX - 1)
        until = f->from + FETCH_SLOTS_MAX - 1;
    if (f->from >= r->tail_first) {
        send_tail(r, from, f->from, until, bytes_max);
        return;
    }
    if (until > r->tail_first - 1)
        until = r->tail_first - 1;
    if (until > r->commit_recorded)
        learner_record_commit(r);
    if (until > r->commit_recorded)
        until = r->commit_recorded;
    if (!r->fetch_wanted.wanted && f->from <= until)
        r->fetch_wanted = (struct fetch_request){
            .wanted = true, .to = member_id(r, from), .from = f->from, .until = until, .bytes_max = bytes_max};
}

void learner_fetched(struct replica *r, const struct event *e)
{
    struct entry *entries = entries_take(r, e->n_fetched);
    if (entries == NULL || (e->n_fetched == 0 && e->first_kept == 0) || !r->member)
        return;
    for (size_t i = 0; i < e->n_fetched; i++)
        entries[i] = e->fetched[i];
    send_chosen(r, e->to, entries, (uint32_t)e->n_fetched, e->first_kept);
}

/* Records a value that a peer knows to be chosen. Where this replica accepted the very same, its ACCEPT record serves.
 */
static void learn(struct replica *r, slot_t slot, struct value *v)
{
    struct cell *c = cell_take(r, slot);
    if (c->chosen)
        return;
    if (c->value == NULL || !hash_equal(&c->value->hash, &v->hash)) {
        /* A proposer that sees another value chosen than its own has been overtaken: it stops at once, or its
         * heartbeats would make its own value look chosen to those who accepted it. So has one that sees a slot chosen
         * which it has not proposed and its phase 1 did not report: only a higher ballot chose there. */
        bool own = c->value != NULL && ballot_equal(c->ballot, r->bid);
        slot_t free_from = r->barrier_slot != 0 ? r->next_slot : r->phase1_until + 1;
        if (r->phase == PHASE_LEADING && (own || slot >= free_from))
            proposer_stop(r);
        learner_record_commit(r);
        struct record *record = record_push(r, RECORD_CHOSEN);
        record->slot = slot;
        record->value = v;
        value_ref(v);
        value_unref(r, c->value);
        c->value = v;
        c->ballot = (struct ballot){0};
        c->seq = r->seq;
        if (slot > r->accepted_max)
            r->accepted_max = slot;
    }
    c->chosen = true;
    r->counters.fetched_slots++;
}

/* A peer says that it keeps less than was asked for. */
static void note_trimmed(struct replica *r, uint32_t from, slot_t first_kept)
{
    for (uint32_t i = 0; i < r->n_fetches; i++) {
        struct fetching *f = &r->fetches[i];
        if (f->peer == from && f->from < first_kept) {
            r->peers[from].first_kept = first_kept;
            f->until_usec = r->now_usec;
        }
    }
}

void learner_chosen(struct replica *r, uint32_t from, const struct chosen *m)
{
    slot_t before = r->chosen;
    if (!r->space || r->diverged)
        return;
    if (m->n_entries == 0)
        note_trimmed(r, from, m->first_kept);
    for (uint32_t i = 0; i < m->n_entries; i++) {
        const struct entry *e = &m->entries[i];
        if (e->value == NULL || e->slot <= r->chosen || e->slot > before + r->window.n_cells ||
            !records_have_room(r, 2))
            continue;
        learn(r, e->slot, e->value);
        learner_hint(r, from, e->slot);
        struct fetching *f = find_fetching(r, e->slot);
        if (f == NULL || f->peer != from)
            continue;
        r->fetch_deep = true;
        f->until_usec = r->now_usec + FETCH_QUIET_USEC;
        r->fetch_value_bytes += (e->value->size >> VALUE_BYTES_SHIFT) - (r->fetch_value_bytes >> VALUE_BYTES_SHIFT);
    }
    learner_advance(r);
}
