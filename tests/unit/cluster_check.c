/* The observer: chosen values, proposals, and votes against what is durable. */
#include "tests/unit/cluster_check.h"

#include <stdlib.h>
#include <string.h>

#include "paxos/bytes.h"

enum { LEADERSHIPS_MAX = 4096 };

/* Who used a ballot: one boot of one host. */
struct owner {
    struct ballot ballot;
    uint32_t host;
    uint64_t boot;
    bool led;
};

struct observer {
    struct log_slot **slots; /* of 256 each */
    size_t n_pages;
    slot_t chosen, applied; /* prefixes */
    bool has_slot0;
    uint64_t lives[CLUSTER_HOSTS_MAX]; /* of the configuration; 0: not known yet */
    bool has_cluster;
    struct hash128 cluster;
    struct owner owners[LEADERSHIPS_MAX];
    uint32_t n_owners;
    uint64_t last_time_usec;
    struct model *model;
};

enum { PAGE_SLOTS = 256 };

struct observer *observer_make(struct cluster *c)
{
    struct observer *o = calloc(1, sizeof(*o));
    if (!o)
        abort();
    o->model = model_make(c->options.dedup_slots, c->options.streams_max);
    return o;
}

void observer_free(struct cluster *c)
{
    struct observer *o = c->observer;
    if (!o)
        return;
    for (size_t i = 0; i < o->n_pages; i++)
        free(o->slots[i]);
    free((void *)o->slots);
    model_free(o->model);
    free(o);
}

const struct log_slot *observer_slot(const struct cluster *c, slot_t slot)
{
    const struct observer *o = c->observer;
    size_t page = slot / PAGE_SLOTS;
    return page < o->n_pages && o->slots[page] ? &o->slots[page][slot % PAGE_SLOTS] : NULL;
}

static struct log_slot *slot_at(struct cluster *c, slot_t slot)
{
    struct observer *o = c->observer;
    size_t page = slot / PAGE_SLOTS;
    if (page > 100000)
        cluster_fail(c, "slot %lu", slot);
    while (page >= o->n_pages) {
        size_t n = o->n_pages ? 2 * o->n_pages : 16;
        o->slots = realloc(o->slots, n * sizeof(struct log_slot *));
        if (!o->slots)
            abort();
        memset((void *)(o->slots + o->n_pages), 0, (n - o->n_pages) * sizeof(struct log_slot *));
        o->n_pages = n;
    }
    if (!o->slots[page]) {
        o->slots[page] = calloc(PAGE_SLOTS, sizeof(struct log_slot));
        if (!o->slots[page])
            abort();
    }
    return &o->slots[page][slot % PAGE_SLOTS];
}

slot_t observer_chosen(const struct cluster *c)
{
    return c->observer->chosen;
}

slot_t observer_applied_until(const struct cluster *c)
{
    return c->observer->applied;
}

uint64_t observer_leaderships(const struct cluster *c)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->observer->n_owners; i++)
        n += c->observer->owners[i].led;
    return n;
}

static bool is_chosen_here(const struct cluster *c, slot_t slot, const struct body *b)
{
    const struct log_slot *s = observer_slot(c, slot);
    return s && s->chosen && (!b || s->chosen == b);
}

/* --- who may vote, and under which ballot --- */

/* The lives of the configuration are known from the first durable voter; later ones must agree. */
void observer_identity(struct cluster *c, uint32_t host, const struct identity *i)
{
    struct observer *o = c->observer;
    if (!o || i->status != IDENTITY_VOTER)
        return;
    if (o->has_cluster && !hash_equal(&o->cluster, &i->cluster))
        cluster_fail(c, "host %u is a voter of another cluster (trap 34)", host);
    o->has_cluster = true;
    o->cluster = i->cluster;
    for (uint32_t m = 0; m < i->configuration.n_members; m++) {
        const struct host *h = cluster_host_by_id(c, i->configuration.members[m].id);
        uint64_t life = i->configuration.members[m].life;
        if (!h || (o->lives[h->index] && o->lives[h->index] != life))
            cluster_fail(c, "host %u: another life of member %u in its configuration", host,
                         i->configuration.members[m].id);
        o->lives[h->index] = life;
    }
    if (o->lives[host] != i->life)
        cluster_fail(c, "host %u: a voter whose life is not admitted (trap 34)", host);
}

