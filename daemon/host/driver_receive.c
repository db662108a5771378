/* Datagrams on their way in: checked, decoded, values joined and parsed, handed to the core as events. */
#include "host/driver_internal.h"

#include <stdio.h>
#include <string.h>

#include "host/faults.h"
#include "host/log.h"
#include "host/notice.h"

/* The other side of it: this replica is the blank one. In a first start that lasts a moment only. */
static void note_ahead(struct driver_member *m)
{
    uint64_t now_usec = driver_now();
    if (m->ahead_usec == 0)
        m->ahead_usec = now_usec;
    else if (now_usec - m->ahead_usec > AHEAD_PATIENCE_USEC)
        driver_note_member(m, NOTICE_REPLICA_BLANK,
                           "its cluster ran before, and this replica's disk is blank: it may not vote. Put back the "
                           "very directory that it had; without it, it stays a bystander");
}

/* The name keeps clusters apart that have no id yet; afterwards the id alone counts, and the file may say what it
 * likes. */
static bool names_this_cluster(const struct driver *d, const struct datagram_header *h)
{
    const struct hash128 *own = &replica_identity(d->replica)->cluster;
    return h->cluster_name_hash == d->cluster_name_hash || (!hash_is_zero(own) && hash_equal(&h->cluster, own));
}

/* Whether the sender may say more than where its first start stands: it is of this cluster, and the life that was
 * admitted. */
static bool is_trusted(struct driver *d, size_t member, const struct datagram_header *h)
{
    const struct identity *own = replica_identity(d->replica);
    bool same = hash_equal(&h->cluster, &own->cluster);
    if (!names_this_cluster(d, h)) {
        driver_refuse_member(d, member,
                             "its configuration names another cluster; compare \"cluster\" in the configurations");
        return false;
    }
    if (!same && own->status == IDENTITY_EMPTY)
        note_ahead(&d->members[member]);
    if (!same && own->status != IDENTITY_VOTER)
        return false; /* one of the two is still starting */
    if (!same && !hash_is_zero(&h->cluster)) {
        driver_refuse_member(d, member, "it is of another cluster; is it the right state directory?");
        return false;
    }
    int i = configuration_find(&own->configuration, h->from);
    if (own->status == IDENTITY_VOTER && (i < 0 || own->configuration.members[i].life != h->from_life)) {
        driver_refuse_member(
            d, member, "its disk is blank or another one: it may not vote; put back the very directory that it had");
        return false;
    }
    return same;
}

/* The value whose last piece this was; NULL: more of it is to come, or it is not what it says. */
static struct value *take_piece(struct driver *d, size_t member, const struct message *m, const struct piece *p)
{
    static const struct hash128 none;
    const uint8_t *bytes = assembly_add(d->assembly, (uint32_t)member, p);
    struct value *v;
    if (bytes == NULL)
        return NULL;
    /* slot 0 is hashed without the cluster's id, which it brings */
    const struct hash128 *key = m->type == MESSAGE_STATE ? &none : &replica_identity(d->replica)->cluster;
    if (values_copy(&d->values, bytes, p->total, key, &v) < 0)
        return NULL;
    if (!hash_equal(&v->hash, &p->hash)) {
        driver_drop_opened(d, member, DROP_MALFORMED);
        values_unref(v);
        return NULL;
    }
    return v;
}

/* What is proposed here takes this clock's time: no time in the log is below one before it, so that a sender's of years
 * to come would stand for all that follow. What is only sent on stays as it is, and its pieces join those of the time
 * before. d->status, of the last tick, may not know yet that this replica leads. */
static void stamp(struct driver *d, size_t n)
{
    struct replica_status now;
    replica_status(d->replica, &now);
    for (size_t i = 0; i < n && now.role == ROLE_LEADER; i++)
        value_set_time(d->entries[i].value, driver_time(), &replica_identity(d->replica)->cluster);
}

/* The whole values of a message, as entries. */
static size_t take_pieces(struct driver *d, size_t member, const struct datagram_message *in)
{
    size_t n = 0;
    for (uint32_t i = 0; i < in->n_pieces && n < MESSAGE_ENTRIES_MAX; i++) {
        const struct piece *p = &in->pieces[i];
        struct value *v = take_piece(d, member, &in->message, p);
        if (v != NULL)
            d->entries[n++] = (struct entry){.slot = p->slot, .ballot = p->ballot, .hops = p->hops, .value = v};
    }
    return n;
}

/* False: a message of values of which none is whole yet, and which says nothing without. */
static bool join_values(struct driver *d, struct message *m, size_t n, size_t n_pieces)
{
    switch (m->type) {
    case MESSAGE_ACCEPT:
        m->accept.n_entries = (uint32_t)n;
        m->accept.entries = d->entries;
        return true; /* its commit counts */
    case MESSAGE_CHOSEN:
        m->chosen.n_entries = (uint32_t)n;
        m->chosen.entries = d->entries;
        return n > 0 || n_pieces == 0;
    case MESSAGE_SUBMIT:
        stamp(d, n);
        m->submit.n_entries = (uint32_t)n;
        m->submit.entries = d->entries;
        return n > 0;
    case MESSAGE_BODY:
        if (n > 0)
            m->body = d->entries[0];
        return n > 0;
    case MESSAGE_STATE:
        m->state.slot0 = n > 0 ? d->entries[0].value : NULL;
        return n == n_pieces;
    default:
        return true;
    }
}

