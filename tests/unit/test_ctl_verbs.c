/* What verbs print and exit with, over canned answers of a replica. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl/client.h"
#include "ctl/lines.h"
#include "ctl/verbs.h"
#include "wire/varlink.h"

enum { OUT_MAX = 8192, CALL_MAX = 65536, CANNED_MAX = 8 };

struct canned {
    const char *method; /* without its interface */
    /* Whole ones, '|' between them; LF between those to the first call and to the next ones, which the last answers
     * all, and none: closes the connection. NULL: ends the replica. */
    const char *replies;
};

static char dir[] = "/tmp/test_ctl_verbs_XXXXXX", out[OUT_MAX], err[OUT_MAX], calls[OUT_MAX];
static pid_t server;
static bool on_terminal;

/* --- a replica that knows some answers by heart --- */

/* False: the connection is to be closed. */
static bool answer(int fd, struct canned *canned, const char *call)
{
    for (; canned->method; canned++) {
        char name[64];
        snprintf(name, sizeof(name), ".%s\"", canned->method);
        if (!strstr(call, name))
            continue;
        if (!canned->replies)
            _exit(0);
        size_t size = strcspn(canned->replies, "\n");
        char *copy = strndup(canned->replies, size), *rest = copy;
        for (char *reply; size && copy && (reply = strsep(&rest, "|"));)
            if (write(fd, reply, strlen(reply) + 1) < 0)
                _exit(1);
        free(copy);
        if (canned->replies[size])
            canned->replies += size + 1;
        return size > 0;
    }
    const char missing[] = "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"?\"}}";
    if (write(fd, missing, sizeof(missing)) < 0)
        _exit(1);
    return true;
}

static void serve(int listener, const struct canned *given)
{
    FILE *log = fopen("calls", "w");
    struct canned canned[CANNED_MAX] = {{NULL, NULL}};
    for (size_t i = 0; given[i].method && i + 1 < CANNED_MAX; i++)
        canned[i] = given[i];
    for (;;) {
        char bytes[CALL_MAX];
        size_t size = 0;
        bool goes_on = true;
        int fd = accept(listener, NULL, NULL);
        for (ssize_t n; goes_on && (n = read(fd, bytes + size, sizeof(bytes) - size)) > 0;) {
            size += (size_t)n;
            for (char *nul; (nul = memchr(bytes, '\0', size));) {
                size_t whole = (size_t)(nul - bytes) + 1;
                fprintf(log, "%s\n", bytes);
                fflush(log);
                goes_on &= answer(fd, canned, bytes);
                memmove(bytes, bytes + whole, size - whole);
                size -= whole;
            }
        }
        close(fd);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 16), 0);
    return listener;
}

static void server_start(const struct canned *canned)
{
    int listener = listen_at("run/1/control");
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where a test fails before server_stop() */
        serve(listener, canned);
    }
    close(listener);
}

static void server_stop(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

/* --- running a verb --- */

static void read_file(const char *name, char ret[OUT_MAX])
{
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(ret, 1, OUT_MAX - 1, f) : 0;
    ret[n] = '\0';
    if (f)
        fclose(f);
}

/* Asks for replica `id`, -1: none in particular. Fills out, err and calls; answers the exit status. */
static int run_at(int id, const struct canned *canned, enum json_mode json, const char *line)
{
    char copy[512], error[OPTIONS_ERROR_MAX + 1];
    char *words[32];
    int n = 0, taken = 0;
    struct arguments a;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *rest = copy, *word; (word = strtok_r(NULL, " ", &rest));)
        words[n++] = word;
    struct invocation v = {
        .verb = verb_find(words, n, &taken),
        .arguments = &a,
        .place = {.id = id},
        .report = {.json = json, .legend = true, .terminal = on_terminal},
        .timeout_msec = 1000,
    };
    assert_non_null(v.verb);
    assert_true(arguments_init(&a, (size_t)n));
    assert_true(arguments_read(&a, global_options, v.verb->options, n - taken, words + taken, false, error) >= 0);
    server_start(canned);
    fflush(stdout);
    fflush(stderr);
    int saved[3] = {dup(0), dup(1), dup(2)},
        files[3] = {open("in", O_RDONLY | O_CREAT, 0600), open("out", O_RDWR | O_CREAT | O_TRUNC, 0600),
                    open("err", O_RDWR | O_CREAT | O_TRUNC, 0600)};
    for (int i = 0; i < 3; i++)
        dup2(files[i], i);
    int status = v.verb->run(&v);
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 3; i++) {
        dup2(saved[i], i);
        close(saved[i]);
        close(files[i]);
    }
    server_stop();
    arguments_done(&a);
    read_file("out", out);
    read_file("err", err);
    read_file("calls", calls);
    return status;
}

