#include <stdio.h>

#include "paxos/message.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/seeds.h"

enum { TYPES = MESSAGE_TRANSFER + 4 };

static void begin_drawn(const char *name, unsigned seed, unsigned shape)
{
    seed_begin("driver", name);
    put8(seed);
    put8(shape);
}

static void begin(const char *name, unsigned shape)
{
    begin_drawn(name, 1, shape);
}

static void act(enum driver_act a, unsigned how)
{
    put8(a);
    put8(how);
}

/* Leaders are there after a second. */
static void lead(void)
{
    act(DRIVER_WAIT, 200);
    act(DRIVER_SUBMIT, 9);
    act(DRIVER_WAIT, 20);
}

static void say(unsigned who, unsigned type, enum driver_guard guard)
{
    static const uint8_t fields[] = {2, 0x60, 25, 0x30, 25, 1, 0x21, 26, 7, 0, 1, 0, 0, 0, 0, 0};
    put8(DRIVER_SAY);
    put8(who);
    put8(type);
    put8(guard);
    put(fields, sizeof fields);
}

/* Each type, from a liar, or for each reason to refuse it. */
static void make_words(void)
{
    for (unsigned type = 0; type < TYPES; type++) {
        char name[32];
        snprintf(name, sizeof name, "lie-%02u", type);
        begin(name, DRIVER_LIAR);
        lead();
        act(DRIVER_MUTE, 0);
        for (unsigned i = 0; i < 4; i++) {
            say(2 * (i % 2), type, i == 3 ? GUARD_HASH : GUARD_NONE);
            act(DRIVER_RUN, 20);
        }
        act(DRIVER_CRASH, 128);
        act(DRIVER_START, 2);
        act(DRIVER_WAIT, 50);
        seed_end();
    }
    for (unsigned guard = 0; guard < GUARDS; guard++) {
        char name[32];
        snprintf(name, sizeof name, "guard-%u", guard);
        begin(name, guard % 2 ? DRIVER_BLANK : guard % 4 == 2 ? DRIVER_SEALED : 0);
        lead();
        for (unsigned type = 0; type < TYPES; type++) {
            say(type % 6, type, (enum driver_guard)guard);
            act(DRIVER_RUN, 5);
        }
        act(DRIVER_CHANGE, 9 * guard + 1);
        act(DRIVER_AGAIN, guard);
        act(DRIVER_SUBMIT, guard);
        seed_end();
    }
}

static void restart(unsigned host)
{
    act(DRIVER_CRASH, host);
    act(DRIVER_START, host);
}

/* Host 2 is away until the others keep no more what it missed. */
static void fall_behind(void)
{
    lead();
    act(DRIVER_CRASH, 2);
    for (unsigned i = 0; i < 8; i++) {
        act(DRIVER_LOAD, 3 * 20 + i % 2);
        act(DRIVER_WAIT, 255);
    }
    restart(0); /* nothing in memory can serve it any more */
    restart(1);
    act(DRIVER_WAIT, 200);
    act(DRIVER_START, 2);
}

static void checkpoint(unsigned at, unsigned bits, unsigned cut)
{
    put8(DRIVER_CHECKPOINT);
    put8(2);
    put16(at);
    put8(bits);
    put8(cut);
}

static void make_behind(void)
{
    static const uint8_t bits[] = {0, 1, 0x7f, 0xff, 0};
    static const uint16_t places[] = {0, 5, 40, 700, 3};
    for (unsigned i = 0; i < sizeof bits; i++) {
        char name[32];
        snprintf(name, sizeof name, "behind-%u", i);
        begin(name, DRIVER_SHORT_LIVED | (i == 1 ? DRIVER_SMALL : 0));
        fall_behind();
        for (unsigned k = 0; k < 30; k++) {
            act(DRIVER_RUN, 8);
            checkpoint(places[i], bits[i], i == 4 ? k : 0);
        }
        seed_end();
        snprintf(name, sizeof name, "lied-behind-%u", i);
        begin(name, DRIVER_SHORT_LIVED | DRIVER_LIAR);
        fall_behind();
        act(DRIVER_MUTE, 0);
        for (unsigned k = 0; k < 30; k++) {
            act(DRIVER_RUN, 8);
            checkpoint(places[i], bits[i], 0);
        }
        act(DRIVER_CRASH, 2);
        act(DRIVER_START, 2);
        seed_end();
    }
}

/* Host 0 asks for what rotted. */
static void make_rotten(void)
{
    static const uint8_t seeds[PAGE_FAULTS] = {5,  6,  16, 18, 20, 29,
                                               30, 32, 37, 5,  18}; /* in the middle of a full segment */
    for (unsigned fault = 0; fault < PAGE_FAULTS; fault++) {
        char name[32];
        snprintf(name, sizeof name, "rotten-%02u", fault);
        begin_drawn(name, seeds[fault], DRIVER_SCRUB | DRIVER_CHECKPOINTS | (fault == PAGE_INVENTED ? DRIVER_LIAR : 0));
        lead();
        for (unsigned i = 0; i < 5; i++) {
            act(DRIVER_LOAD, 3 * 31 + 1);
            act(DRIVER_WAIT, 255);
        }
        act(DRIVER_ROT, 0);
        restart(0);
        act(DRIVER_WAIT, 100);
        act(DRIVER_FLUSH, 0); /* reads it */
        for (unsigned k = 0; k < 60; k++) {
            act(k % 2 ? DRIVER_RUN : DRIVER_WAIT, 8);
            put8(DRIVER_PAGE);
            put8(fault == PAGE_INVENTED ? 0 : k % 2 * 3);
            put8(1 + k % 8);
            put8(fault);
            put8(fault == PAGE_RIGHT ? k : 0);
        }
        seed_end();
    }
}

void make_driver_seeds(void)
{
    make_words();
    make_behind();
    make_rotten();
}
