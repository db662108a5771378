/* Who may do what on the control socket, and under which name: asked by children that become other users. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/access.h"
#include "wire/varlink.h"

#define R         "org.mpaxos.Replica."
#define S         "org.varlink.service."
#define CALL(m)   "{\"method\":\"" R m "\"}"
#define SUBMIT(p) "{\"method\":\"" R "Submit\",\"parameters\":{\"text\":\"x\",\"key\":\"k\"" p "}}"
#define DENIED    "{\"error\":\"" S "PermissionDenied\",\"parameters\":{}}"
#define INVALID   "{\"error\":\"" S "InvalidParameter\""

enum { NOBODY = 65534, GROUP = 54321, OTHER_GROUP = 54322 };

static struct fixture *f;

static int set_up(void **state)
{
    (void)state;
    f = fixture_start(0);
    /* So that the kernel lets everybody connect, and only the daemon is left to refuse. */
    assert_int_equal(chmod(f->path, 0666), 0);
    assert_int_equal(chmod(f->dir, 0755), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_stop(f);
    return 0;
}

/* What the host's list of users may say. */
static const struct passwd odd_names[] = {
    {.pw_uid = 54001, .pw_name = "ada"},   {.pw_uid = 54002, .pw_name = "ada (as bot)"},
    {.pw_uid = 54003, .pw_name = "54001"}, {.pw_uid = 54004, .pw_name = "a\nb"},
    {.pw_uid = 54005, .pw_name = "\xff"},
};

static int names_error;
static unsigned n_lookups;

int __real_getpwuid_r(uid_t uid, struct passwd *record, char *buffer, size_t size, struct passwd **ret);
int __wrap_getpwuid_r(uid_t uid, struct passwd *record, char *buffer, size_t size, struct passwd **ret);

int __wrap_getpwuid_r(uid_t uid, struct passwd *record, char *buffer, size_t size, struct passwd **ret)
{
    *ret = NULL;
    n_lookups++;
    if (names_error != 0)
        return names_error;
    for (size_t i = 0; i < sizeof(odd_names) / sizeof(odd_names[0]); i++) {
        if (odd_names[i].pw_uid != uid)
            continue;
        *record = odd_names[i];
        *ret = record;
        return 0;
    }
    return __real_getpwuid_r(uid, record, buffer, size, ret);
}

/* A name that could be taken for another user's number, or for what stands in the log of one who writes as another, is
 * nobody's author. */
static void test_user_name(void **state)
{
    (void)state;
    char name[NAME_BYTES_MAX + 1];
    assert_int_equal(user_name(54001, name), 0);
    assert_string_equal(name, "ada");
    for (uid_t uid = 54002; uid <= 54005; uid++) {
        char number[16];
        snprintf(number, sizeof(number), "%u", (unsigned)uid);
        assert_int_equal(user_name(uid, name), 0);
        assert_string_equal(name, number);
    }
    /* One that is not told now is no number; one that does not fit, or is not there, stays one. */
    static const int passing[] = {EINTR, EIO, EMFILE, ENFILE, ENOMEM, EAGAIN}, lasting[] = {ERANGE, ENOENT};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        names_error = passing[i];
        assert_int_equal(user_name(54001, name), -passing[i]);
    }
    for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
        names_error = lasting[i];
        assert_int_equal(user_name(54001, name), 0);
        assert_string_equal(name, "54001");
    }
    names_error = 0;
}

/* A client of its own process. */
struct caller {
    uid_t user;
    gid_t group, other;    /* other 0: none beside the first               */
    bool drops_after;      /* is in no group any more when it asks          */
    const char *calls[20]; /* each with what its reply begins with          */
    const char *wanted[20];
};

static void become(const struct caller *k, bool member)
{
    if (setgroups(member && k->other != 0 ? 1 : 0, &k->other) < 0 || setgid(member ? k->group : NOBODY) < 0)
        _exit(100);
}

static void ask(const struct caller *k)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    become(k, true);
    if (seteuid(k->user) < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || seteuid(0) < 0)
        _exit(101);
    if (k->drops_after)
        become(k, false);
    if (setuid(k->user) < 0)
        _exit(102);
    for (int i = 0; k->calls[i] != NULL; i++) {
        char reply[65536];
        if (send(fd, k->calls[i], strlen(k->calls[i]) + 1, 0) < 0 || recv(fd, reply, sizeof(reply), 0) <= 0)
            _exit(103);
        if (strncmp(reply, k->wanted[i], strlen(k->wanted[i])) != 0) {
            fprintf(stderr, "user %u, call %d: %s\n", (unsigned)k->user, i, reply);
            _exit(1 + i);
        }
    }
    _exit(0);
}

