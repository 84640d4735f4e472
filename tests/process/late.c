// main leaves by pthread_exit before anybody has used gomem; the program's own main runs on a thread.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

int example(void);

static void *run(void *main_thread) {
    pthread_t thread = *(pthread_t *)main_thread;
    (void)pthread_join(thread, NULL);
    usleep(20000); // the kernel has let go of its memory, too
    (void)example();
    exit(0);
}

int main(void) {
    static pthread_t main_thread, thread;
    main_thread = pthread_self();
    if (pthread_create(&thread, NULL, run, &main_thread)) return 1;
    pthread_exit(NULL);
}
