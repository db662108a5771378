/* The inside of the driver: shared by driver*.c, seen by nobody else.
 *
 * driver.c runs the turns and carries out effects; driver_start.c begins, driver_stop.c ends; driver_receive.c turns
 * datagrams into events; driver_refuse.c says why not; driver_outbox.c messages into datagrams; driver_checkpoint.c
 * writes checkpoints and trims, driver_install.c gets them from peers; driver_rot.c knows what rotted, driver_mend.c
 * gets it from peers, both by driver_chunk.c; driver_status.c tells, to people and to peers; driver_reload.c compares
 * with the file. */
#ifndef HOST_DRIVER_INTERNAL_H
#define HOST_DRIVER_INTERNAL_H

#include "host/chatlog.h"
#include "host/driver.h"
#include "host/driver_outbox.h"
#include "host/faults.h"
#include "host/flushes.h"
#include "host/logread.h"
#include "host/notice.h"
#include "host/peers.h"
#include "host/submissions.h"
#include "host/values.h"
#include "host/wakeup.h"
#include "paxos/checkpoint.h"
#include "wire/assembly.h"

enum {
    TURN_ROUNDS_MAX = 4, /* what the answers of a turn lead to, before the loop looks at its sockets again */
    TICK_MS = 100,       /* notes, retries, status lines                                                   */
    PROPOSAL_BYTES_MAX = 16 << 20,
    SPACE_PATIENCE_USEC = 1000000,
    SPACE_RECHECK_USEC = 10000,
    AHEAD_PATIENCE_USEC = 3000000, /* longer than a first start takes */
    PEER_NOTE_USEC = 5000000,      /* a refusal is told so long after the last datagram that was refused             */
    HOSTILE_NOTE_USEC = 60000000,  /* the same of datagrams that nobody stands for; and told once in so long         */
    CHECKPOINT_INTERVAL_BYTES = 48 << 20, /* of records                                                     */
    SERVE_USEC = 5000,                    /* between two chunks of a checkpoint or the log, to whichever peer */
    CHUNK_ASK_USEC = 30000,               /* again, where pieces are missing                          */
    CHUNK_SILENCE_USEC = 1000000,         /* then another peer is asked                               */
    CHECKPOINT_SLICE_BYTES = JOURNAL_CHECKPOINT_PART_BYTES,
    CHECKPOINT_STOP_USEC = 2000000, /* an orderly stop waits for one no longer */
    /* Of a peer's value, whatever message_bytes_max is here: what a majority chose must be taken everywhere. */
    VALUE_BYTES_MAX = VALUE_HEADER_SIZE + AUTHOR_BYTES_MAX + KEY_BYTES_MAX + MESSAGE_BYTES_MOST,
    FETCHES_QUEUED_MAX = 32, /* of all late peers                                                        */
    EXIT_REFUSED = 65,
    EXIT_DISK = 74,
};

/* Of log_limited(): 16, 17 and 22 are the peers'. */
enum { LOG_KIND_FOREIGN = 18, LOG_KIND_JOURNAL_READ = 19, LOG_KIND_CHECKPOINT = 20, LOG_KIND_MEND = 21 };

/* Marks the cookies of positions. */
#define POSITION_COOKIE (UINT64_C(1) << 63)

struct driver_position {
    void (*answer)(void *user, slot_t slot); /* NULL: free */
    void *user;
    uint32_t generation;
    bool refused, answered;
    slot_t slot;
};

/* Datagrams that were dropped, of one member's address, or of nobody's. */
struct drops {
    uint64_t counts[DROP_REASONS], told[DROP_REASONS];
    uint64_t last_usec, told_usec; /* the last that is no everyday matter, and when such were told; 0: never */
    bool is_told;
};

struct driver_member { /* another one */
    struct peer_address address;
    struct info info;
    uint64_t informed_usec; /* when that came; 0: never                                             */
    uint64_t opened_usec;   /* the last datagram of it with messages that was opened; 0: none           */
    uint64_t greeted_usec;  /* the last one of a handshake; 0: none                                     */
    uint64_t greeting_usec; /* since when no others come; 0: others do */
    uint64_t refused_usec;  /* the last datagram of it that was refused; 0: none                        */
    enum driver_refusal refusal;
    uint64_t ahead_usec; /* since when it is of a cluster that runs, while this replica is blank; 0: not */
    char note[160];      /* why                                                                        */
    char told[160];      /* the note that was told last                                                */
    uint64_t tell_usec[REFUSAL_VERSION + 2]; /* not before, another note by refusal, or that it is ahead */
    struct drops drops;
};

