#include "host/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "host/driver.h"
#include "host/log.h"
#include "host/service.h"

enum { READY_AGAIN_MS = 1000 };

struct child {
    replica_id_t id;
    pid_t pid; /* 0: does not run */
    uint64_t started_msec, start_msec;
    uint32_t delay_ms;
    int refused; /* exit status that keeps it from being started again */
};

struct supervisor {
    const char *config_path, *dir, *key_path;
    sigset_t signals, inherited;
    uint32_t n;
    struct child children[REPLICAS_MAX];
    bool stopping, killed;
    uint32_t stop_ms; /* how long a stop may take */
    uint64_t kill_msec;
};

static uint64_t now_msec(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* In the child, which has no threads to share anything with. */
_Noreturn static void become_replica(const struct supervisor *s, const struct child *c, pid_t parent)
{
    char id[8], *arguments[10], **next = arguments;

    /* 1. The parent dies. 2. prctl() asks to be told. Hence the question who the parent is, after it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(EXIT_FAILURE);
    sigprocmask(SIG_SETMASK, &s->inherited, NULL);
    unsetenv("NOTIFY_SOCKET"); /* the service manager asked for the supervisor's word */
    snprintf(id, sizeof id, "%u", c->id);
    *next++ = "mpaxosd";
    if (s->dir) {
        *next++ = "--dir";
        *next++ = (char *)s->dir;
    }
    if (s->key_path) {
        *next++ = "--key-file";
        *next++ = (char *)s->key_path;
    }
    *next++ = "-i";
    *next++ = id;
    *next++ = "--";
    *next++ = (char *)s->config_path;
    *next = NULL;
    execv("/proc/self/exe", arguments);
    log_line(LOG_LEVEL_ERROR, "replica %u cannot be started: /proc/self/exe: %s; mount /proc", c->id, strerror(errno));
    _exit(EXIT_FAILURE);
}

static void delay_longer(struct child *c, uint64_t now)
{
    if (now - c->started_msec >= SUPERVISOR_YOUNG_MS || c->delay_ms == 0)
        c->delay_ms = SUPERVISOR_DELAY_MS_MIN;
    else
        c->delay_ms = 2 * c->delay_ms < SUPERVISOR_DELAY_MS_MAX ? 2 * c->delay_ms : SUPERVISOR_DELAY_MS_MAX;
    c->start_msec = now + c->delay_ms;
}

static void start(struct supervisor *s, struct child *c, uint64_t now)
{
    pid_t parent = getpid(), pid = fork();

    if (pid == 0)
        become_replica(s, c, parent);
    c->started_msec = now;
    if (pid > 0) {
        c->pid = pid;
        return;
    }
    delay_longer(c, now);
    log_line(LOG_LEVEL_ERROR, "replica %u cannot be started: fork: %s; raise the limit of processes, or free memory",
             c->id, strerror(errno));
}

static bool is_refusal(int status)
{
    return WIFEXITED(status) &&
           (WEXITSTATUS(status) == EX_USAGE || WEXITSTATUS(status) == EX_DATAERR || WEXITSTATUS(status) == EX_CONFIG);
}

static void mourn(struct supervisor *s, struct child *c, int status, uint64_t now)
{
    char how[64], later[32] = "";
    pid_t pid = c->pid;

    c->pid = 0;
    if (s->stopping)
        return;
    if (is_refusal(status)) {
        c->refused = WEXITSTATUS(status);
        log_line(LOG_LEVEL_ERROR,
                 "replica %u (pid %d) ended with status %d and is not started again; its message says why", c->id,
                 (int)pid, c->refused);
        return;
    }
    delay_longer(c, now);
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        snprintf(how, sizeof how, "stopped");
    else
        snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    if (c->delay_ms > SUPERVISOR_DELAY_MS_MIN)
        snprintf(later, sizeof later, " in %u.%u s", c->delay_ms / 1000, c->delay_ms / 100 % 10);
    log_line(LOG_LEVEL_WARNING, "replica %u (pid %d) %s; starting it again%s", c->id, (int)pid, how, later);
}

static void reap(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        int status;
        if (c->pid > 0 && waitpid(c->pid, &status, WNOHANG) == c->pid)
            mourn(s, c, status, now_msec());
    }
}

