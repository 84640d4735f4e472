#define GOMEM_IMPLEMENTATION
#include "gomem.h"
