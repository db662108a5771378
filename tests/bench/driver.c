/* Closed-loop clients in one thread, as lean as can be, so that the servers are what is measured. Built by
 * tests/bench/suite only; `mpaxosctl load` is the tool for people, which checks what it is told.
 *
 *     driver load PROTOCOL CLIENTS IN_FLIGHT BYTES WARMUP_MS MEASURE_MS KEY PIDS ENDPOINT...
 *     driver count PROTOCOL CLIENTS IN_FLIGHT BYTES MESSAGES KEY PIDS ENDPOINT...
 *     driver read MESSAGES FOLLOW SOCKET
 *
 * PROTOCOL: varlink (mpaxos), line (raft_server), etcd (its HTTP gateway; an endpoint is then a TCP port). KEY 1: every
 * message carries a key of its own. PIDS: whose CPU time is told, commas between, or "-". Client k connects to endpoint
 * k mod n; one that loses its connection goes on with the next endpoint, and one that is refused waits a while. One
 * line of JSON tells what was measured. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ctl/histogram.h"

enum {
    EVENTS_MAX = 1024,
    INPUT_BYTES = 256 << 10,
    KEY_DIGITS = 16,
    RECONNECT_USEC = 5000,
    PAUSE_USEC = 100000, /* after a refusal: what Overloaded advises */
    WAIT_MS = 20,
    IN_FLIGHT_MAX = 256,
    PIDS_MAX = 16,
};

enum protocol { VARLINK, LINE, ETCD };

struct client {
    int fd; /* -1: to be connected at retry_usec */
    unsigned endpoint;
    uint64_t retry_usec;
    uint64_t pause_usec; /* refused: nothing more is sent until then; 0: goes on */
    uint64_t sent_usec[IN_FLIGHT_MAX]; /* a ring: replies come in order */
    unsigned head, n;
    size_t body_left; /* etcd: of a reply's body */
    size_t partial;
    char input[4096];
};

static struct {
    enum protocol protocol;
    unsigned in_flight;
    size_t size;
    bool with_key;
    char **endpoints;
    unsigned n_endpoints;
    int epoll;
    char *request;
    size_t request_size, key_at;
    uint64_t next_key, limit, sent;
    struct client *clients;
    unsigned n_clients;
    int pids[PIDS_MAX];
    unsigned n_pids;
    /* measured */
    bool measuring;
    struct histogram latency;
    uint64_t n_errors, last_usec, gap_usec, gap_at_usec, acknowledged;
    char error[256];
} d;

static uint64_t now_usec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "driver: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- requests --- */

static void make_request(void)
{
    size_t n = 0;
    d.request = malloc(d.size * 2 + 512);
    if (d.request == NULL)
        die("memory");
    if (d.protocol == VARLINK) {
        n = (size_t)sprintf(d.request, "{\"method\":\"org.mpaxos.Replica.Submit\",\"parameters\":{\"text\":\"");
        memset(d.request + n, 'x', d.size);
        n += d.size;
        if (d.with_key) {
            n += (size_t)sprintf(d.request + n, "\",\"key\":\"");
            d.key_at = n;
            n += (size_t)sprintf(d.request + n, "%0*d", KEY_DIGITS, 0);
        }
        n += (size_t)sprintf(d.request + n, "\"}}") + 1;
    } else if (d.protocol == LINE) {
        memset(d.request, 'x', d.size);
        d.request[d.size] = '\n';
        n = d.size + 1;
    } else {
        /* Base64 of a 12 byte key, and of the text. */
        size_t value = (d.size + 2) / 3 * 4;
        n = (size_t)sprintf(d.request, "POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n{\"key\":\"",
                            value + KEY_DIGITS + strlen("{\"key\":\"\",\"value\":\"\"}"));
        d.key_at = n;
        n += (size_t)sprintf(d.request + n, "%0*d\",\"value\":\"", KEY_DIGITS, 0);
        memset(d.request + n, 'e', value);
        n += value;
        n += (size_t)sprintf(d.request + n, "\"}");
    }
    d.request_size = n;
}

static void number_request(void)
{
    uint64_t k = d.next_key++;
    for (unsigned i = KEY_DIGITS; i-- > 0; k /= 10)
        d.request[d.key_at + i] = (char)('0' + k % 10);
}

