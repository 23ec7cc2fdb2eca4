/* Preloaded: a process that looks up a name, connects or listens says so and ends. */
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

static int end(void) {
  static const char message[] = "a network was asked for\n";
  if (write(2, message, sizeof(message) - 1) < 0) _exit(98);
  _exit(99);
}

int connect(int file, const struct sockaddr* address, socklen_t length) { return end() + file + (int)length + !address; }

int listen(int file, int backlog) { return end() + file + backlog; }

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** found) {
  return end() + !node + !service + !hints + !found;
}
