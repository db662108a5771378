/* What stands where in the inputs of the targets: for the targets, and for seeds.c. A new choice goes to the end of its
 * list, so that the inputs in the tree keep their meaning. */
#ifndef TESTS_FUZZ_INPUTS_H
#define TESTS_FUZZ_INPUTS_H

/* --- fuzz_datagram: the first byte --- */

enum {
    DATAGRAM_MEND_CHECKSUM = 1,
    DATAGRAM_MEND_HEADER = 2, /* and the checksum: only the messages are the fuzzer's              */
    DATAGRAM_FEW_HASHES = 4,  /* of what is joined: little more of them than are under way at once */
};

/* --- fuzz_seal: a byte, the keys of all (see there), and how many they are; then acts, a byte each (modulo), and their
 * arguments --- */

enum { SEAL_THREE = 4 }; /* replicas, not two */

enum seal_act {
    SEAL_SAY,      /* argument: who, and how much                                        */
    SEAL_OWE,      /* argument: who says what his handshake owes                         */
    SEAL_DELIVER,  /* argument: which of what was said                                   */
    SEAL_LAST,     /* the last of it is delivered                                        */
    SEAL_SPOIL,    /* arguments: which, where u16, which bits                            */
    SEAL_CUT,      /* arguments: which, to what size u16                                 */
    SEAL_SPLICE,   /* arguments: which two, from where, how much                         */
    SEAL_INVENT,   /* arguments: sender, kind and key; size, from the salt on; the bytes */
    SEAL_RESTART,  /* argument: who                                                      */
    SEAL_WAIT,     /* argument: so many times 4 ms                                       */
    SEAL_KEYS,     /* argument: who, and which keys                                      */
    SEAL_SAY_MANY, /* argument: who says a thousand, all of which are lost               */
    SEAL_ACTS,
};

/* --- fuzz_control: 0xff, then one of these (modulo), some with an argument of a byte --- */

enum { CONTROL_ESCAPE = 0xff };

enum control_act {
    CONTROL_TURN,
    CONTROL_HOLD,         /* submits are settled later, or no longer                   */
    CONTROL_RESULT,       /* argument: what submits from now on come to                */
    CONTROL_SETTLE,       /* argument: which open one                                  */
    CONTROL_HOLD_ANSWERS, /* positions and flushes are answered later, or no longer    */
    CONTROL_ANSWER,
    CONTROL_APPEND,    /* argument: so many messages are chosen                        */
    CONTROL_DRIVER,    /* argument: what is wrong with the driver                      */
    CONTROL_STATUS,    /* argument: what it says of itself                             */
    CONTROL_SHUT_DOWN, /* the client sends no more                                     */
    CONTROL_SWITCH,    /* argument: the client that goes on, opened where it is not    */
    CONTROL_READ,
    CONTROL_CLOSE,
    CONTROL_LONG,   /* argument: a Submit of so many times 64 bytes of text            */
    CONTROL_WAIT,   /* some milliseconds pass, a few times at most                     */
    CONTROL_LEADER, /* argument: who leads, as the driver says                         */
    CONTROL_LEVEL,  /* argument: what the client may; it connects again                */
    CONTROL_ACTS,
};

/* --- fuzz_config: behind this byte a file is made; else the input is one --- */

enum { CONFIG_MADE = 0xff };

/* What is wrong with one member. */
enum config_mistake {
    CONFIG_OF_WRONG_TYPE,
    CONFIG_TOO_MUCH,   /* by one; of wrong type where it has no bounds */
    CONFIG_TOO_LITTLE, /* the same                                     */
    CONFIG_LEFT_OUT,   /* the same where it may be                     */
    CONFIG_UNKNOWN_KEY,
    CONFIG_NO_JSON,
    CONFIG_MISTAKES,
};

/* --- fuzz_mark: the first byte; then upto u8, slot u8, format u8 --- */