/* A datagram that came in. */
struct arrival {
    const struct sockaddr_storage *from;
    const uint8_t *bytes;
    size_t size;
    uint64_t now_usec;
    struct datagram_header header;
    size_t member; /* that the header names */
};

struct own_checkpoint {
    uint8_t *block, *host; /* of the writer; of the log's readers */
    size_t block_size;
    uint32_t host_size;
    uint8_t *pending; /* not handed to the journal yet: a slice, or, behind a slow disk, all the keys at the most */
    size_t pending_room, pending_size, pending_at;
    struct checkpoint_writer *writer; /* NULL: none is being written           */
    bool is_finished;                 /* the journal has all of it             */
    bool is_wanted;                   /* before the interval is over           */
    const char *trouble;              /* why none can begin; what to do: "" or NULL: nothing is wrong */
    uint64_t bytes;                   /* of records since the last one         */
    uint64_t retry_usec;              /* not before                            */
    uint64_t done_usec;               /* when the newest one became durable, or was read; 0: there is none */
    slot_t trimmed;                   /* the journal was told                  */
    uint64_t trim_usec;               /* the next one is not proposed before   */
    uint64_t stop_usec;               /* the end does not wait for it longer; 0: it is not near */
};

struct served { /* to a peer */
    struct journal_checkpoint checkpoint;
    uint64_t next_usec;
    uint8_t *bytes;
};

struct chunk { /* of a checkpoint, or of a page of the log */
    uint64_t total;
    uint64_t offset;                    /* where it begins in that */
    uint64_t missing[CHECKPOINT_WORDS]; /* pieces, as in a CHECKPOINT FETCH */
    uint64_t ask_usec, heard_usec;      /* not before; when the last piece came */
};

struct install; /* driver_install.c */

struct slot_range {
    slot_t first, last;
};

struct mending { /* the page of the log that a peer is asked for */
    slot_t slot; /* 0: none */
    replica_id_t from;
    uint32_t tried, lacking; /* peers, by index: that were asked in vain, that do not have it */
    struct chunk chunk;
    uint8_t *page;
};

struct known_rot { /* in the journal */
    uint64_t again_wait_usec;
    uint64_t again_usec, scrub_usec;    /* the next ones */
    uint32_t n_linked;                  /* when it was last looked at */
    uint64_t linked_usec[REPLICAS_MAX]; /* by member: last, or since when it is looked at */
    uint64_t scrub_bytes, mended;       /* of a pass; segments that were told */
    size_t n_rot;
    struct journal_rot rot[JOURNAL_ROT_MAX]; /* as they were told                  */
    struct slot_range gone[JOURNAL_ROT_MAX]; /* that no member has                 */
    size_t n_gone;
};

/* What the flushes' thread has. */
struct flushing {
    uv_work_t work; /* first */
    struct driver *driver;
    struct flushes *flushes;
    struct logview view;
    unsigned turn; /* atomic */
};

struct driver {
    struct driver_options options;
    const struct config *config;
    char config_warning[512], kept_restart[256], kept_stop[64];
    bool is_config_overruled; /* config_warning is about more than addresses */
    uint64_t cluster_name_hash;
    void *block;
    struct replica *replica;
    struct vfs *vfs;
    struct journal *journal;
    struct journal_thread *thread;
    struct chatlog *chatlog;
    struct peers *peers;
    struct seal *seal; /* NULL: datagrams are plain */
    uint8_t *opened;   /* a datagram that was       */
    struct outbox outbox;
    struct values values;
    struct logread *logread;
    struct submissions *submissions;
    struct flushes *flushes;
    struct flushing flushing;

    size_t n_members; /* others, by id: indexes of peers, outbox and assembly */
    struct driver_member members[REPLICAS_MAX];
    void *assembly_block;
    struct assembly *assembly;
    struct datagram_message *incoming;
    struct entry entries[MESSAGE_ENTRIES_MAX];
    uint64_t dropped[DROP_REASONS]; /* of all                     */
    struct drops strangers;         /* from no member's address   */
    struct sockaddr_storage stranger;

    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer, tick;
    struct wakeup written;
    unsigned n_handles; /* that are not closed yet */
    bool idling, started;

