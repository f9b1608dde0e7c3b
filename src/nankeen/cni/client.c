/*
 * The executable that a container runtime starts: it passes its request to the nankeen agent and prints the answer.
 *
 * The twin of client.py, in C, because a static program is done before an interpreter has started. The two behave the
 * same, and one set of tests holds them to it; protocol.py describes what goes over the socket. This one decides
 * nothing either: it knows no JSON but what it prints itself.
 */

#define _GNU_SOURCE /* environ, SOCK_CLOEXEC */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SECONDS
#define SECONDS 30 /* How long the agent may take from the connection to the last octet of its answer. */
#endif
#ifndef STATUS_SECONDS
#define STATUS_SECONDS 5 /* The same for STATUS, which runtimes ask all the time. */
#endif
#ifndef PATIENCE
#define PATIENCE 10 /* Seconds that ADD and DEL wait for an agent which is restarting. */
#endif
#define PAUSE 20             /* Milliseconds between two attempts. */
#define MAX_INPUT (1 << 20)  /* Octets. One more is passed on, so that the agent can refuse it. */
#define MAX_ANSWER (1 << 20) /* Octets. */
#define MAX_STATUS (1 << 16) /* How much of the agent's status file is read, in octets. */
#define MAX_REASON 300       /* How much of the reason in it is told, in octets. */

#define NEWEST "1.1.0"
#define VERSIONS "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
#define QUOTED_VERSIONS "\"0.1.0\", \"0.2.0\", \"0.3.0\", \"0.3.1\", \"0.4.0\", \"1.0.0\", \"1.1.0\""

enum { INPUT_OUTPUT = 5, TRY_AGAIN_LATER = 11, NOT_AVAILABLE = 50 }; /* The specification's error codes. */

/* Where the agent listens, and where it tells how it is. Other paths are written over these in the compiled file, when
 * it is installed: volatile, so that no compiler works with the text that stands here. */
static const volatile char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)] = "/run/nankeen/cni.sock";
static const volatile char status_path[256] = "/run/nankeen/status.json";
static struct sockaddr_un agent = {.sun_family = AF_UNIX};

struct octets {
    char *data;
    size_t length;
};