static int run(const struct canned *canned, enum json_mode json, const char *line)
{
    return run_at(1, canned, json, line);
}

/* --- the tests --- */

static const char status_format[] =
    "{\"parameters\":{\"cluster\":\"lobby\",\"id\":1,\"version\":\"1\",\"pid\":7,\"started_usec\":1,\"role\":\"%s\",%s"
    "\"ballot\":{\"round\":7,\"replica\":1},\"quorum\":%s,\"quorum_size\":2,\"chosen\":18204,\"accepted\":18204,"
    "\"first_kept\":0,"
    "\"flushed\":18100,\"noops\":1,\"peers\":[%s],\"drops\":[],\"skip_slots\":[],\"journal_bytes\":1992294,"
    "\"disk_free_bytes\":44023414784,\"sync_p99_usec\":1800,%s\"warnings\":[],\"remedies\":[%s]}}";

static void test_status_with_a_quorum(void **state)
{
    (void)state;
    char reply[4096], peers[1024];
    long long heard = (long long)(wall_usec() - INT64_C(3) * 3600 * 1000000 - 1000000);
    snprintf(peers, sizeof(peers),
             "{\"id\":0,\"address\":\"127.0.0.1:6000\",\"role\":\"follower\",\"chosen\":18090,\"rtt_usec\":400,\"heard_"
             "usec\":%lld,"
             "\"drops\":[{\"rate\":10,\"direction\":\"out\"}]},"
             "{\"id\":1,\"address\":\"127.0.0.1:6001\",\"role\":\"self\"},"
             "{\"id\":2,\"address\":\"127.0.0.1:6002\",\"role\":\"follower\",\"chosen\":18204,\"rtt_usec\":300,\"heard_"
             "usec\":%lld}",
             heard, heard);
    snprintf(reply, sizeof(reply), status_format, "leader", "\"leader\":1,\"leader_since_usec\":1769903999123456,",
             "true", peers, "", "");
    const struct canned canned[] = {{"Status", reply}, {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "status"), EXIT_DONE);
    assert_string_equal(out, "* QUORATE 3 of 3   cluster lobby   leader 1 since 2026-01-31 23:59:59 (ballot 7.1)\n"
                             "\n"
                             "  ID  ADDRESS         ROLE      CHOSEN  LAG    RTT  HEARD  NOTE\n"
                             "* 1   127.0.0.1:6001  leader     18204    -      -      -  this replica\n"
                             "! 0   127.0.0.1:6000  follower   18090  114  0.4ms     3h  dropping 10% out\n"
                             "+ 2   127.0.0.1:6002  follower   18204    0  0.3ms     3h\n"
                             "\n"
                             "  Journal 1.9 MiB, slots 0-18204, flushed to 18100, sync p99 1.8 ms, disk 41 GiB free\n");
    assert_int_equal(run(canned, JSON_SHORT, "status"), EXIT_DONE);
    assert_non_null(strstr(reply, "\"parameters\":{"));
    size_t n = strlen(out);
    assert_true(n > 0 && out[n - 1] == '\n');
    assert_int_equal(strncmp(out, strstr(reply, ":{\"cluster") + 1, n - 1), 0); /* the parameters as they came */
}

