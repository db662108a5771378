/* The observer: what leaves a host, against what its disk holds at that moment. */
#include <stdlib.h>
#include <string.h>

#include "paxos/core.h"
#include "tests/sim/observer_private.h"
#include "wire/datagram.h"

enum { SUBMIT_HOPS_MOST = 2, VALUE_BYTES_MOST = 2 << 20, CHOSEN_BYTES_MOST = 64 << 10, CHOSEN_SLOTS_MOST = 512 };

/* Where a member lies, nobody knows what is chosen. */
static bool is_beyond_chosen(const struct cluster *c, slot_t slot)
{
    return slot > observer_chosen(c) && !c->options.liar;
}

/* What a step made, while its values can still be looked at. */
static void check_accept(struct host *h, const struct accept *a)
{
    struct cluster *c = h->cluster;
    if (is_beyond_chosen(c, a->commit))
        cluster_fail(c, "host %u: ACCEPT says %lu are chosen, %lu are", h->index, a->commit, observer_chosen(c));
    for (uint32_t i = 0; i < a->n_entries; i++) {
        slot_t slot = a->entries[i].slot;
        const struct value *v = a->entries[i].value;
        if (i > 0 && slot <= a->entries[i - 1].slot)
            cluster_fail(c, "host %u: the slots of an ACCEPT do not ascend", h->index);
        if (slot == 0 || slot > replica_chosen(h->replica) + c->options.alpha)
            cluster_fail(c, "host %u: proposes slot %lu, chosen are %lu, alpha is %u (trap 32)", h->index, slot,
                         replica_chosen(h->replica), c->options.alpha);
        c->happened[HAPPENED_WINDOW_FULL] += slot == replica_chosen(h->replica) + c->options.alpha;
        observer_propose(h, slot, a->ballot, cluster_body(c, v->bytes, v->size));
    }
}

static void check_values(struct host *h, enum message_type type, const struct entry *entries, uint32_t n)
{
    if (n > MESSAGE_ENTRIES_MAX)
        cluster_fail(h->cluster, "host %u: message %d has %u entries", h->index, (int)type, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!entries[i].value || entries[i].value->refs == 0)
            cluster_fail(h->cluster, "host %u: message %d has a value that its host does not hold", h->index,
                         (int)type);
    }
}

static void check_entries(struct host *h, const struct message *m)
{
    if (m->type == MESSAGE_ACCEPT)
        check_values(h, m->type, m->accept.entries, m->accept.n_entries);
    else if (m->type == MESSAGE_CHOSEN)
        check_values(h, m->type, m->chosen.entries, m->chosen.n_entries);
    else if (m->type == MESSAGE_SUBMIT)
        check_values(h, m->type, m->submit.entries, m->submit.n_entries);
    else if (m->type == MESSAGE_BODY)
        check_values(h, m->type, &m->body, 1);
}

/* A vote is for a ballot that is not below the promise as it was; the same step may promise more. */
static void check_vote(struct host *h, struct ballot promised, const char *what, struct ballot b)
{
    if (ballot_compare(b, promised) < 0)
        cluster_fail(h->cluster, "host %u: %s under %lu.%u, below its promise %lu.%u (traps 4, 28)", h->index, what,
                     b.round, b.id, promised.round, promised.id);
}

/* Whoever catches up gets little at a time, so that new messages go on beside it. */
static void check_chosen(struct host *h, const struct chosen *m)
{
    struct cluster *c = h->cluster;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->n_entries; i++) {
        const struct entry *e = &m->entries[i];
        if (e->slot > 0 && !c->options.liar &&
            !observer_is_chosen(c, e->slot, cluster_body(c, e->value->bytes, e->value->size)))
            cluster_fail(c, "host %u: sends slot %lu as chosen, which it is not (trap 36)", h->index, e->slot);
        bytes += i > 0 ? e->value->size : 0;
    }
    if (bytes > CHOSEN_BYTES_MOST || m->n_entries > CHOSEN_SLOTS_MOST)
        cluster_fail(c, "host %u: sends %u chosen slots with %lu bytes at once (trap 47)", h->index, m->n_entries,
                     bytes);
}