static void ask_as(const struct caller *k)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        ask(k);
    int i = 0;
    for (; i < 10000 && waitpid(pid, &status, WNOHANG) == 0; i++) {
        fixture_turn(f);
        usleep(1000);
    }
    assert_true(i < 10000 && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define OK "{\"parameters\":{"
#define EVERYDAY_CALLS                                                                                                 \
    SUBMIT(""), CALL("Position"), CALL("Read"), CALL("Status"), CALL("Metrics"), CALL("Flush"),                        \
        "{\"method\":\"" S "GetInfo\"}"
#define ADMINISTRATION_CALLS                                                                                           \
    CALL("SetDrop"), CALL("SkipSlots"), CALL("Bootstrap"), CALL("TransferLeadership"), CALL("AddMember"),              \
        CALL("RemoveMember"), CALL("ReplaceMember"), CALL("Reload")

static void test_levels(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->path, 0, GROUP), 0);
    struct caller member = {
        .user = NOBODY,
        .group = GROUP,
        .calls = {EVERYDAY_CALLS, ADMINISTRATION_CALLS},
        .wanted = {OK, OK, OK, OK, OK, OK, OK, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED}};
    ask_as(&member);
    /* One of several groups is enough; and what counts is what was true when it connected. */
    member.group = NOBODY;
    member.other = GROUP;
    ask_as(&member);
    member.drops_after = true;
    ask_as(&member);
    assert_int_equal(f->driver->n_bootstraps, 0);

    struct caller stranger = {.user = NOBODY,
                              .group = NOBODY,
                              .other = OTHER_GROUP,
                              .calls = {EVERYDAY_CALLS, ADMINISTRATION_CALLS},
                              .wanted = {DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED,
                                         DENIED, DENIED, DENIED, DENIED, DENIED}};
    unsigned n = f->driver->n_submits;
    ask_as(&stranger);
    assert_int_equal(f->driver->n_submits, n);
    /* The socket may be given to another group while the daemon runs. */
    assert_int_equal(chown(f->path, 0, OTHER_GROUP), 0);
    member.drops_after = false;
    memcpy(member.wanted, stranger.wanted, sizeof(member.wanted));
    ask_as(&member);

    struct caller root = {.user = 0, .group = NOBODY, .calls = {CALL("Bootstrap"), CALL("Status")}, .wanted = {OK, OK}};
    ask_as(&root);
    assert_int_equal(f->driver->n_bootstraps, 1);
}

static void author_is(const char *author)
{
    assert_string_equal(f->driver->log[f->driver->n_log - 1].author, author);
}

static void test_author(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct caller k = {.user = NOBODY, .group = getegid(), .calls = {SUBMIT("")}, .wanted = {OK}};
    ask_as(&k);
    author_is("nobody");
    k.calls[0] = SUBMIT(",\"author\":\"nobody\"");
    ask_as(&k);
    author_is("nobody");
    k.calls[0] = SUBMIT(",\"author\":\"bot\"");
    ask_as(&k);
    author_is("nobody (as bot)");
    k.calls[0] = SUBMIT(",\"author\":\"root (as bot)\"");
    ask_as(&k);
    author_is("nobody (as root (as bot))");
    /* A user without a name is a number. */
    k.user = 4000000000;
    ask_as(&k);
    author_is("4000000000 (as root (as bot))");
    k.user = 0;
    ask_as(&k);
    author_is("root (as bot)");
    k.calls[0] = SUBMIT("");
    ask_as(&k);
    author_is("root");
}

/* It is looked up once for all connections that somebody has, and nothing is taken under another name meanwhile. */
static void test_author_not_told(void **state)
{
    (void)state;
    const char *overloaded = "{\"error\":\"" R "Overloaded\"";
    struct client *c = client_open(f), *d = client_open(f);
    names_error = EMFILE;
    client_call(c, SUBMIT(""));
    assert_has(client_reply(c), overloaded);
    client_call(c, SUBMIT(",\"author\":\"bot\""));
    assert_has(client_reply(c), overloaded);
    assert_int_equal(f->driver->n_submits, 0);
    names_error = 0;
    n_lookups = 0;
    client_call(c, SUBMIT(""));
    assert_has(client_reply(c), OK);
    const struct passwd *user = getpwuid(geteuid());
    if (user != NULL)
        author_is(user->pw_name);
    client_close(c);
    client_call(d, SUBMIT(""));
    assert_has(client_reply(d), OK);
    assert_int_equal(n_lookups, 1);
    client_close(d);
}

static void test_author_name(void **state)
{
    (void)state;
    static const struct {
        const char *user, *asked, *wanted;
        enum access_level level;
    } cases[] = {
        {"ada", NULL, "ada", ACCESS_EVERYDAY},           {"ada", "ada", "ada", ACCESS_EVERYDAY},
        {"ada", "Ada", "ada (as Ada)", ACCESS_EVERYDAY}, {"ada", "bob", "ada (as bob)", ACCESS_EVERYDAY},
        {"ada", "bob", "bob", ACCESS_ADMINISTRATION},    {"ada", NULL, "ada", ACCESS_ADMINISTRATION},
    };
    char got[AUTHOR_BYTES_MAX + 1], user[NAME_BYTES_MAX + 1];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t size = author_name(cases[i].user, cases[i].level, cases[i].asked, got);
        assert_string_equal(got, cases[i].wanted);
        assert_int_equal(size, strlen(got));
    }
    /* The longest two fit, to the byte. */
    char names[2][NAME_BYTES_MAX + 1];
    memset(names, 'a', sizeof(names));
    names[0][NAME_BYTES_MAX] = names[1][NAME_BYTES_MAX] = 0;
    names[1][0] = 'b';
    assert_true(name_is_valid(names[0]));
    assert_int_equal(author_name(names[0], ACCESS_EVERYDAY, names[1], got), AUTHOR_BYTES_MAX);
    assert_int_equal(got[AUTHOR_BYTES_MAX - 1], ')');
    assert_int_equal(user_name(0, user), 0);
    assert_string_equal(user, "root");
}

/* No call names a file: what a client writes never becomes a path. */
static void test_no_paths(void **state)
{
    (void)state;
    const char *text = varlink_interface_text("org.mpaxos.Replica");
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, "\nmethod ")) != NULL; n++) {
        const char *end = strstr(p, ") -> (");
        assert_non_null(end);
        char call[4096];
        snprintf(call, sizeof(call), "%.*s", (int)(end - p), p);
        assert_null(strstr(call, "path"));
        assert_null(strstr(call, "file"));
        assert_null(strstr(call, "dir:"));
        p = end;
    }
    assert_int_equal(n, 14);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_levels),
        TEST(test_author),
        TEST(test_author_not_told),
        cmocka_unit_test(test_user_name),
        cmocka_unit_test(test_author_name),
        cmocka_unit_test(test_no_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
