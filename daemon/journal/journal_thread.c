#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "journal/state.h"

/* How long it sleeps without work: a full disk is tried again, and what the report says about free space is renewed. */
enum { RETRY_SECONDS = 1, IDLE_SECONDS = 10 };

struct journal_thread {
    struct journal *journal;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool kicked, stopping;
};

static enum reserve_state reserve_state(struct journal *j)
{
    enum reserve_state state;

    pthread_mutex_lock(&j->mutex);
    state = j->reserve_state;
    pthread_mutex_unlock(&j->mutex);
    return state;
}

/* Until there is work, or a while passed. False: stop. */
static bool wait_for_work(struct journal_thread *t)
{
    struct timespec until;
    bool pending = journal_is_pending(t->journal);
    int seconds = reserve_state(t->journal) == RESERVE_NO_SPACE ? RETRY_SECONDS : IDLE_SECONDS;
    int r = 0;
    bool stopping;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    pthread_mutex_lock(&t->mutex);
    while (!pending && !t->kicked && !t->stopping && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&t->wake, &t->mutex, &until);
    t->kicked = false;
    stopping = t->stopping;
    pthread_mutex_unlock(&t->mutex);
    return !stopping;
}

static void *run(void *argument)
{
    struct journal_thread *t = argument;

    while (wait_for_work(t)) {
        if (journal_write(t->journal) < 0)
            return NULL;
    }
    journal_write(t->journal);
    return NULL;
}

static int thread_init(struct journal_thread *t)
{
    pthread_condattr_t attributes;
    sigset_t all, before;
    int r;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    /* Signals are the loop's: here one could end a sync early, which would count as failed. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->mutex);
    }
    return -r;
}

int journal_thread_start(struct journal *j, struct journal_thread **ret)
{
    struct journal_thread *t = calloc(1, sizeof *t);
    int r;

    if (t == NULL)
        return -ENOMEM;
    t->journal = j;
    r = thread_init(t);
    if (r < 0) {
        free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void journal_thread_kick(struct journal_thread *t)
{
    pthread_mutex_lock(&t->mutex);
    if (!t->kicked) {
        t->kicked = true;
        pthread_cond_signal(&t->wake);
    }
    pthread_mutex_unlock(&t->mutex);
}

uint64_t journal_thread_busy_since_usec(struct journal_thread *t)
{
    return __atomic_load_n(&t->journal->busy_since_usec, __ATOMIC_RELAXED);
}

void journal_thread_stop(struct journal_thread *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->mutex);
    t->stopping = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mutex);
    free(t);
}
