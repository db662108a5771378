/* The load's judge: what it must notice in a log, and what it must let pass; and its quick reader of replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/load.h"
#include "ctl/load_reply.h"

enum { CLIENTS = 3, MESSAGES = 4 };

struct bench {
    struct load_options o;
    struct load_result result;
    struct load_verdict verdict;
    struct load_judge judge;
    int64_t slots[CLIENTS * MESSAGES];
    uint8_t seen[CLIENTS * MESSAGES];
    uint32_t next[CLIENTS];
};

/* Client c's message i was acknowledged at slot 10 + i * CLIENTS + c. */
static int64_t slot_of(uint32_t client, uint32_t i)
{
    return 10 + (int64_t)i * CLIENTS + client;
}

static void bench_init(struct bench *b)
{
    *b = (struct bench){.o = {.n_clients = CLIENTS, .n_messages = MESSAGES, .prefix = "load_1"}};
    b->result.slots = b->slots;
    b->judge = (struct load_judge){
        .o = &b->o,
        .result = &b->result,
        .seen = b->seen,
        .next = b->next,
        .verdict = &b->verdict,
    };
    for (uint32_t c = 0; c < CLIENTS; c++)
        for (uint32_t i = 0; i < MESSAGES; i++)
            b->slots[c * MESSAGES + i] = slot_of(c, i);
}

static void show(struct bench *b, int64_t slot, uint32_t client, uint32_t i)
{
    char author[32], text[64];
    snprintf(author, sizeof(author), "load_1_%u", client);
    snprintf(text, sizeof(text), "message_%u_%u", client, i);
    load_judge_message(&b->judge, slot, author, text);
}

/* The whole log, but for message i of client c where told so. */
static void show_all_but(struct bench *b, uint32_t client, uint32_t without)
{
    for (uint32_t i = 0; i < MESSAGES; i++)
        for (uint32_t c = 0; c < CLIENTS; c++)
            if (c != client || i != without)
                show(b, slot_of(c, i), c, i);
}

static void test_good_log(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    load_judge_message(&b.judge, 9, "root", "message_0_0");
    load_judge_message(&b.judge, 9, "load_12_0", "message_0_0");
    load_judge_message(&b.judge, 9, "load_1_3", "message_3_0");
    load_judge_message(&b.judge, 9, "ada (as ", "message_0_0");
    load_judge_message(&b.judge, 9, "ada (as load_1_)", "message_0_0");
    show_all_but(&b, CLIENTS, 0);
    load_judge_end(&b.judge);
    assert_true(load_verdict_is_good(&b.verdict));
    assert_int_equal(b.verdict.n_read, CLIENTS * MESSAGES);
}

static void test_lost(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    show_all_but(&b, 1, 2);
    load_judge_end(&b.judge);
    assert_false(load_verdict_is_good(&b.verdict));
    assert_int_equal(b.verdict.n_lost, 1);
    assert_string_equal(b.verdict.examples[0], "message_1_2 is lost; it was acknowledged at slot 17");
}

static void test_trimmed_is_not_lost(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    for (uint32_t i = 3; i < MESSAGES; i++)
        show(&b, b.result.slots[(size_t)1 * MESSAGES + i], 1, i);
    load_judge_trimmed(&b.judge, 0, 18); /* up to message_1_2 at slot 17 */
    load_judge_end(&b.judge);
    uint64_t n_trimmed = 0, n_lost = 0;
    for (size_t at = 0; at < (size_t)CLIENTS * MESSAGES; at++) {
        bool shown = at / MESSAGES == 1 && at % MESSAGES >= 3;
        n_trimmed += !shown && b.result.slots[at] < 18;
        n_lost += !shown && b.result.slots[at] >= 18;
    }
    assert_int_equal(b.verdict.n_trimmed, n_trimmed);
    assert_int_equal(b.verdict.n_lost, n_lost);
    assert_true(n_trimmed > 0);
}

/* Trap 19: a command that is executed twice after a change of leaders. */
static void test_twice(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    show_all_but(&b, CLIENTS, 0);
    show(&b, 99, 2, 3);
    load_judge_end(&b.judge);
    assert_int_equal(b.verdict.n_twice, 1);
    assert_false(load_verdict_is_good(&b.verdict));
}

static void test_elsewhere(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    show_all_but(&b, 2, 3);
    show(&b, 99, 2, 3);
    load_judge_end(&b.judge);
    assert_int_equal(b.verdict.n_elsewhere, 1);
    assert_int_equal(b.verdict.n_lost + b.verdict.n_twice, 0);
    assert_false(load_verdict_is_good(&b.verdict));
}

static void test_out_of_order(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.slots[1] = slot_of(0, 2);
    b.slots[2] = slot_of(0, 1);
    for (uint32_t i = 0; i < MESSAGES; i++)
        for (uint32_t c = 0; c < CLIENTS; c++)
            show(&b, slot_of(c, i), c, c != 0 ? i : i == 1 ? 2 : i == 2 ? 1 : i);
    load_judge_end(&b.judge);
    assert_int_equal(b.verdict.n_disordered, 1);
    assert_int_equal(b.verdict.n_elsewhere, 0);
    assert_false(load_verdict_is_good(&b.verdict));
}

static void test_never_sent(void **state)
{
    (void)state;
    const char *texts[] = {"message_0_4", "message_1_0", "message_0_0x", "message_0_00", "message_0_", "hello", ""};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bench b;
        bench_init(&b);
        load_judge_message(&b.judge, 5, "load_1_0", texts[i]);
        assert_int_equal(b.verdict.n_foreign, 1);
        assert_false(load_verdict_is_good(&b.verdict));
    }
}