/* --- connections --- */

static int connect_endpoint(const char *endpoint)
{
    int fd;
    if (d.protocol == ETCD) {
        int on = 1;
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(endpoint))};
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
            goto failed;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        return fd;
    }
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, endpoint, sizeof(to.sun_path) - 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
        return fd;
failed:
    close(fd);
    return -1;
}

static void lose(struct client *c, uint64_t now)
{
    close(c->fd);
    c->fd = -1;
    c->endpoint = (c->endpoint + 1) % d.n_endpoints;
    c->retry_usec = now;
    d.sent -= c->n;
    c->n = 0;
    c->partial = c->body_left = 0;
}

/* As many requests as there is room for, in one write. */
static void send_some(struct client *c, uint64_t now)
{
    static char batch[4 << 20];
    size_t size = 0;
    while (c->pause_usec == 0 && c->n < d.in_flight && d.sent < d.limit && size + d.request_size <= sizeof(batch)) {
        if (d.key_at > 0)
            number_request();
        memcpy(batch + size, d.request, d.request_size);
        size += d.request_size;
        c->sent_usec[(c->head + c->n++) % IN_FLIGHT_MAX] = now;
        d.sent++;
    }
    for (size_t at = 0; at < size;) { /* blocking: a server that does not read for a while is waited for */
        ssize_t n = send(c->fd, batch + at, size - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            lose(c, now);
            return;
        }
        at += (size_t)n;
    }
}

