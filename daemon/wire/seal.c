#include "wire/seal.h"

#include <sodium.h>
#include <string.h>

#include "paxos/bytes.h"
#include "paxos/invariant.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

/* One peer under one key. */
struct pair {
    /* `current` is the newest that both have heard of each other under, `before` the one that was it before: a peer may
     * have them the other way round. `offered` is what a HELLO-ACK gave, until something comes under it. `promised` is
     * one that the peer began, until the peer says that it heard this replica under it.
     *
     * 1. The peer seals under an offered session; that is held back. 2. It asks again, and forgets that session for
     * another. 3. The two agree upon a third. 4. What was held back comes, and makes a session here that the peer has
     * not. Hence the peer's word. But it may have said it, or answered, under a session that ended with its process,
     * and that may be held back, too: so whatever comes under `before` makes that current again. Where what comes next
     * is under another key, it does not tell whether that was the peer that lives: another session is asked for. */
    struct seal_session current, before, promised, offered;
    bool settled; /* there is a current one, and none is promised that may become it */
    bool turned;  /* `before` was made the current one, and nothing came since */

    /* As initiator. 1. HELLO goes out. 2. It is sent again, and both are answered. 3. The first answer makes the
     * session and ends the asking: or the second would put another in its place, which the peer will not have. */
    bool asking;
    uint8_t asked[SEAL_NONCE_SIZE];
    uint64_t retry_usec, pause_usec;

    /* As responder. */
    uint8_t open[SEAL_NONCE_SIZE];
    bool handed_out; /* `open`: so there may be a session of it */
    bool owes;
    uint8_t owed[SEAL_NONCE_SIZE]; /* the HELLO's that is to be answered */
    uint8_t answered[SEAL_NONCE_SIZE];
    uint64_t answered_usec;
};

struct peer {
    replica_id_t id;
    uint64_t seq;         /* of the last datagram to it */
    uint64_t opened_usec; /* something from it */
    uint32_t heard;       /* slot of the key that it used last; SEAL_KEYS_MAX: none */
    struct pair pairs[SEAL_KEYS_MAX];
};

struct seal {
    struct seal_options options;
    uint32_t first; /* slot of the key for what leaves */
    struct seal_key keys[SEAL_KEYS_MAX];
    uint32_t n_peers;
    struct peer peers[];
};

size_t seal_size(uint32_t n_peers)
{
    return sizeof(struct seal) + n_peers * sizeof(struct peer);
}

struct seal *seal_init(void *block, const struct seal_options *o)
{
    struct seal *s = block;
    memset(s, 0, seal_size(o->n_peers));
    s->options = *o;
    s->options.peers = NULL;
    s->n_peers = o->n_peers;
    for (uint32_t i = 0; i < o->n_peers; i++) {
        s->peers[i].id = o->peers[i];
        s->peers[i].heard = SEAL_KEYS_MAX;
    }
    return s;
}

static void draw(struct seal *s, uint8_t ret[SEAL_NONCE_SIZE])
{
    s->options.draw(s->options.user, ret, SEAL_NONCE_SIZE);
}

/* --- keys --- */

static bool is_among(const uint8_t key[SEAL_KEY_SIZE], const struct seal_keys *keys)
{
    bool found = false;
    for (uint32_t i = 0; i < keys->n; i++)
        found |= sodium_memcmp(key, keys->keys[i], SEAL_KEY_SIZE) == 0;
    return found;
}

static void forget_key(struct seal *s, uint32_t slot)
{
    sodium_memzero(&s->keys[slot], sizeof s->keys[slot]);
    for (uint32_t i = 0; i < s->n_peers; i++) {
        sodium_memzero(&s->peers[i].pairs[slot], sizeof s->peers[i].pairs[slot]);
        if (s->peers[i].heard == slot)
            s->peers[i].heard = SEAL_KEYS_MAX;
    }
}