enum {
    MARK_MADE = 1,        /* from fields: length u16, inode u16, format u8; else its text, with the size (u16) before */
    MARK_MENDED = 2,      /* the text's check line is made to match                                                   */
    MARK_INODE_RIGHT = 4, /* of MARK_MADE: the file's own inode                                                       */
    MARK_TAIL_RIGHT = 8,  /* and the hash of what it holds; without it, of nothing                                    */
    MARK_LOG_TRUE = 16,   /* the file begins with the lines up to `slot`, and length counts from their end            */
    MARK_LOG_ROTATED = 32, /* the file stands under another name, and nothing under its own */
    MARK_FORMAT_SHIFT = 6, /* the configured format */
    /* With LOG_TRUE the length tells, too, from its low end: how far it is off; so many slots were written behind the
     * mark by a flush that was cut off; but for so many bytes. */
    MARK_SHIFTS = 4,
    MARK_CUT_OFF_SLOTS = 16,
};

/* --- fuzz_journal: the first byte --- */

enum {
    JOURNAL_EDIT = 1,    /* of a valid journal: op u8, file u8, place u16, size u8, what it takes; else files */
    JOURNAL_MEND = 2,    /* all checksums are made to match afterwards                                        */
    JOURNAL_CORE = 4,    /* a replica restores what is read, and refuses what cannot follow                   */
    JOURNAL_KEPT = 8,    /* the valid journal has a checkpoint, and all of the log                            */
    JOURNAL_TRIM = 16,   /* it has a checkpoint, and the log before it was trimmed                           */
    JOURNAL_ACTS = 32,   /* the number of edits u8 comes first, and acts (see below) after them               */
    JOURNAL_CLOSED = 64, /* all that is voted on is chosen, and the last promise stands behind the last vote  */
    JOURNAL_SURE = 128,  /* it was opened again: all of it is known to have been durable                      */
};

enum journal_edit {
    EDIT_WRITE, /* size bytes             */
    EDIT_XOR,   /* size bytes             */
    EDIT_ZERO,  /* size times 64 bytes    */
    EDIT_CUT,   /* the file ends there    */
    EDIT_DELETE,
    EDIT_SWAP,     /* with another place u16; size times 64 bytes                                   */
    EDIT_IN_BATCH, /* size % 16 bytes; place: the batch in its low five bits, how far into it above */
    EDIT_COPY,     /* the file becomes a copy of file `size`                                        */
    EDIT_MISPLACE, /* batch place / 256 of file `size` is written over batch place % 256            */
    EDITS,
};

/* A byte each (modulo), and arguments of a byte each. */
enum journal_act {
    JOURNAL_APPEND_VALUES, /* so many, with votes or without, with a COMMIT or without             */
    JOURNAL_APPEND_PROMISE,
    JOURNAL_WRITE,      /* so many times                                                        */
    JOURNAL_READ,       /* from where                                                           */
    JOURNAL_SPOIL,      /* segment, place u16, which bits: one that is full                     */
    JOURNAL_BLANK,      /* segment, place u16, so many times 64 bytes: zeros                    */
    JOURNAL_EXCHANGE,   /* segment, batch, batch                                                */
    JOURNAL_SCRUB,      /* so many stretches                                                    */
    JOURNAL_REPAIR,     /* what the peer does                                                   */
    JOURNAL_CHECKPOINT, /* size; whether it is finished                                         */
    JOURNAL_TRIM_AT,
    JOURNAL_ROOM,      /* the disk has room for so many times 4 KiB more; 255: plenty          */
    JOURNAL_FAIL,      /* which operation fails, and how: the disk is dead with it, or not     */
    JOURNAL_FAIL_READ, /* which one, while all is read                                         */
    JOURNAL_POWER_CUT, /* what survives                                                        */
    JOURNAL_START,     /* it is closed, and opened again                                       */
    JOURNAL_START_CUT, /* the start is cut off at this change of the disk                      */
    JOURNAL_ACTS_ALL,
};

/* The files, by index. */
enum journal_file {
    SUPERBLOCK_0,
    SUPERBLOCK_1,
    SEGMENT_1,
    SEGMENT_2,
    SEGMENT_3,
    RESERVE,
    CHECKPOINT,
    CHECKPOINT_NEW,
    JOURNAL_FILES
};

/* --- fuzz_checkpoint: the first byte --- */

enum {
    CHECKPOINT_EDIT = 1,  /* of a valid one: op u8, place u16, size u8, what it takes; else its bytes */
    CHECKPOINT_MEND = 2,  /* the hash at the end is made to match afterwards                          */
    CHECKPOINT_SHAPE = 4, /* times which valid one (modulo): of 1, 40, 200 slots */
    CHECKPOINT_SHAPES = 4,
    CHECKPOINT_CONFIGURED = 16, /* times which one: 1 to 7 members, tables of several sizes */
};