static void open_client(struct client *c, uint64_t now)
{
    c->fd = connect_endpoint(d.endpoints[c->endpoint]);
    if (c->fd < 0) {
        c->endpoint = (c->endpoint + 1) % d.n_endpoints;
        c->retry_usec = now + RECONNECT_USEC;
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(d.epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        die("epoll");
    send_some(c, now);
}

/* --- replies --- */

static void count_reply(struct client *c, bool ok, const char *reply, size_t size, uint64_t now)
{
    uint64_t sent = c->sent_usec[c->head % IN_FLIGHT_MAX];
    if (c->n == 0)
        return;
    c->head++;
    c->n--;
    if (!ok) {
        d.n_errors++;
        c->pause_usec = now + PAUSE_USEC;
        if (d.error[0] == 0)
            snprintf(d.error, sizeof(d.error), "%.*s", (int)(size < 200 ? size : 200), reply);
        return;
    }
    d.acknowledged++;
    if (!d.measuring)
        return;
    histogram_add(&d.latency, now - sent);
    if (now - d.last_usec > d.gap_usec) {
        d.gap_usec = now - d.last_usec;
        d.gap_at_usec = d.last_usec;
    }
    d.last_usec = now;
}

/* Bytes of whole replies at p. */
static size_t take_lines(struct client *c, const char *p, size_t size, char end, const char *good, uint64_t now)
{
    size_t used = 0, good_size = strlen(good);
    const char *stop;
    while (used < size && (stop = memchr(p + used, end, size - used)) != NULL) {
        size_t n = (size_t)(stop - p) - used;
        count_reply(c, n >= good_size && memcmp(p + used, good, good_size) == 0, p + used, n, now);
        used += n + 1;
    }
    return used;
}

static size_t take_http(struct client *c, const char *p, size_t size, uint64_t now)
{
    size_t used = 0;
    for (;;) {
        size_t left = size - used;
        if (c->body_left > 0) {
            size_t n = left < c->body_left ? left : c->body_left;
            c->body_left -= n;
            used += n;
            if (c->body_left > 0)
                return used;
        }
        left = size - used;
        const char *end = memmem(p + used, left, "\r\n\r\n", 4);
        if (end == NULL)
            return used;
        const char *length = memmem(p + used, (size_t)(end - p) - used, "Content-Length: ", 16);
        count_reply(c, memcmp(p + used, "HTTP/1.1 200", 12) == 0, p + used, (size_t)(end - p) - used, now);
        c->body_left = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
        used = (size_t)(end - p) + 4;
    }
}

static void receive(struct client *c, uint64_t now)
{
    static char buffer[INPUT_BYTES];
    memcpy(buffer, c->input, c->partial);
    ssize_t n = recv(c->fd, buffer + c->partial, sizeof(buffer) - c->partial, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(c, now);
        return;
    }
    size_t size = c->partial + (size_t)n, used = 0;
    if (d.protocol == VARLINK)
        used = take_lines(c, buffer, size, 0, "{\"parameters\":{\"slot\":", now);
    else if (d.protocol == LINE)
        used = take_lines(c, buffer, size, '\n', "+", now);
    else
        used = take_http(c, buffer, size, now);
    c->partial = size - used;
    if (c->partial > sizeof(c->input)) {
        errno = EMSGSIZE;
        die("a reply");
    }
    memcpy(c->input, buffer + used, c->partial);
    send_some(c, now);
}

/* --- measuring --- */

static uint64_t cpu_ticks(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < d.n_pids; i++) {
        char path[64], text[1024];
        unsigned long user = 0, kernel = 0;
        snprintf(path, sizeof(path), "/proc/%d/stat", d.pids[i]);
        FILE *f = fopen(path, "r");
        size_t n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
        text[n] = 0;
        if (f != NULL)
            fclose(f);
        const char *rest = strrchr(text, ')');
        static const char fields[] = "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu";
        if (rest != NULL && sscanf(rest + 2, fields, &user, &kernel) == 2)
            sum += user + kernel;
    }
    return sum;
}

static double own_cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void turn(void)
{
    static struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(d.epoll, events, EVENTS_MAX, WAIT_MS);
    uint64_t now = now_usec();
    for (int i = 0; i < n; i++)
        receive(events[i].data.ptr, now);
    for (unsigned k = 0; k < d.n_clients; k++) {
        struct client *c = &d.clients[k];
        if (c->fd < 0 && c->retry_usec <= now)
            open_client(c, now);
        if (c->fd >= 0 && c->pause_usec != 0 && c->pause_usec <= now) {
            c->pause_usec = 0;
            send_some(c, now);
        }
    }
}

static void report(double seconds, double cpu, double driver_cpu)
{
    const struct histogram *h = &d.latency;
    printf("{\"messages\":%" PRIu64 ",\"seconds\":%.6f,\"rate\":%.1f,\"errors\":%" PRIu64 ",\"cpu_s\":%.2f,"
           "\"driver_cpu_s\":%.3f,\"p50_usec\":%" PRIu64 ",\"p90_usec\":%" PRIu64 ",\"p99_usec\":%" PRIu64
           ",\"p999_usec\":%" PRIu64 ",\"max_usec\":%" PRIu64 ",\"gap_usec\":%" PRIu64 ",\"gap_at_usec\":%" PRIu64
           "}\n",
           h->n, seconds, (double)h->n / seconds, d.n_errors, cpu, driver_cpu, histogram_percentile(h, 50),
           histogram_percentile(h, 90), histogram_percentile(h, 99), histogram_percentile(h, 99.9), h->max, d.gap_usec,
           d.gap_at_usec);
    if (d.error[0] != 0)
        fprintf(stderr, "driver: %" PRIu64 " errors, the first: %s\n", d.n_errors, d.error);
}

static void begin_clients(unsigned n)
{
    d.n_clients = n;
    d.clients = calloc(n, sizeof(*d.clients));
    d.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (d.clients == NULL || d.epoll < 0)
        die("clients");
    for (unsigned k = 0; k < n; k++)
        d.clients[k] = (struct client){.fd = -1, .endpoint = k % d.n_endpoints};
}

static void parse_pids(char *text)
{
    for (char *p = strtok(text, ","); p != NULL && d.n_pids < PIDS_MAX; p = strtok(NULL, ","))
        if (atoi(p) > 0)
            d.pids[d.n_pids++] = atoi(p);
}

static void measure(uint64_t warmup_usec, uint64_t measure_usec)
{
    uint64_t begin = now_usec() + warmup_usec;
    while (now_usec() < begin)
        turn();
    uint64_t ticks = cpu_ticks(), from = now_usec(), now;
    double own = own_cpu();
    d.measuring = true;
    d.last_usec = from;
    while ((now = now_usec()) < from + measure_usec)
        turn();
    d.measuring = false;
    if (now - d.last_usec > d.gap_usec) {
        d.gap_usec = now - d.last_usec;
        d.gap_at_usec = d.last_usec;
    }
    report((double)(now - from) / 1e6, (double)(cpu_ticks() - ticks) / (double)sysconf(_SC_CLK_TCK), own_cpu() - own);
}

static void count(uint64_t n)
{
    uint64_t ticks = cpu_ticks(), from = now_usec(), now = from;
    double own = own_cpu();
    d.limit = n;
    d.measuring = true;
    d.last_usec = from;
    while (d.acknowledged < n) {
        turn();
        now = now_usec();
        if (now - d.last_usec > 30000000) {
            errno = ETIMEDOUT;
            die("nothing acknowledged for 30 s");
        }
        if (d.n_errors > 0 && d.sent == d.limit) /* what was refused is sent again, later */
            d.limit = n + d.n_errors;
    }
    report((double)(now - from) / 1e6, (double)(cpu_ticks() - ticks) / (double)sysconf(_SC_CLK_TCK), own_cpu() - own);
}

/* Streams a Read and counts: each message's "slot" is its first field. */
static int read_log(uint64_t wanted, bool follow, const char *path)
{
    static char buffer[1 << 20];
    static const char mark[] = "\"slot\":";
    char request[256];
    uint64_t n_messages = 0, n_bytes = 0, from = now_usec();
    int fd = connect_endpoint(path);
    if (fd < 0)
        die(path);
    int size = snprintf(request, sizeof(request),
                        "{\"method\":\"org.mpaxos.Replica.Read\",\"parameters\":{%s},\"more\":true}",
                        follow ? "\"follow\":true,\"tail\":1" : "");
    if (send(fd, request, (size_t)size + 1, MSG_NOSIGNAL) < 0)
        die("send");
    size_t keep = 0;
    bool last = false;
    while (n_messages < wanted && !last) {
        ssize_t n = recv(fd, buffer + keep, sizeof(buffer) - keep, 0);
        if (n <= 0)
            break;
        n_bytes += (uint64_t)n;
        const char *p = buffer, *end = buffer + keep + n;
        while ((p = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1)) != NULL) {
            n_messages++;
            p += sizeof(mark) - 1;
        }
        /* The end of what was read may hold the beginning of a mark; none fits twice into what is kept. */
        last = end[-1] == 0 && !follow && memmem(end - 64, 64, "\"continues\"", 11) == NULL;
        keep = sizeof(mark) - 2;
        memmove(buffer, end - keep, keep);
    }
    double seconds = (double)(now_usec() - from) / 1e6;
    printf("{\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"rate\":%.1f}\n", n_messages, n_bytes,
           seconds, (double)n_messages / seconds);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: see the head of tests/bench/driver.c\n");
    return 64;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "read") == 0)
        return read_log(strtoull(argv[2], NULL, 10), atoi(argv[3]) != 0, argv[4]);
    bool timed = argc > 10 && strcmp(argv[1], "load") == 0;
    if (!timed && !(argc > 9 && strcmp(argv[1], "count") == 0))
        return usage();
    int at = timed ? 8 : 7;
    d.protocol = strcmp(argv[2], "varlink") == 0 ? VARLINK : strcmp(argv[2], "line") == 0 ? LINE : ETCD;
    d.in_flight = (unsigned)atoi(argv[4]);
    d.size = (size_t)atoi(argv[5]);
    d.with_key = atoi(argv[at]) != 0;
    d.next_key = now_usec();
    d.limit = UINT64_MAX;
    d.endpoints = argv + at + 2;
    d.n_endpoints = (unsigned)(argc - at - 2);
    if (d.in_flight < 1 || d.in_flight > IN_FLIGHT_MAX || d.n_endpoints < 1)
        return usage();
    parse_pids(argv[at + 1]);
    make_request();
    begin_clients((unsigned)atoi(argv[3]));
    if (timed)
        measure(strtoull(argv[6], NULL, 10) * 1000, strtoull(argv[7], NULL, 10) * 1000);
    else
        count(strtoull(argv[6], NULL, 10));
    return 0;
}
