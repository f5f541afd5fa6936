/* Makes memory calls as a script on standard input says, one a line, and prints what each gives: a number, an error's name, or a signal with its code and where it came. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf on_signal;
static volatile int signal_number, signal_code;
static void *volatile signal_address;
static char *base;

static void caught(int number, siginfo_t *info, void *context) {
    (void)context;
    signal_number = number;
    signal_code = info->si_code;
    signal_address = info->si_addr;
    siglongjmp(on_signal, 1);
}

static void result(long value) {
    if (value == -1) printf("%s\n", strerrorname_np(errno));
    else printf("%ld\n", value);
}

static void access_memory(char kind, long offset, long length, int fill) {
    if (sigsetjmp(on_signal, 1)) {
        printf("signal %d code %d at %ld\n", signal_number, signal_code, ((long)((char *)signal_address - base)) & ~4095L);
        return;
    }
    volatile unsigned char *bytes = (volatile unsigned char *)(base + offset);
    uint32_t sum = 0;
    for (long index = 0; index < length; index++) {
        if (kind == 'S') bytes[index] = (unsigned char)(fill + index * 7);
        else sum = sum * 31 + bytes[index];
    }
    printf("%u\n", sum);
}

int main(int count, char **arguments) {
    (void)count;
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    const long arena = 1L << 28;
    base = mmap(NULL, 2 * arena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    base = (char *)(((uintptr_t)base + arena - 1) & ~(uintptr_t)(arena - 1));
    munmap(base, arena);
    int files[2] = {open(arguments[1], O_RDWR | O_CREAT, 0644), -1};
    files[1] = open(arguments[1], O_RDONLY);
    char line[256];
    long a, b, c, d, e;
    static char buffer[1 << 20];
    while (fgets(line, sizeof line, stdin)) {
        a = b = c = d = e = 0;
        sscanf(line + 1, "%ld %ld %ld %ld %ld", &a, &b, &c, &d, &e);
        switch (line[0]) {
        case 'm': { /* offset length prot flags file-offset; the file by bit 30 of the flags */
            void *at = mmap(base + a, b, c, (int)(d & 0x3fffffff), (d & MAP_ANONYMOUS) ? -1 : files[(d >> 30) & 1], e);
            result(at == MAP_FAILED ? -1 : (long)((char *)at - base));
            break;
        }
        case 'u': result(munmap(base + a, b)); break;
        case 'p': result(mprotect(base + a, b, (int)c)); break;
        case 'r': { /* old offset, old length, new length, flags, new offset */
            void *at = mremap(base + a, b, c, (int)d, base + e);
            result(at == MAP_FAILED ? -1 : (long)((char *)at - base));
            break;
        }
        case 's': result(msync(base + a, b, (int)c)); break;
        case 'v': result(madvise(base + a, b, (int)c)); break;
        case 'L': case 'S': access_memory(line[0], a, b, (int)c); break;
        case 't': result(ftruncate(files[0], a)); break;
        case 'f': result(fallocate(files[0], (int)a, b, c)); break;
        case 'w': /* file offset, length, fill */
            for (long index = 0; index < b; index++) buffer[index] = (char)(c + index * 7);
            result(pwrite(files[0], buffer, b, a));
            break;
        case 'W': result(pwrite(files[0], base + c, b, a)); break; /* file offset, length, from memory */
        case 'R': result(pread(files[0], base + c, b, a)); break;
        case 'g': { /* file offset, length: what read gives, as a sum */
            long got = pread(files[0], buffer, b, a);
            uint32_t sum = 0;
            for (long index = 0; index < got; index++) sum = sum * 31 + (unsigned char)buffer[index];
            printf("%ld %u\n", got, sum);
            break;
        }
        case 'F': { /* the child goes on with the script; the parent waits and takes its end */
            fflush(stdout);
            pid_t child = fork();
            if (child > 0) {
                int status;
                waitpid(child, &status, 0);
                return WEXITSTATUS(status);
            }
            puts("0");
            break;
        }
        }
    }
    return 0;
}
