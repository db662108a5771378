/* Joins the pieces of values that are larger than a datagram. Pure, one block, bounded: per peer ASSEMBLY_VALUES_MAX
 * values that are under way; a new one drives out the one that was touched longest ago, so a peer can only hurt itself.
 */
#ifndef WIRE_ASSEMBLY_H
#define WIRE_ASSEMBLY_H

#include "wire/datagram.h"

enum { ASSEMBLY_VALUES_MAX = 32 };

struct assembly;

size_t assembly_size(uint32_t n_peers, uint32_t value_bytes_max);
struct assembly *assembly_init(void *block, uint32_t n_peers, uint32_t value_bytes_max);

/* Adds a piece from peer index `peer`. Answers the value's whole bytes (p->total of them) once every byte is there: for
 * a piece that is the whole value, its own bytes; else memory of the assembly, valid until the next call. NULL: not
 * complete yet, or no piece of a value of at most value_bytes_max. The caller checks the hash; a value whose pieces
 * disagree (same hash, other total) is started anew. Any cut, order, overlap and repetition of pieces is fine. */
const uint8_t *assembly_add(struct assembly *a, uint32_t peer, const struct piece *p);

struct assembly_stats {
    uint32_t values; /* under way, of all peers               */
    uint64_t bytes;  /* of them, those still missing included */
    uint64_t driven_out;
};
void assembly_stats(const struct assembly *a, struct assembly_stats *ret);

#endif
