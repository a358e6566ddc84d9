/* The limit: what passing the datagrams on costs, and nothing else.
 *
 *     forwarder PORT SERVER_PORT SECOND_SERVER_PORT
 *
 * Phones send to PORT, on 127.0.0.1. What they send goes to the server from a second socket, REGISTER to both servers; what
 * comes back on that socket goes to the phone that sent last (the load has one socket). No byte is changed; the first one
 * is all that is read. So there is no Via, no transaction, no retransmission and no second server here: no SIP proxy can
 * cost this little.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { BATCH = 64, LARGEST = 4096, BUFFER = 4 * 1024 * 1024 };

static char data[BATCH][LARGEST];
static struct sockaddr_in sources[BATCH];
static struct iovec parts[BATCH], again[BATCH];
static struct mmsghdr arrived[BATCH], copies[BATCH];

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){AF_INET, htons(atoi(port)), {htonl(INADDR_LOOPBACK)}, {0}};
}

static int udp(struct sockaddr_in here)
{
    int s = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER;
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(s, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(s, (struct sockaddr *)&here, sizeof here)) {
        perror("bind");
        exit(2);
    }
    return s;
}

static int receive(int s)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){data[i], LARGEST};
        arrived[i].msg_hdr = (struct msghdr){&sources[i], sizeof sources[i], &parts[i], 1, 0, 0, 0};
    }
    return recvmmsg(s, arrived, BATCH, MSG_DONTWAIT, 0);
}

static void send_all(int s, struct mmsghdr *messages, int count)
{
    for (int sent = 0; sent < count;) {
        int more = sendmmsg(s, messages + sent, count - sent, 0);
        sent += more > 0 ? more : 1; /* one that cannot be sent is lost */
    }
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    struct sockaddr_in server = loopback(words[2]), second = loopback(words[3]), phone = {0};
    int inside = udp(loopback(words[1])), outside = udp(loopback("0"));
    struct pollfd sockets[] = {{inside, POLLIN, 0}, {outside, POLLIN, 0}};
    puts("ready");
    fflush(stdout);
    for (;;) {
        poll(sockets, 2, -1);
        int messages = receive(inside), registers = 0;
        for (int i = 0; i < messages; i++) {
            phone = sources[i];
            parts[i].iov_len = arrived[i].msg_len;
            arrived[i].msg_hdr.msg_name = &server;
            if (data[i][0] == 'R') {
                again[registers] = parts[i];
                copies[registers].msg_hdr = (struct msghdr){&second, sizeof second, &again[registers], 1, 0, 0, 0};
                registers++;
            }
        }
        send_all(outside, arrived, messages);
        send_all(outside, copies, registers);
        messages = receive(outside);
        for (int i = 0; i < messages; i++) {
            parts[i].iov_len = arrived[i].msg_len;
            arrived[i].msg_hdr.msg_name = &phone;
        }
        send_all(inside, arrived, messages);
    }
}
