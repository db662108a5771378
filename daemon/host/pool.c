#include "host/pool.h"

#include <pthread.h>
#include <signal.h>
#include <uv.h>

static void wait_for(void *gate)
{
    uv_mutex_lock(gate);
    uv_mutex_unlock(gate);
}

/* Makes as many threads as will be needed, all at once, and lets them go. */
static int try_threads(void)
{
    uv_thread_t threads[POOL_THREADS + 1];
    uv_mutex_t gate;
    int n = 0, error = uv_mutex_init(&gate);
    if (error < 0)
        return error;
    uv_mutex_lock(&gate);
    while (error == 0 && n <= POOL_THREADS) {
        error = uv_thread_create(&threads[n], wait_for, &gate);
        n += error == 0;
    }
    uv_mutex_unlock(&gate);
    while (n > 0)
        uv_thread_join(&threads[--n]);
    uv_mutex_destroy(&gate);
    return error;
}

static void do_nothing(uv_work_t *work)
{
    (void)work;
}

int pool_start(void)
{
    uv_loop_t loop;
    uv_work_t work;
    sigset_t all, before;
    int error = try_threads();
    if (error == 0)
        error = uv_loop_init(&loop);
    if (error < 0)
        return error;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = uv_queue_work(&loop, &work, do_nothing, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return error;
}