    bool stepping;         /* effects are being read: nobody may step               */
    bool dirty;            /* something happened since the last turn's end          */
    bool appended;         /* the journal's thread has to be kicked                 */
    uint64_t records_seq;  /* of the last record that it was handed                 */
    bool moved;            /* the chosen prefix, since the watcher was told         */
    bool space, disk_full; /* the second: without space for longer than it takes to allocate some */
    uint64_t no_space_usec;
    uint64_t wake_usec;  /* the core's timer                                      */
    uint64_t armed_usec; /* what the uv timer was started for; UINT64_MAX: stopped */
    struct fetch_request fetches[FETCHES_QUEUED_MAX];
    uint32_t fetches_first, n_fetches;
    int write_error; /* of the journal's thread; atomic                       */

    struct own_checkpoint checkpoint;
    struct served served;
    struct install *install; /* NULL: none is under way */
    uint64_t install_after_usec;
    struct mending mending;
    struct known_rot rot;

    size_t n_positions; /* answered or refused, to be told */
    struct driver_position positions[POSITIONS_MAX];
    uint32_t positions_free[POSITIONS_MAX], n_positions_free;
    struct driver_position *bootstrap; /* of them, one that is answered when the journal is durable up to .._seq */
    uint64_t bootstrap_seq;

    void (*watcher)(void *user, slot_t chosen);
    void (*told)(void *user);
    void *watcher_user;

    struct replica_status status;    /* refreshed each tick */
    char faults[FAULTS_TEXT_MAX];    /* the same            */
    uint64_t info_usec, lookup_usec; /* next ones */
    bool stopping, closing;
    int exit_status;
    uint64_t stop_usec;
};

uint64_t driver_now(void);  /* monotonic microseconds */
uint64_t driver_time(void); /* wall clock, for stamps */
uint64_t driver_random(void);
void driver_draw(void *user, uint8_t *ret, size_t size); /* the same, as many bytes; `user` is ignored */

/* driver.c */
void driver_step(struct driver *d, const struct event *e);
void driver_carry_out(struct driver *d, const struct effects *effects, uint64_t now_usec);
void driver_turn(struct driver *d);
void driver_send(struct driver *d, replica_id_t to, const struct message *m); /* a host's own message */

/* driver_checkpoint.c */
void driver_checkpoint_count(struct driver *d, const struct record *r); /* that was handed to the journal, or read   */
bool driver_checkpoint_work(struct driver *d, uint64_t now_usec);       /* a slice; true: more can be done at once */
void driver_checkpoint_keep_ahead(struct driver *d);         /* of the log: after each step                    */
void driver_checkpoint_cover(struct driver *d, slot_t slot); /* one is to be written soon, if none reaches the slot */
/* At the end: the one that a restart will begin with is written, or has to be as it is. */
bool driver_checkpoint_is_last(struct driver *d, uint64_t now_usec);
void driver_checkpoint_give_up(struct driver *d, uint64_t retry_usec);
void driver_checkpoint_free(struct driver *d);
void driver_trim_tick(struct driver *d, uint64_t now_usec);

/* driver_install.c */
bool driver_install_is_active(const struct driver *d);
void driver_install_wanted(struct driver *d, replica_id_t from, uint64_t now_usec);
void driver_install_piece(struct driver *d, replica_id_t from, const struct checkpoint_piece *p);
bool driver_install_work(struct driver *d, uint64_t now_usec); /* true: more can be done at once */
uint64_t driver_install_next_usec(const struct driver *d);
slot_t driver_install_obsoletes(const struct driver *d); /* what is to be flushed first; 0: nothing */
void driver_install_free(struct driver *d);
void driver_serve_checkpoint(struct driver *d, replica_id_t from, const struct checkpoint_fetch *q);

