/* Sealed datagrams between replicas that mean well: the handshake, the cipher, a change of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>

#include "paxos/bytes.h"
#include "tests/unit/seal_ends.h"
#include "wire/datagram_format.h"
#include "wire/seal_session.h"

/* --- the handshake --- */

static void test_one_hello_serves_both_ways(void **state)
{
    (void)state;
    struct end a, b;
    ends_begin(&a, &b);
    assert_int_equal(end_seals(&a, 2, "x").size, 0);
    struct bytes hello = end_owes(&a, 2);
    assert_int_equal(hello.size, SEAL_HELLO_SIZE);
    assert_int_equal(end_opens(&b, 1, &hello, NULL), SEAL_EMPTY);
    struct bytes answer = end_owes(&b, 1);
    assert_int_equal(answer.bytes[AT_KIND], DATAGRAM_HELLO_ACK);
    assert_true(answer.size <= hello.size);
    assert_int_equal(end_seals(&b, 1, "x").size, 0); /* a HELLO alone, which may be a recording, makes no session */
    assert_int_equal(end_opens(&a, 2, &answer, NULL), SEAL_EMPTY);
    ends_pass(&a, &b, "first"); /* it makes b's session */
    ends_pass(&b, &a, "back");
    assert_int_equal(end_owes(&a, 2).bytes[AT_KIND], DATAGRAM_SEALED); /* what it owed before */
    assert_int_equal(end_owes(&a, 2).size, 0);
    assert_true(seal_wake_usec(a.seal) != UINT64_MAX); /* 3 is still asked for */
    ends_stop(&a, &b);
}

static void test_both_may_begin_at_once(void **state)
{
    (void)state;
    struct end a, b;
    ends_begin(&a, &b);
    struct bytes to_b = end_owes(&a, 2), to_a = end_owes(&b, 1);
    end_opens(&b, 1, &to_b, NULL);
    end_opens(&a, 2, &to_a, NULL);
    to_b = end_owes(&a, 2), to_a = end_owes(&b, 1); /* both answers */
    end_opens(&b, 1, &to_b, NULL);
    end_opens(&a, 2, &to_a, NULL);
    struct bytes first = end_seals(&a, 2, "a1"), back = end_seals(&b, 1, "b1");
    assert_int_equal(end_opens(&b, 1, &first, "a1"), SEAL_OPENED);
    assert_int_equal(end_opens(&a, 2, &back, "b1"), SEAL_OPENED);
    for (int i = 0; i < 5; i++) { /* what crosses on the way is of the one session, or of the other */
        first = end_seals(&a, 2, "more"), back = end_seals(&b, 1, "more");
        assert_int_equal(end_opens(&b, 1, &first, "more"), SEAL_OPENED);
        assert_int_equal(end_opens(&a, 2, &back, "more"), SEAL_OPENED);
    }
    ends_exchange(&a, &b);
    ends_pass(&a, &b, "more");
    ends_pass(&b, &a, "more");
    ends_stop(&a, &b);
}

/* A HELLO that came twice is answered twice; the peer has the session of the first answer. */
static void test_the_first_answer_counts(void **state)
{
    (void)state;
    struct end a, b;
    ends_begin(&a, &b);
    struct bytes hello = end_owes(&a, 2);
    end_opens(&b, 1, &hello, NULL);
    struct bytes answer = end_owes(&b, 1);
    end_opens(&a, 2, &answer, NULL);
    ends_pass(&a, &b, "first");
    ends_now_usec += SEAL_RETRY_USEC_MIN;
    end_opens(&b, 1, &hello, NULL);
    answer = end_owes_kind(&b, 1, DATAGRAM_HELLO_ACK);
    assert_int_equal(end_opens(&a, 2, &answer, NULL), SEAL_STALE);
    ends_pass(&b, &a, "back");
    ends_stop(&a, &b);
}

