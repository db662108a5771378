/* Seeds of what is found in a state directory: the chat log's mark, the journal, and a checkpoint. */
#include "tests/fuzz/seeds.h"

#include <stdio.h>
#include <string.h>

#include "host/config.h"
#include "tests/fuzz/inputs.h"

/* --- the mark --- */

static void make_mark_shifted(const char *name, unsigned choices, unsigned upto, unsigned slot, unsigned shift,
                              const char *rest)
{
    seed_begin("mark", name);
    put8(choices);
    put8(upto);
    put8(slot);
    put8(0); /* format of what stands in the file */
    if (choices & MARK_MADE) {
        put16(shift); /* length */
        put16(0);     /* inode  */
        put8(0);
    }
    put(rest, strlen(rest));
    seed_end();
}

static void make_mark(const char *name, unsigned choices, unsigned upto, unsigned slot, const char *rest)
{
    make_mark_shifted(name, choices, upto, slot, 0, rest);
}

static void make_marks(void)
{
    const unsigned right = MARK_MADE | MARK_INODE_RIGHT | MARK_TAIL_RIGHT | MARK_LOG_TRUE;
    static const char text[] = "mpaxos chat log mark 1\nslot 5\ninode 17\nlength 3\nformat 0\ntail "
                               "00112233445566778899aabbccddeeff\n";
    char raw[sizeof text + 2] = {(char)(sizeof text - 1), 0};
    memcpy(raw + 2, text, sizeof text);
    make_mark("goes-on", right, 30, 12, "");
    make_mark("behind", right, 30, 12, "somebody's line\n");
    make_mark("rotated", right | MARK_LOG_ROTATED, 30, 12, "");
    make_mark("moved", right & ~(unsigned)MARK_INODE_RIGHT, 30, 12, "");
    make_mark("as-json", right | LOG_FORMAT_JSON << MARK_FORMAT_SHIFT, 30, 12, "");
    make_mark("wrong-tail", right & ~(unsigned)MARK_TAIL_RIGHT, 30, 12, "");
    const unsigned json = LOG_FORMAT_JSON << MARK_FORMAT_SHIFT, nine = MARK_SHIFTS * (9 + MARK_CUT_OFF_SLOTS * 5);
    make_mark_shifted("cut-off", right, 30, 12, nine, "");
    make_mark_shifted("cut-off-as-json", right | json, 30, 12, nine, "");
    make_mark_shifted("cut-off-rotated", right | MARK_LOG_ROTATED, 30, 12, nine, "");
    make_mark_shifted("cut-off-rotated-as-json", right | MARK_LOG_ROTATED | json, 30, 12, nine, "");
    make_mark_shifted("cut-off-beyond", right | json, 15, 12, nine, "");
    make_mark_shifted("cut-off-behind", right, 30, 12, nine, "somebody's line\n");
    seed_begin("mark", "text");
    put8(MARK_MENDED);
    put8(9);
    put16(0);
    put(raw, 2);
    put(text, sizeof text - 1);
    seed_end();
}

/* --- the journal --- */

static void edit(enum journal_edit op, enum journal_file file, unsigned place, unsigned size)
{
    put8(op);
    put8(file);
    put16(place);
    put8(size);
}

static void make_journal_edits(void)
{
    static const char zeros[64];
    seed_begin("journal", "whole");
    put8(JOURNAL_EDIT | JOURNAL_CORE);
    seed_end();

    seed_begin("journal", "torn");
    put8(JOURNAL_EDIT | JOURNAL_CORE);
    edit(EDIT_ZERO, SEGMENT_2, 8192, 255);
    edit(EDIT_DELETE, RESERVE, 0, 0);
    seed_end();

    seed_begin("journal", "rotten");
    put8(JOURNAL_EDIT);
    edit(EDIT_XOR, SEGMENT_1, 5000, 1);
    put8(0x10);
    seed_end();

    seed_begin("journal", "misplaced");
    put8(JOURNAL_EDIT);
    edit(EDIT_SWAP, SEGMENT_1, 512, 2);
    put16(1024);
    edit(EDIT_COPY, SEGMENT_3, 0, SEGMENT_2);
    seed_end();

    /* The first record's body size, type and slot; the batch's number and count of records. */
    static const unsigned places[] = {64, 68, 72, 8, 44, 40};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "batch-at-%u", places[i]);
        seed_begin("journal", name);
        put8(JOURNAL_EDIT | JOURNAL_MEND | (i % 2 == 0 ? JOURNAL_CORE : 0));
        edit(EDIT_IN_BATCH, SEGMENT_1, 2 + places[i] * 32, 2);
        put16(3);
        seed_end();
    }

    seed_begin("journal", "superblock");
    put8(JOURNAL_EDIT | JOURNAL_MEND);
    edit(EDIT_WRITE, SUPERBLOCK_0, 72, 8);
    put(zeros, 8);
    edit(EDIT_CUT, SUPERBLOCK_1, 100, 0);
    seed_end();

    seed_begin("journal", "files");
    put8(JOURNAL_MEND);
    put8(SUPERBLOCK_0);
    put16(16);
    put("mpxsuper\1\0\0\0abcd", 16);
    put8(SEGMENT_1);
    put16(64);
    put(zeros, 64);
    seed_end();
}

