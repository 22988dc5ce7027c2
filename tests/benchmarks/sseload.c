/*
 * sseload - a neutral Server-Sent Events load generator and publisher.
 *
 * One thread, epoll, non-blocking sockets, no dependency beyond libc.
 *     cc -O2 -o sseload sseload.c
 *
 * It opens N SSE subscriptions (HTTP/1.1, chunked or not), publishes through
 * an HTTP API from the same process, and so measures publish -> delivery with
 * one clock.  It prints ONE JSON object on stdout (in hold mode a first line
 * {"phase":"up"...} as soon as all connections are up).
 *
 * Placeholders in path / header / body templates:
 *   %d user number   %t timestamp in ns   %n publish sequence number   %% a '%'
 *   %k the user's token: line number %d of the file named by --tokens
 *
 * Events are counted at their blank line when they had at least one "data"
 * line.  An event with TSKEY (default "t":) followed by digits anywhere in
 * its data counts as a delivery and goes into the latency histogram.
 * Lines end in LF or CRLF (a lone CR is not recognised).
 *
 * See usage() for the options.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

typedef uint64_t u64;
typedef int64_t i64;

/* ---------------------------------------------------------------- histogram */
#define HB 7 /* 128 sub-buckets per octave: < 0.8 % error */
typedef struct { u64 n, max, min, sum; u64 b[(64 - HB + 1) << HB]; } hist;

static unsigned h_idx(u64 v) {
    if (v < (1u << HB)) return (unsigned)v;
    int e = 63 - __builtin_clzll(v);
    return (unsigned)(((e - HB + 1) << HB) | ((v >> (e - HB)) & ((1u << HB) - 1)));
}
static u64 h_val(unsigned i) {
    if (i < (1u << HB)) return i;
    int s = (int)(i >> HB) - 1;
    return (((u64)(i & ((1u << HB) - 1)) | (1u << HB)) << s) + ((1ull << s) >> 1);
}
static void h_add(hist *h, u64 v) {
    h->b[h_idx(v)]++;
    h->sum += v;
    if (!h->n || v < h->min) h->min = v;
    if (v > h->max) h->max = v;
    h->n++;
}
static double h_q(hist *h, double q) {
    if (!h->n) return 0;
    u64 want = (u64)(q * (double)h->n + 0.5), c = 0;
    if (want < 1) want = 1;
    for (unsigned i = 0; i < sizeof h->b / sizeof *h->b; i++) {
        c += h->b[i];
        if (c >= want) { u64 v = h_val(i); return (double)(v > h->max ? h->max : v); }
    }
    return (double)h->max;
}
static void h_json(FILE *f, const char *name, hist *h) {
    fprintf(f, "\"%s\":{\"n\":%llu,\"min\":%.1f,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}",
            name, (unsigned long long)h->n, h->n ? h->min / 1e3 : 0.0, h->n ? h->sum / 1e3 / h->n : 0.0,
            h_q(h, .5) / 1e3, h_q(h, .9) / 1e3, h_q(h, .99) / 1e3, h_q(h, .999) / 1e3, h->max / 1e3);
}

/* ------------------------------------------------------------------ options */
enum { M_RUN, M_HOLD, M_STORM, M_STAMPEDE };
enum { R_HEADERS, R_BYTE, R_EVENT };
#define MAXH 32
static struct {
    struct sockaddr_in sub, pub;
    char subhost[128], pubhost[128];
    const char *bopen, *bsep, *bclose, *path, *hdr[MAXH], *pubpath, *pubhdr[MAXH], *pubbody, *pubmethod, *tskey, *stormid, *donekey;
    char **tokens;
    int ntokens, cycle, batch, nhdr, npubhdr, conns, inflight, mode, ready, users, base, conc, stall, rcvbuf, lockstep, spread, has_pub, busy;
    double retry, warmtime, rate, pubrate, pubtime, warm, settle, drain, duration, hold, gap, churn, connto;
    u64 pubcount, events, gappubs, need, warmpubs, seed;
    double expect; /* deliveries per publish; <0: conns/users */
    int realclock, verbose;
    int pids[64], npids;
} o = {.batch = 1, .bopen = "", .bsep = "\n", .bclose = "", .path = "/", .pubpath = NULL, .pubmethod = "POST", .pubbody = "{\"t\":%t,\"n\":%n}", .tskey = "\"t\":",
       .conns = 1, .inflight = 256, .conc = 1, .drain = 3, .duration = 600, .expect = -1, .gap = 1, .need = 1,
       .spread = 4000, .connto = 30, .settle = 0.2, .retry = 0.2, .warmtime = 1e9, .seed = 1};

static void usage(void) {
    fprintf(stderr,
"usage: sseload --target HOST:PORT --path TEMPLATE [options]\n"
" subscribers\n"
"  -c, --conns N            connections (1)\n"
"  -H, --header LINE        extra request header, repeatable, may hold %%d\n"
"      --users U            user number of connection i is BASE + i %% U (U = N)\n"
"      --base B             first user number (0)\n"
"      --tokens FILE        a token a line, the first for user 0: what %%k stands for\n"
"      --seed N             of the choice of users and of waiting times (1)\n"
"      --inflight F         at most F connections not yet up (256)\n"
"      --rate R             at most R new connections a second (0: no limit)\n"
"      --ready WHAT         a connection is up at: headers | byte | event (headers)\n"
"      --stall N            the first N connections stop reading once up\n"
"      --rcvbuf BYTES       SO_RCVBUF of the subscribers\n"
"      --spread N           a new 127.x source address every N connections (4000, 0: off)\n"
" what is run\n"
"      --mode M             run | hold | storm | stampede (run)\n"
"      --settle S           pause once all are up (0.2)\n"
"      --events N           run: stop after N deliveries\n"
"      --duration S         hard limit after all are up (600)\n"
"      --connect-timeout S  give up connecting after S (30)\n"
"      --drain S            stop S after the last byte when publishing is over (3)\n"
"      --hold S             hold mode: how long\n"
"      --churn R            hold mode: close and reopen R connections a second\n"
"      --storm-id X         storm: Last-Event-ID: 'last' (per connection), 'none', or a fixed value\n"
"      --gap S              storm: pause between closing and reconnecting (1)\n"
"      --gap-pubs N         storm: publishes during the gap (0)\n"
"      --need K             storm: a connection is done after K events (1)\n"
"      --done WHAT          storm, stampede: 'up' = done once up again; anything else = done\n"
"                           at the first event that has this text in its data\n"
"      --retry S            stampede: come back after S x 0.5 to 1.5, or the 'retry:' told (0.2)\n"
" stampede: all connect, a line says so, somebody kills the server and starts it again; each\n"
" connection that is lost comes back by itself, all at once, until every one of them is done.\n"
" publisher\n"
"      --pub-target H:P     (as --target)   --pub-path TEMPLATE  switches it on\n"
"      --pub-url URL        http://host:port/path, both in one\n"
"      --pub-method M --pub-header LINE --pub-body TEMPLATE\n"
"      --pub-conc K         keep-alive connections (1)\n"
"      --pub-count N        publishes in all    --pub-time S   or for S seconds\n"
"      --pub-rate R         publishes a second (0: as fast as answered)\n"
"      --pub-lockstep       next publish only when the last one is fully delivered\n"
"      --pub-batch B        B items (each its own user, time, number) in one request body,\n"
"                           joined by --pub-sep (newline) between --pub-open and --pub-close\n"
"      --user-order O       random | cycle: which user the next item is for (random)\n"
"      --warm-pubs N        publishes in lockstep before the others; they have their own\n"
"                           histogram (lockstep_us)    --warm-time S  for S seconds at most\n"
"      --expect X           deliveries per publish (conns / users)\n"
" measuring\n"
"      --ts-key KEY         text before the timestamp digits (\"t\":)\n"
"      --clock mono|real    clock of the timestamp (mono)\n"
"      --warmup S           ignore deliveries in the first S seconds of publishing\n"
"      --server-pid P       sample CPU and memory of P and its descendants, repeatable\n"
"      --busy               poll instead of sleeping\n");
    exit(2);
}