static void tell(struct supervisor *s, int signal_number)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->children[i].pid > 0)
            kill(s->children[i].pid, signal_number);
}

/* Starts and kills what is due. Answers how many milliseconds nothing more is; -1: nothing is left to wait for. */
static int64_t work(struct supervisor *s)
{
    uint64_t now = now_msec(), due = UINT64_MAX;
    bool any = false;

    if (s->stopping && !s->killed && now >= s->kill_msec) {
        log_line(LOG_LEVEL_WARNING, "some replicas did not stop within %u s; killing them", s->stop_ms / 1000);
        tell(s, SIGKILL);
        s->killed = true;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        struct child *c = &s->children[i];
        if (c->pid == 0 && !s->stopping && !c->refused && now >= c->start_msec)
            start(s, c, now);
        any = any || c->pid > 0 || (!s->stopping && !c->refused);
        if (c->pid == 0 && !s->stopping && !c->refused && c->start_msec < due)
            due = c->start_msec;
    }
    if (s->stopping && !s->killed)
        due = s->kill_msec;
    if (!any)
        return -1;
    return due == UINT64_MAX ? 60000 : due > now ? (int64_t)(due - now) : 0;
}

static void handle(struct supervisor *s, int signal_number)
{
    switch (signal_number) {
    case SIGINT:
    case SIGTERM:
        /* A terminal's Ctrl-C reached the children, too; they take the second signal for the same wish. */
        if (!s->stopping) {
            service_stopping();
            service_extend_timeout((uint64_t)s->stop_ms * 1000);
            log_line(LOG_LEVEL_INFO, "stopping all replicas");
            tell(s, SIGTERM);
        }
        s->stopping = true;
        if (s->kill_msec == 0)
            s->kill_msec = now_msec() + s->stop_ms;
        break;
    case SIGHUP:
        tell(s, SIGHUP);
        break;
    default:
        break;
    }
    reap(s);
}

static int first_refusal(const struct supervisor *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->children[i].refused)
            return s->children[i].refused;
    return EXIT_FAILURE;
}

int supervisor_run(const struct config *c, const char *config_path, const char *dir, const char *key_path)
{
    struct supervisor s = {.config_path = config_path,
                           .dir = dir,
                           .key_path = key_path,
                           .n = c->n_replicas,
                           .stop_ms = SUPERVISOR_STOP_MS + STOP_HEARTBEATS * c->heartbeat_ms};
    int64_t wait_msec;
    bool is_ready = false;

    /* Under systemd they name one replica's own places, which are not for all. */
    static const char *const not_inherited[] = {"STATE_DIRECTORY", "RUNTIME_DIRECTORY", "LOGS_DIRECTORY", NULL};
    for (size_t i = 0; not_inherited[i]; i++)
        unsetenv(not_inherited[i]);
    for (uint32_t i = 0; i < s.n; i++)
        s.children[i].id = c->replicas[i].id;
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGCHLD);
    sigaddset(&s.signals, SIGINT);
    sigaddset(&s.signals, SIGTERM);
    sigaddset(&s.signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &s.signals, &s.inherited);
    while ((wait_msec = work(&s)) >= 0) {
        is_ready = is_ready || service_ready();
        if (!is_ready && wait_msec > READY_AGAIN_MS)
            wait_msec = READY_AGAIN_MS;
        struct timespec wait = {.tv_sec = wait_msec / 1000, .tv_nsec = wait_msec % 1000 * 1000000};
        int signal_number = sigtimedwait(&s.signals, NULL, &wait);
        if (signal_number > 0)
            handle(&s, signal_number);
    }
    /* They stay blocked: a second Ctrl-C must not turn an orderly stop into a death by signal. */
    if (s.stopping)
        return EXIT_SUCCESS;
    log_line(LOG_LEVEL_ERROR, "no replica is left that could be started; stopping");
    return first_refusal(&s);
}
