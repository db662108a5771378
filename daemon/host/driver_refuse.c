/* Datagrams that are not taken: counted by reason, and by the address that they came from: a member's, or all others
 * together. Anybody may write a member's address or id on them, so what is told names the address, and memory and lines
 * do not grow with the senders. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "host/driver_internal.h"

enum { NOTE_HEARTBEATS = 3, NOTE_AGAIN_USEC = 1000000 };

/* For people; NULL: told nowhere but in the metrics. */
static const char *const words[DROP_REASONS] = {
    [DROP_TRUNCATED] = "truncated",
    [DROP_MALFORMED] = "malformed",
    [DROP_NO_MAGIC] = "of another program",
    [DROP_VERSION] = "of an unknown format version",
    [DROP_UNKNOWN_PEER] = "from or for no member",
    [DROP_KEY] = "under a wrong key",
    [DROP_FORGED] = "forged or damaged",
    [DROP_STALE] = "of a session that is over",
    [DROP_REPLAYED] = "replayed or doubled",
};

/* The member whose address this is; -1: nobody's. */
static int member_at(const struct driver *d, const struct sockaddr_storage *from)
{
    for (size_t i = 0; i < d->n_members; i++) {
        if (peers_is_from(d->peers, i, from))
            return (int)i;
    }
    return -1;
}

static struct drops *count(struct driver *d, const struct arrival *a, enum drop_reason reason)
{
    const int member = member_at(d, a->from);
    struct drops *drops = member >= 0 ? &d->members[member].drops : &d->strangers;
    if (member < 0 && a->from != NULL)
        d->stranger = *a->from;
    d->dropped[reason]++;
    drops->counts[reason]++;
    return drops;
}

static void mark(struct drops *drops, uint64_t now_usec)
{
    drops->last_usec = now_usec;
    drops->is_told = false;
}

void driver_drop_quietly(struct driver *d, const struct arrival *a, enum drop_reason reason)
{
    count(d, a, reason);
}

void driver_drop(struct driver *d, const struct arrival *a, enum drop_reason reason)
{
    mark(count(d, a, reason), a->now_usec);
}

void driver_drop_opened(struct driver *d, size_t member, enum drop_reason reason)
{
    d->dropped[reason]++;
    d->members[member].drops.counts[reason]++;
    mark(&d->members[member].drops, driver_now());
}

/* --- members --- */

/* What differs at each datagram, as where it has two wrong keys, would drown what is told of others. */
void driver_note_member(struct driver_member *m, enum notice_kind kind, const char *why)
{
    const uint64_t now_usec = driver_now();
    uint64_t *tell_usec = &m->tell_usec[kind == NOTICE_REPLICA_REFUSED ? m->refusal : REFUSAL_VERSION + 1];
    snprintf(m->note, sizeof(m->note), "%s", why);
    if (strcmp(m->told, m->note) == 0 || now_usec < *tell_usec)
        return;
    *tell_usec = now_usec + NOTE_AGAIN_USEC;
    if (!notice(kind, &(struct notice_about){.peer = &m->address.id}, "replica %u (%s port %u)%s: %s", m->address.id,
                m->address.host, m->address.port, kind == NOTICE_REPLICA_REFUSED ? " is refused" : "", why))
        return;
    *tell_usec = now_usec + HOSTILE_NOTE_USEC;
    memcpy(m->told, m->note, sizeof(m->told));
}

static void refuse(struct driver_member *m, enum driver_refusal refusal, const char *why, uint64_t now_usec)
{
    m->refused_usec = now_usec;
    m->refusal = refusal;
    driver_note_member(m, NOTICE_REPLICA_REFUSED, why);
}

void driver_refuse_member(struct driver *d, size_t member, const char *why)
{
    d->dropped[DROP_FOREIGN]++;
    d->members[member].drops.counts[DROP_FOREIGN]++;
    refuse(&d->members[member], REFUSAL_STATE, why, driver_now());
}

