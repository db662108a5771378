/* Whether an address is this host's. */
#ifndef HOST_LOCAL_H
#define HOST_LOCAL_H

#include <stdbool.h>
#include <sys/socket.h>

/* 1 or 0 for a name or an IP address; -1 with a reason where a name cannot be looked up, or no network is there that
 * has the address. By what the kernel would send from, which needs no privilege, no list of interfaces, and is not
 * misled by sysctl ip_nonlocal_bind. A name whose address is a loopback one is this host's. */
int host_is_local(const char *host, const char **ret_reason);

/* IPv4 in IPv6 too. */
bool address_is_loopback(const struct sockaddr *address);

#endif
