/* An echo on libuv whose jobs are done by uv_queue_work: see jobs.rs.
 *
 * Its argument is the directory that it was compiled into, which it removes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define MESSAGE 64
#define WORK_NS 5000000L

enum purpose { UNKNOWN, MESSAGES, JOBS };

struct connection {
    uv_tcp_t tcp;
    enum purpose purpose;
    char buffer[16384];
};

struct job {
    uv_work_t request;
    struct connection *connection;
    char kind;
};

struct output {
    uv_write_t request;
    char bytes[];
};

static long cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void allocate(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    struct connection *connection = (struct connection *)handle;
    (void)size;
    *buffer = uv_buf_init(connection->buffer, sizeof connection->buffer);
}

static void written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

/* Tries at once, as libuv recommends for short answers, and queues the rest. */
static void answer(struct connection *connection, char *bytes, size_t length)
{
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
    int sent = uv_try_write((uv_stream_t *)&connection->tcp, &buffer, 1);
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == length)
        return;
    length -= (size_t)sent;
    struct output *output = malloc(sizeof *output + length);
    if (!output)
        abort();
    memcpy(output->bytes, bytes + sent, length);
    buffer = uv_buf_init(output->bytes, (unsigned)length);
    if (uv_write(&output->request, (uv_stream_t *)&connection->tcp, &buffer, 1, written))
        free(output);
}

static void work(uv_work_t *request)
{
    struct job *job = (struct job *)request;
    if (job->kind == 'c') {
        long until = cpu_ns() + WORK_NS;
        while (cpu_ns() < until) {
            volatile unsigned long sum = 0;
            for (unsigned long number = 0; number < 1000; number++)
                sum += number;
        }
    } else {
        struct timespec time = {0, WORK_NS};
        nanosleep(&time, NULL);
    }
}

static void done(uv_work_t *request, int status)
{
    struct job *job = (struct job *)request;
    if (status == 0 && !uv_is_closing((uv_handle_t *)&job->connection->tcp))
        answer(job->connection, &job->kind, 1);
    free(job);
}

static void read_some(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct connection *connection = (struct connection *)stream;
    if (count < 0) {
        /* Jobs may still be under way for it; the process ends soon. */
        uv_read_stop(stream);
        return;
    }
    if (connection->purpose == UNKNOWN && count > 0)
        connection->purpose = count < MESSAGE ? JOBS : MESSAGES;
    if (connection->purpose == MESSAGES) {
        answer(connection, buffer->base, (size_t)count);
        return;
    }
    for (ssize_t place = 0; place < count; place++) {
        struct job *job = malloc(sizeof *job);
        if (!job)
            abort();
        job->connection = connection;
        job->kind = buffer->base[place];
        if (uv_queue_work(stream->loop, &job->request, work, done))
            abort();
    }
}

static void accept_one(uv_stream_t *listener, int status)
{
    if (status < 0)
        return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        abort();
    uv_tcp_init(listener->loop, &connection->tcp);
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp)) {
        abort();
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    uv_read_start((uv_stream_t *)&connection->tcp, allocate, read_some);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        char path[4096];
        snprintf(path, sizeof path, "%s/uv_jobs", argv[1]);
        unlink(path);
        rmdir(argv[1]);
    }
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    struct sockaddr_in local;
    int length = sizeof local;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0)
        || uv_listen((uv_stream_t *)&listener, 1024, accept_one)
        || uv_tcp_getsockname(&listener, (struct sockaddr *)&local, &length))
        return 1;
    printf("listening 127.0.0.1:%d\n", ntohs(local.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