/* What an answer gave is used until something came under another session: the one who answered may be gone. */
static void test_a_session_that_is_heard_counts_more(void **state)
{
    (void)state;
    struct end a, b;
    ends_begin(&a, &b);
    struct bytes d = end_owes(&a, 2);
    end_opens(&b, 1, &d, NULL);
    d = end_owes(&b, 1);
    end_opens(&a, 2, &d, NULL);
    end_stop(&b);
    end_start(&b, 2, &ends_key);
    d = end_owes(&b, 1);
    end_opens(&a, 2, &d, NULL);
    d = end_owes_kind(&a, 2, DATAGRAM_HELLO_ACK);
    end_opens(&b, 1, &d, NULL);
    ends_pass(&b, &a, "I am another one");
    ends_pass(&a, &b, "I see");
    ends_stop(&a, &b);
}

/* Whatever of it is lost, doubled or late, it comes to a session soon, and asks no more often than it says. */
static void test_loss_is_made_good(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed < 300; seed++) {
        struct end a, b;
        struct bytes late[2] = {{0}, {0}};
        uint32_t random = seed, hellos = 0;
        uint64_t begun_usec = ends_now_usec;
        bool done = false;
        ends_begin(&a, &b);
        while (!done) {
            for (int side = 0; side < 2; side++) {
                struct end *from = side == 0 ? &a : &b, *to = side == 0 ? &b : &a;
                for (struct bytes d; (d = end_owes(from, to->id)).size != 0;) {
                    random = random * 1103515245 + 12345;
                    hellos += d.bytes[AT_KIND] == DATAGRAM_HELLO;
                    if (random >> 16 & 1)
                        end_opens(to, from->id, &d, NULL);
                    if (late[side].size != 0 && (random >> 18 & 3) == 0)
                        end_opens(to, from->id, &late[side], NULL);
                    if (random >> 20 & 1)
                        late[side] = d;
                }
            }
            struct bytes there = end_seals(&a, 2, "x"), back = end_seals(&b, 1, "y");
            done = there.size != 0 && back.size != 0 && end_opens(&b, 1, &there, "x") == SEAL_OPENED &&
                   end_opens(&a, 2, &back, "y") == SEAL_OPENED;
            ends_now_usec += 1000;
            assert_true(ends_now_usec - begun_usec < 5000000);
        }
        assert_true(hellos <= 2 * (6 + (ends_now_usec - begun_usec) / SEAL_RETRY_USEC_MAX + 1));
        ends_stop(&a, &b);
    }
}

static void test_a_restart_is_noticed_by_the_restarted(void **state)
{
    (void)state;
    struct end a, b;
    ends_start(&a, &b);
    struct bytes before = end_seals(&a, 2, "on its way");
    end_stop(&b);
    end_start(&b, 2, &ends_key);
    assert_int_equal(end_opens(&b, 1, &before, NULL), SEAL_STALE);
    ends_exchange(&a, &b);
    ends_pass(&a, &b, "again");
    ends_pass(&b, &a, "again");
    ends_stop(&a, &b);
}

/* --- the cipher --- */

/* `input`: that of the session's key. */
static void make_check(const uint8_t input[50], const uint8_t head[88], uint8_t ret[8])
{
    uint8_t other[13 + 2 + 32 + 1] = "mpaxos check", key[16];
    memcpy(other + 13, input + 15, 35);
    crypto_generichash(key, sizeof key, other, sizeof other, ends_key.keys[0], SEAL_KEY_SIZE);
    crypto_shorthash(ret, head, 88, key);
}