static void test_status_without_a_quorum(void **state)
{
    (void)state;
    char reply[4096], since[64];
    snprintf(since, sizeof(since), "\"quorum_since_usec\":%lld,", (long long)(wall_usec() - INT64_C(10900000000)));
    snprintf(reply, sizeof(reply), status_format, "candidate", "", "false",
             "{\"id\":2,\"address\":\"b\",\"role\":\"unreachable\",\"heard_usec\":1769903999123456},"
             "{\"id\":0,\"address\":\"a\",\"role\":\"refused\",\"note\":\"wrong cluster key\"}",
             since, "\"look at 2\",\"compare the keys\"");
    const struct canned canned[] = {{"Status", reply}, {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "status"), EXIT_NO_QUORUM);
    assert_string_equal(out, "o NO QUORUM 1 of 3 for 3h: nothing can be chosen; reads show slot 18204\n"
                             "  2 silent since 2026-01-31 23:59:59   0 refused: wrong cluster key\n"
                             "  Try: look at 2; compare the keys\n");
}

static void test_send_prints_the_slot(void **state)
{
    (void)state;
    const struct canned fresh[] = {{"Position", "{\"parameters\":{\"slot\":5}}"},
                                   {"Submit", "{\"parameters\":{\"slot\":9,\"key\":\"k\",\"duplicate\":false}}"},
                                   {NULL, NULL}};
    assert_int_equal(run(fresh, JSON_OFF, "send hello big world --as bob --key k"), EXIT_DONE);
    assert_string_equal(out, "chosen at slot 9\n");
    assert_non_null(strstr(calls, "\"text\":\"hello big world\",\"author\":\"bob\",\"key\":\"k\",\"since\":5,"));
    assert_int_equal(run(fresh, JSON_SHORT, "send x --key k"), EXIT_DONE);
    assert_string_equal(out, "{\"slot\":9,\"key\":\"k\",\"duplicate\":false}\n");

    const struct canned again[] = {{"Submit", "{\"parameters\":{\"slot\":9,\"key\":\"k\",\"duplicate\":true}}"},
                                   {NULL, NULL}};
    assert_int_equal(run(again, JSON_OFF, "send x --key k --since 3"), EXIT_DONE);
    assert_string_equal(out, "already chosen at slot 9\n");
    assert_null(strstr(calls, "Position"));
}

