/* The replicas' datagrams: a header, then one message after the other. Pure; bytes to structs and back.
 *
 * Header, little-endian, DATAGRAM_HEADER_SIZE bytes: magic "MPXD", version u8, kind u8 (enum datagram_kind), flags u8
 * (zero but in a sealed one), zero u8, cluster name hash u64 (so that clusters that do not know their id yet do not
 * mix), cluster id 16 bytes (zero while EMPTY), sender id u8, receiver id u8, zero u16, checksum u32 (CRC-32C of the
 * whole datagram with this field zero; in a sealed one its check, wire/seal.h; in a handshake's zero), sender life u64,
 * boot u64 (random per process), seq u64, then 40 bytes: key id 8, salt 16, tag 16 (wire/seal.h; zero in a plain one).
 * Then messages: type u8, flags u8, size u16 of what follows (datagrams are at most 65000 bytes), body. A receiver
 * skips no unknown type: an unknown version or type, a size that does not add up, a trailing byte make the datagram
 * malformed as a whole.
 *
 * Values travel as pieces: hash, total size, offset, size, bytes; one that fits is one piece. Pieces are idempotent and
 * may come in any order, any number of times, in different cuts. Decoding copies nothing and allocates nothing: pieces
 * and arrays point into the datagram or into the caller's scratch. */
#ifndef WIRE_DATAGRAM_H
#define WIRE_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/message.h"

enum {
    DATAGRAM_VERSION = 2,
    DATAGRAM_HEADER_SIZE = 104,
    DATAGRAM_BYTES_MIN = 512,
    DATAGRAM_BYTES_MAX = 65000,
    DATAGRAM_PIECES_MAX = 1024, /* value pieces, or promised entries, of one message on the wire */
    DATAGRAM_PROMISE_SLOTS_MAX = 256,
};

/* Rounds, and slots that stand for themselves, are not above this: no sum of one and a count overflows. (What only
 * bounds a range, FETCH's until and FLUSH's upto, may be anything.) */
#define DATAGRAM_NUMBER_MAX (UINT64_C(1) << 62)

enum datagram_kind {
    DATAGRAM_PLAIN = 0,
    DATAGRAM_SEALED = 1,
    DATAGRAM_HELLO = 2, /* of the sealing's handshake: no messages */
    DATAGRAM_HELLO_ACK = 3,
};

struct datagram_header {
    enum datagram_kind kind; /* read, not written */
    uint64_t cluster_name_hash;
    struct hash128 cluster;
    replica_id_t from, to;
    uint64_t from_life;
    uint64_t boot, seq;
};

enum datagram_error {
    DATAGRAM_OK = 0,
    DATAGRAM_TRUNCATED = -1,
    DATAGRAM_FOREIGN = -2, /* no magic of ours        */
    DATAGRAM_VERSION_UNKNOWN = -3,
    DATAGRAM_CHECKSUM = -4,
    DATAGRAM_MALFORMED = -5,
};

/* --- writing --- */

struct datagram_writer {
    uint8_t *bytes;
    size_t size, room; /* room: datagram_bytes of the configuration */
};

/* Where a message that is larger than one datagram goes on; all zero to begin. */
struct datagram_cursor {
    uint32_t entry;
    uint32_t offset; /* into the value of that entry */
};

void datagram_begin(struct datagram_writer *w, uint8_t *buffer, size_t room, const struct datagram_header *h);
bool datagram_is_empty(const struct datagram_writer *w);

/* Appends as much of the message as fits, from the cursor on, and moves the cursor. True: all of it is written. False:
 * the datagram is full; go on in the next one with the same cursor. A message that is not a list of entries goes whole
 * or not at all, and fits any empty datagram of DATAGRAM_BYTES_MIN (PROMISE: see datagram_promise_slots). A value is
 * cut only where it does not fit an empty datagram; a small one is never cut to fill a rest. ACCEPT and the like may be
 * written as several messages with the same head. */
bool datagram_put(struct datagram_writer *w, const struct message *m, struct datagram_cursor *c);

/* Fills in receiver, seq and checksum. Several receivers: finish, send, finish again. */
void datagram_finish(struct datagram_writer *w, replica_id_t to, uint64_t seq);

/* How many slots a PROMISE page may cover so that it always fits: for replica_config.promise_page_slots. At most
 * DATAGRAM_PROMISE_SLOTS_MAX. */
uint32_t datagram_promise_slots(size_t room);

/* --- reading --- */

struct piece {
    slot_t slot;
    struct ballot ballot;
    uint8_t hops;
    struct hash128 hash;
    uint32_t total, offset, size;
    const uint8_t *bytes;
};

/* A decoded message: `message` is complete except that its list of entries is empty (BODY: its value is NULL); those
 * are `pieces`, in order, with the slot (ACCEPT, CHOSEN, BODY), ballot (BODY) or hops (SUBMIT) of their entry. A value
 * that was cut has one piece in each of several messages. STATE with a slot0 has one piece. message's arrays (promised
 * entries) point into `scratch_entries`. */
struct datagram_message {
    struct message message;
    uint32_t n_pieces;
    struct piece pieces[DATAGRAM_PIECES_MAX];
    struct promised_entry scratch_entries[DATAGRAM_PIECES_MAX];
};

struct datagram_reader {
    const uint8_t *bytes;
    size_t size, at;
};

/* Reads the header, of any kind, whose checksum or tag is not checked yet. Who it is from and for, the host knows. *ret
 * is untouched on failure. */
enum datagram_error datagram_header_read(const uint8_t *bytes, size_t size, struct datagram_header *ret);
/* What stands for the version, where it is unknown. */
uint8_t datagram_version(const uint8_t *bytes);
/* Reads the header too, and checks a plain datagram's checksum, and that the messages' types are known and their sizes
 * add up. One of another kind is malformed here. *ret and *r are untouched on failure. */
enum datagram_error datagram_open(struct datagram_reader *r, const uint8_t *bytes, size_t size,
                                  struct datagram_header *ret);
/* The same of a sealed one that seal_open() opened. */
enum datagram_error datagram_open_sealed(struct datagram_reader *r, const uint8_t *bytes, size_t size);
/* 1: a message; 0: the end; DATAGRAM_MALFORMED, and again if asked again. Every field is range-checked: enums, booleans
 * of 0 or 1, counts, n_words, ids (REPLICA_ID_NONE only in a ballot of round 0, as a drop's peer and as TRANSFER's
 * target), DATAGRAM_NUMBER_MAX, page_slots >= 1, slots of ACCEPT ascending, total between VALUE_HEADER_SIZE and
 * value_bytes_max, size >= 1, offset + size <= total, texts of INFO and FLUSHED without NUL, a checkpoint's piece
 * within its total. message.from and from_life come from the header. An echo's age comes back too low by less than 1
 * part in 2048, and as 134 s where it is higher.
 */
int datagram_next(struct datagram_reader *r, const struct datagram_header *h, uint32_t value_bytes_max,
                  struct datagram_message *ret);

#endif
