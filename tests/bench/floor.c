/* What a message costs at the least on this machine: bare processes that pass it on and sync it, and do nothing else.
 * Built by tests/bench/suite only.
 *
 *     floor DIRECTORY WARMUP_MS MEASURE_MS
 *
 * Three replicas have a file each below DIRECTORY, and append to it by the journal's own vfs. One line of JSON tells
 * three medians:
 *
 *     sync_usec   one record appended and synced, while two other processes do the same
 *     hops_usec   client to leader by a Unix socket, to a follower by UDP, and back the same way; all wait in poll
 *     chain_usec  both in one: the leader sends to two followers, then syncs its own file; they sync theirs before they
 *                 answer, and the first answer lets the leader answer the client: a majority's disks have it */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl/histogram.h"
#include "journal/vfs.h"

/* The sizes are mpaxos's own for 128 bytes of text. */
enum {
    REQUEST_BYTES = 192,
    ANSWER_BYTES = 80,
    RECORD_BYTES = 320,
    FILE_BYTES = 16 << 20,
    FOLLOWERS = 2,
    ANSWER_MS_MAX = 5000,
};

struct disk {
    struct vfs *vfs;
    struct vfs_file *file;
    uint64_t end;
};

struct message {
    uint64_t number;
    uint8_t rest[REQUEST_BYTES - sizeof(uint64_t)];
};

struct client {
    int leader;
    struct message message;
};

static uint64_t warmup_nsec, measure_nsec;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_nsec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double median_usec(void (*once)(void *), void *context)
{
    struct histogram h = {0};
    uint64_t begin = now_nsec() + warmup_nsec, end = begin + measure_nsec, now;
    for (uint64_t from = now_nsec(); from < end; from = now) {
        once(context);
        now = now_nsec();
        if (from >= begin)
            histogram_add(&h, now - from);
    }
    return (double)histogram_percentile(&h, 50) / 1000;
}

/* 0 in the child, which ends with its parent. */
static pid_t spawn(void)
{
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void stop(const pid_t *pids, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
}

/* --- the disk --- */

static void check_disk(int r, const char *what)
{
    errno = -r;
    check(r == 0, what);
}

static void disk_open(struct disk *d, const char *directory, unsigned number)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/floor.%u", directory, number);
    check_disk(vfs_posix_open(path, &d->vfs), path);
    check_disk(d->vfs->file_open(d->vfs->context, "file", VFS_CREATE | VFS_APPEND, &d->file), "a file");
    check_disk(d->vfs->file_allocate(d->vfs->context, d->file, 0, FILE_BYTES), "room for the file");
    check_disk(d->vfs->file_sync(d->vfs->context, d->file), "sync");
}

static void append_and_sync(void *context)
{
    static const uint8_t record[RECORD_BYTES] = {1};
    struct disk *d = context;
    if (d->end + RECORD_BYTES > FILE_BYTES)
        d->end = 0;
    check_disk(d->vfs->file_append(d->vfs->context, d->file, d->end, record, sizeof(record)), "append");
    check_disk(d->vfs->file_sync(d->vfs->context, d->file), "sync");
    d->end += RECORD_BYTES;
}

static double sync_usec(struct disk *disks)
{
    pid_t others[FOLLOWERS];
    for (unsigned i = 0; i < FOLLOWERS; i++)
        if ((others[i] = spawn()) == 0)
            for (;;)
                append_and_sync(&disks[1 + i]);
    double median = median_usec(append_and_sync, &disks[0]);
    stop(others, FOLLOWERS);
    return median;
}

/* --- the hops; a disk that is NULL is left out --- */

static int bind_udp(struct sockaddr_in *own)
{
    socklen_t size = sizeof(*own);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *own = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(bind(fd, (struct sockaddr *)own, size) == 0 && getsockname(fd, (struct sockaddr *)own, &size) == 0, "UDP");
    return fd;
}

static void wait_for(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    errno = ETIMEDOUT;
    check(poll(&p, 1, timeout_ms) == 1, "an answer");
}

static _Noreturn void follow(int fd, const struct sockaddr_in *leader, struct disk *disk)
{
    struct message m;
    check(connect(fd, (const struct sockaddr *)leader, sizeof(*leader)) == 0, "the leader's address");
    for (;;) {
        wait_for(fd, -1);
        check(recv(fd, &m, sizeof(m), 0) == sizeof(m), "a message from the leader");
        if (disk != NULL)
            append_and_sync(disk);
        check(send(fd, &m, ANSWER_BYTES, 0) == ANSWER_BYTES, "an answer to the leader");
    }
}

static _Noreturn void lead(int client, int fd, const struct sockaddr_in *followers, unsigned n, struct disk *disk)
{
    struct message m, answer;
    struct pollfd fds[] = {{.fd = client, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    uint64_t answered = 0;
    for (;;) {
        check(poll(fds, 2, -1) > 0, "poll");
        if (fds[1].revents != 0) {
            check(recv(fd, &answer, sizeof(answer), 0) == ANSWER_BYTES, "an answer from a follower");
            if (answer.number > answered) {
                answered = answer.number;
                check(send(client, &answer, ANSWER_BYTES, 0) == ANSWER_BYTES, "an answer to the client");
            }
        }
        if (fds[0].revents != 0) {
            check(recv(client, &m, sizeof(m), 0) == sizeof(m), "a message from the client");
            for (unsigned i = 0; i < n; i++)
                check(sendto(fd, &m, sizeof(m), 0, (const struct sockaddr *)&followers[i], sizeof(followers[i])) ==
                          sizeof(m),
                      "a message to a follower");
            if (disk != NULL)
                append_and_sync(disk);
        }
    }
}

static void send_one(void *context)
{
    struct client *c = context;
    struct message answer;
    c->message.number++;
    check(send(c->leader, &c->message, sizeof(c->message), 0) == sizeof(c->message), "a message to the leader");
    wait_for(c->leader, ANSWER_MS_MAX);
    check(recv(c->leader, &answer, sizeof(answer), 0) == ANSWER_BYTES, "an answer from the leader");
}

static double message_usec(unsigned n_followers, struct disk *disks)
{
    struct sockaddr_in leader, followers[FOLLOWERS];
    struct client c = {0};
    pid_t pids[1 + FOLLOWERS];
    int pair[2], fds[FOLLOWERS], fd = bind_udp(&leader);
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "a Unix socket");
    c.leader = pair[0];
    for (unsigned i = 0; i < n_followers; i++) {
        fds[i] = bind_udp(&followers[i]);
        if ((pids[1 + i] = spawn()) == 0)
            follow(fds[i], &leader, disks != NULL ? &disks[1 + i] : NULL);
    }
    if ((pids[0] = spawn()) == 0)
        lead(pair[1], fd, followers, n_followers, disks);
    double median = median_usec(send_one, &c);
    stop(pids, 1 + n_followers);
    return median;
}

int main(int argc, char **argv)
{
    struct disk disks[1 + FOLLOWERS] = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: floor DIRECTORY WARMUP_MS MEASURE_MS\n");
        return 64;
    }
    warmup_nsec = strtoull(argv[2], NULL, 10) * 1000000;
    measure_nsec = strtoull(argv[3], NULL, 10) * 1000000;
    for (unsigned i = 0; i < 1 + FOLLOWERS; i++)
        disk_open(&disks[i], argv[1], i);
    double one_sync = sync_usec(disks), hops = message_usec(1, NULL), chain = message_usec(FOLLOWERS, disks);
    printf("{\"sync_usec\":%.1f,\"hops_usec\":%.1f,\"chain_usec\":%.1f}\n", one_sync, hops, chain);
    return 0;
}
