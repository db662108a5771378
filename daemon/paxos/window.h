/* The bounded map from slots to what this replica knows of them: a ring of cells, one a slot.
 *
 * It reaches from the chosen prefix upward, twice alpha wide, and keeps chosen slots below as a tail for late peers
 * until their cell is wanted, or until the tail's bytes pass their limit. Acceptor, proposer and learner share one cell
 * a slot, since a proposer accepts its own proposal first. */
#ifndef PAXOS_WINDOW_H
#define PAXOS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "paxos/ballot.h"
#include "paxos/value.h"

struct cell {
    slot_t slot;          /* 0: free; slot 0 is the configuration and never here */
    struct ballot ballot; /* accepted under; none where only learned as chosen   */
    struct value *value;  /* accepted or chosen; NULL: neither                   */
    uint64_t seq;         /* of its journal record                               */
    bool chosen;          /* known chosen, with this value                       */
    bool ack_due;         /* its ACCEPTED has not been sent                      */
    uint32_t acks;        /* members whose disk has it under the own ballot      */

    /* Phase 1: the report with the highest ballot, and its value once it is here. */
    struct ballot report_ballot;
    struct hash128 report_hash;
    uint32_t reporters; /* members that reported exactly this */
    bool reported, report_chosen;
    struct value *adopted;
    uint64_t fetched_usec; /* when its body was last asked for */
};

struct window {
    struct cell *cells;
    uint32_t n_cells; /* a power of two */
};

/* The cell of this slot, NULL where another slot or none is in its place. */
static inline struct cell *window_find(const struct window *w, slot_t slot)
{
    struct cell *c = &w->cells[slot & (w->n_cells - 1)];
    return c->slot == slot && slot != 0 ? c : NULL;
}

static inline struct cell *window_place(const struct window *w, slot_t slot)
{
    return &w->cells[slot & (w->n_cells - 1)];
}

#endif
