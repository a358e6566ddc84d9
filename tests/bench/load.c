/* The load of the benchmark: phones that call, register and ping at a fixed rate, and the call servers behind the proxy.
 *
 *     load servers PORT...
 *     load calls|register|options PHONE_PORT PROXY_PORT RATE NUMBER PATIENCE HOLD RUN FIRST
 *
 * Everything is on 127.0.0.1. The load is open-loop: it starts RATE exchanges a second, whether earlier ones are finished or
 * not. An exchange that is not finished PATIENCE seconds after its time has failed. Calls are held for HOLD seconds. RUN is
 * a number that makes Call-IDs and CSeq of one run different from those of all earlier ones. What registers are the phones
 * FIRST to FIRST + NUMBER - 1; those that the proxy knows from an earlier run refresh their registration.
 *
 * Prints one line of JSON at the end; times are in microseconds, from the first request to the 180 of a call, to the 200 of
 * the others. The servers end with a signal.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, LARGEST = 4096, BUFFER = 4 * 1024 * 1024 };

static const char SDP[] =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
}

/* A bound UDP socket; port 0: any. Returns the socket and, in *port, where it is. */
static int udp(int *port)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER;
    struct sockaddr_in here = loopback(*port);
    socklen_t length = sizeof here;
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(s, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof here)) {
        perror("bind");
        exit(2);
    }
    getsockname(s, (struct sockaddr *)&here, &length);
    *port = ntohs(here.sin_port);
    return s;
}

/* --- datagrams, many per system call ------------------------------------------------------------------------------- */

static char received[BATCH][LARGEST + 1];
static struct sockaddr_in sources[BATCH];

static int receive(int s)
{
    static struct mmsghdr headers[BATCH];
    static struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){received[i], LARGEST};
        headers[i].msg_hdr = (struct msghdr){&sources[i], sizeof sources[i], &parts[i], 1, 0, 0, 0};
    }
    int count = recvmmsg(s, headers, BATCH, MSG_DONTWAIT, 0);
    for (int i = 0; i < count; i++)
        received[i][headers[i].msg_len] = 0;
    return count;
}

static char outgoing[BATCH][LARGEST];
static int lengths[BATCH], waiting;
static struct sockaddr_in destinations[BATCH];

static void flush(int s)
{
    static struct mmsghdr headers[BATCH];
    static struct iovec parts[BATCH];
    for (int i = 0; i < waiting; i++) {
        parts[i] = (struct iovec){outgoing[i], lengths[i]};
        headers[i].msg_hdr = (struct msghdr){&destinations[i], sizeof destinations[i], &parts[i], 1, 0, 0, 0};
    }
    for (int sent = 0; sent < waiting;) {
        int count = sendmmsg(s, headers + sent, waiting - sent, 0);
        /* An ICMP error of an earlier datagram shows here; that one is lost, as on a real network. */
        sent += count > 0 ? count : 1;
    }
    waiting = 0;
}

/* Room for the next datagram to this destination. */
static char *next_message(int s, struct sockaddr_in destination)
{
    if (waiting == BATCH)
        flush(s);
    destinations[waiting] = destination;
    return outgoing[waiting];
}

static void send_text(int s, struct sockaddr_in destination, const char *text)
{
    char *message = next_message(s, destination);
    lengths[waiting++] = snprintf(message, LARGEST, "%s", text);
}

/* --- reading messages ------------------------------------------------------------------------------------------------ */

static const char *next_line(const char *line)
{
    const char *end = strstr(line, "\r\n");
    return end && end[2] != '\r' ? end + 2 : NULL;
}

static int is(const char *line, const char *name)
{
    return !strncasecmp(line, name, strlen(name));
}

/* The value of the first header of this name ("Contact:"), up to the end of the message; empty when there is none. */
static const char *header(const char *message, const char *name)
{
    for (const char *line = next_line(message); line; line = next_line(line))
        if (is(line, name))
            return line + strlen(name) + strspn(line + strlen(name), " ");
    return "";
}

static int line_length(const char *line)
{
    return strcspn(line, "\r");
}

/* --- the call servers -------------------------------------------------------------------------------------------------- */

