/* One session of wire/seal.h: its keys, and which datagrams it has opened. And what is made of a cluster key. */
#ifndef WIRE_SEAL_SESSION_H
#define WIRE_SEAL_SESSION_H

#include "wire/seal.h"

enum { FLAG_HEARD = 1 }; /* of AT_FLAGS */

enum {
    AT_KEY = 64, /* where the header's last part stands when it is sealed: key id, salt, tag */
    AT_SALT = AT_KEY + SEAL_ID_SIZE,
    AT_TAG = AT_SALT + SEAL_NONCE_SIZE,
    TAG_SIZE = 16,
    CHECK_KEY_SIZE = 16,
    RING_WORDS = 2 * SEAL_WINDOW / 64,
};
_Static_assert(AT_TAG + TAG_SIZE == DATAGRAM_HEADER_SIZE, "the tag ends the header");

struct seal_key {
    bool there;
    uint8_t id[SEAL_ID_SIZE];
    uint8_t key[SEAL_KEY_SIZE], hello[SEAL_KEY_SIZE]; /* of the cluster, and of the handshake */
};

struct seal_session {
    bool there, touch; /* touch: an empty datagram is to tell the peer of it                   */
    bool heard;        /* something came under it; told in what is sealed under it, AT_FLAGS */
    uint8_t tx_salt[SEAL_NONCE_SIZE], rx_salt[SEAL_NONCE_SIZE];
    uint8_t tx_key[SEAL_KEY_SIZE], rx_key[SEAL_KEY_SIZE];
    uint8_t tx_check[CHECK_KEY_SIZE], rx_check[CHECK_KEY_SIZE];
    uint64_t newest;             /* seq that was opened           */
    uint64_t opened[RING_WORDS]; /* bit seq % its size, so far as it is in the window */
};

void seal_key_make(const uint8_t key[SEAL_KEY_SIZE], struct seal_key *ret);
/* Of a handshake's datagram. */
void seal_hello_tag(const struct seal_key *k, const uint8_t *bytes, uint8_t ret[TAG_SIZE]);

/* Who began it, who answered, and with which nonces. */
struct seal_parties {
    replica_id_t initiator, responder;
    uint8_t nonces[2][SEAL_NONCE_SIZE]; /* the initiator's, the responder's */
};
void seal_session_make(struct seal_session *s, const struct seal_key *k, const struct seal_parties *p, bool initiates);
/* Whether its check lets this datagram be one of the session that would be made; for less work than to make it. */
bool seal_session_may_be_of(const struct seal_key *k, const struct seal_parties *p, bool initiates,
                            const uint8_t *bytes);

/* Seals in place or beside; the header is complete but for check and tag. */
void seal_session_seal(const struct seal_session *s, const uint8_t *bytes, size_t size, uint8_t *ret);
/* SEAL_OPENED, SEAL_FORGED or SEAL_REPLAYED; only the first changes the session. (The peer's word that it heard this
 * replica under the session is FLAG_HEARD.) */
enum seal_result seal_session_open(struct seal_session *s, const uint8_t *bytes, size_t size, uint8_t *ret);

#endif
