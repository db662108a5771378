#include "host/wakeup.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void readable(uv_poll_t *poll, int status, int events)
{
    struct wakeup *w = poll->data;
    eventfd_t n;
    (void)status, (void)events;
    if (eventfd_read(w->fd, &n) == 0)
        w->call(w->user);
}

int wakeup_init(struct wakeup *w, uv_loop_t *loop, void (*call)(void *user), void *user)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = fd < 0 ? -errno : uv_poll_init(loop, &w->poll, fd);
    if (error < 0) {
        if (fd >= 0)
            close(fd);
        return error;
    }
    w->fd = fd;
    w->call = call;
    w->user = user;
    w->poll.data = w;
    return uv_poll_start(&w->poll, UV_READABLE, readable);
}

/* It fails only where it was sent so often that the loop has to run anyway. */
void wakeup_send(struct wakeup *w)
{
    eventfd_write(w->fd, 1);
}

void wakeup_done(struct wakeup *w)
{
    close(w->fd);
}
