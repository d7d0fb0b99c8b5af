/* Counts allocations and system calls, and tells a program's own from those inside the libraries of its
   kernels: for the one program that includes this, since it stands before the C library in it.

   Calls are told apart by their caller's address. System calls trap into a handler that counts them and
   then makes them; where the CPU is no x86-64 or the kernel has no seccomp, only allocations are
   counted, and with a sanitizer, whose allocator this would replace, nothing. */
#pragma once

#include "tests/check.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- what is counted ---- */

enum { MOST_EVENTS = 1 << 19 };

typedef struct event {
    const char *name; /* of the function, or NULL: a system call */
    long number;      /* of that */
    uintptr_t caller;
    const void *block; /* allocated or freed */
} event;

static event events[MOST_EVENTS];
static atomic_size_t n_events;
static atomic_bool is_counting;
static bool sees_system_calls;

/* ---- whose it is ---- */

static const char *const libraries[] = {"libdnnl", "libopenblas", "libgomp", "libstdc++",
                                        "libc.so"};
enum { C_LIBRARY = 4, N_LIBRARIES, OURS = N_LIBRARIES };

/* Code, and which of the libraries it is in. */
typedef struct code {
    uintptr_t begin, end;
    size_t owner;
} code;

enum { MOST_CODES = 256 };
static code codes[MOST_CODES];
static size_t n_codes;

static size_t library_named(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < N_LIBRARIES; i++)
        if (strncmp(name, libraries[i], strlen(libraries[i])) == 0) return i;
    return OURS;
}

static int add_codes(struct dl_phdr_info *info, size_t n_bytes, void *unused) {
    (void)n_bytes, (void)unused;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
        if (n_codes == MOST_CODES) return 1;
        const uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        codes[n_codes++] = (code){begin, begin + part->p_memsz, library_named(info->dlpi_name)};
    }
    return 0;
}

static const code *code_at(uintptr_t address) {
    for (size_t i = 0; i < n_codes; i++)
        if (address >= codes[i].begin && address < codes[i].end) return &codes[i];
    return NULL;
}

static size_t owner_at(uintptr_t address) {
    const code *at = code_at(address);
    return at != NULL ? at->owner : OURS;
}

/* ---- in front of the C library ---- */

#ifdef __SANITIZE_ADDRESS__
#define STANDS_IN_FRONT 0
#else
#define STANDS_IN_FRONT 1

/* Inside the C library's allocation on behalf of this caller; its system calls are not counted again.
   Volatile: the trap reads it, which a compiler that takes syscall() for a leaf does not expect. */
static _Thread_local volatile bool is_allocating;

static void note(event e) {
    if (!atomic_load(&is_counting)) return;
    const size_t at = atomic_fetch_add(&n_events, 1);
    if (at < MOST_EVENTS) events[at] = e;
}

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

#define NOINLINE __attribute__((noinline))
#define CALLER ((uintptr_t)__builtin_return_address(0))
#define ALLOCATE(call)                         \
    const bool was_allocating = is_allocating; \
    is_allocating = true;                      \
    void *block = call;                        \
    is_allocating = was_allocating;            \
    note((event){.name = __func__, .caller = CALLER, .block = block})

NOINLINE void *malloc(size_t n_bytes) {
    ALLOCATE(__libc_malloc(n_bytes));
    return block;
}

NOINLINE void *calloc(size_t n, size_t n_bytes) {
    ALLOCATE(__libc_calloc(n, n_bytes));
    return block;
}

NOINLINE void *realloc(void *old, size_t n_bytes) {
    ALLOCATE(__libc_realloc(old, n_bytes));
    return block;
}

NOINLINE void *memalign(size_t alignment, size_t n_bytes) {
    ALLOCATE(__libc_memalign(alignment, n_bytes));
    return block;
}

NOINLINE void *aligned_alloc(size_t alignment, size_t n_bytes) {
    ALLOCATE(__libc_memalign(alignment, n_bytes));
    return block;
}

NOINLINE int posix_memalign(void **out, size_t alignment, size_t n_bytes) {
    ALLOCATE(__libc_memalign(alignment, n_bytes));
    if (block == NULL) return ENOMEM;
    *out = block;
    return 0;
}

NOINLINE void free(void *block) {
    if (block == NULL) return;
    const bool was_allocating = is_allocating;
    note((event){.name = "free", .caller = CALLER, .block = block});
    is_allocating = true;
    __libc_free(block);
    is_allocating = was_allocating;
}

NOINLINE void *mmap(void *at, size_t n_bytes, int protection, int flags, int file, off_t offset) {
    ALLOCATE((void *)syscall(SYS_mmap, at, n_bytes, protection, flags, file, offset));
    return block;
}