void observer_made(struct host *h, struct ballot promised, replica_id_t to, const struct message *m)
{
    struct cluster *c = h->cluster;
    if (to != REPLICA_ID_NONE && (to == h->id || !cluster_host_by_id(c, to)))
        cluster_fail(c, "host %u: message %d to %u", h->index, (int)m->type, to);
    check_entries(h, m);
    if (m->type == MESSAGE_PROMISE)
        check_vote(h, promised, "PROMISE", m->promise.ballot);
    if (m->type == MESSAGE_ACCEPTED)
        check_vote(h, promised, "ACCEPTED", m->accepted.ballot);
    if (m->type == MESSAGE_CONFIRMED)
        check_vote(h, promised, "CONFIRMED", m->confirm.ballot);
    if (m->type == MESSAGE_CHOSEN)
        check_chosen(h, &m->chosen);
    if (m->type == MESSAGE_ACCEPT || (m->type == MESSAGE_HEARTBEAT && m->heartbeat.leading)) {
        struct ballot b = m->type == MESSAGE_ACCEPT ? m->accept.ballot : m->heartbeat.ballot;
        const struct owner *w = observer_owner(c->observer, b);
        if (w && w->overtaken)
            cluster_fail(c, "host %u leads on under %lu.%u, but learned another value than its own (trap 14)", h->index,
                         b.round, b.id);
    }
    if (m->type == MESSAGE_ACCEPT)
        check_accept(h, &m->accept);
    for (uint32_t i = 0; m->type == MESSAGE_SUBMIT && i < m->submit.n_entries; i++) {
        if (m->submit.entries[i].hops > SUBMIT_HOPS_MOST)
            cluster_fail(c, "host %u: a SUBMIT travels %u hops", h->index, m->submit.entries[i].hops);
    }
}

/* A vote leaves: by who is a voter, and has learned again what rot took from its journal. */
static void check_voice(struct host *h, const char *what)
{
    observer_check_voter(h, what);
    if (h->chosen < h->disk.identity.silent_until)
        cluster_fail(h->cluster, "host %u: %s, but a part of its journal is gone, and it knows %lu of %lu slots (I4)",
                     h->index, what, h->chosen, h->disk.identity.silent_until);
}

static struct hash128 hash_value(const struct hash128 *key, const uint8_t *bytes, uint32_t size)
{
    struct value *v = malloc(sizeof(*v) + size);
    if (v == NULL)
        abort();
    v->size = size;
    memcpy(v->bytes, bytes, size);
    if (!value_parse(v, key))
        abort();
    struct hash128 hash = v->hash;
    free(v);
    return hash;
}

static void check_promise(struct host *h, const struct promise *p)
{
    struct cluster *c = h->cluster;
    struct owner *w = observer_owner(c->observer, p->ballot);
    check_voice(h, "PROMISE");
    if (p->last && w)
        w->promisers |= UINT32_C(1) << h->index;
    if (ballot_compare(h->disk.promised_durable, p->ballot) < 0)
        cluster_fail(c, "host %u: PROMISE %lu.%u left before it was durable (trap 2)", h->index, p->ballot.round,
                     p->ballot.id);
    c->happened[HAPPENED_PROMISE_PAGED] += p->page > 0;
    if (is_beyond_chosen(c, p->chosen))
        cluster_fail(c, "host %u: PROMISE says %lu are chosen, %lu are", h->index, p->chosen, observer_chosen(c));
    for (uint32_t i = 0; i < p->n_entries && !c->options.liar && h->disk.n_rot == 0; i++) {
        const struct promised_entry *e = &p->entries[i];
        const struct disk_slot *d = e->slot < h->disk.n_slots ? disk_slot(&h->disk, e->slot) : NULL;
        if (!e->chosen && (!d || !d->durable || ballot_compare(d->durable_ballot, e->ballot) < 0))
            cluster_fail(c, "host %u: PROMISE tells of a vote for slot %lu under %lu.%u, its disk does not", h->index,
                         e->slot, e->ballot.round, e->ballot.id);
    }
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
        if (e && e->chosen && s > 0 && !c->options.liar && !observer_is_chosen(c, s, NULL))
            cluster_fail(c, "host %u: PROMISE says slot %lu is chosen, which it is not", h->index, s);
        if (e && !e->chosen && voted && ballot_equal(e->ballot, d->durable_ballot)) {
            struct hash128 hash = hash_value(&h->disk.identity.cluster, d->durable->bytes, d->durable->size);
            if (!hash_equal(&hash, &e->hash))
                cluster_fail(c, "host %u: PROMISE names another value of slot %lu", h->index, s);
        }
    }
}

/* By its core, which a lie may have told so; then it votes for that value under every ballot. */
static bool is_taken_for_chosen(const struct host *h, slot_t slot)
{
    const struct cell *k = window_find(&h->replica->window, slot);
    return slot <= h->chosen || (k != NULL && k->chosen);
}

