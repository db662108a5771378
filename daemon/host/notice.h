/* What an administrator is told by name: each kind has a MESSAGE_ID, under which the journal's catalog
 * (units/mpaxos.catalog) says what it means, why, and what to do.
 *
 * In the journal a notice carries MPAXOS_REPLICA and what it is about: MPAXOS_BALLOT, MPAXOS_SLOT, MPAXOS_PEER,
 * MPAXOS_PATH. Elsewhere it is a line like any other. Of each kind NOTICE_BURST are told at once and then one a second;
 * what was left out is counted in the next. */
#ifndef HOST_NOTICE_H
#define HOST_NOTICE_H

#include <stdbool.h>

#include "paxos/ballot.h"

enum { NOTICE_BURST = 10 };

enum notice_kind {
    NOTICE_QUORUM_LOST,
    NOTICE_QUORUM_REGAINED,
    NOTICE_LEADER_CHANGED,
    NOTICE_TAIL_CUT,      /* a torn write at the journal's end was removed            */
    NOTICE_DAMAGE_CUT,    /* rot in the journal that cost no vote: it is fetched again */
    NOTICE_QUARANTINED,   /* rot that did                                             */
    NOTICE_STATE_REFUSED, /* the state of another replica, cluster or version, or none that is whole */
    NOTICE_DIVERGED,
    NOTICE_LOG_GAP, /* messages will be missing in the chat log file            */
    NOTICE_DISK_FULL,
    NOTICE_DISK_SPACE, /* again                                                    */
    NOTICE_DISK_FAILED,
    NOTICE_DISK_SLOW,         /* so slow that the watchdog is not answered                */
    NOTICE_REPLICA_REFUSED,   /* a peer                                                   */
    NOTICE_REPLICA_BLANK,     /* this one, in a cluster that ran before                   */
    NOTICE_DATAGRAMS_REFUSED, /* that no member stands for                              */
    NOTICE_NO_KEY,            /* datagrams are neither encrypted nor authenticated      */
    NOTICE_KEY_REFUSED,       /* the file of the cluster key                            */
    NOTICE_FAULTS_INJECTED,
    NOTICE_FAULTS_LIFTED,
    NOTICE_CONFIG_REFUSED,
    NOTICE_CONFIG_RELOADED,
    NOTICE_CONFIG_DIFFERS, /* from what lives in the log                               */
    NOTICE_KINDS
};

/* What it is about; NULL: nothing of that kind. A path is cut to what fits. */
struct notice_about {
    const struct ballot *ballot;
    const slot_t *slot;
    const replica_id_t *peer;
    const char *path;
};

/* `about` may be NULL. The level goes by the kind. Keeps errno. False: it was left out. */
bool notice(enum notice_kind kind, const struct notice_about *about, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The MESSAGE_ID of a kind: 32 hexadecimal digits. */
const char *notice_id(enum notice_kind kind);

#endif