enum checkpoint_edit {
    CHECKPOINT_EDIT_WRITE, /* size bytes          */
    CHECKPOINT_EDIT_INSERT,
    CHECKPOINT_EDIT_REMOVE,
    CHECKPOINT_EDIT_CUT, /* nothing from there on */
    CHECKPOINT_EDITS,
};

/* --- fuzz_replica: acts, a byte each, some with arguments; those from REPLICA_MESSAGE on are messages of this type ---
 */

enum { REPLICA_LATER = 56 };

enum replica_act {
    REPLICA_WAIT,    /* argument: so many times 5 ms, timers as they come               */
    REPLICA_DURABLE, /* all that was recorded                                           */
    REPLICA_RESTART, /* argument: odd: what was not durable is lost                     */
    REPLICA_BEAT,    /* a proper heartbeat of each peer; argument: commit, which follow */
    REPLICA_PROMISE, /* the last PREPARE is answered by a peer, that has accepted nothing */
    REPLICA_ACK,     /* the last ACCEPT is answered by a peer                           */
    REPLICA_FETCHED, /* what it wants to read back                                      */
    REPLICA_SUBMIT,  /* argument: stream and key                                        */
    REPLICA_POSITION,
    REPLICA_CANCEL, /* argument: which one */
    REPLICA_SKIP,   /* arguments: slots    */
    REPLICA_TRANSFER,
    REPLICA_SPACE,
    REPLICA_BOOTSTRAP,
    REPLICA_TRIM, /* argument: a slot; it and the next two (modulo) from REPLICA_LATER on */
    REPLICA_COMMIT,
    REPLICA_INSTALL, /* argument: how far above */
    REPLICA_ACTS,
    REPLICA_MESSAGE = 64,
};

/* --- fuzz_cluster: seed u8, shape u8, tables u8 (see there), with CLUSTER_MORE in the seed choices u8; then acts and
 * their argument, a byte each --- */

enum { CLUSTER_MORE = 0x80 };

enum {
    CLUSTER_SEALED = 1,
    CLUSTER_SEVEN = 2,      /* hosts                   */
    CLUSTER_SCRUB = 4,      /* often                   */
    CLUSTER_ROT_SEALED = 8, /* mostly in full segments */
    CLUSTER_LARGE = 16,     /* messages                */
    CLUSTER_WIDE = 32,      /* windows                 */
};

enum cluster_act {
    ACT_RUN,      /* so many events                                               */
    ACT_WAIT,     /* so many times 5 ms                                           */
    ACT_LOSE,     /* the next so many datagrams                                   */
    ACT_DEAFEN,   /* datagrams with a message of this type are lost, or no longer */
    ACT_DELAY,    /* the next datagram comes so many times 10 ms later            */
    ACT_DOUBLE,   /* the next datagram comes again, so many times 10 ms later     */
    ACT_CUT,      /* a one-way link, from and to; or no longer                    */
    ACT_ISOLATE,  /* a host                                                       */
    ACT_HEAL,     /* all links                                                    */
    ACT_CRASH,    /* a host; the high bit: all that was not durable is lost       */
    ACT_START,    /* a host                                                       */
    ACT_PAUSE,    /* a host, for so long                                          */
    ACT_STALL,    /* a host's disk, for so long                                   */
    ACT_SPACE,    /* a host's disk is full, or no longer                          */
    ACT_WIPE,     /* a host's disk: a minority of them                            */
    ACT_SUBMIT,   /* through a host, some on one connection                       */
    ACT_RETRY,    /* an earlier message through a host                            */
    ACT_CONFLICT, /* another text with an earlier message's key                   */
    ACT_POSITION, /* linearizable, through a host                                 */
    ACT_CLOSE,    /* a host's connection                                          */
    ACT_SKIP,     /* a host, some slots                                           */
    ACT_TRANSFER, /* leadership, to a host                                        */
    ACT_WALL,     /* a host's wall clock jumps                                    */
    ACT_WEATHER,  /* random loss, duplicates, delays, spoiled bytes               */
    ACT_KILL,     /* a host's process alone; the high bit: and then its power     */
    ACT_STOP,     /* a host, in an orderly way; it comes again                    */
    ACT_CLOG,     /* a one-way link, from and to, for half a second               */
    ACT_FAIL,     /* a host's disk fails soon                                     */
    ACT_ROT,      /* a host's disk: a minority of them                            */
    ACT_SLOW,     /* a host's disk: so many times 1 ms at most                    */
    ACT_READ,     /* some of the log, of a host                                   */
    ACT_FLUSH,    /* the chat log of a host, or of all                            */
    ACT_LOAD,     /* as ACT_SUBMIT, long ones                                     */
    ACT_DROP,     /* a host drops datagrams for a while: how many, which way      */
    ACT_KEYS,     /* a host's keys go one step on, where all did the one before   */
    ACT_DIFFER,   /* a blank host's configuration file says something else        */
    CLUSTER_ACTS,
};

