#include <stdio.h>

#include "paxos/message.h"
#include "tests/fuzz/inputs.h"
#include "tests/fuzz/seeds.h"

enum { TYPES = MESSAGE_TRANSFER + 4 };

static void begin(const char *name, unsigned shape)
{
    seed_begin("driver", name);
    put8(1);
    put8(shape);
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

enum { OWN_BID = 0x20, NEXT_BALLOT = 0x30 /* and who speaks */, NEXT = 25 /* slot */, NOOP = 0, MESSAGE = 3 };

/* Harm where it is believed: as says.c reads it. */
static void say(unsigned from, unsigned type, enum driver_guard guard)
{
    const uint8_t ballot = (uint8_t)(NEXT_BALLOT + from),
                  who = (uint8_t)((from + 2) % 3); /* the host before it hears it */
    const uint8_t heartbeat[] = {ballot, ballot, NEXT, 3, 0}, promise[] = {OWN_BID, NEXT, 0, 3, NEXT + 3, 0};
    const uint8_t accept[] = {ballot, NEXT, 1, NEXT, MESSAGE, 0}, chosen[] = {0, 1, NEXT, NOOP};
    const uint8_t accepted[] = {OWN_BID, NEXT, NEXT, 1, 255, 255}, others[] = {ballot, NEXT, ballot, 1, 7, 9, 3, 1};
    const struct {
        const uint8_t *bytes;
        size_t size;
    } fields[TYPES] = {[MESSAGE_HEARTBEAT - 1] = {heartbeat, sizeof heartbeat},
                       [MESSAGE_PROMISE - 1] = {promise, sizeof promise},
                       [MESSAGE_ACCEPT - 1] = {accept, sizeof accept},
                       [MESSAGE_ACCEPTED - 1] = {accepted, sizeof accepted},
                       [MESSAGE_CHOSEN - 1] = {chosen, sizeof chosen}};
    const uint8_t *bytes = fields[type].bytes != NULL ? fields[type].bytes : others;
    size_t size = fields[type].bytes != NULL ? fields[type].size : sizeof others;
    put8(DRIVER_SAY);
    put8(who);
    put8(type);
    put8(guard);
    put8((unsigned)size);
    put(bytes, size);
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
            say(1, type, i == 3 ? GUARD_HASH : GUARD_NONE);
            act(DRIVER_RUN, 20);
        }
        act(DRIVER_CRASH, 128);
        act(DRIVER_START, 2);
        act(DRIVER_WAIT, 50);
        seed_end();
    }
    for (unsigned guard = 0; guard < 2 * GUARDS; guard++) {
        char name[32];
        snprintf(name, sizeof name, "guard-%02u", guard);
        begin(name, guard < GUARDS ? 0 : guard % 2 ? DRIVER_BLANK : DRIVER_SEALED);
        lead();
        for (unsigned type = 0; type < TYPES; type++) {
            for (unsigned from = 0; from < 3; from++)
                say(from, type, (enum driver_guard)(guard % GUARDS));
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
}

static void checkpoint(unsigned at, unsigned bits, unsigned cut)
{
    put8(DRIVER_CHECKPOINT);
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
            checkpoint(places[i], bits[i], i == 4 ? k : 0);
            act(k == 0 ? DRIVER_START : DRIVER_RUN, k == 0 ? 2 : 8);
        }
        seed_end();
        snprintf(name, sizeof name, "lied-behind-%u", i);
        begin(name, DRIVER_SHORT_LIVED | DRIVER_LIAR);
        fall_behind();
        act(DRIVER_MUTE, 0);
        for (unsigned k = 0; k < 30; k++) {
            checkpoint(places[i], bits[i], 0);
            act(k == 0 ? DRIVER_START : DRIVER_RUN, k == 0 ? 2 : 8);
        }
        act(DRIVER_CRASH, 2);
        act(DRIVER_START, 2);
        seed_end();
    }
}

/* Host 0 asks for what rotted. */
static void make_rotten(void)
{
    for (unsigned fault = 0; fault < PAGE_FAULTS; fault++) {
        char name[32];
        snprintf(name, sizeof name, "rotten-%02u", fault);
        begin(name, DRIVER_SCRUB | DRIVER_CHECKPOINTS | (fault == PAGE_INVENTED ? DRIVER_LIAR : 0));
        lead();
        for (unsigned i = 0; i < 5; i++) {
            act(DRIVER_LOAD, 3 * 31 + 1);
            act(DRIVER_WAIT, 255);
        }
        act(DRIVER_ROT, 3 * 2); /* a segment in the middle */
        put16(30000 + 100 * fault);
        for (unsigned k = 0; k < 40; k++) {
            put8(DRIVER_PAGE);
            put8(1 + k % 8);
            put8(fault);
            put8(fault == PAGE_RIGHT ? k : 0);
            if (k == 0)
                restart(0);
            act(k % 2 ? DRIVER_RUN : DRIVER_WAIT, 8);
            if (k == 20)
                act(DRIVER_FLUSH, 0); /* reads all */
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
