/* Seeds of sealed datagrams under attack, and of the file of their key. */
#include "tests/fuzz/seeds.h"

#include <string.h>

#include "tests/fuzz/inputs.h"

#define KEY   "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
#define OTHER "f00102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f\n"

static void act(enum seal_act what, unsigned argument)
{
    put8(what);
    put8(argument);
}

static void deliver_last(void)
{
    put8(SEAL_LAST);
}

/* 0 asks, 1 answers, 0 tells that it has the session. */
static void put_handshake(void)
{
    for (unsigned who = 0; who < 3; who++) {
        act(SEAL_OWE, who);
        deliver_last();
    }
}

static void put_talk(void)
{
    for (unsigned who = 0; who < 2; who++) {
        act(SEAL_SAY, who | 20);
        deliver_last();
    }
}

static void make_talks(void)
{
    seed_begin("seal", "handshake");
    put8(0);
    put_handshake();
    put_talk();
    seed_end();

    seed_begin("seal", "both-begin");
    put8(0);
    act(SEAL_OWE, 0);
    act(SEAL_OWE, 1);
    act(SEAL_DELIVER, 0);
    act(SEAL_DELIVER, 1);
    act(SEAL_OWE, 0);
    act(SEAL_OWE, 1);
    act(SEAL_DELIVER, 2);
    act(SEAL_DELIVER, 3);
    put_talk();
    put_talk();
    seed_end();

    seed_begin("seal", "keys-change");
    put8(0);
    put_handshake();
    for (unsigned set = 2; set < 6; set++) { /* both, the other one first, the other one alone, and back */
        act(SEAL_KEYS, (set == 4 ? 1 : set & 3) << 1);
        act(SEAL_KEYS, (set == 4 ? 1 : set & 3) << 1 | 1);
        act(SEAL_WAIT, 200);
        put_handshake();
        put_talk();
    }
    seed_end();
}

/* One that comes late, within the window and behind it; the newest comes first. */
static void make_late(const char *name, unsigned thousands)
{
    seed_begin("seal", name);
    put8(0);
    put_handshake();
    act(SEAL_SAY, 1 | 20);
    for (unsigned i = 0; i < thousands; i++)
        act(SEAL_SAY_MANY, 1);
    act(SEAL_SAY, 1 | 20);
    deliver_last();
    for (unsigned i = 2; i < 8; i++) /* behind the handshake */
        act(SEAL_DELIVER, i);
    put_talk();
    seed_end();
}

static void make_third(void)
{
    seed_begin("seal", "third");
    put8(SEAL_THREE | 2);
    for (unsigned i = 0; i < 12; i++) {
        act(SEAL_OWE, i % 3 == 2 ? 0x80 : i % 3);
        for (unsigned k = 0; k < 8; k++)
            act(SEAL_DELIVER, i * 2 + k);
    }
    for (unsigned i = 0; i < 4; i++) {
        act(SEAL_SAY, 0x80 | i);
        deliver_last();
    }
    act(SEAL_RESTART, 0x80);
    act(SEAL_KEYS, 0x80 | 3 << 1);
    seed_end();
}

static void make_attacks(void)
{
    seed_begin("seal", "replay");
    put8(0);
    put_handshake();
    put_talk();
    act(SEAL_RESTART, 1);
    for (unsigned i = 0; i < 6; i++)
        act(SEAL_DELIVER, i);
    put_handshake();
    for (unsigned i = 0; i < 6; i++)
        act(SEAL_DELIVER, i);
    put_talk();
    seed_end();

    seed_begin("seal", "spoil");
    put8(0);
    put_handshake();
    act(SEAL_SAY, 40);
    for (unsigned place = 5; place < 110; place += 7) {
        act(SEAL_SPOIL, 3);
        put16(place);
        put8(1);
    }
    act(SEAL_CUT, 3);
    put16(104);
    act(SEAL_SPLICE, 3);
    put8(1);
    put8(72);
    put8(16);
    deliver_last();
    seed_end();

    seed_begin("seal", "invent");
    put8(2);
    put_handshake();
    for (unsigned choice = 0; choice < 16; choice++) {
        act(SEAL_INVENT, choice);
        put8(48);
        put(KEY, 48);
    }
    put_talk();
    seed_end();
}

static void make_keyfile(const char *name, const char *text)
{
    seed_begin("keyfile", name);
    put(text, strlen(text));
    seed_end();
}

void make_seal_seeds(void)
{
    make_talks();
    make_attacks();
    make_late("late", 2);
    make_late("too-late", 3);
    make_third();
    make_keyfile("one", KEY);
    make_keyfile("two", OTHER KEY);
    make_keyfile("three", KEY OTHER KEY);
    make_keyfile("twice", KEY KEY);
    make_keyfile("blank", KEY "\n");
    make_keyfile("colon", "00:0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1\n");
}