/* Against libsodium's own XChaCha20-Poly1305, with the whole nonce, and keys made here as the header says. */
static void test_it_is_what_it_says(void **state)
{
    (void)state;
    struct end a, b;
    ends_begin(&a, &b);
    struct bytes hello = end_owes(&a, 2);
    end_opens(&b, 1, &hello, NULL);
    struct bytes answer = end_owes(&b, 1);
    end_opens(&a, 2, &answer, NULL);
    struct bytes d = end_seals(&a, 2, "some text"), e;
    end_opens(&b, 1, &d, "some text");
    e = end_seals(&b, 1, "an answer");

    uint8_t input[15 + 2 + 32 + 1] = "mpaxos session", key[32], nonce[24], text[ENDS_BODY_MAX];
    input[15] = 1, input[16] = 2;
    memcpy(input + 17, hello.bytes + 72, 16);
    memcpy(input + 33, answer.bytes + 72, 16);
    crypto_generichash(key, sizeof key, input, sizeof input, ends_key.keys[0], SEAL_KEY_SIZE);
    memcpy(nonce, d.bytes + 72, 16);
    memcpy(nonce + 16, d.bytes + AT_SEQ, 8);
    assert_memory_equal(nonce, hello.bytes + 72, 16);
    assert_int_equal(crypto_aead_xchacha20poly1305_ietf_decrypt_detached(text, NULL, d.bytes + 104, d.size - 104,
                                                                         d.bytes + 88, d.bytes, 88, nonce, key),
                     0);
    assert_memory_equal(text, "some text", 9);

    /* The check, and that one which is wrong is refused although the tag is right. */
    uint8_t head[88], check[8];
    memcpy(head, d.bytes, sizeof head);
    memset(head + 36, 0, 4);
    make_check(input, head, check);
    assert_memory_equal(d.bytes + 36, check, 4);
    put_u64(d.bytes + AT_SEQ, get_u64(d.bytes + AT_SEQ) + 1);
    memcpy(nonce + 16, d.bytes + AT_SEQ, 8);
    crypto_aead_xchacha20poly1305_ietf_encrypt_detached(d.bytes + 104, d.bytes + 88, NULL, text, d.size - 104, d.bytes,
                                                        88, NULL, nonce, key);
    assert_int_equal(end_opens(&b, 1, &d, NULL), SEAL_FORGED);
    memcpy(head + AT_SEQ, d.bytes + AT_SEQ, 8);
    make_check(input, head, check);
    memcpy(d.bytes + 36, check, 4);
    crypto_aead_xchacha20poly1305_ietf_encrypt_detached(d.bytes + 104, d.bytes + 88, NULL, text, d.size - 104, d.bytes,
                                                        88, NULL, nonce, key);
    assert_int_equal(end_opens(&b, 1, &d, "some text"), SEAL_OPENED);

    input[sizeof input - 1] = 1; /* the other direction */
    crypto_generichash(key, sizeof key, input, sizeof input, ends_key.keys[0], SEAL_KEY_SIZE);
    memcpy(nonce, e.bytes + 72, 16);
    memcpy(nonce + 16, e.bytes + AT_SEQ, 8);
    assert_memory_equal(nonce, answer.bytes + 72, 16);
    assert_int_equal(crypto_aead_xchacha20poly1305_ietf_decrypt_detached(text, NULL, e.bytes + 104, e.size - 104,
                                                                         e.bytes + 88, e.bytes, 88, nonce, key),
                     0);
    assert_memory_equal(text, "an answer", 9);
    ends_stop(&a, &b);
}

static void test_no_nonce_is_used_twice(void **state)
{
    (void)state;
    struct end a, b;
    ends_start(&a, &b);
    struct bytes last = end_seals(&a, 2, "x");
    for (int i = 0; i < 100; i++) {
        struct bytes d = end_seals(&a, 2, "x");
        assert_true(get_u64(d.bytes + AT_SEQ) > get_u64(last.bytes + AT_SEQ));
        assert_memory_not_equal(d.bytes + AT_TAG, last.bytes + AT_TAG, 16);
        last = d;
        if (i == 50) { /* another session, the same count */
            end_stop(&b);
            end_start(&b, 2, &ends_key);
            ends_exchange(&a, &b);
        }
    }
    ends_stop(&a, &b);
}

/* --- two keys --- */

static struct seal_keys two_keys(const struct seal_keys *first, const struct seal_keys *second)
{
    struct seal_keys k = *first;
    k.n = 2;
    memcpy(k.keys[1], second->keys[0], SEAL_KEY_SIZE);
    return k;
}