/* What every response repeats of its request (RFC 3261 s.8.2.6.2, 12.1.1). */
static const char *const REPEATED[] = {"Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:", NULL};

static void respond(int s, int port, const char *request, struct sockaddr_in source, const char *status, const char *more)
{
    char *message = next_message(s, source);
    int length = sprintf(message, "SIP/2.0 %s\r\n", status);
    for (const char *line = next_line(request); line; line = next_line(line))
        for (const char *const *name = REPEATED; *name; name++)
            if (is(line, *name) && length + line_length(line) < LARGEST - 1000) {
                length += sprintf(message + length, "%.*s", line_length(line), line);
                if (is(line, "To:") && !memmem(line, line_length(line), ";tag=", 5))
                    length += sprintf(message + length, ";tag=server");
                length += sprintf(message + length, "\r\n");
            }
    if (is(request, "INVITE"))
        length += sprintf(message + length, "Contact: <sip:127.0.0.1:%d>\r\n", port);
    if (is(request, "REGISTER")) {
        const char *contact = header(request, "Contact:");
        length += sprintf(message + length, "Contact: %.*s;expires=3600\r\n", line_length(contact), contact);
    }
    lengths[waiting++] = length + sprintf(message + length, "%s", more);
}

/* They answer each request by itself and remember nothing: what is lost on the way is the proxy's to repair. */
_Noreturn static void serve(int count, char **ports)
{
    struct pollfd sockets[8];
    int numbers[8];
    char answer[1000];
    sprintf(answer, "Content-Type: application/sdp\r\nContent-Length: %zu\r\n\r\n%s", strlen(SDP), SDP);
    for (int i = 0; i < count; i++) {
        numbers[i] = atoi(ports[i]);
        sockets[i] = (struct pollfd){udp(&numbers[i]), POLLIN, 0};
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        poll(sockets, count, -1);
        for (int i = 0; i < count; i++) {
            int s = sockets[i].fd, messages = receive(s);
            for (int m = 0; m < messages; m++) {
                const char *request = received[m];
                if (is(request, "INVITE ")) {
                    respond(s, numbers[i], request, sources[m], "180 Ringing", "Content-Length: 0\r\n\r\n");
                    respond(s, numbers[i], request, sources[m], "200 OK", answer);
                } else if (!is(request, "ACK ") && !is(request, "SIP/2.0"))
                    respond(s, numbers[i], request, sources[m], "200 OK", "Content-Length: 0\r\n\r\n");
            }
            flush(s);
        }
    }
}

/* --- the phones ------------------------------------------------------------------------------------------------------- */

enum state { UNBORN, ASKED, HEARD, TALKING, ENDING, DONE, FAILED };
/* ASKED: the request is out; HEARD: a provisional response came; TALKING: held; ENDING: the BYE is out. */

struct exchange {
    enum state state;
    uint32_t latency;     /* microseconds, 0: none yet */
    int64_t asked;        /* the first request's time */
    int64_t resend, wait; /* when to send again what is out, and the last interval */
    char *bye;            /* ready from the 200 on */
};

static const char *job;
static int s, phone_port, proxy_port, run, first_phone;
static long retransmitted, done, failed;
static double patience, hold;
static int64_t finished;
static struct sockaddr_in proxy;
static struct exchange *exchanges;

