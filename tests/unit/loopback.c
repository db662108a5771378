#include "tests/unit/loopback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int loopback_open(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(a);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_return_code(bind(fd, (struct sockaddr *)&a, size), errno);
    assert_return_code(getsockname(fd, (struct sockaddr *)&a, &size), errno);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

uint16_t loopback_free_port(void)
{
    uint16_t port;
    close(loopback_open(&port));
    return port;
}