/* -------------------------------------------------------------------- clock */
static u64 mono(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}
static i64 real_off; /* REALTIME - MONOTONIC */
static u64 tsnow(void) {
    if (!o.realclock) return mono();
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

/* ------------------------------------------------- server CPU and memory */
typedef struct { double cpu, wait; u64 rss, pss; int procs; u64 sockmem; } sample_t;

/* Time on a core, and time in the queue for one: the second tells of a busy machine. */
static void add_cpu(int pid, sample_t *s) {
    char p[64];
    snprintf(p, sizeof p, "/proc/%d/task", pid);
    DIR *d = opendir(p);
    if (!d) return;
    struct dirent *e;
    while ((e = readdir(d))) {
        if (!isdigit((unsigned char)e->d_name[0])) continue;
        char q[400], buf[128];
        snprintf(q, sizeof q, "/proc/%d/task/%s/schedstat", pid, e->d_name);
        int fd = open(q, O_RDONLY);
        if (fd < 0) continue;
        ssize_t n = read(fd, buf, sizeof buf - 1);
        close(fd);
        if (n <= 0) continue;
        buf[n] = 0;
        char *rest;
        s->cpu += strtod(buf, &rest) / 1e9;
        s->wait += strtod(rest, NULL) / 1e9;
    }
    closedir(d);
}
static int ppid_of(int pid) {
    char p[64], buf[512];
    snprintf(p, sizeof p, "/proc/%d/stat", pid);
    int fd = open(p, O_RDONLY);
    if (fd < 0) return -1;
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    if (n <= 0) return -1;
    buf[n] = 0;
    char *r = strrchr(buf, ')');
    int pp = -1;
    if (r) sscanf(r + 1, " %*c %d", &pp);
    return pp;
}
static void add_mem(int pid, sample_t *s) {
    char p[64], line[256];
    snprintf(p, sizeof p, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(p, "r");
    if (!f) return;
    unsigned long long v;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "Rss: %llu", &v) == 1) s->rss += v * 1024;
        else if (sscanf(line, "Pss: %llu", &v) == 1) s->pss += v * 1024;
    }
    fclose(f);
}
static sample_t sample(void) {
    sample_t s = {0};
    if (!o.npids) return s;
    int set[4096], n = 0;
    for (int i = 0; i < o.npids; i++) set[n++] = o.pids[i];
    for (int pass = 0; pass < 4; pass++) { /* descendants */
        int before = n;
        DIR *d = opendir("/proc");
        struct dirent *e;
        while (d && (e = readdir(d))) {
            if (!isdigit((unsigned char)e->d_name[0])) continue;
            int pid = atoi(e->d_name), pp = ppid_of(pid), in = 0, up = 0;
            for (int i = 0; i < n; i++) { if (set[i] == pid) in = 1; if (set[i] == pp) up = 1; }
            if (!in && up && n < 4096) set[n++] = pid;
        }
        if (d) closedir(d);
        if (n == before) break;
    }
    for (int i = 0; i < n; i++) { add_cpu(set[i], &s); add_mem(set[i], &s); }
    s.procs = n;
    FILE *f = fopen("/proc/net/sockstat", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long m;
        char *p = strstr(line, "TCP:");
        if (p && (p = strstr(line, " mem ")) && sscanf(p, " mem %llu", &m) == 1) s.sockmem = m * 4096;
    }
    if (f) fclose(f);
    return s;
}
static double own_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_utime.tv_usec / 1e6 + r.ru_stime.tv_sec + r.ru_stime.tv_usec / 1e6;
}

/* -------------------------------------------------------------- connections */
enum { S_CLOSED, S_CONNECTING, S_HEAD, S_BODY, S_IDLE };
enum { C_SIZE, C_EXT, C_DATA, C_CRLF, C_TRAIL };
typedef struct conn {
    int fd, user, idx;
    uint8_t pub, st, chunked, cst, data_seen, up, done, stalled, closehdr, want_out, trail_len;
    int status;
    i64 left;       /* bytes left in body (content-length) or chunk; -1: until close */
    i64 clen;
    u64 ts, t0, evs;
    char *lb;       /* partial line or header */
    unsigned ln, lc;
    char *out;      /* rest of a request */
    unsigned on, oo;
    u64 due;        /* stampede: when to come back */
    int retry_ms;   /* what the server has asked for, or -1 */
    uint8_t back;   /* stampede: it was lost and has come back */
    uint8_t key_seen;
    char id[136];
} conn;

static int ep;
static conn *subs, *pubs;
static int *freepubs, nfree;
static hist lat, warmlat, publat, ttfe, ttfe_self, cthist;
static struct {
    u64 events, deliv, deliv_warm, comments, bytes, neg, conn_err, http_err, disc, stall_drop, pub_sent, pub_ok, pub_err, pub_recon, storm_done, extra, refused, beats0;
    int up, inflight, opened;
    int last_status;
} k;
static int phase, churning;
enum { P_CONNECT, P_SETTLE, P_PUB, P_DRAIN, P_HOLD, P_GAP, P_GAPPUB, P_RECON, P_STAMP, P_END };
static u64 t_start, t_up, t_phase, t_firstpub, t_lastev, t_lastbyte, t_storm, t_done, warm_until;
static int use_lastid;
static u64 rs = 88172645463325252ull;
static u64 rnd(void) { rs ^= rs << 13; rs ^= rs >> 7; rs ^= rs << 17; return rs; }

static void die(const char *m) { perror(m); exit(1); }

