/* A whole replica in a process of its own, ended while its system's resolver hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/serve.h"
#include "tests/unit/loopback.h"

#define SILENT "silent.invalid"

enum { HANG_S = 30, PATIENCE_MS = 10000, STEP_MS = 10 };

static int asked[2]; /* a pipe: a byte for each name that is looked up */

/* In place of the system's: the own address is known, and of the others nothing is ever heard. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    struct addrinfo *a;
    if (strcmp(name, SILENT) == 0) {
        if ((hints->ai_flags & AI_NUMERICHOST) != 0)
            return EAI_NONAME;
        assert_int_equal(write(asked[1], "", 1), 1);
        sleep(HANG_S);
        return EAI_AGAIN;
    }
    a = calloc(1, sizeof(*a) + sizeof(struct sockaddr_in)); /* one block, as freeaddrinfo() expects */
    assert_non_null(a);
    struct sockaddr_in *to = (struct sockaddr_in *)(void *)(a + 1);
    *to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(service, NULL, 10))};
    to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *a = (struct addrinfo){.ai_family = AF_INET,
                           .ai_socktype = hints->ai_socktype,
                           .ai_addr = (struct sockaddr *)to,
                           .ai_addrlen = sizeof(*to)};
    *ret = a;
    return 0;
}

static _Noreturn void serve(const char *dir)
{
    static struct config config;
    char text[512], error[CONFIG_ERROR_MAX + 1] = "";
    snprintf(text, sizeof(text),
             "{\"f\": 1, \"mode\": \"manual\", \"replica_list\": ["
             "{\"id\": 0, \"ip\": \"127.0.0.1\", \"port\": %u, \"skip_slot\": [], \"drop_rate\": 0},"
             "{\"id\": 1, \"ip\": \"" SILENT "\", \"port\": 6001, \"skip_slot\": [], \"drop_rate\": 0},"
             "{\"id\": 2, \"ip\": \"" SILENT "\", \"port\": 6002, \"skip_slot\": [], \"drop_rate\": 0}]}",
             loopback_free_port());
    if (config_parse("test", text, strlen(text), &config, error) < 0) {
        fputs(error, stderr);
        exit(EXIT_FAILURE);
    }
    exit(serve_replica(&(struct serve_options){.config = &config, .id = 0, .dir = dir, .version = "test"}));
}

static void wait_for_file(const char *path)
{
    for (int ms = 0; access(path, F_OK) < 0; ms += STEP_MS) {
        assert_in_range(ms, 0, PATIENCE_MS);
        usleep(STEP_MS * 1000);
    }
}

static void a_hanging_lookup_does_not_hold_up_the_end(void **state)
{
    (void)state;
    char dir[] = "/tmp/mpaxos-XXXXXX", socket_path[64], command[64], byte;
    int status;
    pid_t ended;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe(asked), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        serve(dir);
    snprintf(socket_path, sizeof(socket_path), "%s/run/0/control", dir);
    wait_for_file(socket_path);
    assert_int_equal(read(asked[0], &byte, 1), 1);
    kill(child, SIGTERM);
    for (int ms = 0; (ended = waitpid(child, &status, WNOHANG)) == 0 && ms < PATIENCE_MS; ms += STEP_MS)
        usleep(STEP_MS * 1000);
    if (ended == 0)
        kill(child, SIGKILL);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(ended, child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_hanging_lookup_does_not_hold_up_the_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
