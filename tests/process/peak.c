// Runs a program and writes its exit status and its peak of resident memory in KB.
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct rusage usage;
    int status = 0;
    pid_t pid = argc > 1 ? vfork() : -1;
    if (pid < 0) return 2;
    if (pid == 0) {
        (void)dup2(2, 1); // its own words go where its trace goes
        execv(argv[1], argv + 1);
        _exit(127);
    }
    if (wait4(pid, &status, 0, &usage) != pid) return 2;
    printf("%d %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
           usage.ru_maxrss);
    return 0;
}
