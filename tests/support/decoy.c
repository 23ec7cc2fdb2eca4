/* A library that must never be loaded: it says so as soon as it is. */
#include <stdio.h>

__attribute__((constructor)) static void tell(void) { fputs("a decoy was loaded\n", stderr); }

const char* nq_version(void) { return "0.0.0"; }