static void reload(struct end *e, struct end *peer, const struct seal_keys *keys)
{
    seal_set_keys(e->seal, keys);
    ends_pass(e, peer, "at once");
    ends_pass(peer, e, "at once");
    ends_now_usec += SEAL_RETRY_USEC_MAX;
    ends_exchange(e, peer);
    ends_pass(e, peer, "later");
    ends_pass(peer, e, "later");
}

static bool seals_with(struct end *e, replica_id_t to, const struct seal_keys *keys)
{
    uint8_t id[SEAL_ID_SIZE];
    struct bytes d = end_seals(e, to, "x");
    seal_key_id(keys->keys[0], id);
    return memcmp(seal_datagram_key(d.bytes), id, sizeof id) == 0;
}

static void test_keys_change_without_a_gap(void **state)
{
    (void)state;
    struct end a, b;
    struct seal_peer_status s;
    char old_name[SEAL_NAME_SIZE], new_name[SEAL_NAME_SIZE];
    uint8_t id[SEAL_ID_SIZE];
    const struct seal_keys old_new = two_keys(&ends_key, &ends_other_key),
                           new_old = two_keys(&ends_other_key, &ends_key);
    seal_key_id(ends_key.keys[0], id);
    seal_key_name(id, old_name);
    seal_key_id(ends_other_key.keys[0], id);
    seal_key_name(id, new_name);
    for (int order = 0; order < 2; order++) { /* of the reloads within a step */
        ends_start(&a, &b);
        struct end *x = order == 0 ? &a : &b, *y = order == 0 ? &b : &a;
        reload(x, y, &old_new);
        seal_peer_status(x->seal, end_index(x, y->id), &s);
        assert_int_equal(s.n_keys, 1); /* y has not got it yet */
        assert_string_equal(s.keys[0], old_name);
        reload(y, x, &old_new);
        seal_peer_status(x->seal, end_index(x, y->id), &s);
        assert_int_equal(s.n_keys, 2);
        assert_true(seals_with(x, y->id, &ends_key));
        reload(x, y, &new_old);
        assert_true(seals_with(x, y->id, &ends_other_key));
        assert_true(seals_with(y, x->id, &ends_key));
        seal_peer_status(y->seal, end_index(y, x->id), &s);
        assert_string_equal(s.keys[0], new_name);
        reload(y, x, &new_old);
        reload(x, y, &ends_other_key);
        reload(y, x, &ends_other_key);
        assert_true(seals_with(x, y->id, &ends_other_key));
        seal_status(x->seal, &s);
        assert_int_equal(s.n_keys, 1);
        assert_string_equal(s.keys[0], new_name);
        ends_stop(&a, &b);
    }
}

static void test_a_key_that_was_dropped_opens_nothing(void **state)
{
    (void)state;
    struct end a, b;
    const struct seal_keys both = two_keys(&ends_other_key, &ends_key);
    ends_start(&a, &b);
    struct bytes d = end_seals(&a, 2, "old");
    seal_set_keys(a.seal, &both);
    seal_set_keys(b.seal, &both);
    ends_exchange(&a, &b);
    seal_set_keys(b.seal, &ends_other_key);
    assert_int_equal(end_opens(&b, 1, &d, NULL), SEAL_KEY_UNKNOWN);
    ends_pass(&a, &b, "new");
    seal_set_keys(b.seal, &both); /* and when it comes back, what was recorded does not */
    assert_int_equal(end_opens(&b, 1, &d, NULL), SEAL_STALE);
    ends_stop(&a, &b);
}

/* Both with both keys, and a session under each. */
static void start_with(struct end *a, struct end *b, const struct seal_keys *keys)
{
    end_start(a, 1, keys);
    end_start(b, 2, keys);
    ends_exchange(a, b);
    ends_pass(a, b, "x");
}