static void send_first(int i)
{
    char *message = next_message(s, proxy);
    int length;
    if (*job == 'c')
        length = snprintf(message, LARGEST,
            "INVITE sip:bob@testdomain.local SIP/2.0\r\n"
            "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%xi%d;rport\r\nMax-Forwards: 70\r\n"
            "From: <sip:alice@testdomain.local>;tag=%xc%d\r\nTo: <sip:bob@testdomain.local>\r\nCall-ID: %d-%x@bench\r\n"
            "CSeq: 1 INVITE\r\nContact: <sip:alice@127.0.0.1:%d>\r\nContent-Type: application/sdp\r\n"
            "Content-Length: %zu\r\n\r\n%s", phone_port, run, i, run, i, i, run, phone_port, strlen(SDP), SDP);
    else if (*job == 'r') {
        int phone = first_phone + i;
        length = snprintf(message, LARGEST,
            "REGISTER sip:testdomain.local SIP/2.0\r\n"
            "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%xr%d;rport\r\nMax-Forwards: 70\r\n"
            "From: <sip:phone%d@testdomain.local>;tag=%xr%d\r\nTo: <sip:phone%d@testdomain.local>\r\n"
            "Call-ID: %d-phone@bench\r\nCSeq: %d REGISTER\r\nContact: <sip:phone%d@127.0.0.1:%d>\r\nExpires: 3600\r\n"
            "Content-Length: 0\r\n\r\n", phone_port, run, i, phone, run, i, phone, phone, run, phone,
            phone_port);
    } else
        length = snprintf(message, LARGEST,
            "OPTIONS sip:127.0.0.1:%d SIP/2.0\r\n"
            "Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%xo%d;rport\r\nMax-Forwards: 70\r\n"
            "From: <sip:ping@127.0.0.1>;tag=%xo%d\r\nTo: <sip:127.0.0.1:%d>\r\nCall-ID: %d-%x@bench\r\n"
            "CSeq: 1 OPTIONS\r\nContact: <sip:ping@127.0.0.1:%d>\r\nContent-Length: 0\r\n\r\n",
            proxy_port, phone_port, run, i, run, i, proxy_port, i, run, phone_port);
    lengths[waiting++] = length;
}

static void schedule(struct exchange *e, int64_t t)
{
    e->wait = 500000000;
    e->resend = t + e->wait;
}

/* ACK and BYE of a call, by its 200: to the Contact, along the Record-Route from its end (RFC 3261 s.12.1.2). */
static void inside_dialog(char *message, const char *response, const char *method, int number, int i)
{
    const char *contact = strchr(header(response, "Contact:"), '<'), *routes[16], *to = header(response, "To:");
    int count = 0, length;
    if (!contact)
        contact = "<sip:nobody@127.0.0.1>";
    for (const char *line = next_line(response); line && count < 16; line = next_line(line))
        if (is(line, "Record-Route:"))
            routes[count++] = line + strlen("Record-Route:");
    length = sprintf(message,
        "%s %.*s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%x%s%d;rport\r\nMax-Forwards: 70\r\n",
        method, (int)strcspn(contact + 1, ">"), contact + 1, phone_port, run, method, i);
    while (count--)
        length += sprintf(message + length, "Route:%.*s\r\n", line_length(routes[count]), routes[count]);
    sprintf(message + length,
        "From: <sip:alice@testdomain.local>;tag=%xc%d\r\nTo: %.*s\r\nCall-ID: %d-%x@bench\r\nCSeq: %d %s\r\n"
        "Content-Length: 0\r\n\r\n", run, i, line_length(to), to, i, run, number, method);
}

static void end(struct exchange *e, enum state state, int64_t t)
{
    e->state = state;
    free(e->bye);
    e->bye = NULL;
    *(state == DONE ? &done : &failed) += 1;
    finished = t;
}

static void hang_up(struct exchange *e, int64_t t)
{
    e->state = ENDING;
    schedule(e, t);
    send_text(s, proxy, e->bye);
}

static void take_response(const char *response, int number, int64_t t)
{
    if (!is(response, "SIP/2.0 "))
        return;
    const char *call_id = header(response, "Call-ID:");
    int i = atoi(call_id) - first_phone, status = atoi(response + 8);
    struct exchange *e = &exchanges[i];
    char message[LARGEST], *dash = strchr(call_id, '-');
    if (i < 0 || i >= number || e->state == UNBORN || e->state >= DONE || !dash)
        return;
    if (*job == 'r' ? atoi(header(response, "CSeq:")) != run : strtol(dash + 1, NULL, 16) != run)
        return; /* of an earlier run */
    if (status > 100 && !e->latency)
        e->latency = (t - e->asked) / 1000 + 1;
    if (status < 200) {
        if (e->state == ASKED)
            e->state = HEARD;
    } else if (status >= 300)
        end(e, FAILED, t);
    else if (*job != 'c')
        end(e, DONE, t);
    else if (strstr(header(response, "CSeq:"), "INVITE")) {
        inside_dialog(message, response, "ACK", 1, i);
        send_text(s, proxy, message);
        if (e->state < TALKING) {
            inside_dialog(message, response, "BYE", 2, i);
            e->bye = strdup(message);
            e->state = TALKING;
            if (hold == 0)
                hang_up(e, t);
        }
    } else if (e->state == ENDING)
        end(e, DONE, t);
}

