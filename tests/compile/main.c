// The file with main: it does not know gomem.
#include <stdio.h>

int user_run(void);

int main(void) {
    int status = user_run();
    if (status != 0) printf("user_run: %d\n", status);
    return status;
}