static unsigned expand(char *dst, unsigned cap, const char *t, int user, u64 ts, u64 seq) {
    unsigned n = 0;
    for (; *t && n + 24 < cap; t++) { /* a token that does not fit is left out: 401 tells */
        if (*t != '%') { dst[n++] = *t; continue; }
        switch (*++t) {
        case 'd': n += (unsigned)sprintf(dst + n, "%d", user); break;
        case 't': n += (unsigned)sprintf(dst + n, "%llu", (unsigned long long)ts); break;
        case 'n': n += (unsigned)sprintf(dst + n, "%llu", (unsigned long long)seq); break;
        case 'k':
            if (user < o.ntokens) {
                size_t l = strlen(o.tokens[user]);
                if (n + l + 24 < cap) { memcpy(dst + n, o.tokens[user], l); n += (unsigned)l; }
            }
            break;
        case '%': dst[n++] = '%'; break;
        default: dst[n++] = '%'; if (*t) dst[n++] = *t; else t--;
        }
    }
    dst[n] = 0;
    return n;
}
static void lb_add(conn *c, const char *p, unsigned n) {
    if (c->ln + n > c->lc) {
        unsigned nc = c->lc ? c->lc : 256;
        while (nc < c->ln + n) nc *= 2;
        if (nc > (1u << 22)) { c->ln = 0; return; }
        c->lb = realloc(c->lb, nc);
        c->lc = nc;
    }
    memcpy(c->lb + c->ln, p, n);
    c->ln += n;
}
static void arm(conn *c, int out) {
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->want_out = (uint8_t)out;
}
static void conn_close(conn *c) {
    if (!c->pub && phase == P_STAMP && c->fd >= 0) {
        u64 wait = c->retry_ms >= 0 ? (u64)c->retry_ms * 1000000 : (u64)(o.retry * 1e9 * (0.5 + (double)(rnd() % 1000) / 1000));
        if (c->done) { c->done = 0; k.storm_done--; }
        if (!t_storm) t_storm = mono();
        c->due = mono() + wait;
    }
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->st = S_CLOSED;
    c->ln = c->on = c->oo = 0;
    c->data_seen = 0;
    c->ts = 0;
}
static void send_out(conn *c) {
    while (c->oo < c->on) {
        ssize_t w = send(c->fd, c->out + c->oo, c->on - c->oo, MSG_NOSIGNAL);
        if (w < 0) {
            if (errno == EAGAIN) { if (!c->want_out) arm(c, 1); }
            return;
        }
        c->oo += (unsigned)w;
    }
    c->on = c->oo = 0;
    if (c->want_out) arm(c, 0);
}
static void sub_request(conn *c) {
    static char b[16384];
    unsigned n = (unsigned)snprintf(b, sizeof b, "GET ");
    n += expand(b + n, sizeof b - n, o.path, c->user, 0, 0);
    n += (unsigned)snprintf(b + n, sizeof b - n, " HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n", o.subhost);
    for (int i = 0; i < o.nhdr; i++) {
        n += expand(b + n, sizeof b - n, o.hdr[i], c->user, 0, 0);
        n += (unsigned)snprintf(b + n, sizeof b - n, "\r\n");
    }
    if (use_lastid) {
        const char *id = o.stormid && strcmp(o.stormid, "last") ? o.stormid : c->id;
        if (*id) n += (unsigned)snprintf(b + n, sizeof b - n, "Last-Event-ID: %s\r\n", id);
    }
    n += (unsigned)snprintf(b + n, sizeof b - n, "\r\n");
    c->out = realloc(c->out, n);
    memcpy(c->out, b, n);
    c->on = n;
    c->oo = 0;
    send_out(c);
}
static int src_salt;
static int conn_open(conn *c, struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) { if (errno == EMFILE) { fprintf(stderr, "sseload: out of file descriptors\n"); } k.conn_err++; return -1; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!c->pub && o.rcvbuf) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &o.rcvbuf, sizeof o.rcvbuf);
    if (o.spread && (ntohl(to->sin_addr.s_addr) >> 24) == 127) {
        struct sockaddr_in s = {.sin_family = AF_INET};
        unsigned blk = c->pub ? 250 : (unsigned)(c->idx / o.spread) % 120 + (use_lastid ? 120 : 0);
        s.sin_addr.s_addr = htonl(0x7f000000u | (64u + (unsigned)src_salt % 64) << 16 | (unsigned)(src_salt / 64 % 256) << 8 | (blk + 1));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&s, sizeof s) < 0) { k.conn_err++; close(fd); return -1; }
    }
    c->fd = fd;
    c->ln = c->on = c->oo = 0;
    c->data_seen = c->up = c->done = c->chunked = c->key_seen = 0;
    c->retry_ms = -1;
    c->ts = 0;
    c->evs = 0;
    c->t0 = mono();
    c->st = S_CONNECTING;
    c->want_out = 1;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    if (connect(fd, (struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) {
        k.conn_err++;
        conn_close(c);
        return -1;
    }
    return 0;
}
static void mark_done(conn *c) {
    if (c->done || (phase == P_STAMP && !c->back)) return;
    u64 n = mono();
    c->done = 1;
    k.storm_done++;
    h_add(&ttfe, n - t_storm);
    h_add(&ttfe_self, n - c->t0);
}
static int done_at_up(void) { return o.donekey && !strcmp(o.donekey, "up"); }
static void mark_up(conn *c) {
    if (c->up) return;
    c->up = 1;
    if ((phase == P_RECON || phase == P_STAMP) && done_at_up()) mark_done(c);
    k.up++;
    k.inflight--;
    h_add(&cthist, mono() - c->t0);
    if (c->idx < o.stall) c->stalled = 1;
    if (c->stalled) { struct epoll_event e = {.events = 0, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); }
}

/* --------------------------------------------------------------- SSE parsing */
static size_t tskey_len;
static u64 now_ts; /* time of the read being parsed, in the timestamp's clock */

static inline void dispatch(conn *c) {
    if (!c->data_seen) return;
    c->data_seen = 0;
    k.events++;
    c->evs++;
    if (o.ready == R_EVENT && !c->up) mark_up(c);
    if (phase == P_RECON || phase == P_STAMP) {
        if (c->ts) k.extra++;
        if (o.donekey ? c->key_seen && !done_at_up() : c->evs == o.need) mark_done(c);
    } else if (c->ts) {
        t_lastev = mono();
        if (phase == P_PUB || phase == P_DRAIN) {
            if (k.pub_sent <= o.warmpubs && o.warmpubs) {
                k.deliv_warm++;
                if (now_ts >= c->ts) h_add(&warmlat, now_ts - c->ts);
            } else {
                k.deliv++;
                if (t_lastev >= warm_until) {
                    if (now_ts >= c->ts) h_add(&lat, now_ts - c->ts);
                    else k.neg++;
                }
            }
        } else k.extra++;
    }
    c->ts = 0;
}
static inline void line(conn *c, const char *p, unsigned n) {
    if (n && p[n - 1] == '\r') n--;
    if (!n) { dispatch(c); return; }
    switch (p[0]) {
    case 'd':
        if (n >= 5 && !memcmp(p, "data:", 5)) {
            c->data_seen = 1;
            if (o.donekey && !c->key_seen && memmem(p + 5, n - 5, o.donekey, strlen(o.donekey))) c->key_seen = 1;
            if (!c->ts) {
                const char *q = memmem(p + 5, n - 5, o.tskey, tskey_len), *e = p + n;
                if (q) {
                    u64 v = 0;
                    for (q += tskey_len; q < e && (*q == ' ' || *q == '"'); q++) {}
                    for (; q < e && *q >= '0' && *q <= '9'; q++) v = v * 10 + (u64)(*q - '0');
                    c->ts = v;
                }
            }
        }
        break;
    case 'i':
        if (o.mode >= M_STORM && n > 3 && !memcmp(p, "id:", 3)) {
            const char *q = p + 3;
            unsigned m = n - 3;
            if (m && *q == ' ') { q++; m--; }
            if (m >= sizeof c->id) m = sizeof c->id - 1;
            memcpy(c->id, q, m);
            c->id[m] = 0;
        }
        break;
    case 'r':
        if (phase == P_STAMP && n > 6 && !memcmp(p, "retry:", 6)) c->retry_ms = atoi(p + 6);
        break;
    case ':': k.comments++; break;
    }
}
static void sse_feed(conn *c, const char *p, size_t n) {
    if (o.ready == R_BYTE && !c->up) mark_up(c);
    while (n) {
        const char *e = memchr(p, '\n', n);
        if (!e) { lb_add(c, p, (unsigned)n); return; }
        unsigned len = (unsigned)(e - p);
        if (c->ln) { lb_add(c, p, len); unsigned l = c->ln; c->ln = 0; line(c, c->lb, l); }
        else line(c, p, len);
        n -= len + 1;
        p = e + 1;
    }
}

/* -------------------------------------------------------------- HTTP parsing */
static void pub_done(conn *c);
static void body_end(conn *c) {
    if (c->pub) pub_done(c);
    else { k.disc += c->up; if (c->up) k.up--; else k.inflight--; conn_close(c); }
}
static int body(conn *c, const char *p, size_t n) { /* 0: connection gone */
    if (!c->chunked) {
        if (c->left >= 0) {
            size_t m = n < (size_t)c->left ? n : (size_t)c->left;
            if (!c->pub) sse_feed(c, p, m);
            c->left -= (i64)m;
            if (!c->left) { body_end(c); return c->pub; }
        } else if (!c->pub) sse_feed(c, p, n);
        return 1;
    }
    while (n) {
        switch (c->cst) {
        case C_SIZE: {
            char ch = *p;
            int v = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
            if (v >= 0) { c->left = c->left * 16 + v; p++; n--; }
            else c->cst = C_EXT;
            break;
        }
        case C_EXT: {
            const char *e = memchr(p, '\n', n);
            if (!e) return 1;
            n -= (size_t)(e + 1 - p);
            p = e + 1;
            c->cst = c->left ? C_DATA : C_TRAIL;
            c->trail_len = 0;
            break;
        }
        case C_DATA: {
            size_t m = n < (size_t)c->left ? n : (size_t)c->left;
            if (!c->pub) { sse_feed(c, p, m); if (c->st != S_BODY) return 0; }
            c->left -= (i64)m;
            p += m;
            n -= m;
            if (!c->left) c->cst = C_CRLF;
            break;
        }
        case C_CRLF:
            if (*p == '\n') { c->cst = C_SIZE; c->left = 0; }
            p++;
            n--;
            break;
        case C_TRAIL:
            if (*p == '\n') {
                if (!c->trail_len) { body_end(c); return c->pub; }
                c->trail_len = 0;
            } else if (*p != '\r') c->trail_len = 1;
            p++;
            n--;
            break;
        }
    }
    return 1;
}
static const char *hfind(const char *h, const char *end, const char *name) {
    size_t l = strlen(name);
    while (h < end) {
        const char *e = memchr(h, '\n', (size_t)(end - h));
        if (!e) e = end;
        if ((size_t)(e - h) > l && !strncasecmp(h, name, l) && h[l] == ':') {
            h += l + 1;
            while (h < e && *h == ' ') h++;
            return h;
        }
        h = e + 1;
    }
    return NULL;
}
static int head(conn *c, const char *p, size_t n) { /* 0: gone */
    lb_add(c, p, (unsigned)n);
    for (;;) {
        char *e = memmem(c->lb, c->ln, "\r\n\r\n", 4);
        if (!e) return 1;
        e += 4;
        int st = c->ln > 12 ? atoi(c->lb + 9) : 0;
        unsigned hl = (unsigned)(e - c->lb), rest = c->ln - hl;
        if (st >= 100 && st < 200) { memmove(c->lb, e, rest); c->ln = rest; continue; }
        const char *v = hfind(c->lb, e, "transfer-encoding");
        c->chunked = v && !strncasecmp(v, "chunked", 7);
        v = hfind(c->lb, e, "content-length");
        c->left = v ? atoll(v) : -1;
        v = hfind(c->lb, e, "connection");
        c->closehdr = v && !strncasecmp(v, "close", 5);
        if (c->chunked) { c->cst = C_SIZE; c->left = 0; }
        c->status = k.last_status = st;
        if (!c->pub) {
            if (st != 200) {
                k.http_err++;
                k.inflight--;
                if (o.verbose) fprintf(stderr, "HTTP %.*s\n", (int)(c->ln < 400 ? c->ln : 400), c->lb);
                conn_close(c);
                return 0;
            }
            if (o.ready == R_HEADERS) mark_up(c);
        }
        c->st = S_BODY;
        char *tmp = NULL;
        if (rest) { tmp = alloca(rest); memcpy(tmp, e, rest); }
        c->ln = 0;
        if (c->pub && !c->chunked && (c->left == 0 || st == 204)) { pub_done(c); return 1; }
        if (rest) return body(c, tmp, rest);
        return 1;
    }
}

/* ----------------------------------------------------------------- publisher */
static u64 pub_limit, pub_seq, pub_due0, pub_until;
static double pub_rate_now;
static int pub_active, lock_now, warm_over;
static sample_t s_warm;

static int pick(u64 item) {
    if (o.users <= 1) return o.base;
    return o.base + (int)((o.cycle ? item : rnd()) % (u64)o.users);
}
static void pub_send(conn *c) {
    static char b[1 << 20], body_[(1 << 20) - 65536];
    u64 t = mono(), ts;
    if (pub_rate_now > 0) { u64 due = pub_due0 + (u64)(pub_seq * 1e9 / pub_rate_now); ts = due; } else ts = t;
    if (o.realclock) ts = (u64)((i64)ts + real_off);
    int user = o.batch > 1 ? o.base : pick(pub_seq);
    unsigned bn = 0;
    if (o.batch > 1) {
        bn = expand(body_, sizeof body_, o.bopen, user, ts, pub_seq);
        for (int i = 0; i < o.batch; i++) {
            int u = pick(pub_seq * (u64)o.batch + (u64)i);
            if (i) bn += expand(body_ + bn, sizeof body_ - bn, o.bsep, u, ts, 0);
            bn += expand(body_ + bn, sizeof body_ - bn, o.pubbody, u, ts, pub_seq * (u64)o.batch + (u64)i);
        }
        bn += expand(body_ + bn, sizeof body_ - bn, o.bclose, user, ts, pub_seq);
    } else bn = expand(body_, sizeof body_, o.pubbody, user, ts, pub_seq);
    unsigned n = (unsigned)sprintf(b, "%s ", o.pubmethod);
    n += expand(b + n, 4096, o.pubpath, user, ts, pub_seq);
    n += (unsigned)sprintf(b + n, " HTTP/1.1\r\nHost: %s\r\nContent-Length: %u\r\n", o.pubhost, bn);
    for (int i = 0; i < o.npubhdr; i++) { n += expand(b + n, 2048, o.pubhdr[i], user, ts, pub_seq); n += (unsigned)sprintf(b + n, "\r\n"); }
    n += (unsigned)sprintf(b + n, "\r\n");
    memcpy(b + n, body_, bn);
    n += bn;
    c->out = realloc(c->out, n);
    memcpy(c->out, b, n);
    c->on = n;
    c->oo = 0;
    c->st = S_HEAD;
    c->ln = 0;
    c->t0 = t;
    pub_seq++;
    k.pub_sent++;
    if (!t_firstpub && k.pub_sent > o.warmpubs) t_firstpub = t;
    send_out(c);
}
static void pub_done(conn *c) {
    if (c->status >= 200 && c->status < 300) k.pub_ok++;
    else {
        k.pub_err++;
        if (o.verbose) fprintf(stderr, "publish answered %d\n", c->status);
    }
    if (k.pub_sent > o.warmpubs) h_add(&publat, mono() - c->t0);
    c->ln = 0;
    if (c->closehdr) { conn_close(c); k.pub_recon++; if (conn_open(c, &o.pub) < 0) return; c->closehdr = 0; return; }
    c->st = S_IDLE;
    freepubs[nfree++] = c->idx;
}
static double exp_per_pub(void) { return o.batch * (o.expect >= 0 ? o.expect : (double)(k.up - (o.stall < k.up ? o.stall : k.up)) / (o.users > 0 ? o.users : 1)); }
static u64 expected(void) { return (u64)((double)k.pub_ok * exp_per_pub() + 0.5); }
static void pub_pump(void) {
    if (!pub_active) return;
    if (k.pub_sent < o.warmpubs && mono() - pub_due0 > (u64)(o.warmtime * 1e9)) {
        if (pub_limit) pub_limit -= o.warmpubs - k.pub_sent;
        o.warmpubs = k.pub_sent;
    }
    while (nfree) {
        if (pub_limit && pub_seq >= pub_limit) return;
        u64 n = mono();
        if (pub_until && n >= pub_until) return;
        if (pub_rate_now > 0 && n < pub_due0 + (u64)(pub_seq * 1e9 / pub_rate_now)) return;
        if ((lock_now || (o.warmpubs && k.pub_sent <= o.warmpubs)) && (k.deliv + k.deliv_warm) < (u64)((double)k.pub_sent * exp_per_pub() + 0.5)
            && n - t_lastbyte < (u64)(o.drain * 1e9)) return;
        if (o.warmpubs && k.pub_sent == o.warmpubs && !warm_over) { warm_over = 1; s_warm = sample(); }
        pub_send(&pubs[freepubs[--nfree]]);
    }
}
static void pub_begin(u64 count, double secs, double rate, int lock) {
    pub_seq = 0;
    pub_limit = count;
    pub_due0 = mono();
    pub_until = secs > 0 ? pub_due0 + (u64)(secs * 1e9) : 0;
    pub_rate_now = rate;
    lock_now = lock;
    pub_active = 1;
    t_lastbyte = mono();
}
static int pub_over(void) {
    int quota = (pub_limit && pub_seq >= pub_limit) || (pub_until && mono() >= pub_until);
    return quota && nfree == o.conc;
}

/* ---------------------------------------------------------------- event loop */
static char rbuf[1 << 18];

static void lost(conn *c) {
    if (c->pub) {
        if (c->st == S_BODY && !c->chunked && c->left < 0) { c->closehdr = 1; pub_done(c); return; }
        if (c->st == S_HEAD) k.pub_err++;
        for (int i = 0; i < nfree; i++) if (freepubs[i] == c->idx) { freepubs[i] = freepubs[--nfree]; break; }
        conn_close(c);
        k.pub_recon++;
        if (k.pub_recon < 100000) conn_open(c, &o.pub);
        return;
    }
    if (c->up) { k.disc++; k.up--; }
    else { k.inflight--; if (phase == P_STAMP) k.refused++; else k.conn_err++; }
    conn_close(c);
}
static void on_event(conn *c, uint32_t ev) {
    if (c->fd < 0) return;
    if (c->st == S_CONNECTING && (ev & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int err = 0;
        socklen_t l = sizeof err;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
        if (err) { if (o.verbose) fprintf(stderr, "connect: %s\n", strerror(err)); lost(c); return; }
        if (c->pub) { c->st = S_IDLE; arm(c, 0); freepubs[nfree++] = c->idx; return; }
        c->st = S_HEAD;
        sub_request(c);
        if (c->want_out && !c->on) arm(c, 0);
        return;
    }
    if (c->stalled && c->up) { if (ev & (EPOLLHUP | EPOLLERR)) { k.stall_drop++; epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL); k.up--; conn_close(c); } return; }
    if ((ev & EPOLLOUT) && c->on) send_out(c);
    if (!(ev & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    for (;;) {
        ssize_t n = recv(c->fd, rbuf, sizeof rbuf, 0);
        if (n < 0) { if (errno == EAGAIN || errno == EINTR) return; lost(c); return; }
        if (n == 0) { lost(c); return; }
        k.bytes += (u64)n;
        now_ts = tsnow();
        t_lastbyte = o.realclock ? mono() : now_ts;
        int alive = c->st == S_HEAD ? head(c, rbuf, (size_t)n) : c->st == S_BODY ? body(c, rbuf, (size_t)n) : 1;
        if (!alive || c->fd < 0 || n < (ssize_t)sizeof rbuf) return;
    }
}
static u64 conn_t0;
static int next_conn;
static void pump_conns(void) {
    while (next_conn < o.conns && k.inflight < o.inflight) {
        if (o.rate > 0 && mono() < conn_t0 + (u64)(next_conn * 1e9 / o.rate)) return;
        conn *c = &subs[next_conn++];
        if (conn_open(c, &o.sub) == 0) { k.inflight++; k.opened++; }
    }
}
/* Open again what was lost and has waited for long enough. */
static void come_back(void) {
    static u64 last;
    u64 now = mono();
    if (now - last < 1000000) return;
    last = now;
    for (int i = 0; i < o.conns; i++) {
        conn *c = &subs[i];
        if (c->fd >= 0 || c->due > now || !t_storm) continue;
        c->back = 1;
        if (conn_open(c, &o.sub) == 0) k.inflight++;
    }
}
static void poll_once(int max_us) {
    struct epoll_event ev[512];
    struct timespec ts = {0, (o.busy ? 0 : max_us) * 1000L};
    int n = epoll_pwait2(ep, ev, 512, &ts, NULL);
    for (int i = 0; i < n; i++) on_event(ev[i].data.ptr, ev[i].events);
}
static void parse_addr(const char *s, struct sockaddr_in *a, char *host, size_t hl) {
    char h[128];
    snprintf(h, sizeof h, "%s", s);
    snprintf(host, hl, "%s", s);
    char *c = strrchr(h, ':');
    if (!c) usage();
    *c = 0;
    a->sin_family = AF_INET;
    a->sin_port = htons((uint16_t)atoi(c + 1));
    if (inet_pton(AF_INET, strcmp(h, "localhost") ? h : "127.0.0.1", &a->sin_addr) != 1) {
        struct hostent *e = gethostbyname(h);
        if (!e) { fprintf(stderr, "unknown host %s\n", h); exit(1); }
        memcpy(&a->sin_addr, e->h_addr_list[0], 4);
    }
}
static void js_sample(const char *n, sample_t *s) {
    printf("\"%s\":{\"cpu_s\":%.4f,\"wait_s\":%.4f,\"rss\":%llu,\"pss\":%llu,\"procs\":%d,\"tcp_mem\":%llu},", n, s->cpu, s->wait,
           (unsigned long long)s->rss, (unsigned long long)s->pss, s->procs, (unsigned long long)s->sockmem);
}
static void read_tokens(const char *name) {
    FILE *f = fopen(name, "r");
    if (!f) die(name);
    char *l = NULL;
    size_t cap = 0;
    ssize_t n;
    while ((n = getline(&l, &cap, f)) >= 0) {
        while (n && (l[n - 1] == '\n' || l[n - 1] == '\r')) l[--n] = 0;
        o.tokens = realloc(o.tokens, sizeof *o.tokens * (size_t)(o.ntokens + 1));
        o.tokens[o.ntokens++] = strdup(l);
    }
    free(l);
    fclose(f);
}
static volatile sig_atomic_t stop_;
static void on_sig(int s) { (void)s; stop_ = 1; }

int main(int argc, char **argv) {
    enum { K_TARGET = 256, K_PATH, K_USERS, K_BASE, K_INFL, K_RATE, K_READY, K_STALL, K_RCVBUF, K_SPREAD, K_MODE, K_SETTLE,
           K_EVENTS, K_DUR, K_CTO, K_DRAIN, K_HOLD, K_CHURN, K_SID, K_GAP, K_GAPP, K_NEED, K_PT, K_PP, K_PURL, K_PM, K_PH,
           K_PB, K_PC, K_PN, K_PTIME, K_PR, K_PL, K_WP, K_EXP, K_TSK, K_CLK, K_WARM, K_PID, K_BUSY, K_BATCH, K_BO, K_BS, K_BC, K_TOK, K_SEED, K_DONE, K_RETRY, K_ORDER, K_WT };
    static struct option lo[] = {
        {"target", 1, 0, K_TARGET}, {"path", 1, 0, K_PATH}, {"conns", 1, 0, 'c'}, {"header", 1, 0, 'H'}, {"users", 1, 0, K_USERS},
        {"base", 1, 0, K_BASE}, {"inflight", 1, 0, K_INFL}, {"rate", 1, 0, K_RATE}, {"ready", 1, 0, K_READY}, {"stall", 1, 0, K_STALL},
        {"rcvbuf", 1, 0, K_RCVBUF}, {"spread", 1, 0, K_SPREAD}, {"mode", 1, 0, K_MODE}, {"settle", 1, 0, K_SETTLE},
        {"events", 1, 0, K_EVENTS}, {"duration", 1, 0, K_DUR}, {"connect-timeout", 1, 0, K_CTO}, {"drain", 1, 0, K_DRAIN},
        {"hold", 1, 0, K_HOLD}, {"churn", 1, 0, K_CHURN}, {"storm-id", 1, 0, K_SID}, {"gap", 1, 0, K_GAP}, {"gap-pubs", 1, 0, K_GAPP},
        {"need", 1, 0, K_NEED}, {"pub-target", 1, 0, K_PT}, {"pub-path", 1, 0, K_PP}, {"pub-url", 1, 0, K_PURL}, {"pub-method", 1, 0, K_PM},
        {"pub-header", 1, 0, K_PH}, {"pub-body", 1, 0, K_PB}, {"pub-conc", 1, 0, K_PC}, {"pub-count", 1, 0, K_PN}, {"pub-time", 1, 0, K_PTIME},
        {"pub-rate", 1, 0, K_PR}, {"pub-lockstep", 0, 0, K_PL}, {"warm-pubs", 1, 0, K_WP}, {"expect", 1, 0, K_EXP}, {"ts-key", 1, 0, K_TSK},
        {"clock", 1, 0, K_CLK}, {"warmup", 1, 0, K_WARM}, {"server-pid", 1, 0, K_PID}, {"busy", 0, 0, K_BUSY}, {"pub-batch", 1, 0, K_BATCH}, {"pub-open", 1, 0, K_BO}, {"pub-sep", 1, 0, K_BS}, {"pub-close", 1, 0, K_BC}, {"verbose", 0, 0, 'v'},
        {"tokens", 1, 0, K_TOK}, {"seed", 1, 0, K_SEED}, {"done", 1, 0, K_DONE}, {"retry", 1, 0, K_RETRY}, {"user-order", 1, 0, K_ORDER},
        {"warm-time", 1, 0, K_WT},
        {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
    int ch, havet = 0;
    while ((ch = getopt_long(argc, argv, "c:H:vh", lo, NULL)) != -1) switch (ch) {
        case K_TARGET: parse_addr(optarg, &o.sub, o.subhost, sizeof o.subhost); havet = 1; break;
        case K_PATH: o.path = optarg; break;
        case 'c': o.conns = atoi(optarg); break;
        case 'H': if (o.nhdr < MAXH) o.hdr[o.nhdr++] = optarg; break;
        case K_USERS: o.users = atoi(optarg); break;
        case K_BASE: o.base = atoi(optarg); break;
        case K_INFL: o.inflight = atoi(optarg); break;
        case K_RATE: o.rate = atof(optarg); break;
        case K_READY: o.ready = !strcmp(optarg, "event") ? R_EVENT : !strcmp(optarg, "byte") ? R_BYTE : R_HEADERS; break;
        case K_STALL: o.stall = atoi(optarg); break;
        case K_RCVBUF: o.rcvbuf = atoi(optarg); break;
        case K_SPREAD: o.spread = atoi(optarg); break;
        case K_MODE: o.mode = !strcmp(optarg, "hold") ? M_HOLD : !strcmp(optarg, "storm") ? M_STORM : !strcmp(optarg, "stampede") ? M_STAMPEDE : M_RUN; break;
        case K_SETTLE: o.settle = atof(optarg); break;
        case K_EVENTS: o.events = strtoull(optarg, 0, 10); break;
        case K_DUR: o.duration = atof(optarg); break;
        case K_CTO: o.connto = atof(optarg); break;
        case K_DRAIN: o.drain = atof(optarg); break;
        case K_HOLD: o.hold = atof(optarg); break;
        case K_CHURN: o.churn = atof(optarg); break;
        case K_SID: o.stormid = optarg; break;
        case K_GAP: o.gap = atof(optarg); break;
        case K_GAPP: o.gappubs = strtoull(optarg, 0, 10); break;
        case K_NEED: o.need = strtoull(optarg, 0, 10); break;
        case K_PT: parse_addr(optarg, &o.pub, o.pubhost, sizeof o.pubhost); break;
        case K_PP: o.pubpath = optarg; break;
        case K_PURL: {
            const char *u = strncmp(optarg, "http://", 7) ? optarg : optarg + 7, *s = strchr(u, '/');
            char hp[128];
            snprintf(hp, sizeof hp, "%.*s", (int)(s ? s - u : (long)strlen(u)), u);
            parse_addr(hp, &o.pub, o.pubhost, sizeof o.pubhost);
            o.pubpath = s ? s : "/";
            break;
        }
        case K_PM: o.pubmethod = optarg; break;
        case K_PH: if (o.npubhdr < MAXH) o.pubhdr[o.npubhdr++] = optarg; break;
        case K_PB: o.pubbody = optarg; break;
        case K_PC: o.conc = atoi(optarg); break;
        case K_PN: o.pubcount = strtoull(optarg, 0, 10); break;
        case K_PTIME: o.pubtime = atof(optarg); break;
        case K_PR: o.pubrate = atof(optarg); break;
        case K_PL: o.lockstep = 1; break;
        case K_WP: o.warmpubs = strtoull(optarg, 0, 10); break;
        case K_EXP: o.expect = atof(optarg); break;
        case K_TSK: o.tskey = optarg; break;
        case K_CLK: o.realclock = !strcmp(optarg, "real"); break;
        case K_WARM: o.warm = atof(optarg); break;
        case K_PID: if (o.npids < 64) o.pids[o.npids++] = atoi(optarg); break;
        case K_BUSY: o.busy = 1; break;
        case K_BATCH: o.batch = atoi(optarg) > 1 ? atoi(optarg) : 1; break;
        case K_BO: o.bopen = optarg; break;
        case K_BS: o.bsep = optarg; break;
        case K_BC: o.bclose = optarg; break;
        case K_TOK: read_tokens(optarg); break;
        case K_SEED: o.seed = strtoull(optarg, 0, 10); break;
        case K_DONE: o.donekey = optarg; break;
        case K_RETRY: o.retry = atof(optarg); break;
        case K_ORDER: o.cycle = !strcmp(optarg, "cycle"); break;
        case K_WT: o.warmtime = atof(optarg); break;
        case 'v': o.verbose = 1; break;
        default: usage();
    }
    if (!havet || o.conns < 1) usage();
    if (!o.users) o.users = o.conns;
    if (!o.pub.sin_port) { o.pub = o.sub; strcpy(o.pubhost, o.subhost); }
    o.has_pub = o.pubpath != NULL;
    if (o.has_pub && !o.pubcount && !(o.pubtime > 0)) o.pubcount = 1;
    if (o.pubcount && o.warmpubs) o.pubcount += o.warmpubs;
    tskey_len = strlen(o.tskey);
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rlim_t want = (rlim_t)o.conns + (rlim_t)o.conc + 64;
    if (rl.rlim_cur < want) {
        rl.rlim_cur = want;
        if (rl.rlim_max < want) rl.rlim_max = want;
        if (setrlimit(RLIMIT_NOFILE, &rl) < 0) {
            getrlimit(RLIMIT_NOFILE, &rl);
            rl.rlim_cur = rl.rlim_max;
            setrlimit(RLIMIT_NOFILE, &rl);
            if (rl.rlim_cur < want) { fprintf(stderr, "sseload: RLIMIT_NOFILE %llu is below the %llu needed\n", (unsigned long long)rl.rlim_cur, (unsigned long long)want); return 2; }
        }
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, on_sig);
    signal(SIGTERM, on_sig);
    src_salt = (int)getpid();
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0) die("epoll_create1");
    {
        struct timespec a;
        clock_gettime(CLOCK_REALTIME, &a);
        real_off = (i64)((u64)a.tv_sec * 1000000000ull + (u64)a.tv_nsec) - (i64)mono();
    }
    rs ^= o.seed * 0x9E3779B97F4A7C15ull;
    if (!rs) rs = 1;
    subs = calloc((size_t)o.conns, sizeof *subs);
    for (int i = 0; i < o.conns; i++) { subs[i].fd = -1; subs[i].idx = i; subs[i].user = o.base + i % o.users; }
    sample_t s0 = sample(), s_up = {0}, s_pub = {0}, s_end = {0}, s_storm = {0};
    double c0 = own_cpu(), c_pub = 0, c_end;
    t_start = conn_t0 = mono();
    phase = P_CONNECT;
    u64 limit = 0, churned = 0, churn_t0 = 0;
    double connect_s = 0, storm_s = 0, storm_conn_s = 0;
    int storm_up_seen = 0, connected = 0, s_pub_taken = 0;
    while (phase != P_END && !stop_) {
        u64 now = mono();
        if (limit && now > limit && phase != P_END) {
            t_done = now;
            if (phase == P_PUB || phase == P_DRAIN) { s_pub = sample(); s_pub_taken = 1; }
            break;
        }
        switch (phase) {
        case P_CONNECT:
            pump_conns();
            if ((next_conn == o.conns && k.inflight == 0) || now - t_start > (u64)(o.connto * 1e9)) {
                t_up = mono();
                connect_s = (t_up - t_start) / 1e9;
                connected = k.up;
                if (o.has_pub) {
                    pubs = calloc((size_t)o.conc, sizeof *pubs);
                    freepubs = calloc((size_t)o.conc + 4, sizeof *freepubs);
                    for (int i = 0; i < o.conc; i++) { pubs[i].fd = -1; pubs[i].pub = 1; pubs[i].idx = i; conn_open(&pubs[i], &o.pub); }
                }
                phase = P_SETTLE;
                t_phase = mono();
                limit = t_phase + (u64)(o.duration * 1e9);
            }
            break;
        case P_SETTLE:
            if (now - t_phase < (u64)(o.settle * 1e9)) break;
            if (o.has_pub && nfree < o.conc && now - t_phase < 5000000000ull) break;
            s_up = sample();
            c_pub = own_cpu();
            if (o.mode == M_HOLD || o.mode == M_STAMPEDE) {
                phase = o.mode == M_HOLD ? P_HOLD : P_STAMP;
                use_lastid = o.mode == M_STAMPEDE && (!o.stormid || strcmp(o.stormid, "none"));
                k.beats0 = k.events + k.comments;
                k.extra = 0;
                printf("{\"phase\":\"up\",\"connected\":%d,\"connect_s\":%.3f}\n", k.up, connect_s);
                fflush(stdout);
                t_phase = churn_t0 = mono();
                if (o.has_pub) pub_begin(o.pubcount, o.pubtime, o.pubrate, o.lockstep);
                break;
            }
            t_phase = mono();
            warm_until = t_phase + (u64)(o.warm * 1e9);
            if (o.has_pub) pub_begin(o.pubcount, o.pubtime, o.pubrate, o.lockstep);
            else t_firstpub = t_phase;
            phase = P_PUB;
            break;
        case P_PUB:
            pub_pump();
            if (!o.has_pub) { if ((o.events && k.deliv >= o.events) || (!o.events && o.mode == M_STORM)) { phase = P_DRAIN; t_lastbyte = 0; } break; }
            if (pub_over()) { pub_active = 0; phase = P_DRAIN; }
            break;
        case P_DRAIN:
            if ((o.has_pub && k.deliv + k.deliv_warm >= expected()) || now - t_lastbyte > (u64)(o.drain * 1e9)) {
                s_pub = sample();
                s_pub_taken = 1;
                c_end = own_cpu();
                t_done = mono();
                if (o.mode != M_STORM) { phase = P_END; break; }
                u64 d = k.disc;
                for (int i = 0; i < o.conns; i++) if (subs[i].fd >= 0) conn_close(&subs[i]);
                k.disc = d;
                k.up = k.inflight = 0;
                phase = P_GAP;
                t_phase = mono();
            }
            break;
        case P_GAP:
            if (now - t_phase < (u64)(o.gap * 1e9)) break;
            if (o.gappubs && o.has_pub) { pub_begin(o.gappubs, 0, 0, 0); phase = P_GAPPUB; }
            else goto recon;
            break;
        case P_GAPPUB:
            pub_pump();
            if (!pub_over()) break;
            pub_active = 0;
        recon:
            s_storm = sample();
            k.extra = 0;
            use_lastid = !o.stormid || strcmp(o.stormid, "none");
            next_conn = 0;
            phase = P_RECON;
            t_storm = conn_t0 = mono();
            memset(&cthist, 0, sizeof cthist);
            limit = t_storm + (u64)(o.duration * 1e9);
            break;
        case P_RECON:
            pump_conns();
            if (!storm_up_seen && next_conn == o.conns && k.inflight == 0) { storm_up_seen = 1; storm_conn_s = (mono() - t_storm) / 1e9; }
            if ((k.storm_done >= (u64)o.conns) || (storm_up_seen && now - t_lastbyte > (u64)(o.drain * 1e9))) {
                storm_s = ttfe.n ? ttfe.max / 1e9 : 0;
                phase = P_END;
            }
            break;
        case P_STAMP:
            come_back();
            if (k.storm_done >= (u64)o.conns) { storm_s = (mono() - t_storm) / 1e9; phase = P_END; }
            break;
        case P_HOLD:
            if (o.has_pub) pub_pump();
            if (o.churn > 0) {
                while (churned < (u64)((now - churn_t0) / 1e9 * o.churn)) {
                    conn *c = &subs[rnd() % (u64)o.conns];
                    churned++;
                    if (c->fd >= 0 && !c->up) continue;
                    if (c->fd >= 0) { conn_close(c); k.up--; }
                    churning = 1;
                    if (conn_open(c, &o.sub) == 0) k.inflight++;
                }
            }
            if (now - t_phase > (u64)(o.hold * 1e9)) phase = P_END;
            break;
        }
        int us = (phase == P_PUB || phase == P_GAPPUB || phase == P_HOLD) && pub_active ? (o.pubrate > 0 ? 50 : 500) : 2000;
        if (phase != P_END) poll_once(us);
    }
    c_end = own_cpu();
    double hold_s = (mono() - t_phase) / 1e9;
    s_end = sample();
    if (!t_done) t_done = mono();
    double span = t_firstpub && t_lastev > t_firstpub ? (t_lastev - t_firstpub) / 1e9 : 0;
    double pubspan = t_firstpub ? ((t_done < t_lastev || !t_lastev ? t_done : t_lastev) - t_firstpub) / 1e9 : 0;
    u64 pm = k.pub_ok > o.warmpubs ? k.pub_ok - o.warmpubs : 0;
    printf("{\"mode\":\"%s\",\"conns\":%d,\"connected\":%d,\"up_at_end\":%d,\"connect_s\":%.4f,\"connect_rate\":%.1f,",
           o.mode == M_HOLD ? "hold" : o.mode == M_STORM ? "storm" : o.mode == M_STAMPEDE ? "stampede" : "run", o.conns, connected, k.up, connect_s, connect_s > 0 ? connected / connect_s : 0);
    printf("\"events\":%llu,\"deliveries\":%llu,\"expected\":%llu,\"deliveries_per_s\":%.1f,\"span_s\":%.4f,\"bytes\":%llu,\"comments\":%llu,",
           (unsigned long long)k.events, (unsigned long long)k.deliv, (unsigned long long)((double)pm * exp_per_pub() + .5),
           span > 0 ? k.deliv / span : 0, span, (unsigned long long)k.bytes, (unsigned long long)k.comments);
    printf("\"errors\":{\"connect\":%llu,\"http\":%llu,\"last_status\":%d,\"disconnects\":%llu,\"stalled_dropped\":%llu,\"negative_latency\":%llu,\"refused\":%llu},",
           (unsigned long long)k.conn_err, (unsigned long long)k.http_err, k.last_status, (unsigned long long)k.disc, (unsigned long long)k.stall_drop, (unsigned long long)k.neg, (unsigned long long)k.refused);
    printf("\"pub\":{\"sent\":%llu,\"ok\":%llu,\"failed\":%llu,\"reconnects\":%llu,\"per_s\":%.1f,\"items_per_s\":%.1f,",
           (unsigned long long)k.pub_sent, (unsigned long long)k.pub_ok, (unsigned long long)k.pub_err, (unsigned long long)k.pub_recon, pubspan > 0 ? pm / pubspan : 0, pubspan > 0 ? pm * (double)o.batch / pubspan : 0);
    h_json(stdout, "latency_us", &publat);
    printf("},");
    h_json(stdout, "latency_us", &lat);
    printf(",");
    h_json(stdout, "lockstep_us", &warmlat);
    printf(",");
    h_json(stdout, "connect_us", &cthist);
    printf(",");
    if (o.mode >= M_STORM) {
        printf("\"storm\":{\"done\":%llu,\"replayed\":%llu,\"all_s\":%.4f,\"connected_s\":%.4f,", (unsigned long long)k.storm_done,
               (unsigned long long)k.extra, storm_s, storm_conn_s);
        h_json(stdout, "since_start_us", &ttfe);
        printf(",");
        h_json(stdout, "since_connect_us", &ttfe_self);
        printf("},");
    }
    if (o.mode == M_HOLD)
        printf("\"hold_s\":%.3f,\"churned\":%llu,\"beats\":%llu,", hold_s, (unsigned long long)churned,
               (unsigned long long)(k.events + k.comments - k.beats0));
    printf("\"server\":{");
    js_sample("start", &s0);
    js_sample("up", &s_up);
    js_sample("published", &s_pub);
    if (o.mode == M_STORM) js_sample("before_storm", &s_storm);
    js_sample("end", &s_end);
    double lockstep = warm_over ? s_warm.cpu - s_up.cpu : 0;
    double d = s_pub_taken ? s_pub.cpu - s_up.cpu - lockstep : 0;
    printf("\"connect_cpu_s\":%.4f,\"publish_cpu_s\":%.4f,\"hold_cpu_s\":%.4f,\"storm_cpu_s\":%.4f,\"cpu_s_per_million\":%.3f,\"lockstep_cpu_s_per_million\":%.3f,\"rss_per_conn\":%.0f,\"pss_per_conn\":%.0f,\"tcp_mem_per_conn\":%.0f},",
           s_up.cpu - s0.cpu, d > 0 ? d : 0, o.mode == M_HOLD ? s_end.cpu - s_up.cpu : 0, o.mode == M_STORM ? s_end.cpu - s_storm.cpu : 0,
           k.deliv && d > 0 ? d / (double)k.deliv * 1e6 : 0, k.deliv_warm ? lockstep / (double)k.deliv_warm * 1e6 : 0,
           connected ? ((double)s_up.rss - (double)s0.rss) / connected : 0, connected ? ((double)s_up.pss - (double)s0.pss) / connected : 0,
           connected ? ((double)s_up.sockmem - (double)s0.sockmem) / connected : 0);
    sample_t own = {0};
    add_cpu((int)getpid(), &own);
    printf("\"own_wait_s\":%.4f,\"own_cpu_s\":%.4f,\"own_publish_cpu_s\":%.4f,\"wall_s\":%.3f}\n", own.wait, c_end - c0, c_end - c_pub, (mono() - t_start) / 1e9);
    return 0;
}
