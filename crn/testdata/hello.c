// A program of the interface "binary" in C: cc -static -o hello hello.c
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
	const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhello in C";
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) return 1;
	for (;;) {
		char request[4096];
		int caller = accept(listener, 0, 0);
		if (caller < 0) return 1;
		if (read(caller, request, sizeof request) > 0 && write(caller, answer, strlen(answer)) < 0) return 1;
		close(caller);
	}
}