/* The slot of a key; SEAL_KEYS_MAX: none has it. */
static uint32_t slot_of(const struct seal *s, const uint8_t key[SEAL_KEY_SIZE])
{
    uint32_t slot = 0;
    while (slot < SEAL_KEYS_MAX && !(s->keys[slot].there && sodium_memcmp(s->keys[slot].key, key, SEAL_KEY_SIZE) == 0))
        slot++;
    return slot;
}

static void add_key(struct seal *s, const uint8_t key[SEAL_KEY_SIZE])
{
    uint32_t slot = 0;
    while (s->keys[slot].there)
        slot++;
    seal_key_make(key, &s->keys[slot]);
    for (uint32_t i = 0; i < s->n_peers; i++)
        draw(s, s->peers[i].pairs[slot].open);
}

void seal_set_keys(struct seal *s, const struct seal_keys *keys)
{
    invariant(keys->n >= 1 && keys->n <= SEAL_KEYS_MAX, keys->n, 0);
    for (uint32_t slot = 0; slot < SEAL_KEYS_MAX; slot++)
        if (s->keys[slot].there && !is_among(s->keys[slot].key, keys))
            forget_key(s, slot);
    for (uint32_t i = 0; i < keys->n; i++)
        if (slot_of(s, keys->keys[i]) == SEAL_KEYS_MAX)
            add_key(s, keys->keys[i]);
    s->first = slot_of(s, keys->keys[0]);
}

/* --- out --- */

static void write_head(const struct seal *s, const struct peer *p, uint32_t slot, enum datagram_kind kind,
                       uint8_t flags, const uint8_t salt[SEAL_NONCE_SIZE], uint64_t seq, uint8_t *bytes)
{
    bytes[AT_KIND] = (uint8_t)kind;
    bytes[AT_FLAGS] = flags;
    bytes[AT_TO] = p->id;
    put_u64(bytes + AT_SEQ, seq);
    memcpy(bytes + AT_KEY, s->keys[slot].id, SEAL_ID_SIZE);
    memcpy(bytes + AT_SALT, salt, SEAL_NONCE_SIZE);
}

static void seal_under(struct seal *s, struct peer *p, const struct seal_session *session, uint32_t slot,
                       uint8_t *bytes, size_t size, uint8_t *ret)
{
    write_head(s, p, slot, DATAGRAM_SEALED, session->heard ? FLAG_HEARD : 0, session->tx_salt, ++p->seq, bytes);
    seal_session_seal(session, bytes, size, ret);
}

/* A session that both are known to have is better than another, and the first key better than the second: but a session
 * is better than none. */
static const struct seal_session *session_for(const struct seal *s, const struct peer *p, uint32_t *ret_slot)
{
    const uint32_t second = 1 - s->first;
    for (unsigned i = 0; i < 6; i++) {
        const uint32_t slot = i % 2 == 0 ? s->first : second;
        const struct pair *q = &p->pairs[slot];
        const struct seal_session *session = i < 2 ? &q->current : i < 4 ? &q->promised : &q->offered;
        *ret_slot = slot;
        if (session->there)
            return session;
    }
    return NULL;
}

bool seal_datagram(struct seal *s, size_t peer, uint8_t *bytes, size_t size, uint8_t *ret)
{
    struct peer *p = &s->peers[peer];
    uint32_t slot;
    const struct seal_session *session = session_for(s, p, &slot);
    if (session == NULL)
        return false;
    seal_under(s, p, session, slot, bytes, size, ret);
    return true;
}

static void write_handshake(const struct seal *s, const struct peer *p, uint32_t slot, enum datagram_kind kind,
                            const uint8_t nonce[SEAL_NONCE_SIZE], const uint8_t answered[SEAL_NONCE_SIZE],
                            uint8_t *bytes)
{
    write_head(s, p, slot, kind, 0, nonce, 0, bytes);
    memcpy(bytes + DATAGRAM_HEADER_SIZE, answered, SEAL_NONCE_SIZE);
    seal_hello_tag(&s->keys[slot], bytes, bytes + AT_TAG);
}