static void hold_standard_descriptors(void);
static bool read_request(struct octets *request);
static int open_namespace(void);
static bool ask(const struct octets *request, int namespace, int patience, int seconds, struct octets *answer);
static int tell_failure(bool status, int seconds);
static int fail(int code, const char *details, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int print(int descriptor, const char *text, size_t length, int status);

int main(void)
{
    static const char about[] = "nankeen CNI plugin\nCNI protocol versions supported: " VERSIONS "\n";
    static const char version[] = "{\"cniVersion\": \"" NEWEST "\", \"supportedVersions\": [" QUOTED_VERSIONS "]}\n";
    static char space[MAX_ANSWER + 1];
    struct octets request, answer = {space, 0};

    signal(SIGPIPE, SIG_IGN); /* Who closed the pipe is told by an exit status, as every other failure is. */
    hold_standard_descriptors();
    for (size_t i = 0; i < sizeof agent.sun_path; i++)
        agent.sun_path[i] = socket_path[i];

    const char *command = getenv("CNI_COMMAND");
    if (!command || !*command)
        return print(STDERR_FILENO, about, sizeof about - 1, 0);
    if (!strcmp(command, "VERSION"))
        return print(STDOUT_FILENO, version, sizeof version - 1, 0);
    if (!read_request(&request))
        return fail(INPUT_OUTPUT, "", "cannot read standard input: %s", strerror(errno));
    bool can_wait = !strcmp(command, "ADD") || !strcmp(command, "DEL"), status = !strcmp(command, "STATUS");
    int seconds = status && STATUS_SECONDS < SECONDS ? STATUS_SECONDS : SECONDS;
    if (!ask(&request, open_namespace(), can_wait ? PATIENCE : 0, seconds, &answer))
        return tell_failure(status, seconds);
    return print(STDOUT_FILENO, answer.data + 1, answer.length - 1, (unsigned char)answer.data[0]);
}

/* Descriptors 0 to 2 that the runtime has closed are not to be given to a socket, which would then be written to.
 * Each is open the wrong way round, so that its use fails with EBADF as if it were closed. */
static void hold_standard_descriptors(void)
{
    for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++)
        if (fcntl(number, F_GETFD) < 0)
            open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static bool is_passed(const char *entry)
{
    return !strncmp(entry, "CNI_", 4) && strchr(entry, '=');
}

/* The CNI_* variables, an empty one, and standard input up to its limit. Sets errno. */
static bool read_request(struct octets *request)
{
    size_t variables = 1;
    for (char **entry = environ; *entry; entry++)
        variables += is_passed(*entry) ? strlen(*entry) + 1 : 0;
    const size_t limit = variables + MAX_INPUT + 1;
    char *end = request->data = malloc(limit);
    if (!end)
        return false;
    for (char **entry = environ; *entry; entry++)
        if (is_passed(*entry))
            end = stpcpy(end, *entry) + 1;
    *end++ = '\0';
    ssize_t got = 1;
    while (got && (size_t)(end - request->data) < limit) {
        got = read(STDIN_FILENO, end, limit - (size_t)(end - request->data));
        if (got < 0 && errno != EINTR)
            return false;
        end += got > 0 ? got : 0;
    }
    request->length = (size_t)(end - request->data);
    return true;
}

/* A descriptor of the pod's network namespace, or -1 where there is none, of which the agent makes sense. */
static int open_namespace(void)
{
    const char *path = getenv("CNI_NETNS");
    /* Not blocking: the path may by mistake be a FIFO. */
    return path && *path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
}

static int64_t now(void) /* Milliseconds. */
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Waits until the connection is ready for one of the events, where `errno` says that waiting helps: otherwise, and when
 * time is up, it is false and errno says why. */
static bool wait_for(int connection, short events, int64_t deadline)
{
    if (errno != EAGAIN && errno != EINTR)
        return false;
    struct pollfd ready = {.fd = connection, .events = events};
    int64_t left = deadline - now();
    int count = left > 0 ? poll(&ready, 1, (int)left) : 0;
    if (!count)
        errno = ETIMEDOUT;
    return count > 0 || (count < 0 && errno == EINTR);
}

/* The next part of the request. The descriptor of the namespace goes with the first octet. */
static ssize_t send_part(int connection, const char *data, size_t length, int namespace)
{
    union { /* CMSG_DATA is aligned as cmsghdr is (cmsg(3)). */
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } rights = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec part = {.iov_base = (char *)data, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (namespace >= 0) {
        memcpy(CMSG_DATA(&rights.header), &namespace, sizeof namespace);
        message.msg_control = &rights;
        message.msg_controllen = sizeof rights.space;
    }
    return sendmsg(connection, &message, MSG_NOSIGNAL);
}

static bool converse(int connection, const struct octets *request, int namespace, int seconds, struct octets *answer)
{
    const int64_t deadline = now() + seconds * 1000;
    for (size_t sent = 0; sent < request->length;) {
        ssize_t part = send_part(connection, request->data + sent, request->length - sent, sent ? -1 : namespace);
        if (part < 0 && !wait_for(connection, POLLOUT, deadline))
            return false;
        sent += part > 0 ? (size_t)part : 0;
    }
    if (shutdown(connection, SHUT_WR) < 0)
        return false;
    answer->length = 0;
    for (ssize_t part = -1; part && answer->length <= MAX_ANSWER;) {
        part = recv(connection, answer->data + answer->length, MAX_ANSWER + 1 - answer->length, 0);
        if (part < 0 && !wait_for(connection, POLLIN, deadline))
            return false;
        answer->length += part > 0 ? (size_t)part : 0;
    }
    errno = answer->length ? EMSGSIZE : ECONNRESET;
    return answer->length && answer->length <= MAX_ANSWER;
}

/* One attempt. Sets errno: to ECONNRESET or EPIPE where the agent ended in between. */
static bool attempt(const struct octets *request, int namespace, int seconds, struct octets *answer)
{
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection < 0)
        return false;
    bool answered = !connect(connection, (struct sockaddr *)&agent, sizeof agent) &&
                    converse(connection, request, namespace, seconds, answer);
    int reason = errno;
    close(connection);
    errno = reason;
    return answered;
}

/* Whether errno is what one sees of an agent that is being restarted: no socket, nobody behind it, a full queue, or an
 * end without an answer. A request may be made again: ADD and DEL have the same result the second time. */
static bool is_passing(void)
{
    return errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN || errno == ECONNRESET || errno == EPIPE;
}

/* The agent's answer, of one octet at least. Sets errno. */
static bool ask(const struct octets *request, int namespace, int patience, int seconds, struct octets *answer)
{
    const int64_t end = now() + patience * 1000;
    while (!attempt(request, namespace, seconds, answer)) {
        if (!is_passing() || now() >= end)
            return false;
        poll(NULL, 0, PAUSE);
    }
    return true;
}

/* Why the agent was not ready when it told of itself last, as its status file has it: a JSON string without the quotes.
 * Empty where there is none. */
static const char *last_reason(void)
{
    static const char key[] = "\"reason\": \"";
    static char path[sizeof status_path], space[MAX_STATUS + 1];
    for (size_t i = 0; i < sizeof path; i++)
        path[i] = status_path[i];
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = file < 0 ? 0 : read(file, space, MAX_STATUS);
    space[length > 0 ? length : 0] = '\0';
    char *told = strstr(space, key), *end = told ? told + sizeof key - 1 : space;
    for (told = end; *end && *end != '"' && end - told <= MAX_REASON; end++) {
        end += *end == '\\';
        if (*end < 0x20 || *end > 0x7e)
            return "";
    }
    /* Too long, or not what the agent writes: without its end nobody knows what it would be a part of. */
    if (*end != '"')
        return "";
    *end = '\0';
    return told;
}

static int tell_failure(bool status, int seconds)
{
    const int code = status ? NOT_AVAILABLE : TRY_AGAIN_LATER, reason = errno;
    const char *path = agent.sun_path, *said = last_reason();
    switch (reason) {
    case ETIMEDOUT:
        return fail(code, said, "the nankeen agent did not answer on %s within %d seconds", path, seconds);
    case ECONNRESET:
    case EPIPE:
        return fail(code, said, "the nankeen agent closed %s without an answer", path);
    case EMSGSIZE:
        return fail(INPUT_OUTPUT, "", "the nankeen agent answered more than %d bytes on %s", MAX_ANSWER, path);
    default:
        return fail(code, said, "the nankeen agent is not there: %s: %s", path, strerror(reason));
    }
}

/* Prints a CNI error; returns the exit status. `details` is the inside of a JSON string. The message is shorter than 400
 * octets: a path, a reason, and our words. */
static int fail(int code, const char *details, const char *format, ...)
{
    char message[400], text[sizeof message * 2 + MAX_REASON + 160];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    char *end = text + sprintf(text, "{\"cniVersion\": \"" NEWEST "\", \"code\": %d, \"msg\": \"", code);
    for (const char *from = message; *from; *end++ = *from++)
        if (*from == '"' || *from == '\\') /* A socket's path has no control characters: install.py sees to that. */
            *end++ = '\\';
    *end++ = '"';
    if (*details)
        end += sprintf(end, ", \"details\": \"the agent said last: %s\"", details);
    end = stpcpy(end, "}\n");
    return print(STDOUT_FILENO, text, (size_t)(end - text), 1);
}

/* Writes all of the text; returns the exit status, which is 1 where that is not possible. */
static int print(int descriptor, const char *text, size_t length, int status)
{
    for (size_t done = 0; done < length;) {
        ssize_t part = write(descriptor, text + done, length - done);
        if (part < 0 && errno != EINTR) {
            dprintf(STDERR_FILENO, "nankeen: cannot write the answer: %s\n", strerror(errno));
            return 1;
        }
        done += part > 0 ? (size_t)part : 0;
    }
    return status;
}