void driver_note_greeting(struct driver_member *m, uint64_t now_usec)
{
    if (m->greeting_usec == 0 || now_usec - m->greeted_usec >= PEER_NOTE_USEC)
        m->greeting_usec = now_usec;
    m->greeted_usec = now_usec;
}

static bool is_recent(const struct driver *d, uint64_t then_usec, uint64_t now_usec)
{
    uint64_t beats_usec = (uint64_t)NOTE_HEARTBEATS * d->config->heartbeat_ms * 1000;
    return then_usec != 0 && now_usec - then_usec < (beats_usec > PEER_NOTE_USEC ? beats_usec : PEER_NOTE_USEC);
}

/* Then what comes from its address besides is a forgery, or no harm: in the middle of a change of keys it has one more
 * than this replica. But one that has a handshake under a common key, and nothing else for long, seals under another.
 */
static bool is_heard(const struct driver *d, const struct driver_member *m, uint64_t now_usec)
{
    return is_recent(d, m->opened_usec, now_usec) || is_recent(d, m->greeting_usec, now_usec);
}

static void refuse_key(struct driver *d, const struct arrival *a, const char *why)
{
    struct driver_member *m = &d->members[a->member];
    if (!peers_is_from(d->peers, a->member, a->from)) {
        driver_drop(d, a, DROP_KEY);
        return;
    }
    driver_drop_quietly(d, a, DROP_KEY);
    if (!is_heard(d, m, a->now_usec))
        refuse(m, REFUSAL_KEY, why, a->now_usec);
}

static void refuse_unknown_key(struct driver *d, const struct arrival *a)
{
    char why[sizeof(d->members[0].note)], name[SEAL_NAME_SIZE];
    seal_key_name(seal_datagram_key(a->bytes), name);
    snprintf(why, sizeof(why), "wrong cluster key (%s)", name);
    refuse_key(d, a, why);
}

/* What else stands in such a header, nobody knows here: only the address tells who it may be. */
static void refuse_version(struct driver *d, const struct arrival *a)
{
    char why[sizeof(d->members[0].note)];
    const int member = member_at(d, a->from);
    driver_drop(d, a, DROP_VERSION);
    if (member < 0 || is_heard(d, &d->members[member], a->now_usec))
        return;
    snprintf(why, sizeof(why), "datagrams from its address, not authenticated, are of format version %u, not %u",
             datagram_version(a->bytes), (unsigned)DATAGRAM_VERSION);
    refuse(&d->members[member], REFUSAL_VERSION, why, a->now_usec);
}

void driver_drop_unread(struct driver *d, const struct arrival *a, enum datagram_error error)
{
    switch (error) {
    case DATAGRAM_OK:
        break;
    case DATAGRAM_FOREIGN:
        driver_drop(d, a, DROP_NO_MAGIC);
        break;
    case DATAGRAM_VERSION_UNKNOWN:
        refuse_version(d, a);
        break;
    case DATAGRAM_CHECKSUM:
        driver_drop_quietly(d, a, DROP_CHECKSUM);
        break;
    case DATAGRAM_TRUNCATED:
        driver_drop(d, a, DROP_TRUNCATED);
        break;
    case DATAGRAM_MALFORMED:
        driver_drop(d, a, DROP_MALFORMED);
        break;
    }
}

