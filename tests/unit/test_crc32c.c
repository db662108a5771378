/* CRC-32C: the vectors of RFC 3720, and the processor's instruction against the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "paxos/crc32c.h"

static void test_rfc3720_vectors(void **state)
{
    uint8_t bytes[32];
    (void)state;

    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x46dd794e);
    assert_int_equal(crc32c_table(0, bytes, sizeof bytes), 0x46dd794e);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static void test_both_ways_agree_in_pieces(void **state)
{
    uint8_t bytes[1700]; /* more than two rounds of the three lanes */
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; from + size <= sizeof bytes; size++) {
            uint32_t whole = crc32c(7, bytes + from, size);
            assert_int_equal(whole, crc32c_table(7, bytes + from, size));
            assert_int_equal(whole,
                             crc32c(crc32c(7, bytes + from, size / 3), bytes + from + size / 3, size - size / 3));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3720_vectors),
        cmocka_unit_test(test_both_ways_agree_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
