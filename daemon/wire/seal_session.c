#include "wire/seal_session.h"

#include <sodium.h>
#include <string.h>

#include "paxos/bytes.h"
#include "wire/datagram_format.h"

_Static_assert((int)AT_KEY == (int)AT_SEAL, "the last part of the header");
_Static_assert(TAG_SIZE == crypto_aead_chacha20poly1305_ietf_ABYTES, "Poly1305");
_Static_assert(SEAL_NONCE_SIZE == crypto_core_hchacha20_INPUTBYTES, "HChaCha20");
_Static_assert(CHECK_KEY_SIZE == crypto_shorthash_KEYBYTES, "SipHash");

enum { STACK_USED = 2048 /* by BLAKE2b and HChaCha20, which leave words of their key there */ };

/* --- from the cluster key --- */

static void derive(const uint8_t key[SEAL_KEY_SIZE], const char *label, const uint8_t *more, size_t more_size,
                   uint8_t *ret, size_t size)
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, key, SEAL_KEY_SIZE, size);
    crypto_generichash_update(&state, (const uint8_t *)label, strlen(label) + 1);
    crypto_generichash_update(&state, more, more_size);
    crypto_generichash_final(&state, ret, size);
    sodium_memzero(&state, sizeof state);
}

void seal_key_id(const uint8_t key[SEAL_KEY_SIZE], uint8_t ret[SEAL_ID_SIZE])
{
    uint8_t hash[crypto_generichash_BYTES_MIN];
    derive(key, "mpaxos key id", NULL, 0, hash, sizeof hash);
    memcpy(ret, hash, SEAL_ID_SIZE);
    sodium_stackzero(STACK_USED);
}

void seal_key_name(const uint8_t id[SEAL_ID_SIZE], char ret[SEAL_NAME_SIZE])
{
    sodium_bin2hex(ret, SEAL_NAME_SIZE, id, (SEAL_NAME_SIZE - 1) / 2);
}

void seal_key_make(const uint8_t key[SEAL_KEY_SIZE], struct seal_key *ret)
{
    ret->there = true;
    memcpy(ret->key, key, SEAL_KEY_SIZE);
    derive(key, "mpaxos hello", NULL, 0, ret->hello, sizeof ret->hello);
    seal_key_id(key, ret->id);
}

void seal_hello_tag(const struct seal_key *k, const uint8_t *bytes, uint8_t ret[TAG_SIZE])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, k->hello, sizeof k->hello, TAG_SIZE);
    crypto_generichash_update(&state, bytes, AT_TAG);
    crypto_generichash_update(&state, bytes + DATAGRAM_HEADER_SIZE, SEAL_HELLO_SIZE - DATAGRAM_HEADER_SIZE);
    crypto_generichash_final(&state, ret, TAG_SIZE);
    sodium_memzero(&state, sizeof state);
}

/* `direction`: 0 from the initiator, 1 to it. */
static void derive_direction(const struct seal_key *k, const struct seal_parties *p, uint8_t direction,
                             const char *label, uint8_t *ret, size_t size)
{
    uint8_t input[2 + 2 * SEAL_NONCE_SIZE + 1] = {p->initiator, p->responder};
    memcpy(input + 2, p->nonces, sizeof p->nonces);
    input[sizeof input - 1] = direction;
    derive(k->key, label, input, sizeof input, ret, size);
}

static void derive_cipher(const struct seal_key *k, const struct seal_parties *p, uint8_t direction,
                          uint8_t ret[SEAL_KEY_SIZE])
{
    uint8_t key[SEAL_KEY_SIZE];
    derive_direction(k, p, direction, "mpaxos session", key, sizeof key);
    crypto_core_hchacha20(ret, p->nonces[direction], key, NULL);
    sodium_memzero(key, sizeof key);
}

static void derive_check(const struct seal_key *k, const struct seal_parties *p, uint8_t direction,
                         uint8_t ret[CHECK_KEY_SIZE])
{
    derive_direction(k, p, direction, "mpaxos check", ret, CHECK_KEY_SIZE);
}