static void make_history_edits(void)
{
    static const char garbage[8] = "\1\2\3\4\5\6\7";
    /* Of a footer: a point's offset and extent, the trailer's last batch, extent and count of points. */
    static const unsigned footer_places[] = {64512, 64520, 65472, 65480, 65488, 65504};
    /* Of a checkpoint: its slot, first slot kept and size, a part's size, slot and index. */
    static const unsigned checkpoint_places[] = {48, 56, 64, 512, 520, 528};
    char name[32];
    static const unsigned kinds[] = {0, JOURNAL_KEPT, JOURNAL_TRIM};

    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < sizeof footer_places / sizeof footer_places[0]; i++) {
            snprintf(name, sizeof name, "footer-at-%u-%u", footer_places[i], kinds[k]);
            seed_begin("journal", name);
            put8(JOURNAL_EDIT | JOURNAL_MEND | kinds[k]);
            edit(EDIT_WRITE, SEGMENT_1, footer_places[i], 4);
            put(garbage, 4);
            seed_end();
        }
    }
    for (size_t k = 1; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < sizeof checkpoint_places / sizeof checkpoint_places[0]; i++) {
            snprintf(name, sizeof name, "checkpoint-at-%u-%u", checkpoint_places[i], kinds[k]);
            seed_begin("journal", name);
            put8(JOURNAL_EDIT | (i % 2 == 0 ? JOURNAL_MEND : 0) | kinds[k]);
            edit(EDIT_WRITE, CHECKPOINT, checkpoint_places[i], 4);
            put(garbage, 4);
            seed_end();
        }
        snprintf(name, sizeof name, "checkpoint-whole-%u", kinds[k]);
        seed_begin("journal", name);
        put8(JOURNAL_EDIT | JOURNAL_CORE | kinds[k]);
        seed_end();
        snprintf(name, sizeof name, "checkpoint-gone-%u", kinds[k]);
        seed_begin("journal", name);
        put8(JOURNAL_EDIT | kinds[k]);
        edit(EDIT_DELETE, CHECKPOINT, 0, 0);
        edit(EDIT_COPY, CHECKPOINT_NEW, 0, CHECKPOINT);
        seed_end();
    }
}

/* Every third batch, and those of the end, of a log that is open at its end or not. */
static void make_batch_edits(void)
{
    char name[48];
    for (unsigned closed = 0; closed < 2; closed++) {
        for (unsigned i = 0; i < 28; i += i < 18 ? 3 : 1) {
            enum journal_file file = i < 20 ? SEGMENT_1 : SEGMENT_2;
            unsigned batch = i < 20 ? i : i - 20;
            snprintf(name, sizeof name, "rotten-batch-%u%s", i, closed ? "-closed" : "");
            seed_begin("journal", name);
            put8(JOURNAL_EDIT | (closed ? JOURNAL_CLOSED : 0) | (i % 2 == 0 ? JOURNAL_SURE : JOURNAL_CORE));
            edit(EDIT_IN_BATCH, file, batch + 100 * 32, 2);
            put16(3);
            if (closed && i == 24) { /* and an early one: the last promise is lost with the later one */
                edit(EDIT_IN_BATCH, SEGMENT_1, 2 + 100 * 32, 2);
                put16(3);
            }
            seed_end();
        }
    }
    seed_begin("journal", "misplaced-batch");
    put8(JOURNAL_EDIT);
    edit(EDIT_MISPLACE, SEGMENT_1, 8 + 256 * 2, SEGMENT_1);
    seed_end();
    seed_begin("journal", "missing-segment");
    put8(JOURNAL_EDIT | JOURNAL_KEPT);
    edit(EDIT_DELETE, SEGMENT_2, 0, 0);
    seed_end();
    seed_begin("journal", "torn-end");
    put8(JOURNAL_EDIT | JOURNAL_CLOSED);
    edit(EDIT_ZERO, SEGMENT_2, 8704 + 64, 255);
    seed_end();
}

