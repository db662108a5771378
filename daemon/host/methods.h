/* What each method of the control interface does. Private to control*.c and methods*.c. */
#ifndef HOST_METHODS_H
#define HOST_METHODS_H

#include "host/control_connection.h"

#define INTERFACE_REPLICA "org.mpaxos.Replica"
#define INTERFACE_SERVICE "org.varlink.service"

enum {
    REASON_MAX = 1023,
    JUST_HEARD_USEC = 2000000, /* before replicas are linked, at the first start */
};

/* Runs the connection's call alone: answers it, or leaves it in k->active. */
void method_run(struct connection *k, const struct varlink_call *call);
bool method_is_submit(const struct varlink_call *call);

/* The active call's deadline has passed. */
void method_expire(struct connection *k);
/* Nobody waits for the active call any more. */
void method_cancel(struct connection *k);
/* Goes on with a stream as far as the reader takes it. */
void read_pump(struct connection *k);
/* Looks whether a transfer is done. */
void transfer_look(struct connection *k);

void method_position(struct connection *k, const struct varlink_call *call);
void method_transfer(struct connection *k, const struct varlink_call *call);
void method_flush(struct connection *k, const struct varlink_call *call);
void method_submit(struct connection *k, const struct varlink_call *call); /* one that cannot begin: answers why */
void method_read(struct connection *k, const struct varlink_call *call);
void method_status(struct connection *k, const struct varlink_call *call);
void method_metrics(struct connection *k, const struct varlink_call *call);
void method_reload(struct connection *k, const struct varlink_call *call);

/* Each answers the call. */
void reply_empty_error(struct connection *k, const char *error);
void reply_not_implemented(struct connection *k, const struct varlink_call *call);
void reply_invalid(struct connection *k, const char *parameter);
void reply_not_initialized(struct connection *k);
void reply_no_quorum(struct connection *k);
void reply_overloaded(struct connection *k);
void reply_disk_full(struct connection *k);

/* True where the call has no parameter but these; else it is answered. */
bool parameters_known(struct connection *k, const struct varlink_call *call, const char *const *known);
/* timeout_ms of the call, or the default; false: it is answered. */
bool parameter_timeout(struct connection *k, const struct varlink_call *call, int64_t *ret_ms);

bool status_is_starting(const struct driver_status *s); /* the replica is no voter yet */
/* Why a replica that is no voter yet takes nothing, and what to do. */
void describe_start(const struct control *c, const struct driver_status *s, char ret[REASON_MAX + 1]);
/* Writes the members "warnings" and "remedies" of Status. */
void write_advice(struct varlink_writer *w, const struct control *c, const struct driver_status *s);
void write_drops(struct varlink_writer *w, const char *key, struct control *c);

/* Microseconds since the epoch of a monotonic time. */
uint64_t epoch_usec(uint64_t monotonic_usec);

#endif