static void write_input(const char *bytes, size_t size)
{
    FILE *f = fopen("in", "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

/* What is sent is the whole line, or nothing. */
static void test_client_takes_whole_lines(void **state)
{
    (void)state;
    const struct canned canned[] = {{"Position", "{\"parameters\":{\"slot\":5}}"},
                                    {"Submit", "{\"parameters\":{\"slot\":9,\"key\":\"k\",\"duplicate\":false}}"},
                                    {NULL, NULL}};
    static const char with_nul[] = "s\nabc\0def\ns\nwhole\ns\n\ne\ns\nnever\n";
    write_input(with_nul, sizeof(with_nul) - 1);
    assert_int_equal(run(canned, JSON_OFF, "client 7"), EXIT_FAILED);
    assert_string_equal(out, "chosen at slot 9\n");
    assert_non_null(strstr(err, "the text is not UTF-8, or holds a NUL"));
    assert_non_null(strstr(err, "an empty text is no message; it was not sent"));
    assert_null(strstr(calls, "abc"));
    assert_null(strstr(calls, "never"));
    assert_non_null(strstr(calls, "\"text\":\"whole\",\"author\":\"client_7\""));

    size_t size = (size_t)LINE_BYTES_MAX + 4;
    char *large = malloc(size);
    assert_non_null(large);
    memset(large, 'x', size);
    memcpy(large, "s\n", 2);
    large[size - 1] = '\n';
    write_input(large, size);
    assert_int_equal(run(canned, JSON_OFF, "client 7"), EXIT_FAILED);
    assert_string_equal(err, "mpaxosctl: the line is longer than 1 MiB; it was not sent\n");
    large[1] = 'x';
    write_input(large, size);
    assert_int_equal(run(canned, JSON_OFF, "client 7"), EXIT_FAILED);
    assert_string_equal(err, "mpaxosctl: a line longer than 1 MiB is none of s, p and e\n");
    free(large);
    write_input("s\n", 2); /* and then no line */
    assert_int_equal(run(canned, JSON_OFF, "client 7"), EXIT_DONE);
    assert_string_equal(calls, "");
}

static void test_errors_have_their_status(void **state)
{
    (void)state;
    const struct canned denied[] = {
        {"SetDrop", "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"}, {NULL, NULL}};
    assert_int_equal(run(denied, JSON_OFF, "drop 10"), EXIT_NOT_PERMITTED);
    assert_int_equal(strncmp(err, "mpaxosctl: replica 1: not permitted", 35), 0);
    assert_string_equal(out, "");
    assert_int_equal(run(denied, JSON_SHORT, "drop 10"), EXIT_NOT_PERMITTED);
    assert_string_equal(out, "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}\n");
    assert_string_equal(err, "");

    /* The same silence after a call that may have had an effect, and after one that cannot. */
    const struct canned dies[] = {{"SetDrop", NULL}, {"Status", NULL}, {NULL, NULL}};
    assert_int_equal(run(dies, JSON_OFF, "drop 10"), EXIT_OUTCOME_UNKNOWN);
    assert_int_equal(run(dies, JSON_OFF, "status"), EXIT_NO_DAEMON);

    const struct canned nonsense[] = {{"Status", "{\"what\":1}"}, {NULL, NULL}};
    assert_int_equal(run(nonsense, JSON_OFF, "status"), EXIT_NO_DAEMON);
    const struct canned none[] = {{NULL, NULL}};
    assert_int_equal(run(none, JSON_OFF, "metrics"), EXIT_FAILED);
}

static void test_drop_zero_lifts_both_directions(void **state)
{
    (void)state;
    const struct canned canned[] = {
        {"SetDrop", "{\"parameters\":{\"drops\":[{\"rate\":30,\"direction\":\"in\",\"peer\":2}]}}"}, {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "drop 0"), EXIT_DONE);
    assert_non_null(strstr(calls, "\"rate\":0,\"direction\":\"both\"}"));
    assert_string_equal(out, "RATE  DIRECTION  PEER  UNTIL\n 30%  in            2  lifted\n");
    assert_int_equal(run(canned, JSON_OFF, "drop 30 --in --peer 2 --for 9"), EXIT_DONE);
    assert_non_null(strstr(calls, "\"rate\":30,\"direction\":\"in\",\"peer\":2,\"seconds\":9}"));
    assert_int_equal(run(canned, JSON_OFF, "drop 30 --for 31536000"), EXIT_DONE);
    assert_int_equal(run(canned, JSON_OFF, "drop 30 --for 31536001"), EXIT_USAGE);
    assert_int_equal(run(canned, JSON_OFF, "drop 30"), EXIT_DONE);
    assert_non_null(strstr(calls, "\"rate\":30,\"direction\":\"out\"}"));
}

static void test_log_follows_its_pages(void **state)
{
    (void)state;
    const struct canned canned[] = {{"Read",
                                     "{\"parameters\":{\"messages\":[{\"slot\":2,\"time_usec\":1769903999123456,"
                                     "\"author\":\"ann\",\"text\":\"a\\tb\\u001b[m\"}],"
                                     "\"next\":3},\"continues\":true}|"
                                     "{\"parameters\":{\"messages\":[{\"slot\":4,\"time_usec\":1769904000000000,"
                                     "\"author\":\"bob\",\"text\":\"\xc3\xa4\"}],\"next\":5}}"},
                                    {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "log --from 2"), EXIT_DONE);
    assert_string_equal(out, "    SLOT  TIME (UTC)           AUTHOR        TEXT\n"
                             "       2  2026-01-31 23:59:59  ann           a\\tb\\x1b[m\n"
                             "       4  2026-02-01 00:00:00  bob           \xc3\xa4\n");
    assert_non_null(strstr(calls, "\"from\":2"));
    assert_int_equal(run(canned, JSON_PRETTY, "log -n 7"), EXIT_DONE);
    assert_non_null(strstr(calls, "\"tail\":7,\"count\":7}"));
    assert_string_equal(out,
                        "{\"slot\":2,\"time_usec\":1769903999123456,\"author\":\"ann\",\"text\":\"a\\tb\\u001b[m\"}\n"
                        "{\"slot\":4,\"time_usec\":1769904000000000,\"author\":\"bob\",\"text\":\"\xc3\xa4\"}\n");
}

static unsigned times_in(const char *text, const char *part)
{
    unsigned n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* The replica dies before the first page: what was chosen since the position that it told is not missed. */
static void test_following_the_end_goes_on_there(void **state)
{
    (void)state;
    const struct canned canned[] = {{"Position", "{\"parameters\":{\"slot\":4}}\n{\"parameters\":{\"slot\":9}}"},
                                    {"Read",
                                     "\n{\"parameters\":{\"messages\":[{\"slot\":5,\"time_usec\":1769903999123456,"
                                     "\"author\":\"ann\",\"text\":\"a\"}],\"next\":6},\"continues\":true}|"
                                     "{\"error\":\"org.mpaxos.Replica.SlotUnreadable\",\"parameters\":{}}"},
                                    {NULL, NULL}};
    assert_int_equal(run(canned, JSON_SHORT, "log -f -n 0"), EXIT_FAILED);
    assert_int_equal(times_in(calls, "\"from\":5,\"follow\":true}"), 2);
    assert_null(strstr(calls, "tail"));
    assert_null(strstr(calls, "linearizable"));
    assert_non_null(strstr(out, "\"slot\":5,"));
    assert_non_null(strstr(err, "go on with at slot 5\n"));

    assert_int_equal(run(canned, JSON_SHORT, "log -f -n 3 --linearizable"), EXIT_FAILED);
    assert_int_equal(times_in(calls, "\"tail\":3,\"follow\":true}"), 1);
    assert_int_equal(times_in(calls, "\"from\":5,\"follow\":true}"), 1);
    assert_int_equal(times_in(calls, "\"linearizable\":true"), 1);
}

/* What was trimmed meanwhile is told, where it was not asked for. */
static void test_following_passes_over_what_was_trimmed(void **state)
{
    (void)state;
    const struct canned canned[] = {
        {"Position", "{\"parameters\":{\"slot\":4}}"},
        {"Read", "{\"error\":\"org.mpaxos.Replica.SlotTrimmed\",\"parameters\":{\"first_kept\":8}}\n"
                 "{\"error\":\"org.mpaxos.Replica.SlotUnreadable\",\"parameters\":{}}"},
        {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "log -f -n 0"), EXIT_FAILED);
    assert_non_null(strstr(err, "slots 5 to 7 were trimmed"));
    assert_non_null(strstr(calls, "\"from\":8,"));
    assert_int_equal(run(canned, JSON_OFF, "log -f --from 5"), EXIT_FAILED);
    assert_null(strstr(calls, "\"from\":8,"));
}

static void test_flush_reports_each_replica(void **state)
{
    (void)state;
    const struct canned canned[] = {
        {"Flush", "{\"parameters\":{\"results\":[{\"replica\":0,\"slot\":9,\"messages\":3,\"path\":\"/l/0\"},"
                  "{\"replica\":1,\"error\":\"g\\u009b\\u0007ne\"}]}}"},
        {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "flush --all"), EXIT_FAILED);
    assert_string_equal(
        out, "REPLICA  SLOT  MESSAGES  PATH\n      0     9         3  /l/0\n      1     -         -  g??ne\n");
}

/* What the one before it said would else be taken for what ended it: `wait` gives up where something is not permitted.
 */
static void test_an_open_connection_has_no_failure(void **state)
{
    (void)state;
    const struct canned canned[] = {{NULL, NULL}};
    const struct sockaddr_un nobody = {.sun_family = AF_UNIX, .sun_path = "run/0/control"};
    const struct place place = {.id = -1, .dir = "."};
    struct failure f = {0};
    struct client c;
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (const struct sockaddr *)&nobody, sizeof(nobody)), 0);
    server_start(canned);
    assert_int_equal(client_open(&c, &place, &f), 0);
    assert_int_equal(c.endpoint.id, 1);
    assert_false(failure_is_set(&f));
    assert_int_equal(f.status, EXIT_DONE);
    client_close(&c);
    server_stop();
    close(stale);
    unlink(nobody.sun_path);
}

static void test_skip_says_where_the_leader_is(void **state)
{
    (void)state;
    const struct canned canned[] = {{"Status", "{\"parameters\":{\"id\":1,\"leader\":2,\"peers\":[{\"id\":2,"
                                               "\"address\":\"10.0.0.2:6002\",\"role\":\"leader\"}]}}"},
                                    {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "skip 5"), EXIT_NO_DAEMON);
    assert_non_null(strstr(err, "replica 2 leads, at 10.0.0.2:6002"));
    const struct canned leads[] = {{"Status", "{\"parameters\":{\"id\":1,\"leader\":1,\"peers\":[]}}"},
                                   {"SkipSlots", "{\"parameters\":{\"skip_slots\":[5,6]}}"},
                                   {NULL, NULL}};
    assert_int_equal(run(leads, JSON_OFF, "skip 5 6"), EXIT_DONE);
    assert_non_null(strstr(calls, "\"slots\":[5,6]"));
    assert_string_equal(out, "skips slots 5 6\n");
    const struct canned nobody[] = {{"Status", "{\"parameters\":{\"id\":1,\"peers\":[]}}"}, {NULL, NULL}};
    assert_int_equal(run(nobody, JSON_OFF, "skip 5"), EXIT_NO_QUORUM);
}

static void test_wait_tells_why_it_gave_up(void **state)
{
    (void)state;
    const struct canned without[] = {{"Status", "{\"parameters\":{\"quorum\":false,\"chosen\":7}}"}, {NULL, NULL}};
    const struct canned with[] = {{"Status", "{\"parameters\":{\"quorum\":true,\"leader\":1,\"chosen\":7}}"},
                                  {NULL, NULL}};
    assert_int_equal(run(without, JSON_OFF, "wait"), EXIT_NO_QUORUM);
    assert_int_equal(run(without, JSON_OFF, "wait --slot 8"), EXIT_FAILED);
    assert_int_equal(run(without, JSON_OFF, "wait --slot 7"), EXIT_DONE);
    assert_int_equal(run(with, JSON_OFF, "wait"), EXIT_DONE);
    assert_int_equal(run(with, JSON_OFF, "wait --quorum --slot 8"), EXIT_FAILED);
    assert_int_equal(run(with, JSON_OFF, "wait --quorum --slot 7"), EXIT_DONE);
}

static void test_version_of_the_replica_that_is_asked_for(void **state)
{
    (void)state;
    const struct canned canned[] = {
        {"GetInfo", "{\"parameters\":{\"product\":\"mpaxosd\",\"version\":\"1\\u001b[m\"}}"}, {NULL, NULL}};
    assert_int_equal(run(canned, JSON_OFF, "version"), EXIT_DONE);
    assert_string_equal(out, "mpaxosctl " MPAXOS_VERSION "\nreplica 1: mpaxosd 1\\x1b[m\n");
    assert_int_equal(run(canned, JSON_SHORT, "version"), EXIT_DONE);
    assert_string_equal(out, "{\"product\":\"mpaxosctl\",\"version\":\"" MPAXOS_VERSION "\"}\n"
                             "{\"product\":\"mpaxosd\",\"version\":\"1\\u001b[m\"}\n");

    assert_int_equal(run_at(7, canned, JSON_OFF, "version"), EXIT_NO_DAEMON);
    assert_string_equal(out, "mpaxosctl " MPAXOS_VERSION "\n");
    assert_non_null(strstr(err, "replica 7 does not answer on run/7/control: no such socket"));
    assert_int_equal(run_at(7, canned, JSON_SHORT, "version"), EXIT_NO_DAEMON);
    assert_non_null(strstr(out, "\n{\"error\":\"org.mpaxos.Control.NoDaemon\",\"parameters\":{\"replica\":7,"));
    const struct canned denied[] = {
        {"GetInfo", "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"}, {NULL, NULL}};
    assert_int_equal(run(denied, JSON_OFF, "version"), EXIT_NOT_PERMITTED);
}

/* One that does not let itself be asked is no less running. */
static void test_version_of_all(void **state)
{
    (void)state;
    const struct canned denied[] = {
        {"GetInfo", "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"}, {NULL, NULL}};
    close(listen_at("run/0/control"));
    assert_int_equal(run_at(-1, denied, JSON_OFF, "version"), EXIT_DONE);
    assert_non_null(strstr(out, "replica 0: not running (run/0/control)\n"));
    assert_null(strstr(out, "replica 1"));
    assert_non_null(strstr(err, "mpaxosctl: replica 1: not permitted for user "));
    assert_int_equal(run_at(-1, denied, JSON_SHORT, "version"), EXIT_DONE);
    assert_non_null(strstr(out, "\n{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}\n"));
    unlink("run/0/control");
}

/* Whoever may make a directory run/1 where somebody calls the tool says what a replica says. */
static void test_no_control_character_is_shown(void **state)
{
    (void)state;
#define ESCAPES "\\u001b[m\\u009bm"
    const struct canned canned[] = {
        {"Status", "{\"parameters\":{\"cluster\":\"c" ESCAPES "\",\"quorum\":true,\"peers\":[{\"id\":0,"
                   "\"address\":\"a" ESCAPES "\",\"note\":\"n" ESCAPES "\"}],\"warnings\":[\"w" ESCAPES "\"]}}"},
        {"Reload", "{\"parameters\":{\"changed\":[\"k" ESCAPES "\"]}}"},
        {"Metrics", "{\"parameters\":{\"text\":\"# m" ESCAPES "\\nx 1\\n\"}}"},
        {"Position", "{\"parameters\":{\"slot\":0}}"},
        {"Submit", "{\"error\":\"org.mpaxos.Replica.DiskFull\",\"parameters\":{\"path\":\"p" ESCAPES "\"}}"},
        {"GetInfo", "{\"parameters\":{\"product\":\"p" ESCAPES "\"}}"},
        {NULL, NULL}};
    FILE *f = fopen("replica_config.json", "w");
    assert_non_null(f);
    fputs("{\"f\":0,\"mode\":\"manual\",\"replica_list\":[{\"id\":0,\"ip\":\"127.0.0.1\",\"port\":6000}]}", f);
    fclose(f);
    static const char *const lines[] = {"status", "reload", "metrics", "version", "send x", "config check"};
    on_terminal = true;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        run(canned, JSON_OFF, lines[i]);
        assert_non_null(strstr(i < 4 ? out : err, "[m"));
        assert_true(!strchr(out, '\x1b') && !strstr(out, "\xc2\x9b"));
        assert_true(!strchr(err, '\x1b') && !strstr(err, "\xc2\x9b"));
    }
    run(canned, JSON_OFF, "metrics");
    assert_string_equal(out, "# m?[m?m\nx 1\n");
    on_terminal = false;
    run(canned, JSON_OFF, "metrics");
    assert_string_equal(out, "# m\x1b[m\xc2\x9bm\nx 1\n");
}