/* --- the journal at work --- */

static void begin_acts(const char *name, unsigned choices)
{
    seed_begin("journal", name);
    put8(JOURNAL_EDIT | JOURNAL_ACTS | choices);
    put8(0); /* edits */
}

static void act(enum journal_act what, unsigned argument)
{
    put8(what);
    if (what != JOURNAL_APPEND_PROMISE)
        put8(argument);
}

/* Many slots, so that segments fill. */
static void fill(unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        act(JOURNAL_APPEND_VALUES, 0x87 + i % 3 * 8);
        act(JOURNAL_WRITE, 255);
    }
}

static void spoil(enum journal_act what, unsigned segment, unsigned place, unsigned how)
{
    put8(what);
    put8(segment);
    put16(place);
    if (what != JOURNAL_EXCHANGE)
        put8(how);
}

static void make_work(void)
{
    begin_acts("work", 0);
    fill(12);
    act(JOURNAL_READ, 0);
    act(JOURNAL_CHECKPOINT, 20);
    act(JOURNAL_WRITE, 255);
    act(JOURNAL_TRIM_AT, 50);
    act(JOURNAL_POWER_CUT, 0);
    fill(2);
    act(JOURNAL_CHECKPOINT, 0x83);
    act(JOURNAL_START, 0);
    seed_end();

    begin_acts("promise-of-before", 0);
    act(JOURNAL_APPEND_PROMISE, 0);
    for (unsigned i = 0; i < 10; i++) {
        act(JOURNAL_APPEND_VALUES, 0xc7);
        act(JOURNAL_WRITE, 255);
    }
    act(JOURNAL_CHECKPOINT, 1);
    act(JOURNAL_WRITE, 255);
    seed_end();

    begin_acts("full-disk", 0);
    act(JOURNAL_ROOM, 20);
    fill(14);
    act(JOURNAL_CHECKPOINT, 60);
    act(JOURNAL_WRITE, 255);
    act(JOURNAL_START, 0);
    act(JOURNAL_ROOM, 255);
    fill(2);
    seed_end();
}

static void make_rot(void)
{
    begin_acts("mended", JOURNAL_KEPT | JOURNAL_CLOSED);
    spoil(JOURNAL_SPOIL, 1, 5000, 4);
    spoil(JOURNAL_BLANK, 2, 30080, 20);
    spoil(JOURNAL_EXCHANGE, 1, 10 + 256 * 13, 0);
    act(JOURNAL_READ, 0);
    act(JOURNAL_SCRUB, 255);
    act(JOURNAL_REPAIR, 1 + 3 * 32);
    act(JOURNAL_REPAIR, 2 + 4);
    act(JOURNAL_READ, 0);
    act(JOURNAL_POWER_CUT, 2);
    seed_end();

    begin_acts("mended-and-cut-off", JOURNAL_KEPT | JOURNAL_CLOSED);
    spoil(JOURNAL_SPOIL, 1, 5000, 4);
    act(JOURNAL_SCRUB, 255);
    act(JOURNAL_REPAIR, 8);
    act(JOURNAL_POWER_CUT, 2);
    seed_end();

    begin_acts("mended-later", 0);
    fill(10);
    spoil(JOURNAL_SPOIL, 1, 39000, 1);
    act(JOURNAL_SCRUB, 255);
    act(JOURNAL_REPAIR, 0);
    act(JOURNAL_CHECKPOINT, 3);
    act(JOURNAL_WRITE, 255);
    act(JOURNAL_REPAIR, 4);
    act(JOURNAL_READ, 20);
    seed_end();

    /* Both the footer and the end of the batches of a full segment. */
    begin_acts("footer-and-batches", JOURNAL_KEPT);
    spoil(JOURNAL_SPOIL, 1, 65500, 1);
    spoil(JOURNAL_BLANK, 1, 60032, 40);
    act(JOURNAL_READ, 0);
    act(JOURNAL_SCRUB, 255);
    act(JOURNAL_REPAIR, 0);
    act(JOURNAL_READ, 30);
    seed_end();

    begin_acts("rotten-start", 0);
    fill(6);
    spoil(JOURNAL_SPOIL, 1, 39000, 1);
    act(JOURNAL_START_CUT, 0x80 + 3);
    fill(2);
    act(JOURNAL_READ, 0);
    seed_end();
}

