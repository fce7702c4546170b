#include <semihost.h>
#include <string.h>

#include "io.h"

int kd_io_open_to_read(const char *name) { return sys_semihost_open(name, SH_OPEN_R_B); }

int kd_io_open_to_write(const char *name) { return sys_semihost_open(name, SH_OPEN_W_B); }

/* Semihosting gives back how many bytes it did NOT read or write. */
int kd_io_read(int file, void *to, size_t bytes) { return sys_semihost_read(file, to, bytes) == 0; }

int kd_io_write(int file, const void *from, size_t bytes) { return sys_semihost_write(file, from, bytes) == 0; }

void kd_io_close(int file) { (void)sys_semihost_close(file); }