static size_t write_answer(struct seal *s, struct peer *p, uint32_t slot, uint64_t now_usec, uint8_t *bytes)
{
    struct pair *q = &p->pairs[slot];
    write_handshake(s, p, slot, DATAGRAM_HELLO_ACK, q->open, q->owed, bytes);
    memcpy(q->answered, q->owed, sizeof q->answered);
    q->answered_usec = now_usec;
    q->owes = false;
    q->handed_out = true;
    return SEAL_HELLO_SIZE;
}

static size_t write_hello(struct seal *s, struct peer *p, uint32_t slot, uint64_t now_usec, uint8_t *bytes)
{
    static const uint8_t none[SEAL_NONCE_SIZE];
    struct pair *q = &p->pairs[slot];
    if (!q->asking)
        draw(s, q->asked);
    q->asking = true;
    if (q->pause_usec < SEAL_RETRY_USEC_MIN)
        q->pause_usec = SEAL_RETRY_USEC_MIN;
    q->retry_usec = now_usec + q->pause_usec;
    q->pause_usec = 2 * q->pause_usec < SEAL_RETRY_USEC_MAX ? 2 * q->pause_usec : SEAL_RETRY_USEC_MAX;
    write_handshake(s, p, slot, DATAGRAM_HELLO, q->asked, none, bytes);
    return SEAL_HELLO_SIZE;
}

static size_t write_touch(struct seal *s, struct peer *p, uint32_t slot, struct seal_session *session, uint8_t *bytes)
{
    session->touch = false;
    seal_under(s, p, session, slot, bytes, DATAGRAM_HEADER_SIZE, bytes);
    return DATAGRAM_HEADER_SIZE;
}

/* When a HELLO is due. Of a peer that was not heard of for long, nobody knows whether it has the current session, under
 * whichever key: it may seal under the other one, and a session that it does not have. */
static uint64_t hello_usec(const struct peer *p, uint32_t slot)
{
    const struct pair *q = &p->pairs[slot];
    const uint64_t silent_usec = p->opened_usec + SEAL_SILENCE_USEC;
    if (!q->settled)
        return q->retry_usec;
    return silent_usec > q->retry_usec ? silent_usec : q->retry_usec;
}

/* What ends a handshake goes before what begins one: an initiator that took the answer to a later HELLO first would
 * forget the session that the other datagram confirms. */
static size_t next_of(struct seal *s, struct peer *p, uint32_t slot, uint64_t now_usec, uint8_t *bytes)
{
    struct pair *q = &p->pairs[slot];
    if (q->offered.touch)
        return write_touch(s, p, slot, &q->offered, bytes);
    if (q->promised.touch)
        return write_touch(s, p, slot, &q->promised, bytes);
    if (q->current.touch)
        return write_touch(s, p, slot, &q->current, bytes);
    if (q->owes)
        return write_answer(s, p, slot, now_usec, bytes);
    if (now_usec >= hello_usec(p, slot))
        return write_hello(s, p, slot, now_usec, bytes);
    return 0;
}

size_t seal_next(struct seal *s, uint64_t now_usec, size_t *ret_peer, uint8_t *bytes)
{
    for (uint32_t i = 0; i < s->n_peers; i++) {
        for (uint32_t slot = 0; slot < SEAL_KEYS_MAX; slot++) {
            const size_t size = s->keys[slot].there ? next_of(s, &s->peers[i], slot, now_usec, bytes) : 0;
            *ret_peer = i;
            if (size > 0)
                return size;
        }
    }
    return 0;
}

uint64_t seal_wake_usec(const struct seal *s)
{
    uint64_t wake_usec = UINT64_MAX;
    for (uint32_t i = 0; i < s->n_peers; i++) {
        for (uint32_t slot = 0; slot < SEAL_KEYS_MAX; slot++) {
            const uint64_t usec = s->keys[slot].there ? hello_usec(&s->peers[i], slot) : UINT64_MAX;
            if (usec < wake_usec)
                wake_usec = usec;
        }
    }
    return wake_usec;
}

/* --- in: the handshake --- */

