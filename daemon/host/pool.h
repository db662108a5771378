/* libuv's pool of threads, which it makes at the first use: where it cannot, it ends the process without a word. With
 * addresses that need no look-up that would be the first flush, of a replica that votes. */
#ifndef HOST_POOL_H
#define HOST_POOL_H

enum { POOL_THREADS = 4 }; /* libuv's, where its environment says nothing else */

/* Makes it now, once so many threads could be made, and one more for the journal. They take no signals: those are the
 * loop's. 0 or a negative errno. */
int pool_start(void);

#endif
