// Preloaded into a program (LD_PRELOAD): counts the calls that make files durable, over all of its threads, and kills the process just
// before the chosen one. strace cannot do this: it counts per thread, and slows all of them down.
//
// CHAOS_STEPS names a file of two numbers that the scenario also maps: the step to die at (0: none), and the number of steps so far.
// The steps are logged to a file of that name with `.log` appended.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct control {
    _Atomic int64_t last;
    _Atomic int64_t seen;
};

static struct control *control;
static char log_path[4096];

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CHAOS_STEPS");
    if (!name) return;
    int file = open(name, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return;
    snprintf(log_path, sizeof log_path, "%s.log", name);
    control = mapped;
}

static void step(const char *call, const char *path) {
    if (!control || control->last == 0) return;
    int kept = errno;
    int64_t number = ++control->seen;
    char line[4352];
    int length = snprintf(line, sizeof line, "%lld %s %s\n", (long long)number, call, path);
    // Opened each time, because the scenario starts a new file now and then.
    int file = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        if (write(file, line, length) < 0) { /* The count is what matters. */ }
        close(file);
    }
    if (number == control->last) {
        syscall(SYS_kill, getpid(), SIGKILL);
        // The signal is being delivered to all threads; this one must not make the call meanwhile.
        for (;;) pause();
    }
    errno = kept;
}

static void step_of(const char *call, int file) {
    char link[64], path[4096];
    if (!control || control->last == 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    step(call, path);
}

int fsync(int file) { step_of("fsync", file); return syscall(SYS_fsync, file); }
int fdatasync(int file) { step_of("fdatasync", file); return syscall(SYS_fdatasync, file); }
int rename(const char *from, const char *to) { step("rename", to); return syscall(SYS_rename, from, to); }
int renameat(int a, const char *from, int b, const char *to) { step("rename", to); return syscall(SYS_renameat, a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    step("rename", to);
    return syscall(SYS_renameat2, a, from, b, to, flags);
}
int link(const char *from, const char *to) { step("link", to); return syscall(SYS_link, from, to); }
int unlink(const char *path) { step("unlink", path); return syscall(SYS_unlink, path); }
int unlinkat(int folder, const char *path, int flags) { step("unlink", path); return syscall(SYS_unlinkat, folder, path, flags); }
