// A manual object is freed before fork, and again in the child.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    void *p = tell(gomem_malloc(100));
    gomem_free(p);
    pid_t pid = fork();
    if (pid == 0) {
        gomem_free(p);
        gomem_free_os_memory();
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    gomem_free_os_memory();
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