static void check_voter(struct host *h, const char *what)
{
    const struct identity *i = &h->disk.identity;
    if (i->status != IDENTITY_VOTER || h->cluster->observer->lives[h->index] != i->life)
        cluster_fail(h->cluster, "host %u: %s, but its disk says that it is no voter (trap 34)", h->index, what);
}

static void use_ballot(struct host *h, struct ballot b, bool leads)
{
    struct cluster *c = h->cluster;
    struct observer *o = c->observer;
    if (b.id != h->id)
        cluster_fail(c, "host %u uses ballot %lu.%u of another", h->index, b.round, b.id);
    uint32_t i = o->n_owners;
    while (i > 0 && !ballot_equal(o->owners[i - 1].ballot, b))
        i--;
    if (i == 0) {
        if (o->n_owners == LEADERSHIPS_MAX)
            cluster_fail(c, "more than %d ballots", LEADERSHIPS_MAX);
        i = ++o->n_owners;
        o->owners[i - 1] = (struct owner){.ballot = b, .host = h->index, .boot = h->boot};
    }
    struct owner *w = &o->owners[i - 1];
    if (w->host != h->index || w->boot != h->boot)
        cluster_fail(c, "ballot %lu.%u is used by two lives: host %u boot %lu, host %u boot %lu (trap 1)", b.round,
                     b.id, w->host, w->boot, h->index, h->boot);
    w->led |= leads;
}

/* --- proposals and votes --- */

static struct proposal *propose(struct host *h, slot_t slot, struct ballot b, const struct body *body)
{
    struct cluster *c = h->cluster;
    struct log_slot *s = slot_at(c, slot);
    struct proposal *p = NULL;
    for (uint32_t i = 0; i < s->n_proposals && !p; i++) {
        if (ballot_equal(s->proposals[i].ballot, b))
            p = &s->proposals[i];
    }
    if (!p) {
        if (s->n_proposals == BALLOTS_PER_SLOT_MAX)
            cluster_fail(c, "slot %lu was proposed under more than %d ballots", slot, BALLOTS_PER_SLOT_MAX);
        p = &s->proposals[s->n_proposals++];
        *p = (struct proposal){.ballot = b, .body = body};
    }
    if (p->body != body)
        cluster_fail(c, "host %u: two values under slot %lu, ballot %lu.%u (trap 11)", h->index, slot, b.round, b.id);
    if (s->chosen && s->chosen != body && ballot_compare(b, s->chosen_ballot) > 0)
        cluster_fail(c, "host %u: slot %lu was chosen under %lu.%u, another value is proposed under %lu.%u", h->index,
                     slot, s->chosen_ballot.round, s->chosen_ballot.id, b.round, b.id);
    return p;
}

static void choose(struct cluster *c, slot_t slot, const struct proposal *p)
{
    struct observer *o = c->observer;
    struct log_slot *s = slot_at(c, slot);
    if (s->chosen && s->chosen != p->body)
        cluster_fail(c, "slot %lu: two values are chosen, under %lu.%u and %lu.%u", slot, s->chosen_ballot.round,
                     s->chosen_ballot.id, p->ballot.round, p->ballot.id);
    if (!s->chosen || ballot_compare(p->ballot, s->chosen_ballot) < 0)
        s->chosen_ballot = p->ballot;
    s->chosen = p->body;
    for (uint32_t i = 0; i < s->n_proposals; i++) {
        const struct proposal *q = &s->proposals[i];
        if (q->body != s->chosen && ballot_compare(q->ballot, s->chosen_ballot) > 0)
            cluster_fail(c, "slot %lu is chosen under %lu.%u, but another value was proposed under %lu.%u", slot,
                         s->chosen_ballot.round, s->chosen_ballot.id, q->ballot.round, q->ballot.id);
    }
    while (is_chosen_here(c, o->chosen + 1, NULL))
        o->chosen++;
}