static void take_message(struct driver *d, size_t member, struct datagram_message *in)
{
    struct message *m = &in->message;
    switch (m->type) {
    case MESSAGE_INFO:
        driver_take_info(d, member, &m->info);
        return;
    case MESSAGE_FLUSH:
    case MESSAGE_FLUSHED:
        flushes_message(d->flushes, m);
        d->dirty = true;
        return;
    case MESSAGE_CHECKPOINT_FETCH:
        driver_serve_checkpoint(d, m->from, &m->checkpoint_fetch);
        return;
    case MESSAGE_CHECKPOINT_PIECE:
        if ((m->checkpoint_piece.slot & CHECKPOINT_HISTORY) != 0)
            driver_mend_piece(d, m->from, &m->checkpoint_piece);
        else
            driver_install_piece(d, m->from, &m->checkpoint_piece);
        return;
    default:
        break;
    }
    size_t n = take_pieces(d, member, in);
    if (join_values(d, m, n, in->n_pieces)) {
        struct event e = {.type = EVENT_MESSAGE, .now_usec = driver_now(), .message = m};
        driver_step(d, &e);
    }
    for (size_t i = 0; i < n; i++)
        values_unref(d->entries[i].value);
}

/* False: it is not for this replica, or from none of the members. */
static bool find_sender(struct driver *d, struct arrival *a)
{
    int member = driver_find_member(d, a->header.from);
    if (a->header.to != d->options.id || member < 0) {
        driver_drop(d, a, DROP_UNKNOWN_PEER);
        return false;
    }
    a->member = (size_t)member;
    if (!faults_drop(d->options.faults, FAULT_IN, a->header.from, a->now_usec))
        return true;
    driver_drop_quietly(d, a, DROP_INJECTED);
    return false;
}

static bool open_sealed(struct driver *d, const struct arrival *a, struct datagram_reader *ret)
{
    enum seal_result result = SEAL_MALFORMED;
    if (d->seal != NULL)
        result = seal_open(d->seal, a->member, a->bytes, a->size, a->now_usec, d->opened);
    if ((result == SEAL_OPENED || result == SEAL_EMPTY) && a->header.kind == DATAGRAM_SEALED)
        peers_heard(d->peers, a->member, a->now_usec);
    if (result == SEAL_EMPTY) {
        driver_note_greeting(&d->members[a->member], a->now_usec);
        d->dirty = true; /* the handshake may owe an answer */
    }
    if (result != SEAL_OPENED) {
        driver_drop_unopened(d, a, result);
        return false;
    }
    enum datagram_error error = datagram_open_sealed(ret, d->opened, a->size);
    driver_drop_unread(d, a, error);
    return error == DATAGRAM_OK;
}

static bool open_plain(struct driver *d, const struct arrival *a, struct datagram_reader *ret)
{
    struct datagram_header h;
    if (d->seal != NULL) {
        driver_drop_unopened(d, a, SEAL_MALFORMED);
        return false;
    }
    enum datagram_error error = datagram_open(ret, a->bytes, a->size, &h);
    driver_drop_unread(d, a, error);
    if (error == DATAGRAM_OK)
        peers_heard(d->peers, a->member, a->now_usec);
    return error == DATAGRAM_OK;
}

static void take_messages(struct driver *d, const struct arrival *a, struct datagram_reader *reader)
{
    bool named = names_this_cluster(d, &a->header), trusted = is_trusted(d, a->member, &a->header);
    int result;
    while ((result = datagram_next(reader, &a->header, VALUE_BYTES_MAX, d->incoming)) > 0) {
        if (trusted || (named && d->incoming->message.type == MESSAGE_STATE))
            take_message(d, a->member, d->incoming);
    }
    if (result < 0)
        driver_drop_opened(d, a->member, DROP_MALFORMED);
}

bool driver_received(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size)
{
    struct driver *d = user;
    struct arrival a = {.from = from, .bytes = bytes, .size = size, .now_usec = driver_now()};
    struct datagram_reader reader;
    if (d->closing)
        return false;
    enum datagram_error error = datagram_header_read(bytes, size, &a.header);
    driver_drop_unread(d, &a, error);
    if (error != DATAGRAM_OK || !find_sender(d, &a))
        return false;
    if (a.header.kind == DATAGRAM_PLAIN ? !open_plain(d, &a, &reader) : !open_sealed(d, &a, &reader))
        return false;
    d->members[a.member].opened_usec = a.now_usec;
    d->members[a.member].greeting_usec = 0;
    take_messages(d, &a, &reader);
    return true;
}
