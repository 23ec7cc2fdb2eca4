/* Preloaded: a process that asks for a network socket says so and ends. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int socket(int domain, int type, int protocol) {
  if (domain == AF_UNIX) return (int)syscall(SYS_socket, domain, type, protocol);
  static const char message[] = "a network was asked for\n";
  if (write(2, message, sizeof(message) - 1) < 0) _exit(98);
  _exit(99);
}