/* --- fuzz_driver: seed u8, shape u8, then acts, a byte each (modulo), and their arguments --- */

enum {
    DRIVER_LIAR = 1,        /* one member says anything; else only what must be refused, or does no harm */
    DRIVER_BLANK = 2,       /* without a liar                                                            */
    DRIVER_SEALED = 4,      /* the same                                                                  */
    DRIVER_SHORT_LIVED = 8, /* checkpoints often, little is kept                                         */
    DRIVER_SCRUB = 16,
    DRIVER_SMALL = 32,       /* the smallest datagrams            */
    DRIVER_CHECKPOINTS = 64, /* often, and as much is kept as is there */
};

enum driver_act {
    DRIVER_RUN,    /* argument: so many events                                                           */
    DRIVER_WAIT,   /* argument: so many times 5 ms                                                       */
    DRIVER_SUBMIT, /* argument: through which host, how many                                             */
    DRIVER_LOAD,   /* the same, long ones                                                                */
    DRIVER_SAY,    /* arguments: to whom and from whom, type, guard; how many bytes, and the fields (says.h) in them */
    DRIVER_PAGE,   /* of the log, when one is asked for: how many slots, what is wrong with it, how it is cut */
    DRIVER_CHECKPOINT, /* the same of a checkpoint: where it is changed u16, how, how it is cut */
    DRIVER_CHANGE,     /* argument: bits of the next datagram that is on its way                         */
    DRIVER_AGAIN,      /* argument: one of the last datagrams comes again                                */
    DRIVER_CRASH,      /* argument: a host; the high bit: all that was not durable is lost               */
    DRIVER_START,      /* argument: a host                                                               */
    DRIVER_CUT,        /* argument: a host, from all others, or no longer                                */
    DRIVER_ROT,        /* argument: a host's disk, which full segment, where u16; the high bit: by the seed */
    DRIVER_FLUSH,      /* argument: of which host, or of all                                             */
    DRIVER_READ,       /* argument: a host                                                               */
    DRIVER_MUTE,       /* the liar says nothing else, or is an honest one beside                         */
    DRIVER_ACTS,
};

/* What an honest cluster must refuse a message for. */
enum driver_guard {
    GUARD_NONE,    /* of messages that do no harm */
    GUARD_LIFE,    /* another one                 */
    GUARD_CLUSTER, /* another id, and name        */
    GUARD_CHECKSUM,
    GUARD_RECEIVER, /* another one */
    GUARD_STRANGER, /* from no member */
    GUARD_OWN,      /* from itself    */
    GUARD_CUT,      /* its end is missing */
    GUARD_HASH,     /* of its values is another's */
    GUARD_ID,       /* of another cluster of that name */
    GUARDS,
};

enum page_fault {
    PAGE_RIGHT,
    PAGE_HASH,     /* is wrong, and so are the values */
    PAGE_EMPTY,    /* a value without bytes        */
    PAGE_LONG,     /* a value longer than the page */
    PAGE_NOTE,     /* of no type                   */
    PAGE_GARBAGE,  /* no value at the end          */
    PAGE_OTHER,    /* slot's page                  */
    PAGE_SHORT,    /* ends in its head             */
    PAGE_LACKING,  /* the peer does not have it    */
    PAGE_REST,     /* some bytes behind the last   */
    PAGE_INVENTED, /* values: a liar's only        */
    PAGE_FAULTS,
};

#endif