static bool hello_is_authentic(const struct seal *s, uint32_t slot, const uint8_t *bytes)
{
    uint8_t tag[TAG_SIZE];
    seal_hello_tag(&s->keys[slot], bytes, tag);
    return sodium_memcmp(tag, bytes + AT_TAG, TAG_SIZE) == 0;
}

/* One answer at a time. Recordings of one HELLO, however many, are answered at most every SEAL_RETRY_USEC_MIN, and do
 * not keep another from its answer. */
static enum seal_result take_hello(struct seal *s, struct peer *p, uint32_t slot, const uint8_t *bytes,
                                   uint64_t now_usec)
{
    struct pair *q = &p->pairs[slot];
    const uint8_t *nonce = bytes + AT_SALT;
    if (!hello_is_authentic(s, slot, bytes))
        return SEAL_FORGED;
    if (memcmp(nonce, q->answered, SEAL_NONCE_SIZE) == 0 && now_usec < q->answered_usec + SEAL_RETRY_USEC_MIN)
        return SEAL_EMPTY;
    memcpy(q->owed, nonce, SEAL_NONCE_SIZE);
    q->owes = true;
    return SEAL_EMPTY;
}

static enum seal_result take_answer(struct seal *s, struct peer *p, uint32_t slot, const uint8_t *bytes,
                                    uint64_t now_usec)
{
    struct pair *q = &p->pairs[slot];
    struct seal_parties parties = {.initiator = s->options.self, .responder = p->id};
    if (!q->asking || memcmp(bytes + DATAGRAM_HEADER_SIZE, q->asked, SEAL_NONCE_SIZE) != 0)
        return SEAL_STALE;
    if (!hello_is_authentic(s, slot, bytes))
        return SEAL_FORGED;
    memcpy(parties.nonces[0], q->asked, SEAL_NONCE_SIZE);
    memcpy(parties.nonces[1], bytes + AT_SALT, SEAL_NONCE_SIZE);
    seal_session_make(&q->offered, &s->keys[slot], &parties, true);
    q->offered.touch = true;
    q->asking = false;
    q->retry_usec = now_usec + q->pause_usec;
    return SEAL_EMPTY;
}

/* --- in: sealed --- */

/* `session`, one of the pair's, becomes the current one. */
static void settle(struct pair *q, struct seal_session *session)
{
    q->before = q->current;
    q->current = *session;
    sodium_memzero(session, sizeof *session);
    q->settled = true;
    q->turned = false;
    q->asking = false;
    q->pause_usec = q->retry_usec = 0;
}

/* As responder: perhaps the first datagram of a session that was asked for. Its initiator has shown, by using it, that
 * it knows the open nonce, which is used up by that. */
static enum seal_result try_open_nonce(struct seal *s, struct peer *p, uint32_t slot, const uint8_t *bytes, size_t size,
                                       uint64_t now_usec, uint8_t *ret)
{
    struct pair *q = &p->pairs[slot];
    struct seal_parties parties = {.initiator = p->id, .responder = s->options.self};
    struct seal_session session;
    if (!q->handed_out)
        return SEAL_STALE;
    memcpy(parties.nonces[0], bytes + AT_SALT, SEAL_NONCE_SIZE);
    memcpy(parties.nonces[1], q->open, SEAL_NONCE_SIZE);
    if (!seal_session_may_be_of(&s->keys[slot], &parties, false, bytes))
        return SEAL_STALE;
    seal_session_make(&session, &s->keys[slot], &parties, false);
    enum seal_result result = seal_session_open(&session, bytes, size, ret);
    if (result == SEAL_OPENED) {
        session.touch = true;
        q->promised = session;
        q->settled = false;
        q->retry_usec = now_usec + SEAL_RETRY_USEC_MIN; /* for the peer's word */
        draw(s, q->open);
        q->handed_out = false;
    }
    sodium_memzero(&session, sizeof session);
    return result == SEAL_OPENED ? SEAL_OPENED : SEAL_STALE;
}

/* Something came under the key of `slot`. */
static void ask_where_turned(struct peer *p, uint32_t slot)
{
    for (uint32_t other = 0; other < SEAL_KEYS_MAX; other++) {
        struct pair *q = &p->pairs[other];
        if (other != slot && q->turned)
            q->turned = q->settled = false;
    }
}

