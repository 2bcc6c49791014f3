/* Preloaded into a server, it makes every read and write take some milliseconds, as on a busy disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

#define SLOW(name, buffer_type)                                                    \
    ssize_t name(int fd, buffer_type buffer, size_t count, off_t offset) {         \
        ssize_t (*next)(int, buffer_type, size_t, off_t) = dlsym(RTLD_NEXT, #name); \
        if (count > 4096) usleep(5000);                                            \
        return next(fd, buffer, count, offset);                                    \
    }

SLOW(pread, void *)
SLOW(pwrite, const void *)