/* What time alone brings: retransmissions (RFC 3261 s.17.1.1.2, 17.1.2.2), the end of a held call, and of patience. */
static void look_after(int first, int last, int64_t t)
{
    for (int i = first; i < last; i++) {
        struct exchange *e = &exchanges[i];
        if (e->state >= DONE)
            continue;
        double age = (t - e->asked) / 1e9;
        if (age > patience + hold)
            end(e, FAILED, t);
        else if (e->state == TALKING && age > hold)
            hang_up(e, t);
        else if ((e->state == ASKED || e->state == ENDING) && t > e->resend) {
            retransmitted++;
            e->wait *= 2;
            e->resend = t + e->wait;
            if (e->state == ENDING)
                send_text(s, proxy, e->bye);
            else
                send_first(i);
        }
    }
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int load(double rate, int number)
{
    int started = 0, oldest = 0, count = 0;
    uint32_t *latencies = calloc(number + 1, sizeof *latencies);
    exchanges = calloc(number, sizeof *exchanges);
    s = udp(&phone_port);
    prctl(PR_SET_TIMERSLACK, 1); /* sleep as long as asked for, not 50 us more */
    int64_t start = now(), looked = start, t = start;
    finished = start;
    while (done + failed < number) {
        int due = (t - start) * rate / 1e9 + 1;
        for (int limit = started + BATCH; started < due && started < number && started < limit; started++) {
            struct exchange *e = &exchanges[started];
            e->state = ASKED;
            e->asked = now();
            schedule(e, e->asked);
            send_first(started);
        }
        flush(s);
        /* Until the next start, at most until the next look. */
        int64_t pause = started < number ? start + (int64_t)(started * 1e9 / rate) - now() : 20000000;
        pause = pause < 0 ? 0 : pause > 20000000 ? 20000000 : pause;
        struct timespec timeout = {0, pause};
        struct pollfd socket = {s, POLLIN, 0};
        ppoll(&socket, 1, &timeout, NULL);
        t = now();
        for (int messages, batches = 0; batches < 4 && (messages = receive(s)) > 0; batches++) {
            int64_t arrived = now();
            for (int m = 0; m < messages; m++)
                take_response(received[m], number, arrived);
        }
        if (t - looked > 20000000) {
            looked = t;
            while (oldest < started && exchanges[oldest].state >= DONE)
                oldest++;
            look_after(oldest, started, t);
        }
        flush(s);
        t = now();
    }
    for (int i = 0; i < number; i++)
        if (exchanges[i].latency)
            latencies[count++] = exchanges[i].latency;
    qsort(latencies, count, sizeof *latencies, ascending);
    printf("{\"done\": %ld, \"failed\": %ld, \"retransmitted\": %ld, \"seconds\": %.6f, \"p50_us\": %u, \"p99_us\": %u, "
           "\"longest_us\": %u}\n", done, failed, retransmitted, (finished - start) / 1e9, latencies[count / 2],
           latencies[count * 99LL / 100], latencies[count ? count - 1 : 0]);
    return 0;
}

int main(int count, char **words)
{
    if (count > 2 && !strcmp(words[1], "servers"))
        serve(count - 2 > 8 ? 8 : count - 2, words + 2);
    if (count != 10) {
        fputs("see the head of load.c\n", stderr);
        return 2;
    }
    job = words[1];
    phone_port = atoi(words[2]);
    proxy_port = atoi(words[3]);
    proxy = loopback(proxy_port);
    patience = atof(words[6]);
    hold = atof(words[7]);
    run = atoi(words[8]);
    first_phone = *job == 'r' ? atoi(words[9]) : 0;
    return load(atof(words[4]), atoi(words[5]));
}
