/* Has another thread wake the loop.
 *
 * Instead of uv_async_t: where the loop runs at once on the sender's processor, libuv 1.44 has it spin, for 60 usec or
 * so and then by sched_yield(), until the sender gets to leave uv_async_send(). Behind every sync that is much. */
#ifndef HOST_WAKEUP_H
#define HOST_WAKEUP_H

#include <uv.h>

struct wakeup {
    uv_poll_t poll;
    int fd; /* an eventfd */
    void (*call)(void *user);
    void *user;
};

/* 0 or a negative errno. `call` runs on the loop, once or more after each wakeup_send(). It ends by uv_close() of
 * `poll`, and wakeup_done() when nobody sends any more. */
int wakeup_init(struct wakeup *w, uv_loop_t *loop, void (*call)(void *user), void *user);
void wakeup_send(struct wakeup *w); /* from any thread */
void wakeup_done(struct wakeup *w);

#endif
