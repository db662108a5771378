/* Sealed datagrams: who a datagram is from, that nobody changed or read it, and that it is no recording. Pure; bytes to
 * bytes, time and randomness handed in.
 *
 * Whoever has the cluster key is a member. From it follow, by BLAKE2b keyed with it, the key's id (told in every
 * datagram), a key for the handshake, and the keys of sessions. A session joins two processes: it dies with either. It
 * is made by two datagrams of one size, each with a tag of keyed BLAKE2b over all of it:
 *
 *   HELLO      from the initiator I, with its fresh nonce;
 *   HELLO-ACK  from the responder R: its own open nonce for this peer, and the nonce that it answers.
 *
 * Now I has the session, and seals under it; R, which has kept nothing, makes it of the first sealed datagram whose
 * salt, as the initiator's nonce, and its own open nonce give a key that opens it. Then that nonce is used up and R
 * draws another. So a HELLO-ACK counts once for the HELLO that is under way, a session is fresh to both, and what was
 * recorded earlier, in whatever order it is sent again, makes none and ends none. R goes over to the session once I
 * says, by a flag in what it seals, that it heard R under it: what I sealed under a session that it forgot since may
 * come late. Both sides may begin at once: then there are two sessions, and either opens both. Of the two, each side
 * seals under the one that the other used last: what a process sealed that has ended may come late, but what comes next
 * is of the living one; where that comes under another key, another session is asked for. Each side that makes a
 * session tells so by an empty sealed datagram; a HELLO is repeated, from SEAL_RETRY_USEC_MIN up to SEAL_RETRY_USEC_MAX
 * apart, until they have heard of each other, and again while a peer is silent for SEAL_SILENCE_USEC.
 *
 * Sealing is XChaCha20-Poly1305. Key: BLAKE2b-256 of "mpaxos session", I's id, R's id, I's nonce, R's nonce, direction
 * (0: from I). Nonce: the sender's nonce of the handshake (16 bytes, the salt), then the datagram's seq (u64,
 * little-endian), which a sender counts up for each receiver and never repeats while it runs. Associated data: the
 * header before the tag, so also sender, life, receiver, cluster, key id. HChaCha20 of key and salt is done once a
 * session, which leaves ChaCha20-Poly1305 (RFC 8439) for each datagram. In the place of a plain one's checksum stands a
 * check, which the tag covers too: the first 4 bytes of SipHash-2-4 of the header before the tag, these 4 zero, keyed
 * with BLAKE2b-128 of "mpaxos check" and the rest as above. It proves nothing, but of 4 billion datagrams that somebody
 * without the key makes up, or whose number he changes, one gets past it: a flood of them costs 100 bytes' hash each.
 *
 * The cluster's id is no part of the key, but of what every datagram authenticates: before the first start there is
 * none, and its coming must not end sessions. Two keys may be live, each with sessions of its own; what leaves goes
 * under the first key as soon as the peer has it.
 *
 * Source: Arciszewski, "XChaCha" (draft-irtf-cfrg-xchacha-03); the window after RFC 6479; the handshake's stateless
 * answer after WireGuard (Donenfeld, 2017). */
#ifndef WIRE_SEAL_H
#define WIRE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/datagram.h"

enum {
    SEAL_KEY_SIZE = 32,
    SEAL_KEYS_MAX = 2,
    SEAL_ID_SIZE = 8,
    SEAL_NAME_SIZE = 9, /* of a key id for people: its first 4 bytes in hexadecimal, and a NUL */
    SEAL_NONCE_SIZE = 16,
    SEAL_WINDOW = 2048, /* datagrams that may be late, behind the newest */
    SEAL_HELLO_SIZE = DATAGRAM_HEADER_SIZE + SEAL_NONCE_SIZE,
    SEAL_RETRY_USEC_MIN = 10000,
    SEAL_RETRY_USEC_MAX = 500000,
    SEAL_SILENCE_USEC = 1000000, /* without anything from a peer: another session is asked for */
};

/* The cluster keys: the first is used for what leaves, all for what comes. Different ones. */
struct seal_keys {
    uint32_t n;
    uint8_t keys[SEAL_KEYS_MAX][SEAL_KEY_SIZE];
};

struct seal;

struct seal_options {
    replica_id_t self;
    const replica_id_t *peers; /* copied; a peer is named by its index */
    uint32_t n_peers;
    void (*draw)(void *user, uint8_t *ret, size_t size); /* unpredictable bytes */
    void *user;
};

/* The block holds all secrets but the caller's `keys`: it is for locked memory, and for wiping afterwards.
 * sodium_init() was called. */
size_t seal_size(uint32_t n_peers);
struct seal *seal_init(void *block, const struct seal_options *o);

/* From now on these keys; sessions under keys that stay, stay. At least one. */
void seal_set_keys(struct seal *s, const struct seal_keys *keys);

/* --- out --- */

/* Seals `size` bytes, a datagram of datagram_begin() and datagram_put() that was not finished, into `ret`, which may be
 * the same. False: there is no session with this peer yet; the datagram is as good as lost. */
bool seal_datagram(struct seal *s, size_t peer, uint8_t *bytes, size_t size, uint8_t *ret);

/* What the handshake owes now, one datagram a call: *ret_peer is whom, `bytes`, of SEAL_HELLO_SIZE, holds what
 * datagram_begin() wrote and is overwritten. Answers its size; 0: nothing is due. */
size_t seal_next(struct seal *s, uint64_t now_usec, size_t *ret_peer, uint8_t *bytes);
/* When the next HELLO is due; UINT64_MAX: none. */
uint64_t seal_wake_usec(const struct seal *s);

/* --- in --- */

enum seal_result {
    SEAL_OPENED,      /* `ret` holds header and messages          */
    SEAL_EMPTY,       /* it was the handshake's: nothing to read  */
    SEAL_MALFORMED,   /* not sealed, or a handshake of wrong size */
    SEAL_KEY_UNKNOWN, /* of a key that is none of ours            */
    SEAL_FORGED,      /* the tag is wrong                         */
    SEAL_STALE,       /* of no session that is alive: recorded before, or its sender has not noticed a restart */
    SEAL_REPLAYED,    /* it was opened before, or is older than the window                                     */
};

/* `bytes`: a datagram whose header datagram_header_read() took, from this peer, to this replica. Nothing is changed by
 * one that is not authentic. `ret`, of `size` bytes, does not overlap. */
enum seal_result seal_open(struct seal *s, size_t peer, const uint8_t *bytes, size_t size, uint64_t now_usec,
                           uint8_t *ret);

/* --- status --- */

void seal_key_id(const uint8_t key[SEAL_KEY_SIZE], uint8_t ret[SEAL_ID_SIZE]);
void seal_key_name(const uint8_t id[SEAL_ID_SIZE], char ret[SEAL_NAME_SIZE]);
/* The id in a sealed datagram's header. */
const uint8_t *seal_datagram_key(const uint8_t *bytes);

struct seal_peer_status {
    uint32_t n_keys; /* of those that this replica has and the peer, too: the one that the peer used last first */
    char keys[SEAL_KEYS_MAX][SEAL_NAME_SIZE];
};
void seal_peer_status(const struct seal *s, size_t peer, struct seal_peer_status *ret);
/* The same of this replica itself: all its keys, the first one first. */
void seal_status(const struct seal *s, struct seal_peer_status *ret);

#endif