void observer_durable(struct host *h, const struct disk_record *r)
{
    if (h->cluster->lone)
        return;
    if (r->type == RECORD_IDENTITY)
        observer_identity(h->cluster, h->index, r->identity);
    if (r->type != RECORD_ACCEPT || r->slot == 0)
        return;
    check_voter(h, "an ACCEPT record");
    struct proposal *p = propose(h, r->slot, r->ballot, r->body);
    p->acceptors |= UINT32_C(1) << h->index;
    if (2 * (uint32_t)__builtin_popcount(p->acceptors) > h->cluster->options.n_hosts)
        choose(h->cluster, r->slot, p);
}

void observer_record(struct host *h, const struct disk_record *r)
{
    struct cluster *c = h->cluster;
    if (c->lone)
        return;
    if (!h->has_space && (r->type == RECORD_ACCEPT || r->type == RECORD_PROMISE || r->type == RECORD_CHOSEN))
        cluster_fail(c, "host %u: record %d without room on the disk", h->index, (int)r->type);
    switch (r->type) {
    case RECORD_PROMISE:
        cluster_trace(c, (int)h->index, "record     PROMISE %lu.%u", r->ballot.round, r->ballot.id);
        break;
    case RECORD_ACCEPT:
        cluster_trace(c, (int)h->index, "record     ACCEPT slot %lu %lu.%u", r->slot, r->ballot.round, r->ballot.id);
        if (ballot_compare(r->ballot, h->disk.promised) < 0)
            cluster_fail(c, "host %u: accepts slot %lu under %lu.%u below its promise %lu.%u (trap 4)", h->index,
                         r->slot, r->ballot.round, r->ballot.id, h->disk.promised.round, h->disk.promised.id);
        if (r->slot > 0)
            propose(h, r->slot, r->ballot, r->body);
        break;
    case RECORD_CHOSEN:
        cluster_trace(c, (int)h->index, "record     CHOSEN slot %lu", r->slot);
        if (r->slot > 0 && !is_chosen_here(c, r->slot, r->body))
            cluster_fail(c, "host %u: records slot %lu as chosen, which it is not (trap 36)", h->index, r->slot);
        break;
    case RECORD_COMMIT:
        cluster_trace(c, (int)h->index, "record     COMMIT slot %lu, %u notes", r->slot, r->n_notes);
        if (r->slot > c->observer->chosen)
            cluster_fail(c, "host %u: commits slot %lu, chosen are %lu", h->index, r->slot, c->observer->chosen);
        for (slot_t s = h->disk.commit + 1; s <= r->slot; s++) {
            if (!is_chosen_here(c, s, disk_slot(&h->disk, s)->last))
                cluster_fail(c, "host %u: commits slot %lu, but its journal has another value (trap 14)", h->index, s);
        }
        break;
    case RECORD_IDENTITY:
        cluster_trace(c, (int)h->index, "record     IDENTITY status %d", (int)r->identity->status);
        break;
    }
}

/* --- what leaves a host --- */