/* A peer that was started again while a second key lies idle must have a session under that, too, before it is used. */
static void test_an_idle_key_survives_a_restart(void **state)
{
    (void)state;
    struct end a, b;
    const struct seal_keys old_new = two_keys(&ends_key, &ends_other_key),
                           new_old = two_keys(&ends_other_key, &ends_key);
    start_with(&a, &b, &old_new);
    end_stop(&b);
    end_start(&b, 2, &old_new);
    ends_exchange(&a, &b);
    seal_set_keys(a.seal, &new_old);
    assert_true(seals_with(&a, 2, &ends_other_key));
    ends_pass(&a, &b, "x");
    ends_stop(&a, &b);
}

/* It uses another key than its peer, so nothing that comes under the key of the late one tells that its session is
 * dead: what comes under the other key does. */
static void test_a_late_one_of_an_ended_process_under_the_other_key(void **state)
{
    (void)state;
    struct end a, b;
    const struct seal_keys old_new = two_keys(&ends_key, &ends_other_key),
                           new_old = two_keys(&ends_other_key, &ends_key);
    start_with(&a, &b, &old_new);
    struct bytes late = end_seals(&b, 1, "late");
    end_stop(&b);
    end_start(&b, 2, &new_old);
    ends_exchange(&a, &b);
    assert_true(seals_with(&a, 2, &ends_key));
    assert_true(seals_with(&b, 1, &ends_other_key));
    assert_int_equal(end_opens(&a, 2, &late, "late"), SEAL_OPENED);
    ends_pass(&b, &a, "of the living one");
    ends_exchange(&a, &b);
    ends_pass(&a, &b, "x");
    ends_stop(&a, &b);
}

/* Whether the key stands in the block, as it is or as what the handshake's tags are made with. */
static bool holds(const struct end *e, const struct seal_keys *keys)
{
    uint8_t hello[SEAL_KEY_SIZE];
    crypto_generichash(hello, sizeof hello, (const uint8_t *)"mpaxos hello", 13, keys->keys[0], SEAL_KEY_SIZE);
    return memmem(e->seal, seal_size(2), keys->keys[0], SEAL_KEY_SIZE) != NULL ||
           memmem(e->seal, seal_size(2), hello, sizeof hello) != NULL;
}

static void test_a_key_that_was_dropped_is_wiped(void **state)
{
    (void)state;
    struct end a, b;
    ends_start(&a, &b);
    const struct seal_keys both = two_keys(&ends_key, &ends_other_key);
    struct bytes d = end_seals(&b, 1, "x");
    const uint8_t *salt = d.bytes + AT_SALT; /* beside the session's keys */
    assert_true(holds(&a, &ends_key));
    assert_false(holds(&a, &ends_other_key));
    assert_non_null(memmem(a.seal, seal_size(2), salt, SEAL_NONCE_SIZE));
    seal_set_keys(a.seal, &both);
    seal_set_keys(a.seal, &ends_other_key); /* which has its own place, and comes into no other's */
    assert_true(holds(&a, &ends_other_key));
    assert_false(holds(&a, &ends_key));
    assert_null(memmem(a.seal, seal_size(2), salt, SEAL_NONCE_SIZE));
    ends_stop(&a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_hello_serves_both_ways),
        cmocka_unit_test(test_both_may_begin_at_once),
        cmocka_unit_test(test_the_first_answer_counts),
        cmocka_unit_test(test_a_session_that_is_heard_counts_more),
        cmocka_unit_test(test_loss_is_made_good),
        cmocka_unit_test(test_a_restart_is_noticed_by_the_restarted),
        cmocka_unit_test(test_it_is_what_it_says),
        cmocka_unit_test(test_no_nonce_is_used_twice),
        cmocka_unit_test(test_keys_change_without_a_gap),
        cmocka_unit_test(test_a_key_that_was_dropped_opens_nothing),
        cmocka_unit_test(test_an_idle_key_survives_a_restart),
        cmocka_unit_test(test_a_late_one_of_an_ended_process_under_the_other_key),
        cmocka_unit_test(test_a_key_that_was_dropped_is_wiped),
    };
    return cmocka_run_group_tests(tests, ends_set_up, NULL);
}
