// Loads a plugin, uses it on two threads, unloads it, and goes on: threads end, children are forked.
// With a second argument the plugin is not told; it must then have been linked to stay.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static long (*use)(long);
static pthread_barrier_t barrier;

static void *user(void *arg) {
    if (use(50000) < 0) return NULL;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); // the plugin has gone
    return arg;
}

int main(int argc, char **argv) {
    for (int round = 0; round < 5; round++) {
        pthread_t thread;
        void *result = NULL, *plugin = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW | RTLD_LOCAL);
        if (!plugin) return puts(dlerror()), 1;
        *(void **)&use = dlsym(plugin, "plugin_use");
        void (*end)(void);
        *(void **)&end = dlsym(plugin, "plugin_end");
        if (!use || !end || pthread_barrier_init(&barrier, NULL, 2)) return 2;
        if (pthread_create(&thread, NULL, user, &thread) || use(50000) < 0) return 3;
        pthread_barrier_wait(&barrier);
        if (argc < 3) end();
        dlclose(plugin);
        pthread_barrier_wait(&barrier);
        if (pthread_join(thread, &result) || !result) return 4;
        pid_t child = fork();
        if (!child) _exit(0);
        int status = 1;
        if (waitpid(child, &status, 0) != child || status) return 5;
        pthread_barrier_destroy(&barrier);
    }
    return 0;
}