static void check_promise(struct host *h, const struct promise *p)
{
    struct cluster *c = h->cluster;
    check_voter(h, "PROMISE");
    if (ballot_compare(h->disk.promised_durable, p->ballot) < 0)
        cluster_fail(c, "host %u: PROMISE %lu.%u left before it was durable (trap 2)", h->index, p->ballot.round,
                     p->ballot.id);
    if (p->chosen > c->observer->chosen)
        cluster_fail(c, "host %u: PROMISE says %lu are chosen, %lu are", h->index, p->chosen, c->observer->chosen);
    slot_t first = p->from + (slot_t)p->page * p->page_slots, end = first + p->page_slots;
    uint32_t at = 0;
    for (slot_t s = first; s < h->disk.n_slots && (s < end || p->last); s++) {
        const struct disk_slot *d = disk_slot(&h->disk, s);
        while (at < p->n_entries && p->entries[at].slot < s)
            at++;
        const struct promised_entry *e = at < p->n_entries && p->entries[at].slot == s ? &p->entries[at] : NULL;
        bool voted = d->durable && ballot_compare(d->durable_ballot, p->ballot) < 0;
        if (s > p->chosen && voted && (!e || (!e->chosen && ballot_compare(e->ballot, d->durable_ballot) < 0)))
            cluster_fail(c, "host %u: PROMISE %lu.%u page %u hides its vote for slot %lu (trap 9, 10)", h->index,
                         p->ballot.round, p->ballot.id, p->page, s);
        if (e && e->chosen && s > 0 && !is_chosen_here(c, s, NULL))
            cluster_fail(c, "host %u: PROMISE says slot %lu is chosen, which it is not", h->index, s);
        if (e && !e->chosen && voted && ballot_equal(e->ballot, d->durable_ballot)) {
            struct hash128 hash = hash_bytes(&h->disk.identity.cluster, d->durable->bytes, d->durable->size);
            if (!hash_equal(&hash, &e->hash))
                cluster_fail(c, "host %u: PROMISE names another value of slot %lu", h->index, s);
        }
    }
}

static void check_accepted(struct host *h, const struct accepted *a)
{
    struct cluster *c = h->cluster;
    if (a->n_words > 0) /* else it is no vote */
        check_voter(h, "ACCEPTED");
    if (a->chosen > c->observer->chosen)
        cluster_fail(c, "host %u: ACCEPTED says %lu are chosen, %lu are", h->index, a->chosen, c->observer->chosen);
    for (uint32_t i = 0; i < 64 * a->n_words; i++) {
        slot_t slot = a->base + i;
        if (!(a->words[i / 64] >> (i % 64) & 1) || is_chosen_here(c, slot, NULL))
            continue;
        const struct log_slot *s = observer_slot(c, slot);
        bool voted = false;
        for (uint32_t j = 0; s && j < s->n_proposals && !voted; j++)
            voted = ballot_equal(s->proposals[j].ballot, a->ballot) && (s->proposals[j].acceptors >> h->index & 1);
        if (!voted)
            cluster_fail(c, "host %u: ACCEPTED slot %lu under %lu.%u, its disk does not hold it (traps 2, 15)",
                         h->index, slot, a->ballot.round, a->ballot.id);
    }
}

static void check_heartbeat(struct host *h, const struct heartbeat *b)
{
    if (b->commit > h->cluster->observer->chosen)
        cluster_fail(h->cluster, "host %u: a heartbeat says %lu are chosen, %lu are", h->index, b->commit,
                     h->cluster->observer->chosen);
    observer_chain(h, b->commit, &b->chain);
    if (b->leading)
        use_ballot(h, b->ballot, true);
}

