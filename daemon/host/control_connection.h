/* One client's connection: what it asked, in order, and what it is still owed. Private to control*.c and methods*.c.
 *
 * Calls are answered in their order. Submits of one connection are in flight together, in a ring by number, which is
 * also the tag that the driver answers with; any other call runs alone, once all before it are answered. Work that
 * callbacks leave (replies to write, calls to begin, a stream to go on) is done once a turn of the loop, for all
 * connections that have some: one write each. */
#ifndef HOST_CONTROL_CONNECTION_H
#define HOST_CONTROL_CONNECTION_H

#include <sys/queue.h>
#include <sys/types.h>
#include <uv.h>

#include "host/access.h"
#include "host/control.h"
#include "wire/varlink.h"
#include "wire/varlink_submit.h"
#include "wire/varlink_writer.h"

enum { CONTROL_PATH_MAX = 107, CONTROL_RANDOM_BYTES = 3072, LOG_KIND_CONTROL = 24, LOG_KIND_CONTROL_ACCEPT = 25 };

struct connection;
TAILQ_HEAD(connection_list, connection);

/* What waits: calls that are not begun or not whole, and replies that are not read. */
enum queue { QUEUE_IN, QUEUE_OUT, QUEUES };
struct queued {
    uint64_t bytes[QUEUES];
    bool is_full[QUEUES]; /* from the limit on, until a part of it is free again */
};

/* Of which a user, and all together, may only have so many open. */
enum question { QUESTION_POSITION, QUESTION_FLUSH, QUESTIONS };

/* Somebody who has connections. */
struct account {
    TAILQ_ENTRY(account) all;
    uid_t uid;
    char name[NAME_BYTES_MAX + 1]; /* empty: not looked up yet */
    struct queued queued;
    uint32_t n_connections, n_submits, n_questions[QUESTIONS];
    uint64_t submit_bytes;
    uint64_t turn, spent_nsec; /* in this turn of the loop */
};
TAILQ_HEAD(account_list, account);

struct control {
    uv_loop_t *loop;
    struct driver *driver;
    char *version, *state_dir, *log_path;
    replica_id_t id;
    uint32_t stall_ms;
    char path[CONTROL_PATH_MAX + 1];
    gid_t group; /* of the socket, as last seen */

    uv_pipe_t listener;
    uv_idle_t turn;     /* runs while some connection has work left */
    uv_timer_t sweep;   /* looks for stalled readers                */
    uv_prepare_t count; /* of the loop's turns                      */
    uint64_t n_turns;
    uint64_t read_nsec; /* when the read that is under way began     */
    uint32_t n_handles;
    bool stopping, accept_pending;
    bool accept_waits;   /* for the next turn */
    uint32_t n_accepted; /* since the last turn, or sweep */
    void (*closed)(void *user);
    void *closed_user;
    const struct reload *(*reload)(void *user);
    void *reload_user;

    struct connection_list connections, busy, followers;
    struct account_list accounts;
    uint32_t n_busy, n_connections, connections_max;
    struct queued queued; /* of all accounts together */
    uint64_t queued_bytes_max;
    uint32_t n_questions[QUESTIONS]; /* of those who do not administer */
    struct control_stats stats;

    uint32_t message_bytes_max;
    slot_t chosen;                              /* as far as the driver told */
    uint64_t started_usec;                      /* since the epoch           */
    struct driver_status view;                  /* what control_view() filled in last */
    unsigned char random[CONTROL_RANDOM_BYTES]; /* for keys that are drawn: many by one system call */
    size_t n_random;                            /* of them not used yet */
    char input[64 << 10];
};

enum outcome_state { OUTCOME_OPEN, OUTCOME_SETTLED, OUTCOME_TIMED_OUT };

struct submit_call {
    enum outcome_state state;
    enum submit_result result;
    slot_t slot, since;
    uint64_t deadline_ms;
    bool oneway;
    uint32_t text_size;
    uint8_t key_size;
    char key[KEY_BYTES_MAX];
};

/* The call that runs alone and is not answered yet. */
enum active_call { ACTIVE_NONE, ACTIVE_POSITION, ACTIVE_FLUSH, ACTIVE_READ, ACTIVE_TRANSFER, ACTIVE_BOOTSTRAP };

struct read_stream {
    slot_t next;
    uint64_t left; /* messages that it may still be sent */
    bool once;     /* one reply, which is empty at the end only */
    bool follow;
    bool seeks; /* `next`, which is where `tail` begins */
    struct tail_search tail;
};

