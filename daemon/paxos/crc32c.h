/* CRC-32C (Castagnoli), the checksum of every datagram and of every batch on disk.
 *
 * It stands here, and not in a library, because it is called for every datagram and batch and both wire and journal
 * need it. With SSE4.2 it runs at memory speed; elsewhere a table does. It finds accidents, not forgeries. Source:
 * Castagnoli et al. (1993); RFC 3720, appendix B.4, has the test vectors. */
#ifndef PAXOS_CRC32C_H
#define PAXOS_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* `seed` is 0, or the result for the bytes before these: crc32c(crc32c(0, a), b) is that of a followed by b. */
uint32_t crc32c(uint32_t seed, const void *data, size_t size);

/* The same without the processor's instruction: what a unit test compares with. */
uint32_t crc32c_table(uint32_t seed, const void *data, size_t size);

#endif