NOINLINE int munmap(void *at, size_t n_bytes) {
    const bool was_allocating = is_allocating;
    note((event){.name = "munmap", .caller = CALLER, .block = at});
    is_allocating = true;
    const int result = (int)syscall(SYS_munmap, at, n_bytes);
    is_allocating = was_allocating;
    return result;
}
#endif

/* ---- in front of the kernel ---- */

#if defined(__x86_64__) && STANDS_IN_FRONT

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

/* The one place from which system calls pass. */
long hot_path_gate(long number, long a, long b, long c, long d, long e, long f);
extern const char hot_path_gate_end[];
__asm__(".text\n"
        ".globl hot_path_gate\n"
        "hot_path_gate:\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsi\n"
        "    mov %rcx, %rdx\n"
        "    mov %r8, %r10\n"
        "    mov %r9, %r8\n"
        "    mov 8(%rsp), %r9\n"
        "    syscall\n"
        ".globl hot_path_gate_end\n"
        "hot_path_gate_end:\n"
        "    ret\n");

/* The C library's functions make most system calls: theirs is what called them, a few words up the
   stack. */
static uintptr_t caller_of(uintptr_t address, const uintptr_t *stack) {
    enum { N_WORDS = 32 };
    if (owner_at(address) != C_LIBRARY) return address;
    for (size_t i = 0; i < N_WORDS; i++) {
        const code *at = code_at(stack[i]);
        if (at != NULL && at->owner != C_LIBRARY) return stack[i];
    }
    return address;
}

/* cmocka's own handler for this signal is not to replace it. */
static void on_system_call(int signal_number, siginfo_t *info, void *context) {
    (void)signal_number;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    if (!is_allocating)
        note((event){.number = info->si_syscall,
                     .caller =
                         caller_of((uintptr_t)info->si_call_addr, (const uintptr_t *)r[REG_RSP])});
    const bool is_cmocka = info->si_syscall == SYS_rt_sigaction && r[REG_RDI] == SIGSYS;
    r[REG_RAX] = is_cmocka ? 0
                           : hot_path_gate(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX],
                                           r[REG_R10], r[REG_R8], r[REG_R9]);
}

/* Threads are begun and handlers left by calls that no handler can make. */
static bool trap_system_calls(void) {
    const uint64_t gate = (uint64_t)(uintptr_t)hot_path_gate_end;
    enum {
        NUMBER = offsetof(struct seccomp_data, nr),
        AT = offsetof(struct seccomp_data, instruction_pointer)
    };
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)gate, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(gate >> 32), 6, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NUMBER),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    struct sigaction action = {.sa_sigaction = on_system_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#else
static bool trap_system_calls(void) { return false; }
#endif

/* ---- what was counted ---- */

/* A function's last jump may be to free(), which then seems to be called by who called it: a block is
   freed by who allocated it. */
static size_t owner_of(size_t at) {
    const event *e = &events[at];
    size_t before = e->name != NULL && strcmp(e->name, "free") == 0 ? at : 0, owner;
    while (before > 0 && events[before - 1].block != e->block) before--;
    owner = owner_at(before > 0 ? events[before - 1].caller : e->caller);
    return owner == C_LIBRARY ? OURS : owner;
}

/* To be called once, before the program begins its threads: they are to inherit the trap. */
static void start_counting_calls(void) {
    (void)dl_iterate_phdr(add_codes, NULL);
    sees_system_calls = trap_system_calls();
}

static void begin_counting(void) {
    atomic_store(&n_events, 0);
    atomic_store(&is_counting, true);
}

/* Prints what libraries did, and returns how many calls are ours. */
static size_t end_counting(const char *what) {
    atomic_store(&is_counting, false);
    const size_t n = atomic_load(&n_events);
    size_t of[N_LIBRARIES + 1] = {0};
    assert_true(n <= MOST_EVENTS);
    for (size_t i = 0; i < n; i++) {
        const event *e = &events[i];
        const size_t owner = owner_of(i);
        if (owner == OURS && of[OURS] < 8) {
            Dl_info info = {0};
            (void)dladdr((const void *)e->caller, &info);
            print_message("%s: %s %ld, called at %s + 0x%zx\n", what,
                          e->name != NULL ? e->name : "system call", e->number,
                          info.dli_fname != NULL ? info.dli_fname : "?",
                          (size_t)(e->caller - (uintptr_t)info.dli_fbase));
        }
        of[owner]++;
    }
    print_message("%s: ours %zu", what, of[OURS]);
    for (size_t i = 0; i < C_LIBRARY; i++) print_message(", %s %zu", libraries[i], of[i]);
    print_message("\n");
    return of[OURS];
}
