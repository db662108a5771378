/* Memory for keys: what the kernel is told of it, and what is told where it cannot be locked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/secret.h"

#ifdef __SANITIZE_ADDRESS__ /* has mlock() succeed and do nothing */
enum { LOCKS = 0 };
#else
enum { LOCKS = 1 };
#endif
enum { NOBODY = 65534, SIZE = 100 };

/* Whether the mapping that this address is in has the flag, as /proc/self/smaps says. */
static bool has_flag(const void *address, const char *flag)
{
    char line[4096], wanted[8];
    unsigned long start, end;
    bool is_it = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    snprintf(wanted, sizeof(wanted), " %s ", flag);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_it = (uintptr_t)address >= start && (uintptr_t)address < end;
        else if (is_it && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, wanted) != NULL;
    }
    fclose(f);
    return found;
}

static void test_locked_and_left_out_of_dumps(void **state)
{
    (void)state;
    char *block = secret_new(SIZE);
    assert_non_null(block);
    memset(block, 1, SIZE);
    assert_true(has_flag(block, "dd"));
    if (LOCKS && secret_lock_error() == 0)
        assert_true(has_flag(block, "lo"));
    sodium_free(block);
}

/* The child: 0 where it is told that nothing may be locked. */
static int tell_without_locks(void)
{
    const struct rlimit none = {0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || (geteuid() == 0 && setuid(NOBODY) < 0))
        return 2;
    char *block = secret_new(SIZE);
    if (!block)
        return 3;
    memset(block, 1, SIZE); /* it serves all the same */
    const int error = secret_lock_error();
    sodium_free(block);
    return error != 0 ? 0 : 1;
}

static void test_what_cannot_be_locked_is_told(void **state)
{
    (void)state;
    if (!LOCKS)
        skip();
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(tell_without_locks());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locked_and_left_out_of_dumps),
        cmocka_unit_test(test_what_cannot_be_locked_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