/* driver_chunk.c */
/* Nothing of it came yet; its .heard_usec is left as it is. */
void driver_chunk_begin(struct chunk *c, uint64_t total, uint64_t offset, uint64_t ask_usec);
size_t driver_chunk_size(const struct chunk *c);
bool driver_chunk_next(struct chunk *c, uint64_t ask_usec); /* false: it is the last, and stays */
bool driver_chunk_is_whole(const struct chunk *c);
/* For what is missing, of the checkpoint or page `slot`; but not before .ask_usec. */
void driver_chunk_ask(struct driver *d, struct chunk *c, replica_id_t from, slot_t slot, uint64_t now_usec);
/* Into the chunk's bytes at `ret`; a piece that is none of it is passed over. */
void driver_chunk_take(struct driver *d, struct chunk *c, const struct checkpoint_piece *p, uint8_t *ret);
/* Pieces that `q` says are missing, of the `size` bytes that stand at its offset; not beyond its chunk. */
void driver_chunk_send(struct driver *d, replica_id_t to, const struct checkpoint_fetch *q, uint64_t total,
                       const uint8_t *bytes, uint64_t size);

/* driver_flush.c */
bool driver_flush_init(struct driver *d); /* false: out of memory */
void driver_flush_free(struct driver *d); /* the chat log, too    */
void driver_skip_flush(struct driver *d); /* the chat log file goes on with what is kept */

/* driver_mend.c */
bool driver_mend_work(struct driver *d, uint64_t now_usec); /* true: more can be done at once */
uint64_t driver_mend_next_usec(const struct driver *d);
void driver_mend_piece(struct driver *d, replica_id_t from, const struct checkpoint_piece *p);
void driver_mend_free(struct driver *d);
void driver_serve_history(struct driver *d, replica_id_t from, const struct checkpoint_fetch *q);

/* driver_rot.c */
void driver_rot_tick(struct driver *d, uint64_t now_usec);
/* No peer is left to be asked for `slot`, the next that is mended, and the members `lacking` said that they do not have
 * it: what no member has is gone. */
void driver_rot_note_gone(struct driver *d, slot_t slot, uint32_t lacking, uint64_t now_usec);
/* Where the chat log file has to have all up to `until`, and what comes next in it is lost: passes over that. */
void driver_rot_skip(struct driver *d, slot_t until);

/* driver_reload.c */
/* Tells, in the log and in the status, where `file` says otherwise than what lives in the log. */
void driver_compare_config(struct driver *d, const struct identity *own, const struct config *file);

/* driver_start.c */
bool driver_write_failed(const struct driver *d); /* of the journal; and says so */

/* driver_stop.c */
void driver_finish_stop(struct driver *d);

/* driver_receive.c */
bool driver_received(void *user, const struct sockaddr_storage *from, const uint8_t *bytes, size_t size);

/* driver_refuse.c */
/* Notes what is wrong with a member, and tells it once; of refusals of one kind another only HOSTILE_NOTE_USEC later.
 */
void driver_note_member(struct driver_member *m, enum notice_kind kind, const char *why);
/* Counts a datagram of it that is none of a member's, and says so. */
void driver_refuse_member(struct driver *d, size_t member, const char *why);
void driver_note_greeting(struct driver_member *m, uint64_t now_usec); /* one of a handshake was opened */
/* Counts one that was opened, and is wrong all the same. */
void driver_drop_opened(struct driver *d, size_t member, enum drop_reason reason);
/* Counts one that is not to be told. */
void driver_drop_quietly(struct driver *d, const struct arrival *a, enum drop_reason reason);
void driver_drop(struct driver *d, const struct arrival *a, enum drop_reason reason);
void driver_drop_unread(struct driver *d, const struct arrival *a, enum datagram_error error);
/* One whose header names a member, and which cannot be opened. */
void driver_drop_unopened(struct driver *d, const struct arrival *a, enum seal_result result);
void driver_fill_drops(const struct drops *from, uint64_t now_usec, struct driver_drops *ret);
/* "192.0.2.7 port 4711"; "": nobody. */
void driver_fill_stranger(const struct driver *d, char ret[STRANGER_TEXT_MAX + 1]);
/* On a tick: tells, in sum, what was dropped. */
void driver_tell_dropped(struct driver *d, uint64_t now_usec);

/* driver_status.c */
void driver_on_tick(struct driver *d);
void driver_take_info(struct driver *d, size_t member, const struct info *info);
int driver_find_member(const struct driver *d, replica_id_t id);

#endif
