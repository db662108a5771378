/* Datagrams that are not taken: counted by reason; told of a member where it is that member's own address that sends
 * them, and in sum where nobody stands for them, since anybody may write a member's id. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/driver_internal.h"

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

void driver_drop(struct driver *d, enum drop_reason reason)
{
    d->dropped[reason]++;
    d->hostile_usec = driver_now();
    d->hostile_told = false;
}

void driver_drop_unread(struct driver *d, enum datagram_error error)
{
    switch (error) {
    case DATAGRAM_OK:
        break;
    case DATAGRAM_FOREIGN:
        driver_drop(d, DROP_NO_MAGIC);
        break;
    case DATAGRAM_VERSION_UNKNOWN:
        driver_drop(d, DROP_VERSION);
        break;
    case DATAGRAM_CHECKSUM:
        d->dropped[DROP_CHECKSUM]++;
        break;
    case DATAGRAM_TRUNCATED:
        driver_drop(d, DROP_TRUNCATED);
        break;
    case DATAGRAM_MALFORMED:
        driver_drop(d, DROP_MALFORMED);
        break;
    }
}

/* --- members --- */

void driver_note_member(struct driver_member *m, enum notice_kind kind, const char *why)
{
    if (strcmp(m->note, why) == 0)
        return;
    snprintf(m->note, sizeof(m->note), "%s", why);
    notice(kind, &(struct notice_about){.peer = &m->address.id}, "replica %u (%s port %u)%s: %s", m->address.id,
           m->address.host, m->address.port, kind == NOTICE_REPLICA_REFUSED ? " is refused" : "", why);
}

void driver_refuse_member(struct driver *d, size_t member, const char *why)
{
    struct driver_member *m = &d->members[member];
    d->dropped[DROP_FOREIGN]++;
    m->refused_usec = driver_now();
    m->refused_key = false;
    driver_note_member(m, NOTICE_REPLICA_REFUSED, why);
}

/* One that is heard otherwise has, in the middle of a change of keys, one more than this replica: that is no harm. */
static void refuse_key(struct driver *d, size_t member, const struct sockaddr_storage *from, const char *why)
{
    struct driver_member *m = &d->members[member];
    const uint64_t now_usec = driver_now();
    if (!peers_is_from(d->peers, member, from)) {
        driver_drop(d, DROP_KEY);
        return;
    }
    d->dropped[DROP_KEY]++;
    if (m->opened_usec != 0 && now_usec - m->opened_usec < PEER_NOTE_USEC)
        return;
    m->refused_usec = now_usec;
    m->refused_key = true;
    driver_note_member(m, NOTICE_REPLICA_REFUSED, why);
}

static void refuse_unknown_key(struct driver *d, size_t member, const struct sockaddr_storage *from,
                               const uint8_t *bytes)
{
    char why[sizeof(d->members[0].note)], name[SEAL_NAME_SIZE];
    seal_key_name(seal_datagram_key(bytes), name);
    snprintf(why, sizeof(why), "wrong cluster key (%s)", name);
    refuse_key(d, member, from, why);
}

void driver_drop_unopened(struct driver *d, size_t member, const struct sockaddr_storage *from, const uint8_t *bytes,
                          enum datagram_kind kind, enum seal_result result)
{
    const struct driver_member *m = &d->members[member];
    if (d->seal == NULL) {
        refuse_key(d, member, from, "it has a cluster key, and this replica has none");
        return;
    }
    switch (result) {
    case SEAL_OPENED:
    case SEAL_EMPTY:
        break;
    case SEAL_MALFORMED:
        if (kind == DATAGRAM_PLAIN)
            refuse_key(d, member, from, "it has no cluster key");
        else
            driver_drop(d, DROP_MALFORMED);
        break;
    case SEAL_KEY_UNKNOWN:
        refuse_unknown_key(d, member, from, bytes);
        break;
    case SEAL_FORGED:
        driver_drop(d, DROP_FORGED);
        break;
    case SEAL_STALE:
        /* A late answer of the handshake, or a peer that has not noticed that this replica was started again. */
        if (kind != DATAGRAM_SEALED || m->opened_usec == 0)
            d->dropped[DROP_STALE]++;
        else
            driver_drop(d, DROP_STALE);
        break;
    case SEAL_REPLAYED:
        driver_drop(d, DROP_REPLAYED);
        break;
    }
}

/* --- in sum --- */

/* "12 forged or damaged, 3 replayed or doubled": what was dropped since those counts. */
static void describe(const struct driver *d, const uint64_t since[DROP_REASONS], char *ret, size_t size)
{
    size_t used = 0;
    ret[0] = 0;
    for (size_t i = 0; i < DROP_REASONS && used < size; i++) {
        const uint64_t n = d->dropped[i] - since[i];
        if (n > 0 && words[i] != NULL)
            used += (size_t)snprintf(ret + used, size - used, "%s%" PRIu64 " %s", used > 0 ? ", " : "", n, words[i]);
    }
}

void driver_describe_dropped(const struct driver *d, char *ret, size_t size)
{
    static const uint64_t none[DROP_REASONS];
    describe(d, none, ret, size);
}

void driver_tell_dropped(struct driver *d, uint64_t now_usec)
{
    char text[DROPPED_TEXT_MAX + 1];
    if (d->hostile_usec == 0 || d->hostile_told ||
        (d->hostile_told_usec != 0 && now_usec - d->hostile_told_usec < HOSTILE_NOTE_USEC))
        return;
    d->hostile_told = true;
    d->hostile_told_usec = now_usec;
    describe(d, d->dropped_told, text, sizeof(text));
    memcpy(d->dropped_told, d->dropped, sizeof(d->dropped));
    notice(NOTICE_DATAGRAMS_REFUSED, NULL, "datagrams came in and were refused: %s", text);
}
