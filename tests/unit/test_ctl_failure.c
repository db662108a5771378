/* Every error of the interface, and those of varlink itself: exit status, and a sentence that says what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/endpoint.h"
#include "ctl/failure.h"
#include "wire/varlink.h"

#include <errno.h>
#include <unistd.h>

struct expected {
    const char *error, *parameters;
    enum exit_status status;
    const char *says;
};

static const struct expected errors[] = {
    {"org.mpaxos.Replica.Timeout", "{\"key\":\"k1\",\"since\":9007199254740993}", EXIT_OUTCOME_UNKNOWN,
     "--key k1 --since 9007199254740993"},
    {"org.mpaxos.Replica.Timeout", "{}", EXIT_OUTCOME_UNKNOWN, "mpaxosctl status"},
    {"org.mpaxos.Replica.NoQuorum", "{\"heard\":1,\"needed\":2}", EXIT_NO_QUORUM, "1 of the 2 replicas"},
    {"org.mpaxos.Replica.KeyConflict", "{\"key\":\"k\",\"slot\":7}", EXIT_FAILED, "slot 7"},
    {"org.mpaxos.Replica.MessageTooLarge", "{\"size\":20000,\"limit\":16384}", EXIT_FAILED, "16384 are allowed"},
    {"org.mpaxos.Replica.KeyExpired", "{\"since\":3,\"oldest\":50}", EXIT_FAILED, "slot 50"},
    {"org.mpaxos.Replica.Overloaded", "{\"retry_ms\":40}", EXIT_FAILED, "40 ms"},
    {"org.mpaxos.Replica.SlotTrimmed", "{\"first_kept\":12}", EXIT_FAILED, "--from 12"},
    {"org.mpaxos.Replica.SlotUnreadable", "{\"slot\":12,\"reason\":\"damaged\"}", EXIT_FAILED, "slot 12"},
    {"org.mpaxos.Replica.ChangeInProgress", "{\"slot\":8}", EXIT_FAILED, "slot 8"},
    {"org.mpaxos.Replica.DiskFull", "{\"path\":\"/x\"}", EXIT_FAILED, "/x is full"},
    {"org.mpaxos.Replica.FlushFailed", "{\"path\":\"/y\",\"reason\":\"why\"}", EXIT_FAILED, "/y: why"},
    {"org.mpaxos.Replica.NotInitialized", "{\"reason\":\"replica 1 waits\"}", EXIT_NO_QUORUM, "replica 1 waits"},
    {"org.mpaxos.Replica.ReloadFailed", "{\"path\":\"c\",\"line\":3,\"reason\":\"r\"}", EXIT_CONFIG, "c:3: r"},
    {"org.varlink.service.PermissionDenied", "{}", EXIT_NOT_PERMITTED, "sudo"},
    {"org.varlink.service.InvalidParameter", "{\"parameter\":\"author\"}", EXIT_FAILED, "'author'"},
    {"org.varlink.service.MethodNotFound", "{\"method\":\"M\"}", EXIT_FAILED, "cannot do M"},
    {"org.varlink.service.MethodNotImplemented", "{\"method\":\"M\"}", EXIT_FAILED, "cannot do M"},
    {"org.varlink.service.InterfaceNotFound", "{\"interface\":\"I\"}", EXIT_FAILED, "no mpaxosd"},
    {"org.example.Odd", "{}", EXIT_FAILED, "org.example.Odd"},
};

static void test_every_error_has_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        char reason[VARLINK_REASON_MAX + 1];
        struct failure f = {0};
        cJSON *p = varlink_parse(errors[i].parameters, strlen(errors[i].parameters), reason);
        assert_non_null(p);
        failure_from_error(&f, "replica 1", errors[i].error, p);
        assert_int_equal(f.status, errors[i].status);
        assert_int_equal(failure_status_of(errors[i].error), errors[i].status);
        assert_string_equal(f.error, errors[i].error);
        if (!strstr(f.text, errors[i].says) || strncmp(f.text, "replica 1", 9) != 0)
            fail_msg("%s: %s", errors[i].error, f.text);
        assert_null(strstr(f.text, "replica 1: replica 1"));
        failure_done(&f);
        assert_false(failure_is_set(&f));

        /* A daemon that leaves out what it should say must not break us. */
        failure_from_error(&f, "replica 1", errors[i].error, NULL);
        assert_true(failure_is_set(&f));
        failure_done(&f);
        cJSON_Delete(p);
    }
}