void observer_sent(struct host *h, const struct packet *p)
{
    const struct message *m = &p->message;
    if (h->cluster->lone)
        return;
    if (m->type == MESSAGE_PREPARE)
        use_ballot(h, m->prepare.ballot, false);
    if (m->type == MESSAGE_CONFIRM)
        use_ballot(h, m->confirm.ballot, true);
    if (m->type == MESSAGE_ACCEPT)
        use_ballot(h, m->accept.ballot, true);
    if (m->type == MESSAGE_PROMISE)
        check_promise(h, &m->promise);
    if (m->type == MESSAGE_ACCEPTED)
        check_accepted(h, &m->accepted);
    if (m->type == MESSAGE_HEARTBEAT)
        check_heartbeat(h, &m->heartbeat);
    if (m->type == MESSAGE_CONFIRMED) {
        check_voter(h, "CONFIRMED");
        if (ballot_compare(h->disk.promised_durable, m->confirm.ballot) < 0)
            cluster_fail(h->cluster, "host %u: CONFIRMED %lu.%u left before it was durable", h->index,
                         m->confirm.ballot.round, m->confirm.ballot.id);
    }
    if (m->type == MESSAGE_PREPARE && ballot_compare(h->disk.promised_durable, m->prepare.ballot) < 0)
        cluster_fail(h->cluster, "host %u: PREPARE %lu.%u left before its own promise was durable (trap 1)", h->index,
                     m->prepare.ballot.round, m->prepare.ballot.id);
    if (m->type == MESSAGE_ANSWER && m->position.slot > h->cluster->observer->chosen)
        cluster_fail(h->cluster, "host %u: answers position %lu, chosen are %lu", h->index, m->position.slot,
                     h->cluster->observer->chosen);
}

void observer_made(struct host *h, const struct packet *p, replica_id_t to)
{
    (void)to;
    struct cluster *c = h->cluster;
    const struct message *m = &p->message;
    if (c->lone)
        return;
    if (m->type == MESSAGE_PROMISE && ballot_compare(m->promise.ballot, h->disk.promised) < 0)
        cluster_fail(c, "host %u: PROMISE %lu.%u below its own promise %lu.%u (trap 4)", h->index,
                     m->promise.ballot.round, m->promise.ballot.id, h->disk.promised.round, h->disk.promised.id);
    if (m->type == MESSAGE_CONFIRMED && ballot_compare(m->confirm.ballot, h->disk.promised) < 0)
        cluster_fail(c, "host %u: confirms %lu.%u below its promise %lu.%u (trap 28)", h->index,
                     m->confirm.ballot.round, m->confirm.ballot.id, h->disk.promised.round, h->disk.promised.id);
    if (m->type == MESSAGE_CHOSEN) {
        for (uint32_t i = 0; i < m->chosen.n_entries; i++) {
            if (p->entries[i].slot > 0 && !is_chosen_here(c, p->entries[i].slot, p->bodies[i]))
                cluster_fail(c, "host %u: sends slot %lu as chosen, which it is not (trap 36)", h->index,
                             p->entries[i].slot);
        }
    }
    if (m->type != MESSAGE_ACCEPT)
        return;
    if (m->accept.commit > c->observer->chosen)
        cluster_fail(c, "host %u: ACCEPT says %lu are chosen, %lu are", h->index, m->accept.commit,
                     c->observer->chosen);
    for (uint32_t i = 0; i < m->accept.n_entries; i++) {
        slot_t slot = p->entries[i].slot;
        if (i > 0 && slot <= p->entries[i - 1].slot)
            cluster_fail(c, "host %u: the slots of an ACCEPT do not ascend", h->index);
        if (slot == 0 || slot > replica_chosen(h->replica) + c->options.alpha)
            cluster_fail(c, "host %u: proposes slot %lu, chosen are %lu, alpha is %u (trap 32)", h->index, slot,
                         replica_chosen(h->replica), c->options.alpha);
        propose(h, slot, m->accept.ballot, p->bodies[i]);
    }
}

/* --- what a host tells its clients --- */

void log_message_read(const struct body *b, struct log_message *ret)
{
    *ret = (struct log_message){.is_message = b->bytes[0] == VALUE_MESSAGE};
    ret->author_size = b->bytes[1];
    ret->key_size = b->bytes[2];
    ret->text_size = get_u32(b->bytes + 4);
    ret->stream = get_u64(b->bytes + 8);
    ret->n = get_u64(b->bytes + 16);
    ret->since = get_u64(b->bytes + 24);
    ret->author = b->bytes + VALUE_HEADER_SIZE;
    ret->key = ret->author + ret->author_size;
    ret->text = ret->key + ret->key_size;
}