/* Who follows the log learns a client's name from its first message, and may write as USER (as NAME) from then on. */
static void test_forged_names(void **state)
{
    (void)state;
    const char *const users[] = {"", "ada (as "};
    const char *const forged[] = {"mallory (as load_1_0)", "ada2 (as load_1_0)", "ad (as load_1_0)", " (as load_1_0)"};
    for (size_t u = 0; u < 2; u++) {
        struct bench b;
        bench_init(&b);
        for (uint32_t i = 0; i < MESSAGES; i++)
            for (uint32_t c = 0; c < CLIENTS; c++) {
                char author[64], text[64];
                snprintf(author, sizeof(author), "%sload_1_%u%s", users[u], c, u ? ")" : "");
                snprintf(text, sizeof(text), "message_%u_%u", c, i);
                load_judge_message(&b.judge, slot_of(c, i), author, text);
                for (size_t f = 0; f < sizeof(forged) / sizeof(forged[0]); f++)
                    load_judge_message(&b.judge, 50, forged[f], f % 2 ? "message_0_3" : "hello");
            }
        load_judge_message(&b.judge, 51, users[1 - u][0] ? "ada (as load_1_0)" : "load_1_0", "hello");
        load_judge_end(&b.judge);
        assert_true(load_verdict_is_good(&b.verdict));
        assert_int_equal(b.verdict.n_read, CLIENTS * MESSAGES);
        load_judge_message(&b.judge, 52, users[u][0] ? "ada (as load_1_0)" : "load_1_0", "hello");
        assert_int_equal(b.verdict.n_foreign, 1);
    }
}

/* Before a message of the run was seen, anybody may be who runs it. */
static void test_a_forged_message_teaches_no_name(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    load_judge_message(&b.judge, 5, "mallory (as load_1_0)", "hello");
    load_judge_message(&b.judge, 6, "mallory (as load_1_0)", "message_0_3");
    show_all_but(&b, 0, 3);
    load_judge_message(&b.judge, 60, "mallory (as load_1_1)", "hello");
    assert_int_equal(b.verdict.n_foreign, 1);
    assert_int_equal(b.verdict.n_elsewhere, 1);
    assert_int_equal(b.verdict.n_read, CLIENTS * MESSAGES + 1);
}

static void test_padding_is_compared(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.o.size = 14;
    load_judge_message(&b.judge, slot_of(0, 0), "load_1_0", "message_0_0...");
    assert_int_equal(b.verdict.n_foreign, 0);
    load_judge_message(&b.judge, slot_of(0, 1), "load_1_0", "message_0_1..");
    load_judge_message(&b.judge, slot_of(0, 1), "load_1_0", "message_0_1..x");
    assert_int_equal(b.verdict.n_foreign, 2);
}

/* What was never acknowledged may stand or not (trap 24: a timeout is no failure). */
static void test_unknown_outcome(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b);
    b.slots[MESSAGES - 1] = -1;
    show_all_but(&b, 0, MESSAGES - 1);
    load_judge_end(&b.judge);
    assert_true(load_verdict_is_good(&b.verdict));
    show(&b, 70, 0, MESSAGES - 1);
    assert_true(load_verdict_is_good(&b.verdict));
}

static void test_replies(void **state)
{
    (void)state;
    int64_t slot = -1;
    const char plain[] = "{\"parameters\":{\"slot\":18204,\"key\":\"17\",\"duplicate\":false}}";
    assert_true(load_reply_read(plain, sizeof(plain) - 1, &slot));
    assert_int_equal(slot, 18204);
    for (size_t n = 0; n < sizeof(plain) - 1; n++) {
        char *cut = malloc(n + 1); /* exactly as long: a sanitizer sees a read past it */
        assert_non_null(cut);
        memcpy(cut, plain, n);
        assert_false(load_reply_read(cut, n, &slot));
        free(cut);
    }
    const char *others[] = {
        "{\"parameters\":{\"slot\":1,\"key\":\"a\\\"b\",\"duplicate\":false}}",
        "{\"parameters\":{\"slot\":-1,\"key\":\"a\",\"duplicate\":false}}",
        "{\"parameters\":{\"slot\":1234567890123456789,\"key\":\"a\",\"duplicate\":false}}",
        "{\"parameters\":{\"slot\":,\"key\":\"a\",\"duplicate\":false}}",
        "{\"error\":\"org.mpaxos.Replica.Timeout\",\"parameters\":{}}",
        "{\"parameters\":{\"slot\":1,\"key\":\"a\",\"duplicate\":false}} ",
        "{\"parameters\":{\"slot\":1,\"key\":\"a\",\"duplicate\":maybe}}",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(load_reply_read(others[i], strlen(others[i]), &slot));
    assert_int_equal(slot, 18204);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_log),        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_twice),           cmocka_unit_test(test_elsewhere),
        cmocka_unit_test(test_out_of_order),    cmocka_unit_test(test_trimmed_is_not_lost),
        cmocka_unit_test(test_never_sent),      cmocka_unit_test(test_padding_is_compared),
        cmocka_unit_test(test_unknown_outcome), cmocka_unit_test(test_replies),
        cmocka_unit_test(test_forged_names),    cmocka_unit_test(test_a_forged_message_teaches_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
