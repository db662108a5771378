/* A control socket over the fake driver, and clients of it, all on one loop in one thread: a test turns the loop
 * itself, so that nothing depends on time but what is about timeouts. Everything asserts; nothing waits longer than
 * some seconds. */
#ifndef TESTS_UNIT_CONTROL_CLIENT_H
#define TESTS_UNIT_CONTROL_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "host/control.h"
#include "tests/unit/fake_driver.h"

struct fixture {
    uv_loop_t loop;
    struct driver *driver;
    struct control *control;
    char dir[64], path[100];
};

struct fixture *fixture_start(uint32_t stall_ms);
struct fixture *fixture_start_small(uint32_t connections_max);
void fixture_stop(struct fixture *f);
void fixture_turn(struct fixture *f);
void fixture_turns(struct fixture *f, unsigned n);
/* Removes a directory and what is in it. */
void fixture_remove(const char *dir);

struct client {
    struct fixture *f;
    int fd;
    char *in;
    size_t size, capacity, taken;
    bool ended;
};

struct client *client_open(struct fixture *f);
void client_close(struct client *c);
/* Sends all of it, turning the loop where the socket is full. False: the connection was closed before. */
bool client_send(struct client *c, const char *bytes, size_t size);
/* One message and its NUL. */
void client_call(struct client *c, const char *call);
/* The next reply, turning the loop until it is there; valid until the next call. */
const char *client_reply(struct client *c);
void client_expect(struct client *c, const char *reply);
/* client_call() and client_expect(). */
void client_ask(struct client *c, const char *call, const char *reply);
/* Nothing more comes. */
void client_expect_quiet(struct client *c);
void client_expect_closed(struct client *c);
/* Whether a member's text stands in a reply. */
void assert_has(const char *reply, const char *text);
void assert_lacks(const char *reply, const char *text);

#endif
