/* What goes out: messages share datagrams, and leave no earlier than the disk allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/driver_outbox.h"
#include "tests/unit/loopback.h"

struct outbox_fixture {
    uv_loop_t loop;
    struct peers *peers;
    struct outbox outbox;
    int receivers[2];
    struct datagram_message *decoded;
    size_t n_datagrams;
};

static bool nothing_received(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size)
{
    (void)user, (void)from, (void)bytes, (void)size;
    return false;
}

static void open_outbox(struct outbox_fixture *f)
{
    struct peer_address others[2];
    replica_id_t ids[2] = {1, 2};
    memset(f, 0, sizeof(*f));
    uv_loop_init(&f->loop);
    for (size_t i = 0; i < 2; i++) {
        others[i] = (struct peer_address){.id = ids[i], .host = "127.0.0.1"};
        f->receivers[i] = loopback_open(&others[i].port);
    }
    struct peers_options o = {.loop = &f->loop,
                              .self = {.id = 0, .port = loopback_free_port(), .host = "127.0.0.1"},
                              .others = others,
                              .n_others = 2,
                              .received = nothing_received};
    assert_int_equal(peers_open(&o, &f->peers), 0);
    struct datagram_header h = {.from = 0, .from_life = 3, .boot = 4};
    assert_int_equal(outbox_init(&f->outbox, f->peers, NULL, ids, 2, &h, 1200), 0);
    f->decoded = malloc(sizeof(*f->decoded));
    assert_non_null(f->decoded);
}

static void close_outbox(struct outbox_fixture *f)
{
    outbox_done(&f->outbox);
    peers_free(f->peers);
    free(f->decoded);
    close(f->receivers[0]);
    close(f->receivers[1]);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static struct message confirm(uint64_t nonce)
{
    return (struct message){.type = MESSAGE_CONFIRM, .confirm = {.ballot = {.round = 1}, .nonce = nonce}};
}

/* The nonces that came to a receiver since the last time, in order, from all datagrams that are there. */
static size_t read_nonces(struct outbox_fixture *f, size_t receiver, uint64_t *ret, size_t max)
{
    uint8_t bytes[DATAGRAM_BYTES_MAX];
    size_t n = 0;
    ssize_t size;
    f->n_datagrams = 0;
    while ((size = recv(f->receivers[receiver], bytes, sizeof(bytes), 0)) > 0) {
        struct datagram_reader r;
        struct datagram_header h;
        f->n_datagrams++;
        assert_true(size <= 1200);
        assert_int_equal(datagram_open(&r, bytes, (size_t)size, &h), DATAGRAM_OK);
        assert_int_equal(h.to, receiver + 1);
        while (datagram_next(&r, &h, 16384, f->decoded) == 1) {
            assert_int_equal(f->decoded->message.type, MESSAGE_CONFIRM);
            assert_true(n < max);
            ret[n++] = f->decoded->message.confirm.nonce;
        }
    }
    return n;
}

/* Trap 2: a reply that is sent before the disk has what it says. */
static void nothing_leaves_before_it_is_durable(void **state)
{
    (void)state;
    struct outbox_fixture f;
    uint64_t nonces[8];
    open_outbox(&f);
    for (uint64_t i = 0; i < 6; i++) {
        struct message m = confirm(i);
        uint64_t after[] = {0, 5, 3, 7, 5, 8}; /* 3 waits behind 5 */
        outbox_put(&f.outbox, after[i], 1, &m, 0);
    }
    outbox_flush(&f.outbox, 0);
    assert_int_equal(read_nonces(&f, 0, nonces, 8), 1);
    assert_int_equal(nonces[0], 0);
    outbox_durable(&f.outbox, 4, 0);
    outbox_flush(&f.outbox, 0);
    assert_int_equal(read_nonces(&f, 0, nonces, 8), 0);
    outbox_durable(&f.outbox, 7, 0);
    outbox_flush(&f.outbox, 0);
    assert_int_equal(read_nonces(&f, 0, nonces, 8), 4);
    assert_int_equal(f.n_datagrams, 1);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(nonces[i], i + 1);
    struct message m = confirm(9);
    outbox_put(&f.outbox, 7, 1, &m, 0); /* durable already, though 8 still waits */
    outbox_flush(&f.outbox, 0);
    assert_int_equal(read_nonces(&f, 0, nonces, 8), 1);
    outbox_durable(&f.outbox, 8, 0);
    outbox_flush(&f.outbox, 0);
    assert_int_equal(read_nonces(&f, 0, nonces, 8), 1);
    assert_int_equal(nonces[0], 5);
    assert_int_equal(read_nonces(&f, 1, nonces, 8), 0);
    close_outbox(&f);
}

static void messages_share_datagrams(void **state)
{
    (void)state;
    struct outbox_fixture f;
    static uint64_t nonces[2048];
    open_outbox(&f);
    for (uint64_t i = 0; i < 2000; i++) {
        struct message m = confirm(i);
        outbox_put(&f.outbox, i < 1000 ? 0 : 1, REPLICA_ID_NONE, &m, 0);
    }
    outbox_durable(&f.outbox, 1, 0);
    struct message m = confirm(5000);
    outbox_put(&f.outbox, 0, 2, &m, 0);
    outbox_put(&f.outbox, 0, 77, &m, 0); /* nobody */
    outbox_flush(&f.outbox, 0);
    for (size_t receiver = 0; receiver < 2; receiver++) {
        size_t n = read_nonces(&f, receiver, nonces, 2048);
        assert_int_equal(n, 2000 + receiver);
        assert_true(f.n_datagrams < 100);
        for (uint64_t i = 0, k = 0; i < n; i++) {
            if (nonces[i] != 5000)
                assert_int_equal(nonces[i], k++);
        }
    }
    assert_int_equal(f.outbox.lost, 0);
    close_outbox(&f);
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    struct outbox_fixture f;
    open_outbox(&f);
    size_t each = 1;
    for (uint64_t i = 0; i < 800000 && f.outbox.lost == 0; i++) {
        struct message m = confirm(i);
        outbox_put(&f.outbox, 1, 1, &m, 0);
        if (i == 0)
            each = f.outbox.waiting.end;
    }
    assert_int_equal(f.outbox.lost, 1);
    assert_int_equal(f.outbox.waiting.end, OUTBOX_WAITING_BYTES_MAX / each * each);
    outbox_durable(&f.outbox, 1, 0);
    outbox_flush(&f.outbox, 0);
    struct message m = confirm(1);
    outbox_put(&f.outbox, 2, 1, &m, 0);
    assert_true(f.outbox.waiting.end < 4096);
    close_outbox(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_leaves_before_it_is_durable),
        cmocka_unit_test(messages_share_datagrams),
        cmocka_unit_test(what_waits_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