static int enter(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    setenv("TZ", "UTC", 1);
    tzset();
    unsetenv("MPAXOS_DIR");
    return mkdtemp(dir) && chdir(dir) == 0 ? system("mkdir -p run/0 run/1") : -1;
}

static int leave(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return chdir("/") == 0 ? system(command) : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_with_a_quorum),
        cmocka_unit_test(test_status_without_a_quorum),
        cmocka_unit_test(test_send_prints_the_slot),
        cmocka_unit_test(test_client_takes_whole_lines),
        cmocka_unit_test(test_errors_have_their_status),
        cmocka_unit_test(test_drop_zero_lifts_both_directions),
        cmocka_unit_test(test_log_follows_its_pages),
        cmocka_unit_test(test_following_the_end_goes_on_there),
        cmocka_unit_test(test_following_passes_over_what_was_trimmed),
        cmocka_unit_test(test_flush_reports_each_replica),
        cmocka_unit_test(test_an_open_connection_has_no_failure),
        cmocka_unit_test(test_skip_says_where_the_leader_is),
        cmocka_unit_test(test_wait_tells_why_it_gave_up),
        cmocka_unit_test(test_version_of_the_replica_that_is_asked_for),
        cmocka_unit_test(test_version_of_all),
        cmocka_unit_test(test_no_control_character_is_shown),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
