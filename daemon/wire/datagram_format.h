/* Where the fields stand: what the writing and the reading half of wire/datagram.h share. Integers are little-endian, a
 * ballot is round u64, gen u32, id u8, a hash its 16 bytes.
 *
 * Bodies, after the frame (type u8, flags u8, size u16):
 *
 *   HEARTBEAT  ballot, followed, seq u64, commit u64, chain, space u32, n u8, n * (id u8, seq u64, age u16);
 *              flags: leading, happy
 *   PREPARE    ballot, from u64, page u32
 *   PROMISE    ballot, from u64, page u32, page_slots u32, chosen u64,
 *              then to the end (slot u64, ballot, chosen u8, size u32, hash); flags: last
 *   ACCEPT     ballot, commit u64, pieces
 *   ACCEPTED   ballot, base u64, chosen u64, space u32, then to the end words u64
 *   NACK       rejected, promised
 *   FETCH      from u64, until u64, ballot, hash, bytes_max u32; flags: by hash
 *   CHOSEN     first_kept u64, pieces
 *   BODY       ballot, one piece
 *   SUBMIT     pieces
 *   STATE      nonce u64, answer u64, status u8, cluster, bootstrap, at most one piece
 *   POSITION   nonce u64                            ANSWER     nonce u64, slot u64
 *   CONFIRM    ballot, nonce u64                    CONFIRMED  as CONFIRM
 *   TRANSFER   ballot, target u8
 *   INFO       version size u8, version, then to the end (rate u8, direction u8, peer u8, left u32)
 *   FLUSH      nonce u64, upto u64
 *   FLUSHED    nonce u64, slot u64, messages u64, then to the end text; flags: ok
 *   CHECKPOINT FETCH  slot u64, offset u64, CHECKPOINT_WORDS words u64
 *   CHECKPOINT PIECE  slot u64, total u64, offset u64, then to the end at most CHECKPOINT_PIECE_BYTES bytes
 *
 * A piece: flags u8; slot u64 where PIECE_SLOT says so; hops u8 in SUBMIT; hash; total u32 and offset u32 where
 * PIECE_PART says so; size u16; bytes. ACCEPT, CHOSEN and BODY name slots: a piece without one is for the slot after
 * the piece before it. A piece that is no part is a whole value. */
#ifndef WIRE_DATAGRAM_FORMAT_H
#define WIRE_DATAGRAM_FORMAT_H

#include "wire/datagram.h"

enum {
    AT_VERSION = 4, /* after the magic */
    AT_KIND = 5,
    AT_FLAGS = 6, /* of sealing: wire/seal_session.h */
    AT_ZERO = 7,
    AT_NAME_HASH = 8,
    AT_CLUSTER = 16,
    AT_FROM = 32,
    AT_TO = 33,
    AT_ZERO2 = 34,
    AT_CHECKSUM = 36,
    AT_LIFE = 40,
    AT_BOOT = 48,
    AT_SEQ = 56,
    AT_SEAL = 64, /* to the end of the header */
};

enum {
    FRAME_SIZE = 4,
    BALLOT_SIZE = 13,
    HASH_SIZE = 16,
    ECHO_SIZE = 11,
    PROMISED_SIZE = 8 + BALLOT_SIZE + 1 + 4 + HASH_SIZE,
    DROP_SIZE = 7,
    PIECE_SIZE_MAX = 1 + 8 + 1 + HASH_SIZE + 8 + 2, /* without the bytes */

