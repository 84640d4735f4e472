#define GOMEM_STATIC
#include "gomem.h"

void *static_b_new(void);
bool static_b_owns(const void *p);

void *static_b_new(void) { return gomem_malloc(100); }

bool static_b_owns(const void *p) { return gomem_base(p) == p; }