static void apply_first(struct host *h, struct log_slot *s, const struct applied *a)
{
    struct cluster *c = h->cluster;
    struct observer *o = c->observer;
    struct log_message v;
    log_message_read(s->chosen, &v);
    bool visible = model_apply(o->model, a->slot, &v);
    if (visible != a->visible)
        cluster_fail(
            c, "host %u: slot %lu is %svisible, the model says otherwise (stream %016lx n %lu since %lu; trap 20)",
            h->index, a->slot, a->visible ? "" : "in", v.stream, v.n, v.since);
    if (a->time_usec < o->last_time_usec)
        cluster_fail(c, "host %u: the time goes back at slot %lu (trap 30)", h->index, a->slot);
    s->applied = true;
    s->visible = a->visible;
    s->time_usec = o->last_time_usec = a->time_usec;
    o->applied = a->slot;
}

void observer_applied(struct host *h, const struct applied *a)
{
    struct cluster *c = h->cluster;
    if (h->has_applied ? a->slot != h->applied + 1 : a->slot > 1)
        cluster_fail(c, "host %u: applies slot %lu after %lu (trap 17)", h->index, a->slot, h->applied);
    h->has_applied = true;
    h->applied = a->slot;
    if (a->slot == 0 || c->lone)
        return;
    struct log_slot *s = slot_at(c, a->slot);
    if (a->slot > c->observer->chosen)
        cluster_fail(c, "host %u: applies slot %lu, chosen are %lu (trap 17)", h->index, a->slot, c->observer->chosen);
    if (cluster_body(c, a->value->bytes, a->value->size) != s->chosen)
        cluster_fail(c, "host %u: applies another value than the chosen one of slot %lu", h->index, a->slot);
    if (!s->applied)
        apply_first(h, s, a);
    if (s->visible != a->visible || s->time_usec != a->time_usec)
        cluster_fail(c, "host %u: slot %lu is applied in another way than elsewhere (visible %d, time %lu and %lu)",
                     h->index, a->slot, a->visible, a->time_usec, s->time_usec);
}

void observer_chain(struct host *h, slot_t slot, const struct hash128 *chain)
{
    if (slot == 0 || h->cluster->lone)
        return;
    struct log_slot *s = slot_at(h->cluster, slot);
    if (!s->has_chain)
        s->chain = *chain;
    s->has_chain = true;
    if (!hash_equal(&s->chain, chain))
        cluster_fail(h->cluster, "host %u: another chain hash at slot %lu", h->index, slot);
}

static void check_commit(struct host *h, const struct record *r, slot_t after)
{
    struct cluster *c = h->cluster;
    uint32_t at = 0;
    for (slot_t slot = after + 1; slot <= r->slot; slot++) {
        const struct log_slot *s = observer_slot(c, slot);
        if (!s || !s->applied)
            return;
        struct log_message v;
        log_message_read(s->chosen, &v);
        const struct note *n = at < r->n_notes && r->notes[at].slot == slot ? &r->notes[at++] : NULL;
        bool hidden = n && n->type == NOTE_HIDDEN;
        uint64_t time_usec = n && n->type == NOTE_TIME ? n->time_usec : get_u64(s->chosen->bytes + 32);
        if (v.is_message && (hidden == s->visible || (s->visible && time_usec != s->time_usec)))
            cluster_fail(c, "host %u: the COMMIT record's note of slot %lu is wrong or missing", h->index, slot);
    }
    if (at != r->n_notes)
        cluster_fail(c, "host %u: COMMIT %lu has notes of other slots", h->index, r->slot);
}

void observer_notes(struct host *h, const struct effects *e)
{
    for (size_t i = 0; i < e->n_records && !h->cluster->lone; i++) {
        if (e->records[i].type != RECORD_COMMIT)
            continue;
        check_commit(h, &e->records[i], h->noted);
        h->noted = e->records[i].slot;
    }
}
