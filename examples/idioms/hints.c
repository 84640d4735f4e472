// hints: on the stack if it is small, in the heap if it is not.
//
// GOMEM_STACK is for memory that does not outlive its function: it is on the stack while it is small and
// the stack has room, else in the collected heap. Nothing is freed in either case. GOMEM_ESCAPE is for a
// result: what lies on the stack is copied to the heap, and what is there already is not.
//
// It prints:
//     10 numbers: sum 45, on the stack
//     100000 numbers: sum 4999950000, in the heap
//     the name is "report-7.txt", and lives in the heap
//     what is in the heap is not copied again

#include "gomem.h"
#include <stdio.h>

static void sum(size_t n) {
    long *number = GOMEM_STACK(long, n); // zeroed
    long total = 0;
    if (!number) return; // out of memory
    for (size_t i = 0; i < n; i++) number[i] = (long)i;
    for (size_t i = 0; i < n; i++) total += number[i];
    printf("%zu numbers: sum %ld, %s\n", n, total,
           gomem_base(number) ? "in the heap" : "on the stack");
}

static const char *file_name(int number) {
    char text[64]; // ends with this function
    snprintf(text, sizeof text, "report-%d.txt", number);
    return GOMEM_ESCAPE(text, sizeof text);
}

int main(void) {
    sum(10);
    sum(100000); // over GOMEM_STACK_MAX, 4096 bytes
    const char *name = file_name(7);
    if (!name) return 1;
    printf("the name is \"%s\", and %s\n", name, gomem_base(name) ? "lives in the heap" : "?");
    const char *again = GOMEM_ESCAPE(name, 64);
    printf("what is in the heap is %s\n", again == name ? "not copied again" : "copied");
}
