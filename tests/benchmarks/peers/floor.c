/*
 * The floor: as little as a server of events can do, to show what the kernel and the
 * load generator take. One thread, epoll; a channel is a list of sockets; an event is
 * written to each as it came, with one send() that nobody retries. It keeps the last
 * event of a channel for who connects later, and sends a comment every 15 s. No proof
 * of identity, no validation, no bound: nothing here is meant to be used.
 *
 *     cc -O2 -o floor floor.c && ./floor PORT
 *     GET /sub/NUMBER    POST /pub/NUMBER
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHANNELS 65536
#define FDS 65536
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
    "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n" \
    "17\r\nevent: hello\ndata: {}\n\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define BEAT "3\r\n:\n\n\r\n"

struct channel { int *fds, count, room; char *last; size_t length; };
struct peer { char *rest; size_t length; int channel, place; };

static struct channel channels[CHANNELS];
static struct peer peers[FDS];
static int poller;

static void tell(int fd, const char *bytes, size_t length) {
    /* What does not fit is lost: a floor has no slow path. */
    if (send(fd, bytes, length, MSG_NOSIGNAL) < 0 && errno == ENOMEM) abort();
}
static void subscribe(int fd, int number) {
    struct channel *c = &channels[number];
    if (c->count == c->room)
        c->fds = realloc(c->fds, sizeof *c->fds * (size_t)(c->room = c->room ? 2 * c->room : 2));
    peers[fd].channel = number;
    peers[fd].place = c->count;
    c->fds[c->count++] = fd;
    tell(fd, HEAD, sizeof HEAD - 1);
    if (c->last) tell(fd, c->last, c->length);
}
static void publish(int number, const char *body, size_t length) {
    struct channel *c = &channels[number];
    static unsigned long id;
    char fields[64], size[32];
    int f = sprintf(fields, "id: %lu\ndata: ", ++id);
    int s = sprintf(size, "%zx\r\n", (size_t)f + length + 2);
    char *p = c->last = realloc(c->last, (size_t)(s + f) + length + 4);
    p = mempcpy(p, size, (size_t)s);
    p = mempcpy(p, fields, (size_t)f);
    p = mempcpy(p, body, length);
    p = mempcpy(p, "\n\n\r\n", 4);
    c->length = (size_t)(p - c->last);
    for (int i = 0; i < c->count; i++) tell(c->fds[i], c->last, c->length);
}
static void leave(int fd) {
    struct peer *p = &peers[fd];
    if (p->channel >= 0) {
        struct channel *c = &channels[p->channel];
        int moved = c->fds[p->place] = c->fds[--c->count];
        peers[moved].place = p->place;
    }
    free(p->rest);
    close(fd);
}
/* Take one request off the front; 0 if it is not all there yet. */
static size_t take(int fd, char *data, size_t length) {
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    char *field = strcasestr(data, "\r\ncontent-length:");
    size_t body = field ? strtoul(field + 17, NULL, 10) : 0;
    size_t head = (size_t)(end + 4 - data);
    if (length < head + body) { *end = '\r'; return 0; }
    char *path = strchr(data, ' ');
    unsigned number = path ? (unsigned)atoi(path + 6) % CHANNELS : 0;
    if (data[0] == 'G') subscribe(fd, (int)number);
    else { publish((int)number, end + 4, body); tell(fd, OK, sizeof OK - 1); }
    return head + body;
}
static void receive(int fd) {
    static char data[1 << 20];
    struct peer *p = &peers[fd];
    if (p->length) memcpy(data, p->rest, p->length);
    ssize_t got = recv(fd, data + p->length, sizeof data - p->length, 0);
    if (got <= 0) { if (got == 0 || errno != EAGAIN) leave(fd); return; }
    size_t length = p->length + (size_t)got, at = 0, taken;
    while (at < length && (taken = take(fd, data + at, length - at))) at += taken;
    p->length = length - at;
    if (!p->length) { free(p->rest); p->rest = NULL; return; }
    p->rest = realloc(p->rest, p->length);
    memcpy(p->rest, data + at, p->length);
}
static void welcome(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= FDS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peers[fd] = (struct peer){.channel = -1};
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}
static void beat(void) {
    for (int n = 0; n < CHANNELS; n++)
        for (int i = 0; i < channels[n].count; i++) tell(channels[n].fds[i], BEAT, sizeof BEAT - 1);
}
int main(int argc, char **argv) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 8080))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("floor");
        return 1;
    }
    poller = epoll_create1(0);
    struct epoll_event events[512], e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    time_t next = time(NULL) + 15;
    for (;;) {
        int count = epoll_wait(poller, events, 512, 1000);
        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener) welcome(listener);
            else receive(events[i].data.fd);
        if (time(NULL) >= next) { beat(); next += 15; }
    }
}