static void check_accepted(struct host *h, const struct accepted *a)
{
    struct cluster *c = h->cluster;
    if (a->n_words > 0) /* else it is no vote */
        check_voice(h, "ACCEPTED");
    if (is_beyond_chosen(c, a->chosen))
        cluster_fail(c, "host %u: ACCEPTED says %lu are chosen, %lu are", h->index, a->chosen, observer_chosen(c));
    for (uint32_t i = 0; i < 64 * a->n_words; i++) {
        slot_t slot = a->base + i;
        if (!(a->words[i / 64] >> (i % 64) & 1) || observer_is_chosen(c, slot, NULL))
            continue;
        if (c->options.liar && is_taken_for_chosen(h, slot))
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
    if (is_beyond_chosen(h->cluster, b->commit))
        cluster_fail(h->cluster, "host %u: a heartbeat says %lu are chosen, %lu are", h->index, b->commit,
                     observer_chosen(h->cluster));
    observer_chain(h, b->commit, &b->chain);
    if (b->leading)
        observer_use_ballot(h, b->ballot, true);
    if (ballot_compare(h->disk.promised_durable, b->ballot) < 0)
        cluster_fail(h->cluster, "host %u: a heartbeat shows its bid %lu.%u before it was durable (trap 1)", h->index,
                     b->ballot.round, b->ballot.id);
}

/* What it says of a first start is on its disk. */
static void check_state(struct host *h, const struct state *s)
{
    const struct identity *i = &h->disk.identity;
    if (s->status != IDENTITY_EMPTY && (s->status > i->status || !hash_equal(&s->cluster, &i->cluster)))
        cluster_fail(h->cluster, "host %u: STATE says status %d, its disk says %d (trap 2)", h->index, (int)s->status,
                     (int)i->status);
}

static void check_message(struct host *h, const struct message *m)
{
    if (m->type == MESSAGE_NACK && ballot_compare(m->nack.promised, m->nack.rejected) <= 0)
        cluster_fail(h->cluster, "host %u refuses ballot %lu.%u, which is not below its promise (trap 5)", h->index,
                     m->nack.rejected.round, m->nack.rejected.id);
    h->cluster->happened[HAPPENED_TRANSFERRED] += m->type == MESSAGE_TRANSFER;
    if (m->type == MESSAGE_PREPARE)
        observer_use_ballot(h, m->prepare.ballot, false);
    if (m->type == MESSAGE_CONFIRM)
        observer_use_ballot(h, m->confirm.ballot, true);
    if (m->type == MESSAGE_ACCEPT)
        observer_use_ballot(h, m->accept.ballot, true);
    if (m->type == MESSAGE_PROMISE)
        check_promise(h, &m->promise);
    if (m->type == MESSAGE_ACCEPTED)
        check_accepted(h, &m->accepted);
    if (m->type == MESSAGE_STATE)
        check_state(h, &m->state);
    if (m->type == MESSAGE_HEARTBEAT)
        check_heartbeat(h, &m->heartbeat);
    if (m->type == MESSAGE_CONFIRMED) {
        check_voice(h, "CONFIRMED");
        h->cluster->observer->confirmed_usec[h->index] = h->cluster->now_usec;
        if (ballot_compare(h->disk.promised_durable, m->confirm.ballot) < 0)
            cluster_fail(h->cluster, "host %u: CONFIRMED %lu.%u left before it was durable", h->index,
                         m->confirm.ballot.round, m->confirm.ballot.id);
    }
    if (m->type == MESSAGE_PREPARE && ballot_compare(h->disk.promised_durable, m->prepare.ballot) < 0)
        cluster_fail(h->cluster, "host %u: PREPARE %lu.%u left before its own promise was durable (trap 1)", h->index,
                     m->prepare.ballot.round, m->prepare.ballot.id);
    if (m->type == MESSAGE_ANSWER && is_beyond_chosen(h->cluster, m->position.slot))
        cluster_fail(h->cluster, "host %u: answers position %lu, chosen are %lu", h->index, m->position.slot,
                     observer_chosen(h->cluster));
}

/* `again`: the same messages as in the datagram before it, to another peer. */
void observer_sent(struct host *h, const struct packet *p, bool again)
{
    static struct datagram_message m;
    struct datagram_reader reader;
    struct datagram_header header;
    int more;
    if (packet_open(p, &reader, &header) != DATAGRAM_OK)
        cluster_fail(h->cluster, "host %u sends a datagram that does not open", h->index);
    if ((header.kind != DATAGRAM_PLAIN) != h->cluster->options.sealed)
        cluster_fail(h->cluster, "host %u sends a datagram of kind %d", h->index, (int)header.kind);
    if (header.from != h->id || header.from_life != replica_identity(h->replica)->life)
        cluster_fail(h->cluster, "host %u sends as replica %u, life %016lx", h->index, header.from, header.from_life);
    while (!again && (more = datagram_next(&reader, &header, VALUE_BYTES_MOST, &m)) != 0) {
        if (more < 0)
            cluster_fail(h->cluster, "host %u sends a malformed datagram", h->index);
        check_message(h, &m.message);
    }
}