void driver_drop_unopened(struct driver *d, const struct arrival *a, enum seal_result result)
{
    const enum datagram_kind kind = a->header.kind;
    if (d->seal == NULL) {
        refuse_key(d, a, "it has a cluster key, and this replica has none");
        return;
    }
    switch (result) {
    case SEAL_OPENED:
    case SEAL_EMPTY:
        break;
    case SEAL_MALFORMED:
        if (kind == DATAGRAM_PLAIN)
            refuse_key(d, a, "it has no cluster key");
        else
            driver_drop(d, a, DROP_MALFORMED);
        break;
    case SEAL_KEY_UNKNOWN:
        refuse_unknown_key(d, a);
        break;
    case SEAL_FORGED:
        driver_drop(d, a, DROP_FORGED);
        break;
    case SEAL_STALE:
        /* A late answer of the handshake, or a peer that has not noticed that this replica was started again. */
        if (kind != DATAGRAM_SEALED || d->members[a->member].opened_usec == 0)
            driver_drop_quietly(d, a, DROP_STALE);
        else
            driver_drop(d, a, DROP_STALE);
        break;
    case SEAL_REPLAYED:
        driver_drop(d, a, DROP_REPLAYED);
        break;
    }
}

/* --- in sum --- */

/* "12 forged or damaged, 3 replayed or doubled": what was dropped since those counts. */
static void describe(const struct drops *drops, const uint64_t since[DROP_REASONS], char ret[DROPPED_TEXT_MAX + 1])
{
    size_t used = 0;
    ret[0] = 0;
    for (size_t i = 0; i < DROP_REASONS && used <= DROPPED_TEXT_MAX; i++) {
        const uint64_t n = drops->counts[i] - since[i];
        if (n > 0 && words[i] != NULL)
            used += (size_t)snprintf(ret + used, DROPPED_TEXT_MAX + 1 - used, "%s%" PRIu64 " %s", used > 0 ? ", " : "",
                                     n, words[i]);
    }
}

void driver_fill_drops(const struct drops *from, uint64_t now_usec, struct driver_drops *ret)
{
    static const uint64_t none[DROP_REASONS];
    memcpy(ret->counts, from->counts, sizeof(ret->counts));
    ret->last_usec = from->last_usec;
    ret->text[0] = 0;
    if (from->last_usec != 0 && now_usec - from->last_usec < HOSTILE_NOTE_USEC)
        describe(from, none, ret->text);
}

void driver_fill_stranger(const struct driver *d, char ret[STRANGER_TEXT_MAX + 1])
{
    char host[INET6_ADDRSTRLEN] = "";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&d->stranger;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&d->stranger;
    if (d->stranger.ss_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
    else if (d->stranger.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
    ret[0] = 0;
    if (host[0] != 0)
        snprintf(ret, STRANGER_TEXT_MAX + 1, "%s port %u", host,
                 ntohs(d->stranger.ss_family == AF_INET ? v4->sin_port : v6->sin6_port));
}

static bool is_due(const struct drops *drops, uint64_t now_usec)
{
    return drops->last_usec != 0 && !drops->is_told &&
           (drops->told_usec == 0 || now_usec - drops->told_usec >= HOSTILE_NOTE_USEC);
}

static void set_told(struct drops *drops, uint64_t now_usec)
{
    drops->is_told = true;
    drops->told_usec = now_usec;
    memcpy(drops->told, drops->counts, sizeof(drops->told));
}

void driver_tell_dropped(struct driver *d, uint64_t now_usec)
{
    char text[DROPPED_TEXT_MAX + 1], stranger[STRANGER_TEXT_MAX + 1];
    for (size_t i = 0; i < d->n_members; i++) {
        struct driver_member *m = &d->members[i];
        if (!is_due(&m->drops, now_usec))
            continue;
        describe(&m->drops, m->drops.told, text);
        set_told(&m->drops, now_usec);
        notice(NOTICE_DATAGRAMS_REFUSED, &(struct notice_about){.peer = &m->address.id},
               "datagrams came in and were refused from the address of replica %u, which anybody may write on them: %s",
               m->address.id, text);
    }
    if (!is_due(&d->strangers, now_usec))
        return;
    describe(&d->strangers, d->strangers.told, text);
    set_told(&d->strangers, now_usec);
    driver_fill_stranger(d, stranger);
    notice(NOTICE_DATAGRAMS_REFUSED, NULL, "datagrams came in and were refused%s%s: %s",
           stranger[0] != 0 ? ", the last one from " : "", stranger, text);
}