void seal_session_make(struct seal_session *s, const struct seal_key *k, const struct seal_parties *p, bool initiates)
{
    const uint8_t out = initiates ? 0 : 1, in = initiates ? 1 : 0;
    memset(s, 0, sizeof *s);
    s->there = true;
    memcpy(s->tx_salt, p->nonces[out], SEAL_NONCE_SIZE);
    memcpy(s->rx_salt, p->nonces[in], SEAL_NONCE_SIZE);
    derive_cipher(k, p, out, s->tx_key);
    derive_cipher(k, p, in, s->rx_key);
    derive_check(k, p, out, s->tx_check);
    derive_check(k, p, in, s->rx_check);
    sodium_stackzero(STACK_USED);
}

/* --- the check --- */

static uint32_t check_of(const uint8_t key[CHECK_KEY_SIZE], const uint8_t *bytes)
{
    uint8_t head[AT_TAG], hash[crypto_shorthash_BYTES];
    memcpy(head, bytes, sizeof head);
    put_u32(head + AT_CHECKSUM, 0);
    crypto_shorthash(hash, head, sizeof head, key);
    return get_u32(hash);
}

bool seal_session_may_be_of(const struct seal_key *k, const struct seal_parties *p, bool initiates,
                            const uint8_t *bytes)
{
    uint8_t key[CHECK_KEY_SIZE];
    derive_check(k, p, initiates ? 1 : 0, key);
    const bool may_be = check_of(key, bytes) == get_u32(bytes + AT_CHECKSUM);
    sodium_memzero(key, sizeof key);
    return may_be;
}

/* --- which were opened --- */

/* The ring is twice the window, so that the bits ahead of it can be cleared by whole words. */
static uint64_t *word_of(struct seal_session *s, uint64_t seq)
{
    return &s->opened[seq / 64 % RING_WORDS];
}

static bool was_opened(struct seal_session *s, uint64_t seq)
{
    if (seq > s->newest)
        return false;
    return s->newest - seq >= SEAL_WINDOW || (*word_of(s, seq) >> seq % 64 & 1) != 0;
}

static void mark_opened(struct seal_session *s, uint64_t seq)
{
    if (seq > s->newest) {
        uint64_t words = seq / 64 - s->newest / 64;
        for (uint64_t i = 1; i <= words && i <= RING_WORDS; i++)
            *word_of(s, s->newest + 64 * i) = 0;
        s->newest = seq;
    }
    *word_of(s, seq) |= UINT64_C(1) << seq % 64;
}

/* --- the datagrams --- */

static void make_nonce(const uint8_t *bytes, uint8_t ret[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
    memset(ret, 0, 4);
    memcpy(ret + 4, bytes + AT_SEQ, 8);
}

void seal_session_seal(const struct seal_session *s, const uint8_t *bytes, size_t size, uint8_t *ret)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    make_nonce(bytes, nonce);
    if (ret != bytes)
        memcpy(ret, bytes, AT_TAG);
    put_u32(ret + AT_CHECKSUM, check_of(s->tx_check, bytes));
    crypto_aead_chacha20poly1305_ietf_encrypt_detached(ret + DATAGRAM_HEADER_SIZE, ret + AT_TAG, NULL,
                                                       bytes + DATAGRAM_HEADER_SIZE, size - DATAGRAM_HEADER_SIZE, ret,
                                                       AT_TAG, NULL, nonce, s->tx_key);
}

enum seal_result seal_session_open(struct seal_session *s, const uint8_t *bytes, size_t size, uint8_t *ret)
{
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];
    const uint64_t seq = get_u64(bytes + AT_SEQ);
    if (was_opened(s, seq))
        return SEAL_REPLAYED;
    if (check_of(s->rx_check, bytes) != get_u32(bytes + AT_CHECKSUM))
        return SEAL_FORGED;
    make_nonce(bytes, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(ret + DATAGRAM_HEADER_SIZE, NULL,
                                                           bytes + DATAGRAM_HEADER_SIZE, size - DATAGRAM_HEADER_SIZE,
                                                           bytes + AT_TAG, bytes, AT_TAG, nonce, s->rx_key) != 0)
        return SEAL_FORGED;
    memcpy(ret, bytes, DATAGRAM_HEADER_SIZE);
    mark_opened(s, seq);
    s->heard = true;
    return SEAL_OPENED;
}