static void make_failures(void)
{
    char name[32];
    for (unsigned n = 0; n < 6; n++) {
        snprintf(name, sizeof name, "failing-sync-%u", n);
        begin_acts(name, 0);
        act(JOURNAL_FAIL, 2 + n * 8);
        fill(2);
        act(JOURNAL_POWER_CUT, 2);
        seed_end();
        snprintf(name, sizeof name, "dying-%u", n);
        begin_acts(name, JOURNAL_SURE);
        fill(6);
        act(JOURNAL_FAIL, 7 + n * 8 + 0x80);
        fill(3);
        seed_end();
    }
    for (unsigned kind = 0; kind < 8; kind++) {
        snprintf(name, sizeof name, "failing-%u", kind);
        begin_acts(name, kind % 2 == 0 ? JOURNAL_SURE : 0);
        act(JOURNAL_FAIL, kind + 2 * 8 + (kind % 3 == 0 ? 0x80 : 0));
        fill(7);
        act(JOURNAL_CHECKPOINT, 9);
        act(JOURNAL_WRITE, 255);
        act(JOURNAL_POWER_CUT, 2);
        act(JOURNAL_FAIL_READ, 19 + kind);
        act(JOURNAL_START_CUT, kind * 3);
        act(JOURNAL_POWER_CUT, 2);
        seed_end();
    }
}

/* --- checkpoints --- */

static void make_checkpoint_edits(void)
{
    enum { HEAD = 72, KEY = 32 };
    /* Of the head: version, sizes, slot, first_kept, streams, the host's; and some of what follows it. */
    static const unsigned places[] = {0, 4, 24, 56, 64, 68, HEAD, HEAD + KEY, HEAD + 4 * KEY, HEAD + 5 * KEY};
    static const char few[4] = "\5", many[4] = "\1\2\3\4";
    char name[32];
    for (unsigned shape = 0; shape < 3; shape++) {
        snprintf(name, sizeof name, "whole-%u", shape);
        seed_begin("checkpoint", name);
        put8(CHECKPOINT_EDIT | shape * CHECKPOINT_SHAPE);
        put8(shape);
        seed_end();
    }
    for (unsigned i = 1; i < 16; i++) {
        snprintf(name, sizeof name, "configuration-%u", i);
        seed_begin("checkpoint", name);
        put8(CHECKPOINT_EDIT | i % 3 * CHECKPOINT_SHAPE | i * CHECKPOINT_CONFIGURED);
        put8(i);
        seed_end();
    }
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (unsigned k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "%s-at-%u", k == 0 ? "few" : "many", places[i]);
            seed_begin("checkpoint", name);
            put8(CHECKPOINT_EDIT | CHECKPOINT_MEND | CHECKPOINT_SHAPE);
            put8(i);
            put8(CHECKPOINT_EDIT_WRITE);
            put16(places[i]);
            put8(4);
            put(k == 0 ? few : many, 4);
            seed_end();
        }
    }
    static const struct {
        const char *name;
        enum checkpoint_edit op;
        unsigned place, size;
    } others[] = {
        {"cut", CHECKPOINT_EDIT_CUT, 500, 0},
        {"without-a-key", CHECKPOINT_EDIT_REMOVE, 900, KEY},
        {"longer", CHECKPOINT_EDIT_INSERT, 65535, 1},
    };
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        seed_begin("checkpoint", others[i].name);
        put8(CHECKPOINT_EDIT | CHECKPOINT_MEND | 2 * CHECKPOINT_SHAPE);
        put8(i);
        put8(others[i].op);
        put16(others[i].place);
        put8(others[i].size);
        put8(7);
        seed_end();
    }
}

void make_disk_seeds(void)
{
    make_checkpoint_edits();
    make_marks();
    make_journal_edits();
    make_history_edits();
    make_batch_edits();
    make_work();
    make_rot();
    make_failures();
}
