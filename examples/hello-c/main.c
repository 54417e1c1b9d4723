// A program for the Aleph network in C: any static Linux binary that listens on port 8080 will do. This one answers one request
// a connection, one after the other.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// read_head reads until the empty line that ends a request without a body. It returns 0 when the caller is gone or says too much.
static int read_head(int conn, char *head, size_t size) {
    size_t have = 0;
    do {
        ssize_t n = read(conn, head + have, size - 1 - have);
        if (n <= 0) return 0;
        have += (size_t)n;
        head[have] = 0;
    } while (!strstr(head, "\r\n\r\n"));
    return 1;
}

static void answer(int conn, const char *status, const char *type, const char *body) {
    char text[1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", status, type,
                     strlen(body), body);
    if (n < (int)sizeof text) send(conn, text, (size_t)n, MSG_NOSIGNAL);
}

int main(void) {
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (server < 0 || bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 16)) {
        perror("listen on port 8080");
        return 1;
    }
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    for (long calls = 0;;) {
        int conn = accept(server, NULL, NULL);
        char head[8192], body[512];
        if (conn < 0) continue;
        if (!read_head(conn, head, sizeof head)) {
            // nobody waits for an answer
        } else if (!strncmp(head, "GET / ", 6)) {
            snprintf(body, sizeof body, "{\"message\": \"Hello from a virtual machine on Aleph\", \"c\": %ld, \"host\": \"%s\", \"calls\": %ld}\n",
                     __STDC_VERSION__, host, ++calls);
            answer(conn, "200 OK", "application/json", body);
        } else {
            answer(conn, "404 Not Found", "text/plain", "there is nothing here\n");
        }
        close(conn);
    }
}