static enum seal_result open_sealed(struct seal *s, struct peer *p, uint32_t slot, const uint8_t *bytes, size_t size,
                                    uint64_t now_usec, uint8_t *ret)
{
    struct pair *q = &p->pairs[slot];
    struct seal_session *sessions[] = {&q->current, &q->before, &q->promised, &q->offered};
    enum seal_result result = SEAL_STALE;
    for (size_t i = 0; i < sizeof sessions / sizeof sessions[0] && result != SEAL_OPENED; i++) {
        struct seal_session *session = sessions[i];
        if (!session->there || memcmp(session->rx_salt, bytes + AT_SALT, SEAL_NONCE_SIZE) != 0)
            continue;
        result = seal_session_open(session, bytes, size, ret);
        if (result != SEAL_OPENED)
            continue;
        if (session == &q->offered) {
            session->touch = true; /* the word that the peer waits for */
            settle(q, session);
        } else if (session == &q->promised && (bytes[AT_FLAGS] & FLAG_HEARD) != 0) {
            settle(q, session);
        } else if (session == &q->before) {
            struct seal_session newer = q->current;
            q->current = q->before;
            q->before = newer;
            sodium_memzero(&newer, sizeof newer);
            q->turned = true;
        } else if (session == &q->current) {
            q->turned = false;
        }
    }
    if (result == SEAL_STALE)
        result = try_open_nonce(s, p, slot, bytes, size, now_usec, ret);
    if (result == SEAL_OPENED) {
        p->heard = slot;
        p->opened_usec = now_usec;
        ask_where_turned(p, slot);
    }
    return result == SEAL_OPENED && size == DATAGRAM_HEADER_SIZE ? SEAL_EMPTY : result;
}

enum seal_result seal_open(struct seal *s, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec,
                           uint8_t *ret)
{
    struct peer *p = &s->peers[peer];
    uint32_t slot = 0;
    while (slot < SEAL_KEYS_MAX &&
           !(s->keys[slot].there && memcmp(s->keys[slot].id, bytes + AT_KEY, SEAL_ID_SIZE) == 0))
        slot++;
    if (bytes[AT_KIND] == DATAGRAM_PLAIN)
        return SEAL_MALFORMED;
    if (slot == SEAL_KEYS_MAX)
        return SEAL_KEY_UNKNOWN;
    if (bytes[AT_KIND] == DATAGRAM_SEALED)
        return open_sealed(s, p, slot, bytes, size, now_usec, ret);
    if (size != SEAL_HELLO_SIZE)
        return SEAL_MALFORMED;
    return bytes[AT_KIND] == DATAGRAM_HELLO ? take_hello(s, p, slot, bytes, now_usec)
                                            : take_answer(s, p, slot, bytes, now_usec);
}

/* --- status --- */

const uint8_t *seal_datagram_key(const uint8_t *bytes)
{
    return bytes + AT_KEY;
}

static void add_name(const struct seal *s, uint32_t slot, struct seal_peer_status *ret)
{
    if (s->keys[slot].there)
        seal_key_name(s->keys[slot].id, ret->keys[ret->n_keys++]);
}

void seal_peer_status(const struct seal *s, size_t peer, struct seal_peer_status *ret)
{
    const struct peer *p = &s->peers[peer];
    *ret = (struct seal_peer_status){0};
    if (p->heard < SEAL_KEYS_MAX)
        add_name(s, p->heard, ret);
    for (uint32_t slot = 0; slot < SEAL_KEYS_MAX; slot++)
        if (slot != p->heard &&
            (p->pairs[slot].current.there || p->pairs[slot].promised.there || p->pairs[slot].offered.there))
            add_name(s, slot, ret);
}

void seal_status(const struct seal *s, struct seal_peer_status *ret)
{
    *ret = (struct seal_peer_status){0};
    add_name(s, s->first, ret);
    add_name(s, 1 - s->first, ret);
}
