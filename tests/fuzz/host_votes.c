/* What a core promises, votes for and proposes. */
#include "paxos/core.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"

/* How many records are durable when it leaves. */
static size_t known(const struct outgoing *o)
{
    size_t n = host.boot + o->after;
    return n > host.n_durable ? n : host.n_durable;
}

static void check_promised(const struct outgoing *o, struct ballot b)
{
    size_t n = known(o);
    fuzz_check(n > 0 && ballot_compare(host.records[n - 1].promised, b) >= 0);
}

static bool is_recorded(size_t n, slot_t slot, struct ballot b)
{
    for (size_t i = n; i > 0; i--) {
        const struct kept_record *k = &host.records[i - 1];
        if (k->slot == slot && (k->type == RECORD_CHOSEN || (k->type == RECORD_ACCEPT && ballot_equal(k->ballot, b))))
            return true;
    }
    return false;
}

/* Whatever ballot asks: it will never be another value. */
static bool is_known_chosen(slot_t slot)
{
    const struct cell *k = window_find(&host.replica->window, slot);
    return slot <= replica_chosen(host.replica) || (k != NULL && k->chosen);
}

static void check_accepted(const struct outgoing *o, const struct accepted *a)
{
    for (uint32_t i = 0; i < 64 * a->n_words; i++) {
        slot_t slot = a->base + i;
        if ((a->words[i / 64] >> (i % 64) & 1) != 0 && !is_known_chosen(slot))
            fuzz_check(is_recorded(known(o), slot, a->ballot));
    }
}

static void note_proposed(slot_t slot, struct ballot b, const struct hash128 *hash)
{
    for (size_t i = 0; i < host.n_proposed; i++) {
        const struct proposed *p = &host.proposed[i];
        if (p->slot != slot || !ballot_equal(p->ballot, b))
            continue;
        fuzz_check(hash_equal(&p->hash, hash));
        return;
    }
    if (host.n_proposed == host.proposed_room) {
        host.proposed_room = host.proposed_room > 0 ? 2 * host.proposed_room : 64;
        host.proposed = reallocarray(host.proposed, host.proposed_room, sizeof *host.proposed);
        fuzz_check(host.proposed != NULL);
    }
    host.proposed[host.n_proposed++] = (struct proposed){.slot = slot, .ballot = b, .hash = *hash};
}

void votes_check(const struct outgoing *o, struct ballot promised)
{
    const struct message *m = &o->message;
    if (m->type == MESSAGE_PROMISE) {
        fuzz_check(ballot_compare(m->promise.ballot, promised) >= 0);
        check_promised(o, m->promise.ballot);
    }
    if (m->type == MESSAGE_ACCEPTED && m->accepted.n_words > 0) {
        fuzz_check(ballot_compare(m->accepted.ballot, promised) >= 0);
        check_accepted(o, &m->accepted);
    }
    if (m->type == MESSAGE_CONFIRMED) {
        fuzz_check(ballot_compare(m->confirm.ballot, promised) >= 0);
        check_promised(o, m->confirm.ballot);
    }
    if (m->type == MESSAGE_PREPARE) {
        fuzz_check(m->prepare.ballot.id == HOST_ID);
        check_promised(o, m->prepare.ballot);
    }
    for (uint32_t i = 0; m->type == MESSAGE_ACCEPT && i < m->accept.n_entries; i++) {
        fuzz_check(m->accept.ballot.id == HOST_ID &&
                   (i == 0 || m->accept.entries[i].slot > m->accept.entries[i - 1].slot));
        note_proposed(m->accept.entries[i].slot, m->accept.ballot, &m->accept.entries[i].value->hash);
    }
}

void votes_watch(void)
{
    struct replica_status s;
    replica_status(host.replica, &s);
    fuzz_check(ballot_compare(s.promised, host.promised) >= 0);
    fuzz_check(host.n_records == 0 || ballot_equal(host.records[host.n_records - 1].promised, s.promised));
    host.promised = s.promised;
}