struct connection {
    uv_pipe_t pipe;
    uv_timer_t timer; /* of the earliest deadline, or earlier */
    uv_write_t write;
    struct control *control;
    TAILQ_ENTRY(connection) all, busy, followers;
    bool is_busy, is_follower, closing, reading;
    bool paused; /* calls wait until replies are read */
    bool ended;  /* the client will send no more      */
    bool gone;   /* ... and takes no more: only calls that are oneway are begun, and nothing is written */
    uint8_t n_handles;
    bool read_again;    /* in that turn               */
    uint64_t read_turn; /* of the loop: the last read */

    uid_t uid;
    struct account *account; /* NULL: it is being refused */
    uint64_t queued[QUEUES]; /* as the account has it     */
    enum access_level level;

    struct varlink_framer in;
    cJSON *tree; /* of `call`, which is to begin next; NULL: none */
    size_t tree_bytes;
    struct varlink_call call;

    struct session *session; /* NULL before the first Submit */
    struct submit_call *submits;
    uint32_t submits_capacity;                         /* a power of two */
    uint64_t submits_first, submits_next, submits_end; /* numbers in the ring: kept, to be answered, to be begun */
    uint64_t timer_due_ms;

    enum active_call active;
    bool flush_all;
    uint64_t cookie; /* the driver's, of `active` */
    uint64_t deadline_ms;
    replica_id_t target, led; /* of a transfer: to whom, and who led when it was asked for */
    struct read_stream stream;

    bool oneway; /* of the call that is being answered */
    size_t reply_start;
    struct varlink_writer out; /* not yet handed to the socket */
    char *sending;             /* what the socket has not taken; NULL: nothing */
    size_t sending_left;       /* as the last sweep saw it                     */
    bool stream_tail;          /* a stream's last reply is in `out` or `sending` */
    uint64_t stalled_since_ms;
};

/* --- control_connection.c --- */

/* Takes over a pipe that was accepted; consumes it where it fails too. */
void connection_open(struct control *c, struct connection *k);
void connection_close(struct connection *k);
/* What callbacks left to do; called once a turn of the loop after connection_wake(). What it takes since then is the
 * user's, as account_spend() has it. */
void connection_turn(struct connection *k, uint64_t *since_nsec);
/* Closes it where the client has not read for too long. */
void connection_check_stall(struct connection *k, uint64_t now_ms);
/* Bytes of replies that the client has not taken. */
size_t connection_queued(const struct connection *k);
/* Hands to the socket what is there to write. */
void connection_flush(struct connection *k);
/* Looks for what has timed out at this time at the latest. */
void connection_arm(struct connection *k, uint64_t deadline_ms);

/* A reply to the call that is being answered: between begin and end, its parameters are written. Nothing stays of it
 * where the call was oneway. */
struct varlink_writer *reply_begin(struct connection *k);
struct varlink_writer *reply_error_begin(struct connection *k, const char *error);
void reply_end(struct connection *k, bool continues);

/* --- control.c --- */

/* Has connection_turn() called, in this or the next turn of the loop. */
void connection_wake(struct connection *k);
void control_forget(struct connection *k); /* its handles are closed: frees it */
const struct driver_status *control_view(struct control *c);
gid_t control_group(struct control *c); /* of the socket, as it stands now */

/* --- control_account.c --- */

/* Counts the connection for its user. False: the user, or everybody, has enough, or memory is out. */
bool account_open(struct connection *k);
void account_close(struct connection *k);
/* Takes it that so much of this connection waits; and whether its user, or all, have so much that this one has to wait
 * with more. (Not those who administer.) */
void account_count(struct connection *k, enum queue queue, uint64_t bytes);
bool account_is_full(const struct connection *k, enum queue queue);
bool account_may_submit(struct connection *k, size_t text_size);
/* Around a linearizable Position, or a Flush. False: the user, or everybody, has enough of them open. */
bool account_begin_question(struct connection *k, enum question question);
void account_end_question(struct connection *k, enum question question);
/* Whether the user's calls may take more of this turn of the loop; and what they took since then, until now, which
 * comes back. */
bool account_has_turn(const struct connection *k);
void account_spend(struct connection *k, uint64_t *since_nsec);

/* --- control_submit.c --- */

/* Begins the connection's call, a Submit. False: it cannot begin beside what is in flight. */
bool submit_begin(struct connection *k);
/* The same of a call that was not parsed otherwise; false also where its parameters have a fault. */
bool submit_begin_plain(struct connection *k, const struct varlink_submit *call);
/* Settles what is due, and answers what has its turn. Answers the next deadline, UINT64_MAX: none. */
uint64_t submit_expire(struct connection *k, uint64_t now_ms);
bool submit_has_oneway(const struct connection *k); /* among those that are open */
void submit_done(struct connection *k);

#endif
