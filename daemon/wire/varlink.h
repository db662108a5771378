/* Varlink's wire rules over cJSON: framing, the shape of calls and replies, standard errors, exact integers. Pure.
 *
 * One JSON object a message, UTF-8, closed by one NUL. What cJSON lets pass is refused here first by a scan of the
 * bytes: invalid UTF-8, repeated keys, \u0000, lone surrogates, depth over VARLINK_DEPTH_MAX, anything after the
 * object. Source: varlink.org, and systemd's sd-varlink where that is silent. */
#ifndef WIRE_VARLINK_H
#define WIRE_VARLINK_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VARLINK_DEPTH_MAX = 16, VARLINK_REASON_MAX = 127 };

/* Parses one message (without its NUL). NULL and a reason where it is not one well-formed JSON object. */
cJSON *varlink_parse(const char *bytes, size_t size, char ret_reason[VARLINK_REASON_MAX + 1]);

struct varlink_call {
    const char *method;      /* into the tree */
    const cJSON *parameters; /* NULL: none, the same as {} */
    bool more, oneway;
};

/* False: some key is unknown, repeated or mistyped, or "upgrade" is asked for: the connection is to be closed. */
bool varlink_call_read(const cJSON *message, struct varlink_call *ret);

/* Exact integers: cJSON keeps doubles and loses some above 2^53, so varlink_parse() gives every number as a cJSON_Raw
 * item that holds its own text. False, *ret untouched: a fraction, an exponent, another type, out of [min, max]. */
bool varlink_int_read(const cJSON *item, int64_t min, int64_t max, int64_t *ret);

/* Of an object, or NULL. Absent or null leaves *ret untouched and answers true; another type answers false. */
bool varlink_get_int(const cJSON *object, const char *key, int64_t min, int64_t max, int64_t *ret);
bool varlink_get_bool(const cJSON *object, const char *key, bool *ret);
/* The string belongs to the tree; NULL stays where absent or null. */
bool varlink_get_string(const cJSON *object, const char *key, const char **ret);
bool varlink_has(const cJSON *object, const char *key); /* present and not null */
/* The first key of `object` that is not in the NULL-terminated list; NULL: all are known. */
const char *varlink_unknown_key(const cJSON *object, const char *const *known);

cJSON *varlink_int(int64_t v); /* prints exactly */

/* A call as bytes with its closing NUL counted in *ret_size; the caller's to free(); NULL where memory is out.
 * `parameters` is consumed (NULL: {}). Replies are written by wire/varlink_writer.h. */
char *varlink_call(const char *method, cJSON *parameters, bool more, bool oneway, size_t *ret_size);

/* Gathers bytes of a stream into messages. Bounded: a message over bytes_max is an error. */
struct varlink_framer {
    char *buffer;
    size_t start, size, capacity; /* what waits: `size` bytes from `start` on */
    size_t rest;                  /* of them behind the last NUL              */
    size_t bytes_max;
};
void varlink_framer_init(struct varlink_framer *f, size_t bytes_max);
void varlink_framer_done(struct varlink_framer *f);
/* Adds bytes as they came from the socket; 0, or -EMSGSIZE, -ENOMEM with nothing added. Whole messages that the caller
 * does not take are kept, so it bounds them by not reading on. */
int varlink_framer_add(struct varlink_framer *f, const char *bytes, size_t size);
/* The next whole message, without its NUL, in *ret; valid until the next call of any of these. False: none yet, and the
 * buffer fits. */
bool varlink_framer_next(struct varlink_framer *f, const char **ret, size_t *ret_size);
/* Gives memory back, so that the buffer is at most twice as large as what waits, or small. For whoever does not take
 * what is whole. */
void varlink_framer_fit(struct varlink_framer *f);

bool varlink_utf8_valid(const char *bytes, size_t size);

/* The interface texts that are embedded at build time: "org.mpaxos.Replica", "org.varlink.service"; NULL: unknown. */
const char *varlink_interface_text(const char *name);

#endif