    /* Bodies, or their heads before a list. */
    HEARTBEAT_SIZE = 2 * BALLOT_SIZE + 8 + 8 + HASH_SIZE + 4 + 1,
    PREPARE_SIZE = BALLOT_SIZE + 8 + 4,
    PROMISE_SIZE = BALLOT_SIZE + 8 + 4 + 4 + 8,
    ACCEPT_SIZE = BALLOT_SIZE + 8,
    ACCEPTED_SIZE = BALLOT_SIZE + 8 + 8 + 4,
    NACK_SIZE = 2 * BALLOT_SIZE,
    FETCH_SIZE = 8 + 8 + BALLOT_SIZE + HASH_SIZE + 4,
    CHOSEN_SIZE = 8,
    BODY_SIZE = BALLOT_SIZE,
    SUBMIT_SIZE = 0,
    STATE_SIZE = 8 + 8 + 1 + 2 * HASH_SIZE,
    POSITION_SIZE = 8,
    ANSWER_SIZE = 16,
    CONFIRM_SIZE = BALLOT_SIZE + 8,
    TRANSFER_SIZE = BALLOT_SIZE + 1,
    INFO_SIZE = 1,
    FLUSH_SIZE = 16,
    FLUSHED_SIZE = 8 + 8 + 8,
    CHECKPOINT_FETCH_SIZE = 8 + 8 + 8 * CHECKPOINT_WORDS,
    CHECKPOINT_PIECE_SIZE = 8 + 8 + 8,

    BODY_ROOM_MIN = DATAGRAM_BYTES_MIN - DATAGRAM_HEADER_SIZE - FRAME_SIZE, /* in an empty datagram */
};

/* What goes whole fits the smallest datagram, and a head leaves room for a part of a value. */
_Static_assert(HEARTBEAT_SIZE + REPLICAS_MAX * ECHO_SIZE <= BODY_ROOM_MIN, "HEARTBEAT");
_Static_assert(PROMISE_SIZE + PROMISED_SIZE <= BODY_ROOM_MIN, "PROMISE of one slot");
_Static_assert(ACCEPTED_SIZE + ACCEPTED_WORDS_MAX * 8 <= BODY_ROOM_MIN, "ACCEPTED");
_Static_assert(INFO_SIZE + INFO_VERSION_MAX + INFO_DROPS_MAX * DROP_SIZE <= BODY_ROOM_MIN, "INFO");
_Static_assert(FLUSHED_SIZE + FLUSH_TEXT_MAX <= BODY_ROOM_MIN, "FLUSHED");
_Static_assert(CHECKPOINT_FETCH_SIZE <= BODY_ROOM_MIN, "CHECKPOINT FETCH");
_Static_assert(CHECKPOINT_PIECE_SIZE + CHECKPOINT_PIECE_BYTES <= BODY_ROOM_MIN, "CHECKPOINT PIECE");
_Static_assert(STATE_SIZE + PIECE_SIZE_MAX < BODY_ROOM_MIN, "STATE, the largest head before pieces");

enum frame_flag {
    HEARTBEAT_LEADING = 1,
    HEARTBEAT_HAPPY = 2,
    HEARTBEAT_SILENT = 4,
    PROMISE_LAST = 1,
    FETCH_BY_HASH = 1,
    FLUSHED_OK = 1,
};

enum piece_flag {
    PIECE_PART = 1,
    PIECE_SLOT = 2,
};

static const uint8_t DATAGRAM_MAGIC[4] = {'M', 'P', 'X', 'D'};

/* An echo's age in 16 bits, so that a heartbeat with REPLICAS_MAX - 1 of them fits: 12 bits shifted left by the
 * upper 4. Too low by less than 1 part in 2048; at most 4095 << 15 us, about 134 s. */
static inline uint16_t age_pack(uint32_t usec)
{
    uint32_t shift = 0;
    while (shift < 15 && usec >> shift > 4095)
        shift++;
    const uint32_t mantissa = usec >> shift > 4095 ? 4095 : usec >> shift;
    return (uint16_t)(shift << 12 | mantissa);
}

static inline uint32_t age_unpack(uint16_t packed)
{
    return (uint32_t)(packed & 4095) << (packed >> 12);
}

static inline bool type_has_slots(enum message_type type)
{
    return type == MESSAGE_ACCEPT || type == MESSAGE_CHOSEN || type == MESSAGE_BODY;
}

#endif
