// The one file of a program that compiles gomem's implementation; all others include the header only.
#define GOMEM_IMPLEMENTATION
#include "gomem.h"