/* The errors of the interface text itself: none may be left without a sentence of its own. */
static void test_no_error_of_the_interface_is_forgotten(void **state)
{
    (void)state;
    const char *text = varlink_interface_text("org.mpaxos.Replica");
    size_t n = 0;
    assert_non_null(text);
    for (const char *at = text; (at = strstr(at, "\nerror ")) != NULL; n++) {
        char name[64], error[96];
        at += strlen("\nerror ");
        assert_int_equal(sscanf(at, "%63[A-Za-z]", name), 1);
        snprintf(error, sizeof(error), "org.mpaxos.Replica.%s", name);
        bool found = false;
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
            found |= !strcmp(errors[i].error, error);
        if (!found)
            fail_msg("%s is missing here", error);
        struct failure f = {0};
        failure_from_error(&f, "replica 1", error, NULL);
        assert_null(strstr(f.text, "it answered"));
        failure_done(&f);
    }
    assert_true(n >= 12);
}

static void test_sockets_that_do_not_answer(void **state)
{
    (void)state;
    struct failure f = {0};
    struct endpoint e = {.id = 1, .path = "run/1/control"};
    endpoint_failure(&e, ENOENT, &f);
    assert_int_equal(f.status, EXIT_NO_DAEMON);
    assert_non_null(strstr(f.text, "replica 1 does not answer on run/1/control: no such socket. Is it running? Try: "));
    endpoint_failure(&e, ECONNREFUSED, &f);
    assert_int_equal(f.status, EXIT_NO_DAEMON);
    endpoint_failure(&e, EACCES, &f);
    assert_int_equal(f.status, EXIT_NOT_PERMITTED);
    snprintf(e.path, sizeof(e.path), "/run/mpaxosd/1/control");
    endpoint_failure(&e, ENOENT, &f);
    assert_non_null(strstr(f.text, "Try: systemctl status mpaxosd@1"));
    failure_done(&f);
}

static void test_places(void **state)
{
    (void)state;
    struct endpoint *found = calloc(ENDPOINTS_MAX, sizeof(*found));
    struct failure f = {0};
    size_t n = 99;
    char dir[] = "/tmp/test_ctl_XXXXXX", path[128], long_dir[200];
    assert_non_null(found);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(unsetenv("MPAXOS_DIR"), 0);

    struct place nowhere = {.id = -1, .dir = dir};
    assert_int_equal(endpoints_find(&nowhere, found, &n, &f), -1);
    assert_int_equal(f.status, EXIT_NO_DAEMON);

    struct place one = {.id = 4, .dir = dir};
    assert_int_equal(endpoints_find(&one, found, &n, &f), 0);
    assert_int_equal(n, 1); /* so that the error can name it */
    snprintf(path, sizeof(path), "%s/run/4/control", dir);
    assert_string_equal(found[0].path, path);

    char command[400];
    snprintf(command, sizeof(command),
             "cd %s && mkdir -p run/10 run/2 run/x run/300 run/7 && touch run/10/control run/2/control run/x/control "
             "run/300/control",
             dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(endpoints_find(&nowhere, found, &n, &f), 0);
    assert_int_equal(n, 2);
    assert_int_equal(found[0].id, 2);
    assert_int_equal(found[1].id, 10);

    assert_int_equal(setenv("MPAXOS_DIR", dir, 1), 0);
    struct place unnamed = {.id = -1};
    assert_int_equal(endpoints_find(&unnamed, found, &n, &f), 0);
    assert_int_equal(n, 2);
    assert_int_equal(unsetenv("MPAXOS_DIR"), 0);

    memset(long_dir, 'd', sizeof(long_dir) - 1);
    long_dir[sizeof(long_dir) - 1] = '\0';
    struct place too_long = {.id = 1, .dir = long_dir};
    assert_int_equal(endpoints_find(&too_long, found, &n, &f), -1);
    assert_non_null(strstr(f.text, "too long for a Unix socket"));

    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    failure_done(&f);
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_a_sentence),
        cmocka_unit_test(test_no_error_of_the_interface_is_forgotten),
        cmocka_unit_test(test_sockets_that_do_not_answer),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
