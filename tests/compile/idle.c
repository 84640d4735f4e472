// A program that includes gomem.h and uses nothing of it: no thread, no signal handler. run.sh
// looks at its thread-local storage.
#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <stdio.h>

int main(void) {
    FILE *status = fopen("/proc/self/status", "r");
    if (status == NULL) return 0; // no such file on this system: nothing to look at
    char line[200];
    int bad = 0;
    while (fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, "Threads:", 8) == 0 && strcmp(line, "Threads:\t1\n") != 0) bad = 1;
        if (strncmp(line, "SigCgt:", 7) == 0 && strcmp(line, "SigCgt:\t0000000000000000\n") != 0) {
            bad = 1;
        }
        if (bad == 1) printf("%s", line);
        if (bad == 1) bad = 2;
    }
    fclose(status);
    return bad;
}
